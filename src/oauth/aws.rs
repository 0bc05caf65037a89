//! Roles of AWS: a request that a role signed, and that AWS answers for, becomes a token for one route (RFC 8693).

use std::sync::Arc;

use serde_json::Value;

use crate::oauth::accounts::{Lasting, Wanted};
use crate::oauth::fault::OAuthFault;
use crate::oauth::target::Target;
use crate::oauth::{Asked, OAuth};
use crate::token::aws::{AwsFault, VerifiedRole};

/// What is kept of a request that was shown: that it was.
const SHOWN: &str = "aws_request";
/// Where the session of a role is kept.
const SESSION_OF: &str = "aws_role";

impl OAuth {
    /// A token for a role. AWS is asked last, after everything that can be refused without it.
    pub(super) async fn by_aws_role(
        &self,
        asked: &Asked,
        target: Target,
    ) -> Result<Value, OAuthFault> {
        let key_thumbprint = self.exchanged_for(asked, &target)?;
        let role = self.proven_role(asked).await?;
        let lasting = Lasting {
            kind: SESSION_OF,
            principal: role.principal,
            until: role.until,
        };
        let wanted = Wanted {
            target,
            key_thumbprint,
            how: "exchange",
        };
        self.given_to_proven(asked, lasting, wanted).await
    }

    /// Who asks. A request that AWS has answered for is used up, on every edge; one that it could not be asked about is not.
    async fn proven_role(&self, asked: &Asked) -> Result<VerifiedRole, OAuthFault> {
        let shown = asked.required("subject_token")?;
        let role = self
            .programs
            .aws
            .verify(shown, &self.issuer(&asked.info))
            .await;
        let role = role.map_err(OAuthFault::AwsRequest)?;
        let _first = asked.verified.set(Arc::new(role.principal.clone()));
        let is_new = self
            .store
            .put_once(SHOWN, role.id, &[], role.remembered)
            .await?;
        match is_new {
            true => Ok(role),
            false => Err(OAuthFault::AwsRequest(AwsFault::Replayed)),
        }
    }
}
