//! Programs that no issuer vouches for: a service account of the policy proves its key (RFC 7523 §2.2) and gets a token for one route (RFC 6749 §4.4).
//!
//! What it gets is a session, as every program's. There is no refresh token, since the program can sign another assertion.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::identity::principal::Principal;
use crate::oauth::fault::OAuthFault;
use crate::oauth::machines::Given;
use crate::oauth::target::Target;
use crate::oauth::{Asked, OAuth};
use crate::secret::TokenHash;
use crate::session::{Arrival, Session, SessionId};
use crate::token::client_assertion::{ASSERTION_TYPE, AssertionFault, VerifiedClient};

/// What is kept of an assertion that was shown: that it was.
const SHOWN: &str = "client_assertion";
/// Where the session is kept that an account has with one of its keys.
const SESSION_OF: &str = "service_account";
/// How long a session lasts: what is under way, such as a tunnel, may go on for so long.
const SESSION: Duration = Duration::from_secs(3600);

/// A session of a program that proves itself anew with each token, and is the same as long as it is the same program.
pub(super) struct Lasting {
    /// What it is kept as.
    pub(super) kind: &'static str,
    pub(super) principal: Principal,
    /// A new one ends then.
    pub(super) until: Timestamp,
}

/// What a program asks for that has to prove who it is.
pub(super) struct Wanted {
    pub(super) target: Target,
    pub(super) key_thumbprint: Option<String>,
    /// By which way, as events call it.
    pub(super) how: &'static str,
}

impl OAuth {
    /// A token for a service account.
    pub(super) async fn by_service_account(&self, asked: &Asked) -> Result<Value, OAuthFault> {
        let client = self.authenticated(asked).await?;
        let until = self.clock.now().plus(SESSION);
        let lasting = Lasting {
            kind: SESSION_OF,
            until: client.until.map_or(until, |over| over.min(until)),
            principal: client.principal,
        };
        self.by_credentials(asked, lasting).await
    }

    /// A token for a program that has authenticated as a client (RFC 6749 §4.4).
    pub(super) async fn by_credentials(
        &self,
        asked: &Asked,
        lasting: Lasting,
    ) -> Result<Value, OAuthFault> {
        let target = self.route_target(asked)?;
        let key = self.proven_key(asked)?;
        let key_thumbprint = self.wanted_binding(asked, &target, key)?;
        let wanted = Wanted {
            target,
            key_thumbprint,
            how: "client_credentials",
        };
        self.given_to_proven(asked, lasting, wanted).await
    }

    /// A token for a program that has proven who it is, out of its one session.
    pub(super) async fn given_to_proven(
        &self,
        asked: &Asked,
        lasting: Lasting,
        wanted: Wanted,
    ) -> Result<Value, OAuthFault> {
        self.check_provider(&asked.info, &wanted.target, &lasting.principal)?;
        let session = self.session_of_program(asked, lasting).await?;
        let given = Given {
            until: session.expires_at,
            session,
            key_thumbprint: wanted.key_thumbprint,
            target: wanted.target,
            how: wanted.how,
        };
        self.given_to_program(asked, given).await
    }

    /// Who asks. Whatever comes of it, their assertion is used up, on every edge.
    async fn authenticated(&self, asked: &Asked) -> Result<VerifiedClient, OAuthFault> {
        let refused = OAuthFault::ClientAssertion;
        if asked.form.one("client_secret").is_some() {
            return Err(OAuthFault::InvalidClient);
        }
        let assertion = asked.form.one("client_assertion");
        let assertion = assertion.ok_or(refused(AssertionFault::Missing))?;
        if asked.form.one("client_assertion_type") != Some(ASSERTION_TYPE) {
            return Err(refused(AssertionFault::Kind));
        }
        let (issuer, id) = (self.issuer(&asked.info), asked.form.one("client_id"));
        let now = self.clock.now();
        let client = self.programs.accounts.verify(assertion, id, &issuer, now);
        let client = client.map_err(refused)?;
        let _first = asked.verified.set(Arc::new(client.principal.clone()));
        let is_new = self
            .store
            .put_once(SHOWN, client.id, &[], client.remembered)
            .await?;
        match is_new {
            true => Ok(client),
            false => Err(refused(AssertionFault::Replayed)),
        }
    }

    /// The session that a program has as who it is, for as long as that has time for another token and lasts no longer than it may; else a new one. Of two who ask at the same moment each may get one.
    async fn session_of_program(
        &self,
        asked: &Asked,
        lasting: Lasting,
    ) -> Result<Arc<Session>, OAuthFault> {
        let Lasting {
            kind,
            principal,
            until,
        } = lasting;
        let place = format!(
            "{}\n{}\n{:?}",
            principal.provider, principal.subject, principal.claims
        );
        let place = TokenHash::of(place.as_bytes());
        let wanted = self.clock.now().plus(self.config.lifetime).min(until);
        if let Some(id) = self.store.peek_once(kind, place).await? {
            let id = String::from_utf8(id).map_err(|_| OAuthFault::State)?;
            let session = self.sessions.load_by_id(&SessionId(id.into())).await?;
            let lasts = |session: &Arc<Session>| {
                let is_long_enough = (wanted..=until).contains(&session.expires_at);
                is_long_enough && *session.principal == principal
            };
            if let Some(session) = session.filter(lasts) {
                return Ok(session);
            }
            self.store.take_once(kind, place).await?;
        }
        let arrival = Arrival {
            host: asked.info.origin.host.as_str(),
            peer: Some(asked.info.client),
            browser: None,
            replaces: None,
        };
        let begun = self.sessions.start_for_program(principal, until, arrival);
        let session = begun.await?;
        let id = session.id.0.as_bytes();
        let _first = self
            .store
            .put_once(kind, place, id, session.expires_at)
            .await?;
        Ok(session)
    }
}
