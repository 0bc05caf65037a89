//! Rows of sessions and of the cookies that lead to them.
//!
//! An ended session stays as a tombstone for a day, without tokens and cookies; every write is conditional on
//! `ended_at IS NULL`, so nothing revives it.

use std::collections::BTreeSet;

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::audit::event::Event;
use crate::clock::Timestamp;
use crate::identity::principal::{Groups, Principal};
use crate::secret::{SecretString, TokenHash};
use crate::session::{EndReason, ProviderTokens, SessionId, SessionRecord};
use crate::store::activity::{Counted, Counts};
use crate::store::audit::escaped;
use crate::store::changes::Change;
use crate::store::dialect::{Transaction, args};
use crate::store::people::{PersonId, words_of};
use crate::store::{Store, StoreError, within};

/// A query for [`SessionRow`]s: what follows their table's name.
macro_rules! sessions_that {
    ($rest:expr) => {
        concat!(
            "SELECT sessions.id, sessions.principal, sessions.provider_sid, sessions.peer, sessions.browser, sessions.created_at, \
             sessions.last_seen, sessions.expires_at, sessions.refresh_at FROM sessions ",
            $rest
        )
    };
}

pub(in crate::store) use sessions_that;

/// How many sessions tell which groups there are.
const SESSIONS_LOOKED_AT: i64 = 5000;

#[derive(sqlx::FromRow)]
pub(in crate::store) struct SessionRow {
    id: String,
    principal: String,
    provider_sid: Option<String>,
    peer: Option<String>,
    browser: Option<String>,
    created_at: i64,
    last_seen: i64,
    expires_at: i64,
    refresh_at: i64,
}

impl TryFrom<SessionRow> for SessionRecord {
    type Error = StoreError;

    fn try_from(row: SessionRow) -> Result<Self, StoreError> {
        let id = SessionId(row.id.into());
        Ok(Self {
            principal: principal_of(&id, &row.principal)?,
            id,
            provider_sid: row.provider_sid,
            peer: row.peer.and_then(|peer| peer.parse().ok()),
            browser: row.browser.map(Into::into),
            created_at: Timestamp::from_micros(row.created_at),
            last_seen: Timestamp::from_micros(row.last_seen),
            expires_at: Timestamp::from_micros(row.expires_at),
            refresh_at: Timestamp::from_micros(row.refresh_at),
        })
    }
}

fn ended_event(id: &SessionId, principal: &str, reason: &EndReason) -> Result<Event, StoreError> {
    let principal = principal_of(id, principal)?;
    let by = match reason {
        EndReason::Revoked(by) => Some(&**by),
        _ => None,
    };
    let reason = reason_text(reason);
    Ok(Event::session_ended(&principal, &id.label(), reason, by))
}

pub(in crate::store) fn record(rows: Vec<SessionRow>) -> Result<Option<SessionRecord>, StoreError> {
    rows.into_iter().next().map(TryInto::try_into).transpose()
}

fn principal_json(session: &SessionRecord) -> Result<String, StoreError> {
    serde_json::to_string(&session.principal).map_err(|fault| no_principal(&session.id, &fault))
}

pub(in crate::store) fn principal_of(id: &SessionId, json: &str) -> Result<Principal, StoreError> {
    serde_json::from_str(json).map_err(|fault| no_principal(id, &fault))
}

fn no_principal(id: &SessionId, fault: &serde_json::Error) -> StoreError {
    StoreError::Inconsistent {
        table: "sessions",
        id: id.0.to_string(),
        what: format!("principal: {:?}", fault.classify()),
    }
}

/// The provider's tokens as they are sealed, on the way in and on the way out.
#[derive(Serialize)]
struct TokensIn<'a> {
    refresh_token: Option<&'a str>,
    id_token: Option<&'a str>,
}

#[derive(Deserialize)]
struct TokensOut {
    refresh_token: Option<SecretString>,
    id_token: Option<SecretString>,
}

fn purpose(id: &SessionId) -> String {
    format!("session-tokens/{}", id.0)
}

const fn reason_text(reason: &EndReason) -> &'static str {
    match reason {
        EndReason::SignedOut => "signed_out",
        EndReason::ProviderLogout => "provider_logout",
        EndReason::RefreshRefused => "refresh_refused",
        EndReason::Replaced => "replaced",
        EndReason::Expired => "expired",
        EndReason::Revoked(_) => "revoked",
    }
}

impl Store {
    fn seal_tokens(&self, id: &SessionId, tokens: &ProviderTokens) -> Result<String, StoreError> {
        let tokens = TokensIn {
            refresh_token: tokens.refresh_token.as_ref().map(|t| t.expose_secret()),
            id_token: tokens.id_token.as_ref().map(|t| t.expose_secret()),
        };
        let json = Zeroizing::new(serde_json::to_vec(&tokens).map_err(|_| StoreError::Sealed)?);
        Ok(self.seal(&purpose(id), &json))
    }

    /// Keeps a new session with its first cookie (of `host`).
    pub async fn create_session(
        &self,
        session: &SessionRecord,
        tokens: &ProviderTokens,
        cookie: TokenHash,
        host: &str,
    ) -> Result<(), StoreError> {
        let principal = principal_json(session)?;
        let words = words_of(&session.principal);
        let tokens = self.seal_tokens(&session.id, tokens)?;
        within(async {
            let mut transaction = self.database.begin().await?;
            transaction
                .execute(
                    "INSERT INTO sessions (id, issuer, subject, provider_sid, principal, created_at, \
                     last_seen, expires_at, refresh_at, tokens, peer, label, words, heard_at, browser) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
                    args![
                        &*session.id.0,
                        &*session.principal.issuer,
                        &*session.principal.subject,
                        session.provider_sid.as_deref(),
                        principal.as_str(),
                        session.created_at,
                        session.last_seen,
                        session.expires_at,
                        session.refresh_at,
                        tokens,
                        session.peer.map(|peer| peer.to_string()),
                        session.id.label(),
                        words.as_str(),
                        session.created_at,
                        session.browser.as_deref()
                    ],
                )
                .await?;
            let now = self.clock.now();
            transaction
                .insert_cookie(&session.id, cookie, host, now)
                .await?;
            let person = PersonId::of(&session.principal);
            transaction
                .see(&person, &words, &principal, now.micros())
                .await?;
            let mut counts = Counts::default();
            counts.add(now.micros(), Counted::SignIn, "", 1);
            transaction.count(&counts).await?;
            let (label, until) = (session.id.label(), session.expires_at.rfc3339());
            let peer = session.peer.map(|peer| peer.to_string());
            let event = Event::sign_in(&session.principal, &label, &until, peer.as_deref());
            transaction.tell(&[event], now).await?;
            transaction.commit().await
        })
        .await
    }

    /// Adds the cookie of another host; false if the session has ended.
    pub async fn add_session_cookie(
        &self,
        session: &SessionId,
        cookie: TokenHash,
        host: &str,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        within(async {
            let mut transaction = self.database.begin().await?;
            // Writing the row keeps an end that happens at the same time waiting until this cookie is there to be deleted.
            let live = transaction
                .execute(
                    "UPDATE sessions SET last_seen = last_seen \
                     WHERE id = $1 AND ended_at IS NULL AND expires_at > $2",
                    args![&*session.0, now],
                )
                .await?;
            if live == 0 {
                return Ok(false);
            }
            transaction
                .insert_cookie(session, cookie, host, now)
                .await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    /// The live session that a cookie of this host leads to.
    pub async fn session_by_cookie(
        &self,
        cookie: TokenHash,
        host: &str,
    ) -> Result<Option<SessionRecord>, StoreError> {
        let rows = within(self.database.fetch(
            sessions_that!(
                "JOIN session_cookies c ON sessions.id = c.session \
                 WHERE c.hash = $1 AND c.host = $2 AND ended_at IS NULL AND expires_at > $3"
            ),
            args![cookie.to_hex(), host, self.clock.now()],
        ))
        .await?;
        record(rows)
    }

    /// A live session.
    pub async fn session(&self, id: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        let rows = within(self.database.fetch(
            sessions_that!("WHERE id = $1 AND ended_at IS NULL AND expires_at > $2"),
            args![&*id.0, self.clock.now()],
        ))
        .await?;
        record(rows)
    }

    /// The provider's tokens of a live session.
    pub async fn provider_tokens(
        &self,
        id: &SessionId,
    ) -> Result<Option<ProviderTokens>, StoreError> {
        let rows: Vec<(String,)> = within(self.database.fetch(
            "SELECT tokens FROM sessions \
             WHERE id = $1 AND ended_at IS NULL AND expires_at > $2 AND tokens IS NOT NULL",
            args![&*id.0, self.clock.now()],
        ))
        .await?;
        let Some((sealed,)) = rows.first() else {
            return Ok(None);
        };
        let json = self.unseal(&purpose(id), sealed)?;
        let tokens: TokensOut = serde_json::from_slice(&json).map_err(|_| StoreError::Sealed)?;
        Ok(Some(ProviderTokens {
            refresh_token: tokens.refresh_token,
            id_token: tokens.id_token,
        }))
    }

    /// Ends a session (its change is in the feed when this returns); false if it had ended before.
    pub async fn end_session(&self, id: &SessionId, reason: EndReason) -> Result<bool, StoreError> {
        let now = self.clock.now();
        within(async {
            let mut transaction = self.database.begin().await?;
            let Some(event) = transaction.end_row(id, &reason, now).await? else {
                return Ok(false);
            };
            let change = Change::SessionEnded(id.clone());
            transaction.commit_with(&[event], &[change], now).await?;
            Ok(true)
        })
        .await
    }

    /// Ends all sessions of a person, or those of one provider session (`sid`) when given; returns their ids.
    /// With both, both must match; with neither, nothing ends.
    pub async fn end_sessions_of(
        &self,
        issuer: &str,
        subject: Option<&str>,
        sid: Option<&str>,
        reason: EndReason,
    ) -> Result<Vec<SessionId>, StoreError> {
        if subject.is_none() && sid.is_none() {
            return Ok(Vec::new());
        }
        let now = self.clock.now();
        within(async {
            let mut transaction = self.database.begin().await?;
            // In the order of ids, as everybody who writes several rows, so that nobody deadlocks.
            let found: Vec<(String,)> = transaction
                .fetch(
                    "SELECT id FROM sessions WHERE issuer = $1 AND ended_at IS NULL \
                     AND (CAST($2 AS TEXT) IS NULL OR subject = $2) \
                     AND (CAST($3 AS TEXT) IS NULL OR provider_sid = $3) ORDER BY id",
                    args![issuer, subject, sid],
                )
                .await?;
            let (mut ended, mut events) = (Vec::new(), Vec::new());
            for (id,) in found {
                let id = SessionId(id.into());
                if let Some(event) = transaction.end_row(&id, &reason, now).await? {
                    ended.push(id);
                    events.push(event);
                }
            }
            transaction.tell(&events, now).await?;
            let changes: Vec<_> = ended.iter().cloned().map(Change::SessionEnded).collect();
            transaction.append(&changes, now).await?;
            transaction.commit().await?;
            Ok(ended)
        })
        .await
    }

    /// Records when sessions were last used; never moves backwards and never revives.
    pub async fn touch_sessions(&self, seen: &[(SessionId, Timestamp)]) -> Result<(), StoreError> {
        let mut seen: Vec<_> = seen.iter().collect();
        seen.sort();
        for batch in seen.chunks(500) {
            within(async {
                let mut transaction = self.database.begin().await?;
                for (id, at) in batch {
                    transaction
                        .execute(
                            "UPDATE sessions SET last_seen = $2 \
                             WHERE id = $1 AND last_seen < $2 AND ended_at IS NULL",
                            args![&*id.0, *at],
                        )
                        .await?;
                }
                transaction.commit().await
            })
            .await?;
        }
        Ok(())
    }

    /// Takes the right to refresh a session until `until`; exactly one replica gets it.
    pub async fn lease_refresh(
        &self,
        id: &SessionId,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        within(async {
            let mut transaction = self.database.begin().await?;
            let leased = transaction
                .execute(
                    "UPDATE sessions SET leased_until = $2 \
                     WHERE id = $1 AND leased_until <= $3 AND ended_at IS NULL",
                    args![&*id.0, until, self.clock.now()],
                )
                .await?;
            transaction.commit().await?;
            Ok(leased == 1)
        })
        .await
    }

    /// Gives back the lease that was taken until `until`, after a refresh that brought nothing.
    pub async fn release_refresh(
        &self,
        id: &SessionId,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        within(async {
            let mut transaction = self.database.begin().await?;
            transaction
                .execute(
                    "UPDATE sessions SET leased_until = 0 WHERE id = $1 AND leased_until = $2",
                    args![&*id.0, until],
                )
                .await?;
            transaction.commit().await
        })
        .await
    }

    /// Whoever last used a session with this vouched-for e-mail address, as they signed in; among sessions that are still kept.
    pub async fn last_principal(&self, email: &str) -> Result<Option<Principal>, StoreError> {
        let escaped = escaped(email);
        let rows: Vec<SessionRow> = within(self.database.fetch(
            sessions_that!("WHERE principal LIKE $1 ESCAPE '\\' ORDER BY last_seen DESC LIMIT 20"),
            args![format!("%\"{escaped}\"%")],
        ))
        .await?;
        for row in rows {
            let record = SessionRecord::try_from(row)?;
            let found = record.principal.email.as_ref();
            if found.is_some_and(|found| found.as_str() == email) {
                return Ok(Some(record.principal));
            }
        }
        Ok(None)
    }

    /// Whoever last signed in as this subject of a provider, as they did.
    pub async fn last_principal_of(
        &self,
        provider: &str,
        subject: &str,
    ) -> Result<Option<Principal>, StoreError> {
        let rows: Vec<SessionRow> = within(self.database.fetch(
            sessions_that!("WHERE subject = $1 ORDER BY last_seen DESC LIMIT 20"),
            args![subject],
        ))
        .await?;
        let records = rows.into_iter().map(SessionRecord::try_from);
        let records: Vec<SessionRecord> = records.collect::<Result<_, _>>()?;
        let mut people = records.into_iter().map(|record| record.principal);
        Ok(people.find(|person| *person.provider == *provider))
    }

    /// Everybody of the sessions used last, each as they were last, the latest first.
    pub async fn people_seen(&self) -> Result<Vec<Principal>, StoreError> {
        let mut known = std::collections::HashSet::new();
        let mut seen = self.sessions_seen().await?;
        seen.retain(|principal| known.insert(principal.person_id()));
        Ok(seen)
    }

    async fn sessions_seen(&self) -> Result<Vec<Principal>, StoreError> {
        let rows: Vec<SessionRow> = within(self.database.fetch(
            sessions_that!("ORDER BY last_seen DESC LIMIT $1"),
            args![SESSIONS_LOOKED_AT],
        ))
        .await?;
        let principal = |row| SessionRecord::try_from(row).map(|record| record.principal);
        rows.into_iter().map(principal).collect()
    }

    /// Every group that anybody of the sessions used last is in; `None` when no session says anything of groups.
    pub async fn groups_seen(&self) -> Result<Option<BTreeSet<String>>, StoreError> {
        let mut seen: Option<BTreeSet<String>> = None;
        for principal in self.sessions_seen().await? {
            if let Groups::Known(names) = principal.groups {
                let names = names.iter().map(|name| name.to_string());
                seen.get_or_insert_default().extend(names);
            }
        }
        Ok(seen)
    }

    /// Keeps the result of a refresh (principal, tokens, next refresh) and releases the lease; false if the session ended meanwhile.
    pub async fn store_refreshed(
        &self,
        session: &SessionRecord,
        tokens: &ProviderTokens,
    ) -> Result<bool, StoreError> {
        let principal = principal_json(session)?;
        let words = words_of(&session.principal);
        let tokens = self.seal_tokens(&session.id, tokens)?;
        within(async {
            let mut transaction = self.database.begin().await?;
            // A person is (issuer, subject): a refresh can never turn a session into somebody else's.
            let kept = transaction
                .execute(
                    "UPDATE sessions SET principal = $2, tokens = $3, refresh_at = $4, words = $7, leased_until = 0, heard_at = $8 \
                     WHERE id = $1 AND ended_at IS NULL AND issuer = $5 AND subject = $6",
                    args![
                        &*session.id.0,
                        principal.as_str(),
                        tokens,
                        session.refresh_at,
                        &*session.principal.issuer,
                        &*session.principal.subject,
                        words.as_str(),
                        self.clock.now()
                    ],
                )
                .await?;
            if kept == 0 {
                return Ok(false);
            }
            let now = self.clock.now();
            let person = PersonId::of(&session.principal);
            transaction
                .see(&person, &words, &principal, now.micros())
                .await?;
            let change = Change::SessionRefreshed(session.id.clone());
            transaction.append(&[change], now).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }
}

impl Transaction {
    async fn insert_cookie(
        &mut self,
        session: &SessionId,
        cookie: TokenHash,
        host: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO session_cookies (hash, session, host, created_at) VALUES ($1, $2, $3, $4)",
            args![cookie.to_hex(), &*session.0, host, at],
        )
        .await?;
        Ok(())
    }

    /// Deletes sessions past their absolute end, and tombstones; tells of the ends that nothing else told of.
    pub(in crate::store) async fn sweep_sessions(
        &mut self,
        now: Timestamp,
        old: Timestamp,
    ) -> Result<Vec<Event>, StoreError> {
        let expired: Vec<(String, String)> = self
            .fetch(
                "DELETE FROM sessions WHERE expires_at <= $1 AND ended_at IS NULL RETURNING id, principal",
                args![now],
            )
            .await?;
        self.execute(
            "DELETE FROM sessions WHERE expires_at <= $1 OR ended_at <= $2",
            args![now, old],
        )
        .await?;
        let ended = expired.into_iter().map(|(id, principal)| {
            let id = SessionId(id.into());
            ended_event(&id, &principal, &EndReason::Expired)
        });
        ended.collect()
    }

    /// Leaves a tombstone, and neither tokens nor cookies; the event that tells of it, or `None` if the session had ended before.
    pub(in crate::store) async fn end_row(
        &mut self,
        id: &SessionId,
        reason: &EndReason,
        at: Timestamp,
    ) -> Result<Option<Event>, StoreError> {
        let ended: Vec<(String,)> = self
            .fetch(
                "UPDATE sessions SET ended_at = $2, end_reason = $3, tokens = NULL \
                 WHERE id = $1 AND ended_at IS NULL RETURNING principal",
                args![&*id.0, at, reason_text(reason)],
            )
            .await?;
        self.execute(
            "DELETE FROM session_cookies WHERE session = $1",
            args![&*id.0],
        )
        .await?;
        let ended = ended.first();
        ended
            .map(|(principal,)| ended_event(id, principal, reason))
            .transpose()
    }
}
