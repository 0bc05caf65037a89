//! Compact JWS (RFC 7515 §7.1), taken apart with bounds before anything is decoded.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Longest token that is looked at, in bytes.
pub const LONGEST_TOKEN: usize = 16 * 1024;

/// The text is not a compact JWS that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JWT of three base64url parts within 16 KiB")]
pub struct Malformed;

/// What we use of the header; `jku`, `x5u`, `jwk` and the like are not even read (security.md G4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// `None` for every algorithm that we do not know, `none` included.
    pub algorithm: Option<Algorithm>,
    /// Which key it says it was signed with (RFC 7515 §4.1.4); looked up, and nothing else.
    pub kid: Option<String>,
    /// In lower case (RFC 7515 §4.1.9 compares media types without regard to case).
    pub typ: Option<String>,
}

#[derive(Deserialize)]
struct RawHeader<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow, default)]
    kid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    typ: Option<Cow<'a, str>>,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

/// A token taken apart. Nothing of it is verified yet.
pub struct Unverified<'a> {
    /// Nothing of it is trusted.
    pub header: Header,
    /// What nobody has vouched for yet.
    pub claims: Map<String, Value>,
    /// Header and payload as they were signed.
    pub(super) message: &'a str,
    pub(super) signature: &'a str,
}

/// Takes a token apart: at most 16 KiB, exactly two dots, canonical base64url, JSON objects, no `crit`.
pub fn parse(token: &str) -> Result<Unverified<'_>, Malformed> {
    if token.len() > LONGEST_TOKEN {
        return Err(Malformed);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(Malformed)?;
    if payload.contains('.') || header.is_empty() || payload.is_empty() || signature.is_empty() {
        return Err(Malformed);
    }
    let header = header_of(&decode(header)?)?;
    let claims = serde_json::from_slice(&decode(payload)?).map_err(|_| Malformed)?;
    decode(signature)?;
    Ok(Unverified {
        header,
        claims,
        message,
        signature,
    })
}

fn header_of(json: &[u8]) -> Result<Header, Malformed> {
    let raw: RawHeader<'_> = serde_json::from_slice(json).map_err(|_| Malformed)?;
    // An extension that must be understood is one we do not understand (RFC 7515 §4.1.11).
    if raw.crit.is_some() {
        return Err(Malformed);
    }
    Ok(Header {
        algorithm: raw.alg.parse().ok(),
        kid: raw.kid.map(Cow::into_owned),
        typ: raw.typ.map(|typ| typ.to_ascii_lowercase()),
    })
}

// The engine refuses padding and trailing bits, so one value has one spelling.
fn decode(part: &str) -> Result<Vec<u8>, Malformed> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(json: &str) -> String {
        URL_SAFE_NO_PAD.encode(json)
    }

    #[test]
    fn g6_only_three_canonical_parts_are_parsed() {
        let header = part(r#"{"alg":"ES256","typ":"JWT"}"#);
        let payload = part(r#"{"iss":"a"}"#);
        let good = format!("{header}.{payload}.AAAA");
        assert!(parse(&good).is_ok());
        for bad in [
            String::new(),
            ".".repeat(10 * 1024 * 1024),
            "..".to_owned(),
            format!("{header}.{payload}"),
            format!("{header}.{payload}."),
            format!("{good}.AAAA.AAAA"),
            format!("{header}=.{payload}.AAAA"),
            format!("{header}.{payload}.AB"),
            format!("{header}.{payload}.AA+A"),
            format!("{header}.{payload}.{}", "A".repeat(16 * 1024)),
            format!("{}.{payload}.AAAA", part("[]")),
            format!("{header}.{}.AAAA", part("[]")),
            format!(
                "{}.{payload}.AAAA",
                part(r#"{"alg":"ES256","crit":["b64"]}"#)
            ),
            format!(
                "{}.{payload}.AAAA",
                part(r#"{"alg":"ES256","alg":"HS256"}"#)
            ),
            format!("{}.{payload}.AAAA", part(r#"{"alg":["ES256"]}"#)),
            format!("{}.{payload}.AAAA", part(r#"{"alg":"ES256","kid":1}"#)),
        ] {
            assert!(parse(&bad).is_err(), "{}", &bad[..bad.len().min(80)]);
        }
    }
}
