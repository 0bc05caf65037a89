//! `wayleave forward` and TCP routes, as processes: bytes both ways with a workload that speaks no HTTP, and every way in which that ends.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::parts::desk::Desk;
use crate::parts::program::{Program, eventually};
use crate::parts::served::{Parties, end};
use crate::parts::visitor::Visitor;

/// An edge, and somebody who is signed in at their desk.
struct Place {
    parties: Parties,
    edge: Program,
    desk: Desk,
}

impl Place {
    async fn of(who: &str) -> Self {
        let parties = Parties::gather().await;
        let edge = parties.serve().await;
        let desk = Desk::new();
        desk.sign_in_over_tls(&parties, who, &[]).await;
        Self {
            parties,
            edge,
            desk,
        }
    }

    /// A port that leads to the workload.
    async fn forward(&self, more: &[&str]) -> (Program, String) {
        let mut arguments = vec!["forward", "lines", "--output", "json"];
        arguments.extend(more);
        let mut forward = self.desk.start(&arguments);
        forward.says("\n").await;
        let said: Value = serde_json::from_str(&forward.out()).unwrap();
        (forward, said["listening"].as_str().unwrap().to_owned())
    }

    /// Waits for so many lines of the access log about the workload, with this outcome and reason.
    async fn logs(&self, count: usize, outcome: &str, reason: &str) {
        let is_so = |line: &Value| {
            line["route"] == "lines" && line["outcome"] == outcome && line["reason"] == reason
        };
        eventually(&format!("{count} {outcome} {reason}"), async || {
            let log = self.parties.read("access.log");
            let lines = log
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            lines.filter(is_so).count() == count
        })
        .await;
    }

    async fn leave(self) {
        end(self.edge).await;
        self.parties.leave().await;
    }
}

/// A connection to the workload, which has greeted.
struct Talk {
    stream: BufReader<TcpStream>,
    greeting: String,
}

impl Talk {
    async fn with(port: &str) -> Self {
        let mut stream = BufReader::new(TcpStream::connect(port).await.unwrap());
        let mut greeting = String::new();
        stream.read_line(&mut greeting).await.unwrap();
        Self { stream, greeting }
    }

    async fn says_back(&mut self, line: &str) {
        self.stream.write_all(line.as_bytes()).await.unwrap();
        let mut back = String::new();
        self.stream.read_line(&mut back).await.unwrap();
        assert_eq!(back, line);
    }

    /// What comes after our end.
    async fn rest(mut self) -> std::io::Result<String> {
        self.stream.shutdown().await?;
        self.rest_of_it().await
    }

    async fn rest_of_it(&mut self) -> std::io::Result<String> {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).await?;
        Ok(rest)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_go_both_ways_as_the_person_and_each_side_ends_in_its_own_time() {
    let place = Place::of("alice").await;
    for (count, more) in [(1, &[][..]), (2, &["--http1"][..])] {
        let (forward, port) = place.forward(more).await;
        let mut talk = Talk::with(&port).await;
        assert!(
            talk.greeting.contains("ns/people/sa/alice"),
            "{}",
            talk.greeting
        );
        talk.says_back("hello\n").await;
        // We end first, and still hear what it has to say.
        assert_eq!(talk.rest().await.unwrap(), "Goodbye.\n");
        place.logs(count, "allowed", "allowed").await;
        drop(forward);
    }
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_share_one_to_the_edge_and_none_waits_for_another() {
    let place = Place::of("bob").await;
    let (_forward, port) = place.forward(&[]).await;
    // One whose program reads nothing.
    let mut stuck = Talk::with(&port).await;
    let line = format!("{}\n", "x".repeat(60_000));
    let full = async {
        loop {
            if stuck.stream.write_all(line.as_bytes()).await.is_err() {
                break;
            }
        }
    };
    let others = async {
        let talks = (0..20).map(async |number| {
            let mut talk = Talk::with(&port).await;
            let line = format!("{number} {line}");
            for _ in 0..16 {
                talk.says_back(&line).await;
            }
            assert_eq!(talk.rest().await.unwrap(), "Goodbye.\n");
        });
        futures_util::future::join_all(talks).await;
    };
    tokio::select! {
        () = full => panic!("the connection that nobody reads from broke"),
        _ended = others => {}
    }
    place.logs(20, "allowed", "allowed").await;
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standard_input_and_output_carry_one_connection() {
    let place = Place::of("alice").await;
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_wayleave"))
        .args(["forward", "lines", "--stdio"])
        .envs(place.desk.environment())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"over standard input\n").await.unwrap();
    drop(stdin);
    let ended = tokio::time::timeout(Duration::from_secs(20), child.wait_with_output());
    let ended = ended.await.unwrap().unwrap();
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(said.starts_with("You are spiffe://"), "{said}");
    assert!(said.ends_with("over standard input\nGoodbye.\n"), "{said}");
    assert!(ended.status.success());
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_ends_with_the_rule_that_allowed_it_and_says_so() {
    let place = Place::of("alice").await;
    let (mut forward, port) = place.forward(&[]).await;
    let mut talk = Talk::with(&port).await;
    talk.says_back("hello\n").await;
    let (from, to) = (
        "to: [{ routes: [lines] }]",
        "to: [{ routes: [lines], methods: [GET] }]",
    );
    place.parties.edit("policy.yaml", from, to);
    // It is reset, so that nobody takes it for the far side's end.
    let ended = talk.rest_of_it().await;
    assert!(ended.is_err(), "{ended:?} {}", forward.err());
    forward
        .logs("the access rules do not allow it any more")
        .await;
    let refused = place.desk.run(&["forward", "lines"]).await;
    assert_eq!(refused.code, Some(4), "{} {}", refused.out, refused.err);
    assert!(
        refused.err.contains("you may not open lines"),
        "{}",
        refused.err
    );
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h5_a_tunnel_ends_with_the_session_that_it_came_of() {
    for more in [&[][..], &["--http1"][..]] {
        let place = Place::of("alice").await;
        let (forward, port) = place.forward(more).await;
        let mut talk = Talk::with(&port).await;
        talk.says_back("hello\n").await;
        place.desk.run(&["logout"]).await.expect_done();
        let ended = talk.rest_of_it().await;
        assert!(
            ended.is_err(),
            "{ended:?} {} {}",
            forward.err(),
            place.parties.read("access.log")
        );
        place.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_right_to_a_tunnel_is_told_so() {
    let place = Place::of("carol").await;
    let refused = place.desk.run(&["forward", "lines"]).await;
    assert_eq!(refused.code, Some(4), "{} {}", refused.out, refused.err);
    assert!(
        refused.err.contains("you may not open lines"),
        "{}",
        refused.err
    );
    place.leave().await;

    let place = Place::of("alice").await;
    // A route of HTTP gets no tunnel: each connection is told.
    let mut forward = place
        .desk
        .start(&["forward", "dashboards", "--output", "json"]);
    forward.says("\n").await;
    let said: Value = serde_json::from_str(&forward.out()).unwrap();
    let mut stream = TcpStream::connect(said["listening"].as_str().unwrap())
        .await
        .unwrap();
    let mut nothing = Vec::new();
    let ended = stream.read_to_end(&mut nothing).await;
    assert!(
        ended.is_err() && nothing.is_empty(),
        "{ended:?} {nothing:?}"
    );
    forward.logs("It speaks HTTP").await;
    // A browser at a TCP route learns what to do.
    let mut alice = Visitor::new();
    let page = alice.open_as("alice", &place.parties.at("lines")).await;
    assert_eq!(page.status, 421, "{page:?}");
    assert!(page.text.contains("wayleave forward"), "{page:?}");
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_is_not_logged_as_one_that_ended() {
    let place = Place::of("alice").await;
    let (forward, port) = place.forward(&[]).await;
    let mut talk = Talk::with(&port).await;
    talk.says_back("hello\n").await;
    forward.signal("KILL");
    place.logs(1, "aborted", "aborted").await;
    place.leave().await;
}
