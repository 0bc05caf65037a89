//! What holds on to connections without using them: cut at its deadline, limited in number, and survived.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::parts::client::raw;
use crate::parts::program::{PATIENCE, eventually};
use crate::parts::served::{CONFIGURATION, Parties, alice, end, status};

async fn connect(port: u16) -> TcpStream {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect(address).await.unwrap()
}

async fn several(count: usize, port: u16) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(connect(port).await);
    }
    open
}

/// Reads to the end of each: what was said, and how long the last one took.
async fn ends(open: Vec<TcpStream>) -> (Vec<String>, Duration) {
    let began = Instant::now();
    let reading = open.into_iter().map(async |mut stream| {
        let mut said = Vec::new();
        let _reset = stream.read_to_end(&mut said).await;
        String::from_utf8_lossy(&said).into_owned()
    });
    let all = futures_util::future::join_all(reading);
    let said = tokio::time::timeout(PATIENCE, all).await;
    (said.expect("they are not cut"), began.elapsed())
}

#[tokio::test]
async fn d10_what_stalls_is_cut_and_the_others_are_served() {
    let parties = Parties::gather().await;
    parties.edit(
        CONFIGURATION,
        "[limits]",
        "[limits]\ntls_handshake = \"1s\"\nrequest_head = \"1s\"\nidle_stream = \"1s\"",
    );
    let edge = parties.serve().await;
    let mut alice = alice(&parties).await;
    let ports = parties.stage.ports;
    let handshakes = several(300, ports.https).await;
    let silent = several(100, ports.http).await;
    let mut heads = several(100, ports.http).await;
    for stream in &mut heads {
        stream.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    }
    let cookies = &alice.jar["grafana.localhost"];
    let cookies: Vec<String> = cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut bodies = several(20, ports.http).await;
    for stream in &mut bodies {
        let head = format!(
            "POST /x HTTP/1.1\r\nHost: grafana.localhost:{}\r\nCookie: {}\r\nOrigin: {}\r\nContent-Length: 10\r\n\r\nhalf",
            ports.http,
            cookies.join("; "),
            parties.at("grafana"),
        );
        stream.write_all(head.as_bytes()).await.unwrap();
    }
    let served = status(&mut alice, &parties.at("grafana")).await;
    assert_eq!(served, StatusCode::OK);

    let (all, longest) = ends(handshakes).await;
    assert!(all.iter().all(String::is_empty));
    let (all, _) = ends(silent).await;
    assert!(all.iter().all(String::is_empty));
    let (all, _) = ends(heads).await;
    assert!(
        all.iter().all(|said| said.starts_with("HTTP/1.1 408")),
        "{all:?}"
    );
    // This workload answers without waiting for bodies; what comes after its answer is not waited for either.
    ends(bodies).await;
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    let served = status(&mut alice, &parties.at("grafana")).await;
    assert_eq!(served, StatusCode::OK);
    end(edge).await;
    parties.leave().await;
}

/// Those of the connections on which an answer has begun.
fn answered(open: &[TcpStream]) -> usize {
    let has_begun = |stream: &&TcpStream| stream.peek(&mut [0]).now_or_never().is_some();
    open.iter().filter(has_begun).count()
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_room() {
    let parties = Parties::gather().await;
    parties.edit(CONFIGURATION, "[limits]", "[limits]\nconnections = 20");
    let edge = parties.serve().await;
    let port = parties.stage.ports.http;
    let mut open = several(40, port).await;
    // A form that is waited for: none of these is quiet.
    let head = format!(
        "POST /.wayleave/backchannel-logout/demo HTTP/1.1\r\nHost: access.localhost:{port}\r\nExpect: 100-continue\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\n"
    );
    for stream in &mut open {
        stream.write_all(head.as_bytes()).await.unwrap();
    }
    eventually("as many as there is room for", async || {
        answered(&open) >= 20
    })
    .await;
    // A whole exchange on one of those that are served: the others still have nothing.
    let (mut served, mut waiting): (Vec<_>, Vec<_>) = open
        .into_iter()
        .partition(|stream| answered(std::slice::from_ref(stream)) == 1);
    served[0].write_all(b"a=b").await.unwrap();
    let mut said = String::new();
    while !said.contains("HTTP/1.1 400") {
        let mut piece = [0; 4096];
        let read = served[0].read(&mut piece).await.unwrap();
        assert_ne!(read, 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    assert_eq!((served.len(), answered(&waiting)), (20, 0));
    // When these leave nobody of those is forgotten.
    drop(served);
    for stream in &mut waiting {
        let read = tokio::time::timeout(PATIENCE, stream.read_u8()).await;
        assert_eq!(read.unwrap().unwrap(), b'H');
    }
    end(edge).await;
    parties.leave().await;
}

#[tokio::test]
async fn d10_quiet_connections_make_room_for_new_ones() {
    let parties = Parties::gather().await;
    parties.edit(
        CONFIGURATION,
        "[limits]",
        "[limits]\nconnections = 20\ntls_handshake = \"60s\"\nrequest_head = \"60s\"",
    );
    let edge = parties.serve().await;
    let ports = parties.stage.ports;
    // All that there is room for, and they would stay for a minute; some have asked for something, some never do, some are in their handshake.
    let mut held = several(10, ports.http).await;
    let head = format!(
        "GET / HTTP/1.1\r\nHost: access.localhost:{}\r\n\r\n",
        ports.http
    );
    for stream in &mut held {
        stream.write_all(head.as_bytes()).await.unwrap();
    }
    held.extend(several(10, ports.http).await);
    held.extend(several(10, ports.https).await);
    let others = async {
        let mut alice = alice(&parties).await;
        status(&mut alice, &parties.at("grafana")).await
    };
    let served = tokio::time::timeout(PATIENCE, others).await;
    assert_eq!(served.expect("nobody else gets in"), StatusCode::OK);
    let metrics = format!("http://127.0.0.1:{}/metrics", ports.admin);
    let text = reqwest::get(metrics).await.unwrap().text().await.unwrap();
    let dismissed = text
        .lines()
        .find_map(|line| line.strip_prefix("wayleave_dismissed_connections_total "));
    assert!(dismissed.unwrap().parse::<u32>().unwrap() > 0, "{text}");
    drop(held);
    end(edge).await;
    parties.leave().await;
}

#[tokio::test]
async fn d11_an_edge_without_descriptors_recovers() {
    let parties = Parties::gather().await;
    let mut edge = parties.serve_with_descriptors(96).await;
    let port = parties.stage.ports.http;
    let held = several(200, port).await;
    edge.logs("no more connections can be accepted").await;
    drop(held);
    let head =
        format!("GET / HTTP/1.1\r\nHost: nowhere.localhost:{port}\r\nConnection: close\r\n\r\n");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let began = Instant::now();
    while !raw(address, head.as_bytes())
        .await
        .starts_with("HTTP/1.1 404")
    {
        assert!(began.elapsed() < PATIENCE, "{}", edge.err());
    }
    end(edge).await;
    parties.leave().await;
}
