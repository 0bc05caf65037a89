//! Making tokens out of a live session.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::identity::principal::Agent;
use crate::oauth::OAuth;
use crate::oauth::target::Target;
use crate::secret::Token;
use crate::session::{FamilyId, Session};
use crate::token::access::AccessToken;
use crate::web::request_info::RequestInfo;

/// What an access token is made of.
pub(crate) struct Issue<'a> {
    pub(crate) session: &'a Arc<Session>,
    pub(crate) family: &'a FamilyId,
    pub(crate) client: &'a str,
    /// The thumbprint of the key that it is bound to.
    pub(crate) key_thumbprint: Option<String>,
    pub(crate) target: &'a Target,
    /// The programs that act with it, the one that asks first.
    pub(crate) agents: Vec<Agent>,
    /// The one route that it is good at, where agents act.
    pub(crate) route: Option<String>,
    /// It ends then at the latest.
    pub(crate) not_after: Option<Timestamp>,
}

/// The type of our tokens in an exchange (RFC 8693 §3).
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

impl OAuth {
    /// The answer of the token endpoint (RFC 6749 §5.1).
    pub(crate) fn issued(
        &self,
        info: &RequestInfo,
        issue: Issue<'_>,
        refresh: Option<&Token>,
    ) -> Value {
        let now = self.clock.now();
        let session_end = issue.session.expires_at;
        let expires_at = now
            .plus(self.config.lifetime)
            .min(session_end)
            .min(issue.not_after.unwrap_or(session_end));
        let kind = match issue.key_thumbprint {
            Some(_) => "DPoP",
            None => "Bearer",
        };
        let audience = issue.target.audience(info);
        let token = self.minter.access_token(&AccessToken {
            issuer: self.issuer(info),
            audience: audience.clone(),
            subject: issue.session.principal.subject.to_string(),
            client: issue.client.to_owned(),
            family: issue.family.0.to_string(),
            key_thumbprint: issue.key_thumbprint,
            agents: issue.agents,
            route: issue.route,
            issued_at: now,
            expires_at,
        });
        let mut answer = json!({
            "access_token": token,
            "token_type": kind,
            "expires_in": expires_at.seconds() - now.seconds(),
            "issued_token_type": ACCESS_TOKEN,
            "resource": audience,
        });
        if let Some(refresh) = refresh {
            answer["refresh_token"] = refresh.expose().into();
        }
        answer
    }
}
