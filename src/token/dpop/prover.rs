//! The other side: the key of a program that proves it (RFC 9449 §4.2).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::secret::{random, sha256};
use crate::token::dpop::TYPE;
use crate::token::jwk::EcKey;

/// A key that tokens are bound to.
pub struct Prover {
    pair: EcdsaKeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

/// The key cannot be made, read or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key is no P-256 key that can sign")]
pub struct KeyError;

impl Prover {
    /// A new key.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let pkcs8 = pair.and_then(|pair| pair.to_pkcs8v1());
        let pkcs8 = pkcs8.map_err(|_| KeyError)?;
        Self::open(pkcs8.as_ref())
    }

    /// The key that [`Self::pkcs8`] gave.
    pub fn open(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8);
        Ok(Self {
            pair: pair.map_err(|_| KeyError)?,
            pkcs8: Zeroizing::new(pkcs8.to_vec()),
        })
    }

    /// The private key, PKCS#8 DER, to be kept with what it is for.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public key.
    pub fn key(&self) -> EcKey {
        EcKey::of_point(self.pair.public_key().as_ref())
    }

    /// RFC 7638.
    pub fn thumbprint(&self) -> String {
        self.key().thumbprint()
    }

    /// A proof for one request; `url` without query and fragment, `token` the access token that goes with it.
    pub fn proof(
        &self,
        method: &str,
        url: &str,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<String, KeyError> {
        let header = json!({ "typ": TYPE, "alg": "ES256", "jwk": self.key().document() });
        let mut claims = json!({
            "jti": URL_SAFE_NO_PAD.encode(random::<16>()),
            "htm": method,
            "htu": url,
            "iat": now.seconds(),
        });
        if let Some(token) = token {
            claims["ath"] = URL_SAFE_NO_PAD.encode(sha256(token.as_bytes())).into();
        }
        self.signed(&header, &claims)
    }

    /// A JWT that it signs with ES256, which its header has to say.
    pub fn signed(&self, header: &Value, claims: &Value) -> Result<String, KeyError> {
        let [header, claims] =
            [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = format!("{header}.{claims}");
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes());
        let signature = signature.map_err(|_| KeyError)?;
        Ok(format!(
            "{message}.{}",
            URL_SAFE_NO_PAD.encode(signature.as_ref())
        ))
    }
}
