//! Workloads of other trust domains: a certificate (X.509-SVID) that a client proved in its handshake says who it is, by the roots that the policy has of its trust domain.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;

use crate::clock::Timestamp;
use crate::config::Config;
use crate::identity::bundle;
use crate::identity::principal::{Groups, Principal, PrincipalKind};
use crate::identity::spiffe_id::SpiffeId;
use crate::mesh::verify::{self, TrustBundle, VerifyFault};
use crate::policy::machines::{TrustedIssuer, X509Trust};
use crate::token::trusted::Trusted;

/// How long what a certificate began lasts where the policy does not say.
const LASTS: Duration = Duration::from_secs(3600);

/// Why a certificate says nothing here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// The SPIFFE rules.
    #[error("{0}")]
    Svid(#[from] VerifyFault),
    /// Nobody's bundle.
    #[error("the policy trusts nobody of the trust domain {0}")]
    TrustDomain(String),
    /// A workload that is not meant.
    #[error("the policy does not trust {0}")]
    Workload(SpiffeId),
    /// The parameter beside it.
    #[error("client_id must be the certificate's SPIFFE ID, where it is given")]
    ClientId,
}

/// Who has proven a certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedWorkload {
    /// Who it is.
    pub principal: Principal,
    /// What it begins ends then.
    pub until: Timestamp,
}

/// The trust domains that the policy in force trusts.
pub struct TrustDomains(Trusted);

impl TrustDomains {
    /// Trusts nobody yet.
    pub fn of(config: &Config) -> Arc<Self> {
        Arc::new(Self::new(config.provider_names()))
    }

    fn new(names: Vec<String>) -> Self {
        Self(Trusted::new(names, |issuer| issuer.x509().is_some()))
    }

    /// Takes up a configuration.
    pub fn configure(&self, config: &Config) {
        self.0.configure(config.provider_names());
    }

    /// Knows whom the policy in force trusts, and says whether that is anything new.
    pub fn follow(&self, policy: &[TrustedIssuer]) -> bool {
        self.0.follow(policy)
    }

    /// Whether anybody can prove themselves so.
    pub fn are_there(&self) -> bool {
        !self.0.all().is_empty()
    }

    /// Whether the policy still trusts a workload under the name that it came by.
    pub fn vouch_for(&self, principal: &Principal) -> bool {
        let named = self.0.named(&principal.provider);
        let is_meant = |trust: &X509Trust| {
            *trust.issuer == *principal.issuer && has_workload(trust, &principal.subject)
        };
        principal.kind == PrincipalKind::Workload
            && named.is_some_and(|issuer| issuer.x509().is_some_and(is_meant))
    }

    /// Judges what a client has presented, its leaf first; the handshake has proven that it has the leaf's key.
    pub fn verify(
        &self,
        presented: &[CertificateDer<'_>],
        client_id: Option<&str>,
        now: Timestamp,
    ) -> Result<VerifiedWorkload, CertificateFault> {
        let (leaf, intermediates) = presented.split_first().ok_or(VerifyFault::Unreadable)?;
        // Which bundle counts, it says itself; that it leads to that one is verified then.
        let claimed = verify::spiffe_id(leaf)?;
        let strange = || CertificateFault::TrustDomain(claimed.trust_domain().to_owned());
        let trusted = self.0.all();
        let of_domain = |issuer: &&TrustedIssuer| {
            let trust = issuer.x509();
            trust.is_some_and(|trust| trust.trust_domain.as_str() == claimed.trust_domain())
        };
        let issuer = trusted.iter().find(of_domain).ok_or_else(strange)?;
        let trust = issuer.x509().ok_or_else(strange)?;
        let roots = bundle::roots(&trust.bundle).unwrap_or_default();
        let bundle = TrustBundle::new(trust.trust_domain.clone(), &roots).ok_or_else(strange)?;
        let (id, not_after) = bundle.verify_client(leaf, intermediates, now)?;
        if !has_workload(trust, id.as_str()) {
            return Err(CertificateFault::Workload(id));
        }
        if client_id.is_some_and(|client_id| client_id != id.as_str()) {
            return Err(CertificateFault::ClientId);
        }
        let lasts = now.plus(issuer.at_most.unwrap_or(LASTS));
        Ok(VerifiedWorkload {
            principal: principal(issuer, trust, &id),
            until: lasts.min(not_after),
        })
    }
}

fn has_workload(trust: &X509Trust, id: &str) -> bool {
    let ids = trust.spiffe_ids.as_ref();
    ids.is_none_or(|ids| ids.iter().any(|meant| meant.matches(id)))
}

fn principal(issuer: &TrustedIssuer, trust: &X509Trust, id: &SpiffeId) -> Principal {
    Principal {
        kind: PrincipalKind::Workload,
        provider: Arc::clone(&issuer.name),
        issuer: Arc::clone(&trust.issuer),
        subject: id.as_str().into(),
        email: None,
        display_name: None,
        // There is nobody who could put it into one.
        groups: Groups::Known(BTreeSet::new()),
        claims: BTreeMap::new(),
        acr: None,
        auth_time: None,
        agents: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
