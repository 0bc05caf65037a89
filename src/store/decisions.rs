//! Recorded decisions: what edges ship, taken in once; what replay and explaining read.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::audit::decision::{Decided, Decision, Recorded};
use crate::audit::event::Event;
use crate::clock::Timestamp;
use crate::identity::principal::Principal;
use crate::secret::sha256;
use crate::store::activity::{Counted, Counts, SLOT};
use crate::store::dialect::{Transaction, args};
use crate::store::people::{PersonId, words_of};
use crate::store::{Store, StoreError, within};

/// What is alike within so many microseconds is one row.
const BUCKET: i64 = 60 * 60 * 1_000_000;
/// How many decisions are read at once; more where more were last made in the same microsecond. What was taken in together lies together, in no order: with
/// fewer, its pages are read again and again.
const PAGE: i64 = 10_000;

/// Where a page ends; nothing where no more than a page is left.
const PAGE_END: &str =
    "SELECT last_at FROM decisions WHERE last_at > $1 ORDER BY last_at LIMIT 1 OFFSET $2";

/// A page as one text, a line for each row: handing a row over to the caller's thread costs more than reading it. In no order, which would cost as much again.
const READ_PAGE: &str = "SELECT string_agg(concat_ws(' ', coalesce(principal, '-'), count, last_at, body), $4) \
     FROM decisions WHERE last_at > $1 AND last_at <= $2 AND first_at < $3";

/// Key, principal, body, count, first and last time: read by position, since there are many.
pub(in crate::store) type DecisionRow = (String, Option<String>, String, i64, i64, i64);

/// A row that is to be written.
struct Written {
    id: String,
    principal: Option<String>,
    body: String,
    count: i64,
    first_at: i64,
    last_at: i64,
}

/// Where reading goes on: after what was last made at this moment.
#[derive(Clone, Copy, Debug)]
pub struct DecisionCursor(i64);

impl DecisionCursor {
    /// Before everything that was decided at this moment or later.
    pub fn since(moment: Timestamp) -> Self {
        Self(moment.micros().saturating_sub(1))
    }
}

/// Decisions as they were read from the store.
#[derive(Debug, Default)]
pub struct DecisionPage(String);

/// One of them.
#[derive(Debug)]
pub struct DecisionRead<'a> {
    /// Who asked.
    pub principal: Option<&'a Arc<Principal>>,
    /// What another policy can be asked about it.
    pub recorded: Recorded<'a>,
    /// How often.
    pub count: i64,
    /// When last, in microseconds since the Unix epoch.
    pub last_at: i64,
}

impl DecisionPage {
    /// Each of them, in no order. `known` is what the page was read with.
    pub fn rows<'a>(
        &'a self,
        known: &'a KnownPrincipals,
    ) -> impl Iterator<Item = Result<DecisionRead<'a>, StoreError>> {
        self.lines().map(|line| read_line(line, known))
    }

    /// JSON has no line breaks.
    fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.split('\n').filter(|line| !line.is_empty())
    }
}

/// A line of [`READ_PAGE`]: only the body has spaces.
fn read_line<'a>(
    line: &'a str,
    known: &'a KnownPrincipals,
) -> Result<DecisionRead<'a>, StoreError> {
    let mut parts = line.splitn(4, ' ');
    let mut part = || parts.next().ok_or_else(|| not_whole(line));
    let principal = part()?;
    let mut number = || part()?.parse().map_err(|_fault| not_whole(line));
    let (count, last_at) = (number()?, number()?);
    let recorded = serde_json::from_str(part()?);
    Ok(DecisionRead {
        principal: match principal {
            "-" => None,
            id => Some(known.0.get(id).ok_or_else(|| not_whole(line))?),
        },
        recorded: recorded.map_err(|fault| senseless(named(line), &fault))?,
        count,
        last_at,
    })
}

/// What a fault says of a line: everything but the decision itself.
fn named(line: &str) -> &str {
    line.split(" {").next().unwrap_or_default()
}

fn not_whole(line: &str) -> StoreError {
    StoreError::Inconsistent {
        table: "decisions",
        id: named(line).to_owned(),
        what: "the row is not whole".to_owned(),
    }
}

/// Principals that were read already, by id.
#[derive(Debug, Default)]
pub struct KnownPrincipals(foldhash::HashMap<String, Arc<Principal>>);

fn json(of: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(of).map_err(|fault| senseless("a decision", &fault))
}

fn senseless(id: &str, fault: &serde_json::Error) -> StoreError {
    StoreError::Inconsistent {
        table: "decisions",
        id: id.to_owned(),
        what: format!("{:?}", fault.classify()),
    }
}

/// What makes rows one: everything but the id and the path, and the hour. A denial of a person is a row of its own.
fn key(decided: &Decided, principal: Option<&str>) -> Result<String, StoreError> {
    let decision = &decided.decision;
    if !decision.is_allowed && principal.is_some() {
        return Ok(decision.id.clone());
    }
    let alike = Decision {
        id: String::new(),
        path: String::new(),
        ..decision.clone()
    };
    let hour = decided.first_at.div_euclid(BUCKET);
    Ok(hex::encode(sha256(
        json(&(hour, principal, alike))?.as_bytes(),
    )))
}

/// Rows by key, and principals with the time they were last seen; both in order, so that edges that write the same rows do not deadlock.
#[derive(Default)]
struct Batch {
    principals: BTreeMap<String, (String, i64, PersonId)>,
    /// What they are found by, their principals and times.
    people: BTreeMap<PersonId, (String, String, i64)>,
    counts: Counts,
    rows: BTreeMap<String, Written>,
    events: Vec<(i64, Event)>,
}

impl Batch {
    fn of(all: &[Decided]) -> Result<Self, StoreError> {
        let mut batch = Self::default();
        for decided in all {
            let principal = match &decided.principal {
                Some(principal) => Some(batch.principal(principal, decided.last_at)?),
                None => None,
            };
            let key = key(decided, principal.as_deref())?;
            if !decided.decision.is_allowed {
                let event = Event::denied(decided);
                batch.events.push((decided.first_at, event));
            }
            let (at, route) = (decided.last_at, &decided.decision.route);
            let counted = match decided.decision.is_allowed {
                true => Counted::Allowed,
                false => Counted::Denied,
            };
            batch.counts.add(at, counted, route, decided.count);
            let row = Written {
                id: decided.decision.id.clone(),
                principal,
                body: json(&decided.decision)?,
                count: decided.count,
                first_at: decided.first_at,
                last_at: decided.last_at,
            };
            match batch.rows.get_mut(&key) {
                Some(present) => {
                    present.count += row.count;
                    present.first_at = present.first_at.min(row.first_at);
                    present.last_at = present.last_at.max(row.last_at);
                }
                None => {
                    batch.rows.insert(key, row);
                }
            }
        }
        batch.events.sort_by_key(|(at, _)| *at);
        Ok(batch)
    }

    /// Its id.
    fn principal(&mut self, principal: &Principal, at: i64) -> Result<String, StoreError> {
        let text = json(principal)?;
        let id = hex::encode(sha256(text.as_bytes()));
        let person = PersonId::of(principal);
        // Whoever is known here is a person; what acts for them is of the decision alone.
        let person_text = match principal.agents.as_slice() {
            [] => text.clone(),
            _ => json(&principal.through(Vec::new()))?,
        };
        let last = (words_of(principal), person_text, at);
        let known = self.people.entry(person.clone()).or_insert(last.clone());
        if known.2 < at {
            *known = last;
        }
        let seen = self.principals.entry(id.clone());
        let seen = seen.or_insert((text, at, person));
        seen.1 = seen.1.max(at);
        Ok(id)
    }
}

impl Store {
    /// Takes in a part of a spool's segment; one that was taken in before is not again.
    pub async fn take_in(&self, part: &str, decided: &[Decided]) -> Result<(), StoreError> {
        let batch = Batch::of(decided)?;
        within(async {
            let mut transaction = self.database.begin().await?;
            let now = self.clock.now();
            let new = transaction
                .execute(
                    "INSERT INTO spool_segments (id, at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                    args![part, now],
                )
                .await?;
            if new == 0 {
                return Ok(());
            }
            transaction.write_batch(&batch).await?;
            transaction.count(&batch.counts).await?;
            let events: Vec<Event> = batch.events.into_iter().map(|(_, event)| event).collect();
            transaction.tell(&events, now).await?;
            transaction.commit().await
        })
        .await
    }

    /// Decisions until a moment, those that were last made longest ago first, and where to go on; `None` when there are no more.
    pub async fn decisions(
        &self,
        after: DecisionCursor,
        until: Timestamp,
        known: &mut KnownPrincipals,
    ) -> Result<(DecisionPage, Option<DecisionCursor>), StoreError> {
        let end: Vec<(i64,)> =
            within(self.database.fetch(PAGE_END, args![after.0, PAGE - 1])).await?;
        let next = end.first().map(|(end,)| DecisionCursor(*end));
        let to = next.map_or(i64::MAX, |next| next.0);
        let found: Vec<(Option<String>,)> = within(
            self.database
                .fetch(READ_PAGE, args![after.0, to, until, "\n"]),
        )
        .await?;
        let page = found.into_iter().find_map(|(page,)| page);
        let page = page.map(DecisionPage).unwrap_or_default();
        for line in page.lines() {
            let id = line.split(' ').next().filter(|id| *id != "-");
            if let Some(id) = id.filter(|id| !known.0.contains_key(*id)) {
                self.decided_principal(id, known).await?;
            }
        }
        Ok((page, next))
    }

    /// When the oldest decision was last made; `None` when none is recorded.
    pub async fn recorded_since(&self) -> Result<Option<Timestamp>, StoreError> {
        let oldest: Vec<(i64,)> = within(self.database.fetch(
            "SELECT last_at FROM decisions ORDER BY last_at LIMIT 1",
            args![],
        ))
        .await?;
        Ok(oldest.first().map(|&(at,)| Timestamp::from_micros(at)))
    }

    /// The decision of this id.
    pub async fn decision(&self, id: &str) -> Result<Option<Decided>, StoreError> {
        let rows: Vec<DecisionRow> = within(self.database.fetch(
            "SELECT key, principal, body, count, first_at, last_at FROM decisions WHERE id = $1 LIMIT 1",
            args![id],
        ))
        .await?;
        let mut known = KnownPrincipals::default();
        let read = self.read_decisions(rows, &mut known).await?;
        Ok(read.into_iter().next())
    }

    pub(in crate::store) async fn read_decisions(
        &self,
        rows: Vec<DecisionRow>,
        known: &mut KnownPrincipals,
    ) -> Result<Vec<Decided>, StoreError> {
        let mut read = Vec::with_capacity(rows.len());
        for (key, principal, body, count, first_at, last_at) in rows {
            let principal = match &principal {
                Some(id) => Some(self.decided_principal(id, known).await?),
                None => None,
            };
            let decision = serde_json::from_str(&body);
            read.push(Decided {
                principal,
                decision: decision.map_err(|fault| senseless(&key, &fault))?,
                count,
                first_at,
                last_at,
            });
        }
        Ok(read)
    }

    async fn decided_principal(
        &self,
        id: &str,
        known: &mut KnownPrincipals,
    ) -> Result<Arc<Principal>, StoreError> {
        if let Some(principal) = known.0.get(id) {
            return Ok(Arc::clone(principal));
        }
        let rows: Vec<(String,)> = within(self.database.fetch(
            "SELECT principal FROM decided_principals WHERE id = $1",
            args![id],
        ))
        .await?;
        let (text,) = rows.first().ok_or_else(|| StoreError::Inconsistent {
            table: "decided_principals",
            id: id.to_owned(),
            what: "the row is missing".to_owned(),
        })?;
        let principal = serde_json::from_str(text).map_err(|fault| senseless(id, &fault))?;
        let principal = Arc::new(principal);
        known.0.insert(id.to_owned(), Arc::clone(&principal));
        Ok(principal)
    }

    /// Deletes decisions that are older than this, and what only they needed.
    pub async fn prune_decisions(&self, before: Timestamp) -> Result<(), StoreError> {
        within(async {
            let mut transaction = self.database.begin().await?;
            transaction
                .execute(
                    "DELETE FROM activity WHERE slot < $1",
                    args![before.micros().div_euclid(SLOT)],
                )
                .await?;
            for sql in [
                "DELETE FROM decisions WHERE last_at < $1",
                // Whoever is written is marked as seen in the same transaction, so none that is named is older than what names it.
                "DELETE FROM decided_principals WHERE last_at < $1",
                "DELETE FROM spool_segments WHERE at < $1",
            ] {
                transaction.execute(sql, args![before]).await?;
            }
            transaction.commit().await
        })
        .await
    }
}

impl Transaction {
    async fn write_batch(&mut self, batch: &Batch) -> Result<(), StoreError> {
        for (id, (text, at, person)) in &batch.principals {
            self.execute(
                "INSERT INTO decided_principals (id, principal, last_at, person) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (id) DO UPDATE SET person = excluded.person, last_at = CASE \
                 WHEN excluded.last_at > decided_principals.last_at THEN excluded.last_at ELSE decided_principals.last_at END",
                args![id.as_str(), text.as_str(), *at, person.as_str()],
            )
            .await?;
        }
        for (id, (words, principal, at)) in &batch.people {
            self.see(id, words, principal, *at).await?;
        }
        for (key, row) in &batch.rows {
            self.execute(
                "INSERT INTO decisions (key, id, principal, body, count, first_at, last_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7) \
                 ON CONFLICT (key) DO UPDATE SET count = decisions.count + excluded.count, \
                 first_at = CASE WHEN excluded.first_at < decisions.first_at THEN excluded.first_at ELSE decisions.first_at END, \
                 last_at = CASE WHEN excluded.last_at > decisions.last_at THEN excluded.last_at ELSE decisions.last_at END",
                args![
                    key.as_str(),
                    row.id.as_str(),
                    row.principal.as_deref(),
                    row.body.as_str(),
                    row.count,
                    row.first_at,
                    row.last_at
                ],
            )
            .await?;
        }
        Ok(())
    }
}
