//! A whole edge: what a request meets on its way from a browser to a workload in the mesh.

use http::{Request, StatusCode};

use crate::parts::browser::navigation;
use crate::parts::client::Version;
use crate::parts::empty;
use crate::parts::house::House;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_in_person_reaches_the_upstream_as_themselves() {
    let house = House::start().await;
    let mut browser = house.browser();
    let wanted = house.url("app", "/a/b%20c?x=1&y=%2F&z");
    let arrived = browser.sign_in(&wanted, "alice").await;
    assert_eq!(arrived.page.text(), "hello");
    assert_eq!(arrived.url.as_str(), wanted);
    let seen = house.upstream.only();
    let alice = "spiffe://demo.wayleave/ns/people/sa/alice--at--demo.example--";
    assert!(seen.peer.starts_with(alice), "{}", seen.peer);
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str()),
        ("GET", "/a/b%20c?x=1&y=%2F&z")
    );
    let lines = house.lines(1, |line| line["outcome"] == "allowed").await;
    assert_eq!(lines[0]["status"], 200);
    assert_eq!(lines[0]["route"], "app");
    assert_eq!(lines[0]["rule"], "staff");
    assert_eq!(lines[0]["src.identity"], seen.peer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_person_has_an_identity_of_their_own_at_the_front_door_with_tls() {
    let house = House::start().await;
    for person in ["alice", "bob"] {
        let mut browser = house.browser();
        let arrived = browser.sign_in(&house.secure_url("app", "/"), person).await;
        assert_eq!(arrived.page.text(), "hello");
        let seen = house.upstream.only();
        let id = format!("spiffe://demo.wayleave/ns/people/sa/{person}--at--demo.example--");
        assert!(seen.peer.starts_with(&id), "{}", seen.peer);
        assert_eq!(seen.headers["x-forwarded-proto"], "https");
        house.upstream.forget();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_sent_to_sign_in_or_told_in_their_own_terms() {
    let house = House::start().await;
    let url = house.url("app", "/x?y=1");
    let page = house.send(navigation("GET", &url, empty())).await;
    assert!(page.status.is_redirection(), "{page:?}");
    assert!(
        page.header("location")
            .starts_with("http://access.localhost:"),
        "{page:?}"
    );

    let plain = Request::get(&url).body(empty()).unwrap();
    let page = house.send(plain).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert_eq!(page.header("content-type"), "application/problem+json");
    assert!(
        page.header("www-authenticate").starts_with("Bearer"),
        "{page:?}"
    );

    let call = Request::post(house.secure_url("app", "/grpc.Test/Call"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(empty())
        .unwrap();
    let mut sender = house.connect_tls("app", Version::H2).await;
    let page = sender.page(call).await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.header("grpc-status"), "16", "{page:?}");
    assert!(house.upstream.seen().is_empty());
    house.lines(3, |line| line["route"] == "app").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_refused_is_told_what_could_be_otherwise_and_no_secret() {
    let house = House::start().await;
    let readers = "to: [{ routes: [admin], methods: [GET] }]";
    let narrower =
        "to: [{ routes: [admin], paths: ['/help*'] }]\n    when: { headers: { x-key: [s3cret] } }";
    house
        .put_in_force(|text| text.replacen(readers, narrower, 1))
        .await;
    let mut browser = house.browser();
    let arrived = browser.sign_in(&house.url("admin", "/x"), "bob").await;
    assert_eq!(arrived.page.status, StatusCode::FORBIDDEN);
    let text = arrived.page.text();
    let told = "Rule readers is for you, but it is for the paths /help*, and this is /x; it asks for a header";
    assert!(text.contains(told), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
    // Who is not of those whom it is for is told nothing of it.
    let mut carol = house.browser();
    let arrived = carol.sign_in(&house.url("admin", "/x"), "carol").await;
    assert_eq!(arrived.page.status, StatusCode::FORBIDDEN);
    assert!(!arrived.page.text().contains("readers"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denial_says_so_with_its_id() {
    let house = House::start().await;
    let mut browser = house.signed_in("bob").await;
    let url = house.url("app", "/admin/x");
    let page = browser.fetch(navigation("GET", &url, empty())).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    let denied = house.lines(1, |line| line["outcome"] == "denied").await;
    let id = denied[0]["request_id"].as_str().unwrap();
    assert!(page.text().contains(id), "{}", page.text());
    assert_eq!(denied[0]["bytes_out"], page.body.len());

    let plain = Request::get(&url).body(empty()).unwrap();
    let page = browser.fetch(plain).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    let denied = house.lines(2, |line| line["outcome"] == "denied").await;
    assert_eq!(
        page.json()["request_id"],
        denied[1]["request_id"],
        "{}",
        page.text()
    );
    assert!(house.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_of_no_route_is_not_found() {
    let house = House::start().await;
    for url in [
        house.url("other", "/"),
        house.url("other", "/.wayleave/sign-in"),
    ] {
        let page = house.send(navigation("GET", &url, empty())).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{url}");
    }
    assert!(house.upstream.seen().is_empty());
}
