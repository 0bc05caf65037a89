//! Why there is no SVID, and what can be done about it.

use std::sync::Arc;

use axum::body::Body;
use http::{Response, StatusCode};

use crate::mesh::csr::CsrFault;
use crate::mesh::svid::SvidError;
use crate::oauth::svids::SHORTEST;
use crate::policy::compile::MapFault;
use crate::policy::decide::DenyReason;
use crate::policy::reach::needs_approval;
use crate::policy::svids::SvidKind;
use crate::store::StoreError;
use crate::token::jwt_svid::AudienceFault;
use crate::web::audience;
use crate::web::problem::Problem;
use crate::web::request_info::RequestInfo;
use crate::web::security_headers;

/// Seconds after which it is worth trying again.
const RETRY_AFTER: u32 = 5;

/// Why there is no SVID.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Too often.
    #[error("you have asked for too many SVIDs; wait a moment")]
    TooMany,
    /// The token could be anybody's who saw it.
    #[error("SVIDs are given to those alone whose access token is bound to a key")]
    Unbound,
    /// The provider is not configured any more.
    #[error("the identity provider of your session is not in use any more")]
    Provider,
    /// The rules do not give it.
    #[error("{why} Only a rule that names `svids` gives one.")]
    Rules { reason: DenyReason, why: String },
    /// Another sign-in would do.
    #[error(
        "the access rule {rule} gives it to those who sign in again as it asks: wayleave login"
    )]
    StepUp { rule: Arc<str> },
    /// Somebody else has to approve.
    #[error("{}", needs_approval(.rule))]
    Ask { rule: Arc<str>, ask_url: String },
    /// They are nobody in the mesh.
    #[error("{}", .0.why())]
    NoIdentity(MapFault),
    /// What gives it ends too soon.
    #[error("what the access rule {rule} gives you ends within {} s", SHORTEST.as_secs())]
    TooShort { rule: Arc<str> },
    /// What was sent cannot be read.
    #[error("{0}")]
    Body(&'static str),
    /// The certificate signing request is not good.
    #[error("the certificate signing request is refused: {0}")]
    Csr(CsrFault),
    /// The audience is not good.
    #[error("{0}")]
    Audience(AudienceFault),
    /// The session ended meanwhile.
    #[error("your session has ended; sign in again")]
    Ended,
    /// The authority does not sign it.
    #[error("the edge's certificate authority cannot give you one")]
    Signing(#[from] SvidError),
    /// The log cannot be written.
    #[error("something that this needs does not answer")]
    Store(#[from] StoreError),
}

impl Refusal {
    /// Stable and machine-readable.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::TooMany => "too_many_requests",
            Self::Unbound => "bound_token_required",
            Self::Provider => "provider_not_accepted",
            Self::Rules { reason, .. } => reason.code(),
            Self::StepUp { .. } => "step_up_required",
            Self::Ask { .. } => "approval_required",
            Self::NoIdentity(fault) => fault.code(),
            Self::TooShort { .. } => "ends_too_soon",
            Self::Body(_) => "invalid_request",
            Self::Csr(_) => "invalid_csr",
            Self::Audience(_) => "invalid_audience",
            Self::Ended => "invalid_token",
            Self::Signing(SvidError::Namespace(_) | SvidError::TrustDomain(_)) => {
                "mesh_identity_not_ours"
            }
            Self::Signing(SvidError::AuthorityExpired | SvidError::Signing) | Self::Store(_) => {
                "svid_unavailable"
            }
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Body(_) | Self::Csr(_) | Self::Audience(_) => StatusCode::BAD_REQUEST,
            Self::Ended => StatusCode::UNAUTHORIZED,
            Self::Signing(SvidError::AuthorityExpired | SvidError::Signing) | Self::Store(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Unbound
            | Self::Provider
            | Self::Rules { .. }
            | Self::StepUp { .. }
            | Self::Ask { .. }
            | Self::NoIdentity(_)
            | Self::TooShort { .. }
            | Self::Signing(SvidError::Namespace(_) | SvidError::TrustDomain(_)) => {
                StatusCode::FORBIDDEN
            }
        }
    }

    /// The rule that it is for.
    pub(super) fn rule(&self) -> Option<&str> {
        match self {
            Self::Rules {
                reason: DenyReason::Rule { rule },
                ..
            }
            | Self::StepUp { rule }
            | Self::Ask { rule, .. }
            | Self::TooShort { rule } => Some(rule),
            Self::Rules { .. }
            | Self::TooMany
            | Self::Unbound
            | Self::Provider
            | Self::NoIdentity(_)
            | Self::Body(_)
            | Self::Csr(_)
            | Self::Audience(_)
            | Self::Ended
            | Self::Signing(_)
            | Self::Store(_) => None,
        }
    }

    /// Whether it stands in the audit log: what somebody was not given, and not what failed or was not understood.
    pub(super) fn is_told(&self) -> bool {
        self.status() == StatusCode::FORBIDDEN || matches!(self, Self::Csr(_) | Self::Audience(_))
    }

    pub(super) fn answer(self, info: &RequestInfo, kind: SvidKind) -> Response<Body> {
        let status = self.status();
        if status.is_server_error() {
            tracing::warn!(request_id = %info.request_id, error = %self, cause = ?std::error::Error::source(&self), "an SVID cannot be given");
        } else {
            tracing::info!(request_id = %info.request_id, code = self.code(), error = %self, "an SVID was refused");
        }
        let title = match kind {
            SvidKind::X509 => "There is no X.509-SVID",
            SvidKind::Jwt => "There is no JWT-SVID",
        };
        let ends = status == StatusCode::UNAUTHORIZED;
        let waits = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        let (code, detail) = (self.code(), self.to_string());
        let problem = Problem {
            status,
            code,
            title,
            detail,
            request_id: info.request_id.to_string(),
            decision: None,
            authenticate: ends.then(|| "DPoP error=\"invalid_token\", algs=\"ES256\"".to_owned()),
            retry_after: waits.then_some(RETRY_AFTER),
            sign_in_path: None,
            ask_url: match self {
                Self::Ask { ask_url, .. } => Some(ask_url),
                _ => None,
            },
        };
        let mut response = problem.into_response(audience::Audience::Program);
        security_headers::apply(response.headers_mut(), info.origin.scheme);
        response
    }
}
