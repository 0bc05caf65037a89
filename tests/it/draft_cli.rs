//! `wayleave policy draft` as a process, against a running edge: what operators can do with drafts, and what only people can.

use serde_json::{Value, json};
use sqlx::Connection;
use wayleave::secret::random;

use crate::parts::beside;
use crate::parts::command::{Said, command};
use crate::parts::served::{CONFIGURATION, Parties, database, end, gathered_on};

/// Parties whose edge follows no file, and asks for so many approvals.
async fn asking_for(approvals: usize, is_postgres: bool) -> Parties {
    let parties = match is_postgres {
        true => gathered_on(&database().await).await,
        false => Parties::gather().await,
    };
    let section = format!("[policy]\napprovals = {approvals}\n");
    let file = "[policy]\nfile = \"policy.yaml\"\n";
    parties.edit(CONFIGURATION, file, &section);
    parties
}

async fn policy(parties: &Parties, arguments: &[&str]) -> Said {
    command(parties, "policy", arguments).await
}

async fn draft(parties: &Parties, arguments: &[&str]) -> Said {
    policy(parties, &[&["draft"], arguments].concat()).await
}

fn has(said: &str, words: &[&str]) {
    for words in words {
        assert!(said.contains(words), "{words} in {said}");
    }
}

/// Adds a rule to a document's end.
fn with_rule(text: &str, name: &str) -> String {
    format!("{text}\n  - name: {name}\n    action: deny\n    from: [{{ groups: [{name}] }}]\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draft_is_saved_shown_rebased_and_applied() {
    for is_postgres in [false, true] {
        let parties = asking_for(0, is_postgres).await;
        let edge = parties.serve().await;
        let document = parties.stage.path("policy.yaml");
        let file = document.to_str().unwrap();
        let text = parties.read("policy.yaml");
        policy(&parties, &["apply", file, "-m", "the first", "--yes"])
            .await
            .expect_done();
        let nothing = draft(&parties, &["list"]).await.expect_done();
        has(&nothing.out, &["There is no draft under way"]);

        std::fs::write(&document, with_rule(&text, "freeze")).unwrap();
        let save = ["save", file, "-m", "closed", "--author", "carol"];
        let saved = draft(&parties, &save).await.expect_done();
        has(
            &saved.out,
            &["draft 1 by operator (carol): closed (open", "submit 1"],
        );
        draft(&parties, &["submit", "1"]).await.expect_done();
        let comment = [
            "comment",
            "1",
            "-m",
            "why not\non Monday",
            "--author",
            "dora",
        ];
        draft(&parties, &comment).await.expect_done();
        let shown = draft(&parties, &["show", "1"]).await.expect_done();
        has(
            &shown.out,
            &[
                "submitted, no approval is needed",
                "Compared with revision 1",
                "+ rule freeze",
                "operator (dora)",
                "why not\n    on Monday",
            ],
        );
        // The operator token is nobody.
        let refused = draft(&parties, &["approve", "1", "-m", "x", "--yes"]).await;
        assert_eq!(refused.code, Some(4));
        has(
            &refused.err,
            &["the operator token and programs are no person"],
        );
        let unasked = draft(&parties, &["apply", "1"]).await;
        has(&unasked.err, &["say --yes"]);

        // Somebody else changes the policy meanwhile: another rule.
        let others = with_rule(&text, "others");
        std::fs::write(&document, &others).unwrap();
        policy(
            &parties,
            &["apply", file, "-m", "others", "--yes", "--parent", "1"],
        )
        .await
        .expect_done();
        let behind = draft(&parties, &["apply", "1", "--yes"]).await;
        assert_eq!(behind.code, Some(1));
        has(
            &behind.err,
            &["revision 2 is current", "draft rebase 1"].map(|words| words.trim_end_matches(" 1")),
        );
        let shown = draft(&parties, &["show", "1"]).await.expect_done();
        has(&shown.out, &["The policy moved on", "- rule others"]);
        let rebased = draft(&parties, &["rebase", "1"]).await.expect_done();
        has(&rebased.out, &["version 2 onto revision 2"]);
        let stale = ["apply", "1", "--yes", "--version", "1"];
        let stale = draft(&parties, &stale).await;
        has(&stale.err, &["this is version 2", "draft show"]);
        let applied = draft(&parties, &["apply", "1", "--yes"]).await;
        assert_eq!(applied.expect_done().out, "Revision 3 is the policy now.\n");
        let exported = policy(&parties, &["export"]).await.expect_done();
        has(&exported.out, &["name: others", "name: freeze"]);
        let history = policy(&parties, &["history"]).await.expect_done();
        has(&history.out, &["by operator (carol): closed (draft 1)"]);

        end(edge).await;
        parties.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_with_a_draft_is_said() {
    let parties = asking_for(0, false).await;
    let edge = parties.serve().await;
    let document = parties.stage.path("policy.yaml");
    let file = document.to_str().unwrap();
    let text = with_rule(&parties.read("policy.yaml"), "freeze");
    std::fs::write(&document, &text).unwrap();
    draft(&parties, &["save", file, "-m", "the first"])
        .await
        .expect_done();
    draft(&parties, &["apply", "1", "--yes"])
        .await
        .expect_done();

    // Both change one rule: said, and nothing is done.
    std::fs::write(&document, text.replace("[freeze]", "[frozen]")).unwrap();
    draft(&parties, &["save", file, "-m", "mine"])
        .await
        .expect_done();
    std::fs::write(&document, text.replace("[freeze]", "[ice]")).unwrap();
    policy(
        &parties,
        &[
            "apply", file, "-m", "theirs", "--yes", "--parent", "current",
        ],
    )
    .await
    .expect_done();
    let conflict = draft(&parties, &["rebase", "2", "--json"]).await;
    let said: Value = serde_json::from_str(&conflict.err).unwrap();
    assert_eq!(said["error"], "failed");
    let said = &said["problem"];
    assert_eq!(
        (&said["code"], &said["objects"]),
        (&json!("draft_conflicts"), &json!(["rule freeze"]))
    );
    for (arguments, words) in [
        (&["show", "9"][..], "there is no draft 9"),
        (&["submit", "1"], "it was applied as revision 1"),
        (&["reject", "2", "-m", "x", "--yes"], "not submitted"),
    ] {
        let refused = draft(&parties, arguments).await;
        assert_eq!(refused.code, Some(1));
        has(&refused.err, &[words]);
    }
    draft(&parties, &["discard", "2"]).await.expect_done();
    let all = draft(&parties, &["list", "--all"]).await.expect_done();
    has(&all.out, &["(discarded;", "(applied as revision 1;"]);
    let events = command(&parties, "audit", &["list"]).await.expect_done();
    has(
        &events.out,
        &["draft_saved", "draft_applied", "draft_discarded"],
    );
    end(edge).await;
    parties.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k8_an_edge_that_asks_for_approvals_is_changed_by_drafts_or_an_emergency() {
    let parties = asking_for(1, false).await;
    let mut edge = parties.serve().await;
    let document = parties.stage.path("policy.yaml");
    let file = document.to_str().unwrap();
    let refused = policy(&parties, &["apply", file, "-m", "x", "--yes"]).await;
    assert_eq!(refused.code, Some(1));
    has(
        &refused.err,
        &["the approval of one person", "draft save FILE"],
    );
    let emergency = [
        "apply",
        file,
        "-m",
        "the first",
        "--yes",
        "--emergency",
        "--parent",
        "current",
    ];
    policy(&parties, &emergency).await.expect_done();
    edge.logs("EMERGENCY").await;
    let history = policy(&parties, &["history"]).await.expect_done();
    has(&history.out, &["by operator: EMERGENCY: the first"]);
    // Another revision, so that there is one to go back to.
    std::fs::write(&document, parties.read("policy.yaml") + "# More.\n").unwrap();
    policy(&parties, &emergency).await.expect_done();
    let back = ["rollback", "1", "-m", "x", "--yes"];
    let back = policy(&parties, &back).await;
    has(&back.err, &["the approval of one person"]);

    let text = parties.read("policy.yaml");
    std::fs::write(&document, with_rule(&text, "freeze")).unwrap();
    draft(&parties, &["save", file, "-m", "closed"])
        .await
        .expect_done();
    draft(&parties, &["submit", "1"]).await.expect_done();
    let listed = draft(&parties, &["list"]).await.expect_done();
    has(&listed.out, &["submitted, 0 of 2 approvals"]);
    let refused = draft(&parties, &["apply", "1", "--yes"]).await;
    has(&refused.err, &["the approval of 2 people"]);
    let events = ["list", "--kind", "policy_emergency", "--json"];
    let events = command(&parties, "audit", &events).await.expect_done();
    assert_eq!(events.json()["events"].as_array().unwrap().len(), 2);
    end(edge).await;

    // Whoever writes the file would need nobody.
    parties.edit(
        CONFIGURATION,
        "[policy]\n",
        "[policy]\nfile = \"policy.yaml\"\n",
    );
    let mut edge = parties.try_serve();
    assert_eq!(edge.ended().await.code(), Some(1));
    has(
        &edge.err(),
        &["policy.approvals", "whoever can write policy.file"],
    );
    parties.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j8_a_kill_leaves_a_draft_applied_with_its_revision_or_not_at_all() {
    let parties = asking_for(0, false).await;
    let text = parties.read("policy.yaml");
    let base = format!(
        "http://127.0.0.1:{}/api/v1/policy",
        parties.stage.ports.admin
    );
    let token = parties.read("operator.token");
    let url = format!("sqlite://{}", parties.stage.path("wayleave.db").display());
    let mut applied = 0;
    for round in 0..6_u64 {
        let mut edge = parties.serve().await;
        #[expect(clippy::disallowed_methods, reason = "a test asks its own edge")]
        let client = reqwest::Client::new();
        let (base, token) = (base.clone(), token.clone());
        let text = with_rule(&text, &format!("r{}", hex::encode(random::<4>())));
        let (begun, begins) = tokio::sync::oneshot::channel();
        beside(async move {
            let post = async |path: String, body: Value| -> Option<Value> {
                let request = client.post(format!("{base}/{path}"));
                let answer = request.bearer_auth(&token).json(&body).send().await.ok()?;
                answer.json().await.ok()
            };
            let mut begun = Some(begun);
            // Until the edge is gone.
            loop {
                let text = format!("{text}# {}\n", hex::encode(random::<8>()));
                let body = json!({ "text": text, "message": "m" });
                let Some(saved) = post("drafts".to_owned(), body).await else {
                    return;
                };
                let number = saved["draft"]["draft"].as_i64().unwrap();
                let path = format!("drafts/{number}/apply");
                let Some(applied) = post(path, json!({ "version": 1 })).await else {
                    return;
                };
                assert_eq!(applied["is_new"], true, "{applied}");
                if let Some(begun) = begun.take() {
                    begun.send(()).unwrap();
                }
            }
        });
        begins.await.unwrap();
        // Somewhere in the middle of what it does; where exactly differs from round to round.
        tokio::time::sleep(std::time::Duration::from_millis(23 * round)).await;
        edge.signal("KILL");
        edge.ended().await;

        let mut own = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let mut count = async |sql: &'static str| -> i64 {
            let row: (i64,) = sqlx::query_as(sql).fetch_one(&mut own).await.unwrap();
            row.0
        };
        applied = count("SELECT COUNT(*) FROM drafts WHERE state = 'applied'").await;
        for sql in [
            "SELECT COUNT(*) FROM revisions WHERE draft IS NOT NULL",
            "SELECT COUNT(*) FROM drafts JOIN revisions ON revisions.draft = drafts.id AND revisions.revision = drafts.revision",
            "SELECT COUNT(*) FROM audit_events WHERE kind = 'draft_applied'",
            "SELECT COUNT(*) FROM audit_events WHERE kind = 'policy_written'",
            "SELECT COUNT(*) FROM changes WHERE kind = 'policy_revision'",
        ] {
            assert_eq!(count(sql).await, applied, "{sql}");
        }
        let saved = count("SELECT COUNT(*) FROM audit_events WHERE kind = 'draft_saved'").await;
        assert_eq!(saved, count("SELECT COUNT(*) FROM drafts").await);
    }
    assert!(applied > 0, "nothing was ever applied");
    let edge = parties.serve().await;
    command(&parties, "audit", &["verify"]).await.expect_done();
    end(edge).await;
    parties.leave().await;
}
