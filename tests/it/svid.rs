//! SVIDs in people's own hands: the real command line gets one, a real Envoy with a mind of its own takes it, and whatever nobody may have is refused.

use std::path::Path;
use std::time::Duration;

use http::{Request, StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use serde_json::{Value, json};
use wayleave::clock::{Clock, ManualClock, SystemClock};
use x509_parser::pem::Pem;
use x509_parser::prelude::GeneralName;

use crate::mesh::{payload, write};
use crate::parts::client::Page;
use crate::parts::command::command;
use crate::parts::desk::Desk;
use crate::parts::envoy::Envoy;
use crate::parts::full;
use crate::parts::house::House;
use crate::parts::program::{Program, eventually};
use crate::parts::program_of::{Key, ProgramOf, code, redeem, text};
use crate::parts::served::{Parties, end, gathered_on, stores};
use crate::parts::visitor::Visitor;

/// How Alice's begins; what follows makes it hers alone.
const ALICE: &str = "spiffe://demo.wayleave/ns/people/sa/alice--at--demo.example--";
const WORKLOAD: &str = "spiffe://demo.wayleave/ns/apps/sa/web";

const SRE: &str = "  - name: sre-may-hold-svids\n    action: allow\n    from: [{ groups: [sre] }]\n    to: [{ svids: [x509, jwt] }]\n";
const ALL: &str =
    "  - name: all-may-everything\n    action: allow\n    from: [{ signed_in: true }]\n";

/// Puts rules behind those that there are.
fn add_rules(parties: &Parties, rules: &str) {
    let text = parties.read("policy.yaml");
    std::fs::write(parties.stage.path("policy.new"), format!("{text}{rules}")).unwrap();
    let (new, file) = (
        parties.stage.path("policy.new"),
        parties.stage.path("policy.yaml"),
    );
    std::fs::rename(new, file).unwrap();
}

/// Waits until a command does what is asked.
async fn comes_through(desk: &Desk, arguments: &[&str]) -> String {
    let done = async || desk.run(arguments).await.code == Some(0);
    eventually("the rule is in force", done).await;
    desk.run(arguments).await.expect_done().out
}

/// What Envoy answers curl, by HTTP's status; 0 if there was no answer.
async fn curl(folder: Option<&Path>, port: u16) -> String {
    let mut command = tokio::process::Command::new("curl");
    // An SVID has no host name to look at; that the workload is of the mesh is not what this is about.
    command.args([
        "--disable",
        "-sk",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %header{x-peer}",
    ]);
    if let Some(folder) = folder {
        command.arg("--cert").arg(folder.join("svid.pem"));
        command.arg("--key").arg(folder.join("svid.key"));
    }
    let output = command
        .arg(format!("https://127.0.0.1:{port}/"))
        .output()
        .await
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A sidecar that takes nobody without a certificate of the mesh, and lets one identity through.
async fn sidecar(parties: &Parties, folder: &Path, allowed: &str) -> Envoy {
    let authority = &parties.stage.authority;
    write(folder, "svid", &authority.workload(WORKLOAD).unwrap());
    std::fs::write(folder.join("bundle.pem"), authority.mesh_bundle()).unwrap();
    Envoy::start(folder, allowed, None).await
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The audit log's events of this kind, as text.
async fn told(parties: &Parties, kind: &str) -> String {
    let list = ["list", "--kind", kind, "--json"];
    command(parties, "audit", &list).await.expect_done().out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_get_their_own_svid_and_pass_an_envoy_that_knows_them() {
    for store in stores().await {
        let parties = gathered_on(&store).await;
        let edge = parties.serve().await;
        let (desk, mut alice) = (Desk::new(), Visitor::new());
        let home = parties.at("access");
        desk.sign_in(&mut alice, "alice", &["--edge", &home])
            .await
            .expect_done();
        let folder = desk.path("mine");
        let get = ["svid", folder.to_str().unwrap()];

        // No rule that allows everything gives one.
        add_rules(&parties, ALL);
        let payroll = ["curl", "payroll", "--", "-sf", "-X", "POST"];
        comes_through(&desk, &payroll).await;
        let refused = desk.run(&get).await;
        assert_eq!(refused.code, Some(4), "{}", refused.err);
        assert!(
            refused.err.contains("No access rule allows it"),
            "{}",
            refused.err
        );
        assert!(refused.err.contains("names `svids`"), "{}", refused.err);
        assert!(!folder.join("svid.key").exists(), "a key for nothing");
        let token = desk.run(&["svid", "--jwt", "vault"]).await;
        assert_eq!(token.code, Some(4), "{}", token.err);
        let event = told(&parties, "svid_refused").await;
        assert!(event.contains("not_allowed"), "{event}");

        add_rules(&parties, SRE);
        let said = comes_through(&desk, &get).await;
        assert!(said.contains(ALICE), "{said}");
        for name in ["svid.key", "svid.pem", "bundle.pem"] {
            assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
        }
        assert_eq!(mode(&folder), 0o700);
        let bundle = std::fs::read_to_string(folder.join("bundle.pem")).unwrap();
        assert_eq!(bundle.trim(), parties.stage.authority.mesh_bundle().trim());

        let me = desk
            .run(&["whoami", "--output", "json"])
            .await
            .expect_done()
            .json();
        let own = me["mesh_identity"].as_str().unwrap();
        let (at_one, at_other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let one = sidecar(&parties, at_one.path(), own).await;
        let bob = own.replace("alice", "bob");
        let other = sidecar(&parties, at_other.path(), &bob).await;
        assert_eq!(curl(Some(&folder), one.port).await, format!("200 {own}"));
        assert!(curl(Some(&folder), other.port).await.starts_with("403"));
        assert!(
            curl(None, one.port).await.starts_with("000"),
            "without a certificate"
        );

        // The same key again, until another one is asked for.
        let key = || std::fs::read(folder.join("svid.key")).unwrap();
        let before = key();
        desk.run(&get).await.expect_done();
        assert_eq!(key(), before);
        desk.run(&["svid", get[1], "--new-key"]).await.expect_done();
        assert_ne!(key(), before);
        assert_eq!(curl(Some(&folder), one.port).await, format!("200 {own}"));

        let event = told(&parties, "svid_issued").await;
        for part in [ALICE, "sre-may-hold-svids", "thumbprint", "expires_at"] {
            assert!(event.contains(part), "{event}");
        }
        let explained = ["--as", "bob@demo.example", "SVID", "x509"];
        let nobody = command(&parties, "explain", &explained).await;
        assert_eq!(nobody.code, Some(1), "{} {}", nobody.out, nobody.err);
        let explained = [
            "--as",
            "bob",
            "--provider",
            "demo",
            "--group",
            "staff",
            "SVID",
            "x509",
        ];
        let said = command(&parties, "explain", &explained)
            .await
            .expect_done()
            .out;
        assert!(said.contains("no rule allows it"), "{said}");
        assert!(said.contains("sre-may-hold-svids (allow): "), "{said}");
        assert!(!said.contains("all-may-everything"), "{said}");

        // The session ends: no more of it.
        desk.run(&["logout"]).await.expect_done();
        let over = desk.run(&get).await;
        assert_eq!(over.code, Some(3), "{}", over.err);
        end(edge).await;
        parties.leave().await;
    }
}

/// The moment so many seconds from now.
fn in_seconds(seconds: u64) -> String {
    SystemClock
        .now()
        .plus(Duration::from_secs(seconds))
        .rfc3339()
}

fn until(moment: &str) -> String {
    format!("{SRE}    when: {{ until: \"{moment}\" }}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_watches_has_a_good_svid_until_the_session_ends() {
    let parties = Parties::gather().await;
    let edge = parties.serve().await;
    let (desk, mut alice) = (Desk::new(), Visitor::new());
    let home = parties.at("access");
    desk.sign_in(&mut alice, "alice", &["--edge", &home])
        .await
        .expect_done();
    let folder = desk.path("mine");
    let get = ["svid", folder.to_str().unwrap()];
    // An end of the rule is an end of what it gives.
    let first = in_seconds(38);
    add_rules(&parties, &until(&first));
    comes_through(&desk, &get).await;
    let read = || {
        let pem = std::fs::read(folder.join("svid.pem")).unwrap();
        let leaf = Pem::iter_from_buffer(&pem).next().unwrap().unwrap();
        let leaf = leaf.parse_x509().unwrap().validity().not_after.timestamp();
        (leaf, std::fs::read(folder.join("svid.key")).unwrap())
    };
    let ends = first.parse::<jiff::Timestamp>().unwrap().as_second();
    assert!(read().0 <= ends, "{} {ends}", read().0);

    let mut watching = desk.start(&[get[0], get[1], "--watch", "--output", "json"]);
    watching.says("expires_at").await;
    let (before, key) = read();
    let later = in_seconds(70);
    parties.edit("policy.yaml", &first, &later);
    let renewed = async || read().0 > before;
    eventually("another one at half of its life", renewed).await;
    assert_eq!(read().1, key, "a reader never finds it beside another key");
    assert_eq!(watching.out().lines().count(), 2, "{}", watching.out());
    let out = alice.open(&format!("{home}/.wayleave/sign-out")).await;
    alice.submit(&out, &[]).await;
    let code = over(&mut watching).await;
    assert_eq!(code, Some(3), "{}", watching.err());
    end(edge).await;
    parties.leave().await;
}

/// Waits for twice as long as it may take until the next renewal is tried.
async fn over(watching: &mut Program) -> Option<i32> {
    eventually("what was given is old", async || watching_is_near(watching)).await;
    watching.ended().await.code()
}

fn watching_is_near(watching: &Program) -> bool {
    let out = watching.out();
    let last: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    let ends = last["expires_at"]
        .as_str()
        .unwrap()
        .parse::<jiff::Timestamp>();
    ends.unwrap().as_second() - SystemClock.now().seconds() < 45
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_what_somebody_approved_of_is_given_for_that_time_and_no_longer() {
    let parties = Parties::gather().await;
    let approval = "  - name: staff-may-ask\n    action: allow\n    from: [{ groups: [staff] }]\n    to: [{ svids: [x509] }]\n    require: { approval: { from: [{ groups: [sre] }], at_most: 10m } }\n";
    add_rules(&parties, approval);
    let edge = parties.serve().await;
    let (desk, chief) = (Desk::new(), Desk::new());
    let home = parties.at("access");
    for (desk, who) in [(&desk, "bob"), (&chief, "alice")] {
        let mut visitor = Visitor::new();
        desk.sign_in(&mut visitor, who, &["--edge", &home])
            .await
            .expect_done();
    }
    let folder = desk.path("mine");
    let get = ["svid", folder.to_str().unwrap(), "--output", "json"];
    let refused = desk.run(&get).await;
    assert_eq!(refused.code, Some(4), "{}", refused.err);
    assert!(
        refused.err.contains("wayleave request --svid x509"),
        "{}",
        refused.err
    );
    let ask = [
        "request",
        "--svid",
        "x509",
        "-m",
        "a tool of mine",
        "--for",
        "2m",
        "--no-wait",
    ];
    desk.run(&[ask.as_slice(), &["--output", "json"]].concat())
        .await
        .expect_done();
    let listed = chief.run(&["access", "list", "--output", "json"]).await;
    let listed = listed.expect_done().out;
    let id = listed
        .split("\"id\": \"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    chief.run(&["access", "approve", &id]).await.expect_done();
    let granted = SystemClock.now().plus(Duration::from_secs(120)).seconds();
    let said = comes_through(&desk, &get).await;
    let said: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let ends = said["expires_at"]
        .as_str()
        .unwrap()
        .parse::<jiff::Timestamp>()
        .unwrap();
    assert!(ends.as_second() <= granted, "{ends}");
    end(edge).await;
    parties.leave().await;
}

/// Asks for an SVID as a program of somebody, whatever is sent.
async fn post(house: &House, person: &ProgramOf, kind: &str, body: &Value) -> Page {
    person.ask_for_svid(house, kind, body).await
}

/// What somebody is called in the mesh.
async fn spiffe_id(house: &House, person: &ProgramOf) -> String {
    let given = post(house, person, "jwt", &json!({ "audience": "x" })).await;
    given.json()["spiffe_id"].as_str().unwrap().to_owned()
}

async fn house_with_svids(store: &str) -> House {
    let house = House::start_on(store).await;
    house.put_in_force(|text| text + SRE).await;
    house
}

fn csr(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    change(&mut params);
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn p256() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c6_whatever_a_request_asks_for_the_svid_says_who_it_is_and_no_more() {
    for store in stores().await {
        let house = house_with_svids(&store).await;
        let alice = ProgramOf::let_in(&house, "alice").await;
        let own = spiffe_id(&house, &alice).await;
        let bob = own.replace("alice", "bob");
        let names =
            |params: &mut CertificateParams, names: Vec<SanType>| params.subject_alt_names = names;
        let hostile = [
            csr(&p256(), |params| names(params, vec![uri(&bob)])),
            csr(&p256(), |params| names(params, vec![uri(&own), uri(&bob)])),
            csr(&p256(), |params| {
                names(
                    params,
                    vec![
                        uri(&own),
                        SanType::DnsName("app.localhost".try_into().unwrap()),
                    ],
                )
            }),
            csr(&p256(), |params| {
                params.distinguished_name.push(DnType::CommonName, "alice")
            }),
            csr(&p256(), |params| {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)
            }),
            csr(&p256(), |params| {
                params.key_usages = vec![KeyUsagePurpose::KeyCertSign]
            }),
            csr(
                &KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap(),
                |_| (),
            ),
            csr(
                &KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
                |_| (),
            ),
            csr(&p256(), |_| ()).replace("A", "B"),
            String::new(),
            "-----BEGIN CERTIFICATE REQUEST-----\n".repeat(200),
        ];
        for csr in &hostile {
            let page = post(&house, &alice, "x509", &json!({ "csr": csr })).await;
            assert_eq!(
                page.status,
                StatusCode::BAD_REQUEST,
                "{csr} {}",
                page.text()
            );
        }
        let refused = house.events("svid_refused").await;
        assert_eq!(refused.len(), hostile.len(), "{refused:?}");
        assert_eq!(
            house.events("svid_issued").await.len(),
            1,
            "what told who she is"
        );

        for change in [vec![], vec![uri(&own)]] {
            let key = p256();
            let body = json!({ "csr": csr(&key, |params| names(params, change)) });
            let given = post(&house, &alice, "x509", &body).await;
            assert_eq!(given.status, StatusCode::OK, "{}", given.text());
            let text = given.json()["svid"].as_str().unwrap().to_owned();
            let pems: Vec<Pem> = Pem::iter_from_buffer(text.as_bytes())
                .map(Result::unwrap)
                .collect();
            assert_eq!(pems.len(), 2, "leaf and intermediate");
            let leaf = pems[0].parse_x509().unwrap();
            let san = leaf.subject_alternative_name().unwrap().unwrap();
            assert_eq!(
                san.value.general_names,
                vec![GeneralName::URI(own.as_str())]
            );
            assert!(!leaf.is_ca() && leaf.subject().iter_rdn().next().is_none());
            let usage = leaf.key_usage().unwrap().unwrap().value;
            assert!(usage.digital_signature() && !usage.key_cert_sign());
            let extended = leaf.extended_key_usage().unwrap().unwrap().value;
            assert!(extended.client_auth && !extended.server_auth);
            let info = rcgen::PublicKeyData::subject_public_key_info(&key);
            assert_eq!(leaf.public_key().raw, info);
            let lives = leaf.validity().not_after.timestamp() - SystemClock.now().seconds();
            assert!((60..=15 * 60).contains(&lives), "{lives}");
            let event = house.events("svid_issued").await.pop().unwrap();
            let serial = leaf.serial.to_bytes_be();
            assert_eq!(
                event["id"],
                hex::encode(serial),
                "the log names the certificate"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f4_a_jwt_svid_is_for_one_audience_which_is_never_ours() {
    let house = house_with_svids("sqlite://wayleave.db").await;
    let alice = ProgramOf::let_in(&house, "alice").await;
    let home = house.url("access", "");
    for ours in [
        &*home,
        "app.localhost",
        "https://public.localhost/x",
        "wayleave-audit",
        "",
        "a b",
    ] {
        let page = post(&house, &alice, "jwt", &json!({ "audience": ours })).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{ours}");
    }
    let list = post(
        &house,
        &alice,
        "jwt",
        &json!({ "audience": ["vault", "x"] }),
    )
    .await;
    assert_eq!(list.status, StatusCode::BAD_REQUEST);
    let given = post(&house, &alice, "jwt", &json!({ "audience": "vault" })).await;
    assert_eq!(given.status, StatusCode::OK, "{}", given.text());
    let token = given.json()["svid"].as_str().unwrap().to_owned();

    // As somebody verifies it who has nothing but the published keys.
    for (path, usage) in [
        ("/.wayleave/jwks.json", "sig"),
        ("/.wayleave/spiffe-bundle.json", "jwt-svid"),
    ] {
        let request = Request::get(house.url("access", path)).body(crate::parts::empty());
        let keys = house.send(request.unwrap()).await.json();
        let key = &keys["keys"][0];
        assert_eq!(key["use"], usage);
        let part = |name: &str| key[name].as_str().unwrap();
        let key = DecodingKey::from_ec_components(part("x"), part("y")).unwrap();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&["vault"]);
        validation.set_required_spec_claims(&["exp", "aud", "sub"]);
        let read = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
        assert_eq!(read.claims["sub"], given.json()["spiffe_id"]);
    }
    let claims = payload(&token);
    assert!(claims["exp"].as_i64().unwrap() <= SystemClock.now().seconds() + 300);
    assert_eq!(claims.get("iss"), None);

    // It opens nothing of ours.
    for url in [
        house.url("app", "/x"),
        house.url("access", "/.wayleave/api/v1/me"),
    ] {
        for scheme in ["Bearer", "DPoP"] {
            let proof = alice.key.proof("GET", &url, Some(&token));
            let page = crate::parts::program_of::with(
                &house,
                &url,
                &format!("{scheme} {token}"),
                Some(&proof),
            )
            .await;
            assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{scheme} {url}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l6_svids_are_for_those_who_prove_a_key_and_not_too_many_of_them() {
    let allowing = |text: String| format!("{text}\n[tokens]\nallow_unbound = true\n");
    // Time stands still, so that nothing is given back meanwhile.
    let clock = std::sync::Arc::new(ManualClock::new(SystemClock.now()));
    let house = House::start_as("sqlite://wayleave.db", clock.clone(), allowing).await;
    let key = || Key::at(clock.clone());
    house.put_in_force(|text| text + SRE).await;
    let url = house.url("access", "/.wayleave/api/v1/svids/x509");
    let body = || json!({ "csr": csr(&p256(), |_| ()) });
    let bare = Request::post(&url).header("content-type", "application/json");
    let page = house
        .send(bare.body(full(body().to_string())).unwrap())
        .await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);

    // A token for a route is none for the home host; a session's cookie counts for nothing.
    let alice = ProgramOf::with_key(&house, "alice", key()).await;
    let of_route = ProgramOf {
        home_token: alice.token_for(&house, "app").await,
        refresh_token: String::new(),
        key: key(),
        browser: house.browser(),
    };
    let page = post(&house, &of_route, "x509", &body()).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);

    // Nor does a token that is bound to no key, though this edge gives some.
    let mut browser = house.signed_in("alice").await;
    let code = code(&house, &mut browser).await;
    let unbound = text(&redeem(&house, None, &code).await, "access_token");
    let request = Request::post(&url)
        .header("authorization", format!("Bearer {unbound}"))
        .header("content-type", "application/json");
    let page = house
        .send(request.body(full(body().to_string())).unwrap())
        .await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(
        page.text().contains("bound_token_required"),
        "{}",
        page.text()
    );

    let mut outcomes = Vec::new();
    for _ in 0..40 {
        outcomes.push(post(&house, &alice, "x509", &body()).await.status);
    }
    let given = outcomes
        .iter()
        .filter(|status| **status == StatusCode::OK)
        .count();
    assert_eq!(given, 29, "the one that was refused counts as well");
    assert_eq!(outcomes.last(), Some(&StatusCode::TOO_MANY_REQUESTS));
    // Whoever comes from a browser of hers has the same allowance.
    let again = ProgramOf::with_key(&house, "alice", key()).await;
    assert_eq!(
        post(&house, &again, "jwt", &json!({ "audience": "x" }))
            .await
            .status,
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(house.events("svid_issued").await.len(), given);
}
