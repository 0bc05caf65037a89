//! The admin listener: health, metrics and the operators' API, on an address of its own that the public never reaches.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, serve};
use tokio::net::TcpListener;

use crate::app::health::Health;
use crate::lifecycle::Lifecycle;
use crate::telemetry::metrics::Metrics;

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
    address: SocketAddr,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    api: Router,
    lifecycle: &Lifecycle,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/healthz", get(livez))
        .route("/readyz", get(readyz))
        .route("/startupz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(Admin { health, metrics })
        .merge(api);
    lifecycle.spawn("admin listener", async move {
        if let Err(error) = serve(listener, router).await {
            tracing::error!(%error, "the admin listener failed");
        }
    });
    Ok(bound)
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
