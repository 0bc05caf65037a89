//! What people's programs may ask about them: who they are, and what they may open.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::identity::principal::Groups;
use crate::oauth::OAuth;
use crate::oauth::caller::ApiCaller;
use crate::policy::decide::Verdict;
use crate::policy::reach::{Part, Reach};
use crate::web::reply;
use crate::web::request_info::RequestInfo;

/// `GET /.wayleave/api/v1/me`.
pub(super) async fn me(
    State(oauth): State<Arc<OAuth>>,
    Extension(info): Extension<RequestInfo>,
    caller: ApiCaller,
) -> Response<Body> {
    let principal = caller.principal();
    let groups = match &principal.groups {
        Groups::Known(names) => json!(names.iter().collect::<Vec<_>>()),
        Groups::Missing => Value::Null,
    };
    let mesh_identity = oauth.snapshots.current().mesh_identity(Some(principal));
    let said = json!({
        "user": principal.label(),
        "provider": &*principal.provider,
        "subject": &*principal.subject,
        "email": principal.email.as_ref().map(|email| email.as_str()),
        "name": principal.display_name.as_deref(),
        "groups": groups,
        "mesh_identity": mesh_identity.ok().map(|id| id.to_string()),
        "session": caller.session.id.label(),
        "session_ends_at": caller.session.expires_at.rfc3339(),
        "client": caller.client,
        "unbound_tokens": oauth.config.allow_unbound,
    });
    reply::json(&info, StatusCode::OK, &said)
}

/// `GET /.wayleave/api/v1/routes`.
pub(super) async fn routes(
    State(oauth): State<Arc<OAuth>>,
    Extension(info): Extension<RequestInfo>,
    caller: ApiCaller,
) -> Response<Body> {
    let policy = oauth.snapshots.current();
    let principal = caller.principal();
    let grants = oauth.grants.current();
    let now = oauth.clock.now().to_jiff();
    let reach = policy.reach(principal, now, Some(info.client), grants.of(principal));
    let routes: Vec<Value> = reach
        .iter()
        .map(|reach| {
            let route = &reach.route.route;
            let origin = info.origin.at_host(route.host.clone());
            let why_not = reach.why_not(principal);
            let parts = policy.parts(reach);
            let patterns = |parts: &[Part]| -> Vec<String> {
                parts.iter().map(|part| part.pattern.clone()).collect()
            };
            let step_up = match &reach.verdict {
                Verdict::StepUp { require, .. } if reach.is_open() => Some(json!({
                    "acr_values": require.acr, "max_age": require.max_age,
                })),
                _ => None,
            };
            json!({
                "name": &*route.name,
                "url": format!("{origin}{}", route.prefix),
                "resource": origin.to_string(),
                "protocol": match route.kubernetes {
                    Some(_) => "kubernetes",
                    None if route.is_tcp() => "tcp",
                    None => "http",
                },
                "open": Reach::is_open(reach),
                "reason": why_not.as_ref().map(|(code, _)| code),
                "why_not": why_not.as_ref().map(|(_, why)| why),
                "step_up": step_up,
                "open_in_parts": patterns(&parts.open),
                "ask_in_parts": patterns(&parts.askable),
            })
        })
        .collect();
    let said = json!({ "revision": policy.revision.0, "routes": routes });
    reply::json(&info, StatusCode::OK, &said)
}
