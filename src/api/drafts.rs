//! Drafts of policy: [`crate::admin::drafts`] over HTTP.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::actor::Actor;
use crate::admin::drafts::{DraftsError, Effect, Saving, Seen, Shown};
use crate::admin::review::Standing;
use crate::api::Api;
use crate::api::answer::{Answer, Failure, Refusal, Unreadable, problem, problem_with};
use crate::api::policy::{fault, named, number, written};
use crate::audit::event::actor as called;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::policy::draft::DraftId;
use crate::policy::model::Revision;
use crate::store::drafts::{Comment, DraftRecord};

/// Drafts of one page.
const PAGE: u16 = 50;
const LARGEST_PAGE: u16 = 500;

type Shared = State<Arc<Api>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    before: Option<i64>,
    limit: Option<u16>,
    /// Those that are over as well.
    #[serde(default)]
    all: bool,
}

pub(super) async fn list(State(api): Shared, page: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(page) = page?;
    let limit = page.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let before = page.before.map(DraftId);
    let drafts = api.revisions.drafts(page.all, before, limit).await?;
    let drafts: Vec<Value> = drafts
        .iter()
        .map(|draft| with_needed(&api, draft))
        .collect();
    Ok(Json(json!({ "drafts": drafts })))
}

pub(super) async fn show(State(api): Shared, draft: Result<Path<i64>, PathRejection>) -> Answer {
    let Path(draft) = draft?;
    let now = SystemClock.now();
    let shown = api.revisions.show_draft(DraftId(draft), now).await?;
    let Shown {
        draft,
        effect,
        standing,
        needed,
        comments,
    } = &shown;
    let mut said = json!({
        "draft": record(&draft.record),
        "text": draft.text,
        "needed": needed,
        "approvals": standing.iter().map(approval).collect::<Vec<_>>(),
        "comments": comments.iter().map(commented).collect::<Vec<_>>(),
    });
    match effect {
        Ok(effect) => said["effect"] = effect_of(effect, &draft.record),
        Err(faults) => said["faults"] = faults.iter().map(fault).collect(),
    }
    Ok(Json(said))
}

fn effect_of(effect: &Effect, draft: &DraftRecord) -> Value {
    let plan = &effect.plan;
    json!({
        "changes": effect.changes,
        "is_behind": effect.is_behind(draft),
        "tests": effect.tests,
        "plan": {
            "parent": number(plan.parent),
            "changes": plan.changes,
            "rewords": plan.rewords,
            "findings": plan.findings,
            "is_empty": plan.is_empty(),
        },
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saved {
    draft: Option<i64>,
    version: Option<i64>,
    text: String,
    message: String,
    parent: Option<i64>,
    author: Option<String>,
}

pub(super) async fn save(
    State(api): Shared,
    Extension(actor): Extension<Actor>,
    body: Result<Json<Saved>, JsonRejection>,
) -> Answer {
    let Json(saved) = body?;
    let actor = named(actor, saved.author)?;
    let draft = match (saved.draft, saved.version) {
        (None, None) => None,
        (Some(draft), Some(version)) => Some(Seen {
            draft: DraftId(draft),
            version,
        }),
        (Some(_), None) | (None, Some(_)) => {
            let why = "`draft` and `version` go together: the draft as it was seen";
            return Err(Unreadable::value(why).into());
        }
    };
    let saving = Saving {
        draft,
        text: saved.text,
        message: saved.message,
        parent: saved.parent.map(Revision),
    };
    let draft = api.revisions.save_draft(saving, &actor).await?;
    Ok(told(&api, &draft))
}

/// Whoever does something; `{}` is enough.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Who {
    author: Option<String>,
}

pub(super) async fn submit(
    State(api): Shared,
    Extension(actor): Extension<Actor>,
    draft: Result<Path<i64>, PathRejection>,
    body: Result<Json<Who>, JsonRejection>,
) -> Answer {
    let (Path(draft), Json(who)) = (draft?, body?);
    let actor = named(actor, who.author)?;
    let draft = api.revisions.submit_draft(DraftId(draft), &actor).await?;
    Ok(told(&api, &draft))
}

pub(super) async fn rebase(
    State(api): Shared,
    Extension(actor): Extension<Actor>,
    draft: Result<Path<i64>, PathRejection>,
    body: Result<Json<Who>, JsonRejection>,
) -> Answer {
    let (Path(draft), Json(who)) = (draft?, body?);
    let actor = named(actor, who.author)?;
    let draft = api.revisions.rebase_draft(DraftId(draft), &actor).await?;
    Ok(told(&api, &draft))
}

pub(super) async fn discard(
    State(api): Shared,
    Extension(actor): Extension<Actor>,
    draft: Result<Path<i64>, PathRejection>,
    body: Result<Json<Who>, JsonRejection>,
) -> Answer {
    let (Path(draft), Json(who)) = (draft?, body?);
    let actor = named(actor, who.author)?;
    let draft = api.revisions.discard_draft(DraftId(draft), &actor).await?;
    Ok(told(&api, &draft))
}

/// What somebody says of the version that they saw.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Review {
    version: i64,
    message: String,
    author: Option<String>,
}

pub(super) async fn approve(
    State(api): Shared,
    Extension(actor): Extension<Actor>,
    draft: Result<Path<i64>, PathRejection>,
    body: Result<Json<Review>, JsonRejection>,
) -> Answer {
    let (seen, message, actor) = review(actor, draft, body)?;
    let draft = api.revisions.approve_draft(seen, &message, &actor).await?;
    Ok(told(&api, &draft))
}

pub(super) async fn reject(
    State(api): Shared,
    Extension(actor): Extension<Actor>,
    draft: Result<Path<i64>, PathRejection>,
    body: Result<Json<Review>, JsonRejection>,
) -> Answer {
    let (seen, message, actor) = review(actor, draft, body)?;
    let draft = api.revisions.reject_draft(seen, &message, &actor).await?;
    Ok(told(&api, &draft))
}

fn review(
    actor: Actor,
    draft: Result<Path<i64>, PathRejection>,
    body: Result<Json<Review>, JsonRejection>,
) -> Result<(Seen, String, Actor), Failure> {
    let (Path(draft), Json(review)) = (draft?, body?);
    let seen = Seen {
        draft: DraftId(draft),
        version: review.version,
    };
    Ok((seen, review.message, named(actor, review.author)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Applied {
    version: i64,
    author: Option<String>,
}

pub(super) async fn apply(
    State(api): Shared,
    Extension(actor): Extension<Actor>,
    draft: Result<Path<i64>, PathRejection>,
    body: Result<Json<Applied>, JsonRejection>,
) -> Answer {
    let (Path(draft), Json(applied)) = (draft?, body?);
    let actor = named(actor, applied.author)?;
    let seen = Seen {
        draft: DraftId(draft),
        version: applied.version,
    };
    Ok(written(api.revisions.apply_draft(seen, &actor).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    text: String,
    author: Option<String>,
}

pub(super) async fn comment(
    State(api): Shared,
    Extension(actor): Extension<Actor>,
    draft: Result<Path<i64>, PathRejection>,
    body: Result<Json<Said>, JsonRejection>,
) -> Answer {
    let (Path(draft), Json(said)) = (draft?, body?);
    let actor = named(actor, said.author)?;
    let draft = DraftId(draft);
    let comment = api.revisions.comment_draft(draft, &said.text, &actor).await;
    Ok(Json(json!({ "comment": comment? })))
}

fn told(api: &Api, draft: &DraftRecord) -> Json<Value> {
    Json(json!({ "draft": with_needed(api, draft) }))
}

fn with_needed(api: &Api, draft: &DraftRecord) -> Value {
    let mut said = record(draft);
    said["needed"] = api.revisions.approvals_needed(draft).into();
    said
}

fn record(draft: &DraftRecord) -> Value {
    json!({
        "draft": draft.id.0,
        "version": draft.version,
        "state": draft.state.as_str(),
        "revision": number(draft.state.revision()),
        "author": draft.author,
        "message": draft.message,
        "parent": number(draft.parent),
        "created_at": draft.created_at.rfc3339(),
        "changed_at": draft.changed_at.rfc3339(),
        "approvals": draft.approvals,
    })
}

fn approval(standing: &Standing) -> Value {
    let approval = &standing.approval;
    json!({
        "by": called(&approval.principal),
        "provider": &*approval.principal.provider,
        "message": approval.message,
        "at": approval.at.rfc3339(),
        "counts": standing.counts,
    })
}

fn commented(comment: &Comment) -> Value {
    json!({
        "comment": comment.number,
        "version": comment.version,
        "author": comment.author,
        "text": comment.text,
        "at": Timestamp::from_micros(comment.at).rfc3339(),
    })
}

impl Refusal for DraftsError {
    fn refusal(self) -> Response {
        let detail = self.to_string();
        let conflict = |code| problem(StatusCode::CONFLICT, code, &detail);
        let forbidden = |code| problem(StatusCode::FORBIDDEN, code, &detail);
        let bad = |code| problem(StatusCode::BAD_REQUEST, code, &detail);
        match self {
            DraftsError::Unknown(_) => problem(StatusCode::NOT_FOUND, "no_such_draft", &detail),
            DraftsError::NotNow(_) => conflict("not_now"),
            DraftsError::NotAuthor(_) => forbidden("not_the_author"),
            DraftsError::OwnDraft => forbidden("own_draft"),
            DraftsError::NotAPerson => forbidden("not_a_person"),
            DraftsError::Already => conflict("approved_already"),
            DraftsError::Overtaken(version) => {
                let more = json!({ "version": version });
                problem_with(StatusCode::CONFLICT, "draft_overtaken", &detail, more)
            }
            DraftsError::Moved { parent, current } => {
                let more = json!({ "parent": number(parent), "current": number(current) });
                problem_with(StatusCode::CONFLICT, "draft_behind", &detail, more)
            }
            DraftsError::Conflicts(objects) => {
                let more = json!({ "objects": objects });
                problem_with(StatusCode::CONFLICT, "draft_conflicts", &detail, more)
            }
            DraftsError::ChangesNothing => conflict("changes_nothing"),
            DraftsError::NotBehind => conflict("not_behind"),
            DraftsError::TooManyDrafts => conflict("too_many_drafts"),
            DraftsError::TooManyComments => conflict("too_many_comments"),
            DraftsError::Comment => bad("bad_comment"),
            DraftsError::Revisions(error) => error.refusal(),
        }
    }
}
