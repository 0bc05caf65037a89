//! Logout by the provider (OIDC Back-Channel Logout 1.0), through a whole edge.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use serde_json::{Value, json};
use wayleave::clock::{Clock, SystemClock};

use crate::parts::client::Page;
use crate::parts::house::House;
use crate::parts::issuer::unsigned;
use crate::parts::program::eventually;
use crate::parts::served::{OwnPostgres, stores};
use crate::parts::{empty, full};

const FORM: &str = "application/x-www-form-urlencoded";

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
    let browser = house.at_partner().await;
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
    let changed: [(&str, Value); 13] = [
        ("jti", 1.into()),
        ("jti", "".into()),
        ("iat", (now - 600).into()),
        ("iat", (now + 600).into()),
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
        assert!(house.knows(&browser, "partner").await, "{what}");
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
    assert!(house.knows(&browser, "partner").await && house.knows(&browser, "access").await);
    assert_eq!(log_out(&house, &good).await.status, StatusCode::OK);
    assert!(!house.knows(&browser, "partner").await && !house.knows(&browser, "access").await);
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
        let browser = house.at_partner().await;
        let others = [
            named("1", None, Some("sid-2")),
            named("2", Some("partner-2"), None),
            named("3", Some("partner-2"), Some("sid-1")),
            named("4", Some("partner-1"), Some("sid-2")),
        ];
        for token in &others {
            // Nobody is left to be logged out, which is what was asked for.
            assert_eq!(log_out(&house, token).await.status, StatusCode::OK);
            assert!(house.knows(&browser, "partner").await);
            expect_invalid(&log_out(&house, token).await, "again");
        }
        let both = (Some("partner-1"), Some("sid-1"));
        for (jti, sub, sid) in [
            ("5", both.0, None),
            ("6", None, both.1),
            ("7", both.0, both.1),
        ] {
            let browser = house.at_partner().await;
            let token = named(jti, sub, sid);
            assert_eq!(log_out(&house, &token).await.status, StatusCode::OK);
            assert!(!house.knows(&browser, "partner").await, "{jti}");
            let browser = house.at_partner().await;
            expect_invalid(&log_out(&house, &token).await, "a replay");
            assert!(house.knows(&browser, "partner").await, "{jti}");
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
    let browser = house.at_partner().await;
    let pairwise = house
        .issuer
        .logout_token_with(|claims| claims["sub"] = "pairwise-1".into());
    let page = log_out(&house, &pairwise).await;
    expect_invalid(&page, "no sid");
    assert!(page.text().contains("sid"), "{}", page.text());
    assert!(house.knows(&browser, "partner").await);
    let with_sid = house.issuer.logout_token_with(|claims| {
        claims["sub"] = "pairwise-1".into();
        claims["sid"] = "sid-1".into();
    });
    assert_eq!(log_out(&house, &with_sid).await.status, StatusCode::OK);
    assert!(!house.knows(&browser, "partner").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h7_a_logout_that_the_store_does_not_take_is_not_called_done() {
    let postgres = OwnPostgres::start();
    let house = House::start_on(&postgres.url).await;
    let browser = house.at_partner().await;
    let token = house.issuer.logout_token();
    postgres.tell("stop");
    assert_eq!(
        log_out(&house, &token).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    postgres.tell("start");
    eventually("the same token counts", async || {
        let status = log_out(&house, &token).await.status;
        assert_ne!(
            status,
            StatusCode::BAD_REQUEST,
            "a token that was not heard cannot be a replay"
        );
        status == StatusCode::OK
    })
    .await;
    assert!(!house.knows(&browser, "partner").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h7_a_logout_token_of_a_key_that_is_new_may_be_sent_again() {
    let (house, clock) = House::start_still("sqlite://wayleave.db").await;
    let browser = house.at_partner().await;
    // Somebody else uses up what may be fetched.
    for (kid, status) in [
        ("u1", StatusCode::BAD_REQUEST),
        ("u2", StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let page = log_out(&house, &house.issuer.of_key(kid)).await;
        assert_eq!(page.status, status, "{kid}");
    }
    house.issuer.rotate("k2");
    let token = house.issuer.logout_token();
    assert_eq!(
        log_out(&house, &token).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert!(house.knows(&browser, "partner").await);
    clock.advance(Duration::from_secs(30));
    assert_eq!(log_out(&house, &token).await.status, StatusCode::OK);
    assert!(!house.knows(&browser, "partner").await);
}
