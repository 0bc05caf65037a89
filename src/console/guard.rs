//! Who comes in to the console, and how refusals look to them.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::MethodRouter;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::admin::access::everybody::Waiting;
use crate::admin::actor::Actor;
use crate::console::Console;
use crate::console::answer::{Answer, Carried, Refused, html, see_other};
use crate::console::frame::{DONE, Done, Frame};
use crate::console::live;
use crate::identity::principal::Principal;
use crate::secret::TokenHash;
use crate::session::Session;
use crate::session::cookie::{PresentedCookie, session_cookie};
use crate::telemetry::causes::Causes;
use crate::web::apart;
use crate::web::audience::Audience;
use crate::web::csrf::{Protected, form_token};
use crate::web::endpoint::Access;
use crate::web::parameters::Parameters;
use crate::web::problem::Problem;
use crate::web::request_info::RequestInfo;
use crate::web::security_headers;

/// Longest query, in bytes.
const QUERY_LIMIT: usize = 8 * 1024;

/// Somebody who is signed in and asks for a page. Only [`admit`] makes one.
#[derive(Clone)]
pub struct Visit {
    /// What the edge knows of the request.
    pub info: RequestInfo,
    /// Who asks, with their roles by the policy in force.
    pub actor: Actor,
    /// Who asks.
    pub principal: Arc<Principal>,
    /// Their session.
    pub session: Arc<Session>,
    /// The path that is asked for.
    pub path: String,
    /// What the session is called where it is told of.
    pub label: String,
    /// What was just done.
    pub done: Option<Done>,
    /// How much waits for their decision, for pages.
    pub waiting: Waiting,
    /// What open pages were told until now.
    pub mark: String,
    cookie: TokenHash,
}

impl Visit {
    /// What this session's forms carry.
    pub fn form_token(&self) -> String {
        form_token(self.cookie)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refused> {
        parts.extensions.get().cloned().ok_or(Refused::NotSignedIn)
    }
}

/// The query's parameters, each at most once.
pub struct Query(pub Parameters);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refused> {
        let raw = parts.uri.query().unwrap_or_default();
        let read = Parameters::parse(raw.as_bytes(), QUERY_LIMIT);
        read.map(Self)
            .map_err(|fault| Refused::Unreadable(format!("In the address, {fault}.")))
    }
}

/// A form's fields. There is no other way to them: origin and token are verified here.
pub struct Submitted(pub Parameters);

impl<S: Send + Sync> FromRequest<S> for Submitted {
    type Rejection = Refused;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refused> {
        let visit: Option<Visit> = request.extensions().get().cloned();
        let visit = visit.ok_or(Refused::NotSignedIn)?;
        let form = Protected::receive(request).await?;
        Ok(Self(form.open(&visit.info.origin, visit.cookie)?))
    }
}

/// Lets those through to an endpoint who may use it.
pub fn permitting(
    access: Access,
    endpoint: MethodRouter<Arc<Console>>,
) -> MethodRouter<Arc<Console>> {
    endpoint.route_layer(from_fn_with_state(access, permit))
}

async fn permit(State(access): State<Access>, request: Request, next: Next) -> Response<Body> {
    let Some(visit) = request.extensions().get::<Visit>() else {
        return Refused::NotSignedIn.into_response();
    };
    let checked = match access {
        Access::SignedIn => Ok(()),
        Access::With(permission) => visit.actor.check(permission),
    };
    match checked {
        Ok(()) => {
            let who = visit.actor.key();
            apart::run(&who, request, next).await
        }
        Err(refused) => {
            let (method, path) = (request.method().as_str(), request.uri().path());
            visit.actor.told_off(refused, method, path);
            Refused::from(refused).into_response()
        }
    }
}

/// Finds out who asks, lets them on, and lays out what is refused them. Laid around everything, also around what there is not.
pub async fn admit(
    State(console): State<Arc<Console>>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    let Some(info) = request.extensions().get::<RequestInfo>().cloned() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    // Forms are sent by pages: whoever sends one reads pages.
    let audience = Audience::of(&Method::GET, request.headers());
    let (headers, uri) = (request.headers().clone(), request.uri().clone());
    let mut response = match visit(&console, &info, &headers, &uri).await {
        Ok(Some(mut visit)) => {
            if *request.method() == Method::GET {
                visit.waiting = waiting(&console, &visit).await;
            }
            request.extensions_mut().insert(visit.clone());
            let response = next.run(request).await;
            laid_out(&visit, response)
        }
        Ok(None) => to_sign_in(&info, &request, audience),
        Err(refused) => bare(&info, audience, &refused),
    };
    let headers = response.headers_mut();
    // The console alone has scripts, which ask for nothing elsewhere.
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(security_headers::WITH_SCRIPT),
    );
    security_headers::apply(headers, info.origin.scheme);
    response
}

async fn visit(
    console: &Console,
    info: &RequestInfo,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Option<Visit>, Refused> {
    let presented = session_cookie(headers, info.origin.scheme);
    let PresentedCookie::One(cookie) = presented else {
        return Ok(None);
    };
    let host = info.origin.host.as_str();
    let found = match headers.contains_key(live::BY_ITSELF) || uri.path() == live::PATH {
        true => console.sessions.look_up(cookie, host).await?,
        false => console.sessions.load(cookie, host).await?,
    };
    let Some(session) = found else {
        return Ok(None);
    };
    let principal = Arc::clone(&session.principal);
    let actor = Actor::person(Arc::clone(&principal), &console.snapshots.current());
    Ok(Some(Visit {
        info: info.clone(),
        actor,
        principal,
        label: session.id.label(),
        session,
        path: uri.path().to_owned(),
        done: uri.query().and_then(done),
        waiting: Waiting::default(),
        mark: console.live.mark(),
        cookie,
    }))
}

/// A page is worth showing also without a number beside a link.
async fn waiting(console: &Console, visit: &Visit) -> Waiting {
    match console.access.waiting(&visit.principal).await {
        Ok(waiting) => waiting,
        Err(error) => {
            let request_id = &visit.info.request_id;
            tracing::debug!(%request_id, error = %Causes(&error), "what waits for somebody is not known");
            Waiting::default()
        }
    }
}

/// What a query says was done; only texts of ours are ever shown.
fn done(query: &str) -> Option<Done> {
    let code = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("done="))?;
    DONE.iter().find(|done| done.code == code).copied()
}

/// A navigation goes on to sign in, and comes back here; anything else is told.
fn to_sign_in(info: &RequestInfo, request: &Request, audience: Audience) -> Response<Body> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if audience != Audience::Navigation || !reads {
        return bare(info, audience, &Refused::NotSignedIn);
    }
    let asked = request.uri().path_and_query();
    let asked = asked.map_or("/console", |asked| asked.as_str());
    let asked = utf8_percent_encode(asked, NON_ALPHANUMERIC);
    let location = format!("/.wayleave/sign-in?to={asked}");
    see_other(&location).unwrap_or_else(|refused| bare(info, audience, &refused))
}

/// A refusal to somebody of whom nothing is known.
fn bare(info: &RequestInfo, audience: Audience, refused: &Refused) -> Response<Body> {
    log(info, refused);
    let (status, title, detail) = refused.words();
    let problem = Problem {
        status,
        code: code(status),
        title,
        detail,
        request_id: info.request_id.to_string(),
        decision: None,
        authenticate: None,
        retry_after: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(5),
        sign_in_path: (status == StatusCode::UNAUTHORIZED).then(|| "/.wayleave/sign-in".to_owned()),
        ask_url: None,
    };
    problem.into_response(audience)
}

const fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "sign_in_required",
        StatusCode::SERVICE_UNAVAILABLE => "store_unavailable",
        _ => "not_possible",
    }
}

#[derive(Template)]
#[template(path = "console/problem.html")]
pub(super) struct ProblemPage {
    pub(super) frame: Frame,
    pub(super) detail: String,
    pub(super) permission: Option<&'static str>,
    pub(super) has_no_role: bool,
}

/// Gives a refusal its page; everything else stays as it is.
fn laid_out(visit: &Visit, mut response: Response<Body>) -> Response<Body> {
    let carried = response.extensions_mut().remove::<Carried>();
    let refused = match (&carried, response.status()) {
        (Some(Carried(refused)), _) => refused,
        (None, StatusCode::METHOD_NOT_ALLOWED) => &Arc::new(Refused::Method),
        (None, _) => return response,
    };
    log(&visit.info, refused);
    problem(visit, refused).unwrap_or_else(|_| refused.words().0.into_response())
}

fn problem(visit: &Visit, refused: &Refused) -> Answer {
    let (status, title, detail) = refused.words();
    let permission = match refused {
        Refused::NotPermitted(refused) => Some(refused.0.as_str()),
        _ => None,
    };
    let frame = Frame::of(visit, title);
    let page = ProblemPage {
        has_no_role: frame.roles.is_empty(),
        frame,
        detail,
        permission,
    };
    html(status, &page)
}

/// Anybody can ask for what is not there or not for them, as often as they like: that is no warning.
fn log(info: &RequestInfo, refused: &Refused) {
    let request_id = &info.request_id;
    match refused {
        Refused::NotFound | Refused::Method | Refused::NotSignedIn => {
            tracing::debug!(%request_id, error = %refused, "a console page was not shown");
        }
        Refused::Unavailable(_) | Refused::Internal(_) => {
            tracing::warn!(%request_id, error = %Causes(refused), "a console page failed");
        }
        Refused::Unreadable(_)
        | Refused::NotPermitted(_)
        | Refused::Csrf(_)
        | Refused::Conflict(_)
        | Refused::TooMany => {
            tracing::info!(%request_id, error = %refused, "a console page was refused");
        }
    }
}

/// What is answered where there is no page.
pub(super) async fn nothing_here() -> Refused {
    Refused::NotFound
}
