//! How the API says no: problems (RFC 9457), and what of a request cannot be read.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::admin::actor::NotPermitted;
use crate::admin::failure;
use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::web::receive::ReceiveFault;

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
            StatusCode::PAYLOAD_TOO_LARGE => too_large(),
            _ => rejection.body_text(),
        };
        Self(status, detail)
    }
}

fn too_large() -> String {
    "the body is larger than 48 MiB; a policy document has at most 32 MiB".to_owned()
}

impl From<ReceiveFault> for Unreadable {
    fn from(fault: ReceiveFault) -> Self {
        match fault {
            ReceiveFault::TooLong => Self(StatusCode::PAYLOAD_TOO_LARGE, too_large()),
            ReceiveFault::TooSlow => Self(StatusCode::REQUEST_TIMEOUT, fault.to_string()),
            ReceiveFault::BrokenOff => Self(StatusCode::BAD_REQUEST, fault.to_string()),
        }
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

/// What is said instead of an answer.
pub trait Refusal {
    /// A problem.
    fn refusal(self) -> Response;
}

/// The refusal that a handler ends with, whatever it came of.
pub struct Failure(Box<Response>);

/// What handlers give.
pub type Answer = Result<Json<Value>, Failure>;

impl<R: Refusal> From<R> for Failure {
    fn from(refused: R) -> Self {
        Self(Box::new(refused.refusal()))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        *self.0
    }
}

impl Refusal for Unreadable {
    fn refusal(self) -> Response {
        problem(self.0, "bad_request", &self.1)
    }
}

impl Refusal for JsonRejection {
    fn refusal(self) -> Response {
        Unreadable::from(self).refusal()
    }
}

impl Refusal for QueryRejection {
    fn refusal(self) -> Response {
        Unreadable::from(self).refusal()
    }
}

impl Refusal for PathRejection {
    fn refusal(self) -> Response {
        Unreadable::from(self).refusal()
    }
}

impl Refusal for StoreError {
    fn refusal(self) -> Response {
        store_problem(&self)
    }
}

/// A moment as RFC 3339 has it.
pub fn moment(text: &str) -> Result<Timestamp, Unreadable> {
    let moment: Result<jiff::Timestamp, _> = text.parse();
    moment
        .map(|moment| Timestamp::from_micros(moment.as_microsecond()))
        .map_err(|_| Unreadable::value("a moment is written like 2027-01-31T18:00:00Z"))
}

impl Refusal for failure::Failure {
    fn refusal(self) -> Response {
        match self {
            Self::NotPermitted(refused) => not_permitted(refused),
            Self::Store(error) => error.refusal(),
        }
    }
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
    let mut response = (status, headers, members.to_string()).into_response();
    response.extensions_mut().insert(Members(members));
    response
}

/// What a problem says, for whoever knows the request's id better.
#[derive(Clone)]
struct Members(Value);

/// The same problem under the id that the edge gave the request, which is in its log; anything else as it is.
pub fn under_id(mut response: Response, request_id: &str) -> Response {
    let Some(Members(mut members)) = response.extensions_mut().remove() else {
        return response;
    };
    members["request_id"] = request_id.into();
    let (mut head, _) = response.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, members.to_string().into())
}
