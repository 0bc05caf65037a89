//! Policy: [`crate::admin::revisions`] over HTTP.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::actor::Actor;
use crate::admin::explain::{self, ExplainError};
use crate::admin::replay::{Change, Effect, Sum, Window};
use crate::admin::revisions::{Outcome, RevisionsError, Writing};
use crate::api::Api;
use crate::api::answer::{
    Answer, Refusal, Unreadable, internal, moment, not_permitted, problem, problem_with,
};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::identity::principal::Groups;
use crate::policy::decide::{DenyReason, Shadow, Verdict};
use crate::policy::explain::Considered;
use crate::policy::model::{Action, Mode, Revision};
use crate::policy::yaml::{self, PolicyFault};
use crate::store::policy::RevisionRecord;

/// Revisions of one page of history.
const PAGE: u16 = 50;
const LARGEST_PAGE: u16 = 500;

type Shared = State<Arc<Api>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    before: Option<i64>,
    limit: Option<u16>,
}

pub(super) async fn history(
    State(api): Shared,
    page: Result<Query<Page>, QueryRejection>,
) -> Answer {
    let Query(page) = page?;
    let limit = page.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let records = api
        .revisions
        .history(page.before.map(Revision), limit)
        .await?;
    let records: Vec<Value> = records.iter().map(record).collect();
    Ok(Json(json!({ "revisions": records })))
}

pub(super) async fn show(State(api): Shared, revision: Result<Path<i64>, PathRejection>) -> Answer {
    let Path(revision) = revision?;
    let (shown, changes) = api.revisions.show(Revision(revision)).await?;
    Ok(Json(
        json!({ "revision": record(&shown), "changes": changes }),
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ends {
    from: i64,
    to: i64,
}

pub(super) async fn diff(State(api): Shared, ends: Result<Query<Ends>, QueryRejection>) -> Answer {
    let Query(ends) = ends?;
    let changes = api
        .revisions
        .diff(Revision(ends.from), Revision(ends.to))
        .await?;
    Ok(Json(json!({ "changes": changes })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    revision: Option<i64>,
}

pub(super) async fn export(
    State(api): Shared,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Answer {
    let Query(wanted) = wanted?;
    let (revision, text) = api.revisions.export(wanted.revision.map(Revision)).await?;
    Ok(Json(json!({ "revision": number(revision), "text": text })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    text: String,
}

pub(super) async fn plan(
    State(api): Shared,
    body: Result<Json<Document>, JsonRejection>,
) -> Answer {
    let Json(document) = body?;
    let plan = api
        .revisions
        .plan(&document.text, SystemClock.now())
        .await?;
    Ok(Json(json!({
        "parent": number(plan.parent),
        "changes": plan.changes,
        "rewords": plan.rewords,
        "findings": plan.findings,
        "is_empty": plan.is_empty(),
        "follows": api.revisions.follows,
        "approvals": api.revisions.approvals,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    /// The revision that the author saw; `null` when there was none.
    parent: Option<i64>,
    author: Option<String>,
    message: String,
    /// Past the approvals that are asked for.
    #[serde(default)]
    emergency: bool,
}

impl Note {
    /// Who writes what for whom.
    fn of(self, actor: Actor) -> Result<(Actor, Writing), Unreadable> {
        let actor = named(actor, self.author)?;
        let writing = Writing {
            parent: self.parent.map(Revision),
            message: self.message,
            is_emergency: self.emergency,
        };
        Ok((actor, writing))
    }
}

/// An operator says who they are, and everybody else is who they signed in as.
pub(super) fn named(actor: Actor, author: Option<String>) -> Result<Actor, Unreadable> {
    match (actor, author) {
        (Actor::Operator { .. }, name) => Ok(Actor::Operator { name }),
        (person @ Actor::Person { .. }, None) => Ok(person),
        (Actor::Person { .. }, Some(_)) => {
            let detail = "you are the author; leave `author` out";
            Err(Unreadable::value(detail))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Application {
    text: String,
    note: Note,
}

pub(super) async fn apply(
    State(api): Shared,
    Extension(actor): Extension<Actor>,
    body: Result<Json<Application>, JsonRejection>,
) -> Answer {
    let Json(Application { text, note }) = body?;
    let (actor, writing) = note.of(actor)?;
    let outcome = api.revisions.apply(&text, &actor, &writing).await?;
    Ok(written(outcome))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Return {
    to: i64,
    note: Note,
}

pub(super) async fn rollback(
    State(api): Shared,
    Extension(actor): Extension<Actor>,
    body: Result<Json<Return>, JsonRejection>,
) -> Answer {
    let Json(Return { to, note }) = body?;
    let (actor, writing) = note.of(actor)?;
    let outcome = api
        .revisions
        .rollback(Revision(to), &actor, &writing)
        .await?;
    Ok(written(outcome))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    question: Value,
    revision: Option<i64>,
}

pub(super) async fn explain(
    State(api): Shared,
    Extension(actor): Extension<Actor>,
    body: Result<Json<Asked>, JsonRejection>,
) -> Answer {
    let Json(Asked { question, revision }) = body?;
    let now = SystemClock.now();
    let question = yaml::question(question, now.to_jiff()).map_err(ExplainError::Question)?;
    let revision = revision.map(Revision);
    let answer = api
        .revisions
        .explain(&actor, question, revision, now)
        .await?;
    Ok(Json(explained(&answer)))
}

pub(super) async fn explain_decision(
    State(api): Shared,
    Extension(actor): Extension<Actor>,
    decision: Result<Path<String>, PathRejection>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Answer {
    let (Path(id), Query(wanted)) = (decision?, wanted?);
    let revision = wanted.revision.map(Revision);
    let (decided, answer) = api
        .revisions
        .explain_decision(&actor, &id, revision)
        .await?;
    let mut explained = explained(&answer);
    let at = Timestamp::from_micros(decided.first_at).rfc3339();
    explained["decision"] = json!({ "what": decided.decision, "at": at, "count": decided.count });
    Ok(Json(explained))
}

/// A document or an earlier revision, and the window's moments.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replay {
    text: Option<String>,
    revision: Option<i64>,
    since: String,
    until: Option<String>,
}

pub(super) async fn replay(
    State(api): Shared,
    Extension(actor): Extension<Actor>,
    body: Result<Json<Replay>, JsonRejection>,
) -> Answer {
    let Json(wanted) = body?;
    let until = wanted.until.as_deref().map(moment).transpose()?;
    let window = Window {
        since: moment(&wanted.since)?,
        until: until.unwrap_or_else(|| SystemClock.now()),
    };
    let replayed = match (wanted.text, wanted.revision) {
        (Some(text), None) => api.revisions.replay(&actor, &text, window).await?,
        (None, Some(revision)) => {
            let revision = Revision(revision);
            api.revisions
                .replay_revision(&actor, revision, window)
                .await?
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(Unreadable::value("give `text` or `revision`, and not both").into());
        }
    };
    let effects: Vec<Value> = replayed.effects.iter().map(effect).collect();
    Ok(Json(json!({
        "parent": number(replayed.parent),
        "since": window.since.rfc3339(),
        "until": window.until.rfc3339(),
        "recorded_since": replayed.recorded_since.map(Timestamp::rfc3339),
        "requests": replayed.requests,
        "sums": replayed.sums.iter().map(sum).collect::<Vec<_>>(),
        "effects": effects,
        "more": replayed.more,
    })))
}

const fn change(change: Change) -> &'static str {
    match change {
        Change::Loses => "loses",
        Change::SignsIn => "signs_in_again",
        Change::Asks => "needs_approval",
        Change::Gains => "gains",
        Change::MaySignIn => "could_sign_in_again",
        Change::MayAsk => "could_ask",
        Change::Renamed => "other_mesh_identity",
    }
}

fn sum(sum: &Sum) -> Value {
    json!({
        "change": change(sum.change),
        "people": sum.people,
        "strangers": sum.strangers,
        "requests": sum.requests,
        "last_at": sum.last_at.rfc3339(),
    })
}

fn effect(effect: &Effect) -> Value {
    json!({
        "change": change(effect.change),
        "person": effect.person,
        "host": effect.host,
        "method": effect.method,
        "path": effect.path,
        "count": effect.count,
        "last_at": effect.last_at.rfc3339(),
    })
}

fn explained(answer: &explain::Answer) -> Value {
    let person = answer.principal.as_ref().map(|principal| {
        json!({
            "label": principal.label(),
            "provider": &*principal.provider,
            "groups": match &principal.groups {
                Groups::Known(names) => Some(names),
                Groups::Missing => None,
            },
            "claims": principal.claims,
            "acr": principal.acr,
            "agents": principal.agents,
        })
    });
    let revision = answer.revision.0;
    let Some(found) = &answer.found else {
        return json!({ "revision": revision, "person": person, "route": null });
    };
    let (verdict, rule) = verdict(found);
    let shadow = found.shadow.as_ref().map(|shadow| match shadow {
        Shadow::WouldDeny { rule } => json!({ "would": "deny", "rule": &**rule }),
        Shadow::WouldAllow { rule } => json!({ "would": "allow", "rule": &**rule }),
    });
    json!({
        "revision": revision,
        "person": person,
        "route": found.route,
        "verdict": verdict,
        "rule": rule,
        "mesh_identity": found.mesh_identity.as_ref().ok(),
        "no_mesh_identity": found.mesh_identity.as_ref().err(),
        "kubernetes": match &found.kubernetes {
            Some(Ok(told)) => json!({ "user": told.user, "groups": told.groups }),
            Some(Err(why)) => json!({ "nobody": why }),
            None => Value::Null,
        },
        "shadow": shadow,
        "remedies": found.remedies(),
        "considered": found.explanation.considered.iter().map(considered).collect::<Vec<_>>(),
    })
}

fn verdict(found: &explain::Found) -> (&'static str, Option<&str>) {
    match &found.explanation.verdict {
        Verdict::Allow { rule, .. } if found.refused_as_nobody().is_some() => {
            ("deny_nobody", Some(rule))
        }
        Verdict::Allow { rule, .. } => ("allow", Some(rule)),
        Verdict::SignIn => ("sign_in", None),
        Verdict::StepUp { rule, .. } => ("step_up", Some(rule)),
        Verdict::Ask { rule } => ("ask", Some(rule)),
        Verdict::Deny(DenyReason::Rule { rule }) => ("deny", Some(rule)),
        Verdict::Deny(DenyReason::NoRule) => ("deny", None),
        Verdict::Deny(DenyReason::Provider) => ("deny_provider", None),
        Verdict::Deny(DenyReason::Agent) => ("deny_agent", None),
    }
}

fn considered(rule: &Considered) -> Value {
    json!({
        "rule": &*rule.rule,
        "action": match rule.action {
            Action::Allow => "allow",
            Action::Deny => "deny",
        },
        "is_shadow": rule.mode == Mode::Shadow,
        "fails": rule.fails.iter().map(|unheld| &unheld.why).collect::<Vec<_>>(),
    })
}

pub(super) fn written(outcome: Outcome) -> Json<Value> {
    Json(json!({ "revision": outcome.revision.0, "is_new": outcome.is_new }))
}

pub(super) fn number(revision: Option<Revision>) -> Option<i64> {
    revision.map(|revision| revision.0)
}

fn record(record: &RevisionRecord) -> Value {
    json!({
        "revision": record.revision.0,
        "parent": number(record.parent),
        "author": record.author,
        "message": record.message,
        "created_at": record.created_at.rfc3339(),
        "draft": record.draft.map(|draft| draft.0),
        "emergency": record.is_emergency,
        "restores": number(record.restores),
    })
}

impl Refusal for ExplainError {
    fn refusal(self) -> Response {
        let detail = self.to_string();
        let unknown = |code| problem(StatusCode::NOT_FOUND, code, &detail);
        match self {
            ExplainError::Question(faults) => {
                let faults: Vec<Value> = faults.iter().map(fault).collect();
                let more = json!({ "faults": faults });
                problem_with(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "bad_question",
                    &detail,
                    more,
                )
            }
            ExplainError::UnknownPerson(_) => unknown("unknown_person"),
            ExplainError::UnknownDecision(_) => unknown("unknown_decision"),
            ExplainError::UnknownDraft(_) => unknown("no_such_draft"),
            ExplainError::Revisions(error) => error.refusal(),
        }
    }
}

impl Refusal for RevisionsError {
    fn refusal(self) -> Response {
        let detail = self.to_string();
        let say = |status, code| problem(status, code, &detail);
        let say_with = |status, code, more| problem_with(status, code, &detail, more);
        match self {
            RevisionsError::Faults(faults) => {
                let faults: Vec<Value> = faults.iter().map(fault).collect();
                let more = json!({ "faults": faults });
                say_with(StatusCode::UNPROCESSABLE_ENTITY, "faulty_policy", more)
            }
            RevisionsError::Unknown(_) => say(StatusCode::NOT_FOUND, "no_such_revision"),
            RevisionsError::Conflict(current) => {
                let more = json!({ "current": current.as_deref().map(record) });
                say_with(StatusCode::CONFLICT, "conflict", more)
            }
            RevisionsError::Follows(file) => say_with(
                StatusCode::CONFLICT,
                "follows_a_file",
                json!({ "file": file }),
            ),
            RevisionsError::NotPermitted(refused) => not_permitted(refused),
            RevisionsError::NeedsApprovals(needed) => {
                let more =
                    json!({ "needed": needed.needed, "have": needed.have, "void": needed.void });
                say_with(StatusCode::CONFLICT, "needs_approvals", more)
            }
            RevisionsError::NotAnOperator => say(StatusCode::FORBIDDEN, "not_an_operator"),
            RevisionsError::NoEmergency => say(StatusCode::CONFLICT, "no_emergency"),
            RevisionsError::Overtaken => say(StatusCode::CONFLICT, "draft_overtaken"),
            RevisionsError::LastOwner => say(StatusCode::CONFLICT, "last_owner"),
            RevisionsError::Note(_) => say(StatusCode::BAD_REQUEST, "bad_note"),
            RevisionsError::Store(error) => error.refusal(),
            RevisionsError::Snapshot(error) => internal(&error),
        }
    }
}

pub(super) fn fault(fault: &PolicyFault) -> Value {
    json!({ "line": fault.line, "column": fault.column, "key": fault.key, "message": fault.message })
}
