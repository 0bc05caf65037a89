//! What pages do: who is let through what, what forms change, and what is written down of it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;

use crate::admin::ownership;
use crate::console::tests::stage::{Answered, PEOPLE, POLICY, Stage, person};
use crate::identity::spiffe_id::TrustDomain;
use crate::secret::Token;
use crate::session::cookie::session_cookie_name;
use crate::snapshot;
use crate::store::audit::EventFilter;
use crate::store::people::PersonId;
use crate::web::csrf::form_token;

/// What the log says, newest first.
async fn events(stage: &Stage) -> Vec<String> {
    let store = &stage.console.store;
    let all = EventFilter::default();
    let found = store.events_before(i64::MAX, &all, 100).await.unwrap();
    found.into_iter().map(|entry| entry.body).collect()
}

async fn is_signed_in(stage: &Stage, cookie: &Token) -> bool {
    let page = stage.ask("GET", "/console/claim", Some(cookie), None).await;
    page.status == 200
}

#[tokio::test]
async fn k2_forms_of_others_change_nothing() {
    let stage = Stage::new().await;
    let (admin, other) = (stage.sign_in("admin").await, stage.sign_in("owner").await);
    let (own, foreign) = (form_token(admin.hash()), form_token(other.hash()));
    let form = "application/x-www-form-urlencoded";
    let ours = "https://access.example";
    let send = async |headers: &[(&str, &str)], token: &str| -> Answered {
        let mut request = Request::post("/console/sessions/end").header("accept", "text/html");
        let name = session_cookie_name(crate::address::origin::Scheme::Https);
        request = request.header("cookie", format!("{name}={}", admin.expose()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = format!("csrf={token}&words=end+all");
        stage.send(request.body(Body::from(body)).unwrap()).await
    };
    for (headers, token) in [
        (
            vec![("content-type", form), ("origin", "https://evil.example")],
            &own,
        ),
        (vec![("content-type", form), ("origin", "null")], &own),
        (vec![("content-type", form)], &own),
        (
            vec![
                ("content-type", form),
                ("origin", ours),
                ("sec-fetch-site", "cross-site"),
            ],
            &own,
        ),
        (
            vec![
                ("content-type", form),
                ("origin", ours),
                ("sec-fetch-site", "same-site"),
            ],
            &own,
        ),
        (vec![("content-type", "text/plain"), ("origin", ours)], &own),
        (
            vec![("content-type", "application/json"), ("origin", ours)],
            &own,
        ),
        (vec![("content-type", form), ("origin", ours)], &foreign),
        (
            vec![("content-type", form), ("origin", ours)],
            &String::new(),
        ),
    ] {
        let refused = send(&headers, token).await;
        assert_eq!(refused.status, 403, "{headers:?}");
        assert!(is_signed_in(&stage, &other).await, "{headers:?}");
    }
    let done = send(&[("content-type", form), ("origin", ours)], &own).await;
    assert_eq!(done.status, 303, "{done:?}");
    assert!(!is_signed_in(&stage, &other).await);
}

#[tokio::test]
async fn k5_nothing_in_a_query_becomes_sql() {
    let stage = Stage::new().await;
    let owner = stage.sign_in("owner").await;
    let bad = [
        "1'",
        "1;--",
        "-1",
        "x",
        "1-'",
        "1%20OR%201=1",
        "99999999999999999999",
    ];
    for parameter in [
        "/console/sessions?after",
        "/console/people?after",
        "/console/audit?before",
        "/console/audit?since",
        "/console/audit?until",
        "/console/audit/export?format",
    ] {
        for value in bad {
            let path = format!("{parameter}={value}");
            let refused = stage.ask("GET", &path, Some(&owner), None).await;
            assert_eq!(refused.status, 400, "{path}");
        }
    }
    for parameter in [
        "/console/sessions?q",
        "/console/people?q",
        "/console/audit?q",
        "/console/audit?actor",
    ] {
        for text in ["%27%3B--", "%25", "_", "%5C"] {
            let path = format!("{parameter}={text}");
            let found = stage.ask("GET", &path, Some(&owner), None).await;
            assert_eq!(found.status, 200, "{path}");
            assert!(
                !found.text.contains("scope=\"row\""),
                "{path} finds something"
            );
        }
    }
    let twice = stage
        .ask("GET", "/console/audit?q=a&q=b", Some(&owner), None)
        .await;
    assert_eq!(twice.status, 400);
}

#[tokio::test]
async fn k7_ids_of_nobody_lead_nowhere() {
    let stage = Stage::new().await;
    let owner = stage.sign_in("owner").await;
    let nobody = "0".repeat(64);
    for path in [
        format!("/console/people/{nobody}"),
        "/console/people/x".to_owned(),
        format!("/console/sessions/end?person={nobody}"),
        "/console/sessions/end?person=x".to_owned(),
        "/console/sessions/end?session=000000000000".to_owned(),
        "/console/audit/decisions/x".to_owned(),
        "/console/audit/decisions/01920000-0000-7000-8000-000000000000".to_owned(),
    ] {
        let found = stage.ask("GET", &path, Some(&owner), None).await;
        assert_eq!(found.status, 404, "{path}");
    }
}

#[tokio::test]
async fn sessions_are_ended_by_name_by_person_and_all_others() {
    let stage = Stage::new().await;
    let (admin, owner) = (stage.sign_in("admin").await, stage.sign_in("owner").await);
    let (one, two) = (stage.sign_in("member").await, stage.sign_in("member").await);
    let list = stage
        .ask("GET", "/console/sessions?q=MEMBER%40", Some(&admin), None)
        .await;
    assert_eq!(
        list.text.matches("member@corp.example</a>").count(),
        2,
        "{}",
        list.text
    );
    assert!(list.text.contains("192.0.2.7") && list.text.contains("4 sessions of 3 people"));
    let label = list.text.split("?session=").nth(1).unwrap();
    let label = label.split('"').next().unwrap();

    // A preview says what is hit, and hits nothing.
    let path = format!("/console/sessions/end?session={label}");
    let preview = stage.ask("GET", &path, Some(&admin), None).await;
    assert!(
        preview
            .text
            .contains("End a session of member@corp.example"),
        "{}",
        preview.text
    );
    assert!(is_signed_in(&stage, &one).await && is_signed_in(&stage, &two).await);
    let form = format!("session={label}&person=");
    let done = stage
        .ask("POST", "/console/sessions/end", Some(&admin), Some(&form))
        .await;
    assert_eq!(
        done.header("location"),
        "/console/sessions?done=ended",
        "{done:?}"
    );
    let left = [
        is_signed_in(&stage, &one).await,
        is_signed_in(&stage, &two).await,
    ];
    assert_eq!(
        left.iter().filter(|is_there| **is_there).count(),
        1,
        "{left:?}"
    );
    let newest = &events(&stage).await[0];
    for part in [
        "\"session_ended\"",
        "\"reason\":\"revoked\"",
        "\"actor\":\"admin@corp.example\"",
        label,
    ] {
        assert!(newest.contains(part), "{part}: {newest}");
    }
    // Once more is told, and changes nothing.
    let again = stage.ask("GET", &path, Some(&admin), None).await;
    assert_eq!(again.status, 404);

    let id = PersonId::of(&person("member"));
    let form = format!("session=&person={}", id.as_str());
    let done = stage
        .ask("POST", "/console/sessions/end", Some(&admin), Some(&form))
        .await;
    let back = format!("/console/people/{}?done=ended", id.as_str());
    assert_eq!(done.header("location"), back);
    assert!(!is_signed_in(&stage, &one).await && !is_signed_in(&stage, &two).await);
    let flash = stage.ask("GET", &back, Some(&admin), None).await;
    assert!(
        flash.text.contains("No session is live") && flash.text.contains("The sessions have ended")
    );

    let unsure = stage
        .ask(
            "POST",
            "/console/sessions/end",
            Some(&admin),
            Some("words=yes"),
        )
        .await;
    assert!(
        unsure.text.contains("These are not the words"),
        "{unsure:?}"
    );
    assert!(is_signed_in(&stage, &owner).await);
    let all = Some("words=end+all");
    stage
        .ask("POST", "/console/sessions/end", Some(&admin), all)
        .await;
    assert!(!is_signed_in(&stage, &owner).await && is_signed_in(&stage, &admin).await);
}

#[tokio::test]
async fn k8_the_first_owner_has_the_code_and_there_is_only_one() {
    let stage = Stage::new().await;
    let (eve, ada) = (stage.sign_in("eve").await, stage.sign_in("ada").await);
    let code = ownership::offer(&stage.console.store, stage.now())
        .await
        .unwrap();
    let claim = async |who: &Token, code: &str| {
        let form = format!("code={code}");
        stage
            .ask("POST", "/console/claim", Some(who), Some(&form))
            .await
    };
    let wrong = claim(&eve, "00000-00000-00000-00000").await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.text.contains("This is not the code"), "{wrong:?}");
    // The page waits for the revision to be in force, which the change feed does elsewhere.
    let in_force = async {
        let store = &stage.console.store;
        for _ in 0..100_000 {
            if store.current_revision().await.unwrap().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let own = TrustDomain::parse("td").unwrap();
        let loaded = snapshot::load(store, &own).await.unwrap();
        stage.console.snapshots.publish(loaded.policy);
    };
    let spaced = format!("+{}+", code.to_uppercase());
    let (claimed, ()) = tokio::join!(claim(&ada, &spaced), in_force);
    assert_eq!(
        claimed.header("location"),
        "/console?done=owner",
        "{claimed:?}"
    );
    let console = stage
        .ask("GET", "/console?done=owner", Some(&ada), None)
        .await;
    assert!(
        console.text.contains("You are owner of this edge"),
        "{console:?}"
    );
    let written = &events(&stage).await[0];
    assert!(
        written.contains("policy_written") && written.contains("ada@corp.example"),
        "{written}"
    );
    let text = stage.console.revisions.export(None).await.unwrap().1;
    assert!(text.contains("subjects: [\"ada\"]"), "{text}");

    let late = claim(&eve, &code).await;
    assert_eq!(late.status, 409);
    assert!(late.text.contains("this edge has an owner"), "{late:?}");
    let page = stage.ask("GET", "/console/claim", Some(&eve), None).await;
    assert!(page.text.contains("This edge has an owner") && !page.text.contains("name=\"code\""));
    for _ in 0..10 {
        claim(&eve, "0").await;
    }
    assert_eq!(claim(&eve, "0").await.status, 429);
    stage.clock.advance(Duration::from_secs(61));
    assert_eq!(claim(&eve, "0").await.status, 409);
}

#[tokio::test]
async fn events_are_searched_and_exported() {
    let stage = Stage::new().await;
    let auditor = stage.sign_in("auditor").await;
    for name in PEOPLE {
        stage.sign_in(name).await;
    }
    let found = stage
        .ask(
            "GET",
            "/console/audit?actor=member%40corp.example",
            Some(&auditor),
            None,
        )
        .await;
    assert_eq!(
        found.text.matches("data-label=\"When\"").count(),
        1,
        "{}",
        found.text
    );
    let csv = stage
        .ask(
            "GET",
            "/console/audit/export?format=csv",
            Some(&auditor),
            None,
        )
        .await;
    assert_eq!(csv.text.lines().count(), 7, "{}", csv.text);
    assert!(csv.header("content-disposition").contains("audit.csv"));
    let lines = stage
        .ask(
            "GET",
            "/console/audit/export?kind=denied",
            Some(&auditor),
            None,
        )
        .await;
    assert_eq!((lines.status, lines.text.as_str()), (200, ""));
    let verified = stage
        .ask("POST", "/console/audit/verify", Some(&auditor), Some(""))
        .await;
    assert_eq!(verified.header("location"), "/console/audit?done=verified");
    let page = stage
        .ask("GET", "/console/audit", Some(&auditor), None)
        .await;
    assert!(page.text.contains("Whole up to event 6"), "{}", page.text);
}

/// A policy of ten thousand rules for a thousand routes.
fn large() -> String {
    use std::fmt::Write;
    let mut text = POLICY.split("rules:").next().unwrap().to_owned();
    text = text.replace("routes:\n", "routes:\n@");
    let mut routes = String::new();
    for number in 0..1000 {
        let _fits = writeln!(
            routes,
            "  - {{name: r{number}, host: r{number}.example, upstream: {{addresses: ['u:1'], tls: {{server_name: u}}}}}}"
        );
    }
    text = text.replace('@', &routes);
    text.push_str("rules:\n");
    for number in 0..10_000 {
        let _fits = writeln!(
            text,
            "  - {{name: x{number}, action: allow, from: [{{groups: [g{number}, staff]}}], to: [{{routes: [r{}]}}]}}",
            number % 1000
        );
    }
    let bindings = POLICY.split("role_bindings:").nth(1).unwrap();
    text + "role_bindings:" + bindings
}

#[tokio::test]
async fn pages_are_light_at_ten_thousand_rules() {
    let stage = Stage::with_policy(&large()).await;
    let owner = stage.sign_in("owner").await;
    for name in PEOPLE {
        stage.sign_in(name).await;
    }
    let id = PersonId::of(&person("owner"));
    let own = format!("/console/people/{}", id.as_str());
    let assets: usize = ["wayleave.css", "console.css", "console.js", "wayleave.svg"]
        .iter()
        .map(|name| {
            let file = format!("{}/static/{name}", env!("CARGO_MANIFEST_DIR"));
            std::fs::read(file).unwrap().len()
        })
        .sum();
    let paths = [
        "/console",
        "/console/sessions",
        "/console/people",
        &own,
        "/console/audit",
        "/console/settings",
    ];
    for path in paths {
        let page = stage.ask("GET", path, Some(&owner), None).await;
        assert_eq!(page.status, 200, "{path}");
        let size = page.text.len();
        assert!(size + assets < 150_000, "{path} weighs {size}");
    }
    let _kept = Arc::clone(&stage.console);
}

#[tokio::test]
async fn signing_keys_are_rotated_and_revoked_after_a_page_that_says_what_comes() {
    let stage = Stage::new().await;
    let (admin, auditor) = (stage.sign_in("admin").await, stage.sign_in("auditor").await);
    let get = async |path: &str| stage.ask("GET", path, Some(&admin), None).await;
    let settings = stage
        .ask("GET", "/console/settings", Some(&auditor), None)
        .await;
    assert!(settings.text.contains("began to sign"), "{}", settings.text);
    assert!(
        !settings.text.contains("/console/keys/"),
        "not for auditors"
    );
    let kid = stage.console.keys.minter.keys()[0].kid.to_string();

    let asked = get("/console/keys/rotate").await;
    assert!(asked.text.contains(&kid), "{}", asked.text);
    let unprotected = Request::post("/console/keys/rotate")
        .header("accept", "text/html")
        .header(
            "cookie",
            format!(
                "{}={}",
                session_cookie_name(crate::address::origin::Scheme::Https),
                admin.expose()
            ),
        )
        .body(Body::from("csrf=x"));
    let refused = stage.send(unprotected.unwrap()).await;
    assert_ne!(refused.status, 303);
    assert_eq!(stage.console.keys.minter.keys().len(), 1);
    let done = stage
        .ask("POST", "/console/keys/rotate", Some(&admin), Some(""))
        .await;
    assert_eq!(done.header("location"), "/console/settings?done=rotated");
    assert!(
        get("/console/settings")
            .await
            .text
            .contains("begins to sign")
    );
    assert_eq!(get("/console/keys/rotate").await.status, 409);

    let path = format!("/console/keys/revoke?key={kid}");
    assert!(get(&path).await.text.contains("Another key signs at once"));
    assert_eq!(get("/console/keys/revoke?key=x").await.status, 404);
    let form = format!("key={kid}");
    let done = stage
        .ask("POST", "/console/keys/revoke", Some(&admin), Some(&form))
        .await;
    assert_eq!(done.header("location"), "/console/settings?done=revoked");
    assert_eq!(get(&path).await.status, 409);
    let told = events(&stage).await;
    assert!(told[0].contains("signing_key_revoked") && told[0].contains("admin@corp.example"));
}
