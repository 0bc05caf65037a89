//! Somebody: who they are to the edge and to the mesh, where they are signed in, what they may open and what they did.

use askama::Template;
use axum::extract::{Path, State};

use crate::admin::people::{self, Reachable};
use crate::audit::decision::Decided;
use crate::clock::Timestamp;
use crate::console::Shared;
use crate::console::answer::{Answer, Refused, page};
use crate::console::frame::Frame;
use crate::console::guard::Visit;
use crate::console::people::{Shown, kind, roles};
use crate::console::{link, sessions};
use crate::policy::roles::Permission;
use crate::store::people::PersonId;
use crate::web::moment::Moment;

/// Decisions that are shown.
const DECISIONS: usize = 20;
/// Routes that are named of those that somebody may open.
const ROUTES: usize = 50;

/// A recorded decision as lists show it.
pub(super) struct Made {
    pub(super) path: String,
    pub(super) is_allowed: bool,
    pub(super) request: String,
    pub(super) because: String,
    pub(super) count: i64,
    pub(super) at: Moment,
}

impl Made {
    pub(super) fn of(decided: &Decided, now: Timestamp) -> Self {
        let decision = &decided.decision;
        let rule = decision.rule.as_deref();
        Self {
            path: format!("/console/audit/decisions/{}", decision.id),
            is_allowed: decision.is_allowed,
            request: format!("{} {}{}", decision.method, decision.host, decision.path),
            because: match rule {
                Some(rule) => format!("rule {rule}"),
                None => decision.reason.replace('_', " "),
            },
            count: decided.count,
            at: Moment::of(Timestamp::from_micros(decided.last_at), now),
        }
    }
}

struct Use {
    route: String,
    at: Moment,
    allowed: i64,
    denied: i64,
}

#[derive(Template)]
#[template(path = "console/person.html")]
struct PersonPage {
    frame: Frame,
    kind: &'static str,
    name: Option<String>,
    provider: String,
    subject: String,
    groups: Shown,
    claims: Vec<(String, String)>,
    roles: Vec<&'static str>,
    mesh_identity: Result<String, String>,
    first_seen: Moment,
    last_seen: Moment,
    sessions: Vec<sessions::Row>,
    end_path: String,
    may_end: bool,
    may_audit: bool,
    audit_path: String,
    reachable: Vec<Reachable>,
    more_reachable: usize,
    uses: Vec<Use>,
    decisions: Vec<Made>,
}

/// `GET /console/people/{person}`.
pub(super) async fn show(
    State(console): Shared,
    visit: Visit,
    Path(person): Path<String>,
) -> Answer {
    let now = console.clock.now();
    let id = PersonId::parse(&person).ok_or(Refused::NotFound)?;
    let person = people::person(&console.store, &visit.actor, &id).await?;
    let person = person.ok_or(Refused::NotFound)?;
    let principal = &person.record.principal;
    let live = console.book.of(&visit.actor, principal, now).await?;
    let policy = console.snapshots.current();
    let reachable = people::reachable(&policy, principal, now);
    let identity = policy.mesh_identity(Some(principal));
    let claims = principal.claims.iter();
    let actor = crate::audit::event::actor(principal);
    let uses = person.uses.iter().map(|last| Use {
        route: last.route.clone(),
        at: Moment::of(last.at, now),
        allowed: last.allowed,
        denied: last.denied,
    });
    let decisions = person.decisions.iter().take(DECISIONS);
    page(&PersonPage {
        frame: Frame::of(&visit, principal.label()),
        kind: kind(principal),
        name: principal.display_name.as_deref().map(str::to_owned),
        provider: principal.provider.to_string(),
        subject: principal.subject.to_string(),
        groups: Shown::of(&principal.groups, usize::MAX),
        claims: claims
            .map(|(name, values)| (name.to_string(), values.join(", ")))
            .collect(),
        roles: roles(&policy, principal),
        mesh_identity: identity
            .map(|identity| identity.to_string())
            .map_err(|fault| fault.to_string()),
        first_seen: Moment::of(person.record.first_seen, now),
        last_seen: Moment::of(person.record.last_seen, now),
        sessions: live
            .iter()
            .map(|session| sessions::Row::of(session, (&console, &visit), now))
            .collect(),
        end_path: link::with_query("/console/sessions/end", &[("person", id.as_str())]),
        may_end: visit.actor.may(Permission::EndSessions),
        may_audit: visit.actor.may(Permission::ReadAudit),
        audit_path: link::with_query("/console/audit", &[("actor", &actor)]),
        more_reachable: reachable.len().saturating_sub(ROUTES),
        reachable: reachable.into_iter().take(ROUTES).collect(),
        uses: uses.collect(),
        decisions: decisions.map(|decided| Made::of(decided, now)).collect(),
    })
}

#[cfg(test)]
pub(super) fn sample(text: &str) -> impl Template + use<> {
    let moment = Moment::of(Timestamp::from_seconds(0), Timestamp::from_seconds(90));
    PersonPage {
        frame: Frame::sample(text),
        kind: "person",
        name: Some(text.to_owned()),
        provider: text.to_owned(),
        subject: text.to_owned(),
        groups: Shown {
            names: vec![text.to_owned()],
            more: 0,
            is_known: true,
        },
        claims: vec![(text.to_owned(), text.to_owned())],
        roles: vec!["owner"],
        mesh_identity: Err(text.to_owned()),
        first_seen: moment.clone(),
        last_seen: moment.clone(),
        sessions: vec![sessions::sample_row(text)],
        end_path: link::with_query("/console/sessions/end", &[("person", text)]),
        may_end: true,
        may_audit: true,
        audit_path: link::with_query("/console/audit", &[("actor", text)]),
        reachable: vec![Reachable {
            route: text.to_owned(),
            address: text.to_owned(),
            rule: text.to_owned(),
            steps_up: true,
        }],
        more_reachable: 1,
        uses: vec![Use {
            route: text.to_owned(),
            at: moment.clone(),
            allowed: 1,
            denied: 2,
        }],
        decisions: vec![Made {
            path: "/console/audit/decisions/0".to_owned(),
            is_allowed: false,
            request: text.to_owned(),
            because: text.to_owned(),
            count: 2,
            at: moment,
        }],
    }
}
