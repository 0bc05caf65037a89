//! A small OIDC provider with three people and no passwords. It exists so that the demonstration needs nothing from outside;
//! it refuses every listener that is not on a loopback address, and says on every page what it is.
//!
//! Code flow with PKCE S256 only (RFC 7636), `iss` in every answer (RFC 9207), refresh tokens that rotate, one signing key (ES256),
//! sign-out with return (OIDC RP-Initiated Logout 1.0).

mod authorize;
mod keys;
mod pages;
mod people;
mod sign_out;
mod state;
mod tokens;

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use tower_sessions::cookie::SameSite;
use tower_sessions::{MemoryStore, SessionManagerLayer};

use crate::clock::SharedClock;
use crate::demo::DemoError;
use crate::secret::SecretString;

pub use people::{PEOPLE, Person};

/// The one client that is known.
pub struct Client {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: SecretString,
    /// Origins (`http://access.localhost:8080`) under which its redirect URIs may lie.
    pub origins: Vec<String>,
}

/// The demo identity provider.
pub struct IdentityProvider {
    issuer: String,
    client: Client,
    clock: SharedClock,
    key: keys::SigningKey,
    state: state::Grants,
}

impl IdentityProvider {
    /// A provider of this issuer URL for this client, with a new signing key.
    pub fn new(issuer: String, client: Client, clock: SharedClock) -> Result<Arc<Self>, DemoError> {
        Ok(Arc::new(Self {
            issuer,
            client,
            clock,
            key: keys::SigningKey::generate()?,
            state: state::Grants::default(),
        }))
    }

    /// Serves until dropped. Refuses a listener that is not on a loopback address.
    pub async fn serve(
        self: Arc<Self>,
        listener: tokio::net::TcpListener,
    ) -> Result<(), DemoError> {
        let address = listener.local_addr().map_err(|_| DemoError::NotLoopback)?;
        if !address.ip().is_loopback() {
            return Err(DemoError::NotLoopback);
        }
        // `serve` ends only with its task; its result is empty.
        let _ended = axum::serve(listener, self.router()).await;
        Ok(())
    }

    fn router(self: Arc<Self>) -> Router {
        let sessions = SessionManagerLayer::new(MemoryStore::default())
            .with_name("demo_identity_provider")
            .with_secure(false)
            .with_http_only(true)
            .with_same_site(SameSite::Lax);
        Router::new()
            .route("/", get(pages::home))
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/authorize", get(authorize::page))
            .route("/sign-in", post(authorize::sign_in))
            .route("/token", post(tokens::token))
            .route("/userinfo", get(tokens::userinfo).post(tokens::userinfo))
            .route("/jwks", get(jwks))
            .route(
                "/end-session",
                get(sign_out::end_session).post(sign_out::end_session_form),
            )
            .layer(sessions)
            .with_state(self)
    }

    /// Whether a URI lies under one of the client's origins. A real provider compares whole URIs; this one knows the origins only.
    fn is_clients(&self, uri: &str) -> bool {
        let Ok(url) = url::Url::parse(uri) else {
            return false;
        };
        url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
            && self
                .client
                .origins
                .iter()
                .any(|origin| url.origin().ascii_serialization() == *origin)
    }
}

/// What handlers get.
type Provider = State<Arc<IdentityProvider>>;

/// OIDC Discovery 1.0 §3.
async fn discovery(State(provider): Provider) -> Json<serde_json::Value> {
    let at = |path: &str| format!("{}{path}", provider.issuer);
    Json(serde_json::json!({
        "issuer": provider.issuer,
        "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"),
        "userinfo_endpoint": at("/userinfo"),
        "jwks_uri": at("/jwks"),
        "end_session_endpoint": at("/end-session"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["openid", "profile", "email", "groups", "offline_access"],
        "claims_supported": ["sub", "name", "email", "email_verified", "groups", "preferred_username", "sid", "auth_time"],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "authorization_response_iss_parameter_supported": true,
    }))
}

async fn jwks(State(provider): Provider) -> Json<serde_json::Value> {
    Json(serde_json::json!({ "keys": [provider.key.jwk()] }))
}

#[cfg(test)]
mod tests;
