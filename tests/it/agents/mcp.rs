//! A real client of the Model Context Protocol reaches a real server of it in the mesh, knowing its address alone.

use std::fs;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::house;
use crate::parts::browser::Browser;
use crate::parts::house::House;
use crate::parts::program::PATIENCE;
use crate::parts::program_of::{answer, decide};
use crate::parts::upstream::SPIFFE_ID;

/// A program of node's that talks in lines of JSON.
struct Node {
    _child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Node {
    fn start(file: &str, arguments: &[&str]) -> Self {
        let path = format!("{}/tests/parts/mcp/{file}", env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new("node")
            .arg(path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs");
        let input = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            _child: child,
            input,
            lines,
        }
    }

    async fn hears(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.input.write_all(line.as_bytes()).await.unwrap();
    }

    async fn says(&mut self) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.expect("it says something").unwrap();
        serde_json::from_str(&line.expect("it goes on")).unwrap()
    }
}

/// The server, in place of what `app` leads to.
async fn behind(house: &House) -> (Node, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let issued = house.authority.workload(SPIFFE_ID).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let files = [
        write("chain.pem", &issued.chain),
        write("key.pem", &issued.key),
        write("bundle.pem", &house.authority.mesh_bundle()),
    ];
    let mut server = Node::start("server.mjs", &files.each_ref().map(String::as_str));
    let port = server.says().await["port"].as_u64().unwrap();
    let upstream = format!("[\"{}\"]", house.upstream.address);
    let other = format!("[\"127.0.0.1:{port}\"]");
    house
        .put_in_force(|text| text.replacen(&upstream, &other, 1))
        .await;
    (server, folder)
}

async fn consents(browser: &mut Browser, asked: &Value) -> String {
    let url = asked["authorize"]
        .as_str()
        .expect("it sends its person somewhere");
    let page = browser.go(url).await;
    let said = page.page.text();
    for shown in [
        "A client of the tests",
        "nobody has verified",
        "http://localhost:7/callback",
        "alice@demo.example",
        "<strong>app</strong>",
    ] {
        assert!(said.contains(shown), "{shown}: {said}");
    }
    let policy = page.page.header("content-security-policy");
    assert!(
        policy.contains("form-action 'self' http://localhost:7;"),
        "{policy}"
    );
    let sent = decide(browser, &page, "allow").await;
    answer(&sent)["code"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_an_mcp_client_reaches_an_mcp_server_by_its_address_alone() {
    let house = house(
        "  - { name: local-agents, action: allow, from: [{ groups: [staff], agents: [loopback] }], to: [{ routes: [app], paths: [/mcp] }] }\n",
    )
    .await;
    let (_server, _folder) = behind(&house).await;
    let mut browser = house.browser();
    browser.sign_in(&house.url("access", "/"), "alice").await;
    let mut client = Node::start("client.mjs", &[&house.url("app", "/mcp")]);
    let asked = client.says().await;
    let code = consents(&mut browser, &asked).await;
    client.hears(&code).await;
    let answered = client.says().await;
    let said = &answered["said"];
    assert_eq!(said["claims"]["email"], "alice@demo.example", "{answered}");
    assert_eq!(said["claims"]["act"]["agent"], "loopback");
    assert_eq!(
        said["claims"]["act"]["sub"],
        answered["client"]["client_id"]
    );
    assert_eq!(
        (&said["agent"], &said["authorization"]),
        (&"loopback".into(), &Value::Null)
    );

    // Its token is not good any more: it gets another by itself.
    client.hears("refresh").await;
    let again = client.says().await;
    assert_eq!(
        again["said"]["claims"]["email"], "alice@demo.example",
        "{again}"
    );
    assert_ne!(
        again["tokens"]["refresh_token"],
        answered["tokens"]["refresh_token"]
    );

    // Its person signs out, and it is out: its token is refused, and its refresh too.
    browser.sign_out(&house.url("access", "")).await;
    client.hears("again").await;
    let said = client.says().await;
    let failed = said["failed"].as_str().expect("it is refused");
    assert!(failed.contains("InvalidGrantError"), "{said}");
}
