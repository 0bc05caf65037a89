//! E-mail addresses as rules compare them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An ASCII address with exactly one `@`, lower-cased, with neither quoting, white space nor control characters; at most 254 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email(Arc<str>);

/// The text is not an address that we compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a plain e-mail address")]
pub struct EmailFault;

impl Email {
    /// Reads an address; anything unusual is refused, since two systems would read it differently.
    ///
    /// The form is RFC 5321 §4.1.2's `Dot-string "@" Domain` in ASCII (64 and 253 bytes at most): no quoted local part, no address
    /// literal, no internationalised address (RFC 6531), whose normal forms two systems compare differently. Upper case is lowered in
    /// both parts, so that spellings which every provider delivers to one mailbox are one address here.
    pub fn parse(text: &str) -> Result<Self, EmailFault> {
        let (local, domain) = text.split_once('@').ok_or(EmailFault)?;
        if text.len() > 254 || !is_dot_string(local) || !is_domain(domain) {
            return Err(EmailFault);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part behind the `@`.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

/// RFC 5322 §3.2.3's dot-atom: no quoting, no empty atom.
fn is_dot_string(local: &str) -> bool {
    let is_atext =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    local.len() <= 64
        && local
            .split('.')
            .all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
}

/// Whether this is a DNS name of letters, digits and inner hyphens, without a trailing dot: what rules give as a domain.
pub fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

impl TryFrom<String> for Email {
    type Error = EmailFault;

    fn try_from(text: String) -> Result<Self, EmailFault> {
        Self::parse(&text)
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0.as_ref().to_owned()
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(texts: &[&str]) {
        for text in texts {
            assert_eq!(Email::parse(text), Err(EmailFault), "{text:?}");
        }
    }

    #[test]
    fn f2_two_at_signs_and_quoting_are_refused() {
        refused(&[
            "a@evil.com@corp.com",
            "\"a@corp.com\"@evil.com",
            "\"a\"@corp.com",
            "a@corp.com\0",
            "a\0@corp.com",
            "a@corp.com\n",
            "a\r\n@corp.com",
            "a@corp.com,b@corp.com",
            "a@corp.com (evil.com)",
            "<a@corp.com>",
            "a @corp.com",
            " a@corp.com",
        ]);
    }

    #[test]
    fn malformed_addresses_are_refused() {
        let long_local = format!("{}@corp.com", "a".repeat(65));
        let long = format!("a@{}.com", "b.".repeat(130));
        refused(&[
            "",
            "@",
            "a",
            "a@",
            "@corp.com",
            "a@corp.com.",
            "a@.corp.com",
            "a@corp..com",
            "a@-corp.com",
            "a@[10.0.0.1]",
            "a@corp_x.com",
            ".a@corp.com",
            "a.@corp.com",
            "a..b@corp.com",
            "é@corp.com",
            "e\u{301}@corp.com",
            "a@cörp.com",
            "a@corp\u{3002}com",
            &long_local,
            &long,
        ]);
    }

    #[test]
    fn f9_case_variants_are_one_address() {
        let email = Email::parse("Alice@Corp.COM").unwrap();
        assert_eq!(email.as_str(), "alice@corp.com");
        assert_eq!(email, Email::parse("ALICE@corp.com").unwrap());
    }

    #[test]
    fn f1_the_domain_is_what_stands_behind_the_only_at_sign() {
        for (text, domain) in [
            ("x@corp.com", "corp.com"),
            ("x@evilcorp.com", "evilcorp.com"),
            ("x@corp.com.evil", "corp.com.evil"),
            ("x@sub.corp.com", "sub.corp.com"),
            ("o'brien+tag@corp.com", "corp.com"),
        ] {
            assert_eq!(Email::parse(text).unwrap().domain(), domain);
        }
    }

    #[test]
    fn json_goes_through_the_same_check() {
        assert!(serde_json::from_str::<Email>("\"a@b@c\"").is_err());
        let email: Email = serde_json::from_str("\"A@corp.com\"").unwrap();
        assert_eq!(serde_json::to_string(&email).unwrap(), "\"a@corp.com\"");
    }
}
