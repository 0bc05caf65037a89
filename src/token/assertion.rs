//! The assertion: a short-lived signed JWT that tells the upstream who the person is, bound to the certificate it travels with. The same keys sign
//! the audit log's checkpoints and our access tokens, each under a type of its own.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::rand::SystemRandom;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};

use crate::audit::chain::Link;
use crate::audit::checkpoint;
use crate::clock::{SharedClock, Timestamp};
use crate::identity::principal::{Groups, Principal};
use crate::mesh::svid::Svid;
use crate::secret;
use crate::store::{Store, StoreError};
use crate::token::act;
use crate::token::ring::{self, KeyFact, Ring, SigningPair};

/// The header that carries it.
pub const HEADER: http::HeaderName = http::HeaderName::from_static("wayleave-jwt-assertion");

const LIFETIME: Duration = Duration::from_secs(300);
/// How long before its end an assertion is minted anew: the slack for slow requests and clocks that differ.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// Mints assertions and publishes the keys that verify them.
pub struct Minter {
    issuer: String,
    clock: SharedClock,
    ring: ArcSwap<Ring>,
}

/// A minted assertion, ready to be sent until `renew_at`.
#[derive(Clone, Debug)]
pub struct Assertion {
    /// The signed JWT, as the header has it.
    pub value: http::HeaderValue,
    /// From then on another is to be made.
    pub renew_at: Timestamp,
    /// The key that signed it. Once another one signs, another is to be made.
    pub kid: Arc<str>,
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
    /// RFC 8693 §4.1; absent where the person asks themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Value>,
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
            let now = clock.now();
            records = store.ensure_signing_key(&ring::new_key(now, now)?).await?;
        }
        let ring = ArcSwap::from_pointee(Ring::read(store, records).await?);
        Ok(Arc::new(Self {
            issuer,
            clock,
            ring,
        }))
    }

    /// Reads the keys again. When that fails, those of before stay.
    pub async fn reload(&self, store: &Store) -> Result<(), StoreError> {
        let records = store.signing_keys().await?;
        self.ring.store(Arc::new(Ring::read(store, records).await?));
        Ok(())
    }

    /// One with a key of its own.
    #[cfg(test)]
    pub(in crate::token) fn for_tests(clock: SharedClock, issuer: &str) -> Self {
        let now = clock.now();
        let ring = Ring::of_new(ring::new_key(now, now).unwrap());
        Self {
            issuer: issuer.to_owned(),
            clock,
            ring: ArcSwap::from_pointee(ring),
        }
    }

    /// All keys that there ever were.
    pub fn keys(&self) -> Vec<KeyFact> {
        self.ring.load().facts(self.clock.now())
    }

    /// Whether this key still is the one that signs.
    pub fn is_signing(&self, kid: &str) -> bool {
        *self.ring.load().signing(self.clock.now()).kid == *kid
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
            act: act::claim(&principal.agents),
            cnf: Confirmation {
                thumbprint: &svid.thumbprint,
            },
        };
        let ring = self.ring.load();
        let key = ring.signing(now);
        Assertion {
            value: header_value(sign(key, &key.header, &claims)),
            renew_at: expires_at.minus(RENEW_BEFORE),
            kid: Arc::clone(&key.kid),
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
        let ring = self.ring.load();
        let key = ring.signing(self.clock.now());
        sign(key, &ring::header(typ, &key.kid), claims)
    }

    /// The public key that an id names, while it verifies.
    pub(in crate::token) fn public_key(&self, kid: &str) -> Option<[u8; 65]> {
        self.ring.load().verifying(kid, self.clock.now())
    }

    /// The JWK set (RFC 7517) to publish.
    pub fn jwks(&self) -> serde_json::Value {
        self.ring.load().published(self.clock.now())
    }

    /// Every key that there ever was as a JWK set: for checkpoints, which are verified for ever. Each says its `state`.
    pub fn all_keys(&self) -> serde_json::Value {
        let keys: Vec<_> = self.keys().iter().map(KeyFact::document).collect();
        json!({ "keys": keys })
    }

    /// How long an assertion is good for.
    pub fn lifetime(&self) -> Duration {
        LIFETIME
    }
}

#[expect(
    clippy::expect_used,
    reason = "claims of texts and numbers serialise, and a parsed key signs"
)]
fn sign(key: &SigningPair, header: &str, claims: &impl Serialize) -> String {
    let payload = serde_json::to_vec(claims).expect("texts and numbers serialise");
    let mut token = header.to_owned();
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut token);
    let signature = key
        .pair
        .sign(&SystemRandom::new(), token.as_bytes())
        .expect("a parsed key signs");
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
    token
}

#[expect(clippy::expect_used, reason = "base64url and dots are a header value")]
fn header_value(token: String) -> http::HeaderValue {
    http::HeaderValue::try_from(token).expect("base64url and dots are a header value")
}
