use std::cell::RefCell;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::*;
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
        let _whole = request.into_body().collect().await;
        Response::new(EdgeBody::full("ok"))
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
            let (stream, _) = listener.accept().await.unwrap();
            let (door, handler, ends) = (Rc::clone(&door), Rc::clone(&served), ends.clone());
            tokio::task::spawn_local(async move {
                let _ended = serve(stream, &door, handler, &limits, &ends).await;
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
    }
}

async fn http2(limits: Limits, requests: Vec<Request<Empty<Bytes>>>) -> Vec<u16> {
    let (client, server) = tokio::io::duplex(256 * 1024);
    let lifecycle = Lifecycle::new();
    tokio::task::spawn_local(async move {
        let handler = Rc::new(Upright::default());
        let client = Client::new(info(), handler, &limits, &lifecycle);
        let _ended = client.http2(server).await;
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
                let client = Client::new(info(), Rc::new(Upright::default()), &limits, &lifecycle);
                client.http2(server).await
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

/// Everything that comes back until the connection ends.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    use tokio::io::AsyncWriteExt;
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
            {
                use tokio::io::AsyncWriteExt;
                stream
                    .write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
                    .await
                    .unwrap();
            }
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
            let (stream, _) = listener.accept().await.unwrap();
            let door = Door {
                address,
                scheme: Scheme::Http,
                external_port: 80,
                certificates: None,
            };
            let (limits, lifecycle) = (Limits::default(), Lifecycle::new());
            let serving = serve(
                stream,
                &door,
                Rc::new(Upright::default()),
                &limits,
                &lifecycle,
            );
            let size = std::mem::size_of_val(&serving);
            assert!(size <= 4096, "{size} bytes");
        })
        .await;
}
