//! The strict reading of a chunked body (RFC 9112 §7.1): bytes in, how many of them are good out. Pure.
//!
//! No extensions, no blanks, no line end but CR LF, and trailers that are well-formed fields: all else could be read in two ways by somebody behind us.

use crate::edge::framing::head::{FramingFault, check_field};

/// All trailers together, bytes.
const TRAILERS: usize = 8 * 1024;
/// What a trailer must not say (RFC 9110 §6.5.1): whoever merged it into the head would frame or route the message anew.
const FRAMING: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"host"];
/// Digits of a chunk's size that fit 64 bits.
const SIZE_DIGITS: u8 = 16;

/// Where in a chunked body the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkedBody {
    /// In a size: the digits so far and their number.
    Size(u64, u8),
    /// Before the LF of a size line.
    SizeEnd(u64),
    /// In data, with so many bytes to come.
    Data(u64),
    /// Before the CR behind data.
    DataCr,
    /// Before the LF behind data.
    DataLf,
    /// In the trailers, which are judged whole.
    Trailers,
    /// Behind the body.
    Done,
}

impl ChunkedBody {
    /// Before the first chunk.
    pub const START: Self = Self::Size(0, 0);

    /// Judges what is there: the number of bytes at its start that are good. Fewer than all of them means that more are needed, or that the body is done.
    pub fn read(&mut self, bytes: &[u8]) -> Result<usize, FramingFault> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            *self = match (*self, byte) {
                (Self::Data(length), _) => {
                    let there = u64::try_from(bytes.len() - at).unwrap_or(u64::MAX);
                    let taken = length.min(there);
                    at += usize::try_from(taken).map_err(|_| FramingFault::Chunk)?;
                    match length - taken {
                        0 => *self = Self::DataCr,
                        rest => *self = Self::Data(rest),
                    }
                    continue;
                }
                (Self::Trailers, _) => {
                    let rest = &bytes[at..];
                    let Some(length) = check_trailers(rest)? else {
                        return Ok(at);
                    };
                    at += length;
                    *self = Self::Done;
                    return Ok(at);
                }
                (Self::Done, _) => return Ok(at),
                (Self::Size(size, digits), byte) => size_digit(size, digits, byte)?,
                (Self::SizeEnd(0), b'\n') => Self::Trailers,
                (Self::SizeEnd(size), b'\n') => Self::Data(size),
                (Self::DataCr, b'\r') => Self::DataLf,
                (Self::DataLf, b'\n') => Self::START,
                (Self::SizeEnd(_) | Self::DataCr | Self::DataLf, _) => {
                    return Err(FramingFault::Chunk);
                }
            };
            at += 1;
        }
        Ok(at)
    }
}

fn size_digit(size: u64, digits: u8, byte: u8) -> Result<ChunkedBody, FramingFault> {
    if byte == b'\r' && digits > 0 {
        return Ok(ChunkedBody::SizeEnd(size));
    }
    let digit = char::from(byte).to_digit(16).ok_or(FramingFault::Chunk)?;
    if digits == SIZE_DIGITS {
        return Err(FramingFault::Chunk);
    }
    Ok(ChunkedBody::Size(size << 4 | u64::from(digit), digits + 1))
}

/// The length of complete trailers with their last empty line; `None` while they are not complete.
fn check_trailers(bytes: &[u8]) -> Result<Option<usize>, FramingFault> {
    if bytes.starts_with(b"\r\n") {
        return Ok(Some(2));
    }
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return match bytes.len() > TRAILERS {
            true => Err(FramingFault::HeaderTooLarge),
            false => Ok(None),
        };
    };
    if end > TRAILERS {
        return Err(FramingFault::HeaderTooLarge);
    }
    let mut rest = &bytes[..end];
    while !rest.is_empty() {
        let line_end = memchr::memmem::find(rest, b"\r\n").unwrap_or(rest.len());
        let (name, _) = check_field(&rest[..line_end], TRAILERS)?;
        if FRAMING
            .iter()
            .any(|framing| name.eq_ignore_ascii_case(framing))
        {
            return Err(FramingFault::Chunk);
        }
        rest = rest.get(line_end + 2..).unwrap_or_default();
    }
    Ok(Some(end + 4))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads in pieces as a connection does: what was not judged comes again with more behind it. The good bytes, and whether the body was complete.
    fn read(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool), FramingFault> {
        let mut body = ChunkedBody::START;
        let (mut waiting, mut good) = (Vec::new(), Vec::new());
        for piece in pieces {
            waiting.extend_from_slice(piece);
            let judged = body.read(&waiting)?;
            good.extend(waiting.drain(..judged));
        }
        Ok((good, body == ChunkedBody::Done))
    }

    #[test]
    fn d1_only_plain_chunks_are_read() {
        for good in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "a\r\n0123456789\r\n00\r\n\r\n",
            "0005\r\nhello\r\n0\r\nX: y\r\nZ:\r\n\r\n",
        ] {
            let whole = (good.as_bytes().to_vec(), true);
            assert_eq!(read(&[good.as_bytes()]), Ok(whole), "{good:?}");
        }
        for bad in [
            "\r\n",
            " 5\r\n",
            "5 \r\n",
            "5\n",
            "0x5\r\n",
            "+5\r\n",
            "5;a=b\r\n",
            "5;\r\n",
            "g\r\n",
            "5\r\r\n",
            "5\rhello",
            "5\r\nhello0\r\n",
            "5\r\nhello\n0\r\n",
            "5\r\nhello\r0",
            "-1\r\n",
            "12345678901234567\r\n",
            "0\r\nX\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\n X: y\r\n\r\n",
            "0\r\nX: a\nb\r\n\r\n",
            "0\r\n: y\r\n\r\n",
            "0\r\nContent-Length: 5\r\n\r\n",
            "0\r\nX: y\r\ntransfer-encoding: chunked\r\n\r\n",
            "0\r\nHOST: a\r\n\r\n",
            "5_0\r\n",
        ] {
            assert!(read(&[bad.as_bytes()]).is_err(), "{bad:?}");
        }
        let long = format!("0\r\nX: {}", "y".repeat(TRAILERS));
        assert_eq!(read(&[long.as_bytes()]), Err(FramingFault::HeaderTooLarge));
    }

    #[test]
    fn what_follows_the_body_is_not_part_of_it() {
        let text = b"0\r\n\r\nGET / HTTP/1.1";
        assert_eq!(read(&[text]), Ok((b"0\r\n\r\n".to_vec(), true)));
    }

    proptest! {
        #[test]
        fn any_split_reads_the_same(
            text in prop_oneof![
                "(([1-9a]\r\n[a-z]{1,10}\r\n)|0\r\n|\r\n|X: y\r\n){0,6}",
                Just("5\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nX: y\r\n\r\nGET".to_owned()),
            ],
            cuts in proptest::collection::vec(0usize..64, 0..8),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(&pieces).ok(), read(&[bytes]).ok());
        }
    }
}
