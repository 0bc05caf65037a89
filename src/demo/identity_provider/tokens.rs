//! The token endpoint (RFC 6749 §4.1.3, §6) and userinfo.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::demo::identity_provider::state::{Grant, Kind};
use crate::demo::identity_provider::{IdentityProvider, Provider};
use crate::secret::{ExposeSecret, sha256};

/// How long access and ID tokens are good for: short, so that the demonstration shows refreshes.
const TOKEN_LIFETIME: Duration = Duration::from_secs(10 * 60);
const REFRESH_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// The form of a token request.
#[derive(Deserialize)]
pub(super) struct TokenRequest {
    grant_type: String,
    code: Option<String>,
    redirect_uri: Option<String>,
    code_verifier: Option<String>,
    refresh_token: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

/// Why there are no tokens, as RFC 6749 §5.2 names it.
type Refused = &'static str;

/// Redeems a code or a refresh token.
pub(super) async fn token(
    State(provider): Provider,
    headers: HeaderMap,
    Form(request): Form<TokenRequest>,
) -> Response {
    let answer = if provider.is_client(&headers, &request) {
        provider
            .redeem(&request)
            .and_then(|grant| provider.tokens(grant))
    } else {
        Err("invalid_client")
    };
    let (status, body) = match answer {
        Ok(body) => (StatusCode::OK, body),
        Err("invalid_client") => (StatusCode::UNAUTHORIZED, json!({"error": "invalid_client"})),
        Err(error) => (StatusCode::BAD_REQUEST, json!({ "error": error })),
    };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// What the access token's person is called.
pub(super) async fn userinfo(State(provider): Provider, headers: HeaderMap) -> Response {
    let authorization = headers.get(header::AUTHORIZATION);
    let token = authorization
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let grant = token.and_then(|token| {
        let now = provider.clock.now();
        provider.state.look_up(Kind::Access, token, now)
    });
    match grant {
        Some(grant) => Json(claims(&grant)).into_response(),
        None => (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")],
        )
            .into_response(),
    }
}

impl IdentityProvider {
    /// `client_secret_basic` or `client_secret_post`, never both.
    fn is_client(&self, headers: &HeaderMap, request: &TokenRequest) -> bool {
        let basic = headers.get(header::AUTHORIZATION).map(|value| {
            let text = value.to_str().ok()?.strip_prefix("Basic ")?;
            let text = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
            let (id, secret) = text.split_once(':')?;
            Some((form_decoded(id), form_decoded(secret)))
        });
        let (id, secret) = match (basic, &request.client_id, &request.client_secret) {
            (Some(Some(basic)), _, None) => basic,
            (None, Some(id), Some(secret)) => (id.clone(), secret.clone()),
            _ => return false,
        };
        let expected = self.client.secret.expose_secret().as_bytes();
        id == self.client.id && bool::from(secret.as_bytes().ct_eq(expected))
    }

    fn redeem(&self, request: &TokenRequest) -> Result<Grant, Refused> {
        let now = self.clock.now();
        match request.grant_type.as_str() {
            "authorization_code" => {
                let code = request.code.as_deref().ok_or("invalid_request")?;
                let verifier = request.code_verifier.as_deref().ok_or("invalid_request")?;
                let grant = self
                    .state
                    .take(Kind::Code, code, now)
                    .ok_or("invalid_grant")?;
                let exchange = grant.exchange.as_ref().ok_or("invalid_grant")?;
                let challenge = URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()));
                let matches = challenge == exchange.code_challenge
                    && request.redirect_uri.as_ref() == Some(&exchange.redirect_uri);
                if matches {
                    Ok(grant)
                } else {
                    Err("invalid_grant")
                }
            }
            "refresh_token" => {
                let token = request.refresh_token.as_deref().ok_or("invalid_request")?;
                self.state
                    .take(Kind::Refresh, token, now)
                    .ok_or("invalid_grant")
            }
            _ => Err("unsupported_grant_type"),
        }
    }

    fn tokens(&self, mut grant: Grant) -> Result<serde_json::Value, Refused> {
        let now = self.clock.now();
        let nonce = grant.exchange.take().and_then(|exchange| exchange.nonce);
        let mut id_token = claims(&grant);
        if let Some(members) = id_token.as_object_mut() {
            members.insert("iss".into(), json!(self.issuer));
            members.insert("aud".into(), json!(self.client.id));
            members.insert("azp".into(), json!(self.client.id));
            members.insert("iat".into(), json!(now.seconds()));
            members.insert("exp".into(), json!(now.plus(TOKEN_LIFETIME).seconds()));
            members.insert("auth_time".into(), json!(grant.signed_in.auth_time));
            members.insert("sid".into(), json!(grant.signed_in.sid));
            members.extend(nonce.map(|nonce| ("nonce".to_owned(), json!(nonce))));
        }
        let id_token = self.key.sign(&id_token).map_err(|_| "server_error")?;
        let scope = grant.scope.clone();
        let access = self
            .state
            .give(Kind::Access, grant.clone(), now, TOKEN_LIFETIME);
        let refresh = self.state.give(Kind::Refresh, grant, now, REFRESH_LIFETIME);
        Ok(json!({
            "token_type": "Bearer",
            "access_token": access.expose(),
            "expires_in": TOKEN_LIFETIME.as_secs(),
            "refresh_token": refresh.expose(),
            "id_token": id_token,
            "scope": scope,
        }))
    }
}

fn claims(grant: &Grant) -> serde_json::Value {
    let person = grant.signed_in.person;
    json!({
        "sub": person.subject,
        "name": person.name,
        "preferred_username": person.subject,
        "email": person.email,
        "email_verified": true,
        "groups": person.groups,
    })
}

/// RFC 6749 §2.3.1: id and secret are form-encoded before they are joined.
fn form_decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced)
        .decode_utf8_lossy()
        .into_owned()
}
