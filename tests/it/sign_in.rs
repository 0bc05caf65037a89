//! Signing in through a whole edge, by people and by those who would be them: the provider's answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use url::Url;
use wayleave::clock::SystemClock;

use crate::parts::browser::{Arrived, Browser, navigation};
use crate::parts::house::House;
use crate::parts::program::eventually;
use crate::parts::served::stores;
use crate::parts::{empty, until};

const CALLBACK: &str = "/.wayleave/callback/";
const ALICE: &str = "alice@demo.example";
const BOB: &str = "bob@demo.example";

/// A browser that the partner has sent back, and has not arrived yet.
async fn sent_back(house: &House) -> (Browser, Url) {
    let mut browser = house.browser();
    browser.stops_before = Some(CALLBACK);
    let stopped = browser.go(&house.url("partner", "/")).await;
    (browser, stopped.next())
}

fn expect_hello(arrived: &Arrived) {
    assert_eq!(arrived.page.text(), "hello", "{}", arrived.url);
}

/// The same address with other parameters.
fn with(url: &Url, change: impl Fn(String, String) -> Vec<(String, String)>) -> Url {
    let mut changed = url.clone();
    let pairs = url.query_pairs().into_owned();
    let pairs: Vec<_> = pairs
        .flat_map(|(name, value)| change(name, value))
        .collect();
    changed.query_pairs_mut().clear().extend_pairs(pairs);
    changed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_an_answer_is_good_once_for_its_browser_and_for_ten_minutes() {
    for store in stores().await {
        let (house, clock) = House::start_still(&store).await;
        let (_, of_mallory) = sent_back(&house).await;
        let (mut alice, of_alice) = sent_back(&house).await;
        alice.step(&of_mallory).await.expect_refused();
        let (mut mallory, of_mallory) = sent_back(&house).await;
        house.browser().step(&of_mallory).await.expect_refused();
        // Whoever shows it in vain has used it up.
        mallory.step(&of_mallory).await.expect_refused();

        let mut copy = alice.clone();
        expect_hello(&alice.go_on(&of_alice).await);
        copy.step(&of_alice).await.expect_refused();
        assert_eq!(house.issuer.exchanges.load(Ordering::SeqCst), 1);

        let (mut late, of_late) = sent_back(&house).await;
        let (mut later, of_later) = sent_back(&house).await;
        clock.advance(Duration::from_secs(9 * 60));
        let page = late.step(&of_late).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{page:?}");
        clock.advance(Duration::from_secs(2 * 60));
        later.step(&of_later).await.expect_refused();
        assert_eq!(later.person_at(&house.url("access", "")).await, None);
        assert_eq!(house.issuer.exchanges.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e3_the_answer_names_the_provider_that_was_asked() {
    let house = House::start().await;
    house.issuer.promises_iss.store(true, Ordering::SeqCst);
    let own = house.issuer.url.clone();
    let wrong = [
        "http://localhost:1",
        &format!("{own}/"),
        &own.to_uppercase(),
    ];
    let wrong = wrong.map(|iss| vec![iss.to_owned()]);
    let twice = [
        vec![own.clone(), own.clone()],
        vec![own.clone(), "x".into()],
    ];
    let missing = [vec![], vec![String::new()]];
    for issuers in wrong.into_iter().chain(twice).chain(missing) {
        let (mut browser, mut url) = sent_back(&house).await;
        let named = issuers.iter().map(|iss| ("iss", iss));
        url.query_pairs_mut().extend_pairs(named);
        let page = browser.step(&url).await;
        page.expect_refused();
    }
    assert_eq!(house.issuer.exchanges.load(Ordering::SeqCst), 0);

    let (mut browser, url) = sent_back(&house).await;
    let elsewhere = url.as_str().replace("callback/partner", "callback/demo");
    browser
        .step(&Url::parse(&elsewhere).unwrap())
        .await
        .expect_refused();
    let (mut browser, mut url) = sent_back(&house).await;
    url.query_pairs_mut().append_pair("iss", &own);
    expect_hello(&browser.go_on(&url).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e3_each_provider_answers_at_an_address_of_its_own() {
    let house = House::start().await;
    for (host, provider) in [("app", "demo"), ("partner", "partner")] {
        let mut browser = house.browser();
        browser.stops_before = Some("/authorize");
        let asked = browser.go(&house.url(host, "/")).await.next();
        let said: Vec<_> = asked.query_pairs().into_owned().collect();
        let one = |name: &str| {
            let mut all = said.iter().filter(|(n, _)| n == name);
            let (Some((_, value)), None) = (all.next(), all.next()) else {
                panic!("{name} once, in {asked}");
            };
            value.as_str()
        };
        let back = house.url("access", &format!("{CALLBACK}{provider}"));
        assert_eq!(one("redirect_uri"), back);
        assert_eq!(one("code_challenge_method"), "S256");
        assert!(one("state").len() >= 22 && one("nonce").len() >= 22);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e7_duplicated_state_or_code_is_refused() {
    let house = House::start().await;
    for name in ["state", "code"] {
        for other in [false, true] {
            let (mut browser, url) = sent_back(&house).await;
            let doubled = with(&url, |n, value| {
                let again = if other { "A".repeat(43) } else { value.clone() };
                let is_it = n == name;
                let mut pairs = vec![(n.clone(), value)];
                pairs.extend(is_it.then_some((n, again)));
                pairs
            });
            browser.step(&doubled).await.expect_refused();
            // What cannot be read uses nothing up.
            expect_hello(&browser.go_on(&url).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e9_answers_that_lack_something_or_are_huge_are_refused() {
    let house = House::start().await;
    let huge = "A".repeat(1024 * 1024);
    for name in ["state", "code"] {
        for value in [
            None,
            Some(""),
            Some("A"),
            Some(&huge[..7_000]),
            Some(&huge[..20_000]),
        ] {
            let (mut browser, url) = sent_back(&house).await;
            let changed = with(&url, |n, before| match value {
                None if n == name => vec![],
                Some(value) if n == name => vec![(n, value.to_owned())],
                _ => vec![(n, before)],
            });
            if name == "code" && value.is_some_and(|value| !value.is_empty() && value.len() < 8_000)
            {
                // A code is the provider's to judge: this one takes any, and gives a token of another sign-in for it.
                browser.step(&changed).await.expect_refused();
                continue;
            }
            let page = browser.step(&changed).await;
            assert!(page.status.is_client_error(), "{page:?}");
            assert_eq!(browser.person_at(&house.url("access", "")).await, None);
        }
    }
    let mut stream = TcpStream::connect(house.http).await.unwrap();
    let head =
        format!("GET {CALLBACK}partner?state={huge} HTTP/1.1\r\nHost: access.localhost\r\n\r\n");
    // It need not be read to its end.
    let _broken = stream.write_all(head.as_bytes()).await;
    let (mut browser, url) = sent_back(&house).await;
    expect_hello(&browser.go_on(&url).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e9_a_browser_that_leaves_during_the_exchange_harms_nobody() {
    let house = House::start().await;
    house.issuer.answers.send_replace(false);
    let (mut browser, url) = sent_back(&house).await;
    let mut stream = TcpStream::connect(house.http).await.unwrap();
    let head = format!(
        "GET {}?{} HTTP/1.1\r\nHost: access.localhost:{}\r\nCookie: {}\r\n\r\n",
        url.path(),
        url.query().unwrap(),
        house.http.port(),
        browser.cookies("access.localhost")
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let asked = || (house.issuer.exchanges.load(Ordering::SeqCst) == 1).then_some(());
    until("the provider is asked", asked).await;
    drop(stream);
    house.issuer.answers.send_replace(true);
    house.lines(1, |line| line["outcome"] == "aborted").await;
    // The code is spent, by whoever it was.
    browser.step(&url).await.expect_refused();
    let (mut browser, url) = sent_back(&house).await;
    expect_hello(&browser.go_on(&url).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e10_two_people_at_once_are_each_themselves() {
    let house = House::start().await;
    let wanted = house.url("app", "/");
    let (mut alice, mut bob) = (house.browser(), house.browser());
    let mut waiting = Vec::new();
    for (browser, person) in [(&mut alice, "alice"), (&mut bob, "bob")] {
        browser.stops_before = Some(CALLBACK);
        waiting.push(browser.sign_in(&wanted, person).await.next());
    }
    // The second first, and both in turn from there.
    alice.stops_before = Some("/.wayleave/arrive");
    bob.stops_before = Some("/.wayleave/arrive");
    let for_bob = bob.go(waiting[1].as_str()).await.next();
    let for_alice = alice.go(waiting[0].as_str()).await.next();
    expect_hello(&alice.go_on(&for_alice).await);
    expect_hello(&bob.go_on(&for_bob).await);
    for host in ["access", "app"] {
        let origin = house.url(host, "");
        assert_eq!(alice.person_at(&origin).await.as_deref(), Some(ALICE));
        assert_eq!(bob.person_at(&origin).await.as_deref(), Some(BOB));
    }
    let peers: Vec<_> = house
        .upstream
        .seen()
        .into_iter()
        .map(|seen| seen.peer)
        .collect();
    assert!(
        peers[0].contains("/sa/alice--") && peers[1].contains("/sa/bob--"),
        "{peers:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e14_what_the_provider_says_of_an_error_is_not_repeated() {
    let house = House::start().await;
    for error in ["access_denied", "<script>alert(1)</script>"] {
        let (mut browser, url) = sent_back(&house).await;
        let mut told = with(&url, |name, value| {
            let is_kept = name == "state";
            is_kept.then_some((name, value)).into_iter().collect()
        });
        let words = [
            ("error", error),
            ("error_description", "<script>alert(2)</script>"),
        ];
        told.query_pairs_mut().extend_pairs(words);
        let page = browser.step(&told).await;
        page.expect_refused();
        let text = page.text();
        for said in ["alert(", "access_denied", "script>a"] {
            assert!(!text.contains(said), "{said}: {text}");
        }
        let lines = house.lines(1, |line| {
            line["path"] == told.path() && text.contains(line["request_id"].as_str().unwrap())
        });
        lines.await;
    }
    assert_eq!(house.issuer.exchanges.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_forwarding_headers_of_the_client_change_nothing() {
    let house = House::start().await;
    let wanted = house.url("app", "/a?b=c");
    let mut plain = house.browser();
    expect_hello(&plain.sign_in(&wanted, "alice").await);
    let mut spoofing = house.browser();
    let evil = [
        ("forwarded", "for=9.9.9.9;host=evil.example;proto=https"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-server", "evil.example"),
        ("x-forwarded-proto", "https"),
        // No port that the system gives to anybody, nor the beginning of one.
        ("x-forwarded-port", "61999"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-uri", "/evil"),
        ("x-original-url", "/evil"),
        ("x-rewrite-url", "/evil"),
        ("x-host", "evil.example"),
    ];
    spoofing.says = evil.map(|(name, value)| (name, value.to_owned())).to_vec();
    expect_hello(&spoofing.sign_in(&wanted, "alice").await);
    assert_eq!(way(&plain), way(&spoofing));
    let ours = |url: &Url| url.host_str().unwrap().ends_with(".localhost");
    for (url, headers) in spoofing.trail.iter().filter(|(url, _)| ours(url)) {
        let told = format!("{:?}", shown(headers));
        for word in [
            "evil.example",
            "/evil",
            "https",
            ":61999",
            "%3A61999",
            "Secure",
            "Domain",
        ] {
            assert!(!told.contains(word), "{word} at {url}: {told}");
        }
    }
}

/// Where somebody was, without what differs each time.
fn way(browser: &Browser) -> Vec<(String, Vec<String>)> {
    let step = |(url, headers): &(Url, HeaderMap)| {
        let place = format!("{}{}", url.origin().ascii_serialization(), url.path());
        let cookies = headers.get_all(header::SET_COOKIE).iter();
        let shapes = cookies.map(|cookie| {
            let (pair, attributes) = cookie.to_str().unwrap().split_once(';').unwrap();
            let name = pair.split('=').next().unwrap();
            // The end of a pending sign-in's name is chance.
            let kind = name.find("signin-").map_or(name, |at| &name[..at]);
            format!("{kind};{attributes}")
        });
        (place, shapes.collect())
    };
    browser.trail.iter().map(step).collect()
}

/// What leads somewhere or stays in the browser.
fn shown(headers: &HeaderMap) -> Vec<String> {
    let names = [header::LOCATION, header::SET_COOKIE, header::REFRESH];
    let values = names.iter().flat_map(|name| headers.get_all(name));
    values
        .map(|value| value.to_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_choose_among_the_providers_that_the_route_accepts() {
    let third = "[[identity_providers]]\nname = \"third\"\nlabel = \"Third way\"\npreset = \"oidc\"\nissuer = \"http://localhost:1\"\n\
                 client_id = \"wayleave\"\nclient_secret_file = \"provider.secret\"\ninsecure_allow_http_loopback = true\n\n[[trusted";
    let more = |text: String| text.replacen("[[trusted", third, 1);
    let house = House::start_as("sqlite://wayleave.db", Arc::new(SystemClock), more).await;
    let labels = ["Demo identity provider", "Partner", "Third way"];
    let shown = async |url: &str| {
        let page = house.browser().go(url).await.page;
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        let text = page.text();
        labels.map(|label| text.contains(label))
    };
    assert_eq!(shown(&house.url("access", "/")).await, [true; 3]);
    // With only one there is nothing to choose.
    assert!(
        house
            .browser()
            .go(&house.url("app", "/x"))
            .await
            .url
            .as_str()
            .contains("/authorize")
    );

    house.change_policy(|text| text.replace("[demo, robots]", "[demo, third, robots]"));
    let url = house.url("app", "/x?y=1");
    eventually("both are shown", async || {
        shown(&url).await == [true, false, true]
    })
    .await;
    house.change_policy(|text| text.replace("[demo, third, robots]", "[robots]"));
    eventually("none is shown", async || shown(&url).await == [false; 3]).await;
    let page = house
        .browser()
        .fetch(navigation(
            "GET",
            &house.url("access", "/.wayleave/sign-in"),
            empty(),
        ))
        .await;
    assert_eq!(page.status, StatusCode::OK);
}
