//! Tokens in `Authorization`, by either of the schemes that are ours.

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// What a request's `Authorization` holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Presented<'a> {
    /// No `Authorization`, or one of another scheme, which is between the client and the upstream.
    Nothing,
    /// A token, and how it is presented.
    Token(Scheme, &'a str),
    /// It cannot be read, or there are two.
    Malformed,
}

/// How a token is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// By whoever has it (RFC 6750).
    Bearer,
    /// With a proof of its key (RFC 9449).
    Dpop,
}

/// The scheme counts without case (RFC 9110 §11.1); what an upstream might read as bearer token is one.
pub fn presented_token(headers: &HeaderMap) -> Presented<'_> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = given.next() else {
        return Presented::Nothing;
    };
    if given.next().is_some() {
        return Presented::Malformed;
    }
    let bytes = value.as_bytes().trim_ascii();
    let scheme = bytes
        .iter()
        .position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'-'))
        .unwrap_or(bytes.len());
    let kind = match &bytes[..scheme] {
        name if name.eq_ignore_ascii_case(b"bearer") => Scheme::Bearer,
        name if name.eq_ignore_ascii_case(b"dpop") => Scheme::Dpop,
        _ => return Presented::Nothing,
    };
    let token = bytes[scheme..].strip_prefix(b" ").map(<[u8]>::trim_ascii);
    let is_token = |token: &&[u8]| {
        // Without a way out in between, which would be looked for at each of some hundred bytes.
        let all = token.iter().fold(true, |all, byte| all & is_token68(*byte));
        !token.is_empty() && all
    };
    match token.filter(is_token).map(std::str::from_utf8) {
        Some(Ok(token)) => Presented::Token(kind, token),
        Some(Err(_)) | None => Presented::Malformed,
    }
}

/// RFC 9110 §11.2.
const fn is_token68(byte: u8) -> bool {
    const fn within(byte: u8, first: u8, last: u8) -> bool {
        byte.wrapping_sub(first) <= last - first
    }
    within(byte, b'a', b'z')
        | within(byte, b'A', b'Z')
        // `-`, `.`, `/` and digits are neighbours.
        | within(byte, b'-', b'9')
        | (byte == b'_')
        | (byte == b'~')
        | (byte == b'+')
        | (byte == b'=')
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;
    use http::{HeaderMap, HeaderValue};

    use super::{Presented, Scheme, presented_token};

    #[test]
    fn bearer_tokens_are_told_from_other_credentials() {
        let cases: &[(&[&str], Presented<'static>)] = &[
            (&[], Presented::Nothing),
            (&["Basic dTpw"], Presented::Nothing),
            (&["Negotiate YII="], Presented::Nothing),
            (&["Bearerish a"], Presented::Nothing),
            (&["Bearer a.b.c"], Presented::Token(Scheme::Bearer, "a.b.c")),
            (
                &["bEARER   a.b-c_~+/="],
                Presented::Token(Scheme::Bearer, "a.b-c_~+/="),
            ),
            (&["DPoP a.b.c"], Presented::Token(Scheme::Dpop, "a.b.c")),
            (&["dpop"], Presented::Malformed),
            (&["DPoP a", "Bearer a"], Presented::Malformed),
            (&["Bearer"], Presented::Malformed),
            (&["Bearer "], Presented::Malformed),
            (&["Bearer\ta.b.c"], Presented::Malformed),
            (&["Bearer,a.b.c"], Presented::Malformed),
            (&["Bearer a b"], Presented::Malformed),
            (&["Bearer a,Basic b"], Presented::Malformed),
            (&["Bearer a", "Bearer a"], Presented::Malformed),
            (&["Basic a", "Bearer a"], Presented::Malformed),
        ];
        for (given, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in *given {
                headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(presented_token(&headers), *expected, "{given:?}");
        }
        let mut headers = HeaderMap::new();
        let bytes = HeaderValue::from_bytes(b"Bearer a\xff").unwrap();
        headers.insert(AUTHORIZATION, bytes);
        assert_eq!(presented_token(&headers), Presented::Malformed);
    }
}
