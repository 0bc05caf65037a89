//! The device grant, as a machine and as those who would abuse it.

use std::time::Duration;

use http::StatusCode;
use url::Url;

use crate::parts::browser::{Browser, hidden};
use crate::parts::client::Page;
use crate::parts::house::House;
use crate::parts::program_of::{DEVICE, Key, ask, error, post, text};
use crate::parts::served::stores;

async fn begin(house: &House, key: &Key) -> (String, String) {
    let url = house.url("access", "/.wayleave/oauth/device_authorization");
    let proof = key.proof("POST", &url, None);
    let fields = [("client_id", "wayleave-cli")];
    let page = post(house, "device_authorization", &[("dpop", &proof)], &fields).await;
    assert!(page.json().get("verification_uri_complete").is_none());
    (text(&page, "device_code"), text(&page, "user_code"))
}

async fn poll(house: &House, key: Option<&Key>, device: &str) -> Page {
    let fields = [
        ("grant_type", DEVICE),
        ("client_id", "wayleave-cli"),
        ("device_code", device),
    ];
    ask(house, key, &fields).await
}

async fn typed(house: &House, browser: &mut Browser, code: &str, decision: Option<&str>) -> Page {
    let url = house.url("access", "/.wayleave/oauth/device");
    let page = browser.go(&url).await;
    let mut fields = hidden(&page.page.text());
    fields.push(("user_code".to_owned(), code.to_owned()));
    fields.extend(decision.map(|decision| ("decision".to_owned(), decision.to_owned())));
    browser
        .submit(Url::parse(&url).unwrap(), &fields)
        .await
        .page
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_a_machine_waits_as_it_is_told_and_gets_its_tokens_once() {
    for store in stores().await {
        let (house, clock) = House::start_still(&store).await;
        let key = Key::at(clock.clone());
        let (device, code) = begin(&house, &key).await;
        assert_eq!(
            error(&poll(&house, Some(&key), &device).await),
            "authorization_pending"
        );
        assert_eq!(error(&poll(&house, Some(&key), &device).await), "slow_down");
        // It has to wait longer from then on.
        clock.advance(Duration::from_secs(6));
        assert_eq!(error(&poll(&house, Some(&key), &device).await), "slow_down");
        clock.advance(Duration::from_secs(16));
        assert_eq!(
            error(&poll(&house, Some(&key), &device).await),
            "authorization_pending"
        );
        let mut browser = house.signed_in("alice").await;
        assert_eq!(
            typed(&house, &mut browser, &code, None).await.status,
            StatusCode::OK
        );
        assert_eq!(
            typed(&house, &mut browser, &code, Some("allow"))
                .await
                .status,
            StatusCode::OK
        );
        clock.advance(Duration::from_secs(16));
        // Whoever saw the code and has another key gets nothing.
        let mallory = Key::at(clock.clone());
        assert_eq!(
            error(&poll(&house, Some(&mallory), &device).await),
            "expired_token"
        );
        assert_eq!(
            error(&poll(&house, None, &device).await),
            "invalid_dpop_proof"
        );
        let all = (0..6).map(|_| poll(&house, Some(&key), &device));
        let all = futures_util::future::join_all(all).await;
        let good = all.iter().filter(|page| page.status == StatusCode::OK);
        assert_eq!(good.count(), 1);
        assert_eq!(
            error(&poll(&house, Some(&key), &device).await),
            "expired_token"
        );
        let told = house.events("tokens_granted").await;
        assert_eq!((told.len(), &told[0]["how"]), (1, &"device".into()));

        // After ten minutes nobody can approve it.
        let (device, code) = begin(&house, &key).await;
        clock.advance(Duration::from_secs(601));
        let page = typed(&house, &mut browser, &code, Some("allow")).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
        assert_eq!(
            error(&poll(&house, Some(&key), &device).await),
            "expired_token"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_codes_are_not_guessed_and_not_approved_by_a_session_that_ended() {
    let (house, clock) = House::start_still("sqlite://wayleave.db").await;
    let key = Key::at(clock.clone());
    let (device, code) = begin(&house, &key).await;
    let mut browser = house.signed_in("alice").await;
    assert_eq!(
        typed(&house, &mut browser, &code, Some("allow"))
            .await
            .status,
        StatusCode::OK
    );
    browser.sign_out(&house.url("access", "")).await;
    assert_eq!(
        error(&poll(&house, Some(&key), &device).await),
        "invalid_grant"
    );

    let mut mallory = house.signed_in("bob").await;
    let mut tries = Vec::new();
    for _ in 0..8 {
        tries.push(typed(&house, &mut mallory, "BCDF-BCDF", None).await.status);
    }
    let (wrong, slowed) = (StatusCode::BAD_REQUEST, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        tries,
        [wrong, wrong, wrong, wrong, wrong, slowed, slowed, slowed]
    );
    // So is whoever begins with too many machines.
    let url = house.url("access", "/.wayleave/oauth/device_authorization");
    let mut told = StatusCode::OK;
    for _ in 0..40 {
        let proof = key.proof("POST", &url, None);
        let fields = [("client_id", "wayleave-cli")];
        told = post(&house, "device_authorization", &[("dpop", &proof)], &fields)
            .await
            .status;
    }
    assert_eq!(told, slowed);
}
