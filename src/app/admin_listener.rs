//! The admin listener: health, metrics and the operators' API, on an address of its own that the public never reaches.
//!
//! A browser of somebody who can reach it might be led there by a page whose name was made to resolve to it. Such a page can only ask by that name, so
//! names that anybody could own are not answered: only IP addresses, `localhost`, names without a dot, and those of `admin.hosts`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::address::host::Host;
use crate::api::answer::problem;
use crate::app::health::Health;
use crate::lifecycle::Lifecycle;
use crate::telemetry::causes::Causes;
use crate::telemetry::metrics::Metrics;

/// How long a client may take over the head of a request, and be silent before it.
const HEAD: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted.
const RECOVER: Duration = Duration::from_millis(100);

/// Where it listens, and the names it answers to besides those that nobody else can own.
pub struct Door {
    /// The address to bind.
    pub address: SocketAddr,
    /// `admin.hosts`.
    pub hosts: Vec<Host>,
}

/// What the endpoints read.
#[derive(Clone)]
struct Admin {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

#[derive(serde::Deserialize)]
struct Verbosity {
    verbose: Option<String>,
}

/// Binds and serves until the process stops; returns the address that was bound.
pub async fn start(
    door: Door,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    api: Router,
    lifecycle: &Lifecycle,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(door.address).await?;
    let bound = listener.local_addr()?;
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/healthz", get(livez))
        .route("/readyz", get(readyz))
        .route("/startupz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(Admin { health, metrics })
        .merge(api)
        .layer(from_fn_with_state(Arc::from(door.hosts), by_its_name));
    lifecycle.spawn("admin listener", serve(listener, router));
    Ok(bound)
}

async fn serve(listener: TcpListener, router: Router) {
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
    // They end with this task.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                let service = TowerToHyperService::new(router.clone());
                let serving = builder.serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move { drop(serving.await) });
            }
            Err(error) => {
                tracing::warn!(error = %Causes(&error), "the admin listener cannot accept a connection");
                tokio::time::sleep(RECOVER).await;
            }
        }
    }
}

/// Answers only requests that were addressed to a name of this listener.
async fn by_its_name(State(hosts): State<Arc<[Host]>>, request: Request, next: Next) -> Response {
    let headers = request.headers().get_all(HOST).into_iter();
    let named = headers.map(|value| value.to_str().ok());
    let target = request.uri().authority();
    let mut all = named.chain(target.map(|authority| Some(authority.as_str())));
    // Without any it is no browser (RFC 9112 §3.2): some load balancers check health by HTTP/1.0.
    if all.all(|name| name.is_some_and(|name| is_ours(name, &hosts))) {
        return next.run(request).await;
    }
    let detail =
        "This listener is not asked by that name. List it in admin.hosts, or use an IP address.";
    problem(StatusCode::FORBIDDEN, "unknown_host", detail)
}

fn is_ours(authority: &str, hosts: &[Host]) -> bool {
    let Ok((host, _)) = Host::parse_authority(authority) else {
        return false;
    };
    let name = host.as_str();
    let is_address = name.starts_with('[') || name.parse::<IpAddr>().is_ok();
    is_address || !name.contains('.') || host.is_loopback() || hosts.contains(&host)
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(admin): State<Admin>, Query(query): Query<Verbosity>) -> Response {
    let checks = admin.health.checks();
    let ready = checks.iter().all(|check| check.fault.is_none());
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut text = String::new();
    for check in checks
        .iter()
        .filter(|check| query.verbose.is_some() || check.fault.is_some())
    {
        let state = check.fault.as_deref().unwrap_or("ok");
        text.push_str(&format!("{}: {state}\n", check.name));
    }
    if ready {
        text.push_str("ready\n");
    }
    (status, [(CACHE_CONTROL, "no-store")], text).into_response()
}

async fn metrics_text(State(admin): State<Admin>) -> Response {
    admin.health.publish();
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], admin.metrics.encode()).into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::{HEAD, is_ours, serve};
    use crate::address::host::Host;

    #[tokio::test(start_paused = true)]
    async fn d10_a_head_that_does_not_end_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\nHo")
                .await
                .unwrap();
            let mut said = Vec::new();
            let reading = stream.read_to_end(&mut said);
            tokio::time::timeout(HEAD + Duration::from_secs(1), reading).await
        };
        let ended = tokio::select! {
            ended = client => ended,
            () = serve(listener, Router::new()) => unreachable!("it serves for ever"),
        };
        assert!(ended.is_ok(), "it is still open");
    }

    #[test]
    fn k2_only_names_that_nobody_else_can_own_are_answered() {
        let hosts = [Host::parse("metrics.corp.example").unwrap()];
        for name in [
            "127.0.0.1:9901",
            "10.0.0.7",
            "[::1]:9901",
            "[fd00::1]",
            "localhost:9901",
            "edge.localhost",
            "wayleave:9901",
            "Metrics.corp.example",
        ] {
            assert!(is_ours(name, &hosts), "{name}");
        }
        for name in [
            "",
            "evil.example",
            "evil.example:9901",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "x.metrics.corp.example",
            "evil.example@127.0.0.1",
            "127.0.0.1:9901, evil.example",
            "0x7f.1",
        ] {
            assert!(!is_ours(name, &hosts), "{name}");
        }
    }
}
