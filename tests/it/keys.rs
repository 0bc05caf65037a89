//! `wayleave keys` as a process, against two edges on one database: a rotation while people work, a revocation, and a kill in between.

use http::StatusCode;
use serde_json::Value;
use sqlx::Connection;

use crate::parts::command::command;
use crate::parts::program::eventually;
use crate::parts::served::{Parties, alice, database, end, gathered_on, status};
use crate::parts::visitor::Visitor;

/// Key ids that an edge publishes.
async fn published(origin: &str) -> Vec<String> {
    let page = Visitor::new()
        .open(&format!("{origin}/.wayleave/jwks.json"))
        .await;
    let set: Value = serde_json::from_str(&page.text).unwrap();
    let keys = set["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

/// Ids of the keys in a state, as the first edge has them.
async fn in_state(parties: &Parties, state: &str) -> Vec<String> {
    let listed = command(parties, "keys", &["list", "--json"]).await;
    let listed = listed.expect_done().json();
    let keys = listed["keys"].as_array().unwrap().iter();
    keys.filter(|key| key["state"] == state)
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

/// Has the next key sign in two seconds instead of a week, and tells the edges.
const SOON: &str = "UPDATE signing_key_lives SET signs_from = CAST(EXTRACT(EPOCH FROM now()) * 1000000 AS BIGINT) + 2000000 \
    WHERE signs_from > EXTRACT(EPOCH FROM now()) * 1000000; \
    UPDATE feed_head SET seq = seq + 1 WHERE name = 'changes'; \
    INSERT INTO changes (seq, kind, subject, at) SELECT seq, 'grants_changed', 'signing_keys', 0 FROM feed_head WHERE name = 'changes'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_while_people_work_and_are_revoked_everywhere() {
    let url = database().await;
    let parties = gathered_on(&url).await;
    let mut edge = parties.serve().await;
    let (second, port) = parties.serve_second().await;
    let (here, there) = (
        parties.at("access"),
        format!("http://access.localhost:{port}"),
    );
    let keys = async |arguments: &[&str]| command(&parties, "keys", arguments).await;
    let first = published(&here).await;
    assert_eq!(first.len(), 1);

    let unasked = keys(&["rotate"]).await;
    assert_eq!(unasked.code, Some(1), "{}", unasked.out);
    assert!(
        unasked.err.contains("would be published now"),
        "{}",
        unasked.err
    );
    assert_eq!(published(&here).await, first);
    let rotated = keys(&["rotate", "--yes", "--author", "carol"]).await;
    let rotated = rotated.expect_done();
    assert!(rotated.out.contains("is published now"), "{}", rotated.out);
    let both = async || published(&there).await.len() == 2;
    eventually("the other edge publishes it too", both).await;
    let again = keys(&["rotate", "--yes", "--json"]).await;
    let fault: Value = serde_json::from_str(&again.err).unwrap();
    assert_eq!(
        (again.code, &fault["problem"]["code"]),
        (Some(1), &"rotation_under_way".into())
    );

    // A kill right after it takes nothing back.
    edge.signal("KILL");
    assert_eq!(edge.ended().await.code(), None);
    edge = parties.serve().await;
    assert_eq!(in_state(&parties, "active").await, first);
    let next = in_state(&parties, "next").await;

    let mut alice = alice(&parties).await;
    let elsewhere = format!("http://grafana.localhost:{port}");
    assert!(alice.is_signed_in(&elsewhere).await);
    let mut own = sqlx::PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(SOON).execute(&mut own).await.unwrap();
    let mut served = 0;
    while in_state(&parties, "active").await == first {
        for origin in [&parties.at("grafana"), &elsewhere] {
            for _ in 0..10 {
                assert_eq!(status(&mut alice, origin).await, StatusCode::OK);
                served += 1;
            }
        }
    }
    assert!(served > 0, "nobody worked meanwhile");
    assert_eq!(in_state(&parties, "active").await, next);
    assert_eq!(in_state(&parties, "retired").await, first);
    assert_eq!(status(&mut alice, &elsewhere).await, StatusCode::OK);

    let revoked = keys(&["rotate", "--revoke", &next[0], "--yes"]).await;
    let revoked = revoked.expect_done();
    assert!(revoked.out.contains("is revoked"), "{}", revoked.out);
    let gone = async || !published(&there).await.contains(&next[0]);
    eventually("the other edge has dropped it", gone).await;
    assert!(!published(&here).await.contains(&next[0]));
    assert_eq!(in_state(&parties, "revoked").await, next);
    for origin in [&parties.at("grafana"), &elsewhere] {
        assert_eq!(status(&mut alice, origin).await, StatusCode::OK);
    }
    let unknown = keys(&["rotate", "--revoke", "x", "--yes"]).await;
    assert_eq!(unknown.code, Some(1), "{}", unknown.err);

    let listed = command(
        &parties,
        "audit",
        &["list", "--json", "--contains", "signing_key"],
    )
    .await;
    let listed = listed.expect_done().json();
    let events = listed["events"].as_array().unwrap();
    let bodies: Vec<&str> = events.iter().filter_map(|e| e["body"].as_str()).collect();
    assert_eq!(bodies.len(), 3, "{bodies:?}");
    assert!(bodies[2].contains("operator (carol)"), "{bodies:?}");
    let operators = ["list", "--actor", "operator", "--since", "2026-01-01"];
    let operators = command(&parties, "audit", &operators).await.expect_done();
    assert!(
        operators.out.contains("operator (carol)"),
        "{}",
        operators.out
    );
    command(&parties, "audit", &["verify"]).await.expect_done();
    end(second).await;
    end(edge).await;
    parties.leave().await;
}
