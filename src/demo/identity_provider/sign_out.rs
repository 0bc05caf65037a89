//! Sign-out (OIDC RP-Initiated Logout 1.0): ends the browser's session here and returns to the client.

use axum::Form;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use tower_sessions::Session;

use crate::demo::identity_provider::authorize::{BrowserSession, SESSION_KEY};
use crate::demo::identity_provider::{IdentityProvider, Provider, pages};

/// The parameters; `id_token_hint` and others are accepted and not needed.
#[derive(Deserialize)]
pub(super) struct Request {
    post_logout_redirect_uri: Option<String>,
    state: Option<String>,
}

pub(super) async fn end_session(
    State(provider): Provider,
    session: Session,
    Query(request): Query<Request>,
) -> Response {
    provider.end(session, request).await
}

pub(super) async fn end_session_form(
    State(provider): Provider,
    session: Session,
    Form(request): Form<Request>,
) -> Response {
    provider.end(session, request).await
}

impl IdentityProvider {
    async fn end(&self, session: Session, request: Request) -> Response {
        if let Ok(Some(known)) = session.get::<BrowserSession>(SESSION_KEY).await {
            self.state.end_session(&known.sid);
        }
        if session.flush().await.is_err() {
            let text = "The session cannot be ended.";
            return pages::refusal(StatusCode::INTERNAL_SERVER_ERROR, text);
        }
        let Some(uri) = request.post_logout_redirect_uri else {
            return pages::signed_out();
        };
        match url::Url::parse(&uri) {
            Ok(mut url) if self.is_clients(&uri) => {
                if let Some(state) = &request.state {
                    url.query_pairs_mut().append_pair("state", state);
                }
                Redirect::to(url.as_str()).into_response()
            }
            _ => pages::refusal(
                StatusCode::BAD_REQUEST,
                "The URI to return to is not the client's.",
            ),
        }
    }
}
