//! What is open for long: cut when it is no longer allowed, left alone when it still is.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::parts::browser::{Browser, navigation};
use crate::parts::client::{Version, raw};
use crate::parts::house::House;
use crate::parts::{Body, empty, full, until};

/// How long what is no longer allowed may go on.
const CUT_WITHIN: Duration = Duration::from_secs(2);

type Socket = WebSocketStream<TcpStream>;

/// A stream and a socket of one person, both seen to be open.
struct Open {
    events: Incoming,
    socket: Socket,
}

async fn websocket(
    house: &House,
    browser: &Browser,
    origin: Option<&str>,
) -> Result<Socket, tokio_tungstenite::tungstenite::Error> {
    let url = house.url("app", "/ws").replacen("http", "ws", 1);
    let mut request = url.into_client_request().unwrap();
    let cookies = browser.cookies("app.localhost");
    let headers = request.headers_mut();
    headers.insert("cookie", cookies.parse().unwrap());
    if let Some(origin) = origin {
        headers.insert("origin", origin.parse().unwrap());
    }
    let tcp = TcpStream::connect(house.http).await.unwrap();
    let (socket, _) = tokio_tungstenite::client_async(request, tcp).await?;
    Ok(socket)
}

/// A stream of events of which the first has come.
pub(crate) async fn events(house: &House, browser: &Browser, host: &str) -> Incoming {
    let request = Request::get(house.url(host, "/sse"))
        .header("cookie", browser.cookies(&format!("{host}.localhost")))
        .body(empty())
        .unwrap();
    let response = house.connect(Version::H1).await.send(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut events = response.into_body();
    events.frame().await.unwrap().unwrap();
    events
}

/// The stream ends in time, and not as if it were whole.
pub(crate) async fn expect_cut(mut stream: Incoming) {
    let cut = async {
        while let Some(frame) = stream.frame().await {
            if frame.is_err() {
                return;
            }
        }
        panic!("the stream ended as if it were whole");
    };
    tokio::time::timeout(CUT_WITHIN, cut)
        .await
        .expect("the stream goes on");
}

async fn echoes(socket: &mut Socket) {
    socket.send(Message::text("ping")).await.unwrap();
    let answer = socket.next().await.unwrap().unwrap();
    assert_eq!(answer.into_text().unwrap(), "ping");
}

impl Open {
    async fn of(house: &House, browser: &Browser) -> Self {
        let events = events(house, browser, "app").await;
        let origin = house.url("app", "");
        let mut socket = websocket(house, browser, Some(&origin)).await.unwrap();
        echoes(&mut socket).await;
        Self { events, socket }
    }

    /// Both end within the time, and not as if they were whole.
    async fn expect_cut(mut self, house: &House) {
        expect_cut(self.events).await;
        let socket = tokio::time::timeout(CUT_WITHIN, self.socket.next()).await;
        let ended = socket.expect("the socket goes on");
        assert!(!matches!(ended, Some(Ok(Message::Text(_)))), "{ended:?}");
        until("the upstream hears of it", || {
            (house.upstream.dropped() == 2).then_some(())
        })
        .await;
        let cut = house.lines(2, |line| line["outcome"] == "cut").await;
        assert!(cut.iter().all(|line| line["route"] == "app"), "{cut:?}");
    }

    /// Both still work after a time in which they would have been cut.
    async fn goes_on(&mut self) {
        let watched = async {
            while let Some(frame) = self.events.frame().await {
                frame.unwrap();
            }
            panic!("the stream ended");
        };
        let ended = tokio::time::timeout(CUT_WITHIN + Duration::from_secs(1), watched).await;
        assert!(ended.is_err());
        echoes(&mut self.socket).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_sign_out_cuts_what_is_open() {
    let house = House::start().await;
    let mut browser = house.signed_in("alice").await;
    let open = Open::of(&house, &browser).await;
    let home = house.url("access", "");
    browser.sign_out(&home).await;
    open.expect_cut(&house).await;
    let page = browser
        .fetch(Request::get(house.url("app", "/")).body(empty()).unwrap())
        .await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_another_persons_sign_out_cuts_nothing_of_mine() {
    let house = House::start().await;
    let browser = house.signed_in("alice").await;
    let mut other = house.signed_in("bob").await;
    let mut open = Open::of(&house, &browser).await;
    other.sign_out(&house.url("access", "")).await;
    open.goes_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_a_policy_that_denies_cuts_what_is_open() {
    let house = House::start().await;
    let browser = house.signed_in("alice").await;
    let open = Open::of(&house, &browser).await;
    house.change_policy(|text| text.replacen("groups: [staff]", "groups: [nobody]", 1));
    open.expect_cut(&house).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_a_policy_change_that_does_not_concern_it_cuts_nothing() {
    let house = House::start().await;
    let browser = house.signed_in("alice").await;
    let mut open = Open::of(&house, &browser).await;
    house.change_policy(|text| text.replace("name: readers", "name: others"));
    open.goes_on().await;
    house.change_policy(|text| format!("{text}nonsense"));
    open.goes_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_logout_by_the_provider_cuts_what_is_open() {
    let house = House::start().await;
    let mut browser = house.browser();
    let arrived = browser.go_by(&house.url("partner", "/"), "partner").await;
    assert_eq!(arrived.page.text(), "hello", "{}", arrived.url);
    let mut events = events(&house, &browser, "partner").await;
    let form = format!("logout_token={}", house.issuer.logout_token());
    let logout = Request::post(house.url("access", "/.wayleave/backchannel-logout/partner"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(full(form))
        .unwrap();
    let answer = house.send(logout).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let cut = async { while events.frame().await.is_some_and(|frame| frame.is_ok()) {} };
    tokio::time::timeout(CUT_WITHIN, cut).await.unwrap();
    let cut = house.lines(1, |line| line["outcome"] == "cut").await;
    assert_eq!(cut[0]["reason"], "session_ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_a_token_that_expires_cuts_what_it_opened() {
    let house = House::start().await;
    let token = house.issuer.token(|claims| {
        claims["exp"] = (claims["iat"].as_i64().unwrap() - 27).into();
    });
    let request = Request::get(house.url("app", "/sse"))
        .header("authorization", format!("Bearer {token}"))
        .body(empty())
        .unwrap();
    let response = house.connect(Version::H1).await.send(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut events = response.into_body();
    let cut = async {
        while let Some(frame) = events.frame().await {
            if frame.is_err() {
                return;
            }
        }
        panic!("the stream ended as if it were whole");
    };
    tokio::time::timeout(Duration::from_secs(6), cut)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d9_a_foreign_page_opens_no_socket() {
    let house = House::start().await;
    let browser = house.signed_in("alice").await;
    for origin in [
        None,
        Some("http://evil.example"),
        Some("null"),
        Some("http://app.localhost"),
    ] {
        let refused = websocket(&house, &browser, origin).await.unwrap_err();
        let tokio_tungstenite::tungstenite::Error::Http(answer) = refused else {
            panic!("{origin:?}: {refused}");
        };
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{origin:?}");
    }
    assert!(house.upstream.seen().is_empty());
    house
        .lines(4, |line| line["reason"] == "foreign_page")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d9_a_page_that_is_no_longer_listed_loses_its_socket() {
    let house = House::start().await;
    let browser = house.signed_in("alice").await;
    let listed =
        "    identity_headers: remote\n    websocket_origins: [\"https://portal.example\"]\n";
    let list = |text: String| text.replacen("    identity_headers: remote\n", listed, 1);
    house.put_in_force(list).await;
    let own = house.url("app", "");
    let mut sockets = Vec::new();
    for origin in [own.as_str(), "https://portal.example"] {
        let mut socket = websocket(&house, &browser, Some(origin)).await.unwrap();
        echoes(&mut socket).await;
        sockets.push(socket);
    }
    let (mut portals, mut own) = (sockets.pop().unwrap(), sockets.pop().unwrap());
    house
        .put_in_force(|text| text.replacen("portal.example", "other.example", 1))
        .await;
    let ended = tokio::time::timeout(CUT_WITHIN, portals.next()).await;
    let ended = ended.expect("the socket goes on");
    assert!(!matches!(ended, Some(Ok(Message::Text(_)))), "{ended:?}");
    let cut = house.lines(1, |line| line["outcome"] == "cut").await;
    assert_eq!(cut[0]["reason"], "no_longer_allowed");
    echoes(&mut own).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d8_trailers_are_no_headers_in_disguise() {
    let house = House::start().await;
    let token = house.issuer.token(|_| ());
    let call = Request::post(house.secure_url("app", "/grpc.Test/Call"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {token}"))
        .body(empty())
        .unwrap();
    let page = house.connect_tls("app", Version::H2).await.page(call).await;
    let trailers = page.trailers.as_ref().unwrap();
    assert_eq!(trailers["grpc-status"], "0", "{page:?}");
    assert!(!trailers.contains_key("x-forwarded-user"), "{page:?}");
    let head = format!(
        "POST /sink HTTP/1.1\r\nHost: app.localhost:{}\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\
         Trailer: x-forwarded-user\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\nX-Forwarded-User: mallory\r\n\r\n",
        house.http.port()
    );
    let answer = raw(house.http, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(house.upstream.ended(), [Ok(3)]);
    let seen = house.upstream.seen();
    assert!(
        seen.iter()
            .all(|seen| !format!("{:?}", seen.headers).contains("mallory"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_page_when_the_session_ends_asks_again() {
    let house = House::start().await;
    let mut alice = house.signed_in("alice").await;
    let url = house.url("app", "/waits?a=%20b");
    let cookies = alice.cookies("app.localhost");
    let ask = async |mut request: Request<Body>| {
        let value = cookies.parse().unwrap();
        request.headers_mut().insert("cookie", value);
        house.send(request).await
    };
    let ends = async {
        let both_wait = || (house.upstream.seen().len() == 2).then_some(());
        until("both wait", both_wait).await;
        alice.sign_out(&house.url("access", "")).await;
    };
    let program = Request::get(&url).body(empty()).unwrap();
    let (page, told, _) = tokio::join!(ask(navigation("GET", &url, empty())), ask(program), ends);
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{page:?}");
    assert_eq!(page.header("location"), "/waits?a=%20b");
    assert_eq!(told.status, StatusCode::UNAUTHORIZED, "{told:?}");
}
