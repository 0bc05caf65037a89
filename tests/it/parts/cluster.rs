//! A mock of a Kubernetes API server (tests/parts/kubernetes), and the real kubectl at somebody's desk, which reaches the edge through a proxy that knows
//! where names below `.localhost` lead.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use super::beside;
use super::desk::Desk;
use super::program::eventually;
use super::served::{Parties, write_private};

/// The name that the API server proves outside of the mesh.
pub(crate) const SERVER_NAME: &str = "api.cluster.test";
/// What it proves in the mesh.
pub(crate) const SPIFFE_ID: &str = "spiffe://demo.wayleave/ns/kube-system/sa/api-server";

/// The mock.
pub(crate) struct ApiServer {
    child: Child,
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl ApiServer {
    /// Starts one that proves a name, or a mesh identity; it knows the edge by what is in the file `server.token`.
    pub(crate) fn start(parties: &Parties, in_mesh: bool) -> Self {
        let authority = &parties.stage.authority;
        let issued = match in_mesh {
            true => authority.workload(SPIFFE_ID),
            false => authority.front_door(&[SERVER_NAME]),
        };
        let issued = issued.unwrap();
        let files = [
            ("api.key", issued.key.as_str()),
            ("api.pem", issued.chain.as_str()),
            ("api-clients.pem", &authority.mesh_bundle()),
            ("server.token", "the-first-token\n"),
        ];
        let mut command = std::process::Command::new("node");
        command.arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/parts/kubernetes/api-server.mjs"
        ));
        for (name, text) in files {
            let file = parties.stage.path(name);
            write_private(&file, text);
            command.arg(file);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("node runs the mock API server");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines
            .next()
            .expect("the mock says its port; has npm install been run in tests/parts?");
        let first: Value = serde_json::from_str(&first.unwrap()).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&seen);
        // It ends with the mock.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let request = serde_json::from_str(&line).unwrap();
                list.lock().unwrap().push(request);
            }
        });
        Self {
            child,
            port: u16::try_from(first["port"].as_u64().unwrap()).unwrap(),
            seen,
        }
    }

    /// All requests so far, as they were understood.
    pub(crate) fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }

    /// Forgets them.
    pub(crate) fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    /// The requests for paths that end so, as soon as there are any: what was understood is told beside the answers.
    pub(crate) async fn seen_at(&self, end: &str) -> Vec<Value> {
        let fitting = || {
            let mut seen = self.seen();
            seen.retain(|request| request["path"].as_str().unwrap().ends_with(end));
            seen
        };
        eventually("a request that was seen", async || !fitting().is_empty()).await;
        fitting()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// kubectl at a desk.
pub(crate) struct Kubectl {
    environment: Vec<(String, String)>,
}

impl Kubectl {
    /// Uses the kubeconfig `kubeconfig` of the desk.
    pub(crate) async fn at(desk: &Desk) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        beside(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                beside(async move { drop(pass(stream).await) });
            }
        });
        let mut environment = desk.environment();
        let file = desk.path("kubeconfig").display().to_string();
        environment.push(("KUBECONFIG".to_owned(), file));
        environment.push(("HTTPS_PROXY".to_owned(), proxy));
        environment.push(("NO_PROXY".to_owned(), String::new()));
        Self { environment }
    }

    /// The same with more in its environment.
    pub(crate) fn with(&self, more: &[(&str, &str)]) -> Self {
        let more = more.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let environment = self.environment.iter().cloned().chain(more).collect();
        Self { environment }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        #[expect(clippy::disallowed_methods, reason = "where the tool is")]
        let kubectl = std::env::var("WAYLEAVE_TEST_KUBECTL")
            .expect("WAYLEAVE_TEST_KUBECTL is not set; run under tests/parts/with-parts.sh");
        let mut command = Command::new(kubectl);
        command.args(arguments).envs(self.environment.clone());
        command.stdin(Stdio::null()).kill_on_drop(true);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().await.unwrap()
    }

    /// What it prints, having done what was asked.
    pub(crate) async fn says(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments).await;
        assert!(done.status.success(), "{arguments:?}: {}", err(&done));
        String::from_utf8(done.stdout).unwrap()
    }

    /// What it complains of, having failed.
    pub(crate) async fn fails(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments).await;
        assert!(!done.status.success(), "{arguments:?}");
        err(&done)
    }

    /// The same with something on its standard input.
    pub(crate) async fn says_of(&self, input: &str, arguments: &[&str]) -> String {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let done = child.wait_with_output().await.unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", err(&done));
        String::from_utf8(done.stdout).unwrap()
    }
}

fn err(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).into_owned()
}

/// `CONNECT` to whatever name, on this machine.
async fn pass(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.split(' ').nth(1).unwrap();
    let (_, port) = target.rsplit_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut stream, &mut server).await?;
    Ok(())
}

/// Replaces a file's text, which only its owner may read.
pub(crate) fn rotate(parties: &Parties, file: &str, token: &str) {
    write_private(Path::new(&parties.stage.path(file)), token);
}
