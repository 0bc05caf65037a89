//! The strict reading of one HTTP/1 request head (RFC 9112 §2 to §7). Pure: bytes in, framing or fault out.

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// The whole head with its empty line, bytes.
    pub bytes: usize,
    /// Number of field lines.
    pub fields: usize,
    /// One field value, bytes.
    pub value: usize,
    /// The request target, bytes.
    pub target: usize,
}

/// Where the message that a head begins will end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// Nothing: the next head follows at once.
    Empty,
    /// Bytes to come.
    Length(u64),
    /// Chunks, to be read one by one.
    Chunked,
}

/// What the gate needs to know of an accepted head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What follows the head.
    pub body: BodyFraming,
    /// An upgrade or CONNECT: what follows may be a request or a tunnel, which only the answer decides.
    pub holds: bool,
}

/// Why a head is refused; the connection ends after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FramingFault {
    #[error("the request line is malformed")]
    RequestLine,
    #[error("the method is not supported")]
    Method,
    #[error("the request target is not an absolute path of visible ASCII without a fragment")]
    Target,
    #[error("the request target is too long")]
    TargetTooLong,
    #[error("the HTTP version is not 1.0 or 1.1")]
    Version,
    #[error("a line ends otherwise than in CR LF")]
    LineEnd,
    #[error("a header field is malformed")]
    Field,
    #[error("the header is too large")]
    HeaderTooLarge,
    #[error("there is not exactly one Host")]
    Host,
    #[error("Content-Length is repeated or not a number")]
    ContentLength,
    #[error("Transfer-Encoding is anything but one chunked, or HTTP/1.0")]
    TransferEncoding,
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndChunked,
    #[error("Expect is anything but 100-continue")]
    Expect,
    #[error("an upgrade or CONNECT with a body")]
    TunnelWithBody,
    #[error("the chunked body is malformed")]
    Chunk,
    #[error("the header did not arrive in time")]
    HeadTimeout,
}

/// The methods that are let through. TRACE would echo credentials, unknown ones are not in anybody's rules.
pub const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT",
];

/// Fields seen so far that decide the framing.
#[derive(Default)]
struct Seen {
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

/// Checks a whole head, from the request line to the empty line (both included).
pub fn check_head(bytes: &[u8], limits: &HeadLimits) -> Result<Head, FramingFault> {
    if bytes.len() > limits.bytes {
        return Err(FramingFault::HeaderTooLarge);
    }
    let lines = bytes
        .strip_suffix(b"\r\n\r\n")
        .ok_or(FramingFault::LineEnd)?;
    let mut lines = Lines(Some(lines));
    let (is_connect, is_1_1) = check_request_line(lines.next().unwrap_or_default(), limits)?;
    let mut seen = Seen::default();
    let mut fields = 0;
    for line in lines {
        fields += 1;
        if fields > limits.fields {
            return Err(FramingFault::HeaderTooLarge);
        }
        let (name, value) = check_field(line, limits.value)?;
        seen.note(name, value, is_1_1)?;
    }
    seen.conclude(is_connect)
}

impl Seen {
    fn note(&mut self, name: &[u8], value: &[u8], is_1_1: bool) -> Result<(), FramingFault> {
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let number = parse_length(value).ok_or(FramingFault::ContentLength)?;
            if self.length.replace(number).is_some() {
                return Err(FramingFault::ContentLength);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let exact = is_1_1 && value.eq_ignore_ascii_case(b"chunked");
            if !exact || std::mem::replace(&mut self.chunked, true) {
                return Err(FramingFault::TransferEncoding);
            }
        } else if name.eq_ignore_ascii_case(b"expect") {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(FramingFault::Expect);
            }
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        }
        Ok(())
    }

    fn conclude(self, is_connect: bool) -> Result<Head, FramingFault> {
        if self.hosts != 1 {
            return Err(FramingFault::Host);
        }
        let body = match (self.length, self.chunked) {
            (Some(_), true) => return Err(FramingFault::LengthAndChunked),
            (None, true) => BodyFraming::Chunked,
            (None | Some(0), false) => BodyFraming::Empty,
            (Some(length), false) => BodyFraming::Length(length),
        };
        let holds = self.upgrade || is_connect;
        if holds && body != BodyFraming::Empty {
            return Err(FramingFault::TunnelWithBody);
        }
        Ok(Head { body, holds })
    }
}

/// Whether it is CONNECT, and whether it is HTTP/1.1.
fn check_request_line(line: &[u8], limits: &HeadLimits) -> Result<(bool, bool), FramingFault> {
    check_line_bytes(line)?;
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(FramingFault::RequestLine);
    };
    let is_1_1 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err(FramingFault::Version),
    };
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err(FramingFault::RequestLine);
    }
    if !METHODS.iter().any(|known| known.as_bytes() == method) {
        return Err(FramingFault::Method);
    }
    if target.len() > limits.target {
        return Err(FramingFault::TargetTooLong);
    }
    let is_connect = method == b"CONNECT";
    let visible = |byte: &u8| (0x21..0x7f).contains(byte) && *byte != b'#';
    // CONNECT has an authority (RFC 9112 §3.2.3), everything else an absolute path here.
    if target.is_empty() || !target.iter().all(visible) || is_connect == target.starts_with(b"/") {
        return Err(FramingFault::Target);
    }
    Ok((is_connect, is_1_1))
}

/// Checks one field line and gives name and value without surrounding blanks. Also for trailers.
pub(super) fn check_field(line: &[u8], value_limit: usize) -> Result<(&[u8], &[u8]), FramingFault> {
    check_line_bytes(line)?;
    let colon = memchr::memchr(b':', line).ok_or(FramingFault::Field)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    // An empty name, a blank before the colon and a folded line all fail here.
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return Err(FramingFault::Field);
    }
    let value = trim_blanks(value);
    if value.len() > value_limit {
        return Err(FramingFault::HeaderTooLarge);
    }
    // Without a way out in between: values are long, and nearly all of them good.
    let is_text = value.iter().fold(true, |all, byte| {
        all & ((*byte == b'\t') | ((*byte >= 0x20) & (*byte != 0x7f)))
    });
    if !is_text {
        return Err(FramingFault::Field);
    }
    Ok((name, value))
}

/// Without blanks at both ends (RFC 9110 §5.6.3): a form feed is none, although most libraries take it for white space.
fn trim_blanks(value: &[u8]) -> &[u8] {
    let is_other = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let Some(first) = value.iter().position(is_other) else {
        return &[];
    };
    let last = value.iter().rposition(is_other).unwrap_or(first);
    &value[first..=last]
}

/// A CR or LF that is left within a line would be a line end to somebody.
fn check_line_bytes(line: &[u8]) -> Result<(), FramingFault> {
    match memchr::memchr2(b'\r', b'\n', line) {
        Some(_) => Err(FramingFault::LineEnd),
        None => Ok(()),
    }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let plain = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    plain
        .then(|| std::str::from_utf8(value).ok()?.parse().ok())
        .flatten()
}

/// RFC 9110 §5.6.2.
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Splits at CR LF; the last line has none.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        match memchr::memmem::find(rest, b"\r\n") {
            Some(at) => {
                self.0 = Some(&rest[at + 2..]);
                Some(&rest[..at])
            }
            None => self.0.take(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BodyFraming, FramingFault as F, Head, HeadLimits, check_head};

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 32 * 1024,
        fields: 100,
        value: 16 * 1024,
        target: 8 * 1024,
    };

    fn check(head: &str, expected: Result<BodyFraming, F>) {
        let read = check_head(head.as_bytes(), &LIMITS);
        assert_eq!(read.map(|head| head.body), expected, "{head:?}");
    }

    #[test]
    fn d1_request_lines() {
        let good = [
            "GET / HTTP/1.1",
            "HEAD /a?b HTTP/1.0",
            "DELETE /%2e HTTP/1.1",
            "CONNECT b:80 HTTP/1.1",
        ];
        for line in good {
            check(
                &format!("{line}\r\nHost: a\r\n\r\n"),
                Ok(BodyFraming::Empty),
            );
        }
        let bad = [
            ("GET  / HTTP/1.1", F::RequestLine),
            (" GET / HTTP/1.1", F::RequestLine),
            ("GET / HTTP/1.1 ", F::RequestLine),
            ("GET /", F::RequestLine),
            ("GET", F::RequestLine),
            ("", F::RequestLine),
            ("GET\t/\tHTTP/1.1", F::RequestLine),
            ("GET / a HTTP/1.1", F::RequestLine),
            ("G\"T / HTTP/1.1", F::RequestLine),
            ("\r\nGET / HTTP/1.1", F::RequestLine),
            ("GET / HTTP/1.2", F::Version),
            ("GET / HTTP/2.0", F::Version),
            ("GET / http/1.1", F::Version),
            ("GET / HTTP/0.9", F::Version),
            ("GET / HTTP/1.1x", F::Version),
            ("GET / HTTP/01.1", F::Version),
            ("get / HTTP/1.1", F::Method),
            ("G!T / HTTP/1.1", F::Method),
            ("TRACE / HTTP/1.1", F::Method),
            ("PRI * HTTP/1.1", F::Method),
            ("GET admin HTTP/1.1", F::Target),
            ("GET * HTTP/1.1", F::Target),
            ("OPTIONS * HTTP/1.1", F::Target),
            ("GET http://evil/adm HTTP/1.1", F::Target),
            ("CONNECT /admin HTTP/1.1", F::Target),
            ("GET /pub#/../admin HTTP/1.1", F::Target),
            ("GET /\u{e9} HTTP/1.1", F::Target),
            ("GET /\0 HTTP/1.1", F::Target),
            ("GET /\t HTTP/1.1", F::Target),
            ("GET /\u{7f} HTTP/1.1", F::Target),
            ("GET / HTTP/1.1\n", F::LineEnd),
            ("GET /\r HTTP/1.1", F::LineEnd),
            ("GET / HTTP/1.1\rX: y", F::LineEnd),
        ];
        for (line, fault) in bad {
            check(&format!("{line}\r\nHost: a\r\n\r\n"), Err(fault));
        }
    }

    #[test]
    fn d1_fields() {
        let good = [
            ("X: y", BodyFraming::Empty),
            ("X:", BodyFraming::Empty),
            ("X:\t y \t", BodyFraming::Empty),
            ("X: \u{e9}", BodyFraming::Empty),
            ("Content-Length: 0", BodyFraming::Empty),
            ("Content-Length: 6", BodyFraming::Length(6)),
            ("CONTENT-LENGTH:006", BodyFraming::Length(6)),
            ("Transfer-Encoding: chunked", BodyFraming::Chunked),
            ("transfer-encoding: CHUNKED", BodyFraming::Chunked),
            ("Expect: 100-continue", BodyFraming::Empty),
        ];
        for (field, body) in good {
            check(
                &format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"),
                Ok(body),
            );
        }
        let bad = [
            ("X", F::Field),
            (": y", F::Field),
            ("X : y", F::Field),
            ("X\t: y", F::Field),
            (" X: y", F::Field),
            ("\tfolded", F::Field),
            ("X y: z", F::Field),
            ("X\0: y", F::Field),
            ("X: a\0b", F::Field),
            ("X: a\x0bb", F::Field),
            ("X: \x7f", F::Field),
            ("X: \x0cy", F::Field),
            ("X: y\x0c", F::Field),
            ("X\u{e9}: y", F::Field),
            ("X(: y", F::Field),
            ("X: a\nY: b", F::LineEnd),
            ("X: a\rY: b", F::LineEnd),
            ("X: a\n", F::LineEnd),
            ("X: a\n b", F::LineEnd),
            ("\nX: a", F::LineEnd),
            ("Host: b", F::Host),
            ("host: a", F::Host),
            ("Content-Length: 6\r\nContent-Length: 6", F::ContentLength),
            ("Content-Length: 6, 6", F::ContentLength),
            ("Content-Length: +6", F::ContentLength),
            ("Content-Length: -6", F::ContentLength),
            ("Content-Length: 0x6", F::ContentLength),
            ("Content-Length: 6 ;", F::ContentLength),
            ("Content-Length:", F::ContentLength),
            ("Content-Length: 18446744073709551616", F::ContentLength),
            ("Content-Length: 6\r\ncontent-length: 7", F::ContentLength),
            ("Content-Length: 1_0", F::ContentLength),
            ("Content-Length: 1 0", F::ContentLength),
            ("Content-Length : 6", F::Field),
            ("Transfer-Encoding: identity", F::TransferEncoding),
            ("Transfer-Encoding: identity, chunked", F::TransferEncoding),
            ("Transfer-Encoding: chunked, chunked", F::TransferEncoding),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                F::TransferEncoding,
            ),
            ("Transfer-Encoding: gzip, chunked", F::TransferEncoding),
            ("Transfer-Encoding: xchunked", F::TransferEncoding),
            ("Transfer-Encoding: \"chunked\"", F::TransferEncoding),
            ("Transfer-Encoding:", F::TransferEncoding),
            ("Transfer-Encoding: chunked;a", F::TransferEncoding),
            ("Transfer-Encoding: \x0bchunked", F::Field),
            ("Transfer-Encoding: \x0cchunked", F::Field),
            ("Transfer-Encoding : chunked", F::Field),
            ("Transfer-Encoding\r\n : chunked", F::Field),
            ("Transfer-Encoding: chunked\r\n , identity", F::Field),
            (
                "Content-Length: 6\r\nTransfer-Encoding: chunked",
                F::LengthAndChunked,
            ),
            (
                "Transfer-Encoding: chunked\r\nContent-Length: 0",
                F::LengthAndChunked,
            ),
            ("Expect: y 100-continue", F::Expect),
            ("Expect: 100-continue, x", F::Expect),
            ("Expect:", F::Expect),
            ("Upgrade: websocket\r\nContent-Length: 5", F::TunnelWithBody),
            (
                "Upgrade: h2c\r\nTransfer-Encoding: chunked",
                F::TunnelWithBody,
            ),
        ];
        for (field, fault) in bad {
            check(
                &format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"),
                Err(fault),
            );
        }
        check("GET / HTTP/1.1\r\n\r\n", Err(F::Host));
        check("GET / HTTP/1.0\r\n\r\n", Err(F::Host));
        check(
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err(F::TransferEncoding),
        );
        check("GET / HTTP/1.1\r\nHost: a\n\n", Err(F::LineEnd));
    }

    #[test]
    fn d2_upgrade_and_connect_hold() {
        let holds =
            |head: &str| check_head(head.as_bytes(), &LIMITS).map(|Head { holds, .. }| holds);
        assert_eq!(
            holds("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"),
            Ok(true)
        );
        assert_eq!(holds("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(true));
        assert_eq!(holds("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(false));
    }

    #[test]
    fn d1_limits() {
        let head = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        check(&head(&"X: y\r\n".repeat(99)), Ok(BodyFraming::Empty));
        check(&head(&"X: y\r\n".repeat(100)), Err(F::HeaderTooLarge));
        check(
            &head(&format!("X: {}\r\n", "y".repeat(16 * 1024))),
            Ok(BodyFraming::Empty),
        );
        check(
            &head(&format!("X: {}\r\n", "y".repeat(16 * 1024 + 1))),
            Err(F::HeaderTooLarge),
        );
        check(
            &head(&format!("X: {}\r\n", "y".repeat(11 * 1024)).repeat(3)),
            Err(F::HeaderTooLarge),
        );
        check(
            &format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(8192)),
            Err(F::TargetTooLong),
        );
    }
}
