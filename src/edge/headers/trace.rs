//! W3C Trace Context (level 1): the trace goes on through us, the span is ours.

use http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Shared by everything that a request causes.
    pub trace_id: [u8; 16],
    /// Our part of it.
    pub span_id: [u8; 8],
    /// Whether the caller records the trace.
    pub sampled: bool,
    /// Whether the caller began it, and its `tracestate` goes along.
    pub continued: bool,
}

impl TraceContext {
    /// Goes on with the caller's trace if its `traceparent` is valid and comes once (§3.2), else begins one.
    pub fn of(headers: &HeaderMap, chance: [u8; 24]) -> Self {
        let (mut fresh, mut span_id) = ([0; 16], [0; 8]);
        fresh.copy_from_slice(&chance[..16]);
        span_id.copy_from_slice(&chance[16..]);
        // Ids of zeroes only are not valid.
        fresh[0] |= 1;
        span_id[0] |= 1;
        let mut given = headers.get_all(TRACEPARENT).iter();
        let parent = match (given.next(), given.next()) {
            (Some(value), None) => parse(value.as_bytes()),
            _ => None,
        };
        Self {
            trace_id: parent.map_or(fresh, |(trace_id, _)| trace_id),
            span_id,
            sampled: parent.is_some_and(|(_, sampled)| sampled),
            continued: parent.is_some(),
        }
    }

    /// The header for the upstream.
    pub fn traceparent(&self) -> HeaderValue {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        // Each part is exactly twice as long as its bytes.
        let _trace = hex::encode_to_slice(self.trace_id, &mut text[3..35]);
        let _span = hex::encode_to_slice(self.span_id, &mut text[36..52]);
        if self.sampled {
            text[54] = b'1';
        }
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// `version-trace-parent-flags` (§3.2.2); later versions may have more behind a hyphen (§3.2.4).
fn parse(text: &[u8]) -> Option<([u8; 16], bool)> {
    let (head, rest) = text.split_at_checked(55)?;
    let is_lower_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let hyphens = [2, 35, 52];
    let shaped = head.iter().enumerate().all(|(at, byte)| {
        if hyphens.contains(&at) {
            *byte == b'-'
        } else {
            is_lower_hex(byte)
        }
    });
    let version = &head[..2];
    let ends = if version == b"00" {
        rest.is_empty()
    } else {
        rest.is_empty() || rest.starts_with(b"-")
    };
    if !shaped || !ends || version == b"ff" {
        return None;
    }
    let (mut trace_id, mut parent, mut flags) = ([0; 16], [0; 8], [0; 1]);
    hex::decode_to_slice(&head[3..35], &mut trace_id).ok()?;
    hex::decode_to_slice(&head[36..52], &mut parent).ok()?;
    hex::decode_to_slice(&head[53..55], &mut flags).ok()?;
    (trace_id != [0; 16] && parent != [0; 8]).then_some((trace_id, flags[0] & 1 == 1))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::{TRACEPARENT, TraceContext};

    fn context(values: &[&str]) -> TraceContext {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_str(value).expect("a value"));
        }
        TraceContext::of(&headers, [7; 24])
    }

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_trace_goes_on_with_a_span_of_ours() {
        let context = context(&[GOOD]);
        assert!(context.continued && context.sampled);
        let ours = context.traceparent();
        assert_eq!(
            ours,
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0707070707070707-01"
        );
    }

    #[test]
    fn a9_anything_else_begins_a_new_trace() {
        let zero_trace = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let zero_parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01";
        let long = format!("{GOOD}-more");
        let cases: &[&[&str]] = &[
            &[],
            &[""],
            &[GOOD, GOOD],
            &[zero_trace],
            &[zero_parent],
            &[&long],
            &["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            &["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g"],
            &["00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01"],
        ];
        for given in cases {
            let context = context(given);
            assert!(!context.continued && !context.sampled, "{given:?}");
            assert_eq!(context.trace_id, [7; 16], "{given:?}");
        }
        let later = context(&["01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-x"]);
        assert!(later.continued && !later.sampled);
    }
}
