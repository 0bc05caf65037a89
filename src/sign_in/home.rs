//! Who I am and what I may open: a page on the home host, and JSON on every host. Never a token.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::json;

use crate::identity::principal::{Groups, Principal};
use crate::policy::decide::{Facts, Verdict};
use crate::sign_in::{SignIn, SignInError, reply};
use crate::web::request_info::RequestInfo;
use crate::web::{security_headers, stylesheet};

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage<'a> {
    stylesheet: &'a str,
    request_id: &'a str,
    label: &'a str,
    provider: &'a str,
    groups: String,
    mesh_identity: Option<String>,
    has_role: bool,
    ends_at: String,
    ends_at_text: String,
    routes: Vec<Reachable>,
}

/// A route somebody may open.
struct Reachable {
    name: String,
    href: String,
}

/// `GET /` and `GET /.wayleave/` on the home host.
pub(super) async fn show(
    State(sign_in): State<Arc<SignIn>>,
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
) -> Response<Body> {
    let result = sign_in.portal(&info, &headers).await;
    result.unwrap_or_else(|error| reply::failure(&info, &headers, &error))
}

/// `GET /.wayleave/session` on any host.
pub(super) async fn session(
    State(sign_in): State<Arc<SignIn>>,
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
) -> Response<Body> {
    let result = sign_in.session_json(&info, &headers).await;
    result.unwrap_or_else(|error| reply::failure(&info, &headers, &error))
}

impl SignIn {
    async fn portal(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, SignInError> {
        let Some(session) = self.live_session(info, headers).await? else {
            return reply::redirect(info, "/.wayleave/sign-in", None);
        };
        let principal = &session.principal;
        let policy = self.snapshots.current();
        let providers = self.providers.list();
        let provider = providers
            .iter()
            .find(|(name, _)| **name == *principal.provider)
            .map_or(&*principal.provider, |(_, label)| label);
        let page = HomePage {
            stylesheet: &stylesheet::PATH,
            request_id: &info.request_id,
            label: principal.label(),
            provider,
            groups: group_text(&principal.groups),
            mesh_identity: policy
                .mesh_identity(Some(principal))
                .ok()
                .map(|id| id.to_string()),
            has_role: !policy.roles_of(principal).is_empty(),
            ends_at: session.expires_at.rfc3339(),
            ends_at_text: session.expires_at.for_people(),
            routes: self.reachable(info, principal),
        };
        reply::page(info, StatusCode::OK, &page)
    }

    fn reachable(&self, info: &RequestInfo, principal: &Principal) -> Vec<Reachable> {
        let policy = self.snapshots.current();
        let mut all = Vec::new();
        for route in policy.routes() {
            let facts = Facts {
                principal: Some(principal),
                route,
                method: "GET",
                path: &route.route.prefix,
                now: self.clock.now().to_jiff(),
                peer: Some(info.client),
                headers: None,
            };
            // Signing in once more is no obstacle.
            let verdict = policy.decide(&facts);
            if matches!(verdict, Verdict::Allow { .. } | Verdict::StepUp { .. }) {
                let origin = info.origin.at_host(route.route.host.clone());
                all.push(Reachable {
                    name: route.route.name.to_string(),
                    href: format!("{origin}{}", route.route.prefix),
                });
            }
        }
        all
    }

    async fn session_json(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, SignInError> {
        let session = self.live_session(info, headers).await?;
        let (status, text) = match session {
            Some(session) => (
                StatusCode::OK,
                json!({
                    "signed_in": true,
                    "user": session.principal.label(),
                    "provider": &*session.principal.provider,
                    "ends_at": session.expires_at.rfc3339(),
                }),
            ),
            None => (StatusCode::UNAUTHORIZED, json!({ "signed_in": false })),
        };
        let mut response = Response::new(Body::from(text.to_string()));
        *response.status_mut() = status;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        security_headers::apply(response.headers_mut(), info.origin.scheme);
        Ok(response)
    }
}

fn group_text(groups: &Groups) -> String {
    match groups {
        Groups::Missing => "not known".to_owned(),
        Groups::Known(all) if all.is_empty() => "none".to_owned(),
        Groups::Known(all) => all
            .iter()
            .map(|group| &**group)
            .collect::<Vec<_>>()
            .join(", "),
    }
}
