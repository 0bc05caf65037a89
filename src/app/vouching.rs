//! Who vouches for sessions: identity providers for people, trusted issuers for programs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::identity::principal::Principal;
use crate::oidc::Providers;
use crate::session::{ProviderTokens, RefreshFault, Refreshed, Refresher};
use crate::token::bearer::BearerVerifier;

/// Both kinds.
pub(super) struct Vouching {
    pub(super) providers: Arc<Providers>,
    pub(super) bearer: Arc<BearerVerifier>,
}

impl Refresher for Vouching {
    fn refresh<'a>(
        &'a self,
        principal: &'a Principal,
        tokens: &'a ProviderTokens,
    ) -> Pin<Box<dyn Future<Output = Result<Refreshed, RefreshFault>> + Send + 'a>> {
        // Sessions of programs have nothing to refresh with, and are never due.
        self.providers.refresh(principal, tokens)
    }

    fn is_configured(&self, provider: &str, issuer: &str) -> bool {
        self.providers.is_configured(provider, issuer) || self.bearer.is_trusted(provider, issuer)
    }
}
