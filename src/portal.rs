//! Pages of the home host for everybody who is signed in: what they may open, where they are signed in, and access for a time with asking, waiting,
//! deciding, and one's own requests and grants.
//!
//! They say what the policy in force, [`admin::access`](crate::admin::access) and [`admin::sessions`](crate::admin::sessions) say, and decide nothing themselves: who may do
//! what is judged there, also where a page has no button for it. Nothing here needs JavaScript.

use std::sync::Arc;

use axum::Router;
use http::HeaderMap;

use crate::admin::access::{Access, AccessError, Actor};
use crate::admin::sessions::SessionBook;
use crate::identity::principal::Principal;
use crate::oidc::Providers;
use crate::secret::TokenHash;
use crate::session::cookie::{PresentedCookie, session_cookie};
use crate::session::{Session, SessionError, Sessions};
use crate::store::StoreError;
use crate::web::csrf::{CsrfFault, form_token};
use crate::web::reply::ReplyFault;
use crate::web::request_info::RequestInfo;

mod act;
mod ask;
pub mod endpoints;
mod frame;
mod home;
mod mine;
mod reply;
mod requests;
mod sign_ins;
mod standing;
mod waiting;

/// The pages, and what they ask.
pub struct Portal {
    /// What may be done, and who may.
    pub access: Access,
    /// Signed-in people.
    pub sessions: Arc<Sessions>,
    /// One's own sessions.
    pub book: SessionBook,
    /// What identity providers are called.
    pub providers: Arc<Providers>,
}

/// Why a page is not shown, or a form not followed. For the log; people see fixed texts.
#[derive(Debug, thiserror::Error)]
pub enum PortalError {
    /// Nobody is signed in here; where they come back to.
    #[error("nobody is signed in")]
    NotSignedIn(String),
    /// A parameter is missing, doubled, too long, or leads nowhere.
    #[error("the request's parameters are not acceptable")]
    Request,
    /// The access rules have nothing to ask for there.
    #[error("there is nothing to ask for")]
    NothingToAsk,
    /// A form is not from our own page.
    #[error(transparent)]
    Csrf(#[from] CsrfFault),
    /// It is not to be done, or not by them.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The session cannot be looked up.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// There is no such sign-in of theirs.
    #[error("there is no such sign-in")]
    NoSignIn,
    /// The store cannot be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The answer cannot be written.
    #[error(transparent)]
    Reply(#[from] ReplyFault),
}

/// Somebody who is signed in on the home host.
struct Visitor {
    session: Arc<Session>,
    label: String,
    cookie: TokenHash,
}

impl Visitor {
    fn principal(&self) -> &Principal {
        &self.session.principal
    }

    fn actor(&self) -> Actor<'_> {
        Actor {
            principal: self.principal(),
            session: Some(&self.label),
        }
    }

    /// For forms of their pages.
    fn form_token(&self) -> String {
        form_token(self.cookie)
    }
}

impl Portal {
    /// All of it. Requests carry [`RequestInfo`] in their extensions.
    pub fn router(self: Arc<Self>) -> Router {
        endpoints::router(self)
    }

    /// Whoever is signed in; somebody who is not comes back to `here` once they are.
    async fn visitor(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
        here: &str,
    ) -> Result<Visitor, PortalError> {
        let nobody = || PortalError::NotSignedIn(here.to_owned());
        let PresentedCookie::One(cookie) = session_cookie(headers, info.origin.scheme) else {
            return Err(nobody());
        };
        let host = info.origin.host.as_str();
        let session = self.sessions.load(cookie, host).await?;
        let session = session.ok_or_else(nobody)?;
        Ok(Visitor {
            label: session.id.label(),
            session,
            cookie,
        })
    }
}
