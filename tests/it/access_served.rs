//! Access for a time, with `wayleave serve` as a process: two edges on one PostgreSQL, a store that is away, and a process that is killed.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use tokio::sync::Mutex;

use crate::parts::program::{Program, eventually};
use crate::parts::served::{
    OwnPostgres, Parties, database, end, gathered_on, gathered_on_both, row, status,
};
use crate::parts::visitor::{Page, Visitor};

/// What changes is in force everywhere within this.
const SOON: Duration = Duration::from_secs(2);

/// Bob, who asks for releases and waits.
async fn bob_asks(parties: &Parties) -> (Visitor, Page) {
    let mut bob = Visitor::new();
    let page = bob.open_as("bob", &parties.at("releases")).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN, "{page:?}");
    let waiting = ask(&mut bob, &page).await;
    assert!(
        waiting.text.contains("Waiting for an approval"),
        "{waiting:?}"
    );
    (bob, waiting)
}

async fn ask(bob: &mut Visitor, refused: &Page) -> Page {
    let (_, link) = refused.text.split_once("class=\"button\" href=\"").unwrap();
    let link = link.split('"').next().unwrap().replace("&#38;", "&");
    let form = bob.open(&link).await;
    assert_eq!(form.status, StatusCode::OK, "{form:?}");
    if form.text.contains("Waiting for an approval") {
        return form;
    }
    let fields = [("reason", "the pager"), ("lasting", "1h"), ("act", "ask")];
    bob.submit(&form, &fields).await
}

/// Alice, before what there is to decide; `home` is where she looks. She signs in at the first edge, which the provider knows.
async fn alice_looks(parties: &Parties, home: &str) -> (Visitor, Page) {
    let mut alice = Visitor::new();
    alice.open_as("alice", &parties.at("access")).await;
    let page = alice.open(&format!("{home}/access/requests")).await;
    assert!(page.text.contains("signed in at demo"), "{page:?}");
    (alice, page)
}

async fn opens(visitor: &Mutex<Visitor>, url: &str) -> bool {
    status(&mut *visitor.lock().await, url).await == StatusCode::OK
}

#[tokio::test]
async fn j2_two_edges_on_one_postgres_hear_of_grants_and_their_end() {
    let parties = gathered_on(&database().await).await;
    let edge = parties.serve().await;
    let (second, port) = parties.serve_second().await;
    let (bob, waiting) = bob_asks(&parties).await;
    let bob = Mutex::new(bob);
    let (here, there) = (
        parties.at("releases"),
        format!("http://releases.localhost:{port}"),
    );
    assert!(!opens(&bob, &there).await);

    let (mut alice, page) = alice_looks(&parties, &format!("http://access.localhost:{port}")).await;
    let decided = alice.submit(&page, &[("lasting", "1h")]).await;
    assert!(decided.text.contains("Granted now"), "{decided:?}");
    for url in [&here, &there] {
        let took = eventually("the grant is heard of", async || opens(&bob, url).await).await;
        assert!(took < SOON, "{took:?}");
    }
    // The page that waits goes on to what was asked for first.
    let went = bob.lock().await.open(waiting.url.as_str()).await;
    assert_eq!(went.url.host_str(), Some("releases.localhost"), "{went:?}");

    let mut stream = bob.lock().await.stream(&format!("{here}/events")).await;
    assert!(stream.chunk().await.unwrap().is_some());
    // Of the second edge's forms the first is to take it away.
    let page = alice
        .open(&format!("http://access.localhost:{port}/access/requests"))
        .await;
    let after = alice.submit(&page, &[]).await;
    assert!(!after.text.contains("Granted now"), "{after:?}");
    let ended = async { while let Ok(Some(_)) = stream.chunk().await {} };
    assert!(
        tokio::time::timeout(SOON, ended).await.is_ok(),
        "it goes on"
    );
    for url in [&here, &there] {
        assert!(!opens(&bob, url).await);
    }
    end(second).await;
    end(edge).await;
    parties.leave().await;
}

#[tokio::test]
async fn without_the_store_nothing_new_is_granted_and_what_is_goes_on() {
    let postgres = OwnPostgres::start();
    let parties = gathered_on(&postgres.url).await;
    let edge = parties.serve().await;
    let (bob, waiting) = bob_asks(&parties).await;
    let bob = Mutex::new(bob);
    let (mut alice, page) = alice_looks(&parties, &parties.at("access")).await;
    alice.submit(&page, &[("lasting", "1h")]).await;
    let releases = parties.at("releases");
    eventually("the grant", async || opens(&bob, &releases).await).await;
    let list = format!("{}/access/requests", parties.at("access"));
    let granted = alice.open(&list).await;

    postgres.tell("stop");
    for _ in 0..5 {
        assert!(opens(&bob, &releases).await, "what is granted goes on");
    }
    let revoked = alice.submit(&granted, &[]).await;
    assert_eq!(
        revoked.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{revoked:?}"
    );
    let own = format!("{}/access/mine", parties.at("access"));
    let page = bob
        .lock()
        .await
        .step(Method::GET, own.parse().unwrap(), None)
        .await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{page:?}");
    let page = bob
        .lock()
        .await
        .step(Method::GET, waiting.url.clone(), None)
        .await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{page:?}");
    postgres.tell("start");
    end(edge).await;
    parties.leave().await;
}

/// How many requests are granted, grants there are, and events tell of them, at one moment.
async fn counts(url: &str) -> (i64, i64, i64) {
    let sql = "SELECT (SELECT count(*) FROM access_requests WHERE state = 'granted'), \
               (SELECT count(*) FROM grants), (SELECT count(*) FROM audit_events WHERE kind = 'access_granted')";
    row(url, sql).await
}

/// Bob, who waits for releases; what an earlier round granted him he has given back.
async fn bob_waits(parties: &Parties) {
    let mut bob = Visitor::new();
    bob.open_as("bob", &parties.at("grafana")).await;
    let releases = parties.at("releases");
    if bob.open(&releases).await.status == StatusCode::OK {
        let mine = format!("{}/access/mine", parties.at("access"));
        let mine = bob.open(&mine).await;
        bob.submit(&mine, &[]).await;
    }
    let bob = Mutex::new(bob);
    eventually("it is over", async || !opens(&bob, &releases).await).await;
    let mut bob = bob.into_inner();
    let refused = bob.open(&releases).await;
    let waiting = ask(&mut bob, &refused).await;
    assert!(waiting.text.contains("Waiting for"), "{waiting:?}");
}

/// Alice approves of what Bob waits for, and the edge is killed so much later; whether she was told that it is granted.
async fn approve_and_kill(parties: &Parties, mut edge: Program, after: Duration) -> bool {
    let (mut alice, page) = alice_looks(parties, &parties.at("access")).await;
    let (action, csrf) = approval(&page);
    let deciding = alice.try_step(action, format!("csrf={csrf}"));
    let killing = async {
        tokio::time::sleep(after).await;
        edge.signal("KILL");
        edge.ended().await
    };
    let (decided, _) = tokio::join!(deciding, killing);
    decided == Some(StatusCode::SEE_OTHER)
}

#[tokio::test]
async fn a_kill_leaves_no_half_of_a_grant_and_loses_none_that_was_acknowledged() {
    for (parties, url) in gathered_on_both().await {
        let mut acknowledged = 0;
        let mut round = 0u32;
        // Until one of them was granted: a slow machine needs more time for it.
        while round < 6 || acknowledged == 0 {
            let edge = parties.serve().await;
            bob_waits(&parties).await;
            // At another moment in each round; what is tried is that it does not matter when.
            let after = Duration::from_millis((1 << round) - 1);
            acknowledged += i64::from(approve_and_kill(&parties, edge, after).await);
            let (decided, granted, told) = counts(&url).await;
            assert_eq!((decided, granted), (granted, told), "round {round}");
            assert!(
                granted >= acknowledged,
                "round {round}: {granted} < {acknowledged}"
            );
            round += 1;
        }
        parties.leave().await;
    }
}

/// Where the first form of the page goes that approves, and its token.
fn approval(page: &Page) -> (url::Url, String) {
    let (_, action) = page.text.split_once("action=\"/access/requests/").unwrap();
    let action = format!("/access/requests/{}", action.split('"').next().unwrap());
    let (_, csrf) = page.text.split_once("name=\"csrf\" value=\"").unwrap();
    let csrf = csrf.split('"').next().unwrap().to_owned();
    (page.url.join(&action).unwrap(), csrf)
}
