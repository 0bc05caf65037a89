//! The cookies that bind a pending sign-in to the browser that began it: one for each attempt, at most five at a time (E15).
//!
//! A value is `<seconds since the epoch>.<token>`; the time only tells which is oldest.

use http::{HeaderMap, HeaderValue, header};

use crate::address::origin::Scheme;
use crate::clock::Timestamp;
use crate::secret::{Token, TokenHash};

/// How many a browser may have at once.
const MOST: usize = 5;

/// Lifetime in seconds; the same as the attempt's in the store.
const MAX_AGE: u32 = 600;

fn prefix(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Https => "__Host-wayleave-signin-",
        Scheme::Http => "wayleave-signin-",
    }
}

fn name(scheme: Scheme, id: &Token) -> String {
    format!("{}{}", prefix(scheme), &id.expose()[..8])
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}

/// The `Set-Cookie`s for a new pending sign-in: its own, and the removal of the oldest that are too many.
pub(crate) fn add(
    headers: &HeaderMap,
    scheme: Scheme,
    id: &Token,
    binding: &Token,
    now: Timestamp,
) -> Vec<HeaderValue> {
    let mut present: Vec<(i64, &str)> = pairs(headers)
        .filter(|(name, _)| name.starts_with(prefix(scheme)))
        .map(|(name, value)| {
            let since = value.split_once('.').and_then(|(at, _)| at.parse().ok());
            (since.unwrap_or(0), name)
        })
        .collect();
    present.sort_unstable();
    let too_many = present.len().saturating_sub(MOST - 1);
    let mut cookies: Vec<HeaderValue> = present[..too_many]
        .iter()
        .filter_map(|(_, name)| cookie(scheme, name, "", 0))
        .collect();
    let value = format!("{}.{}", now.seconds(), binding.expose());
    cookies.extend(cookie(scheme, &name(scheme, id), &value, MAX_AGE));
    cookies
}

/// Whether the browser has the cookie that was set for `id`; two of the name count as none.
pub(crate) fn matches(headers: &HeaderMap, scheme: Scheme, id: &Token, binding: TokenHash) -> bool {
    let name = name(scheme, id);
    let mut found = pairs(headers).filter(|(other, _)| *other == name);
    let (Some((_, value)), None) = (found.next(), found.next()) else {
        return false;
    };
    value
        .split_once('.')
        .and_then(|(_, token)| Token::parse(token))
        .is_some_and(|token| token.hash() == binding)
}

/// Removes the cookie of `id`, with the attributes it was set with.
pub(crate) fn clear(scheme: Scheme, id: &Token) -> Option<HeaderValue> {
    cookie(scheme, &name(scheme, id), "", 0)
}

fn cookie(scheme: Scheme, name: &str, value: &str, max_age: u32) -> Option<HeaderValue> {
    let secure = match scheme {
        Scheme::Https => "; Secure",
        Scheme::Http => "",
    };
    let text = format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_str(&text).ok()
}
