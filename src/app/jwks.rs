//! The public keys of our assertions, for whoever verifies them (RFC 7517).

use std::sync::Arc;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::routing::get;

use crate::token::assertion::Minter;

/// Where the keys are published, on the home host.
pub const PATH: &str = "/.wayleave/jwks.json";

/// How long a verifier may keep the set: much shorter than a new key is published before it signs.
const CACHE: &str = "public, max-age=300";

/// The one endpoint.
pub fn router(minter: &Arc<Minter>) -> Router {
    let minter = Arc::clone(minter);
    let headers = [
        (CONTENT_TYPE, "application/jwk-set+json"),
        (CACHE_CONTROL, CACHE),
    ];
    Router::new().route(
        PATH,
        get(async move || (headers, minter.jwks().to_string())),
    )
}
