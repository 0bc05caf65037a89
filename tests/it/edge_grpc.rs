//! gRPC and events over HTTP/2: both directions at once, trailers, and the cut when the session ends.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::mpsc;

use crate::parts::browser::Browser;
use crate::parts::client::{Sender, Version};
use crate::parts::house::House;
use crate::parts::{Body, empty, until};

/// How long what is no longer allowed may go on.
const CUT_WITHIN: Duration = Duration::from_secs(2);

/// A call that sends messages one by one and reads what comes back.
struct Call {
    says: mpsc::UnboundedSender<Bytes>,
    hears: Incoming,
}

/// A length-prefixed message (gRPC over HTTP/2, `Length-Prefixed-Message`).
fn message(text: &str) -> Bytes {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[0], &length[..], text.as_bytes()].concat().into()
}

fn call_of(house: &House, cookies: &str, body: Body) -> Request<Body> {
    Request::post(house.secure_url("app", "/grpc.Test/Chat"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("cookie", cookies)
        .body(body)
        .unwrap()
}

impl Call {
    async fn begin(house: &House, browser: &Browser, sender: &mut Sender) -> Self {
        let (says, mut said) = mpsc::unbounded_channel::<Bytes>();
        let messages = futures_util::stream::poll_fn(move |context| {
            let message = said.poll_recv(context);
            message.map(|message| message.map(|bytes| Ok(Frame::data(bytes))))
        });
        let cookies = browser.cookies("app.localhost");
        let request = call_of(house, &cookies, BodyExt::boxed(StreamBody::new(messages)));
        let response = sender.send(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        Self {
            says,
            hears: response.into_body(),
        }
    }

    /// Says something, and hears it back before anything else is said.
    async fn echoes(&mut self, text: &str) {
        self.says.send(message(text)).unwrap();
        let frame = self.hears.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), message(text));
    }

    /// Says no more, and hears the end.
    async fn end(mut self) -> HeaderMap {
        drop(self.says);
        let frame = self.hears.frame().await.unwrap().unwrap();
        frame.into_trailers().unwrap()
    }
}

async fn alice(house: &House) -> Browser {
    let mut browser = house.browser();
    let arrived = browser
        .sign_in(&house.secure_url("app", "/"), "alice")
        .await;
    assert_eq!(arrived.page.text(), "hello", "{}", arrived.url);
    house.upstream.forget();
    browser
}

/// Reads until the stream breaks; a whole end is none.
async fn expect_cut(what: &str, mut stream: Incoming) {
    let cut = async {
        while let Some(frame) = stream.frame().await {
            if frame.is_err() {
                return;
            }
        }
        panic!("{what} ended as if it were whole");
    };
    let cut = tokio::time::timeout(CUT_WITHIN, cut).await;
    cut.unwrap_or_else(|_| panic!("{what} goes on"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_goes_both_ways_at_once_and_ends_with_its_trailers() {
    let house = House::start().await;
    let browser = alice(&house).await;
    let mut sender = house.connect_tls("app", Version::H2).await;
    let mut first = Call::begin(&house, &browser, &mut sender).await;
    let mut second = Call::begin(&house, &browser, &mut sender).await;
    for turn in ["a", "b", "c"] {
        first.echoes(turn).await;
        second.echoes(turn).await;
    }
    for call in [first, second] {
        let trailers = call.end().await;
        assert_eq!(trailers["grpc-status"], "0", "{trailers:?}");
        assert!(!trailers.contains_key("x-forwarded-user"), "{trailers:?}");
    }
    let lines = house
        .lines(2, |line| line["path"] == "/grpc.Test/Chat")
        .await;
    assert!(
        lines.iter().all(|line| line["outcome"] == "allowed"),
        "{lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_sign_out_cuts_streams_of_http2_and_leaves_the_connection() {
    let house = House::start().await;
    let mut browser = alice(&house).await;
    let mut sender = house.connect_tls("app", Version::H2).await;
    let mut call = Call::begin(&house, &browser, &mut sender).await;
    call.echoes("ping").await;
    let events = Request::get(house.secure_url("app", "/sse"))
        .header("cookie", browser.cookies("app.localhost"))
        .body(empty())
        .unwrap();
    let mut events = sender.send(events).await.into_body();
    events.frame().await.unwrap().unwrap();

    browser.sign_out(&house.secure_url("access", "")).await;
    tokio::join!(
        expect_cut("the call", call.hears),
        expect_cut("the events", events)
    );
    until("the upstream hears of it", || {
        (house.upstream.dropped() == 2).then_some(())
    })
    .await;
    let cut = house.lines(2, |line| line["outcome"] == "cut").await;
    assert!(cut.iter().all(|line| line["route"] == "app"), "{cut:?}");

    // The connection is no authorisation, and no hostage either.
    let late = call_of(&house, &browser.cookies("app.localhost"), empty());
    let page = sender.page(late).await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.header("grpc-status"), "16", "{page:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_denied_is_told_in_grpcs_own_terms() {
    let house = House::start().await;
    let browser = alice(&house).await;
    let mut sender = house.connect_tls("app", Version::H2).await;
    let denied = Request::post(house.secure_url("app", "/admin/x"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("cookie", browser.cookies("app.localhost"))
        .body(empty())
        .unwrap();
    let page = sender.page(denied).await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.header("grpc-status"), "7", "{page:?}");
    assert!(page.body.is_empty());
    assert!(house.upstream.seen().is_empty());
}
