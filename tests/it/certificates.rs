//! Workloads of other trust domains: a client certificate becomes a token for one route.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::{Certificate, Identity, StatusCode};
use serde_json::Value;
use wayleave::clock::{Clock, SystemClock};
use wayleave::demo::authority::{Authority, Issued};

use crate::parts::desk::Desk;
use crate::parts::house::House;
use crate::parts::program::eventually;
use crate::parts::program_of::Key;

const JOB: &str = "spiffe://partner.example/ns/jobs/sa/nightly";

/// A house whose door asks for certificates, and that trusts the jobs of a partner.
async fn trusting(partner: &Authority) -> House {
    let asking = |text: String| {
        text.replacen(
            "scheme = \"https\"",
            "scheme = \"https\"\nclient_certificates = true",
            1,
        )
    };
    let house = House::start_as("sqlite://wayleave.db", Arc::new(SystemClock), asking).await;
    let bundle = Value::from(partner.mesh_bundle());
    let trusted = format!(
        "trusted_issuers:\n  - {{ name: jobs, trust_domain: partner.example, bundle: {bundle}, spiffe_ids: ['spiffe://partner.example/ns/jobs/*'] }}\nrole_bindings:\n"
    );
    let rule = format!(
        "  - {{ name: jobs, action: allow, from: [{{ providers: [jobs], subjects: ['{JOB}'] }}], to: [{{ routes: [app] }}] }}\n"
    );
    house
        .put_in_force(|text| {
            let text = text.replacen("[demo, robots]", "[demo, robots, jobs]", 1);
            text.replacen("role_bindings:\n", &trusted, 1) + &rule
        })
        .await;
    house
}

/// A program at the door with TLS, with a certificate or without.
fn program(house: &House, own: Option<&Issued>) -> reqwest::Client {
    let here = SocketAddr::from(([127, 0, 0, 1], house.https.port()));
    let root = Certificate::from_pem(house.door_root().as_bytes()).unwrap();
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([root])
        .resolve("access.localhost", here)
        .resolve("app.localhost", here);
    if let Some(own) = own {
        let pem = format!("{}{}", own.chain, own.key);
        builder = builder.identity(Identity::from_pem(pem.as_bytes()).unwrap());
    }
    builder.build().unwrap()
}

async fn asked(
    house: &House,
    program: &reqwest::Client,
    key: &Key,
    change: &[(&str, &str)],
) -> (StatusCode, Value) {
    let url = house.secure_url("access", "/.wayleave/oauth/token");
    let usual = [("grant_type", "client_credentials"), ("resource", "app")];
    let is_changed = |name: &str| change.iter().any(|(changed, _)| *changed == name);
    let kept = usual.into_iter().filter(|(name, _)| !is_changed(name));
    let fields: Vec<_> = kept.chain(change.iter().copied()).collect();
    let request = program
        .post(&url)
        .header("dpop", key.proof("POST", &url, None))
        .form(&fields);
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn opened(house: &House, program: &reqwest::Client, key: &Key, token: &str) -> StatusCode {
    let url = house.secure_url("app", "/x");
    let request = program
        .get(&url)
        .header("authorization", format!("DPoP {token}"));
    let request = request.header("dpop", key.proof("GET", &url, Some(token)));
    request.send().await.unwrap().status()
}

fn token((status, answer): (StatusCode, Value)) -> String {
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_workload_of_another_trust_domain_gets_a_token_for_one_route() {
    let partner = Authority::new(SystemClock.now()).unwrap();
    let house = trusting(&partner).await;
    let (own, key) = (partner.workload(JOB).unwrap(), Key::new());
    let job = program(&house, Some(&own));
    let given = token(asked(&house, &job, &key, &[]).await);
    house.upstream.forget();
    assert_eq!(opened(&house, &job, &key, &given).await, StatusCode::OK);
    assert_eq!(
        house.upstream.only().peer,
        "spiffe://demo.wayleave/ns/people/sa/robot"
    );
    // The token is bound to the key, and not to the connection.
    let without = program(&house, None);
    assert_eq!(opened(&house, &without, &key, &given).await, StatusCode::OK);
    assert_eq!(
        opened(&house, &job, &Key::new(), &given).await,
        StatusCode::UNAUTHORIZED
    );
    token(asked(&house, &job, &key, &[("client_id", JOB)]).await);
    let events = house.events("tokens_granted").await;
    let of_job = events
        .iter()
        .filter(|event| event.to_string().contains(JOB));
    assert_eq!(of_job.count(), 2, "{events:?}");
    let url = house.secure_url("access", "/.well-known/oauth-authorization-server");
    let said: Value = job.get(url).send().await.unwrap().json().await.unwrap();
    let methods = said["token_endpoint_auth_methods_supported"]
        .as_array()
        .unwrap();
    assert!(methods.contains(&"tls_client_auth".into()), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c6_certificates_that_prove_nobody_who_is_trusted_are_refused_and_told_of() {
    let now = SystemClock.now();
    let partner = Authority::new(now).unwrap();
    let house = trusting(&partner).await;
    let key = Key::new();
    let stranger = Authority::new(now).unwrap();
    for (what, own, why) in [
        (
            "a stranger's",
            Some(stranger.workload(JOB).unwrap()),
            "does not lead to the trust bundle",
        ),
        (
            "another job's",
            Some(
                partner
                    .workload("spiffe://partner.example/ns/web/sa/shop")
                    .unwrap(),
            ),
            "does not trust spiffe://partner.example/ns/web/sa/shop",
        ),
        (
            "of the mesh itself",
            Some(
                house
                    .authority
                    .workload("spiffe://demo.wayleave/ns/a/sa/b")
                    .unwrap(),
            ),
            "nobody of the trust domain demo.wayleave",
        ),
        (
            "a host's",
            Some(partner.front_door(&["partner.example"]).unwrap()),
            "URI names",
        ),
        ("none", None, "there is none"),
    ] {
        let (status, answer) = asked(&house, &program(&house, own.as_ref()), &key, &[]).await;
        assert_eq!(
            (status, &answer["error"]),
            (StatusCode::UNAUTHORIZED, &"invalid_client".into()),
            "{what}"
        );
        let told = answer["error_description"].as_str().unwrap();
        assert!(told.contains(why), "{what}: {told}");
    }
    let job = program(&house, Some(&partner.workload(JOB).unwrap()));
    for (name, value, code) in [
        ("client_id", "other", "invalid_client"),
        ("client_secret", "x", "invalid_client"),
        ("client_assertion", "x", "invalid_client"),
        ("resource", "nowhere", "invalid_target"),
        ("resource", "partner", "invalid_grant"),
        ("scope", "all", "invalid_request"),
    ] {
        let (_, answer) = asked(&house, &job, &key, &[(name, value)]).await;
        assert_eq!(answer["error"], code, "{name} {value}: {answer}");
    }
    let events = house.events("exchange_refused").await;
    assert_eq!(events.len(), 11, "{events:?}");
    assert_eq!(events[0]["person"], Value::Null, "{}", events[0]);
    assert_eq!(events[9]["person"]["subject"], JOB, "{}", events[9]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f8_a_workload_ends_with_its_trust_domains_place_in_the_policy() {
    let now = SystemClock.now();
    let partner = Authority::new(now).unwrap();
    let house = trusting(&partner).await;
    let key = Key::new();
    let job = program(&house, Some(&partner.workload(JOB).unwrap()));
    let former = std::sync::OnceLock::new();
    let given = token(asked(&house, &job, &key, &[]).await);
    assert_eq!(opened(&house, &job, &key, &given).await, StatusCode::OK);
    house
        .put_in_force(|text| {
            former.get_or_init(|| text).replacen(
                "partner.example/ns/jobs/*",
                "partner.example/ns/web/*",
                1,
            )
        })
        .await;
    eventually("the session has ended", async || {
        opened(&house, &job, &key, &given).await == StatusCode::UNAUTHORIZED
    })
    .await;
    // The very connection that was good before.
    assert_eq!(
        asked(&house, &job, &key, &[]).await.0,
        StatusCode::UNAUTHORIZED
    );
    house.put_in_force(|_| former.get().unwrap().clone()).await;
    token(asked(&house, &job, &key, &[]).await);
    // Other roots: what the old ones signed proves nobody.
    let (old, new) = (
        partner.mesh_bundle(),
        Authority::new(now).unwrap().mesh_bundle(),
    );
    let [old, new] = [old, new].map(|bundle| Value::from(bundle).to_string());
    house
        .put_in_force(|text| text.replacen(&old, &new, 1))
        .await;
    let (status, answer) = asked(&house, &job, &key, &[]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workload_uses_routes_from_the_command_line() {
    let partner = Authority::new(SystemClock.now()).unwrap();
    let house = trusting(&partner).await;
    let desk = Desk::new();
    let own = partner.workload(JOB).unwrap();
    for (file, text) in [
        ("svid.pem", own.chain.as_str()),
        ("svid.key", &own.key),
        ("root.pem", house.door_root()),
    ] {
        std::fs::write(desk.path(file), text).unwrap();
    }
    let [certificate, key, root] =
        ["svid.pem", "svid.key", "root.pem"].map(|file| desk.path(file).display().to_string());
    let edge = house.secure_url("access", "");
    let token = async |certificate: &str, edge: &str| {
        let arguments = [
            "token",
            "app",
            "--headers",
            "GET",
            "/x",
            "--edge",
            edge,
            "--ca-file",
            &root,
            "--certificate",
            certificate,
            "--key",
            &key,
        ];
        desk.run(&arguments).await
    };
    let headers = token(&certificate, &edge).await.expect_done().out;
    let mut request = program(&house, None).get(house.secure_url("app", "/x"));
    for line in headers.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    let stranger = Authority::new(SystemClock.now())
        .unwrap()
        .workload(JOB)
        .unwrap();
    std::fs::write(desk.path("svid.pem"), &stranger.chain).unwrap();
    std::fs::write(desk.path("svid.key"), &stranger.key).unwrap();
    let refused = token(&certificate, &edge).await;
    assert_eq!(refused.code, Some(3), "{}", refused.err);
    assert!(
        refused.err.contains("trust bundle") && refused.err.contains("client_certificates"),
        "{}",
        refused.err
    );
    let none = token("/nowhere.pem", &edge).await;
    assert_eq!(none.code, Some(1), "{}", none.err);
}
