//! Answers to somebody are for that somebody: no cache that others share may keep them (RFC 9111 §5.2.2), and a browser may not show one
//! person's to the next (RFC 9110 §12.5.5).

use http::header::{CACHE_CONTROL, VARY};
use http::{HeaderMap, HeaderValue};

/// Makes an answer private to whoever it was given to. How long it is fresh stays as the upstream says.
pub(in crate::edge) fn keep_out_of_shared_caches(headers: &mut HeaderMap) {
    make_private(headers);
    let varies = members(headers, &VARY)
        .any(|member| member == b"*" || member.eq_ignore_ascii_case(b"cookie"));
    if !varies {
        headers.append(VARY, HeaderValue::from_static("cookie"));
    }
}

fn make_private(headers: &mut HeaderMap) {
    let is = |member: &[u8], name: &str| member.eq_ignore_ascii_case(name.as_bytes());
    // `private="field"` covers that field alone, and is not enough.
    let covered = members(headers, &CACHE_CONTROL)
        .any(|member| is(member, "private") || is(member, "no-store"));
    if covered {
        return;
    }
    let mut kept: Vec<&[u8]> = members(headers, &CACHE_CONTROL)
        .filter(|member| !member.is_empty() && !invites_sharing(member))
        .collect();
    kept.push(b"private");
    let value = HeaderValue::from_bytes(&kept.join(&b", "[..]));
    let value = value.unwrap_or(HeaderValue::from_static("no-store"));
    headers.insert(CACHE_CONTROL, value);
}

fn invites_sharing(member: &[u8]) -> bool {
    let name = member.split(|&byte| byte == b'=').next().unwrap_or(member);
    name.eq_ignore_ascii_case(b"public") || name.eq_ignore_ascii_case(b"s-maxage")
}

fn members<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> impl Iterator<Item = &'a [u8]> {
    super::tokens(headers, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h11_no_shared_cache_keeps_an_answer_to_somebody() {
        for (given, expected) in [
            (&[][..], "private"),
            (&["max-age=60"], "max-age=60, private"),
            (&["public, max-age=60", "s-maxage=9"], "max-age=60, private"),
            (&["PRIVATE, max-age=60"], "PRIVATE, max-age=60"),
            (&["no-store"], "no-store"),
            (
                &["private=\"set-cookie\""],
                "private=\"set-cookie\", private",
            ),
        ] {
            let mut headers = HeaderMap::new();
            for value in given {
                headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
            }
            keep_out_of_shared_caches(&mut headers);
            assert_eq!(headers[CACHE_CONTROL], expected);
            assert_eq!(headers.get_all(CACHE_CONTROL).iter().count(), 1);
            assert_eq!(headers[VARY], "cookie");
        }
    }

    #[test]
    fn h11_what_varies_already_is_left_alone() {
        for given in ["*", "Accept, Cookie"] {
            let mut headers = HeaderMap::new();
            headers.insert(VARY, HeaderValue::from_static(given));
            keep_out_of_shared_caches(&mut headers);
            assert_eq!(headers.get_all(VARY).iter().count(), 1);
        }
    }
}
