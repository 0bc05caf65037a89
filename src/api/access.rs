//! Access for a time: [`crate::admin::access`] over HTTP. Times that last are in seconds.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::{AccessId, GrantRecord, Place, Request};
use crate::admin::access::standing::{Askable, Attempt, Standing, Unmet};
use crate::admin::access::{AccessError, Wish};
use crate::api::Api;
use crate::api::answer::{Answer, Refusal, Unreadable, problem, problem_with};
use crate::api::person::Person;
use crate::clock::Timestamp;
use crate::policy::words;
use crate::web::ask::Wanted;

type Shared = State<Arc<Api>>;
type Id = Result<Path<String>, PathRejection>;
type Body<T> = Result<Json<T>, JsonRejection>;

pub(super) async fn own(State(api): Shared, person: Person) -> Answer {
    let own = api.access.own(person.principal()).await?;
    Ok(Json(json!({
        "requests": own.requests.iter().map(request).collect::<Vec<_>>(),
        "grants": grants(&own.grants, api.access.now()),
    })))
}

pub(super) async fn to_decide(State(api): Shared, person: Person) -> Answer {
    let found = api.access.to_decide(person.principal()).await?;
    let now = api.access.now();
    Ok(Json(json!({
        "requests": found.open.iter().map(request).collect::<Vec<_>>(),
        "grants": grants(&found.live, now),
        "to_review": grants(&found.to_review, now),
    })))
}

/// What somebody wants to open, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    url: String,
    #[serde(default = "get")]
    method: String,
    reason: String,
    /// As long as the rule allows, if it is left out.
    seconds: Option<u64>,
    /// Without an approval, where the rule lets that be.
    #[serde(default)]
    break_glass: bool,
}

fn get() -> String {
    "GET".to_owned()
}

pub(super) async fn ask(State(api): Shared, person: Person, body: Body<Ask>) -> Answer {
    let Json(ask) = body?;
    let wanted = Wanted::parse(&ask.method, &ask.url, &person.home).ok_or_else(|| {
        Unreadable::value("`url` is no address of an application behind this edge, written whole")
    })?;
    let askable = match standing(&api, &person, &wanted) {
        Standing::Ask(askable) => askable,
        Standing::Open => return Err(NotAsked::Open.into()),
        Standing::StepUp(unmet) => return Err(NotAsked::StepUp(unmet).into()),
        Standing::Closed => return Err(NotAsked::Closed.into()),
    };
    let Askable {
        rule,
        route,
        approval,
    } = askable;
    let wish = Wish {
        rule,
        place: Place {
            route,
            host: wanted.host.as_str().to_owned(),
            target: wanted.target(),
            method: wanted.method,
        },
        reason: ask.reason,
        lasting: ask.seconds.map_or(approval.at_most, Duration::from_secs),
    };
    let id = if ask.break_glass {
        api.access.break_glass(person.actor(), wish).await?
    } else {
        api.access.ask(person.actor(), wish).await?
    };
    told(&api, &person, &id).await
}

/// What a browser would send with it later is not known yet.
fn standing(api: &Api, person: &Person, wanted: &Wanted) -> Standing {
    api.access.standing(Attempt {
        principal: person.principal(),
        method: &wanted.method,
        host: &wanted.host,
        path: &wanted.path,
        peer: person.peer,
        headers: |_policy: &_| None,
    })
}

pub(super) async fn show(State(api): Shared, person: Person, id: Id) -> Answer {
    told(&api, &person, &named(id)?).await
}

/// A request of one's own, and its grant once there is one.
async fn told(api: &Api, person: &Person, id: &AccessId) -> Answer {
    let found = api.access.own_request(person.principal(), id).await?;
    let grant = api.access.own_grant(person.principal(), id).await?;
    let is_heard_of = api
        .access
        .has_heard_of(person.principal(), &found.asked().rule);
    let now = api.access.now();
    Ok(Json(json!({
        "request": request(&found),
        "grant": grant.as_ref().map(|one| self::grant(one, now)),
        // A grant that was made at another edge gets here a moment later.
        "in_force": grant.is_some_and(|grant| grant.is_live(now)) && is_heard_of,
    })))
}

/// For how long, if not for as long as was asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Approval {
    seconds: Option<u64>,
}

pub(super) async fn approve(
    State(api): Shared,
    person: Person,
    id: Id,
    body: Body<Approval>,
) -> Answer {
    let (id, Json(approval)) = (named(id)?, body?);
    let lasting = approval.seconds.map(Duration::from_secs);
    api.access.approve(person.actor(), &id, lasting).await?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Declining {
    reason: String,
}

pub(super) async fn refuse(
    State(api): Shared,
    person: Person,
    id: Id,
    body: Body<Declining>,
) -> Answer {
    let (id, Json(Declining { reason })) = (named(id)?, body?);
    api.access.refuse(person.actor(), &id, &reason).await?;
    done()
}

pub(super) async fn withdraw(State(api): Shared, person: Person, id: Id) -> Answer {
    api.access.withdraw(person.actor(), &named(id)?).await?;
    done()
}

pub(super) async fn revoke(State(api): Shared, person: Person, id: Id) -> Answer {
    api.access.revoke(person.actor(), &named(id)?).await?;
    done()
}

pub(super) async fn give_back(State(api): Shared, person: Person, id: Id) -> Answer {
    api.access.give_back(person.actor(), &named(id)?).await?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Review {
    note: String,
}

pub(super) async fn review(
    State(api): Shared,
    person: Person,
    id: Id,
    body: Body<Review>,
) -> Answer {
    let (id, Json(Review { note })) = (named(id)?, body?);
    api.access.review(person.actor(), &id, &note).await?;
    done()
}

fn named(id: Id) -> Result<AccessId, PathRejection> {
    let Path(id) = id?;
    Ok(AccessId(id.into()))
}

fn done() -> Answer {
    Ok(Json(json!({})))
}

fn request(request: &Request) -> Value {
    let (state, by, why) = match request {
        Request::Open(_) => ("open", None, None),
        Request::Granted(_) => ("granted", None, None),
        Request::Refused { by, why, .. } => ("refused", Some(by), Some(why)),
        Request::Withdrawn(_) => ("withdrawn", None, None),
        Request::Expired(_) => ("expired", None, None),
    };
    let asked = request.asked();
    json!({
        "id": asked.id.0,
        "state": state,
        "user": asked.principal.label(),
        "provider": &*asked.principal.provider,
        "rule": asked.rule,
        "route": asked.place.route,
        "method": asked.place.method,
        "host": asked.place.host,
        "target": asked.place.target,
        "reason": asked.reason,
        "seconds": asked.lasting.as_secs(),
        "asked_at": asked.at.rfc3339(),
        "expires_at": asked.expires_at.rfc3339(),
        "decided_by": by,
        "why": why,
    })
}

fn grants(grants: &[GrantRecord], now: Timestamp) -> Vec<Value> {
    grants.iter().map(|one| grant(one, now)).collect()
}

fn grant(grant: &GrantRecord, now: Timestamp) -> Value {
    json!({
        "id": grant.id.0,
        "live": grant.is_live(now),
        "user": grant.principal.label(),
        "provider": &*grant.principal.provider,
        "rule": grant.rule,
        "reason": grant.reason,
        "by": grant.by,
        "since": grant.at.rfc3339(),
        "until": grant.until.rfc3339(),
        "ended_at": grant.ended_at.map(Timestamp::rfc3339),
        "break_glass": grant.break_glass,
        "reviewed_by": grant.reviewed_by,
    })
}

/// Why there is nothing to ask for.
enum NotAsked {
    Open,
    StepUp(Unmet),
    Closed,
}

impl Refusal for NotAsked {
    fn refusal(self) -> Response {
        match self {
            Self::Open => {
                let detail = "Nothing has to be asked for: you may open it already.";
                problem(StatusCode::CONFLICT, "open_already", detail)
            }
            Self::StepUp(Unmet {
                rule,
                require,
                asks,
            }) => {
                let how = words::requirement(&require);
                let detail = match asks {
                    true => format!(
                        "Sign in again first, {how}: only then does the access rule {rule} let you ask."
                    ),
                    false => format!(
                        "Nothing has to be asked for: the access rule {rule} lets you open it once you have signed in again, {how}."
                    ),
                };
                let more = json!({ "acr_values": require.acr, "max_age": require.max_age });
                problem_with(StatusCode::FORBIDDEN, "step_up_required", &detail, more)
            }
            Self::Closed => {
                let detail = "The access rules do not let you ask for this.";
                problem(StatusCode::FORBIDDEN, "nothing_to_ask_for", detail)
            }
        }
    }
}

impl Refusal for AccessError {
    fn refusal(self) -> Response {
        if let Self::Store(error) = self {
            return error.refusal();
        }
        let (status, code) = self.answer();
        problem(status, code, &self.to_string())
    }
}
