//! The answers of our pages: redirects, pages, problems.

use askama::Template;
use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::oidc::OidcError;
use crate::session::SessionError;
use crate::sign_in::SignInError;
use crate::telemetry::causes::Causes;
use crate::web::audience::Audience;
use crate::web::csrf::CsrfFault;
use crate::web::problem::Problem;
use crate::web::reply;
use crate::web::request_info::RequestInfo;
use crate::web::security_headers;

/// 303 with cookies; never cached.
pub(crate) fn redirect(
    info: &RequestInfo,
    location: &str,
    cookies: impl IntoIterator<Item = HeaderValue>,
) -> Result<Response<Body>, SignInError> {
    Ok(reply::redirect(info, location, cookies)?)
}

/// A page.
pub(crate) fn page(
    info: &RequestInfo,
    status: StatusCode,
    page: &impl Template,
) -> Result<Response<Body>, SignInError> {
    Ok(reply::page(info, status, page)?)
}

/// What failed, for the log; a fixed text for the person.
pub(crate) fn failure(
    info: &RequestInfo,
    headers: &HeaderMap,
    error: &SignInError,
) -> Response<Body> {
    log(info, error);
    let (status, code, title, detail) = words(error);
    let problem = Problem {
        status,
        code,
        title,
        detail: detail.to_owned(),
        request_id: info.request_id.to_string(),
        decision: None,
        authenticate: None,
        retry_after: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(5),
        sign_in_path: None,
        ask_url: None,
    };
    let mut response = problem.into_response(Audience::of(&Method::GET, headers));
    security_headers::apply(response.headers_mut(), info.origin.scheme);
    response
}

/// Anybody can ask for what is not there or cannot be read, as often as they like: that is no warning.
fn log(info: &RequestInfo, error: &SignInError) {
    let request_id = &info.request_id;
    match error {
        SignInError::NotFound => {
            tracing::debug!(%request_id, error = %Causes(&error), "there is no such page")
        }
        SignInError::Request
        | SignInError::NotBound
        | SignInError::Csrf(_)
        | SignInError::Busy
        | SignInError::NotKept => {
            tracing::info!(%request_id, error = %Causes(&error), "the request was refused")
        }
        _ => tracing::warn!(%request_id, error = %Causes(&error), "sign-in failed"),
    }
}

const fn words(error: &SignInError) -> (StatusCode, &'static str, &'static str, &'static str) {
    match error {
        SignInError::Store(_)
        | SignInError::Busy
        | SignInError::NotKept
        | SignInError::Session(SessionError::Store(_) | SessionError::ProviderUnavailable)
        | SignInError::Oidc(OidcError::Unavailable(_) | OidcError::Metadata(_)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "sign_in_unavailable",
            "Signing in is not possible at the moment",
            "Something that signing in needs does not answer as it should. Please try again in a moment.",
        ),
        SignInError::Oidc(OidcError::NotAsRequired) => (
            StatusCode::FORBIDDEN,
            "step_up_not_met",
            "This sign-in does not suffice",
            "What you opened asks for a more recent or stronger sign-in, and your identity provider did not confirm one. Open it once more to try again, with the stronger way to sign in that your provider offers. You are still signed in for everything else.",
        ),
        SignInError::Oidc(_) => (
            StatusCode::BAD_REQUEST,
            "sign_in_refused",
            "Signing in did not succeed",
            "The identity provider's answer could not be accepted. Open the application again to start over.",
        ),
        SignInError::Csrf(CsrfFault::TooSlow) => (
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            "This request took too long",
            "Its form did not arrive in time. Please try again.",
        ),
        SignInError::Request | SignInError::Csrf(_) => (
            StatusCode::BAD_REQUEST,
            "bad_request",
            "This request cannot be read",
            "Something in it is missing, doubled, or not from here. Open the application again to start over.",
        ),
        SignInError::NotBound => (
            StatusCode::BAD_REQUEST,
            "sign_in_not_yours",
            "This sign-in was not started here",
            "It was started in another browser or has been used already. Open the application again to start over.",
        ),
        SignInError::NotFound => (
            StatusCode::NOT_FOUND,
            "not_found",
            "There is nothing here",
            "This address does not lead anywhere.",
        ),
        SignInError::State | SignInError::Cancelled | SignInError::Reply(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong on our side",
            "Please try again, and tell your administrators the request's id if it happens again.",
        ),
    }
}
