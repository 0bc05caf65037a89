//! An application in the mesh: accepts nothing but mTLS, remembers every request's head, and answers in many ways by path.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use wayleave::demo::authority::Authority;
use wayleave::demo::workload::server_config;

use super::{Body, beside, empty, full};

/// The workload's own identity.
pub(crate) const SPIFFE_ID: &str = "spiffe://demo.wayleave/ns/apps/sa/app";

/// A request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) peer: String,
    pub(crate) certificate: Vec<u8>,
}

#[derive(Default)]
struct Records {
    seen: Vec<Seen>,
    /// Bodies read to the end, and those that broke off.
    ended: Vec<Result<usize, usize>>,
    /// Streams that were let go of.
    dropped: usize,
}

/// The application, and what it remembers.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    records: Arc<Mutex<Records>>,
    /// Lets `/held` go on.
    pub(crate) release: Arc<tokio::sync::Notify>,
}

impl Upstream {
    pub(crate) async fn start(authority: &Authority) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issued = authority.workload(SPIFFE_ID).unwrap();
        let config = server_config(&issued, &authority.mesh_bundle()).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let this = Self {
            address: listener.local_addr().unwrap(),
            records: Arc::default(),
            release: Arc::default(),
        };
        let upstream = this.clone();
        beside(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                beside(upstream.clone().connection(stream, acceptor.clone()));
            }
        });
        this
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.records.lock().unwrap().seen.clone()
    }

    /// The one request that came.
    #[track_caller]
    pub(crate) fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.into_iter().next().unwrap()
    }

    /// Forgets everything.
    pub(crate) fn forget(&self) {
        *self.records.lock().unwrap() = Records::default();
    }

    /// Bodies that were read by `/sink`: how much, and whether to the end.
    pub(crate) fn ended(&self) -> Vec<Result<usize, usize>> {
        self.records.lock().unwrap().ended.clone()
    }

    /// How many streams the edge let go of.
    pub(crate) fn dropped(&self) -> usize {
        self.records.lock().unwrap().dropped
    }

    async fn connection(self, stream: TcpStream, acceptor: TlsAcceptor) {
        let Ok(stream) = acceptor.accept(stream).await else {
            return;
        };
        let tls = stream.get_ref().1;
        let certificate = tls.peer_certificates().unwrap()[0].to_vec();
        let is_http2 = tls.alpn_protocol() == Some(b"h2");
        let service = service_fn(move |request| {
            let (this, certificate) = (self.clone(), certificate.clone());
            async move { Ok::<_, Infallible>(this.answer(request, certificate).await) }
        });
        let io = TokioIo::new(stream);
        if is_http2 {
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ended = server.serve_connection(io, service).await;
        } else {
            let server = hyper::server::conn::http1::Builder::new();
            let _ended = server.serve_connection(io, service).with_upgrades().await;
        }
    }

    async fn answer(&self, request: Request<Incoming>, certificate: Vec<u8>) -> Response<Body> {
        let target = request.uri().path_and_query();
        self.records.lock().unwrap().seen.push(Seen {
            method: request.method().to_string(),
            target: target.map_or_else(String::new, ToString::to_string),
            headers: headers_with_host(&request),
            peer: spiffe_id(&certificate),
            certificate,
        });
        match request.uri().path() {
            "/echo" => Response::new(request.into_body().map_err(broken).boxed()),
            "/sink" => self.sink(request.into_body()).await,
            "/big" => Response::new(big(request.uri().query())),
            "/sse" => self.events(),
            "/ws" => self.socket(request),
            "/held" => self.held(),
            "/waits" => {
                self.release.notified().await;
                Response::new(full("at last"))
            }
            "/early" => status(StatusCode::PAYLOAD_TOO_LARGE),
            "/error" => status(StatusCode::INTERNAL_SERVER_ERROR),
            "/cookies" => cookies(),
            "/grpc.Test/Call" => grpc(),
            "/grpc.Test/Chat" => self.chat(request.into_body()),
            _ => Response::new(full("hello")),
        }
    }

    async fn sink(&self, mut body: Incoming) -> Response<Body> {
        let (mut read, mut whole) = (0, true);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => read += frame.data_ref().map_or(0, Bytes::len),
                Err(_) => {
                    whole = false;
                    break;
                }
            }
        }
        let ended = if whole { Ok(read) } else { Err(read) };
        self.records.lock().unwrap().ended.push(ended);
        Response::new(full(read.to_string()))
    }

    fn events(&self) -> Response<Body> {
        let guard = Dropped(self.records.clone());
        let events = futures_util::stream::unfold(guard, |guard| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let event = Frame::data(Bytes::from_static(b"data: tick\n\n"));
            Some((Ok(event), guard))
        });
        let mut response = Response::new(BodyExt::boxed(StreamBody::new(events)));
        let kind = HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }

    /// Says everything back as it comes, then the status in trailers.
    fn chat(&self, body: Incoming) -> Response<Body> {
        let guard = Dropped(self.records.clone());
        let said = futures_util::stream::unfold(Some((body, guard)), |open| async move {
            let (mut body, guard) = open?;
            match body.frame().await {
                Some(Ok(frame)) => Some((Ok(frame), Some((body, guard)))),
                Some(Err(error)) => Some((Err(broken(error)), None)),
                None => Some((Ok(Frame::trailers(grpc_trailers())), None)),
            }
        });
        Response::builder()
            .header("content-type", "application/grpc")
            .body(BodyExt::boxed(StreamBody::new(said)))
            .unwrap()
    }

    /// One half of an answer; the other half when released.
    fn held(&self) -> Response<Body> {
        let release = self.release.clone();
        let halves = futures_util::stream::unfold(0, move |half| {
            let release = release.clone();
            async move {
                match half {
                    0 => Some((Ok(Frame::data(Bytes::from_static(b"first "))), 1)),
                    1 => {
                        release.notified().await;
                        Some((Ok(Frame::data(Bytes::from_static(b"second"))), 2))
                    }
                    _ => None,
                }
            }
        });
        Response::new(BodyExt::boxed(StreamBody::new(halves)))
    }

    fn socket(&self, mut request: Request<Incoming>) -> Response<Body> {
        let guard = Dropped(self.records.clone());
        let Some(key) = request.headers().get("sec-websocket-key") else {
            return status(StatusCode::BAD_REQUEST);
        };
        let accept = derive_accept_key(key.as_bytes());
        let upgrade = hyper::upgrade::on(&mut request);
        beside(async move {
            let _guard = guard;
            let Ok(upgraded) = upgrade.await else { return };
            let io = TokioIo::new(upgraded);
            let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if !message.is_close() && socket.send(message).await.is_err() {
                    break;
                }
            }
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", accept)
            .body(empty())
            .unwrap()
    }
}

/// Counts when it goes.
struct Dropped(Arc<Mutex<Records>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Ok(mut records) = self.0.lock() {
            records.dropped += 1;
        }
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full("the upstream's own page"));
    *response.status_mut() = status;
    response
}

/// As many bytes as the query says, piece by piece.
fn big(query: Option<&str>) -> Body {
    let total: usize = query.and_then(|query| query.parse().ok()).unwrap_or(0);
    let pieces = futures_util::stream::unfold(total, |left| async move {
        let piece = left.min(64 * 1024);
        (piece > 0).then(|| (Ok(Frame::data(vec![b'x'; piece].into())), left - piece))
    });
    BodyExt::boxed(StreamBody::new(pieces))
}

/// Tries to replace the edge's cookies, and to speak for it.
fn cookies() -> Response<Body> {
    Response::builder()
        .header("set-cookie", "own=1; Path=/")
        .header("set-cookie", "wayleave=planted; Path=/")
        .header("set-cookie", "__Host-wayleave=planted; Path=/; Secure")
        .header("wayleave-forged", "1")
        .header("alt-svc", "h3=\":443\"")
        .body(full("cookies"))
        .unwrap()
}

/// A good end, and a name that is not the upstream's to give.
fn grpc_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("x-forwarded-user", HeaderValue::from_static("mallory"));
    trailers
}

/// A unary answer with its status in trailers.
fn grpc() -> Response<Body> {
    let frames = [
        Ok(Frame::data(Bytes::from_static(b"\0\0\0\0\0"))),
        Ok(Frame::trailers(grpc_trailers())),
    ];
    Response::builder()
        .header("content-type", "application/grpc")
        .header("trailer", "grpc-status")
        .body(BodyExt::boxed(StreamBody::new(futures_util::stream::iter(
            frames,
        ))))
        .unwrap()
}

fn broken(error: hyper::Error) -> std::io::Error {
    std::io::Error::other(error)
}

fn spiffe_id(certificate: &[u8]) -> String {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    match names.value.general_names.as_slice() {
        [GeneralName::URI(uri)] => (*uri).to_owned(),
        other => format!("{other:?}"),
    }
}

/// The headers, with `:authority` under the name that it has in HTTP/1.
fn headers_with_host(request: &Request<Incoming>) -> HeaderMap {
    let mut headers = request.headers().clone();
    if let Some(authority) = request.uri().authority() {
        headers.insert(header::HOST, authority.as_str().parse().unwrap());
    }
    headers
}
