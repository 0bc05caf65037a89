//! Lists of what the policy in force says, one for each kind of object. They come from memory, and one page at a time.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::routing::{MethodRouter, get};

use crate::console::answer::{Answer, Refused, page};
use crate::console::frame::Frame;
use crate::console::guard::{Query, Visit};
use crate::console::kinds::{self, KindPages};
use crate::console::{Console, cursor, link};
use crate::policy::kind::Kind;
use crate::policy::lint::is_about;
use crate::policy::model::{Action, Mode, Policy, Rule};
use crate::policy::roles::Permission;
use crate::policy::search::{object_says, rule_says};
use crate::policy::words;
use crate::web::parameters::Parameters;

/// Objects of one page.
const PAGE: usize = 50;

/// A row: what an object says at a glance.
#[derive(Default)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) badges: Vec<(&'static str, String)>,
    /// The cells of the other columns.
    pub(super) cells: Vec<Cell>,
}

/// A cell: what it says, and what else.
#[derive(Default)]
pub(super) struct Cell {
    pub(super) label: &'static str,
    pub(super) text: String,
    pub(super) sub: String,
}

/// What is asked for. What is not given is no condition.
struct Wanted {
    text: String,
    action: String,
    mode: String,
    route: String,
    from: usize,
}

impl Wanted {
    fn of(query: &Parameters) -> Result<Self, Refused> {
        let text = |name| query.one(name).unwrap_or_default().to_owned();
        Ok(Self {
            text: text("q"),
            action: text("action"),
            mode: text("mode"),
            route: text("route"),
            from: cursor::position(query, "from")?,
        })
    }

    fn wants(&self, policy: &Policy, rule: &Rule) -> bool {
        let action = match rule.action {
            Action::Allow => "allow",
            Action::Deny => "deny",
        };
        let mode = match rule.mode {
            Mode::Enforce => "enforce",
            Mode::Shadow => "shadow",
        };
        let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        is(&self.action, action)
            && is(&self.mode, mode)
            && (self.route.is_empty() || is_about(policy, rule, &self.route))
            && rule_says(rule, &self.text)
    }

    fn page(&self, kind: &KindPages, from: usize) -> String {
        let from = match from {
            0 => String::new(),
            from => from.to_string(),
        };
        let parameters = [
            ("q", self.text.as_str()),
            ("action", self.action.as_str()),
            ("mode", self.mode.as_str()),
            ("route", self.route.as_str()),
            ("from", from.as_str()),
        ];
        link::with_query(&kind.list(), &parameters)
    }
}

#[derive(Template)]
#[template(path = "console/objects.html")]
struct ObjectsPage {
    frame: Frame,
    kind: &'static KindPages,
    is_rules: bool,
    wanted: Wanted,
    columns: Vec<&'static str>,
    rows: Vec<Row>,
    routes: Vec<String>,
    total: usize,
    found: usize,
    newer: Option<String>,
    older: Option<String>,
    revision: i64,
    create: Option<String>,
}

/// `GET /console/rules` and so on.
pub(super) fn list(kind: Kind) -> MethodRouter<Arc<Console>> {
    get(move |console, visit, query| show(kind, console, visit, query))
}

async fn show(
    kind: Kind,
    State(console): State<Arc<Console>>,
    visit: Visit,
    Query(query): Query,
) -> Answer {
    let kind = kinds::of(kind);
    let wanted = Wanted::of(&query)?;
    let compiled = Arc::clone(&console.snapshots.current());
    let policy = compiled.policy();
    let is_rules = kind.kind == Kind::Rule;
    let total = policy.names(kind.kind).len();
    let is_wanted = |index: &usize| match policy.rules.get(*index).filter(|_| is_rules) {
        Some(rule) => wanted.wants(policy, rule),
        None => object_says(policy, kind.kind, *index, &wanted.text),
    };
    let found: Vec<usize> = (0..total).filter(is_wanted).collect();
    let shown = found.iter().skip(wanted.from).take(PAGE);
    let rows = shown
        .filter_map(|index| row(policy, kind, *index))
        .collect();
    let (newer, older) = cursor::beside(wanted.from, PAGE, found.len());
    let may_write = visit.actor.may(Permission::WritePolicy) && console.revisions.follows.is_none();
    let routes = policy.routes.iter().take(1000);
    page(&ObjectsPage {
        frame: Frame::of(&visit, kind.many),
        is_rules,
        columns: columns(kind.kind),
        rows,
        routes: match is_rules {
            true => routes.map(|route| route.name.to_string()).collect(),
            false => Vec::new(),
        },
        total,
        found: found.len(),
        newer: newer.map(|from| wanted.page(kind, from)),
        older: older.map(|from| wanted.page(kind, from)),
        revision: compiled.revision.0,
        create: may_write
            .then(|| link::with_query("/console/edit", &[("kind", kind.kind.as_str())])),
        kind,
        wanted,
    })
}

fn columns(kind: Kind) -> Vec<&'static str> {
    match kind {
        Kind::Rule => vec!["Whom", "What", "Under which circumstances"],
        Kind::Route => vec!["Address", "Leads to"],
        Kind::Mapping => vec!["Whom", "Mesh identity"],
        Kind::RouteGroup => vec!["Routes"],
        Kind::People => vec!["Whom"],
        Kind::TrustedIssuer => vec!["Issuer", "Whose tokens"],
        Kind::ServiceAccount => vec!["Keys", "What it is"],
        Kind::RoleBinding => vec!["Role", "Whom"],
        Kind::Test => vec!["Request", "Comes to"],
    }
}

fn cells(kind: Kind, texts: Vec<String>) -> Vec<Cell> {
    let cells = columns(kind).into_iter().zip(texts);
    cells
        .map(|(label, text)| Cell {
            label,
            text,
            sub: String::new(),
        })
        .collect()
}

/// Alternatives, one after the other; a row has room for some.
fn some(alternatives: &[String]) -> String {
    let shown: Vec<&str> = alternatives.iter().take(3).map(String::as_str).collect();
    let more = alternatives.len().saturating_sub(3);
    let text = shown.join("; or ");
    match more {
        0 => text,
        more => format!("{text}; or {more} more"),
    }
}

pub(super) fn row(policy: &Policy, kind: &KindPages, index: usize) -> Option<Row> {
    let (name, badges, texts) = match kind.kind {
        Kind::Rule => {
            let rule = policy.rules.get(index)?;
            return Some(rule_row(rule, kind));
        }
        Kind::Route => {
            let route = policy.routes.get(index)?;
            let address = format!("{}{}", route.host, route.prefix);
            (&route.name, None, vec![address, words::upstream(route)])
        }
        Kind::Mapping => {
            let mapping = policy.mappings.get(index)?;
            let texts = vec![some(&words::from(&mapping.from)), mapping.spiffe_id.clone()];
            (&mapping.name, None, texts)
        }
        Kind::RouteGroup => {
            let group = policy.route_groups.get(index)?;
            (&group.name, None, vec![group.routes.join(", ")])
        }
        Kind::People => {
            let people = policy.people.get(index)?;
            (&people.name, None, vec![some(&words::from(&people.from))])
        }
        Kind::TrustedIssuer => {
            let issuer = policy.trusted_issuers.get(index)?;
            let texts = vec![words::issuer(issuer), some(&words::tokens(issuer))];
            (&issuer.name, None, texts)
        }
        Kind::ServiceAccount => {
            let account = policy.service_accounts.get(index)?;
            let texts = vec![
                account.key_names().join(", "),
                words::account(account).join("; "),
            ];
            (&account.name, None, texts)
        }
        Kind::RoleBinding => {
            let binding = policy.role_bindings.get(index)?;
            let role = binding.role.as_str().to_owned();
            (
                &binding.name,
                None,
                vec![role, some(&words::from(&binding.from))],
            )
        }
        Kind::Test => {
            let test = policy.tests.get(index)?;
            let who = test.principal.as_ref();
            let who = who.map_or("nobody signed in", |who| who.label());
            let request = format!("{} as {who}", test.request);
            (
                &test.name,
                None,
                vec![request, test.expect.as_str().replace('_', " ")],
            )
        }
    };
    let badges: Option<(&'static str, String)> = badges;
    Some(Row {
        path: kind.object(name),
        name: name.to_string(),
        badges: badges.into_iter().collect(),
        cells: cells(kind.kind, texts),
    })
}

fn rule_row(rule: &Rule, kind: &KindPages) -> Row {
    let said = words::rule(rule);
    let mut circumstances = said.when;
    circumstances.extend(said.require);
    let mut badges = vec![match rule.action {
        Action::Allow => ("good", "allow".to_owned()),
        Action::Deny => ("bad", "deny".to_owned()),
    }];
    if !said.is_enforced {
        badges.push(("warn", "shadow".to_owned()));
    }
    let texts = vec![some(&said.who), some(&said.what), circumstances.join(", ")];
    Row {
        name: rule.name.to_string(),
        path: kind.object(&rule.name),
        badges,
        cells: cells(kind.kind, texts),
    }
}

#[cfg(test)]
pub(super) fn sample_row(text: &str) -> Row {
    Row {
        name: text.to_owned(),
        path: "/console/rules/r".to_owned(),
        badges: vec![("good", text.to_owned())],
        cells: vec![Cell {
            label: "Whom",
            text: text.to_owned(),
            sub: text.to_owned(),
        }],
    }
}

#[cfg(test)]
pub(super) fn sample(text: &str) -> impl Template + use<> {
    ObjectsPage {
        frame: Frame::sample(text),
        kind: kinds::of(Kind::Rule),
        is_rules: true,
        wanted: Wanted {
            text: text.to_owned(),
            action: text.to_owned(),
            mode: text.to_owned(),
            route: text.to_owned(),
            from: 50,
        },
        columns: columns(Kind::Rule),
        rows: vec![sample_row(text)],
        routes: vec![text.to_owned()],
        total: 10,
        found: 5,
        newer: Some(link::with_query("/console/rules", &[("q", text)])),
        older: Some(link::with_query("/console/rules", &[("q", text)])),
        revision: 7,
        create: Some("/console/edit?kind=rule".to_owned()),
    }
}
