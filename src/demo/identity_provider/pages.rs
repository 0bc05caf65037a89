//! The provider's pages. Every one of them says what it is.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use crate::demo::identity_provider::authorize::Request;
use crate::demo::identity_provider::people::{PEOPLE, Person};

/// No script, no foreign content, no frame around it.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

#[derive(Template)]
#[template(path = "demo/identity_provider.html")]
struct Page<'a> {
    title: &'a str,
    text: &'a str,
    people: &'a [Person],
    /// Names and values the form carries on.
    hidden: Vec<(&'static str, &'a str)>,
}

/// The three people to pick from.
pub(super) fn pick(request: &Request) -> Response {
    let mut hidden = vec![
        ("client_id", request.client_id.as_str()),
        ("redirect_uri", &request.redirect_uri),
        ("response_type", &request.response_type),
        ("scope", &request.scope),
        ("code_challenge", &request.code_challenge),
        ("code_challenge_method", &request.code_challenge_method),
    ];
    hidden.extend(request.state.as_deref().map(|state| ("state", state)));
    hidden.extend(request.nonce.as_deref().map(|nonce| ("nonce", nonce)));
    let page = Page {
        title: "Who are you today?",
        text: "One click signs you in.",
        people: &PEOPLE,
        hidden,
    };
    answer(StatusCode::OK, &page)
}

/// What is here.
pub(super) async fn home() -> Response {
    notice(
        StatusCode::OK,
        "Nothing to do here",
        "Open one of the demo's applications; they send you here to sign in.",
    )
}

pub(super) fn signed_out() -> Response {
    notice(StatusCode::OK, "Signed out", "You are signed out here.")
}

pub(super) fn refusal(status: StatusCode, text: &str) -> Response {
    notice(status, "This cannot be done", text)
}

fn notice(status: StatusCode, title: &str, text: &str) -> Response {
    let page = Page {
        title,
        text,
        people: &[],
        hidden: Vec::new(),
    };
    answer(status, &page)
}

fn answer(status: StatusCode, page: &Page<'_>) -> Response {
    let Ok(html) = page.render() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = (status, Html(html)).into_response();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
