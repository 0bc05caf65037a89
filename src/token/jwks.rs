//! Key sets of issuers (RFC 7517): kept parsed, refreshed hourly, and on an unknown key id once in 30 s, with one more to spare for
//! keys that change right after a fetch (G7, G8).
//!
//! Invariants: each key has its algorithms pinned from its own parameters; a failed refresh keeps the old set; a key that the
//! issuer no longer publishes is gone with the next successful one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use url::Url;

use crate::clock::{SharedClock, Timestamp};
use crate::token::jws::Unverified;
use crate::token::outbound::{Outbound, OutboundError};

/// How old a key set gets before it is fetched again.
pub const REFRESH_EVERY: Duration = Duration::from_secs(3600);
/// Time in which tokens may cause one fetch; one more is to spare, so that a flood of unknown key ids costs two at once and then one each time.
pub const UNKNOWN_KEY_EVERY: Duration = Duration::from_secs(30);
/// The same while there are no keys at all.
const NO_KEYS_EVERY: Duration = Duration::from_secs(5);
const LONGEST_KID: usize = 128;
const MOST_KEYS: usize = 100;

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

struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// The usable signature keys of one issuer.
#[derive(Default)]
pub struct KeySet(Vec<Key>);

#[derive(Deserialize)]
struct RawKeySet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a JWK set; `None` if it is none. Keys that are not ours to use (other use, type, curve or size) are left out.
    pub fn parse(document: Value) -> Option<Self> {
        let raw: RawKeySet = serde_json::from_value(document).ok()?;
        let usable = raw.keys.into_iter().take(MOST_KEYS).filter_map(|key| {
            serde_json::from_value::<RawKey>(key)
                .ok()
                .and_then(read_key)
        });
        Some(Self(usable.collect()))
    }

    /// Verifies the signature with the one key that fits; `accepted` are the algorithms configured for the issuer.
    pub fn verify(&self, token: &Unverified<'_>, accepted: &[Algorithm]) -> Result<(), KeyFault> {
        let algorithm = token
            .header
            .algorithm
            .filter(|algorithm| accepted.contains(algorithm))
            .ok_or(KeyFault::Algorithm)?;
        let key = self.find(token.header.kid.as_deref(), algorithm)?;
        match jsonwebtoken::crypto::verify(
            token.signature,
            token.message.as_bytes(),
            &key.key,
            algorithm,
        ) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(KeyFault::Signature),
        }
    }

    fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Key, KeyFault> {
        let mut fitting = self.0.iter().filter(|key| {
            key.algorithms.contains(&algorithm) && (kid.is_none() || key.kid.as_deref() == kid)
        });
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            // Trying several would let the token choose; an id that fits two keys is no better than none.
            _ => Err(KeyFault::UnknownKey),
        }
    }
}

fn read_key(raw: RawKey) -> Option<Key> {
    let for_signatures = raw.usage.as_deref().is_none_or(|usage| usage == "sig")
        && raw
            .key_ops
            .as_ref()
            .is_none_or(|operations| operations.iter().any(|o| o == "verify"));
    if !for_signatures || raw.kid.as_ref().is_some_and(|kid| kid.len() > LONGEST_KID) {
        return None;
    }
    let bytes = |part: &Option<String>| URL_SAFE_NO_PAD.decode(part.as_deref()?).ok();
    let (possible, key): (&[Algorithm], DecodingKey) = match (raw.kty.as_str(), raw.crv.as_deref())
    {
        ("RSA", None) => {
            let (n, e) = (bytes(&raw.n)?, bytes(&raw.e)?);
            if !(256..=1024).contains(&n.len()) || e.is_empty() || e.len() > 8 {
                return None;
            }
            let all = &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ];
            (all, DecodingKey::from_rsa_raw_components(&n, &e))
        }
        ("EC", Some("P-256")) => (
            &[Algorithm::ES256],
            ec_key(bytes(&raw.x)?, bytes(&raw.y)?, 32)?,
        ),
        ("EC", Some("P-384")) => (
            &[Algorithm::ES384],
            ec_key(bytes(&raw.x)?, bytes(&raw.y)?, 48)?,
        ),
        ("OKP", Some("Ed25519")) => {
            let x = bytes(&raw.x).filter(|x| x.len() == 32)?;
            (&[Algorithm::EdDSA], DecodingKey::from_ed_der(&x))
        }
        _ => return None,
    };
    let algorithms = match raw.alg {
        Some(name) => vec![name.parse().ok().filter(|a| possible.contains(a))?],
        None => possible.to_vec(),
    };
    Some(Key {
        kid: raw.kid,
        algorithms,
        key,
    })
}

fn ec_key(x: Vec<u8>, y: Vec<u8>, width: usize) -> Option<DecodingKey> {
    if x.len() != width || y.len() != width {
        return None;
    }
    // The uncompressed point of SEC 1 §2.3.3.
    Some(DecodingKey::from_ec_der(&[vec![4], x, y].concat()))
}

/// Where a key set is found.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// At this address.
    Url(Url),
    /// Named by the discovery document of this issuer.
    Discovery(Arc<str>),
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
        Self {
            outbound,
            source,
            clock,
            current: ArcSwapOption::empty(),
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
        self.turn.available_permits() == 0 || self.is_due()
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
        if !self.is_older(&self.succeeded, REFRESH_EVERY) {
            return;
        }
        if let Err(error) = self.fetch().await {
            tracing::warn!(source = ?self.source, %error, "a key set cannot be refreshed; the old one stays");
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
