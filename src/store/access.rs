//! Requests for access and grants. Every change of state is conditional on the state before it, so that of two who decide at once one does, and is
//! written in one transaction with its event.

use std::collections::HashSet;
use std::time::Duration;

use crate::access::{
    AccessId, Asked, EndOfGrant, GrantRecord, Granted, OpenRequest, Refused, Withdrawn,
};
use crate::audit::event::access::About;
use crate::audit::event::{Event, actor};
use crate::clock::Timestamp;
use crate::identity::principal::Principal;
use crate::store::changes::Change;
use crate::store::dialect::{Transaction, Turn, args};
use crate::store::{Store, StoreError, within};

mod rows;

use rows::{principal_of, senseless};

/// How long requests and grants that are over are kept; the audit log knows of them for longer.
const KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What became of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It waits to be decided under this id: the new one's, or that of a request of theirs for the same that was open already.
    Waits(AccessId),
    /// They have asked for the same rule in other words, under this id, and nobody has decided yet.
    Otherwise(AccessId),
    /// They have as many open requests as anybody may.
    TooMany,
    /// They have asked as often within a day as anybody may.
    TooOften,
}

/// What became of taking access without an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The grant: a new one, or the one that its holder took before, if it still holds.
    Granted(AccessId),
    /// What they took last was taken away from them, and nobody has looked at it since.
    Revoked,
    /// They have asked as often within a day as anybody may.
    TooOften,
}

/// How many requests somebody may make: open ones, and within a day, those that they took back among them.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// At a time.
    pub open: i64,
    /// Within a day.
    pub a_day: i64,
}

/// How an open request is closed.
struct Closing<'a> {
    id: &'a AccessId,
    state: &'static str,
    at: Timestamp,
    by: Option<&'a str>,
    why: Option<&'a str>,
}

/// What events tell of a row that was changed.
type Touched = (String, String, String);

fn json_of(id: &AccessId, principal: &Principal) -> Result<String, StoreError> {
    let written = serde_json::to_string(principal);
    written.map_err(|_| senseless("access_requests", &id.0, "principal cannot be written"))
}

fn about<'a>(asked: &'a Asked, session: Option<&'a str>) -> About<'a> {
    About {
        id: &asked.id.0,
        person: &asked.principal,
        rule: &asked.rule,
        session,
    }
}

impl Transaction {
    async fn has_asked_often(&mut self, asked: &Asked, most: Most) -> Result<bool, StoreError> {
        let person = &asked.principal;
        let counted: Vec<(i64,)> = self
            .fetch(
                "SELECT COUNT(*) FROM access_requests WHERE issuer = $1 AND subject = $2 AND asked_at > $3",
                args![&*person.issuer, &*person.subject, asked.at.minus(DAY)],
            )
            .await?;
        Ok(counted.first().is_some_and(|&(count,)| count >= most.a_day))
    }
}

impl Store {
    /// Keeps an open request, unless its sender has one for the same rule, or as many as they may.
    pub async fn open_access_request(
        &self,
        open: &OpenRequest,
        most: Most,
        session: Option<&str>,
    ) -> Result<Opened, StoreError> {
        let asked = open.asked();
        let person = (&*asked.principal.issuer, &*asked.principal.subject);
        within(async {
            let mut transaction = self.database.begin().await?;
            // Without a turn, two at once could both be the last that may be.
            transaction.take_turn(Turn::AskForAccess).await?;
            let theirs: Vec<(String, String, String, String, i64)> = transaction
                .fetch(
                    "SELECT id, rule, reason, route, lasting FROM access_requests \
                     WHERE issuer = $1 AND subject = $2 AND state = 'open' AND expires_at > $3",
                    args![person.0, person.1, asked.at],
                )
                .await?;
            let same = { theirs.iter() }.find(|(_, rule, ..)| **rule == *asked.rule);
            if let Some((id, _, reason, route, lasting)) = same {
                let id = AccessId(id.as_str().into());
                let is_alike = *reason == asked.reason
                    && **route == *asked.place.route
                    && u64::try_from(*lasting) == Ok(asked.lasting.as_secs());
                return Ok(match is_alike {
                    true => Opened::Waits(id),
                    false => Opened::Otherwise(id),
                });
            }
            if i64::try_from(theirs.len()).unwrap_or(i64::MAX) >= most.open {
                return Ok(Opened::TooMany);
            }
            if transaction.has_asked_often(asked, most).await? {
                return Ok(Opened::TooOften);
            }
            transaction.insert_request(asked, "open").await?;
            let event = Event::access_asked(
                about(asked, session),
                &asked.place.route,
                &asked.reason,
                asked.lasting.as_secs(),
            );
            transaction
                .commit_with(&[event], &[Change::RequestsChanged], asked.at)
                .await?;
            Ok(Opened::Waits(asked.id.clone()))
        })
        .await
    }

    /// Keeps a grant; false if the request was decided, taken back or too old before.
    pub async fn grant_access(
        &self,
        granted: &Granted,
        session: Option<&str>,
    ) -> Result<bool, StoreError> {
        let asked = &granted.asked;
        within(async {
            let mut transaction = self.database.begin().await?;
            let closing = Closing {
                id: &asked.id,
                state: "granted",
                at: granted.at,
                by: Some(&actor(&granted.by)),
                why: None,
            };
            if !transaction.close_request(&closing).await? {
                return Ok(false);
            }
            transaction.insert_grant(granted).await?;
            let until = granted.until.rfc3339();
            let event = Event::access_granted(about(asked, session), &granted.by, &until);
            transaction
                .commit_with(&[event], &[Change::GrantsChanged], granted.at)
                .await?;
            Ok(true)
        })
        .await
    }

    /// Keeps a grant that nobody was asked for. After a revocation there is none for that person and rule until an approver has looked at that, or, where they had
    /// looked before or had granted it themselves, until it would have ended.
    pub async fn take_access(
        &self,
        granted: &Granted,
        most: Most,
        session: Option<&str>,
    ) -> Result<Taken, StoreError> {
        let asked = &granted.asked;
        within(async {
            let mut transaction = self.database.begin().await?;
            transaction.take_turn(Turn::AskForAccess).await?;
            let found: Vec<(String, bool)> = transaction
                .fetch(
                    "SELECT id, ended_at IS NULL FROM grants WHERE issuer = $1 AND subject = $2 AND rule = $3 \
                     AND ((break_glass = 1 AND ended_at IS NULL AND until > $4) OR (end_reason = 'revoked' AND \
                     ((break_glass = 1 AND reviewed_at IS NULL) OR (until > $4 AND (reviewed_at IS NULL OR reviewed_at < ended_at)))))",
                    args![
                        &*asked.principal.issuer,
                        &*asked.principal.subject,
                        &*asked.rule,
                        granted.at
                    ],
                )
                .await?;
            if found.iter().any(|(_, is_live)| !is_live) {
                return Ok(Taken::Revoked);
            }
            if let Some((id, _)) = found.into_iter().next() {
                return Ok(Taken::Granted(AccessId(id.into())));
            }
            if transaction.has_asked_often(asked, most).await? {
                return Ok(Taken::TooOften);
            }
            transaction.insert_request(asked, "granted").await?;
            transaction.insert_grant(granted).await?;
            let event = Event::access_break_glass(
                about(asked, session),
                &asked.place.route,
                &asked.reason,
                &granted.until.rfc3339(),
            );
            transaction.commit_with(&[event], &[Change::GrantsChanged], granted.at).await?;
            Ok(Taken::Granted(asked.id.clone()))
        })
        .await
    }

    /// Keeps a refusal; false if the request was decided, taken back or too old before.
    pub async fn refuse_access(
        &self,
        refused: &Refused,
        session: Option<&str>,
    ) -> Result<bool, StoreError> {
        let event =
            Event::access_refused(about(&refused.asked, session), &refused.by, &refused.why);
        let closing = Closing {
            id: &refused.asked.id,
            state: "refused",
            at: refused.at,
            by: Some(&actor(&refused.by)),
            why: Some(&refused.why),
        };
        self.close_access(&closing, event).await
    }

    /// Takes a request back; false if it was decided or too old before.
    pub async fn withdraw_access(
        &self,
        withdrawn: &Withdrawn,
        session: Option<&str>,
    ) -> Result<bool, StoreError> {
        let event = Event::access_withdrawn(about(&withdrawn.asked, session));
        let closing = Closing {
            id: &withdrawn.asked.id,
            state: "withdrawn",
            at: withdrawn.at,
            by: None,
            why: None,
        };
        self.close_access(&closing, event).await
    }

    async fn close_access(&self, closing: &Closing<'_>, event: Event) -> Result<bool, StoreError> {
        within(async {
            let mut transaction = self.database.begin().await?;
            if !transaction.close_request(closing).await? {
                return Ok(false);
            }
            transaction
                .commit_with(&[event], &[Change::RequestsChanged], closing.at)
                .await?;
            Ok(true)
        })
        .await
    }

    /// Ends a grant before its time; false if it was over before.
    pub async fn end_grant(
        &self,
        grant: &GrantRecord,
        by: &Principal,
        how: EndOfGrant,
        session: Option<&str>,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        within(async {
            let mut transaction = self.database.begin().await?;
            let ended = transaction
                .execute(
                    "UPDATE grants SET ended_at = $2, end_reason = $3 \
                     WHERE id = $1 AND ended_at IS NULL AND until > $2",
                    args![&*grant.id.0, now, how.as_str()],
                )
                .await?;
            if ended == 0 {
                return Ok(false);
            }
            let event = Event::access_ended(of_grant(grant, session), Some(by), how.as_str());
            transaction
                .commit_with(&[event], &[Change::GrantsChanged], now)
                .await?;
            Ok(true)
        })
        .await
    }

    /// Notes that somebody looked at a grant that nobody was asked for; false if somebody has before.
    pub async fn review_grant(
        &self,
        grant: &GrantRecord,
        by: &Principal,
        note: &str,
        session: Option<&str>,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        within(async {
            let mut transaction = self.database.begin().await?;
            let reviewed = transaction
                .execute(
                    "UPDATE grants SET reviewed_at = $2, reviewed_by = $3, review_note = $4 \
                     WHERE id = $1 AND break_glass = 1 AND reviewed_at IS NULL",
                    args![&*grant.id.0, now, actor(by), note],
                )
                .await?;
            if reviewed == 0 {
                return Ok(false);
            }
            let event = Event::access_reviewed(of_grant(grant, session), by, note);
            transaction
                .commit_with(&[event], &[Change::RequestsChanged], now)
                .await?;
            Ok(true)
        })
        .await
    }
}

fn of_grant<'a>(grant: &'a GrantRecord, session: Option<&'a str>) -> About<'a> {
    About {
        id: &grant.id.0,
        person: &grant.principal,
        rule: &grant.rule,
        session,
    }
}

impl Transaction {
    async fn insert_request(
        &mut self,
        asked: &Asked,
        state: &'static str,
    ) -> Result<(), StoreError> {
        let seconds = i64::try_from(asked.lasting.as_secs()).unwrap_or(i64::MAX);
        self.execute(
            "INSERT INTO access_requests (id, issuer, subject, principal, rule, route, method, host, target, reason, \
             lasting, asked_at, expires_at, state, decided_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
            args![
                &*asked.id.0,
                &*asked.principal.issuer,
                &*asked.principal.subject,
                json_of(&asked.id, &asked.principal)?,
                &*asked.rule,
                &*asked.place.route,
                asked.place.method.as_str(),
                asked.place.host.as_str(),
                asked.place.target.as_str(),
                asked.reason.as_str(),
                seconds,
                asked.at,
                asked.expires_at,
                state,
                (state != "open").then_some(asked.at.micros())
            ],
        )
        .await?;
        Ok(())
    }

    async fn insert_grant(&mut self, granted: &Granted) -> Result<(), StoreError> {
        let asked = &granted.asked;
        self.execute(
            "INSERT INTO grants (id, issuer, subject, principal, rule, reason, granted_by, granted_at, until, break_glass) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            args![
                &*asked.id.0,
                &*asked.principal.issuer,
                &*asked.principal.subject,
                json_of(&asked.id, &asked.principal)?,
                &*asked.rule,
                asked.reason.as_str(),
                actor(&granted.by),
                granted.at,
                granted.until,
                i64::from(granted.break_glass)
            ],
        )
        .await?;
        Ok(())
    }

    /// False if it is not open any more.
    async fn close_request(&mut self, closing: &Closing<'_>) -> Result<bool, StoreError> {
        let closed = self
            .execute(
                "UPDATE access_requests SET state = $2, decided_at = $3, decided_by = $4, why = $5 \
                 WHERE id = $1 AND state = 'open' AND expires_at > $3",
                args![
                    &*closing.id.0,
                    closing.state,
                    closing.at,
                    closing.by,
                    closing.why
                ],
            )
            .await?;
        Ok(closed == 1)
    }

    /// Closes requests and grants whose time is up, and deletes what was over long ago; the events that tell of the former.
    pub(in crate::store) async fn sweep_access(
        &mut self,
        now: Timestamp,
    ) -> Result<Vec<Event>, StoreError> {
        let expired: Vec<Touched> = self
            .fetch(
                "UPDATE access_requests SET state = 'expired', decided_at = $1 \
                 WHERE state = 'open' AND expires_at <= $1 RETURNING id, principal, rule",
                args![now],
            )
            .await?;
        let over: Vec<Touched> = self
            .fetch(
                "UPDATE grants SET ended_at = until, end_reason = 'over' \
                 WHERE ended_at IS NULL AND until <= $1 RETURNING id, principal, rule",
                args![now],
            )
            .await?;
        let old = now.minus(KEPT);
        self.execute(
            "DELETE FROM grants WHERE ended_at <= $1 AND (break_glass = 0 OR reviewed_at IS NOT NULL)",
            args![old],
        )
        .await?;
        self.execute(
            "DELETE FROM access_requests WHERE state <> 'open' AND decided_at <= $1 \
             AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.id = access_requests.id)",
            args![old],
        )
        .await?;
        let how = EndOfGrant::Over.as_str();
        let mut events = told("access_requests", expired, Event::access_expired)?;
        let end = |about: About<'_>| Event::access_ended(about, None, how);
        events.extend(told("grants", over, end)?);
        Ok(events)
    }
}

impl Transaction {
    /// Ends what was asked for and granted by rules that there are no more: another one that comes to have such a name was nobody's to grant then. `rules` are
    /// the names of all that there are.
    pub(in crate::store) async fn end_access_without_rule(
        &mut self,
        rules: &HashSet<&str>,
        now: Timestamp,
    ) -> Result<Vec<Event>, StoreError> {
        let is_without = |(_, _, rule): &Touched| !rules.contains(&**rule);
        let open: Vec<Touched> = self
            .fetch(
                "SELECT id, principal, rule FROM access_requests WHERE state = 'open' AND expires_at > $1",
                args![now],
            )
            .await?;
        let open: Vec<Touched> = open.into_iter().filter(is_without).collect();
        for (id, ..) in &open {
            self.execute(
                "UPDATE access_requests SET state = 'expired', decided_at = $2 WHERE id = $1",
                args![id.as_str(), now],
            )
            .await?;
        }
        let live: Vec<Touched> = self
            .fetch(
                "SELECT id, principal, rule FROM grants WHERE ended_at IS NULL AND until > $1",
                args![now],
            )
            .await?;
        let live: Vec<Touched> = live.into_iter().filter(is_without).collect();
        let how = EndOfGrant::RuleGone.as_str();
        for (id, ..) in &live {
            self.execute(
                "UPDATE grants SET ended_at = $2, end_reason = $3 WHERE id = $1",
                args![id.as_str(), now, how],
            )
            .await?;
        }
        let mut events = told("access_requests", open, Event::access_expired)?;
        let end = |about: About<'_>| Event::access_ended(about, None, how);
        events.extend(told("grants", live, end)?);
        Ok(events)
    }
}

fn told(
    table: &'static str,
    touched: Vec<Touched>,
    event: impl Fn(About<'_>) -> Event,
) -> Result<Vec<Event>, StoreError> {
    let events = touched.iter().map(|(id, principal, rule)| {
        let person = principal_of(table, id, principal)?;
        Ok(event(About {
            id,
            person: &person,
            rule,
            session: None,
        }))
    });
    events.collect()
}
