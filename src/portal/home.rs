//! The first page of everybody: what they may open and ask for, what they have for a time, who they are, where they are signed in, and how a
//! program is let in.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use http::{HeaderMap, Response, StatusCode};

use crate::access::{GrantRecord, Request};
use crate::address::origin::Origin;
use crate::admin::access;
use crate::clock::Timestamp;
use crate::identity::principal::{Groups, Principal};
use crate::policy::decide::Verdict;
use crate::policy::model::Route;
use crate::policy::reach::{Part, Reach};
use crate::portal::frame::Frame;
use crate::portal::sign_ins::{self, SignedIn};
use crate::portal::standing;
use crate::portal::{Portal, PortalError, Visitor, reply};
use crate::web;
use crate::web::ask::Wanted;
use crate::web::moment::Moment;
use crate::web::parameters::Parameters;
use crate::web::request_info::RequestInfo;

/// Longest query of ours, in bytes.
const QUERY_LIMIT: usize = 8 * 1024;
/// Colours that a route's letter can have.
const TONES: u32 = 6;

#[derive(Template)]
#[template(path = "portal/home.html")]
struct HomePage {
    frame: Frame,
    search: String,
    found: usize,
    apps: Vec<App>,
    askable: Vec<App>,
    grants: Vec<Grant>,
    requests: Vec<Asked>,
    me: Me,
    sign_ins: Vec<SignedIn>,
    commands: Vec<Command>,
    /// Whether the store could be asked.
    is_whole: bool,
}

/// A route that somebody may open, or ask for.
struct App {
    name: String,
    letter: char,
    tone: u32,
    address: String,
    href: String,
    /// A command line instead of an address, where it speaks no HTTP.
    command: Option<String>,
    /// It takes another sign-in first.
    steps_up: bool,
    /// When the grant ends by which it is open.
    until: Option<Moment>,
    /// The page of the request that waits already.
    waiting: Option<String>,
    /// By which rule it can be asked for; of parts there may be several.
    rule: String,
    /// The parts that it is about, if it is not about the whole.
    parts: Vec<AppPart>,
    is_found: bool,
}

/// A part of a route: its paths, and where to go if there is one to go to.
struct AppPart {
    pattern: String,
    href: Option<String>,
}

struct Grant {
    id: String,
    rule: String,
    by: String,
    break_glass: bool,
    until: Moment,
}

struct Asked {
    id: String,
    what: String,
    at: Moment,
    expires: Moment,
}

/// Who somebody is to the edge.
struct Me {
    provider: String,
    groups: Option<Vec<String>>,
    mesh_identity: Option<String>,
    ends: Moment,
}

/// A line for a terminal.
struct Command {
    what: &'static str,
    line: String,
}

/// `GET /` and `GET /.wayleave/` on the home host.
pub(super) async fn show(
    State(portal): State<Arc<Portal>>,
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
) -> Response<Body> {
    let result = portal.home(&info, &headers, raw.as_deref().unwrap_or(""));
    reply::answer(&info, &headers, result.await)
}

impl Portal {
    async fn home(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
        raw: &str,
    ) -> Result<Response<Body>, PortalError> {
        let parameters = Parameters::parse(raw.as_bytes(), QUERY_LIMIT);
        let parameters = parameters.map_err(|_| PortalError::Request)?;
        let visitor = self.visitor(info, headers, "/").await?;
        let principal = visitor.principal();
        let now = self.access.now();
        // Without the store people still find their way to what they may open.
        let own = self.access.own(principal).await;
        let signed_in = self.book.own(principal, now).await;
        let is_whole = own.is_ok() && signed_in.is_ok();
        let (own, signed_in) = (own.unwrap_or_default(), signed_in.unwrap_or_default());
        let search = parameters.one("q").unwrap_or_default().trim().to_owned();
        let (apps, askable) = self.apps(info, &visitor, &own, &search);
        let frame = self.frame(info, &visitor, ("/", "Apps")).await;
        let all = || apps.iter().chain(&askable);
        let page = HomePage {
            frame: frame.with_done(parameters.one("done")),
            found: all().filter(|app| app.is_found).count(),
            commands: commands(&info.origin, &apps, &askable),
            search,
            apps,
            askable,
            grants: grants(&own.grants, now),
            requests: requests(&own.requests, now)?,
            me: self.me(&visitor, now),
            sign_ins: sign_ins::rows(&signed_in, &visitor, now),
            is_whole,
        };
        Ok(web::reply::page_with_script(info, StatusCode::OK, &page)?)
    }

    /// What somebody may open, and what they may ask for: as the policy in force decides now.
    fn apps(
        &self,
        info: &RequestInfo,
        visitor: &Visitor,
        own: &access::Own,
        search: &str,
    ) -> (Vec<App>, Vec<App>) {
        let policy = self.access.snapshots.current();
        let granted = self.access.grants.current();
        let (principal, now) = (visitor.principal(), self.access.now());
        let grants = granted.of(principal);
        let (mut open, mut askable) = (Vec::new(), Vec::new());
        for reach in policy.reach(principal, now.to_jiff(), Some(info.client), grants) {
            let app = App::of(&reach.route.route, info, search);
            if reach.is_open() {
                open.push(app.opened_by(&reach, now));
                continue;
            }
            let parts = policy.parts(&reach);
            let whole = match &reach.verdict {
                Verdict::Ask { rule } => Some(rule),
                _ => None,
            };
            if let Some(rule) = whole {
                let app = App::of(&reach.route.route, info, search);
                askable.push(app.asked_by(&reach, rule, (own, info)));
            } else if !parts.askable.is_empty() {
                let app = App::of(&reach.route.route, info, search);
                let to = |part: &Part| wanted(&reach, &part.path).ask_url(&info.origin);
                askable.push(app.in_parts(&parts.askable, to));
            }
            if !parts.open.is_empty() {
                let origin = info.origin.at_host(reach.route.route.host.clone());
                let to = |part: &Part| format!("{origin}{}", part.path);
                open.push(app.in_parts(&parts.open, to));
            }
        }
        (open, askable)
    }

    fn me(&self, visitor: &Visitor, now: Timestamp) -> Me {
        let principal = visitor.principal();
        let policy = self.access.snapshots.current();
        let identity = policy.mesh_identity(Some(principal));
        Me {
            provider: self.provider_label(principal),
            groups: match &principal.groups {
                Groups::Missing => None,
                Groups::Known(all) => Some(all.iter().map(ToString::to_string).collect()),
            },
            mesh_identity: identity.ok().map(|id| id.to_string()),
            ends: Moment::of(visitor.session.expires_at, now),
        }
    }

    /// What people know their provider by.
    fn provider_label(&self, principal: &Principal) -> String {
        let mut providers = self.providers.list().into_iter();
        let found = providers.find(|(name, _)| *name == principal.provider);
        found.map_or_else(|| principal.provider.to_string(), |(_, label)| label)
    }
}

impl App {
    fn of(route: &Route, info: &RequestInfo, search: &str) -> Self {
        let origin = info.origin.at_host(route.host.clone());
        let address = match route.prefix.as_str() {
            "/" => route.host.to_string(),
            prefix => format!("{}{prefix}", route.host),
        };
        let words = format!("{} {address}", route.name).to_lowercase();
        let letter = route.name.chars().find(|c| c.is_alphanumeric());
        Self {
            name: route.name.to_string(),
            letter: letter.map_or('·', |letter| letter.to_ascii_uppercase()),
            tone: route.name.bytes().map(u32::from).sum::<u32>() % TONES,
            address,
            href: format!("{origin}{}", route.prefix),
            command: match route.kubernetes {
                Some(_) => Some(format!("wayleave kubeconfig {}", route.name)),
                None if route.is_tcp() => Some(format!("wayleave forward {}", route.name)),
                None => None,
            },
            steps_up: false,
            until: None,
            waiting: None,
            rule: String::new(),
            parts: Vec::new(),
            is_found: search
                .to_lowercase()
                .split_whitespace()
                .all(|word| words.contains(word)),
        }
    }

    fn opened_by(self, reach: &Reach<'_>, now: Timestamp) -> Self {
        let until = match &reach.verdict {
            Verdict::Allow { until, .. } => *until,
            _ => None,
        };
        Self {
            steps_up: reach.opened_by().is_some_and(|(_, steps_up)| steps_up),
            until: until
                .map(|until| Moment::of(Timestamp::from_micros(until.as_microsecond()), now)),
            ..self
        }
    }

    /// Parts of it alone; those whose path somebody wrote can be gone to.
    fn in_parts(self, parts: &[Part], to: impl Fn(&Part) -> String) -> Self {
        let part = |part: &Part| AppPart {
            pattern: part.pattern.clone(),
            href: part.is_written.then(|| to(part)),
        };
        Self {
            parts: parts.iter().map(part).collect(),
            ..self
        }
    }

    fn asked_by(
        self,
        reach: &Reach<'_>,
        rule: &str,
        (own, info): (&access::Own, &RequestInfo),
    ) -> Self {
        let wanted = wanted(reach, &reach.route.route.prefix);
        let mut open = own.requests.iter().filter_map(|request| match request {
            Request::Open(_) => Some(request.asked()),
            _ => None,
        });
        let waiting = open.find(|asked| *asked.rule == *rule);
        Self {
            href: wanted.ask_url(&info.origin),
            waiting: waiting.map(|asked| format!("/access/waiting/{}", asked.id.0)),
            rule: rule.to_owned(),
            ..self
        }
    }
}

/// Opening a path of a route.
fn wanted(reach: &Reach<'_>, path: &str) -> Wanted {
    let route = &reach.route.route;
    Wanted {
        method: route.opened_with().to_owned(),
        host: route.host.clone(),
        path: path.to_owned(),
        query: None,
        agents: Vec::new(),
    }
}

/// What lets a program in at this edge, and examples with what there is for this person.
fn commands(edge: &Origin, apps: &[App], askable: &[App]) -> Vec<Command> {
    let mut opened = apps
        .iter()
        .filter(|app| app.command.is_none() && app.parts.is_empty());
    let commanded = |command: &str| {
        let mut lines = apps.iter().filter_map(|app| app.command.clone());
        lines.find(|line| line.starts_with(command))
    };
    let login = format!("wayleave login --edge {edge}");
    let lines = [
        ("Sign in, in this browser", Some(login.clone())),
        (
            "On a machine without one",
            Some(format!("{login} --device")),
        ),
        ("What you may open", Some("wayleave routes".to_owned())),
        (
            "Call it",
            opened
                .next()
                .map(|app| format!("wayleave curl {}/", app.name)),
        ),
        (
            "Give it a port of your machine",
            commanded("wayleave forward "),
        ),
        ("Set kubectl up", commanded("wayleave kubeconfig ")),
        (
            "Ask for access",
            askable
                .iter()
                .find(|app| app.parts.is_empty())
                .map(|app| format!("wayleave request {} -m \"what for\"", app.name)),
        ),
    ];
    let lines = lines.into_iter();
    lines
        .filter_map(|(what, line)| Some(Command { what, line: line? }))
        .collect()
}

fn grants(all: &[GrantRecord], now: Timestamp) -> Vec<Grant> {
    let live = all.iter().filter(|grant| grant.is_live(now));
    let grants = live.map(|grant| Grant {
        id: grant.id.0.to_string(),
        rule: grant.rule.to_string(),
        by: grant.by.clone(),
        break_glass: grant.break_glass,
        until: Moment::of(grant.until, now),
    });
    grants.collect()
}

fn requests(all: &[Request], now: Timestamp) -> Result<Vec<Asked>, PortalError> {
    let open = all
        .iter()
        .filter(|request| matches!(request, Request::Open(_)));
    open.map(|request| {
        let asked = request.asked();
        Ok(Asked {
            id: asked.id.0.to_string(),
            what: standing::what(&standing::wanted(&asked.place)?),
            at: Moment::of(asked.at, now),
            expires: Moment::of(asked.expires_at, now),
        })
    })
    .collect()
}
