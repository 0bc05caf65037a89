//! The plain answers of our own endpoints: redirects, pages, JSON.

use askama::Template;
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use crate::web::request_info::RequestInfo;
use crate::web::security_headers;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyFault {
    /// The address is not one that a header can hold.
    #[error("the address to go to cannot be put into a header")]
    Location,
    /// The page was not written.
    #[error("the page cannot be written")]
    Page,
}

/// 303 with cookies; never cached.
pub fn redirect(
    info: &RequestInfo,
    location: &str,
    cookies: impl IntoIterator<Item = HeaderValue>,
) -> Result<Response<Body>, ReplyFault> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let location = HeaderValue::from_str(location).map_err(|_| ReplyFault::Location)?;
    response.headers_mut().insert(header::LOCATION, location);
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    security_headers::apply(response.headers_mut(), info.origin.scheme);
    Ok(response)
}

/// A page.
pub fn page(
    info: &RequestInfo,
    status: StatusCode,
    page: &impl Template,
) -> Result<Response<Body>, ReplyFault> {
    let text = page.render().map_err(|_| ReplyFault::Page)?;
    Ok(typed(info, status, "text/html; charset=utf-8", text))
}

/// A page that has a script of ours, without which it works as well.
pub fn page_with_script(
    info: &RequestInfo,
    status: StatusCode,
    page: &impl Template,
) -> Result<Response<Body>, ReplyFault> {
    let mut response = self::page(info, status, page)?;
    let policy = HeaderValue::from_static(security_headers::WITH_SCRIPT);
    let name = header::CONTENT_SECURITY_POLICY;
    response.headers_mut().insert(name, policy);
    Ok(response)
}

/// JSON.
pub fn json(info: &RequestInfo, status: StatusCode, value: &Value) -> Response<Body> {
    typed(info, status, "application/json", value.to_string())
}

fn typed(
    info: &RequestInfo,
    status: StatusCode,
    kind: &'static str,
    text: String,
) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    security_headers::apply(headers, info.origin.scheme);
    response
}
