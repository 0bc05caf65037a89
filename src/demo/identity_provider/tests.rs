//! The provider as a client and a browser see it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use tower::ServiceExt;

use super::{Client, IdentityProvider};
use crate::clock::{ManualClock, Timestamp};
use crate::secret::{SecretString, sha256};

const ISSUER: &str = "http://localhost:8081";
const BACK: &str = "http://access.localhost:8080/.wayleave/callback/demo";
const VERIFIER: &str = "a-verifier-that-is-long-enough-for-rfc-7636-indeed";

struct Browser {
    router: Router,
    clock: Arc<ManualClock>,
    cookie: Option<String>,
}

impl Browser {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_800_000_000)));
        let client = Client {
            id: "wayleave".into(),
            secret: SecretString::from("client-secret"),
            origins: vec!["http://access.localhost:8080".into()],
        };
        let provider = IdentityProvider::new(ISSUER.into(), client, clock.clone()).unwrap();
        Self {
            router: provider.router(),
            clock,
            cookie: None,
        }
    }

    async fn send(&mut self, method: &str, target: &str, form: Option<String>) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(target);
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        if form.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let request = request.body(Body::from(form.unwrap_or_default())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        if let Some(cookie) = response.headers().get(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let is_removal = cookie.contains("Max-Age=0");
            let is_guarded = cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax");
            assert!(is_removal || is_guarded, "{cookie}");
            self.cookie = cookie.split(';').next().map(str::to_owned);
        }
        response
    }

    async fn token(&mut self, more: &str) -> (StatusCode, Value) {
        let form = format!("client_id=wayleave&client_secret=client-secret&{more}");
        let response = self.send("POST", "/token", Some(form)).await;
        (response.status(), json(response).await)
    }

    /// Signs in and returns the code.
    async fn code(&mut self, person: &str) -> String {
        let form = format!("{}&person={person}", parameters());
        let response = self.send("POST", "/sign-in", Some(form)).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        query(&response, "code").unwrap()
    }
}

fn parameters() -> String {
    let challenge = URL_SAFE_NO_PAD.encode(sha256(VERIFIER.as_bytes()));
    format!(
        "client_id=wayleave&redirect_uri={BACK}&response_type=code&scope=openid%20groups&state=s1&nonce=n1&code_challenge={challenge}&code_challenge_method=S256"
    )
}

fn redeeming(code: &str) -> String {
    format!(
        "grant_type=authorization_code&code={code}&redirect_uri={BACK}&code_verifier={VERIFIER}"
    )
}

fn query(response: &Response<Body>, name: &str) -> Option<String> {
    let location = response.headers().get(header::LOCATION)?.to_str().unwrap();
    let url = url::Url::parse(location).unwrap();
    let mut pairs = url.query_pairs();
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

async fn text(response: Response<Body>) -> String {
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn json(response: Response<Body>) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

#[tokio::test]
async fn a_person_signs_in_and_the_tokens_verify() {
    let mut browser = Browser::new();
    let page = browser
        .send("GET", &format!("/authorize?{}", parameters()), None)
        .await;
    let page = text(page).await;
    assert!(
        page.contains("DEMO IDENTITY PROVIDER") && page.contains("Alice Adams"),
        "{page}"
    );
    let form = format!("{}&person=alice", parameters());
    let answer = browser.send("POST", "/sign-in", Some(form)).await;
    assert_eq!(query(&answer, "state").as_deref(), Some("s1"));
    assert_eq!(query(&answer, "iss").as_deref(), Some(ISSUER));
    let code = query(&answer, "code").unwrap();
    let (status, tokens) = browser.token(&redeeming(&code)).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    let keys = json(browser.send("GET", "/jwks", None).await).await;
    let jwk: Jwk = serde_json::from_value(keys["keys"][0].clone()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["wayleave"]);
    validation.set_issuer(&[ISSUER]);
    validation.validate_exp = false;
    let id_token = tokens["id_token"].as_str().unwrap();
    let key = DecodingKey::from_jwk(&jwk).unwrap();
    let claims = jsonwebtoken::decode::<Value>(id_token, &key, &validation)
        .unwrap()
        .claims;
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["nonce"], "n1");
    assert_eq!(claims["email_verified"], true);
    assert_eq!(claims["groups"], serde_json::json!(["sre", "staff"]));
    assert!(claims["sid"].is_string());
    // A code is used once.
    let (status, again) = browser.token(&redeeming(&code)).await;
    assert_eq!(
        (status, &again["error"]),
        (StatusCode::BAD_REQUEST, &"invalid_grant".into())
    );
}

#[tokio::test]
async fn exchanges_that_do_not_match_are_refused() {
    let mut browser = Browser::new();
    let wrong = [
        ("code_verifier=a-", "code_verifier=b-"),
        ("redirect_uri=http://access", "redirect_uri=http://other"),
        ("grant_type=authorization_code", "grant_type=password"),
    ];
    for (from, to) in wrong {
        let code = browser.code("bob").await;
        let (status, _) = browser.token(&redeeming(&code).replacen(from, to, 1)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{to}");
    }
    let code = browser.code("bob").await;
    let form = format!(
        "client_id=wayleave&client_secret=wrong&{}",
        redeeming(&code)
    );
    let refused = browser.send("POST", "/token", Some(form)).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    browser.clock.advance(Duration::from_secs(61));
    let (status, _) = browser.token(&redeeming(&code)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "the code has ended");
}

#[tokio::test]
async fn requests_without_pkce_and_foreign_redirects_are_refused() {
    let mut browser = Browser::new();
    let plain = parameters().replace("S256", "plain");
    let answer = browser
        .send("GET", &format!("/authorize?{plain}"), None)
        .await;
    assert_eq!(query(&answer, "error").as_deref(), Some("invalid_request"));
    for foreign in [
        "http://evil.localhost:8080/",
        "http://access.localhost:8080@evil.example/",
        "javascript:1",
    ] {
        let target = format!("/authorize?{}", parameters().replace(BACK, foreign));
        let answer = browser.send("GET", &target, None).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{foreign}");
    }
    let quiet = format!("/authorize?{}&prompt=none", parameters());
    let answer = browser.send("GET", &quiet, None).await;
    assert_eq!(query(&answer, "error").as_deref(), Some("login_required"));
}

#[tokio::test]
async fn refresh_tokens_rotate_and_end_with_the_session() {
    let mut browser = Browser::new();
    let code = browser.code("carol").await;
    let (_, tokens) = browser.token(&redeeming(&code)).await;
    let refresh = |tokens: &Value| {
        format!(
            "grant_type=refresh_token&refresh_token={}",
            tokens["refresh_token"].as_str().unwrap()
        )
    };
    let (status, second) = browser.token(&refresh(&tokens)).await;
    assert_eq!(status, StatusCode::OK);
    let (status, _) = browser.token(&refresh(&tokens)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "the first one is used up");
    // Signed in already: no page. Signed out: the page again, and no refresh.
    let target = format!("/authorize?{}", parameters());
    assert!(query(&browser.send("GET", &target, None).await, "code").is_some());
    let out = "/end-session?post_logout_redirect_uri=http://access.localhost:8080/bye&state=x";
    let answer = browser.send("GET", out, None).await;
    assert_eq!(query(&answer, "state").as_deref(), Some("x"));
    let (status, _) = browser.token(&refresh(&second)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(
        browser.send("GET", &target, None).await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_new_browser_session_gets_a_new_cookie_at_sign_in() {
    let mut browser = Browser::new();
    browser.code("alice").await;
    let first = browser.cookie.clone();
    browser.code("bob").await;
    assert_ne!(
        browser.cookie, first,
        "the id changes with whoever signs in"
    );
}

#[tokio::test]
async fn it_refuses_listeners_that_are_not_on_loopback() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(0)));
    let client = Client {
        id: "w".into(),
        secret: SecretString::from("s"),
        origins: Vec::new(),
    };
    let provider = IdentityProvider::new(ISSUER.into(), client, clock).unwrap();
    let open = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    assert!(provider.serve(open).await.is_err());
}
