//! Somebody who is signed in, for endpoints that are about themselves. An operator is nobody in particular and has none of what these tell of.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;

use crate::address::origin::Origin;
use crate::admin::access::Actor;
use crate::api::answer::problem;
use crate::identity::principal::Principal;
use crate::session::Session;
use crate::web::request_info::RequestInfo;

/// Who it is, and how they come. Only a guard makes one.
#[derive(Clone)]
pub struct Person {
    session: Arc<Session>,
    session_label: String,
    /// The home host, as they reached it.
    pub home: Origin,
    /// Where they come from.
    pub peer: IpAddr,
}

impl Person {
    /// Whoever a session belongs to.
    pub fn new(session: Arc<Session>, info: &RequestInfo) -> Self {
        Self {
            session_label: session.id.label(),
            session,
            home: info.origin.clone(),
            peer: info.client,
        }
    }

    /// Who it is.
    pub fn principal(&self) -> &Principal {
        &self.session.principal
    }

    /// The same as whoever acts.
    pub fn actor(&self) -> Actor<'_> {
        Actor {
            principal: self.principal(),
            session: Some(&self.session_label),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Person {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            let detail = "This is about people who are signed in; an operator token is nobody's in particular.";
            problem(StatusCode::FORBIDDEN, "not_a_person", detail)
        })
    }
}
