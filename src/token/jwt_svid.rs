//! JWT-SVIDs: a mesh identity for one audience, as a token in its holder's own hands.
//!
//! They are signed by the assertion's keys, so they must not pass for anything else that those sign: there is no `iss` in them, which every verifier of
//! assertions and access tokens asks for, and no audience is one of ours.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

use crate::address::host::Host;
use crate::clock::Timestamp;
use crate::identity::spiffe_id::MeshIdentity;
use crate::secret;
use crate::token::assertion::Minter;

/// The longest life of one: whoever sees it can use it, and it cannot be taken back.
pub const LIFETIME: Duration = Duration::from_secs(300);
/// The longest audience, in bytes.
const LONGEST: usize = 255;
/// Audiences of ours that are no addresses begin so.
const OURS: &str = "wayleave";

/// The claims (JWT-SVID §3).
#[derive(Serialize)]
struct SvidClaims<'a> {
    sub: &'a str,
    aud: [&'a str; 1],
    iat: i64,
    exp: i64,
    jti: &'a str,
}

/// Whom a JWT-SVID is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience(String);

/// Why there is no JWT-SVID for an audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudienceFault {
    /// No text that could be one.
    #[error("an audience has 1 to {LONGEST} letters, digits and signs of ASCII, without spaces")]
    Text,
    /// The home host, or a host of a route, or another audience of ours.
    #[error("this audience is the edge's own: what is behind it is reached through the edge")]
    Ours,
}

/// A signed one.
pub struct JwtSvid {
    /// The token.
    pub token: String,
    /// Its id.
    pub id: String,
    /// Not good from then on.
    pub expires_at: Timestamp,
}

impl Audience {
    /// Reads one; `is_ours` says which hosts are the edge's own.
    pub fn parse(text: &str, is_ours: impl Fn(&Host) -> bool) -> Result<Self, AudienceFault> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.is_empty() || text.len() > LONGEST || !is_plain {
            return Err(AudienceFault::Text);
        }
        let text = text.to_owned();
        let is_named = |name: &str| {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            Host::parse_authority(&name).is_ok_and(|(host, _)| is_ours(&host))
        };
        // However it is written: as an address, or as the host alone.
        let of_url = Url::parse(&text);
        let of_url = of_url.ok().and_then(|url| url.host_str().map(is_named));
        let bare = text.trim_start_matches('/').split('/').next();
        let is_like_ours = text.to_ascii_lowercase().starts_with(OURS);
        if is_like_ours || of_url == Some(true) || bare.is_some_and(is_named) {
            return Err(AudienceFault::Ours);
        }
        Ok(Self(text))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Minter {
    /// Signs a JWT-SVID, good for five minutes at most.
    pub fn jwt_svid(
        &self,
        identity: &MeshIdentity,
        audience: &Audience,
        now: Timestamp,
        until: Timestamp,
    ) -> JwtSvid {
        let expires_at = now.plus(LIFETIME).min(until);
        let id = URL_SAFE_NO_PAD.encode(secret::random::<16>());
        let claims = SvidClaims {
            sub: identity.as_str(),
            aud: [audience.as_str()],
            iat: now.seconds(),
            exp: expires_at.seconds(),
            jti: &id,
        };
        JwtSvid {
            // JWT-SVID §2.3 knows no other type than this and JOSE.
            token: self.sign_as("JWT", &claims),
            id,
            expires_at,
        }
    }

    /// The keys that verify JWT-SVIDs, as SPIFFE publishes them (SPIFFE Trust Domain and Bundle §4).
    pub fn spiffe_bundle(&self) -> Value {
        let mut bundle = self.jwks();
        let keys = bundle["keys"].as_array_mut();
        for key in keys.into_iter().flatten() {
            key["use"] = "jwt-svid".into();
            if let Some(members) = key.as_object_mut() {
                members.remove("alg");
            }
        }
        json!({ "spiffe_refresh_hint": 300, "keys": bundle["keys"] })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::token::access::AccessFault;
    use crate::token::jws;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn is_ours(host: &Host) -> bool {
        ["access.example", "app.example"].contains(&host.as_str())
    }

    #[test]
    fn f4_an_audience_is_never_one_of_ours() {
        for text in [
            "https://access.example",
            "https://access.example/",
            "HTTPS://ACCESS.example:443/x",
            "http://app.example:8080",
            "https://user@app.example/",
            "//app.example/x",
            "app.example",
            "App.Example.",
            "app.example:443",
            "app.example/x",
            "spiffe://app.example/x",
            "wayleave-audit",
            "Wayleave",
        ] {
            assert_eq!(
                Audience::parse(text, is_ours),
                Err(AudienceFault::Ours),
                "{text}"
            );
        }
        for text in ["", "a b", "\u{e9}", "a\nb", &"a".repeat(256)] {
            assert_eq!(
                Audience::parse(text, is_ours),
                Err(AudienceFault::Text),
                "{text}"
            );
        }
        for text in [
            "vault",
            "spiffe://mesh.test/ns/a/sa/b",
            "https://sts.amazonaws.com",
            "urn:x",
        ] {
            assert_eq!(Audience::parse(text, is_ours).unwrap().as_str(), text);
        }
    }

    #[test]
    fn f4_a_jwt_svid_says_what_the_specification_wants_and_passes_for_nothing_else() {
        let clock = Arc::new(ManualClock::new(NOW));
        let minter = Minter::for_tests(clock, "https://access.example");
        let alice = MeshIdentity::parse("spiffe://mesh.test/ns/people/sa/alice").unwrap();
        let audience = Audience::parse("vault", is_ours).unwrap();
        let sign = |until| minter.jwt_svid(&alice, &audience, NOW, until);
        let svid = sign(NOW.plus(LIFETIME * 2));
        let read = jws::parse(&svid.token).unwrap();
        // Types are compared in lower case.
        assert_eq!(read.header.typ.as_deref(), Some("jwt"));
        assert_eq!(read.claims["sub"], alice.as_str());
        assert_eq!(read.claims["aud"], json!(["vault"]));
        assert_eq!(read.claims["exp"], NOW.plus(LIFETIME).seconds());
        assert!(!read.claims.contains_key("iss"));
        let soon = NOW.plus(Duration::from_secs(20));
        assert_eq!(sign(soon).expires_at, soon);
        let access = minter.verify_any_access(&svid.token, "https://access.example", NOW);
        assert_eq!(access, Err(AccessFault::Type));
        let bundle = minter.spiffe_bundle();
        assert_eq!(bundle["keys"][0]["use"], "jwt-svid");
        assert_eq!(bundle["keys"][0]["kid"], minter.jwks()["keys"][0]["kid"]);
    }
}
