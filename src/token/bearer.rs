//! Bearer tokens (RFC 6750): JWTs of trusted issuers.
//!
//! The issuer is chosen by the exact text of `iss`; keys, algorithms, audiences and claims are then that issuer's alone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;

use crate::clock::{SharedClock, Timestamp};
use crate::config::Config;
use crate::config::checked::{IssuerReach, TrustedIssuerConfig};
use crate::identity::email::Email;
use crate::identity::principal::{Groups, Principal, PrincipalKind};
use crate::policy::machines::TrustedIssuer;
use crate::telemetry::causes::Causes;
use crate::token::bearer::trust::Trust;
use crate::token::claims::{self, ClaimFault, Claims};
use crate::token::jwks::{KeyCache, KeyFault};
use crate::token::jws::{self, Unverified};

mod trust;

const LEEWAY: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The last is one of JWT-SVIDs (SPIFFE JWT-SVID §2.3).
const TYPES: [&str; 4] = ["jwt", "at+jwt", "application/at+jwt", "jose"];

/// Verifies bearer JWTs. Shared; holds no per-token state (workers cache results).
pub struct BearerVerifier {
    issuers: ArcSwap<HashMap<Arc<str>, Arc<Issuer>>>,
    sources: Mutex<Sources>,
    clock: SharedClock,
    generation: Arc<AtomicU64>,
}

struct Issuer {
    trust: Trust,
    keys: KeyCache,
}

/// Who is trusted, by whom.
#[derive(Default)]
struct Sources {
    configured: Vec<Trust>,
    /// Names that the configuration has given: to those, and to identity providers.
    names: Vec<String>,
    /// What they all call themselves.
    issuers: Vec<String>,
    reach: IssuerReach,
    policy: Vec<TrustedIssuer>,
}

impl Sources {
    /// All that count. What the configuration has, a policy that was written before cannot have as well: tokens, or rules that name it, could not tell.
    fn trusted(&self) -> Vec<Trust> {
        let mut trusted = self.configured.clone();
        for issuer in &self.policy {
            let Some(jwt) = issuer.jwt() else {
                continue;
            };
            let is_named = self.names.iter().any(|name| **name == *issuer.name);
            let mut configured = self.issuers.iter();
            if is_named || configured.any(|known| **known == *jwt.issuer) {
                tracing::error!(issuer = %issuer.name, "the configuration has this name or issuer as well: the trusted issuer of the policy does not count");
                continue;
            }
            trusted.push(Trust::of_policy(
                &issuer.name,
                jwt,
                issuer.at_most,
                &self.reach,
            ));
        }
        trusted
    }
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
            sources: Mutex::default(),
            clock,
            generation: Arc::new(AtomicU64::new(0)),
        };
        let sources = Sources {
            configured: issuers.into_iter().map(Trust::configured).collect(),
            ..Sources::default()
        };
        this.trust(&sources, &HashMap::new());
        *locked(&this.sources) = sources;
        Arc::new(this)
    }

    /// One of this configuration, and of the policy that it is told of.
    pub fn of(config: &Config, clock: SharedClock) -> Arc<Self> {
        let this = Self::new(Vec::new(), clock);
        this.configure(config);
        this
    }

    /// Takes up a configuration; what was verified before counts no more.
    pub fn configure(&self, config: &Config) {
        let mut sources = locked(&self.sources);
        let configured = config.trusted_issuers.iter().cloned();
        sources.configured = configured.map(Trust::configured).collect();
        sources.names = config.provider_names();
        sources.issuers = config.issuers();
        sources.reach = config.policy_issuers.reach.clone();
        // Files that are named may say something else by now, so nothing is kept.
        self.trust(&sources, &HashMap::new());
    }

    /// Trusts whom the policy in force trusts, and says whether that is anything new. Keys of those that stay are kept.
    pub fn follow(&self, policy: &[TrustedIssuer]) -> bool {
        let mut sources = locked(&self.sources);
        if sources.policy == policy {
            return false;
        }
        sources.policy = policy.to_vec();
        self.trust(&sources, &self.issuers.load());
        true
    }

    fn trust(&self, sources: &Sources, kept: &HashMap<Arc<str>, Arc<Issuer>>) {
        let issuers = sources.trusted().into_iter().map(|trust| {
            let same = kept.get(&trust.issuer).filter(|known| known.trust == trust);
            let new = || {
                let (clock, generation) = (self.clock.clone(), self.generation.clone());
                let keys = KeyCache::new(trust.outbound(), trust.source(), clock, generation);
                Arc::new(Issuer {
                    trust: trust.clone(),
                    keys,
                })
            };
            (trust.issuer.clone(), same.cloned().unwrap_or_else(new))
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
        match keys.verify(&token, &issuer.trust.algorithms) {
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
            tracing::warn!(issuer = %issuer.trust.name, error = %Causes(&error), "the keys of a trusted issuer cannot be fetched");
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

    /// The name of the trusted issuer that a token says it is of; nothing of it is verified.
    pub fn claimed_issuer(&self, token: &str) -> Option<Arc<str>> {
        let token = jws::parse(token).ok()?;
        let issuer = self.issuer_of(&token).ok()?;
        Some(Arc::clone(&issuer.trust.name))
    }

    /// Whether programs of this issuer are let in, under this name.
    pub fn is_trusted(&self, name: &str, issuer: &str) -> bool {
        let issuers = self.issuers.load();
        let found = issuers.get(issuer);
        found.is_some_and(|found| {
            *found.trust.name == *name && found.trust.kind == PrincipalKind::Workload
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
            .any(|a| self.trust.audiences.iter().any(|ours| ours == a))
        {
            return Err(BearerFault::Audience);
        }
        let subject = match &self.trust.subject_claim {
            None => claims::subject(claims)?,
            Some(name) => claims::identifier_at(claims, name)
                .ok_or_else(|| BearerFault::Claim(name.to_string()))?,
        };
        if let Some(name) = self.trust.unmet(claims) {
            return Err(BearerFault::Claim(name.to_owned()));
        }
        let expires_at = match self.trust.at_most {
            None => expires_at,
            Some(at_most) => {
                let issued_at = claims::optional_time(claims, "iat")?;
                let issued_at = issued_at.ok_or_else(|| BearerFault::Claim("iat".to_owned()))?;
                expires_at.min(issued_at.plus(at_most))
            }
        };
        if expires_at.plus(LEEWAY) <= now {
            return Err(BearerFault::Time);
        }
        let (acr, auth_time) = claims::sign_in_facts(claims);
        let principal = Principal {
            kind: self.trust.kind,
            provider: self.trust.name.clone(),
            issuer: self.trust.issuer.clone(),
            subject: subject.into(),
            email: self.email(claims),
            display_name: claims.get("name").and_then(Value::as_str).map(Into::into),
            groups: self.groups(claims),
            claims: claims::kept(claims, &self.trust.claims),
            acr,
            auth_time,
            agents: Vec::new(),
        };
        Ok((principal, expires_at))
    }

    fn email(&self, claims: &Claims) -> Option<Email> {
        let verified = claims.get("email_verified");
        let vouched =
            verified == Some(&Value::Bool(true)) || (verified.is_none() && self.trust.trust_email);
        let text = claims
            .get("email")
            .and_then(Value::as_str)
            .filter(|_| vouched && self.trust.gives_email)?;
        Email::parse(text).ok()
    }

    fn groups(&self, claims: &Claims) -> Groups {
        let selector = self.trust.groups_claim.as_deref();
        selector
            .and_then(|selector| claims::groups(claims, selector, None))
            .map_or(Groups::Missing, Groups::Known)
    }
}

fn locked(sources: &Mutex<Sources>) -> MutexGuard<'_, Sources> {
    sources.lock().unwrap_or_else(PoisonError::into_inner)
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
