//! Drafts and their reviews. What may be done with one is [`Steps`]'s to say; a step that may not be taken is shown with the reason.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::routing::{MethodRouter, post};

use crate::admin::drafts::{DraftsError, Seen, Shown};
use crate::admin::steps::{May, Steps};
use crate::audit::event::actor as called;
use crate::clock::Timestamp;
use crate::console::answer::{Answer, Refused, page, see_other, sentence};
use crate::console::changes::Part;
use crate::console::frame::Frame;
use crate::console::guard::{Query, Submitted, Visit};
use crate::console::preview::{Preview, faults};
use crate::console::{Console, cursor};
use crate::policy::diff::Change;
use crate::policy::draft::{DraftId, DraftState};
use crate::policy::model::Revision;
use crate::store::drafts::DraftRecord;
use crate::web::moment::Moment;
use crate::web::parameters::Parameters;

/// Drafts of one page.
const PAGE: u16 = 50;

/// A draft in a list.
struct Row {
    id: i64,
    version: i64,
    state: &'static str,
    badge: &'static str,
    revision: Option<i64>,
    author: String,
    message: String,
    parent: Option<i64>,
    approvals: i64,
    needed: usize,
    at: Moment,
}

fn row(console: &Console, draft: &DraftRecord, now: Timestamp) -> Row {
    Row {
        id: draft.id.0,
        version: draft.version,
        state: draft.state.as_str(),
        badge: match draft.state {
            DraftState::Open | DraftState::Discarded => "",
            DraftState::Submitted => "warn",
            DraftState::Rejected => "bad",
            DraftState::Applied(_) => "good",
        },
        revision: draft.state.revision().map(|revision| revision.0),
        author: draft.author.clone(),
        message: draft.message.clone(),
        parent: draft.parent.map(|parent| parent.0),
        approvals: draft.approvals,
        needed: console.revisions.approvals_needed(draft),
        at: Moment::of(draft.changed_at, now),
    }
}

#[derive(Template)]
#[template(path = "console/drafts.html")]
struct DraftsPage {
    frame: Frame,
    with_those_over: bool,
    rows: Vec<Row>,
    older: Option<i64>,
}

/// `GET /console/drafts`.
pub(super) async fn list(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Query(query): Query,
) -> Answer {
    let now = console.clock.now();
    let before = query.one("before").map(cursor::number).transpose()?;
    let with_those_over = query.one("all") == Some("1");
    let found = console
        .revisions
        .drafts(with_those_over, before.map(DraftId), PAGE);
    let found = found.await?;
    let oldest = found.last().filter(|_| found.len() == usize::from(PAGE));
    page(&DraftsPage {
        frame: Frame::of(&visit, "Drafts"),
        with_those_over,
        older: oldest.map(|draft| draft.id.0),
        rows: found
            .iter()
            .map(|draft| row(&console, draft, now))
            .collect(),
    })
}

/// Something that was said.
struct Said {
    who: String,
    text: String,
    version: i64,
    at: Moment,
}

/// An approval of this version.
struct Approval {
    who: String,
    message: String,
    counts: bool,
    at: Moment,
}

/// A step: whether it is offered, and why not.
struct Offer {
    is_offered: bool,
    reason: String,
}

impl Offer {
    fn of(may: &May) -> Self {
        Self {
            is_offered: may.is_ok(),
            reason: may.as_ref().err().map(sentence).unwrap_or_default(),
        }
    }
}

/// All steps.
struct Offers {
    edit: Offer,
    submit: Offer,
    comment: Offer,
    approve: Offer,
    reject: Offer,
    rebase: Offer,
    apply: Offer,
    discard: Offer,
}

impl Offers {
    fn of(steps: &Steps) -> Self {
        Self {
            edit: Offer::of(&steps.edit),
            submit: Offer::of(&steps.submit),
            comment: Offer::of(&steps.comment),
            approve: Offer::of(&steps.approve),
            reject: Offer::of(&steps.reject),
            rebase: Offer::of(&steps.rebase),
            apply: Offer::of(&steps.apply),
            discard: Offer::of(&steps.discard),
        }
    }
}

/// An object that the draft changes, and where it is edited on.
struct Object {
    name: String,
    path: String,
}

#[derive(Template)]
#[template(path = "console/draft.html")]
struct DraftPage {
    frame: Frame,
    row: Row,
    is_alive: bool,
    is_behind: bool,
    offers: Offers,
    preview: Preview,
    objects: Vec<Object>,
    approvals: Vec<Approval>,
    comments: Vec<Said>,
    text: String,
    /// Why the last step was not taken.
    refusal: Option<String>,
}

/// `GET /console/drafts/{draft}`.
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Path(draft): Path<String>,
    Query(query): Query,
) -> Answer {
    let draft = number(&draft)?;
    let part = part(draft, &query)?;
    page(&draft_page(&console, &visit, draft, &part, None).await?)
}

/// Which of the objects that a draft changes are to be seen.
fn part(draft: DraftId, query: &Parameters) -> Result<Part, Refused> {
    Part::of(format!("/console/drafts/{}", draft.0), &[], query)
}

fn number(text: &str) -> Result<DraftId, Refused> {
    cursor::number(text)
        .map(DraftId)
        .map_err(|_| Refused::NotFound)
}

async fn draft_page(
    console: &Console,
    visit: &Visit,
    id: DraftId,
    part: &Part,
    refusal: Option<String>,
) -> Result<DraftPage, Refused> {
    let (now, revisions) = (console.clock.now(), &console.revisions);
    let shown = revisions.show_draft(id, now).await?;
    let record = &shown.draft.record;
    let preview = match (&shown.effect, record.state.is_alive()) {
        (Err(found), _) => Preview::faulty(faults(found, Some)),
        (Ok(_), true) => match revisions
            .foresee(&visit.actor, &shown.draft.text, now)
            .await?
        {
            Ok(foreseen) => Preview::of(&foreseen, part, now),
            Err(found) => Preview::faulty(faults(&found, Some)),
        },
        // What it changed of what it was made against; people decide on it no more.
        (Ok(effect), false) => Preview::past(&effect.changes, part, effect.tests),
    };
    let effect = shown.effect.as_ref().ok();
    let steps = revisions.steps(&shown, &visit.actor).await;
    Ok(DraftPage {
        frame: Frame::of(visit, format!("Draft {}", id.0)),
        row: row(console, record, now),
        is_alive: record.state.is_alive(),
        is_behind: effect.is_some_and(|effect| effect.is_behind(record)),
        offers: Offers::of(&steps),
        preview,
        objects: effect
            .map(|effect| objects(record, &effect.changes))
            .unwrap_or_default(),
        approvals: approvals(&shown, now),
        comments: comments(&shown, now),
        text: shown.draft.text.clone(),
        refusal,
    })
}

fn objects(draft: &DraftRecord, changes: &[Change]) -> Vec<Object> {
    let object = |change: &Change| match change {
        Change::Added { kind, name, .. } | Change::Changed { kind, name, .. } => {
            let (id, version) = (draft.id.0.to_string(), draft.version.to_string());
            let parameters = [
                ("kind", kind.as_str()),
                ("name", name.as_str()),
                ("draft", id.as_str()),
                ("version", version.as_str()),
            ];
            Some(Object {
                name: format!("{} {name}", kind.as_str().replace('_', " ")),
                path: crate::console::link::with_query("/console/edit", &parameters),
            })
        }
        Change::Removed { .. } | Change::Reordered { .. } => None,
    };
    changes.iter().filter_map(object).take(20).collect()
}

fn approvals(shown: &Shown, now: Timestamp) -> Vec<Approval> {
    let approval = |standing: &crate::admin::review::Standing| Approval {
        who: called(&standing.approval.principal),
        message: standing.approval.message.clone(),
        counts: standing.counts,
        at: Moment::of(standing.approval.at, now),
    };
    shown.standing.iter().map(approval).collect()
}

fn comments(shown: &Shown, now: Timestamp) -> Vec<Said> {
    let said = shown.comments.iter().map(|comment| Said {
        who: comment.author.clone(),
        text: comment.text.clone(),
        version: comment.version,
        at: Moment::of(Timestamp::from_micros(comment.at), now),
    });
    said.collect()
}

/// What a form asks to do with a draft.
#[derive(Clone, Copy)]
pub(super) enum Step {
    Submit,
    Comment,
    Approve,
    Reject,
    Rebase,
    Apply,
    Discard,
}

impl Step {
    /// Does it, and says where to go and what to say.
    async fn take(
        self,
        console: &Console,
        visit: &Visit,
        id: DraftId,
        form: &Parameters,
    ) -> Result<String, DraftsError> {
        let (revisions, actor) = (&console.revisions, &visit.actor);
        let message = form.one("message").unwrap_or_default();
        let version = form.one("version").and_then(|text| text.parse().ok());
        let seen = Seen {
            draft: id,
            version: version.unwrap_or(0),
        };
        let done = match self {
            Self::Submit => revisions.submit_draft(id, actor).await.map(|_| "submitted"),
            Self::Comment => {
                let text = message.replace("\r\n", "\n");
                revisions
                    .comment_draft(id, &text, actor)
                    .await
                    .map(|_| "commented")
            }
            Self::Approve => {
                let approved = revisions.approve_draft(seen, message, actor).await;
                approved.map(|_| "approved")
            }
            Self::Reject => {
                let rejected = revisions.reject_draft(seen, message, actor).await;
                rejected.map(|_| "rejected")
            }
            Self::Rebase => revisions.rebase_draft(id, actor).await.map(|_| "rebased"),
            Self::Discard => revisions
                .discard_draft(id, actor)
                .await
                .map(|_| "discarded"),
            Self::Apply => {
                let Revision(revision) = revisions.apply_draft(seen, actor).await?.revision;
                return Ok(format!("/console/revisions/{revision}?done=written"));
            }
        }?;
        Ok(format!("/console/drafts/{}?done={done}", id.0))
    }
}

/// `POST /console/drafts/{draft}/…`.
pub(super) fn step(step: Step) -> MethodRouter<Arc<Console>> {
    post(move |console, visit, draft, form| take(step, console, visit, draft, form))
}

/// What cannot be done is said on the draft's own page, as it is by now.
async fn take(
    step: Step,
    State(console): State<Arc<Console>>,
    visit: Visit,
    Path(draft): Path<String>,
    Submitted(form): Submitted,
) -> Answer {
    let id = number(&draft)?;
    let error = match step.take(&console, &visit, id, &form).await {
        Ok(path) => return see_other(&path),
        Err(error) => error,
    };
    let said = sentence(&error);
    match Refused::from(error) {
        Refused::Conflict(_) | Refused::Unreadable(_) => {
            let part = part(id, &Parameters::default())?;
            let shown = draft_page(&console, &visit, id, &part, Some(said)).await?;
            super::answer::html(http::StatusCode::CONFLICT, &shown)
        }
        refused => Err(refused),
    }
}

#[cfg(test)]
pub(super) fn samples(text: &str) -> Vec<(&'static str, String)> {
    let moment = || Moment::of(Timestamp::from_seconds(0), Timestamp::from_seconds(9));
    let row = || Row {
        id: 3,
        version: 2,
        state: "submitted",
        badge: "warn",
        revision: Some(7),
        author: text.to_owned(),
        message: text.to_owned(),
        parent: Some(6),
        approvals: 1,
        needed: 2,
        at: moment(),
    };
    let list = DraftsPage {
        frame: Frame::sample(text),
        with_those_over: true,
        rows: vec![row()],
        older: Some(3),
    };
    let offers = |is_offered: bool| {
        let offer = || Offer {
            is_offered,
            reason: text.to_owned(),
        };
        Offers {
            edit: offer(),
            submit: offer(),
            comment: offer(),
            approve: offer(),
            reject: offer(),
            rebase: offer(),
            apply: offer(),
            discard: offer(),
        }
    };
    let one = |is_offered| DraftPage {
        frame: Frame::sample(text),
        row: row(),
        is_alive: true,
        is_behind: true,
        offers: offers(is_offered),
        preview: crate::console::preview::sample(text),
        objects: vec![Object {
            name: text.to_owned(),
            path: crate::console::link::with_query("/console/edit", &[("name", text)]),
        }],
        approvals: vec![Approval {
            who: text.to_owned(),
            message: text.to_owned(),
            counts: false,
            at: moment(),
        }],
        comments: vec![Said {
            who: text.to_owned(),
            text: text.to_owned(),
            version: 1,
            at: moment(),
        }],
        text: text.to_owned(),
        refusal: Some(text.to_owned()),
    };
    let draft = one(true).render().unwrap() + &one(false).render().unwrap();
    vec![("drafts", list.render().unwrap()), ("draft", draft)]
}
