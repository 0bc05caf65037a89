//! Our own pages: served on the control runtime, with what only the edge knows of the request beside it.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use tower::ServiceExt;

use crate::edge::Edge;
use crate::edge::access_log::Entry;
use crate::edge::body::EdgeBody;
use crate::edge::metrics::Outcome;
use crate::edge::normalise::Normalised;
use crate::edge::respond::{self, Refused};
use crate::edge::route::Own;
use crate::sign_in::pending::StepUp;
use crate::web::request_info::RequestInfo;

/// Longest wait for the head of a page of ours; what pages wait for themselves ends earlier.
const PAGE: Duration = Duration::from_secs(30);

/// Answers with one of our own pages.
pub async fn serve(
    edge: &Edge,
    pages: Own,
    request: Request<Incoming>,
    entry: &mut Entry,
) -> Result<Response<EdgeBody>, Refused> {
    let router = match pages {
        Own::Home => edge.home_router.clone(),
        Own::Route => edge.route_router.clone(),
    };
    let info = entry.request().map(|normalised| info(normalised, entry));
    let mut request = request.map(Body::new);
    request.extensions_mut().clear();
    request
        .extensions_mut()
        .insert(info.ok_or(Refused::OwnPage)?);
    let response = on_control(edge, call(router, request)).await?;
    Ok(finished(response, Outcome::Own, "own_page", entry))
}

/// Sends a navigation on its way to sign in, or to sign in again as a rule asks.
pub async fn begin_sign_in(
    edge: &Edge,
    request: &Normalised,
    headers: HeaderMap,
    step_up: Option<StepUp>,
    entry: &mut Entry,
) -> Result<Response<EdgeBody>, Refused> {
    let sign_in = edge.sign_in.clone();
    let info = info(request, entry);
    let return_to = match &request.query {
        Some(query) => format!("{}?{query}", request.path),
        None => request.path.clone(),
    };
    let reason = match &step_up {
        Some(_) => "step_up_required",
        None => "sign_in_required",
    };
    let beginning = async move { sign_in.begin(&info, &return_to, &headers, step_up).await };
    let response = on_control(edge, beginning).await?;
    Ok(finished(response, Outcome::SignIn, reason, entry))
}

fn info(request: &Normalised, entry: &Entry) -> RequestInfo {
    RequestInfo {
        request_id: entry.id().to_string().into(),
        origin: request.origin.clone(),
        client: entry.client(),
        presented: entry.presented(),
    }
}

async fn call(router: Router, request: Request<Body>) -> Response<Body> {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// A panic in a page of ours ends that page alone.
async fn on_control(
    edge: &Edge,
    page: impl Future<Output = Response<Body>> + Send + 'static,
) -> Result<Response<Body>, Refused> {
    match tokio::time::timeout(PAGE, edge.control.spawn(page)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(_)) | Err(_) => Err(Refused::OwnPage),
    }
}

fn finished(
    response: Response<Body>,
    outcome: Outcome,
    reason: &'static str,
    entry: &mut Entry,
) -> Response<EdgeBody> {
    entry.status(response.status());
    entry.outcome(outcome, reason);
    respond::own(response, entry)
}
