//! Who is signed in, and ending it: for them, and by themselves.

use std::sync::Arc;

use crate::admin::actor::Actor;
use crate::admin::failure::Failure;
use crate::clock::Timestamp;
use crate::identity::principal::Principal;
use crate::policy::roles::Permission;
use crate::session::{EndReason, FamilyEnd, SessionError, SessionId, SessionRecord, Sessions};
use crate::store::programs::Program;
use crate::store::revoking::SessionFilter;
use crate::store::token_families::GivenTokens;
use crate::store::{After, Store, StoreError};

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

/// What somebody is signed in with.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Their live sessions, those used last first.
    pub sessions: Vec<SessionRecord>,
    /// What programs were given on their behalf, the newest first.
    pub tokens: Vec<GivenTokens>,
}

/// Which of one's own sign-ins are to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnEnd {
    /// The session that pages call so, and what was derived from it.
    Session(String),
    /// The tokens of one program, that pages call so.
    Tokens(String),
    /// Everything but the session that asks: other sessions, and the tokens of programs.
    Others,
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
        after: Option<&After>,
        (now, limit): (Timestamp, i64),
    ) -> Result<Vec<SessionRecord>, Failure> {
        actor.check(Permission::ReadSessions)?;
        let filter = SessionFilter {
            contains,
            ..self.live(now)
        };
        Ok(self.store.live_sessions(&filter, after, limit).await?)
    }

    /// Programs that act for people, those let in last first.
    pub async fn programs(
        &self,
        actor: &Actor,
        contains: Option<&str>,
        after: Option<&After>,
        (now, limit): (Timestamp, i64),
    ) -> Result<Vec<Program>, Failure> {
        actor.check(Permission::ReadSessions)?;
        let live = (self.live(now).used_since, limit);
        let programs = self.store.programs(contains, after, live);
        Ok(programs.await?)
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
        let keep = (*which == Which::AllOthers).then_some(own);
        let reason = EndReason::Revoked(by.as_str().into());
        let ended = self.end_all(&filter, keep, &reason).await?;
        tracing::info!(by, sessions = ended, "sessions were revoked");
        Ok(ended)
    }

    /// What somebody is signed in with: nothing of anybody else's, whoever asks.
    pub async fn own(&self, principal: &Principal, now: Timestamp) -> Result<Own, StoreError> {
        let filter = self.filter(&Which::Of(Box::new(principal.clone())), now);
        let person = (&*principal.issuer, &*principal.subject);
        let tokens = self
            .store
            .tokens_given_for(person, filter.used_since, AT_ONCE);
        Ok(Own {
            tokens: tokens.await?,
            sessions: self.store.live_sessions(&filter, None, AT_ONCE).await?,
        })
    }

    /// Ends sign-ins of one's own, never the session that asks and never another person's; returns how many there were. What is somebody else's is
    /// as if it were not there.
    pub async fn end_own(
        &self,
        principal: &Principal,
        which: &OwnEnd,
        (own, now): (&SessionId, Timestamp),
    ) -> Result<usize, SessionError> {
        let mut filter = self.filter(&Which::Of(Box::new(principal.clone())), now);
        let mut ended = 0;
        if let OwnEnd::Session(label) = which {
            filter.label = Some(label.clone());
        }
        if !matches!(which, OwnEnd::Tokens(_)) {
            let reason = EndReason::SignedOut;
            ended += self.end_all(&filter, Some(own), &reason).await?;
        }
        if !matches!(which, OwnEnd::Session(_)) {
            ended += self.end_own_tokens(principal, which, now).await?;
        }
        tracing::info!(provider = %principal.provider, ended, "somebody ended sign-ins of their own");
        Ok(ended)
    }

    /// Those of sessions that have just ended are over, and not found here. What has ended is not read again, so it comes to an end.
    async fn end_own_tokens(
        &self,
        principal: &Principal,
        which: &OwnEnd,
        now: Timestamp,
    ) -> Result<usize, SessionError> {
        let mut ended = 0;
        loop {
            let mut tokens = self.own(principal, now).await?.tokens;
            if let OwnEnd::Tokens(label) = which {
                tokens.retain(|given| given.family.id.label() == *label);
            }
            if tokens.is_empty() {
                return Ok(ended);
            }
            for given in tokens {
                let end = FamilyEnd::SignedOut;
                let has_ended = self.sessions.end_family(&given.family.id, end).await?;
                ended += usize::from(has_ended);
            }
        }
    }

    /// Ends all that fit, but for one that is kept.
    async fn end_all(
        &self,
        filter: &SessionFilter,
        keep: Option<&SessionId>,
        reason: &EndReason,
    ) -> Result<usize, StoreError> {
        let mut ended = 0;
        let mut after: Option<After> = None;
        loop {
            let page = self.store.live_sessions(filter, after.as_ref(), AT_ONCE);
            let page = page.await?;
            let Some(last) = page.last() else { break };
            after = Some(After {
                at: last.last_seen.micros(),
                id: last.id.0.to_string(),
            });
            let mut ids: Vec<SessionId> = page.into_iter().map(|session| session.id).collect();
            ids.retain(|id| Some(id) != keep);
            ended += self.sessions.end_chosen(&ids, reason).await?;
        }
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
