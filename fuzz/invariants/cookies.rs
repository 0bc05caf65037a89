//! No cookie of ours is left for an application, and all of its own are; a session cookie counts only if there is one of it.
//! Input: `Cookie` header lines.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use wayleave::address::origin::Scheme;
use wayleave::secret::Token;
use wayleave::session::cookie::{
    PresentedCookie, named_pairs, session_cookie, session_cookie_name, strip_own_cookies,
};

/// See the module.
pub(crate) fn check(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|&byte| byte == b'\n').take(64) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(COOKIE, value);
        }
    }
    for scheme in [Scheme::Https, Scheme::Http] {
        one_or_none(&headers, scheme);
    }
    let before = owned(&headers);
    let mut stripped = headers.clone();
    strip_own_cookies(&mut stripped);
    assert!(stripped.get_all(COOKIE).iter().count() <= 1);
    let after = owned(&stripped);
    for scheme in [Scheme::Https, Scheme::Http] {
        let left = session_cookie(&stripped, scheme);
        let is_one = matches!(left, PresentedCookie::One(_));
        assert!(
            !is_one
                && after
                    .iter()
                    .all(|(name, _)| name != session_cookie_name(scheme).as_bytes())
        );
    }
    // More pairs than are looked at by name are stripped all the same, but cannot be compared by name.
    if before.len() < 500 {
        let others = |(name, value): &(Vec<u8>, Vec<u8>)| !mentions_us(name) && !mentions_us(value);
        let kept: Vec<_> = before.iter().filter(|pair| others(pair)).collect();
        let still: Vec<_> = after.iter().filter(|pair| others(pair)).collect();
        assert_eq!(still, kept);
    }
}

fn owned(headers: &HeaderMap) -> Vec<(Vec<u8>, Vec<u8>)> {
    named_pairs(headers)
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

fn mentions_us(text: &[u8]) -> bool {
    let text = text.to_ascii_lowercase();
    text.windows(8).any(|part| part == b"wayleave")
}

fn one_or_none(headers: &HeaderMap, scheme: Scheme) {
    let ours = session_cookie_name(scheme).as_bytes();
    let mut values = named_pairs(headers).filter(|(name, _)| *name == ours);
    if let PresentedCookie::One(hash) = session_cookie(headers, scheme) {
        let (_, value) = values.next().expect("the pair it was read from");
        let token = std::str::from_utf8(value).ok().and_then(Token::parse);
        assert_eq!(token.map(|token| token.hash()), Some(hash));
        assert!(values.next().is_none());
    }
}
