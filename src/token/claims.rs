//! Reading claims strictly: a claim of the wrong type is never taken for an absent one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::Timestamp;

/// A JSON object of claims (RFC 7519 §4).
pub type Claims = Map<String, Value>;

/// A claim is missing, of the wrong type, or without the value it has to have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ClaimFault {
    #[error("claim {0} is missing or of the wrong type")]
    Invalid(&'static str),
    #[error("the token has expired or is not valid yet")]
    Time,
    #[error("the token is for another audience")]
    Audience,
}

/// Longest subject, in bytes (OIDC Core §2).
pub const LONGEST_SUBJECT: usize = 255;

/// A text that may be absent, but not be anything else.
pub fn optional_text<'a>(
    claims: &'a Claims,
    name: &'static str,
) -> Result<Option<&'a str>, ClaimFault> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ClaimFault::Invalid(name)),
    }
}

/// A text that has to be there and not be empty.
pub fn text<'a>(claims: &'a Claims, name: &'static str) -> Result<&'a str, ClaimFault> {
    optional_text(claims, name)?
        .filter(|text| !text.is_empty())
        .ok_or(ClaimFault::Invalid(name))
}

/// The subject, as [`identifier`].
pub fn subject(claims: &Claims) -> Result<&str, ClaimFault> {
    identifier(claims, "sub")
}

/// What somebody is known by: not empty, at most 255 bytes, no control characters.
pub fn identifier<'a>(claims: &'a Claims, name: &'static str) -> Result<&'a str, ClaimFault> {
    let text = text(claims, name)?;
    is_identifier(text)
        .then_some(text)
        .ok_or(ClaimFault::Invalid(name))
}

/// The same of a claim by its selector.
pub fn identifier_at<'a>(claims: &'a Claims, selector: &str) -> Option<&'a str> {
    let text = select(claims, selector)?.as_str()?;
    is_identifier(text).then_some(text)
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_SUBJECT && !text.chars().any(char::is_control)
}

/// A NumericDate (RFC 7519 §2), fractions cut off.
pub fn optional_time(claims: &Claims, name: &'static str) -> Result<Option<Timestamp>, ClaimFault> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    #[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
    let seconds = value.as_i64().or_else(|| {
        value
            .as_f64()
            .filter(|s| (0.0..1e11).contains(s))
            .map(|s| s as i64)
    });
    seconds
        .filter(|s| (0..100_000_000_000).contains(s))
        .map(|s| Some(Timestamp::from_seconds(s)))
        .ok_or(ClaimFault::Invalid(name))
}

/// Checks `exp` (required), `nbf` and `iat` (if present) at `now`; returns `exp` without leeway.
pub fn check_times(
    claims: &Claims,
    now: Timestamp,
    leeway: Duration,
) -> Result<Timestamp, ClaimFault> {
    let expires_at = optional_time(claims, "exp")?.ok_or(ClaimFault::Invalid("exp"))?;
    if expires_at.plus(leeway) <= now {
        return Err(ClaimFault::Time);
    }
    for name in ["nbf", "iat"] {
        if optional_time(claims, name)?.is_some_and(|from| from > now.plus(leeway)) {
            return Err(ClaimFault::Time);
        }
    }
    Ok(expires_at)
}

/// The audiences: one text or a list of texts (RFC 7519 §4.1.3), never empty.
pub fn audiences(claims: &Claims) -> Result<Vec<&str>, ClaimFault> {
    let fault = ClaimFault::Invalid("aud");
    match claims.get("aud") {
        Some(Value::String(one)) => Ok(vec![one]),
        Some(Value::Array(many)) if !many.is_empty() => many
            .iter()
            .map(|value| value.as_str().ok_or_else(|| fault.clone()))
            .collect(),
        _ => Err(fault),
    }
}

/// Finds a claim by its exact name, else as a JSON Pointer (RFC 6901): names of claims may hold dots and slashes.
pub fn select<'a>(claims: &'a Claims, selector: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(selector) {
        return Some(value);
    }
    let (first, rest) = match selector.strip_prefix('/')?.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (selector.strip_prefix('/')?, None),
    };
    let value = claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
    rest.map_or(Some(value), |rest| value.pointer(&format!("/{rest}")))
}

/// The values of the claims that are to be kept, by selector: texts, numbers and flags, or lists of these. One that is absent has no values; one of
/// another shape is left out, so that it is never taken for absent.
pub fn kept(claims: &Claims, selectors: &[Arc<str>]) -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
    let one = |value: &Value| -> Option<Arc<str>> {
        match value {
            Value::String(text) => Some(text.as_str().into()),
            Value::Number(number) => Some(number.to_string().into()),
            Value::Bool(flag) => Some(flag.to_string().into()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    };
    let values = |selector: &Arc<str>| match select(claims, selector) {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(many)) => many.iter().map(one).collect(),
        Some(value) => Some(vec![one(value)?]),
    };
    let named = selectors
        .iter()
        .map(|selector| (Arc::clone(selector), values(selector)));
    named
        .filter_map(|(name, values)| Some((name, values?)))
        .collect()
}

/// How somebody signed in, as an ID token or access token says: `acr` and `auth_time` (OIDC Core §2, RFC 9068 §2.2.1).
pub fn sign_in_facts(claims: &Claims) -> (Option<Arc<str>>, Option<i64>) {
    let acr = claims.get("acr").and_then(Value::as_str).map(Into::into);
    let auth_time = optional_time(claims, "auth_time").ok().flatten();
    (acr, auth_time.map(Timestamp::seconds))
}

/// The groups a claim names: a list of texts, one text, or the keys of an object. `None` if it is absent or anything else,
/// so that a malformed claim never passes for an empty one.
pub fn groups(
    claims: &Claims,
    selector: &str,
    strip_prefix: Option<&str>,
) -> Option<BTreeSet<Arc<str>>> {
    let strip = |name: &str| -> Arc<str> {
        let stripped = strip_prefix.and_then(|prefix| name.strip_prefix(prefix));
        stripped.unwrap_or(name).into()
    };
    let named = |name: &str| (!name.is_empty()).then(|| strip(name));
    match select(claims, selector)? {
        Value::String(one) => Some(BTreeSet::from([named(one)?])),
        Value::Array(many) => many.iter().map(|group| named(group.as_str()?)).collect(),
        Value::Object(keyed) => keyed.keys().map(|name| named(name)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Claims {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn groups_come_from_every_shape_and_malformed_ones_are_unknown() {
        let claims = claims(json!({
            "groups": ["/eng", "ops"], "one": "eng", "keys": {"a": 1, "b": {}}, "none": [], "bad": ["a", 1], "number": 3,
            "https://x/roles": ["r"], "realm_access": {"roles": ["admin"]}, "a.b": ["dotted"], "null": null, "blank": [""],
        }));
        let cases: [(&str, Option<&[&str]>); 13] = [
            ("groups", Some(&["eng", "ops"])),
            ("one", Some(&["eng"])),
            ("keys", Some(&["a", "b"])),
            ("none", Some(&[])),
            ("https://x/roles", Some(&["r"])),
            ("/realm_access/roles", Some(&["admin"])),
            ("a.b", Some(&["dotted"])),
            ("bad", None),
            ("number", None),
            ("null", None),
            ("blank", None),
            ("absent", None),
            ("/realm_access/absent", None),
        ];
        for (selector, expected) in cases {
            let expected = expected.map(|names| names.iter().map(|&n| n.into()).collect());
            assert_eq!(groups(&claims, selector, Some("/")), expected, "{selector}");
        }
    }

    #[test]
    fn g1_wrong_typed_times_refuse() {
        let now = Timestamp::from_seconds(1000);
        let check = |value: Value| check_times(&claims(value), now, Duration::from_secs(30));
        assert!(check(json!({"exp": 1001})).is_ok());
        assert!(check(json!({"exp": 971})).is_ok());
        assert_eq!(check(json!({"exp": 970})), Err(ClaimFault::Time));
        assert_eq!(
            check(json!({"exp": 1001, "nbf": 1031})),
            Err(ClaimFault::Time)
        );
        assert_eq!(
            check(json!({"exp": 1001, "iat": 1031})),
            Err(ClaimFault::Time)
        );
        for bad in [
            json!({}),
            json!({"exp": "1001"}),
            json!({"exp": null}),
            json!({"exp": -1}),
            json!({"exp": 1e300}),
            json!({"exp": 1001, "nbf": "x"}),
            json!({"exp": 1001, "nbf": null}),
            json!({"exp": 1001, "iat": []}),
        ] {
            assert!(
                matches!(check(bad.clone()), Err(ClaimFault::Invalid(_))),
                "{bad}"
            );
        }
    }
}
