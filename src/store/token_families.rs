//! Rows of token families and of the refresh tokens that renew them.
//!
//! A family belongs to a session and is good only while that is. Used refresh tokens stay, so that one that comes a second time is recognised;
//! the family then ends, since nobody can tell which of the two who showed it is the thief (RFC 9700 §4.14.2).

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::audit::event::{Event, FamilyEvent};
use crate::clock::Timestamp;
use crate::identity::principal::{Agent, Principal};
use crate::secret::TokenHash;
use crate::session::{FamilyEnd, FamilyId, SessionId, SessionRecord};
use crate::store::changes::Change;
use crate::store::dialect::{Transaction, args};
use crate::store::sessions::{SessionRow, principal_of, record, sessions_that};
use crate::store::{Store, StoreError, within};

/// A family, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyRecord {
    /// Names it in tokens, the feed and events.
    pub id: FamilyId,
    /// What it is derived from.
    pub session: SessionId,
    /// Whom it was given to.
    pub client: String,
    /// RFC 7638 thumbprint of the key that its tokens are bound to.
    pub key_thumbprint: Option<String>,
    /// Present where an agent acts: its tokens say so, and are good at one route alone.
    pub acting: Option<Acting>,
}

/// An agent, and where it may act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acting {
    /// Who it is.
    pub agent: Agent,
    /// The route's name.
    pub route: Arc<str>,
    /// The route's origin, as text.
    pub audience: String,
}

/// A live family with which an agent acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActingFamily {
    /// The family.
    pub id: FamilyId,
    /// Who acts, and where.
    pub acting: Acting,
    /// When somebody let it.
    pub since: Timestamp,
}

/// Most agents of one person that are listed.
const LISTED: i64 = 200;

/// That a program acts for somebody who gave it their token.
pub struct Delegation<'a> {
    /// The family of the person's token.
    pub family: &'a FamilyId,
    /// Their session.
    pub session: &'a SessionId,
    /// Which program of theirs had the token.
    pub client: &'a str,
    /// Who they are.
    pub principal: &'a Principal,
    /// Who acts, the one that asks first.
    pub agents: &'a [Agent],
    /// Where.
    pub route: &'a str,
    /// Where it was asked from.
    pub peer: &'a str,
}

/// A live family, as the person sees it on whose behalf it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenTokens {
    /// What was given.
    pub family: FamilyRecord,
    /// How, as in `browser` and `device`, if that is known.
    pub how: Option<String>,
    /// Where the program asked from, if that is known.
    pub peer: Option<IpAddr>,
    /// When.
    pub at: Timestamp,
    /// When a refresh token of it was used last; access tokens are good for minutes after that.
    pub renewed_at: Timestamp,
}

/// What becomes of a refresh token that is presented.
#[derive(Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It was good, and is used up; the next one is kept.
    Rotated(FamilyRecord),
    /// It had been used before: its family has ended.
    Reused,
    /// Unknown, or its family or session has ended.
    Unknown,
    /// It belongs to another client or key; nothing was used up.
    NotTheirs,
}

#[derive(sqlx::FromRow)]
struct FamilyRow {
    id: String,
    session: String,
    client: String,
    key_thumbprint: Option<String>,
    acting: Option<String>,
}

impl FamilyRow {
    /// Of a family whose agent cannot be read nothing is given: its tokens would be the person's own.
    fn record(self) -> Result<FamilyRecord, StoreError> {
        let acting = self.acting.as_deref().map(serde_json::from_str).transpose();
        let acting = acting.map_err(|fault| StoreError::Inconsistent {
            table: "token_families",
            id: self.id.clone(),
            what: fault.to_string(),
        })?;
        Ok(FamilyRecord {
            id: FamilyId(self.id.into()),
            session: SessionId(self.session.into()),
            client: self.client,
            key_thumbprint: self.key_thumbprint,
            acting,
        })
    }
}

/// The live family of a refresh token, used or not.
const OF_REFRESH_TOKEN: &str = "SELECT f.id, f.session, f.client, f.key_thumbprint, f.acting FROM refresh_tokens r \
     JOIN token_families f ON f.id = r.family JOIN sessions s ON s.id = f.session \
     WHERE r.hash = $1 AND f.ended_at IS NULL AND s.ended_at IS NULL AND s.expires_at > $2";

/// Reads [`GivenRow`]s, and whose they are, of families that are still good; `$rest` has its placeholders from the third on, behind the time and `used_since`.
macro_rules! given_that {
    ($rest:literal) => {
        concat!(
            "SELECT f.id, f.session, f.client, f.key_thumbprint, f.acting, f.how, f.peer, f.created_at, \
             (SELECT MAX(r.created_at) FROM refresh_tokens r WHERE r.family = f.id) AS renewed_at, s.principal \
             FROM token_families f JOIN sessions s ON s.id = f.session \
             WHERE f.ended_at IS NULL AND s.ended_at IS NULL AND s.expires_at > $1 AND s.last_seen >= $2 ",
            $rest
        )
    };
}

pub(in crate::store) use given_that;

#[derive(sqlx::FromRow)]
pub(in crate::store) struct GivenRow {
    id: String,
    session: String,
    client: String,
    key_thumbprint: Option<String>,
    acting: Option<String>,
    how: Option<String>,
    peer: Option<String>,
    created_at: i64,
    renewed_at: Option<i64>,
}

impl GivenRow {
    pub(in crate::store) fn given(self) -> Result<GivenTokens, StoreError> {
        let family = FamilyRow {
            id: self.id,
            session: self.session,
            client: self.client,
            key_thumbprint: self.key_thumbprint,
            acting: self.acting,
        };
        Ok(GivenTokens {
            how: self.how,
            peer: self.peer.and_then(|peer| peer.parse().ok()),
            at: Timestamp::from_micros(self.created_at),
            renewed_at: Timestamp::from_micros(self.renewed_at.unwrap_or(self.created_at)),
            family: family.record()?,
        })
    }
}

const fn reason_text(reason: FamilyEnd) -> &'static str {
    match reason {
        FamilyEnd::Revoked => "revoked",
        FamilyEnd::SignedOut => "signed_out",
        FamilyEnd::RefreshReused => "refresh_reused",
        FamilyEnd::CodeReused => "code_reused",
    }
}

impl Store {
    /// Keeps a new family with its first refresh token, if it has any; false if the session has ended. `how` and `peer` are for the log and for the person.
    pub async fn create_family(
        &self,
        family: &FamilyRecord,
        refresh: Option<TokenHash>,
        how: &str,
        peer: &str,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let acting = family.acting.as_ref().map(serde_json::to_string);
        let acting = acting
            .transpose()
            .map_err(|fault| StoreError::Inconsistent {
                table: "token_families",
                id: family.id.0.to_string(),
                what: fault.to_string(),
            })?;
        within(async {
            let mut transaction = self.database.begin().await?;
            // Writing the row keeps an end of the session that happens at the same time waiting.
            let live: Vec<(String,)> = transaction
                .fetch(
                    "UPDATE sessions SET last_seen = last_seen \
                     WHERE id = $1 AND ended_at IS NULL AND expires_at > $2 RETURNING principal",
                    args![&*family.session.0, now],
                )
                .await?;
            let Some((principal,)) = live.first() else {
                return Ok(false);
            };
            let principal = principal_of(&family.session, principal)?;
            transaction
                .execute(
                    "INSERT INTO token_families (id, session, client, key_thumbprint, created_at, how, peer, acting) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                    args![
                        &*family.id.0,
                        &*family.session.0,
                        family.client.as_str(),
                        family.key_thumbprint.as_deref(),
                        now,
                        how,
                        peer,
                        acting.as_deref()
                    ],
                )
                .await?;
            if let Some(refresh) = refresh {
                transaction.insert_refresh(refresh, &family.id, now).await?;
            }
            let (session, label) = (family.session.label(), family.id.label());
            let event = Event::tokens_granted(
                &FamilyEvent {
                    principal: &principal,
                    session: &session,
                    family: &label,
                    client: &family.client,
                },
                family.acting.as_ref().map(|acting| (&acting.agent, &*acting.route)),
                how,
                family.key_thumbprint.is_some(),
                peer,
            );
            transaction.tell(&[event], now).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    /// What acts for a person in any of their live sessions, the newest first.
    pub async fn acting_families(
        &self,
        issuer: &str,
        subject: &str,
    ) -> Result<Vec<ActingFamily>, StoreError> {
        let rows: Vec<(String, String, i64)> = within(self.database.fetch(
            "SELECT f.id, f.acting, f.created_at FROM token_families f JOIN sessions s ON s.id = f.session \
             WHERE s.issuer = $1 AND s.subject = $2 AND s.ended_at IS NULL AND s.expires_at > $3 \
             AND f.ended_at IS NULL AND f.acting IS NOT NULL ORDER BY f.created_at DESC, f.id LIMIT $4",
            args![issuer, subject, self.clock.now(), LISTED],
        ))
        .await?;
        let read = |(id, acting, since): (String, String, i64)| {
            let acting =
                serde_json::from_str(&acting).map_err(|fault| StoreError::Inconsistent {
                    table: "token_families",
                    id: id.clone(),
                    what: fault.to_string(),
                })?;
            Ok(ActingFamily {
                id: FamilyId(id.into()),
                acting,
                since: Timestamp::from_micros(since),
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// Keeps an event of a delegation.
    pub async fn tell_delegation(&self, told: &Delegation<'_>) -> Result<(), StoreError> {
        let (session, family) = (told.session.label(), told.family.label());
        let of_family = FamilyEvent {
            principal: told.principal,
            session: &session,
            family: &family,
            client: told.client,
        };
        let event = Event::agent_delegated(&of_family, told.agents, told.route, told.peer);
        within(async {
            let mut transaction = self.database.begin().await?;
            transaction.tell(&[event], self.clock.now()).await?;
            transaction.commit().await
        })
        .await
    }

    /// Uses a refresh token up and keeps the next, or finds out why it is not good. Of several who come at once with the same one gets on, and
    /// then the family ends. `key` is the thumbprint of the key that was proven.
    pub async fn rotate_refresh(
        &self,
        presented: TokenHash,
        next: TokenHash,
        client: &str,
        key: Option<&str>,
    ) -> Result<Rotation, StoreError> {
        let now = self.clock.now();
        within(async {
            let mut transaction = self.database.begin().await?;
            let found: Vec<FamilyRow> = transaction
                .fetch(OF_REFRESH_TOKEN, args![presented.to_hex(), now])
                .await?;
            let Some(family) = found.into_iter().next() else {
                return Ok(Rotation::Unknown);
            };
            let family = family.record()?;
            if family.client != client || family.key_thumbprint.as_deref() != key {
                return Ok(Rotation::NotTheirs);
            }
            let used = transaction
                .execute(
                    "UPDATE refresh_tokens SET used_at = $2 WHERE hash = $1 AND used_at IS NULL",
                    args![presented.to_hex(), now],
                )
                .await?;
            if used == 0 {
                let reason = FamilyEnd::RefreshReused;
                transaction.end_family(&family.id, reason, now).await?;
                transaction.commit().await?;
                return Ok(Rotation::Reused);
            }
            transaction.insert_refresh(next, &family.id, now).await?;
            transaction.commit().await?;
            Ok(Rotation::Rotated(family))
        })
        .await
    }

    /// Ends a family (its change is in the feed when this returns); false if it had ended before.
    pub async fn end_family(&self, id: &FamilyId, reason: FamilyEnd) -> Result<bool, StoreError> {
        let now = self.clock.now();
        within(async {
            let mut transaction = self.database.begin().await?;
            let ended = transaction.end_family(id, reason, now).await?;
            transaction.commit().await?;
            Ok(ended)
        })
        .await
    }

    /// The live family of a refresh token.
    pub async fn family_of_refresh(
        &self,
        refresh: TokenHash,
    ) -> Result<Option<FamilyRecord>, StoreError> {
        let rows: Vec<FamilyRow> = within(
            self.database
                .fetch(OF_REFRESH_TOKEN, args![refresh.to_hex(), self.clock.now()]),
        )
        .await?;
        rows.into_iter().next().map(FamilyRow::record).transpose()
    }

    /// What programs were given on behalf of somebody and is still good, the newest first. Sessions that were not used since `used_since` are over.
    pub async fn tokens_given_for(
        &self,
        (issuer, subject): (&str, &str),
        used_since: Timestamp,
        limit: i64,
    ) -> Result<Vec<GivenTokens>, StoreError> {
        let rows: Vec<GivenRow> = within(self.database.fetch(
            given_that!(
                "AND s.issuer = $3 AND s.subject = $4 ORDER BY f.created_at DESC, f.id LIMIT $5"
            ),
            args![self.clock.now(), used_since, issuer, subject, limit],
        ))
        .await?;
        rows.into_iter().map(GivenRow::given).collect()
    }

    /// The live session of a live family.
    pub async fn session_of_family(
        &self,
        id: &FamilyId,
    ) -> Result<Option<SessionRecord>, StoreError> {
        let rows: Vec<SessionRow> = within(self.database.fetch(
            sessions_that!(
                "JOIN token_families f ON sessions.id = f.session \
                 WHERE f.id = $1 AND f.ended_at IS NULL AND sessions.ended_at IS NULL AND expires_at > $2"
            ),
            args![&*id.0, self.clock.now()],
        ))
        .await?;
        record(rows)
    }
}

impl Transaction {
    async fn insert_refresh(
        &mut self,
        hash: TokenHash,
        family: &FamilyId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO refresh_tokens (hash, family, created_at) VALUES ($1, $2, $3)",
            args![hash.to_hex(), &*family.0, at],
        )
        .await?;
        Ok(())
    }

    /// Ends a family, tells of it and puts it into the feed, in this order; comes last in a transaction.
    async fn end_family(
        &mut self,
        id: &FamilyId,
        reason: FamilyEnd,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let ended: Vec<(String, String)> = self
            .fetch(
                "UPDATE token_families SET ended_at = $2, end_reason = $3 \
                 WHERE id = $1 AND ended_at IS NULL RETURNING session, client",
                args![&*id.0, at, reason_text(reason)],
            )
            .await?;
        let Some((session, client)) = ended.into_iter().next() else {
            return Ok(false);
        };
        let session = SessionId(session.into());
        let of_session: Vec<(String,)> = self
            .fetch(
                "SELECT principal FROM sessions WHERE id = $1",
                args![&*session.0],
            )
            .await?;
        if let Some((principal,)) = of_session.first() {
            let principal = principal_of(&session, principal)?;
            let (session, family) = (session.label(), id.label());
            let told = FamilyEvent {
                principal: &principal,
                session: &session,
                family: &family,
                client: &client,
            };
            let event = Event::tokens_ended(&told, reason_text(reason));
            self.tell(&[event], at).await?;
        }
        self.append(&[Change::FamilyEnded(id.clone())], at).await?;
        Ok(true)
    }
}
