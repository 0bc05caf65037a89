//! Programs register themselves (RFC 7591), to act for people who let them.
//!
//! Anybody may, so a registration is worth nothing by itself: no secret, no name that is believed, and no place but those it may have people sent back to.
//! How many there can be is bounded, and one that nobody lets in is forgotten after an hour.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::{Request, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::oauth::fault::OAuthFault;
use crate::oauth::rate::subscriber;
use crate::oauth::{OAuth, client, reply};
use crate::secret::random;
use crate::store::oauth_clients::{ClientRecord, Room};
use crate::web::receive;
use crate::web::reply as web_reply;
use crate::web::request_info::RequestInfo;

/// Largest registration.
const BODY_LIMIT: usize = 16 * 1024;
/// Most redirect URIs of one client.
const REDIRECT_URIS: usize = 10;
/// How long a registration waits for somebody to make use of it.
const UNUSED: Duration = Duration::from_secs(60 * 60);
/// How long one is kept after its last use.
pub(crate) const USED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What we read of a registration; everything else is not ours to keep (RFC 7591 §2).
#[derive(Deserialize)]
struct Metadata {
    redirect_uris: Vec<String>,
    client_name: Option<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
}

/// `POST /.wayleave/oauth/register`.
pub(super) async fn submit(
    State(oauth): State<Arc<OAuth>>,
    Extension(info): Extension<RequestInfo>,
    request: Request<Body>,
) -> Response<Body> {
    match oauth.register(&info, request).await {
        Ok(said) => web_reply::json(&info, StatusCode::CREATED, &said),
        Err(fault) => reply::fault(&info, &fault),
    }
}

impl OAuth {
    async fn register(
        &self,
        info: &RequestInfo,
        request: Request<Body>,
    ) -> Result<Value, OAuthFault> {
        if !self.agents.registration {
            return Err(OAuthFault::NoRegistration);
        }
        if !self.rates.registrations.take(info.client, self.clock.now()) {
            return Err(OAuthFault::TooManyRequests);
        }
        let metadata = read(request).await?;
        let now = self.clock.now();
        let client = ClientRecord {
            id: format!("{}{}", client::REGISTERED, hex::encode(random::<16>())),
            name: metadata.client_name.as_deref().and_then(client::own_name),
            redirect_uris: metadata.redirect_uris,
            address: subscriber(info.client).to_string(),
            created_at: now,
            expires_at: now.plus(UNUSED),
        };
        let room = Room {
            of_address: self.agents.registrations_per_address,
            in_all: self.agents.registrations_in_all,
        };
        if !self.store.register_client(&client, room).await? {
            tracing::warn!(request_id = %info.request_id, address = client.address, "there is no room for another registration");
            return Err(OAuthFault::TooManyRequests);
        }
        tracing::info!(request_id = %info.request_id, client = client.id, address = client.address, "a program registered itself");
        let mut said = json!({
            "client_id": client.id,
            "client_id_issued_at": now.seconds(),
            "redirect_uris": client.redirect_uris,
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
        });
        if let Some(name) = client.name {
            said["client_name"] = name.into();
        }
        Ok(said)
    }
}

async fn read(request: Request<Body>) -> Result<Metadata, OAuthFault> {
    let (head, body) = request.into_parts();
    let kind = head.headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let unreadable = |why| OAuthFault::ClientMetadata(why);
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(unreadable("the body must be application/json"));
    }
    let body = receive::body(body, BODY_LIMIT).await;
    let body = body.map_err(|_| unreadable("the body is too long, too slow or broken off"))?;
    let metadata: Metadata = serde_json::from_slice(&body).map_err(|_| {
        unreadable("the body must be an object with redirect_uris, a list of texts")
    })?;
    check(&metadata)?;
    Ok(metadata)
}

fn check(metadata: &Metadata) -> Result<(), OAuthFault> {
    let uris = &metadata.redirect_uris;
    if uris.is_empty() || uris.len() > REDIRECT_URIS {
        return Err(OAuthFault::RedirectUri(
            "there must be 1 to 10 redirect_uris",
        ));
    }
    if !uris.iter().all(|uri| client::registrable(uri).is_some()) {
        return Err(OAuthFault::RedirectUri(
            "a redirect URI is https://HOST/PATH, or http with 127.0.0.1, [::1] or localhost, without user and fragment, written as it will be sent",
        ));
    }
    let method = metadata.token_endpoint_auth_method.as_deref();
    if method.is_some_and(|method| method != "none") {
        let why = "only public clients register here: token_endpoint_auth_method is none";
        return Err(OAuthFault::ClientMetadata(why));
    }
    let lacks = |list: &Option<Vec<String>>, wanted: &str| {
        let list = list.as_ref();
        list.is_some_and(|list| !list.iter().any(|one| one == wanted))
    };
    if lacks(&metadata.grant_types, "authorization_code") || lacks(&metadata.response_types, "code")
    {
        let why = "only authorization_code is granted, with response type code";
        return Err(OAuthFault::ClientMetadata(why));
    }
    Ok(())
}
