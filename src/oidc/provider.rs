//! One identity provider: its metadata, kept fresh, and the steps of the code flow with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use openidconnect::core::{CoreAuthenticationFlow, CoreErrorResponseType};
use openidconnect::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, IssuerUrl,
    JsonWebKeySet, Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    RefreshToken, RequestTokenError, Scope, TokenUrl,
};
use serde::Deserialize;
use tokio::sync::Semaphore;
use url::Url;

use crate::clock::{SharedClock, Timestamp};
use crate::config::checked::IdentityProviderConfig;
use crate::identity::principal::Requirement;
use crate::oidc::exchange::{self, CodeClient, TokenAnswer};
use crate::oidc::preset::{self, LogoutStyle, Modes, Offline, SubjectClaims};
use crate::oidc::verify::{self, Expected};
use crate::oidc::{
    CallbackParameters, LogoutRequest, OidcError, PendingExchange, SignedIn, claims,
};
use crate::secret::{ExposeSecret, SecretString, Token};
use crate::session::ProviderTokens;
use crate::telemetry::causes::Causes;
use crate::token::claims::{ClaimFault, Claims};
use crate::token::jwks::{self, KeyCache, KeyFault, KeySource};
use crate::token::jws;
use crate::token::outbound::{Outbound, OutboundError, Reach};

/// What we use of OIDC Discovery §3 and RFC 9207 §3.
#[derive(Clone, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
    userinfo_endpoint: Option<Url>,
    end_session_endpoint: Option<Url>,
    code_challenge_methods_supported: Option<Vec<String>>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    scopes_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

struct Ready {
    metadata: Metadata,
    keys: Arc<KeyCache>,
    fetched_at: Timestamp,
}

/// A configured provider.
pub(super) struct Provider {
    pub(super) config: IdentityProviderConfig,
    modes: Modes,
    outbound: Result<Outbound, OutboundError>,
    clock: SharedClock,
    ready: ArcSwapOption<Ready>,
    fault: ArcSwapOption<String>,
    /// One discovery at a time.
    turn: Semaphore,
    /// When keys were last looked for elsewhere, in microseconds; `i64::MIN` before the first time.
    looked_elsewhere: AtomicI64,
}

fn unavailable(error: &OutboundError) -> OidcError {
    OidcError::Unavailable(error.to_string())
}

fn id_token_fault(fault: &ClaimFault) -> OidcError {
    OidcError::IdToken(fault.to_string())
}

impl Provider {
    pub(super) fn new(config: IdentityProviderConfig, clock: SharedClock) -> Self {
        let outbound = Outbound::new(Reach {
            ca_file: config.ca_file.as_deref(),
            allowed_private_networks: &config.allowed_private_networks,
            insecure_allow_http_loopback: config.insecure_allow_http_loopback,
        });
        Self {
            modes: preset::modes(config.preset),
            config,
            outbound,
            clock,
            ready: ArcSwapOption::empty(),
            fault: ArcSwapOption::empty(),
            turn: Semaphore::new(1),
            looked_elsewhere: AtomicI64::new(i64::MIN),
        }
    }

    fn outbound(&self) -> Result<&Outbound, OidcError> {
        self.outbound.as_ref().map_err(unavailable)
    }

    /// Metadata at most an hour old; older ones while the provider does not answer.
    async fn ready(&self) -> Result<Arc<Ready>, OidcError> {
        let fresh = || {
            self.ready
                .load_full()
                .filter(|ready| self.clock.now() < ready.fetched_at.plus(jwks::REFRESH_EVERY))
        };
        if let Some(ready) = fresh() {
            return Ok(ready);
        }
        let _turn = self.turn.acquire().await;
        if let Some(ready) = fresh() {
            return Ok(ready);
        }
        match (self.discover().await, self.ready.load_full()) {
            (Ok(ready), _) => Ok(ready),
            (Err(OidcError::Unavailable(error)), Some(old)) => {
                tracing::warn!(provider = %self.config.name, error, "metadata cannot be refreshed; the old ones stay");
                Ok(old)
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn discover(&self) -> Result<Arc<Ready>, OidcError> {
        let found = self.try_to_discover().await;
        let fault = found
            .as_ref()
            .err()
            .map(|error| Arc::new(error.to_string()));
        self.fault.store(fault);
        found
    }

    /// Why metadata could not be fetched when they were last asked for.
    pub(in crate::oidc) fn fault(&self) -> Option<String> {
        self.fault.load_full().map(|fault| fault.to_string())
    }

    async fn try_to_discover(&self) -> Result<Arc<Ready>, OidcError> {
        let outbound = self.outbound()?;
        let url = jwks::discovery_url(&self.config.issuer_text)
            .ok_or_else(|| OidcError::Metadata("the issuer is not a URL".into()))?;
        let metadata: Metadata = outbound
            .fetch_json(&url, None)
            .await
            .map_err(|e| unavailable(&e))?;
        self.check_metadata(outbound, &metadata)?;
        let keys = self
            .ready
            .load_full()
            .filter(|old| old.metadata.jwks_uri == metadata.jwks_uri)
            .map_or_else(
                || {
                    Arc::new(KeyCache::new(
                        Ok(outbound.clone()),
                        KeySource::Url(metadata.jwks_uri.clone()),
                        self.clock.clone(),
                        Arc::new(AtomicU64::new(0)),
                    ))
                },
                |old| old.keys.clone(),
            );
        let ready = Arc::new(Ready {
            metadata,
            keys,
            fetched_at: self.clock.now(),
        });
        self.ready.store(Some(ready.clone()));
        Ok(ready)
    }

    fn check_metadata(&self, outbound: &Outbound, metadata: &Metadata) -> Result<(), OidcError> {
        // E13: another spelling of the issuer is another issuer.
        if metadata.issuer != *self.config.issuer_text {
            return Err(OidcError::Metadata("they name another issuer".into()));
        }
        let assume_pkce = self.config.assume_pkce.unwrap_or(self.modes.assume_pkce);
        let methods = metadata.code_challenge_methods_supported.as_deref();
        if !assume_pkce && !methods.unwrap_or_default().iter().any(|m| m == "S256") {
            return Err(OidcError::Metadata("they do not offer PKCE S256".into()));
        }
        let endpoints = [
            &metadata.authorization_endpoint,
            &metadata.token_endpoint,
            &metadata.jwks_uri,
        ];
        let optional = [&metadata.userinfo_endpoint, &metadata.end_session_endpoint];
        for url in endpoints.into_iter().chain(optional.into_iter().flatten()) {
            outbound
                .check(url)
                .map_err(|e| OidcError::Metadata(e.to_string()))?;
        }
        Ok(())
    }

    fn client(&self, metadata: &Metadata) -> Result<CodeClient, OidcError> {
        let issuer = IssuerUrl::new(metadata.issuer.clone())
            .map_err(|_| OidcError::Metadata("the issuer is not a URL".into()))?;
        let id = ClientId::new(self.config.client_id.clone());
        let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
        // Without the list it is client_secret_basic (OIDC Discovery §3).
        let basic = methods.is_none_or(|m| m.iter().any(|m| m == "client_secret_basic"));
        let mut client = CodeClient::<_, _>::new(id, issuer, JsonWebKeySet::default())
            .set_auth_type(if basic {
                AuthType::BasicAuth
            } else {
                AuthType::RequestBody
            });
        if let Some(secret) = &self.config.client_secret {
            client = client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()));
        }
        Ok(client
            .set_auth_uri(AuthUrl::from_url(metadata.authorization_endpoint.clone()))
            .set_token_uri(TokenUrl::from_url(metadata.token_endpoint.clone())))
    }

    pub(super) async fn begin(
        &self,
        redirect_uri: &Url,
        state: &SecretString,
        require: Option<Requirement>,
    ) -> Result<(Url, PendingExchange), OidcError> {
        let ready = self.ready().await?;
        let client = self
            .client(&ready.metadata)?
            .set_redirect_uri(RedirectUrl::from_url(redirect_uri.clone()));
        let nonce = Token::generate().expose().to_owned();
        let verifier = Token::generate().expose().to_owned();
        let challenge =
            PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(verifier.clone()));
        let (state, sent_nonce) = (state.expose_secret().to_owned(), Nonce::new(nonce.clone()));
        let mut request = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                move || CsrfToken::new(state),
                move || sent_nonce,
            )
            .set_pkce_challenge(challenge);
        let added = self.config.scopes.iter().flatten().map(String::as_str);
        for scope in self.modes.scopes.iter().copied().chain(added) {
            request = request.add_scope(Scope::new(scope.to_owned()));
        }
        for (name, value) in self.modes.authorize {
            request = request.add_extra_param(*name, *value);
        }
        for (name, value) in require.iter().flat_map(Requirement::parameters) {
            request = request.add_extra_param(name, value);
        }
        let offered = ready
            .metadata
            .scopes_supported
            .as_deref()
            .unwrap_or_default();
        let offered = offered.iter().any(|scope| scope == "offline_access");
        request = match self.modes.offline {
            Offline::Scope => request.add_scope(Scope::new("offline_access".into())),
            Offline::ScopeIfOffered if offered => request
                .add_scope(Scope::new("offline_access".into()))
                .add_extra_param("prompt", "consent"),
            Offline::ScopeIfOffered | Offline::Inherent => request,
        };
        let (url, _, _) = request.url();
        let pending = PendingExchange {
            provider: self.config.name.clone(),
            nonce,
            pkce_verifier: verifier,
            redirect_uri: redirect_uri.to_string(),
            require,
        };
        Ok((url, pending))
    }

    pub(super) async fn complete(
        &self,
        pending: PendingExchange,
        callback: CallbackParameters,
    ) -> Result<SignedIn, OidcError> {
        let ready = self.ready().await?;
        check_issuer(&ready.metadata, callback.iss.as_deref())?;
        if let Some(error) = callback.error {
            return Err(OidcError::ProviderError(
                error
                    .chars()
                    .filter(char::is_ascii_graphic)
                    .take(64)
                    .collect(),
            ));
        }
        let code = callback.code.ok_or(OidcError::CodeRefused)?;
        let redirect_uri =
            RedirectUrl::new(pending.redirect_uri).map_err(|_| OidcError::CodeRefused)?;
        let client = self.client(&ready.metadata)?.set_redirect_uri(redirect_uri);
        let outbound = self.outbound()?.clone();
        let answer = client
            .exchange_code(AuthorizationCode::new(code))
            .set_pkce_verifier(PkceCodeVerifier::new(pending.pkce_verifier))
            .request_async(&|request| exchange::send(outbound.clone(), request))
            .await
            .map_err(|error| exchange_fault(&error))?;
        let raw = answer
            .raw_id_token()
            .ok_or_else(|| OidcError::IdToken("there is none".into()))?;
        let claims = self
            .id_token(&ready, raw, &answer, Some(&pending.nonce))
            .await?;
        let provider_sid = claims
            .get("sid")
            .and_then(|sid| sid.as_str())
            .map(str::to_owned);
        let claims = self.with_userinfo(&ready, claims, &answer).await?;
        let principal = claims::principal(&self.config, &self.modes, &claims)?;
        // Asking is not getting: a provider may know no such class, or have let its own session count.
        let now = self.clock.now().seconds();
        let is_met = |require: &Requirement| require.is_met(&principal, now);
        if !pending.require.as_ref().is_none_or(is_met) {
            return Err(OidcError::NotAsRequired);
        }
        Ok(SignedIn {
            principal,
            tokens: tokens(&answer, None),
            provider_sid,
        })
    }

    /// The refresh grant. The caller compares the principal with the one it had.
    pub(super) async fn refresh(
        &self,
        old: &ProviderTokens,
    ) -> Result<(crate::identity::principal::Principal, ProviderTokens), OidcError> {
        let ready = self.ready().await?;
        let refresh_token = old.refresh_token.as_ref().ok_or(OidcError::CodeRefused)?;
        let refresh_token = RefreshToken::new(refresh_token.expose_secret().to_owned());
        let outbound = self.outbound()?.clone();
        let answer = self
            .client(&ready.metadata)?
            .exchange_refresh_token(&refresh_token)
            .request_async(&|request| exchange::send(outbound.clone(), request))
            .await
            .map_err(|error| exchange_fault(&error))?;
        let claims = match answer.raw_id_token() {
            Some(raw) => self.id_token(&ready, raw, &answer, None).await?,
            None => Claims::new(),
        };
        let claims = self.with_userinfo(&ready, claims, &answer).await?;
        let principal = claims::principal(&self.config, &self.modes, &claims)?;
        Ok((principal, tokens(&answer, Some(old))))
    }

    async fn verified<'t>(
        &self,
        ready: &Ready,
        token: &'t str,
    ) -> Result<jws::Unverified<'t>, OidcError> {
        let parsed = jws::parse(token).map_err(|e| OidcError::IdToken(e.to_string()))?;
        let mut verdict = ready.keys.verify(&parsed, &verify::ALGORITHMS).await;
        // Either there is no such key, or the keys are somewhere else by now.
        if !matches!(
            verdict,
            Ok(Ok(()) | Err(KeyFault::Algorithm | KeyFault::Signature))
        ) && let Some(keys) = self.keys_elsewhere(ready).await
        {
            verdict = keys.verify(&parsed, &verify::ALGORITHMS).await;
        }
        match verdict.map_err(|error| unavailable(&error))? {
            Ok(()) => Ok(parsed),
            Err(KeyFault::TooSoon) => Err(OidcError::Unavailable(
                "the token's key is new, and the keys were fetched a moment ago".into(),
            )),
            Err(fault) => Err(OidcError::IdToken(format!("its signature: {fault:?}"))),
        }
    }

    /// The keys, if the provider publishes them at another address than `ready` says. Asked once in a while, however many tokens ask for it.
    async fn keys_elsewhere(&self, ready: &Ready) -> Option<Arc<KeyCache>> {
        let _turn = self.turn.acquire().await;
        let elsewhere = |now: Arc<Ready>| {
            let has_moved = now.metadata.jwks_uri != ready.metadata.jwks_uri;
            has_moved.then(|| now.keys.clone())
        };
        if let Some(keys) = self.ready.load_full().and_then(elsewhere) {
            return Some(keys);
        }
        let now = self.clock.now();
        let before = self.looked_elsewhere.load(Ordering::Acquire);
        if before != i64::MIN && now < Timestamp::from_micros(before).plus(jwks::UNKNOWN_KEY_EVERY)
        {
            return None;
        }
        self.looked_elsewhere.store(now.micros(), Ordering::Release);
        match self.discover().await {
            Ok(found) => elsewhere(found),
            Err(error) => {
                tracing::warn!(provider = %self.config.name, error = %Causes(&error), "metadata cannot be refreshed; the old ones stay");
                None
            }
        }
    }

    fn expected(&self) -> Expected<'_> {
        Expected {
            issuer: &self.config.issuer_text,
            client_id: &self.config.client_id,
            now: self.clock.now(),
        }
    }

    async fn id_token(
        &self,
        ready: &Ready,
        raw: &str,
        answer: &TokenAnswer,
        nonce: Option<&str>,
    ) -> Result<Claims, OidcError> {
        let token = self.verified(ready, raw).await?;
        verify::id_token(&token.claims, &self.expected(), nonce).map_err(|f| id_token_fault(&f))?;
        let access_token = answer.access_token().secret();
        verify::access_token_hash(&token.claims, access_token, token.header.algorithm)
            .map_err(|f| id_token_fault(&f))?;
        Ok(token.claims)
    }

    /// Adds userinfo (OIDC Core §5.3) where the ID token is absent or lacks groups or claims that are wanted.
    async fn with_userinfo(
        &self,
        ready: &Ready,
        claims: Claims,
        answer: &TokenAnswer,
    ) -> Result<Claims, OidcError> {
        let lacks = |name: &str| crate::token::claims::select(&claims, name).is_none();
        let wanted = claims::groups_claim(&self.config, &self.modes).is_some_and(lacks)
            || self.config.claims.iter().any(|name| lacks(name));
        let Some(url) = ready.metadata.userinfo_endpoint.as_ref() else {
            return Ok(claims);
        };
        if !wanted && !claims.is_empty() {
            return Ok(claims);
        }
        let bearer = answer.access_token().secret();
        let said: Claims = self
            .outbound()?
            .fetch_json(url, Some(bearer))
            .await
            .map_err(|error| unavailable(&error))?;
        let subject = crate::token::claims::subject(&said)
            .map_err(|fault| OidcError::Claims(fault.to_string()))?;
        if !claims.is_empty() && claims.get("sub").and_then(|sub| sub.as_str()) != Some(subject) {
            return Err(OidcError::Claims("userinfo is about somebody else".into()));
        }
        Ok(claims::merged(claims, said))
    }

    pub(super) async fn end_session_url(
        &self,
        id_token: Option<&SecretString>,
        return_to: &Url,
        state: &str,
    ) -> Option<Url> {
        let ready = self.ready().await.ok()?;
        let endpoint = ready.metadata.end_session_endpoint.clone();
        let mut url = match (self.modes.logout, endpoint) {
            (LogoutStyle::EndSession | LogoutStyle::EndSessionOrAuth0, Some(url)) => url,
            (LogoutStyle::EndSessionOrAuth0, None) => return self.auth0_logout_url(return_to),
            (LogoutStyle::EndSession, None) | (LogoutStyle::None, _) => return None,
        };
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("client_id", &self.config.client_id);
            query.append_pair("post_logout_redirect_uri", return_to.as_str());
            query.append_pair("state", state);
            if let Some(id_token) = id_token {
                query.append_pair("id_token_hint", id_token.expose_secret());
            }
        }
        Some(url)
    }

    /// Auth0's Authentication API, `GET /v2/logout`.
    fn auth0_logout_url(&self, return_to: &Url) -> Option<Url> {
        let mut url = self.config.issuer.join("/v2/logout").ok()?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.config.client_id)
            .append_pair("returnTo", return_to.as_str());
        Some(url)
    }

    pub(super) async fn logout_token(&self, token: &str) -> Result<LogoutRequest, OidcError> {
        let ready = self.ready().await?;
        let token = match self.verified(&ready, token).await {
            Err(OidcError::IdToken(what)) => return Err(OidcError::LogoutToken(what)),
            verified => verified?,
        };
        let mut asked =
            verify::logout_token(&token.claims, token.header.typ.as_deref(), &self.expected())
                .map_err(|fault| OidcError::LogoutToken(fault.to_string()))?;
        if self.modes.subject != SubjectClaims::Sub {
            // Its `sub` is not what people are known by here, so it would match nobody, and with `sid` beside it hide whom that matches.
            asked.subject = None;
            if asked.sid.is_none() {
                let what = "it has no sid, and this provider's sub names nobody here";
                return Err(OidcError::LogoutToken(what.into()));
            }
        }
        Ok(asked)
    }

    pub(super) async fn probe(&self) -> Result<(), OidcError> {
        let ready = self.discover().await?;
        ready
            .keys
            .fetch()
            .await
            .map_err(|error| unavailable(&error))
    }

    pub(super) async fn keep_fresh(&self) {
        match self.ready().await {
            Ok(ready) => ready.keys.keep_fresh().await,
            Err(error) => {
                tracing::warn!(provider = %self.config.name, error = %Causes(&error), "an identity provider is not usable")
            }
        }
    }
}

/// RFC 9207 §2.4.
fn check_issuer(metadata: &Metadata, iss: Option<&str>) -> Result<(), OidcError> {
    let good = match iss {
        Some(iss) => iss == metadata.issuer,
        None => !metadata.authorization_response_iss_parameter_supported,
    };
    good.then_some(()).ok_or(OidcError::WrongIssuer)
}

fn tokens(answer: &TokenAnswer, old: Option<&ProviderTokens>) -> ProviderTokens {
    let new = answer
        .refresh_token()
        .map(|t| SecretString::from(t.secret().clone()));
    ProviderTokens {
        refresh_token: new.or_else(|| old.and_then(|old| old.refresh_token.clone())),
        id_token: answer
            .raw_id_token()
            .map(SecretString::from)
            .or_else(|| old.and_then(|old| old.id_token.clone())),
    }
}

type ExchangeError =
    RequestTokenError<OutboundError, openidconnect::StandardErrorResponse<CoreErrorResponseType>>;

fn exchange_fault(error: &ExchangeError) -> OidcError {
    match error {
        RequestTokenError::ServerResponse(response) => match response.error() {
            CoreErrorResponseType::InvalidGrant => OidcError::CodeRefused,
            other => OidcError::ProviderError(other.as_ref().chars().take(64).collect()),
        },
        RequestTokenError::Request(error) => unavailable(error),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            OidcError::Unavailable("the token endpoint's answer makes no sense".into())
        }
    }
}
