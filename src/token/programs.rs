//! All that programs prove themselves by: JWTs of trusted issuers, roles of AWS, certificates of other trust domains, and keys of service accounts.

use std::sync::Arc;

use crate::clock::{SharedClock, Timestamp};
use crate::config::Config;
use crate::identity::principal::Principal;
use crate::policy::model::Policy;
use crate::token::aws::AwsRoles;
use crate::token::bearer::BearerVerifier;
use crate::token::certificate::TrustDomains;
use crate::token::client_assertion::ServiceAccounts;

/// Who judges each kind. Cheap to clone.
#[derive(Clone)]
pub struct Programs {
    /// JWTs.
    pub bearer: Arc<BearerVerifier>,
    /// Requests that roles of AWS sign.
    pub aws: Arc<AwsRoles>,
    /// Certificates.
    pub trust_domains: Arc<TrustDomains>,
    /// Keys of their own.
    pub accounts: Arc<ServiceAccounts>,
}

impl Programs {
    /// Knows whom the configuration trusts, and nobody of a policy yet.
    pub fn of(config: &Config, clock: &SharedClock) -> Self {
        Self {
            bearer: BearerVerifier::of(config, clock.clone()),
            aws: AwsRoles::of(config, clock.clone()),
            trust_domains: TrustDomains::of(config),
            accounts: Arc::new(ServiceAccounts::default()),
        }
    }

    /// Takes up a configuration.
    pub fn configure(&self, config: &Config) {
        self.bearer.configure(config);
        self.aws.configure(config);
        self.trust_domains.configure(config);
    }

    /// Trusts whom the policy in force trusts, and says whether that is anything new.
    pub fn follow(&self, policy: &Policy) -> bool {
        let issuers = &policy.trusted_issuers;
        let changed = [
            self.bearer.follow(issuers),
            self.aws.follow(issuers),
            self.trust_domains.follow(issuers),
            self.accounts.follow(&policy.service_accounts),
        ];
        changed.contains(&true)
    }

    /// Whether a program is still let in as who it came as, in a session until this moment.
    pub fn vouch_for(&self, principal: &Principal, until: Timestamp) -> bool {
        let (provider, issuer) = (&principal.provider, &principal.issuer);
        self.bearer.is_trusted(provider, issuer)
            || self.aws.vouch_for(principal)
            || self.trust_domains.vouch_for(principal)
            || self.accounts.vouch_for(principal, until)
    }
}
