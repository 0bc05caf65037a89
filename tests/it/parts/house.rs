//! An edge with everything around it: mesh CA, upstream, identity provider, issuer of bearer tokens, configuration in a folder.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::Query;
use axum::response::Redirect;
use axum::routing::{get, post};
use axum::{Form, Json};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use wayleave::app::compose::{self, Running};
use wayleave::clock::{Clock, SystemClock};
use wayleave::config::Config;
use wayleave::demo::authority::Authority;
use wayleave::demo::identity_provider::{Client, IdentityProvider};
use wayleave::lifecycle::Lifecycle;
use wayleave::secret::{SecretString, random};

use super::browser::Browser;
use super::client::{Page, Sender, Version};
use super::files::{configuration, policy};
use super::upstream::Upstream;
use super::{Body, beside, until};

/// Names that the front door's certificate has.
const HOSTS: [&str; 4] = [
    "access.localhost",
    "app.localhost",
    "admin.localhost",
    "public.localhost",
];

/// Signs bearer tokens. It is also an identity provider at which one person is always signed in, and which logs out by itself.
#[derive(Clone)]
pub(crate) struct Issuer {
    pub(crate) url: String,
    key: Arc<KeyPair>,
}

/// Everything, running.
pub(crate) struct House {
    folder: tempfile::TempDir,
    pub(crate) lifecycle: Lifecycle,
    _running: Running,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) upstream: Upstream,
    pub(crate) issuer: Issuer,
    pub(crate) authority: Authority,
    door_root: String,
}

impl House {
    /// Starts everything, with the policy of these tests.
    pub(crate) async fn start() -> Self {
        Self::start_on("sqlite://wayleave.db").await
    }

    /// Starts everything on this store.
    pub(crate) async fn start_on(store: &str) -> Self {
        let clock = Arc::new(SystemClock);
        let authority = Authority::new(clock.now()).unwrap();
        let upstream = Upstream::start(&authority).await;
        let issuer = Issuer::start().await;
        let provider = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider_url = format!("http://localhost:{}", provider.local_addr().unwrap().port());

        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| write_private(folder.path().join(name), text);
        write("mesh-root.pem", &authority.mesh_bundle());
        let edge = authority.edge_authority().unwrap();
        write("edge-ca.pem", &edge.chain);
        write("edge-ca.key", &edge.key);
        let door = authority.front_door(&HOSTS).unwrap();
        write("front-door.pem", &door.chain);
        write("front-door.key", &door.key);
        write("provider.secret", "a secret of this test alone, 0123456789");
        write("store.key", &hex::encode(random::<32>()));
        write("store.url", store);
        write("policy.yaml", &policy(upstream.address));
        write("wayleave.toml", &configuration(&provider_url, &issuer.url));

        let config = Config::load(&folder.path().join("wayleave.toml"));
        let config = config.unwrap_or_else(|faults| {
            panic!(
                "{:?}",
                faults.iter().map(ToString::to_string).collect::<Vec<_>>()
            )
        });
        let lifecycle = Lifecycle::new();
        let running = compose::start(config, clock.clone(), &lifecycle)
            .await
            .unwrap();
        let (http, https) = (running.addresses[0], running.addresses[1]);
        let client = Client {
            id: "wayleave".to_owned(),
            secret: SecretString::from("a secret of this test alone, 0123456789"),
            origins: vec![
                format!("http://access.localhost:{}", http.port()),
                format!("https://access.localhost:{}", https.port()),
            ],
        };
        let idp = IdentityProvider::new(provider_url, client, clock).unwrap();
        beside(async move { drop(idp.serve(provider).await) });
        Self {
            folder,
            lifecycle,
            _running: running,
            http,
            https,
            upstream,
            issuer,
            door_root: authority.door_bundle(),
            authority,
        }
    }

    /// A URL of the plain front door.
    pub(crate) fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}.localhost:{}{path}", self.http.port())
    }

    /// A URL of the front door with TLS.
    pub(crate) fn secure_url(&self, host: &str, path: &str) -> String {
        format!("https://{host}.localhost:{}{path}", self.https.port())
    }

    /// What clients of the front door with TLS trust.
    pub(crate) fn door_root(&self) -> &str {
        &self.door_root
    }

    /// A new browser.
    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&self.door_root)
    }

    /// A browser in which somebody is signed in on `app.localhost`, at the plain front door. The upstream has forgotten it.
    pub(crate) async fn signed_in(&self, person: &str) -> Browser {
        let mut browser = self.browser();
        let arrived = browser.sign_in(&self.url("app", "/"), person).await;
        assert_eq!(arrived.page.text(), "hello", "{}", arrived.url);
        self.upstream.forget();
        browser
    }

    /// A connection to the plain front door.
    pub(crate) async fn connect(&self, version: Version) -> Sender {
        Sender::plain(self.http, version).await
    }

    /// A connection to the front door with TLS, by the name of `host`.
    pub(crate) async fn connect_tls(&self, host: &str, version: Version) -> Sender {
        let host = format!("{host}.localhost");
        Sender::tls(self.https, &self.door_root, &host, version).await
    }

    /// Sends one request to the plain front door, by HTTP/1.1.
    pub(crate) async fn send(&self, request: Request<Body>) -> Page {
        self.connect(Version::H1).await.page(request).await
    }

    /// Replaces the policy file's text, whole.
    pub(crate) fn change_policy(&self, change: impl FnOnce(String) -> String) {
        let path = self.folder.path().join("policy.yaml");
        let text = fs::read_to_string(&path).unwrap();
        let changed = change(text.clone());
        assert_ne!(changed, text, "the change changes nothing");
        let new = self.folder.path().join("policy.new");
        write_private(new.clone(), &changed);
        fs::rename(new, path).unwrap();
    }

    /// The access log's lines of the requests that fit, as soon as there are so many.
    pub(crate) async fn lines(&self, count: usize, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        let path = self.folder.path().join("access.log");
        let look = || {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
            let fitting: Vec<Value> = lines.filter(|line| fits(line)).collect();
            (fitting.len() >= count).then_some(fitting)
        };
        let (lines, _) = until("lines in the access log", look).await;
        assert_eq!(lines.len(), count, "{lines:?}");
        lines
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.lifecycle.begin_drain();
    }
}

impl Issuer {
    async fn start() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let point = key.public_key_raw();
        let jwks = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k1",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&point[33..]),
        }]});
        let this = Self {
            url,
            key: Arc::new(key),
        };
        let app = axum::Router::new()
            .route("/jwks", get(async move || Json(jwks.clone())))
            .merge(this.provider());
        beside(async move { axum::serve(listener, app).await.unwrap() });
        this
    }

    /// A good token, before `change` is made to its claims.
    pub(crate) fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        self.signed_by(&self.key, change)
    }

    /// A token that says it is this issuer's, and is not.
    pub(crate) fn forged(&self) -> String {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        self.signed_by(&key, |_| ())
    }

    /// The identity provider: everybody is `partner-1` at once. The code is the nonce, so nothing has to be remembered.
    fn provider(&self) -> axum::Router {
        let url = self.url.clone();
        let discovery = json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "jwks_uri": format!("{url}/jwks"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "code_challenge_methods_supported": ["S256"],
        });
        let authorize = async |Query(asked): Query<HashMap<String, String>>| {
            let (back, state, nonce) = (&asked["redirect_uri"], &asked["state"], &asked["nonce"]);
            Redirect::to(&format!("{back}?code={nonce}&state={state}"))
        };
        let issuer = self.clone();
        let token = async move |Form(asked): Form<HashMap<String, String>>| {
            let id_token = issuer.token(|claims| {
                claims["aud"] = "wayleave".into();
                claims["sub"] = "partner-1".into();
                claims["nonce"] = asked["code"].as_str().into();
            });
            Json(json!({
                "access_token": "a", "token_type": "Bearer", "expires_in": 300, "id_token": id_token,
            }))
        };
        axum::Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(async move || Json(discovery.clone())),
            )
            .route("/authorize", get(authorize))
            .route("/token", post(token))
    }

    /// A logout token for the one person (OIDC Back-Channel Logout 1.0 §2.4).
    pub(crate) fn logout_token(&self) -> String {
        self.typed("logout+jwt", &self.key, |claims| {
            claims["aud"] = "wayleave".into();
            claims["sub"] = "partner-1".into();
            claims["jti"] = "logout-1".into();
            claims["events"] = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
        })
    }

    fn signed_by(&self, key: &KeyPair, change: impl FnOnce(&mut Value)) -> String {
        self.typed("JWT", key, change)
    }

    fn typed(&self, typ: &str, key: &KeyPair, change: impl FnOnce(&mut Value)) -> String {
        let now = SystemClock.now().seconds();
        let mut claims = json!({
            "iss": self.url, "aud": "wayleave-test", "sub": "robot-1",
            "iat": now, "nbf": now, "exp": now + 300, "groups": ["robots"],
        });
        change(&mut claims);
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        header.kid = Some("k1".to_owned());
        header.typ = Some(typ.to_owned());
        let key = jsonwebtoken::EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap();
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }
}

fn write_private(path: PathBuf, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
