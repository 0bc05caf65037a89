//! Waiting: the page of one's own request. It looks again by itself, and goes on to what was first asked for once that is open.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::access::{AccessId, Asked, Request};
use crate::admin::access::standing::Standing;
use crate::policy::words;
use crate::portal::standing;
use crate::portal::{Portal, PortalError, Visitor, reply};
use crate::web::request_info::RequestInfo;
use crate::web::{self, lengths, stylesheet};

/// Seconds until a page looks again.
const AGAIN: &str = "3";
/// The same, where it is a moment only.
const SOON: &str = "1";

#[derive(Template)]
#[template(path = "portal/waiting.html")]
struct WaitingPage<'a> {
    stylesheet: &'a str,
    request_id: &'a str,
    csrf: String,
    title: &'static str,
    said: String,
    asked: &'a Asked,
    lasting: String,
    at: String,
    is_open: bool,
    /// Where to ask again, or where to look.
    link: Option<(String, &'static str)>,
}

/// What a page says, and when it looks again.
struct Said {
    title: &'static str,
    said: String,
    refresh: Option<&'static str>,
    link: Option<(String, &'static str)>,
}

/// `GET /access/waiting/{id}`.
pub(super) async fn show(
    State(portal): State<Arc<Portal>>,
    Extension(info): Extension<RequestInfo>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let result = portal.waiting(&info, &headers, id);
    reply::answer(&info, &headers, result.await)
}

impl Portal {
    async fn waiting(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
        id: String,
    ) -> Result<Response<Body>, PortalError> {
        let here = format!("/access/waiting/{id}");
        let visitor = self.visitor(info, headers, &here).await?;
        let id = AccessId(id.into());
        let request = self.access.own_request(visitor.principal(), &id).await?;
        let asked = request.asked();
        let wanted = standing::wanted(&asked.place)?;
        let ask_again = || Some((wanted.ask_url(&info.origin), "Ask again"));
        let is_open = matches!(request, Request::Open(_));
        let state = match &request {
            Request::Open(_) => Said {
                title: "Waiting for an approval",
                said: self.who_decides(&visitor, asked),
                refresh: Some(AGAIN),
                link: None,
            },
            Request::Granted(asked) => {
                let is_there = matches!(
                    self.standing(&visitor, &wanted, info, headers),
                    Standing::Open | Standing::StepUp(_)
                );
                if is_there && standing::is_a_link(&wanted) {
                    let location = standing::location(&wanted, info);
                    return Ok(web::reply::redirect(info, &location, None)?);
                }
                self.granted(&visitor, asked, is_there, ask_again()).await?
            }
            Request::Refused { by, why, .. } => Said {
                title: "Refused",
                said: format!("{by} refused it: {why}"),
                refresh: None,
                link: ask_again(),
            },
            Request::Withdrawn(_) => Said {
                title: "Taken back",
                said: "You took this request back.".to_owned(),
                refresh: None,
                link: ask_again(),
            },
            Request::Expired(_) => Said {
                title: "Expired",
                said: "Nobody decided it in time.".to_owned(),
                refresh: None,
                link: ask_again(),
            },
        };
        let page = WaitingPage {
            stylesheet: &stylesheet::PATH,
            request_id: &info.request_id,
            csrf: visitor.form_token(),
            title: state.title,
            said: state.said,
            lasting: lengths::text(asked.lasting),
            at: asked.at.for_people(),
            asked,
            is_open,
            link: state.link,
        };
        let mut response = web::reply::page(info, StatusCode::OK, &page)?;
        if let Some(seconds) = state.refresh {
            let value = HeaderValue::from_static(seconds);
            response.headers_mut().insert(header::REFRESH, value);
        }
        Ok(response)
    }

    /// Whom they wait for, as the rule has it now.
    fn who_decides(&self, visitor: &Visitor, asked: &Asked) -> String {
        let policy = self.access.snapshots.current();
        let approval = policy.may_ask(visitor.principal(), &asked.rule);
        let who = approval.map_or_else(
            || "Nobody can approve of it any more: the access rule has changed.".to_owned(),
            |approval| format!("It has to be approved by {}.", words::approvers(approval)),
        );
        format!("{who} This page goes on by itself.")
    }

    /// What is said of a grant, where a browser cannot simply go on.
    async fn granted(
        &self,
        visitor: &Visitor,
        asked: &Asked,
        is_there: bool,
        ask_again: Option<(String, &'static str)>,
    ) -> Result<Said, PortalError> {
        let principal = visitor.principal();
        let grant = self.access.own_grant(principal, &asked.id).await?;
        let now = self.access.now();
        let Some(grant) = grant.filter(|grant| grant.is_live(now)) else {
            return Ok(Said {
                title: "Over",
                said: "It was granted, and is over.".to_owned(),
                refresh: None,
                link: ask_again,
            });
        };
        let until = grant.until.for_people();
        let (said, refresh) = if is_there {
            (
                format!("You may do it until {until}. Do it again now."),
                None,
            )
        } else if self.access.has_heard_of(principal, &asked.rule) {
            (
                format!(
                    "It is granted until {until}, but the access rules do not let you in now for another reason."
                ),
                None,
            )
        } else {
            (
                format!("It is granted until {until}. One moment."),
                Some(SOON),
            )
        };
        Ok(Said {
            title: "Granted",
            said,
            refresh,
            link: Some(("/access/mine".to_owned(), "Your requests and grants")),
        })
    }
}
