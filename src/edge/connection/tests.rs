use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;

use super::*;
use crate::edge::body::EdgeBody;
use crate::edge::framing::head::FramingFault;
use crate::edge::local::LocalExecutor;
use crate::edge::normalise::RequestFault;

/// Answers everything and remembers what it was asked.
#[derive(Default)]
struct Upright {
    asked: RefCell<Vec<String>>,
    refused: RefCell<Vec<RequestFault>>,
}

impl Handler for Upright {
    async fn handle(
        self: Rc<Self>,
        _connection: Rc<ConnectionInfo>,
        request: Request<Incoming>,
    ) -> Response<EdgeBody> {
        self.asked
            .borrow_mut()
            .push(request.uri().path().to_owned());
        let path = request.uri().path().to_owned();
        let _whole = request.into_body().collect().await;
        Response::new(match path.as_str() {
            "/slow" => {
                tokio::time::sleep(Duration::from_secs(100)).await;
                EdgeBody::full("slow")
            }
            "/large" => EdgeBody::full(vec![b'x'; 100 * 1024]),
            "/endless" => {
                let piece = || Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1024]));
                let pieces = futures_util::stream::repeat_with(piece);
                EdgeBody::Own(axum::body::Body::from_stream(pieces))
            }
            _ => EdgeBody::full("ok"),
        })
    }

    async fn refuse(
        self: Rc<Self>,
        _connection: Rc<ConnectionInfo>,
        fault: RequestFault,
    ) -> Response<EdgeBody> {
        self.refused.borrow_mut().push(fault);
        let mut response = Response::new(EdgeBody::full("no"));
        *response.status_mut() = fault.status();
        response
    }
}

struct House {
    address: SocketAddr,
    handler: Rc<Upright>,
    lifecycle: Lifecycle,
}

/// A plain door with these limits, on the calling thread's [`LocalSet`].
async fn open(limits: Limits) -> House {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handler = Rc::new(Upright::default());
    let lifecycle = Lifecycle::new();
    let (served, ends) = (Rc::clone(&handler), lifecycle.clone());
    tokio::task::spawn_local(async move {
        let door = Rc::new(Door {
            address,
            scheme: Scheme::Http,
            external_port: address.port(),
            certificates: None,
        });
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let (door, handler, ends) = (Rc::clone(&door), Rc::clone(&served), ends.clone());
            tokio::task::spawn_local(async move {
                let accepted = Accepted {
                    stream,
                    peer,
                    activity: Activity::new(),
                };
                let _ended = serve(accepted, &door, handler, &limits, &ends).await;
            });
        }
    });
    House {
        address,
        handler,
        lifecycle,
    }
}

fn info() -> ConnectionInfo {
    ConnectionInfo {
        peer: SocketAddr::from(([127, 0, 0, 1], 1)),
        scheme: Scheme::Https,
        external_port: 443,
        server_name: None,
        certificate: None,
        certificate_names: None,
        http2: true,
        presented: None,
    }
}

async fn http2(limits: Limits, requests: Vec<Request<Empty<Bytes>>>) -> Vec<u16> {
    let (client, server) = tokio::io::duplex(256 * 1024);
    let lifecycle = Lifecycle::new();
    tokio::task::spawn_local(async move {
        let handler = Rc::new(Upright::default());
        let client = Client::new(info(), handler, Activity::new(), &limits, &lifecycle);
        let _ended = http2::serve(client, server).await;
    });
    let io = TokioIo::new(client);
    let (mut send, connection) = hyper::client::conn::http2::handshake(LocalExecutor, io)
        .await
        .unwrap();
    tokio::task::spawn_local(connection);
    let mut statuses = Vec::new();
    for request in requests {
        let answered = send.send_request(request).await;
        statuses.push(answered.map_or(0, |response| response.status().as_u16()));
    }
    statuses
}

fn get(path: &str, headers: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    let mut request = Request::get(format!("https://app.example{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Empty::new()).unwrap()
}

#[tokio::test]
async fn d12_http2_heads_are_limited_like_http1_heads() {
    let limits = Limits::default();
    let long = "y".repeat(limits.header_value_bytes + 1);
    let many: Vec<String> = (0..=limits.header_count)
        .map(|n| format!("x-{n}"))
        .collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "y")).collect();
    let total = "y".repeat(limits.header_value_bytes);
    let requests = vec![
        get("/", &[]),
        get("/", &[("x", &long)]),
        get("/", &many),
        get("/", &[("x", &total), ("y", &total)]),
        get(&format!("/{}", "a".repeat(limits.target_bytes)), &[]),
        get("/", &[]),
    ];
    let statuses = LocalSet::new().run_until(http2(limits, requests)).await;
    assert_eq!(statuses, [200, 431, 431, 431, 414, 200]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_http2_connection_is_closed() {
    LocalSet::new()
        .run_until(async {
            let limits = Limits {
                idle_connection: Duration::from_secs(5),
                ..Limits::default()
            };
            let (client, server) = tokio::io::duplex(256 * 1024);
            let lifecycle = Lifecycle::new();
            let serving = tokio::task::spawn_local(async move {
                let client = Client::new(
                    info(),
                    Rc::new(Upright::default()),
                    Activity::new(),
                    &limits,
                    &lifecycle,
                );
                http2::serve(client, server).await
            });
            let (mut send, connection) =
                hyper::client::conn::http2::handshake(LocalExecutor, TokioIo::new(client))
                    .await
                    .unwrap();
            tokio::task::spawn_local(connection);
            let began = Instant::now();
            send.send_request(get("/", &[])).await.unwrap();
            let _ended = serving.await.unwrap();
            assert!(began.elapsed() >= Duration::from_secs(5));
            assert!(began.elapsed() < Duration::from_secs(11));
        })
        .await;
}

/// The client's side of a connection of HTTP/1 with 3 s of idleness and 30 s for a client that takes nothing, and its end.
fn http1_connection() -> (DuplexStream, JoinHandle<io::Result<()>>) {
    let (client, server) = tokio::io::duplex(1024);
    let serving = tokio::task::spawn_local(async move {
        let limits = Limits {
            idle_connection: Duration::from_secs(3),
            idle_stream: Duration::from_secs(30),
            ..Limits::default()
        };
        let lifecycle = Lifecycle::new();
        let client = Client::new(
            info(),
            Rc::new(Upright::default()),
            Activity::new(),
            &limits,
            &lifecycle,
        );
        http1::serve(client, server).await
    });
    (client, serving)
}

/// Asks for a path and gives the answer, whose body ends with `end`.
async fn ask(stream: &mut DuplexStream, path: &str, end: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    while !text.ends_with(end) {
        let byte = stream.read_u8().await.unwrap();
        text.push(char::from(byte));
    }
    text
}

#[tokio::test(start_paused = true)]
async fn an_idle_http1_connection_is_closed_also_after_a_long_answer() {
    LocalSet::new()
        .run_until(async {
            let (mut stream, serving) = http1_connection();
            let began = Instant::now();
            ask(&mut stream, "/slow", "slow").await;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            serving.await.unwrap().unwrap();
            assert_eq!(began.elapsed().as_secs(), 103);
            assert_eq!(rest, b"");
        })
        .await;
}

/// How long a connection of each version goes on whose place is wanted five seconds after its only request.
async fn dismissed(version_2: bool) -> Duration {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let activity = Activity::new();
    let seen = Rc::clone(&activity);
    let serving = tokio::task::spawn_local(async move {
        let (limits, lifecycle) = (Limits::default(), Lifecycle::new());
        let handler = Rc::new(Upright::default());
        let client = Client::new(info(), handler, activity, &limits, &lifecycle);
        if version_2 {
            http2::serve(client, server).await
        } else {
            http1::serve(client, server).await
        }
    });
    let began = Instant::now();
    let wants = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(seen.quiet_since().is_some());
        seen.dismiss();
    };
    if version_2 {
        let io = TokioIo::new(client);
        let (mut send, connection) = hyper::client::conn::http2::handshake(LocalExecutor, io)
            .await
            .unwrap();
        tokio::task::spawn_local(connection);
        send.send_request(get("/", &[])).await.unwrap();
        wants.await;
        let _ended = serving.await.unwrap();
    } else {
        let mut client = client;
        ask(&mut client, "/", "ok").await;
        wants.await;
        serving.await.unwrap().unwrap();
    }
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn d10_a_quiet_connection_leaves_when_its_place_is_wanted() {
    LocalSet::new()
        .run_until(async {
            for version_2 in [false, true] {
                let took = dismissed(version_2).await.as_secs();
                assert!((5..=7).contains(&took), "{version_2}: {took} s");
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn d10_an_answer_on_its_way_is_not_cut_when_places_are_wanted() {
    LocalSet::new()
        .run_until(async {
            let (client, server) = tokio::io::duplex(1024);
            let activity = Activity::new();
            let seen = Rc::clone(&activity);
            let serving = tokio::task::spawn_local(async move {
                let (limits, lifecycle) = (Limits::default(), Lifecycle::new());
                let handler = Rc::new(Upright::default());
                let client = Client::new(info(), handler, activity, &limits, &lifecycle);
                http1::serve(client, server).await
            });
            let mut client = client;
            let head = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n";
            client.write_all(head).await.unwrap();
            let mut got = 0;
            let mut piece = vec![0; 1024];
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if seen.quiet_since().is_some() {
                    seen.dismiss();
                }
                match client.read(&mut piece).await.unwrap() {
                    0 => break,
                    length => got += length,
                }
            }
            assert!(got > 100 * 1024, "{got}");
            serving.await.unwrap().unwrap();
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_sleeps_between_requests_and_nothing_is_lost_by_it() {
    LocalSet::new()
        .run_until(async {
            let (client, server) = tokio::io::duplex(64 * 1024);
            let handler = Rc::new(Upright::default());
            let served = Rc::clone(&handler);
            let serving = tokio::task::spawn_local(async move {
                let (limits, lifecycle) = (Limits::default(), Lifecycle::new());
                let client = Client::new(info(), served, Activity::new(), &limits, &lifecycle);
                http1::serve(client, server).await
            });
            let mut stream = client;
            for pause in [0, 6, 1, 30, 7] {
                tokio::time::sleep(Duration::from_secs(pause)).await;
                let text = ask(&mut stream, "/", "ok").await;
                assert!(text.starts_with("HTTP/1.1 200"), "{text}");
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
            stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
            tokio::time::sleep(Duration::from_secs(5)).await;
            stream
                .write_all(b"Host: a\r\nHost: b\r\n\r\n")
                .await
                .unwrap();
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.unwrap();
            assert!(rest.starts_with("HTTP/1.1 400"), "{rest}");
            assert_eq!(handler.asked.borrow().len(), 5);
            assert_eq!(*handler.refused.borrow(), [FramingFault::Host.into()]);
            serving.await.unwrap().unwrap();
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn d10_a_client_that_takes_nothing_is_cut() {
    LocalSet::new()
        .run_until(async {
            for path in ["/large", "/endless"] {
                let (mut stream, serving) = http1_connection();
                let began = Instant::now();
                let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                let ended = serving.await.unwrap();
                assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut, "{path}");
                assert!((30..=35).contains(&began.elapsed().as_secs()), "{path}");
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn d10_a_client_that_takes_slowly_gets_all() {
    LocalSet::new()
        .run_until(async {
            let (mut stream, serving) = http1_connection();
            let head = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n";
            stream.write_all(head).await.unwrap();
            let mut got = 0;
            let mut piece = vec![0; 1024];
            let began = Instant::now();
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                match stream.read(&mut piece).await.unwrap() {
                    0 => break,
                    length => got += length,
                }
            }
            assert!(got > 100 * 1024);
            assert!(began.elapsed().as_secs() > 100);
            serving.await.unwrap().unwrap();
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn d10_a_stream_of_http2_that_nobody_takes_ends_its_connection() {
    LocalSet::new()
        .run_until(async {
            let (client, server) = tokio::io::duplex(256 * 1024);
            let serving = tokio::task::spawn_local(async move {
                let (limits, lifecycle) = (Limits::default(), Lifecycle::new());
                let client = Client::new(
                    info(),
                    Rc::new(Upright::default()),
                    Activity::new(),
                    &limits,
                    &lifecycle,
                );
                http2::serve(client, server).await
            });
            let io = TokioIo::new(client);
            let (mut send, connection) = hyper::client::conn::http2::handshake(LocalExecutor, io)
                .await
                .unwrap();
            tokio::task::spawn_local(connection);
            let began = Instant::now();
            let untouched = send.send_request(get("/endless", &[])).await.unwrap();
            let ended = serving.await.unwrap();
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert!((300..=360).contains(&began.elapsed().as_secs()));
            drop(untouched);
        })
        .await;
}

/// Everything that comes back until the connection ends.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn d1_a_faulty_head_is_answered_once_and_ends_the_connection() {
    LocalSet::new()
        .run_until(async {
            let house = open(Limits::default()).await;
            let text = exchange(
                house.address,
                b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\n\r\n",
            )
            .await;
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
            assert_eq!(text.matches("HTTP/1.1 400").count(), 1, "{text}");
            assert_eq!(text.matches("HTTP/1.1").count(), 2, "{text}");
            assert_eq!(*house.handler.asked.borrow(), ["/a"]);
            assert_eq!(
                *house.handler.refused.borrow(),
                [FramingFault::LengthAndChunked.into()]
            );
        })
        .await;
}

#[tokio::test]
async fn d2_nothing_behind_an_upgrade_that_was_not_agreed_becomes_a_request() {
    LocalSet::new()
        .run_until(async {
            let house = open(Limits::default()).await;
            let text = exchange(
                house.address,
                b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n",
            )
            .await;
            assert_eq!(text.matches("HTTP/1.1").count(), 1, "{text}");
            assert_eq!(*house.handler.asked.borrow(), ["/ws"]);
        })
        .await;
}

#[tokio::test]
async fn a_draining_connection_ends_between_requests() {
    LocalSet::new()
        .run_until(async {
            let house = open(Limits::default()).await;
            let mut stream = TcpStream::connect(house.address).await.unwrap();
            stream
                .write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            let mut first = [0; 12];
            stream.read_exact(&mut first).await.unwrap();
            house.lifecycle.begin_drain();
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.unwrap();
            assert!(rest.ends_with("ok"), "{rest}");
        })
        .await;
}

/// What each open connection costs in memory besides its buffers. Grows unseen when a future keeps something large across an await.
#[tokio::test]
async fn connection_futures_stay_small() {
    LocalSet::new()
        .run_until(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let _client = TcpStream::connect(address).await.unwrap();
            let (stream, peer) = listener.accept().await.unwrap();
            let door = Door {
                address,
                scheme: Scheme::Http,
                external_port: 80,
                certificates: None,
            };
            let (limits, lifecycle) = (Limits::default(), Lifecycle::new());
            let accepted = Accepted {
                stream,
                peer,
                activity: Activity::new(),
            };
            let handler = Rc::new(Upright::default());
            let serving = serve(accepted, &door, handler, &limits, &lifecycle);
            let size = std::mem::size_of_val(&serving);
            assert!(size <= 4096, "{size} bytes");
        })
        .await;
}
