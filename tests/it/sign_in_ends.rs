//! How signing in ends, through a whole edge: by the person, by the provider, by time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use wayleave::clock::{Clock, ManualClock, SystemClock};

use crate::edge_streams::{events, expect_cut};
use crate::parts::browser::{Browser, hidden, navigation};
use crate::parts::client::{Page, Version};
use crate::parts::house::House;
use crate::parts::program::eventually;
use crate::parts::served::{OwnPostgres, stores};
use crate::parts::{empty, full};

const BOB: &str = "bob@demo.example";
const FORM: &str = "application/x-www-form-urlencoded";
/// How long what has ended may go on.
const CUT_WITHIN: Duration = Duration::from_secs(2);

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f8_a_provider_that_is_taken_out_leaves_nobody_signed_in() {
    for store in stores().await {
        let mut house = House::start_on(&store).await;
        let alice = house.signed_in("alice").await;
        let partner = house.at_partner().await;
        let stream = events(&house, &partner, "partner").await;
        house.reload(|text| text.replacen("name = \"partner\"", "name = \"other\"", 1));
        expect_cut(stream).await;
        for host in ["partner", "access"] {
            assert!(!house.knows(&partner, host).await, "{host}");
            assert!(house.knows(&alice, "access").await);
        }
        assert!(house.knows(&alice, "app").await);
        // They did not end: what was taken out by mistake is as it was once it is back, unless it leads to another issuer.
        house.reload(|text| text.replacen("name = \"other\"", "name = \"partner\"", 1));
        assert!(house.knows(&partner, "partner").await);
        let [from, to] = ["http://localhost", "http://127.0.0.1"];
        let issuer =
            |host: &str| format!("label = \"Partner\"\npreset = \"oidc\"\nissuer = \"{host}");
        house.reload(|text| text.replacen(&issuer(from), &issuer(to), 1));
        assert!(!house.knows(&partner, "partner").await && !house.knows(&partner, "access").await);
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
        assert!(house.knows(&alice, "access").await, "{csrf:?} {more:?}");
    }
    let page = sign_out_form(&house, &mut alice, Some(&own), &[SAME]).await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    assert!(!house.knows(&alice, "access").await && !house.knows(&alice, "app").await);
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
        assert_eq!(house.knows(&of_alice, "app").await, !with_cookie);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h3_sign_out_ends_the_session_here_at_once_even_if_the_store_cannot_be_told() {
    let postgres = OwnPostgres::start();
    let house = House::start_on(&postgres.url).await;
    let mut alice = house.signed_in("alice").await;
    let csrf = form_token(&house, &mut alice).await;
    postgres.tell("stop");
    let page = sign_out_form(&house, &mut alice, Some(&csrf), &[SAME]).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{page:?}");
    for host in ["access", "app"] {
        assert!(!house.knows(&alice, host).await, "{host}");
    }
    postgres.tell("start");
    // From here on the store is asked again; what it says of her is not news.
    eventually("people sign in again", async || {
        let page = house.send(navigation("GET", &house.url("app", "/"), empty()));
        page.await.status == StatusCode::SEE_OTHER
    })
    .await;
    for host in ["access", "app"] {
        assert!(!house.knows(&alice, host).await, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_whoever_has_left_a_group_is_out_after_the_next_refresh() {
    for store in stores().await {
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let with_groups = |text: String| {
            let partner = "label = \"Partner\"\n";
            text.replace(partner, &format!("{partner}groups_claim = \"groups\"\n"))
        };
        let house = House::start_as(&store, clock.clone(), with_groups).await;
        house.issuer.gives_refresh.store(true, Ordering::SeqCst);
        *house.issuer.groups.lock().unwrap() = vec!["members"];
        let mut browser = house.at_partner().await;
        let url = house.url("partner", "/members");
        assert_eq!(browser.go(&url).await.page.status, StatusCode::OK);
        *house.issuer.groups.lock().unwrap() = vec!["robots"];
        // So it is for as long as groups are believed, and no longer.
        clock.advance(minutes(3));
        assert_eq!(browser.go(&url).await.page.status, StatusCode::OK);
        clock.advance(minutes(2));
        let is_refused = || async {
            let page = browser.clone().go(&url).await.page;
            page.status == StatusCode::FORBIDDEN
        };
        eventually("they are refused", is_refused).await;
    }
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

/// In use all the time, a session lasts for so long and no longer.
async fn lasts(house: &House, clock: &ManualClock, mut busy: Browser, host: &str, whole: Duration) {
    let origin = house.url(host, "");
    let began = clock.now();
    while clock.now().since(began) + minutes(50) < whole {
        clock.advance(minutes(50));
        let so_far = clock.now().since(began);
        assert!(busy.person_at(&origin).await.is_some(), "after {so_far:?}");
    }
    clock.advance(whole - clock.now().since(began));
    assert_eq!(busy.person_at(&origin).await, None);
    assert_eq!(busy.person_at(&house.url("access", "")).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h10_use_does_not_make_a_session_outlive_its_time() {
    for store in stores().await {
        let (house, clock) = House::start_still(&store).await;
        let without_refresh = house.at_partner().await;
        lasts(&house, &clock, without_refresh, "partner", minutes(12 * 60)).await;
    }
    // Shorter than the provider would go on with refreshing it.
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let short = |text: String| format!("{text}\n[session]\nabsolute = \"6h\"\n");
    let house = House::start_as("sqlite://wayleave.db", clock.clone(), short).await;
    let refreshed = house.signed_in("alice").await;
    lasts(&house, &clock, refreshed, "app", minutes(6 * 60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h10_a_session_that_nobody_uses_ends() {
    for store in stores().await {
        let (house, clock) = House::start_still(&store).await;
        let browser = house.signed_in("bob").await;
        clock.advance(minutes(59));
        assert!(house.knows(&browser, "app").await);
        clock.advance(minutes(59));
        assert!(house.knows(&browser, "access").await);
        clock.advance(minutes(60));
        assert!(!house.knows(&browser, "app").await && !house.knows(&browser, "access").await);
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
        assert!(house.knows(&alice, "app").await);
        events.frame().await.unwrap().unwrap();
    }
    clock.advance(Duration::from_secs(3));
    let cut = async { while events.frame().await.is_some_and(|frame| frame.is_ok()) {} };
    tokio::time::timeout(CUT_WITHIN, cut).await.unwrap();
    let cut = house.lines(1, |line| line["outcome"] == "cut").await;
    assert_eq!(cut[0]["reason"], "session_ended");
}
