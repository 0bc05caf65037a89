//! The feed of changes that every replica follows: new revisions, grants, ended sessions and token families, in commit order.
//! Written in the transaction of the change itself; Postgres also sends NOTIFY, which only wakes the reader.
//!
//! A reader skips kinds that it does not know, so that an edge of a newer release does not stop those of an older one. What an older edge must not miss is
//! therefore written under a kind that it knows, or a release later than readers learn of it. Releases before this one stop at an unknown kind: that signing keys
//! changed, or requests for access or drafts, is written as a change of grants with a subject, which they take for that and nothing more.

use std::time::Duration;

use crate::audit::event::Event;
use crate::clock::Timestamp;
use crate::policy::model::Revision;
use crate::session::{FamilyId, SessionId};
use crate::store::dialect::{Transaction, args};
use crate::store::{Store, StoreError, within};

/// How many changes one read returns at most.
const PAGE: i64 = 1000;
/// How long changes are kept: longer than any replica may go on without reading them.
pub(in crate::store) const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// A place in the feed: a change that was read, or its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedPoint {
    /// The number of the change; 0 before the first.
    pub seq: i64,
    /// When it was written, by which it is told from another of the same number in a store that was set back. `None` where that is not known.
    pub at: Option<Timestamp>,
}

/// Something that every replica must act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This revision is in force from now on.
    PolicyRevision(Revision),
    /// Whatever was open for it has to end.
    SessionEnded(SessionId),
    /// Principal or tokens of the session were refreshed: cached copies must be read again.
    SessionRefreshed(SessionId),
    /// Something was granted, or a grant ended before its time: what is live has to be read again.
    GrantsChanged,
    /// Tokens of this family are no longer good, although its session may be.
    FamilyEnded(FamilyId),
    /// A signing key was added or revoked: they have to be read again.
    SigningKeys,
    /// Somebody asked for access, or was answered: for pages that show it.
    RequestsChanged,
    /// A draft, or what is said of it: for pages that show it.
    DraftsChanged,
}

/// The subject of a change of grants that is one of signing keys.
const KEYS: &str = "signing_keys";
/// Of requests for access.
const REQUESTS: &str = "requests";
/// Of drafts.
const DRAFTS: &str = "drafts";

impl Change {
    fn columns(&self) -> (&'static str, String) {
        match self {
            Self::PolicyRevision(revision) => ("policy_revision", revision.0.to_string()),
            Self::SessionEnded(id) => ("session_ended", id.0.to_string()),
            Self::SessionRefreshed(id) => ("session_refreshed", id.0.to_string()),
            Self::GrantsChanged => ("grants_changed", String::new()),
            Self::FamilyEnded(id) => ("family_ended", id.0.to_string()),
            Self::SigningKeys => ("grants_changed", KEYS.to_owned()),
            Self::RequestsChanged => ("grants_changed", REQUESTS.to_owned()),
            Self::DraftsChanged => ("grants_changed", DRAFTS.to_owned()),
        }
    }
}

#[derive(sqlx::FromRow)]
struct ChangeRow {
    seq: i64,
    kind: String,
    subject: String,
    at: i64,
}

impl ChangeRow {
    fn point(&self) -> FeedPoint {
        FeedPoint {
            seq: self.seq,
            at: Some(Timestamp::from_micros(self.at)),
        }
    }
}

/// Nothing for a kind that is not known.
impl TryFrom<ChangeRow> for (FeedPoint, Option<Change>) {
    type Error = StoreError;

    fn try_from(row: ChangeRow) -> Result<Self, StoreError> {
        let senseless = |what: &str| StoreError::Inconsistent {
            table: "changes",
            id: row.seq.to_string(),
            what: what.to_owned(),
        };
        let change = match row.kind.as_str() {
            "policy_revision" => {
                let number = row.subject.parse();
                Change::PolicyRevision(Revision(
                    number.map_err(|_| senseless("not a revision number"))?,
                ))
            }
            "session_ended" => Change::SessionEnded(SessionId(row.subject.as_str().into())),
            "session_refreshed" => Change::SessionRefreshed(SessionId(row.subject.as_str().into())),
            "grants_changed" if row.subject == KEYS => Change::SigningKeys,
            "grants_changed" if row.subject == REQUESTS => Change::RequestsChanged,
            "grants_changed" if row.subject == DRAFTS => Change::DraftsChanged,
            "grants_changed" => Change::GrantsChanged,
            "family_ended" => Change::FamilyEnded(FamilyId(row.subject.as_str().into())),
            kind => {
                tracing::warn!(
                    kind,
                    "a newer release tells of a change that this one does not know"
                );
                return Ok((row.point(), None));
            }
        };
        Ok((row.point(), Some(change)))
    }
}

impl Transaction {
    /// Appends to the feed. Must come last in a transaction: it holds the feed's head until the commit, which
    /// makes numbers follow commit order, and whoever waited for a row while holding the head could deadlock.
    pub(in crate::store) async fn append(
        &mut self,
        changes: &[Change],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        for change in changes {
            let (kind, subject) = change.columns();
            let taken: Vec<(i64,)> = self
                .fetch(
                    "UPDATE feed_head SET seq = seq + 1 WHERE name = 'changes' RETURNING seq",
                    args![],
                )
                .await?;
            let &[(seq,)] = taken.as_slice() else {
                return Err(head_missing());
            };
            self.execute(
                "INSERT INTO changes (seq, kind, subject, at) VALUES ($1, $2, $3, $4)",
                args![seq, kind, subject, at],
            )
            .await?;
        }
        if !changes.is_empty() {
            self.announce().await?;
        }
        Ok(())
    }

    /// Ends with what tells of it: its events, and the changes that every replica hears of.
    pub(in crate::store) async fn commit_with(
        mut self,
        events: &[Event],
        changes: &[Change],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.tell(events, at).await?;
        self.append(changes, at).await?;
        self.commit().await
    }
}

fn head_missing() -> StoreError {
    StoreError::Inconsistent {
        table: "feed_head",
        id: "changes".to_owned(),
        what: "the row is missing".to_owned(),
    }
}

impl Store {
    /// The newest change.
    pub async fn feed_point(&self) -> Result<FeedPoint, StoreError> {
        let head: Vec<(i64, Option<i64>)> = within(self.database.fetch(
            "SELECT feed_head.seq, changes.at FROM feed_head \
             LEFT JOIN changes ON changes.seq = feed_head.seq WHERE name = 'changes'",
            args![],
        ))
        .await?;
        let &(seq, at) = head.first().ok_or_else(head_missing)?;
        Ok(FeedPoint {
            seq,
            at: at.map(Timestamp::from_micros),
        })
    }

    /// What comes after `after`, in order, 1,000 at most: the feed was read to its end when this returns nothing. A change of a kind that this release does not know is `None`.
    ///
    /// [`StoreError::AnotherHistory`] where the change at `after` is not there any more: the store was set back or replaced, or the reader was away
    /// for longer than the day that changes are kept. It has to start anew.
    pub async fn changes_after(
        &self,
        after: FeedPoint,
    ) -> Result<Vec<(FeedPoint, Option<Change>)>, StoreError> {
        let mut rows: Vec<ChangeRow> = within(self.database.fetch(
            "SELECT seq, kind, subject, at FROM changes WHERE seq >= $1 ORDER BY seq LIMIT $2",
            args![after.seq, PAGE + 1],
        ))
        .await?;
        let is_known = rows.first().is_some_and(|row| row.seq == after.seq);
        let known = is_known.then(|| rows.remove(0).point());
        let goes_on = match (after.at, known) {
            (Some(_), known) => known == Some(after),
            (None, Some(_)) => true,
            (None, None) => self.feed_point().await?.seq >= after.seq,
        };
        if !goes_on {
            return Err(StoreError::AnotherHistory);
        }
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Returns when there may be a change: on NOTIFY (Postgres) or a write of this process (SQLite), or after `at_most`.
    /// Nothing is missed between two calls; it may return for nothing.
    pub async fn wait_for_change(&self, at_most: Duration) {
        self.database.wait_for_change(at_most).await;
    }
}
