//! Names and attributes of our cookies (RFC 6265bis), and reading them from a request.
//!
//! One pass over the header's bytes, no allocation per pair: a header of a million parts costs its length, and more
//! than [`MAX_PAIRS`] pairs are refused.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::address::origin::{Origin, Scheme};
use crate::secret::{Token, TokenHash};

/// More cookie pairs than any browser keeps for one host.
const MAX_PAIRS: usize = 1024;

/// The session cookie's name: `__Host-` on https; without the prefix on plain-http loopback, where browsers other than Chromium refuse it.
pub const fn session_cookie_name(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Https => "__Host-wayleave",
        Scheme::Http => "wayleave",
    }
}

/// The session cookie of a request.
#[derive(Debug)]
pub enum PresentedCookie {
    /// There is none.
    None,
    /// The hash of the one there is.
    One(TokenHash),
    /// Twice the same name, or not a token: treated as none, and counted.
    Unusable,
}

/// The pairs of all `Cookie` headers, however HTTP/2 cut them up (RFC 9113 §8.2.3), without the white space around them.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|header| header.as_bytes().split(|&byte| byte == b';'))
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
}

fn name_and_value(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b'=', pair)?;
    Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
}

/// Names and values, for readers of other cookies of ours; pairs that are none are skipped, and all beyond [`MAX_PAIRS`].
pub fn named_pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    pairs(headers).take(MAX_PAIRS).filter_map(name_and_value)
}

/// Reads our session cookie; a pair that is not ours and cannot be read is skipped, not fatal.
pub fn session_cookie(headers: &HeaderMap, scheme: Scheme) -> PresentedCookie {
    let ours = session_cookie_name(scheme).as_bytes();
    let mut found = None;
    for (count, pair) in pairs(headers).enumerate() {
        if count >= MAX_PAIRS {
            return PresentedCookie::Unusable;
        }
        match name_and_value(pair) {
            Some((name, value)) if name == ours && found.replace(value).is_some() => {
                return PresentedCookie::Unusable;
            }
            _ => {}
        }
    }
    let Some(value) = found else {
        return PresentedCookie::None;
    };
    std::str::from_utf8(value)
        .ok()
        .and_then(Token::parse)
        .map_or(PresentedCookie::Unusable, |token| {
            PresentedCookie::One(token.hash())
        })
}

/// `Set-Cookie` for a cookie of ours, with the attributes that all of them have; `None` if name or value cannot stand in a header.
/// Without `max_age` (seconds) it lasts as long as the browser runs, with 0 it is removed.
pub fn set_cookie(
    scheme: Scheme,
    name: &str,
    value: &str,
    max_age: Option<u32>,
) -> Option<HeaderValue> {
    let secure = match scheme {
        Scheme::Https => "Secure; ",
        Scheme::Http => "",
    };
    let age = max_age.map_or_else(String::new, |age| format!("; Max-Age={age}"));
    let text = format!("{name}={value}; {secure}HttpOnly; SameSite=Lax; Path=/{age}");
    let mut header = HeaderValue::from_str(&text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[expect(
    clippy::expect_used,
    reason = "our own name and base64url values are visible ASCII"
)]
fn session_cookie_header(scheme: Scheme, value: &str, max_age: Option<u32>) -> HeaderValue {
    set_cookie(scheme, session_cookie_name(scheme), value, max_age)
        .expect("visible ASCII is a header value")
}

/// `Set-Cookie` for a session.
pub fn set_session_cookie(origin: &Origin, token: &Token) -> HeaderValue {
    session_cookie_header(origin.scheme, token.expose(), None)
}

/// `Set-Cookie` that removes it, with the attributes it was set with.
pub fn clear_session_cookie(origin: &Origin) -> HeaderValue {
    session_cookie_header(origin.scheme, "", Some(0))
}

/// Whether a pair's name is one of ours, as any reader might take it: browsers compare prefixes without case, and send a
/// nameless cookie `=a=b` as `a=b`.
fn is_own(pair: &[u8]) -> bool {
    let start = pair
        .iter()
        .position(|&byte| byte != b'=' && byte > b' ')
        .unwrap_or(pair.len());
    let mut name = &pair[start..];
    for prefix in ["__host-", "__secure-", "__http-", "__host-http-"] {
        if starts_with(&pair[start..], prefix) {
            name = &pair[start + prefix.len()..];
        }
    }
    starts_with(name, "wayleave")
}

fn starts_with(text: &[u8], prefix: &str) -> bool {
    text.get(..prefix.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
}

/// Takes every cookie of ours out of a request's `Cookie` headers and leaves the application's own (one header, original bytes).
pub fn strip_own_cookies(headers: &mut HeaderMap) {
    let mut kept = Vec::new();
    for pair in pairs(headers).filter(|pair| !is_own(pair)) {
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(pair);
    }
    headers.remove(COOKIE);
    if kept.is_empty() {
        return;
    }
    // Parts of header values make a header value again; were it not so, the application would get no cookie at all.
    if let Ok(mut value) = HeaderValue::from_bytes(&kept) {
        value.set_sensitive(true);
        headers.insert(COOKIE, value);
    }
}

/// Whether a response's `Set-Cookie` would set one of our names.
pub fn sets_own_cookie(set_cookie: &HeaderValue) -> bool {
    is_own(set_cookie.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(COOKIE, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn h2_clearing_has_the_attributes_of_setting() {
        let text = |scheme, name, value, age| {
            let header = set_cookie(scheme, name, value, age).unwrap();
            header.to_str().unwrap().to_owned()
        };
        assert_eq!(
            text(Scheme::Https, "__Host-wayleave", "t", None),
            "__Host-wayleave=t; Secure; HttpOnly; SameSite=Lax; Path=/"
        );
        assert_eq!(
            text(Scheme::Https, "__Host-wayleave", "", Some(0)),
            "__Host-wayleave=; Secure; HttpOnly; SameSite=Lax; Path=/; Max-Age=0"
        );
        assert_eq!(
            text(Scheme::Http, "wayleave", "", Some(0)),
            "wayleave=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0"
        );
    }

    #[test]
    fn the_session_cookie_is_found_among_others() {
        let token = Token::generate();
        let ours = format!("__Host-wayleave={}", token.expose());
        let both = format!("{ours}; {ours}");
        let cases: &[(&[&[u8]], &str)] = &[
            (&[], "none"),
            (&[b"a=b; c"], "none"),
            (&[ours.as_bytes()], "one"),
            (&[b"a=\xff\xfe", ours.as_bytes(), b"b"], "one"),
            (&[ours.as_bytes(), ours.as_bytes()], "unusable"),
            (&[both.as_bytes()], "unusable"),
            (&[b"__Host-wayleave="], "unusable"),
            (&[b"__Host-wayleave=\xff"], "unusable"),
            (&[b"__host-wayleave=x; wayleave=y"], "none"),
        ];
        for (given, expected) in cases {
            let read = match session_cookie(&headers(given), Scheme::Https) {
                PresentedCookie::None => "none",
                PresentedCookie::One(hash) => {
                    assert_eq!(hash, token.hash());
                    "one"
                }
                PresentedCookie::Unusable => "unusable",
            };
            assert_eq!(read, *expected, "{given:?}");
        }
    }

    #[test]
    fn g10_a_changed_cookie_is_never_the_same() {
        let token = Token::generate();
        for at in 0..Token::LENGTH {
            let mut value = token.expose().as_bytes().to_vec();
            value[at] ^= 1;
            let header = [b"__Host-wayleave=".as_slice(), &value].concat();
            if let PresentedCookie::One(hash) = session_cookie(&headers(&[&header]), Scheme::Https)
            {
                assert_ne!(hash, token.hash());
            }
        }
    }

    #[test]
    fn l1_a_million_parts_are_refused() {
        let many = "a=b;".repeat(1_000_000);
        let read = session_cookie(&headers(&[many.as_bytes()]), Scheme::Https);
        assert!(matches!(read, PresentedCookie::Unusable));
    }

    #[test]
    fn h13_own_names_are_recognised_in_every_spelling() {
        for own in [
            "wayleave=1",
            "__Host-wayleave=1",
            "__hOsT-WAYLEAVE-signin-x=1",
            "__Secure-wayleave",
            "=__Host-wayleave=1",
            " __Host-wayleave =1",
            "__Host-Http-wayleave=1",
        ] {
            assert!(sets_own_cookie(&HeaderValue::from_static(own)), "{own}");
        }
        for other in ["sid=wayleave", "__Host-app=1", "awayleave=1", ""] {
            assert!(
                !sets_own_cookie(&HeaderValue::from_static(other)),
                "{other}"
            );
        }
        let mut stripped = headers(&[b"a=1; WAYLEAVE=x;b=\xff", b"__Host-wayleave=t", b"c=\"q\""]);
        strip_own_cookies(&mut stripped);
        assert_eq!(stripped[COOKIE].as_bytes(), b"a=1; b=\xff; c=\"q\"");
        assert_eq!(stripped.get_all(COOKIE).iter().count(), 1);
    }

    proptest! {
        #[test]
        fn nothing_of_ours_survives_stripping(text in "[ -~]{0,200}", noise in prop::collection::vec(any::<u8>(), 0..40)) {
            let bytes = [text.as_bytes(), b"; __Host-wayleave=x; ", &noise].concat();
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.append(COOKIE, value);
                strip_own_cookies(&mut headers);
                prop_assert!(pairs(&headers).all(|pair| !is_own(pair)));
            }
        }
    }
}
