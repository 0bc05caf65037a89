//! Asking about a token (RFC 7662). Whoever asks shows an access token for this server, and is told of tokens of the same person only.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::oauth::fault::OAuthFault;
use crate::oauth::{Asked, OAuth, reply};
use crate::secret::Token;
use crate::session::{FamilyId, Session};
use crate::web::reply as web_reply;
use crate::web::request_info::RequestInfo;

/// `POST /.wayleave/oauth/introspect`.
pub(super) async fn submit(
    State(oauth): State<Arc<OAuth>>,
    Extension(info): Extension<RequestInfo>,
    mut request: Request<Body>,
) -> Response<Body> {
    let calling = oauth
        .who_calls(
            &info,
            request.method(),
            request.uri().path(),
            request.headers(),
        )
        .await;
    let caller = match calling {
        Ok(caller) => caller,
        Err(fault) => return fault.answer(&info),
    };
    // It was for who asks, and says nothing of a client.
    request.headers_mut().remove(http::header::AUTHORIZATION);
    let said = match Asked::read(&info, request).await {
        Ok(asked) => oauth.introspect(&asked, &caller.session).await,
        Err(fault) => Err(fault),
    };
    match said {
        Ok(said) => web_reply::json(&info, StatusCode::OK, &said),
        Err(fault) => reply::fault(&info, &fault),
    }
}

impl OAuth {
    async fn introspect(&self, asked: &Asked, caller: &Session) -> Result<Value, OAuthFault> {
        let text = asked.required("token")?;
        let inactive = json!({ "active": false });
        let issuer = self.issuer(&asked.info);
        let (family, mut said) = match Token::parse(text) {
            Some(refresh) => match self.store.family_of_refresh(refresh.hash()).await? {
                Some(family) => (
                    family.id,
                    json!({ "client_id": family.client, "token_type": "refresh_token" }),
                ),
                None => return Ok(inactive),
            },
            None => {
                let read = self
                    .minter
                    .verify_any_access(text, &issuer, self.clock.now());
                let Ok(token) = read else {
                    return Ok(inactive);
                };
                let kind = token.key_thumbprint.as_ref().map_or("Bearer", |_| "DPoP");
                let mut said = json!({
                    "client_id": token.client, "token_type": kind, "aud": token.audience,
                    "iat": token.issued_at.seconds(), "exp": token.expires_at.seconds(),
                });
                if let Some(act) = token.act() {
                    said["act"] = act;
                }
                if let Some(key) = token.key_thumbprint {
                    said["cnf"] = json!({ "jkt": key });
                }
                (FamilyId(token.family.into()), said)
            }
        };
        let Some(granted) = self.sessions.load_family(&family).await? else {
            return Ok(inactive);
        };
        let (theirs, own) = (&granted.session.principal, &caller.principal);
        if (&theirs.issuer, &theirs.subject) != (&own.issuer, &own.subject) {
            return Ok(inactive);
        }
        said["active"] = true.into();
        said["iss"] = issuer.into();
        said["sub"] = theirs.subject.as_ref().into();
        said["username"] = theirs.label().into();
        Ok(said)
    }
}
