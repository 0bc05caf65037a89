//! The demonstration in a real Chromium: `tests/parts/browser/*.mjs` look, by playwright, and fail when something is not as it should be.

use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::parts::program::Demo;

/// Runs one script against a demonstration of its own, and hands over what it reports.
async fn look(script: &str, options: impl FnOnce(&Demo) -> Value) -> (Demo, Value) {
    let demo = Demo::start().await;
    let mut input = options(&demo);
    input["ports"] = json!({ "http": demo.http, "https": demo.https, "provider": demo.provider });
    let file: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/parts/browser", script]
        .iter()
        .collect();
    let mut node = Command::new("node");
    node.arg(file).arg(input.to_string()).kill_on_drop(true);
    let ended = node.output().await.expect("node runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    let log = demo.program.err();
    assert!(ended.status.success(), "{script}: {said}\n{log}");
    assert_eq!(log, "", "nothing of this is worth a warning");
    (demo, serde_json::from_slice(&ended.stdout).unwrap())
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
    let shots = concat!(env!("CARGO_MANIFEST_DIR"), "/target/screenshots");
    std::fs::create_dir_all(shots).unwrap();
    let (_demo, report) = look("pages.mjs", |_| json!({ "shots": shots })).await;
    assert!(report["pages"].as_array().unwrap().len() >= 8, "{report}");
}
