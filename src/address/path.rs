//! Canonical request paths, and how rules read them.
//!
//! Characters such as `:` and `@` may stand in a path as they are or percent-encoded, and applications use both. Nearly every server takes the two for one
//! resource, so rules and routes see one [`reading`] of them, while the path is forwarded as it came.

use std::borrow::Cow;

/// Why a request target is refused instead of repaired (the response is 400).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PathFault {
    #[error("the path does not start with a slash")]
    NotAbsolute,
    #[error("the path has an empty segment")]
    EmptySegment,
    #[error("the path has a dot segment")]
    DotSegment,
    #[error(
        "the path has an encoded slash, backslash, dot or percent sign, or an encoded control character"
    )]
    AmbiguousEncoding,
    #[error(
        "the path has a percent-encoding that can be spelt otherwise: letters, digits, `-`, `_` and `~` stand as they are, and hexadecimal digits are capitals"
    )]
    OtherSpelling,
    #[error("the path has an incomplete percent-encoding")]
    BadEncoding,
    #[error("the path has a path parameter (;)")]
    PathParameter,
    #[error("the path or query has a character that must be percent-encoded")]
    Character,
    #[error("the target has a fragment")]
    Fragment,
    #[error("the target is longer than 8 KiB")]
    TooLong,
}

/// What is left to decide about a path that is otherwise in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathShape {
    /// A segment has a `;`, encoded or not: some servers cut it off, so only a route that asks for it may have such paths.
    pub has_path_parameters: bool,
}

/// Checks that a path (no query) has exactly one reading for every server behind us: RFC 3986 §3.3 characters only,
/// no empty or dot segment, no path parameter, no encoding of `/ \ . %`, of a control character or of an unreserved character,
/// hexadecimal digits in upper case (RFC 3986 §6.2.2.1), decoding to UTF-8. What is left to encode or not is settled by [`reading`].
/// The path may be used as it stands afterwards.
pub fn check_path(path: &str) -> Result<(), PathFault> {
    if examine_path(path)?.has_path_parameters {
        return Err(PathFault::PathParameter);
    }
    Ok(())
}

/// As [`check_path`], but path parameters are reported instead of refused: whether they are allowed is known after routing.
pub fn examine_path(path: &str) -> Result<PathShape, PathFault> {
    let bytes = path.as_bytes();
    if bytes.len() > MAX_TARGET {
        return Err(PathFault::TooLong);
    }
    if !path.starts_with('/') {
        return Err(PathFault::NotAbsolute);
    }
    let mut encoded = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'%' => {
                check_encoded(percent_byte(bytes, at + 1)?, bytes, at)?;
                encoded = true;
                at += 3;
            }
            b'/' => at += 1,
            b'#' => return Err(PathFault::Fragment),
            byte if is_pchar(byte) => at += 1,
            _ => return Err(PathFault::Character),
        }
    }
    if encoded {
        check_decoded_text(bytes)?;
    }
    let seen = reading(path);
    check_segments(seen.strip_prefix('/').unwrap_or_default())?;
    Ok(PathShape {
        has_path_parameters: memchr::memchr(b';', seen.as_bytes()).is_some(),
    })
}

/// The path with every character decoded that may as well stand there as it is (RFC 3986 §3.3 `pchar`): the one reading of all its spellings.
pub fn reading(path: &str) -> Cow<'_, str> {
    if memchr::memchr(b'%', path.as_bytes()).is_none() {
        return Cow::Borrowed(path);
    }
    let mut seen = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, encoded)) = rest.split_once('%') {
        seen.push_str(before);
        rest = encoded;
        match percent_byte(encoded.as_bytes(), 0) {
            Ok(byte) if is_pchar(byte) => {
                seen.push(char::from(byte));
                rest = encoded.get(2..).unwrap_or_default();
            }
            Ok(_) | Err(_) => seen.push('%'),
        }
    }
    seen.push_str(rest);
    Cow::Owned(seen)
}

/// The [`reading`] of a path without its parameters (`/a;v=1/b`), as servers see it that leave them out when they look for the resource. `None` if what
/// remains is no canonical path any more.
pub fn without_parameters(path: &str) -> Option<Cow<'_, str>> {
    let path = reading(path);
    if !path.contains(';') {
        return Some(path);
    }
    let segments: Vec<&str> = path
        .split('/')
        .map(|segment| segment.split(';').next().unwrap_or(segment))
        .collect();
    let inner = segments.get(1..segments.len().saturating_sub(1))?;
    let is_unclear = |segment: &&str| matches!(*segment, "." | "..");
    if inner.iter().any(|segment| segment.is_empty()) || segments.iter().any(is_unclear) {
        return None;
    }
    Some(Cow::Owned(segments.join("/")))
}

/// What follows in a path after a prefix of its [`reading`]; `None` if that does not begin so.
pub fn after<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let mut rest = path;
    for wanted in prefix.chars() {
        let len = match rest.strip_prefix('%') {
            Some(encoded) => percent_byte(encoded.as_bytes(), 0)
                .ok()
                .filter(|byte| wanted != '%' && char::from(*byte) == wanted && is_pchar(*byte))
                .map_or(1, |_| 3),
            None => wanted.len_utf8(),
        };
        if len != 3 && !rest.starts_with(wanted) {
            return None;
        }
        rest = rest.get(len..)?;
    }
    Some(rest)
}

/// Checks a query (without its `?`): RFC 3986 §3.4 characters, those that browsers leave as they are in queries (`[]|{}^`, backtick, backslash),
/// and whole percent-encodings. What is encoded is data and may be anything.
pub fn check_query(query: &str) -> Result<(), PathFault> {
    let bytes = query.as_bytes();
    if bytes.len() > MAX_TARGET {
        return Err(PathFault::TooLong);
    }
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'%' => {
                percent_byte(bytes, at + 1)?;
                at += 3;
            }
            b'#' => return Err(PathFault::Fragment),
            b'/' | b'?' | b'[' | b']' | b'|' | b'{' | b'}' | b'^' | b'`' | b'\\' => at += 1,
            byte if is_pchar(byte) => at += 1,
            _ => return Err(PathFault::Character),
        }
    }
    Ok(())
}

/// Longest path or query, in bytes.
const MAX_TARGET: usize = 8 * 1024;

/// The last segment may be empty: the path ends in a slash then.
fn check_segments(segments: &str) -> Result<(), PathFault> {
    let mut rest = segments.split('/').peekable();
    while let Some(segment) = rest.next() {
        // A server that cuts parameters off sees only what comes before them.
        let name = segment.split(';').next().unwrap_or_default();
        if name == "." || name == ".." {
            return Err(PathFault::DotSegment);
        }
        let is_trailing_slash = segment.is_empty() && rest.peek().is_none();
        if name.is_empty() && !is_trailing_slash {
            return Err(PathFault::EmptySegment);
        }
    }
    Ok(())
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 §3.3, without percent-encodings.
const fn is_pchar(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
        )
}

/// The byte of the two hexadecimal digits at `at`.
fn percent_byte(bytes: &[u8], at: usize) -> Result<u8, PathFault> {
    let digit = |index: usize| {
        let byte = bytes.get(index).copied().unwrap_or_default();
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
            .ok_or(PathFault::BadEncoding)
    };
    Ok(digit(at)? << 4 | digit(at + 1)?)
}

/// An encoding that a server might undo before it looks at the path, or that has a second spelling.
fn check_encoded(byte: u8, bytes: &[u8], at: usize) -> Result<(), PathFault> {
    let lower_case = bytes[at..at + 3].iter().any(u8::is_ascii_lowercase);
    if byte.is_ascii_control() || matches!(byte, b'/' | b'\\' | b'%' | b'.') {
        return Err(PathFault::AmbiguousEncoding);
    }
    if lower_case || is_unreserved(byte) {
        return Err(PathFault::OtherSpelling);
    }
    Ok(())
}

/// What is not UTF-8 is read differently by different servers (`%C0%AF` is a slash to some).
fn check_decoded_text(bytes: &[u8]) -> Result<(), PathFault> {
    let decoded = percent_encoding::percent_decode(bytes)
        .decode_utf8()
        .map_err(|_fault| PathFault::AmbiguousEncoding)?;
    if decoded.chars().any(char::is_control) {
        return Err(PathFault::AmbiguousEncoding);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{PathFault, after, check_path, check_query, examine_path, reading};

    fn check(paths: &[&str], expected: Result<(), PathFault>) {
        for path in paths {
            assert_eq!(check_path(path), expected, "{path:?}");
        }
    }

    #[test]
    fn ordinary_paths_are_accepted() {
        check(
            &[
                "/",
                "/a",
                "/a/",
                "/a/b.c",
                "/a/...",
                "/.well-known/x",
                "/a:b@c!$&'()*+,=~_-",
                "/a%20b",
                "/caf%C3%A9",
                "/%E2%82%AC",
                "/a%3Ab",
                "/..a",
                "/a..",
                "/a%3Fb",
            ],
            Ok(()),
        );
        check(
            &["/a%c3%a9", "/%61dmin", "/%41", "/a%3a"],
            Err(PathFault::OtherSpelling),
        );
    }

    #[test]
    fn b1_slashes_in_other_forms_are_refused() {
        check(
            &["//admin", "/a//b", "/a//", "//"],
            Err(PathFault::EmptySegment),
        );
        check(
            &[
                "/%2fadmin",
                "/%2Fadmin",
                "/a%5c..%5cadmin",
                "/a%5C",
                "/%C0%AFadmin",
                "/%FF",
            ],
            Err(PathFault::AmbiguousEncoding),
        );
        check(&["/a\\b", "/\\admin"], Err(PathFault::Character));
    }

    #[test]
    fn b2_dot_segments_are_refused() {
        check(
            &[
                "/public/../admin",
                "/.",
                "/..",
                "/./a",
                "/a/..",
                "/a/.",
                "/a/./",
            ],
            Err(PathFault::DotSegment),
        );
        check(
            &[
                "/public/%2e%2e/admin",
                "/p/.%2e/admin",
                "/%252e%252e/a",
                "/%2E",
                "/%25",
            ],
            Err(PathFault::AmbiguousEncoding),
        );
    }

    #[test]
    fn b3_a_fragment_is_refused() {
        check(&["/pub#/../admin", "/#", "/a#b"], Err(PathFault::Fragment));
        assert_eq!(check_query("a#b"), Err(PathFault::Fragment));
    }

    #[test]
    fn b4_path_parameters_are_refused_unless_asked_for() {
        check(
            &["/admin;x/", "/a;b", "/a;", "/a/b;c=d/e"],
            Err(PathFault::PathParameter),
        );
        assert!(examine_path("/admin;x/").unwrap().has_path_parameters);
        assert!(!examine_path("/admin/").unwrap().has_path_parameters);
        assert_eq!(examine_path("/pub;/../admin"), Err(PathFault::DotSegment));
        assert_eq!(examine_path("/pub/..;/admin"), Err(PathFault::DotSegment));
        assert_eq!(examine_path("/;/admin"), Err(PathFault::EmptySegment));
        assert_eq!(examine_path("/a/;"), Err(PathFault::EmptySegment));
    }

    #[test]
    fn b1_all_spellings_have_one_reading() {
        for (path, expected) in [
            ("/x/%24all", "/x/$all"),
            (
                "/%40admin/%3A%21%26%27%28%29%2A%2B%2C%3D",
                "/@admin/:!&'()*+,=",
            ),
            ("/caf%C3%A9/a%20b%3F", "/caf%C3%A9/a%20b%3F"),
            ("/a", "/a"),
        ] {
            assert_eq!(check_path(path), Ok(()), "{path}");
            assert_eq!(reading(path), expected);
        }
        assert!(examine_path("/admin%3Bx/").unwrap().has_path_parameters);
        assert_eq!(examine_path("/..%3Bx/a"), Err(PathFault::DotSegment));
        assert_eq!(examine_path("/%3Bx/a"), Err(PathFault::EmptySegment));
    }

    #[test]
    fn a_prefix_is_taken_off_in_any_spelling() {
        for (path, prefix, expected) in [
            ("/@a/b", "/@a", Some("/b")),
            ("/%40a/b%3Ac", "/@a", Some("/b%3Ac")),
            ("/%40a", "/@b", None),
            ("/a%20b/c", "/a%20b", Some("/c")),
            ("/a", "/ab", None),
        ] {
            assert_eq!(after(path, prefix), expected, "{path} {prefix}");
        }
    }

    #[test]
    fn b8_malformed_paths_are_refused() {
        check(
            &["", "admin", "*", "http://evil/"],
            Err(PathFault::NotAbsolute),
        );
        check(
            &["/%", "/%2", "/%zz", "/a%4", "/%-1"],
            Err(PathFault::BadEncoding),
        );
        check(
            &["/a b", "/a\tb", "/a\0", "/\u{e9}", "/\"", "/<", "/{", "/?"],
            Err(PathFault::Character),
        );
        check(
            &[&format!("/{}", "a".repeat(8192))],
            Err(PathFault::TooLong),
        );
    }

    #[test]
    fn b7_every_byte_in_every_position() {
        const RAW: &[u8] =
            b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,=:@";
        const ENCODED: &[u8] = b" !\"#$&'()*+,:<=>?@[]^`{|}";
        for byte in 0..=u8::MAX {
            // Alone it would be the dot segment.
            let places = ["/?a", "/a?b", "/a?", "/a/?x/b"];
            for place in places {
                let raw: Vec<u8> = place
                    .bytes()
                    .map(|b| if b == b'?' { byte } else { b })
                    .collect();
                let accepted = std::str::from_utf8(&raw).is_ok_and(|path| check_path(path).is_ok());
                // A slash is fine where it does not make an empty segment.
                let slash = byte == b'/' && (place == "/a?b" || place == "/a?");
                assert_eq!(
                    accepted,
                    RAW.contains(&byte) || slash,
                    "{byte:#04x} raw in {place}"
                );
                let encoded = place.replace('?', &format!("%{byte:02X}"));
                assert_eq!(
                    check_path(&encoded).is_ok(),
                    ENCODED.contains(&byte),
                    "{encoded}"
                );
            }
        }
    }

    #[test]
    fn queries() {
        for query in [
            "",
            "a=b&c=d",
            "a=%00%0D%0A",
            "q=/../x?y",
            "a[]=1",
            "a=%2e",
            "a=;b",
        ] {
            assert_eq!(check_query(query), Ok(()), "{query:?}");
        }
        for query in ["a b", "a\0", "a\r\n", "\u{e9}", "\"", "<", ">", "\u{7f}"] {
            assert_eq!(check_query(query), Err(PathFault::Character), "{query:?}");
        }
        for query in ["%", "a=%2", "%zz"] {
            assert_eq!(check_query(query), Err(PathFault::BadEncoding), "{query:?}");
        }
    }

    proptest! {
        #[test]
        fn b7_an_accepted_path_is_a_fixed_point_of_the_url_standard(path in "/([a-zA-Z0-9./;:@%&=+$,!*'()~_-]|%[0-9A-F]{2}|[\\PC])*") {
            if examine_path(&path).is_ok() {
                let url = url::Url::parse(&format!("https://app.example{path}")).unwrap();
                prop_assert_eq!(url.path(), &path);
                prop_assert_eq!(url.query(), None);
            }
        }
    }
}
