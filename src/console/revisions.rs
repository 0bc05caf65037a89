//! Revisions: who changed what, when and why; what differs between any two; and going back.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};

use crate::admin::revisions::{RevisionsError, Writing};
use crate::clock::Timestamp;
use crate::console::answer::{Answer, Refused, page, see_other, sentence};
use crate::console::changes::{Changes, Part};
use crate::console::frame::Frame;
use crate::console::guard::{Query, Submitted, Visit};
use crate::console::preview::{Preview, faults};
use crate::console::{Console, cursor};
use crate::policy::model::Revision;
use crate::store::policy::RevisionRecord;
use crate::web::moment::Moment;
use crate::web::parameters::Parameters;

/// Revisions of one page.
const PAGE: u16 = 50;

/// A revision in a list.
struct Row {
    number: i64,
    parent: i64,
    author: String,
    message: String,
    at: Moment,
    draft: Option<i64>,
    is_emergency: bool,
    restores: Option<i64>,
    is_current: bool,
}

fn row(record: &RevisionRecord, current: Option<Revision>, now: Timestamp) -> Row {
    Row {
        number: record.revision.0,
        parent: record.parent.map_or(0, |parent| parent.0),
        author: record.author.clone(),
        message: record.message.clone(),
        at: Moment::of(record.created_at, now),
        draft: record.draft.map(|draft| draft.0),
        is_emergency: record.is_emergency,
        restores: record.restores.map(|restored| restored.0),
        is_current: current == Some(record.revision),
    }
}

#[derive(Template)]
#[template(path = "console/revisions.html")]
struct RevisionsPage {
    frame: Frame,
    rows: Vec<Row>,
    older: Option<i64>,
}

/// `GET /console/revisions`.
pub(super) async fn list(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Query(query): Query,
) -> Answer {
    let now = console.clock.now();
    let before = query.one("before").map(cursor::number).transpose()?;
    let history = console
        .revisions
        .history(before.map(Revision), PAGE)
        .await?;
    let current = console.store.current_revision().await?;
    let oldest = history
        .last()
        .filter(|_| history.len() == usize::from(PAGE));
    let older = oldest
        .map(|record| record.revision.0)
        .filter(|oldest| *oldest > 1);
    page(&RevisionsPage {
        frame: Frame::of(&visit, "Revisions"),
        rows: history
            .iter()
            .map(|record| row(record, current, now))
            .collect(),
        older,
    })
}

#[derive(Template)]
#[template(path = "console/revision.html")]
struct RevisionPage {
    frame: Frame,
    row: Row,
    changes: Changes,
    may_write: bool,
}

/// `GET /console/revisions/{revision}`.
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Path(revision): Path<String>,
    Query(query): Query,
) -> Answer {
    let revision = number(&revision)?;
    let part = Part::of(format!("/console/revisions/{}", revision.0), &[], &query)?;
    let (record, found) = console.revisions.show(revision).await?;
    let current = console.store.current_revision().await?;
    page(&RevisionPage {
        frame: Frame::of(&visit, format!("Revision {}", revision.0)),
        row: row(&record, current, console.clock.now()),
        changes: Changes::of(&found, &part),
        may_write: console.revisions.check_own_writing(&visit.actor).is_ok(),
    })
}

/// What is no number is no revision.
fn number(text: &str) -> Result<Revision, Refused> {
    cursor::number(text)
        .map(Revision)
        .map_err(|_| Refused::NotFound)
}

#[derive(Template)]
#[template(path = "console/compare.html")]
struct ComparePage {
    frame: Frame,
    from: i64,
    to: i64,
    changes: Changes,
}

/// `GET /console/revisions/compare`: by default the last two.
pub(super) async fn compare(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Query(query): Query,
) -> Answer {
    let asked = |name| query.one(name).map(cursor::number).transpose();
    let (from, to) = (asked("from")?, asked("to")?);
    let current = console.store.current_revision().await?;
    let to = to.map(Revision).or(current).ok_or(Refused::NotFound)?;
    let from = from.unwrap_or_else(|| to.0.saturating_sub(1).max(1));
    let own = [("from", from), ("to", to.0)];
    let part = Part::of("/console/revisions/compare".to_owned(), &own, &query)?;
    let found = console.revisions.diff(Revision(from), to).await?;
    page(&ComparePage {
        frame: Frame::of(&visit, "Compare revisions"),
        from,
        to: to.0,
        changes: Changes::of(&found, &part),
    })
}

#[derive(Template)]
#[template(path = "console/rollback.html")]
struct RollbackPage {
    frame: Frame,
    number: i64,
    /// The revision that this page saw as the current one.
    parent: i64,
    message: String,
    /// Why it was not done.
    refusal: Option<String>,
    preview: Preview,
    /// Why it cannot be done by whoever asks.
    refused: Option<String>,
    /// It can be left for review instead.
    may_draft: bool,
}

/// `GET /console/revisions/{revision}/rollback`: what going back would come to.
pub(super) async fn ask_rollback(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Path(revision): Path<String>,
    Query(query): Query,
) -> Answer {
    let revision = number(&revision)?;
    let part = rollback_part(revision, &query)?;
    page(&rollback_page(&console, &visit, revision, String::new(), &part, None).await?)
}

/// Which of the objects that going back would change are to be seen.
fn rollback_part(revision: Revision, query: &Parameters) -> Result<Part, Refused> {
    let path = format!("/console/revisions/{}/rollback", revision.0);
    Part::of(path, &[], query)
}

async fn rollback_page(
    console: &Console,
    visit: &Visit,
    revision: Revision,
    message: String,
    part: &Part,
    refusal: Option<String>,
) -> Result<RollbackPage, Refused> {
    let now = console.clock.now();
    let parent = console.store.current_revision().await?;
    let (_, text) = console.revisions.export(Some(revision)).await?;
    let preview = match console.revisions.foresee(&visit.actor, &text, now).await? {
        Ok(foreseen) => Preview::of(&foreseen, part, now),
        Err(found) => Preview::faulty(faults(&found, Some)),
    };
    let refused = console.revisions.check_own_revision(&visit.actor);
    Ok(RollbackPage {
        frame: Frame::of(visit, format!("Back to revision {}", revision.0)),
        number: revision.0,
        parent: parent.map_or(0, |parent| parent.0),
        message,
        refusal,
        preview,
        may_draft: console.revisions.check_own_writing(&visit.actor).is_ok(),
        refused: refused.err().map(|error| sentence(&error)),
    })
}

/// `POST /console/revisions/{revision}/rollback`: onto what the page saw, or as a draft against it.
pub(super) async fn rollback(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Path(revision): Path<String>,
    Submitted(form): Submitted,
) -> Answer {
    let revision = number(&revision)?;
    let parent = cursor::number(form.one("parent").unwrap_or_default())?;
    let message = form.one("message").unwrap_or_default().to_owned();
    let parent = Some(Revision(parent)).filter(|parent| parent.0 > 0);
    let revisions = &console.revisions;
    if form.one("do") == Some("draft") {
        let (_, text) = revisions.export(Some(revision)).await?;
        let saving = crate::admin::drafts::Saving {
            draft: None,
            text,
            message,
            parent,
        };
        let draft = revisions.save_draft(saving, &visit.actor).await?;
        return see_other(&format!("/console/drafts/{}?done=saved", draft.id.0));
    }
    let writing = Writing {
        parent,
        message: message.clone(),
        is_emergency: false,
    };
    match revisions.rollback(revision, &visit.actor, &writing).await {
        Ok(outcome) => {
            let path = format!("/console/revisions/{}?done=written", outcome.revision.0);
            see_other(&path)
        }
        Err(error @ (RevisionsError::Conflict(_) | RevisionsError::Note(_))) => {
            let said = sentence(&error);
            let part = rollback_part(revision, &Parameters::default())?;
            let shown = rollback_page(&console, &visit, revision, message, &part, Some(said));
            super::answer::html(http::StatusCode::CONFLICT, &shown.await?)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
pub(super) fn samples(text: &str) -> Vec<(&'static str, String)> {
    let record = RevisionRecord {
        revision: Revision(7),
        parent: Some(Revision(6)),
        author: text.to_owned(),
        message: text.to_owned(),
        created_at: Timestamp::from_seconds(0),
        draft: Some(crate::policy::draft::DraftId(3)),
        is_emergency: true,
        restores: Some(Revision(5)),
    };
    let row = || row(&record, Some(Revision(7)), Timestamp::from_seconds(9));
    let changes = || crate::console::changes::sample(text);
    let list = RevisionsPage {
        frame: Frame::sample(text),
        rows: vec![row()],
        older: Some(7),
    };
    let one = RevisionPage {
        frame: Frame::sample(text),
        row: row(),
        changes: changes(),
        may_write: true,
    };
    let compare = ComparePage {
        frame: Frame::sample(text),
        from: 1,
        to: 2,
        changes: changes(),
    };
    let rollback = RollbackPage {
        frame: Frame::sample(text),
        number: 7,
        parent: 9,
        message: text.to_owned(),
        refusal: Some(text.to_owned()),
        preview: crate::console::preview::sample(text),
        refused: Some(text.to_owned()),
        may_draft: true,
    };
    vec![
        ("revisions", list.render().unwrap()),
        ("revision", one.render().unwrap()),
        ("compare", compare.render().unwrap()),
        ("rollback", rollback.render().unwrap()),
    ]
}
