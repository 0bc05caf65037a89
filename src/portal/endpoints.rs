//! Every page and form for people who are signed in, in one table.

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, get, post};

use crate::portal::{Portal, act, ask, home, mine, requests, sign_ins, waiting};
use crate::web::ask::ASK_PATH;
use crate::web::stylesheet;

/// One endpoint. All are on the home host, and for people who are signed in.
pub struct Endpoint {
    /// The HTTP method; GET answers HEAD too.
    pub method: &'static str,
    /// axum's notation.
    pub path: &'static str,
    handler: fn() -> MethodRouter<Arc<Portal>>,
}

const fn endpoint(
    method: &'static str,
    path: &'static str,
    handler: fn() -> MethodRouter<Arc<Portal>>,
) -> Endpoint {
    Endpoint {
        method,
        path,
        handler,
    }
}

/// All of them.
pub const ENDPOINTS: &[Endpoint] = &[
    endpoint("GET", "/", || get(home::show)),
    endpoint("GET", "/.wayleave/", || get(home::show)),
    endpoint("POST", "/access/sign-ins/others/end", || {
        post(sign_ins::end_others)
    }),
    endpoint("POST", "/access/sessions/{id}/end", || {
        post(sign_ins::end_session)
    }),
    endpoint("POST", "/access/tokens/{id}/end", || {
        post(sign_ins::end_tokens)
    }),
    endpoint("GET", ASK_PATH, || get(ask::show)),
    endpoint("POST", ASK_PATH, || post(ask::submit)),
    endpoint("GET", "/access/waiting/{id}", || get(waiting::show)),
    endpoint("GET", "/access/mine", || get(mine::show)),
    endpoint("GET", "/access/requests", || get(requests::show)),
    endpoint("POST", "/access/requests/{id}/approve", || {
        post(act::approve)
    }),
    endpoint("POST", "/access/requests/{id}/refuse", || post(act::refuse)),
    endpoint("POST", "/access/requests/{id}/withdraw", || {
        post(act::withdraw)
    }),
    endpoint("POST", "/access/grants/{id}/revoke", || post(act::revoke)),
    endpoint("POST", "/access/grants/{id}/give-back", || {
        post(act::give_back)
    }),
    endpoint("POST", "/access/grants/{id}/review", || post(act::review)),
];

pub(super) fn router(portal: Arc<Portal>) -> Router {
    let mut router = Router::new();
    for endpoint in ENDPOINTS {
        router = router.route(endpoint.path, (endpoint.handler)());
    }
    router
        .route(
            &stylesheet::PORTAL_PATH,
            get(async || stylesheet::portal_response()),
        )
        .route(
            &stylesheet::PORTAL_SCRIPT_PATH,
            get(async || stylesheet::portal_script_response()),
        )
        .with_state(portal)
}
