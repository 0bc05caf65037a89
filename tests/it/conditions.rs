//! What rules ask of a request's circumstances and of how its caller signed in, through a whole edge.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Request, StatusCode};
use serde_json::Value;
use wayleave::clock::{Clock, SystemClock};

use crate::edge_streams::{events, expect_cut};
use crate::parts::browser::{Browser, navigation};
use crate::parts::client::Page;
use crate::parts::desk::Desk;
use crate::parts::empty;
use crate::parts::house::House;
use crate::parts::program::eventually;
use crate::parts::visitor::Visitor;

/// Gives the rule `partners` more lines, and waits until that is in force.
async fn change_partners(house: &House, more: &str) {
    let change = |text: String| {
        let (before, after) = text.split_once("name: partners\n").unwrap();
        let after = after.replacen("\n  - name:", &format!("\n    {more}\n  - name:"), 1);
        format!("{before}name: partners\n{after}")
    };
    house.put_in_force(change).await;
}

async fn get(browser: &mut Browser, url: &str) -> Page {
    let request = Request::get(url).body(empty()).unwrap();
    browser.fetch(request).await
}

/// After the clock was moved it takes a moment until the store was heard of again.
async fn answered(browser: &Browser, url: &str) -> Page {
    let asked = async || get(&mut browser.clone(), url).await.status;
    eventually("news of the store", async || {
        asked().await != StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    get(&mut browser.clone(), url).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_asks_for_a_stronger_sign_in_gets_it_and_the_page_asked_for() {
    let house = House::start().await;
    let mut browser = house.at_partner().await;
    change_partners(&house, "require: { acr: [mfa, hwk] }").await;

    let page = get(&mut browser, &house.url("partner", "/x?a=1")).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert_eq!(page.json()["code"], "step_up_required");
    let challenge = page.header("www-authenticate");
    let metadata = house.url("partner", "/.well-known/oauth-protected-resource");
    let expected = "Bearer error=\"insufficient_user_authentication\", acr_values=\"mfa hwk\"";
    let expected = format!("{expected}, resource_metadata=\"{metadata}\"");
    assert_eq!(challenge, expected);

    house.upstream.forget();
    let arrived = browser.go(&house.url("partner", "/x?a=1")).await;
    assert_eq!(arrived.page.text(), "hello", "{}", arrived.url);
    assert_eq!(arrived.url.as_str(), house.url("partner", "/x?a=1"));
    assert_eq!(house.upstream.only().target, "/x?a=1");
    // From now on nothing more is asked.
    assert_eq!(
        get(&mut browser, &house.url("partner", "/")).await.status,
        StatusCode::OK
    );
    assert_eq!(house.issuer.exchanges.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_is_told_how_to_sign_in_again_and_does() {
    let house = House::start().await;
    change_partners(&house, "require: { acr: [mfa, hwk] }").await;
    let (desk, mut visitor) = (Desk::new(), Visitor::new());
    let partner = house.url("access", "/.wayleave/sign-in/partner");
    visitor.open(&partner).await;
    let home = house.url("access", "");
    let login = ["--edge", &home, "--profile", "corp"];
    desk.sign_in(&mut visitor, "", &login).await.expect_done();

    let again = "wayleave login --profile corp --acr mfa --acr hwk";
    let routes = desk.run(&["routes"]).await.expect_done().out;
    assert!(routes.contains(&format!("(first: {again})")), "{routes}");
    let asked = desk.run(&["request", "partner", "-m", "why"]).await;
    assert_eq!(asked.code, Some(4), "{}", asked.out);
    assert!(
        asked.err.contains(again) && asked.err.contains("class mfa or hwk"),
        "{}",
        asked.err
    );
    let asked = ["request", "partner", "-m", "why", "--output", "json"];
    let fault: Value = serde_json::from_str(&desk.run(&asked).await.err).unwrap();
    assert_eq!(
        (&fault["error"], &fault["problem"]["code"]),
        (&"denied".into(), &"step_up_required".into())
    );
    let refused = desk.run(&["curl", "partner/x", "--", "-sS"]).await;
    assert!(refused.out.contains("step_up_required"), "{}", refused.out);
    assert!(refused.err.contains(again), "{}", refused.err);

    let exchanges = || house.issuer.exchanges.load(Ordering::SeqCst);
    let before = exchanges();
    let login = ["--acr", "mfa", "--acr", "hwk"];
    desk.sign_in(&mut visitor, "", &login).await.expect_done();
    assert_eq!(exchanges(), before + 1);
    let open = desk.run(&["curl", "partner/x", "--", "-sS"]).await;
    let open = open.expect_done();
    assert_eq!((open.out.as_str(), open.err.as_str()), ("hello", ""));
    // Who has signed in so already is only asked whether to let the program in.
    desk.sign_in(&mut visitor, "", &login).await.expect_done();
    assert_eq!(exchanges(), before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_does_not_step_up_is_told_of_and_asked_once() {
    let house = House::start().await;
    house.issuer.steps_up.store(false, Ordering::SeqCst);
    let mut browser = house.at_partner().await;
    for require in ["{ acr: mfa }", "{ max_age: 1h }"] {
        change_partners(&house, &format!("require: {require}")).await;
        let before = house.issuer.exchanges.load(Ordering::SeqCst);
        let arrived = browser.go(&house.url("partner", "/")).await;
        assert_eq!(
            arrived.page.status,
            StatusCode::FORBIDDEN,
            "{}",
            arrived.url
        );
        assert!(
            arrived
                .page
                .text()
                .contains("This sign-in does not suffice")
        );
        assert_eq!(house.issuer.exchanges.load(Ordering::SeqCst), before + 1);
        // The session there was is as it was.
        let person = browser.person_at(&house.url("partner", "")).await;
        assert_eq!(person.as_deref(), Some("partner-1"));
        let line = format!("    require: {require}\n");
        house.put_in_force(|text| text.replacen(&line, "", 1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_that_grew_too_old_cuts_streams_and_is_renewed() {
    let (house, clock) = House::start_still("sqlite://wayleave.db").await;
    change_partners(&house, "require: { max_age: 10m }").await;
    let mut browser = house.at_partner().await;
    let stream = events(&house, &browser, "partner").await;
    let before = house.issuer.exchanges.load(Ordering::SeqCst);
    clock.advance(Duration::from_secs(601));
    expect_cut(stream).await;
    let page = answered(&browser, &house.url("partner", "/")).await;
    assert_eq!(page.json()["code"], "step_up_required");
    assert!(
        page.header("www-authenticate")
            .contains(", max_age=\"600\", resource_metadata=")
    );
    // Upstreams have clocks of their own, and accept nothing of ten minutes from now: that it comes so far has to be enough.
    let arrived = browser.go(&house.url("partner", "/again")).await;
    assert_eq!(arrived.url.as_str(), house.url("partner", "/again"));
    assert_eq!(house.issuer.exchanges.load(Ordering::SeqCst), before + 1);
    let is_forwarded = |line: &Value| line["path"] == "/again" && line["rule"] == "partners";
    house.lines(1, is_forwarded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_what_a_rule_allowed_until_now_ends_now() {
    let house = House::start().await;
    let browser = house.at_partner().await;
    let url = house.url("partner", "/");
    let end = SystemClock.now().plus(Duration::from_secs(6));
    let until = end.rfc3339();
    change_partners(&house, &format!("when: {{ until: '{until}' }}")).await;
    let stream = events(&house, &browser, "partner").await;
    let allowed = async || get(&mut browser.clone(), &url).await.status == StatusCode::OK;
    assert!(allowed().await);
    eventually("the end", async || !allowed().await).await;
    let late = SystemClock.now().since(end);
    assert!(
        SystemClock.now() >= end && late < Duration::from_secs(1),
        "{late:?}"
    );
    expect_cut(stream).await;
    let page = get(&mut browser.clone(), &url).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_see_where_a_request_comes_from_and_its_headers() {
    let house = House::start().await;
    let browser = house.at_partner().await;
    let here = "when: { source_ips: [127.0.0.0/8], headers: { x-env: [prod] } }";
    change_partners(&house, here).await;
    let url = house.url("partner", "/");
    for (lines, expected) in [
        (&["prod"][..], StatusCode::OK),
        (&[], StatusCode::FORBIDDEN),
        (&["test"], StatusCode::FORBIDDEN),
        (&["prod", "test"], StatusCode::FORBIDDEN),
        (&["prod,test"], StatusCode::FORBIDDEN),
    ] {
        let mut request = navigation("GET", &url, empty());
        for line in lines {
            request.headers_mut().append("x-env", line.parse().unwrap());
        }
        // A client's word of where it comes from is not taken.
        let forged = "192.0.2.1".parse().unwrap();
        request.headers_mut().insert("x-forwarded-for", forged);
        let page = browser.clone().fetch(request).await;
        assert_eq!(page.status, expected, "{lines:?}");
    }
    let elsewhere = |text: String| text.replacen("127.0.0.0/8", "192.0.2.0/24", 1);
    house.put_in_force(elsewhere).await;
    let mut request = navigation("GET", &url, empty());
    request
        .headers_mut()
        .insert("x-env", "prod".parse().unwrap());
    let page = browser.clone().fetch(request).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rule_in_shadow_would_deny_stands_in_the_access_log() {
    let house = House::start().await;
    let mut browser = house.signed_in("alice").await;
    let into_shadow = |text: String| {
        let deny = "name: no-admin\n    action: deny\n";
        text.replacen(deny, &format!("{deny}    mode: shadow\n"), 1)
    };
    house.put_in_force(into_shadow).await;
    get(&mut browser, &house.url("app", "/admin/once")).await;
    let is_once = |line: &Value| line["path"] == "/admin/once";
    let lines = house.lines(1, is_once).await;
    assert_eq!(lines[0]["rule"], "staff");
    assert_eq!(lines[0]["shadow_denies"], "no-admin");
}
