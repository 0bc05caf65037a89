//! The provider's answer on the home host: one use, the same browser, the same provider; then a session.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use http::{HeaderMap, Response};

use crate::oidc::CallbackParameters;
use crate::secret::Token;
use crate::session::Arrival;
use crate::session::cookie::{PresentedCookie, session_cookie, set_session_cookie};
use crate::sign_in::choose::Onward;
use crate::sign_in::pending::{Exchange, same};
use crate::sign_in::{SignIn, SignInError, pending_cookie, query, reply};
use crate::web::browser;
use crate::web::parameters::Parameters;
use crate::web::request_info::RequestInfo;

/// `GET /.wayleave/callback/{provider}`.
pub(super) async fn show(
    Path(provider): Path<String>,
    State(sign_in): State<Arc<SignIn>>,
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
) -> Response<Body> {
    let (task_info, task_headers) = (info.clone(), headers.clone());
    // A browser that leaves must not stop the exchange halfway: the provider's tokens would be neither kept nor dropped in order.
    #[expect(
        clippy::disallowed_methods,
        reason = "bounded by the provider's and the store's deadlines; outlives only its request"
    )]
    let work = tokio::spawn(async move {
        sign_in
            .callback(&task_info, &task_headers, &provider, raw.as_deref())
            .await
    });
    let result = work.await.unwrap_or(Err(SignInError::Cancelled));
    result.unwrap_or_else(|error| reply::failure(&info, &headers, &error))
}

impl SignIn {
    async fn callback(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
        provider: &str,
        raw: Option<&str>,
    ) -> Result<Response<Body>, SignInError> {
        let parameters = query(raw)?;
        let state = parameters
            .one("state")
            .and_then(Token::parse)
            .ok_or(SignInError::Request)?;
        let Some(exchange) = self.take::<Exchange>(&state).await? else {
            // Used or lost, as after "back": somebody who is signed in is not left at a dead end.
            return match self.live_session(info, headers).await? {
                Some(_) => reply::redirect(info, "/.wayleave/", None),
                None => Err(SignInError::NotBound),
            };
        };
        let scheme = info.origin.scheme;
        let bound = Token::parse(state.expose()).is_some_and(|id| {
            crate::secret::TokenHash::from_hex(&exchange.binding)
                .is_some_and(|binding| pending_cookie::matches(headers, scheme, &id, binding))
        });
        if !bound || *exchange.pending.provider != *provider {
            return Err(SignInError::NotBound);
        }
        let signed_in = self
            .providers
            .complete(exchange.pending, answer(&parameters))
            .await?;
        let replaces = match session_cookie(headers, scheme) {
            PresentedCookie::One(old) => Some(old),
            PresentedCookie::None | PresentedCookie::Unusable => None,
        };
        let browser = browser::name(headers);
        let arrival = Arrival {
            host: info.origin.host.as_str(),
            peer: Some(info.client),
            browser: browser.as_deref(),
            replaces,
        };
        let person = signed_in.principal.label().to_owned();
        let (session, token) = self
            .sessions
            .start(
                signed_in.principal,
                signed_in.tokens,
                signed_in.provider_sid,
                arrival,
            )
            .await?;
        tracing::info!(request_id = %info.request_id, provider, person, "signed in");
        let mut cookies = vec![set_session_cookie(&info.origin, &token)];
        cookies.extend(pending_cookie::clear(scheme, &state));
        let onward = Onward {
            attempt: exchange.attempt.as_deref().and_then(Token::parse),
            then: exchange.then,
        };
        self.hand_back(info, &session, &onward, cookies).await
    }
}

fn answer(parameters: &Parameters) -> CallbackParameters {
    let one = |name| parameters.one(name).map(str::to_owned);
    CallbackParameters {
        code: one("code"),
        iss: one("iss"),
        error: one("error"),
    }
}

/// Whether a hand-back is for this attempt.
pub(super) fn is_for(kept: &str, attempt: &Token) -> bool {
    same(kept, attempt.hash())
}
