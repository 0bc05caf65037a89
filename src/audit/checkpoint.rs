//! Signed checkpoints: whoever can write to the store, and has not the key that signs, cannot make a chain that agrees with them.

use std::collections::BTreeSet;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audit::chain::Link;

/// The `typ` of a checkpoint, which tells it from everything else that the same keys sign (RFC 8725 §3.11).
pub const TYPE: &str = "wayleave-audit-checkpoint+jwt";
/// The `aud` of a checkpoint.
pub const AUDIENCE: &str = "wayleave-audit";

/// What a checkpoint says, as the claims of a JWT (RFC 7519).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The edge's own issuer.
    pub iss: String,
    /// [`AUDIENCE`].
    pub aud: String,
    /// When it was signed.
    pub iat: i64,
    /// The number of an event.
    pub seq: i64,
    /// Its hash, in hexadecimal digits.
    pub hash: String,
}

/// What checkpoints are verified by: a JWK set, in which keys of ours may say that they were revoked.
#[derive(Clone, Debug)]
pub struct Keys {
    set: JwkSet,
    revoked: BTreeSet<String>,
}

impl Keys {
    /// Reads a set as it is published, or with the `state` of each key.
    pub fn read(document: &Value) -> Option<Self> {
        let set = JwkSet::deserialize(document).ok()?;
        let keys = document["keys"].as_array().into_iter().flatten();
        let revoked = keys.filter(|key| key["state"] == "revoked");
        let revoked = revoked.filter_map(|key| key["kid"].as_str());
        Some(Self {
            revoked: revoked.map(str::to_owned).collect(),
            set,
        })
    }

    /// No keys: they verify nothing.
    pub fn none() -> Self {
        let set = JwkSet { keys: Vec::new() };
        Self {
            set,
            revoked: BTreeSet::new(),
        }
    }
}

/// A checkpoint that is signed by one of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The number of the event that it is about.
    pub seq: i64,
    /// Its hash.
    pub link: Link,
    /// When it was signed, in seconds since the Unix epoch.
    pub at: i64,
    /// The key was revoked since: somebody else may have had it.
    pub by_revoked: bool,
}

/// Verifies a checkpoint.
pub fn verify(token: &str, keys: &Keys) -> Option<Signed> {
    let header = decode_header(token).ok()?;
    if header.typ.as_deref() != Some(TYPE) {
        return None;
    }
    let kid = header.kid.as_deref()?;
    let key = DecodingKey::from_jwk(keys.set.find(kid)?).ok()?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["aud"]);
    // A checkpoint never ends.
    validation.validate_exp = false;
    let claims = decode::<Claims>(token, &key, &validation).ok()?.claims;
    Some(Signed {
        seq: claims.seq,
        link: Link::parse(&claims.hash)?,
        at: claims.iat,
        by_revoked: keys.revoked.contains(kid),
    })
}
