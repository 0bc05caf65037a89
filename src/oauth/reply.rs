//! Answers of the authorization server: JSON for programs, problem pages for people.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use serde_json::json;

use crate::oauth::fault::OAuthFault;
use crate::web::audience::Audience;
use crate::web::problem::Problem;
use crate::web::request_info::RequestInfo;
use crate::web::{reply, security_headers};

/// Seconds after which it is worth trying again.
const RETRY_AFTER: u32 = 5;

/// A refusal or failure as programs read it (RFC 6749 §5.2).
pub(crate) fn fault(info: &RequestInfo, fault: &OAuthFault) -> Response<Body> {
    log(info, fault);
    let said = json!({ "error": fault.code(), "error_description": fault.to_string() });
    let mut response = reply::json(info, fault.status(), &said);
    let headers = response.headers_mut();
    match fault.status() {
        StatusCode::UNAUTHORIZED => {
            let challenge = HeaderValue::from_static("Basic realm=\"wayleave\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
        }
        _ => {}
    }
    response
}

fn log(info: &RequestInfo, fault: &OAuthFault) {
    let request_id = &info.request_id;
    match fault {
        OAuthFault::Store(_) | OAuthFault::Session(_) | OAuthFault::State => {
            let cause = std::error::Error::source(fault).map(ToString::to_string);
            tracing::warn!(%request_id, error = %fault, cause, "a request for tokens failed");
        }
        OAuthFault::AuthorizationPending => {}
        _ => {
            tracing::info!(%request_id, code = fault.code(), error = %fault, "a request for tokens was refused");
        }
    }
}

/// The same for somebody who looks at a page of ours.
pub(crate) fn page_of_fault(
    info: &RequestInfo,
    headers: &HeaderMap,
    fault: &OAuthFault,
) -> Response<Body> {
    log(info, fault);
    let detail = if fault.status().is_client_error() {
        format!("It was refused because {fault}. Start again from the program that sent you here.")
    } else {
        "Something that this needs does not answer. Please try again in a moment.".to_owned()
    };
    let problem = Problem {
        status: fault.status(),
        code: fault.code(),
        title: "This program cannot be let in",
        detail,
        request_id: info.request_id.to_string(),
        decision: None,
        authenticate: None,
        retry_after: (fault.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER),
        sign_in_path: None,
        ask_url: None,
    };
    let mut response = problem.into_response(Audience::of(&Method::GET, headers));
    security_headers::apply(response.headers_mut(), info.origin.scheme);
    response
}
