//! The operators' API on the admin listener: who may use it, and how it says no.

use axum::Router;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderName, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use crate::clock::Timestamp;
use crate::secret::{ExposeSecret, SecretString, TokenHash};
use crate::store::StoreError;

/// A document of 1 MiB as a JSON text.
const LARGEST_BODY: usize = 4 * 1024 * 1024;

/// Only browsers send it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The hash of the operators' token; `None` when nobody may use the API.
type Guard = Option<TokenHash>;

/// Puts endpoints behind the operators' token.
pub fn guarded(endpoints: Router, token: Option<SecretString>) -> Router {
    let guard: Guard = token.map(|token| TokenHash::of(token.expose_secret().as_bytes()));
    endpoints
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .route_layer(from_fn_with_state(guard, admit))
}

/// Lets operators in. Browsers have no business here: a page of any origin can make them send requests.
async fn admit(State(guard): State<Guard>, request: Request, next: Next) -> Response {
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
        let detail = "The operator token is missing or not the one that is configured.";
        let mut refused = problem(StatusCode::UNAUTHORIZED, "not_an_operator", detail);
        let challenge = axum::http::HeaderValue::from_static("Bearer");
        let name = axum::http::header::WWW_AUTHENTICATE;
        refused.headers_mut().insert(name, challenge);
        return refused;
    }
    next.run(request).await
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

/// A request that cannot be read.
pub struct Unreadable(StatusCode, String);

impl Unreadable {
    /// A value that makes no sense.
    pub fn value(detail: &str) -> Self {
        Self(StatusCode::BAD_REQUEST, detail.to_owned())
    }
}

impl From<JsonRejection> for Unreadable {
    fn from(rejection: JsonRejection) -> Self {
        let status = rejection.status();
        let detail = match status {
            StatusCode::PAYLOAD_TOO_LARGE => {
                "the body is larger than 4 MiB; a policy document has at most 1 MiB".to_owned()
            }
            _ => rejection.body_text(),
        };
        Self(status, detail)
    }
}

impl From<QueryRejection> for Unreadable {
    fn from(rejection: QueryRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Unreadable {
    fn from(rejection: PathRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for Unreadable {
    fn into_response(self) -> Response {
        problem(self.0, "bad_request", &self.1)
    }
}

/// A moment as RFC 3339 has it.
pub fn moment(text: &str) -> Result<Timestamp, Unreadable> {
    let moment: Result<jiff::Timestamp, _> = text.parse();
    moment
        .map(|moment| Timestamp::from_micros(moment.as_microsecond()))
        .map_err(|_| Unreadable::value("a moment is written like 2027-01-31T18:00:00Z"))
}

/// What is said when the store cannot be read or written.
pub fn store_problem(error: &StoreError) -> Response {
    if let StoreError::Unavailable(_) = error {
        let detail = error.to_string();
        return problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "store_unavailable",
            &detail,
        );
    }
    internal(error)
}

/// What is said of faults that only the log may tell more of.
pub fn internal(error: &(dyn std::error::Error + 'static)) -> Response {
    tracing::error!(error, "what the store holds cannot be read or written");
    let detail = "What the store holds cannot be read; the log says more.";
    problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
}

/// RFC 9457.
pub fn problem(status: StatusCode, code: &'static str, detail: &str) -> Response {
    problem_with(status, code, detail, json!({}))
}

/// The same, with members of its own for what programs need.
pub fn problem_with(status: StatusCode, code: &'static str, detail: &str, more: Value) -> Response {
    let mut members = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
        "request_id": uuid::Uuid::now_v7().to_string(),
    });
    if let (Value::Object(members), Value::Object(more)) = (&mut members, more) {
        members.extend(more);
    }
    let headers = [
        (CONTENT_TYPE, "application/problem+json"),
        (CACHE_CONTROL, "no-store"),
    ];
    (status, headers, members.to_string()).into_response()
}
