//! Every endpoint of sign-in, in one table.

use std::sync::Arc;

use axum::Router;
use axum::extract::Extension;
use axum::routing::{MethodRouter, get, post};
use http::{HeaderMap, StatusCode};

use crate::sign_in::{
    SignIn, SignInError, arrive, backchannel, callback, choose, reply, session, sign_out,
};
use crate::web::request_info::RequestInfo;
use crate::web::stylesheet;

/// On which hosts an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// The home host.
    Home,
    /// Hosts of routes.
    Route,
    /// Both.
    Any,
}

/// One endpoint.
pub struct Endpoint {
    /// The HTTP method; GET answers HEAD too, except where it uses something up.
    pub method: &'static str,
    /// axum's notation.
    pub path: &'static str,
    /// Where it is.
    pub host: HostKind,
    handler: fn() -> MethodRouter<Arc<SignIn>>,
}

const fn endpoint(
    method: &'static str,
    path: &'static str,
    host: HostKind,
    handler: fn() -> MethodRouter<Arc<SignIn>>,
) -> Endpoint {
    Endpoint {
        method,
        path,
        host,
        handler,
    }
}

/// All of them.
pub const ENDPOINTS: &[Endpoint] = &[
    endpoint("GET", "/.wayleave/sign-in", HostKind::Home, || {
        get(choose::show)
    }),
    endpoint(
        "GET",
        "/.wayleave/sign-in/{provider}",
        HostKind::Home,
        || get(choose::go),
    ),
    endpoint(
        "GET",
        "/.wayleave/callback/{provider}",
        HostKind::Home,
        || get(callback::show).head(no_head),
    ),
    endpoint("GET", "/.wayleave/sign-out", HostKind::Home, || {
        get(sign_out::ask)
    }),
    endpoint("POST", "/.wayleave/sign-out", HostKind::Home, || {
        post(sign_out::submit)
    }),
    endpoint("GET", "/.wayleave/signed-out", HostKind::Home, || {
        get(sign_out::done)
    }),
    endpoint(
        "POST",
        "/.wayleave/backchannel-logout/{provider}",
        HostKind::Home,
        || post(backchannel::submit),
    ),
    endpoint("GET", "/.wayleave/arrive", HostKind::Route, || {
        get(arrive::show).head(no_head)
    }),
    endpoint("GET", "/.wayleave/sign-out", HostKind::Route, || {
        get(sign_out::to_home)
    }),
    endpoint("GET", "/.wayleave/session", HostKind::Any, || {
        get(session::show)
    }),
];

/// The router of one kind of host.
pub(super) fn router(sign_in: Arc<SignIn>, host: HostKind) -> Router {
    let mut router = Router::new();
    for endpoint in ENDPOINTS
        .iter()
        .filter(|e| e.host == host || e.host == HostKind::Any)
    {
        router = router.route(endpoint.path, (endpoint.handler)());
    }
    if host == HostKind::Home {
        // Browsers ask for it beside anything that is not a page.
        router = router.route("/favicon.ico", get(async || stylesheet::icon()));
    }
    router
        .route(&stylesheet::PATH, get(async || stylesheet::response()))
        .route(stylesheet::ICON_PATH, get(async || stylesheet::icon()))
        .fallback(nothing_here)
        .with_state(sign_in)
}

/// A HEAD, as link checkers and previews send it, must not use up what is good for one GET.
async fn no_head() -> StatusCode {
    StatusCode::METHOD_NOT_ALLOWED
}

async fn nothing_here(
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
) -> axum::response::Response {
    reply::failure(&info, &headers, &SignInError::NotFound)
}
