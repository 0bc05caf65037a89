//! Back on the route host: a one-time code, bound to this browser and this host, becomes this host's own cookie.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use http::header::SET_COOKIE;
use http::{HeaderMap, Response};

use crate::secret::{Token, TokenHash};
use crate::session::cookie::set_session_cookie;
use crate::sign_in::pending::{Attempt, HandBack};
use crate::sign_in::return_to::safe_return;
use crate::sign_in::{SignIn, SignInError, callback, pending_cookie, query, reply};
use crate::web::request_info::RequestInfo;

/// `GET /.wayleave/arrive`.
pub(super) async fn show(
    State(sign_in): State<Arc<SignIn>>,
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
) -> Response<Body> {
    let result = sign_in.arrive(&info, &headers, raw.as_deref()).await;
    result.unwrap_or_else(|error| reply::failure(&info, &headers, &error))
}

impl SignIn {
    async fn arrive(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
        raw: Option<&str>,
    ) -> Result<Response<Body>, SignInError> {
        let parameters = query(raw)?;
        let token = |name| {
            parameters
                .one(name)
                .and_then(Token::parse)
                .ok_or(SignInError::Request)
        };
        let (id, code) = (token("attempt")?, token("code")?);
        // Both are taken before anything is compared: a code at the wrong host or browser burns its attempt (E11). One that is no
        // code, or not any more, burns nothing, so that of two who come at once one gets on.
        let Some(hand_back) = self.take::<HandBack>(&code).await? else {
            return Err(SignInError::NotBound);
        };
        let Some(attempt) = self.take::<Attempt>(&id).await? else {
            return Err(SignInError::NotBound);
        };
        let scheme = info.origin.scheme;
        let bound = TokenHash::from_hex(&attempt.binding)
            .is_some_and(|binding| pending_cookie::matches(headers, scheme, &id, binding));
        if !bound
            || !callback::is_for(&hand_back.attempt, &id)
            || attempt.origin != info.origin.to_string()
        {
            return Err(SignInError::NotBound);
        }
        let host = info.origin.host.as_str();
        let Some(cookie) = self.sessions.add_cookie(&hand_back.session, host).await? else {
            // It has ended in between, most likely because another tab of this browser signed in: back to where the newer one is known.
            let mut again = self
                .start_attempt(info, &attempt.return_to, headers, attempt.step_up)
                .await?;
            if let Some(cookie) = pending_cookie::clear(scheme, &id) {
                again.headers_mut().append(SET_COOKIE, cookie);
            }
            return Ok(again);
        };
        let mut cookies = vec![set_session_cookie(&info.origin, &cookie)];
        cookies.extend(pending_cookie::clear(scheme, &id));
        reply::redirect(
            info,
            &safe_return(&info.origin, &attempt.return_to),
            cookies,
        )
    }
}
