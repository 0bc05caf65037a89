//! ID tokens (OIDC Core §3.1.3.7) and logout tokens (Back-Channel Logout 1.0 §2.6).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::oidc::LogoutRequest;
use crate::token::claims::{self, ClaimFault, Claims};

/// How far the provider's clock may be from ours.
const LEEWAY: Duration = Duration::from_secs(30);
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
const LOGOUT_FRESH: Duration = Duration::from_secs(120);

/// What is accepted of providers: asymmetric, and no older than it has to be.
pub(super) const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::RS256,
    Algorithm::PS256,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Who we are to the provider, and when it is.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) now: Timestamp,
}

fn check_ours(claims: &Claims, expected: &Expected<'_>) -> Result<(), ClaimFault> {
    if claims::text(claims, "iss")? != expected.issuer {
        return Err(ClaimFault::Invalid("iss"));
    }
    let audiences = claims::audiences(claims)?;
    if !audiences.contains(&expected.client_id) {
        return Err(ClaimFault::Audience);
    }
    let authorized = claims::optional_text(claims, "azp")?;
    let azp_is_good = match authorized {
        Some(azp) => azp == expected.client_id,
        None => audiences.len() == 1,
    };
    azp_is_good.then_some(()).ok_or(ClaimFault::Invalid("azp"))
}

/// Checks the claims of an ID token whose signature is verified. `nonce` is `None` for a refreshed one (OIDC Core §12.2).
pub(super) fn id_token(
    claims: &Claims,
    expected: &Expected<'_>,
    nonce: Option<&str>,
) -> Result<(), ClaimFault> {
    check_ours(claims, expected)?;
    claims::check_times(claims, expected.now, LEEWAY)?;
    claims::optional_time(claims, "iat")?.ok_or(ClaimFault::Invalid("iat"))?;
    claims::subject(claims)?;
    if claims.contains_key("events") {
        return Err(ClaimFault::Invalid("events"));
    }
    match nonce {
        Some(nonce) if claims::text(claims, "nonce")? != nonce => Err(ClaimFault::Invalid("nonce")),
        _ => Ok(()),
    }
}

/// Checks `at_hash` if it is there (OIDC Core §3.1.3.6).
pub(super) fn access_token_hash(
    claims: &Claims,
    access_token: &str,
    algorithm: Option<Algorithm>,
) -> Result<(), ClaimFault> {
    let Some(expected) = claims::optional_text(claims, "at_hash")? else {
        return Ok(());
    };
    let digest = match algorithm {
        Some(Algorithm::ES384) => &aws_lc_rs::digest::SHA384,
        Some(Algorithm::EdDSA) => &aws_lc_rs::digest::SHA512,
        _ => &aws_lc_rs::digest::SHA256,
    };
    let hash = aws_lc_rs::digest::digest(digest, access_token.as_bytes());
    let half = hash.as_ref().split_at(hash.as_ref().len() / 2).0;
    (URL_SAFE_NO_PAD.encode(half) == expected)
        .then_some(())
        .ok_or(ClaimFault::Invalid("at_hash"))
}

/// Reads a logout token whose signature is verified.
pub(super) fn logout_token(
    claims: &Claims,
    typ: Option<&str>,
    expected: &Expected<'_>,
) -> Result<LogoutRequest, ClaimFault> {
    if !matches!(
        typ,
        None | Some("logout+jwt" | "application/logout+jwt" | "jwt")
    ) {
        return Err(ClaimFault::Invalid("typ"));
    }
    check_ours(claims, expected)?;
    claims::check_times(claims, expected.now, LEEWAY)?;
    let issued_at = claims::optional_time(claims, "iat")?.ok_or(ClaimFault::Invalid("iat"))?;
    if issued_at.plus(LOGOUT_FRESH).plus(LEEWAY) < expected.now {
        return Err(ClaimFault::Time);
    }
    let event = claims
        .get("events")
        .and_then(|events| events.get(LOGOUT_EVENT));
    if !event.is_some_and(Value::is_object) {
        return Err(ClaimFault::Invalid("events"));
    }
    if claims.contains_key("nonce") {
        return Err(ClaimFault::Invalid("nonce"));
    }
    let subject = claims::optional_text(claims, "sub")?.map(str::to_owned);
    let sid = claims::optional_text(claims, "sid")?.map(str::to_owned);
    if subject.is_none() && sid.is_none() {
        return Err(ClaimFault::Invalid("sub"));
    }
    Ok(LogoutRequest {
        issuer: Arc::from(expected.issuer),
        subject,
        sid,
        jti: claims::text(claims, "jti")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Expected, LOGOUT_EVENT, id_token, logout_token};
    use crate::clock::Timestamp;

    const NOW: i64 = 1_800_000_000;

    /// Whether an ID token and a logout token with this claim changed are accepted.
    fn accepted(name: &str, value: i64) -> [bool; 2] {
        let expected = Expected {
            issuer: "https://idp.example",
            client_id: "wayleave",
            now: Timestamp::from_seconds(NOW),
        };
        let mut claims = json!({
            "iss": "https://idp.example", "aud": "wayleave", "sub": "1", "jti": "1",
            "iat": NOW, "exp": NOW + 60,
        });
        claims[name] = value.into();
        let mut logout = claims.clone();
        logout["events"] = json!({ LOGOUT_EVENT: {} });
        let object = |value: &Value| value.as_object().unwrap().clone();
        [
            id_token(&object(&claims), &expected, None).is_ok(),
            logout_token(&object(&logout), None, &expected).is_ok(),
        ]
    }

    #[test]
    fn g3_times_may_be_half_a_minute_off_and_no_more() {
        for (name, off, is_fine) in [
            ("exp", -29, true),
            ("exp", -30, false),
            ("iat", 30, true),
            ("iat", 31, false),
            ("nbf", 30, true),
            ("nbf", 31, false),
        ] {
            assert_eq!(accepted(name, NOW + off), [is_fine; 2], "{name} {off}");
        }
    }
}
