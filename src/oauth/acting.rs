//! What acts for somebody: a page of their own that lists it, and ends it.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, Request, Response, StatusCode};

use crate::oauth::authorize::sign_in_first;
use crate::oauth::fault::OAuthFault;
use crate::oauth::{OAuth, endpoints, reply};
use crate::session::cookie::{PresentedCookie, session_cookie};
use crate::session::{FamilyEnd, Session};
use crate::store::token_families::ActingFamily;
use crate::web::csrf::{Protected, form_token};
use crate::web::reply as web_reply;
use crate::web::request_info::RequestInfo;
use crate::web::stylesheet;

/// One agent, as the page shows it.
struct Row {
    /// What logs call its tokens; the form says it.
    label: String,
    agent: String,
    name: Option<String>,
    route: String,
    since: String,
    since_text: String,
}

#[derive(Template)]
#[template(path = "oauth/agents.html")]
struct AgentsPage<'a> {
    stylesheet: &'a str,
    request_id: &'a str,
    label: &'a str,
    rows: Vec<Row>,
    action: &'a str,
    csrf: &'a str,
}

/// `GET /.wayleave/oauth/agents`.
pub(super) async fn list(
    State(oauth): State<Arc<OAuth>>,
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
) -> Response<Body> {
    let result = oauth.list_agents(&info, &headers).await;
    result.unwrap_or_else(|fault| reply::page_of_fault(&info, &headers, &fault))
}

/// `POST /.wayleave/oauth/agents`: ends one.
pub(super) async fn end(
    State(oauth): State<Arc<OAuth>>,
    Extension(info): Extension<RequestInfo>,
    request: Request<Body>,
) -> Response<Body> {
    let headers = request.headers().clone();
    let result = oauth.end_agent(&info, &headers, request).await;
    result.unwrap_or_else(|fault| reply::page_of_fault(&info, &headers, &fault))
}

impl OAuth {
    async fn list_agents(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, OAuthFault> {
        let Some((session, cookie)) = self.browser_session(info, headers).await? else {
            return sign_in_first(info, endpoints::AGENTS);
        };
        let families = self.agents_of(&session).await?;
        let page = AgentsPage {
            stylesheet: &stylesheet::PATH,
            request_id: &info.request_id,
            label: session.principal.label(),
            rows: families.into_iter().map(row).collect(),
            action: endpoints::AGENTS,
            csrf: &form_token(cookie),
        };
        web_reply::page(info, StatusCode::OK, &page).map_err(|_| OAuthFault::State)
    }

    async fn end_agent(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
        request: Request<Body>,
    ) -> Result<Response<Body>, OAuthFault> {
        let not_ours = || OAuthFault::InvalidRequest("the form is not from our own page");
        let PresentedCookie::One(cookie) = session_cookie(headers, info.origin.scheme) else {
            return Err(not_ours());
        };
        let form = Protected::receive(request).await.map_err(|_| not_ours())?;
        let given = form.open(&info.origin, cookie).map_err(|_| not_ours())?;
        let Some((session, _)) = self.browser_session(info, headers).await? else {
            return sign_in_first(info, endpoints::AGENTS);
        };
        let wanted = given.one("agent").unwrap_or_default();
        // Found among their own: whatever a form says, nobody ends what acts for somebody else.
        let families = self.agents_of(&session).await?;
        let meant = families.into_iter().find(|one| one.id.label() == wanted);
        if let Some(family) = meant {
            self.sessions
                .end_family(&family.id, FamilyEnd::Revoked)
                .await?;
            tracing::info!(request_id = %info.request_id, family = wanted, "a person ended what acts for them");
        }
        web_reply::redirect(info, endpoints::AGENTS, None).map_err(|_| OAuthFault::State)
    }

    async fn agents_of(&self, session: &Session) -> Result<Vec<ActingFamily>, OAuthFault> {
        let person = session.principal.person_id();
        Ok(self
            .store
            .acting_families(&person.issuer, &person.subject)
            .await?)
    }
}

fn row(family: ActingFamily) -> Row {
    let agent = family.acting.agent;
    Row {
        label: family.id.label(),
        agent: agent.id.to_string(),
        name: agent.name.map(|name| name.to_string()),
        route: family.acting.route.to_string(),
        since: family.since.rfc3339(),
        since_text: family.since.for_people(),
    }
}
