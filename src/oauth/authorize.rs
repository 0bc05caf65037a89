//! A person lets a program on their own computer in: authorization code with PKCE and a loopback redirect (RFC 6749 §4.1, RFC 7636, RFC 8252).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use url::{Host, Url, form_urlencoded};

use crate::clock::Timestamp;
use crate::identity::principal::Requirement;
use crate::oauth::client::Client;
use crate::oauth::fault::OAuthFault;
use crate::oauth::target::Target;
use crate::oauth::{OAuth, client, endpoints, reply};
use crate::secret::{Token, TokenHash};
use crate::session::cookie::{PresentedCookie, session_cookie};
use crate::session::{Session, SessionId};
use crate::store::token_families::Acting;
use crate::web::csrf::{Protected, form_token};
use crate::web::parameters::Parameters;
use crate::web::reply as web_reply;
use crate::web::request_info::RequestInfo;
use crate::web::stylesheet;

/// Longest query of an authorization request.
const QUERY_LIMIT: usize = 4 * 1024;
/// Longest `state`.
const STATE_LIMIT: usize = 512;
/// Length of a SHA-256 in base64url.
const HASH_LENGTH: usize = 43;

/// What a one-time code stands for, until it is redeemed.
#[derive(Serialize, Deserialize)]
pub(crate) struct AuthorizationCode {
    pub(crate) client: String,
    pub(crate) redirect_uri: String,
    /// PKCE S256.
    pub(crate) challenge: String,
    /// The key that has to be proven, if the request named one (RFC 9449 §10).
    pub(crate) key_thumbprint: Option<String>,
    pub(crate) session: SessionId,
    /// The agent that it is for, and where.
    #[serde(default)]
    pub(crate) acting: Option<Acting>,
}

impl AuthorizationCode {
    /// Its kind of one-time state.
    pub(crate) const KIND: &'static str = "oauth-code";
    /// RFC 6749 §4.1.2 has ten minutes at most; a program on the same computer is there at once.
    const LIFETIME: Duration = Duration::from_secs(60);
}

/// An authorization request, checked.
struct Wanted {
    client: Client,
    acting: Option<Acting>,
    /// As it was written, to be repeated.
    resource: Option<String>,
    redirect_uri: Url,
    /// As it was written, to be compared with what redeems the code.
    redirect_text: String,
    state: Option<String>,
    challenge: String,
    key_thumbprint: Option<String>,
    /// How the person has to have signed in (RFC 9470 §4).
    require: Option<Requirement>,
}

/// Why a request is not shown to anybody: to a person here, or to the program, once it is sure where that is.
enum Unwanted {
    Here(OAuthFault),
    There(Box<Back>),
}

/// A fault on its way to the program.
struct Back {
    to: Url,
    state: Option<String>,
    fault: OAuthFault,
}

#[derive(Template)]
#[template(path = "oauth/consent.html")]
struct ConsentPage<'a> {
    stylesheet: &'a str,
    request_id: &'a str,
    label: &'a str,
    program: &'a str,
    redirect_uri: &'a str,
    from: String,
    ends_at: String,
    ends_at_text: String,
    action: &'a str,
    fields: Vec<(&'a str, Cow<'a, str>)>,
}

#[derive(Template)]
#[template(path = "oauth/agent_consent.html")]
struct AgentPage<'a> {
    stylesheet: &'a str,
    request_id: &'a str,
    label: &'a str,
    /// What it calls itself.
    name: Option<&'a str>,
    /// What is known of it.
    agent: &'a str,
    is_local: bool,
    redirect_uri: &'a str,
    route: &'a str,
    origin: &'a str,
    is_bound: bool,
    ends_at: String,
    ends_at_text: String,
    action: &'a str,
    fields: Vec<(&'a str, Cow<'a, str>)>,
}

/// `GET /.wayleave/oauth/authorize`: signs in first, then asks.
pub(super) async fn ask(
    State(oauth): State<Arc<OAuth>>,
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
) -> Response<Body> {
    let raw = raw.unwrap_or_default();
    let result = oauth.ask_consent(&info, &headers, &raw).await;
    result.unwrap_or_else(|unwanted| oauth.turned_away(&info, &headers, unwanted))
}

/// `POST /.wayleave/oauth/authorize`: what they decided.
pub(super) async fn submit(
    State(oauth): State<Arc<OAuth>>,
    Extension(info): Extension<RequestInfo>,
    request: Request<Body>,
) -> Response<Body> {
    let headers = request.headers().clone();
    let result = oauth.consented(&info, &headers, request).await;
    result.unwrap_or_else(|unwanted| oauth.turned_away(&info, &headers, unwanted))
}

impl<F: Into<OAuthFault>> From<F> for Unwanted {
    fn from(fault: F) -> Self {
        Self::Here(fault.into())
    }
}

impl Wanted {
    /// Whatever is wrong before it is sure whom the redirect URI belongs to is told to the person (RFC 6749 §4.1.2.1).
    fn read(client: Client, given: &Parameters) -> Result<Self, Unwanted> {
        let redirect_text = given.one("redirect_uri").unwrap_or_default();
        let Some(redirect_uri) = client.redirect_uri(redirect_text) else {
            let why = match client {
                Client::CommandLine => {
                    "the redirect_uri is not http://127.0.0.1:PORT/callback or http://[::1]:PORT/callback"
                }
                Client::Registered(_) => "the redirect_uri is not one that the client registered",
            };
            return Err(OAuthFault::InvalidRequest(why).into());
        };
        let state = given.one("state").map(str::to_owned);
        if state
            .as_ref()
            .is_some_and(|state| state.len() > STATE_LIMIT)
        {
            return Err(OAuthFault::InvalidRequest("the state is too long").into());
        }
        // Anybody registers whatever place they like, and nobody is sent there before a person has said so: our address would lead to it from any link
        // (RFC 9700 §4.11.2).
        let there = |fault| match &client {
            Client::Registered(_) => Unwanted::Here(fault),
            Client::CommandLine => Unwanted::There(Box::new(Back {
                to: redirect_uri.clone(),
                state: state.clone(),
                fault,
            })),
        };
        if given.one("response_type") != Some("code") {
            return Err(there(OAuthFault::UnsupportedResponseType));
        }
        if given.one("code_challenge_method") != Some("S256") {
            let why = "code_challenge_method must be S256";
            return Err(there(OAuthFault::InvalidRequest(why)));
        }
        let challenge = given.one("code_challenge").filter(|text| is_hash(text));
        let Some(challenge) = challenge.map(str::to_owned) else {
            let why = "code_challenge must be the base64url of a SHA-256";
            return Err(there(OAuthFault::InvalidRequest(why)));
        };
        let key_thumbprint = given.one("dpop_jkt").map(str::to_owned);
        if key_thumbprint.as_ref().is_some_and(|key| !is_hash(key)) {
            let why = "dpop_jkt must be the thumbprint of a key";
            return Err(there(OAuthFault::InvalidRequest(why)));
        }
        let (acr_values, max_age) = (given.one("acr_values"), given.one("max_age"));
        let require = Requirement::of_parameters(acr_values, max_age);
        let require = require.map_err(|why| there(OAuthFault::InvalidRequest(why)))?;
        Ok(Self {
            client,
            require,
            acting: None,
            resource: given.one("resource").map(str::to_owned),
            redirect_uri,
            redirect_text: redirect_text.to_owned(),
            state,
            challenge,
            key_thumbprint,
        })
    }

    /// What the client is told once the person has decided.
    fn refused(self) -> Unwanted {
        Unwanted::There(Box::new(Back {
            to: self.redirect_uri,
            state: self.state,
            fault: OAuthFault::AccessDenied,
        }))
    }

    /// The fields by which the consent page's form repeats the request.
    fn fields(&self) -> Vec<(&str, Cow<'_, str>)> {
        let mut fields = vec![
            ("response_type", "code".into()),
            ("client_id", self.client.id().into()),
            ("redirect_uri", self.redirect_text.as_str().into()),
            ("code_challenge", self.challenge.as_str().into()),
            ("code_challenge_method", "S256".into()),
        ];
        let more = [
            ("state", self.state.as_deref()),
            ("resource", self.resource.as_deref()),
            ("dpop_jkt", self.key_thumbprint.as_deref()),
        ];
        let more = more.into_iter();
        fields.extend(more.filter_map(|(name, value)| Some((name, value?.into()))));
        let require = self.require.iter().flat_map(Requirement::parameters);
        fields.extend(require.map(|(name, value)| (name, value.into())));
        fields
    }

    /// The page that asks, with this request.
    fn page(&self) -> String {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(self.fields())
            .finish();
        format!("{}?{query}", endpoints::AUTHORIZE)
    }

    /// How this person has to sign in first, if they have not.
    fn unmet(&self, session: &Session, now: Timestamp) -> Option<&Requirement> {
        let is_met = |require: &&Requirement| require.is_met(&session.principal, now.seconds());
        self.require.as_ref().filter(|require| !is_met(require))
    }
}

fn is_hash(text: &str) -> bool {
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    text.len() == HASH_LENGTH && text.bytes().all(is_base64url)
}

impl OAuth {
    async fn ask_consent(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
        raw: &str,
    ) -> Result<Response<Body>, Unwanted> {
        let unreadable = OAuthFault::InvalidRequest("a parameter is given twice or too long");
        let given = Parameters::parse(raw.as_bytes(), QUERY_LIMIT).map_err(|_| unreadable)?;
        let wanted = self.wanted(info, &given).await?;
        let Some((session, cookie)) = self.browser_session(info, headers).await? else {
            return Ok(sign_in_first(info, &wanted.page())?);
        };
        if let Some(require) = wanted.unmet(&session, self.clock.now()) {
            return Ok(sign_in(info, &wanted.page(), Some(require))?);
        }
        match &wanted.acting {
            Some(acting) => {
                let target = Target::Route(acting.audience.clone());
                self.check_provider(info, &target, &session.principal)?;
                let is_bound = !self.agents.bearer_tokens;
                Ok(agent_consent(
                    info,
                    (&wanted, acting),
                    &session,
                    cookie,
                    is_bound,
                )?)
            }
            None => Ok(consent(info, &wanted, &session, cookie)?),
        }
    }

    /// Reads an authorization request. An agent has to name one route.
    async fn wanted(&self, info: &RequestInfo, given: &Parameters) -> Result<Wanted, Unwanted> {
        let client = self.client(given.one("client_id")).await?;
        let mut wanted = Wanted::read(client, given)?;
        if let Client::Registered(client) = &wanted.client {
            let resource = wanted.resource.as_deref();
            let named = resource.ok_or(OAuthFault::Missing("resource"));
            let named = named.and_then(|resource| self.route_of(info, resource));
            let (route, audience) = named?;
            wanted.acting = Some(Acting {
                agent: client::agent(client, &wanted.redirect_uri, &self.issuer(info)),
                route,
                audience,
            });
        }
        Ok(wanted)
    }

    async fn consented(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
        request: Request<Body>,
    ) -> Result<Response<Body>, Unwanted> {
        let not_ours = || OAuthFault::InvalidRequest("the form is not from our own page");
        let PresentedCookie::One(cookie) = session_cookie(headers, info.origin.scheme) else {
            return Err(not_ours().into());
        };
        let form = Protected::receive(request).await.map_err(|_| not_ours())?;
        let given = form.open(&info.origin, cookie).map_err(|_| not_ours())?;
        let wanted = self.wanted(info, &given).await?;
        let Some((session, _)) = self.browser_session(info, headers).await? else {
            let why = "your session has ended meanwhile";
            return Err(OAuthFault::InvalidGrant(why).into());
        };
        if given.one("decision") != Some("allow") {
            return Err(wanted.refused());
        }
        if wanted.unmet(&session, self.clock.now()).is_some() {
            let why = "your session is not of the sign-in that was asked for; begin again";
            return Err(OAuthFault::InvalidGrant(why).into());
        }
        let code = Token::generate();
        self.keep_code(&code, &wanted, &session).await?;
        tracing::info!(request_id = %info.request_id, client = wanted.client.id(), session = session.id.label(), "a program was let in");
        let answer = [("code", code.expose())];
        Ok(self.back(info, wanted.redirect_uri, wanted.state.as_deref(), &answer)?)
    }

    async fn keep_code(
        &self,
        code: &Token,
        wanted: &Wanted,
        session: &Session,
    ) -> Result<(), OAuthFault> {
        let kept = AuthorizationCode {
            client: wanted.client.id().to_owned(),
            acting: wanted.acting.clone(),
            redirect_uri: wanted.redirect_text.clone(),
            challenge: wanted.challenge.clone(),
            key_thumbprint: wanted.key_thumbprint.clone(),
            session: session.id.clone(),
        };
        let kept = serde_json::to_vec(&kept).map_err(|_| OAuthFault::State)?;
        let until = self.clock.now().plus(AuthorizationCode::LIFETIME);
        self.store
            .put_once(AuthorizationCode::KIND, code.hash(), &kept, until)
            .await?;
        Ok(())
    }

    /// To the program that waits, with `state` and, so that it can tell servers apart, `iss` (RFC 9207).
    fn back(
        &self,
        info: &RequestInfo,
        mut to: Url,
        state: Option<&str>,
        answer: &[(&str, &str)],
    ) -> Result<Response<Body>, OAuthFault> {
        {
            let mut query = to.query_pairs_mut();
            query.extend_pairs(answer);
            query.extend_pairs(state.map(|state| ("state", state)));
            query.append_pair("iss", &self.issuer(info));
        }
        web_reply::redirect(info, to.as_str(), None).map_err(|_| OAuthFault::State)
    }

    fn turned_away(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
        unwanted: Unwanted,
    ) -> Response<Body> {
        let told = match unwanted {
            Unwanted::Here(fault) => Err(fault),
            Unwanted::There(back) => {
                let (code, why) = (back.fault.code(), back.fault.to_string());
                let answer = [("error", code), ("error_description", why.as_str())];
                self.back(info, back.to, back.state.as_deref(), &answer)
            }
        };
        told.unwrap_or_else(|fault| reply::page_of_fault(info, headers, &fault))
    }
}

/// To the page where people sign in, which leads back to a page of ours.
pub(crate) fn sign_in_first(info: &RequestInfo, page: &str) -> Result<Response<Body>, OAuthFault> {
    sign_in(info, page, None)
}

/// The same, in order to sign in as is asked for.
fn sign_in(
    info: &RequestInfo,
    page: &str,
    require: Option<&Requirement>,
) -> Result<Response<Body>, OAuthFault> {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("then", page)
        .extend_pairs(require.into_iter().flat_map(Requirement::parameters))
        .finish();
    let location = format!("/.wayleave/sign-in?{query}");
    web_reply::redirect(info, &location, None).map_err(|_| OAuthFault::State)
}

fn consent(
    info: &RequestInfo,
    wanted: &Wanted,
    session: &Session,
    cookie: TokenHash,
) -> Result<Response<Body>, OAuthFault> {
    let csrf = form_token(cookie);
    let mut fields = wanted.fields();
    fields.push(("csrf", csrf.into()));
    let page = ConsentPage {
        stylesheet: &stylesheet::PATH,
        request_id: &info.request_id,
        label: session.principal.label(),
        program: client::name(wanted.client.id()),
        redirect_uri: &wanted.redirect_text,
        from: info.client.to_string(),
        ends_at: session.expires_at.rfc3339(),
        ends_at_text: session.expires_at.for_people(),
        action: endpoints::AUTHORIZE,
        fields,
    };
    answered_by(info, wanted, &page)
}

/// Who asks, for whom, at which route: what is known of it, and what is only its own word.
fn agent_consent(
    info: &RequestInfo,
    (wanted, acting): (&Wanted, &Acting),
    session: &Session,
    cookie: TokenHash,
    is_bound: bool,
) -> Result<Response<Body>, OAuthFault> {
    let csrf = form_token(cookie);
    let mut fields = wanted.fields();
    fields.push(("csrf", csrf.into()));
    let page = AgentPage {
        stylesheet: &stylesheet::PATH,
        request_id: &info.request_id,
        label: session.principal.label(),
        name: acting.agent.name.as_deref(),
        agent: &acting.agent.id,
        is_local: wanted.redirect_uri.scheme() == "http",
        redirect_uri: &wanted.redirect_text,
        route: &acting.route,
        origin: &acting.audience,
        is_bound,
        ends_at: session.expires_at.rfc3339(),
        ends_at_text: session.expires_at.for_people(),
        action: endpoints::AUTHORIZE,
        fields,
    };
    answered_by(info, wanted, &page)
}

/// A page whose form leads to the client.
fn answered_by(
    info: &RequestInfo,
    wanted: &Wanted,
    page: &impl Template,
) -> Result<Response<Body>, OAuthFault> {
    let mut response =
        web_reply::page(info, StatusCode::OK, page).map_err(|_| OAuthFault::State)?;
    let policy = policy_for(&wanted.redirect_uri).ok_or(OAuthFault::State)?;
    response
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

/// The form's answer leads to the program, and `form-action` governs where redirects of a form lead, too. CSP has no notation for IPv6 addresses.
fn policy_for(redirect_uri: &Url) -> Option<HeaderValue> {
    let place = match redirect_uri.host()? {
        Host::Ipv4(_) | Host::Domain(_) => redirect_uri.origin().ascii_serialization(),
        Host::Ipv6(_) => format!("{}:", redirect_uri.scheme()),
    };
    let policy = format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' {place}; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).ok()
}
