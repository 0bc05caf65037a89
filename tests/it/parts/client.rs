//! Clients: one connection at a time, of either version, with or without TLS; and raw bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Body, beside};

/// The versions a connection can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    H1,
    H2,
}

/// A connection.
pub(crate) enum Sender {
    H1(hyper::client::conn::http1::SendRequest<Body>),
    H2(hyper::client::conn::http2::SendRequest<Body>),
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Page {
    pub(crate) async fn read(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap();
        Self {
            status: head.status,
            headers: head.headers,
            trailers: body.trailers().cloned(),
            body: body.to_bytes(),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Refused, and nobody is signed in by it.
    pub(crate) fn expect_refused(&self) {
        assert_eq!(self.status, StatusCode::BAD_REQUEST, "{self:?}");
        for cookie in self.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            assert!(!cookie.starts_with("wayleave="), "{cookie}");
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

impl Sender {
    /// Without TLS.
    pub(crate) async fn plain(address: SocketAddr, version: Version) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap(), version).await
    }

    /// With TLS, to a host by name.
    pub(crate) async fn tls(address: SocketAddr, root: &str, host: &str, version: Version) -> Self {
        Self::over(tls(address, root, host, version).await, version).await
    }

    async fn over(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        version: Version,
    ) -> Self {
        let io = TokioIo::new(io);
        match version {
            Version::H1 => {
                let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
                beside(async move { drop(connection.with_upgrades().await) });
                Self::H1(sender)
            }
            Version::H2 => {
                let executor = TokioExecutor::new();
                let shaken = hyper::client::conn::http2::handshake(executor, io).await;
                let (sender, connection) = shaken.unwrap();
                beside(async move { drop(connection.await) });
                Self::H2(sender)
            }
        }
    }

    /// Sends; the URI is absolute, and in HTTP/1.1 becomes path and `Host`.
    pub(crate) async fn try_send(
        &mut self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        match self {
            Self::H1(sender) => {
                let uri = request.uri().clone();
                if let Some(authority) = uri.authority() {
                    if !request.headers().contains_key("host") {
                        let host = authority.as_str().parse().unwrap();
                        request.headers_mut().insert("host", host);
                    }
                    *request.uri_mut() = uri.path_and_query().unwrap().as_str().parse().unwrap();
                }
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::H2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    pub(crate) async fn send(&mut self, request: Request<Body>) -> Response<Incoming> {
        self.try_send(request).await.unwrap()
    }

    pub(crate) async fn page(&mut self, request: Request<Body>) -> Page {
        Page::read(self.send(request).await).await
    }
}

/// A connection with TLS to a host by name, on which nothing was said yet.
pub(crate) async fn tls(
    address: SocketAddr,
    root: &str,
    host: &str,
    version: Version,
) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(address).await.unwrap();
    let connector = TlsConnector::from(Arc::new(trusting(root, version)));
    let name = ServerName::try_from(host.to_owned()).unwrap();
    connector.connect(name, tcp).await.unwrap()
}

/// Writes these very bytes and reads until the other side ends the connection, or says nothing for a while.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ended = tokio::time::timeout(Duration::from_secs(5), read).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn trusting(root: &str, version: Version) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = match version {
        Version::H1 => vec![b"http/1.1".to_vec()],
        Version::H2 => vec![b"h2".to_vec()],
    };
    config
}
