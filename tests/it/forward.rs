//! `wayleave forward` as a process, with programs that know nothing of it, through a running edge to real peers.

use std::process::Stdio;
use std::sync::Arc;

use http::StatusCode;
use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use wayleave::demo::workload::{lines, server_config};

use crate::parts::beside;
use crate::parts::desk::Desk;
use crate::parts::envoy::Envoy;
use crate::parts::program::{PATIENCE, Program, eventually, free_ports};
use crate::parts::served::{Parties, end};
use crate::parts::visitor::Visitor;

const ALICE: &str = "spiffe://demo.wayleave/ns/people/sa/alice--at--demo.example--";

/// An edge, and somebody at a machine of theirs.
struct Scene {
    parties: Parties,
    edge: Program,
    desk: Desk,
    person: Visitor,
}

impl Scene {
    async fn of(parties: Parties, who: &str) -> Self {
        let edge = parties.serve().await;
        let (desk, person) = signed_in(&parties, who).await;
        Self {
            parties,
            edge,
            desk,
            person,
        }
    }

    async fn forward(&self, more: &[&str]) -> (Program, String) {
        forward(&self.desk, more).await
    }

    /// The outcomes of tunnels so far, as soon as there are so many.
    async fn outcomes(&self, count: usize) -> Vec<String> {
        let look = || {
            let log = self.parties.read("access.log");
            let lines = log
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            let tunnels = lines.filter(|line: &Value| {
                line["route"] == "lines" && matches!(line["status"].as_u64(), Some(200 | 101))
            });
            tunnels
                .map(|line| line["reason"].as_str().unwrap_or("allowed").to_owned())
                .collect::<Vec<_>>()
        };
        eventually("the tunnels' lines", async || look().len() >= count).await;
        look()
    }

    async fn leave(self) {
        end(self.edge).await;
        self.parties.leave().await;
    }
}

async fn signed_in(parties: &Parties, who: &str) -> (Desk, Visitor) {
    let desk = Desk::new();
    let person = desk.sign_in_over_tls(parties, who, &[]).await;
    (desk, person)
}

/// Starts it for `lines`, and says where it listens.
async fn forward(desk: &Desk, more: &[&str]) -> (Program, String) {
    let mut arguments = vec!["forward", "lines", "--output", "json"];
    arguments.extend(more);
    let mut program = desk.start(&arguments);
    program.says("}").await;
    let said: Value = serde_json::from_str(&program.out()).unwrap();
    (program, said["listening"].as_str().unwrap().to_owned())
}

/// Lets the route `lines` lead to another port, whose workload has the same SPIFFE ID.
fn lead_to(parties: &Parties, port: u16) {
    let text = parties.read("policy.yaml");
    let (_, rest) = text.split_once("host: lines.localhost").unwrap();
    let (_, rest) = rest.split_once("127.0.0.1:").unwrap();
    let (old, _) = rest.split_once('"').unwrap();
    parties.edit(
        "policy.yaml",
        &format!("127.0.0.1:{old}\""),
        &format!("127.0.0.1:{port}\""),
    );
}

/// A workload in the place of `lines`.
async fn workload<F>(parties: &Parties, serve: impl Fn(TlsStream<TcpStream>) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let issued = parties.stage.authority.workload(lines::SPIFFE_ID).unwrap();
    let mut config = server_config(&issued, &parties.stage.authority.mesh_bundle()).unwrap();
    config.alpn_protocols = vec![b"istio".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    lead_to(parties, listener.local_addr().unwrap().port());
    beside(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                beside(serve(stream));
            }
        }
    });
}

/// A sidecar before something on this machine, that lets Alice in.
async fn sidecar(parties: &Parties, folder: &std::path::Path, port: u16) -> Envoy {
    let issued = parties.stage.authority.workload(lines::SPIFFE_ID).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("svid.pem", &issued.chain);
    write("svid.key", &issued.key);
    write("bundle.pem", &parties.stage.authority.mesh_bundle());
    let envoy = Envoy::start_tcp(folder, ALICE, port).await;
    lead_to(parties, envoy.port);
    envoy
}

/// One before the tests' PostgreSQL.
async fn postgres(parties: &Parties, folder: &std::path::Path) -> Envoy {
    #[expect(clippy::disallowed_methods, reason = "where the test's server is")]
    let server = std::env::var("WAYLEAVE_TEST_POSTGRES").unwrap();
    let port = server.parse::<url::Url>().unwrap().port().unwrap();
    sidecar(parties, folder, port).await
}

/// A server that is started here, as soon as it listens.
async fn listening(mut command: Command, port: u16) -> Child {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    let child = command.stderr(Stdio::null()).kill_on_drop(true).spawn();
    let listens = async || TcpStream::connect(("127.0.0.1", port)).await.is_ok();
    eventually("a server that listens", listens).await;
    child.unwrap()
}

/// What a program prints that has done what was asked, with this on its standard input.
async fn says_of(mut command: Command, input: &[u8]) -> Vec<u8> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let (sent, done) = tokio::join!(
        async move {
            stdin.write_all(input).await.unwrap();
            stdin.shutdown().await
        },
        tokio::time::timeout(PATIENCE, child.wait_with_output())
    );
    sent.unwrap();
    let done = done.expect("it ends").unwrap();
    let err = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{err}");
    done.stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_cli_works_through_a_tunnel_and_a_sidecar() {
    let parties = Parties::gather().await;
    let folder = tempfile::tempdir().unwrap();
    let [port] = free_ports();
    let mut redis = Command::new("redis-server");
    redis.args([
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--port",
        &port.to_string(),
    ]);
    let _redis = listening(redis, port).await;
    let _envoy = sidecar(&parties, folder.path(), port).await;
    let scene = Scene::of(parties, "alice").await;
    let (_forward, at) = scene.forward(&[]).await;
    let (_, local) = at.rsplit_once(':').unwrap();
    let cli = |arguments: &[&str]| {
        let mut command = Command::new("redis-cli");
        command
            .args(["-h", "127.0.0.1", "-p", local])
            .args(arguments);
        command
    };
    assert_eq!(says_of(cli(&["PING"]), b"").await, b"PONG\n");
    let much = vec![b'x'; 4 * 1024 * 1024];
    assert_eq!(says_of(cli(&["-x", "SET", "much"]), &much).await, b"OK\n");
    let said = says_of(cli(&["STRLEN", "much"]), b"").await;
    assert_eq!(said, format!("{}\n", much.len()).as_bytes());
    // What it is told later comes at once, through a tunnel that stays open.
    let mut listens = cli(&["SUBSCRIBE", "news"]);
    listens.stdout(Stdio::piped()).kill_on_drop(true);
    let mut listens = listens.spawn().unwrap();
    let mut heard = BufReader::new(listens.stdout.take().unwrap()).lines();
    let mut hears = async |wanted: &str| {
        let hears = async { while heard.next_line().await.unwrap().unwrap() != wanted {} };
        tokio::time::timeout(PATIENCE, hears).await.expect(wanted);
    };
    hears("1").await;
    assert_eq!(
        says_of(cli(&["PUBLISH", "news", "hello"]), b"").await,
        b"1\n"
    );
    hears("hello").await;
    scene.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ssh_works_through_a_proxy_command_and_a_sidecar() {
    let parties = Parties::gather().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for key in ["host", "own"] {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]);
        says_of(keygen, b"").await;
    }
    let [port] = free_ports();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\n",
        path("host"),
        path("own.pub")
    );
    std::fs::write(path("sshd.conf"), config).unwrap();
    // As root it wants this folder, which its package makes when it starts; anybody else's does without.
    let _made = std::fs::create_dir("/run/sshd");
    #[expect(clippy::disallowed_methods, reason = "where the peer is")]
    let sshd = std::env::var("WAYLEAVE_TEST_SSHD").unwrap();
    let mut server = Command::new(sshd);
    server.args(["-D", "-f", &path("sshd.conf")]);
    let _sshd = listening(server, port).await;
    let _envoy = sidecar(&parties, folder.path(), port).await;
    let scene = Scene::of(parties, "alice").await;

    let user = says_of(Command::new("whoami"), b"").await;
    let user = String::from_utf8(user).unwrap();
    let known = format!(
        "lines {}",
        std::fs::read_to_string(path("host.pub")).unwrap()
    );
    std::fs::write(path("known"), known).unwrap();
    let proxy = format!(
        "ProxyCommand={} forward lines --stdio",
        env!("CARGO_BIN_EXE_wayleave")
    );
    let known = format!("UserKnownHostsFile={}", path("known"));
    let ssh = |command: &str| {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-i", &path("own"), "-o", &proxy, "-o", &known]);
        ssh.args([
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            "-l",
            user.trim(),
        ]);
        ssh.args(["lines", command]).envs(scene.desk.environment());
        ssh
    };
    assert_eq!(says_of(ssh("echo from there"), b"").await, b"from there\n");
    let much = vec![b'x'; 4 * 1024 * 1024];
    let back = says_of(ssh("cat"), &much).await;
    assert!(back == much, "{} of {}", back.len(), much.len());
    scene.leave().await;
}

async fn psql(at: &str, statement: &str) -> std::process::Output {
    let (host, port) = at.rsplit_once(':').unwrap();
    let mut command = Command::new("psql");
    command
        .args(["-h", host, "-p", port, "-U", "postgres", "-d", "postgres"])
        .args(["-X", "-A", "-t", "-c", statement]);
    command.stdin(Stdio::null()).output().await.unwrap()
}

async fn psql_says(at: &str, statement: &str) -> String {
    let done = psql(at, statement).await;
    let err = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{err}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_works_through_a_tunnel_and_a_sidecar_that_lets_one_person_in() {
    let parties = Parties::gather().await;
    let folder = tempfile::tempdir().unwrap();
    let _envoy = postgres(&parties, folder.path()).await;
    let scene = Scene::of(parties, "alice").await;
    let mut tunnels = 0;
    for more in [&[][..], &["--http1"]] {
        let (_forward, at) = scene.forward(more).await;
        for number in 0..10 {
            let said = psql_says(&at, &format!("SELECT {number} + 1")).await;
            assert_eq!(said, (number + 1).to_string());
        }
        let much = psql_says(&at, "SELECT repeat('x', 20 * 1000 * 1000)").await;
        assert_eq!(much.len(), 20 * 1000 * 1000);
        // Until the last tunnel has ended the program that carries it is needed.
        tunnels += 11;
        let outcomes = scene.outcomes(tunnels).await;
        assert!(
            outcomes.iter().all(|outcome| outcome == "allowed"),
            "{outcomes:?}"
        );
    }

    // Bob gets past the edge, and not past the workload's own policy.
    let (desk, _bob) = signed_in(&scene.parties, "bob").await;
    let (mut forward, at) = forward(&desk, &[]).await;
    assert!(!psql(&at, "SELECT 1").await.status.success());
    forward.logs("hung up without a word").await;
    scene.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_speak_to_a_workload_as_the_person_who_is_signed_in() {
    let parties = Parties::gather().await;
    let scene = Scene::of(parties, "bob").await;
    for more in [&[][..], &["--http1"]] {
        let (mut forward, at) = scene.forward(more).await;
        let mut all = Vec::new();
        for number in 0..40 {
            let stream = TcpStream::connect(&at).await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut greeting = String::new();
            stream.read_line(&mut greeting).await.unwrap();
            assert!(greeting.contains("ns/people/sa/bob"), "{greeting}");
            all.push((number, stream));
        }
        for (number, stream) in &mut all {
            let line = format!("line {number}\n");
            stream.write_all(line.as_bytes()).await.unwrap();
        }
        for (number, mut stream) in all {
            stream.shutdown().await.unwrap();
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, format!("line {number}\nGoodbye.\n"));
        }
        forward.signal("INT");
        assert_eq!(forward.ended().await.code(), Some(0), "{}", forward.err());
    }
    let outcomes = scene.outcomes(80).await;
    assert!(
        outcomes.iter().all(|outcome| outcome == "allowed"),
        "{outcomes:?}"
    );
    scene.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_side_may_end_before_the_other() {
    const MUCH: u64 = 48 * 1024 * 1024;
    let parties = Parties::gather().await;
    // It says its last word first, and reads on.
    workload(&parties, |stream| async move {
        let (mut reader, mut writer) = tokio::io::split(stream);
        writer.write_all(b"go on").await.unwrap();
        writer.shutdown().await.unwrap();
        let read = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
        assert_eq!(read.unwrap(), MUCH);
    })
    .await;
    let scene = Scene::of(parties, "bob").await;
    let mut expected = Vec::new();
    for more in [&[][..], &["--http1"]] {
        let (_forward, at) = scene.forward(more).await;
        let mut stream = TcpStream::connect(&at).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "go on");
        let mut much = tokio::io::repeat(7).take(MUCH);
        tokio::io::copy(&mut much, &mut stream).await.unwrap();
        stream.shutdown().await.unwrap();
        // Until then the program that carries it is needed.
        expected.push("allowed");
        assert_eq!(scene.outcomes(expected.len()).await, expected);
    }
    scene.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_reads_nothing_holds_the_workload_up_and_what_is_reset_is_aborted() {
    let parties = Parties::gather().await;
    let written = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&written);
    workload(&parties, move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            let piece = vec![1; 64 * 1024];
            while stream.write_all(&piece).await.is_ok() {
                count.fetch_add(piece.len(), std::sync::atomic::Ordering::Relaxed);
            }
        }
    })
    .await;
    let scene = Scene::of(parties, "bob").await;
    let (_forward, at) = scene.forward(&[]).await;
    let mut stream = TcpStream::connect(&at).await.unwrap();
    stream.read_exact(&mut [0; 1]).await.unwrap();
    // It has come to a stop once it is the same for a while.
    let seen = || written.load(std::sync::atomic::Ordering::Relaxed);
    let last = std::cell::Cell::new((0, 0));
    eventually("the workload waits", async || {
        let (bytes, times) = last.get();
        let now = seen();
        last.set((now, if now == bytes { times + 1 } else { 0 }));
        times > 20
    })
    .await;
    assert!(seen() < 64 * 1024 * 1024, "{}", seen());
    stream.set_zero_linger().unwrap();
    drop(stream);
    assert_eq!(scene.outcomes(1).await, ["aborted"]);
    scene.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_tunnels_end_with_the_session_and_the_rule() {
    for more in [&[][..], &["--http1"]] {
        let parties = Parties::gather().await;
        let mut scene = Scene::of(parties, "bob").await;
        let (mut forward, at) = scene.forward(more).await;
        let open = async || {
            let mut stream = BufReader::new(TcpStream::connect(&at).await.unwrap());
            stream.read_line(&mut String::new()).await.unwrap();
            stream
        };
        let mut stream = open().await;
        scene.parties.edit(
            "policy.yaml",
            "from: [{ groups: [staff] }]\n    to: [{ routes: [lines] }]",
            "from: [{ groups: [sre] }]\n    to: [{ routes: [lines] }]",
        );
        // A reset, and no end that could pass for the workload's.
        assert!(stream.read_line(&mut String::new()).await.is_err());
        assert_eq!(scene.outcomes(1).await, ["no_longer_allowed"]);
        if more.is_empty() {
            forward.logs("do not allow it any more").await;
        }
        scene.parties.edit(
            "policy.yaml",
            "from: [{ groups: [sre] }]\n    to: [{ routes: [lines] }]",
            "from: [{ groups: [staff] }]\n    to: [{ routes: [lines] }]",
        );
        let is_open = async || scene.desk.run(&["routes"]).await.out.contains("lines");
        eventually("the rule is back", is_open).await;
        // What is refused is reset, at times before it is known to be connected.
        let tried = async || {
            let Ok(stream) = TcpStream::connect(&at).await else {
                return false;
            };
            let read = BufReader::new(stream).read_line(&mut String::new()).await;
            read.is_ok_and(|read| read > 0)
        };
        eventually("tunnels open again", tried).await;

        let mut stream = open().await;
        let home = scene.parties.secure_at("access");
        let out = scene
            .person
            .open(&format!("{home}/.wayleave/sign-out"))
            .await;
        scene.person.submit(&out, &[]).await;
        let mut rest = String::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_line(&mut rest));
        assert!(ended.await.expect("it ends").is_err());
        let is_logged = async || scene.parties.read("access.log").contains("session_ended");
        eventually("its line", is_logged).await;
        scene.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_gets_no_tunnel_is_told_why() {
    let parties = Parties::gather().await;
    let mut scene = Scene::of(parties, "carol").await;
    let said = scene.desk.run(&["forward", "lines"]).await;
    assert_eq!(said.code, Some(4), "{}", said.err);
    assert!(said.err.contains("contractors-stay-out"), "{}", said.err);

    let (desk, _bob) = signed_in(&scene.parties, "bob").await;
    let said = desk.run(&["forward", "dashboards", "--stdio"]).await;
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("wayleave curl"), "{}", said.err);
    let said = desk.run(&["forward", "lanes", "--stdio"]).await;
    assert!(said.err.contains("did you mean lines?"), "{}", said.err);
    // Standard input is at its end from the beginning.
    let said = desk
        .run(&["forward", "lines", "--stdio"])
        .await
        .expect_done();
    assert!(
        said.out.contains("sa/bob") && said.out.ends_with("Goodbye.\n"),
        "{}",
        said.out
    );

    let url = format!("{}/", scene.parties.secure_at("lines"));
    let page = scene
        .person
        .step(Method::GET, url.parse().unwrap(), None)
        .await;
    assert_eq!(page.status, StatusCode::MISDIRECTED_REQUEST);
    assert!(page.text.contains("wayleave forward"), "{}", page.text);

    // Nobody listens there.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    lead_to(&scene.parties, port);
    let told = async || {
        let said = desk.run(&["forward", "lines", "--stdio"]).await;
        said.code == Some(5) && said.err.contains("does not accept connections")
    };
    eventually("the new address", told).await;
    scene.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h12_a_tunnel_is_for_whoever_holds_the_key_of_its_token() {
    let parties = Parties::gather().await;
    let scene = Scene::of(parties, "bob").await;
    let token = scene.desk.run(&["token", "lines"]).await.expect_done().out;
    let url = format!("{}/", scene.parties.secure_at("lines"));
    let ask = async |headers: &[(&str, &str)]| {
        let root = scene.parties.read("front-door-root.pem");
        let root = reqwest::Certificate::from_pem_bundle(root.as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_merge(root).no_proxy();
        let here = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let client = client.resolve("lines.localhost", here).build().unwrap();
        let mut request = client
            .post(&url)
            .header("content-type", "application/vnd.wayleave.tcp");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body("x").send().await.unwrap().status()
    };
    let token = token.trim();
    for scheme in ["Bearer", "DPoP"] {
        let presented = format!("{scheme} {token}");
        let status = ask(&[("authorization", &presented)]).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{scheme}");
    }
    assert_eq!(ask(&[]).await, StatusCode::UNAUTHORIZED);
    // A proof is good once, and somebody else's key proves nothing.
    let proven = ["token", "lines", "--headers", "POST", "/"];
    let own = scene.desk.run(&proven).await.expect_done().out;
    let (other, _alice) = signed_in(&scene.parties, "alice").await;
    let others = other.run(&proven).await.expect_done().out;
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_once(": ").unwrap().1.to_owned()
    };
    let (authorization, proof) = (value(&own, "Authorization"), value(&own, "DPoP"));
    let stolen = [
        ("authorization", authorization.as_str()),
        ("dpop", &value(&others, "DPoP")),
    ];
    assert_eq!(ask(&stolen).await, StatusCode::UNAUTHORIZED);
    let good = [("authorization", authorization.as_str()), ("dpop", &proof)];
    assert_eq!(ask(&good).await, StatusCode::OK);
    assert_eq!(ask(&good).await, StatusCode::UNAUTHORIZED);
    scene.leave().await;
}
