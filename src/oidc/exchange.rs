//! The token endpoint: openidconnect's client over our bounded HTTP client.

use std::time::Duration;

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreErrorResponseType, CoreGenderClaim, CoreIdToken,
    CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreRevocableToken,
    CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AccessToken, Client, EmptyAdditionalClaims, EndpointNotSet, EndpointSet, HttpRequest,
    HttpResponse, OAuth2TokenResponse, RefreshToken, Scope, StandardErrorResponse, TokenResponse,
};
use serde::{Deserialize, Serialize};

use crate::token::outbound::{Outbound, OutboundError};

/// The answer of a token endpoint. The ID token stays text: it is verified by `verify`, which is stricter than the library.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct TokenAnswer {
    access_token: AccessToken,
    token_type: CoreTokenType,
    refresh_token: Option<RefreshToken>,
    id_token: Option<RawIdToken>,
}

#[derive(Deserialize, Serialize)]
struct RawIdToken(String);

impl std::fmt::Debug for RawIdToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawIdToken(..)")
    }
}

impl TokenAnswer {
    pub(super) fn raw_id_token(&self) -> Option<&str> {
        self.id_token.as_ref().map(|raw| raw.0.as_str())
    }
}

impl OAuth2TokenResponse for TokenAnswer {
    type TokenType = CoreTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &CoreTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        None
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

impl
    TokenResponse<
        EmptyAdditionalClaims,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    > for TokenAnswer
{
    /// Never the library's own: it would parse claims before anything is verified.
    fn id_token(&self) -> Option<&CoreIdToken> {
        None
    }
}

/// openidconnect's client, with authorization and token endpoint.
pub(super) type CodeClient<Auth = EndpointSet, Token = EndpointSet> = Client<
    EmptyAdditionalClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    TokenAnswer,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    Auth,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    Token,
    EndpointNotSet,
>;

/// Sends one of the library's requests.
pub(super) async fn send(
    outbound: Outbound,
    request: HttpRequest,
) -> Result<HttpResponse, OutboundError> {
    let host = request.uri().host().unwrap_or_default().to_owned();
    let answer = outbound.execute(request).await?;
    if answer.status >= 500 || answer.status == 429 {
        let status = answer.status;
        return Err(OutboundError::Status { host, status });
    }
    let mut response = http::Response::new(answer.body);
    *response.status_mut() =
        http::StatusCode::from_u16(answer.status).map_err(|_| OutboundError::Json(host))?;
    *response.headers_mut() = answer.headers;
    Ok(response)
}
