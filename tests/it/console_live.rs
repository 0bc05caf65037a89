//! Pages of the console that are open: they are told of changes, of every edge's, and no longer than they may be looked at.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use wayleave::clock::{Clock, ManualClock, SystemClock};

use crate::parts::browser::Browser;
use crate::parts::client::Version;
use crate::parts::empty;
use crate::parts::house::House;
use crate::parts::served::stores;

/// Longer than a change may take to arrive.
const WITHIN: Duration = Duration::from_secs(10);

async fn listen(house: &House, browser: &Browser, query: &str) -> Response<Incoming> {
    let request = Request::get(house.url("access", &format!("/console/live{query}")))
        .header("cookie", browser.cookies("access.localhost"))
        .body(empty());
    let mut client = house.connect(Version::H1).await;
    client.send(request.unwrap()).await
}

async fn opened(house: &House, browser: &Browser, topics: &str) -> Incoming {
    let answer = listen(house, browser, &format!("?on={topics}")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut events = answer.into_body();
    // Without a mark it is not known what the page knows.
    let all = topics.replace('+', " ");
    assert_eq!(next(&mut events).await.unwrap(), told(&all));
    events
}

fn told(topics: &str) -> String {
    format!("event: changed\ndata: {topics}\n\n")
}

/// The next event; `None` at the end.
async fn next(events: &mut Incoming) -> Option<String> {
    loop {
        let frame = tokio::time::timeout(WITHIN, events.frame()).await.unwrap();
        let data: Bytes = frame?.unwrap().into_data().unwrap();
        let text = String::from_utf8(data.to_vec()).unwrap();
        if !text.starts_with(':') {
            return Some(text);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_pages_are_told_of_changes_as_long_as_they_may_be_looked_at() {
    for store in stores().await {
        let house = House::start_on(&store).await;
        let alice = house.signed_in("alice").await;
        let bob = house.signed_in("bob").await;
        let mut hers = opened(&house, &alice, "policy+sessions").await;
        let mut his = opened(&house, &bob, "policy").await;

        house
            .put_in_force(|text| {
                text.replacen(
                    "rules:\n",
                    "rules:\n  - { name: more, action: deny, from: [{ groups: [nobody] }] }\n",
                    1,
                )
            })
            .await;
        assert_eq!(next(&mut hers).await.unwrap(), told("policy"));
        assert_eq!(next(&mut his).await.unwrap(), told("policy"));

        // Whoever has the role no more hears nothing of it, not even of that.
        house
            .put_in_force(|text| text.replacen("bob@demo.example", "nobody@demo.example", 1))
            .await;
        assert_eq!(next(&mut his).await, None);
        assert_eq!(next(&mut hers).await.unwrap(), told("policy"));

        let mut bob = bob;
        bob.sign_out(&house.url("access", "")).await;
        assert_eq!(next(&mut hers).await.unwrap(), told("sessions"));
        let mut leaving = house.signed_in("alice").await;
        let mut another = opened(&house, &leaving, "requests").await;
        leaving.sign_out(&house.url("access", "")).await;
        assert_eq!(next(&mut another).await, None);
        assert_eq!(next(&mut hers).await.unwrap(), told("sessions"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_listens_only_so_often_and_to_what_there_is() {
    let house = House::start().await;
    let alice = house.signed_in("alice").await;
    for query in ["", "?on=", "?on=nothing", "?on=policy+nothing"] {
        let answer = listen(&house, &alice, query).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{query}");
    }
    let mut open = Vec::new();
    for _ in 0..12 {
        open.push(opened(&house, &alice, "policy").await);
    }
    let answer = listen(&house, &alice, "?on=policy").await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    let bob = house.signed_in("bob").await;
    drop(opened(&house, &bob, "sessions").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h10_a_page_that_is_left_open_keeps_nobody_signed_in() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let short = |text: String| format!("{text}\n[session]\nidle = \"2m\"\n");
    let house = House::start_as("sqlite://wayleave.db", clock.clone(), short).await;
    let alice = house.signed_in("alice").await;
    let ask = async |by_itself: bool| {
        let mut request = Request::get(house.url("access", "/console/requests"))
            .header("cookie", alice.cookies("access.localhost"));
        if by_itself {
            request = request.header("wayleave-by-itself", "1");
        }
        house.send(request.body(empty()).unwrap()).await.status
    };
    // Use does, and what the page asks for by itself is shown as well.
    for _ in 0..3 {
        clock.advance(Duration::from_secs(80));
        assert_eq!(ask(true).await, StatusCode::OK);
        assert_eq!(ask(false).await, StatusCode::OK);
    }
    for _ in 0..2 {
        clock.advance(Duration::from_secs(50));
        assert_eq!(ask(true).await, StatusCode::OK);
        drop(opened(&house, &alice, "requests").await);
    }
    clock.advance(Duration::from_secs(50));
    assert_eq!(ask(true).await, StatusCode::UNAUTHORIZED);
}
