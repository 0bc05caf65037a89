//! What the workload answers: what it saw, as a page or as JSON; a ticking event stream; an echo.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream;
use serde::Serialize;
use serde_json::Value;

use crate::demo::workload::Workload;
use crate::demo::workload::caller::Caller;
use crate::token::assertion::HEADER;

/// Everything the workload saw of a request.
#[derive(Serialize, Template)]
#[template(path = "demo/workload.html")]
struct Seen {
    workload: &'static str,
    workload_spiffe_id: &'static str,
    #[serde(flatten)]
    caller: Caller,
    method: String,
    target: String,
    http_version: String,
    headers: BTreeMap<String, Vec<String>>,
    /// The assertion's claims, decoded. A real workload verifies it against the published JWKS.
    assertion: Option<Value>,
    /// Whether the assertion names the certificate it came with (`cnf.x5t#S256`).
    assertion_is_bound: bool,
}

#[derive(Template)]
#[template(path = "demo/workload_refused.html")]
struct Refused<'a> {
    workload: &'a str,
    spiffe_id: &'a str,
}

/// Shows what was seen.
pub(super) async fn seen(
    State(workload): State<Arc<Workload>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let headers = request.headers();
    let assertion = headers
        .get(HEADER)
        .and_then(|value| payload(value.to_str().ok()?));
    let bound_to = assertion
        .as_ref()
        .and_then(|claims| claims["cnf"]["x5t#S256"].as_str());
    let seen = Seen {
        workload: workload.title,
        workload_spiffe_id: workload.spiffe_id,
        assertion_is_bound: bound_to == Some(&caller.thumbprint),
        caller,
        method: request.method().to_string(),
        target: request.uri().to_string(),
        http_version: format!("{:?}", request.version()),
        headers: readable(headers),
        assertion,
    };
    if !wants_html(headers) {
        return Json(seen).into_response();
    }
    match seen.render() {
        Ok(html) => Html(html).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The workload's own refusal.
pub(super) fn refused(workload: &Workload, spiffe_id: &str, headers: &HeaderMap) -> Response {
    let page = Refused {
        workload: workload.title,
        spiffe_id,
    };
    let message = format!("the workload's own mesh policy refused {spiffe_id}");
    match page.render() {
        Ok(html) if wants_html(headers) => (StatusCode::FORBIDDEN, Html(html)).into_response(),
        _ => (
            StatusCode::FORBIDDEN,
            Json(serde_json::json!({ "error": message })),
        )
            .into_response(),
    }
}

/// Server-sent events, one each second, until the client leaves.
pub(super) async fn events() -> Response {
    let ticks = stream::unfold(0_u64, |count| async move {
        tokio::time::sleep(Duration::from_secs(u64::from(count > 0))).await;
        let event = Bytes::from(format!("id: {count}\ndata: tick {count}\n\n"));
        Some((Ok::<_, Infallible>(event), count + 1))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Body::from_stream(ticks)).into_response()
}

/// The body, back.
pub(super) async fn echo(headers: HeaderMap, body: Bytes) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).cloned();
    let mut response = Body::from(body).into_response();
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

fn wants_html(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

fn readable(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut readable: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        readable.entry(name.to_string()).or_default().push(value);
    }
    readable
}

/// The claims of a JWT, unverified.
fn payload(jwt: &str) -> Option<Value> {
    let payload = jwt.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}
