//! Signing out: asked for by a page of ours, everywhere at once, and at the provider too (OIDC RP-Initiated Logout 1.0).

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use url::Url;

use crate::secret::Token;
use crate::session::EndReason;
use crate::session::cookie::{PresentedCookie, clear_session_cookie, session_cookie};
use crate::sign_in::{SignIn, SignInError, reply};
use crate::web::csrf::{Protected, form_token};
use crate::web::request_info::RequestInfo;
use crate::web::stylesheet;

const SIGNED_OUT: &str = "/.wayleave/signed-out";

#[derive(Template)]
#[template(path = "sign_out.html")]
struct SignOutPage<'a> {
    stylesheet: &'a str,
    request_id: &'a str,
    label: &'a str,
    csrf: String,
}

#[derive(Template)]
#[template(path = "signed_out.html")]
struct SignedOutPage<'a> {
    stylesheet: &'a str,
    request_id: &'a str,
}

/// `GET /.wayleave/sign-out` on a route host: the home host asks and does it.
pub(super) async fn to_home(
    State(sign_in): State<Arc<SignIn>>,
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
) -> Response<Body> {
    let home = info.origin.at_host(sign_in.home_host.clone());
    let result = reply::redirect(&info, &format!("{home}/.wayleave/sign-out"), None);
    result.unwrap_or_else(|error| reply::failure(&info, &headers, &error))
}

/// `GET /.wayleave/sign-out`: asks; a GET never ends a session (H8).
pub(super) async fn ask(
    State(sign_in): State<Arc<SignIn>>,
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
) -> Response<Body> {
    let result = sign_in.ask_sign_out(&info, &headers).await;
    result.unwrap_or_else(|error| reply::failure(&info, &headers, &error))
}

/// `POST /.wayleave/sign-out`.
pub(super) async fn submit(
    State(sign_in): State<Arc<SignIn>>,
    Extension(info): Extension<RequestInfo>,
    request: Request<Body>,
) -> Response<Body> {
    let headers = request.headers().clone();
    let result = sign_in.sign_out(&info, &headers, request).await;
    result.unwrap_or_else(|error| reply::failure(&info, &headers, &error))
}

/// `GET /.wayleave/signed-out`.
pub(super) async fn done(
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
) -> Response<Body> {
    let page = SignedOutPage {
        stylesheet: &stylesheet::PATH,
        request_id: &info.request_id,
    };
    reply::page(&info, StatusCode::OK, &page)
        .unwrap_or_else(|error| reply::failure(&info, &headers, &error))
}

impl SignIn {
    async fn ask_sign_out(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, SignInError> {
        let session = self.live_session(info, headers).await?;
        let (Some(session), PresentedCookie::One(cookie)) =
            (session, session_cookie(headers, info.origin.scheme))
        else {
            return reply::redirect(info, SIGNED_OUT, Some(clear_session_cookie(&info.origin)));
        };
        let page = SignOutPage {
            stylesheet: &stylesheet::PATH,
            request_id: &info.request_id,
            label: session.principal.label(),
            csrf: form_token(cookie),
        };
        reply::page(info, StatusCode::OK, &page)
    }

    async fn sign_out(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
        request: Request<Body>,
    ) -> Result<Response<Body>, SignInError> {
        let PresentedCookie::One(cookie) = session_cookie(headers, info.origin.scheme) else {
            return reply::redirect(info, SIGNED_OUT, Some(clear_session_cookie(&info.origin)));
        };
        Protected::receive(request)
            .await?
            .open(&info.origin, cookie)?;
        let Some(session) = self.live_session(info, headers).await? else {
            return reply::redirect(info, SIGNED_OUT, Some(clear_session_cookie(&info.origin)));
        };
        // Without them the provider only cannot be told whose sign-out it is: no reason to leave the session alive.
        let tokens = self.sessions.provider_tokens(&session.id).await;
        let tokens = tokens.ok().flatten().unwrap_or_default();
        self.sessions.end(&session.id, EndReason::SignedOut).await?;
        tracing::info!(request_id = %info.request_id, provider = %session.principal.provider, "signed out");
        let back =
            Url::parse(&format!("{}{SIGNED_OUT}", info.origin)).map_err(|_| SignInError::State)?;
        let state = Token::generate();
        let provider = self
            .providers
            .end_session_url(
                &session.principal.provider,
                tokens.id_token.as_ref(),
                &back,
                state.expose(),
            )
            .await;
        let cleared = clear_session_cookie(&info.origin);
        match provider {
            Some(url) => go_to_provider(info, &url, cleared),
            None => reply::redirect(info, SIGNED_OUT, Some(cleared)),
        }
    }
}

/// Chromium applies the form page's `form-action 'self'` to redirects of the POST, so a 303 to the provider would be blocked.
/// A `Refresh` header makes a new navigation, which that policy does not govern.
fn go_to_provider(
    info: &RequestInfo,
    url: &Url,
    cleared: HeaderValue,
) -> Result<Response<Body>, SignInError> {
    let page = SignedOutPage {
        stylesheet: &stylesheet::PATH,
        request_id: &info.request_id,
    };
    let mut response = reply::page(info, StatusCode::OK, &page)?;
    let refresh =
        HeaderValue::from_str(&format!("0; url={url}")).map_err(|_| SignInError::State)?;
    response.headers_mut().insert(header::REFRESH, refresh);
    response.headers_mut().append(header::SET_COOKIE, cleared);
    Ok(response)
}
