//! The demonstration in a real Chromium: `tests/parts/browser/*.mjs` look, by playwright, and fail when something is not as it should be.

use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::parts::command::command;
use crate::parts::program::{Demo, Program};
use crate::parts::served::{CONFIGURATION, Parties, gathered_on, stores};

/// Runs one script, and hands over what it reports.
async fn run(script: &str, input: Value, log: impl Fn() -> String) -> Value {
    let file: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/parts/browser", script]
        .iter()
        .collect();
    let mut node = Command::new("node");
    node.arg(file).arg(input.to_string()).kill_on_drop(true);
    let ended = node.output().await.expect("node runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{script}: {said}\n{}", log());
    serde_json::from_slice(&ended.stdout).unwrap()
}

/// Runs one script against a demonstration of its own, nothing of which may be worth a warning.
async fn look(script: &str, options: impl FnOnce(&Demo) -> Value) -> (Demo, Value) {
    let demo = Demo::start().await;
    let mut input = options(&demo);
    input["ports"] = json!({ "http": demo.http, "https": demo.https, "provider": demo.provider });
    let report = run(script, input, || demo.program.err()).await;
    assert_eq!(demo.program.err(), "");
    (demo, report)
}

/// Where pictures go.
fn shots() -> &'static str {
    let shots = concat!(env!("CARGO_MANIFEST_DIR"), "/target/screenshots");
    std::fs::create_dir_all(shots).unwrap();
    shots
}

fn nothing_more(_demo: &Demo) -> Value {
    json!({})
}

#[tokio::test]
async fn people_arrive_at_the_page_they_first_asked_for() {
    let (demo, report) = look("sign_in.mjs", nothing_more).await;
    assert!(report["arrived"].as_str().unwrap().ends_with("q=%C3%A4"));
    let log = std::fs::read_to_string(demo.folder().join("access.log")).unwrap();
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
}

#[tokio::test]
async fn three_people_get_three_results_and_are_told_why() {
    let (demo, report) = look("people.mjs", nothing_more).await;
    let refusals = report.as_object().unwrap();
    assert_eq!(refusals.len(), 3, "{report}");
    // Whoever reads out the decision's id is found by it.
    let log = demo.folder().join("access.log");
    for refusal in refusals.values() {
        let id = refusal["decision"].as_str().unwrap();
        let found = crate::parts::program::eventually("the decision is logged", async || {
            std::fs::read_to_string(&log).unwrap().contains(id)
        });
        found.await;
    }
}

#[tokio::test]
async fn access_is_asked_for_and_goes_on_by_itself() {
    look("access.mjs", |_| json!({ "shots": shots() })).await;
}

#[tokio::test]
async fn open_pages_of_the_console_follow_what_others_do() {
    look("live.mjs", nothing_more).await;
}

#[tokio::test]
async fn signing_out_ends_it_everywhere() {
    look("sign_out.mjs", nothing_more).await;
}

#[tokio::test]
async fn over_tls_cookies_are_bound_to_their_host() {
    let certificate = |demo: &Demo| json!({ "trust": demo.folder().join("front-door.pem") });
    look("https.mjs", certificate).await;
}

#[tokio::test]
async fn pages_fit_narrow_screens_and_are_drawn() {
    let (_demo, report) = look("pages.mjs", |_| json!({ "shots": shots() })).await;
    assert!(report["pages"].as_array().unwrap().len() >= 8, "{report}");
}

/// An edge that follows no file and asks for one approval, with two people who may write policy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_change_policy_in_the_console() {
    for url in stores().await {
        let parties = match url.starts_with("sqlite") {
            true => Parties::gather().await,
            false => gathered_on(&url).await,
        };
        let file = "[policy]\nfile = \"policy.yaml\"\n";
        parties.edit(CONFIGURATION, file, "[policy]\napprovals = 1\n");
        let (from, to) = (
            "- name: auditors\n    role: auditor",
            "- name: admins\n    role: admin",
        );
        parties.edit("policy.yaml", from, to);
        let edge = parties.serve().await;
        let document = parties.stage.path("policy.yaml");
        let arguments = ["apply", document.to_str().unwrap(), "-m", "the first"];
        let arguments = [&arguments[..], &["--yes", "--emergency"]].concat();
        let applied = command(&parties, "policy", &arguments).await.expect_done();
        assert!(applied.out.contains("Revision 1"), "{}", applied.out);
        let ports = parties.stage.ports;
        let ports = json!({ "http": ports.http, "https": ports.https, "provider": ports.identity_provider });
        let input = json!({ "ports": ports, "shots": shots() });
        let report = run("policy.mjs", input, || edge.err()).await;
        assert_eq!(report["pages"].as_array().unwrap().len(), 108, "{report}");
        parties.leave().await;
    }
}

/// More to open than the demonstration has, for the pictures.
fn with_more_to_open(policy: &str) -> String {
    let (_, first) = policy.split_once("host: grafana.localhost\n").unwrap();
    let upstream = first.split("  - name:").next().unwrap();
    let names = ["wiki", "ci", "tickets", "tracing", "vault"];
    let routes =
        names.map(|name| format!("  - name: {name}\n    host: {name}.localhost\n{upstream}"));
    let routes = policy.replacen("routes:\n", &format!("routes:\n{}", routes.concat()), 1);
    let staff = "to: [{ routes: [dashboards] }]\n";
    let more = "  - name: staff-may-work\n    action: allow\n    from: [{ groups: [staff] }]\n    \
        to: [{ routes: [wiki, ci, tickets, tracing] }]\n  - name: vault-for-a-time\n    action: allow\n    from: [{ groups: [staff] }]\n    \
        to: [{ routes: [vault] }]\n    require: { approval: { from: [{ groups: [sre] }], at_most: 2h } }\n";
    routes.replacen(staff, &format!("{staff}{more}"), 1)
}

/// `make screenshots` copies them into `docs/images`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readmes_pictures_can_be_taken() {
    let parties = Parties::gather().await;
    let policy = parties.read("policy.yaml");
    parties.edit("policy.yaml", &policy, &with_more_to_open(&policy));
    let file = "[policy]\nfile = \"policy.yaml\"\n";
    parties.edit(CONFIGURATION, file, "[policy]\n");
    let edge = parties.serve().await;
    let document = parties.stage.path("policy.yaml");
    let arguments = [
        "apply",
        document.to_str().unwrap(),
        "-m",
        "the first",
        "--yes",
    ];
    command(&parties, "policy", &arguments).await.expect_done();
    let ports = parties.stage.ports;
    let ports =
        json!({ "http": ports.http, "https": ports.https, "provider": ports.identity_provider });
    let pictures = format!("{}/readme", shots());
    std::fs::create_dir_all(&pictures).unwrap();
    let input = json!({ "ports": ports, "shots": pictures });
    let report = run("readme.mjs", input, || edge.err()).await;
    assert_eq!(report["pictures"].as_array().unwrap().len(), 4);
    parties.leave().await;
}

#[tokio::test]
async fn the_console_is_drawn_and_accessible_and_works_without_a_script() {
    let (_demo, report) = look("console.mjs", |_| json!({ "shots": shots() })).await;
    assert_eq!(report["pages"].as_array().unwrap().len(), 72, "{report}");
}

#[tokio::test]
async fn peoples_own_pages_are_drawn_and_accessible_and_work_without_a_script() {
    let (_demo, report) = look("portal.mjs", |_| json!({ "shots": shots() })).await;
    assert_eq!(report["pages"].as_array().unwrap().len(), 32, "{report}");
}

#[tokio::test]
async fn with_two_providers_people_choose() {
    let parties = Parties::gather().await;
    let text = parties.read("wayleave.toml");
    let (start, end) = (
        text.find("[[identity").unwrap(),
        text.find("[mesh]").unwrap(),
    );
    let another = text[start..end]
        .replace("\"demo\"", "\"another\"")
        .replace("Demo identity provider", "Another way in");
    parties.edit("wayleave.toml", "[mesh]", &format!("{another}[mesh]"));
    let edge = parties.serve().await;
    let ports = parties.stage.ports;
    let ports =
        json!({ "http": ports.http, "https": ports.https, "provider": ports.identity_provider });
    let input = json!({ "ports": ports, "shots": shots() });
    run("choose.mjs", input, || edge.err()).await;
    parties.leave().await;
}

/// Signs in on the command line, with what it says handed to a script in the browser.
async fn let_in(parties: &Parties, option: &str, read: impl Fn(&str) -> Option<Value>) {
    let desk = tempfile::tempdir().unwrap();
    let home = desk.path().display().to_string();
    let environment = [
        ("HOME", home.as_str()),
        ("XDG_CONFIG_HOME", home.as_str()),
        ("XDG_STATE_HOME", home.as_str()),
        ("WAYLEAVE_KEYRING", "off"),
    ];
    let edge = parties.at("access");
    let arguments = ["login", "--edge", &edge, option];
    let mut login = Program::start_with(&arguments, &environment);
    login.logs("/.wayleave/oauth/").await;
    let (mut input, _) = crate::parts::until("what to open", || read(&login.err())).await;
    let ports = parties.stage.ports;
    input["ports"] =
        json!({ "http": ports.http, "https": ports.https, "provider": ports.identity_provider });
    input["shots"] = shots().into();
    run("login.mjs", input, || login.err()).await;
    assert_eq!(login.ended().await.code(), Some(0), "{}", login.err());
    assert!(login.out().contains("as alice@demo.example"));
}

fn address(said: &str) -> Option<&str> {
    let mut lines = said.lines().map(str::trim);
    lines.find(|line| line.contains("/.wayleave/oauth/"))
}

#[tokio::test]
async fn people_let_the_command_line_in_by_a_browser_here_or_elsewhere() {
    let parties = Parties::gather().await;
    let edge = parties.serve().await;
    let here = |said: &str| Some(json!({ "url": address(said)? }));
    let_in(&parties, "--no-browser", here).await;
    let elsewhere = |said: &str| {
        let is_code = |line: &&str| line.len() == 9 && line.as_bytes().get(4) == Some(&b'-');
        let code = said.lines().map(str::trim).find(is_code)?;
        Some(json!({ "url": address(said)?, "code": code }))
    };
    let_in(&parties, "--device", elsewhere).await;
    drop(edge);
    parties.leave().await;
}
