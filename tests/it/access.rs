//! Access for a time, through a whole edge: asked for, approved, used, and over; and everything that must not be possible on the way.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, StatusCode};
use serde_json::Value;
use url::Url;
use wayleave::clock::ManualClock;
use wayleave::store::audit::EventFilter;

use crate::edge_streams::{events, expect_cut};
use crate::parts::browser::{Arrived, Browser, hidden, navigation};
use crate::parts::client::{Page, Version};
use crate::parts::empty;
use crate::parts::house::House;
use crate::parts::program::eventually;

/// What the rule about `admin.localhost` asks for in these tests.
const APPROVAL: &str =
    "require: { approval: { from: [{ groups: [sre] }], at_most: 1h, break_glass: true } }";

type Fields<'a> = &'a [(&'a str, &'a str)];

/// A house in which staff may ask for `admin.localhost`, and those of sre decide; its time stands still.
async fn still_house() -> (House, std::sync::Arc<ManualClock>) {
    let (house, clock) = House::start_still("sqlite://wayleave.db").await;
    house.put_in_force(with_approval).await;
    (house, clock)
}

fn with_approval(text: String) -> String {
    let methods = "to: [{ routes: [admin], methods: [GET] }]\n";
    text.replacen(methods, &format!("{methods}    {APPROVAL}\n"), 1)
}

/// Somebody who has signed in, and was told to ask.
async fn refused(house: &House, person: &str, path: &str) -> (Browser, Page) {
    let mut browser = house.browser();
    let arrived = browser.sign_in(&house.url("admin", path), person).await;
    assert_eq!(arrived.page.status, StatusCode::FORBIDDEN);
    (browser, arrived.page)
}

/// The address behind the button.
fn ask_link(page: &Page) -> String {
    let text = page.text();
    let (_, rest) = text.split_once("class=\"button\" href=\"").unwrap();
    let link = rest.split('"').next().unwrap();
    link.replace("&#38;", "&")
}

fn csrf(page: &Page) -> String {
    let fields = hidden(&page.text());
    let found = fields.into_iter().find(|(name, _)| name == "csrf");
    found.expect("a form").1
}

/// Sends a form of a page, with these fields.
async fn send(browser: &mut Browser, page: &Arrived, path: &str, more: Fields<'_>) -> Arrived {
    let mut fields = vec![("csrf".to_owned(), csrf(&page.page))];
    for (name, value) in more {
        fields.push(((*name).to_owned(), (*value).to_owned()));
    }
    browser.submit(page.url.join(path).unwrap(), &fields).await
}

/// Asks for what a page refused; gives the page that waits.
async fn ask(browser: &mut Browser, refused: &Page, more: Fields<'_>) -> Arrived {
    let form = browser.go(&ask_link(refused)).await;
    let text = form.page.text();
    assert_eq!(form.page.status, StatusCode::OK, "{}: {text}", form.url);
    let mut fields = hidden(&text);
    for (name, value) in more {
        fields.push(((*name).to_owned(), (*value).to_owned()));
    }
    let to = form.url.join("/access/ask").unwrap();
    browser.submit(to, &fields).await
}

const A_MINUTE: Fields<'static> = &[("reason", "the pager"), ("lasting", "1m"), ("act", "ask")];

/// The id in the address of a page that waits.
fn id_of(waiting: &Arrived) -> String {
    let path = waiting.url.path().to_owned();
    let id = path.strip_prefix("/access/waiting/");
    id.unwrap_or_else(|| panic!("{path}: {}", waiting.page.text()))
        .to_owned()
}

/// What there is to decide for whoever looks.
async fn to_decide(house: &House, browser: &mut Browser) -> Arrived {
    browser.go(&house.url("access", "/access/requests")).await
}

async fn approve(house: &House, approver: &mut Browser, id: &str) -> Arrived {
    let page = to_decide(house, approver).await;
    let path = format!("/access/requests/{id}/approve");
    send(approver, &page, &path, &[("lasting", "1m")]).await
}

/// `exp` of a JWT.
fn expiry(token: &str) -> i64 {
    let claims = token.split('.').nth(1).unwrap();
    let claims = URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["exp"].as_i64().unwrap()
}

async fn get(browser: &Browser, url: &str) -> Page {
    let request = Request::get(url).body(empty()).unwrap();
    browser.clone().fetch(request).await
}

/// Alice approves of what Bob waits for, and his page goes on.
async fn granted(house: &House, path: &str) -> (Browser, Browser, String) {
    let (mut bob, page) = refused(house, "bob", path).await;
    let waiting = ask(&mut bob, &page, A_MINUTE).await;
    assert_eq!(waiting.page.header("refresh"), "3");
    let (mut alice, _) = refused(house, "alice", "/").await;
    let id = id_of(&waiting);
    let decided = approve(house, &mut alice, &id).await;
    assert_eq!(
        decided.page.status,
        StatusCode::OK,
        "{}",
        decided.page.text()
    );
    eventually("the page that waits goes on", async || {
        let mut bob = bob.clone();
        let now = bob.go(waiting.url.as_str()).await;
        now.url.as_str() == house.url("admin", path) && now.page.text() == "hello"
    })
    .await;
    (bob, alice, id)
}

/// Kinds of events about access so far, and their bodies.
async fn told(house: &House) -> Vec<Value> {
    let filter = EventFilter::default();
    let events = house.store().events_after(0, &filter, 1000).await.unwrap();
    let bodies = events
        .iter()
        .map(|event| serde_json::from_str(&event.body).unwrap());
    let is_about_access = |body: &Value| body["kind"].as_str().unwrap().starts_with("access_");
    bodies.filter(is_about_access).collect()
}

fn kinds(told: &[Value]) -> Vec<&str> {
    told.iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_what_is_asked_for_is_approved_used_and_over_to_the_second() {
    let (house, clock) = still_house().await;
    let (bob, alice, _) = granted(&house, "/x?a=1").await;
    let url = house.url("admin", "/");
    let stream = events(&house, &bob, "admin").await;
    // What the workload is told of him does not outlast it either.
    let until = house.store().live_grants().await.unwrap()[0].until;
    let seen = house.upstream.seen();
    let assertion = &seen.last().unwrap().headers["wayleave-jwt-assertion"];
    assert_eq!(expiry(assertion.to_str().unwrap()), until.seconds() + 1);
    clock.advance(Duration::from_micros(59_999_999));
    assert_eq!(get(&bob, &url).await.status, StatusCode::OK);
    // It is his alone, and for nothing else.
    assert_eq!(get(&alice, &url).await.status, StatusCode::FORBIDDEN);
    let post = Request::post(&url).body(empty()).unwrap();
    let page = bob.clone().fetch(post).await;
    assert_eq!(page.json()["code"], "not_allowed");

    clock.advance(Duration::from_micros(1));
    let page = get(&bob, &url).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert_eq!(page.json()["code"], "approval_required");
    expect_cut(stream).await;
    house.store().sweep().await.unwrap();
    let told = told(&house).await;
    assert_eq!(
        kinds(&told),
        ["access_asked", "access_granted", "access_ended"]
    );
    assert_eq!(told[0]["actor"], "bob@demo.example");
    assert_eq!(told[0]["reason"], "the pager");
    assert_eq!(told[1]["actor"], "alice@demo.example");
    assert_eq!(told[1]["person"]["email"], "bob@demo.example");
    assert_eq!(told[2]["how"], "over");
    // What he was refused before stands there as well.
    let denied = EventFilter {
        kind: Some("denied".to_owned()),
        ..EventFilter::default()
    };
    eventually("the denials are in the log", async || {
        let denied = house.store().events_after(0, &denied, 100).await.unwrap();
        denied.iter().any(|event| {
            event.body.contains("\"reason\":\"approval_required\"")
                && event.body.contains("\"rule\":\"readers\"")
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_what_is_taken_away_or_given_back_is_cut_at_once() {
    let (house, _clock) = still_house().await;
    for taken_away in [true, false] {
        let (mut bob, mut alice, id) = granted(&house, "/").await;
        let stream = events(&house, &bob, "admin").await;
        if taken_away {
            let page = to_decide(&house, &mut alice).await;
            let path = format!("/access/grants/{id}/revoke");
            send(&mut alice, &page, &path, &[]).await;
        } else {
            let page = bob.go(&house.url("access", "/access/mine")).await;
            let path = format!("/access/grants/{id}/give-back");
            send(&mut bob, &page, &path, &[]).await;
        }
        expect_cut(stream).await;
        let page = get(&bob, &house.url("admin", "/")).await;
        assert_eq!(page.json()["code"], "approval_required");
        let over = bob
            .go(&house.url("access", &format!("/access/waiting/{id}")))
            .await;
        assert!(over.page.text().contains("It was granted, and is over"));
    }
    let told = told(&house).await;
    let ends = told.iter().filter(|event| event["kind"] == "access_ended");
    let how: Vec<&str> = ends.map(|event| event["how"].as_str().unwrap()).collect();
    assert_eq!(how, ["revoked", "given_back"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_is_good_for_its_rule_only_as_long_as_that_is_for_its_holder() {
    let (house, _clock) = still_house().await;
    let (bob, _alice, _) = granted(&house, "/").await;
    let url = house.url("admin", "/");
    let code = async |bob: &Browser| get(bob, &url).await.json()["code"].clone();
    let (from, elsewhere) = ("name: readers\n", "name: others\n");
    let stream = events(&house, &bob, "admin").await;
    house
        .put_in_force(|text| text.replacen(from, elsewhere, 1))
        .await;
    expect_cut(stream).await;
    assert_eq!(code(&bob).await, "approval_required");
    // It has ended with its rule: whatever is called so later is another.
    let back = |text: String| text.replacen(elsewhere, from, 1);
    house.put_in_force(back).await;
    assert_eq!(code(&bob).await, "approval_required");
    let ended = told(&house).await;
    assert_eq!(ended.last().unwrap()["how"], "rule_gone", "{ended:?}");
    let (bob, _alice, _) = granted(&house, "/").await;
    // Deny comes before everything.
    let stream = events(&house, &bob, "admin").await;
    let deny = "rules:\n  - name: shut\n    action: deny\n    from: [{ groups: [staff] }]\n    to: [{ routes: [admin] }]\n";
    house
        .put_in_force(|text| text.replacen("rules:\n", deny, 1))
        .await;
    expect_cut(stream).await;
    assert_eq!(code(&bob).await, "denied_by_rule");
    let denied = |line: &Value| line["reason"] == "denied_by_rule";
    assert_eq!(house.lines(1, denied).await[0]["rule"], "shut");
    // And the rule has to be for its holder.
    let others = |text: String| {
        text.replacen(deny, "rules:\n", 1).replacen(
            "from: [{ groups: [staff] }]\n    to: [{ routes: [admin]",
            "from: [{ groups: [sre] }]\n    to: [{ routes: [admin]",
            1,
        )
    };
    house.put_in_force(others).await;
    assert_eq!(code(&bob).await, "not_allowed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f4_whoever_has_the_same_address_elsewhere_or_later_is_somebody_else() {
    let (house, _clock) = still_house().await;
    let (from, both) = ("[demo, robots]", "[demo, robots, partner]");
    house.put_in_force(|text| text.replace(from, both)).await;
    let url = house.url("admin", "/");
    let (bob, mut alice, _) = granted(&house, "/").await;
    *house.issuer.groups.lock().unwrap() = vec!["staff"];
    let mut granted_to = vec![bob];
    for subject in ["partner-1", "partner-2"] {
        *house.issuer.person.lock().unwrap() = (subject, Some("bob@demo.example"));
        let mut namesake = house.at_partner().await;
        let page = namesake.go(&url).await.page;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{subject}");
        let code = get(&namesake, &url).await.json()["code"].clone();
        assert_eq!(code, "approval_required", "{subject}");
        let mine = house.url("access", "/access/mine");
        let mine = namesake.go(&mine).await.page.text();
        assert!(!mine.contains("give-back"), "{subject}: {mine}");
        // What they are granted is theirs alone again.
        let waiting = ask(&mut namesake, &page, A_MINUTE).await;
        approve(&house, &mut alice, &id_of(&waiting)).await;
        granted_to.push(namesake);
        for holder in &granted_to {
            assert_eq!(get(holder, &url).await.status, StatusCode::OK, "{subject}");
        }
    }
    let live = house.store().live_grants().await.unwrap();
    let holders = live.iter().map(|grant| &grant.principal);
    let holders: std::collections::BTreeSet<_> = holders
        .map(|holder| (holder.issuer.clone(), holder.subject.clone()))
        .collect();
    assert_eq!(holders.len(), 3, "{holders:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i10_nobody_decides_about_themselves_or_what_is_not_theirs_to_decide() {
    let (house, _clock) = still_house().await;
    // Alice is one of those who decide.
    let (mut alice, page) = refused(&house, "alice", "/").await;
    let waiting = ask(&mut alice, &page, A_MINUTE).await;
    let own = id_of(&waiting);
    let list = to_decide(&house, &mut alice).await;
    assert!(!list.page.text().contains(&own), "no button for oneself");
    for what in ["approve", "refuse"] {
        let path = format!("/access/requests/{own}/{what}");
        let said = send(&mut alice, &waiting, &path, &[("why", "x")]).await;
        assert_eq!(said.page.status, StatusCode::FORBIDDEN, "{what}");
        assert!(
            said.page.text().contains("decides about their own"),
            "{what}"
        );
    }
    // Bob is not.
    let (mut bob, page) = refused(&house, "bob", "/").await;
    let list = to_decide(&house, &mut bob).await;
    assert!(list.page.text().contains("Nobody waits for you"));
    let theirs = ask(&mut bob, &page, A_MINUTE).await;
    let path = format!("/access/requests/{own}/approve");
    let said = send(&mut bob, &theirs, &path, &[]).await;
    assert_eq!(said.page.status, StatusCode::FORBIDDEN);
    // What others wait for is nothing to see (K7).
    let others = house.url("access", &format!("/access/waiting/{own}"));
    assert_eq!(bob.go(&others).await.page.status, StatusCode::NOT_FOUND);
    let withdraw = format!("/access/requests/{own}/withdraw");
    let said = send(&mut bob, &theirs, &withdraw, &[]).await;
    assert_eq!(said.page.status, StatusCode::NOT_FOUND);
    // Whoever was one of those who decide when the page was written, and is not any more, does not.
    let id = id_of(&theirs);
    let list = to_decide(&house, &mut alice).await;
    assert!(list.page.text().contains(&id));
    house
        .put_in_force(|text| {
            text.replacen(
                "from: [{ groups: [sre] }], at_most",
                "from: [{ groups: [others] }], at_most",
                1,
            )
        })
        .await;
    let path = format!("/access/requests/{id}/approve");
    let said = send(&mut alice, &list, &path, &[]).await;
    assert_eq!(said.page.status, StatusCode::FORBIDDEN);
    assert!(said.page.text().contains("not for you to decide"));
    let told = told(&house).await;
    assert_eq!(kinds(&told), ["access_asked", "access_asked"]);
    assert!(house.store().live_grants().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i10_of_many_approvals_at_once_there_is_one_grant() {
    let (house, _clock) = still_house().await;
    let (mut bob, page) = refused(&house, "bob", "/").await;
    let waiting = ask(&mut bob, &page, A_MINUTE).await;
    let id = id_of(&waiting);
    // Asking again is the same request.
    let again = bob.go(&ask_link(&page)).await;
    assert_eq!(id_of(&again), id);
    let (mut alice, _) = refused(&house, "alice", "/").await;
    let list = to_decide(&house, &mut alice).await;
    let path = format!("/access/requests/{id}/approve");
    let all = (0..50).map(|_| {
        let (mut alice, path) = (alice.clone(), path.as_str());
        let list = &list;
        async move { send(&mut alice, list, path, &[]).await.page.status }
    });
    let all = futures_util::future::join_all(all).await;
    let done = all
        .iter()
        .filter(|status| **status == StatusCode::OK)
        .count();
    let late = all
        .iter()
        .filter(|status| **status == StatusCode::CONFLICT)
        .count();
    assert_eq!((done, late), (1, 49), "{all:?}");
    assert_eq!(house.store().live_grants().await.unwrap().len(), 1);
    assert_eq!(
        kinds(&told(&house).await),
        ["access_asked", "access_granted"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_that_waits_says_what_became_of_it() {
    let (house, _clock) = still_house().await;
    let (mut bob, page) = refused(&house, "bob", "/").await;
    let (mut alice, _) = refused(&house, "alice", "/").await;
    let waiting = ask(&mut bob, &page, A_MINUTE).await;
    let list = to_decide(&house, &mut alice).await;
    let text = list.page.text();
    for part in [
        "bob@demo.example",
        "the pager",
        "GET admin.localhost/",
        "readers",
    ] {
        assert!(text.contains(part), "no {part}: {text}");
    }
    let refuse = format!("/access/requests/{}/refuse", id_of(&waiting));
    let said = send(&mut alice, &list, &refuse, &[("why", " ")]).await;
    assert_eq!(
        said.page.status,
        StatusCode::BAD_REQUEST,
        "a reason is needed"
    );
    send(&mut alice, &list, &refuse, &[("why", "not tonight")]).await;
    let now = bob.go(waiting.url.as_str()).await;
    assert!(
        now.page
            .text()
            .contains("alice@demo.example refused it: not tonight")
    );
    assert!(!now.page.headers.contains_key("refresh"));

    let waiting = ask(&mut bob, &page, A_MINUTE).await;
    let withdraw = format!("/access/requests/{}/withdraw", id_of(&waiting));
    let mine = send(&mut bob, &waiting, &withdraw, &[]).await;
    assert!(mine.page.text().contains("taken back"));
    let late = format!("/access/requests/{}/approve", id_of(&waiting));
    let late = send(&mut alice, &list, &late, &[]).await;
    assert_eq!(late.page.status, StatusCode::CONFLICT);

    // Nobody's hands are bound by what was asked for: it can be shorter, and never longer.
    let waiting = ask(
        &mut bob,
        &page,
        &[("reason", "x"), ("lasting", "1h"), ("act", "ask")],
    )
    .await;
    let list = to_decide(&house, &mut alice).await;
    let path = format!("/access/requests/{}/approve", id_of(&waiting));
    for (lasting, expected) in [
        ("2h", StatusCode::BAD_REQUEST),
        ("1s", StatusCode::BAD_REQUEST),
        ("10m", StatusCode::OK),
    ] {
        let said = send(&mut alice, &list, &path, &[("lasting", lasting)]).await;
        assert_eq!(said.page.status, expected, "{lasting}");
    }
    let grants = house.store().live_grants().await.unwrap();
    assert_eq!(
        grants[0].until.since(grants[0].at),
        Duration::from_secs(600)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_are_told_where_to_ask() {
    let (house, _clock) = still_house().await;
    let (bob, _) = refused(&house, "bob", "/").await;
    let page = get(&bob, &house.url("admin", "/d?q=1")).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert_eq!(page.header("content-type"), "application/problem+json");
    let said = page.json();
    assert_eq!(said["code"], "approval_required");
    let url = Url::parse(said["ask_for_access"].as_str().unwrap()).unwrap();
    assert!(
        url.as_str()
            .starts_with(&house.url("access", "/access/ask?"))
    );
    let to = url.query_pairs().next().unwrap().1.into_owned();
    assert_eq!(to, house.url("admin", "/d?q=1"));

    let call = Request::get(house.secure_url("admin", "/grpc"))
        .header("content-type", "application/grpc")
        .header("cookie", bob.cookies("admin.localhost"))
        .body(empty())
        .unwrap();
    let mut sender = house.connect_tls("admin", Version::H2).await;
    let page = sender.page(call).await;
    // A cookie of the plain front door is none here.
    assert_eq!(page.header("grpc-status"), "16", "{page:?}");
    let mut bob = house.browser();
    bob.sign_in(&house.secure_url("admin", "/"), "bob").await;
    let call = Request::get(house.secure_url("admin", "/grpc"))
        .header("content-type", "application/grpc")
        .header("cookie", bob.cookies("admin.localhost"))
        .body(empty())
        .unwrap();
    let page = sender.page(call).await;
    assert_eq!(page.header("grpc-status"), "7", "{page:?}");
    assert!(
        page.header("grpc-message").contains("/access/ask?to="),
        "{page:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_believed_nothing() {
    let (house, _clock) = still_house().await;
    let (mut bob, _) = refused(&house, "bob", "/").await;
    let to = |url: &str| {
        let query: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
        house.url("access", &format!("/access/ask?to={query}"))
    };
    for (url, expected) in [
        ("https://evil.example/".to_owned(), StatusCode::BAD_REQUEST),
        ("//evil.example/".to_owned(), StatusCode::BAD_REQUEST),
        (house.url("nowhere", "/"), StatusCode::FORBIDDEN),
        (house.url("app", "/admin"), StatusCode::FORBIDDEN),
        (house.url("partner", "/"), StatusCode::FORBIDDEN),
        (house.url("admin", "/../x"), StatusCode::BAD_REQUEST),
    ] {
        let page = bob.go(&to(&url)).await.page;
        assert_eq!(page.status, expected, "{url}");
    }
    // A method that the rule is not about.
    let posting = format!("{}&method=POST", to(&house.url("admin", "/")));
    assert_eq!(bob.go(&posting).await.page.status, StatusCode::FORBIDDEN);
    // What is open already is opened.
    let open = bob.go(&to(&house.url("public", "/p"))).await;
    assert_eq!(open.url.as_str(), house.url("public", "/p"));
    // Times and reasons that may not be.
    let (mut bob, page) = refused(&house, "bob", "/").await;
    let long = "x".repeat(501);
    for (reason, lasting, act, expected) in [
        ("", "1m", "ask", StatusCode::BAD_REQUEST),
        (" \t ", "1m", "ask", StatusCode::BAD_REQUEST),
        (long.as_str(), "1m", "ask", StatusCode::BAD_REQUEST),
        ("x", "59s", "ask", StatusCode::BAD_REQUEST),
        ("x", "61m", "ask", StatusCode::BAD_REQUEST),
        ("x", "ever", "ask", StatusCode::BAD_REQUEST),
        ("x", "1m", "approve", StatusCode::BAD_REQUEST),
    ] {
        let fields = [("reason", reason), ("lasting", lasting), ("act", act)];
        let said = ask(&mut bob, &page, &fields).await;
        assert_eq!(said.page.status, expected, "{fields:?}");
    }
    assert!(told(&house).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_forms_of_other_sites_and_sessions_are_not_followed() {
    let (house, _clock) = still_house().await;
    let (mut bob, page) = refused(&house, "bob", "/").await;
    let waiting = ask(&mut bob, &page, A_MINUTE).await;
    let (mut alice, _) = refused(&house, "alice", "/").await;
    let list = to_decide(&house, &mut alice).await;
    let approve = format!("/access/requests/{}/approve", id_of(&waiting));
    let url = house.url("access", &approve);
    let token = csrf(&list.page);
    let own = house.url("access", "");
    let post = |origin: &str, site: &str, token: &str| {
        let body = crate::parts::full(format!("csrf={token}"));
        let mut request = navigation("POST", &url, body);
        let headers = request.headers_mut();
        let kind = "application/x-www-form-urlencoded";
        headers.insert("content-type", kind.parse().unwrap());
        headers.insert("origin", origin.parse().unwrap());
        headers.insert("sec-fetch-site", site.parse().unwrap());
        request
    };
    let others = csrf(&waiting.page);
    for (origin, site, token) in [
        ("https://evil.example", "cross-site", token.as_str()),
        (own.as_str(), "same-site", &token),
        ("null", "cross-site", &token),
        (own.as_str(), "same-origin", &others),
        (own.as_str(), "same-origin", ""),
    ] {
        let said = alice.clone().fetch(post(origin, site, token)).await;
        assert_eq!(said.status, StatusCode::FORBIDDEN, "{origin} {site}");
    }
    // Nobody's form is nobody's.
    let said = house
        .browser()
        .fetch(post(&own, "same-origin", &token))
        .await;
    assert_eq!(said.status, StatusCode::SEE_OTHER);
    assert!(
        said.header("location")
            .starts_with("/.wayleave/sign-in?to=")
    );
    assert_eq!(kinds(&told(&house).await), ["access_asked"]);
    let said = alice.clone().fetch(post(&own, "same-origin", &token)).await;
    assert_eq!(said.status, StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k1_k3_what_people_write_is_inert_and_pages_are_guarded() {
    let (house, _clock) = still_house().await;
    let (mut bob, page) = refused(&house, "bob", "/").await;
    let canary = "</script><svg onload=alert(1)>\r\n\"'";
    let fields = [("reason", canary), ("lasting", "1m"), ("act", "ask")];
    let waiting = ask(&mut bob, &page, &fields).await;
    let (mut alice, _) = refused(&house, "alice", "/").await;
    let list = to_decide(&house, &mut alice).await;
    let mine = bob.go(&house.url("access", "/access/mine")).await;
    let form = alice.go(&ask_link(&page)).await;
    let home = bob.go(&house.url("access", "/")).await;
    for arrived in [&waiting, &list, &mine, &form, &home] {
        let (text, headers) = (arrived.page.text(), &arrived.page.headers);
        assert!(
            !text.contains("<svg") && !text.contains("</script><"),
            "{text}"
        );
        // Every script is a file of ours.
        let mut scripts = text.split("<script").skip(1);
        let is_ours = |rest: &str| rest.starts_with(" defer src=\"/.wayleave/static/");
        assert!(scripts.all(is_ours), "{text}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{}", arrived.url);
        assert!(policy.contains("frame-ancestors 'none'"));
        for name in [
            "x-content-type-options",
            "referrer-policy",
            "cross-origin-opener-policy",
        ] {
            assert!(headers.contains_key(name), "{} has no {name}", arrived.url);
        }
        assert_eq!(headers["cache-control"], "no-store");
    }
    assert!(list.page.text().contains("alert(1)"));
    let told = told(&house).await;
    assert_eq!(told[0]["reason"], "</script><svg onload=alert(1)> \"'");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_glass_is_swept_up_by_somebody_else() {
    let (house, clock) = still_house().await;
    let (mut bob, page) = refused(&house, "bob", "/now").await;
    let fields = [
        ("reason", "fire"),
        ("lasting", "1m"),
        ("act", "break_glass"),
    ];
    let arrived = ask(&mut bob, &page, &fields).await;
    let waiting = arrived.url.clone();
    eventually("it is there at once", async || {
        let now = bob.clone().go(waiting.as_str()).await;
        now.url.as_str() == house.url("admin", "/now") && now.page.text() == "hello"
    })
    .await;
    let grants = house.store().live_grants().await.unwrap();
    assert!(grants[0].break_glass && grants.len() == 1);
    let path = format!("/access/grants/{}/review", grants[0].id.0);
    let mine = bob.go(&house.url("access", "/access/mine")).await;
    assert!(mine.page.text().contains("to be reviewed"));
    let said = send(&mut bob, &mine, &path, &[("note", "fine")]).await;
    assert_eq!(said.page.status, StatusCode::FORBIDDEN, "not by oneself");
    clock.advance(Duration::from_secs(60));
    let page = get(&bob, &house.url("admin", "/")).await;
    assert_eq!(page.json()["code"], "approval_required");

    let (mut alice, _) = refused(&house, "alice", "/").await;
    let list = to_decide(&house, &mut alice).await;
    assert!(list.page.text().contains("fire"), "also after its end");
    let list = send(&mut alice, &list, &path, &[("note", "it burned")]).await;
    assert!(!list.page.text().contains("fire"));
    let told = told(&house).await;
    assert_eq!(kinds(&told)[..], ["access_break_glass", "access_reviewed"]);
    assert_eq!(told[1]["note"], "it burned");

    // One of those who review does not review themselves.
    let (mut alice, page) = refused(&house, "alice", "/").await;
    ask(&mut alice, &page, &fields).await;
    let own = house.store().grants_to_review().await.unwrap();
    let path = format!("/access/grants/{}/review", own[0].id.0);
    let mine = alice.go(&house.url("access", "/access/mine")).await;
    let said = send(&mut alice, &mine, &path, &[("note", "fine")]).await;
    assert_eq!(said.page.status, StatusCode::FORBIDDEN);
    assert_eq!(house.store().grants_to_review().await.unwrap().len(), 1);

    // Where the rule does not have it, there is none.
    house
        .put_in_force(|text| text.replacen(", break_glass: true", "", 1))
        .await;
    let (mut bob, page) = refused(&house, "bob", "/").await;
    let form = bob.go(&ask_link(&page)).await;
    assert!(!form.page.text().contains("Break the glass"));
    let said = ask(&mut bob, &page, &fields).await;
    assert_eq!(said.page.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_for_a_page_signs_in_and_gets_it() {
    let (house, _clock) = still_house().await;
    let mut alice = house.browser();
    let wanted = house.url("access", "/access/requests");
    let arrived = alice.sign_in(&wanted, "alice").await;
    assert_eq!(arrived.url.as_str(), wanted);
    assert!(arrived.page.text().contains("Requests to decide"));
    let own = alice.go(&house.url("access", "/")).await;
    let text = own.page.text();
    assert!(
        text.contains("/access/requests") && text.contains("You may ask for"),
        "{text}"
    );
    let mut bob = house.browser();
    let own = bob.sign_in(&house.url("access", "/"), "bob").await;
    assert!(
        !own.page.text().contains("/access/requests"),
        "he decides nothing"
    );
    // Nobody is sent anywhere else that way (E5).
    for elsewhere in [
        "//evil.example/",
        "https://evil.example/",
        "/\\evil.example",
    ] {
        let to: String = url::form_urlencoded::byte_serialize(elsewhere.as_bytes()).collect();
        let url = house.url("access", &format!("/.wayleave/sign-in?to={to}"));
        let arrived = alice.go(&url).await;
        assert_eq!(
            arrived.url.host_str(),
            Some("access.localhost"),
            "{elsewhere}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k4_every_page_and_form_is_for_people_who_are_signed_in() {
    let house = House::start().await;
    let id = "0".repeat(32);
    for endpoint in wayleave::portal::endpoints::ENDPOINTS {
        let mut path = endpoint.path.replace("{id}", &id);
        if endpoint.method == "GET" && path == "/access/ask" {
            path = format!("{path}?to={}", house.url("admin", "/"));
        }
        let url = house.url("access", &path);
        let request = navigation(endpoint.method, &url, empty());
        let page = house.browser().fetch(request).await;
        let what = format!("{} {path}", endpoint.method);
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{what}");
        let to = page.header("location");
        assert!(to.starts_with("/.wayleave/sign-in?to=%2F"), "{what}: {to}");
        // Nothing of it is on hosts of routes, where the path is the upstream's.
        let elsewhere = navigation(endpoint.method, &house.url("nowhere", &path), empty());
        let page = house.browser().fetch(elsewhere).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{what}");
        let other = if endpoint.method == "GET" {
            "DELETE"
        } else {
            "PUT"
        };
        let page = house
            .browser()
            .fetch(navigation(other, &url, empty()))
            .await;
        assert_eq!(
            page.status,
            StatusCode::METHOD_NOT_ALLOWED,
            "{other} {path}"
        );
    }
}
