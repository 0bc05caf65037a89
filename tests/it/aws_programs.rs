//! The command line of roles of AWS, as processes; and what the documentation has programs of their own do.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, put};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use wayleave::clock::SystemClock;
use wayleave::token::aws::signing::RoleKey;

use crate::aws::trusting;
use crate::parts::beside;
use crate::parts::command::Said;
use crate::parts::desk::Desk;
use crate::parts::house::House;
use crate::parts::program::Program;
use crate::parts::python;
use crate::parts::served::{CONFIGURATION, Parties, end};
use crate::parts::sts::{Moto, arn, instead};

/// An edge that trusts the role `deploy`, which may use dashboards and lines, and where it runs.
struct Scene {
    parties: Parties,
    edge: Program,
    _moto: Moto,
    deploy: RoleKey,
    home: String,
}

impl Scene {
    async fn set() -> Self {
        let (parties, moto) = (Parties::gather().await, Moto::start().await);
        let deploy = moto.role("deploy", "run-1").await;
        let text = parties.read("policy.yaml");
        let rule = "rules:\n  - { name: roles, action: allow, from: [{ providers: [aws], claims: { aws_session_name: [run-1] } }], to: [{ routes: [dashboards, lines] }] }\n";
        let policy = text.replacen("rules:\n", rule, 1);
        let trusted = format!(
            "trusted_issuers: [{{ name: aws, aws_roles: ['{}'] }}]\n",
            arn("deploy")
        );
        parties.edit("policy.yaml", &text, &(policy + &trusted));
        let more = format!(
            "[tokens]\nallow_unbound = true\n\n{}\n[policy]",
            instead(&moto.url)
        );
        parties.edit(CONFIGURATION, "[policy]", &more);
        let edge = parties.serve().await;
        Self {
            home: parties.at("access"),
            parties,
            edge,
            _moto: moto,
            deploy,
        }
    }

    fn session_token(&self) -> &str {
        self.deploy.session_token.as_ref().unwrap()
    }

    /// Runs it somewhere with this environment.
    async fn run(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Said {
        let desk = Desk::new()
            .with(&[("WAYLEAVE_EDGE", &self.home)])
            .with(environment);
        let said = desk.run(arguments).await;
        // Nothing is kept, and nothing that was signed with is said.
        for folder in ["state", "config"] {
            assert!(!desk.path(folder).exists(), "{folder}");
        }
        for secret in [self.deploy.secret.as_str(), self.session_token()] {
            assert!(!said.out.contains(secret) && !said.err.contains(secret));
        }
        said
    }

    /// As AWS's endpoints give them.
    fn credentials(&self) -> Value {
        json!({
            "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": self.deploy.id, "SecretAccessKey": *self.deploy.secret,
            "Token": self.session_token(), "Expiration": "2099-01-01T00:00:00Z",
        })
    }

    async fn leave(self) {
        end(self.edge).await;
        self.parties.leave().await;
    }
}

const CURL: [&str; 5] = ["curl", "dashboards/d/1?x=1", "--aws", "--", "-s"];

/// Serves this on the machine; where.
async fn serving(app: axum::Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    beside(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://{at}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_uses_routes_with_the_credentials_of_its_environment() {
    let scene = Scene::set().await;
    let environment = [
        ("AWS_ACCESS_KEY_ID", scene.deploy.id.as_str()),
        ("AWS_SECRET_ACCESS_KEY", &scene.deploy.secret),
        ("AWS_SESSION_TOKEN", scene.session_token()),
        ("AWS_REGION", "eu-central-1"),
    ];
    let seen = scene.run(&environment, &CURL).await.expect_done().out;
    assert!(seen.contains("/d/1?x=1"), "{seen}");
    // The endpoint without a region, and the flag as a variable.
    let global = [&environment[..3], &[("WAYLEAVE_AWS", "true")]].concat();
    let plain = ["curl", "dashboards/x", "--", "-s"];
    scene.run(&global, &plain).await.expect_done();
    let bearer = [
        "token",
        "dashboards",
        "--aws",
        "--bearer",
        "--output",
        "json",
    ];
    let token = scene.run(&environment, &bearer).await.expect_done().json();
    assert_eq!(token["token_type"], "Bearer");
    let useless = scene
        .run(&environment, &["token", "dashboards", "--aws"])
        .await;
    assert_eq!(useless.code, Some(2), "{}", useless.err);
    let headers = ["token", "dashboards", "--aws", "--headers", "GET", "/x"];
    let headers = scene.run(&environment, &headers).await.expect_done().out;
    assert!(headers.contains("DPoP: "), "{headers}");
    let env = [
        "env",
        "dashboards",
        "--aws",
        "--",
        "sh",
        "-c",
        "curl -s -H \"Authorization: Bearer $WAYLEAVE_TOKEN\" ${WAYLEAVE_URL}from-env",
    ];
    let seen = scene.run(&environment, &env).await.expect_done().out;
    assert!(seen.contains("/from-env"), "{seen}");
    for (change, code, words) in [
        (
            ("AWS_SECRET_ACCESS_KEY", "another"),
            3,
            "SignatureDoesNotMatch",
        ),
        (("AWS_REGION", "nowhere"), 2, "no region of AWS"),
    ] {
        let changed = [&environment[..], &[change]].concat();
        let said = scene.run(&changed, &CURL).await;
        assert_eq!(said.code, Some(code), "{}", said.err);
        assert!(said.err.contains(words), "{}", said.err);
    }
    // Credentials of AWS that lie about prove nobody who does not say so.
    let silent = scene.run(&environment, &plain).await;
    assert_eq!(silent.code, Some(3), "{}", silent.err);
    assert!(silent.err.contains("--aws"), "{}", silent.err);
    let desk = Desk::new().with(&environment);
    let forward = [
        "forward",
        "lines",
        "--output",
        "json",
        "--aws",
        "--edge",
        &scene.home,
    ];
    let mut forward = desk.start(&forward);
    forward.says("}").await;
    let said: Value = serde_json::from_str(&forward.out()).unwrap();
    let stream = tokio::net::TcpStream::connect(said["listening"].as_str().unwrap());
    let mut stream = tokio::io::BufReader::new(stream.await.unwrap());
    let mut greeting = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut stream, &mut greeting)
        .await
        .unwrap();
    assert!(greeting.contains("spiffe://"), "{greeting}");
    drop(stream);
    forward.signal("INT");
    assert_eq!(forward.ended().await.code(), Some(0), "{}", forward.err());
    scene.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_and_an_instance_have_their_roles_from_where_aws_puts_them() {
    let scene = Scene::set().await;
    let credentials = scene.credentials();
    // The endpoint of a container, played here.
    let given = credentials.clone();
    let gives = async move |headers: HeaderMap| match headers.get("authorization") {
        Some(token) if token == "from-a-file" => Ok(Json(given.clone())),
        _ => Err(StatusCode::UNAUTHORIZED),
    };
    let url = serving(axum::Router::new().route("/v1/credentials", get(gives))).await;
    let url = format!("{url}/v1/credentials");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "from-a-file\n").unwrap();
    let container = |file: &str| {
        let (url, file) = (url.clone(), file.to_owned());
        [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file),
        ]
    };
    let run = async |environment: &[(&str, String)]| {
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        scene.run(&environment, &CURL).await
    };
    run(&container(file.to_str().unwrap())).await.expect_done();
    std::fs::write(&file, "another").unwrap();
    let refused = run(&container(file.to_str().unwrap())).await;
    assert_eq!(refused.code, Some(5), "{}", refused.err);
    assert!(refused.err.contains("401"), "{}", refused.err);
    let evil = [(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "http://evil.example/".to_owned(),
    )];
    let refused = run(&evil).await;
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    // The metadata of an instance, which answer only within a session.
    let session = async |headers: HeaderMap| match headers
        .contains_key("x-aws-ec2-metadata-token-ttl-seconds")
    {
        true => Ok("a session"),
        false => Err(StatusCode::BAD_REQUEST),
    };
    let answers = async |State(text): State<String>, headers: HeaderMap| match headers
        .get("x-aws-ec2-metadata-token")
    {
        Some(token) if token == "a session" => Ok(text),
        _ => Err(StatusCode::UNAUTHORIZED),
    };
    let role = "/latest/meta-data/iam/security-credentials/";
    let says = |text: String| get(answers).with_state(text);
    let app = axum::Router::new()
        .route("/latest/api/token", put(session))
        .route(role, says("deploy".to_owned()))
        .route(&format!("{role}deploy"), says(credentials.to_string()))
        .route(
            "/latest/meta-data/placement/region",
            says("eu-central-1".to_owned()),
        );
    let instance = serving(app).await;
    run(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", instance)])
        .await
        .expect_done();
    let nowhere = run(&[("AWS_EC2_METADATA_DISABLED", "true".to_owned())]).await;
    assert_eq!(nowhere.code, Some(3), "{}", nowhere.err);
    assert!(nowhere.err.contains("AWS_ACCESS_KEY_ID"), "{}", nowhere.err);
    scene.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_documentation_has_programs_do_is_accepted() {
    let moto = Moto::start().await;
    let change = |text: String| {
        format!(
            "{text}\n{}\n[tokens]\nallow_unbound = true\n",
            instead(&moto.url)
        )
    };
    let house = House::start_as("sqlite://wayleave.db", Arc::new(SystemClock), change).await;
    house
        .put_in_force(|text| trusting(&text, &["deploy"]))
        .await;
    let deploy = moto.role("deploy", "run-1").await;
    let page = include_str!("../../docs/machines.md");
    let (_, script) = page.split_once("```python\n").unwrap();
    let (script, _) = script.split_once("```").unwrap();
    let script = script
        .replace("https://access.corp.example", &house.url("access", ""))
        .replace("\"deployer\"", "\"app\"");
    // Not every resolver knows whose name localhost is.
    let local = "import socket\nfound = socket.getaddrinfo\nsocket.getaddrinfo = lambda host, *rest, **more: found('127.0.0.1', *rest, **more)\n";
    let ran = tokio::process::Command::new(python())
        .args(["-c", &format!("{local}{script}")])
        .env("AWS_ACCESS_KEY_ID", &deploy.id)
        .env("AWS_SECRET_ACCESS_KEY", deploy.secret.as_str())
        .env(
            "AWS_SESSION_TOKEN",
            deploy.session_token.as_ref().unwrap().as_str(),
        )
        .env("no_proxy", "*")
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(
        ran.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(answer["token_type"], "Bearer", "{answer}");
}
