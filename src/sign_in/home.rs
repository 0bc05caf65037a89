//! Who I am and what I may open: a page on the home host, and JSON on every host. Never a token.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, Response, StatusCode};
use serde_json::json;

use crate::identity::principal::{Groups, Principal};
use crate::policy::decide::Verdict;
use crate::sign_in::{SignIn, SignInError, reply};
use crate::web::ask::Wanted;
use crate::web::request_info::RequestInfo;
use crate::web::{reply as web_reply, stylesheet};

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
    askable: Vec<Reachable>,
    decides: bool,
}

/// A route somebody may open, or where they ask for it.
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
        let (routes, askable) = self.reachable(info, principal);
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
            routes,
            askable,
            decides: policy.approves_anything(principal),
        };
        reply::page(info, StatusCode::OK, &page)
    }

    /// What somebody may open, and what they may ask for.
    fn reachable(
        &self,
        info: &RequestInfo,
        principal: &Principal,
    ) -> (Vec<Reachable>, Vec<Reachable>) {
        let policy = self.snapshots.current();
        let grants = self.grants.current();
        let now = self.clock.now().to_jiff();
        let (mut open, mut askable) = (Vec::new(), Vec::new());
        for reach in policy.reach(principal, now, Some(info.client), grants.of(principal)) {
            let route = &reach.route.route;
            let name = route.name.to_string();
            if reach.is_open() {
                let origin = info.origin.at_host(route.host.clone());
                let href = format!("{origin}{}", route.prefix);
                open.push(Reachable { name, href });
            } else if let Verdict::Ask { .. } = reach.verdict {
                let wanted = Wanted {
                    method: "GET".to_owned(),
                    host: route.host.clone(),
                    path: route.prefix.clone(),
                    query: None,
                };
                let href = wanted.ask_url(&info.origin);
                askable.push(Reachable { name, href });
            }
        }
        (open, askable)
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
        Ok(web_reply::json(info, status, &text))
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
