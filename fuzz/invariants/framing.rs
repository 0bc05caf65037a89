//! What the gate before the HTTP/1 server lets through, another parser reads in the same way; and a chunked body reads the same however it
//! arrives. Input: a head, and behind it a chunked body.

use wayleave::edge::framing::chunked::ChunkedBody;
use wayleave::edge::framing::head::{BodyFraming, HeadLimits, check_head};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 32 * 1024,
    fields: 100,
    value: 16 * 1024,
    target: 8 * 1024,
};

/// See the module.
pub(crate) fn check(bytes: &[u8]) {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let Some(end) = end.map(|at| at + 4) else {
        return check_body(bytes);
    };
    check_head_of(&bytes[..end]);
    check_body(&bytes[end..]);
}

fn check_head_of(bytes: &[u8]) {
    let Ok(head) = check_head(bytes, &LIMITS) else {
        return;
    };
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut other = httparse::Request::new(&mut fields);
    assert_eq!(
        other.parse(bytes),
        Ok(httparse::Status::Complete(bytes.len()))
    );
    assert!(!other.path.unwrap_or_default().contains(['#', ' ']));
    let values = |name: &str| -> Vec<&[u8]> {
        let fields = other.headers.iter();
        fields
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
            .collect()
    };
    assert_eq!(values("host").len(), 1);
    let expected = match (
        values("content-length").as_slice(),
        values("transfer-encoding").as_slice(),
    ) {
        ([], []) => BodyFraming::Empty,
        ([length], []) => {
            let length = std::str::from_utf8(length).unwrap_or_default();
            match length.parse() {
                Ok(0) | Err(_) => BodyFraming::Empty,
                Ok(length) => BodyFraming::Length(length),
            }
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => BodyFraming::Chunked,
        other => panic!("two framings: {other:?}"),
    };
    let agreed = match head.body {
        BodyFraming::Length(0) => BodyFraming::Empty,
        body => body,
    };
    assert_eq!(agreed, expected);
}

/// The good bytes of a body that comes in pieces, and whether it is complete; `None` when it is refused.
fn read(pieces: &[&[u8]]) -> Option<(Vec<u8>, bool)> {
    let mut body = ChunkedBody::START;
    let (mut waiting, mut good) = (Vec::new(), Vec::new());
    for piece in pieces {
        waiting.extend_from_slice(piece);
        let judged = body.read(&waiting).ok()?;
        good.extend(waiting.drain(..judged));
    }
    Some((good, body == ChunkedBody::Done))
}

fn check_body(bytes: &[u8]) {
    let whole = read(&[bytes]);
    let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(&bytewise), whole);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    assert_eq!(read(&[first, second]), whole);
    if let Some((good, true)) = whole {
        assert!(bytes.starts_with(&good));
        assert_eq!(naive_length(&good), Some(good.len()));
    }
}

/// The length of a chunked body, read line by line (RFC 9112 §7.1) by another parser of sizes.
fn naive_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let (line, size) = match httparse::parse_chunk_size(&bytes[at..]).ok()? {
            httparse::Status::Complete(found) => found,
            httparse::Status::Partial => return None,
        };
        at += line;
        if size == 0 {
            break;
        }
        at += usize::try_from(size).ok()?;
        at += bytes[at..].strip_prefix(b"\r\n").map(|_| 2)?;
    }
    let mut fields = [httparse::EMPTY_HEADER; 4096];
    match httparse::parse_headers(&bytes[at..], &mut fields).ok()? {
        httparse::Status::Complete((length, _)) => Some(at + length),
        httparse::Status::Partial => None,
    }
}
