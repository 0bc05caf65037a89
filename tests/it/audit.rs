//! `wayleave audit` as a process, against a running edge: what is in the log, how it comes out, and what is found when somebody was at it.

use http::StatusCode;
use serde_json::Value;
use sqlx::Connection;

use crate::parts::command::command;
use crate::parts::program::eventually;
use crate::parts::served::{
    CONFIGURATION, OwnPostgres, Parties, alice, database, end, gathered_on, row, status,
};
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

    // A sign-in says where it came from; a kind that there is not is wrong usage, also at the API.
    let signed_in = audit(&["list", "--kind", "sign_in"]).await.expect_done();
    assert!(
        signed_in.out.contains("peer=127.0.0.1"),
        "{}",
        signed_in.out
    );
    let wrong = audit(&["list", "--kind", "sign_inn"]).await;
    assert_eq!(wrong.code, Some(2), "{}", wrong.err);
    assert!(wrong.err.contains("'sign_in'"), "{}", wrong.err);

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
    let whole = audit(&verify).await.expect_done().out;
    assert!(whole.contains("whether the log went on"), "{whole}");
    // It goes on from an older one that is whole itself, and from no other.
    let older = parties.stage.path("older.jsonl");
    let going_on = [&verify[..], &["--extends", older.to_str().unwrap()]].concat();
    std::fs::write(&older, lines.lines().next().unwrap()).unwrap();
    audit(&going_on).await.expect_done();
    let edited = lines.replacen("policy_written", "policy_wrotten", 1);
    std::fs::write(&older, edited).unwrap();
    let found = audit(&going_on).await;
    assert!(found.err.contains("is not whole itself"), "{}", found.err);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k10_a_policy_that_was_changed_in_the_store_is_found() {
    let parties = Parties::gather().await;
    let edge = parties.serve().await;
    let audit = async |arguments: &[&str]| command(&parties, "audit", arguments).await;
    let whole = audit(&["verify"]).await.expect_done().out;
    assert!(
        whole.contains("The policy in force is revision 1, as it was when it was written."),
        "{whole}"
    );
    let url = format!("sqlite://{}", parties.stage.path("wayleave.db").display());
    let widen =
        "UPDATE policy_objects SET body = replace(body, 'deny', 'allow') WHERE kind = 'rule'";
    tamper(&url, "CREATE TABLE kept AS SELECT * FROM policy_objects").await;
    tamper(&url, widen).await;
    let broken = audit(&["verify"]).await;
    assert_eq!(broken.code, Some(3), "{}", broken.out);
    assert!(
        broken.err.contains("under the number of its revision"),
        "{}",
        broken.err
    );
    let restore = "DELETE FROM policy_objects; INSERT INTO policy_objects SELECT * FROM kept; DROP TABLE kept";
    tamper(&url, restore).await;
    audit(&["verify"]).await.expect_done();
    // One that nothing tells of.
    let beside = "INSERT INTO revisions (revision, parent, author, message, created_at, is_emergency) VALUES (2, 1, 'x', 'x', 0, 0)";
    tamper(&url, beside).await;
    let broken = audit(&["verify"]).await;
    assert!(
        broken.err.contains("newest that the log tells of"),
        "{}",
        broken.err
    );
    // A part of a log is not taken for all of it.
    let part = audit(&["export", "--kind", "policy_written"])
        .await
        .expect_done()
        .out;
    let file = parties.stage.path("part.jsonl");
    std::fs::write(&file, part).unwrap();
    let keys = parties.stage.path("keys.json");
    let known = command(&parties, "keys", &["list", "--output", "json"])
        .await
        .expect_done();
    std::fs::write(&keys, known.out).unwrap();
    let refused = [
        "verify",
        file.to_str().unwrap(),
        "--keys",
        keys.to_str().unwrap(),
    ];
    let refused = audit(&refused).await;
    assert!(
        refused.err.contains("exported with a filter"),
        "{}",
        refused.err
    );
    end(edge).await;
    parties.leave().await;
}

/// Does something to a store behind an edge's back.
async fn tamper(url: &str, sql: &'static str) {
    if url.starts_with("sqlite") {
        let mut own = sqlx::SqliteConnection::connect(url).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut own).await.unwrap();
    } else {
        let mut own = sqlx::PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut own).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_does_not_go_on_with_a_store_that_was_set_back() {
    for postgres in [false, true] {
        let (parties, url) = match postgres {
            true => {
                let url = database().await;
                (gathered_on(&url).await, url)
            }
            false => {
                let parties = Parties::gather().await;
                let url = format!("sqlite://{}", parties.stage.path("wayleave.db").display());
                (parties, url)
            }
        };
        let mut edge = parties.serve().await;
        let mut alice = alice(&parties).await;
        let home = parties.at("access");
        let out = alice.open(&format!("{home}/.wayleave/sign-out")).await;
        alice.submit(&out, &[]).await;
        let seen = parties.stage.path("spool/seen.json");
        eventually("it has seen the log", async || seen.exists()).await;
        // The feed of changes is shorter than it was.
        let shorten = "DELETE FROM changes; UPDATE feed_head SET seq = 0";
        tamper(&url, shorten).await;
        assert_eq!(edge.ended().await.code(), Some(1), "{}", edge.err());
        let said = edge.err();
        assert!(said.contains("set back to an earlier state"), "{said}");

        // So is the audit log, of which this edge has seen more; nobody knows what else is missing.
        let disarm = match postgres {
            true => "ALTER TABLE audit_events DISABLE TRIGGER ALL",
            false => "DROP TRIGGER audit_events_kept",
        };
        tamper(&url, disarm).await;
        let shorten = "DELETE FROM audit_events; DELETE FROM audit_checkpoints; UPDATE audit_head SET seq = 0, \
                       hash = '0000000000000000000000000000000000000000000000000000000000000000'";
        tamper(&url, shorten).await;
        let mut refused = parties.try_serve();
        assert_eq!(refused.ended().await.code(), Some(1));
        let said = refused.err();
        assert!(said.contains("set back to an earlier state"), "{said}");
        assert!(said.contains("seen.json"), "{said}");
        // Whoever restored a backup says so.
        std::fs::remove_file(seen).unwrap();
        let edge = parties.serve().await;
        end(edge).await;
        parties.leave().await;
    }
}

/// How many requests of these paths the store says there were.
async fn recorded(url: &str, path: &str) -> i64 {
    let sql = format!(
        "SELECT CAST(COALESCE(SUM(count), 0) AS BIGINT) FROM decisions WHERE body LIKE '%{path}%'"
    );
    let (count,) = row(url, &sql).await;
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_decision_is_lost_by_a_kill_or_counted_twice() {
    let parties = Parties::gather().await;
    let url = format!("sqlite://{}", parties.stage.path("wayleave.db").display());
    let mut edge = parties.serve().await;
    let mut alice = alice(&parties).await;
    let mut bob = Visitor::new();
    bob.open_as("bob", &parties.at("payroll")).await;
    for round in 1..=4 {
        for number in 0..10 {
            let path = format!("{}/counted/{number}", parties.at("grafana"));
            assert_eq!(status(&mut alice, &path).await, StatusCode::OK);
            let path = format!("{}/counted/{number}", parties.at("payroll"));
            assert_eq!(status(&mut bob, &path).await, StatusCode::FORBIDDEN);
        }
        edge.signal("KILL");
        assert_eq!(edge.ended().await.code(), None);
        edge = parties.serve().await;
        let all = async || recorded(&url, "/counted/").await == 20 * round;
        eventually("all decisions are in the store", all).await;
    }
    // The denials are events; the requests that were let through are not.
    let denied = [
        "list",
        "--kind",
        "denied",
        "--actor",
        "bob@demo.example",
        "--contains",
        "/counted/",
        "--json",
    ];
    let listed = command(
        &parties,
        "audit",
        &[&denied[..], &["--limit", "100"]].concat(),
    )
    .await;
    let listed = listed.expect_done().json();
    assert_eq!(listed["events"].as_array().unwrap().len(), 40);
    command(&parties, "audit", &["verify"]).await.expect_done();
    assert_eq!(recorded(&url, "/counted/").await, 80);
    end(edge).await;
    parties.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_of_the_spool_is_set_aside_and_not_deleted() {
    let parties = Parties::gather().await;
    let spool = parties.stage.path("spool");
    std::fs::create_dir_all(&spool).unwrap();
    let left = spool.join("0-left-behind.closed");
    std::fs::write(&left, [b"torn by a power cut".as_slice(), &[0; 9]].concat()).unwrap();
    let mut edge = parties.serve().await;
    edge.logs("the end of these decisions cannot be read").await;
    let kept = async || spool.join("0-left-behind.bad").exists() && !left.exists();
    eventually("it is set aside", kept).await;
    end(edge).await;
    parties.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_of_an_outage_reach_the_store_afterwards() {
    let postgres = OwnPostgres::start();
    let parties = gathered_on(&postgres.url).await;
    let mut edge = parties.serve().await;
    let mut alice = alice(&parties).await;
    postgres.tell("stop");
    for number in 0..30 {
        let path = format!("{}/outage/{number}", parties.at("grafana"));
        assert_eq!(status(&mut alice, &path).await, StatusCode::OK);
    }
    edge.logs("recorded decisions wait").await;
    edge.signal("KILL");
    edge.ended().await;
    postgres.tell("start");
    let edge = parties.serve().await;
    let all = async || recorded(&postgres.url, "/outage/").await == 30;
    eventually("all decisions are in the store", all).await;
    end(edge).await;
    parties.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_recorded_is_refused_unless_the_configuration_says_otherwise() {
    for (when_full, expected) in [
        ("refuse", StatusCode::SERVICE_UNAVAILABLE),
        ("forward", StatusCode::OK),
    ] {
        let parties = Parties::gather().await;
        let section = format!("[audit]\nwhen_full = \"{when_full}\"\n\n[log]");
        parties.edit(CONFIGURATION, "[log]", &section);
        let mut edge = parties.serve().await;
        let mut alice = alice(&parties).await;
        let mut bob = Visitor::new();
        bob.open_as("bob", &parties.at("payroll")).await;
        let spool = parties.stage.path("spool");
        let grafana = parties.at("grafana");
        // The lock, and what was seen of the audit log.
        let is_empty = async || std::fs::read_dir(&spool).unwrap().count() == 2;
        eventually("all is shipped", is_empty).await;
        let away = parties.stage.path("elsewhere");
        std::fs::rename(&spool, &away).unwrap();
        assert_eq!(status(&mut alice, &grafana).await, expected);
        edge.logs("decisions cannot be recorded").await;
        let refused = status(&mut bob, &parties.at("payroll")).await;
        assert_eq!(refused, StatusCode::FORBIDDEN, "a denial stands");
        std::fs::rename(&away, &spool).unwrap();
        assert_eq!(status(&mut alice, &grafana).await, StatusCode::OK);
        end(edge).await;
        parties.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_did_is_decided_again_by_another_policy() {
    let parties = Parties::gather().await;
    let url = format!("sqlite://{}", parties.stage.path("wayleave.db").display());
    let edge = parties.serve().await;
    let (mut alice, mut bob) = (alice(&parties).await, Visitor::new());
    let refused = bob.open_as("bob", &parties.at("payroll")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    for number in 0..5 {
        let path = format!("{}/d/{number}", parties.at("grafana"));
        assert_eq!(status(&mut alice, &path).await, StatusCode::OK);
    }
    let all = async || recorded(&url, ".localhost").await == 7;
    eventually("all decisions are in the store", all).await;
    let policy = async |arguments: &[&str]| command(&parties, "policy", arguments).await;

    let (live, draft) = (
        parties.stage.path("policy.yaml"),
        parties.stage.path("draft.yaml"),
    );
    let (live, draft) = (live.to_str().unwrap(), draft.to_str().unwrap());
    let same = policy(&["replay", live]).await.expect_done();
    assert!(
        same.out.contains("each would be decided as it was"),
        "{}",
        same.out
    );
    let text = parties.read("policy.yaml");
    let (parts, _) = text.split_once("\nrules:").unwrap();
    let rules = "rules: [{ name: bobs, action: allow, from: [{ emails: [bob@demo.example] }] }]";
    std::fs::write(draft, format!("{parts}\n{rules}\n")).unwrap();
    let other = policy(&["replay", draft]).await.expect_done();
    for line in [
        "- would lose alice@demo.example: GET grafana.localhost/d/{*} (5 times",
        "+ would gain bob@demo.example: GET payroll.localhost/ (once",
    ] {
        assert!(other.out.contains(line), "{line}: {}", other.out);
    }
    let asking = "rules: [{ name: asked, action: allow, from: [{ groups: [sre] }], require: { approval: { from: [{ groups: [staff] }], at_most: 4h } } }]";
    let approved = parties.stage.path("approved.yaml");
    std::fs::write(&approved, format!("{parts}\n{asking}\n")).unwrap();
    let approved = policy(&["replay", approved.to_str().unwrap()]).await;
    let approved = approved.expect_done();
    let line =
        "~ would need an approval for alice@demo.example: GET grafana.localhost/d/{*} (5 times";
    assert!(approved.out.contains(line), "{}", approved.out);
    // What was refused and can be asked for is no less of a change.
    let lent = "rules: [{ name: lent, action: allow, from: [{ signed_in: true }], require: { approval: { from: [{ groups: [staff] }], at_most: 4h } } }]";
    let lending = parties.stage.path("lending.yaml");
    std::fs::write(&lending, format!("{parts}\n{lent}\n")).unwrap();
    let lending = policy(&["replay", lending.to_str().unwrap()]).await;
    let lending = lending.expect_done().out;
    for line in [
        "+ could ask for bob@demo.example: GET payroll.localhost/ (once",
        "1 person could ask for something that was refused",
    ] {
        assert!(lending.contains(line), "{line}: {lending}");
    }
    let planned = policy(&["plan", draft]).await.expect_done();
    assert!(planned.out.contains("would lose alice@"), "{}", planned.out);
    let early = ["replay", draft, "--last", "2020-01-01T00:00:00Z", "--json"];
    let early = policy(&early).await.expect_done().json();
    assert_eq!(early["effects"].as_array().unwrap().len(), 3, "{early}");
    let none = policy(&["replay", draft, "--last", "0s"])
        .await
        .expect_done();
    assert!(
        none.out.starts_with("No request is recorded since"),
        "{}",
        none.out
    );

    // What bob was refused can be explained by the id that stands on his page.
    let listed = ["list", "--kind", "denied", "--json"];
    let listed = command(&parties, "audit", &listed)
        .await
        .expect_done()
        .json();
    let body = listed["events"][0]["body"].as_str().unwrap();
    let event: Value = serde_json::from_str(body).unwrap();
    let id = event["decision"].as_str().unwrap();
    assert!(refused.text.contains(id), "{id}: {}", refused.text);
    let explained = command(&parties, "explain", &[id]).await.expect_done();
    for part in [
        "bob@demo.example",
        "GET payroll.localhost/ from 127.0.0.1",
        "no rule allows it",
    ] {
        assert!(explained.out.contains(part), "{part}: {}", explained.out);
    }
    let unknown = command(&parties, "explain", &["0191f3c2"]).await;
    assert!(
        unknown.err.contains("no decision 0191f3c2"),
        "{}",
        unknown.err
    );
    end(edge).await;
    parties.leave().await;
}
