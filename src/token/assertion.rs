//! The assertion: a short-lived signed JWT that tells the upstream who the person is, bound to the certificate it travels with. The same keys sign
//! the audit log's checkpoints and our access tokens, each under a type of its own.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::json;

use crate::audit::chain::Link;
use crate::audit::checkpoint;
use crate::clock::{SharedClock, Timestamp};
use crate::identity::principal::{Groups, Principal};
use crate::mesh::svid::Svid;
use crate::secret;
use crate::store::signing_keys::SigningKeyRecord;
use crate::store::{Store, StoreError};
use crate::token::jwk::EcKey;

/// The header that carries it.
pub const HEADER: http::HeaderName = http::HeaderName::from_static("wayleave-jwt-assertion");

const LIFETIME: Duration = Duration::from_secs(300);
/// How long before its end an assertion is minted anew: the slack for slow requests and clocks that differ.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// Mints assertions and publishes the keys that verify them.
pub struct Minter {
    issuer: String,
    clock: SharedClock,
    /// Newest first; the first one signs. Never empty.
    signing: Key,
    published: Vec<serde_json::Value>,
    /// The same keys by their ids, as points.
    verifying: Vec<(String, [u8; 65])>,
}

struct Key {
    kid: String,
    /// The JWS header of assertions, encoded once.
    header: String,
    pair: EcdsaKeyPair,
}

/// A minted assertion, ready to be sent until `renew_at`.
#[derive(Clone, Debug)]
pub struct Assertion {
    /// The signed JWT, as the header has it.
    pub value: http::HeaderValue,
    /// From then on another is to be made.
    pub renew_at: Timestamp,
}

#[derive(Serialize)]
struct AssertionClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
    provider: &'a str,
    provider_issuer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    /// Left out when the groups are not known: that is not the same as none.
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<&'a str>>,
    mesh_identity: &'a str,
    cnf: Confirmation<'a>,
}

/// RFC 8705 §3.1.
#[derive(Serialize)]
struct Confirmation<'a> {
    #[serde(rename = "x5t#S256")]
    thumbprint: &'a str,
}

impl Minter {
    /// Loads the signing keys, making the first one if there is none. `issuer` is the home host's https origin.
    pub async fn load(
        store: &Store,
        clock: SharedClock,
        issuer: String,
    ) -> Result<Arc<Self>, StoreError> {
        let mut records = store.signing_keys().await?;
        if records.is_empty() {
            records = store.ensure_signing_key(new_key(clock.now())?).await?;
        }
        Self::from_records(&records, clock, issuer).map(Arc::new)
    }

    /// One with a key of its own.
    #[cfg(test)]
    pub(in crate::token) fn for_tests(clock: SharedClock, issuer: &str) -> Self {
        let key = new_key(clock.now()).unwrap();
        Self::from_records(&[key], clock, issuer.to_owned()).unwrap()
    }

    fn from_records(
        records: &[SigningKeyRecord],
        clock: SharedClock,
        issuer: String,
    ) -> Result<Self, StoreError> {
        let mut signing = None;
        let mut published = Vec::new();
        let mut verifying = Vec::new();
        for record in records {
            let pair = open_key(&record.private_key).ok_or_else(|| unusable(&record.kid))?;
            let jwk = public(&pair);
            if jwk.thumbprint() != record.kid {
                return Err(unusable(&record.kid));
            }
            let point = jwk.point().ok_or_else(|| unusable(&record.kid))?;
            verifying.push((record.kid.clone(), point));
            published.push(document(&jwk));
            if signing.is_none() {
                let kid = record.kid.clone();
                let header = header("JWT", &kid);
                signing = Some(Key { kid, header, pair });
            }
        }
        Ok(Self {
            issuer,
            clock,
            signing: signing.ok_or_else(|| unusable("none"))?,
            published,
            verifying,
        })
    }

    /// Signs one: `sub`, `email`, `groups`, `aud` = the route's public origin, `cnf.x5t#S256` = the SVID's thumbprint, five minutes at most, and no
    /// longer than to the second in which `until` is.
    pub fn mint(
        &self,
        principal: &Principal,
        audience: &str,
        svid: &Svid,
        until: Option<Timestamp>,
    ) -> Assertion {
        let now = self.clock.now();
        let until = until.map_or(svid.not_after, |until| until.plus(Duration::from_secs(1)));
        let expires_at = now.plus(LIFETIME).min(svid.not_after).min(until);
        let groups = match &principal.groups {
            Groups::Known(names) => Some(names.iter().map(AsRef::as_ref).collect()),
            Groups::Missing => None,
        };
        let claims = AssertionClaims {
            iss: &self.issuer,
            aud: audience,
            sub: &principal.subject,
            iat: now.seconds(),
            exp: expires_at.seconds(),
            jti: URL_SAFE_NO_PAD.encode(secret::random::<16>()),
            provider: &principal.provider,
            provider_issuer: &principal.issuer,
            email: principal.email.as_ref().map(|email| email.as_str()),
            name: principal.display_name.as_deref(),
            groups,
            mesh_identity: svid.identity.as_str(),
            cnf: Confirmation {
                thumbprint: &svid.thumbprint,
            },
        };
        Assertion {
            value: header_value(self.sign(&self.signing.header, &claims)),
            renew_at: expires_at.minus(RENEW_BEFORE),
        }
    }

    /// Signs that the audit log has this hash at this event.
    pub fn checkpoint(&self, seq: i64, link: Link) -> String {
        let claims = checkpoint::Claims {
            iss: self.issuer.clone(),
            aud: checkpoint::AUDIENCE.to_owned(),
            iat: self.clock.now().seconds(),
            seq,
            hash: link.to_string(),
        };
        self.sign_as(checkpoint::TYPE, &claims)
    }

    /// Signs claims under a type of their own.
    pub(in crate::token) fn sign_as(&self, typ: &str, claims: &impl Serialize) -> String {
        self.sign(&header(typ, &self.signing.kid), claims)
    }

    /// The public key that an id names.
    pub(in crate::token) fn public_key(&self, kid: &str) -> Option<&[u8; 65]> {
        let mut keys = self.verifying.iter();
        keys.find(|(known, _)| known == kid).map(|(_, point)| point)
    }

    #[expect(
        clippy::expect_used,
        reason = "claims of texts and numbers serialise, and a parsed key signs"
    )]
    fn sign(&self, header: &str, claims: &impl Serialize) -> String {
        let payload = serde_json::to_vec(claims).expect("texts and numbers serialise");
        let mut token = header.to_owned();
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self
            .signing
            .pair
            .sign(&SystemRandom::new(), token.as_bytes())
            .expect("a parsed key signs");
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        token
    }

    /// The JWK set (RFC 7517) to publish.
    pub fn jwks(&self) -> serde_json::Value {
        json!({ "keys": self.published })
    }

    /// How long an assertion is good for.
    pub fn lifetime(&self) -> Duration {
        LIFETIME
    }
}

/// A JWS header (RFC 7515 §4), encoded.
fn header(typ: &str, kid: &str) -> String {
    let header = json!({"alg": "ES256", "typ": typ, "kid": kid}).to_string();
    URL_SAFE_NO_PAD.encode(header)
}

#[expect(clippy::expect_used, reason = "base64url and dots are a header value")]
fn header_value(token: String) -> http::HeaderValue {
    http::HeaderValue::try_from(token).expect("base64url and dots are a header value")
}

/// A key as it is published.
fn document(key: &EcKey) -> serde_json::Value {
    let mut document = key.document();
    document["alg"] = "ES256".into();
    document["use"] = "sig".into();
    document["kid"] = key.thumbprint().into();
    document
}

fn public(pair: &EcdsaKeyPair) -> EcKey {
    EcKey::of_point(pair.public_key().as_ref())
}

fn new_key(now: Timestamp) -> Result<SigningKeyRecord, StoreError> {
    let failed = || unusable("new");
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| failed())?;
    let der = pair.to_pkcs8v1().map_err(|_| failed())?;
    Ok(SigningKeyRecord {
        kid: public(&pair).thumbprint(),
        private_key: zeroize::Zeroizing::new(der.as_ref().to_vec()),
        created_at: now,
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
