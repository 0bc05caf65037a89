//! The operators' API for the audit log.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::operators::{Unreadable, moment, store_problem};
use crate::audit::chain::Entry;
use crate::clock::Timestamp;
use crate::store::Store;
use crate::store::audit::{EventFilter, PAGE};
use crate::token::assertion::Minter;

/// What the endpoints look at.
pub struct AuditLog {
    /// Where the events are.
    pub store: Store,
    /// Whose keys sign checkpoints.
    pub minter: Arc<Minter>,
}

/// All endpoints.
pub fn router(log: AuditLog) -> Router {
    Router::new()
        .route("/api/v1/audit/events", get(events))
        .route("/api/v1/audit/checkpoints", get(checkpoints))
        .with_state(Arc::new(log))
}

type Shared = State<Arc<AuditLog>>;

/// Oldest first after `after`, or newest first before `before` or from the end.
#[derive(Deserialize)]
struct Wanted {
    after: Option<i64>,
    before: Option<i64>,
    limit: Option<u16>,
    kind: Option<String>,
    actor: Option<String>,
    since: Option<String>,
    until: Option<String>,
    contains: Option<String>,
}

impl Wanted {
    fn filter(self) -> Result<EventFilter, Unreadable> {
        Ok(EventFilter {
            kind: self.kind,
            actor: self.actor,
            since: self.since.as_deref().map(moment).transpose()?,
            until: self.until.as_deref().map(moment).transpose()?,
            contains: self.contains,
        })
    }
}

async fn events(
    State(log): Shared,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Response> {
    let Query(wanted) = wanted.map_err(|error| Unreadable::from(error).into_response())?;
    let limit = wanted.limit.map_or(PAGE, i64::from);
    let (after, before) = (wanted.after, wanted.before);
    let filter = wanted.filter().map_err(IntoResponse::into_response)?;
    // The head comes first: after the events it could tell of one that came in between, which would look as if it were missing.
    let head = log.store.audit_head().await;
    let (seq, hash) = head.map_err(|error| store_problem(&error))?;
    let found = match after {
        Some(after) => log.store.events_after(after, &filter, limit).await,
        None => {
            let before = before.unwrap_or(i64::MAX);
            log.store.events_before(before, &filter, limit).await
        }
    };
    let found = found.map_err(|error| store_problem(&error))?;
    let events: Vec<Value> = found.iter().map(event).collect();
    let head = json!({ "seq": seq, "hash": hash.to_string() });
    Ok(Json(json!({ "events": events, "head": head })).into_response())
}

/// `body` is the text that was hashed.
fn event(entry: &Entry) -> Value {
    let time = Timestamp::from_micros(entry.at).rfc3339();
    json!({ "seq": entry.seq, "at": entry.at, "time": time, "body": entry.body, "hash": entry.hash })
}

async fn checkpoints(State(log): Shared) -> Result<Response, Response> {
    let found = log.store.checkpoints().await;
    let found = found.map_err(|error| store_problem(&error))?;
    let checkpoints: Vec<Value> = found
        .iter()
        .map(|one| json!({ "seq": one.seq, "time": one.at.rfc3339(), "token": one.token }))
        .collect();
    let keys = log.minter.jwks();
    Ok(Json(json!({ "checkpoints": checkpoints, "keys": keys })).into_response())
}
