//! `wayleave policy` as a process, against a running edge: plan, apply, history, diff, rollback, export, and who may not.

use std::path::PathBuf;

use http::StatusCode;
use serde_json::{Value, json};

use crate::parts::command::{Said, command, run};
use crate::parts::program::eventually;
use crate::parts::served::{CONFIGURATION, Parties, alice, database, end, gathered_on, status};
use crate::parts::visitor::Visitor;

async fn policy(parties: &Parties, arguments: &[&str]) -> Said {
    command(parties, "policy", arguments).await
}

/// Parties whose edge follows no file; the policy is one of a file beside it.
async fn without_a_file(parties: Parties) -> (Parties, PathBuf) {
    parties.follow_no_file();
    let document = parties.stage.path("policy.yaml");
    (parties, document)
}

/// Waits until the edge knows the policy's routes.
async fn in_force(parties: &Parties) {
    let url = parties.at("grafana");
    let is_there = async || status(&mut Visitor::new(), &url).await != StatusCode::NOT_FOUND;
    eventually("the route is in force", is_there).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j6_a_policy_is_planned_applied_looked_back_at_and_rolled_back() {
    for postgres in [false, true] {
        let parties = match postgres {
            true => gathered_on(&database().await).await,
            false => Parties::gather().await,
        };
        let (parties, document) = without_a_file(parties).await;
        let file = document.to_str().unwrap();
        let edge = parties.serve().await;
        nothing_yet(&parties).await;
        let plan = policy(&parties, &["plan", file, "--detailed-exitcode"]).await;
        assert_eq!(plan.code, Some(6), "{}", plan.err);
        assert!(plan.out.contains("+ route dashboards"), "{}", plan.out);
        let apply = ["apply", file, "-m", "the first", "--yes"];
        let applied = policy(&parties, &apply).await.expect_done();
        assert_eq!(applied.out, "Revision 1 is the policy now.\n");
        in_force(&parties).await;
        let mut alice = alice(&parties).await;

        // What comes out is what went in, and putting it in again changes nothing.
        let exported = policy(&parties, &["export"]).await.expect_done();
        assert_eq!(exported.out, parties.read("policy.yaml"));
        let again = policy(&parties, &apply).await.expect_done();
        let same = "Nothing to change: this is revision 1.\n";
        assert!(again.out.starts_with(same), "{}", again.out);

        // In another style it is the same policy, and not even a rewording.
        let flow = parties.stage.path("flow.yaml");
        std::fs::write(&flow, "{ rules: [{ name: r, action: deny, from: [] }] }").unwrap();
        let flow = flow.to_str().unwrap();
        policy(
            &parties,
            &["apply", flow, "-m", "flow", "--yes", "--parent", "1"],
        )
        .await
        .expect_done();
        let same = policy(&parties, &["plan", flow]).await.expect_done();
        assert!(
            same.out
                .starts_with("Nothing to change: this is revision 2."),
            "{}",
            same.out
        );
        policy(&parties, &["rollback", "1", "-m", "block style", "--yes"])
            .await
            .expect_done();

        // Alice is shut out, and let in again.
        let text = parties.read("policy.yaml");
        let closed = format!(
            "{text}\n  # Until Monday.\n  - name: freeze\n    action: deny\n    from: [{{ anyone: true }}]\n"
        );
        std::fs::write(&document, &closed).unwrap();
        let note = [
            "apply",
            file,
            "-m",
            "closed for the weekend",
            "--parent",
            "current",
            "--author",
            "carol",
            "--yes",
        ];
        policy(&parties, &note).await.expect_done();
        let home = parties.at("grafana");
        let asked = async |alice: &mut _| status(alice, &home).await;
        let shut = async || asked(&mut alice.clone()).await == StatusCode::FORBIDDEN;
        eventually("the freeze", shut).await;
        let shown = policy(&parties, &["show", "4"]).await.expect_done();
        for words in [
            "operator (carol): closed for the weekend",
            "made from revision 3",
            "+ rule freeze",
        ] {
            assert!(shown.out.contains(words), "{words} in {}", shown.out);
        }
        assert_eq!(policy(&parties, &["export"]).await.out, closed);
        assert_eq!(
            policy(&parties, &["export", "--revision", "1"]).await.out,
            text
        );

        opened_again(&parties).await;
        let open = async || asked(&mut alice.clone()).await == StatusCode::OK;
        eventually("the rollback", open).await;
        let diff = policy(&parties, &["diff", "1", "--json"])
            .await
            .expect_done()
            .json();
        assert_eq!(diff, json!({ "changes": [] }));
        assert_eq!(policy(&parties, &["export"]).await.out, text);
        let history = policy(&parties, &["history", "--json"])
            .await
            .expect_done()
            .json();
        let numbers: Vec<i64> = history["revisions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|revision| revision["revision"].as_i64().unwrap())
            .collect();
        assert_eq!(numbers, [5, 4, 3, 2, 1]);
        asked(&mut alice).await;
        end(edge).await;
        parties.leave().await;
    }
}

/// There is no revision, and none to go back to.
async fn nothing_yet(parties: &Parties) {
    let history = policy(parties, &["history"]).await.expect_done();
    assert!(
        history.out.contains("There is no revision yet"),
        "{}",
        history.out
    );
    let early = policy(parties, &["rollback", "1", "-m", "x", "--yes"]).await;
    assert!(
        early.err.contains("there is no revision 1"),
        "{}",
        early.err
    );
}

/// Goes back to before the freeze, which is shown first, and asked about unless that was agreed to.
async fn opened_again(parties: &Parties) {
    let back = ["rollback", "1", "-m", "open again", "--yes"];
    let unasked = policy(parties, &back[..4]).await;
    assert_eq!(unasked.code, Some(1), "{}", unasked.err);
    for words in ["- rule freeze", "say --yes"] {
        assert!(unasked.err.contains(words), "{words} in {}", unasked.err);
    }
    let done = policy(parties, &back).await.expect_done();
    assert!(done.err.contains("- rule freeze"), "{}", done.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_applied_is_said_with_what_to_do() {
    let (parties, document) = without_a_file(Parties::gather().await).await;
    let file = document.to_str().unwrap();
    let nobody = policy(&parties, &["history"]).await;
    assert_eq!(nobody.code, Some(5), "{}", nobody.err);
    assert!(nobody.err.contains("does the edge run"), "{}", nobody.err);

    let edge = parties.serve().await;
    policy(&parties, &["apply", file, "-m", "the first", "--yes"])
        .await
        .expect_done();
    let text = parties.read("policy.yaml");
    std::fs::write(
        &document,
        text.replacen("action: allow", "action: perhaps", 1),
    )
    .unwrap();
    let faulty = policy(&parties, &["plan", file]).await;
    assert_eq!(faulty.code, Some(1));
    let before = text.split("action: allow").next().unwrap();
    let place = format!(
        "{file}:{}:13: rules[1].action: it must be one of allow, deny",
        before.matches('\n').count() + 1
    );
    assert!(faulty.err.contains(&place), "{place}: {}", faulty.err);
    // What is odd about it ends with a code of its own, and so does a wrong option.
    let odd = text.clone() + "  - { name: idle, action: allow, from: [] }\n";
    std::fs::write(&document, odd).unwrap();
    let odd = policy(&parties, &["plan", file, "--fail-on-findings"]).await;
    assert_eq!(odd.code, Some(7), "{} {}", odd.out, odd.err);
    assert!(odd.out.contains("look at rule idle"), "{}", odd.out);
    let wrong = policy(&parties, &["plan", file, "--fail-on-finding"]).await;
    assert_eq!(wrong.code, Some(2));
    let schema = policy(&parties, &["schema"]).await.expect_done();
    assert!(schema.json()["properties"]["rules"].is_object());

    // Planned against a revision that is not the current one any more.
    std::fs::write(&document, text.replacen("action: allow", "action: deny", 1)).unwrap();
    let stale = ["apply", file, "-m", "late", "--parent", "7", "--yes"];
    let stale = policy(&parties, &stale).await;
    assert_eq!(stale.code, Some(1));
    assert!(
        stale.err.contains("revision 1 of") && stale.err.contains("the first"),
        "{}",
        stale.err
    );
    let unsaid = policy(&parties, &["apply", file, "-m", "late", "--yes"]).await;
    assert_eq!(unsaid.code, Some(2));
    for words in ["which revision", "--parent 1 if", "--parent current if"] {
        assert!(unsaid.err.contains(words), "{words} in {}", unsaid.err);
    }
    // Nobody sits at this terminal.
    let unasked = policy(&parties, &["apply", file, "-m", "unasked"]).await;
    assert_eq!(unasked.code, Some(1));
    for words in ["say --yes", "~ rule"] {
        assert!(unasked.err.contains(words), "{words} in {}", unasked.err);
    }
    let unasked = ["apply", file, "-m", "unasked", "--output", "json"];
    let unasked = policy(&parties, &unasked).await;
    let fault: Value = serde_json::from_str(&unasked.err).unwrap();
    assert_eq!(
        (&fault["error"], &fault["message"]),
        (&json!("failed"), &json!("nobody can be asked here"))
    );
    // The present revision again is no change, and nobody is asked.
    let same = policy(&parties, &["rollback", "1", "-m", "x"]).await;
    assert_eq!(
        same.expect_done().out,
        "Nothing to change: this is revision 1.\n"
    );
    for (arguments, words) in [
        (&["show", "9"][..], "there is no revision 9"),
        (
            &["rollback", "9", "-m", "x", "--yes"],
            "there is no revision 9",
        ),
        (
            &["apply", file, "-m", "two\nlines", "--yes", "--parent", "1"],
            "must be one line",
        ),
    ] {
        let refused = policy(&parties, arguments).await;
        assert_eq!(refused.code, Some(1), "{arguments:?}");
        assert!(refused.err.contains(words), "{}", refused.err);
    }
    let history = policy(&parties, &["history", "--json"])
        .await
        .expect_done()
        .json();
    assert_eq!(history["revisions"].as_array().unwrap().len(), 1);
    end(edge).await;
    parties.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_follows_a_file_is_changed_by_that_file_alone() {
    let parties = Parties::gather().await;
    let edge = parties.serve().await;
    let other = parties.stage.path("other.yaml");
    std::fs::write(&other, "{}").unwrap();
    let other = other.to_str().unwrap();
    let text = parties.read("policy.yaml");
    std::fs::write(
        parties.stage.path("policy.yaml"),
        format!("{text}\n# Another word.\n"),
    )
    .unwrap();
    let second = async || {
        policy(&parties, &["history"])
            .await
            .out
            .contains("revision 2")
    };
    eventually("the file is read again", second).await;
    let diff = policy(&parties, &["diff", "1", "2"]).await.expect_done();
    assert_eq!(diff.out, "Only comments or layout differ.\n");
    let shown = policy(&parties, &["show", "2"]).await.expect_done();
    assert!(shown.out.ends_with(&diff.out), "{}", shown.out);
    let plan = policy(&parties, &["plan", other]).await.expect_done();
    assert!(
        plan.out.contains("- rule") && plan.out.contains("follows"),
        "{}",
        plan.out
    );
    for arguments in [
        &["apply", other, "-m", "x", "--yes"][..],
        &["rollback", "1", "-m", "x", "--yes"],
    ] {
        let refused = policy(&parties, arguments).await;
        assert_eq!(refused.code, Some(1), "{}", refused.out);
        assert!(refused.err.contains("change that file"), "{}", refused.err);
    }
    end(edge).await;
    parties.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_only_operators_and_no_browser_use_the_api() {
    let parties = Parties::gather().await;
    let mut edge = parties.serve().await;
    let server = format!("http://127.0.0.1:{}", parties.stage.ports.admin);
    let url = format!("{server}/api/v1/policy/revisions");
    let token = parties.read("operator.token");
    #[expect(clippy::disallowed_methods, reason = "a test asks its own edge")]
    let client = reqwest::Client::new();
    let ask = async |headers: &[(&str, &str)]| {
        let mut request = client.get(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    let right = format!("Bearer {token}");
    let (code, said) = ask(&[("authorization", &right)]).await;
    assert_eq!(code, 200, "{said}");
    let wrong = format!("Bearer {}", "0".repeat(64));
    let longer = format!("{right}0");
    for headers in [
        &[][..],
        &[("authorization", wrong.as_str())],
        &[("authorization", longer.as_str())],
        &[("authorization", "Bearer ")],
        &[("authorization", "Basic b3BlcmF0b3I6")],
        &[("authorization", &right), ("authorization", &right)],
    ] {
        let (code, said) = ask(headers).await;
        assert_eq!(
            (code, &said["code"]),
            (401, &json!("not_an_operator")),
            "{headers:?}"
        );
        assert!(said["request_id"].is_string());
    }
    for (name, value) in [
        ("origin", "http://127.0.0.1:1"),
        ("sec-fetch-site", "same-origin"),
    ] {
        let (code, said) = ask(&[("authorization", &right), (name, value)]).await;
        assert_eq!((code, &said["code"]), (403, &json!("not_for_browsers")));
    }
    for wrong in ["?limit=x", "?before=-", "/x", "/1?x"] {
        let answer = client.get(format!("{url}{wrong}")).bearer_auth(&token);
        let answer = answer.send().await.unwrap();
        let code = answer.status().as_u16();
        let said: Value = answer.json().await.unwrap();
        assert_eq!(
            said["status"].as_u64().unwrap_or(200),
            u64::from(code),
            "{said}"
        );
        assert_eq!(code == 200, wrong == "/1?x", "{said}");
    }
    // The public front door knows nothing of it.
    let front = parties
        .at("access")
        .replace("access.localhost", "127.0.0.1");
    let front = client.get(format!("{front}/api/v1/policy/revisions"));
    let host = parties.at("access").replace("http://", "");
    let public = front.header("host", host).bearer_auth(&token).send();
    let public = public.await.unwrap();
    assert_eq!(public.status().as_u16(), 404);

    let remote = ["policy", "history", "--server", &server];
    let environment = [("WAYLEAVE_OPERATOR_TOKEN", token.as_str())];
    run(&remote, &environment).await.expect_done();
    let refused = run(&remote, &[("WAYLEAVE_OPERATOR_TOKEN", "wrong")]).await;
    assert_eq!(refused.code, Some(4), "{}", refused.err);
    edge.signal("TERM");
    edge.ended().await;

    parties.edit(
        CONFIGURATION,
        "operator_token_file = \"operator.token\"\n",
        "",
    );
    let edge = parties.serve().await;
    let (code, said) = ask(&[("authorization", &right)]).await;
    assert_eq!((code, &said["code"]), (403, &json!("no_operator_token")));
    end(edge).await;
    parties.leave().await;
}

/// A question about what there is not is refused, not answered.
async fn what_there_is_not_is_refused(parties: &Parties, url: &str) {
    let provider = ["--as", "bob", "--provider", "oktaa", "GET", url];
    let granted = [
        "--as",
        "bob",
        "--provider",
        "demo",
        "--granted",
        "nope",
        "GET",
        url,
    ];
    for (question, name) in [(&provider[..], "oktaa"), (&granted, "nope")] {
        let wrong = command(parties, "explain", question).await;
        assert_eq!(wrong.code, Some(1), "{}", wrong.out);
        let said = format!("is called {name}");
        assert!(wrong.err.contains(&said), "{}", wrong.err);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_explained_rule_by_rule() {
    for postgres in [false, true] {
        let parties = match postgres {
            true => gathered_on(&database().await).await,
            false => Parties::gather().await,
        };
        let edge = parties.serve().await;
        let file = parties.stage.configuration_file();
        let explain = async |arguments: &[&str]| {
            let mut all = vec!["explain", "--config", file.to_str().unwrap()];
            all.extend(arguments);
            run(&all, &[]).await
        };
        let url = format!("{}/x?y=1", parties.at("payroll"));
        let unknown = explain(&["--as", "alice@demo.example", "GET", &url]).await;
        assert_eq!(unknown.code, Some(1));
        assert!(unknown.err.contains("--provider"), "{}", unknown.err);

        // As she signed in, with the groups that her provider named.
        alice(&parties).await;
        let known = explain(&["--as", "alice@demo.example", "GET", &url]).await;
        let known = known.expect_done().out;
        for words in [
            "alice@demo.example, signed in at demo, in sre, staff",
            "On route payroll, by revision 1: allowed by rule sre-may-read-payroll.",
            "In the mesh: spiffe://demo.wayleave/ns/people/sa/alice",
            "contractors-stay-out (deny): it is for the groups contractors",
        ] {
            assert!(known.contains(words), "{words} in {known}");
        }
        let post = explain(&["--as", "alice@demo.example", "POST", &url]).await;
        assert!(
            post.out.contains("refused: no rule allows it"),
            "{}",
            post.out
        );
        assert!(
            post.out
                .contains("it is for the methods GET, HEAD, and this is POST")
        );

        let carol = [
            "--as",
            "carol",
            "--provider",
            "demo",
            "--group",
            "contractors",
        ];
        let carol = [&carol[..], &["GET", &url, "--json"]].concat();
        let carol = explain(&carol).await.expect_done().json();
        assert_eq!(carol["verdict"], "deny");
        assert_eq!(carol["rule"], "contractors-stay-out");
        what_there_is_not_is_refused(&parties, &url).await;
        let releases = format!("{}/", parties.at("releases"));
        let bob = ["--as", "bob", "--provider", "demo", "--group", "staff"];
        let asks = explain(&[&bob[..], &["GET", &releases]].concat()).await;
        let asks = asks.expect_done().out;
        assert!(
            asks.contains("asked for an approval by somebody else, as rule staff-may-ask-for-releases wants it")
                && asks.contains("for at most 1h; in an emergency you can have it at once"),
            "{asks}"
        );
        let rule = "staff-may-ask-for-releases";
        let has = [&bob[..], &["--granted", rule, "GET", &releases]].concat();
        let has = explain(&has).await.expect_done().out;
        assert!(has.contains(&format!("allowed by rule {rule}")), "{has}");
        let nobody = explain(&["GET", &url]).await.expect_done();
        assert!(nobody.out.contains("asked to sign in"), "{}", nobody.out);
        let nowhere = explain(&["GET", "https://nowhere.example/"]).await;
        assert!(
            nowhere
                .expect_done()
                .out
                .contains("No route of revision 1 leads there.")
        );
        for (arguments, words) in [
            (&["GET", "payroll"][..], "url: it must be a URL"),
            (&["GET", "http://a.example/../b"], "url: "),
            (&["GET", &url, "--source-ip", "x"], "source_ip: "),
            (&["GET", &url, "--revision", "9"], "there is no revision 9"),
        ] {
            let refused = explain(arguments).await;
            assert_eq!(refused.code, Some(1), "{arguments:?}");
            assert!(refused.err.contains(words), "{}", refused.err);
        }
        end(edge).await;
        parties.leave().await;
    }
}
