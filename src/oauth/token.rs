//! The token endpoint: what is presented, by whom, for what.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::{Request, Response, StatusCode};
use serde_json::Value;

use crate::oauth::client::Client;
use crate::oauth::fault::OAuthFault;
use crate::oauth::{Asked, OAuth, client, reply};
use crate::web::reply as web_reply;
use crate::web::request_info::RequestInfo;

/// RFC 8628 §3.4.
pub(crate) const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// RFC 6749 §4.4.
pub(crate) const CLIENT_CREDENTIALS: &str = "client_credentials";
/// RFC 8693 §2.1.
pub(crate) const EXCHANGE_GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// `POST /.wayleave/oauth/token`.
pub(super) async fn submit(
    State(oauth): State<Arc<OAuth>>,
    Extension(info): Extension<RequestInfo>,
    request: Request<Body>,
) -> Response<Body> {
    let task_info = info.clone();
    // A program that leaves must not stop it halfway: a refresh token that was used up and whose successor was not kept is lost.
    #[expect(
        clippy::disallowed_methods,
        reason = "bounded by the store's and the provider's deadlines; outlives only its request"
    )]
    let work = tokio::spawn(async move { oauth.token(&task_info, request).await });
    match work.await.unwrap_or(Err(OAuthFault::State)) {
        Ok(answer) => web_reply::json(&info, StatusCode::OK, &answer),
        Err(fault) => reply::fault(&info, &fault),
    }
}

impl OAuth {
    async fn token(&self, info: &RequestInfo, request: Request<Body>) -> Result<Value, OAuthFault> {
        if !self.rates.tokens.take(info.client, self.clock.now()) {
            return Err(OAuthFault::TooManyRequests);
        }
        let asked = Asked::read(info, request).await?;
        let grant = asked.required("grant_type")?;
        // Whoever shows a certificate and an assertion is who they say in so many words.
        let has_assertion = asked.form.one("client_assertion").is_some();
        let by_certificate = asked.info.presented.is_some() && !has_assertion;
        let given = match grant {
            "authorization_code" => self.by_code(&asked).await,
            "refresh_token" => self.by_refresh(&asked).await,
            DEVICE_GRANT => self.by_device(&asked).await,
            CLIENT_CREDENTIALS if by_certificate => self.by_certificate(&asked).await,
            CLIENT_CREDENTIALS => self.by_service_account(&asked).await,
            EXCHANGE_GRANT => self.by_exchange(&asked).await,
            _ => Err(OAuthFault::UnsupportedGrantType),
        };
        if let (CLIENT_CREDENTIALS | EXCHANGE_GRANT, Err(fault)) = (grant, &given) {
            self.tell_refused(&asked, fault).await;
        }
        given
    }
}

impl Asked {
    /// Which client says that it asks; all that act for people are public, so its id is all there is to it.
    pub(crate) fn client_id(&self) -> Result<&str, OAuthFault> {
        self.without_credentials()?;
        self.required("client_id")
    }

    /// Refuses credentials where they say nothing, so that nobody shows them for nothing.
    pub(crate) fn without_credentials(&self) -> Result<(), OAuthFault> {
        let shown = ["client_secret", "client_assertion", "client_assertion_type"];
        match shown.iter().any(|name| self.form.one(name).is_some()) {
            true => Err(OAuthFault::InvalidClient),
            false => Ok(()),
        }
    }

    /// The built-in client, where no other is served.
    pub(crate) fn own_client(&self) -> Result<Client, OAuthFault> {
        match self.client_id()? {
            client::COMMAND_LINE => Ok(Client::CommandLine),
            _ => Err(OAuthFault::InvalidClient),
        }
    }
}
