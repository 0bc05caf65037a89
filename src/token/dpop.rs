//! Proofs that a request was made by whoever holds a token's key (DPoP, RFC 9449).

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use url::Url;

use crate::clock::Timestamp;
use crate::secret::sha256;
use crate::token::claims;
use crate::token::jwk::EcKey;
use crate::token::jws;

pub mod prover;

/// The header that carries a proof.
pub const HEADER: HeaderName = HeaderName::from_static("dpop");

/// The `typ` of proofs.
pub const TYPE: &str = "dpop+jwt";

/// Longest proof, in bytes.
const LONGEST: usize = 4 * 1024;
/// How far a proof's time may be from ours, either way.
const WINDOW: Duration = Duration::from_secs(60);
/// How long a proof's id is remembered: longer than it is good.
const REMEMBERED: Duration = Duration::from_secs(130);
/// Parts of the memory, so that threads seldom wait for one another.
const SHARDS: usize = 32;
/// Ids per part and generation.
const PER_SHARD: usize = 16 * 1024;

/// Why a proof is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ProofFault {
    #[error("there is no DPoP proof")]
    Missing,
    #[error("there are two DPoP proofs")]
    Repeated,
    #[error(
        "the DPoP proof is not a JWT of type dpop+jwt, signed with ES256 by the P-256 key in its header"
    )]
    Malformed,
    #[error("the DPoP proof's signature is wrong")]
    Signature,
    #[error("the DPoP proof is for another method or URL")]
    Request,
    #[error("the DPoP proof was not made just now; is the clock right?")]
    Time,
    #[error("the DPoP proof is for another access token")]
    Token,
    #[error("the DPoP proof is of another key than the token's")]
    Key,
    #[error("the DPoP proof was used before")]
    Replayed,
}

/// The request that a proof has to be of.
#[derive(Clone, Copy)]
pub struct Proven<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its origin, as text.
    pub origin: &'a str,
    /// Its path, without the query.
    pub path: &'a str,
    /// The access token that it comes with; `None` where it comes with none.
    pub token: Option<&'a str>,
}

#[derive(Deserialize)]
struct KeyHeader {
    jwk: EcKey,
}

/// Verifies proofs, and remembers them for as long as they could be shown again.
pub struct Proofs {
    shards: [Mutex<Seen>; SHARDS],
}

#[derive(Default)]
struct Seen {
    young: HashSet<[u8; 16]>,
    old: HashSet<[u8; 16]>,
    since: Option<Timestamp>,
}

impl Default for Proofs {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

/// The one proof of a request; `None` if there is none.
pub fn presented(headers: &HeaderMap) -> Result<Option<&str>, ProofFault> {
    let mut given = headers.get_all(HEADER).iter();
    let Some(proof) = given.next() else {
        return Ok(None);
    };
    if given.next().is_some() {
        return Err(ProofFault::Repeated);
    }
    proof.to_str().map(Some).map_err(|_| ProofFault::Malformed)
}

impl Proofs {
    /// Verifies a proof; returns the RFC 7638 thumbprint of its key. Each proof is good once.
    pub fn verify(
        &self,
        proof: &str,
        request: Proven<'_>,
        now: Timestamp,
    ) -> Result<String, ProofFault> {
        let (thumbprint, id) = check(proof, request, now)?;
        let seen = sha256(format!("{thumbprint}\n{id}").as_bytes());
        if !self.is_new(&seen, now) {
            return Err(ProofFault::Replayed);
        }
        Ok(thumbprint)
    }

    /// The same for a token's own key.
    pub fn verify_for(
        &self,
        proof: &str,
        request: Proven<'_>,
        key_thumbprint: &str,
        now: Timestamp,
    ) -> Result<(), ProofFault> {
        let (thumbprint, id) = check(proof, request, now)?;
        if thumbprint != key_thumbprint {
            // Whoever holds no token of this key fills no memory.
            return Err(ProofFault::Key);
        }
        let seen = sha256(format!("{thumbprint}\n{id}").as_bytes());
        self.is_new(&seen, now)
            .then_some(())
            .ok_or(ProofFault::Replayed)
    }

    /// Notes an id. In a flood the oldest are forgotten before their time.
    fn is_new(&self, seen: &[u8; 32], now: Timestamp) -> bool {
        let [first, ..] = seen;
        let mut id = [0; 16];
        id.copy_from_slice(&seen[16..]);
        let shard = &self.shards[usize::from(*first) % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *shard.since.get_or_insert(now);
        if now.since(since) >= REMEMBERED || shard.young.len() >= PER_SHARD {
            shard.old = std::mem::take(&mut shard.young);
            shard.since = Some(now);
        }
        !shard.old.contains(&id) && shard.young.insert(id)
    }
}

/// Everything but whether it was seen before: the thumbprint of its key, and its id.
fn check(proof: &str, request: Proven<'_>, now: Timestamp) -> Result<(String, String), ProofFault> {
    let malformed = ProofFault::Malformed;
    if proof.len() > LONGEST {
        return Err(malformed);
    }
    let token = jws::parse(proof).map_err(|_| malformed)?;
    let is_proof = token.header.typ.as_deref() == Some(TYPE);
    if !is_proof || token.header.algorithm != Some(Algorithm::ES256) {
        return Err(malformed);
    }
    let key = key_of(proof).ok_or(malformed)?;
    let point = key.point().ok_or(malformed)?;
    let signature = URL_SAFE_NO_PAD.decode(token.signature);
    let signature = signature.map_err(|_| malformed)?;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(token.message.as_bytes(), &signature)
        .map_err(|_| ProofFault::Signature)?;

    let text = |name| claims::text(&token.claims, name).map_err(|_| malformed);
    let id = claims::identifier(&token.claims, "jti").map_err(|_| malformed)?;
    if text("htm")? != request.method || !is_of(text("htu")?, request) {
        return Err(ProofFault::Request);
    }
    let made_at = claims::optional_time(&token.claims, "iat").ok().flatten();
    let made_at = made_at.ok_or(malformed)?;
    if made_at > now.plus(WINDOW) || now > made_at.plus(WINDOW) {
        return Err(ProofFault::Time);
    }
    if let Some(access) = request.token {
        let hash = URL_SAFE_NO_PAD.encode(sha256(access.as_bytes()));
        if text("ath").ok() != Some(&hash) {
            return Err(ProofFault::Token);
        }
    }
    Ok((key.thumbprint(), id.to_owned()))
}

/// The key in a proof's header. It vouches for nothing but that whoever made the proof has it.
fn key_of(proof: &str) -> Option<EcKey> {
    let (header, _) = proof.split_once('.')?;
    let header = URL_SAFE_NO_PAD.decode(header).ok()?;
    let KeyHeader { jwk } = serde_json::from_slice(&header).ok()?;
    Some(jwk)
}

/// Whether `htu` is the request's URL; queries and fragments do not count (RFC 9449 §4.3).
fn is_of(htu: &str, request: Proven<'_>) -> bool {
    Url::parse(htu).is_ok_and(|url| {
        let has_no_user = url.username().is_empty() && url.password().is_none();
        has_no_user
            && url.origin().ascii_serialization() == request.origin
            && url.path() == request.path
    })
}

#[cfg(test)]
mod tests;
