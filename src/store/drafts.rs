//! Drafts of policy, with approvals and comments. Every write says which version and state it saw, and does nothing to any other.

use crate::audit::event::Event;
use crate::audit::event::drafts::{Doer, DraftStep, DraftVersion};
use crate::clock::Timestamp;
use crate::identity::principal::PersonId;
use crate::policy::draft::{DraftId, DraftState};
use crate::policy::model::Revision;
use crate::secret::sha256;
use crate::store::changes::Change;
use crate::store::dialect::{Transaction, Turn, args};
use crate::store::{Store, StoreError, within};

mod reviews;

pub use reviews::{Approval, Approved, Comment};

/// A draft without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftRecord {
    /// Its number.
    pub id: DraftId,
    /// Counts the changes of its text, message and parent, from 1.
    pub version: i64,
    /// Where it stands.
    pub state: DraftState,
    /// Who made it, as the history calls them.
    pub author: String,
    /// Who made it; `None` for whoever had the operator token.
    pub person: Option<PersonId>,
    /// Why, in their words: the message of the revision.
    pub message: String,
    /// The revision that it was made against.
    pub parent: Option<Revision>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last, or went to another state.
    pub changed_at: Timestamp,
    /// How many approved of this version.
    pub approvals: i64,
}

/// A draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// All but its text.
    pub record: DraftRecord,
    /// The document.
    pub text: String,
}

/// What a draft says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Why.
    pub message: String,
    /// The document.
    pub text: String,
    /// The revision that it was made against.
    pub parent: Option<Revision>,
}

impl Draft {
    pub(in crate::store) fn tell<T>(&self, event: impl FnOnce(DraftVersion<'_>) -> T) -> T {
        let record = &self.record;
        told(record.id, record.version, record.parent, &self.text, event)
    }
}

fn told<T>(
    id: DraftId,
    version: i64,
    parent: Option<Revision>,
    text: &str,
    event: impl FnOnce(DraftVersion<'_>) -> T,
) -> T {
    let text_sha256 = hex::encode(sha256(text.as_bytes()));
    event(DraftVersion {
        draft: id.0,
        version,
        parent: parent.map(|parent| parent.0),
        text_sha256: &text_sha256,
    })
}

#[derive(sqlx::FromRow)]
struct DraftRow {
    id: i64,
    version: i64,
    state: String,
    author: String,
    issuer: Option<String>,
    subject: Option<String>,
    message: String,
    text: String,
    parent: Option<i64>,
    revision: Option<i64>,
    created_at: i64,
    changed_at: i64,
    approvals: i64,
}

impl TryFrom<DraftRow> for Draft {
    type Error = StoreError;

    fn try_from(row: DraftRow) -> Result<Self, StoreError> {
        let senseless = |what: &str| StoreError::Inconsistent {
            table: "drafts",
            id: row.id.to_string(),
            what: what.to_owned(),
        };
        let state = DraftState::parse(&row.state, row.revision.map(Revision))
            .ok_or_else(|| senseless("its state and revision do not fit"))?;
        let person = match (&row.issuer, &row.subject) {
            (Some(issuer), Some(subject)) => Some(PersonId {
                issuer: issuer.as_str().into(),
                subject: subject.as_str().into(),
            }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(senseless("half an author")),
        };
        Ok(Self {
            record: DraftRecord {
                id: DraftId(row.id),
                version: row.version,
                state,
                author: row.author,
                person,
                message: row.message,
                parent: row.parent.map(Revision),
                created_at: Timestamp::from_micros(row.created_at),
                changed_at: Timestamp::from_micros(row.changed_at),
                approvals: row.approvals,
            },
            text: row.text,
        })
    }
}

/// A query for [`DraftRow`]s: how the text is read, and what follows the table's name.
macro_rules! drafts_that {
    ($text:literal, $rest:literal) => {
        concat!(
            "SELECT id, version, state, author, issuer, subject, message, ",
            $text,
            " AS text, parent, revision, created_at, changed_at, (SELECT COUNT(*) FROM draft_approvals \
             WHERE draft_approvals.draft = drafts.id AND draft_approvals.version = drafts.version) AS approvals FROM drafts ",
            $rest
        )
    };
}

impl Store {
    /// A draft.
    pub async fn draft(&self, id: DraftId) -> Result<Option<Draft>, StoreError> {
        let sql = drafts_that!("text", "WHERE id = $1");
        let rows: Vec<DraftRow> = within(self.database.fetch(sql, args![id.0])).await?;
        rows.into_iter().next().map(Draft::try_from).transpose()
    }

    /// The newest drafts before one, or of all, newest first; at most `limit`. Those that are over only if they are wanted.
    pub async fn drafts(
        &self,
        with_those_over: bool,
        before: Option<DraftId>,
        limit: u16,
    ) -> Result<Vec<DraftRecord>, StoreError> {
        let before = before.map_or(i64::MAX, |id| id.0);
        let sql = drafts_that!(
            "''",
            "WHERE id < $1 AND ($2 = 1 OR state IN ('open', 'submitted', 'rejected')) ORDER BY id DESC LIMIT $3"
        );
        let args = args![before, i64::from(with_those_over), i64::from(limit)];
        let rows: Vec<DraftRow> = within(self.database.fetch(sql, args)).await?;
        rows.into_iter()
            .map(|row| Draft::try_from(row).map(|draft| draft.record))
            .collect()
    }

    /// Makes a draft, unless its author has `most` already that are not over.
    pub async fn open_draft(
        &self,
        content: &Content,
        doer: Doer<'_>,
        most: i64,
    ) -> Result<Option<DraftId>, StoreError> {
        let person = doer.principal.map(|principal| principal.person_id());
        let issuer = person.as_ref().map(|person| &*person.issuer);
        let subject = person.as_ref().map(|person| &*person.subject);
        within(async {
            let mut transaction = self.database.begin().await?;
            transaction.take_turn(Turn::OpenDraft).await?;
            let found: Vec<(i64, Option<i64>)> = transaction
                .fetch(
                    "SELECT (SELECT COUNT(*) FROM drafts WHERE state IN ('open', 'submitted', 'rejected') \
                     AND COALESCE(issuer, '') = $1 AND COALESCE(subject, '') = $2), (SELECT MAX(id) FROM drafts)",
                    args![issuer.unwrap_or_default(), subject.unwrap_or_default()],
                )
                .await?;
            let (open, newest) = found.first().copied().unwrap_or_default();
            if open >= most {
                return Ok(None);
            }
            let id = DraftId(newest.unwrap_or(0).saturating_add(1));
            let now = self.clock.now();
            transaction
                .execute(
                    "INSERT INTO drafts (id, version, state, author, issuer, subject, message, text, parent, created_at, changed_at) \
                     VALUES ($1, 1, 'open', $2, $3, $4, $5, $6, $7, $8, $8)",
                    args![
                        id.0,
                        doer.name,
                        issuer,
                        subject,
                        content.message.as_str(),
                        content.text.as_str(),
                        content.parent.map(|parent| parent.0),
                        now
                    ],
                )
                .await?;
            let event = told(id, 1, content.parent, &content.text, |about| {
                Event::draft(DraftStep::Saved, doer, about)
            });
            transaction.commit_with(&[event], &[Change::DraftsChanged], now).await?;
            Ok(Some(id))
        })
        .await
    }

    /// Gives a draft other words, which makes another version of it. `false`: it is not what was seen any more.
    pub async fn rewrite_draft(
        &self,
        seen: &DraftRecord,
        to: &DraftState,
        content: &Content,
        step: DraftStep<'_>,
        doer: Doer<'_>,
    ) -> Result<bool, StoreError> {
        within(async {
            let mut transaction = self.database.begin().await?;
            let now = self.clock.now();
            let written = transaction
                .execute(
                    "UPDATE drafts SET version = version + 1, state = $4, message = $5, text = $6, parent = $7, changed_at = $8 \
                     WHERE id = $1 AND version = $2 AND state = $3",
                    args![
                        seen.id.0,
                        seen.version,
                        seen.state.as_str(),
                        to.as_str(),
                        content.message.as_str(),
                        content.text.as_str(),
                        content.parent.map(|parent| parent.0),
                        now
                    ],
                )
                .await?;
            if written == 0 {
                return Ok(false);
            }
            let version = seen.version.saturating_add(1);
            let event = told(seen.id, version, content.parent, &content.text, |about| {
                Event::draft(step, doer, about)
            });
            transaction.commit_with(&[event], &[Change::DraftsChanged], now).await?;
            Ok(true)
        })
        .await
    }

    /// Takes a draft to another state. `false`: it is not what was seen any more.
    pub async fn move_draft(
        &self,
        seen: &Draft,
        to: &DraftState,
        step: DraftStep<'_>,
        doer: Doer<'_>,
    ) -> Result<bool, StoreError> {
        within(async {
            let mut transaction = self.database.begin().await?;
            let now = self.clock.now();
            if !transaction.move_draft(&seen.record, to, now).await? {
                return Ok(false);
            }
            // Who rejected it and why stands among what is said of it.
            if let DraftStep::Rejected(why) = step {
                let text = format!("Rejected: {why}");
                transaction
                    .comment(&seen.record, &text, doer.name, i64::MAX, now)
                    .await?;
            }
            let event = seen.tell(|about| Event::draft(step, doer, about));
            transaction
                .commit_with(&[event], &[Change::DraftsChanged], now)
                .await?;
            Ok(true)
        })
        .await
    }
}

impl Transaction {
    /// `false`: it is not what was seen any more, and stays as it is.
    pub(in crate::store) async fn move_draft(
        &mut self,
        seen: &DraftRecord,
        to: &DraftState,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let moved = self
            .execute(
                "UPDATE drafts SET state = $4, revision = $5, changed_at = $6 WHERE id = $1 AND version = $2 AND state = $3",
                args![
                    seen.id.0,
                    seen.version,
                    seen.state.as_str(),
                    to.as_str(),
                    to.revision().map(|revision| revision.0),
                    at
                ],
            )
            .await?;
        Ok(moved == 1)
    }
}
