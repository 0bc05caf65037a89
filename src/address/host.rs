//! Canonical host names.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A host name in canonical form: lower-case ASCII DNS labels or an IP address literal, no port, no trailing dot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Arc<str>);

/// Why a text is no canonical host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum HostFault {
    #[error("the host is empty")]
    Empty,
    #[error("the host has a character that host names do not have")]
    Character,
    #[error("a label of the host is empty, too long, or starts or ends with a hyphen")]
    Label,
    #[error("the port is not a decimal number from 1 to 65535")]
    Port,
    #[error("the host looks like an IP address and is none in canonical form")]
    Address,
    #[error("an xn-- label of the host is not the encoding of an international name")]
    Punycode,
    #[error("the host is longer than 253 characters")]
    TooLong,
}

impl Host {
    /// Reads a host without a port; upper case is lowered, an IPv6 literal in brackets gets its canonical text (RFC 5952),
    /// everything else must be canonical already.
    pub fn parse(text: &str) -> Result<Self, HostFault> {
        if let Some(literal) = text.strip_prefix('[') {
            return Self::parse_ipv6(literal.strip_suffix(']').ok_or(HostFault::Address)?);
        }
        check_name(text)?;
        let canonical = text.to_ascii_lowercase();
        let last = canonical.rsplit('.').next().unwrap_or_default();
        // The URL standard takes every name that ends in a number for an IPv4 address, in odd forms as well.
        if ends_as_number(last) && !is_canonical_ipv4(&canonical) {
            return Err(HostFault::Address);
        }
        if canonical.split('.').any(|label| label.starts_with("xn--")) {
            check_punycode(&canonical)?;
        }
        Ok(Self(canonical.into()))
    }

    /// Reads `host` or `host:port` as a request's authority has it (RFC 3986 §3.2 without user information).
    pub fn parse_authority(text: &str) -> Result<(Self, Option<u16>), HostFault> {
        let name_end = match text.strip_prefix('[') {
            Some(_) => text.find(']').map(|at| at + 1).ok_or(HostFault::Address)?,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (name, rest) = text.split_at(name_end);
        let port = match rest.strip_prefix(':') {
            Some(digits) => Some(parse_port(digits)?),
            None if rest.is_empty() => None,
            None => return Err(HostFault::Character),
        };
        Ok((Self::parse(name)?, port))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name can only lead to this machine: `localhost`, `*.localhost` (RFC 6761 §6.3), 127.0.0.0/8, `[::1]`.
    pub fn is_loopback(&self) -> bool {
        let name = self.as_str();
        name == "localhost"
            || name.ends_with(".localhost")
            || name == "[::1]"
            || name
                .parse::<Ipv4Addr>()
                .is_ok_and(|address| address.is_loopback())
    }

    fn parse_ipv6(text: &str) -> Result<Self, HostFault> {
        let address: Ipv6Addr = text.parse().map_err(|_fault| HostFault::Address)?;
        // `[::ffff:127.0.0.1]` is a second name of an IPv4 address.
        if address.to_ipv4_mapped().is_some() {
            return Err(HostFault::Address);
        }
        Ok(Self(format!("[{address}]").into()))
    }
}

/// Letters, digits and inner hyphens in labels of 1 to 63, 253 in all (RFC 1123 §2.1).
fn check_name(text: &str) -> Result<(), HostFault> {
    if text.is_empty() {
        return Err(HostFault::Empty);
    }
    if text.len() > 253 {
        return Err(HostFault::TooLong);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    if !text.bytes().all(allowed) {
        return Err(HostFault::Character);
    }
    let well_formed = |label: &str| {
        !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
    };
    if text.split('.').all(well_formed) {
        Ok(())
    } else {
        Err(HostFault::Label)
    }
}

fn ends_as_number(last: &str) -> bool {
    last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_canonical_ipv4(text: &str) -> bool {
    text.parse::<Ipv4Addr>()
        .is_ok_and(|address| address.to_string() == text)
}

/// An `xn--` label must be what its own decoding encodes to: one that decodes to plain ASCII would be a second name.
fn check_punycode(canonical: &str) -> Result<(), HostFault> {
    match url::Host::parse(canonical) {
        Ok(url::Host::Domain(again)) if again == canonical => Ok(()),
        Ok(_) | Err(_) => Err(HostFault::Punycode),
    }
}

fn parse_port(digits: &str) -> Result<u16, HostFault> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    if !plain {
        return Err(HostFault::Port);
    }
    digits.parse().map_err(|_fault| HostFault::Port)
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Host, HostFault};

    fn check(text: &str, expected: Result<&str, HostFault>) {
        let read = Host::parse(text);
        assert_eq!(
            read.as_ref().map(Host::as_str).map_err(|fault| *fault),
            expected,
            "{text:?}"
        );
    }

    #[test]
    fn b6_one_host_has_one_text() {
        check("ApP.ExAmple", Ok("app.example"));
        check("localhost", Ok("localhost"));
        check("127.0.0.1", Ok("127.0.0.1"));
        check("[::1]", Ok("[::1]"));
        check("[2001:DB8:0:0::1]", Ok("[2001:db8::1]"));
        check("app.example.", Err(HostFault::Label));
        check("app..example", Err(HostFault::Label));
        check(".app.example", Err(HostFault::Label));
        check("-app.example", Err(HostFault::Label));
        check("app-.example", Err(HostFault::Label));
        check("", Err(HostFault::Empty));
        check("app_1.example", Err(HostFault::Character));
        check("app.example:443", Err(HostFault::Character));
        check("a/b", Err(HostFault::Character));
        check("good@evil", Err(HostFault::Character));
        check("a%2eb", Err(HostFault::Character));
        check("*.example", Err(HostFault::Character));
        check(&"a".repeat(64), Err(HostFault::Label));
        check(&"a.".repeat(127), Err(HostFault::TooLong));
    }

    #[test]
    fn b6_odd_forms_of_addresses_are_refused() {
        for text in [
            "127.1",
            "0x7f.1",
            "2130706433",
            "0177.0.0.1",
            "127.0.0.01",
            "256.0.0.1",
            "1.2.3.4.5",
            "app.0x",
            "app.example.1",
            "[::1",
            "[]",
            "[::1%25eth0]",
            "[::ffff:127.0.0.1]",
            "[127.0.0.1]",
        ] {
            check(text, Err(HostFault::Address));
        }
        check("::1", Err(HostFault::Character));
    }

    #[test]
    fn b15_second_names_by_punycode_are_refused() {
        check("xn--bcher-kva.example", Ok("xn--bcher-kva.example"));
        check("XN--BCHER-KVA.example", Ok("xn--bcher-kva.example"));
        check("xn--app-.example", Err(HostFault::Label));
        check("xn--app.example", Err(HostFault::Punycode));
        check("xn--a.example", Err(HostFault::Punycode));
        check("xn--0.pt", Err(HostFault::Punycode));
        check("app\u{ff0e}example", Err(HostFault::Character));
        check("app\u{3002}example", Err(HostFault::Character));
        check("b\u{fc}cher.example", Err(HostFault::Character));
    }

    #[test]
    fn b6_authorities() {
        let good = [
            ("app.example", "app.example", None),
            ("app.example:443", "app.example", Some(443)),
            ("App.Example:1", "app.example", Some(1)),
            ("[::1]:65535", "[::1]", Some(65535)),
            ("[::1]", "[::1]", None),
        ];
        for (text, host, port) in good {
            let read = Host::parse_authority(text).unwrap();
            assert_eq!((read.0.as_str(), read.1), (host, port), "{text:?}");
        }
        for text in [
            "app.example:",
            "app.example:0",
            "app.example:0443",
            "app.example:65536",
            "app.example:+1",
            "app.example:4 3",
            "app.example:1:2",
            "u@app.example",
            "u:p@app.example",
            "",
            ":443",
            "[::1]443",
            "[::1]:",
            "app.example/",
            " app.example",
            "app.example ",
            "app.example,b",
        ] {
            assert!(Host::parse_authority(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn loopback_names() {
        for text in [
            "localhost",
            "a.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
        ] {
            assert!(Host::parse(text).unwrap().is_loopback(), "{text}");
        }
        for text in ["localhost.example", "notlocalhost", "128.0.0.1", "[::2]"] {
            assert!(!Host::parse(text).unwrap().is_loopback(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_host_is_what_browsers_make_of_it(text in "[a-zA-Z0-9.x-]{1,20}") {
            if let Ok(host) = Host::parse(&text) {
                let url = url::Url::parse(&format!("http://{text}/")).unwrap();
                prop_assert_eq!(url.host_str(), Some(host.as_str()));
                prop_assert_eq!(Host::parse(host.as_str()), Ok(host.clone()));
            }
        }
    }
}
