//! Our own access tokens (RFC 9068): short-lived JWTs for one audience, which lead to a live session and say nothing that counts without it.
//!
//! They are signed by the assertion's keys under a type of their own, so that nothing else those keys sign passes for one (RFC 8725 §3.11).

use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Serialize;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::identity::principal::Agent;
use crate::secret;
use crate::token::act;
use crate::token::assertion::Minter;
use crate::token::claims::{self, ClaimFault, Claims};
use crate::token::jws::{self, Unverified};

/// The `typ` of access tokens (RFC 9068 §2.1).
pub const TYPE: &str = "at+jwt";

/// The same of tokens with which somebody acts: an edge that does not know `act` must not take one for the person's own.
pub const ACTING_TYPE: &str = "wayleave-acting+jwt";

/// How far clocks of edges may be apart.
const LEEWAY: Duration = Duration::from_secs(5);

/// What an access token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// The home host's origin.
    pub issuer: String,
    /// The one origin that it is good for.
    pub audience: String,
    /// Whom it speaks for, as their provider calls them; the session says who that is now.
    pub subject: String,
    /// Which program got it.
    pub client: String,
    /// The family of tokens that it belongs to.
    pub family: String,
    /// RFC 7638 thumbprint of the key that it is bound to.
    pub key_thumbprint: Option<String>,
    /// The programs that act for the subject, the one that asks first; empty when it is a program of their own.
    pub agents: Vec<Agent>,
    /// The one route of the audience that it is good at; any of them if `None`.
    pub route: Option<String>,
    /// When it was made.
    pub issued_at: Timestamp,
    /// Not good from then on.
    pub expires_at: Timestamp,
}

#[derive(Serialize)]
struct AccessClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    client_id: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
    sid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Value>,
}

/// RFC 9449 §6.1.
#[derive(Serialize)]
struct Confirmation<'a> {
    jkt: &'a str,
}

/// Why an access token is refused. The caller is told no more than `invalid_token`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum AccessFault {
    #[error("the token is not a JWT of three base64url parts within 16 KiB")]
    Malformed,
    #[error("the token is not an access token of ours")]
    Type,
    #[error("no key of ours verifies the token")]
    Signature,
    #[error("the token has expired or is not valid yet")]
    Time,
    #[error("the token was issued by another edge, or for another audience")]
    Audience,
    #[error("claim {0} is missing or not as we write it")]
    Claim(&'static str),
}

impl From<ClaimFault> for AccessFault {
    fn from(fault: ClaimFault) -> Self {
        match fault {
            ClaimFault::Invalid(name) => Self::Claim(name),
            ClaimFault::Time => Self::Time,
            ClaimFault::Audience => Self::Audience,
        }
    }
}

impl AccessToken {
    /// Who acts, as the token says it (RFC 8693 §4.1).
    pub fn act(&self) -> Option<Value> {
        act::claim(&self.agents)
    }
}

impl Minter {
    /// Signs an access token.
    pub fn access_token(&self, token: &AccessToken) -> String {
        let claims = AccessClaims {
            iss: &token.issuer,
            aud: &token.audience,
            sub: &token.subject,
            client_id: &token.client,
            iat: token.issued_at.seconds(),
            exp: token.expires_at.seconds(),
            jti: URL_SAFE_NO_PAD.encode(secret::random::<16>()),
            sid: &token.family,
            cnf: token
                .key_thumbprint
                .as_deref()
                .map(|jkt| Confirmation { jkt }),
            route: token.route.as_deref(),
            act: token.act(),
        };
        self.sign_as(type_of(&token.agents), &claims)
    }

    /// Verifies an access token of this issuer for this audience.
    pub fn verify_access(
        &self,
        token: &str,
        issuer: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<AccessToken, AccessFault> {
        let read = self.verify_any_access(token, issuer, now)?;
        if read.audience != audience {
            return Err(AccessFault::Audience);
        }
        Ok(read)
    }

    /// The same, whatever it is for: for endpoints that are told about a token, and are not its audience.
    pub fn verify_any_access(
        &self,
        token: &str,
        issuer: &str,
        now: Timestamp,
    ) -> Result<AccessToken, AccessFault> {
        let token = jws::parse(token).map_err(|_| AccessFault::Malformed)?;
        let typ = token.header.typ.as_deref();
        let is_ours = typ == Some(TYPE) || typ == Some(ACTING_TYPE);
        if !is_ours || token.header.algorithm != Some(Algorithm::ES256) {
            return Err(AccessFault::Type);
        }
        self.verify_signature(&token)?;
        let read = read(&token.claims, now)?;
        if typ != Some(type_of(&read.agents)) {
            return Err(AccessFault::Type);
        }
        if read.issuer != issuer {
            return Err(AccessFault::Audience);
        }
        Ok(read)
    }

    fn verify_signature(&self, token: &Unverified<'_>) -> Result<(), AccessFault> {
        let kid = token.header.kid.as_deref();
        let point = kid.and_then(|kid| self.public_key(kid));
        let point = point.ok_or(AccessFault::Signature)?;
        let signature = URL_SAFE_NO_PAD.decode(token.signature);
        let signature = signature.map_err(|_| AccessFault::Malformed)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(token.message.as_bytes(), &signature)
            .map_err(|_| AccessFault::Signature)
    }
}

/// Whether a text claims to be issued by `issuer`, be it true or not: such a token is judged as ours and by nobody else's keys.
pub fn claims_issuer(token: &str, issuer: &str) -> bool {
    jws::parse(token).is_ok_and(|token| {
        let iss = token.claims.get("iss").and_then(Value::as_str);
        iss == Some(issuer)
    })
}

fn read(claims: &Claims, now: Timestamp) -> Result<AccessToken, AccessFault> {
    let expires_at = claims::check_times(claims, now, LEEWAY)?;
    let issued_at = claims::optional_time(claims, "iat")?.ok_or(AccessFault::Claim("iat"))?;
    claims::identifier(claims, "jti")?;
    let own = |name| claims::text(claims, name).map(str::to_owned);
    Ok(AccessToken {
        issuer: own("iss")?,
        // A list, even of one, is not how we write it.
        audience: own("aud")?,
        subject: own("sub")?,
        client: own("client_id")?,
        family: own("sid")?,
        key_thumbprint: thumbprint(claims)?,
        agents: act::read(claims.get("act")).ok_or(AccessFault::Claim("act"))?,
        route: route(claims)?,
        issued_at,
        expires_at,
    })
}

fn type_of(agents: &[Agent]) -> &'static str {
    if agents.is_empty() { TYPE } else { ACTING_TYPE }
}

/// A confirmation that is there and cannot be read must not make a token one that needs none.
fn thumbprint(claims: &Claims) -> Result<Option<String>, AccessFault> {
    let Some(confirmation) = claims.get("cnf") else {
        return Ok(None);
    };
    let jkt = confirmation.get("jkt").and_then(Value::as_str);
    match jkt {
        Some(jkt) => Ok(Some(jkt.to_owned())),
        None => Err(AccessFault::Claim("cnf")),
    }
}

/// The same of a route: one that cannot be read must not make it a token for all of them.
fn route(claims: &Claims) -> Result<Option<String>, AccessFault> {
    match claims.get("route") {
        None => Ok(None),
        Some(Value::String(route)) => Ok(Some(route.clone())),
        Some(_) => Err(AccessFault::Claim("route")),
    }
}

#[cfg(test)]
mod tests;
