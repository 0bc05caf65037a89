//! Access log lines: writing one safely, and getting batches of them out of the process without ever waiting.
//!
//! Whoever serves requests writes lines into a buffer of its own and hands it over; one thread writes. If that thread cannot keep up, lines are
//! dropped and counted: a full disk must not stop the traffic.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use prometheus_client::metrics::counter::Counter;

use crate::telemetry::causes::Causes;
use crate::telemetry::metrics::Metrics;

/// Batches that may wait for the writer.
const QUEUE: usize = 256;
/// A new file is for its owner and its group: it says who did what. One that is there keeps the mode it was given.
const MODE: u32 = 0o640;
/// Longest value, in bytes before escaping; the rest is cut off and said to be.
pub const MAX_VALUE: usize = 1024;

/// One JSON object on one line. Every value is printable ASCII whatever it is made of: quotes, control characters, terminal escapes and
/// everything beyond ASCII are escaped.
pub struct Line<'a> {
    into: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Line<'a> {
    /// Begins a line at the end of a buffer.
    pub fn begin(into: &'a mut Vec<u8>) -> Self {
        into.push(b'{');
        Self { into, first: true }
    }

    /// A member whose value is any text.
    pub fn text(&mut self, key: &'static str, value: &str) -> &mut Self {
        self.key(key);
        self.into.push(b'"');
        let cut = cut_at(value, MAX_VALUE);
        let mut rest = value.get(..cut).unwrap_or_default();
        loop {
            let (plain, other) = rest.split_at(plain_length(rest.as_bytes()));
            self.into.extend_from_slice(plain.as_bytes());
            let mut characters = other.chars();
            let Some(character) = characters.next() else {
                break;
            };
            escape(self.into, character);
            rest = characters.as_str();
        }
        if cut < value.len() {
            // Writing to a Vec does not fail.
            let _written = write!(self.into, "...[{} bytes]", value.len());
        }
        self.into.push(b'"');
        self
    }

    /// A member whose value came from outside as bytes; what is not UTF-8 shows as replacement characters.
    pub fn bytes(&mut self, key: &'static str, value: &[u8]) -> &mut Self {
        let shown = value.get(..MAX_VALUE * 4).unwrap_or(value);
        match std::str::from_utf8(shown) {
            Ok(text) if shown.len() == value.len() => self.text(key, text),
            _ => self.text(key, &String::from_utf8_lossy(shown)),
        }
    }

    /// A member whose value is a number.
    pub fn number(&mut self, key: &'static str, value: impl itoa::Integer) -> &mut Self {
        self.key(key);
        self.push_number(value);
        self
    }

    /// A member whose value is an address: digits, letters and punctuation.
    pub fn address(&mut self, key: &'static str, address: IpAddr) -> &mut Self {
        self.key(key);
        self.into.push(b'"');
        self.push_ip(address);
        self.into.push(b'"');
        self
    }

    /// A member whose value is an address with its port.
    pub fn socket_address(&mut self, key: &'static str, address: SocketAddr) -> &mut Self {
        self.key(key);
        self.into.push(b'"');
        match address {
            SocketAddr::V4(address) => {
                self.push_ip((*address.ip()).into());
                self.into.push(b':');
                self.push_number(address.port());
            }
            SocketAddr::V6(address) => {
                let _written = write!(self.into, "{address}");
            }
        }
        self.into.push(b'"');
        self
    }

    fn push_ip(&mut self, ip: IpAddr) {
        let IpAddr::V4(ip) = ip else {
            let _written = write!(self.into, "{ip}");
            return;
        };
        for (place, part) in ip.octets().into_iter().enumerate() {
            if place > 0 {
                self.into.push(b'.');
            }
            self.push_number(part);
        }
    }

    fn push_number(&mut self, value: impl itoa::Integer) {
        let mut digits = itoa::Buffer::new();
        self.into.extend_from_slice(digits.format(value).as_bytes());
    }

    /// A member that is true or false.
    pub fn flag(&mut self, key: &'static str, value: bool) -> &mut Self {
        self.key(key);
        self.into
            .extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    /// Ends the line.
    pub fn end(self) {
        self.into.extend_from_slice(b"}\n");
    }

    fn key(&mut self, key: &'static str) {
        if !std::mem::take(&mut self.first) {
            self.into.push(b',');
        }
        self.into.push(b'"');
        self.into.extend_from_slice(key.as_bytes());
        self.into.extend_from_slice(b"\":");
    }
}

/// The last character boundary at or before `limit`.
fn cut_at(text: &str, limit: usize) -> usize {
    if text.len() <= limit {
        return text.len();
    }
    (0..=limit)
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0)
}

/// How many bytes at the start stand for themselves.
fn plain_length(bytes: &[u8]) -> usize {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') & (*byte != b'"') & (*byte != b'\\');
    // Whole pieces at once: nearly everything is plain.
    let pieces = bytes.chunks_exact(16).take_while(|piece| {
        let plain = piece.iter().map(|byte| u8::from(is_plain(byte)));
        plain.fold(1, |all, one| all & one) == 1
    });
    let sure = pieces.count() * 16;
    let rest = bytes[sure..].iter().take_while(|byte| is_plain(byte));
    sure + rest.count()
}

fn escape(into: &mut Vec<u8>, character: char) {
    match character {
        '"' => into.extend_from_slice(b"\\\""),
        '\\' => into.extend_from_slice(b"\\\\"),
        '\n' => into.extend_from_slice(b"\\n"),
        '\r' => into.extend_from_slice(b"\\r"),
        '\t' => into.extend_from_slice(b"\\t"),
        ' '..='~' => into.push(character as u8),
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _written = write!(into, "\\u{unit:04x}");
            }
        }
    }
}

/// A batch of whole lines.
struct Batch {
    text: Vec<u8>,
    lines: u64,
}

/// Where batches are handed over. Cheap to clone.
#[derive(Clone)]
pub struct AccessLog {
    queue: SyncSender<Batch>,
    dropped: Counter,
}

/// The thread that writes. It ends when the last [`AccessLog`] is dropped.
pub struct Writer(JoinHandle<()>);

impl AccessLog {
    /// Opens the log and starts its thread; `None` is standard output. Files are appended to.
    pub fn start(file: Option<&Path>, metrics: &Metrics) -> io::Result<(Self, Writer)> {
        match file {
            Some(path) => {
                let mut options = OpenOptions::new();
                let file = options.create(true).append(true).mode(MODE).open(path)?;
                Self::to(file, metrics)
            }
            None => Self::to(io::stdout(), metrics),
        }
    }

    /// Writes to anything; for tests.
    pub fn to(
        output: impl Write + Send + 'static,
        metrics: &Metrics,
    ) -> io::Result<(Self, Writer)> {
        let dropped = Counter::default();
        metrics.register(|registry| {
            registry.register(
                "wayleave_access_log_dropped_lines",
                "Access log lines that were dropped because the log could not be written fast enough, or at all",
                dropped.clone(),
            );
        });
        let (queue, batches) = sync_channel(QUEUE);
        let lost = dropped.clone();
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&batches, output, &lost))?;
        Ok((Self { queue, dropped }, Writer(thread)))
    }

    /// Hands over whole lines, without waiting.
    pub fn hand_over(&self, text: Vec<u8>, lines: u64) {
        if self.queue.try_send(Batch { text, lines }).is_err() {
            self.dropped.inc_by(lines);
        }
    }
}

impl Writer {
    /// Waits for the last line, after every [`AccessLog`] is gone.
    pub fn finish(self) {
        if self.0.join().is_err() {
            tracing::error!("the access log's thread panicked");
        }
    }
}

fn write_all(batches: &Receiver<Batch>, mut output: impl Write, lost: &Counter) {
    let mut failing = false;
    for batch in batches {
        let written = output.write_all(&batch.text).and_then(|()| output.flush());
        match written {
            Ok(()) => failing = false,
            Err(error) => {
                lost.inc_by(batch.lines);
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(error = %Causes(&error), "the access log cannot be written; its lines are lost meanwhile");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::net::{IpAddr, SocketAddr};
    use std::sync::{Arc, Mutex};

    use super::{AccessLog, Line, MAX_VALUE};
    use crate::telemetry::metrics::Metrics;

    fn line(value: &[u8]) -> String {
        let mut buffer = Vec::new();
        let mut line = Line::begin(&mut buffer);
        line.bytes("a", value).number("n", 1).flag("f", true);
        line.end();
        String::from_utf8(buffer).expect("ASCII")
    }

    #[test]
    fn k9_every_value_stays_one_line_of_printable_ascii() {
        let long = "ü".repeat(500_000);
        let nasty: &[&[u8]] = &[
            b"plain",
            b"\r\nGET /forged",
            b"\x1b[31mred\x07",
            b"quote\" back\\slash",
            "line\u{2028}and\u{2029}paragraph".as_bytes(),
            "\u{202e}right to left \u{85}\u{9b}31m".as_bytes(),
            "\u{1f600}".as_bytes(),
            b"\xff\xfe\x00",
            b"\x7f",
            long.as_bytes(),
        ];
        for value in nasty {
            let text = line(value);
            let (body, end) = text.split_at(text.len() - 1);
            assert_eq!(end, "\n");
            assert!(
                body.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
                "{body}"
            );
            assert!(body.len() < MAX_VALUE * 7);
            let read: serde_json::Value = serde_json::from_str(body).expect("JSON");
            assert_eq!(read["n"], 1);
            assert_eq!(read["f"], true);
            if value.len() <= MAX_VALUE {
                assert_eq!(read["a"], *String::from_utf8_lossy(value));
            }
        }
    }

    #[test]
    fn k9_what_is_escaped_is_found_wherever_it_stands() {
        for length in 0..40 {
            for at in 0..length {
                for nasty in ["\"", "\\", "\n", "\x7f", "\u{e4}", "\u{1f600}"] {
                    let value = format!("{}{nasty}{}", "a".repeat(at), "b".repeat(length - at));
                    let read: serde_json::Value =
                        serde_json::from_str(&line(value.as_bytes())).expect("JSON");
                    assert_eq!(read["a"], *value);
                }
            }
        }
    }

    #[test]
    fn addresses_are_written_as_everywhere() {
        for ip in ["0.0.0.0", "192.0.2.255", "::1", "2001:db8::ff"] {
            let ip: IpAddr = ip.parse().expect("an address");
            let socket = SocketAddr::new(ip, 65_535);
            let mut buffer = Vec::new();
            let mut line = Line::begin(&mut buffer);
            line.address("ip", ip).socket_address("socket", socket);
            line.end();
            let expected = format!("{{\"ip\":\"{ip}\",\"socket\":\"{socket}\"}}\n");
            assert_eq!(String::from_utf8(buffer).expect("ASCII"), expected);
        }
    }

    #[test]
    fn k9_a_cut_value_says_so() {
        let text = line(&[b'x'; MAX_VALUE + 1]);
        assert!(text.contains("x...[1025 bytes]"), "{text}");
        assert!(!line(&[b'x'; MAX_VALUE]).contains("bytes]"));
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("not poisoned")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn batches_arrive_whole_and_in_order() {
        let output = Shared::default();
        let (log, writer) = AccessLog::to(output.clone(), &Metrics::default()).expect("a thread");
        log.hand_over(b"one\ntwo\n".to_vec(), 2);
        log.clone().hand_over(b"three\n".to_vec(), 1);
        drop(log);
        writer.finish();
        assert_eq!(
            &*output.0.lock().expect("not poisoned"),
            b"one\ntwo\nthree\n"
        );
    }

    #[test]
    fn k9_a_new_log_is_not_for_everybody() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let (log, writer) = AccessLog::start(Some(&path), &Metrics::default()).expect("a file");
        drop(log);
        writer.finish();
        let mode = std::fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
    }

    /// Blocks until told to go on.
    struct Stuck(std::sync::mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _told = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_writer_that_is_stuck_costs_lines_and_not_requests() {
        let metrics = Metrics::default();
        let (go_on, stuck) = std::sync::mpsc::channel();
        let (log, writer) = AccessLog::to(Stuck(stuck), &metrics).expect("a thread");
        for _ in 0..super::QUEUE + 10 {
            log.hand_over(b"line\n".to_vec(), 1);
        }
        assert!(log.dropped.get() >= 8, "{}", log.dropped.get());
        drop(go_on);
        drop(log);
        writer.finish();
        assert!(
            metrics
                .encode()
                .contains("wayleave_access_log_dropped_lines_total")
        );
    }
}
