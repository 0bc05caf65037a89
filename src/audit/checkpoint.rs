//! Signed checkpoints: whoever can write to the store, and has not the key that signs, cannot make a chain that agrees with them.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::{Deserialize, Serialize};

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

/// Verifies a checkpoint with the published keys: the number and hash of the event that it is about.
pub fn verify(token: &str, keys: &JwkSet) -> Option<(i64, Link)> {
    let header = decode_header(token).ok()?;
    if header.typ.as_deref() != Some(TYPE) {
        return None;
    }
    let key = DecodingKey::from_jwk(keys.find(header.kid.as_deref()?)?).ok()?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["aud"]);
    // A checkpoint never ends.
    validation.validate_exp = false;
    let claims = decode::<Claims>(token, &key, &validation).ok()?.claims;
    Some((claims.seq, Link::parse(&claims.hash)?))
}
