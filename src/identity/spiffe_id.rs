//! SPIFFE IDs (SPIFFE-ID §2) and the one shape of them that a mesh identity has.

use std::fmt;
use std::sync::Arc;

/// A trust domain's name: lower-case letters, digits, `.`, `-`, `_`; at most 255 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

/// Any valid SPIFFE ID with a path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId(Arc<str>);

/// The longest SPIFFE ID that everybody has to accept (SPIFFE-ID §2.3), in bytes.
const MAX_LENGTH: usize = 2048;

/// A SPIFFE ID of Istio's shape, `spiffe://TD/ns/NS/sa/SA`: what a principal travels under.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MeshIdentity(SpiffeId);

/// Why a text is no SPIFFE ID, or not one of the required shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdFault {
    /// Not `spiffe://`, exactly so.
    #[error("it does not start with spiffe://")]
    Scheme,
    /// SPIFFE-ID §2.1.
    #[error("the trust domain is empty or has a character other than a-z 0-9 . - _")]
    TrustDomain,
    /// SPIFFE-ID §2.2.
    #[error(
        "the path is empty, or has an empty or dot segment, or a character other than letters, digits, . - _"
    )]
    Path,
    /// SPIFFE-ID §2.3.
    #[error("it is longer than 2048 bytes")]
    TooLong,
    /// A SPIFFE ID, but not one that Istio derives namespace and service account from.
    #[error(
        "it does not have the form spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME with names of a-z 0-9 . -"
    )]
    Shape,
}

impl TrustDomain {
    /// Reads a trust domain's name (SPIFFE-ID §2.1). Upper case is refused: nobody who verifies us would lower it the same way.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdFault> {
        let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        if text.is_empty() || text.len() > 255 || !text.bytes().all(is_allowed) {
            return Err(SpiffeIdFault::TrustDomain);
        }
        Ok(Self(text.into()))
    }

    /// The name alone, without `spiffe://`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SpiffeId {
    /// Reads a SPIFFE ID that has a path (SPIFFE-ID §2). The characters alone exclude user info, port, query, fragment and
    /// percent-encoding.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdFault> {
        if text.len() > MAX_LENGTH {
            return Err(SpiffeIdFault::TooLong);
        }
        let rest = text
            .strip_prefix("spiffe://")
            .ok_or(SpiffeIdFault::Scheme)?;
        let (trust_domain, path) = rest.split_once('/').unwrap_or((rest, ""));
        TrustDomain::parse(trust_domain)?;
        if !path.split('/').all(is_path_segment) {
            return Err(SpiffeIdFault::Path);
        }
        Ok(Self(text.into()))
    }

    /// The whole ID, from `spiffe://` on.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text between `spiffe://` and the path.
    pub fn trust_domain(&self) -> &str {
        self.0
            .strip_prefix("spiffe://")
            .and_then(|rest| rest.split('/').next())
            .unwrap_or("")
    }
}

impl MeshIdentity {
    /// Builds `spiffe://TD/ns/NS/sa/SA`; both names must be non-empty `[a-z0-9.-]`, not `.` or `..`.
    pub fn new(
        trust_domain: &TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, SpiffeIdFault> {
        if !is_mesh_name(namespace) || !is_mesh_name(service_account) {
            return Err(SpiffeIdFault::Shape);
        }
        let text = format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}");
        SpiffeId::parse(&text).map(Self)
    }

    /// Reads one, checking the shape.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdFault> {
        let id = SpiffeId::parse(text)?;
        let segments: Vec<&str> = text.split('/').skip(3).collect();
        match segments.as_slice() {
            ["ns", namespace, "sa", service_account]
                if is_mesh_name(namespace) && is_mesh_name(service_account) =>
            {
                Ok(Self(id))
            }
            _ => Err(SpiffeIdFault::Shape),
        }
    }

    /// The same as any SPIFFE ID.
    pub fn id(&self) -> &SpiffeId {
        &self.0
    }

    /// The whole ID, from `spiffe://` on.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The NS of its shape.
    pub fn namespace(&self) -> &str {
        self.as_str().split('/').nth(4).unwrap_or("")
    }

    /// The SA of its shape.
    pub fn service_account(&self) -> &str {
        self.as_str().split('/').nth(6).unwrap_or("")
    }
}

/// SPIFFE-ID §2.2: letters, digits, `.`, `-`, `_`; neither empty nor a dot segment.
fn is_path_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// A namespace or service account. Narrower than SPIFFE allows, so that no mesh policy pattern reads it as anything else.
fn is_mesh_name(name: &str) -> bool {
    is_path_segment(name)
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
}

macro_rules! shown_as_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}
shown_as_text!(TrustDomain, SpiffeId, MeshIdentity);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_domains_are_lower_case_names() {
        for good in ["corp.example", "a", "a_b-c.9", "10.0.0.1"] {
            assert_eq!(TrustDomain::parse(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(256);
        for bad in [
            "", "Corp", "a/b", "a:1", "u@a", "a b", "é", "a%2e", "a\0", &long,
        ] {
            assert_eq!(
                TrustDomain::parse(bad),
                Err(SpiffeIdFault::TrustDomain),
                "{bad:?}"
            );
        }
        assert!(TrustDomain::parse(&long[..255]).is_ok());
    }

    #[test]
    fn c6_only_spiffe_ids_with_a_path_are_read() {
        use SpiffeIdFault::{Path, Scheme, TooLong, TrustDomain};
        for good in [
            "spiffe://td/a",
            "spiffe://td/A/b-c_d.e/...",
            "spiffe://td/ns/x/sa/y",
        ] {
            assert_eq!(SpiffeId::parse(good).unwrap().as_str(), good);
        }
        let long = format!("spiffe://td/{}", "a".repeat(2048));
        for (bad, fault) in [
            ("", Scheme),
            ("https://td/a", Scheme),
            ("SPIFFE://td/a", Scheme),
            ("spiffe:/td/a", Scheme),
            (" spiffe://td/a", Scheme),
            ("spiffe://", TrustDomain),
            ("spiffe:///a", TrustDomain),
            ("spiffe://TD/a", TrustDomain),
            ("spiffe://td:443/a", TrustDomain),
            ("spiffe://u@td/a", TrustDomain),
            ("spiffe://td", Path),
            ("spiffe://td/", Path),
            ("spiffe://td/a/", Path),
            ("spiffe://td//a", Path),
            ("spiffe://td/a/./b", Path),
            ("spiffe://td/a/../b", Path),
            ("spiffe://td/a%2fb", Path),
            ("spiffe://td/a?b", Path),
            ("spiffe://td/a#b", Path),
            ("spiffe://td/a b", Path),
            ("spiffe://td/é", Path),
            ("spiffe://td/good\0.evil", Path),
            (&long, TooLong),
        ] {
            assert_eq!(SpiffeId::parse(bad), Err(fault), "{bad:?}");
        }
        assert_eq!(SpiffeId::parse(&long[..2048]).unwrap().trust_domain(), "td");
    }

    #[test]
    fn mesh_identities_have_istios_shape() {
        let identity = MeshIdentity::parse("spiffe://td/ns/people/sa/a.b-c").unwrap();
        assert_eq!(identity.namespace(), "people");
        assert_eq!(identity.service_account(), "a.b-c");
        let td = TrustDomain::parse("td").unwrap();
        assert_eq!(MeshIdentity::new(&td, "people", "a.b-c").unwrap(), identity);
        for bad in [
            "spiffe://td/user/alice",
            "spiffe://td/ns/people/sa",
            "spiffe://td/ns/people/sa/a/b",
            "spiffe://td/ns/people/SA/a",
            "spiffe://td/ns/People/sa/a",
            "spiffe://td/ns/people/sa/a_b",
        ] {
            assert_eq!(
                MeshIdentity::parse(bad),
                Err(SpiffeIdFault::Shape),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn c7_names_cannot_bring_in_structure() {
        let td = TrustDomain::parse("td").unwrap();
        let long = "a".repeat(3000);
        for name in [
            "", ".", "..", "a/b", "/", "%2f", "a b", "é", "A", "a_b", "*", "a\n",
        ] {
            assert_eq!(
                MeshIdentity::new(&td, "people", name),
                Err(SpiffeIdFault::Shape),
                "{name:?}"
            );
            assert_eq!(
                MeshIdentity::new(&td, name, "alice"),
                Err(SpiffeIdFault::Shape),
                "{name:?}"
            );
        }
        assert_eq!(
            MeshIdentity::new(&td, "people", &long),
            Err(SpiffeIdFault::TooLong)
        );
    }
}
