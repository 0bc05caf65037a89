//! The authorization endpoint (OIDC Core §3.1.2): a page with three people, one of whom is picked by one click.

use std::time::Duration;

use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use serde::{Deserialize, Serialize};
use tower_sessions::Session;

use crate::demo::identity_provider::people::person;
use crate::demo::identity_provider::state::{Exchange, Grant, Kind, SignedIn};
use crate::demo::identity_provider::{IdentityProvider, Provider, pages};
use crate::secret::Token;

/// How long a code is good for.
const CODE_LIFETIME: Duration = Duration::from_secs(60);
/// Where the browser session keeps who signed in.
pub(super) const SESSION_KEY: &str = "signed_in";

/// Who is signed in at the provider in this browser.
#[derive(Serialize, Deserialize)]
pub(super) struct BrowserSession {
    pub(super) subject: String,
    pub(super) sid: String,
    pub(super) auth_time: i64,
}

/// The parameters of an authorization request; the page's form carries them on.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Request {
    pub(super) client_id: String,
    pub(super) redirect_uri: String,
    pub(super) response_type: String,
    #[serde(default)]
    pub(super) scope: String,
    pub(super) state: Option<String>,
    pub(super) nonce: Option<String>,
    #[serde(default)]
    pub(super) code_challenge: String,
    #[serde(default)]
    pub(super) code_challenge_method: String,
    pub(super) prompt: Option<String>,
}

/// What the page's form sends.
#[derive(Deserialize)]
pub(super) struct Picked {
    person: String,
    #[serde(flatten)]
    request: Request,
}

/// Shows the people, or goes on at once when somebody is signed in here already.
pub(super) async fn page(
    State(provider): Provider,
    session: Session,
    Query(request): Query<Request>,
) -> Response {
    if let Err(refusal) = provider.check(&request) {
        return refusal;
    }
    let prompts: Vec<&str> = request
        .prompt
        .iter()
        .flat_map(|text| text.split(' '))
        .collect();
    let asks_again = prompts.contains(&"login") || prompts.contains(&"select_account");
    let known = session
        .get::<BrowserSession>(SESSION_KEY)
        .await
        .ok()
        .flatten();
    match known.and_then(|known| known.signed_in()) {
        Some(signed_in) if !asks_again => provider.answer_with_code(&request, signed_in),
        _ if prompts.contains(&"none") => provider.answer_with_error(&request, "login_required"),
        _ => pages::pick(&request),
    }
}

/// Signs the picked person in. The session's id changes, so that nobody can have planted it before.
pub(super) async fn sign_in(
    State(provider): Provider,
    session: Session,
    headers: HeaderMap,
    Form(picked): Form<Picked>,
) -> Response {
    let site = headers.get("sec-fetch-site");
    if site.is_some_and(|site| site != "same-origin") {
        return pages::refusal(
            StatusCode::FORBIDDEN,
            "This form was sent from another site.",
        );
    }
    if let Err(refusal) = provider.check(&picked.request) {
        return refusal;
    }
    let Some(person) = person(&picked.person) else {
        return pages::refusal(StatusCode::BAD_REQUEST, "There is no such person.");
    };
    let known = BrowserSession {
        subject: person.subject.to_owned(),
        sid: Token::generate().expose().to_owned(),
        auth_time: provider.clock.now().seconds(),
    };
    let kept = match session.cycle_id().await {
        Ok(()) => session.insert(SESSION_KEY, &known).await,
        Err(error) => Err(error),
    };
    match (kept, known.signed_in()) {
        (Ok(()), Some(signed_in)) => provider.answer_with_code(&picked.request, signed_in),
        _ => pages::refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The session cannot be kept.",
        ),
    }
}

impl BrowserSession {
    fn signed_in(&self) -> Option<SignedIn> {
        Some(SignedIn {
            person: person(&self.subject)?,
            sid: self.sid.clone(),
            auth_time: self.auth_time,
        })
    }
}

impl IdentityProvider {
    /// What is wrong with client or redirect URI is shown here; everything else is told to the client (RFC 6749 §4.1.2.1).
    #[expect(clippy::result_large_err, reason = "the refusal is the answer itself")]
    fn check(&self, request: &Request) -> Result<(), Response> {
        if request.client_id != self.client.id {
            return Err(pages::refusal(
                StatusCode::BAD_REQUEST,
                "This client is not known.",
            ));
        }
        if !self.is_clients(&request.redirect_uri) {
            let text = "This redirect URI is not the client's.";
            return Err(pages::refusal(StatusCode::BAD_REQUEST, text));
        }
        let scopes: Vec<&str> = request.scope.split(' ').collect();
        let error = if request.response_type != "code" {
            "unsupported_response_type"
        } else if !scopes.contains(&"openid") {
            "invalid_scope"
        } else if request.code_challenge_method != "S256" || request.code_challenge.len() != 43 {
            "invalid_request"
        } else {
            return Ok(());
        };
        Err(self.answer_with_error(request, error))
    }

    fn answer_with_code(&self, request: &Request, signed_in: SignedIn) -> Response {
        let grant = Grant {
            signed_in,
            scope: request.scope.clone(),
            exchange: Some(Exchange {
                redirect_uri: request.redirect_uri.clone(),
                code_challenge: request.code_challenge.clone(),
                nonce: request.nonce.clone(),
            }),
        };
        let now = self.clock.now();
        let code = self.state.give(Kind::Code, grant, now, CODE_LIFETIME);
        self.answer(request, ("code", code.expose()))
    }

    fn answer_with_error(&self, request: &Request, error: &str) -> Response {
        self.answer(request, ("error", error))
    }

    fn answer(&self, request: &Request, result: (&str, &str)) -> Response {
        let Ok(mut url) = url::Url::parse(&request.redirect_uri) else {
            return pages::refusal(StatusCode::BAD_REQUEST, "This redirect URI is no URL.");
        };
        url.query_pairs_mut()
            .append_pair(result.0, result.1)
            .append_pair("iss", &self.issuer);
        if let Some(state) = &request.state {
            url.query_pairs_mut().append_pair("state", state);
        }
        // 303, so that a form is never sent on (RFC 9700 §4.12).
        Redirect::to(url.as_str()).into_response()
    }
}
