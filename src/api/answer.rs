//! How the API says no: problems (RFC 9457), and what of a request cannot be read.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::admin::actor::NotPermitted;
use crate::clock::Timestamp;
use crate::store::StoreError;

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

/// What is said to those who may not.
pub fn not_permitted(refused: NotPermitted) -> Response {
    let more = json!({ "permission": refused.0.as_str() });
    problem_with(
        StatusCode::FORBIDDEN,
        "not_permitted",
        &refused.to_string(),
        more,
    )
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
