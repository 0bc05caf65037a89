//! How signing in ends, through a whole edge: by the person, by the provider, by time.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use wayleave::clock::{Clock, ManualClock, SystemClock};

use crate::parts::browser::{Browser, hidden, navigation};
use crate::parts::client::{Page, Version};
use crate::parts::house::House;
use crate::parts::issuer::unsigned;
use crate::parts::served::{OwnPostgres, stores};
use crate::parts::{empty, full};

const ALICE: &str = "alice@demo.example";
const BOB: &str = "bob@demo.example";
const FORM: &str = "application/x-www-form-urlencoded";
/// How long what has ended may go on.
const CUT_WITHIN: Duration = Duration::from_secs(2);

async fn is_in(house: &House, browser: &Browser, host: &str) -> bool {
    browser
        .clone()
        .person_at(&house.url(host, ""))
        .await
        .is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2_h3_sign_out_clears_the_cookie_and_ends_every_copy_of_it() {
    for store in stores().await {
        let house = House::start_on(&store).await;
        let (home, app) = (house.secure_url("access", ""), house.secure_url("app", ""));
        let mut alice = house.browser();
        alice.sign_in(&format!("{app}/"), "alice").await;
        let mut copy = alice.clone();
        alice.trail.clear();
        alice.sign_out(&home).await;
        let told = alice
            .trail
            .iter()
            .flat_map(|(_, headers)| headers.get_all(header::SET_COOKIE));
        let ours = told.filter(|cookie| cookie.as_bytes().starts_with(b"__Host-wayleave="));
        let cleared: Vec<_> = ours.map(|cookie| cookie.to_str().unwrap()).collect();
        let expected = "__Host-wayleave=; Secure; HttpOnly; SameSite=Lax; Path=/; Max-Age=0";
        assert_eq!(cleared, [expected]);
        assert!(!alice.jar["access.localhost"].contains_key("__Host-wayleave"));
        for origin in [&home, &app] {
            assert_eq!(copy.person_at(origin).await, None, "{origin}");
        }
        let page = copy
            .fetch(navigation("GET", &format!("{app}/"), empty()))
            .await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{page:?}");
    }
}

type Headers = &'static [(&'static str, &'static str)];

/// The form that signs out, as somebody sends it.
async fn sign_out_form(
    house: &House,
    browser: &mut Browser,
    csrf: Option<&str>,
    more: &[(&str, &str)],
) -> Page {
    let body = csrf.map_or_else(String::new, |csrf| format!("csrf={csrf}"));
    let mut request = navigation(
        "POST",
        &house.url("access", "/.wayleave/sign-out"),
        full(body),
    );
    request
        .headers_mut()
        .insert("content-type", FORM.parse().unwrap());
    for (name, value) in more {
        let name: http::HeaderName = name.parse().unwrap();
        match *value {
            "" => drop(request.headers_mut().remove(name)),
            value => drop(request.headers_mut().insert(name, value.parse().unwrap())),
        }
    }
    browser.fetch(request).await
}

/// The token of this browser's own form.
async fn form_token(house: &House, browser: &mut Browser) -> String {
    let asked = browser
        .go(&house.url("access", "/.wayleave/sign-out"))
        .await;
    let fields = hidden(&asked.page.text());
    fields
        .into_iter()
        .find(|(name, _)| name == "csrf")
        .unwrap()
        .1
}

const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h8_nobody_elses_page_signs_anybody_out() {
    let house = House::start().await;
    let mut alice = house.signed_in("alice").await;
    let mut bob = house.signed_in("bob").await;
    let (own, of_bob) = (
        form_token(&house, &mut alice).await,
        form_token(&house, &mut bob).await,
    );
    let home = house.url("access", "");
    for path in ["/.wayleave/sign-out", "/.wayleave/signed-out"] {
        let mut request = navigation("GET", &format!("{home}{path}"), empty());
        request
            .headers_mut()
            .insert("sec-fetch-site", "cross-site".parse().unwrap());
        assert_eq!(alice.fetch(request).await.status, StatusCode::OK);
    }
    let sent: [(Option<&str>, Headers); 8] = [
        (
            Some(&own),
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "http://evil.example"),
            ],
        ),
        (
            Some(&own),
            &[
                ("sec-fetch-site", "same-site"),
                ("origin", "http://app.localhost"),
            ],
        ),
        (Some(&own), &[SAME, ("origin", "http://evil.example")]),
        (Some(&own), &[("sec-fetch-site", ""), ("origin", "null")]),
        (Some(&own), &[SAME, ("content-type", "text/plain")]),
        (None, &[SAME]),
        (Some(&of_bob), &[SAME]),
        (Some(&own[1..]), &[SAME]),
    ];
    for (csrf, more) in sent {
        let page = sign_out_form(&house, &mut alice, csrf, more).await;
        assert_eq!(
            page.status,
            StatusCode::BAD_REQUEST,
            "{csrf:?} {more:?}: {page:?}"
        );
        assert!(is_in(&house, &alice, "access").await, "{csrf:?} {more:?}");
    }
    let page = sign_out_form(&house, &mut alice, Some(&own), &[SAME]).await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    assert!(!is_in(&house, &alice, "access").await && !is_in(&house, &alice, "app").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h9_the_next_person_at_a_browser_has_a_session_of_their_own() {
    let house = House::start().await;
    let (home, app) = (house.url("access", ""), house.url("app", "/"));
    for with_cookie in [true, false] {
        let mut browser = house.signed_in("alice").await;
        let of_alice = browser.clone();
        if with_cookie {
            browser.sign_out(&home).await;
        } else {
            browser.jar.remove("access.localhost");
            browser.jar.remove("app.localhost");
            let page = sign_out_form(&house, &mut browser, None, &[]).await;
            assert_eq!(page.status, StatusCode::SEE_OTHER, "{page:?}");
        }
        // Nor does the provider know her any more.
        browser.jar.remove("localhost");
        let arrived = browser.sign_in(&app, "bob").await;
        assert_eq!(arrived.page.text(), "hello", "{}", arrived.url);
        for host in ["access", "app"] {
            let origin = house.url(host, "");
            assert_eq!(browser.person_at(&origin).await.as_deref(), Some(BOB));
            let host = format!("{host}.localhost");
            assert_ne!(
                browser.jar[&host]["wayleave"],
                of_alice.jar[&host]["wayleave"]
            );
        }
        // Without her cookie nobody could say whose session was meant.
        assert_eq!(is_in(&house, &of_alice, "app").await, !with_cookie);
    }
}

/// Somebody signed in at the partner.
async fn partner(house: &House) -> Browser {
    let mut browser = house.browser();
    let arrived = browser.go(&house.url("partner", "/")).await;
    assert_eq!(arrived.page.text(), "hello", "{}", arrived.url);
    browser
}

async fn logout(house: &House, provider: &str, body: String) -> Page {
    let url = house.url(
        "access",
        &format!("/.wayleave/backchannel-logout/{provider}"),
    );
    let request = Request::post(url)
        .header("content-type", FORM)
        .body(full(body));
    house.send(request.unwrap()).await
}

async fn log_out(house: &House, token: &str) -> Page {
    logout(house, "partner", format!("logout_token={token}")).await
}

/// OIDC Back-Channel Logout 1.0 §2.8.
fn expect_invalid(page: &Page, what: &str) {
    assert_eq!(page.status, StatusCode::BAD_REQUEST, "{what}: {page:?}");
    assert_eq!(page.json()["error"], "invalid_request", "{what}");
    assert!(
        page.header("cache-control").contains("no-store"),
        "{what}: {page:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h7_logout_tokens_that_are_not_as_they_must_be_end_nothing() {
    let house = House::start().await;
    let browser = partner(&house).await;
    let issuer = &house.issuer;
    let now = SystemClock.now().seconds();
    let missing = ["jti", "iat", "exp", "events", "aud", "iss"];
    let mut tokens: Vec<(String, String)> = missing
        .iter()
        .map(|name| {
            let without = |claims: &mut Value| drop(claims.as_object_mut().unwrap().remove(*name));
            ((*name).to_owned(), issuer.logout_token_with(without))
        })
        .collect();
    let changed: [(&str, Value); 12] = [
        ("jti", 1.into()),
        ("jti", "".into()),
        ("iat", (now - 600).into()),
        ("iat", "now".into()),
        ("exp", (now - 120).into()),
        ("exp", (now + 300).to_string().into()),
        ("aud", "somebody else".into()),
        ("iss", "http://localhost:1".into()),
        ("nonce", "n".into()),
        ("events", json!({})),
        (
            "events",
            json!({"http://schemas.openid.net/event/backchannel-logout": "yes"}),
        ),
        ("sub", 1.into()),
    ];
    for (name, value) in changed {
        let what = format!("{name}: {value}");
        tokens.push((
            what,
            issuer.logout_token_with(|claims| claims[name] = value),
        ));
    }
    let nobody = |claims: &mut Value| drop(claims.as_object_mut().unwrap().remove("sub"));
    tokens.push((
        "neither sub nor sid".into(),
        issuer.logout_token_with(nobody),
    ));
    tokens.push(("unsigned".into(), unsigned(&issuer.logout_token())));
    let token = issuer.logout_token();
    tokens.push((
        "signature cut".into(),
        token[..token.rfind('.').unwrap() + 1].into(),
    ));
    tokens.push(("another key".into(), issuer.of_key("k1")));
    tokens.push((
        "no logout token".into(),
        issuer.token(|claims| claims["aud"] = "wayleave".into()),
    ));
    tokens.push(("no token".into(), "x".into()));
    for (what, token) in &tokens {
        expect_invalid(&log_out(&house, token).await, what);
        assert!(is_in(&house, &browser, "partner").await, "{what}");
    }
    let good = issuer.logout_token();
    for body in [
        String::new(),
        "logout_token=".into(),
        format!("logout_token={good}&logout_token={good}"),
    ] {
        expect_invalid(&logout(&house, "partner", body.clone()).await, &body);
    }
    assert_eq!(
        logout(&house, "nobody", format!("logout_token={good}"))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    expect_invalid(
        &logout(&house, "demo", format!("logout_token={good}")).await,
        "another provider's",
    );
    let url = house.url("access", "/.wayleave/backchannel-logout/partner");
    let asked = Request::get(format!("{url}?logout_token={good}"))
        .body(empty())
        .unwrap();
    assert_eq!(
        house.send(asked).await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert!(is_in(&house, &browser, "partner").await && is_in(&house, &browser, "access").await);
    assert_eq!(log_out(&house, &good).await.status, StatusCode::OK);
    assert!(!is_in(&house, &browser, "partner").await && !is_in(&house, &browser, "access").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h7_a_logout_token_ends_what_it_names_and_only_once() {
    for store in stores().await {
        let house = House::start_on(&store).await;
        let named = |jti: &str, sub: Option<&str>, sid: Option<&str>| {
            house.issuer.logout_token_with(|claims| {
                claims["jti"] = jti.into();
                let claims = claims.as_object_mut().unwrap();
                claims.remove("sub");
                claims.extend(sub.map(|sub| ("sub".to_owned(), sub.into())));
                claims.extend(sid.map(|sid| ("sid".to_owned(), sid.into())));
            })
        };
        let browser = partner(&house).await;
        let others = [
            named("1", None, Some("sid-2")),
            named("2", Some("partner-2"), None),
            named("3", Some("partner-2"), Some("sid-1")),
            named("4", Some("partner-1"), Some("sid-2")),
        ];
        for token in &others {
            // Nobody is left to be logged out, which is what was asked for.
            assert_eq!(log_out(&house, token).await.status, StatusCode::OK);
            assert!(is_in(&house, &browser, "partner").await);
            expect_invalid(&log_out(&house, token).await, "again");
        }
        let both = (Some("partner-1"), Some("sid-1"));
        for (jti, sub, sid) in [
            ("5", both.0, None),
            ("6", None, both.1),
            ("7", both.0, both.1),
        ] {
            let browser = partner(&house).await;
            let token = named(jti, sub, sid);
            assert_eq!(log_out(&house, &token).await.status, StatusCode::OK);
            assert!(!is_in(&house, &browser, "partner").await, "{jti}");
            let browser = partner(&house).await;
            expect_invalid(&log_out(&house, &token).await, "a replay");
            assert!(is_in(&house, &browser, "partner").await, "{jti}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h7_entras_logout_tokens_count_by_sid() {
    let entra = |text: String| {
        let (oidc, entra) = (
            "label = \"Partner\"\npreset = \"oidc\"",
            "label = \"Partner\"\npreset = \"entra\"",
        );
        assert!(text.contains(oidc));
        text.replace(oidc, entra)
    };
    let house = House::start_as("sqlite://wayleave.db", Arc::new(SystemClock), entra).await;
    let browser = partner(&house).await;
    let pairwise = house
        .issuer
        .logout_token_with(|claims| claims["sub"] = "pairwise-1".into());
    let page = log_out(&house, &pairwise).await;
    expect_invalid(&page, "no sid");
    assert!(page.text().contains("sid"), "{}", page.text());
    assert!(is_in(&house, &browser, "partner").await);
    let with_sid = house.issuer.logout_token_with(|claims| {
        claims["sub"] = "pairwise-1".into();
        claims["sid"] = "sid-1".into();
    });
    assert_eq!(log_out(&house, &with_sid).await.status, StatusCode::OK);
    assert!(!is_in(&house, &browser, "partner").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h7_a_logout_that_the_store_does_not_take_is_not_called_done() {
    let postgres = OwnPostgres::start();
    let house = House::start_on(&postgres.url).await;
    let browser = partner(&house).await;
    let token = house.issuer.logout_token();
    postgres.tell("stop");
    assert_eq!(
        log_out(&house, &token).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    postgres.tell("start");
    crate::parts::program::eventually("the same token counts", async || {
        let status = log_out(&house, &token).await.status;
        assert_ne!(
            status,
            StatusCode::BAD_REQUEST,
            "a token that was not heard cannot be a replay"
        );
        status == StatusCode::OK
    })
    .await;
    assert!(!is_in(&house, &browser, "partner").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h10_use_does_not_make_a_session_outlive_its_day_and_idleness_ends_it() {
    for store in stores().await {
        let (house, clock) = House::start_still(&store).await;
        let minutes = |count: u64| Duration::from_secs(count * 60);
        let mut busy = house.signed_in("alice").await;
        let idle = house.signed_in("bob").await;
        let app = house.url("app", "");
        let began = clock.now();
        while clock.now().since(began) < minutes(11 * 60) {
            clock.advance(minutes(55));
            let who = busy.person_at(&app).await;
            assert_eq!(
                who.as_deref(),
                Some(ALICE),
                "after {:?}",
                clock.now().since(began)
            );
        }
        assert!(clock.now().since(began) < minutes(12 * 60));
        clock.advance(minutes(12 * 60) - clock.now().since(began));
        assert_eq!(busy.person_at(&app).await, None);
        assert!(!is_in(&house, &busy, "access").await);
        assert!(!is_in(&house, &idle, "app").await);

        let mut idle = house.browser();
        idle.sign_in(&house.url("access", "/"), "bob").await;
        clock.advance(minutes(59));
        assert!(is_in(&house, &idle, "access").await);
        clock.advance(minutes(60));
        assert!(!is_in(&house, &idle, "access").await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_a_session_whose_time_is_up_cuts_what_is_open() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let short = |text: String| format!("{text}\n[session]\nidle = \"2m\"\nabsolute = \"3m\"\n");
    let house = House::start_as("sqlite://wayleave.db", clock.clone(), short).await;
    let alice = house.signed_in("alice").await;
    let request = Request::get(house.url("app", "/sse"))
        .header("cookie", alice.cookies("app.localhost"))
        .body(empty())
        .unwrap();
    let response = house.connect(Version::H1).await.send(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut events = response.into_body();
    // Use keeps it from being idle, and no more.
    for _ in 0..2 {
        clock.advance(Duration::from_secs(89));
        assert!(is_in(&house, &alice, "app").await);
        events.frame().await.unwrap().unwrap();
    }
    clock.advance(Duration::from_secs(3));
    let cut = async { while events.frame().await.is_some_and(|frame| frame.is_ok()) {} };
    tokio::time::timeout(CUT_WITHIN, cut).await.unwrap();
    let cut = house.lines(1, |line| line["outcome"] == "cut").await;
    assert_eq!(cut[0]["reason"], "session_ended");
}
