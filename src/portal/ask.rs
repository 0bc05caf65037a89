//! Asking: what for, why, and for how long.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use http::{HeaderMap, Request, Response, StatusCode};

use crate::access::Place;
use crate::admin::access::standing::{Askable, Standing};
use crate::admin::access::{LONGEST_REASON, Wish};
use crate::portal::standing;
use crate::portal::{Portal, PortalError, Visitor, reply};
use crate::web::ask::{ASK_PATH, Wanted};
use crate::web::csrf::Protected;
use crate::web::lengths::{self, Length};
use crate::web::parameters::Parameters;
use crate::web::request_info::RequestInfo;
use crate::web::{self, stylesheet};

/// Longest query of ours, in bytes.
const QUERY_LIMIT: usize = 8 * 1024;

#[derive(Template)]
#[template(path = "portal/ask.html")]
struct AskPage<'a> {
    stylesheet: &'a str,
    request_id: &'a str,
    csrf: String,
    label: &'a str,
    rule: &'a str,
    what: String,
    to: String,
    agents: String,
    method: &'a str,
    lengths: Vec<Length>,
    longest_reason: usize,
    break_glass: bool,
}

/// `GET /access/ask`.
pub(super) async fn show(
    State(portal): State<Arc<Portal>>,
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
) -> Response<Body> {
    let result = portal.ask_page(&info, &headers, raw.as_deref().unwrap_or(""));
    reply::answer(&info, &headers, result.await)
}

/// `POST /access/ask`.
pub(super) async fn submit(
    State(portal): State<Arc<Portal>>,
    Extension(info): Extension<RequestInfo>,
    request: Request<Body>,
) -> Response<Body> {
    let headers = request.headers().clone();
    let result = portal.ask(&info, &headers, request);
    reply::answer(&info, &headers, result.await)
}

impl Portal {
    async fn ask_page(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
        raw: &str,
    ) -> Result<Response<Body>, PortalError> {
        let parameters = Parameters::parse(raw.as_bytes(), QUERY_LIMIT);
        let parameters = parameters.map_err(|_| PortalError::Request)?;
        let wanted = Wanted::read(&parameters, &info.origin).ok_or(PortalError::Request)?;
        let here = format!("{ASK_PATH}?{raw}");
        let visitor = self.visitor(info, headers, &here).await?;
        let askable = match self.standing(&visitor, &wanted, info, headers) {
            // A browser is sent to sign in again by itself.
            Standing::Open | Standing::StepUp(_) => {
                let location = standing::location(&wanted, info);
                return Ok(web::reply::redirect(info, &location, None)?);
            }
            Standing::Ask(askable) => askable,
            Standing::Closed => return Err(PortalError::NothingToAsk),
        };
        if let Some(waiting) = self.waiting_for(&visitor, &askable).await? {
            return Ok(web::reply::redirect(info, &waiting, None)?);
        }
        let page = AskPage {
            stylesheet: &stylesheet::PATH,
            request_id: &info.request_id,
            csrf: visitor.form_token(),
            label: visitor.principal().label(),
            rule: &askable.rule,
            what: standing::what(&wanted),
            to: standing::location(&wanted, info),
            agents: wanted.agents_text(),
            method: &wanted.method,
            lengths: lengths::up_to(askable.approval.at_most, None),
            longest_reason: LONGEST_REASON,
            break_glass: askable.approval.break_glass,
        };
        Ok(web::reply::page(info, StatusCode::OK, &page)?)
    }

    /// The page of the request that somebody has sent already.
    async fn waiting_for(
        &self,
        visitor: &Visitor,
        askable: &Askable,
    ) -> Result<Option<String>, PortalError> {
        let own = self.access.own(visitor.principal()).await?;
        let mut open = own.requests.iter().filter(|request| {
            let is_open = matches!(request, crate::access::Request::Open(_));
            is_open && request.asked().rule == askable.rule
        });
        Ok(open.next().map(|request| waiting(&request.asked().id.0)))
    }

    async fn ask(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
        request: Request<Body>,
    ) -> Result<Response<Body>, PortalError> {
        let visitor = self.visitor(info, headers, "/access/mine").await?;
        let form = Protected::receive(request).await?;
        let fields = form.open(&info.origin, visitor.cookie)?;
        let wanted = Wanted::read(&fields, &info.origin).ok_or(PortalError::Request)?;
        let askable = match self.standing(&visitor, &wanted, info, headers) {
            // A browser is sent to sign in again by itself.
            Standing::Open | Standing::StepUp(_) => {
                let location = standing::location(&wanted, info);
                return Ok(web::reply::redirect(info, &location, None)?);
            }
            Standing::Ask(askable) => askable,
            Standing::Closed => return Err(PortalError::NothingToAsk),
        };
        let lasting = fields.one("lasting").and_then(lengths::parse);
        let wish = Wish {
            rule: askable.rule,
            place: Place {
                route: askable.route,
                host: wanted.host.as_str().to_owned(),
                target: wanted.target(),
                method: wanted.method,
            },
            reason: fields.one("reason").unwrap_or("").to_owned(),
            lasting: lasting.ok_or(PortalError::Request)?,
        };
        let actor = visitor.actor();
        let id = match fields.one("act") {
            Some("break_glass") => self.access.break_glass(actor, wish).await?,
            Some("ask") => self.access.ask(actor, wish).await?,
            Some(_) | None => return Err(PortalError::Request),
        };
        Ok(web::reply::redirect(info, &waiting(&id.0), None)?)
    }
}

fn waiting(id: &str) -> String {
    format!("/access/waiting/{id}")
}
