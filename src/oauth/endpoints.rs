//! Every endpoint of the authorization server and of the API for people's programs, in one table. All are on the home host.

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, get, post};

use crate::oauth::{
    OAuth, acting, api, authorize, device, introspect, metadata, protected_resource, register,
    revoke, svids, token,
};
use crate::policy::svids::SvidKind;
use crate::web::resource_metadata::WELL_KNOWN;

/// Where people are asked whether a program may act for them.
pub const AUTHORIZE: &str = "/.wayleave/oauth/authorize";
/// Where programs get tokens.
pub const TOKEN: &str = "/.wayleave/oauth/token";
/// Where machines without a browser begin.
pub const DEVICE_AUTHORIZATION: &str = "/.wayleave/oauth/device_authorization";
/// Where people type a machine's code.
pub const DEVICE: &str = "/.wayleave/oauth/device";
/// Where people see and end what acts for them.
pub const AGENTS: &str = "/.wayleave/oauth/agents";
/// Where programs register themselves.
pub const REGISTER: &str = "/.wayleave/oauth/register";
/// Where tokens are given back.
pub const REVOKE: &str = "/.wayleave/oauth/revoke";
/// Where a token is asked about.
pub const INTROSPECT: &str = "/.wayleave/oauth/introspect";

/// What verifies JWT-SVIDs.
pub const SPIFFE_BUNDLE: &str = "/.wayleave/spiffe-bundle.json";

/// Who may use an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admits {
    /// Whoever comes; what they present decides.
    Anyone,
    /// Browsers with a session; others are sent to sign in.
    Browser,
    /// Whoever has an access token for the home host.
    Token,
}

/// One endpoint.
pub struct Endpoint {
    /// The HTTP method.
    pub method: &'static str,
    /// The path.
    pub path: &'static str,
    /// Who may use it.
    pub admits: Admits,
    handler: fn() -> MethodRouter<Arc<OAuth>>,
}

const fn endpoint(
    method: &'static str,
    path: &'static str,
    admits: Admits,
    handler: fn() -> MethodRouter<Arc<OAuth>>,
) -> Endpoint {
    Endpoint {
        method,
        path,
        admits,
        handler,
    }
}

/// All of them.
pub const ENDPOINTS: &[Endpoint] = &[
    endpoint(
        "GET",
        "/.well-known/oauth-authorization-server",
        Admits::Anyone,
        || get(metadata::show),
    ),
    endpoint("GET", AUTHORIZE, Admits::Browser, || get(authorize::ask)),
    endpoint("POST", AUTHORIZE, Admits::Browser, || {
        post(authorize::submit)
    }),
    endpoint("POST", TOKEN, Admits::Anyone, || post(token::submit)),
    endpoint("POST", REGISTER, Admits::Anyone, || post(register::submit)),
    endpoint("POST", DEVICE_AUTHORIZATION, Admits::Anyone, || {
        post(device::begin)
    }),
    endpoint("GET", DEVICE, Admits::Browser, || get(device::ask)),
    endpoint("POST", DEVICE, Admits::Browser, || post(device::submit)),
    endpoint("GET", AGENTS, Admits::Browser, || get(acting::list)),
    endpoint("POST", AGENTS, Admits::Browser, || post(acting::end)),
    endpoint("POST", REVOKE, Admits::Anyone, || post(revoke::submit)),
    endpoint("POST", INTROSPECT, Admits::Token, || {
        post(introspect::submit)
    }),
    endpoint("GET", "/.wayleave/api/v1/me", Admits::Token, || {
        get(api::me)
    }),
    endpoint("GET", "/.wayleave/api/v1/routes", Admits::Token, || {
        get(api::routes)
    }),
    endpoint("POST", SvidKind::X509.path(), Admits::Token, || {
        post(svids::x509)
    }),
    endpoint("POST", SvidKind::Jwt.path(), Admits::Token, || {
        post(svids::jwt)
    }),
    endpoint("GET", SPIFFE_BUNDLE, Admits::Anyone, || get(svids::bundle)),
];

/// What is served at routes' hosts, where it says how to come by a token. Everybody may read it.
pub(super) fn route_router(oauth: Arc<OAuth>) -> Router {
    let below = format!("{WELL_KNOWN}/{{*path}}");
    let bare = format!("{WELL_KNOWN}/");
    Router::new()
        .route(WELL_KNOWN, get(protected_resource::show))
        .route(&bare, get(protected_resource::show))
        .route(&below, get(protected_resource::show))
        .with_state(oauth)
}

/// Their router.
pub(super) fn router(oauth: Arc<OAuth>) -> Router {
    let mut router = Router::new();
    for endpoint in ENDPOINTS {
        router = router.route(endpoint.path, (endpoint.handler)());
    }
    router.with_state(oauth)
}
