//! Signing in at identity providers: discovery, the code flow, refresh, logout, and what their claims mean. Vendors' quirks are data, one file each.
//!
//! The only module that names openidconnect. Knows no session and no page.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use url::Url;

use crate::clock::{SharedClock, Timestamp};
use crate::config::checked::IdentityProviderConfig;
use crate::identity::principal::{Principal, Requirement};
use crate::oidc::provider::Provider;
use crate::secret::SecretString;
use crate::session::{ProviderTokens, RefreshFault, Refreshed, Refresher};
use crate::telemetry::causes::Causes;

pub mod claims;
pub mod preset;

mod exchange;
mod provider;
mod verify;

const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The configured identity providers.
pub struct Providers {
    /// In the order configured.
    current: ArcSwap<Vec<Arc<Provider>>>,
    clock: SharedClock,
}

/// What has to be remembered between sending somebody to the provider and their return.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct PendingExchange {
    /// Which provider was asked; its answer counts at no other's callback.
    pub provider: Arc<str>,
    /// What the ID token has to say (OIDC Core §3.1.2.1).
    pub nonce: String,
    /// Whose S256 challenge went with the request (RFC 7636 §4).
    pub pkce_verifier: String,
    /// To be repeated when the code is redeemed (RFC 6749 §4.1.3).
    pub redirect_uri: String,
    /// What was asked of the sign-in, and has to be so of its outcome.
    #[serde(default)]
    pub require: Option<Requirement>,
}

/// A completed sign-in.
pub struct SignedIn {
    /// Who it is.
    pub principal: Principal,
    /// What the session keeps of the provider.
    pub tokens: ProviderTokens,
    /// The provider's own session (`sid`), by which it may log out.
    pub provider_sid: Option<String>,
}

/// The parameters of the provider's answer, each at most once.
#[derive(Clone, Debug, Default)]
pub struct CallbackParameters {
    /// The authorization code.
    pub code: Option<String>,
    /// Who says that it answers (RFC 9207).
    pub iss: Option<String>,
    /// Why there is no code (RFC 6749 §4.1.2.1).
    pub error: Option<String>,
}

/// What a logout token (OIDC Back-Channel Logout 1.0 §2.4) asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutRequest {
    /// Who signed it; only its own people are meant.
    pub issuer: Arc<str>,
    /// All sessions of this person; with `sid`, only those of both.
    pub subject: Option<String>,
    /// The provider's own session.
    pub sid: Option<String>,
    /// Seen before means replayed; the caller remembers it.
    pub jti: String,
}

/// Why signing in at a provider failed. Words for the log; pages show fixed texts.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum OidcError {
    #[error("the identity provider does not answer: {0}")]
    Unavailable(String),
    #[error("the identity provider's metadata are not acceptable: {0}")]
    Metadata(String),
    #[error("the identity provider answered with error {0}")]
    ProviderError(String),
    #[error("the answer is not from the provider that was asked")]
    WrongIssuer,
    #[error("the identity provider refused the code")]
    CodeRefused,
    #[error("the ID token is not acceptable: {0}")]
    IdToken(String),
    #[error("the claims are not acceptable: {0}")]
    Claims(String),
    #[error("the sign-in is not as recent or as strong as was asked for")]
    NotAsRequired,
    #[error("the logout token is not acceptable: {0}")]
    LogoutToken(String),
}

impl Providers {
    /// Fetches nothing yet.
    pub fn new(configs: Vec<IdentityProviderConfig>, clock: SharedClock) -> Arc<Self> {
        let this = Self {
            current: ArcSwap::default(),
            clock,
        };
        this.replace(configs);
        Arc::new(this)
    }

    /// Puts other providers in place.
    pub fn replace(&self, configs: Vec<IdentityProviderConfig>) {
        let providers = configs
            .into_iter()
            .map(|config| Arc::new(Provider::new(config, self.clock.clone())));
        self.current.store(Arc::new(providers.collect()));
    }

    fn named(&self, name: &str) -> Result<Arc<Provider>, OidcError> {
        let current = self.current.load();
        let found = current
            .iter()
            .find(|provider| &*provider.config.name == name);
        found
            .cloned()
            .ok_or_else(|| OidcError::Unavailable("it is no longer configured".into()))
    }

    /// Name and label of each, in the order configured.
    pub fn list(&self) -> Vec<(Arc<str>, String)> {
        let current = self.current.load();
        let shown = current
            .iter()
            .map(|provider| (provider.config.name.clone(), provider.config.label.clone()));
        shown.collect()
    }

    /// Why a provider cannot be used at present, by name, for those of which that is known.
    pub fn faults(&self) -> Vec<(Arc<str>, String)> {
        let current = self.current.load();
        let faults = current.iter().filter_map(|provider| {
            let fault = provider.fault()?;
            Some((provider.config.name.clone(), fault))
        });
        faults.collect()
    }

    /// Whether there is a provider of this name.
    pub fn is_known(&self, name: &str) -> bool {
        self.named(name).is_ok()
    }

    /// Where to send the browser (code flow, PKCE S256, nonce), and what to remember. `redirect_uri` is distinct per provider; `require` is how the person
    /// has to sign in, which [`Self::complete`] makes sure of.
    pub async fn begin(
        &self,
        provider: &str,
        redirect_uri: &Url,
        state: &SecretString,
        require: Option<Requirement>,
    ) -> Result<(Url, PendingExchange), OidcError> {
        let provider = self.named(provider)?;
        provider.begin(redirect_uri, state, require).await
    }

    /// Completes the code flow: checks `iss`, redeems the code, verifies the ID token (OIDC Core §3.1.3.7, all steps), reads the claims.
    pub async fn complete(
        &self,
        pending: PendingExchange,
        callback: CallbackParameters,
    ) -> Result<SignedIn, OidcError> {
        let provider = self.named(&pending.provider)?;
        provider.complete(pending, callback).await
    }

    /// The provider's end-session URL (RP-initiated logout), if it has one.
    pub async fn end_session_url(
        &self,
        provider: &str,
        id_token: Option<&SecretString>,
        return_to: &Url,
        state: &str,
    ) -> Option<Url> {
        let provider = self.named(provider).ok()?;
        provider.end_session_url(id_token, return_to, state).await
    }

    /// Verifies a logout token.
    pub async fn verify_logout_token(
        &self,
        provider: &str,
        token: &str,
    ) -> Result<LogoutRequest, OidcError> {
        self.named(provider)?.logout_token(token).await
    }

    /// For `wayleave check`: fetches discovery and keys now.
    pub async fn probe(&self, provider: &str) -> Result<(), OidcError> {
        self.named(provider)?.probe().await
    }

    /// Rebuilds providers hourly; runs until cancelled.
    pub async fn maintain(self: Arc<Self>) {
        loop {
            for provider in self.current.load_full().iter() {
                provider.keep_fresh().await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Refresher for Providers {
    fn vouches_for(&self, principal: &Principal, _until: Timestamp) -> bool {
        let provider = self.named(&principal.provider);
        provider.is_ok_and(|provider| provider.config.issuer_text == principal.issuer)
    }

    fn refresh<'a>(
        &'a self,
        principal: &'a Principal,
        tokens: &'a ProviderTokens,
    ) -> Pin<Box<dyn Future<Output = Result<Refreshed, RefreshFault>> + Send + 'a>> {
        Box::pin(async move {
            // Another issuer must not see the token. And that the provider is not configured here says nothing about the person: elsewhere it may be.
            let provider = self
                .named(&principal.provider)
                .ok()
                .filter(|provider| *provider.config.issuer_text == *principal.issuer)
                .ok_or(RefreshFault::Unavailable)?;
            match provider.refresh(tokens).await {
                Ok((new, tokens))
                    if new.issuer == principal.issuer && new.subject == principal.subject =>
                {
                    Ok(Refreshed {
                        principal: new,
                        tokens,
                    })
                }
                Ok(_) => Err(RefreshFault::Refused),
                // A fault of ours or the provider's, such as a wrong client secret, says nothing about the person:
                // the grace time bounds how long the session goes on.
                Err(
                    error @ (OidcError::Unavailable(_)
                    | OidcError::Metadata(_)
                    | OidcError::ProviderError(_)),
                ) => {
                    tracing::warn!(provider = %principal.provider, error = %Causes(&error), "a session cannot be refreshed at present");
                    Err(RefreshFault::Unavailable)
                }
                Err(error) => {
                    tracing::info!(provider = %principal.provider, error = %Causes(&error), "the refresh of a session is refused");
                    Err(RefreshFault::Refused)
                }
            }
        })
    }
}
