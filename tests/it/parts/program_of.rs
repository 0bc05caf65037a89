//! Somebody's program: it holds a key, is let in by their browser, and asks with tokens.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use serde_json::{Value, json};
use url::Url;
use wayleave::clock::{SharedClock, SystemClock};

use super::browser::{Arrived, Browser, hidden};
use super::client::{Page, Sender, Version};
use super::house::House;
use super::program::eventually;
use super::served::Parties;
use super::{empty, full};

/// Where it would wait.
pub(crate) const REDIRECT: &str = "http://127.0.0.1:7/callback";
pub(crate) const VERIFIER: &str = "a-verifier-of-this-test-alone-0123456789-abcdef";
pub(crate) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(crate) const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";
pub(crate) const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";

pub(crate) fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

/// A key that tokens are bound to.
pub(crate) struct Key {
    pair: EcdsaKeyPair,
    clock: SharedClock,
}

impl Key {
    pub(crate) fn new() -> Self {
        Self::at(std::sync::Arc::new(SystemClock))
    }

    pub(crate) fn at(clock: SharedClock) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { pair, clock }
    }

    pub(crate) fn proof(&self, method: &str, url: &str, token: Option<&str>) -> String {
        self.changed_proof(method, url, token, |_| ())
    }

    pub(crate) fn changed_proof(
        &self,
        method: &str,
        url: &str,
        token: Option<&str>,
        change: impl FnOnce(&mut Value),
    ) -> String {
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk()});
        let mut claims = json!({
            "jti": hex::encode(wayleave::secret::random::<16>()), "htm": method, "htu": url,
            "iat": self.clock.now().seconds(),
        });
        if let Some(token) = token {
            claims["ath"] = hash(token).into();
        }
        change(&mut claims);
        self.signed(&header, &claims)
    }

    /// Its public half.
    pub(crate) fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let coordinate = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        json!({"kty": "EC", "crv": "P-256", "x": coordinate(1..33), "y": coordinate(33..65)})
    }

    /// A JWT that it signs.
    pub(crate) fn signed(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes());
        format!(
            "{message}.{}",
            URL_SAFE_NO_PAD.encode(signature.unwrap().as_ref())
        )
    }
}

/// What it asks the home host's browser page for.
pub(crate) fn authorize_url(house: &House, change: &[(&str, &str)]) -> String {
    let mut url = Url::parse(&house.url("access", "/.wayleave/oauth/authorize")).unwrap();
    let challenge = hash(VERIFIER);
    let usual = [
        ("response_type", "code"),
        ("client_id", "wayleave-cli"),
        ("redirect_uri", REDIRECT),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
        ("state", "a state"),
    ];
    for (name, value) in usual {
        let other = change.iter().find(|(changed, _)| *changed == name);
        let value = other.map_or(value, |(_, value)| value);
        if !value.is_empty() {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    for (name, value) in change {
        if !usual.iter().any(|(usual, _)| usual == name) {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    url.to_string()
}

/// Sends the consent page's form; the redirect to the program is not followed.
pub(crate) async fn decide(browser: &mut Browser, page: &Arrived, decision: &str) -> Arrived {
    let mut fields = hidden(&page.page.text());
    assert!(!fields.is_empty(), "{}: {}", page.url, page.page.text());
    fields.push(("decision".to_owned(), decision.to_owned()));
    browser.stops_before = Some("/callback");
    let url = page.url.join(page.url.path()).unwrap();
    let sent = browser.submit(url, &fields).await;
    browser.stops_before = None;
    sent
}

/// The parameters of the redirect to the program.
pub(crate) fn answer(arrived: &Arrived) -> std::collections::BTreeMap<String, String> {
    arrived.next().query_pairs().into_owned().collect()
}

/// A code that a signed-in browser lets the program have.
pub(crate) async fn code(house: &House, browser: &mut Browser) -> String {
    let page = browser.go(&authorize_url(house, &[])).await;
    let sent = decide(browser, &page, "allow").await;
    answer(&sent)["code"].clone()
}

/// Posts a form to an endpoint of the authorization server, with these headers.
pub(crate) async fn post(
    house: &House,
    endpoint: &str,
    headers: &[(&str, &str)],
    fields: &[(&str, &str)],
) -> Page {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let url = house.url("access", &format!("/.wayleave/oauth/{endpoint}"));
    let mut request =
        Request::post(url).header("content-type", "application/x-www-form-urlencoded");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    house.send(request.body(full(body)).unwrap()).await
}

/// Asks the token endpoint, proving a key if there is one.
pub(crate) async fn ask(house: &House, key: Option<&Key>, fields: &[(&str, &str)]) -> Page {
    let url = house.url("access", "/.wayleave/oauth/token");
    let proof = key.map(|key| key.proof("POST", &url, None));
    let headers: Vec<_> = proof.iter().map(|proof| ("dpop", proof.as_str())).collect();
    post(house, "token", &headers, fields).await
}

/// The same at one of several edges, by the name that all of them have.
pub(crate) async fn ask_at(
    (parties, port): (&Parties, u16),
    key: &Key,
    fields: &[(&str, &str)],
) -> Page {
    let url = format!("{}/.wayleave/oauth/token", parties.at("access"));
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let request = Request::post(&url)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("dpop", key.proof("POST", &url, None))
        .body(full(body));
    let edge = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let mut sender = Sender::plain(edge, Version::H1).await;
    sender.page(request.unwrap()).await
}

/// What a policy's text becomes.
pub(crate) type Change<'a> = &'a dyn Fn(&str) -> String;

/// A program's token that opens `app` does so no more after a change of the policy. Gives what it is answered then when it asks again; the policy is as before
/// after that.
pub(crate) async fn ended_by(
    house: &House,
    key: &Key,
    (what, change): (&str, Change<'_>),
    ask_again: impl AsyncFn() -> Page,
) -> Page {
    let url = house.url("app", "/x");
    let token = text(&ask_again().await, "access_token");
    assert_eq!(open(house, key, &token, &url).await.status, 200, "{what}");
    let former = std::sync::OnceLock::new();
    house
        .put_in_force(|text| change(former.get_or_init(|| text)))
        .await;
    eventually(what, async || {
        open(house, key, &token, &url).await.status == 401
    })
    .await;
    let page = ask_again().await;
    house.put_in_force(|_| former.get().unwrap().clone()).await;
    page
}

/// A program's token is for the route `app` alone (G9), and needs the key that it is bound to (H12).
pub(crate) async fn opens_nothing_else(house: &House, key: &Key, token: &str) {
    for url in [
        house.url("admin", "/x"),
        house.url("access", "/.wayleave/api/v1/me"),
    ] {
        assert_eq!(open(house, key, token, &url).await.status, 401);
    }
    let thief = open(house, &Key::new(), token, &house.url("app", "/x")).await;
    assert_eq!(thief.status, 401);
}

pub(crate) async fn redeem(house: &House, key: Option<&Key>, code: &str) -> Page {
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", "wayleave-cli"),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    ask(house, key, &fields).await
}

pub(crate) async fn refresh(house: &House, key: Option<&Key>, token: &str) -> Page {
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", "wayleave-cli"),
        ("refresh_token", token),
    ];
    ask(house, key, &fields).await
}

pub(crate) async fn exchange(house: &House, key: Option<&Key>, token: &str, route: &str) -> Page {
    let fields = [
        ("grant_type", EXCHANGE),
        ("subject_token", token),
        ("subject_token_type", ACCESS),
        ("resource", route),
    ];
    ask(house, key, &fields).await
}

/// A text member of a good answer.
pub(crate) fn text(page: &Page, name: &str) -> String {
    assert_eq!(page.status, 200, "{}", page.text());
    page.json()[name].as_str().unwrap().to_owned()
}

/// The error of an answer that is none.
pub(crate) fn error(page: &Page) -> String {
    assert!(page.status.is_client_error(), "{}", page.text());
    assert_eq!(page.header("cache-control"), "no-store");
    page.json()["error"].as_str().unwrap().to_owned()
}

/// A GET with a token that is bound to a key.
pub(crate) async fn open(house: &House, key: &Key, token: &str, url: &str) -> Page {
    let plain = url.split('?').next().unwrap();
    let proof = key.proof("GET", plain, Some(token));
    with(house, url, &format!("DPoP {token}"), Some(&proof)).await
}

/// A GET with these credentials.
pub(crate) async fn with(
    house: &House,
    url: &str,
    authorization: &str,
    proof: Option<&str>,
) -> Page {
    let mut request = Request::get(url).header("authorization", authorization);
    if let Some(proof) = proof {
        request = request.header("dpop", proof);
    }
    house.send(request.body(empty()).unwrap()).await
}

/// A program of somebody, let in.
pub(crate) struct ProgramOf {
    pub(crate) key: Key,
    pub(crate) browser: Browser,
    pub(crate) home_token: String,
    pub(crate) refresh_token: String,
}

impl ProgramOf {
    pub(crate) async fn let_in(house: &House, person: &str) -> Self {
        Self::with_key(house, person, Key::new()).await
    }

    pub(crate) async fn with_key(house: &House, person: &str, key: Key) -> Self {
        let mut browser = house.signed_in(person).await;
        let code = code(house, &mut browser).await;
        let page = redeem(house, Some(&key), &code).await;
        Self {
            home_token: text(&page, "access_token"),
            refresh_token: text(&page, "refresh_token"),
            key,
            browser,
        }
    }

    pub(crate) async fn token_for(&self, house: &House, route: &str) -> String {
        let page = exchange(house, Some(&self.key), &self.home_token, route).await;
        text(&page, "access_token")
    }

    /// Asks for an SVID; a rule has to give it.
    pub(crate) async fn ask_for_svid(&self, house: &House, kind: &str, body: &Value) -> Page {
        let url = house.url("access", &format!("/.wayleave/api/v1/svids/{kind}"));
        let proof = self.key.proof("POST", &url, Some(&self.home_token));
        let request = Request::post(&url)
            .header("authorization", format!("DPoP {}", self.home_token))
            .header("dpop", proof)
            .header("content-type", "application/json");
        let request = request.body(full(body.to_string()));
        house.send(request.unwrap()).await
    }

    pub(crate) async fn jwt_svid(&self, house: &House, audience: &str) -> String {
        let body = json!({ "audience": audience });
        let page = self.ask_for_svid(house, "jwt", &body).await;
        text(&page, "svid")
    }

    pub(crate) async fn open(&self, house: &House, token: &str, url: &str) -> Page {
        open(house, &self.key, token, url).await
    }
}
