//! Signing in at a real OpenID Provider (npm oidc-provider, tests/parts/idp), driven without a browser.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use url::Url;
use wayleave::clock::SystemClock;
use wayleave::config::checked::{IdentityProviderConfig, Preset};
use wayleave::identity::principal::Groups;
use wayleave::oidc::{CallbackParameters, OidcError, PendingExchange, Providers, SignedIn};
use wayleave::secret::SecretString;
use wayleave::session::{RefreshFault, Refresher};

use crate::parts::browser::{Arrived, Browser};
use crate::parts::house::House;
use crate::parts::program::{eventually, free_ports, is_free};
use crate::parts::python;

const CALLBACK: &str = "http://127.0.0.1:9/callback";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

struct Idp {
    child: Child,
    issuer: String,
    control: String,
    http: reqwest::Client,
}

impl Drop for Idp {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Idp {
    async fn start(userinfo_only: bool) -> Self {
        let mut child = Command::new("node")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/parts/idp/idp.mjs"
            ))
            .env("USERINFO_ONLY", if userinfo_only { "1" } else { "0" })
            .stdout(Stdio::piped())
            .spawn()
            .expect("node runs tests/parts/idp/idp.mjs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: Value = serde_json::from_str(&line)
            .expect("the provider prints its addresses; has npm install been run in tests/parts?");
        let text = |name: &str| said[name].as_str().unwrap().to_owned();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        let (issuer, control) = (text("issuer"), text("control"));
        let idp = Self {
            child,
            issuer,
            control,
            http,
        };
        let client = json!({
            "client_id": "wayleave", "client_secret": SECRET, "redirect_uris": [CALLBACK],
            "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        });
        let request = idp
            .http
            .post(format!("{}/client", idp.control))
            .body(client.to_string());
        assert_eq!(request.send().await.unwrap().status(), 200);
        idp
    }

    async fn control(&self, path: &str) {
        let answer = self
            .http
            .get(format!("{}{path}", self.control))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
    }

    fn providers(&self) -> Arc<Providers> {
        let config = IdentityProviderConfig {
            name: "test".into(),
            label: "Test".into(),
            preset: Preset::Oidc,
            issuer: Url::parse(&self.issuer).unwrap(),
            issuer_text: self.issuer.as_str().into(),
            client_id: "wayleave".into(),
            client_secret: Some(SecretString::from(SECRET)),
            scopes: Some(vec!["groups".into()]),
            groups_claim: None,
            claims: Vec::new(),
            groups_strip_prefix: None,
            trust_email: None,
            allowed_tenants: None,
            ca_file: None,
            allowed_private_networks: Vec::new(),
            insecure_allow_http_loopback: true,
            assume_pkce: None,
        };
        Providers::new(vec![config], Arc::new(SystemClock))
    }

    /// Walks the provider's forms (sign-in, consent) until it redirects to the callback.
    async fn walk(&self, start: Url, user: &str) -> HashMap<String, String> {
        let mut cookies: HashMap<String, String> = HashMap::new();
        let mut request = self.http.get(start.clone());
        let mut at = start;
        for _ in 0..20 {
            let jar: Vec<String> = cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
            let answer = request
                .header("cookie", jar.join("; "))
                .send()
                .await
                .unwrap();
            for cookie in answer.headers().get_all("set-cookie") {
                let pair = cookie.to_str().unwrap().split(';').next().unwrap();
                let (name, value) = pair.split_once('=').unwrap();
                cookies.insert(name.to_owned(), value.to_owned());
            }
            if let Some(location) = answer.headers().get("location") {
                at = at.join(location.to_str().unwrap()).unwrap();
                if at.as_str().starts_with(CALLBACK) {
                    return at.query_pairs().into_owned().collect();
                }
                request = self.http.get(at.clone());
                continue;
            }
            let page = answer.text().await.unwrap();
            let action = between(&page, "action=\"", "\"").expect("a form");
            let prompt = between(&page, "name=\"prompt\" value=\"", "\"").unwrap_or("consent");
            at = at.join(&action.replace("&amp;", "&")).unwrap();
            let form = [("prompt", prompt), ("login", user), ("password", "x")];
            request = self.http.post(at.clone()).form(&form);
        }
        panic!("the sign-in does not end");
    }

    async fn answer(&self, providers: &Providers) -> (PendingExchange, CallbackParameters) {
        let redirect_uri = Url::parse(CALLBACK).unwrap();
        let state = SecretString::from("state");
        let (url, pending) = providers
            .begin("test", &redirect_uri, &state, None)
            .await
            .unwrap();
        let mut said = self.walk(url, "bob").await;
        assert_eq!(said.remove("state").as_deref(), Some("state"));
        let callback = CallbackParameters {
            code: said.remove("code"),
            iss: said.remove("iss"),
            error: said.remove("error"),
        };
        (pending, callback)
    }

    async fn sign_in(&self, providers: &Providers) -> SignedIn {
        let (pending, callback) = self.answer(providers).await;
        providers.complete(pending, callback).await.unwrap()
    }
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    text.split_once(from)?
        .1
        .split_once(to)
        .map(|(found, _)| found)
}

fn known(names: &[&str]) -> Groups {
    Groups::Known(names.iter().map(|&name| name.into()).collect())
}

#[tokio::test]
async fn sign_in_refresh_outage_and_revocation() {
    let idp = Idp::start(false).await;
    let providers = idp.providers();
    let signed_in = idp.sign_in(&providers).await;
    assert_eq!(&*signed_in.principal.subject, "bob");
    assert_eq!(
        signed_in.principal.email, None,
        "F3: the address is not verified"
    );
    assert_eq!(signed_in.principal.groups, known(&["sales"]));

    idp.control("/groups?user=bob&groups=ops").await;
    let refreshed = providers
        .refresh(&signed_in.principal, &signed_in.tokens)
        .await;
    let Ok(refreshed) = refreshed else {
        panic!("the refresh succeeds")
    };
    assert_eq!(refreshed.principal.groups, known(&["ops"]));

    idp.control("/down?ms=60000").await;
    let outage = providers
        .refresh(&signed_in.principal, &refreshed.tokens)
        .await;
    assert_eq!(outage.err(), Some(RefreshFault::Unavailable));
    idp.control("/down?ms=0").await;

    idp.control("/revoke?user=bob").await;
    let revoked = providers
        .refresh(&signed_in.principal, &refreshed.tokens)
        .await;
    assert_eq!(revoked.err(), Some(RefreshFault::Refused));
}

#[tokio::test]
async fn e2_e3_wrong_nonce_and_wrong_issuer_are_refused() {
    let idp = Idp::start(false).await;
    let providers = idp.providers();
    for iss in [None, Some("https://other.example".to_owned())] {
        let (pending, mut callback) = idp.answer(&providers).await;
        callback.iss = iss;
        let outcome = providers.complete(pending, callback).await;
        assert!(matches!(outcome, Err(OidcError::WrongIssuer)));
    }
    let (mut pending, callback) = idp.answer(&providers).await;
    pending.nonce = "another".into();
    let outcome = providers.complete(pending, callback).await;
    assert!(matches!(outcome, Err(OidcError::IdToken(_))));
}

#[tokio::test]
async fn groups_that_only_userinfo_has_are_found() {
    let idp = Idp::start(true).await;
    let signed_in = idp.sign_in(&idp.providers()).await;
    assert_eq!(signed_in.principal.groups, known(&["sales"]));
}

/// Another provider altogether (PyPI oidc-provider-mock): no PKCE, no `iss`, no groups, and whoever says a name is that person.
struct Mock {
    child: Child,
    url: String,
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Mock {
    async fn start() -> Self {
        let [port] = free_ports();
        let child = Command::new(python())
            .args(["-m", "oidc_provider_mock", "--port", &port.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the provider answers", async || !is_free(port)).await;
        let url = format!("http://localhost:{port}");
        Self { child, url }
    }

    /// The configuration with this one as the partner's provider.
    fn instead(&self, text: &str, more: &str) -> String {
        let (before, partner) = text.split_once("label = \"Partner\"").unwrap();
        let (kind, rest) = partner.split_once("issuer = \"").unwrap();
        let (_, rest) = rest.split_once('\n').unwrap();
        format!(
            "{before}label = \"Partner\"{kind}issuer = \"{}\"\n{more}{rest}",
            self.url
        )
    }

    /// Signs in there as somebody, from a route's page on.
    async fn sign_in(&self, house: &House, sub: &str) -> (Browser, Arrived) {
        let mut browser = house.browser();
        let form = browser.go(&house.url("partner", "/")).await;
        assert!(
            form.url.as_str().starts_with(&self.url),
            "{}: {:?}",
            form.url,
            form.page
        );
        let sub = [("sub".to_owned(), sub.to_owned())];
        let arrived = browser.submit(form.url, &sub).await;
        (browser, arrived)
    }
}

const SQLITE: &str = "sqlite://wayleave.db";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_of_quite_another_provider_sign_in() {
    let mock = Mock::start().await;
    let change = |text: String| mock.instead(&text, "assume_pkce = true\n");
    let house = House::start_as(SQLITE, Arc::new(SystemClock), change).await;
    let mut people = Vec::new();
    for person in ["dora", "emil"] {
        let (browser, arrived) = mock.sign_in(&house, person).await;
        assert_eq!(arrived.page.text(), "hello", "{}", arrived.url);
        let seen = house.upstream.only();
        assert!(
            seen.peer.contains(&format!("/sa/{person}--")),
            "{}",
            seen.peer
        );
        house.upstream.forget();
        people.push(browser);
    }
    let home = house.url("access", "");
    let left = people[0].sign_out(&home).await;
    let next = left.page.header("refresh").to_owned();
    assert!(
        next.contains(&format!("url={}/oauth2/end_session?", mock.url)),
        "{next}"
    );
    assert_eq!(people[0].person_at(&home).await, None);
    assert_eq!(people[1].person_at(&home).await.as_deref(), Some("emil"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e4_a_provider_that_does_not_say_pkce_is_refused_unless_told_otherwise() {
    let mock = Mock::start().await;
    let change = |text: String| mock.instead(&text, "");
    let house = House::start_as(SQLITE, Arc::new(SystemClock), change).await;
    let arrived = house.browser().go(&house.url("partner", "/")).await;
    assert_eq!(
        arrived.page.status,
        http::StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        arrived.url
    );
    assert!(
        arrived
            .url
            .as_str()
            .starts_with(&house.url("access", "/.wayleave/sign-in"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_provider_is_down_only_new_people_notice() {
    let mock = Mock::start().await;
    let change = |text: String| mock.instead(&text, "assume_pkce = true\n");
    let house = House::start_as(SQLITE, Arc::new(SystemClock), change).await;
    let (mut known, arrived) = mock.sign_in(&house, "dora").await;
    assert_eq!(arrived.page.text(), "hello", "{}", arrived.url);
    // Somebody who stands at the provider's door while it goes down, and comes back with an answer of it.
    let mut late = house.browser();
    let form = late.go(&house.url("partner", "/")).await;
    let field = |name: &str| {
        let mut pairs = form.url.query_pairs();
        pairs.find(|(key, _)| key == name).unwrap().1.into_owned()
    };
    let (back, state) = (field("redirect_uri"), field("state"));
    drop(mock);

    let page = known.go(&house.url("partner", "/")).await.page;
    assert_eq!(page.text(), "hello", "whoever is known goes on");
    let answer = format!("{back}?code=c0de&state={state}");
    let page = late.go(&answer).await.page;
    assert_eq!(page.status, http::StatusCode::SERVICE_UNAVAILABLE);
    let text = page.text();
    assert!(
        text.contains("Signing in is not possible at the moment"),
        "{text}"
    );
}
