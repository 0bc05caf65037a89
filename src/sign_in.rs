//! A person's way in and out: from a route host to the home host, to the identity provider, and back; signing out; logout by the provider.
//!
//! In order: [`begin`], [`choose`], [`callback`], [`arrive`]; then [`sign_out`] and [`backchannel`].

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Response};

use crate::address::host::Host;
use crate::clock::SharedClock;
use crate::oidc::{OidcError, Providers};
use crate::session::cookie::{PresentedCookie, session_cookie};
use crate::session::{Session, SessionError, Sessions};
use crate::sign_in::pending::StepUp;
use crate::sign_in::pending_writes::PendingWrites;
use crate::snapshot::Snapshots;
use crate::store::{Store, StoreError};
use crate::web::csrf::CsrfFault;
use crate::web::parameters::Parameters;
use crate::web::reply::ReplyFault;
use crate::web::request_info::RequestInfo;

pub mod arrive;
pub mod backchannel;
pub mod begin;
pub mod callback;
pub mod choose;
pub mod endpoints;
pub mod pending;
mod pending_cookie;
pub mod pending_writes;
mod reply;
pub mod return_to;
mod session;
pub mod sign_out;

/// Everything of ours on any host lives under this path; upstreams never see it.
pub const RESERVED_PREFIX: &str = "/.wayleave/";

/// The sign-in service.
pub struct SignIn {
    pub(crate) home_host: Host,
    pub(crate) store: Store,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) providers: Arc<Providers>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) clock: SharedClock,
    pub(crate) writes: PendingWrites,
}

/// Why signing in or out did not go on. For the log; people see fixed texts.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// A parameter is missing, doubled or too long.
    #[error("the request's parameters are not acceptable")]
    Request,
    /// State, code or cookie do not belong together.
    #[error("the sign-in is unknown, used, or of another browser, host or provider")]
    NotBound,
    /// No such endpoint or provider.
    #[error("there is no such endpoint or provider")]
    NotFound,
    /// What we wrote ourselves cannot be read.
    #[error("state of the sign-in cannot be written or read")]
    State,
    /// The store is too slow for as many as begin.
    #[error("too many sign-ins begin at once")]
    Busy,
    /// The store did not take it; why is in the log already.
    #[error("the sign-in cannot be written down")]
    NotKept,
    /// The task that exchanges the code ended early.
    #[error("the exchange with the provider was cut off")]
    Cancelled,
    /// A form is not from our own page.
    #[error(transparent)]
    Csrf(#[from] CsrfFault),
    /// The answer cannot be written.
    #[error(transparent)]
    Reply(#[from] ReplyFault),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sessions failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The provider failed or refused.
    #[error(transparent)]
    Oidc(#[from] OidcError),
}

/// Longest query of ours, in bytes.
const QUERY_LIMIT: usize = 8 * 1024;

/// A query's parameters, each at most once.
fn query(raw: Option<&str>) -> Result<Parameters, SignInError> {
    Parameters::parse(raw.unwrap_or("").as_bytes(), QUERY_LIMIT).map_err(|_| SignInError::Request)
}

impl SignIn {
    /// Answers a navigation that needs somebody to sign in: remembers where they wanted to go and sends them to the home host.
    /// `return_to` is path and query as asked for; `step_up` is how they have to sign in again, if they have. Errors become a problem page (503 with the store down).
    pub async fn begin(
        &self,
        info: &RequestInfo,
        return_to: &str,
        headers: &HeaderMap,
        step_up: Option<StepUp>,
    ) -> Response<Body> {
        let result = self.start_attempt(info, return_to, headers, step_up).await;
        result.unwrap_or_else(|error| reply::failure(info, headers, &error))
    }

    /// Writes down the sign-ins that begin; runs until cancelled.
    pub async fn maintain(self: Arc<Self>) {
        self.writes.write(&self.store).await;
    }

    /// Everything on the home host: sign-in, callback, sign-out, back-channel logout.
    /// Requests carry [`RequestInfo`] in their extensions.
    pub fn home_router(self: Arc<Self>) -> Router {
        endpoints::router(self, endpoints::HostKind::Home)
    }

    /// What lives under [`RESERVED_PREFIX`] on route hosts: arriving with a code, the session as JSON, the way to sign-out.
    pub fn route_router(self: Arc<Self>) -> Router {
        endpoints::router(self, endpoints::HostKind::Route)
    }

    /// The live session of a request's cookie on the host it came to.
    async fn live_session(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<Session>>, SignInError> {
        match session_cookie(headers, info.origin.scheme) {
            PresentedCookie::One(cookie) => Ok(self
                .sessions
                .load(cookie, info.origin.host.as_str())
                .await?),
            PresentedCookie::None | PresentedCookie::Unusable => Ok(None),
        }
    }
}
