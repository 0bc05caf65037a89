//! Giving tokens back (RFC 7009): the whole family ends, whichever of its tokens is shown.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::{Request, Response, StatusCode};
use serde_json::json;

use crate::oauth::fault::OAuthFault;
use crate::oauth::{Asked, OAuth, reply};
use crate::secret::Token;
use crate::session::{FamilyEnd, FamilyId};
use crate::web::reply as web_reply;
use crate::web::request_info::RequestInfo;

/// `POST /.wayleave/oauth/revoke`. A token that is not known is no fault: it is not good, as asked.
pub(super) async fn submit(
    State(oauth): State<Arc<OAuth>>,
    Extension(info): Extension<RequestInfo>,
    request: Request<Body>,
) -> Response<Body> {
    match oauth.revoke(&info, request).await {
        Ok(()) => web_reply::json(&info, StatusCode::OK, &json!({})),
        Err(fault) => reply::fault(&info, &fault),
    }
}

impl OAuth {
    async fn revoke(&self, info: &RequestInfo, request: Request<Body>) -> Result<(), OAuthFault> {
        if !self.rates.tokens.take(info.client, self.clock.now()) {
            return Err(OAuthFault::TooManyRequests);
        }
        let asked = Asked::read(info, request).await?;
        let client = self.client(Some(asked.client_id()?)).await?;
        let client = client.id();
        let text = asked.required("token")?;
        let family = match Token::parse(text) {
            Some(refresh) => {
                let family = self.store.family_of_refresh(refresh.hash()).await?;
                family
                    .filter(|family| family.client == client)
                    .map(|family| family.id)
            }
            None => self
                .minter
                .verify_any_access(text, &self.issuer(info), self.clock.now())
                .ok()
                .filter(|token| token.client == client)
                .map(|token| FamilyId(token.family.into())),
        };
        if let Some(family) = family
            && self
                .sessions
                .end_family(&family, FamilyEnd::Revoked)
                .await?
        {
            tracing::info!(request_id = %info.request_id, family = family.label(), "tokens were given back");
        }
        Ok(())
    }
}
