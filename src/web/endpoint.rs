//! An endpoint of console or API: method, path, who may, and what answers. Their tables are made of these, so that a test can walk them.

use axum::routing::MethodRouter;

use crate::policy::roles::Permission;

/// Who may use an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever is signed in.
    SignedIn,
    /// Whoever has a role with this permission.
    With(Permission),
}

/// Bytes of a body, where an endpoint does not say otherwise.
pub const SMALL_BODY: usize = 64 * 1024;

/// One endpoint.
pub struct Endpoint<S> {
    /// The HTTP method; GET answers HEAD too.
    pub method: &'static str,
    /// axum's notation.
    pub path: &'static str,
    /// Who may.
    pub access: Access,
    /// How many bytes of a body are received.
    pub body: usize,
    handler: fn() -> MethodRouter<S>,
}

impl<S> Endpoint<S> {
    /// Who may is never left out.
    pub const fn new(
        method: &'static str,
        path: &'static str,
        access: Access,
        handler: fn() -> MethodRouter<S>,
    ) -> Self {
        Self {
            method,
            path,
            access,
            body: SMALL_BODY,
            handler,
        }
    }

    /// Receives more of a body.
    pub const fn receiving(mut self, bytes: usize) -> Self {
        self.body = bytes;
        self
    }

    /// What answers. Nobody is refused yet.
    pub fn handler(&self) -> MethodRouter<S> {
        (self.handler)()
    }
}
