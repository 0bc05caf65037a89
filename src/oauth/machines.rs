//! Programs without a person: a trusted issuer's JWT becomes a token for one route (RFC 8693).
//!
//! The JWT is verified as it would be at a route. What it begins is a session of its own, so that it is listed, revoked and cut off as everybody's; there is
//! no refresh token, since the program can get another JWT.

use serde_json::Value;

use crate::identity::principal::{Principal, PrincipalKind};
use crate::oauth::fault::OAuthFault;
use crate::oauth::issue::Issue;
use crate::oauth::target::Target;
use crate::oauth::{Asked, OAuth};
use crate::session::{Arrival, FamilyId};
use crate::store::token_families::FamilyRecord;
use crate::token::bearer::BearerFault;

/// RFC 8693 §3.
pub(crate) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// RFC 8693 §3.
pub(crate) const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

impl OAuth {
    /// Everything that can be refused is looked at before a session begins.
    pub(super) async fn by_machine(
        &self,
        asked: &Asked,
        target: Target,
    ) -> Result<Value, OAuthFault> {
        if asked.form.one("client_id").is_some() {
            asked.client()?;
        }
        let key = self.proven_key(asked)?;
        let key_thumbprint = self.wanted_binding(asked, key)?;
        let verified = self.bearer.verify(asked.required("subject_token")?).await;
        let verified = verified.map_err(OAuthFault::SubjectToken)?;
        // A verifier forgives clocks that differ; what is derived does not live on that.
        let until = verified.not_after;
        if until <= self.clock.now() {
            return Err(OAuthFault::SubjectToken(BearerFault::Time));
        }
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
            replaces: None,
        };
        let session = self
            .sessions
            .start_for_program(principal, until, arrival)
            .await?;
        let family = FamilyRecord {
            id: FamilyId::generate(),
            session: session.id.clone(),
            client: session.principal.provider.to_string(),
            key_thumbprint,
        };
        let peer = asked.info.client.to_string();
        let created = self
            .store
            .create_family(&family, None, "exchange", &peer)
            .await?;
        if !created {
            return Err(OAuthFault::InvalidGrant("the subject_token has expired"));
        }
        let issue = Issue {
            session: &session,
            family: &family.id,
            client: &family.client,
            key_thumbprint: family.key_thumbprint,
            target: &target,
            not_after: Some(until),
        };
        Ok(self.issued(&asked.info, issue, None))
    }
}
