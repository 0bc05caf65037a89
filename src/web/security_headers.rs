//! Headers on every answer of our own: CSP, nosniff, frame-ancestors, HSTS (https), Referrer-Policy, COOP, no-store.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::address::origin::Scheme;

/// Marks answers that are ours and not an upstream's.
pub const OWN_RESPONSE: HeaderName = HeaderName::from_static("wayleave-response");

const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The same for pages of portal and console, which have a script of ours; they work without it.
pub const WITH_SCRIPT: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const FIXED: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    (header::CACHE_CONTROL, "no-store"),
];

/// Adds every header that is not there yet. HSTS is for https only (RFC 6797 §7.2).
pub fn apply(headers: &mut HeaderMap, scheme: Scheme) {
    for (name, value) in FIXED {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    headers.insert(OWN_RESPONSE, HeaderValue::from_static("true"));
    match scheme {
        Scheme::Https => {
            headers.insert(
                header::STRICT_TRANSPORT_SECURITY,
                HeaderValue::from_static("max-age=31536000"),
            );
        }
        Scheme::Http => {
            headers.remove(header::STRICT_TRANSPORT_SECURITY);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::apply;
    use crate::address::origin::Scheme;

    #[test]
    fn k3_headers_are_on_every_answer() {
        let mut headers = HeaderMap::new();
        apply(&mut headers, Scheme::Https);
        let policy = headers["content-security-policy"].to_str().expect("text");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        for name in [
            "x-content-type-options",
            "strict-transport-security",
            "referrer-policy",
            "cross-origin-opener-policy",
        ] {
            assert!(headers.contains_key(name), "{name}");
        }
        assert_eq!(headers["cache-control"], "no-store");
        apply(&mut headers, Scheme::Http);
        assert!(!headers.contains_key("strict-transport-security"));
    }
}
