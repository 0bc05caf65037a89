//! `wayleave audit` as a process, against a running edge: what is in the log, how it comes out, and what is found when somebody was at it.

use serde_json::Value;
use sqlx::Connection;

use crate::parts::command::command;
use crate::parts::served::{Parties, alice, end};
use crate::parts::visitor::Visitor;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k10_the_log_is_searched_exported_and_verified() {
    let parties = Parties::gather().await;
    let edge = parties.serve().await;
    alice(&parties).await;
    let audit = async |arguments: &[&str]| command(&parties, "audit", arguments).await;

    let listed = audit(&["list"]).await.expect_done();
    assert!(listed.out.contains("alice@demo.example"), "{}", listed.out);
    let wanted = [
        "list",
        "--json",
        "--kind",
        "policy_written",
        "--since",
        "1h",
    ];
    let listed = audit(&wanted).await.expect_done().json();
    let events = listed["events"].as_array().unwrap();
    assert_eq!(events.len(), 1, "{listed}");
    let nothing = audit(&["list", "--until", "1h"]).await.expect_done();
    assert_eq!(nothing.out, "There is no such event.\n");

    let csv = audit(&["export", "--format", "csv"]).await.expect_done();
    assert_eq!(csv.out.lines().count(), 3, "{}", csv.out);
    let lines = audit(&["export"]).await.expect_done().out;
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["event"]["kind"], "policy_written");
    let verified = audit(&["verify"]).await.expect_done();
    assert!(
        verified.out.contains("whole up to event 2"),
        "{}",
        verified.out
    );

    // An exported log is verified without the edge; one changed word is found.
    let keys = format!("{}/.wayleave/jwks.json", parties.at("access"));
    let keys = Visitor::new().open(&keys).await;
    let (file, keys_file) = (parties.stage.path("log.jsonl"), parties.stage.path("keys"));
    std::fs::write(&keys_file, keys.text).unwrap();
    let verify = [
        "verify",
        file.to_str().unwrap(),
        "--keys",
        keys_file.to_str().unwrap(),
    ];
    std::fs::write(&file, &lines).unwrap();
    audit(&verify).await.expect_done();
    std::fs::write(&file, lines.replace("alice@", "bob@")).unwrap();
    let found = audit(&verify).await;
    assert_eq!(found.code, Some(3));
    assert!(found.err.contains("position 2:"), "{}", found.err);

    // So is one in the store.
    let url = format!("sqlite://{}", parties.stage.path("wayleave.db").display());
    let mut own = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let tamper = "DROP TRIGGER audit_events_unchanged; \
                  UPDATE audit_events SET body = replace(body, 'alice', 'bob') WHERE seq = 2";
    sqlx::raw_sql(tamper).execute(&mut own).await.unwrap();
    let found = audit(&["verify", "--json"]).await;
    assert_eq!(
        (found.code, &found.json()["first_bad"]),
        (Some(3), &2.into())
    );
    end(edge).await;
    parties.leave().await;
}
