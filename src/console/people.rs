//! Everybody who was seen: groups as the provider said last, and roles by the policy in force.

use askama::Template;
use axum::extract::State;

use crate::admin::people;
use crate::console::Shared;
use crate::console::answer::{Answer, page};
use crate::console::cursor::Listing;
use crate::console::frame::Frame;
use crate::console::guard::{Query, Visit};
use crate::console::link;
use crate::identity::principal::{Groups, Principal, PrincipalKind};
use crate::policy::compile::CompiledPolicy;
use crate::store::After;
use crate::web::moment::Moment;

/// People of one page.
const PAGE: i64 = 50;
/// Groups that a list names.
const NAMED: usize = 4;

struct Row {
    label: String,
    subject: String,
    path: String,
    provider: String,
    kind: &'static str,
    groups: Shown,
    roles: Vec<&'static str>,
    last_seen: Moment,
}

/// Groups as far as a list names them.
pub(super) struct Shown {
    pub(super) names: Vec<String>,
    pub(super) more: usize,
    pub(super) is_known: bool,
}

impl Shown {
    pub(super) fn of(groups: &Groups, named: usize) -> Self {
        match groups {
            Groups::Missing => Self {
                names: Vec::new(),
                more: 0,
                is_known: false,
            },
            Groups::Known(all) => Self {
                names: all.iter().take(named).map(ToString::to_string).collect(),
                more: all.len().saturating_sub(named),
                is_known: true,
            },
        }
    }
}

/// What somebody is to the edge.
pub(super) fn roles(policy: &CompiledPolicy, principal: &Principal) -> Vec<&'static str> {
    let roles = policy.roles_of(principal);
    roles.into_iter().map(|role| role.as_str()).collect()
}

/// People or programs.
pub(super) const fn kind(principal: &Principal) -> &'static str {
    match principal.kind {
        PrincipalKind::User => "person",
        PrincipalKind::Workload => "workload",
    }
}

#[derive(Template)]
#[template(path = "console/people.html")]
struct PeoplePage {
    frame: Frame,
    contains: String,
    rows: Vec<Row>,
    older: Option<String>,
    is_first: bool,
}

/// `GET /console/people`.
pub(super) async fn list(State(console): Shared, visit: Visit, Query(query): Query) -> Answer {
    let now = console.clock.now();
    let listing = Listing::of("/console/people", &query)?;
    let (wanted, after) = (listing.wanted(), listing.after.as_ref());
    let found = people::list(&console.store, &visit.actor, wanted, after, PAGE + 1);
    let (shown, older) = listing.page(found.await?, PAGE, |person| After {
        at: person.last_seen.micros(),
        id: person.id.as_str().to_owned(),
    });
    let policy = console.snapshots.current();
    let rows = shown.iter().map(|person| Row {
        label: person.principal.label().to_owned(),
        subject: person.principal.subject.to_string(),
        path: link::person(&person.id),
        provider: person.principal.provider.to_string(),
        kind: kind(&person.principal),
        groups: Shown::of(&person.principal.groups, NAMED),
        roles: roles(&policy, &person.principal),
        last_seen: Moment::of(person.last_seen, now),
    });
    page(&PeoplePage {
        frame: Frame::of(&visit, "People"),
        rows: rows.collect(),
        contains: listing.contains,
        older,
        is_first: listing.after.is_none(),
    })
}

#[cfg(test)]
pub(super) fn sample(text: &str) -> impl Template + use<> {
    use crate::clock::Timestamp;
    PeoplePage {
        frame: Frame::sample(text),
        contains: text.to_owned(),
        rows: vec![Row {
            label: text.to_owned(),
            subject: text.to_owned(),
            path: "/console/people/0".to_owned(),
            provider: text.to_owned(),
            kind: "person",
            groups: Shown {
                names: vec![text.to_owned()],
                more: 3,
                is_known: true,
            },
            roles: vec!["owner"],
            last_seen: Moment::of(Timestamp::from_seconds(0), Timestamp::from_seconds(9)),
        }],
        older: Some(link::with_query("/console/people", &[("q", text)])),
        is_first: false,
    }
}
