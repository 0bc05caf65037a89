//! Signing keys over HTTP: [`crate::admin::keys`].

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::Response;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::actor::Actor;
use crate::admin::keys::{KeysError, Revocation, Rotation};
use crate::api::Api;
use crate::api::answer::{Answer, Refusal, not_permitted, problem};
use crate::api::policy::named;
use crate::token::ring::KeyFact;

type Shared = State<Arc<Api>>;

/// A JWK set, which `audit verify --keys` reads as well.
pub(super) async fn list(State(api): Shared, Extension(actor): Extension<Actor>) -> Answer {
    let keys = api.keys.list(&actor).await?;
    let keys: Vec<Value> = keys.iter().map(KeyFact::document).collect();
    Ok(Json(json!({ "keys": keys })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Says what would happen, and does nothing.
    #[serde(default)]
    preview: bool,
    author: Option<String>,
}

pub(super) async fn rotate(
    State(api): Shared,
    Extension(actor): Extension<Actor>,
    body: Result<Json<Asked>, JsonRejection>,
) -> Answer {
    let Json(asked) = body?;
    let actor = named(actor, asked.author)?;
    let rotation = match asked.preview {
        true => api.keys.preview_rotation(&actor).await?,
        false => api.keys.rotate(&actor).await?,
    };
    Ok(Json(rotated(&rotation, asked.preview)))
}

fn rotated(rotation: &Rotation, preview: bool) -> Value {
    json!({
        "preview": preview,
        "active": &*rotation.active.kid,
        "signs_from": rotation.signs_from.rfc3339(),
        "published_until": rotation.published_until.rfc3339(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoked {
    kid: String,
    #[serde(default)]
    preview: bool,
    author: Option<String>,
}

pub(super) async fn revoke(
    State(api): Shared,
    Extension(actor): Extension<Actor>,
    body: Result<Json<Revoked>, JsonRejection>,
) -> Answer {
    let Json(asked) = body?;
    let actor = named(actor, asked.author)?;
    let Revocation { key, signs } = match asked.preview {
        true => api.keys.preview_revocation(&actor, &asked.kid).await?,
        false => api.keys.revoke(&actor, &asked.kid).await?,
    };
    let (kid, state) = (&*key.kid, key.state.as_str());
    Ok(Json(
        json!({ "preview": asked.preview, "kid": kid, "state": state, "signs": signs }),
    ))
}

impl Refusal for KeysError {
    fn refusal(self) -> Response {
        let detail = self.to_string();
        let conflict = |code| problem(StatusCode::CONFLICT, code, &detail);
        match self {
            KeysError::NotPermitted(refused) => not_permitted(refused),
            KeysError::Store(error) => error.refusal(),
            KeysError::UnderWay(..) => conflict("rotation_under_way"),
            KeysError::Overtaken => conflict("keys_overtaken"),
            KeysError::Revoked => conflict("key_revoked"),
            KeysError::Unknown(_) => problem(StatusCode::NOT_FOUND, "no_such_key", &detail),
        }
    }
}
