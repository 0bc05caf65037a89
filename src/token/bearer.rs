//! Bearer tokens (RFC 6750): JWTs of trusted issuers.
//!
//! The issuer is chosen by the exact text of `iss`; keys, algorithms, audiences and claims are then that issuer's alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;

use crate::clock::{SharedClock, Timestamp};
use crate::config::checked::TrustedIssuerConfig;
use crate::identity::email::Email;
use crate::identity::principal::{Groups, Principal, PrincipalKind};
use crate::token::claims::{self, ClaimFault, Claims};
use crate::token::jwks::{KeyCache, KeyFault, KeySource};
use crate::token::jws::{self, Unverified};
use crate::token::outbound::{Outbound, Reach};

const LEEWAY: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_secs(60);
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// Verifies bearer JWTs. Shared; holds no per-token state (workers cache results).
pub struct BearerVerifier {
    issuers: ArcSwap<HashMap<Arc<str>, Arc<Issuer>>>,
    clock: SharedClock,
    generation: Arc<AtomicU64>,
}

struct Issuer {
    config: TrustedIssuerConfig,
    keys: KeyCache,
}

/// A token that has been verified.
#[derive(Clone, Debug)]
pub struct VerifiedBearer {
    /// Who it speaks for.
    pub principal: Arc<Principal>,
    /// Not good from this moment on.
    pub expires_at: Timestamp,
    /// What the issuer said of it (`exp`), without the leeway for clocks that differ; nothing derived from it lives longer.
    pub not_after: Timestamp,
    /// The key set it was verified under; a cached result counts only while this is [`BearerVerifier::generation`].
    pub generation: u64,
}

/// Why a token is refused. The caller is told no more than `invalid_token`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BearerFault {
    #[error("the token is not a JWT of three base64url parts within 16 KiB")]
    Malformed,
    #[error("no trusted issuer has this iss")]
    UnknownIssuer,
    #[error("the token's algorithm or type is not accepted")]
    Algorithm,
    #[error("no key of the issuer verifies the token")]
    Signature,
    #[error("the token has expired or is not valid yet")]
    Time,
    #[error("the token is not for us")]
    Audience,
    #[error("claim {0} is missing or not as required")]
    Claim(String),
    #[error("the issuer's keys cannot be had at present")]
    KeysUnavailable,
}

impl From<ClaimFault> for BearerFault {
    fn from(fault: ClaimFault) -> Self {
        match fault {
            ClaimFault::Invalid(name) => Self::Claim(name.to_owned()),
            ClaimFault::Time => Self::Time,
            ClaimFault::Audience => Self::Audience,
        }
    }
}

impl BearerVerifier {
    /// Fetches nothing yet.
    pub fn new(issuers: Vec<TrustedIssuerConfig>, clock: SharedClock) -> Arc<Self> {
        let this = Self {
            issuers: ArcSwap::default(),
            clock,
            generation: Arc::new(AtomicU64::new(0)),
        };
        this.replace(issuers);
        Arc::new(this)
    }

    /// Puts other issuers in place; what was verified before counts no more.
    pub fn replace(&self, issuers: Vec<TrustedIssuerConfig>) {
        let issuers = issuers.into_iter().map(|config| {
            let outbound = Outbound::new(Reach {
                ca_file: config.ca_file.as_deref(),
                allowed_private_networks: &config.allowed_private_networks,
                insecure_allow_http_loopback: config.insecure_allow_http_loopback,
            });
            let source = match &config.jwks_url {
                Some(url) => KeySource::Url(url.clone()),
                None => KeySource::Discovery(config.issuer.clone()),
            };
            let clock = self.clock.clone();
            let keys = KeyCache::new(outbound, source, clock, self.generation.clone());
            (config.issuer.clone(), Arc::new(Issuer { config, keys }))
        });
        self.issuers.store(Arc::new(issuers.collect()));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Verifies with the keys at hand; `Err(None)` when the key sets have to be fetched first ([`Self::verify`] does).
    pub fn verify_at_hand(&self, token: &str) -> Result<VerifiedBearer, Option<BearerFault>> {
        let generation = self.generation();
        let token = jws::parse(token).map_err(|_| BearerFault::Malformed)?;
        let issuer = self.issuer_of(&token)?;
        let may_fetch = issuer.keys.may_fetch();
        let Some(keys) = issuer.keys.keys() else {
            return Err((!may_fetch).then_some(BearerFault::KeysUnavailable));
        };
        match keys.verify(&token, &issuer.config.algorithms) {
            Ok(()) => {}
            Err(KeyFault::Algorithm) => return Err(Some(BearerFault::Algorithm)),
            Err(KeyFault::UnknownKey) if may_fetch => return Err(None),
            Err(KeyFault::UnknownKey | KeyFault::TooSoon | KeyFault::Signature) => {
                return Err(Some(BearerFault::Signature));
            }
        }
        let (principal, not_after) = issuer.read(&token, self.clock.now())?;
        Ok(VerifiedBearer {
            principal: Arc::new(principal),
            expires_at: not_after.plus(LEEWAY),
            not_after,
            generation,
        })
    }

    /// Verifies, fetching key sets if need be (bounded).
    pub async fn verify(&self, token: &str) -> Result<VerifiedBearer, BearerFault> {
        match self.verify_at_hand(token) {
            Ok(verified) => return Ok(verified),
            Err(Some(fault)) => return Err(fault),
            Err(None) => {}
        }
        let issuer = {
            let token = jws::parse(token).map_err(|_| BearerFault::Malformed)?;
            self.issuer_of(&token)?
        };
        if let Err(error) = issuer.keys.fetch().await {
            tracing::warn!(issuer = %issuer.config.name, %error, "the keys of a trusted issuer cannot be fetched");
        }
        self.verify_at_hand(token).map_err(|fault| {
            let without_keys = match issuer.keys.keys() {
                Some(_) => BearerFault::Signature,
                None => BearerFault::KeysUnavailable,
            };
            fault.unwrap_or(without_keys)
        })
    }

    /// Changes whenever a key set changes.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether programs of this issuer are let in, under this name.
    pub fn is_trusted(&self, name: &str, issuer: &str) -> bool {
        let issuers = self.issuers.load();
        let found = issuers.get(issuer);
        found.is_some_and(|found| {
            *found.config.name == *name && found.config.kind == PrincipalKind::Workload
        })
    }

    /// Refreshes key sets in the background; runs until cancelled.
    pub async fn maintain(self: Arc<Self>) {
        loop {
            for issuer in self.issuers.load_full().values() {
                issuer.keys.keep_fresh().await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn issuer_of(&self, token: &Unverified<'_>) -> Result<Arc<Issuer>, BearerFault> {
        let iss = claims::text(&token.claims, "iss")?;
        let issuers = self.issuers.load();
        issuers.get(iss).cloned().ok_or(BearerFault::UnknownIssuer)
    }
}

impl Issuer {
    /// Reads a token whose signature is verified.
    fn read(
        &self,
        token: &Unverified<'_>,
        now: Timestamp,
    ) -> Result<(Principal, Timestamp), BearerFault> {
        check_kind(token)?;
        let claims = &token.claims;
        let expires_at = claims::check_times(claims, now, LEEWAY)?;
        let audiences = claims::audiences(claims)?;
        if !audiences
            .iter()
            .any(|a| self.config.audiences.iter().any(|ours| ours == a))
        {
            return Err(BearerFault::Audience);
        }
        let subject = claims::subject(claims)?;
        for (name, required) in &self.config.required_claims {
            let present = claims::select(claims, name).and_then(Value::as_str);
            if present != Some(required) {
                return Err(BearerFault::Claim(name.clone()));
            }
        }
        let (acr, auth_time) = claims::sign_in_facts(claims);
        let principal = Principal {
            kind: self.config.kind,
            provider: self.config.name.clone(),
            issuer: self.config.issuer.clone(),
            subject: subject.into(),
            email: self.email(claims),
            display_name: claims.get("name").and_then(Value::as_str).map(Into::into),
            groups: self.groups(claims),
            claims: claims::kept(claims, &self.config.claims),
            acr,
            auth_time,
            agents: Vec::new(),
        };
        Ok((principal, expires_at))
    }

    fn email(&self, claims: &Claims) -> Option<Email> {
        let verified = claims.get("email_verified");
        let vouched =
            verified == Some(&Value::Bool(true)) || (verified.is_none() && self.config.trust_email);
        let text = claims
            .get("email")
            .and_then(Value::as_str)
            .filter(|_| vouched)?;
        Email::parse(text).ok()
    }

    fn groups(&self, claims: &Claims) -> Groups {
        let selector = self.config.groups_claim.as_deref();
        selector
            .and_then(|selector| claims::groups(claims, selector, None))
            .map_or(Groups::Missing, Groups::Known)
    }
}

/// Refuses what is a JWT of the issuer but no access token of its subject: logout tokens, ID tokens of a sign-in (security.md G5), tokens of somebody who acts
/// for it.
fn check_kind(token: &Unverified<'_>) -> Result<(), BearerFault> {
    if token
        .header
        .typ
        .as_deref()
        .is_some_and(|typ| !TYPES.contains(&typ))
    {
        return Err(BearerFault::Algorithm);
    }
    // Who acts by such a token is not whom it names (RFC 8693 §4.1), and taken for them it could do all that they may.
    for name in ["events", "nonce", "act"] {
        if token.claims.contains_key(name) {
            return Err(BearerFault::Claim(name.to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
