//! One recorded decision: what was asked, what came of it, and every rule that was considered.

use askama::Template;
use axum::extract::{Path, State};

use crate::admin::explain::Found;
use crate::clock::Timestamp;
use crate::console::Shared;
use crate::console::answer::{Answer, Refused, page};
use crate::console::frame::Frame;
use crate::console::guard::Visit;
use crate::console::link;
use crate::identity::principal::Principal;
use crate::policy::decide::{DenyReason, Verdict};
use crate::policy::model::{Action, Mode};
use crate::store::people::PersonId;
use crate::web::moment::Moment;

struct Considered {
    rule: String,
    action: &'static str,
    is_shadow: bool,
    fails: Option<String>,
}

#[derive(Template)]
#[template(path = "console/decision.html")]
struct DecisionPage {
    frame: Frame,
    id: String,
    is_allowed: bool,
    request: String,
    person: Option<(String, String)>,
    agents: Option<String>,
    at: Moment,
    count: i64,
    peer: String,
    session: Option<String>,
    route: String,
    revision: i64,
    reason: String,
    mesh_identity: Option<String>,
    verdict: String,
    considered: Vec<Considered>,
    has_route: bool,
}

/// `GET /console/audit/decisions/{decision}`.
pub(super) async fn show(
    State(console): Shared,
    visit: Visit,
    Path(decision): Path<String>,
) -> Answer {
    let now = console.clock.now();
    let id = uuid::Uuid::try_parse(&decision).map_err(|_| Refused::NotFound)?;
    let id = id.to_string();
    let explained = console
        .revisions
        .explain_decision(&visit.actor, &id, None)
        .await?;
    let (decided, answer) = explained;
    let decision = &decided.decision;
    let person = decided.principal.as_ref().map(|principal| {
        let path = link::person(&PersonId::of(principal));
        (principal.label().to_owned(), path)
    });
    let agents = decided.principal.as_deref().and_then(Principal::acting);
    let found = answer.found.as_ref();
    let rule = decision.rule.as_deref();
    page(&DecisionPage {
        frame: Frame::of(&visit, "Decision"),
        id,
        is_allowed: decision.is_allowed,
        request: format!("{} {}{}", decision.method, decision.host, decision.path),
        person,
        agents,
        at: Moment::of(Timestamp::from_micros(decided.first_at), now),
        count: decided.count,
        peer: decision.peer.to_string(),
        session: decision.session.clone(),
        route: decision.route.to_string(),
        revision: decision.revision,
        reason: rule.map_or_else(
            || decision.reason.replace('_', " "),
            |rule| format!("rule {rule}"),
        ),
        mesh_identity: decision.mesh_identity.clone(),
        verdict: found.map_or_else(String::new, verdict),
        considered: found.map(considered).unwrap_or_default(),
        has_route: found.is_some(),
    })
}

fn verdict(found: &Found) -> String {
    match &found.explanation.verdict {
        Verdict::Allow { rule, .. } if found.refused_as_nobody().is_some() => {
            format!(
                "Rule {rule} allows it, and no identity mapping makes them anybody where it leads, so that it is refused."
            )
        }
        Verdict::Allow { rule, .. } => format!("Rule {rule} allows it."),
        Verdict::SignIn => "Nobody is signed in; somebody who is might be allowed.".to_owned(),
        Verdict::StepUp { rule, .. } => {
            format!("Rule {rule} would allow it after signing in again as it asks.")
        }
        Verdict::Ask { rule, .. } => {
            format!("Rule {rule} would allow it once somebody else has approved.")
        }
        Verdict::Deny(DenyReason::Rule { rule }) => format!("Rule {rule} denies it."),
        Verdict::Deny(DenyReason::NoRule) => "No rule allows it.".to_owned(),
        Verdict::Deny(DenyReason::Provider) => {
            "The route does not accept people of this provider.".to_owned()
        }
        Verdict::Deny(DenyReason::Agent) => {
            "The person may do it, and no rule lets the agent do it for them.".to_owned()
        }
    }
}

fn considered(found: &Found) -> Vec<Considered> {
    let all = found.explanation.considered.iter();
    let shown = all.map(|one| Considered {
        rule: one.rule.to_string(),
        action: match one.action {
            Action::Allow => "allow",
            Action::Deny => "deny",
        },
        is_shadow: one.mode == Mode::Shadow,
        fails: one.why_not(),
    });
    shown.collect()
}

#[cfg(test)]
pub(super) fn sample(text: &str) -> impl Template + use<> {
    DecisionPage {
        frame: Frame::sample(text),
        id: text.to_owned(),
        is_allowed: false,
        request: text.to_owned(),
        person: Some((text.to_owned(), "/console/people/0".to_owned())),
        agents: Some(text.to_owned()),
        at: Moment::of(Timestamp::from_seconds(0), Timestamp::from_seconds(90)),
        count: 2,
        peer: text.to_owned(),
        session: Some(text.to_owned()),
        route: text.to_owned(),
        revision: 3,
        reason: text.to_owned(),
        mesh_identity: Some(text.to_owned()),
        verdict: text.to_owned(),
        considered: vec![Considered {
            rule: text.to_owned(),
            action: "deny",
            is_shadow: true,
            fails: Some(text.to_owned()),
        }],
        has_route: true,
    }
}
