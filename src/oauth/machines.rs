//! Programs without a person: a trusted issuer's JWT becomes a token for one route (RFC 8693).
//!
//! The JWT is verified as it would be at a route. What it begins is a session of its own, so that it is listed, revoked and cut off as everybody's; there is
//! no refresh token, since the program can get another JWT.

use std::sync::Arc;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::identity::principal::{Principal, PrincipalKind};
use crate::oauth::fault::OAuthFault;
use crate::oauth::issue::Issue;
use crate::oauth::target::Target;
use crate::oauth::{Asked, OAuth};
use crate::secret::TokenHash;
use crate::session::{Arrival, EndReason, FamilyId, Session, SessionId};
use crate::store::token_families::FamilyRecord;
use crate::token::bearer::BearerFault;

/// RFC 8693 §3.
pub(crate) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// What is kept of a JWT that was exchanged: its session.
const EXCHANGED: &str = "exchanged_jwt";
/// RFC 8693 §3.
pub(crate) const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// What a program is given a token for.
pub(super) struct Given {
    pub(super) session: Arc<Session>,
    pub(super) key_thumbprint: Option<String>,
    pub(super) target: Target,
    /// By which way, as events call it.
    pub(super) how: &'static str,
    /// The token ends then at the latest.
    pub(super) until: Timestamp,
}

impl OAuth {
    /// Everything that can be refused is looked at before a session begins.
    pub(super) async fn by_machine(
        &self,
        asked: &Asked,
        target: Target,
    ) -> Result<Value, OAuthFault> {
        let key_thumbprint = self.exchanged_for(asked, &target)?;
        let jwt = asked.required("subject_token")?;
        let verified = self.programs.bearer.verify(jwt).await;
        let verified = verified.map_err(OAuthFault::SubjectToken)?;
        // A verifier forgives clocks that differ; what is derived does not live on that.
        let until = verified.not_after;
        if until <= self.clock.now() {
            return Err(OAuthFault::SubjectToken(BearerFault::Time));
        }
        let _first = asked.verified.set(Arc::clone(&verified.principal));
        let principal = Principal::clone(&verified.principal);
        if principal.kind != PrincipalKind::Workload {
            return Err(OAuthFault::InvalidRequest(
                "the issuer of the subject_token vouches for people; they sign in instead",
            ));
        }
        self.check_provider(&asked.info, &target, &principal)?;
        let arrival = Arrival {
            host: asked.info.origin.host.as_str(),
            peer: Some(asked.info.client),
            browser: None,
            replaces: None,
        };
        let token = TokenHash::of(jwt.as_bytes());
        let session = self.session_of(token, principal, until, arrival).await?;
        let given = Given {
            session,
            key_thumbprint,
            target,
            how: "exchange",
            until,
        };
        self.given_to_program(asked, given).await
    }

    /// The key that the token of a program without a client of its own is bound to.
    pub(super) fn exchanged_for(
        &self,
        asked: &Asked,
        target: &Target,
    ) -> Result<Option<String>, OAuthFault> {
        if asked.form.one("client_id").is_some() {
            asked.own_client()?;
        }
        let key = self.proven_key(asked)?;
        self.wanted_binding(asked, target, key)
    }

    /// A token out of a program's session, of a family of its own.
    pub(super) async fn given_to_program(
        &self,
        asked: &Asked,
        given: Given,
    ) -> Result<Value, OAuthFault> {
        let session = given.session;
        let family = FamilyRecord {
            id: FamilyId::generate(),
            session: session.id.clone(),
            client: session.principal.provider.to_string(),
            key_thumbprint: given.key_thumbprint,
            acting: None,
        };
        let peer = asked.info.client.to_string();
        let created = self
            .store
            .create_family(&family, None, given.how, &peer)
            .await?;
        if !created {
            return Err(OAuthFault::InvalidGrant("the program's session has ended"));
        }
        let issue = Issue {
            session: &session,
            family: &family.id,
            client: &family.client,
            key_thumbprint: family.key_thumbprint,
            target: &given.target,
            agents: Vec::new(),
            route: None,
            not_after: Some(given.until),
        };
        let mut answer = self.issued(&asked.info, issue, None);
        if let Some(route) = self.told_of_route(asked) {
            answer["route"] = route;
        }
        Ok(answer)
    }

    /// One JWT begins one session, however often it is exchanged; once that has ended, it is good for nothing.
    async fn session_of(
        &self,
        token: TokenHash,
        principal: Principal,
        until: Timestamp,
        arrival: Arrival<'_>,
    ) -> Result<Arc<Session>, OAuthFault> {
        const OVER: OAuthFault =
            OAuthFault::InvalidGrant("what was begun with this subject_token has ended");
        let begun = async || -> Result<Option<Arc<Session>>, OAuthFault> {
            let Some(id) = self.store.peek_once(EXCHANGED, token).await? else {
                return Ok(None);
            };
            let id = String::from_utf8(id).map_err(|_| OVER)?;
            let session = self.sessions.load_by_id(&SessionId(id.into())).await?;
            session.ok_or(OVER).map(Some)
        };
        if let Some(session) = begun().await? {
            return Ok(session);
        }
        let session = { self.sessions.start_for_program(principal, until, arrival) }.await?;
        let id = session.id.0.as_bytes();
        if self.store.put_once(EXCHANGED, token, id, until).await? {
            return Ok(session);
        }
        // Somebody exchanged it at the same moment.
        self.sessions.end(&session.id, EndReason::Replaced).await?;
        begun().await?.ok_or(OVER)
    }
}
