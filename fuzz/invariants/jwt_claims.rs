//! A token that is taken apart has one spelling, nobody vouches for it without a key, and claims that are read hold what they promise.
//! Input: a compact JWS, or a JSON object of claims.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use wayleave::clock::Timestamp;
use wayleave::token::claims::{
    Claims, LONGEST_SUBJECT, audiences, check_times, optional_time, subject,
};
use wayleave::identity::public_keys::KeySet;
use wayleave::token::jws::{LONGEST_TOKEN, parse};

const LEEWAY: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(claims) = serde_json::from_str(text) {
        check_claims(&claims);
    }
    let Ok(token) = parse(text) else {
        return;
    };
    assert!(text.len() <= LONGEST_TOKEN);
    let parts: Vec<&str> = text.split('.').collect();
    assert_eq!(parts.len(), 3);
    for part in parts {
        let decoded = URL_SAFE_NO_PAD.decode(part).expect("base64url");
        assert_eq!(URL_SAFE_NO_PAD.encode(decoded), part);
    }
    let typ = token.header.typ.as_deref().unwrap_or_default();
    assert_eq!(typ, typ.to_ascii_lowercase());
    let no_keys = KeySet::parse(serde_json::json!({ "keys": [] })).expect("a key set");
    let accepted = [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA];
    assert!(no_keys.verify(&token, &accepted).is_err());
    check_claims(&token.claims);
}

fn check_claims(claims: &Claims) {
    if let Ok(subject) = subject(claims) {
        assert!(!subject.is_empty() && subject.len() <= LONGEST_SUBJECT);
        assert!(!subject.contains(char::is_control));
        assert_eq!(claims["sub"], subject);
    }
    if let Ok(audiences) = audiences(claims) {
        assert!(!audiences.is_empty());
        for audience in audiences {
            let is_there = match &claims["aud"] {
                serde_json::Value::Array(many) => many.iter().any(|one| one == audience),
                one => one == audience,
            };
            assert!(is_there);
        }
    }
    let now = Timestamp::from_seconds(1_800_000_000);
    if let Ok(expires_at) = check_times(claims, now, LEEWAY) {
        assert!(expires_at.plus(LEEWAY) > now);
        // A token in force is no longer in force at its end and the leeway, whatever else it says.
        assert!(check_times(claims, expires_at.plus(LEEWAY), LEEWAY).is_err());
        for name in ["nbf", "iat"] {
            let from = optional_time(claims, name).expect("it was read before");
            assert!(from.is_none_or(|from| from <= now.plus(LEEWAY)));
            assert_eq!(from.is_some(), claims.contains_key(name));
        }
    }
}
