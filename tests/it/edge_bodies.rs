//! Bodies of any size, exchanges that break off, and the end of the edge itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::net::TcpStream;
use wayleave::clock::SystemClock;

use crate::parts::client::{Page, Sender, Version};
use crate::parts::house::House;
use crate::parts::{Body, empty, until};

const SIZE: usize = 32 * 1024 * 1024;
const BOTH: [Version; 2] = [Version::H1, Version::H2];

/// A body in pieces, whose length nobody says.
fn pieces(size: usize) -> Body {
    let pieces = futures_util::stream::unfold(size, |left| async move {
        let piece = left.min(64 * 1024);
        (piece > 0).then(|| {
            (
                Ok(Frame::data(Bytes::from(vec![b'y'; piece]))),
                left - piece,
            )
        })
    });
    BodyExt::boxed(StreamBody::new(pieces))
}

/// A beginning, and then nothing, for ever.
fn unfinished() -> Body {
    let beginning =
        futures_util::stream::once(async { Ok(Frame::data(Bytes::from_static(b"a beginning"))) });
    let rest = futures_util::stream::pending();
    BodyExt::boxed(StreamBody::new(futures_util::StreamExt::chain(
        beginning, rest,
    )))
}

async fn client(house: &House, version: Version) -> Sender {
    house.connect_tls("app", version).await
}

fn request(house: &House, method: &str, path: &str, body: Body) -> Request<Body> {
    let token = house.issuer.token(|_| ());
    Request::builder()
        .method(method)
        .uri(house.secure_url("app", path))
        .header("authorization", format!("Bearer {token}"))
        .body(body)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_pass_both_ways() {
    let house = House::start().await;
    for version in BOTH {
        let mut sender = client(&house, version).await;
        let page = sender
            .page(request(&house, "POST", "/sink", pieces(SIZE)))
            .await;
        assert_eq!(page.text(), SIZE.to_string(), "{version:?}");
        let page = sender
            .page(request(&house, "GET", &format!("/big?{SIZE}"), empty()))
            .await;
        assert_eq!(page.body.len(), SIZE, "{version:?}");
        let page = sender
            .page(request(&house, "POST", "/echo", pieces(SIZE)))
            .await;
        assert_eq!(page.body.len(), SIZE, "{version:?}");
        assert!(page.body.iter().all(|byte| *byte == b'y'), "{version:?}");
    }
    let size = u64::try_from(SIZE).unwrap();
    let lines = house.lines(6, |line| line["outcome"] == "allowed").await;
    let sum = |key: &str| {
        lines
            .iter()
            .map(|line| line[key].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(sum("bytes_in"), 4 * size);
    assert!(
        (4 * size..4 * size + 100).contains(&sum("bytes_out")),
        "{lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_ends_the_upstreams_exchange() {
    let house = House::start().await;
    for version in BOTH {
        let mut sender = client(&house, version).await;
        let sending = sender.try_send(request(&house, "POST", "/sink", unfinished()));
        let came = until("the request", || house.upstream.seen().pop());
        tokio::select! {
            answer = sending => panic!("{answer:?}"),
            _ = came => {}
        }
        drop(sender);
        let look = || house.upstream.ended().pop();
        let (ended, _) = until("the end of the body", look).await;
        assert!(
            ended.is_err(),
            "{version:?}: it came to an end as if it were whole"
        );
        house.upstream.forget();

        let mut sender = client(&house, version).await;
        let answer = sender.send(request(&house, "GET", "/sse", empty())).await;
        let mut events = answer.into_body();
        events.frame().await.unwrap().unwrap();
        drop((events, sender));
        until("the end of the stream", || {
            (house.upstream.dropped() == 1).then_some(())
        })
        .await;
        house.upstream.forget();
    }
    house.lines(4, |line| line["outcome"] == "aborted").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_reaches_the_client() {
    let house = House::start().await;
    for version in BOTH {
        let mut sender = client(&house, version).await;
        let sending = sender.send(request(&house, "POST", "/early", unfinished()));
        let answer = tokio::time::timeout(Duration::from_secs(5), sending)
            .await
            .unwrap();
        assert_eq!(
            answer.status(),
            StatusCode::PAYLOAD_TOO_LARGE,
            "{version:?}"
        );
        let page = Page::read(answer).await;
        assert_eq!(page.text(), "the upstream's own page", "{version:?}");
    }
    house.lines(2, |line| line["status"] == 413).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_is_not_there_is_a_bad_gateway() {
    let house = House::start().await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let here = house.upstream.address.to_string();
    house.change_policy(|text| text.replace(&here, &gone.to_string()));
    let mut status = StatusCode::OK;
    for _ in 0..50 {
        let mut sender = client(&house, Version::H2).await;
        status = sender
            .page(request(&house, "GET", "/x", empty()))
            .await
            .status;
        if status != StatusCode::OK {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    house.lines(1, |line| line["status"] == 502).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_lets_answers_finish_and_takes_no_more() {
    let house = House::start().await;
    for version in BOTH {
        drop(client(&house, version).await);
    }
    let mut held = Vec::new();
    for version in BOTH {
        let mut sender = client(&house, version).await;
        let answer = sender.send(request(&house, "GET", "/held", empty())).await;
        let mut body = answer.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(&*first, b"first ");
        held.push((sender, body));
    }
    house.lifecycle.begin_drain();
    let began = std::time::Instant::now();
    while TcpStream::connect(house.https).await.is_ok() {
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "connections are still accepted"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for (sender, body) in held {
        house.upstream.release.notify_one();
        let rest = tokio::time::timeout(Duration::from_secs(5), body.collect()).await;
        assert_eq!(&*rest.unwrap().unwrap().to_bytes(), b"second");
        drop(sender);
    }
    house.lines(2, |line| line["outcome"] == "allowed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d10_a_body_that_stands_still_ends_its_exchange() {
    let clock = Arc::new(SystemClock);
    let limits = |text: String| format!("{text}\n[limits]\nidle_stream = \"1s\"\n");
    let house = House::start_as("sqlite://wayleave.db", clock, limits).await;
    for (count, version) in (1..).zip(BOTH) {
        let mut sender = client(&house, version).await;
        let began = Instant::now();
        let answer = sender
            .try_send(request(&house, "POST", "/sink", unfinished()))
            .await;
        // Broken off, or told so.
        assert!(answer.is_err() || answer.is_ok_and(|answer| !answer.status().is_success()));
        assert!(began.elapsed() < Duration::from_secs(5), "{version:?}");
        let broken = || (house.upstream.ended().len() == count).then(|| house.upstream.ended());
        let (ended, _) = until("the upstream hears of it", broken).await;
        assert!(ended.iter().all(Result::is_err), "{version:?} {ended:?}");
    }
    let lines = house.lines(2, |line| line["path"] == "/sink").await;
    for line in lines {
        assert_eq!(line["bytes_in"], "a beginning".len(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b10_however_a_body_is_framed_the_verdict_is_the_same() {
    let house = House::start().await;
    let deny = "\n  - { name: no-sinks, action: deny, from: [{ anyone: true }], to: [{ methods: [POST], paths: [/closed] }] }\n";
    house.put_in_force(|text| text + deny).await;
    for version in BOTH {
        for (path, expected) in [
            ("/closed", StatusCode::FORBIDDEN),
            ("/sink", StatusCode::OK),
        ] {
            // With a length, in pieces, and none at all.
            for body in [crate::parts::full("a body"), pieces(100_000), empty()] {
                let mut sender = client(&house, version).await;
                let page = sender.page(request(&house, "POST", path, body)).await;
                assert_eq!(page.status, expected, "{version:?} {path}");
            }
        }
    }
    assert!(
        house
            .upstream
            .seen()
            .iter()
            .all(|seen| seen.target != "/closed")
    );
}
