//! Who vouches for sessions: identity providers for people, trusted issuers and the policy itself for programs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::identity::principal::Principal;
use crate::oidc::Providers;
use crate::session::{ProviderTokens, RefreshFault, Refreshed, Refresher};
use crate::token::programs::Programs;

/// All kinds.
pub(super) struct Vouching {
    pub(super) providers: Arc<Providers>,
    pub(super) programs: Programs,
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

    fn vouches_for(&self, principal: &Principal, until: Timestamp) -> bool {
        self.providers.vouches_for(principal, until) || self.programs.vouch_for(principal, until)
    }
}
