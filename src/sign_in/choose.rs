//! The home host: who somebody is already, or which identity provider they sign in at, and the way there.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use http::{HeaderMap, Response, StatusCode};
use url::{Url, form_urlencoded};

use crate::address::host::Host;
use crate::identity::principal::Requirement;
use crate::secret::{SecretString, Token};
use crate::session::Session;
use crate::sign_in::pending::{Attempt, Exchange, HandBack, StepUp};
use crate::sign_in::return_to::{safe_own_page, safe_return};
use crate::sign_in::{SignIn, SignInError, pending_cookie, query, reply};
use crate::web::parameters::Parameters;
use crate::web::request_info::RequestInfo;
use crate::web::stylesheet;

#[derive(Template)]
#[template(path = "choose.html")]
struct ChoosePage<'a> {
    stylesheet: &'a str,
    request_id: &'a str,
    opening: Option<String>,
    choices: Vec<Choice>,
}

struct Choice {
    href: String,
    label: String,
}

#[derive(Template)]
#[template(path = "expired.html")]
struct ExpiredPage<'a> {
    stylesheet: &'a str,
    request_id: &'a str,
}

type Shared = (
    State<Arc<SignIn>>,
    Extension<RequestInfo>,
    HeaderMap,
    RawQuery,
);

/// `GET /.wayleave/sign-in`, with `to` or `then` to come back to a page of the home host, and with `acr_values` and `max_age` to sign in again: straight back with a live session, straight on with one provider, else a choice
/// of those that the route accepts.
pub(super) async fn show(
    (State(sign_in), Extension(info), headers, RawQuery(raw)): Shared,
) -> Response<Body> {
    let result = sign_in.choose(&info, &headers, raw.as_deref()).await;
    result.unwrap_or_else(|error| reply::failure(&info, &headers, &error))
}

/// `GET /.wayleave/sign-in/{provider}`: on to that provider.
pub(super) async fn go(
    Path(provider): Path<String>,
    (State(sign_in), Extension(info), headers, RawQuery(raw)): Shared,
) -> Response<Body> {
    let result = async {
        let onward = Onward::of(&info, raw.as_deref())?;
        sign_in
            .to_provider(&info, &headers, &provider, &onward)
            .await
    };
    result
        .await
        .unwrap_or_else(|error| reply::failure(&info, &headers, &error))
}

/// Where somebody goes once they are signed in.
#[derive(Default)]
pub(super) struct Onward {
    /// To the route host where this attempt began.
    pub(super) attempt: Option<Token>,
    /// To this page of the home host.
    pub(super) then: Option<String>,
}

impl Onward {
    fn of(info: &RequestInfo, raw: Option<&str>) -> Result<Self, SignInError> {
        let parameters = query(raw)?;
        let attempt = parameters
            .one("attempt")
            .map(|text| Token::parse(text).ok_or(SignInError::Request));
        let then = parameters
            .one("then")
            .map(|text| safe_own_page(&info.origin, text).ok_or(SignInError::Request));
        Ok(Self {
            attempt: attempt.transpose()?,
            then: then.transpose()?,
        })
    }

    /// The query that keeps it from one page to the next.
    fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(attempt) = &self.attempt {
            query.append_pair("attempt", attempt.expose());
        }
        if let Some(then) = &self.then {
            query.append_pair("then", then);
        }
        let query = query.finish();
        if query.is_empty() {
            query
        } else {
            format!("?{query}")
        }
    }
}

impl SignIn {
    async fn choose(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
        raw: Option<&str>,
    ) -> Result<Response<Body>, SignInError> {
        let parameters = query(raw)?;
        if let Some(to) = parameters.one("to") {
            return self.start_attempt(info, to, headers, None).await;
        }
        let onward = Onward::of(info, raw)?;
        if let Some(step_up) = self.asked_to_step_up(info, headers, &parameters).await? {
            let require = Some(step_up.require);
            return self
                .send_to_provider(info, headers, (&step_up.provider, require), &onward)
                .await;
        }
        let attempt = match &onward.attempt {
            Some(id) => match self.peek::<Attempt>(id).await? {
                Some(attempt) => Some(attempt),
                None => return expired(info),
            },
            None => None,
        };
        let step_up = attempt
            .as_ref()
            .and_then(|attempt| attempt.step_up.as_ref());
        if let Some(session) = self.live_session(info, headers).await?
            && step_up.is_none_or(|step_up| self.is_met(step_up, &session))
        {
            return self.hand_back(info, &session, &onward, Vec::new()).await;
        }
        if let Some(step_up) = step_up {
            return self
                .to_provider(info, headers, &step_up.provider, &onward)
                .await;
        }
        let providers = self.accepted(attempt.as_ref());
        if let [(only, _)] = providers.as_slice() {
            return self.to_provider(info, headers, only, &onward).await;
        }
        let suffix = onward.query();
        let choices = providers
            .into_iter()
            .map(|(name, label)| Choice {
                href: format!("/.wayleave/sign-in/{name}{suffix}"),
                label,
            })
            .collect();
        let opening = attempt
            .and_then(|attempt| Url::parse(&attempt.origin).ok())
            .and_then(|url| url.host_str().map(str::to_owned));
        let page = ChoosePage {
            stylesheet: &stylesheet::PATH,
            request_id: &info.request_id,
            opening,
            choices,
        };
        reply::page(info, StatusCode::OK, &page)
    }

    /// How a page of the home host wants somebody to sign in again (RFC 9470 §4), if they have not by now: where they did before. Whoever is not signed in does
    /// so first.
    async fn asked_to_step_up(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
        parameters: &Parameters,
    ) -> Result<Option<StepUp>, SignInError> {
        let (acr_values, max_age) = (parameters.one("acr_values"), parameters.one("max_age"));
        let require = Requirement::of_parameters(acr_values, max_age);
        let Some(require) = require.map_err(|_| SignInError::Request)? else {
            return Ok(None);
        };
        let session = self.live_session(info, headers).await?;
        let step_up = session.map(|session| {
            let provider = Arc::clone(&session.principal.provider);
            let step_up = StepUp { provider, require };
            (!self.is_met(&step_up, &session)).then_some(step_up)
        });
        Ok(step_up.flatten())
    }

    /// Whether another tab has signed in as a rule asks meanwhile.
    fn is_met(&self, step_up: &StepUp, session: &Session) -> bool {
        let now = self.clock.now().seconds();
        step_up.require.is_met(&session.principal, now)
    }

    /// The providers at which signing in is of use: those that the route of the attempt accepts.
    fn accepted(&self, attempt: Option<&Attempt>) -> Vec<(Arc<str>, String)> {
        let mut providers = self.providers.list();
        let policy = self.snapshots.current();
        let route = attempt.and_then(|attempt| {
            let host = Host::parse(Url::parse(&attempt.origin).ok()?.host_str()?).ok()?;
            let path = attempt.return_to.split('?').next()?;
            policy.route(&host, path)
        });
        if let Some(accepted) = route.and_then(|route| route.route.providers.as_ref()) {
            providers.retain(|(name, _)| accepted.contains(name));
        }
        providers
    }

    async fn to_provider(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
        provider: &str,
        onward: &Onward,
    ) -> Result<Response<Body>, SignInError> {
        let begun = match &onward.attempt {
            Some(id) => self.peek::<Attempt>(id).await?,
            None => None,
        };
        let require = begun
            .and_then(|attempt| attempt.step_up)
            .map(|step_up| step_up.require);
        self.send_to_provider(info, headers, (provider, require), onward)
            .await
    }

    async fn send_to_provider(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
        (provider, require): (&str, Option<Requirement>),
        onward: &Onward,
    ) -> Result<Response<Body>, SignInError> {
        if !self.providers.is_known(provider) {
            return Err(SignInError::NotFound);
        }
        let (state, binding) = (Token::generate(), Token::generate());
        let redirect_uri = Url::parse(&format!("{}/.wayleave/callback/{provider}", info.origin))
            .map_err(|_| SignInError::State)?;
        let secret_state = SecretString::from(state.expose().to_owned());
        let (location, pending) = self
            .providers
            .begin(provider, &redirect_uri, &secret_state, require)
            .await?;
        let exchange = Exchange {
            pending,
            attempt: onward.attempt.as_ref().map(|id| id.expose().to_owned()),
            then: onward.then.clone(),
            binding: binding.hash().to_hex(),
        };
        self.remember(&state, &exchange).await?;
        let cookies = pending_cookie::add(
            headers,
            info.origin.scheme,
            &state,
            &binding,
            self.clock.now(),
        );
        reply::redirect(info, location.as_str(), cookies)
    }

    /// Sends a signed-in person to where their attempt began, with a one-time code; without an attempt, to the page they came from or the home page.
    pub(super) async fn hand_back(
        &self,
        info: &RequestInfo,
        session: &Session,
        onward: &Onward,
        cookies: Vec<http::HeaderValue>,
    ) -> Result<Response<Body>, SignInError> {
        let Some(id) = &onward.attempt else {
            let page = onward.then.as_deref().unwrap_or("/.wayleave/");
            return reply::redirect(info, page, cookies);
        };
        let Some(attempt) = self.peek::<Attempt>(id).await? else {
            return reply::redirect(info, "/.wayleave/", cookies);
        };
        if attempt.origin == info.origin.to_string() {
            // The home host's own cookie is there already, or set with this very answer.
            let to = safe_return(&info.origin, &attempt.return_to);
            let done = pending_cookie::clear(info.origin.scheme, id);
            return reply::redirect(info, &to, cookies.into_iter().chain(done));
        }
        let code = Token::generate();
        let hand_back = HandBack {
            attempt: id.hash().to_hex(),
            session: session.id.clone(),
        };
        self.remember(&code, &hand_back).await?;
        let location = format!(
            "{}/.wayleave/arrive?attempt={}&code={}",
            attempt.origin,
            id.expose(),
            code.expose()
        );
        reply::redirect(info, &location, cookies)
    }
}

fn expired(info: &RequestInfo) -> Result<Response<Body>, SignInError> {
    let page = ExpiredPage {
        stylesheet: &stylesheet::PATH,
        request_id: &info.request_id,
    };
    reply::page(info, StatusCode::BAD_REQUEST, &page)
}
