//! Who comes in to the API, and who may use an endpoint.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, HeaderName, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::MethodRouter;
use subtle::ConstantTimeEq;

use crate::admin::actor::Actor;
use crate::api::answer::{Refusal, Unreadable, not_permitted, problem, under_id};
use crate::api::person::Person;
use crate::oauth::OAuth;
use crate::oauth::caller::ApiCaller;
use crate::secret::{ExposeSecret, SecretString, TokenHash};
use crate::snapshot::Snapshots;
use crate::web::endpoint::Access;
use crate::web::request_info::RequestInfo;
use crate::web::{apart, receive, security_headers};

/// Only browsers send it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Lets those through to an endpoint who may use it, with no more of a body than it takes. Where no guard said who asks, nobody may.
pub fn permitting<S: Clone + Send + Sync + 'static>(
    access: Access,
    body: usize,
    endpoint: MethodRouter<S>,
) -> MethodRouter<S> {
    endpoint.route_layer(from_fn_with_state((access, body), permit))
}

async fn permit(
    State((access, most)): State<(Access, usize)>,
    request: Request,
    next: Next,
) -> Response {
    let Some(actor) = request.extensions().get::<Actor>() else {
        let detail = "It is not known who asks.";
        return problem(StatusCode::UNAUTHORIZED, "not_signed_in", detail);
    };
    let checked = match access {
        Access::SignedIn => Ok(()),
        Access::With(permission) => actor.check(permission),
    };
    match checked {
        Ok(()) => {}
        Err(refused) => {
            actor.told_off(refused, request.method().as_str(), request.uri().path());
            return not_permitted(refused);
        }
    }
    if request
        .uri()
        .query()
        .is_some_and(|query| query.contains("%00"))
    {
        return Unreadable::value("the query has a null byte").refusal();
    }
    let who = actor.key();
    // Only of those who may is a body received.
    let (head, body) = request.into_parts();
    match receive::body(body, most).await {
        Ok(body) => apart::run(&who, Request::from_parts(head, body.into()), next).await,
        Err(fault) => Unreadable::from(fault).refusal(),
    }
}

/// The hash of the operators' token; `None` when nobody may use the API.
type Guard = Option<TokenHash>;

/// Puts endpoints behind the operators' token.
pub fn operators(endpoints: Router, token: Option<SecretString>) -> Router {
    let guard: Guard = token.map(|token| TokenHash::of(token.expose_secret().as_bytes()));
    endpoints.route_layer(from_fn_with_state(guard, admit))
}

/// Lets operators in. Browsers have no business here: a page of any origin can make them send requests.
async fn admit(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    if headers.contains_key(ORIGIN) || headers.contains_key(SEC_FETCH_SITE) {
        let detail = "This API is for `wayleave policy` and other programs, not for browsers.";
        return problem(StatusCode::FORBIDDEN, "not_for_browsers", detail);
    }
    let Some(token) = guard else {
        let detail = "Nobody may use this API: set admin.operator_token_file in the configuration, and restart.";
        return problem(StatusCode::FORBIDDEN, "no_operator_token", detail);
    };
    if !is_presented(headers, token) {
        tracing::warn!(
            path = request.uri().path(),
            "somebody without the operator token wanted to use the API"
        );
        let detail = "The operator token is missing or not the one that is configured.";
        let mut refused = problem(StatusCode::UNAUTHORIZED, "not_an_operator", detail);
        let challenge = axum::http::HeaderValue::from_static("Bearer");
        let name = axum::http::header::WWW_AUTHENTICATE;
        refused.headers_mut().insert(name, challenge);
        return refused;
    }
    request
        .extensions_mut()
        .insert(Actor::Operator { name: None });
    next.run(request).await
}

/// How it is found out who calls with an access token of theirs, and what they may do.
#[derive(Clone)]
pub struct People {
    /// Who gave the token.
    pub oauth: Arc<OAuth>,
    /// The policy in force, which says their roles.
    pub snapshots: Arc<Snapshots>,
}

/// Puts endpoints behind people's access tokens for the home host.
pub fn people(endpoints: Router, people: People) -> Router {
    endpoints.route_layer(from_fn_with_state(people, admit_person))
}

/// Lets people in. Cookies do not count, so that no page of another origin can make a browser call this.
async fn admit_person(State(people): State<People>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    let caller = match ApiCaller::from_request_parts(&mut head, &people.oauth).await {
        Ok(caller) => caller,
        Err(refusal) => return refusal,
    };
    let Some(info) = head.extensions.get::<RequestInfo>().cloned() else {
        let detail = "The request did not come through the edge.";
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail);
    };
    let principal = Arc::new(caller.principal().clone());
    let actor = Actor::person(principal, &people.snapshots.current());
    head.extensions.insert(actor);
    head.extensions.insert(Person::new(caller.session, &info));
    let response = next.run(Request::from_parts(head, body)).await;
    let mut response = under_id(response, &info.request_id);
    security_headers::apply(response.headers_mut(), info.origin.scheme);
    response
}

fn is_presented(headers: &HeaderMap, token: TokenHash) -> bool {
    let mut lines = headers.get_all(AUTHORIZATION).into_iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return false;
    };
    let presented = line.as_bytes().strip_prefix(b"Bearer ").unwrap_or_default();
    let presented = TokenHash::of(presented);
    presented.as_bytes().ct_eq(token.as_bytes()).into()
}
