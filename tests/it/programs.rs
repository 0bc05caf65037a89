//! The command line of programs, as processes: nobody signs in, and nothing is kept on the machine.

use std::sync::Arc;

use axum::Json;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use wayleave::clock::SystemClock;

use crate::parts::beside;
use crate::parts::command::{Said, command};
use crate::parts::desk::Desk;
use crate::parts::issuer::Issuer;
use crate::parts::program::Program;
use crate::parts::served::{CONFIGURATION, Parties, end};

/// What the issuer of the tests calls itself where a policy trusts it.
const CI: &str = "https://ci.example";

/// An edge that knows a program, and a machine that nobody has signed in on.
struct Scene {
    parties: Parties,
    edge: Program,
    desk: Desk,
    issuer: Issuer,
    home: String,
}

impl Scene {
    /// With a service account `backup` whose key is `backup.pem` there, and a trusted issuer `ci`; both may use dashboards and lines.
    async fn set() -> Self {
        let parties = Parties::gather().await;
        let (desk, issuer) = (Desk::new(), Issuer::start(Arc::new(SystemClock)).await);
        let key = desk.path("backup.pem");
        let made = [
            "service-account",
            "new",
            "backup",
            "--key",
            key.to_str().unwrap(),
        ];
        let stanza = desk.run(&made).await.expect_done().out;
        let again = desk.run(&made).await;
        assert_eq!(
            again.code,
            Some(1),
            "a key that is there stays: {}",
            again.out
        );
        let home = parties.at("access");
        let policy = parties.read("policy.yaml");
        let policy = policy.replace("from: [{ signed_in: true }]", "from: [{ kinds: [workload] }]\n    spiffe_id: \"spiffe://demo.wayleave/ns/people/sa/{provider}.{subject}\"\n  - name: others\n    from: [{ signed_in: true }]");
        let trusted = format!(
            "{stanza}    groups: [staff]\ntrusted_issuers:\n  - {{ name: ci, issuer: '{CI}', audiences: ['{home}'], algorithms: [ES256], groups_claim: groups, jwks: {} }}\n",
            issuer.jwks()
        );
        // The stanza's account is the last of the text, and gets its groups.
        std::fs::write(parties.stage.path("policy.yaml"), policy + &trusted).unwrap();
        parties.edit(
            CONFIGURATION,
            "[policy]",
            "[tokens]\nallow_unbound = true\n\n[policy]",
        );
        let edge = parties.serve().await;
        Self {
            parties,
            edge,
            desk,
            issuer,
            home,
        }
    }

    /// Runs it for the account.
    async fn as_account(&self, arguments: &[&str]) -> Said {
        let key = self.desk.path("backup.pem");
        let key = key.to_str().unwrap();
        let mut environment = self.desk.environment();
        for (name, value) in [
            ("WAYLEAVE_EDGE", self.home.as_str()),
            ("WAYLEAVE_SERVICE_ACCOUNT", "backup"),
            ("WAYLEAVE_KEY_FILE", key),
        ] {
            environment.push((name.to_owned(), value.to_owned()));
        }
        let environment: Vec<_> = { environment.iter() }
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        crate::parts::command::run(arguments, &environment).await
    }

    /// A token of the trusted issuer for the edge.
    fn jwt(&self) -> String {
        let home = self.home.clone();
        self.issuer.token(move |claims| {
            claims["iss"] = CI.into();
            claims["aud"] = home.into();
            claims["sub"] = "job".into();
            claims["groups"] = json!(["staff"]);
        })
    }

    async fn leave(self) {
        end(self.edge).await;
        self.parties.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_account_uses_routes_without_a_login() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::set().await;
    let key = scene.desk.path("backup.pem");
    let mode = std::fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let seen = scene
        .as_account(&["curl", "dashboards/d/1?x=1", "--", "-s"])
        .await;
    let seen = seen.expect_done().out;
    assert!(
        seen.contains("sa/service-accounts.backup") && seen.contains("/d/1?x=1"),
        "{seen}"
    );
    let url = format!("{}/whole", scene.parties.at("grafana"));
    let seen = scene.as_account(&["curl", &url, "--", "-s"]).await;
    assert!(seen.expect_done().out.contains("/whole"));
    let asked = [
        "--as",
        "backup",
        "--provider",
        "service-accounts",
        "--group",
        "staff",
        "GET",
        &url,
    ];
    let explained = command(&scene.parties, "explain", &asked).await;
    explained.expect_done();
    let headers = scene
        .as_account(&["token", "dashboards", "--headers", "GET", "/x"])
        .await;
    let headers = headers.expect_done().out;
    let request = reqwest::Client::builder().no_proxy().build().unwrap();
    let port = scene.parties.stage.ports.http;
    let mut request = request
        .get(format!("http://127.0.0.1:{port}/x"))
        .header("host", format!("grafana.localhost:{port}"));
    for line in headers.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    assert_eq!(request.send().await.unwrap().status(), 200);
    // Its key is of use to another process, so a bound token is as well.
    let token = scene
        .as_account(&["token", "dashboards", "--output", "json"])
        .await;
    assert_eq!(token.expect_done().json()["token_type"], "DPoP");
    let env = [
        "env",
        "dashboards",
        "--",
        "sh",
        "-c",
        "curl -s -H \"Authorization: Bearer $WAYLEAVE_TOKEN\" $WAYLEAVE_URL",
    ];
    let seen = scene.as_account(&env).await.expect_done().out;
    assert!(seen.contains("sa/service-accounts.backup"), "{seen}");
    for (arguments, code, words) in [
        (
            &["token", "nowhere"] as &[&str],
            2,
            "there is no such route",
        ),
        (
            &["token", "dashboards", "--edge", "http://access.localhost:1"],
            5,
            "does not answer",
        ),
        (
            &["token", "dashboards", "--service-account", "other"],
            3,
            "service_accounts",
        ),
        (
            &["token", "dashboards", "--key", "/nowhere.pem"],
            2,
            "service-account new",
        ),
    ] {
        let said = scene.as_account(arguments).await;
        assert_eq!(said.code, Some(code), "{arguments:?}: {}", said.err);
        assert!(said.err.contains(words), "{arguments:?}: {}", said.err);
    }
    // Nothing is kept here: neither tokens nor profiles.
    for folder in ["state", "config"] {
        assert!(!scene.desk.path(folder).exists(), "{folder}");
    }
    scene.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platforms_token_is_found_where_nobody_is_signed_in() {
    let scene = Scene::set().await;
    let file = scene.desk.path("token");
    std::fs::write(&file, format!("{}\n", scene.jwt())).unwrap();
    let curl = ["curl", "dashboards/x", "--edge", scene.home.as_str()];
    let mut given = curl.to_vec();
    given.extend(["--subject-token-file", file.to_str().unwrap(), "--", "-s"]);
    let seen = scene.desk.run(&given).await.expect_done().out;
    assert!(seen.contains("sa/ci.job"), "{seen}");
    let mut found = curl.to_vec();
    found.extend(["--", "-s"]);
    let nobody = scene.desk.run(&found).await;
    assert_eq!(nobody.code, Some(3), "{}", nobody.err);
    assert!(
        nobody.err.contains("--subject-token-file"),
        "{}",
        nobody.err
    );
    let job = Desk::new().with(&[("WAYLEAVE_ID_TOKEN", &scene.jwt())]);
    let seen = job.run(&found).await.expect_done().out;
    assert!(seen.contains("sa/ci.job"), "{seen}");
    let edgeless = job.run(&["curl", "dashboards/x"]).await;
    assert_eq!(edgeless.code, Some(2), "{}", edgeless.err);
    assert!(edgeless.err.contains("WAYLEAVE_EDGE"), "{}", edgeless.err);
    // A bound token would be of no use once the process and its key are gone.
    let token = ["token", "dashboards", "--edge", scene.home.as_str()];
    let useless = job.run(&token).await;
    assert_eq!(useless.code, Some(2), "{}", useless.err);
    let bearer = [&token[..], &["--bearer"]].concat();
    job.run(&bearer).await.expect_done();

    // What GitHub serves to jobs, played here: the runner's address and its token are all that a job knows.
    let jwt = scene.jwt();
    let home = scene.home.clone();
    let gives = async move |Query(asked): Query<Vec<(String, String)>>, headers: HeaderMap| {
        let has = |name: &str, value: &str| asked.contains(&(name.to_owned(), value.to_owned()));
        let is_theirs = headers
            .get("authorization")
            .is_some_and(|it| it == "Bearer runner");
        match is_theirs && has("api-version", "2.0") && has("audience", &home) {
            true => Ok(Json::<Value>(json!({ "count": 1, "value": jwt }))),
            false => Err(StatusCode::FORBIDDEN),
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let app = axum::Router::new().route("/idtoken", get(gives));
    beside(async move { axum::serve(listener, app).await.unwrap() });
    let url = format!("http://{at}/idtoken?api-version=2.0");
    let github = |token: &str| {
        Desk::new().with(&[
            ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", token),
        ])
    };
    let seen = github("runner").run(&found).await.expect_done().out;
    assert!(seen.contains("sa/ci.job"), "{seen}");
    let refused = github("other").run(&found).await;
    assert_eq!(refused.code, Some(5), "{}", refused.err);
    assert!(refused.err.contains("id-token: write"), "{}", refused.err);
    scene.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_forwards_tcp_with_its_own_identity() {
    let scene = Scene::set().await;
    let file = scene.desk.path("token");
    std::fs::write(&file, scene.jwt()).unwrap();
    let arguments = [
        "forward",
        "lines",
        "--output",
        "json",
        "--edge",
        &scene.home,
        "--subject-token-file",
        file.to_str().unwrap(),
    ];
    let mut forward = scene.desk.start(&arguments);
    forward.says("}").await;
    let said: Value = serde_json::from_str(&forward.out()).unwrap();
    let stream = TcpStream::connect(said["listening"].as_str().unwrap());
    let mut stream = BufReader::new(stream.await.unwrap());
    let mut greeting = String::new();
    stream.read_line(&mut greeting).await.unwrap();
    assert!(greeting.contains("sa/ci.job"), "{greeting}");
    stream.get_mut().write_all(b"hello\n").await.unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    assert!(line.contains("hello"), "{line}");
    drop(stream);
    forward.signal("INT");
    assert_eq!(forward.ended().await.code(), Some(0), "{}", forward.err());
    scene.leave().await;
}
