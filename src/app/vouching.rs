//! Who vouches for sessions: identity providers for people, trusted issuers and the policy itself for programs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::identity::principal::Principal;
use crate::oidc::Providers;
use crate::session::{ProviderTokens, RefreshFault, Refreshed, Refresher};
use crate::token::aws::AwsRoles;
use crate::token::bearer::BearerVerifier;
use crate::token::client_assertion::ServiceAccounts;

/// All kinds.
pub(super) struct Vouching {
    pub(super) providers: Arc<Providers>,
    pub(super) bearer: Arc<BearerVerifier>,
    pub(super) aws: Arc<AwsRoles>,
    pub(super) accounts: Arc<ServiceAccounts>,
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
        let (provider, issuer) = (&principal.provider, &principal.issuer);
        self.providers.vouches_for(principal, until)
            || self.bearer.is_trusted(provider, issuer)
            || self.aws.vouch_for(principal)
            || self.accounts.vouch_for(principal, until)
    }
}
