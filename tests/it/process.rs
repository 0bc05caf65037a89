//! `wayleave demo` as a process: what it announces is there, and nothing is left of it.

use reqwest::{Method, StatusCode};

use crate::parts::command::run;
use crate::parts::program::{Demo, eventually, is_free};
use crate::parts::visitor::Visitor;

async fn nothing_is_left(mut demo: Demo, signal: &str) {
    demo.program.signal(signal);
    let status = demo.program.ended().await;
    assert_eq!(status.code(), Some(0), "{}", demo.program.err());
    assert_eq!(
        demo.program.temporary_files(),
        [""; 0].map(Into::<std::path::PathBuf>::into)
    );
    assert!(!demo.program.lives());
    for port in demo.ports() {
        assert!(is_free(port), "{port} is still taken");
    }
}

#[tokio::test]
async fn the_demo_is_ready_when_it_says_so_and_leaves_nothing_behind() {
    let demo = Demo::start().await;
    let said = demo.program.out();
    for host in ["grafana", "payroll", "releases", "access"] {
        assert!(
            said.contains(&format!("http://{host}.localhost:{}/", demo.http)),
            "{said}"
        );
    }
    assert!(
        said.contains(&format!("http://localhost:{}", demo.provider)),
        "{said}"
    );
    let ready = reqwest::get(format!("http://127.0.0.1:{}/readyz", demo.admin)).await;
    assert_eq!(ready.unwrap().status(), StatusCode::OK);
    assert!(demo.folder().join("access.log").exists());
    nothing_is_left(demo, "INT").await;
}

#[tokio::test]
async fn a_demo_with_its_policy_in_the_store_takes_commands() {
    let demo = Demo::start_as("demo --policy-in-store").await;
    let config = demo.folder().join("wayleave.toml");
    let file = demo.folder().join("policy.yaml");
    let (config, file) = (config.to_str().unwrap(), file.to_str().unwrap());
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, text.replace("[contractors]", "[strangers]")).unwrap();
    let policy = async |arguments: &[&str]| {
        let whole = [&["policy"], arguments, &["--config", config]].concat();
        run(&whole, &[]).await.expect_done().out
    };
    let apply = [
        "apply",
        file,
        "-m",
        "contractors come in",
        "--parent",
        "1",
        "--yes",
    ];
    assert_eq!(policy(&apply).await, "Revision 2 is the policy now.\n");
    let back = ["rollback", "1", "-m", "not yet", "--yes"];
    assert_eq!(policy(&back).await, "Revision 3 is the policy now.\n");
    let history = policy(&["history"]).await;
    assert!(
        history.contains("not yet (back to revision 1)"),
        "{history}"
    );
    nothing_is_left(demo, "INT").await;
}

#[tokio::test]
async fn sigterm_ends_the_demo_too() {
    nothing_is_left(Demo::start().await, "TERM").await;
}

#[tokio::test]
async fn a_stream_that_is_open_does_not_keep_the_demo() {
    let demo = Demo::start().await;
    let origin = format!("http://grafana.localhost:{}", demo.http);
    let mut alice = Visitor::new();
    let page = alice.open_as("alice", &format!("{origin}/?a=b")).await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    let mut stream = alice.stream(&format!("{origin}/events")).await;
    assert_eq!(stream.status(), StatusCode::OK);
    assert!(stream.chunk().await.unwrap().is_some());
    nothing_is_left(demo, "INT").await;
    // The stream has ended, cleanly or not.
    while let Ok(Some(_)) = stream.chunk().await {}
}

#[tokio::test]
async fn a_demo_whose_port_is_taken_names_it_and_leaves_nothing() {
    let first = Demo::start().await;
    let port = first.http.to_string();
    let arguments = [
        "demo",
        "--port",
        &port,
        "--https-port",
        "0",
        "--admin-port",
        "0",
    ];
    let mut second = crate::parts::program::Program::start(&arguments);
    assert_eq!(second.ended().await.code(), Some(1));
    let said = second.err();
    assert!(said.contains(&port) && said.contains("--port"), "{said}");
    assert!(second.temporary_files().is_empty());
    nothing_is_left(first, "INT").await;
}

#[tokio::test]
async fn k12_metrics_and_health_are_not_at_the_front_door() {
    let demo = Demo::start().await;
    let mut nobody = Visitor::new();
    for host in ["access", "grafana", "nowhere"] {
        for path in ["metrics", "readyz", "livez", "healthz"] {
            let url = format!("http://{host}.localhost:{}/{path}", demo.http);
            let page = nobody.step(Method::GET, url.parse().unwrap(), None).await;
            assert_ne!(page.status, StatusCode::OK, "{page:?}");
            assert!(!page.text.contains("wayleave_"), "{page:?}");
        }
    }
    let origin = format!("http://grafana.localhost:{}", demo.http);
    let page = nobody.open_as("alice", &format!("{origin}/metrics")).await;
    assert_eq!(page.status, StatusCode::OK);
    // Behind sign-in it is the application's own.
    assert!(
        page.text.contains("/metrics") && !page.text.contains("# TYPE"),
        "{page:?}"
    );
    let metrics = reqwest::get(format!("http://127.0.0.1:{}/metrics", demo.admin)).await;
    assert!(metrics.unwrap().text().await.unwrap().contains("# TYPE"));
}

#[tokio::test]
async fn an_edited_policy_is_followed_while_the_demo_runs() {
    let demo = Demo::start().await;
    let url = format!("http://payroll.localhost:{}/", demo.http);
    let mut bob = Visitor::new();
    assert_eq!(bob.open_as("bob", &url).await.status, StatusCode::FORBIDDEN);
    let file = demo.folder().join("policy.yaml");
    let policy = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        policy.replace("groups: [sre]", "groups: [sre, staff]"),
    )
    .unwrap();
    let bob = tokio::sync::Mutex::new(bob);
    // Past the edge; the workload's own policy refuses still, as the policy's comment says.
    eventually("the workload refuses Bob itself", async || {
        let page = bob.lock().await.open(&url).await;
        page.text.contains("refused by the workload itself") || page.text.contains("application")
    })
    .await;
    nothing_is_left(demo, "INT").await;
}

#[tokio::test]
async fn a_tab_whose_session_another_tab_replaced_arrives_all_the_same() {
    let demo = Demo::start().await;
    let origin = format!("http://grafana.localhost:{}", demo.http);
    let mut bob = Visitor::new();
    let first = bob.open(&format!("{origin}/one?tab=1")).await;
    let second = bob.open(&format!("{origin}/two?tab=2")).await;
    // The first is on its way back when the second signs in.
    bob.stops_before = Some("/.wayleave/arrive");
    let first = bob.submit(&first, &[("person", "bob")]).await;
    assert_eq!(first.status, StatusCode::SEE_OTHER, "{first:?}");
    bob.stops_before = None;
    let second = bob.submit(&second, &[("person", "bob")]).await;
    assert_eq!(second.url.as_str(), format!("{origin}/two?tab=2"));
    let first = bob.follow(first).await;
    assert_eq!(
        first.url.as_str(),
        format!("{origin}/one?tab=1"),
        "{first:?}"
    );
    assert_eq!(first.status, StatusCode::OK, "{first:?}");
}

#[tokio::test]
async fn a_command_that_nobody_listens_to_ends_without_a_word() {
    for arguments in [
        &["completions", "bash"][..],
        &["policy", "schema"],
        &["man"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let said = tokio::process::Command::new(env!("CARGO_BIN_EXE_wayleave"))
            .args(arguments)
            .stdout(writer)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .await
            .unwrap();
        let err = String::from_utf8_lossy(&said.stderr).into_owned();
        let code = said.status.code();
        assert!(
            matches!(code, Some(0 | 141)),
            "{arguments:?}: {code:?} {err}"
        );
        assert_eq!(err, "", "{arguments:?}");
    }
}
