//! Key sets of issuers (RFC 7517): kept parsed, refreshed hourly, and on an unknown key id once in 30 s, with one more to spare for
//! keys that change right after a fetch (G7, G8).
//!
//! Invariants: each key has its algorithms pinned from its own parameters; a failed refresh keeps the old set; a key that the
//! issuer no longer publishes is gone with the next successful one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use tokio::sync::Semaphore;
use url::Url;

use crate::clock::{SharedClock, Timestamp};
use crate::identity::public_keys::KeySet;
use crate::telemetry::causes::Causes;
use crate::token::jws::Unverified;
use crate::token::outbound::{Outbound, OutboundError};

/// How old a key set gets before it is fetched again.
pub const REFRESH_EVERY: Duration = Duration::from_secs(3600);
/// Time in which tokens may cause one fetch; one more is to spare, so that a flood of unknown key ids costs two at once and then one each time.
pub const UNKNOWN_KEY_EVERY: Duration = Duration::from_secs(30);
/// The same while there are no keys at all.
const NO_KEYS_EVERY: Duration = Duration::from_secs(5);

/// Why no key verifies a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// The header's algorithm is not one that is accepted.
    Algorithm,
    /// No key has this id and algorithm, or the token names none and several would do.
    UnknownKey,
    /// As `UnknownKey`, of a set that may be out of date and cannot be fetched again so soon: nothing is known of the token.
    TooSoon,
    /// The key that fits says no.
    Signature,
}

impl KeySet {
    /// Verifies the signature with the one key that fits; `accepted` are the algorithms configured for the issuer.
    pub fn verify(&self, token: &Unverified<'_>, accepted: &[Algorithm]) -> Result<(), KeyFault> {
        let algorithm = token
            .header
            .algorithm
            .filter(|algorithm| accepted.contains(algorithm))
            .ok_or(KeyFault::Algorithm)?;
        let key = self.find(token.header.kid.as_deref(), algorithm);
        let key = key.ok_or(KeyFault::UnknownKey)?;
        match jsonwebtoken::crypto::verify(
            token.signature,
            token.message.as_bytes(),
            key,
            algorithm,
        ) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(KeyFault::Signature),
        }
    }
}

/// Where a key set is found.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// At this address.
    Url(Url),
    /// Named by the discovery document of this issuer.
    Discovery(Arc<str>),
    /// Given once and for all; never fetched.
    Given(Arc<KeySet>),
}

/// One issuer's key set, kept fresh.
pub struct KeyCache {
    outbound: Result<Outbound, OutboundError>,
    source: KeySource,
    clock: SharedClock,
    current: ArcSwapOption<KeySet>,
    /// Microseconds; `i64::MIN` before the first.
    attempted: AtomicI64,
    /// When every fetch so far is paid for, at one in [`UNKNOWN_KEY_EVERY`].
    paid_at: AtomicI64,
    /// Fetches that are over.
    ended: AtomicU64,
    succeeded: AtomicI64,
    generation: Arc<AtomicU64>,
    /// One fetch at a time; the others wait for its outcome.
    turn: Semaphore,
}

impl KeyCache {
    /// Fetches nothing yet. `generation` is raised with every new set.
    pub fn new(
        outbound: Result<Outbound, OutboundError>,
        source: KeySource,
        clock: SharedClock,
        generation: Arc<AtomicU64>,
    ) -> Self {
        let given = match &source {
            KeySource::Given(keys) => Some(Arc::clone(keys)),
            KeySource::Url(_) | KeySource::Discovery(_) => None,
        };
        Self {
            outbound,
            source,
            clock,
            current: ArcSwapOption::new(given),
            attempted: AtomicI64::new(i64::MIN),
            paid_at: AtomicI64::new(i64::MIN),
            ended: AtomicU64::new(0),
            succeeded: AtomicI64::new(i64::MIN),
            generation,
            turn: Semaphore::new(1),
        }
    }

    /// The keys at hand.
    pub fn keys(&self) -> Option<Arc<KeySet>> {
        self.current.load_full()
    }

    #[cfg(test)]
    pub(super) fn put(&self, keys: KeySet) {
        self.current.store(Some(Arc::new(keys)));
    }

    /// Whether a token that no key at hand fits may cause a fetch now, or there is one under way to wait for.
    pub fn may_fetch(&self) -> bool {
        !self.is_given() && (self.turn.available_permits() == 0 || self.is_due())
    }

    fn is_given(&self) -> bool {
        matches!(self.source, KeySource::Given(_))
    }

    fn is_due(&self) -> bool {
        if self.current.load().is_none() {
            return self.is_older(&self.attempted, NO_KEYS_EVERY);
        }
        let paid_at = Timestamp::from_micros(self.paid_at.load(Ordering::Acquire));
        self.clock.now().plus(UNKNOWN_KEY_EVERY) >= paid_at
    }

    fn count_attempt(&self, now: Timestamp) {
        self.attempted.store(now.micros(), Ordering::Release);
        let paid_at = Timestamp::from_micros(self.paid_at.load(Ordering::Acquire));
        // Fetches while there were no keys are not saved up against those that come later.
        let longest = now.plus(UNKNOWN_KEY_EVERY).plus(UNKNOWN_KEY_EVERY);
        let paid_at = paid_at.max(now).plus(UNKNOWN_KEY_EVERY).min(longest);
        self.paid_at.store(paid_at.micros(), Ordering::Release);
    }

    fn is_older(&self, moment: &AtomicI64, age: Duration) -> bool {
        let moment = moment.load(Ordering::Acquire);
        moment == i64::MIN || self.clock.now() >= Timestamp::from_micros(moment).plus(age)
    }

    /// Fetches the set unless that was tried a short time ago; whoever waited for a fetch under way has its outcome.
    pub async fn fetch(&self) -> Result<(), OutboundError> {
        let before = self.ended.load(Ordering::Acquire);
        let Ok(_turn) = self.turn.acquire().await else {
            return Ok(());
        };
        if self.ended.load(Ordering::Acquire) != before || !self.is_due() {
            return Ok(());
        }
        let now = self.clock.now();
        self.count_attempt(now);
        let downloaded = self.download().await;
        // Only now, so that whoever came while it was under way sees that it is over.
        self.ended.fetch_add(1, Ordering::AcqRel);
        let set = downloaded?;
        self.current.store(Some(Arc::new(set)));
        self.succeeded.store(now.micros(), Ordering::Release);
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Fetches the set if the one at hand is an hour old.
    pub async fn keep_fresh(&self) {
        if self.is_given() || !self.is_older(&self.succeeded, REFRESH_EVERY) {
            return;
        }
        if let Err(error) = self.fetch().await {
            tracing::warn!(source = ?self.source, error = %Causes(&error), "a key set cannot be refreshed; the old one stays");
        }
    }

    /// Verifies with the set at hand, fetching it first if it is missing or does not know the key.
    pub async fn verify(
        &self,
        token: &Unverified<'_>,
        accepted: &[Algorithm],
    ) -> Result<Result<(), KeyFault>, OutboundError> {
        if let Some(keys) = self.keys() {
            match keys.verify(token, accepted) {
                Err(KeyFault::UnknownKey) if self.may_fetch() => {}
                Err(KeyFault::UnknownKey) => return Ok(Err(KeyFault::TooSoon)),
                verdict => return Ok(verdict),
            }
        }
        let fetched = self.fetch().await;
        match self.keys() {
            Some(keys) => Ok(keys.verify(token, accepted)),
            None => Err(fetched
                .err()
                .unwrap_or(OutboundError::Unreachable("the issuer".into()))),
        }
    }

    async fn download(&self) -> Result<KeySet, OutboundError> {
        let outbound = self.outbound.as_ref().map_err(Clone::clone)?;
        let url = match &self.source {
            KeySource::Url(url) => url.clone(),
            KeySource::Discovery(issuer) => discovered(outbound, issuer).await?,
            // Nobody asks for these.
            KeySource::Given(_) => return Err(OutboundError::Unreachable("the issuer".into())),
        };
        KeySet::parse(outbound.fetch_json(&url, None).await?)
            .ok_or_else(|| OutboundError::Json(url.host_str().unwrap_or_default().to_owned()))
    }
}

/// The address of an issuer's discovery document (OIDC Discovery §4).
pub fn discovery_url(issuer: &str) -> Option<Url> {
    let base = issuer.strip_suffix('/').unwrap_or(issuer);
    Url::parse(&format!("{base}/.well-known/openid-configuration")).ok()
}

async fn discovered(outbound: &Outbound, issuer: &str) -> Result<Url, OutboundError> {
    #[derive(Deserialize)]
    struct Document {
        issuer: String,
        jwks_uri: Url,
    }
    let not_ours = || OutboundError::Json(issuer.to_owned());
    let url = discovery_url(issuer).ok_or_else(not_ours)?;
    let document: Document = outbound.fetch_json(&url, None).await?;
    // E13: metadata that name another issuer, in any spelling, are an impostor's.
    (document.issuer == issuer)
        .then_some(document.jwks_uri)
        .ok_or_else(not_ours)
}

#[cfg(test)]
mod tests;
