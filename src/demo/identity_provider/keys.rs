//! The provider's one signing key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};

use crate::demo::DemoError;
use crate::secret::sha256;

/// A P-256 key that signs ES256.
pub(super) struct SigningKey {
    kid: String,
    signer: EncodingKey,
    /// Uncompressed point: 0x04, x, y.
    point: Vec<u8>,
}

impl SigningKey {
    pub(super) fn generate() -> Result<Self, DemoError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let point = pair.der_bytes().to_vec();
        Ok(Self {
            kid: URL_SAFE_NO_PAD.encode(&sha256(&point)[..12]),
            signer: EncodingKey::from_ec_der(pair.serialized_der()),
            point,
        })
    }

    /// The public key (RFC 7517).
    pub(super) fn jwk(&self) -> serde_json::Value {
        let (x, y) = self.point[1..].split_at(32);
        serde_json::json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        })
    }

    /// Signs a JWT.
    pub(super) fn sign(&self, claims: &serde_json::Value) -> Result<String, DemoError> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.signer).map_err(|_| DemoError::Key)
    }
}
