//! Who is signed in, and ending it for them.

use std::sync::Arc;

use crate::admin::actor::Actor;
use crate::admin::failure::Failure;
use crate::clock::Timestamp;
use crate::identity::principal::Principal;
use crate::policy::roles::Permission;
use crate::session::{SessionId, SessionRecord, Sessions};
use crate::store::Store;
use crate::store::revoking::{SessionFilter, SessionsAfter};

/// Sessions that end in one transaction; more take several.
const AT_ONCE: i64 = 500;
/// Sessions that a preview names.
const NAMED: i64 = 20;

/// Which sessions are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that logs and pages call so.
    One(String),
    /// All of a person.
    Of(Box<Principal>),
    /// All but the one that asks.
    AllOthers,
}

/// What ending some sessions would hit.
#[derive(Clone, Debug)]
pub struct Hit {
    /// How many.
    pub sessions: i64,
    /// Of how many people.
    pub people: i64,
    /// The first of them.
    pub first: Vec<SessionRecord>,
}

/// Sessions as those who look after the edge see them.
pub struct SessionBook {
    /// Where they are.
    pub store: Store,
    /// Who knows them in this process.
    pub sessions: Arc<Sessions>,
}

impl SessionBook {
    /// Live sessions, those used last first.
    pub async fn list(
        &self,
        actor: &Actor,
        contains: Option<String>,
        after: Option<&SessionsAfter>,
        (now, limit): (Timestamp, i64),
    ) -> Result<Vec<SessionRecord>, Failure> {
        actor.check(Permission::ReadSessions)?;
        let filter = SessionFilter {
            contains,
            ..self.live(now)
        };
        Ok(self.store.live_sessions(&filter, after, limit).await?)
    }

    /// The live sessions of somebody.
    pub async fn of(
        &self,
        actor: &Actor,
        principal: &Principal,
        now: Timestamp,
    ) -> Result<Vec<SessionRecord>, Failure> {
        actor.check(Permission::ReadSessions)?;
        let filter = self.filter(&Which::Of(Box::new(principal.clone())), now);
        Ok(self.store.live_sessions(&filter, None, AT_ONCE).await?)
    }

    /// How many live sessions there are, and of how many people.
    pub async fn count(&self, actor: &Actor, now: Timestamp) -> Result<(i64, i64), Failure> {
        actor.check(Permission::ReadSessions)?;
        Ok(self.store.count_sessions(&self.live(now)).await?)
    }

    /// What ending these would hit.
    pub async fn preview(
        &self,
        actor: &Actor,
        which: &Which,
        (own, now): (&SessionId, Timestamp),
    ) -> Result<Hit, Failure> {
        actor.check(Permission::EndSessions)?;
        let filter = self.filter(which, now);
        let (mut sessions, people) = self.store.count_sessions(&filter).await?;
        let mut first = self.store.live_sessions(&filter, None, NAMED).await?;
        if *which == Which::AllOthers {
            first.retain(|session| session.id != *own);
            sessions = sessions.saturating_sub(1);
        }
        Ok(Hit {
            sessions,
            people,
            first,
        })
    }

    /// Ends these; returns how many there were. Whoever comes meanwhile is not meant.
    pub async fn end(
        &self,
        actor: &Actor,
        which: &Which,
        (own, now): (&SessionId, Timestamp),
    ) -> Result<usize, Failure> {
        actor.check(Permission::EndSessions)?;
        let (filter, by) = (self.filter(which, now), actor.name());
        let mut ended = 0;
        let mut after: Option<SessionsAfter> = None;
        loop {
            let page = self.store.live_sessions(&filter, after.as_ref(), AT_ONCE);
            let page = page.await?;
            let Some(last) = page.last() else { break };
            after = Some(SessionsAfter {
                last_seen: last.last_seen.micros(),
                id: last.id.0.to_string(),
            });
            let mut ids: Vec<SessionId> = page.into_iter().map(|session| session.id).collect();
            if *which == Which::AllOthers {
                ids.retain(|id| id != own);
            }
            ended += self.sessions.revoke(&ids, &by).await?;
        }
        tracing::info!(by, sessions = ended, "sessions were revoked");
        Ok(ended)
    }

    fn live(&self, now: Timestamp) -> SessionFilter {
        SessionFilter::since(now.minus(self.sessions.idle()))
    }

    fn filter(&self, which: &Which, now: Timestamp) -> SessionFilter {
        let live = self.live(now);
        match which {
            Which::One(label) => SessionFilter {
                label: Some(label.clone()),
                ..live
            },
            Which::Of(principal) => SessionFilter {
                person: Some((principal.issuer.to_string(), principal.subject.to_string())),
                ..live
            },
            Which::AllOthers => live,
        }
    }
}
