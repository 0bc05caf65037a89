//! The audit log over HTTP.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::actor::Actor;
use crate::admin::events;
use crate::api::Api;
use crate::api::answer::{Answer, Unreadable, moment};
use crate::audit::chain::Entry;
use crate::audit::event::kinds;
use crate::clock::Timestamp;
use crate::store::audit::{EventFilter, PAGE};

type Shared = State<Arc<Api>>;

/// Oldest first after `after`, or newest first before `before` or from the end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
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
        if { self.kind.as_deref() }.is_some_and(|kind| kinds::named(kind).is_none()) {
            return Err(Unreadable::value(
                "there is no such kind of event; docs/audit.md has all of them",
            ));
        }
        Ok(EventFilter {
            kind: self.kind,
            actor: self.actor,
            since: self.since.as_deref().map(moment).transpose()?,
            until: self.until.as_deref().map(moment).transpose()?,
            contains: self.contains,
        })
    }
}

pub(super) async fn list(
    State(api): Shared,
    Extension(actor): Extension<Actor>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Answer {
    let Query(wanted) = wanted?;
    let limit = wanted.limit.map_or(PAGE, i64::from);
    let (after, before) = (wanted.after, wanted.before);
    let filter = wanted.filter()?;
    // The head comes first: after the events it could tell of one that came in between, which would look as if it were missing.
    let store = &api.store;
    let (seq, hash) = events::head(store, &actor).await?;
    let found = match after {
        Some(after) => events::page_after(store, &actor, &filter, after, limit).await?,
        None => events::search(store, &actor, &filter, before, limit).await?,
    };
    let events: Vec<Value> = found.iter().map(event).collect();
    let head = json!({ "seq": seq, "hash": hash.to_string() });
    Ok(Json(json!({ "events": events, "head": head })))
}

/// `body` is the text that was hashed.
fn event(entry: &Entry) -> Value {
    let time = Timestamp::from_micros(entry.at).rfc3339();
    let filed = entry.filed.as_ref();
    json!({
        "seq": entry.seq, "at": entry.at, "time": time, "body": entry.body, "hash": entry.hash,
        "kind": filed.map(|filed| &filed.kind), "actor": filed.map(|filed| &filed.actor),
    })
}

pub(super) async fn checkpoints(State(api): Shared, Extension(actor): Extension<Actor>) -> Answer {
    let evidence = events::evidence(&api.store, &actor).await?;
    let checkpoints: Vec<Value> = { evidence.checkpoints.iter() }
        .map(|one| json!({ "seq": one.seq, "time": one.at.rfc3339(), "token": one.token }))
        .collect();
    let keys = api.keys.minter.all_keys();
    let policy = evidence.policy.map(
        |policy| json!({ "revision": policy.revision, "digest": policy.digest, "seq": policy.seq }),
    );
    Ok(Json(
        json!({ "checkpoints": checkpoints, "keys": keys, "policy": policy }),
    ))
}
