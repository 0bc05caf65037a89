//! What is said when a page is not shown.

use axum::body::Body;
use http::{HeaderMap, Method, Response, StatusCode};
use url::form_urlencoded;

use crate::admin::access::AccessError;
use crate::portal::PortalError;
use crate::telemetry::causes::Causes;
use crate::web::audience::Audience;
use crate::web::csrf::CsrfFault;
use crate::web::problem::Problem;
use crate::web::request_info::RequestInfo;
use crate::web::{reply, security_headers};

/// A page, or what is said instead of it.
pub(super) fn answer(
    info: &RequestInfo,
    headers: &HeaderMap,
    result: Result<Response<Body>, PortalError>,
) -> Response<Body> {
    match result {
        Ok(response) => response,
        Err(PortalError::NotSignedIn(here)) => {
            let mut query = form_urlencoded::Serializer::new(String::new());
            let query = query.append_pair("to", &here).finish();
            let location = format!("/.wayleave/sign-in?{query}");
            reply::redirect(info, &location, None)
                .unwrap_or_else(|fault| failure(info, headers, &fault.into()))
        }
        Err(error) => failure(info, headers, &error),
    }
}

fn failure(info: &RequestInfo, headers: &HeaderMap, error: &PortalError) -> Response<Body> {
    let (status, code, title, detail) = words(error);
    let request_id = &info.request_id;
    if status.is_server_error() {
        tracing::warn!(%request_id, error = %Causes(&error), "a page about access failed");
    } else {
        tracing::info!(%request_id, error = %Causes(&error), "a page about access was refused");
    }
    let problem = Problem {
        status,
        code,
        title,
        detail,
        request_id: request_id.to_string(),
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

type Words = (StatusCode, &'static str, &'static str, String);

fn words(error: &PortalError) -> Words {
    match error {
        PortalError::Access(error) => access_words(error),
        PortalError::Session(_) | PortalError::Store(_) => unavailable(),
        PortalError::NoSignIn => (
            StatusCode::NOT_FOUND,
            "not_found",
            "There is nothing here",
            "You have no such sign-in, or it has ended already.".to_owned(),
        ),
        PortalError::Csrf(CsrfFault::Origin | CsrfFault::Token) => (
            StatusCode::FORBIDDEN,
            "form_not_ours",
            "This form was not sent from here",
            "It is not of your session, or was sent by another site. Open the page again.".to_owned(),
        ),
        PortalError::Request | PortalError::Csrf(CsrfFault::NotAForm | CsrfFault::Fields(_)) => (
            StatusCode::BAD_REQUEST,
            "bad_request",
            "This request cannot be read",
            "Something in it is missing, doubled, or leads nowhere. Open the application again to start over."
                .to_owned(),
        ),
        PortalError::Csrf(CsrfFault::TooSlow) => (
            StatusCode::REQUEST_TIMEOUT,
            "too_slow",
            "The form took too long",
            "Not all of it came in time. Please send it again.".to_owned(),
        ),
        PortalError::NothingToAsk => (
            StatusCode::FORBIDDEN,
            "nothing_to_ask_for",
            "There is nothing to ask for",
            "The access rules do not let you ask for this.".to_owned(),
        ),
        PortalError::NotSignedIn(_) | PortalError::Reply(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong on our side",
            "Please try again, and tell your administrators the request's id if it happens again.".to_owned(),
        ),
    }
}

fn access_words(error: &AccessError) -> Words {
    let title = match error {
        AccessError::Unknown => "There is nothing here",
        AccessError::NotToAsk(_) | AccessError::NoBreakGlass(_) => "There is nothing to ask for",
        AccessError::NotApprover | AccessError::Oneself => "This is not for you to decide",
        AccessError::Reason => "A reason is needed",
        AccessError::Lasting(_) => "This is no time to ask for",
        AccessError::TooMany | AccessError::TooOften => "You have asked for much already",
        AccessError::Asked(_) => "You have asked for this already",
        AccessError::TakenAway => "This was taken away from you",
        AccessError::Over => "This is over",
        AccessError::Store(_) => return unavailable(),
    };
    let (status, code) = error.answer();
    (status, code, title, sentence(error))
}

fn unavailable() -> Words {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "access_unavailable",
        "This is not possible at the moment",
        "Something that this needs does not answer. Please try again in a moment; what was granted before goes on."
            .to_owned(),
    )
}

/// The error's words, as a sentence.
fn sentence(error: &AccessError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase());
    let first: String = first.into_iter().flatten().collect();
    format!("{first}{}.", letters.as_str())
}
