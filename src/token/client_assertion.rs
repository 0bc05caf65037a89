//! How a service account of the policy proves who it is: a JWT that it signs with its private key for this server alone (RFC 7523 §2.2, OIDC Core §9
//! `private_key_jwt`).
//!
//! Everything is judged here but whether an assertion was shown before, which all edges have to know of.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::clock::Timestamp;
use crate::identity::principal::{Principal, SERVICE_ACCOUNTS};
use crate::identity::public_keys::KeySet;
use crate::policy::accounts::{KEY_CLAIM, ServiceAccount};
use crate::secret::{TokenHash, random};
use crate::token::claims;
use crate::token::dpop::prover::{KeyError, Prover};
use crate::token::jws;

/// RFC 7523 §2.2.
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The `typ` of assertions, where they say one that is theirs alone.
pub const TYPE: &str = "client-authentication+jwt";

/// How long an assertion may be good for.
pub const LONGEST: Duration = Duration::from_secs(300);

/// How long ours are.
const GOOD: Duration = Duration::from_secs(60);

const LEEWAY: Duration = Duration::from_secs(30);

/// Why an assertion is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum AssertionFault {
    #[error("there is none; a service account signs one with its key (private_key_jwt)")]
    Missing,
    #[error("client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer")]
    Kind,
    #[error("it is not a JWT of three base64url parts within 16 KiB")]
    Malformed,
    #[error("its typ must be JWT or client-authentication+jwt")]
    Type,
    #[error("no service account of the policy has a key that verifies it")]
    Account,
    #[error("the service account's time is up")]
    Over,
    #[error("iss and sub must both be the client_id, which is the service account's name")]
    Client,
    #[error("aud must be this server's issuer, as one text")]
    Audience,
    #[error("it has expired or is not valid yet; is the clock right?")]
    Time,
    #[error("exp must be within five minutes")]
    Long,
    #[error("it must have a jti of at most 255 characters")]
    Id,
    #[error("it was used before, and each is good once")]
    Replayed,
}

/// An assertion that is good, unless it was shown before.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedClient {
    /// Who it is.
    pub principal: Principal,
    /// The program is nobody from then on.
    pub until: Option<Timestamp>,
    /// What is remembered of the assertion.
    pub id: TokenHash,
    /// For how long: longer than it is good.
    pub remembered: Timestamp,
}

/// The service accounts of the policy in force.
#[derive(Default)]
pub struct ServiceAccounts(ArcSwap<HashMap<Arc<str>, Known>>);

struct Known {
    account: ServiceAccount,
    keys: KeySet,
    algorithms: Vec<Algorithm>,
}

impl ServiceAccounts {
    /// Knows whom the policy in force names, and says whether that is anything new.
    pub fn follow(&self, policy: &[ServiceAccount]) -> bool {
        let known = self.0.load();
        let is_known = |account: &ServiceAccount| {
            let same = known.get(&account.name);
            same.is_some_and(|same| same.account == *account)
        };
        if known.len() == policy.len() && policy.iter().all(is_known) {
            return false;
        }
        let accounts = policy.iter().map(|account| {
            let keys = account.key_set();
            let known = Known {
                account: account.clone(),
                algorithms: keys.algorithms(),
                keys,
            };
            (Arc::clone(&account.name), known)
        });
        self.0.store(Arc::new(accounts.collect()));
        true
    }

    /// Whether the policy says of somebody what they came as, in a session until this moment: the same account, groups and key.
    pub fn vouch_for(&self, principal: &Principal, until: Timestamp) -> bool {
        if *principal.provider != *SERVICE_ACCOUNTS {
            return false;
        }
        let known = self.0.load();
        let Some(known) = known.get(&principal.subject) else {
            return false;
        };
        let proven = principal.claims.get(KEY_CLAIM).map(Vec::as_slice);
        let Some([thumbprint]) = proven else {
            return false;
        };
        let has_key = known.keys.names().any(|(_, key)| *key == **thumbprint);
        let is_in_time = { known.account.until }.is_none_or(|over| until.to_jiff() <= over);
        has_key && is_in_time && known.account.principal(thumbprint) == *principal
    }

    /// The service account that an assertion says it is of, if there is such a one; nothing of it is verified.
    pub fn claimed(&self, assertion: &str) -> Option<Arc<str>> {
        let assertion = jws::parse(assertion).ok()?;
        let name = claims::subject(&assertion.claims).ok()?;
        let known = self.0.load();
        known.get(name).map(|known| Arc::clone(&known.account.name))
    }

    /// Verifies an assertion for the server of this issuer; `client_id` is what the request says beside it.
    pub fn verify(
        &self,
        assertion: &str,
        client_id: Option<&str>,
        issuer: &str,
        now: Timestamp,
    ) -> Result<VerifiedClient, AssertionFault> {
        let token = jws::parse(assertion).map_err(|_| AssertionFault::Malformed)?;
        let is_typed = |typ: &str| typ == "jwt" || typ == TYPE;
        if !token.header.typ.as_deref().is_none_or(is_typed) {
            return Err(AssertionFault::Type);
        }
        let said = &token.claims;
        let name = claims::subject(said).map_err(|_| AssertionFault::Client)?;
        let is_own = claims::text(said, "iss").is_ok_and(|issuer| issuer == name);
        if !is_own || client_id.is_some_and(|id| id != name) {
            return Err(AssertionFault::Client);
        }
        let known = self.0.load();
        let known = known.get(name).ok_or(AssertionFault::Account)?;
        let verified = known.keys.verify(&token, &known.algorithms);
        verified.map_err(|_| AssertionFault::Account)?;
        let kid = token.header.kid.as_deref();
        let algorithm = token.header.algorithm;
        let thumbprint = algorithm.and_then(|algorithm| known.keys.thumbprint(kid, algorithm));
        let thumbprint = thumbprint.ok_or(AssertionFault::Account)?;
        // One text and no list: whoever else is meant by a list could show it here.
        if said.get("aud").and_then(serde_json::Value::as_str) != Some(issuer) {
            return Err(AssertionFault::Audience);
        }
        let expires_at = claims::check_times(said, now, LEEWAY);
        let expires_at = expires_at.map_err(|_| AssertionFault::Time)?;
        if expires_at > now.plus(LONGEST).plus(LEEWAY) {
            return Err(AssertionFault::Long);
        }
        let id = claims::identifier(said, "jti").map_err(|_| AssertionFault::Id)?;
        let until = known.account.until;
        if until.is_some_and(|until| until <= now.to_jiff()) {
            return Err(AssertionFault::Over);
        }
        Ok(VerifiedClient {
            principal: known.account.principal(thumbprint),
            until: until.map(|until| Timestamp::from_micros(until.as_microsecond())),
            id: TokenHash::of(format!("{name}\n{id}").as_bytes()),
            remembered: expires_at.plus(LEEWAY).plus(LEEWAY),
        })
    }
}

/// The other side: what a service account shows to the server of this issuer, once.
pub fn assertion(
    key: &Prover,
    account: &str,
    issuer: &str,
    now: Timestamp,
) -> Result<String, KeyError> {
    let header = json!({ "typ": TYPE, "alg": "ES256", "kid": key.thumbprint() });
    let claims = json!({
        "iss": account,
        "sub": account,
        "aud": issuer,
        "iat": now.seconds(),
        "exp": now.plus(GOOD).seconds(),
        "jti": URL_SAFE_NO_PAD.encode(random::<16>()),
    });
    key.signed(&header, &claims)
}

#[cfg(test)]
mod tests;
