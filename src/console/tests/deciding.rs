//! Access for a time in the console: everybody with a role sees it, and the rules say who decides.

use std::time::Duration;

use crate::access::{AccessId, Place};
use crate::admin::access::{Actor, Wish};
use crate::console::tests::stage::{Answered, POLICY, Stage, person};
use crate::secret::Token;

const ASKABLE: &str = "  - name: lent\n    action: allow\n    from: [{ subjects: [member, approver] }]\n    to: [{ routes: [wiki] }]\n    \
     require: { approval: { from: [{ subjects: [approver] }], at_most: 1h, break_glass: true } }\n";

async fn stage() -> Stage {
    let policy = POLICY.replace("role_bindings:", &format!("{ASKABLE}role_bindings:"));
    Stage::with_policy(&policy).await
}

fn wish() -> Wish {
    Wish {
        rule: "lent".into(),
        place: Place {
            route: "wiki".into(),
            method: "GET".to_owned(),
            host: "wiki.example".to_owned(),
            target: "/pager".to_owned(),
        },
        reason: "the pager rang".to_owned(),
        lasting: Duration::from_secs(1800),
    }
}

async fn asked_by(stage: &Stage, name: &str) -> AccessId {
    let principal = person(name);
    let actor = Actor {
        principal: &principal,
        session: None,
    };
    stage.console.access.ask(actor, wish()).await.unwrap()
}

async fn page(stage: &Stage, cookie: &Token) -> String {
    let answered = stage
        .ask("GET", "/console/requests", Some(cookie), None)
        .await;
    assert_eq!(answered.status, 200, "{answered:?}");
    answered.text
}

async fn send(stage: &Stage, cookie: &Token, path: &str, form: &str) -> Answered {
    stage.ask("POST", path, Some(cookie), Some(form)).await
}

#[tokio::test]
async fn an_approver_is_told_approves_and_takes_it_away_again() {
    let stage = stage().await;
    let approver = stage.sign_in("approver").await;
    assert!(page(&stage, &approver).await.contains("Nobody waits"));
    let AccessId(id) = asked_by(&stage, "member").await;
    let overview = stage.ask("GET", "/console", Some(&approver), None).await;
    for part in [
        "1<span class=\"hidden\"> waiting for you",
        "Somebody waits for your approval",
    ] {
        assert!(overview.text.contains(part), "{part}: {}", overview.text);
    }
    let shown = page(&stage, &approver).await;
    for part in [
        "member@corp.example",
        "GET wiki.example/pager",
        "the pager rang",
        "30m",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let path = format!("/console/requests/{id}/approve");
    let too_long = send(&stage, &approver, &path, "lasting=2h").await;
    assert_eq!(too_long.status, 400, "{too_long:?}");
    let done = send(&stage, &approver, &path, "lasting=15m").await;
    assert_eq!(done.header("location"), "/console/requests?done=granted");
    // Whoever is slower is told so.
    let again = send(&stage, &approver, &path, "lasting=15m").await;
    assert_eq!(again.status, 409);
    let shown = page(&stage, &approver).await;
    assert!(
        shown.contains("data-countdown>in 15 min<") && shown.contains("by approver@corp.example"),
        "{shown}"
    );
    assert!(!shown.contains("waiting for you"), "{shown}");

    let path = format!("/console/grants/{id}/revoke");
    let preview = stage.ask("GET", &path, Some(&approver), None).await;
    assert!(
        preview.text.contains("member@corp.example") && preview.text.contains("Take it away"),
        "{preview:?}"
    );
    let live = stage.console.store.live_grants().await.unwrap();
    assert_eq!(live.len(), 1, "looking takes nothing away");
    let done = send(&stage, &approver, &path, "").await;
    assert_eq!(done.header("location"), "/console/requests?done=taken-away");
    assert!(stage.console.store.live_grants().await.unwrap().is_empty());
    let gone = stage.ask("GET", &path, Some(&approver), None).await;
    assert_eq!(gone.status, 409);
}

#[tokio::test]
async fn what_is_refused_and_reviewed_needs_words_and_keeps_them() {
    let stage = stage().await;
    let approver = stage.sign_in("approver").await;
    let AccessId(id) = asked_by(&stage, "member").await;
    let path = format!("/console/requests/{id}/refuse");
    assert_eq!(send(&stage, &approver, &path, "why=+").await.status, 400);
    let done = send(&stage, &approver, &path, "why=ask+the+owner").await;
    assert_eq!(done.header("location"), "/console/requests?done=refused");
    let shown = page(&stage, &approver).await;
    assert!(shown.contains("refused") && shown.contains("ask the owner"));

    let principal = person("member");
    let actor = Actor {
        principal: &principal,
        session: None,
    };
    let taken = stage.console.access.break_glass(actor, wish()).await;
    let path = format!("/console/grants/{}/review", taken.unwrap().0);
    assert!(page(&stage, &approver).await.contains("Broke the glass"));
    assert_eq!(send(&stage, &approver, &path, "note=").await.status, 400);
    let done = send(&stage, &approver, &path, "note=it+was+right").await;
    assert_eq!(done.header("location"), "/console/requests?done=reviewed");
    assert!(!page(&stage, &approver).await.contains("Broke the glass"));
}

/// Nothing follows the change feed here: the answer itself has to come after this edge decides by the change.
#[tokio::test]
async fn what_was_done_about_a_grant_holds_here_before_it_is_answered() {
    let stage = stage().await;
    let member = person("member");
    let held = || stage.console.access.grants.current().of(&member).len();
    let own = Actor {
        principal: &member,
        session: None,
    };
    let taken = stage.console.access.break_glass(own, wish()).await.unwrap();
    assert_eq!(held(), 1, "taken");
    stage.console.access.give_back(own, &taken).await.unwrap();
    assert_eq!(held(), 0, "given back");

    let approver = person("approver");
    let other = Actor {
        principal: &approver,
        session: None,
    };
    let asked = asked_by(&stage, "member").await;
    let approved = stage.console.access.approve(other, &asked, None).await;
    approved.unwrap();
    assert_eq!(held(), 1, "approved");
    stage.console.access.revoke(other, &asked).await.unwrap();
    assert_eq!(held(), 0, "revoked");
}

/// A role lets somebody see; it does not make them an approver of the rule, and nobody decides about themselves.
#[tokio::test]
async fn k4_the_rules_say_who_decides_and_roles_do_not() {
    let stage = stage().await;
    let AccessId(id) = asked_by(&stage, "member").await;
    for name in ["auditor", "admin", "owner"] {
        let cookie = stage.sign_in(name).await;
        let shown = page(&stage, &cookie).await;
        assert!(
            shown.contains("Not for you to decide: you are not one of those")
                && !shown.contains("/approve"),
            "{name}: {shown}"
        );
        for (what, form) in [("approve", "lasting=15m"), ("refuse", "why=x")] {
            let path = format!("/console/requests/{id}/{what}");
            let answered = send(&stage, &cookie, &path, form).await;
            assert_eq!(answered.status, 409, "{name} {what}");
        }
    }
    let AccessId(own) = asked_by(&stage, "approver").await;
    let approver = stage.sign_in("approver").await;
    let path = format!("/console/requests/{own}/approve");
    let answered = send(&stage, &approver, &path, "lasting=15m").await;
    assert!(
        answered.status == 409
            && answered
                .text
                .contains("Nobody decides about their own access"),
        "{answered:?}"
    );
    let open = stage.console.store.open_access_requests().await.unwrap();
    assert_eq!(open.len(), 2, "nothing was decided");
    // An id that there is not is not there, for anybody (K7).
    let nothing = "/console/requests/00/approve";
    let answered = send(&stage, &approver, nothing, "lasting=15m").await;
    assert_eq!(answered.status, 404);
}
