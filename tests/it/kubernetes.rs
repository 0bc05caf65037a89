//! The real kubectl through a running edge to an API server, which is a mock: it answers as one does, and takes people for whom it is told.

use std::process::Stdio;

use http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, ChildStdout};

use wayleave::demo::stage::HOSTS;

use crate::parts::client::{Sender, Version};
use crate::parts::cluster::{ApiServer, Kubectl, SERVER_NAME, SPIFFE_ID, rotate};
use crate::parts::command::command;
use crate::parts::desk::Desk;
use crate::parts::empty;
use crate::parts::program::{PATIENCE, Program, eventually};
use crate::parts::served::{CONFIGURATION, Parties, end, gathered_on, stores, write_private};
use crate::parts::visitor::Visitor;

const CONFIG: &str = r#"[[kubernetes]]
name = "prod"
server_name = "api.cluster.test"
ca_file = "front-door-root.pem"
token_file = "cluster.token"
bearer_tokens = true

[policy]"#;

const PODS: &str = "/api/v1/namespaces/default/pods";

/// Everybody of the staff may read, and the group sre may do everything.
const RULES: &str = r#"
rules:
  - name: sre-may-use-k8s
    action: allow
    from: [{ groups: [sre] }]
    to: [{ routes: [k8s] }]
  - name: staff-may-read-k8s
    action: allow
    from: [{ groups: [staff] }]
    to:
      - { routes: [k8s], methods: [GET] }
      - { routes: [k8s], paths: ["/apis/authentication.k8s.io/*"] }
"#;

/// A route to an API server, with what callers are there.
fn with_route(parties: &Parties, port: u16, transport: &str, kubernetes: &str) {
    let route = format!(
        "routes:\n  - name: k8s\n    host: k8s.localhost\n    upstream:\n      addresses: [\"127.0.0.1:{port}\"]\n      {transport}\n    kubernetes: {kubernetes}\n"
    );
    parties.edit("policy.yaml", "routes:\n", &route);
    let hosts: Vec<&str> = HOSTS.into_iter().chain(["k8s.localhost"]).collect();
    let door = parties.stage.authority.front_door(&hosts).unwrap();
    write_private(&parties.stage.path("front-door.pem"), &door.chain);
    write_private(&parties.stage.path("front-door.key"), &door.key);
    parties.edit("policy.yaml", "\nrules:\n", RULES);
}

/// An edge before a cluster of the configuration.
struct Scene {
    parties: Parties,
    edge: Program,
    api: ApiServer,
}

impl Scene {
    async fn of(parties: Parties) -> Self {
        let api = ApiServer::start(&parties, false);
        rotate(&parties, "cluster.token", "the-first-token");
        parties.edit(CONFIGURATION, "[policy]", CONFIG);
        let roots = parties.stage.path("front-door-root.pem");
        let transport = format!(
            "tls: {{ server_name: {SERVER_NAME}, ca_file: {} }}",
            roots.display()
        );
        let kubernetes = "{ cluster: prod, user_prefix: \"corp:\", groups: [sre, staff] }";
        with_route(&parties, api.port, &transport, kubernetes);
        let edge = parties.serve().await;
        Self { parties, edge, api }
    }

    async fn person(&self, who: &str) -> Person {
        let desk = Desk::new();
        let visitor = desk.sign_in_over_tls(&self.parties, who, &[]).await;
        let file = desk.path("kubeconfig");
        let arguments = ["kubeconfig", "k8s", "--kubeconfig", file.to_str().unwrap()];
        let said = desk.run(&arguments).await.expect_done();
        assert!(said.out.contains("kubectl --context k8s"), "{}", said.out);
        let kubectl = Kubectl::at(&desk).await;
        Person {
            desk,
            visitor,
            kubectl,
        }
    }

    async fn leave(self) {
        end(self.edge).await;
        self.parties.leave().await;
    }
}

/// Somebody with kubectl set up.
struct Person {
    desk: Desk,
    visitor: Visitor,
    kubectl: Kubectl,
}

/// A kubectl that goes on.
struct Going {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    err: ChildStderr,
}

impl Going {
    fn start(kubectl: &Kubectl, arguments: &[&str]) -> Self {
        let mut command = kubectl.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        Self {
            out: BufReader::new(child.stdout.take().unwrap()).lines(),
            err: child.stderr.take().unwrap(),
            child,
        }
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.out.next_line()).await;
        line.expect("a line in time").unwrap().expect("a line")
    }

    /// It ends, in time and by itself; what it complains of.
    async fn ended(mut self) -> String {
        let rest = async {
            while self.out.next_line().await.unwrap().is_some() {}
            let mut said = String::new();
            self.err.read_to_string(&mut said).await.unwrap();
            self.child.wait().await.unwrap();
            said
        };
        tokio::time::timeout(PATIENCE, rest)
            .await
            .expect("an end in time")
    }
}

async fn who_am_i(kubectl: &Kubectl, more: &[&str]) -> Value {
    let mut arguments = vec!["auth", "whoami", "-o", "json"];
    arguments.extend(more);
    let said: Value = serde_json::from_str(&kubectl.says(&arguments).await).unwrap();
    said["status"]["userInfo"].clone()
}

/// Passes a text through a port of the pod.
async fn through_a_port(kubectl: &Kubectl) -> String {
    let mut forward = Going::start(kubectl, &["port-forward", "web", ":80"]);
    let line = forward.line().await;
    let (_, at) = line.split_once("127.0.0.1:").unwrap();
    let (port, _) = at.split_once(' ').unwrap();
    let port: u16 = port.parse().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"through").await.unwrap();
    let mut said = [0; 7];
    let read = stream.read_exact(&mut said);
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("in time")
        .unwrap();
    String::from_utf8(said.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_works_as_whoever_is_signed_in() {
    let scene = Scene::of(Parties::gather().await).await;
    let alice = scene.person("alice").await;
    let kubectl = &alice.kubectl;

    let who = who_am_i(kubectl, &[]).await;
    assert_eq!(who["username"], "corp:alice@demo.example");
    assert_eq!(
        who["groups"],
        json!(["sre", "staff", "system:authenticated"])
    );
    let decision = who["extra"]["wayleave-decision"][0].as_str().unwrap();
    let explained = async || {
        let said = command(&scene.parties, "explain", &[decision]).await;
        said.out
            .contains("In the cluster: corp:alice@demo.example, in sre, staff")
    };
    eventually("the decision that the cluster was told of", explained).await;

    assert_eq!(
        kubectl.says(&["get", "pods", "-o", "name"]).await,
        "pod/web\n"
    );
    assert_eq!(kubectl.says(&["logs", "web"]).await, "one line\n");
    for is_websocket in ["true", "false"] {
        let kubectl = kubectl.with(&[
            ("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", is_websocket),
            ("KUBECTL_PORT_FORWARD_WEBSOCKETS", is_websocket),
        ]);
        let said = kubectl.says(&["exec", "web", "--", "id"]).await;
        assert_eq!(said, "corp:alice@demo.example\n");
        let much = "a line of what is said back\n".repeat(20_000);
        let said = kubectl
            .says_of(&much, &["exec", "-i", "web", "--", "cat"])
            .await;
        assert!(said == much, "{} of {}", said.len(), much.len());
        assert_eq!(through_a_port(&kubectl).await, "through");
        let method = if is_websocket == "true" {
            "GET"
        } else {
            "POST"
        };
        for way in ["/exec", "/portforward"] {
            let seen = scene.api.seen_at(way).await;
            assert!(
                seen.iter().all(|request| request["method"] == method),
                "{seen:?}"
            );
        }
        // Of the other way next time.
        scene.api.forget();
    }
    scene.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_a2_whom_a_request_is_for_the_client_cannot_say() {
    let scene = Scene::of(Parties::gather().await).await;
    let mut bob = scene.person("bob").await;
    let token = bob
        .desk
        .run(&["token", "k8s", "--bearer"])
        .await
        .expect_done()
        .out;
    let (root, port) = (
        scene.parties.read("front-door-root.pem"),
        scene.parties.stage.ports.https,
    );
    let address = ([127, 0, 0, 1], port).into();
    for version in [Version::H1, Version::H2] {
        for (name, is_read) in [
            ("impersonate-user", true),
            ("Impersonate-User", true),
            ("IMPERSONATE-GROUP", true),
            ("impersonate-uid", true),
            ("impersonate-extra-scopes", true),
            ("impersonate-extra-wayleave-decision", true),
            ("http-impersonate-user", true),
            ("x-remote-user", true),
            ("x-remote-group", true),
            ("impersonate_user", false),
            ("impersonate.group", false),
            ("impersonate%2duser", false),
            ("impersonate-extra-acme%2fscopes", false),
        ] {
            scene.api.forget();
            let mut sender = Sender::tls(address, &root, "k8s.localhost", version).await;
            let url = format!("{}{PODS}", scene.parties.secure_at("k8s"));
            let name = match version {
                Version::H1 => name.to_owned(),
                Version::H2 => name.to_ascii_lowercase(),
            };
            let request = Request::get(url)
                .header("authorization", format!("Bearer {}", token.trim()))
                .header(&name, "system:masters");
            let page = sender.page(request.body(empty()).unwrap()).await;
            if !is_read {
                assert_eq!(page.status, StatusCode::BAD_REQUEST, "{name}");
                assert_eq!(scene.api.seen(), [Value::Null; 0], "{name}");
                continue;
            }
            assert_eq!(page.status, StatusCode::OK, "{name}: {}", page.text());
            let seen = scene.api.seen_at("/pods").await;
            let [seen] = seen.as_slice() else {
                panic!("{name}: {seen:?}");
            };
            assert_eq!(seen["username"], "corp:bob@demo.example", "{name}");
            assert_eq!(
                seen["groups"],
                json!(["staff", "system:authenticated"]),
                "{name}"
            );
            assert_eq!(seen["by"], "system:serviceaccount:wayleave:edge", "{name}");
            let extra = seen["extra"].as_object().unwrap();
            assert_eq!(
                extra.keys().collect::<Vec<_>>(),
                ["wayleave-decision"],
                "{name}"
            );
            let headers = seen["headers"].as_array().unwrap();
            assert_eq!(headers.len(), 4, "{name}: {headers:?}");
        }
    }

    // kubectl's own ways to say it.
    let forged = [
        "--as",
        "system:admin",
        "--as-group",
        "system:masters",
        "--as-uid",
        "0",
    ];
    assert_eq!(
        who_am_i(&bob.kubectl, &forged).await["username"],
        "corp:bob@demo.example"
    );

    // Neither a cookie nor a browser gets there, whoever is signed in.
    let url = format!("{}{PODS}", scene.parties.secure_at("k8s"));
    let page = bob
        .visitor
        .step(reqwest::Method::GET, url.parse().unwrap(), None)
        .await;
    assert_eq!(page.status, StatusCode::MISDIRECTED_REQUEST);
    assert!(page.text.contains("wayleave kubeconfig"), "{}", page.text);
    let routes = bob.desk.run(&["routes"]).await.expect_done().out;
    assert!(routes.contains("wayleave kubeconfig k8s"), "{routes}");
    scene.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_says_why_somebody_is_refused() {
    let scene = Scene::of(Parties::gather().await).await;
    let bob = scene.person("bob").await;
    assert_eq!(
        bob.kubectl.says(&["get", "pods", "-o", "name"]).await,
        "pod/web\n"
    );
    // What opens a way into a pod is no reading, whichever way it is asked for.
    for is_websocket in ["true", "false"] {
        let variable = [("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", is_websocket)];
        let said = bob
            .kubectl
            .with(&variable)
            .fails(&["exec", "web", "--", "id"])
            .await;
        assert!(said.contains("No access rule allows it"), "{said}");
        assert!(said.contains("(request "), "{said}");
    }
    let is_exec = |request: &Value| request["path"].as_str().unwrap().ends_with("/exec");
    assert!(!scene.api.seen().iter().any(is_exec));
    let said = bob.kubectl.fails(&["delete", "pod", "web"]).await;
    assert!(
        said.starts_with("Error from server (Forbidden): "),
        "{said}"
    );
    assert!(said.contains("No access rule allows it"), "{said}");

    let carol = scene.person("carol").await;
    let said = carol.kubectl.fails(&["get", "pods"]).await;
    assert!(said.contains("contractors-stay-out"), "{said}");

    // What the cluster says itself is passed on.
    scene
        .parties
        .edit("policy.yaml", "methods: [GET] }", "methods: [GET, POST] }");
    let refused = async || {
        let said = bob.kubectl.fails(&["exec", "web", "--", "id"]).await;
        said.contains("User \"corp:bob@demo.example\" cannot do this")
    };
    eventually("the cluster's own refusal", refused).await;

    // Signed out, the plugin says what to do.
    bob.desk.run(&["logout"]).await.expect_done();
    let said = bob.kubectl.fails(&["get", "pods"]).await;
    assert!(said.contains("wayleave login"), "{said}");
    let said = Desk::new().run(&["kube-credential", "k8s"]).await;
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(3), ""),
        "{}",
        said.err
    );
    scene.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_h5_what_kubectl_follows_ends_with_the_rule_and_with_the_session() {
    for store in stores().await {
        let scene = Scene::of(gathered_on(&store).await).await;
        let mut alice = scene.person("alice").await;
        let following: [&[&str]; 3] = [
            &["logs", "-f", "web"],
            &["get", "pods", "-w", "-o", "name"],
            &["exec", "-i", "web", "--", "cat"],
        ];
        let start = async |kubectl: &Kubectl| {
            let mut all = Vec::new();
            for arguments in following {
                let mut going = Going::start(kubectl, arguments);
                match arguments[0] {
                    "exec" => {
                        let stdin = going.child.stdin.as_mut().unwrap();
                        stdin.write_all(b"said back\n").await.unwrap();
                        assert_eq!(going.line().await, "said back");
                    }
                    // As they come: the mock's next line is a tenth of a second away.
                    _ => drop((going.line().await, going.line().await)),
                }
                all.push(going);
            }
            all
        };
        let going = start(&alice.kubectl).await;
        let (from, to) = (
            "from: [{ groups: [sre] }]\n    to: [{ routes: [k8s] }]",
            "from: [{ groups: [nobody] }]\n    to: [{ routes: [k8s] }]",
        );
        scene.parties.edit("policy.yaml", from, to);
        // Reading goes on: another rule allows it.
        let [mut logs, mut watch, exec] =
            <[Going; 3]>::try_from(going).unwrap_or_else(|_| panic!());
        exec.ended().await;
        logs.line().await;
        watch.line().await;
        scene.parties.edit("policy.yaml", to, from);
        let is_open = async || {
            let done = alice.kubectl.run(&["exec", "web", "--", "id"]).await;
            done.status.success()
        };
        eventually("the rule is back", is_open).await;

        let exec = start(&alice.kubectl).await.pop().unwrap();
        let home = scene.parties.secure_at("access");
        let out = alice
            .visitor
            .open(&format!("{home}/.wayleave/sign-out"))
            .await;
        alice.visitor.submit(&out, &[]).await;
        for going in [logs, watch, exec] {
            going.ended().await;
        }
        let said = alice.kubectl.fails(&["get", "pods"]).await;
        assert!(said.contains("wayleave login"), "{said}");
        scene.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_rotates_is_followed_and_one_that_is_not_good_is_told_of() {
    let scene = Scene::of(Parties::gather().await).await;
    let alice = scene.person("alice").await;
    let get = ["get", "pods", "-o", "name"];
    assert_eq!(alice.kubectl.says(&get).await, "pod/web\n");
    rotate(&scene.parties, "server.token", "the-second-token");
    let said = alice.kubectl.fails(&get).await;
    assert!(
        said.contains("does not accept the proxy's own credential"),
        "{said}"
    );
    rotate(&scene.parties, "cluster.token", "no token at all");
    rotate(&scene.parties, "cluster.token", "the-second-token\n");
    let works = async || alice.kubectl.run(&get).await.status.success();
    eventually("the second token", works).await;
    // What a pod says through the API server is the pod's.
    let raw = format!("{PODS}/web/proxy/");
    let said = alice.kubectl.fails(&["get", "--raw", &raw]).await;
    assert!(!said.contains("proxy's own credential"), "{said}");
    scene.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_mesh_the_certificate_is_the_credential_and_unbound_tokens_have_to_be_allowed() {
    let parties = Parties::gather().await;
    let api = ApiServer::start(&parties, true);
    let transport = format!("mtls: {{ spiffe_ids: [\"{SPIFFE_ID}\"] }}");
    with_route(
        &parties,
        api.port,
        &transport,
        "{ user: mesh_identity, group_prefix: \"corp:\" }",
    );
    let edge = parties.serve().await;
    let scene = Scene { parties, edge, api };
    let person = scene.person("bob").await;
    let said = person.kubectl.fails(&["get", "pods"]).await;
    assert!(said.contains("tokens.allow_unbound"), "{said}");
    let Scene { parties, edge, api } = scene;
    end(edge).await;
    parties.edit(
        CONFIGURATION,
        "[policy]",
        "[tokens]\nallow_unbound = true\n\n[policy]",
    );
    let edge = parties.serve().await;
    let who = who_am_i(&person.kubectl, &[]).await;
    let name = who["username"].as_str().unwrap();
    assert!(
        name.starts_with("spiffe://demo.wayleave/ns/people/sa/bob--at--"),
        "{name}"
    );
    assert_eq!(who["groups"], json!(["corp:staff", "system:authenticated"]));
    let seen = api.seen_at("/selfsubjectreviews").await;
    let seen = seen.last().unwrap();
    assert_eq!(seen["by"], name);
    let headers = seen["headers"].as_array().unwrap();
    assert!(!headers.contains(&json!("authorization")), "{headers:?}");
    end(edge).await;
    parties.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubeconfig_is_merged_and_nobody_elses_entry_is_touched() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::of(Parties::gather().await).await;
    let alice = scene.person("alice").await;
    let file = alice.desk.path("kubeconfig");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let view = ["config", "view", "--raw", "-o", "json"];
    let others = [
        &[
            "config",
            "set-cluster",
            "other",
            "--server",
            "https://other.example",
        ][..],
        &["config", "set-credentials", "other", "--token", "0123"],
        &[
            "config",
            "set-context",
            "other",
            "--cluster",
            "other",
            "--user",
            "other",
        ],
        &["config", "use-context", "other"],
    ];
    for arguments in others {
        alice.kubectl.says(arguments).await;
    }
    let before: Value = serde_json::from_str(&alice.kubectl.says(&view).await).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("# mine\n{text}")).unwrap();
    let path = file.to_str().unwrap();
    let again = ["kubeconfig", "k8s", "--kubeconfig", path];
    alice.desk.run(&again).await.expect_done();
    let after: Value = serde_json::from_str(&alice.kubectl.says(&view).await).unwrap();
    assert_eq!(after, before);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# mine\n"), "{text}");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let taken = alice
        .desk
        .run(&["kubeconfig", "k8s", "--kubeconfig", path, "--name", "other"])
        .await;
    assert_eq!(taken.code, Some(1), "{}", taken.err);
    assert!(taken.err.contains("--name NAME"), "{}", taken.err);
    let used = [
        "kubeconfig",
        "k8s",
        "--kubeconfig",
        path,
        "--name",
        "mine",
        "--use",
    ];
    alice.desk.run(&used).await.expect_done();
    assert_eq!(
        alice.kubectl.says(&["config", "current-context"]).await,
        "mine\n"
    );
    assert_eq!(
        alice.kubectl.says(&["get", "pods", "-o", "name"]).await,
        "pod/web\n"
    );
    std::fs::write(format!("{path}.lock"), "").unwrap();
    let locked = alice.desk.run(&again).await;
    assert!(
        locked.err.contains("another program is writing"),
        "{}",
        locked.err
    );
    let wrong = alice.desk.run(&["kubeconfig", "dashboards"]).await;
    assert_eq!(wrong.code, Some(2), "{}", wrong.err);
    scene.leave().await;
}
