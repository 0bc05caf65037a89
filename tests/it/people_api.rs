//! The API for people's programs: policy, audit and access for a time, with tokens of their own and what their roles let them do.

use http::{Request, StatusCode};
use serde_json::{Value, json};
use wayleave::api::endpoints::{Described, ENDPOINTS};
use wayleave::policy::roles::Role;
use wayleave::policy::yaml::SCHEMA;
use wayleave::web::endpoint::Access;

use crate::parts::client::Page;
use crate::parts::desk::Desk;
use crate::parts::house::House;
use crate::parts::program::{Program, eventually};
use crate::parts::program_of::{Key, code, redeem, text};
use crate::parts::served::{CONFIGURATION, Parties, end, gathered_on, stores};
use crate::parts::visitor::Visitor;
use crate::parts::{Body, empty, full};

/// Below it everything is.
const API: &str = "/.wayleave/api/v1";

/// Somebody's program.
struct Caller {
    key: Key,
    token: String,
}

impl Caller {
    async fn of(house: &House, person: &str) -> Self {
        // On the home host, since not everybody may open an application.
        let mut browser = house.browser();
        browser.sign_in(&house.url("access", "/"), person).await;
        let code = code(house, &mut browser).await;
        let key = Key::new();
        let token = text(&redeem(house, Some(&key), &code).await, "access_token");
        Self { key, token }
    }

    async fn call(&self, house: &House, method: &str, path: &str, body: Option<&Value>) -> Page {
        let url = house.url("access", &format!("{API}{path}"));
        let plain = url.split('?').next().unwrap();
        let proof = self.key.proof(method, plain, Some(&self.token));
        let credentials = [
            ("authorization", format!("DPoP {}", self.token)),
            ("dpop", proof),
        ];
        send(house, method, &url, &credentials, body).await
    }
}

async fn send(
    house: &House,
    method: &str,
    url: &str,
    headers: &[(&str, String)],
    body: Option<&Value>,
) -> Page {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let body: Body = match body {
        Some(body) => {
            request = request.header("content-type", "application/json");
            full(body.to_string())
        }
        None => empty(),
    };
    house.send(request.body(body).unwrap()).await
}

/// A path that matches.
fn concrete(path: &str) -> String {
    let path = path.replace("{revision}", "1").replace("{draft}", "1");
    path.replace("{decision}", "1").replace("{id}", "1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k8_every_endpoint_of_the_api_asks_for_its_permission() {
    let house = House::start().await;
    let nothing = json!({});
    for (person, role) in [
        ("alice", Some(Role::Owner)),
        ("bob", Some(Role::Auditor)),
        ("carol", None),
    ] {
        let caller = Caller::of(&house, person).await;
        for Described { endpoint, .. } in ENDPOINTS {
            let path = concrete(endpoint.path);
            let body = (endpoint.method == "POST").then_some(&nothing);
            let page = caller.call(&house, endpoint.method, &path, body).await;
            let what = format!("{person} {} {path}: {}", endpoint.method, page.text());
            let may = match endpoint.access {
                Access::SignedIn => true,
                Access::With(permission) => role.is_some_and(|role| role.permits(permission)),
            };
            let is_refused = page.status == StatusCode::FORBIDDEN;
            if may {
                assert!(page.status != StatusCode::UNAUTHORIZED, "{what}");
                // The description tells of every code.
                let is_description = path == "/openapi.json" && page.status.is_success();
                let says_so = page.text().contains("not_permitted");
                assert!(is_description || !says_so, "{what}");
            } else {
                assert!(is_refused, "{what}");
                assert_eq!(page.json()["code"], "not_permitted", "{what}");
            }
            assert_eq!(page.header("x-content-type-options"), "nosniff", "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_is_described_to_whoever_may_call_it() {
    let house = House::start().await;
    let carol = Caller::of(&house, "carol").await;
    for (path, in_docs) in [
        ("/openapi.json", include_str!("../../docs/openapi.json")),
        ("/policy.schema.json", SCHEMA),
    ] {
        let page = carol.call(&house, "GET", path, None).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        assert_eq!(page.header("content-type"), "application/json");
        let in_docs: Value = serde_json::from_str(in_docs).unwrap();
        assert_eq!(page.json(), in_docs, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k4_nobody_calls_the_api_without_a_token_of_their_own() {
    let house = House::start().await;
    let mut browser = house.signed_in("alice").await;
    for Described { endpoint, .. } in ENDPOINTS {
        let url = house.url("access", &format!("{API}{}", concrete(endpoint.path)));
        let page = send(&house, endpoint.method, &url, &[], None).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{url}");
        assert!(page.header("www-authenticate").starts_with("DPoP"), "{url}");
        // The cookie of somebody who may everything is no token, whatever page makes a browser send it.
        let request = Request::builder().method(endpoint.method).uri(&url);
        let page = browser.fetch(request.body(empty()).unwrap()).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{url}");
        // Elsewhere the path is the upstream's.
        let other = house.url("nowhere", &format!("{API}{}", concrete(endpoint.path)));
        let page = send(&house, endpoint.method, &other, &[], None).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{other}");
    }
    let caller = Caller::of(&house, "alice").await;
    let url = house.url("access", &format!("{API}/policy/revisions"));
    let bearer = [("authorization", format!("Bearer {}", caller.token))];
    let page = send(&house, "GET", &url, &bearer, None).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policy_is_changed_from_the_command_line_by_whoever_may() {
    for store in stores().await {
        let parties = without_a_file(&store).await;
        let edge = parties.serve().await;
        let home = parties.at("access");
        // Nobody is owner before there is a policy.
        let policy = parties.stage.path("policy.yaml");
        let file = policy.to_str().unwrap();
        let operator = parties.stage.configuration_file();
        let operator = operator.to_str().unwrap();
        let desk = Desk::new();
        let first = [
            "policy",
            "apply",
            file,
            "-m",
            "the first",
            "--yes",
            "--config",
            operator,
        ];
        let nobody = desk.run(&first[..6]).await;
        assert_eq!(nobody.code, Some(3), "{}", nobody.err);
        assert!(nobody.err.contains("wayleave login"), "{}", nobody.err);
        desk.run(&first).await.expect_done();

        let login = ["--edge", home.as_str()];
        desk.sign_in(&mut Visitor::new(), "alice", &login)
            .await
            .expect_done();
        let text = std::fs::read_to_string(&policy).unwrap();
        std::fs::write(
            &policy,
            text.replace("methods: [GET, HEAD]", "methods: [GET]"),
        )
        .unwrap();
        let plan = desk.run(&["policy", "plan", file]).await.expect_done();
        assert!(
            plan.out.contains("~ rule sre-may-read-payroll"),
            "{}",
            plan.out
        );
        let named = [
            "policy", "apply", file, "-m", "less", "--yes", "--parent", "1", "--author", "eve",
        ];
        let refused = desk.run(&named).await;
        assert_eq!(refused.code, Some(1), "{}", refused.err);
        desk.run(&named[..8]).await.expect_done();
        let history = desk.run(&["policy", "history", "--json"]).await;
        let history = history.expect_done().json();
        let newest = &history["revisions"][0];
        assert_eq!(newest["message"], "less");
        assert!(
            newest["author"]
                .as_str()
                .unwrap()
                .contains("alice@demo.example"),
            "{newest}"
        );
        let audit = desk.run(&["audit", "list", "--json"]).await.expect_done();
        assert!(audit.out.contains("alice@demo.example"), "{}", audit.out);
        found_by_provider_and_subject(&desk).await;
        let url = parties.at("payroll");
        let why = ["explain", "--as", "alice@demo.example", "GET", &url];
        assert!(
            desk.run(&why)
                .await
                .expect_done()
                .out
                .contains("sre-may-read-payroll")
        );

        // An auditor looks, and that is all.
        let other = Desk::new();
        other
            .sign_in(&mut Visitor::new(), "bob", &login)
            .await
            .expect_done();
        other.run(&["policy", "plan", file]).await.expect_done();
        other.run(&["audit", "verify"]).await.expect_done();
        std::fs::write(&policy, &text).unwrap();
        let refused = other.run(&named[..8]).await;
        assert_eq!(refused.code, Some(4), "{}", refused.err);
        assert!(refused.err.contains("write_policy"), "{}", refused.err);
        // What they are told goes by the id that the log has.
        let mut told = named[..8].to_vec();
        told.extend(["--output", "json"]);
        let fault: Value = serde_json::from_str(&other.run(&told).await.err).unwrap();
        assert_eq!(fault["error"], "denied");
        let id = fault["problem"]["request_id"].as_str().unwrap();
        eventually("the log has it", || async {
            parties.read("access.log").contains(id)
        })
        .await;
        no_operator_by_the_environment(&parties, other, &named[..8]).await;
        end(edge).await;
        parties.leave().await;
    }
}

/// Whoever has an address is found by provider and subject in the audit log, and nobody else is.
async fn found_by_provider_and_subject(desk: &Desk) {
    for (actor, is_found) in [
        ("demo/alice", true),
        ("demo/alic_", false),
        ("x/alice", false),
    ] {
        let by = [
            "audit",
            "list",
            "--kind",
            "policy_written",
            "--actor",
            actor,
        ];
        let found = desk.run(&by).await.expect_done().out;
        assert_eq!(found.contains("alice@demo.example"), is_found, "{found}");
    }
}

/// An operator's token in the environment makes nobody more than the profile that they name.
async fn no_operator_by_the_environment(parties: &Parties, bob: Desk, apply: &[&str]) {
    let admin = format!("http://127.0.0.1:{}", parties.stage.ports.admin);
    let token = parties.read("operator.token");
    let bob = bob.with(&[
        ("WAYLEAVE_SERVER", &admin),
        ("WAYLEAVE_OPERATOR_TOKEN", &token),
    ]);
    let as_bob = [apply, &["--profile", "access.localhost"]].concat();
    let refused = bob.run(&as_bob).await;
    assert_eq!(refused.code, Some(4), "{}", refused.err);
    let both = [&as_bob[..], &["--server", &admin]].concat();
    let wrong = bob.run(&both).await;
    assert_eq!(wrong.code, Some(2), "{}", wrong.err);
    bob.run(&["policy", "history"]).await.expect_done();
}

/// Parties whose edge follows no file.
async fn without_a_file(store: &str) -> Parties {
    let parties = gathered_on(store).await;
    parties.edit(CONFIGURATION, "file = \"policy.yaml\"\n", "");
    parties
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_is_asked_for_and_granted_from_the_command_line() {
    for store in stores().await {
        let (parties, edge, alice, bob) = two_at_an_edge(&store).await;
        let refused = bob.run(&["curl", "releases/", "--", "-sS", "-f"]).await;
        assert_ne!(refused.code, Some(0));
        for (arguments, code) in [
            (&["request", "payroll", "-m", "why"][..], 4),
            (&["request", "releases", "-m", " "], 1),
            (&["request", "releases", "-m", "why", "--for", "9h"], 1),
            (&["request", "nothing", "-m", "why"], 2),
        ] {
            let said = bob.run(arguments).await;
            assert_eq!(
                said.code,
                Some(code),
                "{arguments:?} {} {}",
                said.out,
                said.err
            );
        }
        let open = bob
            .run(&["request", "dashboards", "-m", "why"])
            .await
            .expect_done();
        assert!(open.out.contains("may open it already"), "{}", open.out);

        // Asked, refused with a reason, asked again, granted for less, used, and given back.
        let mut asking = bob.start(&["request", "releases/x?y=1", "-m", "the pager rings"]);
        asking.logs("Asked for 1h").await;
        let list = alice.run(&["access"]).await.expect_done().out;
        assert!(
            list.contains("For you to decide:") && list.contains("the pager rings"),
            "{list}"
        );
        let id = first_id(&list, "For you to decide:");
        let own = bob.run(&["access", "approve", &id]).await;
        assert_eq!(own.code, Some(4), "{}", own.err);
        alice
            .run(&["access", "refuse", &id, "-m", "call me first"])
            .await
            .expect_done();
        assert_eq!(asking.ended().await.code(), Some(4), "{}", asking.err());
        assert!(asking.err().contains("call me first"), "{}", asking.err());

        let mut asking = bob.start(&["request", "releases", "-m", "I called", "--for", "30m"]);
        asking.logs("Asked for 30m").await;
        let list = alice.run(&["access", "list"]).await.expect_done().out;
        let id = first_id(&list, "For you to decide:");
        let approved = ["access", "approve", &id, "--for", "10m"];
        let approved = alice.run(&approved).await.expect_done().out;
        assert!(
            approved.contains(
                "Approved. bob@demo.example (demo), rule staff-may-ask-for-releases, until"
            ),
            "{approved}"
        );
        assert_eq!(asking.ended().await.code(), Some(0), "{}", asking.err());
        assert!(
            asking.out().contains("Granted by alice@demo.example"),
            "{}",
            asking.out()
        );
        let seen = bob
            .run(&["curl", "releases/", "--", "-sS", "-f"])
            .await
            .expect_done();
        assert!(seen.out.contains("ns/people/sa/bob"), "{}", seen.out);
        bob.run(&["access", "give-back", &id]).await.expect_done();
        let again = bob.run(&["access", "give-back", &id]).await;
        assert_eq!(again.code, Some(1), "{}", again.err);
        end(edge).await;
        parties.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_glass_is_broken_and_looked_at_from_the_command_line() {
    for store in stores().await {
        let (parties, edge, alice, bob) = two_at_an_edge(&store).await;
        let broken = [
            "request",
            "releases",
            "-m",
            "fire",
            "--break-glass",
            "--output",
            "json",
        ];
        let broken = bob.run(&broken).await.expect_done().json();
        assert_eq!(broken["grant"]["break_glass"], true);
        let list = alice.run(&["access"]).await.expect_done().out;
        assert!(list.contains("for you to review"), "{list}");
        let id = first_id(&list, "for you to review");
        alice
            .run(&["access", "review", &id, "-m", "there was one"])
            .await
            .expect_done();
        alice.run(&["access", "revoke", &id]).await.expect_done();
        let none = alice
            .run(&["access", "--output", "json"])
            .await
            .expect_done()
            .json();
        assert_eq!(
            none["to_decide"],
            json!({ "requests": [], "grants": [], "to_review": [] })
        );

        // An operator is nobody who could be granted anything.
        let admin = format!(
            "http://127.0.0.1:{}/api/v1/access/own",
            parties.stage.ports.admin
        );
        #[expect(clippy::disallowed_methods, reason = "a test asks its own edge")]
        let said = reqwest::Client::new()
            .get(admin)
            .bearer_auth(parties.read("operator.token"))
            .send()
            .await
            .unwrap();
        assert_eq!(said.status().as_u16(), 403);
        end(edge).await;
        parties.leave().await;
    }
}

/// A running edge, and Alice and Bob signed in to it on machines of their own.
async fn two_at_an_edge(store: &str) -> (Parties, Program, Desk, Desk) {
    let parties = gathered_on(store).await;
    let edge = parties.serve().await;
    let home = parties.at("access");
    let (alice, bob) = (Desk::new(), Desk::new());
    for (desk, who) in [(&alice, "alice"), (&bob, "bob")] {
        let login = ["--edge", home.as_str()];
        let mut visitor = Visitor::new();
        desk.sign_in(&mut visitor, who, &login).await.expect_done();
    }
    (parties, edge, alice, bob)
}

/// The id in the line after a heading.
fn first_id(list: &str, heading: &str) -> String {
    let mut lines = list.lines().skip_while(|line| !line.contains(heading));
    let line = lines.nth(1).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_act_for_people_are_listed_in_the_console() {
    for store in stores().await {
        let house = House::start_on(&store).await;
        Caller::of(&house, "bob").await;
        let alice = house.signed_in("alice").await;
        for (query, is_there) in [
            ("", true),
            ("?q=BOB", true),
            ("?q=wayleave", true),
            ("?q=carol", false),
            ("?q=%25", false),
            ("?after=1-0", false),
        ] {
            let url = house.url("access", &format!("/console/programs{query}"));
            let cookie = alice.cookies("access.localhost");
            let request = Request::get(url).header("cookie", cookie).body(empty());
            let page = house.send(request.unwrap()).await;
            assert_eq!(page.status, StatusCode::OK, "{query}");
            let text = page.text();
            assert_eq!(
                text.contains("bob@demo.example"),
                is_there,
                "{query}: {text}"
            );
        }
    }
}
