//! What hostile HTTP/2 clients do: the connection ends, or the stream, and nobody else notices.

use std::time::{Duration, Instant};

use http::{Request, StatusCode};

use crate::parts::client::{Version, raw};
use crate::parts::frames::{
    CONTINUATION, DATA, END_STREAM, Frames, GOAWAY, HEADERS, RST_STREAM, Raw, block, fields,
};
use crate::parts::house::House;
use crate::parts::{empty, until};

const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// Somebody else, served as ever.
async fn others_are_served(house: &House) {
    let request = Request::get(house.secure_url("public", "/"));
    let request = request.body(empty()).unwrap();
    let asking = async {
        let mut sender = house.connect_tls("public", Version::H2).await;
        sender.page(request).await
    };
    let page = tokio::time::timeout(Duration::from_secs(2), asking).await;
    assert_eq!(page.expect("they wait").status, StatusCode::OK);
}

/// The connection is ended within the time: told so, or just closed.
async fn expect_end(mut connection: Raw, within: Duration) {
    let ended = tokio::time::timeout(within, connection.until(&[GOAWAY])).await;
    ended.expect("the connection goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d4_a_flood_of_resets_ends_the_connection() {
    let house = House::start().await;
    let mut connection = Raw::open(&house).await;
    let authority = connection.authority.clone();
    let mut frames = Frames::default();
    for stream in (1..20_000).step_by(2) {
        frames.request(END_STREAM, stream, &fields("GET", &authority, "/"));
        frames.push(RST_STREAM, 0, stream, &CANCEL);
    }
    // It may be closed before all is written.
    let _written = connection.send(&frames).await;
    others_are_served(&house).await;
    expect_end(connection, Duration::from_secs(5)).await;
    let asked = house.upstream.seen().len();
    assert!(asked < 1000, "{asked} requests went on to the upstream");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_endless_continuations_end_the_connection() {
    let house = House::start().await;
    let mut connection = Raw::open(&house).await;
    let authority = connection.authority.clone();
    let began = Instant::now();
    let mut frames = Frames::default();
    frames.push(
        HEADERS,
        END_STREAM,
        1,
        &block(&fields("GET", &authority, "/")),
    );
    let mut written = 0;
    while connection.send(&frames).await.is_ok() && began.elapsed() < Duration::from_secs(5) {
        written += 1;
        frames = Frames::default();
        let more = block(&[("x-more", "y")]).repeat(100);
        frames.push(CONTINUATION, 0, 1, &more);
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{written} frames were taken"
    );
    others_are_served(&house).await;
    expect_end(connection, Duration::from_secs(1)).await;
    let seen = house.upstream.seen();
    assert_eq!(seen.len(), 1, "only the others' request: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_empty_data_by_the_thousand_is_not_kept() {
    let house = House::start().await;
    let mut connection = Raw::open(&house).await;
    let authority = connection.authority.clone();
    let mut frames = Frames::default();
    // The upstream answers this at once and never reads a body.
    frames.request(0, 1, &fields("POST", &authority, "/sse"));
    for _ in 0..100_000 {
        frames.push(DATA, 0, 1, &[]);
    }
    let _written = connection.send(&frames).await;
    others_are_served(&house).await;
    expect_end(connection, Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d7_a_length_that_is_not_kept_resets_the_stream() {
    let house = House::start().await;
    let mut connection = Raw::open(&house).await;
    let authority = connection.authority.clone();
    let mut frames = Frames::default();
    let with_length = |length| {
        let mut fields = fields("POST", &authority, "/sink");
        fields.push(("content-length", length));
        fields
    };
    frames.request(END_STREAM, 1, &with_length("10"));
    frames.request(0, 3, &with_length("3"));
    frames.push(DATA, END_STREAM, 3, b"hello");
    frames.request(0, 5, &with_length("9"));
    frames.push(DATA, END_STREAM, 5, b"hello");
    connection.send(&frames).await.unwrap();
    let mut reset = Vec::new();
    while reset.len() < 3 {
        let frame = connection.until(&[RST_STREAM, GOAWAY]).await.unwrap();
        assert_eq!(frame.kind, RST_STREAM, "{frame:?}");
        reset.push(frame.stream);
    }
    reset.sort_unstable();
    assert_eq!(reset, [1, 3, 5]);
    // What of them went on to the upstream broke off there.
    let sinks = || {
        let seen = house.upstream.seen();
        seen.iter().filter(|seen| seen.target == "/sink").count()
    };
    let all_ended = || (house.upstream.ended().len() == sinks()).then(|| house.upstream.ended());
    let (ended, _) = until("the upstream hears of it", all_ended).await;
    assert!(ended.iter().all(Result::is_err), "{ended:?}");
    others_are_served(&house).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_a_fragment_on_the_wire_is_refused_or_means_nothing_to_anybody() {
    let house = House::start().await;
    let host = format!("public.localhost:{}", house.http.port());
    for target in ["/pub#/../admin", "/#", "/x?y#z"] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = raw(house.http, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{target}: {answer}");
    }
    assert!(house.upstream.seen().is_empty());

    // The HTTP/2 library cuts it off before anybody of ours sees it: what is decided is what is forwarded.
    let mut connection = Raw::open(&house).await;
    let authority = connection.authority.clone();
    let mut frames = Frames::default();
    frames.request(END_STREAM, 1, &fields("GET", &authority, "/pub#/../admin"));
    connection.send(&frames).await.unwrap();
    connection.until(&[HEADERS]).await.unwrap();
    assert_eq!(house.upstream.only().target, "/pub");
    let line = &house.lines(1, |line| line["outcome"] == "allowed").await[0];
    assert_eq!(line["path"], "/pub");
}
