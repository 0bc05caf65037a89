//! The cookies that bind a pending sign-in to the browser that began it: one for each attempt, at most five at a time (E15).
//!
//! A value is `<seconds since the epoch>.<token>`; the time only tells which is oldest.

use http::{HeaderMap, HeaderValue};

use crate::address::origin::Scheme;
use crate::clock::Timestamp;
use crate::secret::{Token, TokenHash};
use crate::session::cookie::{named_pairs, set_cookie};

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

/// What cannot be read is left out alone: a cookie of some application must not hide ours.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    named_pairs(headers).filter_map(|(name, value)| {
        Some((
            std::str::from_utf8(name).ok()?,
            std::str::from_utf8(value).ok()?,
        ))
    })
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
        .filter_map(|(_, name)| set_cookie(scheme, name, "", Some(0)))
        .collect();
    let value = format!("{}.{}", now.seconds(), binding.expose());
    cookies.extend(set_cookie(scheme, &name(scheme, id), &value, Some(MAX_AGE)));
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
    set_cookie(scheme, &name(scheme, id), "", Some(0))
}

#[cfg(test)]
mod tests {
    use http::header::COOKIE;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    /// The request's cookies of a jar, as a browser sends them.
    fn sent(jar: &[String]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let line = [b"app=\xff; ".as_slice(), jar.join("; ").as_bytes()].concat();
        headers.insert(COOKIE, HeaderValue::from_bytes(&line).unwrap());
        headers
    }

    /// Does what a browser does with `Set-Cookie`.
    fn keep(jar: &mut Vec<String>, cookies: &[HeaderValue]) {
        for cookie in cookies {
            let text = cookie.to_str().unwrap();
            let pair = text.split(';').next().unwrap();
            let name = pair.split('=').next().unwrap();
            jar.retain(|kept| kept.split('=').next() != Some(name));
            if !text.contains("Max-Age=0") {
                jar.push(pair.to_owned());
            }
        }
    }

    #[test]
    fn e15_at_most_five_sign_ins_are_pending() {
        let mut jar = Vec::new();
        let mut last = None;
        for second in 0..200 {
            let (id, binding) = (Token::generate(), Token::generate());
            let now = NOW.plus(std::time::Duration::from_secs(second));
            let cookies = add(&sent(&jar), Scheme::Https, &id, &binding, now);
            keep(&mut jar, &cookies);
            assert!(jar.len() <= MOST, "{jar:?}");
            last = Some((id, binding));
        }
        let (id, binding) = last.unwrap();
        assert!(
            matches(&sent(&jar), Scheme::Https, &id, binding.hash()),
            "the newest stays"
        );
    }

    #[test]
    fn e1_only_the_browser_that_began_matches() {
        let (id, binding) = (Token::generate(), Token::generate());
        let mut jar = Vec::new();
        keep(&mut jar, &add(&sent(&[]), Scheme::Http, &id, &binding, NOW));
        let is_its = |jar: &[String], id: &Token, binding: &Token| {
            matches(&sent(jar), Scheme::Http, id, binding.hash())
        };
        assert!(is_its(&jar, &id, &binding));
        assert!(!is_its(&jar, &id, &Token::generate()));
        assert!(!is_its(&jar, &Token::generate(), &binding));
        assert!(!is_its(&[], &id, &binding));
        let twice = [jar.clone(), jar.clone()].concat();
        assert!(
            !is_its(&twice, &id, &binding),
            "two of the name count as none"
        );
        let cleared = clear(Scheme::Http, &id).unwrap();
        keep(&mut jar, &[cleared]);
        assert!(jar.is_empty());
    }
}
