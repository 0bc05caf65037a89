//! Signs bearer tokens. It is also an identity provider at which one person is always signed in, which logs out by itself, and which can be told to
//! misbehave.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::Query;
use axum::response::Redirect;
use axum::routing::{get, post};
use axum::{Form, Json};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use wayleave::clock::SharedClock;

use super::beside;

/// The issuer; clones are the same one.
#[derive(Clone)]
pub(crate) struct Issuer {
    pub(crate) url: String,
    clock: SharedClock,
    key: Arc<Mutex<SigningKey>>,
    fetches: Arc<AtomicUsize>,
    /// Where the keys are: how often they have moved.
    place: Arc<AtomicUsize>,
    /// How often its metadata were fetched.
    pub(crate) discoveries: Arc<AtomicUsize>,
    /// Whether it says that its answers name it (RFC 9207 §3).
    pub(crate) promises_iss: Arc<AtomicBool>,
    /// Whether the token endpoint answers, or waits until it may.
    pub(crate) answers: Arc<watch::Sender<bool>>,
    /// How many have asked the token endpoint.
    pub(crate) exchanges: Arc<AtomicUsize>,
    /// Whether it heeds `acr_values` and `max_age`.
    pub(crate) steps_up: Arc<AtomicBool>,
    /// The subject and the address of its one person.
    pub(crate) person: Arc<Mutex<(&'static str, Option<&'static str>)>>,
    /// The groups that they are in.
    pub(crate) groups: Arc<Mutex<Vec<&'static str>>>,
    /// Whether it gives refresh tokens.
    pub(crate) gives_refresh: Arc<AtomicBool>,
}

struct SigningKey {
    kid: String,
    pair: KeyPair,
}

impl SigningKey {
    fn new(kid: &str) -> Self {
        Self {
            kid: kid.to_owned(),
            pair: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
        }
    }
}

impl Issuer {
    pub(crate) async fn start(clock: SharedClock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            url: format!("http://localhost:{}", listener.local_addr().unwrap().port()),
            clock,
            key: Arc::new(Mutex::new(SigningKey::new("k1"))),
            fetches: Arc::default(),
            place: Arc::default(),
            discoveries: Arc::default(),
            promises_iss: Arc::default(),
            answers: Arc::new(watch::Sender::new(true)),
            exchanges: Arc::default(),
            steps_up: Arc::new(AtomicBool::new(true)),
            person: Arc::new(Mutex::new(("partner-1", None))),
            groups: Arc::new(Mutex::new(vec!["robots"])),
            gives_refresh: Arc::default(),
        };
        let keys = this.clone();
        let at = move |place: usize| {
            let is_here = keys.place.load(Ordering::SeqCst) == place;
            is_here.then(|| {
                keys.fetches.fetch_add(1, Ordering::SeqCst);
                Json(keys.jwks())
            })
        };
        let at_first = at.clone();
        let jwks = async move || at_first(0).ok_or(axum::http::StatusCode::NOT_FOUND);
        let moved = async move |axum::extract::Path(place): axum::extract::Path<usize>| {
            at(place).ok_or(axum::http::StatusCode::NOT_FOUND)
        };
        let app = axum::Router::new()
            .route("/jwks", get(jwks))
            .route("/jwks/{place}", get(moved))
            .merge(this.provider());
        beside(async move { axum::serve(listener, app).await.unwrap() });
        this
    }

    fn key(&self) -> MutexGuard<'_, SigningKey> {
        self.key.lock().unwrap()
    }

    pub(crate) fn jwks(&self) -> Value {
        let key = self.key();
        let point = key.pair.public_key_raw();
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": key.kid,
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&point[33..]),
        }]})
    }

    /// From now on it signs with a new key, and publishes that alone.
    pub(crate) fn rotate(&self, kid: &str) {
        *self.key() = SigningKey::new(kid);
    }

    /// The same, and the keys are at another address, and at that alone.
    pub(crate) fn move_keys(&self, kid: &str) {
        self.rotate(kid);
        self.place.fetch_add(1, Ordering::SeqCst);
    }

    /// How often the keys were fetched.
    pub(crate) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    /// A good token, before `change` is made to its claims.
    pub(crate) fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        self.typed("JWT", &self.key(), change)
    }

    /// A token that says it is this issuer's, and is not.
    pub(crate) fn forged(&self) -> String {
        self.of_key(&self.key().kid.clone())
    }

    /// A token of a key that nobody has, by this id.
    pub(crate) fn of_key(&self, kid: &str) -> String {
        self.typed("JWT", &SigningKey::new(kid), |_| ())
    }

    /// The identity provider: everybody is its one person at once. The code is the nonce and what was asked for, so nothing has to be remembered.
    fn provider(&self) -> axum::Router {
        let this = self.clone();
        let discovery = async move || Json(this.discovery());
        let this = self.clone();
        let authorize = async move |Query(asked): Query<HashMap<String, String>>| {
            let (back, state, nonce) = (&asked["redirect_uri"], &asked["state"], &asked["nonce"]);
            let heeds = this.steps_up.load(Ordering::SeqCst);
            let acr = asked.get("acr_values").filter(|_| heeds);
            let acr = acr
                .and_then(|values| values.split(' ').next())
                .unwrap_or("");
            let is_dated = heeds && asked.contains_key("max_age");
            let code = format!("{nonce}~{acr}~{is_dated}");
            Redirect::to(&format!("{back}?code={code}&state={state}"))
        };
        let this = self.clone();
        let token = async move |Form(asked): Form<HashMap<String, String>>| {
            this.exchanges.fetch_add(1, Ordering::SeqCst);
            let mut answers = this.answers.subscribe();
            answers.wait_for(|answers| *answers).await.unwrap();
            // There is no code with a refresh.
            Json(this.token_answer(asked.get("code").map_or("", String::as_str)))
        };
        axum::Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
    }

    fn discovery(&self) -> Value {
        self.discoveries.fetch_add(1, Ordering::SeqCst);
        let url = &self.url;
        let keys = match self.place.load(Ordering::SeqCst) {
            0 => format!("{url}/jwks"),
            place => format!("{url}/jwks/{place}"),
        };
        json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "jwks_uri": keys,
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": self.promises_iss.load(Ordering::SeqCst),
        })
    }

    fn token_answer(&self, code: &str) -> Value {
        let mut parts = code.split('~');
        let mut part = || parts.next().unwrap_or_default();
        let (nonce, acr, is_dated) = (part(), part(), part());
        let id_token = self.token(|claims| {
            if !acr.is_empty() {
                claims["acr"] = acr.into();
            }
            if is_dated == "true" {
                claims["auth_time"] = claims["iat"].clone();
            }
            let (subject, email) = *self.person.lock().unwrap();
            claims["aud"] = "wayleave".into();
            claims["sub"] = subject.into();
            if let Some(email) = email {
                claims["email"] = email.into();
                claims["email_verified"] = true.into();
            }
            if !nonce.is_empty() {
                claims["nonce"] = nonce.into();
            }
            claims["groups"] = self.groups.lock().unwrap().as_slice().into();
            claims["sid"] = "sid-1".into();
            // As Entra ID tells who somebody is.
            claims["tid"] = "tenant-1".into();
            claims["oid"] = "object-1".into();
        });
        let refresh = self.gives_refresh.load(Ordering::SeqCst).then_some("r");
        json!({
            "access_token": "a", "token_type": "Bearer", "expires_in": 300, "id_token": id_token, "refresh_token": refresh,
        })
    }

    /// A logout token for the one person (OIDC Back-Channel Logout 1.0 §2.4).
    pub(crate) fn logout_token(&self) -> String {
        self.logout_token_with(|_| ())
    }

    /// A logout token, before `change` is made to its claims.
    pub(crate) fn logout_token_with(&self, change: impl FnOnce(&mut Value)) -> String {
        self.typed("logout+jwt", &self.key(), |claims| {
            claims["aud"] = "wayleave".into();
            claims["sub"] = "partner-1".into();
            claims["jti"] = "logout-1".into();
            claims["events"] = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
            change(claims);
        })
    }

    fn typed(&self, typ: &str, key: &SigningKey, change: impl FnOnce(&mut Value)) -> String {
        let now = self.clock.now().seconds();
        let mut claims = json!({
            "iss": self.url, "aud": "wayleave-test", "sub": "robot-1",
            "iat": now, "nbf": now, "exp": now + 300, "groups": ["robots"],
        });
        change(&mut claims);
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        header.kid = Some(key.kid.clone());
        header.typ = Some(typ.to_owned());
        let pem = key.pair.serialize_pem();
        let key = jsonwebtoken::EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }
}

/// The same claims under a header that says there is no signature, and none.
pub(crate) fn unsigned(token: &str) -> String {
    let claims = token.split('.').nth(1).unwrap();
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"logout+jwt"}"#);
    format!("{header}.{claims}.")
}
