//! Deciding: what others ask for, have, and took without asking, as far as it is for whoever looks to decide.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, Response, StatusCode};

use crate::access::{GrantRecord, Request};
use crate::admin::access::Access;
use crate::clock::Timestamp;
use crate::identity::principal::Principal;
use crate::portal::frame::Frame;
use crate::portal::standing;
use crate::portal::{Portal, PortalError, reply};
use crate::web;
use crate::web::lengths::{self, Length};
use crate::web::moment::Moment;
use crate::web::request_info::RequestInfo;

#[derive(Template)]
#[template(path = "portal/requests.html")]
struct RequestsPage {
    frame: Frame,
    open: Vec<Open>,
    live: Vec<Grant>,
    to_review: Vec<Grant>,
}

struct Open {
    id: String,
    who: String,
    rule: String,
    what: String,
    opens: String,
    why: String,
    at: Moment,
    lasting: String,
    lengths: Vec<Length>,
}

struct Grant {
    id: String,
    who: String,
    rule: String,
    why: String,
    by: String,
    until: Moment,
    is_over: bool,
    break_glass: bool,
}

/// `GET /access/requests`.
pub(super) async fn show(
    State(portal): State<Arc<Portal>>,
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
) -> Response<Body> {
    let result = portal.requests(&info, &headers);
    reply::answer(&info, &headers, result.await)
}

impl Portal {
    async fn requests(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, PortalError> {
        let visitor = self.visitor(info, headers, "/access/requests").await?;
        let to_decide = self.access.to_decide(visitor.principal()).await?;
        let now = self.access.now();
        let open = to_decide
            .open
            .iter()
            .map(|one| open(&self.access, one, now));
        let open: Result<Vec<Open>, PortalError> = open.collect();
        let here = ("/access/requests", "Requests to decide");
        let page = RequestsPage {
            frame: self.frame(info, &visitor, here).await,
            open: open?,
            live: to_decide.live.iter().map(|one| grant(one, now)).collect(),
            to_review: to_decide
                .to_review
                .iter()
                .map(|one| grant(one, now))
                .collect(),
        };
        Ok(web::reply::page_with_script(info, StatusCode::OK, &page)?)
    }
}

fn open(access: &Access, request: &Request, now: Timestamp) -> Result<Open, PortalError> {
    let asked = request.asked();
    Ok(Open {
        id: asked.id.0.to_string(),
        who: who(&asked.principal),
        rule: asked.rule.to_string(),
        what: standing::what(&standing::wanted(&asked.place)?),
        opens: access.opens(&asked.rule),
        why: asked.reason.clone(),
        at: Moment::of(asked.at, now),
        lasting: lengths::text(asked.lasting),
        lengths: lengths::up_to(asked.lasting, Some(asked.lasting)),
    })
}

fn grant(grant: &GrantRecord, now: Timestamp) -> Grant {
    Grant {
        id: grant.id.0.to_string(),
        who: who(&grant.principal),
        rule: grant.rule.to_string(),
        why: grant.reason.clone(),
        by: grant.by.clone(),
        until: Moment::of(grant.ended_at.unwrap_or(grant.until), now),
        is_over: !grant.is_live(now),
        break_glass: grant.break_glass,
    }
}

/// Two people may have one address, at two providers.
fn who(principal: &Principal) -> String {
    format!("{}, signed in at {}", principal.label(), principal.provider)
}
