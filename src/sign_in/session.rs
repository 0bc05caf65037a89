//! Whether somebody is signed in, as JSON on every host, for pages of applications. Never a token.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, Response, StatusCode};
use serde_json::json;

use crate::sign_in::{SignIn, SignInError, reply};
use crate::web::reply as web_reply;
use crate::web::request_info::RequestInfo;

/// `GET /.wayleave/session` on any host.
pub(super) async fn show(
    State(sign_in): State<Arc<SignIn>>,
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
) -> Response<Body> {
    let result = sign_in.session_json(&info, &headers).await;
    result.unwrap_or_else(|error| reply::failure(&info, &headers, &error))
}

impl SignIn {
    async fn session_json(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, SignInError> {
        let session = self.live_session(info, headers).await?;
        let (status, text) = match session {
            Some(session) => (
                StatusCode::OK,
                json!({
                    "signed_in": true,
                    "user": session.principal.label(),
                    "provider": &*session.principal.provider,
                    "ends_at": session.expires_at.rfc3339(),
                }),
            ),
            None => (StatusCode::UNAUTHORIZED, json!({ "signed_in": false })),
        };
        Ok(web_reply::json(info, status, &text))
    }
}
