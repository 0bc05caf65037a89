//! What a program that was refused at a route reads first (RFC 9728): which authorization server gives tokens for it. The edge answers in the route's place.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::{Response, StatusCode, Uri};
use serde_json::json;

use crate::address::path::check_path;
use crate::oauth::OAuth;
use crate::web::reply;
use crate::web::request_info::RequestInfo;
use crate::web::resource_metadata::WELL_KNOWN;

/// `GET /.well-known/oauth-protected-resource` at a route's host; behind it stands the resource's path, if it has one (RFC 9728 §3.1).
pub(super) async fn show(
    State(oauth): State<Arc<OAuth>>,
    Extension(info): Extension<RequestInfo>,
    uri: Uri,
) -> Response<Body> {
    let path = uri.path().strip_prefix(WELL_KNOWN).unwrap_or_default();
    let policy = oauth.snapshots.current();
    let asked = if path.is_empty() { "/" } else { path };
    let route = match check_path(asked) {
        Ok(()) => policy.route(&info.origin.host, asked),
        Err(_) => None,
    };
    let Some(route) = route.filter(|route| !route.route.is_tcp()) else {
        let said = json!({ "error": "not_found", "error_description": "no route leads there" });
        return reply::json(&info, StatusCode::NOT_FOUND, &said);
    };
    let home = info.origin.at_host(oauth.home_host.clone());
    let said = json!({
        // Exactly what the address was made of (RFC 9728 §3.3).
        "resource": format!("{}{path}", info.origin),
        "authorization_servers": [home.to_string()],
        "bearer_methods_supported": ["header"],
        "resource_name": &*route.route.name,
        "dpop_signing_alg_values_supported": ["ES256"],
    });
    reply::json(&info, StatusCode::OK, &said)
}
