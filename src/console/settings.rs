//! What the edge was told, to be read: its configuration file rules. Nothing secret is among it.

use askama::Template;
use axum::extract::State;

use crate::admin::activity;
use crate::admin::settings::{self, Ending, Life, ProviderFact, Settings};
use crate::clock::Timestamp;
use crate::console::Shared;
use crate::console::answer::{Answer, page};
use crate::console::frame::Frame;
use crate::console::guard::Visit;
use crate::console::keys::Row;
#[cfg(test)]
use crate::console::keys::sample_row;
use crate::policy::roles::Permission;
use crate::store::edges::EdgeRecord;
use crate::web::moment::{Moment, length};

/// An edge as pages show it.
pub(super) struct Edge {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) revision: i64,
    pub(super) is_behind: bool,
    pub(super) since: Moment,
    pub(super) fresh: Moment,
}

impl Edge {
    pub(super) fn of(edge: &EdgeRecord, newest: i64, now: Timestamp) -> Self {
        Self {
            name: edge.name.clone(),
            version: edge.version.clone(),
            revision: edge.revision,
            is_behind: edge.revision < newest,
            since: Moment::of(edge.started_at, now),
            fresh: Moment::of(edge.fresh_at, now),
        }
    }
}

/// A certificate or authority as pages show it.
pub(super) struct Expiry {
    pub(super) what: String,
    pub(super) ends: Moment,
    pub(super) tone: &'static str,
}

impl Expiry {
    fn of(what: String, life: Life, now: Timestamp) -> Self {
        Self {
            what,
            ends: Moment::of(life.ends, now),
            tone: match life.ending(now) {
                Ending::Later => "",
                Ending::Soon => "warn",
                Ending::Now => "bad",
            },
        }
    }

    /// Certificates of the listeners, and the authority.
    pub(super) fn all(settings: &Settings, now: Timestamp) -> Vec<Self> {
        let certificates = settings.listeners.iter();
        let certificates = certificates.flat_map(|listener| &listener.certificates);
        let mut all: Vec<Self> = certificates
            .map(|one| {
                let what = format!("Certificate of {}", one.names.join(", "));
                Self::of(what, one.life, now)
            })
            .collect();
        let mesh = &settings.mesh;
        let what = format!("SVID authority of {}", mesh.trust_domain);
        all.push(Self::of(what, mesh.authority, now));
        all
    }
}

struct Listener {
    address: String,
    scheme: &'static str,
    names: String,
}

struct Issuer {
    name: String,
    issuer: String,
    audiences: String,
    algorithms: String,
}

#[derive(Template)]
#[template(path = "console/settings.html")]
struct SettingsPage {
    frame: Frame,
    home: String,
    listeners: Vec<Listener>,
    expiries: Vec<Expiry>,
    providers: Vec<ProviderFact>,
    issuers: Vec<Issuer>,
    trust_domain: String,
    namespaces: String,
    facts: Vec<(&'static str, String)>,
    keys: Vec<Row>,
    may_rotate: bool,
    edges: Vec<Edge>,
}

/// `GET /console/settings`.
pub(super) async fn show(State(console): Shared, visit: Visit) -> Answer {
    let now = console.clock.now();
    let settings = settings::settings(&*console.inspect, &visit.actor)?;
    let edges = activity::edges(&console.store, &visit.actor, now).await?;
    let keys = console.keys.list(&visit.actor).await?;
    let newest = console.snapshots.current().revision.0;
    let listeners = settings.listeners.iter().map(|listener| {
        let names = listener.certificates.iter();
        let names: Vec<&str> = names
            .flat_map(|one| &one.names)
            .map(String::as_str)
            .collect();
        Listener {
            address: listener.address.clone(),
            scheme: listener.scheme,
            names: names.join(", "),
        }
    });
    let issuers = settings.issuers.iter().map(|issuer| Issuer {
        name: issuer.name.clone(),
        issuer: issuer.issuer.clone(),
        audiences: issuer.audiences.join(", "),
        algorithms: issuer.algorithms.join(", "),
    });
    page(&SettingsPage {
        frame: Frame::of(&visit, "Settings"),
        listeners: listeners.collect(),
        expiries: Expiry::all(&settings, now),
        issuers: issuers.collect(),
        trust_domain: settings.mesh.trust_domain.clone(),
        namespaces: settings.mesh.namespaces.join(", "),
        facts: facts(&settings),
        edges: edges
            .iter()
            .map(|edge| Edge::of(edge, newest, now))
            .collect(),
        home: settings.home,
        providers: settings.providers,
        may_rotate: visit.actor.may(Permission::RotateKeys),
        keys: keys.iter().map(|key| Row::of(key, now)).collect(),
    })
}

fn facts(settings: &Settings) -> Vec<(&'static str, String)> {
    let session = &settings.session;
    let file = settings.policy_file.as_ref();
    vec![
        (
            "Policy",
            file.map_or_else(
                || "changed here and over the API".to_owned(),
                |file| format!("follows {}", file.display()),
            ),
        ),
        ("Store", settings.store.to_owned()),
        ("An SVID lives", length(settings.mesh.lifetime)),
        ("A session ends unused after", length(session.idle)),
        ("and in any case after", length(session.absolute)),
        (
            "Its provider is asked again every",
            length(session.refresh_every),
        ),
        ("and may be silent for", length(session.refresh_grace)),
        (
            "Known sessions outlive the store by",
            length(session.max_staleness),
        ),
        ("Audit events are kept", length(settings.keep_events)),
        (
            "Recorded decisions are kept",
            length(settings.keep_decisions),
        ),
    ]
}

#[cfg(test)]
pub(super) fn sample_edge(text: &str) -> Edge {
    let moment = Moment::of(Timestamp::from_seconds(0), Timestamp::from_seconds(90));
    Edge {
        name: text.to_owned(),
        version: text.to_owned(),
        revision: 3,
        is_behind: true,
        since: moment.clone(),
        fresh: moment,
    }
}

#[cfg(test)]
pub(super) fn sample_expiry(text: &str) -> Expiry {
    Expiry {
        what: text.to_owned(),
        ends: Moment::of(Timestamp::from_seconds(90), Timestamp::from_seconds(0)),
        tone: "bad",
    }
}

#[cfg(test)]
pub(super) fn sample(text: &str) -> impl Template + use<> {
    SettingsPage {
        frame: Frame::sample(text),
        home: text.to_owned(),
        listeners: vec![Listener {
            address: text.to_owned(),
            scheme: "https",
            names: text.to_owned(),
        }],
        expiries: vec![sample_expiry(text)],
        providers: vec![ProviderFact {
            name: text.to_owned(),
            label: text.to_owned(),
            issuer: text.to_owned(),
            client_id: text.to_owned(),
            redirect_uri: text.to_owned(),
            logout_uri: text.to_owned(),
            fault: Some(text.to_owned()),
        }],
        issuers: vec![Issuer {
            name: text.to_owned(),
            issuer: text.to_owned(),
            audiences: text.to_owned(),
            algorithms: text.to_owned(),
        }],
        trust_domain: text.to_owned(),
        namespaces: text.to_owned(),
        facts: vec![("Policy", text.to_owned())],
        keys: vec![sample_row(text)],
        may_rotate: true,
        edges: vec![sample_edge(text)],
    }
}
