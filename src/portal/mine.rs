//! One's own requests and grants.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, Response, StatusCode};

use crate::access::{GrantRecord, Request};
use crate::clock::Timestamp;
use crate::portal::standing;
use crate::portal::{Portal, PortalError, reply};
use crate::web::request_info::RequestInfo;
use crate::web::{self, stylesheet};

#[derive(Template)]
#[template(path = "portal/mine.html")]
struct MinePage<'a> {
    stylesheet: &'a str,
    request_id: &'a str,
    csrf: String,
    requests: Vec<Asked>,
    grants: Vec<Grant>,
}

struct Asked {
    id: String,
    rule: String,
    what: String,
    why: String,
    at: String,
    state: String,
    is_open: bool,
}

struct Grant {
    id: String,
    rule: String,
    by: String,
    until: String,
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
        let requests: Result<Vec<Asked>, PortalError> = own.requests.iter().map(asked).collect();
        let page = MinePage {
            stylesheet: &stylesheet::PATH,
            request_id: &info.request_id,
            csrf: visitor.form_token(),
            requests: requests?,
            grants: own.grants.iter().map(|one| grant(one, now)).collect(),
        };
        Ok(web::reply::page(info, StatusCode::OK, &page)?)
    }
}

fn asked(request: &Request) -> Result<Asked, PortalError> {
    let state = match request {
        Request::Open(_) => "waits".to_owned(),
        Request::Granted(_) => "granted".to_owned(),
        Request::Refused { by, why, .. } => format!("refused by {by}: {why}"),
        Request::Withdrawn(_) => "taken back".to_owned(),
        Request::Expired(_) => "expired".to_owned(),
    };
    let asked = request.asked();
    Ok(Asked {
        id: asked.id.0.to_string(),
        rule: asked.rule.to_string(),
        what: standing::what(&standing::wanted(&asked.place)?),
        why: asked.reason.clone(),
        at: asked.at.for_people(),
        state,
        is_open: matches!(request, Request::Open(_)),
    })
}

fn grant(grant: &GrantRecord, now: Timestamp) -> Grant {
    let is_live = grant.is_live(now);
    Grant {
        id: grant.id.0.to_string(),
        rule: grant.rule.to_string(),
        by: grant.by.clone(),
        until: grant.until.for_people(),
        state: match (is_live, grant.break_glass, &grant.reviewed_by) {
            (_, true, None) => "taken without an approval; to be reviewed",
            (_, true, Some(_)) => "taken without an approval; reviewed",
            (true, false, _) => "holds",
            (false, false, _) => "over",
        },
        is_live,
    }
}
