//! A mesh of two: an edge that signs SVIDs, and a workload that tells who is calling and over which connection.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::HandshakeKind;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::address::host::Host;
use crate::clock::{Clock, ManualClock, SharedClock, SystemClock};
use crate::config::checked::{Limits, MeshConfig};
use crate::demo::authority::Authority;
use crate::demo::workload::server_config;
use crate::edge::body::EdgeBody;
use crate::edge::local::LocalExecutor;
use crate::edge::upstream::metrics::UpstreamMetrics;
use crate::edge::upstream::pools::Pools;
use crate::edge::upstream::{SendError, Sent};
use crate::identity::spiffe_id::{MeshIdentity, SpiffeId};
use crate::mesh::svid::Svid;
use crate::mesh::svids::Svids;
use crate::mesh::svids::tests::{mesh_config, write_mesh};
use crate::policy::compile::CompiledRoute;
use crate::policy::model::{
    IdentityHeaders, Route, RouteTimeouts, Transport, Upstream, UpstreamAddress, UpstreamProtocol,
};
use crate::secret::sha256;
use crate::telemetry::metrics::Metrics;

pub(super) const WORKLOAD: &str = "spiffe://demo.wayleave/ns/apps/sa/web";
/// Streams that the workload accepts on a connection.
pub(super) const STREAMS: u32 = 8;
/// Short, so that its half is reached while the workload's clock still takes the next one.
const LIFETIME: Duration = Duration::from_secs(60);

pub(super) struct Stage {
    pub(super) authority: Authority,
    pub(super) clock: Arc<ManualClock>,
    pub(super) svids: Arc<Svids>,
    pub(super) metrics: Metrics,
    pub(super) config: MeshConfig,
    upstream_metrics: UpstreamMetrics,
    folder: TempDir,
}

/// What the workload says of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) spiffe_id: String,
    pub(super) thumbprint: String,
    pub(super) connection: usize,
    pub(super) authority: String,
}

impl Stage {
    pub(super) fn new() -> Self {
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let authority = Authority::new(clock.now()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = mesh_config(folder.path(), LIFETIME);
        write_mesh(
            folder.path(),
            &authority,
            &authority.edge_authority().unwrap(),
        );
        let metrics = Metrics::default();
        let svids = Svids::new(&config, clock.clone(), &metrics).unwrap();
        Self {
            authority,
            clock,
            svids: Arc::new(svids),
            upstream_metrics: UpstreamMetrics::new(&metrics),
            metrics,
            config,
            folder,
        }
    }

    /// Replaces the edge's intermediate, as an operator would.
    pub(super) fn renew_authority(&self) {
        let edge = self.authority.edge_authority().unwrap();
        write_mesh(self.folder.path(), &self.authority, &edge);
        self.svids.reload(&self.config, self.clock.now()).unwrap();
    }

    pub(super) fn pools(&self, limits: &Limits) -> Pools<EdgeBody> {
        let clock: SharedClock = self.clock.clone();
        Pools::new(
            Arc::clone(&self.svids),
            limits,
            clock,
            self.upstream_metrics.clone(),
        )
    }

    pub(super) async fn workload(&self) -> Workload {
        Workload::start(&self.authority, &self.authority.mesh_bundle()).await
    }

    pub(super) fn counted(&self, metric: &str) -> u64 {
        let text = self.metrics.encode();
        let lines = text.lines().filter(|line| line.starts_with(metric));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    }
}

/// A stage with everything that a test of one route needs. The workload serves for as long as it is held.
pub(super) async fn scene(
    protocol: UpstreamProtocol,
) -> (Stage, Workload, Pools<EdgeBody>, Arc<CompiledRoute>) {
    let stage = Stage::new();
    let workload = stage.workload().await;
    let pools = stage.pools(&Limits::default());
    let route = route(&[workload.port], protocol, WORKLOAD);
    (stage, workload, pools, route)
}

pub(super) fn person(name: &str) -> MeshIdentity {
    MeshIdentity::parse(&format!("spiffe://demo.wayleave/ns/people/sa/{name}")).unwrap()
}

pub(super) fn route(
    ports: &[u16],
    protocol: UpstreamProtocol,
    expected: &str,
) -> Arc<CompiledRoute> {
    let addresses = ports.iter().map(|port| UpstreamAddress {
        host: "127.0.0.1".to_owned(),
        port: *port,
        weight: 1,
    });
    let route = Route {
        name: "web".into(),
        host: Host::parse("web.example.com").unwrap(),
        prefix: "/".to_owned(),
        strip_prefix: false,
        upstream: Upstream {
            addresses: addresses.collect(),
            transport: Transport::Mtls {
                spiffe_ids: vec![SpiffeId::parse(expected).unwrap()],
            },
            protocol,
        },
        providers: None,
        identity_headers: IdentityHeaders::Assertion,
        websocket_origins: Vec::new(),
        upstream_host: None,
        timeouts: RouteTimeouts::default(),
        allow_path_parameters: false,
        kubernetes: None,
    };
    Arc::new(CompiledRoute {
        route,
        index: 0,
        svid: None,
    })
}

pub(super) fn request(path: &str, body: EdgeBody) -> Box<Request<EdgeBody>> {
    let request = Request::builder()
        .method("POST")
        .uri(path)
        .header("host", "web.example.com")
        .body(body);
    Box::new(request.unwrap())
}

pub(super) async fn get(
    pools: &Pools<EdgeBody>,
    svid: &Arc<Svid>,
    route: &Arc<CompiledRoute>,
    path: &str,
) -> Result<Sent, SendError> {
    pools
        .exchange(svid, route, request(path, EdgeBody::Empty))
        .await
}

/// Sends a request and reads all of what the workload says of it.
pub(super) async fn seen(
    pools: &Pools<EdgeBody>,
    svid: &Arc<Svid>,
    route: &Arc<CompiledRoute>,
) -> Seen {
    let sent = get(pools, svid, route, "/who").await.unwrap();
    read(sent.response).await
}

pub(super) async fn read(response: Response<Incoming>) -> Seen {
    assert_eq!(response.status(), 200);
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let mut lines = text.lines();
    let mut line = || lines.next().unwrap().to_owned();
    Seen {
        spiffe_id: line(),
        thumbprint: line(),
        connection: line().parse().unwrap(),
        authority: line(),
    }
}

/// Lets every task that can run do so.
pub(super) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// A workload that takes mTLS only.
pub(super) struct Workload {
    pub(super) port: u16,
    pub(super) opened: Rc<Cell<usize>>,
    /// Connections whose handshake built on that of a former one.
    pub(super) resumed: Rc<Cell<usize>>,
    kill: watch::Sender<usize>,
    killed: mpsc::UnboundedReceiver<()>,
}

impl Workload {
    /// With a certificate of `authority`, for clients that lead to `bundle`.
    pub(super) async fn start(authority: &Authority, bundle: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let issued = authority.workload(WORKLOAD).unwrap();
        let config = server_config(&issued, bundle).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (opened, resumed) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (kill, killing) = watch::channel(0);
        let (tell, killed) = mpsc::unbounded_channel();
        let (count, resumptions) = (Rc::clone(&opened), Rc::clone(&resumed));
        spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.set(count.get() + 1);
                let (acceptor, number) = (acceptor.clone(), count.get());
                let resumptions = Rc::clone(&resumptions);
                let (mut killing, tell) = (killing.clone(), tell.clone());
                killing.mark_unchanged();
                spawn_local(async move {
                    tokio::select! {
                        () = connection(stream, acceptor, number, resumptions) => {}
                        _ = killing.changed() => {}
                    }
                    let _nobody_waits = tell.send(());
                });
            }
        });
        Self {
            port,
            opened,
            resumed,
            kill,
            killed,
        }
    }

    /// Hangs up on one connection; returns before the client can have noticed.
    pub(super) async fn hang_up(&mut self) {
        self.kill.send_modify(|times| *times += 1);
        self.killed.recv().await.unwrap();
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    number: usize,
    resumed: Rc<Cell<usize>>,
) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let tls = stream.get_ref().1;
    if tls.handshake_kind() != Some(HandshakeKind::Full) {
        resumed.set(resumed.get() + 1);
    }
    let leaf = tls.peer_certificates().unwrap()[0].clone();
    let who = format!(
        "{}\n{}\n{number}\n",
        spiffe_id(&leaf),
        URL_SAFE_NO_PAD.encode(sha256(&leaf))
    );
    let is_http2 = tls.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| answer(request, who.clone()));
    let io = TokioIo::new(stream);
    if is_http2 {
        let mut server = hyper::server::conn::http2::Builder::new(LocalExecutor);
        server.max_concurrent_streams(STREAMS);
        let _ended = server.serve_connection(io, service).await;
    } else {
        let server = hyper::server::conn::http1::Builder::new();
        let _ended = server.serve_connection(io, service).with_upgrades().await;
    }
}

async fn answer(
    request: Request<Incoming>,
    who: String,
) -> Result<Response<axum::body::Body>, Infallible> {
    let authority = request.uri().authority().map(ToString::to_string);
    let host = request.headers().get("host");
    let host = host.map(|host| host.to_str().unwrap().to_owned());
    let who = format!("{who}{}\n", authority.or(host).unwrap_or_default());
    let body = match request.uri().path() {
        "/never" => std::future::pending().await,
        "/endless" => {
            let first = futures_util::stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"x"))]);
            axum::body::Body::from_stream(first.chain(futures_util::stream::pending()))
        }
        "/large" => axum::body::Body::from(vec![b'x'; 4 * 1024 * 1024]),
        "/upgrade" => return Ok(upgraded(request)),
        _ => {
            let _all_of_it = request.into_body().collect().await;
            axum::body::Body::from(who)
        }
    };
    Ok(Response::new(body))
}

fn upgraded(request: Request<Incoming>) -> Response<axum::body::Body> {
    spawn_local(async move {
        let tunnel = hyper::upgrade::on(request).await.unwrap();
        let (mut read, mut write) = tokio::io::split(TokioIo::new(tunnel));
        let _copied = tokio::io::copy(&mut read, &mut write).await;
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "upgrade")
        .header("upgrade", "echo")
        .body(axum::body::Body::empty())
        .unwrap()
}

fn spiffe_id(leaf: &[u8]) -> String {
    let (_, leaf) = X509Certificate::from_der(leaf).unwrap();
    match leaf
        .subject_alternative_name()
        .unwrap()
        .unwrap()
        .value
        .general_names[..]
    {
        [GeneralName::URI(uri)] => uri.to_owned(),
        ref names => panic!("{names:?}"),
    }
}
