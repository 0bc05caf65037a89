//! Making another signing key, and taking one out of use: with a page in between that says what comes of it.

use askama::Template;
use axum::extract::State;

use crate::admin::keys::{KeyFact, KeyState, Rotation};
use crate::clock::Timestamp;
use crate::console::Shared;
use crate::console::answer::{Answer, Refused, page, see_other};
use crate::console::frame::Frame;
use crate::console::guard::{Query, Submitted, Visit};
use crate::console::link;
use crate::web::moment::Moment;

/// A key as the settings show it.
pub(super) struct Row {
    pub(super) kid: String,
    pub(super) state: &'static str,
    pub(super) tone: &'static str,
    pub(super) told: &'static str,
    pub(super) at: Moment,
    pub(super) may_be_revoked: bool,
    pub(super) revoke_path: String,
}

impl Row {
    pub(super) fn of(key: &KeyFact, now: Timestamp) -> Self {
        let (tone, told, at) = match key.state {
            KeyState::Next => ("", "begins to sign", Some(key.signs_from)),
            KeyState::Active => ("good", "began to sign", Some(key.signs_from)),
            KeyState::Retired => ("", "no longer published", key.published_until),
            KeyState::Archived => ("", "stopped signing", key.signs_until),
            KeyState::Revoked => ("bad", "revoked", key.revoked_at),
        };
        Self {
            kid: key.kid.to_string(),
            state: key.state.as_str(),
            tone,
            told,
            at: Moment::of(at.unwrap_or(key.created_at), now),
            may_be_revoked: key.state != KeyState::Revoked,
            revoke_path: link::with_query("/console/keys/revoke", &[("key", &key.kid)]),
        }
    }
}

#[derive(Template)]
#[template(path = "console/keys_rotate.html")]
struct RotatePage {
    frame: Frame,
    active: String,
    signs_from: Moment,
    published_until: Moment,
}

/// `GET /console/keys/rotate`.
pub(super) async fn ask_rotate(State(console): Shared, visit: Visit) -> Answer {
    let Rotation {
        active,
        signs_from,
        published_until,
    } = console.keys.preview_rotation(&visit.actor).await?;
    let now = console.clock.now();
    page(&RotatePage {
        frame: Frame::of(&visit, "Rotate the signing key"),
        active: active.kid.to_string(),
        signs_from: Moment::of(signs_from, now),
        published_until: Moment::of(published_until, now),
    })
}

/// `POST /console/keys/rotate`.
pub(super) async fn rotate(
    State(console): Shared,
    visit: Visit,
    Submitted(_form): Submitted,
) -> Answer {
    console.keys.rotate(&visit.actor).await?;
    see_other("/console/settings?done=rotated")
}

#[derive(Template)]
#[template(path = "console/keys_revoke.html")]
struct RevokePage {
    frame: Frame,
    kid: String,
    signs: bool,
}

/// `GET /console/keys/revoke`.
pub(super) async fn ask_revoke(
    State(console): Shared,
    visit: Visit,
    Query(query): Query,
) -> Answer {
    let kid = query.one("key").ok_or(Refused::NotFound)?;
    let revocation = console.keys.preview_revocation(&visit.actor, kid).await?;
    page(&RevokePage {
        frame: Frame::of(&visit, "Revoke a signing key"),
        kid: kid.to_owned(),
        signs: revocation.signs,
    })
}

/// `POST /console/keys/revoke`.
pub(super) async fn revoke(
    State(console): Shared,
    visit: Visit,
    Submitted(form): Submitted,
) -> Answer {
    let kid = form.one("key").ok_or(Refused::NotFound)?;
    console.keys.revoke(&visit.actor, kid).await?;
    see_other("/console/settings?done=revoked")
}

#[cfg(test)]
pub(super) fn sample_row(text: &str) -> Row {
    Row {
        kid: text.to_owned(),
        state: "active",
        tone: "good",
        told: "began to sign",
        at: Moment::of(Timestamp::from_seconds(0), Timestamp::from_seconds(90)),
        may_be_revoked: true,
        revoke_path: link::with_query("/console/keys/revoke", &[("key", text)]),
    }
}

#[cfg(test)]
pub(super) fn samples(text: &str) -> Vec<String> {
    let moment = Moment::of(Timestamp::from_seconds(90), Timestamp::from_seconds(0));
    let rotate = RotatePage {
        frame: Frame::sample(text),
        active: text.to_owned(),
        signs_from: moment.clone(),
        published_until: moment,
    };
    let revoke = RevokePage {
        frame: Frame::sample(text),
        kid: text.to_owned(),
        signs: true,
    };
    vec![rotate.render().unwrap(), revoke.render().unwrap()]
}
