//! Logout by the provider (OIDC Back-Channel Logout 1.0): ends the sessions a verified logout token names. Never says "ok" without having done it (H7).

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use http::{Request, Response, StatusCode};

use crate::oidc::OidcError;
use crate::secret::TokenHash;
use crate::sign_in::{SignIn, SignInError};
use crate::web::csrf::{FORM_LIMIT, is_form};
use crate::web::parameters::Parameters;
use crate::web::request_info::RequestInfo;
use crate::web::security_headers;

/// How long a logout token's id is remembered; longer than such a token may be valid.
const REMEMBER: Duration = Duration::from_secs(24 * 3600);

/// `POST /.wayleave/backchannel-logout/{provider}`.
pub(super) async fn submit(
    Path(provider): Path<String>,
    State(sign_in): State<Arc<SignIn>>,
    Extension(info): Extension<RequestInfo>,
    request: Request<Body>,
) -> Response<Body> {
    let status = match sign_in.provider_logout(&provider, request).await {
        Ok(ended) => {
            tracing::info!(request_id = %info.request_id, provider, ended, "logout by the provider");
            StatusCode::OK
        }
        Err(error) => {
            tracing::warn!(request_id = %info.request_id, provider, error = %error, "logout by the provider failed");
            status_of(&error)
        }
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    security_headers::apply(response.headers_mut(), info.origin.scheme);
    response
}

const fn status_of(error: &SignInError) -> StatusCode {
    match error {
        SignInError::Store(_)
        | SignInError::Session(_)
        | SignInError::Oidc(OidcError::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl SignIn {
    async fn provider_logout(
        &self,
        provider: &str,
        request: Request<Body>,
    ) -> Result<usize, SignInError> {
        if !is_form(request.headers()) {
            return Err(SignInError::Request);
        }
        let body = axum::body::to_bytes(request.into_body(), FORM_LIMIT)
            .await
            .map_err(|_| SignInError::Request)?;
        let fields = Parameters::parse(&body, FORM_LIMIT).map_err(|_| SignInError::Request)?;
        let token = fields.one("logout_token").ok_or(SignInError::Request)?;
        let logout = self.providers.verify_logout_token(provider, token).await?;
        let seen = TokenHash::of(format!("{}\n{}", logout.issuer, logout.jti).as_bytes());
        // Looked up first and remembered last: if ending fails, the provider may send the same token again.
        if self.store.peek_once("logout-jti", seen).await?.is_some() {
            return Err(SignInError::Request);
        }
        let ended = self
            .sessions
            .end_from_provider(
                &logout.issuer,
                logout.subject.as_deref(),
                logout.sid.as_deref(),
            )
            .await?;
        let until = self.clock.now().plus(REMEMBER);
        self.store.put_once("logout-jti", seen, b"", until).await?;
        Ok(ended)
    }
}
