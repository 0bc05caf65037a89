//! How a page answers: with a page, by sending the browser on, or by saying why not. A refusal is laid out by the guard, which knows who asked.

use askama::Template;
use axum::body::Body;
use axum::response::IntoResponse;
use http::{HeaderValue, Response, StatusCode, header};

use crate::admin::actor::NotPermitted;
use crate::admin::drafts::DraftsError;
use crate::admin::explain::ExplainError;
use crate::admin::failure::Failure;
use crate::admin::keys::KeysError;
use crate::admin::revisions::RevisionsError;
use crate::session::SessionError;
use crate::store::StoreError;
use crate::web::csrf::CsrfFault;

/// What a handler returns.
pub type Answer = Result<Response<Body>, Refused>;

/// Why a page is not shown, or a form is not followed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such page or object.
    #[error("there is no such page")]
    NotFound,
    /// Another method than the page has.
    #[error("the page does not take this method")]
    Method,
    /// A query or field that makes no sense; in words for the person.
    #[error("{0}")]
    Unreadable(String),
    /// Nobody is signed in, and nothing can be done about it on the way.
    #[error("nobody is signed in")]
    NotSignedIn,
    /// None of the person's roles has the permission.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    /// The form is not from our own page.
    #[error(transparent)]
    Csrf(#[from] CsrfFault),
    /// It cannot be done as things are; in words for the person.
    #[error("{0}")]
    Conflict(String),
    /// Tried too often.
    #[error("too many attempts")]
    TooMany,
    /// The store does not answer.
    #[error("the store cannot be asked")]
    Unavailable(#[source] StoreError),
    /// What the store holds, or what we wrote ourselves, makes no sense.
    #[error("{0}")]
    Internal(String),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::Unavailable(error),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<SessionError> for Refused {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Store(error) => error.into(),
            SessionError::ProviderUnavailable => Self::Conflict(error.to_string()),
        }
    }
}

impl From<RevisionsError> for Refused {
    fn from(error: RevisionsError) -> Self {
        match error {
            RevisionsError::Store(error) => error.into(),
            RevisionsError::NotPermitted(refused) => refused.into(),
            RevisionsError::Unknown(_) => Self::NotFound,
            RevisionsError::Snapshot(_) => Self::Internal(error.to_string()),
            RevisionsError::Note(_) => Self::Unreadable(sentence(&error)),
            RevisionsError::Faults(_)
            | RevisionsError::Conflict(_)
            | RevisionsError::Follows(_)
            | RevisionsError::NeedsApprovals(_)
            | RevisionsError::NotAnOperator
            | RevisionsError::NoEmergency
            | RevisionsError::Overtaken
            | RevisionsError::LastOwner => Self::Conflict(sentence(&error)),
        }
    }
}

impl From<KeysError> for Refused {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::NotPermitted(refused) => refused.into(),
            KeysError::Store(error) => error.into(),
            KeysError::Unknown(_) => Self::NotFound,
            KeysError::UnderWay(..) | KeysError::Overtaken | KeysError::Revoked => {
                Self::Conflict(sentence(&error))
            }
        }
    }
}

impl From<Failure> for Refused {
    fn from(error: Failure) -> Self {
        match error {
            Failure::NotPermitted(refused) => refused.into(),
            Failure::Store(error) => error.into(),
        }
    }
}

impl From<DraftsError> for Refused {
    fn from(error: DraftsError) -> Self {
        match error {
            DraftsError::Revisions(error) => error.into(),
            DraftsError::Unknown(_) => Self::NotFound,
            DraftsError::Comment => Self::Unreadable(sentence(&error)),
            DraftsError::NotNow(_)
            | DraftsError::NotAuthor(_)
            | DraftsError::OwnDraft
            | DraftsError::NotAPerson
            | DraftsError::Already
            | DraftsError::Overtaken(_)
            | DraftsError::Moved { .. }
            | DraftsError::Conflicts(_)
            | DraftsError::ChangesNothing
            | DraftsError::NotBehind
            | DraftsError::TooManyDrafts
            | DraftsError::TooManyComments => Self::Conflict(sentence(&error)),
        }
    }
}

impl From<ExplainError> for Refused {
    fn from(error: ExplainError) -> Self {
        match error {
            ExplainError::Question(_) => Self::Unreadable(sentence(&error)),
            ExplainError::UnknownDecision(_)
            | ExplainError::UnknownPerson(_)
            | ExplainError::UnknownDraft(_) => Self::NotFound,
            ExplainError::Revisions(error) => error.into(),
        }
    }
}

/// What an error says, as a sentence.
pub fn sentence(error: &impl std::error::Error) -> String {
    let said = error.to_string();
    let mut letters = said.chars();
    match letters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), letters.as_str()),
        None => said,
    }
}

impl From<askama::Error> for Refused {
    fn from(error: askama::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

/// A refusal on its way to the guard, which lays it out.
#[derive(Clone)]
pub(super) struct Carried(pub(super) std::sync::Arc<Refused>);

impl IntoResponse for Refused {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.words().0;
        response
            .extensions_mut()
            .insert(Carried(std::sync::Arc::new(self)));
        response
    }
}

impl Refused {
    /// Status, heading, and what the person is told.
    pub(super) fn words(&self) -> (StatusCode, &'static str, String) {
        let (status, title, detail) = match self {
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "There is nothing here",
                "This address leads to no page of the console, or to something that is gone.",
            ),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "This cannot be done here",
                "The page does not take this kind of request.",
            ),
            Self::NotSignedIn => (
                StatusCode::UNAUTHORIZED,
                "You are not signed in",
                "Your session has ended, and nothing was done. Sign in again, and repeat it.",
            ),
            Self::NotPermitted(_) => (
                StatusCode::FORBIDDEN,
                "This is not for your role",
                "None of your roles may do this. An owner or admin of this edge can change that. While it has no owner, the first one claims it at /console/claim, with the code that the server prints at start.",
            ),
            Self::Csrf(_) => (
                StatusCode::FORBIDDEN,
                "This form was not sent from here",
                "It is not of this page, or of an earlier session of yours. Nothing was done. Open the page again, and repeat it.",
            ),
            Self::TooMany => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many attempts",
                "Please wait a minute, and try again.",
            ),
            Self::Unavailable(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The store does not answer",
                "What this page shows or changes is in the store, which cannot be reached at the moment. Requests are still served. Please try again in a moment.",
            ),
            Self::Internal(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something went wrong on our side",
                "The log says what, under the id of this request.",
            ),
            Self::Unreadable(said) => {
                return (StatusCode::BAD_REQUEST, "This cannot be read", said.clone());
            }
            Self::Conflict(said) => {
                return (StatusCode::CONFLICT, "This was not done", said.clone());
            }
        };
        (status, title, detail.to_owned())
    }
}

/// A page of its own status.
pub(super) fn html(status: StatusCode, page: &impl Template) -> Answer {
    let mut response = Response::new(Body::from(page.render()?));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// A page.
pub fn page(page: &impl Template) -> Answer {
    html(StatusCode::OK, page)
}

/// Sends the browser on after a form was followed, so that reloading repeats nothing.
pub fn see_other(path: &str) -> Answer {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let location = HeaderValue::from_str(path)
        .map_err(|_| Refused::Internal("a path of ours is no header value".to_owned()))?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}
