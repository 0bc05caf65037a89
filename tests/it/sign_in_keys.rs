//! Keys of identity providers and issuers that change, and tokens of keys that nobody has, through a whole edge.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Request, StatusCode};

use crate::parts::house::House;
use crate::parts::{empty, until};

const REFILL: Duration = Duration::from_secs(30);

async fn bearer(house: &House, token: &str) -> StatusCode {
    let request = Request::get(house.url("app", "/"))
        .header("authorization", format!("Bearer {token}"))
        .body(empty())
        .unwrap();
    house.send(request).await.status
}

/// The keys as they are fetched at the start: once for signing in, once for bearer tokens.
async fn settled(house: &House) {
    until("the keys are fetched", || {
        (house.issuer.fetches() == 2).then_some(())
    })
    .await;
}

async fn signs_in(house: &House) -> bool {
    let arrived = house.browser().go(&house.url("partner", "/")).await;
    arrived.page.text() == "hello"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g7_keys_that_change_right_after_a_fetch_are_found_at_once() {
    let (house, clock) = House::start_still("sqlite://wayleave.db").await;
    settled(&house).await;
    let before = house.issuer.token(|_| ());
    assert_eq!(bearer(&house, &before).await, StatusCode::OK);
    house.issuer.rotate("k2");
    assert!(signs_in(&house).await, "the next sign-in works");
    assert_eq!(
        bearer(&house, &house.issuer.token(|_| ())).await,
        StatusCode::OK
    );
    assert_eq!(house.issuer.fetches(), 4);
    assert_eq!(
        bearer(&house, &before).await,
        StatusCode::UNAUTHORIZED,
        "the old key is gone"
    );

    // A second change in the same half minute has to wait for its end.
    house.issuer.rotate("k3");
    let page = house.browser().go(&house.url("partner", "/")).await.page;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{page:?}");
    assert_eq!(
        bearer(&house, &house.issuer.token(|_| ())).await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(house.issuer.fetches(), 4);
    clock.advance(REFILL);
    assert!(signs_in(&house).await);
    assert_eq!(
        bearer(&house, &house.issuer.token(|_| ())).await,
        StatusCode::OK
    );
    assert_eq!(house.issuer.fetches(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_tokens_of_keys_that_nobody_has_cause_few_fetches() {
    let (house, clock) = House::start_still("sqlite://wayleave.db").await;
    settled(&house).await;
    let flood = async |round: usize| {
        let one = async |number: usize| {
            let token = house.issuer.of_key(&format!("unknown-{round}-{number}"));
            assert_eq!(bearer(&house, &token).await, StatusCode::UNAUTHORIZED);
        };
        futures_util::future::join_all((0..25).map(one)).await;
        let good = house.issuer.token(|_| ());
        assert_eq!(bearer(&house, &good).await, StatusCode::OK);
    };
    flood(0).await;
    flood(1).await;
    // The first was at the start, so these are two within half a minute.
    assert_eq!(house.issuer.fetches(), 3);
    for round in 2..8 {
        clock.advance(REFILL);
        flood(round).await;
        assert_eq!(house.issuer.fetches(), 2 + round, "one in half a minute");
    }
    clock.advance(REFILL * 4);
    flood(8).await;
    flood(9).await;
    assert_eq!(
        house.issuer.fetches(),
        11,
        "what was not used is not saved up"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g7_keys_that_move_are_found_at_once_and_looked_for_once_in_a_while() {
    let (house, clock) = House::start_still("sqlite://wayleave.db").await;
    settled(&house).await;
    assert!(signs_in(&house).await);
    house.issuer.move_keys("k2");
    assert!(signs_in(&house).await, "at the next sign-in");

    house.issuer.move_keys("k3");
    let before = house.issuer.discoveries.load(Ordering::SeqCst);
    for _ in 0..3 {
        assert!(!signs_in(&house).await);
    }
    let after = house.issuer.discoveries.load(Ordering::SeqCst);
    assert_eq!(after, before, "not again in the same half minute");
    clock.advance(REFILL);
    assert!(signs_in(&house).await);
}
