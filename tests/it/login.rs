//! `wayleave login` and what comes after it, as processes, against a running edge and its identity provider.

use std::path::Path;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use url::form_urlencoded;

use crate::parts::browser::hidden;
use crate::parts::client::{Sender, Version};
use crate::parts::command::{command, run};
use crate::parts::desk::{Desk, line_with};
use crate::parts::empty;
use crate::parts::program::eventually;
use crate::parts::served::{CONFIGURATION, Parties, end, gathered_on, stores};
use crate::parts::visitor::{Page, Visitor};

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

async fn post(visitor: &mut Visitor, page: &Page, more: &[(&str, &str)]) -> Page {
    let hidden = hidden(&page.text);
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(hidden).extend_pairs(more);
    visitor
        .step(Method::POST, page.url.clone(), Some(form.finish()))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn people_sign_in_and_their_tools_reach_routes() {
    let parties = Parties::gather().await;
    let edge = parties.serve().await;
    let (desk, mut alice) = (Desk::new(), Visitor::new());
    let nobody = desk.run(&["whoami"]).await;
    assert_eq!(nobody.code, Some(3), "{}", nobody.err);
    assert!(
        nobody.err.contains("wayleave login --edge"),
        "{}",
        nobody.err
    );

    let home = parties.at("access");
    let said = desk
        .sign_in(&mut alice, "alice", &["--edge", &home])
        .await
        .expect_done();
    assert!(said.out.contains("as alice@demo.example"), "{}", said.out);
    let me = desk
        .run(&["whoami", "--output", "json"])
        .await
        .expect_done()
        .json();
    assert_eq!(
        (&me["user"], &me["profile"]),
        (&"alice@demo.example".into(), &"access.localhost".into())
    );
    let me = desk.run(&["whoami"]).await.expect_done().out;
    assert!(
        me.contains("ns/people/sa/alice") && !me.contains('\u{1b}'),
        "{me}"
    );
    let routes = desk.run(&["routes"]).await.expect_done().out;
    assert!(
        routes.contains("You may open:") && routes.contains("dashboards"),
        "{routes}"
    );
    assert!(routes.contains("wayleave forward lines"), "{routes}");
    let forward = desk.run(&["forward", "dashboards"]).await;
    assert_eq!(forward.code, Some(2), "{}", forward.err);
    assert!(forward.err.contains("is no TCP route"), "{}", forward.err);

    let seen = desk
        .run(&["curl", "dashboards/d/1?x=a b", "--", "-s"])
        .await
        .expect_done()
        .out;
    assert!(
        seen.contains("ns/people/sa/alice") && seen.contains("/d/1?x=a%20b"),
        "{seen}"
    );
    let posted = [
        "curl",
        "dashboards/d/2",
        "--",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-d",
        "x=1",
    ];
    assert_eq!(desk.run(&posted).await.expect_done().out, "200");
    let url = format!("{}/whole", parties.at("grafana"));
    let seen = desk
        .run(&["curl", &url, "--", "-sS"])
        .await
        .expect_done()
        .out;
    assert!(seen.contains("/whole"), "{seen}");
    let followed = desk.run(&["curl", "dashboards/x", "--", "-L"]).await;
    assert_eq!(followed.code, Some(2));
    assert!(followed.err.contains("redirect"), "{}", followed.err);

    let unknown = desk.run(&["token", "dashboard"]).await;
    assert_eq!(unknown.code, Some(2));
    assert!(
        unknown.err.contains("did you mean dashboards?"),
        "{}",
        unknown.err
    );
    let bearer = desk.run(&["env", "dashboards", "--", "true"]).await;
    assert_eq!(bearer.code, Some(4), "{}", bearer.err);
    assert!(bearer.err.contains("allow_unbound"), "{}", bearer.err);

    // What is kept is the owner's alone.
    for file in [
        "access.localhost.credentials.json",
        "access.localhost.tokens.json",
    ] {
        assert_eq!(
            mode(&desk.path("state/wayleave").join(file)),
            0o600,
            "{file}"
        );
    }
    assert_eq!(mode(&desk.path("state/wayleave")), 0o700);

    // A good token comes from the cache, whatever the edge does.
    let token = desk.run(&["token", "dashboards"]).await.expect_done().out;
    assert_eq!(token.trim().split('.').count(), 3);
    let headers = ["token", "dashboards", "--headers", "GET", "/x"];
    let headers = desk.run(&headers).await.expect_done().out;
    assert!(
        headers.starts_with("Authorization: DPoP ") && headers.contains("\nDPoP: "),
        "{headers}"
    );
    end(edge).await;
    assert_eq!(
        desk.run(&["token", "dashboards"]).await.expect_done().out,
        token
    );
    let down = desk.run(&["whoami", "--output", "json"]).await;
    assert_eq!(down.code, Some(5));
    let told: Value = serde_json::from_str(&down.err).unwrap();
    assert_eq!(told["error"], "unreachable");
    let edge = parties.serve().await;

    // Nothing secret is in a log.
    let log = parties.read("access.log");
    assert!(!log.contains(token.trim()) && !edge.err().contains(token.trim()));

    let out = desk.run(&["logout"]).await.expect_done().out;
    assert!(out.contains("Signed out"), "{out}");
    assert_eq!(desk.run(&["whoami"]).await.code, Some(3));
    assert_eq!(
        alice.bearer(&parties.at("grafana"), token.trim()).await,
        StatusCode::UNAUTHORIZED
    );
    assert!(
        alice.is_signed_in(&parties.at("access")).await,
        "the browser stays signed in"
    );
    let told = command(
        &parties,
        "audit",
        &["list", "--json", "--kind", "tokens_ended"],
    )
    .await;
    assert!(told.out.contains("revoked"), "{}", told.out);
    end(edge).await;
    parties.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_refresh_once_and_a_session_that_ends_is_said_so() {
    for store in stores().await {
        let parties = gathered_on(&store).await;
        let edge = parties.serve().await;
        let (desk, mut alice) = (Desk::new(), Visitor::new());
        let home = parties.at("access");
        let login = ["--edge", home.as_str(), "--profile", "work"];
        desk.sign_in(&mut alice, "alice", &login)
            .await
            .expect_done();
        // None of them finds a token, and the refresh token is good once.
        let cache = desk.path("state/wayleave/work.tokens.json");
        for _ in 0..3 {
            std::fs::remove_file(&cache).unwrap();
            let all = (0..5).map(|_| desk.run(&["whoami"]));
            for said in futures_util::future::join_all(all).await {
                said.expect_done();
            }
        }
        let out = alice.open(&format!("{home}/.wayleave/sign-out")).await;
        alice.submit(&out, &[]).await;
        for _ in 0..2 {
            let said = desk.run(&["whoami"]).await;
            assert_eq!(said.code, Some(3), "{}", said.err);
            assert!(
                said.err.contains("wayleave login --profile work"),
                "{}",
                said.err
            );
        }
        end(edge).await;
        parties.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i8_the_edge_has_to_prove_its_name_and_tokens_stay_out_of_sight() {
    let parties = Parties::gather().await;
    parties.edit(
        CONFIGURATION,
        "[policy]",
        "[tokens]\nallow_unbound = true\n\n[policy]",
    );
    let edge = parties.serve().await;
    let (desk, mut bob) = (Desk::new(), Visitor::new());
    let home = format!("https://access.localhost:{}", parties.stage.ports.https);
    let said = desk.run(&["login", "--edge", &home, "--no-browser"]).await;
    assert_eq!(said.code, Some(5), "{}", said.err);
    assert!(said.err.contains("--ca-file"), "{}", said.err);
    let said = desk
        .run(&["login", "--edge", "https://localhost:1", "--no-browser"])
        .await;
    assert_eq!(said.code, Some(5), "{}", said.err);
    let no_edge = parties.stage.issuer();
    let said = desk
        .run(&["login", "--edge", &no_edge, "--no-browser"])
        .await;
    assert_eq!(said.code, Some(5), "{}", said.err);
    assert!(said.err.contains("no Wayleave edge"), "{}", said.err);
    // The browser comes by the plain door, which has another name for itself: people are let in there and here apart.
    let plain = parties.at("access");
    desk.sign_in(&mut bob, "bob", &["--edge", &plain, "--profile", "plain"])
        .await
        .expect_done();
    let tools = desk.path("tools");
    std::fs::create_dir(&tools).unwrap();
    let fake = "#!/bin/sh\nprintf '%s\\n' \"$@\" > \"$HOME/arguments\"\nenv > \"$HOME/environment\"\nfor a; do case $before in --config) cat $a > \"$HOME/curl-config\";; esac; before=$a; done\n";
    let curl = tools.join("curl");
    std::fs::write(&curl, fake).unwrap();
    std::fs::set_permissions(&curl, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut environment = desk.environment();
    #[expect(clippy::disallowed_methods, reason = "the tools of this machine")]
    let path = std::env::var("PATH").unwrap();
    environment.push(("PATH".to_owned(), format!("{}:{path}", tools.display())));
    let pairs: Vec<_> = environment
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    run(&["curl", "dashboards/x", "--", "-s"], &pairs)
        .await
        .expect_done();
    let read = |name: &str| std::fs::read_to_string(desk.path(name)).unwrap();
    let config = read("curl-config");
    let token = config
        .split("DPoP ")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    assert_eq!(token.split('.').count(), 3, "{config}");
    for seen in [read("arguments"), read("environment")] {
        assert!(!seen.contains(token), "{seen}");
    }
    assert!(config.contains("proto = \"=http\""), "{config}");

    // Where it is allowed, tools that know nothing of keys get on.
    let said = desk
        .run(&[
            "env",
            "dashboards",
            "--",
            "sh",
            "-c",
            "echo $WAYLEAVE_URL; echo $WAYLEAVE_TOKEN; exit 7",
        ])
        .await;
    assert_eq!(said.code, Some(7), "{}", said.err);
    let (url, token) = said.out.trim().split_once('\n').unwrap();
    assert_eq!(bob.bearer(url, token).await, StatusCode::OK);
    let same = desk
        .run(&["token", "dashboards", "--bearer"])
        .await
        .expect_done()
        .out;
    assert_eq!(same.trim(), token);
    assert_ne!(
        desk.run(&["token", "dashboards"])
            .await
            .expect_done()
            .out
            .trim(),
        token
    );

    // With the root that it needs, all of it over TLS.
    let _bob = desk
        .sign_in_over_tls(&parties, "bob", &["--profile", "tls"])
        .await;
    let seen = desk.run(&["curl", "dashboards/tls", "--", "-sS"]).await;
    assert!(seen.expect_done().out.contains("ns/people/sa/bob"));
    let plain = ["curl", "dashboards/", "--profile", "plain", "--", "-sS"];
    desk.run(&plain).await.expect_done();
    end(edge).await;
    parties.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h5_what_ends_at_one_edge_has_ended_at_another_within_two_seconds() {
    for store in stores().await {
        let parties = gathered_on(&store).await;
        let tokens = "[tokens]\nallow_unbound = true\n\n[policy]";
        parties.edit(CONFIGURATION, "[policy]", tokens);
        // Both have one name, as behind a load balancer.
        let seen_from_outside = format!(
            "scheme = \"http\"\nexternal_port = {}\n",
            parties.stage.ports.http
        );
        parties.edit(CONFIGURATION, "scheme = \"http\"\n", &seen_from_outside);
        let edge = parties.serve().await;
        let (second, port) = parties.serve_second().await;
        let (desk, mut alice) = (Desk::new(), Visitor::new());
        let home = parties.at("access");
        let url = format!("{}/x", parties.at("grafana"));
        let at_second = async |token: &str| {
            let request =
                http::Request::get(&url).header("authorization", format!("Bearer {token}"));
            let address = ([127, 0, 0, 1], port).into();
            let mut sender = Sender::plain(address, Version::H1).await;
            sender.page(request.body(empty()).unwrap()).await.status
        };
        for how in ["logout", "sign-out"] {
            desk.sign_in(&mut alice, "alice", &["--edge", &home])
                .await
                .expect_done();
            let token = desk.run(&["token", "dashboards", "--bearer"]).await;
            let token = token.expect_done().out.trim().to_owned();
            assert_eq!(at_second(&token).await, StatusCode::OK);
            if how == "logout" {
                desk.run(&["logout"]).await.expect_done();
            } else {
                let page = alice.open(&format!("{home}/.wayleave/sign-out")).await;
                alice.submit(&page, &[]).await;
            }
            let is_refused = async || at_second(&token).await == StatusCode::UNAUTHORIZED;
            let waited = eventually("it is refused", is_refused).await;
            assert!(waited < Duration::from_secs(2), "{how}: {waited:?}");
        }
        end(second).await;
        end(edge).await;
        parties.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_a_machine_without_a_browser_is_let_in_from_another() {
    let parties = Parties::gather().await;
    let edge = parties.serve().await;
    let (desk, mut alice) = (Desk::new(), Visitor::new());
    let home = parties.at("access");
    for decision in ["deny", "allow"] {
        let mut login = desk.start(&["login", "--edge", &home, "--device"]);
        login.logs("type the code").await;
        login.logs("Waiting").await;
        let url = line_with(&login.err(), "/oauth/device");
        let said = login.err();
        let code = said
            .lines()
            .map(str::trim)
            .find(|line| line.len() == 9 && line.as_bytes()[4] == b'-');
        let code = code.unwrap();
        let asked = alice.open_as("alice", &url).await;
        assert!(
            asked.text.contains("If somebody sent you a code"),
            "{asked:?}"
        );
        let wrong = post(&mut alice, &asked, &[("user_code", "BCDF-BCDF")]).await;
        assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
        let typed = code.to_lowercase().replace('-', " ");
        let asked = post(&mut alice, &asked, &[("user_code", &typed)]).await;
        for part in [code, "127.0.0.1", "wayleave/", "The Wayleave command line"] {
            assert!(asked.text.contains(part), "no {part}: {asked:?}");
        }
        let done = post(&mut alice, &asked, &[("decision", decision)]).await;
        assert_eq!(done.status, StatusCode::OK, "{done:?}");
        // It is decided once.
        let again = post(&mut alice, &asked, &[("decision", "allow")]).await;
        assert_eq!(again.status, StatusCode::BAD_REQUEST, "{again:?}");
        let code = login.ended().await.code();
        let expected = if decision == "allow" { 0 } else { 4 };
        assert_eq!(code, Some(expected), "{}", login.err());
    }
    let me = desk.run(&["whoami"]).await.expect_done().out;
    assert!(me.contains("alice@demo.example"), "{me}");
    end(edge).await;
    parties.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_the_port_that_waits_takes_no_other_answer() {
    let parties = Parties::gather().await;
    let edge = parties.serve().await;
    let (desk, mut alice) = (Desk::new(), Visitor::new());
    let home = parties.at("access");
    let mut login = desk.start(&["login", "--edge", &home, "--no-browser"]);
    login.logs("/oauth/authorize?").await;
    let url = line_with(&login.err(), "/oauth/authorize?");
    let url = url::Url::parse(&url).unwrap();
    let redirect = url
        .query_pairs()
        .find(|(name, _)| name == "redirect_uri")
        .unwrap()
        .1;
    let script = "%3Cscript%3E";
    for query in [
        String::new(),
        format!("?code=x&state={script}"),
        format!("?error={script}&state=x&iss={home}"),
    ] {
        let page = alice.open(&format!("{redirect}{query}")).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(!page.text.contains("script"), "{page:?}");
    }
    // Another server's answer, with the right state: that sign-in is over.
    let state = url
        .query_pairs()
        .find(|(name, _)| name == "state")
        .unwrap()
        .1;
    let foreign = format!("{redirect}?code=x&state={state}&iss=https://evil.example");
    assert_eq!(alice.open(&foreign).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(login.ended().await.code(), Some(1), "{}", login.err());
    assert!(login.err().contains("not from the edge"), "{}", login.err());
    tokio::time::timeout(Duration::from_secs(5), end(edge))
        .await
        .unwrap();
    parties.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyring_that_never_answers_holds_nobody_up() {
    let parties = Parties::gather().await;
    let edge = parties.serve().await;
    let (desk, mut alice) = (Desk::new(), Visitor::new());
    let socket = desk.path("bus");
    let bus = tokio::net::UnixListener::bind(&socket).unwrap();
    crate::parts::beside(async move {
        let mut silent = Vec::new();
        while let Ok((connection, _)) = bus.accept().await {
            silent.push(connection);
        }
    });
    let address = format!("unix:path={}", socket.display());
    let desk = desk.with(&[
        ("WAYLEAVE_KEYRING", ""),
        ("DBUS_SESSION_BUS_ADDRESS", &address),
    ]);
    let home = parties.at("access");
    desk.sign_in(&mut alice, "alice", &["--edge", &home])
        .await
        .expect_done();
    let file = "state/wayleave/access.localhost.credentials.json";
    assert_eq!(mode(&desk.path(file)), 0o600);
    desk.run(&["whoami"]).await.expect_done();
    // What is only in a keyring that does not answer cannot be had, which is said.
    std::fs::remove_file(desk.path(file)).unwrap();
    let said = desk.run(&["whoami"]).await;
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("WAYLEAVE_KEYRING=off"), "{}", said.err);
    end(edge).await;
    parties.leave().await;
}

#[tokio::test]
async fn completions_and_manual_pages_are_there() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish"] {
        let said = desk.run(&["completions", shell]).await.expect_done().out;
        assert!(said.contains("whoami"), "{shell}");
    }
    let page = desk.run(&["man"]).await.expect_done().out;
    assert!(page.contains(".TH wayleave"), "{page}");
    let folder = desk.path("man");
    desk.run(&["man", folder.to_str().unwrap()])
        .await
        .expect_done();
    assert!(folder.join("wayleave-login.1").exists());
}
