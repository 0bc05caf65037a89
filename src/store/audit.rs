//! The audit log: events are written in the transaction of what they tell of, one after another.

use std::time::Duration;

use crate::audit::chain::{Entry, Filed, Link};
use crate::audit::event::Event;
use crate::clock::Timestamp;
use crate::store::dialect::{Transaction, args};
use crate::store::{Store, StoreError, within};

/// How many events one read returns at most.
pub const PAGE: i64 = 1000;

/// Which events are wanted; all that is present must fit.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Of this kind.
    pub kind: Option<String>,
    /// By this actor.
    pub actor: Option<String>,
    /// At this moment or later.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
    /// With this text anywhere in the body, in capitals or not.
    pub contains: Option<String>,
}

/// A signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRecord {
    /// The event that it is about.
    pub seq: i64,
    /// When it was made.
    pub at: Timestamp,
    /// The signed JWT.
    pub token: String,
}

#[derive(sqlx::FromRow)]
struct EventRow {
    seq: i64,
    at: i64,
    kind: String,
    actor: String,
    body: String,
    hash: String,
}

impl From<EventRow> for Entry {
    fn from(row: EventRow) -> Self {
        Self {
            seq: row.seq,
            at: row.at,
            body: row.body,
            hash: row.hash,
            filed: Some(Filed {
                kind: row.kind,
                actor: row.actor,
            }),
        }
    }
}

#[derive(sqlx::FromRow)]
struct HeadRow {
    seq: i64,
    hash: String,
}

impl HeadRow {
    fn read(rows: Vec<Self>) -> Result<(i64, Link), StoreError> {
        let senseless = |what: &str| StoreError::Inconsistent {
            table: "audit_head",
            id: "events".to_owned(),
            what: what.to_owned(),
        };
        let row = rows.into_iter().next();
        let row = row.ok_or_else(|| senseless("the row is missing"))?;
        let link = Link::parse(&row.hash).ok_or_else(|| senseless("the hash is none"))?;
        Ok((row.seq, link))
    }
}

/// The filter's conditions, from the third placeholder on.
macro_rules! events_that {
    ($rest:literal) => {
        concat!(
            "SELECT seq, at, kind, actor, body, hash FROM audit_events WHERE ",
            "(CAST($3 AS TEXT) IS NULL OR kind = $3) AND (CAST($4 AS TEXT) IS NULL OR actor = $4 OR actor LIKE $8 ESCAPE '\\' ",
            "OR (CAST($9 AS TEXT) IS NOT NULL AND actor IN (SELECT theirs.actor FROM audit_events theirs ",
            "WHERE theirs.body LIKE '%\"email\":\"' || theirs.actor || $9 ESCAPE '\\'))) ",
            "AND at >= $5 AND at < $6 AND (CAST($7 AS TEXT) IS NULL OR lower(body) LIKE lower($7) ESCAPE '\\') AND ",
            $rest
        )
    };
}

/// Whoever has the operator token, whatever they say to be called.
fn with_a_name(actor: &str) -> Option<String> {
    (actor == "operator").then(|| "operator (%".to_owned())
}

/// Somebody by provider and subject who is called by their address: how the rest of a person reads in a body, behind that.
fn with_an_address(actor: &str) -> Option<String> {
    let (provider, subject) = actor.split_once('/')?;
    let json = |text: &str| escaped(&serde_json::Value::from(text).to_string());
    Some(format!(
        "\",\"provider\":{},\"subject\":{}%",
        json(provider),
        json(subject)
    ))
}

impl Transaction {
    /// Appends events. Comes after every other write but the change feed's: it holds the chain's head until the commit, which makes
    /// numbers follow commit order.
    pub(in crate::store) async fn tell(
        &mut self,
        events: &[Event],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let head = self
            .fetch(
                "UPDATE audit_head SET seq = seq WHERE name = 'events' RETURNING seq, hash",
                args![],
            )
            .await?;
        let (mut seq, mut link) = HeadRow::read(head)?;
        for event in events {
            let body = event.body();
            seq += 1;
            link = link.next(seq, at.micros(), &body);
            self.execute(
                "INSERT INTO audit_events (seq, at, kind, actor, body, hash) VALUES ($1, $2, $3, $4, $5, $6)",
                args![seq, at, event.kind(), event.actor(), body, link.to_string()],
            )
            .await?;
        }
        self.execute(
            "UPDATE audit_head SET seq = $1, hash = $2 WHERE name = 'events'",
            args![seq, link.to_string()],
        )
        .await?;
        Ok(())
    }
}

impl Store {
    /// The newest event's number and hash; 0 when there has been none.
    pub async fn audit_head(&self) -> Result<(i64, Link), StoreError> {
        let head = within(self.database.fetch(
            "SELECT seq, hash FROM audit_head WHERE name = 'events'",
            args![],
        ));
        HeadRow::read(head.await?)
    }

    /// Whether the event of this number has this hash, or was pruned. Number 0 is the beginning.
    pub async fn remembers_event(&self, seq: i64, link: Link) -> Result<bool, StoreError> {
        let event: Vec<(String,)> = within(
            self.database
                .fetch("SELECT hash FROM audit_events WHERE seq = $1", args![seq]),
        )
        .await?;
        if let Some((hash,)) = event.first() {
            return Ok(Link::parse(hash) == Some(link));
        }
        let pruned: Vec<(i64,)> = within(self.database.fetch(
            "SELECT pruned_to FROM audit_head WHERE name = 'events'",
            args![],
        ))
        .await?;
        Ok(pruned.first().is_some_and(|&(to,)| to >= seq))
    }

    /// The first events after a number, oldest first.
    pub async fn events_after(
        &self,
        after: i64,
        filter: &EventFilter,
        limit: i64,
    ) -> Result<Vec<Entry>, StoreError> {
        let sql = events_that!("seq > $1 ORDER BY seq LIMIT $2");
        self.events(sql, after, filter, limit).await
    }

    /// The last events before a number, newest first.
    pub async fn events_before(
        &self,
        before: i64,
        filter: &EventFilter,
        limit: i64,
    ) -> Result<Vec<Entry>, StoreError> {
        let sql = events_that!("seq < $1 ORDER BY seq DESC LIMIT $2");
        self.events(sql, before, filter, limit).await
    }

    async fn events(
        &self,
        sql: &'static str,
        from: i64,
        filter: &EventFilter,
        limit: i64,
    ) -> Result<Vec<Entry>, StoreError> {
        let contains = filter
            .contains
            .as_deref()
            .map(|text| format!("%{}%", escaped(text)));
        let args = args![
            from,
            limit.clamp(1, PAGE),
            filter.kind.as_deref(),
            filter.actor.as_deref(),
            filter.since.map_or(i64::MIN, Timestamp::micros),
            filter.until.map_or(i64::MAX, Timestamp::micros),
            contains,
            filter.actor.as_deref().and_then(with_a_name),
            filter.actor.as_deref().and_then(with_an_address),
        ];
        let rows: Vec<EventRow> = within(self.database.fetch(sql, args)).await?;
        Ok(rows.into_iter().map(Entry::from).collect())
    }

    /// All checkpoints, oldest first.
    pub async fn checkpoints(&self) -> Result<Vec<CheckpointRecord>, StoreError> {
        let rows: Vec<(i64, i64, String)> = within(self.database.fetch(
            "SELECT seq, at, token FROM audit_checkpoints ORDER BY seq",
            args![],
        ))
        .await?;
        let records = rows.into_iter().map(|(seq, at, token)| CheckpointRecord {
            seq,
            at: Timestamp::from_micros(at),
            token,
        });
        Ok(records.collect())
    }

    /// The newest checkpoint's event and time.
    pub async fn newest_checkpoint(&self) -> Result<Option<(i64, Timestamp)>, StoreError> {
        let rows: Vec<(i64, i64)> = within(self.database.fetch(
            "SELECT seq, at FROM audit_checkpoints ORDER BY seq DESC LIMIT 1",
            args![],
        ))
        .await?;
        let newest = rows.first();
        Ok(newest.map(|&(seq, at)| (seq, Timestamp::from_micros(at))))
    }

    /// Keeps a checkpoint, unless there is one of the same event.
    pub async fn keep_checkpoint(&self, seq: i64, token: &str) -> Result<(), StoreError> {
        within(async {
            let mut transaction = self.database.begin().await?;
            transaction
                .execute(
                    "INSERT INTO audit_checkpoints (seq, at, token) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                    args![seq, self.clock.now(), token],
                )
                .await?;
            transaction.commit().await
        })
        .await
    }

    /// Deletes events that are older than this, once the oldest is older by `slack`: up to a checkpoint that is older, and which stays, so that the
    /// chain can be followed from there. That something was deleted is an event. What is very much is deleted in several calls.
    pub async fn prune_events(&self, before: Timestamp, slack: Duration) -> Result<(), StoreError> {
        let oldest: Vec<(i64,)> = within(
            self.database
                .fetch("SELECT at FROM audit_events ORDER BY seq LIMIT 1", args![]),
        )
        .await?;
        let is_due = |&(at,): &(i64,)| Timestamp::from_micros(at) < before.minus(slack);
        if !oldest.first().is_some_and(is_due) {
            return Ok(());
        }
        within(async {
            let mut transaction = self.database.begin().await?;
            let found: Vec<(Option<i64>,)> = transaction
                .fetch(
                    "SELECT MAX(seq) FROM (SELECT seq FROM audit_checkpoints WHERE at < $1 AND seq > \
                     (SELECT pruned_to FROM audit_head WHERE name = 'events') ORDER BY seq LIMIT 100) AS old",
                    args![before],
                )
                .await?;
            let Some(&(Some(seq),)) = found.first() else {
                return Ok(());
            };
            transaction
                .execute(
                    "UPDATE audit_head SET pruned_to = $1 WHERE name = 'events' AND pruned_to < $1",
                    args![seq],
                )
                .await?;
            for sql in [
                "DELETE FROM audit_events WHERE seq <= $1",
                "DELETE FROM audit_checkpoints WHERE seq < $1",
            ] {
                transaction.execute(sql, args![seq]).await?;
            }
            let now = self.clock.now();
            let event = Event::pruned(seq, now.since(before).as_secs());
            transaction.tell(&[event], now).await?;
            transaction.commit().await
        })
        .await
    }
}

/// For `LIKE … ESCAPE '\'`.
pub(in crate::store) fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_")
}
