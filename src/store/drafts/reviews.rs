//! What others say of drafts.

use crate::audit::event::Event;
use crate::audit::event::drafts::{Doer, DraftStep};
use crate::clock::Timestamp;
use crate::identity::principal::{PersonId, Principal};
use crate::policy::draft::DraftId;
use crate::store::changes::Change;
use crate::store::dialect::{Transaction, args};
use crate::store::drafts::{Draft, DraftRecord};
use crate::store::{Store, StoreError, within};

/// Somebody approved of a version of a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Who, as they were then.
    pub principal: Principal,
    /// In their words.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// What became of an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approved {
    /// It is kept.
    Kept,
    /// They had approved of this version already.
    Already,
    /// The draft is not what they saw any more.
    Overtaken,
}

/// Something that was said of a draft.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Comment {
    /// Its number among those of the draft, from 1.
    pub number: i64,
    /// The version that was there.
    pub version: i64,
    /// Who, as the history calls them.
    pub author: String,
    /// What.
    pub text: String,
    /// When, in microseconds since the Unix epoch.
    pub at: i64,
}

fn principal_of(draft: DraftId, json: &str) -> Result<Principal, StoreError> {
    serde_json::from_str(json).map_err(|fault| StoreError::Inconsistent {
        table: "draft_approvals",
        id: draft.0.to_string(),
        what: format!("principal: {:?}", fault.classify()),
    })
}

impl Store {
    /// Keeps somebody's approval of what they saw, once.
    pub async fn approve_draft(
        &self,
        seen: &Draft,
        principal: &Principal,
        message: &str,
        doer: Doer<'_>,
    ) -> Result<Approved, StoreError> {
        let record = &seen.record;
        let json = serde_json::to_string(principal).map_err(|fault| StoreError::Inconsistent {
            table: "draft_approvals",
            id: record.id.0.to_string(),
            what: format!("principal: {:?}", fault.classify()),
        })?;
        within(async {
            let mut transaction = self.database.begin().await?;
            let now = self.clock.now();
            // Locks the draft against a change of its words until the approval is kept.
            if !transaction.move_draft(record, &record.state, now).await? {
                return Ok(Approved::Overtaken);
            }
            let kept = transaction
                .execute(
                    "INSERT INTO draft_approvals (draft, version, issuer, subject, principal, message, at) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
                    args![
                        record.id.0,
                        record.version,
                        &*principal.issuer,
                        &*principal.subject,
                        json,
                        message,
                        now
                    ],
                )
                .await?;
            if kept == 0 {
                return Ok(Approved::Already);
            }
            let step = DraftStep::Approved(message);
            let event = seen.tell(|about| Event::draft(step, doer, about));
            transaction.commit_with(&[event], &[Change::DraftsChanged], now).await?;
            Ok(Approved::Kept)
        })
        .await
    }

    /// Who approved of a draft's version, in that order.
    pub async fn draft_approvals(&self, of: &DraftRecord) -> Result<Vec<Approval>, StoreError> {
        let rows: Vec<(String, String, i64)> = within(self.database.fetch(
            "SELECT principal, message, at FROM draft_approvals WHERE draft = $1 AND version = $2 ORDER BY at, issuer, subject",
            args![of.id.0, of.version],
        ))
        .await?;
        let read = |(principal, message, at): (String, String, i64)| {
            Ok(Approval {
                principal: principal_of(of.id, &principal)?,
                message,
                at: Timestamp::from_micros(at),
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// Keeps a comment, unless the draft has `most` already; gives its number.
    pub async fn comment_draft(
        &self,
        seen: &Draft,
        text: &str,
        doer: Doer<'_>,
        most: i64,
    ) -> Result<Option<i64>, StoreError> {
        let record = &seen.record;
        within(async {
            let mut transaction = self.database.begin().await?;
            let now = self.clock.now();
            let number = transaction
                .comment(record, text, doer.name, most, now)
                .await?;
            let Some(number) = number else {
                return Ok(None);
            };
            let event = seen.tell(|about| Event::draft_commented(doer, about, number));
            transaction
                .commit_with(&[event], &[Change::DraftsChanged], now)
                .await?;
            Ok(Some(number))
        })
        .await
    }

    /// What was said of a draft, in that order.
    pub async fn draft_comments(&self, id: DraftId) -> Result<Vec<Comment>, StoreError> {
        within(self.database.fetch(
            "SELECT number, version, author, text, at FROM draft_comments WHERE draft = $1 ORDER BY number",
            args![id.0],
        ))
        .await
    }

    /// A person as their provider described them last, if any session of theirs is still known.
    pub async fn newest_principal(&self, of: &PersonId) -> Result<Option<Principal>, StoreError> {
        let rows: Vec<(String, String)> = within(self.database.fetch(
            "SELECT id, principal FROM sessions WHERE issuer = $1 AND subject = $2 ORDER BY heard_at DESC, created_at DESC LIMIT 1",
            args![&*of.issuer, &*of.subject],
        ))
        .await?;
        let read = |(id, json): (String, String)| {
            serde_json::from_str(&json).map_err(|fault| StoreError::Inconsistent {
                table: "sessions",
                id,
                what: format!("principal: {:?}", fault.classify()),
            })
        };
        rows.into_iter().next().map(read).transpose()
    }
}

impl Transaction {
    /// Writes what somebody says of a draft, unless `most` was said already; gives its number.
    pub(in crate::store) async fn comment(
        &mut self,
        record: &DraftRecord,
        text: &str,
        author: &str,
        most: i64,
        at: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        // Comments of one draft come one after another.
        let draft = record.id.0;
        self.execute(
            "UPDATE drafts SET version = version WHERE id = $1",
            args![draft],
        )
        .await?;
        let newest: Vec<(Option<i64>,)> = self
            .fetch(
                "SELECT MAX(number) FROM draft_comments WHERE draft = $1",
                args![draft],
            )
            .await?;
        let number = newest.first().and_then(|&(newest,)| newest).unwrap_or(0);
        if number >= most {
            return Ok(None);
        }
        let number = number.saturating_add(1);
        self.execute(
            "INSERT INTO draft_comments (draft, number, version, author, text, at) VALUES ($1, $2, $3, $4, $5, $6)",
            args![draft, number, record.version, author, text, at],
        )
        .await?;
        Ok(Some(number))
    }
}
