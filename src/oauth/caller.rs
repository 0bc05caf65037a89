//! Who calls an API on the home host: the live session that an access token for this host leads to. Cookies do not count here, so that no page of another
//! origin can make a browser call it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};

use crate::identity::principal::Principal;
use crate::oauth::OAuth;
use crate::session::{FamilyId, Session, SessionError};
use crate::token::access::AccessFault;
use crate::token::dpop::{self, ProofFault, Proven};
use crate::web::audience::Audience;
use crate::web::authorization::{Presented, Scheme, presented_token};
use crate::web::problem::Problem;
use crate::web::request_info::RequestInfo;
use crate::web::security_headers;

/// Issuer and subject.
pub(crate) type Person = (Arc<str>, Arc<str>);

/// Whoever calls. Having one means that they are known; what they may do is another question.
pub struct ApiCaller {
    /// The person's session.
    pub session: Arc<Session>,
    /// The family of tokens that they called with.
    pub family: FamilyId,
    /// Which program calls for them.
    pub client: String,
    /// Whether the token is bound to a key, which was proven.
    pub is_bound: bool,
}

impl ApiCaller {
    /// Who it is.
    pub fn principal(&self) -> &Principal {
        &self.session.principal
    }

    /// Whoever it is, in however many sessions.
    pub(crate) fn person(&self) -> Person {
        let principal = self.principal();
        (
            Arc::clone(&principal.issuer),
            Arc::clone(&principal.subject),
        )
    }
}

/// Why it is not known who calls.
#[derive(Debug, thiserror::Error)]
pub enum ApiFault {
    /// There is no token.
    #[error("an access token for this host is needed")]
    NoToken,
    /// The token cannot be read, or is presented in the wrong way.
    #[error("the access token is not presented as it has to be")]
    Presented,
    /// The token is not for this host, or not any more.
    #[error("the access token is refused: {0}")]
    Token(AccessFault),
    /// What the token was derived from has ended.
    #[error("the session of the access token has ended")]
    Ended,
    /// The token's key is not proven.
    #[error("the proof of the token's key is refused: {0}")]
    Proof(ProofFault),
    /// The session cannot be looked up.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The edge did not say what it knows of the request.
    #[error("the request did not come through the edge")]
    NotFromEdge,
}

impl OAuth {
    /// Finds out who calls.
    pub async fn who_calls(
        &self,
        info: &RequestInfo,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<ApiCaller, ApiFault> {
        let (scheme, token) = match presented_token(headers) {
            Presented::Nothing => return Err(ApiFault::NoToken),
            Presented::Malformed => return Err(ApiFault::Presented),
            Presented::Token(scheme, token) => (scheme, token),
        };
        let (issuer, now) = (self.issuer(info), self.clock.now());
        let said = self
            .minter
            .verify_access(token, &issuer, &issuer, now)
            .map_err(ApiFault::Token)?;
        // An agent is let in at a route, and never to what its person may do here.
        if !said.agents.is_empty() || said.route.is_some() {
            return Err(ApiFault::Token(AccessFault::Audience));
        }
        match (scheme, &said.key_thumbprint) {
            (Scheme::Bearer, None) => {}
            (Scheme::Dpop, Some(key)) => {
                let proof = dpop::presented(headers).map_err(ApiFault::Proof)?;
                let proof = proof.ok_or(ApiFault::Proof(ProofFault::Missing))?;
                let request = Proven {
                    method: method.as_str(),
                    origin: &issuer,
                    path,
                    token: Some(token),
                };
                self.proofs
                    .verify_for(proof, request, key, now)
                    .map_err(ApiFault::Proof)?;
            }
            (Scheme::Bearer, Some(_)) | (Scheme::Dpop, None) => return Err(ApiFault::Presented),
        }
        let family = FamilyId(said.family.into());
        let granted = self.sessions.load_family(&family).await?;
        let session = granted.ok_or(ApiFault::Ended)?.session;
        Ok(ApiCaller {
            session,
            family,
            client: said.client,
            is_bound: said.key_thumbprint.is_some(),
        })
    }
}

impl FromRequestParts<Arc<OAuth>> for ApiCaller {
    type Rejection = Response<Body>;

    async fn from_request_parts(
        parts: &mut Parts,
        oauth: &Arc<OAuth>,
    ) -> Result<Self, Self::Rejection> {
        let Some(info) = parts.extensions.get::<RequestInfo>() else {
            return Err(ApiFault::NotFromEdge.unanswerable());
        };
        let path = parts.uri.path();
        let calling = oauth.who_calls(info, &parts.method, path, &parts.headers);
        calling.await.map_err(|fault| fault.answer(info))
    }
}

impl ApiFault {
    fn words(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NoToken => (
                StatusCode::UNAUTHORIZED,
                "sign_in_required",
                "Signing in is needed",
            ),
            Self::Presented | Self::Token(_) | Self::Ended => (
                StatusCode::UNAUTHORIZED,
                "invalid_token",
                "The token is not accepted",
            ),
            Self::Proof(_) => (
                StatusCode::UNAUTHORIZED,
                "invalid_dpop_proof",
                "The token's key is not proven",
            ),
            Self::Session(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "session_unavailable",
                "Your session cannot be checked at the moment",
            ),
            Self::NotFromEdge => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Something went wrong on our side",
            ),
        }
    }

    fn challenge(&self) -> Option<String> {
        let algorithms = "algs=\"ES256\"";
        match self {
            Self::NoToken => Some(format!("DPoP {algorithms}")),
            Self::Presented | Self::Token(_) | Self::Ended => {
                Some(format!("DPoP error=\"invalid_token\", {algorithms}"))
            }
            Self::Proof(_) => Some(format!("DPoP error=\"invalid_dpop_proof\", {algorithms}")),
            Self::Session(_) | Self::NotFromEdge => None,
        }
    }

    /// The answer to it.
    pub fn answer(&self, info: &RequestInfo) -> Response<Body> {
        let mut response = self.problem(info.request_id.to_string());
        security_headers::apply(response.headers_mut(), info.origin.scheme);
        response
    }

    fn unanswerable(&self) -> Response<Body> {
        self.problem(String::new())
    }

    fn problem(&self, request_id: String) -> Response<Body> {
        let (status, code, title) = self.words();
        if status.is_server_error() {
            tracing::warn!(request_id, error = %self, "it cannot be found out who calls");
        }
        let detail = match self {
            Self::Session(_) | Self::NotFromEdge => "Please try again in a moment.".to_owned(),
            Self::NoToken | Self::Presented | Self::Token(_) | Self::Ended | Self::Proof(_) => {
                format!("It was refused because {self}.")
            }
        };
        let problem = Problem {
            status,
            code,
            title,
            detail,
            request_id,
            decision: None,
            authenticate: self.challenge(),
            retry_after: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(5),
            sign_in_path: None,
            ask_url: None,
        };
        problem.into_response(Audience::Program)
    }
}
