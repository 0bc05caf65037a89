//! Secrets of every kind go through a whole edge that logs all it can, and appear in none of its logs (K11).

use reqwest::StatusCode;

use crate::parts::program::{Program, free_ports};
use crate::parts::served::{CONFIGURATION, Parties, alice, database, gathered_on};
use crate::parts::visitor::Visitor;

#[tokio::test]
async fn k11_secrets_are_in_no_log() {
    secrets_are_in_no_log(Parties::gather().await).await;
}

#[tokio::test]
async fn k11_secrets_are_in_no_log_with_postgres() {
    let url = database().await;
    let url = url.replace("postgres@", "postgres:database-canary@");
    assert!(url.contains("canary"));
    secrets_are_in_no_log(gathered_on(&url).await).await;
}

#[tokio::test]
async fn k11_a_store_that_does_not_answer_is_named_without_its_password() {
    let [nobody] = free_ports();
    let url = format!("postgres://someone:database-canary@127.0.0.1:{nobody}/none");
    let parties = gathered_on(&url).await;
    parties.edit(CONFIGURATION, "filter = \"info\"", "filter = \"trace\"");
    let mut edge = parties.try_serve();
    assert_eq!(edge.ended().await.code(), Some(1));
    let said = edge.err();
    assert!(
        said.contains("the store") && !said.contains("canary"),
        "{said}"
    );
    parties.leave().await;
}

async fn secrets_are_in_no_log(parties: Parties) {
    parties.edit(CONFIGURATION, "filter = \"info\"", "filter = \"trace\"");
    let edge = parties.serve().await;
    let mut alice = alice(&parties).await;
    let seen = alice
        .open(&format!("{}/?token=query-canary", parties.at("grafana")))
        .await;
    // The workload shows the assertion it got; nobody else shall have it.
    let assertions = seen
        .text
        .split(['>', '<', ' ', '"'])
        .filter(|part| part.starts_with("eyJ"));
    let mut secrets: Vec<String> = assertions.map(str::to_owned).collect();
    assert!(!secrets.is_empty(), "{seen:?}");
    let wrong = format!("{}/?code=x", parties.at("grafana"));
    let refused = alice
        .bearer(&wrong, "eyJhbGciOiJub25lIn0.bearer-canary.x")
        .await;
    assert_eq!(refused, StatusCode::UNAUTHORIZED);
    let page = alice
        .open(&format!("{}/.wayleave/sign-out", parties.at("access")))
        .await;
    alice.submit(&page, &[]).await;
    end_and_collect(edge, &parties, &mut secrets, &alice).await;
    parties.leave().await;
}

async fn end_and_collect(
    mut edge: Program,
    parties: &Parties,
    secrets: &mut Vec<String>,
    visitor: &Visitor,
) {
    edge.signal("TERM");
    assert_eq!(edge.ended().await.code(), Some(0));
    secrets.extend(visitor.secrets.iter().cloned());
    secrets.push(parties.read("provider.secret"));
    secrets.push(parties.read("store.key"));
    for key in ["front-door.key", "edge-ca.key"] {
        secrets.push(parties.read(key).lines().nth(1).unwrap().to_owned());
    }
    let canaries = ["query-canary", "bearer-canary", "database-canary"];
    secrets.extend(canaries.map(str::to_owned));
    assert!(secrets.len() > 12, "{secrets:?}");
    let (err, log) = (edge.err(), parties.read("access.log"));
    assert!(err.contains("TRACE") && log.lines().count() > 5);
    for (name, text) in [("the log", &err), ("the access log", &log)] {
        for line in text.lines() {
            let told = secrets.iter().find(|secret| line.contains(secret.trim()));
            assert!(told.is_none(), "{told:?} is in {name}: {line}");
        }
    }
}
