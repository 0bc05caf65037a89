//! The operators' API for policy, on the admin listener: translates between HTTP and [`Revisions`], and decides nothing.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderName, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use crate::admin::explain::{self, ExplainError};
use crate::admin::revisions::{Outcome, Revisions, RevisionsError, Writing};
use crate::clock::{Clock, SystemClock};
use crate::identity::principal::Groups;
use crate::policy::decide::{DenyReason, Shadow, Verdict};
use crate::policy::explain::Considered;
use crate::policy::model::{Action, Mode, Revision};
use crate::policy::yaml::{self, PolicyFault};
use crate::secret::{ExposeSecret, SecretString, TokenHash};
use crate::store::StoreError;
use crate::store::policy::RevisionRecord;

/// A document of 1 MiB as a JSON text.
const LARGEST_BODY: usize = 4 * 1024 * 1024;
/// Revisions of one page of history.
const PAGE: u16 = 50;
const LARGEST_PAGE: u16 = 500;

/// Only browsers send it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The hash of the operators' token; `None` when nobody may use the API.
type Guard = Option<TokenHash>;

/// All endpoints, behind the operators' token.
pub fn router(revisions: Revisions, token: Option<SecretString>) -> Router {
    let guard: Guard = token.map(|token| TokenHash::of(token.expose_secret().as_bytes()));
    Router::new()
        .route("/api/v1/policy/revisions", get(history))
        .route("/api/v1/policy/revisions/{revision}", get(show))
        .route("/api/v1/policy/diff", get(diff))
        .route("/api/v1/policy/document", get(export))
        .route("/api/v1/policy/plan", post(plan))
        .route("/api/v1/policy/apply", post(apply))
        .route("/api/v1/policy/rollback", post(rollback))
        .route("/api/v1/policy/explain", post(explain))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .route_layer(from_fn_with_state(guard, admit))
        .with_state(Arc::new(revisions))
}

/// Lets operators in. Browsers have no business here: a page of any origin can make them send requests.
async fn admit(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if headers.contains_key(ORIGIN) || headers.contains_key(SEC_FETCH_SITE) {
        let detail = "This API is for `wayleave policy` and other programs, not for browsers.";
        return problem(StatusCode::FORBIDDEN, "not_for_browsers", detail, json!({}));
    }
    let Some(token) = guard else {
        let detail = "Nobody may use this API: set admin.operator_token_file in the configuration, and restart.";
        return problem(
            StatusCode::FORBIDDEN,
            "no_operator_token",
            detail,
            json!({}),
        );
    };
    if !is_presented(headers, token) {
        let detail = "The operator token is missing or not the one that is configured.";
        let mut refused = problem(
            StatusCode::UNAUTHORIZED,
            "not_an_operator",
            detail,
            json!({}),
        );
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

type Shared = State<Arc<Revisions>>;
type Answer = Result<Json<Value>, Failure>;

#[derive(Deserialize)]
struct Page {
    before: Option<i64>,
    limit: Option<u16>,
}

async fn history(State(revisions): Shared, page: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(page) = page?;
    let limit = page.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let records = revisions.history(page.before.map(Revision), limit).await?;
    let records: Vec<Value> = records.iter().map(record).collect();
    Ok(Json(json!({ "revisions": records })))
}

async fn show(State(revisions): Shared, revision: Result<Path<i64>, PathRejection>) -> Answer {
    let Path(revision) = revision?;
    let (shown, changes) = revisions.show(Revision(revision)).await?;
    Ok(Json(
        json!({ "revision": record(&shown), "changes": changes }),
    ))
}

#[derive(Deserialize)]
struct Ends {
    from: i64,
    to: i64,
}

async fn diff(State(revisions): Shared, ends: Result<Query<Ends>, QueryRejection>) -> Answer {
    let Query(ends) = ends?;
    let changes = revisions
        .diff(Revision(ends.from), Revision(ends.to))
        .await?;
    Ok(Json(json!({ "changes": changes })))
}

#[derive(Deserialize)]
struct Wanted {
    revision: Option<i64>,
}

async fn export(State(revisions): Shared, wanted: Result<Query<Wanted>, QueryRejection>) -> Answer {
    let Query(wanted) = wanted?;
    let (revision, text) = revisions.export(wanted.revision.map(Revision)).await?;
    Ok(Json(json!({ "revision": number(revision), "text": text })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    text: String,
}

async fn plan(State(revisions): Shared, body: Result<Json<Document>, JsonRejection>) -> Answer {
    let Json(document) = body?;
    let plan = revisions.plan(&document.text, SystemClock.now()).await?;
    Ok(Json(json!({
        "parent": number(plan.parent),
        "changes": plan.changes,
        "rewords": plan.rewords,
        "findings": plan.findings,
        "is_empty": plan.is_empty(),
        "follows": revisions.follows,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    /// The revision that the author saw; `null` when there was none.
    parent: Option<i64>,
    author: Option<String>,
    message: String,
}

impl From<Note> for Writing {
    fn from(note: Note) -> Self {
        Self {
            parent: note.parent.map(Revision),
            author: match note.author {
                Some(name) => format!("operator ({name})"),
                None => "operator".to_owned(),
            },
            message: note.message,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Application {
    text: String,
    note: Note,
}

async fn apply(State(revisions): Shared, body: Result<Json<Application>, JsonRejection>) -> Answer {
    let Json(Application { text, note }) = body?;
    let outcome = revisions.apply(&text, &note.into()).await?;
    Ok(written(outcome))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Return {
    to: i64,
    note: Note,
}

async fn rollback(State(revisions): Shared, body: Result<Json<Return>, JsonRejection>) -> Answer {
    let Json(Return { to, note }) = body?;
    let outcome = revisions.rollback(Revision(to), &note.into()).await?;
    Ok(written(outcome))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    question: Value,
    revision: Option<i64>,
}

async fn explain(State(revisions): Shared, body: Result<Json<Asked>, JsonRejection>) -> Answer {
    let Json(Asked { question, revision }) = body?;
    let question = yaml::question(question).map_err(RevisionsError::Faults)?;
    let revision = revision.map(Revision);
    let answer = revisions
        .explain(question, revision, SystemClock.now())
        .await?;
    Ok(Json(explained(&answer)))
}

fn explained(answer: &explain::Answer) -> Value {
    let person = answer.principal.as_ref().map(|principal| {
        json!({
            "label": principal.label(),
            "provider": &*principal.provider,
            "groups": match &principal.groups {
                Groups::Known(names) => Some(names),
                Groups::Missing => None,
            },
            "claims": principal.claims,
            "acr": principal.acr,
        })
    });
    let revision = answer.revision.0;
    let Some(found) = &answer.found else {
        return json!({ "revision": revision, "person": person, "route": null });
    };
    let (verdict, rule) = verdict(&found.explanation.verdict);
    let shadow = found.shadow.as_ref().map(|shadow| match shadow {
        Shadow::WouldDeny { rule } => json!({ "would": "deny", "rule": &**rule }),
        Shadow::WouldAllow { rule } => json!({ "would": "allow", "rule": &**rule }),
    });
    json!({
        "revision": revision,
        "person": person,
        "route": found.route,
        "verdict": verdict,
        "rule": rule,
        "mesh_identity": found.mesh_identity.as_ref().ok(),
        "no_mesh_identity": found.mesh_identity.as_ref().err(),
        "shadow": shadow,
        "considered": found.explanation.considered.iter().map(considered).collect::<Vec<_>>(),
    })
}

fn verdict(verdict: &Verdict) -> (&'static str, Option<&str>) {
    match verdict {
        Verdict::Allow { rule } => ("allow", Some(rule)),
        Verdict::SignIn => ("sign_in", None),
        Verdict::StepUp { rule, .. } => ("step_up", Some(rule)),
        Verdict::Deny(DenyReason::Rule { rule }) => ("deny", Some(rule)),
        Verdict::Deny(DenyReason::NoRule) => ("deny", None),
        Verdict::Deny(DenyReason::Provider) => ("deny_provider", None),
    }
}

fn considered(rule: &Considered) -> Value {
    json!({
        "rule": &*rule.rule,
        "action": match rule.action {
            Action::Allow => "allow",
            Action::Deny => "deny",
        },
        "is_shadow": rule.mode == Mode::Shadow,
        "fails": rule.fails,
    })
}

fn written(outcome: Outcome) -> Json<Value> {
    Json(json!({ "revision": outcome.revision.0, "is_new": outcome.is_new }))
}

fn number(revision: Option<Revision>) -> Option<i64> {
    revision.map(|revision| revision.0)
}

fn record(record: &RevisionRecord) -> Value {
    json!({
        "revision": record.revision.0,
        "parent": number(record.parent),
        "author": record.author,
        "message": record.message,
        "created_at": record.created_at.rfc3339(),
    })
}

/// Why there is no answer.
enum Failure {
    Request(StatusCode, String),
    Revisions(RevisionsError),
    UnknownPerson(String),
}

impl From<ExplainError> for Failure {
    fn from(error: ExplainError) -> Self {
        let said = error.to_string();
        match error {
            ExplainError::UnknownPerson(_) => Self::UnknownPerson(said),
            ExplainError::Revisions(error) => Self::Revisions(error),
        }
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Self::Request(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self::Request(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Failure {
    fn from(rejection: PathRejection) -> Self {
        Self::Request(rejection.status(), rejection.body_text())
    }
}

impl From<RevisionsError> for Failure {
    fn from(error: RevisionsError) -> Self {
        Self::Revisions(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Request(status, detail) => problem(status, "bad_request", &detail, json!({})),
            Self::Revisions(error) => refusal(&error),
            Self::UnknownPerson(detail) => {
                problem(StatusCode::NOT_FOUND, "unknown_person", &detail, json!({}))
            }
        }
    }
}

fn refusal(error: &RevisionsError) -> Response {
    let detail = error.to_string();
    let say = |status, code, more| problem(status, code, &detail, more);
    match error {
        RevisionsError::Faults(faults) => {
            let faults: Vec<Value> = faults.iter().map(fault).collect();
            let more = json!({ "faults": faults });
            say(StatusCode::UNPROCESSABLE_ENTITY, "faulty_policy", more)
        }
        RevisionsError::Unknown(_) => say(StatusCode::NOT_FOUND, "no_such_revision", json!({})),
        RevisionsError::Conflict(current) => {
            let more = json!({ "current": current.as_deref().map(record) });
            say(StatusCode::CONFLICT, "conflict", more)
        }
        RevisionsError::Follows(file) => {
            let more = json!({ "file": file });
            say(StatusCode::CONFLICT, "follows_a_file", more)
        }
        RevisionsError::Note(_) => say(StatusCode::BAD_REQUEST, "bad_note", json!({})),
        RevisionsError::Store(StoreError::Unavailable(_)) => say(
            StatusCode::SERVICE_UNAVAILABLE,
            "store_unavailable",
            json!({}),
        ),
        RevisionsError::Snapshot(_) | RevisionsError::Store(_) => {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "policy cannot be read or written"
            );
            let detail = "What the store holds cannot be read; the log says more.";
            problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                detail,
                json!({}),
            )
        }
    }
}

fn fault(fault: &PolicyFault) -> Value {
    json!({ "line": fault.line, "column": fault.column, "key": fault.key, "message": fault.message })
}

/// RFC 9457, with members of its own for what programs need.
fn problem(status: StatusCode, code: &'static str, detail: &str, more: Value) -> Response {
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
