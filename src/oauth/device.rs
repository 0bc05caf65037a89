//! A machine without a browser is let in from another one (RFC 8628).
//!
//! Whoever sends somebody else a code of their own machine (phishing) must not be let in by a click: the code has to be typed, there is no link that
//! carries it, and the page says who asks from where before anything is decided.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, Request, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::oauth::authorize::sign_in_first;
use crate::oauth::fault::OAuthFault;
use crate::oauth::user_code::UserCode;
use crate::oauth::{Asked, OAuth, client, endpoints, reply};
use crate::secret::Token;
use crate::session::Session;
use crate::session::cookie::{PresentedCookie, session_cookie};
use crate::store::device_grants::DeviceRecord;
use crate::web::csrf::{Protected, form_token};
use crate::web::parameters::Parameters;
use crate::web::reply as web_reply;
use crate::web::request_info::RequestInfo;
use crate::web::stylesheet;

/// How long somebody has to type the code.
const LIFETIME: Duration = Duration::from_secs(600);
/// How long the machine has to wait between two questions.
const INTERVAL: Duration = Duration::from_secs(5);
/// How much of a user agent is shown.
const AGENT_LENGTH: usize = 120;

/// Where a machine asks from.
#[derive(Serialize, Deserialize)]
struct Asker {
    address: String,
    agent: String,
}

#[derive(Template)]
#[template(path = "oauth/device.html")]
struct CodePage<'a> {
    stylesheet: &'a str,
    request_id: &'a str,
    label: &'a str,
    action: &'a str,
    csrf: &'a str,
    fault: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "oauth/device_confirm.html")]
struct ConfirmPage<'a> {
    stylesheet: &'a str,
    request_id: &'a str,
    label: &'a str,
    program: &'a str,
    code: String,
    asker: Asker,
    asked_at: String,
    asked_at_text: String,
    own_address: String,
    is_elsewhere: bool,
    ends_at_text: String,
    action: &'a str,
    csrf: &'a str,
}

#[derive(Template)]
#[template(path = "oauth/device_done.html")]
struct DonePage<'a> {
    stylesheet: &'a str,
    request_id: &'a str,
    is_approved: bool,
}

/// `POST /.wayleave/oauth/device_authorization`.
pub(super) async fn begin(
    State(oauth): State<Arc<OAuth>>,
    Extension(info): Extension<RequestInfo>,
    request: Request<Body>,
) -> Response<Body> {
    match oauth.begin_device(&info, request).await {
        Ok(answer) => web_reply::json(&info, StatusCode::OK, &answer),
        Err(fault) => reply::fault(&info, &fault),
    }
}

/// `GET /.wayleave/oauth/device`: asks for the code.
pub(super) async fn ask(
    State(oauth): State<Arc<OAuth>>,
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
) -> Response<Body> {
    let result = oauth.ask_code(&info, &headers).await;
    result.unwrap_or_else(|fault| reply::page_of_fault(&info, &headers, &fault))
}

/// `POST /.wayleave/oauth/device`: shows who asks; or, with a decision, takes it.
pub(super) async fn submit(
    State(oauth): State<Arc<OAuth>>,
    Extension(info): Extension<RequestInfo>,
    request: Request<Body>,
) -> Response<Body> {
    let headers = request.headers().clone();
    let result = oauth.code_typed(&info, &headers, request).await;
    result.unwrap_or_else(|fault| reply::page_of_fault(&info, &headers, &fault))
}

impl OAuth {
    async fn begin_device(
        &self,
        info: &RequestInfo,
        request: Request<Body>,
    ) -> Result<Value, OAuthFault> {
        let now = self.clock.now();
        if !self.rates.devices.take(info.client, now) {
            return Err(OAuthFault::TooManyRequests);
        }
        let asked = Asked::read(info, request).await?;
        let client = asked.own_client()?;
        let record = DeviceRecord {
            client: client.id().to_owned(),
            key_thumbprint: self.binding_key(&asked, &client)?,
            asker: asker(info, &asked.headers)?,
            created_at: now,
            expires_at: now.plus(LIFETIME),
        };
        let (device, code) = (Token::generate(), UserCode::generate());
        let kept = self
            .store
            .create_device(device.hash(), code.hash(), &record, INTERVAL)
            .await?;
        if !kept {
            return Err(OAuthFault::State);
        }
        Ok(json!({
            "device_code": device.expose(),
            "user_code": code.shown(),
            "verification_uri": format!("{}{}", info.origin, endpoints::DEVICE),
            "expires_in": LIFETIME.as_secs(),
            "interval": INTERVAL.as_secs(),
        }))
    }

    async fn ask_code(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, OAuthFault> {
        match self.browser_session(info, headers).await? {
            Some((session, cookie)) => code_page(info, &session, &form_token(cookie), None),
            None => sign_in_first(info, endpoints::DEVICE),
        }
    }

    async fn code_typed(
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
            return sign_in_first(info, endpoints::DEVICE);
        };
        let csrf = form_token(cookie);
        if !self.rates.user_codes.take(info.client, self.clock.now()) {
            tracing::warn!(request_id = %info.request_id, "too many wrong codes of devices");
            return Err(OAuthFault::TooManyRequests);
        }
        let found = self.typed(&given).await?;
        let Some((code, record)) = found else {
            let fault = "No machine waits under this code. Look at it again; codes are good for ten minutes.";
            return code_page(info, &session, &csrf, Some(fault));
        };
        // Only wrong codes count.
        self.rates.user_codes.give_back(info.client);
        match given.one("decision") {
            None => confirm_page(info, &session, &csrf, &code, &record),
            Some(decision) => {
                let is_approved = decision == "allow";
                self.decide(info, &session, &code, is_approved).await
            }
        }
    }

    async fn typed(
        &self,
        given: &Parameters,
    ) -> Result<Option<(UserCode, DeviceRecord)>, OAuthFault> {
        let Some(code) = given.one("user_code").and_then(UserCode::parse) else {
            return Ok(None);
        };
        let record = self.store.pending_device(code.hash()).await?;
        Ok(record.map(|record| (code, record)))
    }

    async fn decide(
        &self,
        info: &RequestInfo,
        session: &Session,
        code: &UserCode,
        is_approved: bool,
    ) -> Result<Response<Body>, OAuthFault> {
        let approved_by = is_approved.then_some(&session.id);
        if !self.store.decide_device(code.hash(), approved_by).await? {
            return Err(OAuthFault::ExpiredToken);
        }
        tracing::info!(request_id = %info.request_id, session = session.id.label(), is_approved, "a machine was decided on");
        let page = DonePage {
            stylesheet: &stylesheet::PATH,
            request_id: &info.request_id,
            is_approved,
        };
        web_reply::page(info, StatusCode::OK, &page).map_err(|_| OAuthFault::State)
    }
}

fn asker(info: &RequestInfo, headers: &HeaderMap) -> Result<String, OAuthFault> {
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or("unknown");
    let asker = Asker {
        address: info.client.to_string(),
        agent: agent.chars().take(AGENT_LENGTH).collect(),
    };
    serde_json::to_string(&asker).map_err(|_| OAuthFault::State)
}

fn code_page(
    info: &RequestInfo,
    session: &Session,
    csrf: &str,
    fault: Option<&str>,
) -> Result<Response<Body>, OAuthFault> {
    let page = CodePage {
        stylesheet: &stylesheet::PATH,
        request_id: &info.request_id,
        label: session.principal.label(),
        action: endpoints::DEVICE,
        csrf,
        fault,
    };
    let status = fault.map_or(StatusCode::OK, |_| StatusCode::BAD_REQUEST);
    web_reply::page(info, status, &page).map_err(|_| OAuthFault::State)
}

fn confirm_page(
    info: &RequestInfo,
    session: &Session,
    csrf: &str,
    code: &UserCode,
    record: &DeviceRecord,
) -> Result<Response<Body>, OAuthFault> {
    let asker: Asker = serde_json::from_str(&record.asker).map_err(|_| OAuthFault::State)?;
    let own_address = info.client.to_string();
    let page = ConfirmPage {
        stylesheet: &stylesheet::PATH,
        request_id: &info.request_id,
        label: session.principal.label(),
        program: client::name(&record.client),
        code: code.shown(),
        is_elsewhere: asker.address != own_address,
        asker,
        asked_at: record.created_at.rfc3339(),
        asked_at_text: record.created_at.for_people(),
        own_address,
        ends_at_text: session.expires_at.for_people(),
        action: endpoints::DEVICE,
        csrf,
    };
    web_reply::page(info, StatusCode::OK, &page).map_err(|_| OAuthFault::State)
}
