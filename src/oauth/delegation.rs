//! A program acts for a person who gives it their token (RFC 8693 §1.1, delegation): the person's token is the subject's, a trusted issuer's JWT says who acts.
//!
//! What comes of it is narrower than either: it is for one route, ends with the first of both, belongs to the family of the person's token, and names everybody who
//! stands in between.

use std::sync::Arc;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::identity::principal::{Agent, LONGEST_CHAIN, PrincipalKind};
use crate::oauth::fault::OAuthFault;
use crate::oauth::issue::Issue;
use crate::oauth::machines::JWT;
use crate::oauth::target::Target;
use crate::oauth::{Asked, OAuth};
use crate::session::Granted;
use crate::store::token_families::Delegation;
use crate::token::access::AccessToken;
use crate::token::bearer::BearerFault;

/// Who is to act, and how long that is vouched for.
pub(crate) struct Actor {
    agent: Agent,
    until: Timestamp,
}

impl OAuth {
    /// Whether an exchange is about somebody who acts: half of it is none.
    pub(super) fn has_actor(asked: &Asked) -> bool {
        asked.form.one("actor_token").is_some() || asked.form.one("actor_token_type").is_some()
    }

    /// Who acts, as a trusted issuer of programs says.
    pub(super) async fn actor(&self, asked: &Asked, target: &Target) -> Result<Actor, OAuthFault> {
        let token = asked.required("actor_token")?;
        if asked.required("actor_token_type")? != JWT {
            let why = "actor_token_type must be a JWT's";
            return Err(OAuthFault::InvalidRequest(why));
        }
        let verified = self.programs.bearer.verify(token).await;
        let verified = verified.map_err(OAuthFault::ActorToken)?;
        if verified.not_after <= self.clock.now() {
            return Err(OAuthFault::ActorToken(BearerFault::Time));
        }
        let actor = &verified.principal;
        if actor.kind != PrincipalKind::Workload {
            let why = "the issuer of the actor_token vouches for people, and not for programs";
            return Err(OAuthFault::InvalidRequest(why));
        }
        self.check_provider(&asked.info, target, actor)?;
        Ok(Actor {
            agent: Agent {
                id: format!("{}/{}", actor.provider, actor.subject).into(),
                issuer: Arc::clone(&actor.issuer),
                subject: Arc::clone(&actor.subject),
                name: None,
            },
            until: verified.not_after,
        })
    }

    /// The one route that is asked for, by its name or as a resource, and its origin.
    pub(super) fn one_route(&self, asked: &Asked) -> Result<(Arc<str>, String), OAuthFault> {
        let text = match (asked.form.one("resource"), asked.form.one("audience")) {
            (Some(text), None) | (None, Some(text)) => text,
            (None, None) => return Err(OAuthFault::Missing("resource")),
            (Some(_), Some(_)) => {
                let why = "an agent's token is for one route, named once";
                return Err(OAuthFault::InvalidTarget(why));
            }
        };
        let policy = self.snapshots.current();
        let mut routes = policy.routes().iter().map(|route| &route.route);
        match routes.find(|route| *route.name == *text && !route.is_tcp()) {
            Some(route) => {
                let origin = asked.info.origin.at_host(route.host.clone());
                Ok((Arc::clone(&route.name), origin.to_string()))
            }
            None => self.route_of(&asked.info, text),
        }
    }

    /// Gives a token for one route to whoever acts, of which an event tells first.
    pub(super) async fn delegated(
        &self,
        asked: &Asked,
        actor: Actor,
        subject: &AccessToken,
        granted: &Granted,
        key_thumbprint: Option<String>,
    ) -> Result<Value, OAuthFault> {
        let (route, origin) = self.one_route(asked)?;
        let is_for_all = subject.audience == self.issuer(&asked.info);
        let is_same_route = subject.route.as_ref().is_none_or(|own| **own == *route);
        if !is_same_route || !(is_for_all || subject.audience == origin) {
            let why = "the subject_token is for another route";
            return Err(OAuthFault::InvalidRequest(why));
        }
        let mut agents = vec![actor.agent];
        agents.extend(subject.agents.iter().cloned());
        if agents.len() > LONGEST_CHAIN {
            let why = "the chain of agents is too long: two at most act one for the next";
            return Err(OAuthFault::InvalidRequest(why));
        }
        let target = Target::Route(origin);
        let session = &granted.session;
        self.store
            .tell_delegation(&Delegation {
                family: &granted.family.id,
                session: &session.id,
                client: &subject.client,
                principal: &session.principal,
                agents: &agents,
                route: &route,
                peer: &asked.info.client.to_string(),
            })
            .await?;
        let issue = Issue {
            session,
            family: &granted.family.id,
            client: &subject.client,
            key_thumbprint,
            target: &target,
            agents,
            route: Some(route.to_string()),
            not_after: Some(subject.expires_at.min(actor.until)),
        };
        Ok(self.issued(&asked.info, issue, None))
    }
}
