//! `wayleave serve` as a process: what it refuses, what it follows while it runs, how it ends, and what survives it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::LocalSet;
use wayleave::clock::{Clock, SystemClock};
use wayleave::demo::authority::Authority;
use wayleave::demo::stage::HOSTS;

use crate::parts::client::raw;
use crate::parts::program::{eventually, is_free};
use crate::parts::served::{
    CONFIGURATION, OwnPostgres, Parties, alice, database, end, gathered_on, status,
};
use crate::parts::visitor::Visitor;

/// What changes is in force everywhere within this.
const SOON: Duration = Duration::from_secs(2);
/// What a slow request takes.
const SLOW: Duration = Duration::from_secs(1);
const LAST_GOOD: &str = "the last good one stays in force";

#[tokio::test]
async fn a_faulty_configuration_is_refused_with_every_fault() {
    let parties = Parties::gather().await;
    parties.edit(CONFIGURATION, "scheme = \"https\"", "scheme = \"gopher\"");
    parties.edit(CONFIGURATION, "lifetime = \"15m\"", "lifetime = \"soon\"");
    parties.edit(CONFIGURATION, "store.key\"", "no-such.key\"");
    parties.edit(CONFIGURATION, "[policy]", "[policy]\nsurprise = 1");
    let mut edge = parties.try_serve();
    assert_eq!(edge.ended().await.code(), Some(1));
    let said = edge.err();
    for fault in ["scheme", "lifetime", "no-such.key", "surprise"] {
        assert!(said.contains(fault), "no word of {fault}: {said}");
    }
    assert!(is_free(parties.stage.ports.http) && is_free(parties.stage.ports.admin));
    parties.leave().await;
}

#[tokio::test]
async fn clients_faults_are_no_warnings() {
    let parties = Parties::gather().await;
    let edge = parties.serve().await;
    let port = parties.stage.ports.http;
    let address = ([127, 0, 0, 1], port).into();
    let warnings = || edge.err().matches("WARN").count();
    let before = warnings();
    let host = format!("Host: grafana.localhost:{port}\r\nConnection: close");
    let home = format!("Host: access.localhost:{port}\r\nConnection: close");
    let logout = "POST /.wayleave/backchannel-logout/demo HTTP/1.1";
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 14";
    for (head, expected) in [
        (format!("BREW / HTTP/1.1\r\n{host}\r\n\r\n"), 501),
        (format!("GET / HTTP/1.2\r\n{host}\r\n\r\n"), 505),
        (
            format!("GET / HTTP/1.1\r\n{host}\r\nVia: 1.1 wayleave\r\n\r\n"),
            508,
        ),
        (
            format!("{logout}\r\n{home}\r\n{form}\r\n\r\nlogout_token=x"),
            400,
        ),
    ] {
        let answer = raw(address, head.as_bytes()).await;
        let status = format!("HTTP/1.1 {expected} ");
        assert!(answer.starts_with(&status), "{head}: {answer}");
    }
    assert_eq!(warnings(), before, "{}", edge.err());
    end(edge).await;
    parties.leave().await;
}

#[tokio::test]
async fn c4_a_bundle_or_key_at_fault_refuses_to_start() {
    let parties = Parties::gather().await;
    let other = Authority::new(SystemClock.now()).unwrap();
    let other = other.front_door(&HOSTS).unwrap();
    for (file, text) in [
        ("mesh-root.pem", ""),
        ("mesh-root.pem", "garbage"),
        ("front-door.pem", ""),
        ("front-door.key", &other.key),
        ("edge-ca.key", &other.key),
    ] {
        let good = parties.read(file);
        std::fs::write(parties.stage.path(file), text).unwrap();
        let mut edge = parties.try_serve();
        let code = edge.ended().await.code();
        assert_eq!(code, Some(1), "{file} {text:?}: {}", edge.err());
        assert!(
            edge.err().contains(file) || edge.err().contains("mesh"),
            "{}",
            edge.err()
        );
        std::fs::write(parties.stage.path(file), good).unwrap();
    }
    end(parties.serve().await).await;
    parties.leave().await;
}

#[tokio::test]
async fn a_faulty_reload_keeps_serving() {
    let parties = Parties::gather().await;
    let mut edge = parties.serve().await;
    let mut alice = alice(&parties).await;
    parties.edit(CONFIGURATION, "scheme = \"https\"", "scheme = \"gopher\"");
    edge.signal("HUP");
    edge.logs(LAST_GOOD).await;
    assert!(edge.err().contains("listen[1].scheme"), "{}", edge.err());
    assert_eq!(
        status(&mut alice, &parties.at("grafana")).await,
        StatusCode::OK
    );
    parties.edit(CONFIGURATION, "scheme = \"gopher\"", "scheme = \"https\"");
    edge.signal("HUP");
    edge.logs("the configuration was reloaded").await;
    end(edge).await;
    parties.leave().await;
}

#[tokio::test]
async fn a_reload_names_every_part_that_waits_for_a_restart() {
    let parties = Parties::gather().await;
    let mut edge = parties.serve().await;
    let key = parties.stage.path("store.key");
    let right = std::fs::read(&key).unwrap();
    std::fs::write(&key, "ab".repeat(32)).unwrap();
    parties.edit(
        CONFIGURATION,
        "[policy]",
        "[audit]\nkeep_events = \"500d\"\n\n[session]\nidle = \"7h\"\n\n[tokens]\nlifetime = \"4m\"\n\n[data_plane]\nworkers = 7\n\n[policy]",
    );
    parties.edit(CONFIGURATION, "drain = \"10s\"", "drain = \"11s\"");
    parties.edit(CONFIGURATION, "\"access.log\"", "\"other.log\"");
    parties.edit(CONFIGURATION, "name = \"demo\"", "name = \"other\"");
    parties.edit(CONFIGURATION, "[admin]", "[admin]\nhosts = [\"a.b\"]");
    parties.edit(CONFIGURATION, "\"demo.wayleave\"", "\"other.wayleave\"");
    edge.signal("HUP");
    edge.logs("the configuration was reloaded").await;
    let said = edge.err();
    for section in [
        "audit",
        "session",
        "tokens",
        "data_plane",
        "limits",
        "log",
        "store",
        "admin.hosts",
        "mesh.trust_domain",
        "names and claims that policies may use",
    ] {
        let mut lines = said.lines();
        let named =
            lines.any(|line| line.contains("restart") && line.contains(&format!("\"{section}\"")));
        assert!(named, "{section}: {said}");
    }
    let untouched = ["\"home\"", "\"listen\"", "\"policy\""];
    let mut warned = said.lines().filter(|line| line.contains("restart"));
    assert!(!warned.any(|line| untouched.iter().any(|name| line.contains(name))));
    // The mesh goes on under the name that the policy was made for.
    assert!(!said.contains("the last good ones stay"), "{said}");
    std::fs::write(&key, right).unwrap();
    end(edge).await;
    parties.leave().await;
}

/// Connects with TLS, trusting this root alone.
async fn connect(
    port: u16,
    root: &str,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(root.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from("grafana.localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await
}

#[tokio::test]
async fn c4_c12_a_new_certificate_is_served_and_a_faulty_one_is_not() {
    let parties = Parties::gather().await;
    let mut edge = parties.serve().await;
    let port = parties.stage.ports.https;
    let old_root = parties.read("front-door-root.pem");
    let mut before = connect(port, &old_root).await.unwrap();

    let authority = Authority::new(SystemClock.now()).unwrap();
    let (root, issued) = (
        authority.door_bundle(),
        authority.front_door(&HOSTS).unwrap(),
    );
    // The chain alone does not belong to the key that is there.
    std::fs::write(parties.stage.path("front-door.pem"), &issued.chain).unwrap();
    edge.signal("HUP");
    edge.logs(LAST_GOOD_CERTIFICATES).await;
    connect(port, &old_root).await.expect("the old one stays");

    std::fs::write(parties.stage.path("front-door.key"), &issued.key).unwrap();
    edge.signal("HUP");
    eventually("the new certificate is served", async || {
        connect(port, &root).await.is_ok()
    })
    .await;
    assert!(
        connect(port, &old_root).await.is_err(),
        "the old one is gone"
    );

    // Whoever was connected stays so.
    let request = b"GET /.wayleave/session HTTP/1.1\r\nhost: grafana.localhost\r\n\r\n";
    let port_of_host = format!("host: grafana.localhost:{port}");
    let request =
        String::from_utf8_lossy(request).replace("host: grafana.localhost", &port_of_host);
    before.write_all(request.as_bytes()).await.unwrap();
    let mut line = String::new();
    BufReader::new(before).read_line(&mut line).await.unwrap();
    assert!(line.starts_with("HTTP/1.1 401"), "{line}");
    end(edge).await;
    parties.leave().await;
}

#[tokio::test]
async fn c12_nobody_notices_that_the_certificate_is_replaced() {
    let parties = Parties::gather().await;
    let mut edge = parties.serve().await;
    let port = parties.stage.ports.https;
    let mut roots = parties.read("front-door-root.pem");
    let authority = Authority::new(SystemClock.now()).unwrap();
    let issued = authority.front_door(&HOSTS).unwrap();
    roots.push_str(&authority.door_bundle());
    let is_done = AtomicBool::new(false);
    let visit = async || {
        let mut visits = 0;
        while !is_done.load(Ordering::Relaxed) {
            connect(port, &roots)
                .await
                .expect("a handshake at any time");
            visits += 1;
        }
        visits
    };
    let rotate = async {
        // The pair is written file by file, and noticed in between.
        for (file, text) in [
            ("front-door.pem", &issued.chain),
            ("front-door.key", &issued.key),
        ] {
            std::fs::write(parties.stage.path(file), text).unwrap();
            edge.signal("HUP");
            edge.logs(if file.ends_with("pem") {
                LAST_GOOD_CERTIFICATES
            } else {
                "was reloaded"
            })
            .await;
        }
        let new = authority.door_bundle();
        eventually("the new one is there", async || {
            connect(port, &new).await.is_ok()
        })
        .await;
        is_done.store(true, Ordering::Relaxed);
    };
    let (one, other, ()) = tokio::join!(visit(), visit(), rotate);
    assert!(one + other > 10, "{one} {other}");
    end(edge).await;
    parties.leave().await;
}

const LAST_GOOD_CERTIFICATES: &str = "stay";

#[tokio::test]
async fn c12_nobody_notices_that_the_mesh_authority_is_replaced() {
    let parties = Parties::gather().await;
    let edge = parties.serve().await;
    let (is_done, visits) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (first, second) = (alice(&parties).await, alice(&parties).await);
    let some_more = async || {
        let before = visits.load(Ordering::Relaxed);
        eventually("people come", async || {
            visits.load(Ordering::Relaxed) > before + 10
        })
        .await;
    };
    let visit = async |mut visitor: Visitor| {
        let mut serials = Vec::new();
        while !is_done.load(Ordering::Relaxed) {
            let url = parties.at("grafana").parse().unwrap();
            let page = visitor.step(Method::GET, url, None).await;
            assert_eq!(page.status, StatusCode::OK, "{page:?}");
            // The workload shows the certificate that it saw.
            let parts = page
                .text
                .split(|c: char| c != ':' && !c.is_ascii_hexdigit());
            let serial = parts.max_by_key(|part| part.matches(':').count());
            visits.fetch_add(1, Ordering::Relaxed);
            serials.push(serial.unwrap_or_default().to_owned());
        }
        serials
    };
    let rotate = async {
        some_more().await;
        let issued = parties.stage.authority.edge_authority().unwrap();
        let other = Authority::new(SystemClock.now()).unwrap().mesh_bundle();
        let roots = format!("{}{other}", parties.read("mesh-root.pem"));
        for (times, (file, text)) in [
            ("edge-ca.pem", &issued.chain),
            ("edge-ca.key", &issued.key),
            ("mesh-root.pem", &roots),
        ]
        .into_iter()
        .enumerate()
        {
            std::fs::write(parties.stage.path(file), text).unwrap();
            edge.signal("HUP");
            let outcome = if file == "edge-ca.pem" {
                "stay"
            } else {
                "was reloaded"
            };
            eventually(outcome, async || {
                edge.err().matches(outcome).count() >= times.max(1)
            })
            .await;
        }
        some_more().await;
        is_done.store(true, Ordering::Relaxed);
    };
    let (one, other, ()) = tokio::join!(visit(first), visit(second), rotate);
    for serials in [one, other] {
        assert!(serials.len() > 5, "{serials:?}");
        assert!(serials[0].matches(':').count() > 10, "{serials:?}");
        assert_ne!(serials.first(), serials.last(), "it was signed anew");
    }
    end(edge).await;
    parties.leave().await;
}

#[tokio::test]
async fn an_edited_policy_is_in_force_soon_and_a_faulty_one_never() {
    let parties = Parties::gather().await;
    let mut edge = parties.serve().await;
    let mut alice = alice(&parties).await;
    let payroll = format!("{}/", parties.at("payroll"));
    assert_eq!(
        alice.open_as("alice", &payroll).await.status,
        StatusCode::OK
    );

    parties.edit("policy.yaml", "groups: [sre]", "groups: [managers]");
    let alice = Mutex::new(alice);
    let refused =
        async || status(&mut *alice.lock().await, &payroll).await == StatusCode::FORBIDDEN;
    let took = eventually("the edit is in force", refused).await;
    assert!(took < SOON, "{took:?}");

    parties.edit("policy.yaml", "groups: [managers]", "groups: [sre]");
    parties.edit(
        "policy.yaml",
        "action: deny",
        "action: deny\n    surprise: 1",
    );
    edge.logs("the last good policy stays in force").await;
    assert!(edge.err().contains("surprise"), "{}", edge.err());
    assert!(refused().await, "the last good policy stays");

    parties.edit("policy.yaml", "\n    surprise: 1", "");
    let allowed = async || status(&mut *alice.lock().await, &payroll).await == StatusCode::OK;
    let took = eventually("the mended policy is in force", allowed).await;
    assert!(took < SOON, "{took:?}");
    end(edge).await;
    parties.leave().await;
}

#[tokio::test]
async fn a_request_under_way_is_finished_when_the_edge_ends() {
    let parties = Parties::gather().await;
    let mut edge = parties.serve().await;
    let alice = alice(&parties).await;
    let port = parties.stage.ports.http;
    let cookie = &alice.jar["grafana.localhost"]["wayleave"];
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    let origin = parties.at("grafana");
    let head = format!(
        "POST /echo HTTP/1.1\r\nhost: grafana.localhost:{port}\r\norigin: {origin}\r\nsec-fetch-site: same-origin\r\n\
         cookie: wayleave={cookie}\r\ncontent-type: text/plain\r\ncontent-length: 10\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("HTTP/1.1 100"), "{line}");
    stream.write_all(b"first").await.unwrap();

    edge.signal("TERM");
    edge.logs("draining").await;
    eventually("nobody new is let in", async || {
        TcpStream::connect(("127.0.0.1", port)).await.is_err()
    })
    .await;
    let ready = format!("http://127.0.0.1:{}/readyz", parties.stage.ports.admin);
    let gone =
        async || reqwest::get(&ready).await.unwrap().status() == StatusCode::SERVICE_UNAVAILABLE;
    eventually("no balancer sends anybody here", gone).await;
    // Not a wait for anything: the request simply takes its time.
    tokio::time::sleep(SLOW).await;
    stream.write_all(b"-last").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.contains("HTTP/1.1 200") && answer.ends_with("first-last"),
        "{answer}"
    );
    assert_eq!(edge.ended().await.code(), Some(0), "{}", edge.err());
    parties.leave().await;
}

#[tokio::test]
async fn whatever_was_acknowledged_survives_a_crash() {
    LocalSet::new().run_until(crash()).await;
}

async fn crash() {
    let parties = Parties::gather().await;
    let mut edge = parties.serve().await;
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let grafana = parties.at("grafana");
    let signing_in: Vec<_> = (0..4)
        .map(|_| {
            let (arrived, grafana) = (Arc::clone(&arrived), grafana.clone());
            // Ends with a panic when the edge is gone in the middle of it.
            tokio::task::spawn_local(async move {
                loop {
                    let mut visitor = Visitor::new();
                    let page = visitor.open_as("alice", &grafana).await;
                    assert_eq!(page.status, StatusCode::OK, "{page:?}");
                    arrived.lock().await.push(visitor);
                }
            })
        })
        .collect();
    eventually("people arrive", async || arrived.lock().await.len() >= 8).await;
    // A revision of the policy is being loaded at the same time.
    parties.edit(
        "policy.yaml",
        "    action: allow",
        "    # the same\n    action: allow",
    );
    edge.signal("KILL");
    assert_eq!(edge.ended().await.code(), None);
    for one in signing_in {
        assert!(one.await.is_err(), "the edge is gone");
    }
    let edge = parties.serve().await;
    let mut arrived = arrived.lock().await;
    for visitor in arrived.iter_mut() {
        let answer = status(visitor, &grafana).await;
        assert_eq!(answer, StatusCode::OK, "they had arrived before");
    }
    let home = arrived[0].open(&parties.at("access")).await;
    assert!(home.text.contains("payroll"), "{home:?}");
    end(edge).await;
    parties.leave().await;
}

#[tokio::test]
async fn two_edges_on_one_postgres_know_the_same_sessions() {
    let parties = gathered_on(&database().await).await;
    let edge = parties.serve().await;
    let (second, port) = parties.serve_second().await;
    let mut alice = alice(&parties).await;
    let elsewhere = format!("http://grafana.localhost:{port}");
    assert!(
        alice.is_signed_in(&elsewhere).await,
        "signed in at one, not at the other"
    );
    assert_eq!(status(&mut alice, &elsewhere).await, StatusCode::OK);

    let mut stream = alice.stream(&format!("{elsewhere}/events")).await;
    assert_eq!(stream.status(), StatusCode::OK);
    assert!(stream.chunk().await.unwrap().is_some());
    let page = alice
        .open(&format!("{}/.wayleave/sign-out", parties.at("access")))
        .await;
    let page = alice.submit(&page, &[]).await;
    assert!(page.text.contains("You are signed out"), "{page:?}");
    let alice = Mutex::new(alice);
    let out = async || !alice.lock().await.is_signed_in(&elsewhere).await;
    let took = eventually("signed out at the other", out).await;
    assert!(took < SOON, "{took:?}");
    let ended = async { while let Ok(Some(_)) = stream.chunk().await {} };
    let ended = tokio::time::timeout(SOON, ended).await;
    assert!(ended.is_ok(), "what was open there stays open");
    end(second).await;
    end(edge).await;
    parties.leave().await;
}

#[tokio::test]
async fn known_sessions_are_served_while_postgres_is_down() {
    let postgres = OwnPostgres::start();
    let parties = gathered_on(&postgres.url).await;
    let edge = parties.serve().await;
    let mut known = alice(&parties).await;
    postgres.tell("stop");
    for _ in 0..5 {
        assert_eq!(
            status(&mut known, &parties.at("grafana")).await,
            StatusCode::OK
        );
    }
    // Nobody can be let in whom nobody knows; that is said, not hidden.
    let mut other = Visitor::new();
    let begun = status(&mut other, &parties.at("grafana")).await;
    assert_eq!(begun, StatusCode::SERVICE_UNAVAILABLE);
    postgres.tell("start");
    let other = Mutex::new(other);
    let back = async || {
        status(&mut *other.lock().await, &parties.at("grafana")).await == StatusCode::SEE_OTHER
    };
    eventually("people can sign in again", back).await;
    assert_eq!(
        status(&mut known, &parties.at("grafana")).await,
        StatusCode::OK
    );
    end(edge).await;
    parties.leave().await;
}

#[tokio::test]
async fn c4_a_mesh_authority_at_fault_is_not_taken_up() {
    let parties = Parties::gather().await;
    let mut edge = parties.serve().await;
    let mut alice = alice(&parties).await;
    for file in ["mesh-root.pem", "edge-ca.pem", "edge-ca.key"] {
        let good = parties.read(file);
        for text in ["", "garbage"] {
            let before = edge.err().matches("stay").count();
            std::fs::write(parties.stage.path(file), text).unwrap();
            edge.signal("HUP");
            eventually("the fault is logged", async || {
                edge.err().matches("stay").count() > before
            })
            .await;
            let answer = status(&mut alice, &parties.at("grafana")).await;
            assert_eq!(answer, StatusCode::OK, "{file} {text:?}: {}", edge.err());
        }
        std::fs::write(parties.stage.path(file), good).unwrap();
    }
    edge.signal("HUP");
    edge.logs("the configuration was reloaded").await;
    end(edge).await;
    parties.leave().await;
}
