//! The start, on a route host: remembers where somebody wanted to go, and sends them to the home host.

use axum::body::Body;
use http::{HeaderMap, Response};

use crate::secret::Token;
use crate::sign_in::pending::{Attempt, StepUp};
use crate::sign_in::return_to::safe_return;
use crate::sign_in::{SignIn, SignInError, pending_cookie, reply};
use crate::web::request_info::RequestInfo;

impl SignIn {
    pub(super) async fn start_attempt(
        &self,
        info: &RequestInfo,
        return_to: &str,
        headers: &HeaderMap,
        step_up: Option<StepUp>,
    ) -> Result<Response<Body>, SignInError> {
        let (id, binding) = (Token::generate(), Token::generate());
        let attempt = Attempt {
            origin: info.origin.to_string(),
            return_to: safe_return(&info.origin, return_to),
            binding: binding.hash().to_hex(),
            step_up,
        };
        self.remember(&id, &attempt).await?;
        let home = info.origin.at_host(self.home_host.clone());
        let location = format!("{home}/.wayleave/sign-in?attempt={}", id.expose());
        let cookies =
            pending_cookie::add(headers, info.origin.scheme, &id, &binding, self.clock.now());
        reply::redirect(info, &location, cookies)
    }
}
