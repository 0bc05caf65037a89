//! One's own requests and grants.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, Response, StatusCode};

use crate::access::{GrantRecord, Request};
use crate::clock::Timestamp;
use crate::portal::frame::Frame;
use crate::portal::standing;
use crate::portal::{Portal, PortalError, reply};
use crate::web;
use crate::web::moment::Moment;
use crate::web::request_info::RequestInfo;

#[derive(Template)]
#[template(path = "portal/mine.html")]
struct MinePage {
    frame: Frame,
    requests: Vec<Asked>,
    grants: Vec<Grant>,
}

struct Asked {
    id: String,
    rule: String,
    what: String,
    why: String,
    at: Moment,
    state: &'static str,
    tone: &'static str,
    said: Option<String>,
    is_open: bool,
}

struct Grant {
    id: String,
    rule: String,
    why: String,
    by: String,
    until: Moment,
    state: &'static str,
    is_live: bool,
}

/// `GET /access/mine`.
pub(super) async fn show(
    State(portal): State<Arc<Portal>>,
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
) -> Response<Body> {
    let result = portal.mine(&info, &headers);
    reply::answer(&info, &headers, result.await)
}

impl Portal {
    async fn mine(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, PortalError> {
        let visitor = self.visitor(info, headers, "/access/mine").await?;
        let own = self.access.own(visitor.principal()).await?;
        let now = self.access.now();
        let requests = own.requests.iter().map(|one| asked(one, now));
        let requests: Result<Vec<Asked>, PortalError> = requests.collect();
        let here = ("/access/mine", "Your requests and grants");
        let page = MinePage {
            frame: self.frame(info, &visitor, here).await,
            requests: requests?,
            grants: own.grants.iter().map(|one| grant(one, now)).collect(),
        };
        Ok(web::reply::page_with_script(info, StatusCode::OK, &page)?)
    }
}

fn asked(request: &Request, now: Timestamp) -> Result<Asked, PortalError> {
    let (state, tone, said) = match request {
        Request::Open(_) => ("waits", "warn", None),
        Request::Granted(_) => ("granted", "good", None),
        Request::Refused { by, why, .. } => ("refused", "bad", Some(format!("by {by}: {why}"))),
        Request::Withdrawn(_) => ("taken back", "", None),
        Request::Expired(_) => ("expired", "", None),
    };
    let asked = request.asked();
    Ok(Asked {
        id: asked.id.0.to_string(),
        rule: asked.rule.to_string(),
        what: standing::what(&standing::wanted(&asked.place)?),
        why: asked.reason.clone(),
        at: Moment::of(asked.at, now),
        state,
        tone,
        said,
        is_open: matches!(request, Request::Open(_)),
    })
}

fn grant(grant: &GrantRecord, now: Timestamp) -> Grant {
    let is_live = grant.is_live(now);
    Grant {
        id: grant.id.0.to_string(),
        rule: grant.rule.to_string(),
        why: grant.reason.clone(),
        by: grant.by.clone(),
        until: Moment::of(grant.ended_at.unwrap_or(grant.until), now),
        state: match (is_live, grant.break_glass, &grant.reviewed_by) {
            (_, true, None) => "taken without an approval; to be reviewed",
            (_, true, Some(_)) => "taken without an approval; reviewed",
            (true, false, _) => "holds",
            (false, false, _) => "over",
        },
        is_live,
    }
}
