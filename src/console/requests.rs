//! Access for a time: what waits for a decision, what holds and what became of the rest; and deciding it, with a page in between before something is
//! taken away.

use askama::Template;
use axum::extract::{Path, State};

use crate::access::{AccessId, Closed, GrantRecord, Request};
use crate::admin::access::everybody::Seen;
use crate::admin::access::{Access, AccessError, Actor, LONGEST_REASON};
use crate::clock::Timestamp;
use crate::console::Shared;
use crate::console::answer::{Answer, Refused, page, see_other, sentence};
use crate::console::frame::Frame;
use crate::console::guard::{Submitted, Visit};
use crate::web::lengths::{self, Length};
use crate::web::moment::Moment;

impl From<AccessError> for Refused {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Store(error) => error.into(),
            AccessError::Unknown => Self::NotFound,
            AccessError::Reason | AccessError::Lasting(_) => Self::Unreadable(sentence(&error)),
            AccessError::NotToAsk(_)
            | AccessError::NoBreakGlass(_)
            | AccessError::NotApprover
            | AccessError::Oneself
            | AccessError::TooMany
            | AccessError::TooOften
            | AccessError::Asked(_)
            | AccessError::TakenAway
            | AccessError::Over => Self::Conflict(sentence(&error)),
        }
    }
}

struct Open {
    id: String,
    who: String,
    provider: String,
    method: String,
    host: String,
    target: String,
    rule: String,
    opens: String,
    why: String,
    at: Moment,
    expires: Moment,
    lasting: String,
    lengths: Vec<Length>,
    hindrance: Option<String>,
}

impl Open {
    fn of(access: &Access, seen: &Seen<Request>, now: Timestamp) -> Self {
        let asked = seen.what.asked();
        Self {
            id: asked.id.0.to_string(),
            who: asked.principal.label().to_owned(),
            provider: asked.principal.provider.to_string(),
            method: asked.place.method.clone(),
            host: asked.place.host.clone(),
            target: asked.place.target.clone(),
            rule: asked.rule.to_string(),
            opens: access.opens(&asked.rule),
            why: asked.reason.clone(),
            at: Moment::of(asked.at, now),
            expires: Moment::of(asked.expires_at, now),
            lasting: lengths::text(asked.lasting),
            lengths: lengths::up_to(asked.lasting, Some(asked.lasting)),
            hindrance: seen.hindrance.clone(),
        }
    }
}

struct Grant {
    id: String,
    who: String,
    provider: String,
    rule: String,
    why: String,
    by: String,
    since: Moment,
    until: Moment,
    is_live: bool,
    break_glass: bool,
    hindrance: Option<String>,
}

impl Grant {
    fn of(grant: &GrantRecord, hindrance: Option<String>, now: Timestamp) -> Self {
        Self {
            id: grant.id.0.to_string(),
            who: grant.principal.label().to_owned(),
            provider: grant.principal.provider.to_string(),
            rule: grant.rule.to_string(),
            why: grant.reason.clone(),
            by: grant.by.clone(),
            since: Moment::of(grant.at, now),
            until: Moment::of(grant.ended_at.unwrap_or(grant.until), now),
            is_live: grant.is_live(now),
            break_glass: grant.break_glass,
            hindrance,
        }
    }

    fn all(seen: &[Seen<GrantRecord>], now: Timestamp) -> Vec<Self> {
        let all = seen.iter();
        all.map(|seen| Self::of(&seen.what, seen.hindrance.clone(), now))
            .collect()
    }
}

struct Decided {
    who: String,
    provider: String,
    rule: String,
    why: String,
    outcome: &'static str,
    tone: &'static str,
    by: Option<String>,
    said: Option<String>,
    at: Moment,
}

impl Decided {
    fn of(closed: &Closed, now: Timestamp) -> Self {
        let asked = closed.request.asked();
        let (outcome, tone, said) = match (&closed.request, &closed.by) {
            (Request::Granted(_), Some(_)) => ("granted", "good", None),
            (Request::Granted(_), None) => ("taken without asking", "warn", None),
            (Request::Refused { why, .. }, _) => ("refused", "bad", Some(why.clone())),
            (Request::Withdrawn(_), _) => ("taken back", "", None),
            (Request::Expired(_) | Request::Open(_), _) => ("not decided in time", "", None),
        };
        Self {
            who: asked.principal.label().to_owned(),
            provider: asked.principal.provider.to_string(),
            rule: asked.rule.to_string(),
            why: asked.reason.clone(),
            outcome,
            tone,
            by: closed.by.clone(),
            said,
            at: Moment::of(closed.at, now),
        }
    }
}

#[derive(Template)]
#[template(path = "console/requests.html")]
struct RequestsPage {
    frame: Frame,
    open: Vec<Open>,
    to_review: Vec<Grant>,
    live: Vec<Grant>,
    decided: Vec<Decided>,
    longest_reason: usize,
}

/// `GET /console/requests`.
pub(super) async fn list(State(console): Shared, visit: Visit) -> Answer {
    let found = console.access.everybodys(&visit.actor).await?;
    let now = console.access.now();
    // What can be decided comes before what others decide.
    let mut open: Vec<Open> = found
        .open
        .iter()
        .map(|one| Open::of(&console.access, one, now))
        .collect();
    open.sort_by_key(|one| one.hindrance.is_some());
    page(&RequestsPage {
        frame: Frame::of(&visit, "Requests"),
        open,
        to_review: Grant::all(&found.to_review, now),
        live: Grant::all(&found.live, now),
        decided: found
            .closed
            .iter()
            .map(|one| Decided::of(one, now))
            .collect(),
        longest_reason: LONGEST_REASON,
    })
}

/// Whoever decides, from which session.
fn decider(visit: &Visit) -> Actor<'_> {
    Actor {
        principal: &visit.principal,
        session: Some(&visit.label),
    }
}

fn done(code: &str) -> Answer {
    see_other(&format!("/console/requests?done={code}"))
}

/// `POST /console/requests/{id}/approve`.
pub(super) async fn approve(
    State(console): Shared,
    visit: Visit,
    Path(id): Path<String>,
    Submitted(form): Submitted,
) -> Answer {
    let lasting = form.one("lasting").unwrap_or_default();
    let lasting = lengths::parse(lasting)
        .ok_or_else(|| Refused::Unreadable("This is no length of time.".to_owned()))?;
    let (actor, id) = (decider(&visit), AccessId(id.into()));
    console.access.approve(actor, &id, Some(lasting)).await?;
    done("granted")
}

/// `POST /console/requests/{id}/refuse`.
pub(super) async fn refuse(
    State(console): Shared,
    visit: Visit,
    Path(id): Path<String>,
    Submitted(form): Submitted,
) -> Answer {
    let why = form.one("why").unwrap_or_default();
    let (actor, id) = (decider(&visit), AccessId(id.into()));
    console.access.refuse(actor, &id, why).await?;
    done("refused")
}

/// `POST /console/grants/{id}/review`.
pub(super) async fn review(
    State(console): Shared,
    visit: Visit,
    Path(id): Path<String>,
    Submitted(form): Submitted,
) -> Answer {
    let note = form.one("note").unwrap_or_default();
    let (actor, id) = (decider(&visit), AccessId(id.into()));
    console.access.review(actor, &id, note).await?;
    done("reviewed")
}

#[derive(Template)]
#[template(path = "console/grants_revoke.html")]
struct RevokePage {
    frame: Frame,
    grant: Grant,
}

/// `GET /console/grants/{id}/revoke`: says what would end.
pub(super) async fn ask_revoke(
    State(console): Shared,
    visit: Visit,
    Path(id): Path<String>,
) -> Answer {
    let (actor, id) = (decider(&visit), AccessId(id.into()));
    let grant = console.access.revocable(actor, &id).await?;
    page(&RevokePage {
        frame: Frame::of(&visit, "Take a grant away"),
        grant: Grant::of(&grant, None, console.access.now()),
    })
}

/// `POST /console/grants/{id}/revoke`.
pub(super) async fn revoke(
    State(console): Shared,
    visit: Visit,
    Path(id): Path<String>,
    Submitted(_form): Submitted,
) -> Answer {
    let (actor, id) = (decider(&visit), AccessId(id.into()));
    console.access.revoke(actor, &id).await?;
    done("taken-away")
}

#[cfg(test)]
pub(super) fn samples(text: &str) -> Vec<(&'static str, String)> {
    let moment = || Moment::of(Timestamp::from_seconds(0), Timestamp::from_seconds(90));
    let said = || text.to_owned();
    let grant = |hindrance: Option<String>| Grant {
        id: said(),
        who: said(),
        provider: said(),
        rule: said(),
        why: said(),
        by: said(),
        since: moment(),
        until: moment(),
        is_live: true,
        break_glass: hindrance.is_none(),
        hindrance,
    };
    let open = |hindrance: Option<String>| Open {
        id: said(),
        who: said(),
        provider: said(),
        method: said(),
        host: said(),
        target: said(),
        rule: said(),
        opens: said(),
        why: said(),
        at: moment(),
        expires: moment(),
        lasting: said(),
        lengths: vec![Length {
            value: said(),
            is_chosen: true,
        }],
        hindrance,
    };
    let list = RequestsPage {
        frame: Frame::sample(text),
        open: vec![open(None), open(Some(said()))],
        to_review: vec![grant(None), grant(Some(said()))],
        live: vec![grant(None), grant(Some(said()))],
        decided: vec![Decided {
            who: said(),
            provider: said(),
            rule: said(),
            why: said(),
            outcome: "refused",
            tone: "bad",
            by: Some(said()),
            said: Some(said()),
            at: moment(),
        }],
        longest_reason: 500,
    };
    let revoke = RevokePage {
        frame: Frame::sample(text),
        grant: grant(None),
    };
    vec![
        ("requests", list.render().unwrap()),
        ("grants_revoke", revoke.render().unwrap()),
    ]
}
