//! `[limits]`: sizes, counts and deadlines.

use crate::config::checked::Limits;
use crate::config::section::Section;

pub(super) fn read(section: &Section<'_>) -> Option<Limits> {
    let default = Limits::default();
    let streams = count(section, "http2_streams", default.http2_streams as usize);
    // Everything is read before anything is refused, so that every fault is found.
    let header_bytes = size(section, "header_bytes", default.header_bytes);
    let header_value_bytes = size(section, "header_value_bytes", default.header_value_bytes);
    let header_count = count(section, "header_count", default.header_count);
    let target_bytes = size(section, "target_bytes", default.target_bytes);
    let connections = count(section, "connections", default.connections);
    let tls_handshake = section.duration("tls_handshake", default.tls_handshake);
    let request_head = section.duration("request_head", default.request_head);
    let idle_connection = section.duration("idle_connection", default.idle_connection);
    let idle_stream = section.duration("idle_stream", default.idle_stream);
    let upstream_connect = section.duration("upstream_connect", default.upstream_connect);
    let response_head = section.duration("response_head", default.response_head);
    let drain = section.duration("drain", default.drain);
    let upstream_connections = count(
        section,
        "upstream_connections",
        default.upstream_connections,
    );
    Some(Limits {
        header_bytes: header_bytes?,
        header_value_bytes: header_value_bytes?,
        header_count: header_count?,
        target_bytes: target_bytes?,
        connections: connections?,
        http2_streams: u32::try_from(streams?).ok()?,
        tls_handshake: tls_handshake?,
        request_head: request_head?,
        idle_connection: idle_connection?,
        idle_stream: idle_stream?,
        upstream_connect: upstream_connect?,
        response_head: response_head?,
        drain: drain?,
        upstream_connections: upstream_connections?,
    })
}

fn count(section: &Section<'_>, key: &'static str, default: usize) -> Option<usize> {
    if !section.has(key) {
        return Some(default);
    }
    let number = section.number(key, 1..=1_000_000)?;
    usize::try_from(number).ok()
}

/// A size like `32KiB`, between 256 bytes and 16 MiB.
fn size(section: &Section<'_>, key: &'static str, default: usize) -> Option<usize> {
    if !section.has(key) {
        return Some(default);
    }
    section.parsed(key, |text| {
        bytes(text)
            .filter(|bytes| (256..=16 * 1024 * 1024).contains(bytes))
            .ok_or("this must be a size from \"256B\" to \"16MiB\", in B, KiB or MiB")
    })
}

/// A size like `32KiB`.
pub(super) fn bytes(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "GiB" => 1024 * 1024 * 1024,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(factor)
}
