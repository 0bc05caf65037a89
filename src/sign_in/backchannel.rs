//! Logout by the provider (OIDC Back-Channel Logout 1.0): ends the sessions that a verified logout token names. It never says "ok" without
//! having done it (H7).

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use http::{HeaderValue, Request, Response, StatusCode, header};
use serde_json::json;

use crate::oidc::OidcError;
use crate::secret::TokenHash;
use crate::sign_in::{SignIn, SignInError};
use crate::telemetry::causes::Causes;
use crate::web::csrf::{CsrfFault, FORM_LIMIT, receive_form};
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
    let mut response = match sign_in.provider_logout(&provider, request).await {
        Ok(ended) => {
            tracing::info!(request_id = %info.request_id, provider, ended, "logout by the provider");
            Response::new(Body::empty())
        }
        Err(error) => {
            log(&info, &provider, &error);
            refusal(&error)
        }
    };
    security_headers::apply(response.headers_mut(), info.origin.scheme);
    response
}

/// Anybody can send what is no logout token, as often as they like: that is no warning.
fn log(info: &RequestInfo, provider: &str, error: &SignInError) {
    let request_id = &info.request_id;
    if status_of(error).is_client_error() {
        tracing::info!(%request_id, provider, error = %Causes(&error), "logout by the provider was refused");
    } else {
        tracing::warn!(%request_id, provider, error = %Causes(&error), "logout by the provider failed");
    }
}

/// What is at fault with the token is told to whoever sent it (§2.8); what is at fault with us is not.
fn refusal(error: &SignInError) -> Response<Body> {
    let status = status_of(error);
    let said = match error {
        SignInError::Oidc(fault @ OidcError::LogoutToken(_)) => fault.to_string(),
        _ if matches!(
            status,
            StatusCode::BAD_REQUEST | StatusCode::REQUEST_TIMEOUT
        ) =>
        {
            error.to_string()
        }
        _ => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            return response;
        }
    };
    let text = json!({ "error": "invalid_request", "error_description": said });
    let mut response = Response::new(Body::from(text.to_string()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// 400 only for what the sender can do something about: a provider that reads it need not send the token again.
const fn status_of(error: &SignInError) -> StatusCode {
    match error {
        SignInError::Csrf(CsrfFault::TooSlow) => StatusCode::REQUEST_TIMEOUT,
        SignInError::Request
        | SignInError::NotBound
        | SignInError::Csrf(_)
        | SignInError::Oidc(OidcError::LogoutToken(_)) => StatusCode::BAD_REQUEST,
        SignInError::NotFound => StatusCode::NOT_FOUND,
        SignInError::State | SignInError::Cancelled | SignInError::Reply(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        SignInError::Store(_)
        | SignInError::Busy
        | SignInError::NotKept
        | SignInError::Session(_)
        | SignInError::Oidc(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl SignIn {
    async fn provider_logout(
        &self,
        provider: &str,
        request: Request<Body>,
    ) -> Result<usize, SignInError> {
        if !self.providers.is_known(provider) {
            return Err(SignInError::NotFound);
        }
        let (_, body) = receive_form(request).await?;
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

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::status_of;
    use crate::oidc::OidcError;
    use crate::sign_in::SignInError;
    use crate::web::csrf::CsrfFault;

    #[test]
    fn h7_only_what_the_sender_can_mend_is_the_senders_fault() {
        let metadata = OidcError::Metadata("they name another issuer".into());
        let ours = [
            SignInError::State,
            SignInError::Cancelled,
            metadata.into(),
            OidcError::Unavailable("it is down".into()).into(),
        ];
        for error in ours {
            assert!(status_of(&error).is_server_error(), "{error}");
        }
        let slow = CsrfFault::TooSlow.into();
        assert_eq!(status_of(&slow), StatusCode::REQUEST_TIMEOUT);
        let token = OidcError::LogoutToken("it has no jti".into());
        for error in [SignInError::Request, token.into()] {
            assert_eq!(status_of(&error), StatusCode::BAD_REQUEST, "{error}");
        }
    }
}
