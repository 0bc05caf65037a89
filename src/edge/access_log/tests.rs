use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::sync::Mutex;

use http::Request;

use super::*;
use crate::clock::ManualClock;
use crate::telemetry::metrics::Metrics;

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that entries for these requests write.
fn logged(
    requests: Vec<request::Parts>,
    with: impl Fn(&mut Entry, &ManualClock),
) -> Vec<serde_json::Value> {
    let output = Shared::default();
    let metrics = Metrics::default();
    let (log, writer) = AccessLog::to(output.clone(), &metrics).unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(
        1_800_000_000_007_000,
    )));
    let lines = Rc::new(Lines::new(log, clock.clone(), &EdgeMetrics::new(&metrics)));
    let connection = Rc::new(ConnectionInfo {
        peer: (Ipv4Addr::new(192, 0, 2, 1), 1).into(),
        scheme: Scheme::Http,
        external_port: 80,
        server_name: None,
        certificate: None,
        certificate_names: None,
        http2: false,
        presented: None,
    });
    for head in requests {
        let trace = TraceContext::of(&head.headers, [7; 24]);
        let now = crate::clock::Clock::now(&*clock);
        let mut entry = Entry::open(
            &lines,
            &connection,
            Some(&head),
            RequestId::for_tests(),
            trace,
            now,
        );
        with(&mut entry, &clock);
    }
    drop(lines);
    writer.finish();
    let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
    assert!(text.is_ascii());
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn head(request: http::request::Builder) -> request::Parts {
    request.body(()).unwrap().into_parts().0
}

#[test]
fn k9_hostile_values_make_one_line_each() {
    let huge = "x".repeat(1_000_000);
    let agents: [&[u8]; 5] = [
        b"plain",
        b"\"}\t{\"",
        "\u{2028}\u{1b}[31m".as_bytes(),
        b"\xff\xfe",
        huge.as_bytes(),
    ];
    let requests: Vec<_> = agents
        .iter()
        .filter_map(|agent| HeaderValue::from_bytes(agent).ok())
        .map(|agent| {
            head(
                Request::get("/a?secret=1")
                    .header("host", "h")
                    .header("user-agent", agent),
            )
        })
        .collect();
    let count = requests.len();
    let lines = logged(requests, |_, _| {});
    assert_eq!(lines.len(), count);
    assert!(count >= 3);
    for line in &lines {
        assert_eq!(
            (line["path"].as_str(), line["host"].as_str()),
            (Some("/a"), Some("h")),
            "no query"
        );
        assert!(line["user_agent"].as_str().unwrap().chars().count() <= USER_AGENT_LENGTH + 3);
    }
    assert!(
        lines[count - 1]["user_agent"]
            .as_str()
            .unwrap()
            .ends_with("...")
    );
}

#[test]
fn a_request_that_nobody_finished_is_logged_as_aborted() {
    let lines = logged(vec![head(Request::get("/"))], |_, clock| {
        clock.advance(std::time::Duration::from_millis(1500));
    });
    assert_eq!(lines[0]["outcome"], "aborted");
    assert_eq!(lines[0]["duration_us"], 1_500_000);
    assert_eq!(lines[0]["status"], serde_json::Value::Null);
    assert_eq!(lines[0]["client"], "192.0.2.1");
    assert_eq!(lines[0]["trace_id"], "07070707070707070707070707070707");
}

#[test]
fn times_have_milliseconds_across_seconds() {
    let requests = vec![
        head(Request::get("/")),
        head(Request::get("/")),
        head(Request::get("/")),
    ];
    let lines = logged(requests, |_, clock| {
        clock.advance(std::time::Duration::from_millis(995))
    });
    let times: Vec<_> = lines
        .iter()
        .map(|line| line["ts"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        times,
        [
            "2027-01-15T08:00:00.007Z",
            "2027-01-15T08:00:01.002Z",
            "2027-01-15T08:00:01.997Z"
        ]
    );
}
