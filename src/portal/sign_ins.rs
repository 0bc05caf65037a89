//! Where somebody is signed in, and ending it there: their own sign-ins only.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use http::{Request, Response};

use crate::admin::sessions::{Own, OwnEnd};
use crate::clock::Timestamp;
use crate::portal::{Portal, PortalError, Visitor, reply};
use crate::session::SessionRecord;
use crate::store::token_families::GivenTokens;
use crate::web;
use crate::web::csrf::Protected;
use crate::web::moment::Moment;
use crate::web::request_info::RequestInfo;

/// A session or the tokens of a program.
pub(super) struct SignedIn {
    pub(super) what: String,
    pub(super) note: &'static str,
    pub(super) peer: Option<String>,
    pub(super) since: Moment,
    pub(super) used: Moment,
    pub(super) ends: Moment,
    pub(super) is_here: bool,
    pub(super) end_path: String,
}

/// All of them: this session first, then other sessions, then programs.
pub(super) fn rows(own: &Own, visitor: &Visitor, now: Timestamp) -> Vec<SignedIn> {
    let mut sessions: Vec<&SessionRecord> = own.sessions.iter().collect();
    sessions.sort_by_key(|session| session.id != visitor.session.id);
    let sessions = sessions.into_iter().map(|session| {
        let is_here = session.id == visitor.session.id;
        of_session(session, is_here, now)
    });
    let tokens = own.tokens.iter().map(|given| {
        let mut sessions = own.sessions.iter();
        let session = sessions.find(|session| session.id == given.family.session);
        let ends = session.map_or(visitor.session.expires_at, |session| session.expires_at);
        of_tokens(given, ends, now)
    });
    sessions.chain(tokens).collect()
}

fn of_session(session: &SessionRecord, is_here: bool, now: Timestamp) -> SignedIn {
    let used = if is_here { now } else { session.last_seen };
    SignedIn {
        what: session.browser.as_deref().unwrap_or("A browser").to_owned(),
        note: "in a browser",
        peer: session.peer.map(|peer| peer.to_string()),
        since: Moment::of(session.created_at, now),
        used: Moment::of(used, now),
        ends: Moment::of(session.expires_at, now),
        is_here,
        end_path: format!("/access/sessions/{}/end", session.id.label()),
    }
}

fn of_tokens(given: &GivenTokens, ends: Timestamp, now: Timestamp) -> SignedIn {
    SignedIn {
        what: match (&given.family.acting, given.family.client.as_str()) {
            // By what is proven of it, and not by what it calls itself.
            (Some(acting), _) => format!("The agent {} at {}", acting.agent.id, acting.route),
            (None, "wayleave-cli") => "The command line".to_owned(),
            (None, other) => other.to_owned(),
        },
        note: match (given.how.as_deref(), &given.family.key_thumbprint) {
            (Some("device"), Some(_)) => "let in by a code, bound to its machine",
            (_, Some(_)) => "let in by a browser, bound to its machine",
            (Some("device"), None) => "let in by a code",
            (_, None) => "let in by a browser",
        },
        peer: given.peer.map(|peer| peer.to_string()),
        since: Moment::of(given.at, now),
        used: Moment::of(given.renewed_at, now),
        ends: Moment::of(ends, now),
        is_here: false,
        end_path: format!("/access/tokens/{}/end", given.family.id.label()),
    }
}

type Form = (State<Arc<Portal>>, Extension<RequestInfo>, Request<Body>);

/// `POST /access/sessions/{id}/end`.
pub(super) async fn end_session(
    state: State<Arc<Portal>>,
    info: Extension<RequestInfo>,
    Path(label): Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    end((state, info, request), &OwnEnd::Session(label)).await
}

/// `POST /access/tokens/{id}/end`.
pub(super) async fn end_tokens(
    state: State<Arc<Portal>>,
    info: Extension<RequestInfo>,
    Path(label): Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    end((state, info, request), &OwnEnd::Tokens(label)).await
}

/// `POST /access/sign-ins/others/end`.
pub(super) async fn end_others(
    state: State<Arc<Portal>>,
    info: Extension<RequestInfo>,
    request: Request<Body>,
) -> Response<Body> {
    end((state, info, request), &OwnEnd::Others).await
}

async fn end((State(portal), Extension(info), request): Form, which: &OwnEnd) -> Response<Body> {
    let headers = request.headers().clone();
    let result = portal.end_own(&info, request, which).await;
    reply::answer(&info, &headers, result)
}

impl Portal {
    async fn end_own(
        &self,
        info: &RequestInfo,
        request: Request<Body>,
        which: &OwnEnd,
    ) -> Result<Response<Body>, PortalError> {
        let visitor = self.visitor(info, request.headers(), "/").await?;
        let form = Protected::receive(request).await?;
        form.open(&info.origin, visitor.cookie)?;
        let own = (&visitor.session.id, self.access.now());
        let principal = visitor.principal();
        let ended = self.book.end_own(principal, which, own).await?;
        let done = match which {
            OwnEnd::Others => "others",
            OwnEnd::Session(_) | OwnEnd::Tokens(_) if ended == 0 => {
                return Err(PortalError::NoSignIn);
            }
            OwnEnd::Session(_) | OwnEnd::Tokens(_) => "signed-out",
        };
        let back = format!("/?done={done}#sign-ins");
        Ok(web::reply::redirect(info, &back, None)?)
    }
}
