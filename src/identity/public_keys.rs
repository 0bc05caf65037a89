//! Public keys of issuers and programs (RFC 7517), each with its algorithms pinned from its own parameters.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use crate::secret::sha256;

const LONGEST_KID: usize = 128;
const MOST_KEYS: usize = 100;

struct Key {
    kid: Option<String>,
    thumbprint: String,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// The usable signature keys of one issuer.
#[derive(Default)]
pub struct KeySet(Vec<Key>);

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

#[derive(Deserialize)]
struct RawKeySet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a JWK set; `None` if it is none. Keys that are not ours to use (other use, type, curve or size) are left out.
    pub fn parse(document: Value) -> Option<Self> {
        let raw: RawKeySet = serde_json::from_value(document).ok()?;
        let usable = raw.keys.into_iter().take(MOST_KEYS).filter_map(|key| {
            serde_json::from_value::<RawKey>(key)
                .ok()
                .and_then(read_key)
        });
        Some(Self(usable.collect()))
    }

    /// Reads a JWK set that people wrote down: whatever in it would be left out by [`parse`](Self::parse) is at fault, and so is what is secret.
    pub fn parse_written(document: &Value) -> Result<Self, &'static str> {
        let keys = document["keys"].as_array();
        let keys = keys.ok_or("this is no JWK set: it has no list `keys`")?;
        let mut ids: Vec<Option<&str>> = Vec::new();
        for key in keys {
            let is_secret = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"]
                .iter()
                .any(|part| key.get(part).is_some());
            if is_secret {
                return Err(
                    "it has a private or symmetric key, which is now known to whoever reads this; make another, and give its public half alone",
                );
            }
            let id = key.get("kid").and_then(Value::as_str);
            if keys.len() > 1 && (id.is_none() || ids.contains(&id)) {
                return Err(
                    "of several keys each must have a `kid` of its own, or a token could not say which is meant",
                );
            }
            ids.push(id);
        }
        let set = Self::parse(document.clone());
        let set = set.ok_or("this is no JWK set (RFC 7517)")?;
        if keys.is_empty() || set.0.len() != keys.len() {
            return Err(
                "it must have keys for signatures and nothing else: EC of P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits; at most 100",
            );
        }
        Ok(set)
    }

    /// The one key that fits what a token says of itself.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        self.fitting(kid, algorithm).map(|key| &key.key)
    }

    /// The thumbprint of the one key that fits what a token says of itself.
    pub fn thumbprint(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&str> {
        self.fitting(kid, algorithm)
            .map(|key| key.thumbprint.as_str())
    }

    /// The id and thumbprint of each key.
    pub fn names(&self) -> impl Iterator<Item = (Option<&str>, &str)> {
        let keys = self.0.iter();
        keys.map(|key| (key.kid.as_deref(), key.thumbprint.as_str()))
    }

    /// All algorithms that some key of it may have signed with.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let keys = self.0.iter();
        keys.flat_map(|key| key.algorithms.iter().copied())
            .collect()
    }

    fn fitting(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fitting = self.0.iter().filter(|key| {
            // One without an id has its thumbprint for it.
            let id = key.kid.as_deref().unwrap_or(&key.thumbprint);
            key.algorithms.contains(&algorithm) && kid.is_none_or(|kid| kid == id)
        });
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Some(key),
            // Trying several would let the token choose; an id that fits two keys is no better than none.
            _ => None,
        }
    }
}

fn read_key(raw: RawKey) -> Option<Key> {
    let for_signatures = raw.usage.as_deref().is_none_or(|usage| usage == "sig")
        && raw
            .key_ops
            .as_ref()
            .is_none_or(|operations| operations.iter().any(|o| o == "verify"));
    if !for_signatures || raw.kid.as_ref().is_some_and(|kid| kid.len() > LONGEST_KID) {
        return None;
    }
    let bytes = |part: &Option<String>| URL_SAFE_NO_PAD.decode(part.as_deref()?).ok();
    let thumbprint = thumbprint_of(&raw)?;
    let (possible, key): (&[Algorithm], DecodingKey) = match (raw.kty.as_str(), raw.crv.as_deref())
    {
        ("RSA", None) => {
            let (n, e) = (bytes(&raw.n)?, bytes(&raw.e)?);
            if !(256..=1024).contains(&n.len()) || e.is_empty() || e.len() > 8 {
                return None;
            }
            let all = &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ];
            (all, DecodingKey::from_rsa_raw_components(&n, &e))
        }
        ("EC", Some("P-256")) => (
            &[Algorithm::ES256],
            ec_key(bytes(&raw.x)?, bytes(&raw.y)?, 32)?,
        ),
        ("EC", Some("P-384")) => (
            &[Algorithm::ES384],
            ec_key(bytes(&raw.x)?, bytes(&raw.y)?, 48)?,
        ),
        ("OKP", Some("Ed25519")) => {
            let x = bytes(&raw.x).filter(|x| x.len() == 32)?;
            (&[Algorithm::EdDSA], DecodingKey::from_ed_der(&x))
        }
        _ => return None,
    };
    let algorithms = match raw.alg {
        Some(name) => vec![name.parse().ok().filter(|a| possible.contains(a))?],
        None => possible.to_vec(),
    };
    Some(Key {
        kid: raw.kid,
        thumbprint,
        algorithms,
        key,
    })
}

/// RFC 7638 §3, and RFC 8037 §2 for Ed25519.
fn thumbprint_of(raw: &RawKey) -> Option<String> {
    let members: &[(&str, &Option<String>)] = match raw.kty.as_str() {
        "RSA" => &[("e", &raw.e), ("n", &raw.n)],
        "EC" => &[("crv", &raw.crv), ("x", &raw.x), ("y", &raw.y)],
        _ => &[("crv", &raw.crv), ("x", &raw.x)],
    };
    let members = members.iter();
    let members = members.map(|(name, value)| Some((*name, value.as_deref()?)));
    let mut members = members.collect::<Option<Vec<_>>>()?;
    members.push(("kty", &raw.kty));
    Some(thumbprint(&members))
}

/// RFC 7638 §3: SHA-256 of the required members of a key in lexicographic order.
pub fn thumbprint(members: &[(&str, &str)]) -> String {
    let sorted: BTreeMap<_, _> = members.iter().copied().collect();
    let text = serde_json::to_vec(&sorted).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(sha256(&text))
}

fn ec_key(x: Vec<u8>, y: Vec<u8>, width: usize) -> Option<DecodingKey> {
    if x.len() != width || y.len() != width {
        return None;
    }
    // The uncompressed point of SEC 1 §2.3.3.
    Some(DecodingKey::from_ec_der(&[vec![4], x, y].concat()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn thumbprints_are_those_of_the_specifications() {
        let of = |key: Value| {
            let set = KeySet::parse_written(&json!({ "keys": [key] })).unwrap();
            set.names().next().unwrap().1.to_owned()
        };
        // RFC 8037 appendix A.3 and RFC 7638 §3.1.
        let ed25519 = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        assert_eq!(of(ed25519), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let rsa = json!({"kty": "RSA", "alg": "RS256", "kid": "2011-04-29", "e": "AQAB", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"});
        assert_eq!(of(rsa), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn g_keys_that_people_write_down_are_all_of_use_and_none_is_secret() {
        let x = URL_SAFE_NO_PAD.encode([7; 32]);
        let key = |kid: &str| json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x});
        let read =
            |keys: Value| KeySet::parse_written(&json!({ "keys": keys })).map(|set| set.0.len());
        assert_eq!(read(json!([key("a"), key("b")])), Ok(2));
        let mut secret = key("a");
        secret["d"] = "x".into();
        let mut nameless = key("a");
        nameless.as_object_mut().unwrap().remove("kid");
        assert_eq!(read(json!([nameless])), Ok(1));
        for bad in [
            json!([]),
            json!([secret]),
            json!([key("a"), key("a")]),
            json!([key("a"), nameless]),
            json!([{"kty": "oct", "k": "AAAA"}]),
            json!([{"kty": "RSA", "n": "AAAA", "e": "AQAB"}]),
            json!("x"),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }
}
