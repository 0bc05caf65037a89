//! Signing keys and their lives. A key is published before it signs and for as long after as what it signed is good; then its public half is kept for the
//! audit log's checkpoints. States follow from times, so that every edge changes keys at the same moment, also one that does not reach the store then.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::store::signing_keys::{NewSigningKey, SigningKeyRecord};
use crate::store::{Store, StoreError};
use crate::token::jwk::EcKey;

/// How long a key is published before it signs, at least: not only many times what verifiers may cache the set for, but also long enough for people to renew
/// copies of it, as Istio's manifests have one.
pub const LEAD: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long a key is published after it stopped signing: longer than the longest life of what it signed, which is an hour, and than clocks differ.
pub const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a private half is kept after it stopped signing, for edges whose clocks are behind.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// What a key is good for at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, and will sign.
    Next,
    /// Signs.
    Active,
    /// Signs no more; published, and verifies what it signed.
    Retired,
    /// Verifies checkpoints of the audit log and nothing else.
    Archived,
    /// Taken out of use at once.
    Revoked,
}

impl KeyState {
    /// A stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Archived => "archived",
            Self::Revoked => "revoked",
        }
    }

    /// Whether verifiers are told of it.
    pub const fn is_published(self) -> bool {
        matches!(self, Self::Next | Self::Active | Self::Retired)
    }
}

/// What may be told of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyFact {
    /// Its id.
    pub kid: Arc<str>,
    /// What it is good for.
    pub state: KeyState,
    /// When it was made.
    pub created_at: Timestamp,
    /// From then on it signs.
    pub signs_from: Timestamp,
    /// From then on another one signs.
    pub signs_until: Option<Timestamp>,
    /// Until then it is published.
    pub published_until: Option<Timestamp>,
    /// When it was taken out of use.
    pub revoked_at: Option<Timestamp>,
    /// Its private half is still kept, and not needed.
    pub is_to_forget: bool,
    jwk: Value,
}

impl KeyFact {
    /// As a JWK (RFC 7517 §4), with members of ours for its life.
    pub fn document(&self) -> Value {
        let moment = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
        let mut document = self.jwk.clone();
        document["state"] = self.state.as_str().into();
        document["created_at"] = self.created_at.rfc3339().into();
        document["signs_from"] = self.signs_from.rfc3339().into();
        document["signs_until"] = moment(self.signs_until).into();
        document["published_until"] = moment(self.published_until).into();
        document["revoked_at"] = moment(self.revoked_at).into();
        document
    }
}

/// The part of a key that signs.
pub(in crate::token) struct SigningPair {
    pub(in crate::token) kid: Arc<str>,
    /// The JWS header of assertions, encoded once.
    pub(in crate::token) header: String,
    pub(in crate::token) pair: EcdsaKeyPair,
}

struct Key {
    kid: Arc<str>,
    point: [u8; 65],
    jwk: Value,
    pair: Option<SigningPair>,
    created_at: Timestamp,
    signs_from: Timestamp,
    signs_until: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

/// All keys, in the order in which they sign. One of them can sign.
pub(in crate::token) struct Ring {
    keys: Vec<Key>,
    /// Those that can sign, by their place; never empty.
    signers: Vec<usize>,
}

impl Ring {
    /// Reads keys; keeps the public halves of those that a release without rotation made.
    pub(in crate::token) async fn read(
        store: &Store,
        records: Vec<SigningKeyRecord>,
    ) -> Result<Self, StoreError> {
        let mut keys = Vec::new();
        for record in records {
            let has_public_half = record.public_key.is_some();
            let key = Key::read(record)?;
            if !has_public_half {
                store.keep_public_half(&key.kid, &key.point).await?;
            }
            keys.push(key);
        }
        Self::of(keys)
    }

    fn of(mut keys: Vec<Key>) -> Result<Self, StoreError> {
        let mut until = None;
        for key in keys.iter_mut().rev() {
            key.signs_until = until;
            // One that was revoked before it signed took no other's place.
            if key.revoked_at.is_none_or(|at| at > key.signs_from) {
                until = Some(key.signs_from);
            }
        }
        let can_sign = |key: &Key| key.pair.is_some() && key.revoked_at.is_none();
        let places = keys.iter().enumerate();
        let signers: Vec<usize> = places
            .filter(|(_, key)| can_sign(key))
            .map(|(at, _)| at)
            .collect();
        if signers.is_empty() {
            return Err(unusable("none"));
        }
        Ok(Self { keys, signers })
    }

    #[cfg(test)]
    pub(in crate::token) fn of_new(key: NewSigningKey) -> Self {
        let record = SigningKeyRecord {
            kid: key.kid,
            private_key: Some(key.private_key),
            public_key: Some(key.public_key.to_vec()),
            created_at: key.created_at,
            signs_from: key.signs_from,
            revoked_at: None,
        };
        Self::of(vec![Key::read(record).unwrap()]).unwrap()
    }

    /// The key that signs. Where the clock is before all of them, or the one whose turn it is was revoked, it is the first that can.
    #[expect(clippy::expect_used, reason = "a ring without signers is not made")]
    pub(in crate::token) fn signing(&self, now: Timestamp) -> &SigningPair {
        let signers = || self.signers.iter().filter_map(|at| self.keys.get(*at));
        let begun = signers().rev().find(|key| key.signs_from <= now);
        let key = begun.or_else(|| signers().next());
        let pair = key.and_then(|key| key.pair.as_ref());
        pair.expect("a ring has a signer")
    }

    pub(in crate::token) fn verifying(&self, kid: &str, now: Timestamp) -> Option<[u8; 65]> {
        let mut keys = self.keys.iter().rev();
        let key = keys.find(|key| *key.kid == *kid)?;
        key.state(now).is_published().then_some(key.point)
    }

    pub(in crate::token) fn published(&self, now: Timestamp) -> Value {
        let keys = self.keys.iter().rev();
        let keys = keys.filter(|key| key.state(now).is_published());
        let keys: Vec<&Value> = keys.map(|key| &key.jwk).collect();
        json!({ "keys": keys })
    }

    /// Newest first.
    pub(in crate::token) fn facts(&self, now: Timestamp) -> Vec<KeyFact> {
        self.keys.iter().rev().map(|key| key.fact(now)).collect()
    }
}

impl Key {
    fn read(record: SigningKeyRecord) -> Result<Self, StoreError> {
        let failed = || unusable(&record.kid);
        let pair = match &record.private_key {
            Some(private) => Some(open_key(private).ok_or_else(failed)?),
            None => None,
        };
        let of_pair = pair.as_ref().map(|pair| pair.public_key().as_ref());
        let point = of_pair.or(record.public_key.as_deref());
        let jwk = EcKey::of_point(point.ok_or_else(failed)?);
        if jwk.thumbprint() != record.kid {
            return Err(failed());
        }
        let kid: Arc<str> = record.kid.as_str().into();
        Ok(Self {
            point: jwk.point().ok_or_else(failed)?,
            jwk: document(&jwk),
            pair: pair.map(|pair| SigningPair {
                header: header("JWT", &kid),
                kid: Arc::clone(&kid),
                pair,
            }),
            created_at: record.created_at,
            signs_from: record.signs_from,
            signs_until: None,
            revoked_at: record.revoked_at,
            kid,
        })
    }

    fn published_until(&self) -> Option<Timestamp> {
        self.signs_until.map(|until| until.plus(KEPT))
    }

    fn state(&self, now: Timestamp) -> KeyState {
        if self.revoked_at.is_some() {
            return KeyState::Revoked;
        }
        if now < self.signs_from {
            return KeyState::Next;
        }
        match (self.signs_until, self.published_until()) {
            (Some(until), _) if now < until => KeyState::Active,
            (_, Some(until)) if now < until => KeyState::Retired,
            (Some(_), _) => KeyState::Archived,
            (None, _) => KeyState::Active,
        }
    }

    fn fact(&self, now: Timestamp) -> KeyFact {
        let is_over = |until: Timestamp| now >= until.plus(FORGET_AFTER);
        KeyFact {
            kid: Arc::clone(&self.kid),
            state: self.state(now),
            created_at: self.created_at,
            signs_from: self.signs_from,
            signs_until: self.signs_until,
            published_until: self.published_until(),
            revoked_at: self.revoked_at,
            is_to_forget: self.pair.is_some() && self.signs_until.is_some_and(is_over),
            jwk: self.jwk.clone(),
        }
    }
}

/// A JWS header (RFC 7515 §4), encoded.
pub(in crate::token) fn header(typ: &str, kid: &str) -> String {
    let header = json!({"alg": "ES256", "typ": typ, "kid": kid}).to_string();
    URL_SAFE_NO_PAD.encode(header)
}

/// A key as it is published.
fn document(key: &EcKey) -> Value {
    let mut document = key.document();
    document["alg"] = "ES256".into();
    document["use"] = "sig".into();
    document["kid"] = key.thumbprint().into();
    document
}

/// Makes a key that signs from then on.
pub fn new_key(now: Timestamp, signs_from: Timestamp) -> Result<NewSigningKey, StoreError> {
    let failed = || unusable("new");
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| failed())?;
    let der = pair.to_pkcs8v1().map_err(|_| failed())?;
    let jwk = EcKey::of_point(pair.public_key().as_ref());
    Ok(NewSigningKey {
        kid: jwk.thumbprint(),
        private_key: zeroize::Zeroizing::new(der.as_ref().to_vec()),
        public_key: jwk.point().ok_or_else(failed)?,
        created_at: now,
        signs_from,
    })
}

fn open_key(pkcs8: &[u8]) -> Option<EcdsaKeyPair> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()
}

fn unusable(kid: &str) -> StoreError {
    StoreError::Inconsistent {
        table: "signing_keys",
        id: kid.to_owned(),
        what: "the key is not the P-256 key that its id names".to_owned(),
    }
}
