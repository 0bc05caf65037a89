//! Exported manifests: that a real Envoy, set up as istiod would, takes them for what they are meant to say, and that the command exports and compares them.

use std::sync::Arc;

use http::Request;
use http_body_util::BodyExt;
use proptest::collection::vec;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tokio::task::LocalSet;
use wayleave::clock::{Clock, SystemClock};
use wayleave::config::checked::StoreConfig;
use wayleave::demo::authority::Authority;
use wayleave::edge::body::EdgeBody;
use wayleave::edge::upstream::pools::Pools;
use wayleave::identity::spiffe_id::MeshIdentity;
use wayleave::policy::compile::CompiledPolicy;
use wayleave::policy::decide::Verdict;
use wayleave::policy::istio::WorkloadExport;
use wayleave::policy::model::UpstreamProtocol;
use wayleave::secret::{Sealer, random};
use wayleave::store::Store;
use wayleave::token::assertion::Minter;

use crate::mesh::{pools, route, write};
use crate::parts::command::command;
use crate::parts::envoy::Envoy;
use crate::parts::istiod::{jwt_authn, rbac};
use crate::parts::program::free_ports;
use crate::parts::served::{Parties, end};

#[path = "../../src/policy/istio/properties/cases.rs"]
mod cases;
#[path = "../../src/policy/istio/properties/meaning.rs"]
mod meaning;
#[path = "../../src/policy/properties/strategies.rs"]
#[expect(dead_code, reason = "the unit tests need more of it")]
pub(crate) mod strategies;

use cases::{Asked, as_json, asked, sayable_rules, unexplained};

const WORKLOAD: &str = "spiffe://demo.wayleave/ns/apps/sa/web";

/// How many random policies are tried; `make differential` wants many more.
#[expect(
    clippy::disallowed_methods,
    reason = "the tests have no other configuration"
)]
fn policies() -> usize {
    let wanted = std::env::var("WAYLEAVE_TEST_ENVOY_POLICIES");
    wanted.map_or(60, |wanted| wanted.parse().unwrap())
}

/// Policies of one Envoy: with more it takes long to start.
const AT_ONCE: usize = 60;
/// Requests for each policy.
const REQUESTS: usize = 30;

/// A policy, its manifests, and what is asked of both.
struct Case {
    policy: CompiledPolicy,
    export: WorkloadExport,
    manifests: Vec<Value>,
    requests: Vec<Asked>,
}

fn case(runner: &mut TestRunner, port: u16, jwks: &Value) -> Case {
    let either = proptest::prop_oneof![3 => sayable_rules(), 1 => strategies::rules()];
    let rules = either.new_tree(runner).unwrap().current();
    let policy = cases::compile(cases::policy(rules, port));
    let export = cases::export(&policy, jwks.clone(), false);
    let requests = vec(asked(), REQUESTS).new_tree(runner).unwrap().current();
    Case {
        manifests: as_json(&export),
        policy,
        export,
        requests,
    }
}

/// Envoy's routes: by number of the case, each with filters of its own.
fn listener(port: u16, cases: &[Case]) -> Value {
    let kind = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.{name}");
    let rbac_kind = kind("http.rbac.v3.RBAC");
    let routes: Vec<Value> = cases
        .iter()
        .enumerate()
        .map(|(number, case)| {
            let per_route = |action| {
                let rules = rbac(&case.manifests, action);
                let rbac = rules.map_or(json!({}), |rules| json!({ "rules": rules }));
                json!({ "@type": kind("http.rbac.v3.RBACPerRoute"), "rbac": rbac })
            };
            let number = json!({ "exact": number.to_string() });
            json!({
                "match": { "prefix": "/", "headers": [{ "name": "x-case", "string_match": number }] },
                "direct_response": { "status": 200 },
                "typed_per_filter_config": { "deny": per_route("DENY"), "allow": per_route("ALLOW") },
            })
        })
        .collect();
    let filters = json!([
        { "name": "jwt", "typed_config": jwt_authn(&cases[0].manifests) },
        { "name": "deny", "typed_config": { "@type": rbac_kind } },
        { "name": "allow", "typed_config": { "@type": rbac_kind } },
        { "name": "router", "typed_config": { "@type": kind("http.router.v3.Router") } },
    ]);
    let manager = json!({
        "@type": kind("network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "in",
        "normalize_path": true,
        "http_filters": filters,
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] },
    });
    json!({ "name": "inbound", "port": port, "manager": manager })
}

struct Stage {
    folder: tempfile::TempDir,
    minter: Arc<Minter>,
    pools: Pools<EdgeBody>,
}

impl Stage {
    async fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock);
        let config = StoreConfig {
            url: format!("sqlite://{}/store.db", folder.path().display()).into(),
            key: Arc::new(Sealer::new(&random())),
            connections: 2,
        };
        let store = Store::open(&config, clock.clone()).await.unwrap();
        let minter = Minter::load(&store, clock.clone(), cases::ISSUER.to_owned());
        let authority = Authority::new(clock.now()).unwrap();
        write(
            folder.path(),
            "svid",
            &authority.workload(WORKLOAD).unwrap(),
        );
        std::fs::write(folder.path().join("bundle.pem"), authority.mesh_bundle()).unwrap();
        Self {
            pools: pools(folder.path(), &authority, ""),
            minter: minter.await.unwrap(),
            folder,
        }
    }

    /// Sends what the edge would; the status.
    async fn send(&self, asked: &Asked, seen: &meaning::Seen, case: usize) -> u16 {
        let identity = MeshIdentity::parse(&format!("spiffe://{}", seen.principal)).unwrap();
        let svid = self.pools.svid(&identity).unwrap();
        let protocol = match case % 2 {
            0 => UpstreamProtocol::Http1,
            _ => UpstreamProtocol::Http2,
        };
        let mut request = Request::builder()
            .method(asked.method)
            .uri(&seen.path)
            .header("host", &seen.host)
            .header("x-case", case.to_string());
        if let Some(principal) = &asked.principal {
            let assertion = self
                .minter
                .mint(principal, &asked.origin().to_string(), &svid, None);
            request = request.header("wayleave-jwt-assertion", assertion.value);
        }
        let request = request.body(EdgeBody::Empty).unwrap();
        let to = route(seen.port, protocol, WORKLOAD);
        let sent = self
            .pools
            .exchange(&svid, &to, Box::new(request))
            .await
            .unwrap();
        let status = sent.response.status().as_u16();
        sent.response.into_body().collect().await.unwrap();
        status
    }
}

#[derive(Default)]
struct Tally {
    allowed: usize,
    refused: usize,
    /// The edge decided otherwise, and a note says why.
    differences: usize,
}

/// Asks one Envoy and the edge about so many policies.
async fn compare(stage: &Stage, runner: &mut TestRunner, policies: usize, tally: &mut Tally) {
    let [port] = free_ports();
    let jwks = stage.minter.jwks();
    let cases: Vec<Case> = (0..policies).map(|_| case(runner, port, &jwks)).collect();
    let _envoy = Envoy::start_as(stage.folder.path(), &[listener(port, &cases)]).await;
    for (number, case) in cases.iter().enumerate() {
        for asked in &case.requests {
            let Some(passage) = asked.pass(&case.policy, port) else {
                continue;
            };
            let status = stage.send(asked, &passage.seen, number).await;
            assert!(matches!(status, 200 | 403), "{status}: {asked:?}");
            let is_allowed = status == 200;
            let meant = meaning::is_allowed(&case.manifests, &passage.seen);
            let text = || case.export.text("The manifests");
            assert_eq!(is_allowed, meant, "{:?}\n{}", passage.seen, text());
            let wrong = unexplained(&case.policy, &case.export, &passage, is_allowed);
            assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
            *if is_allowed {
                &mut tally.allowed
            } else {
                &mut tally.refused
            } += 1;
            let at_the_edge = matches!(passage.verdict, Verdict::Allow { .. });
            tally.differences += usize::from(at_the_edge != is_allowed);
        }
    }
}

#[tokio::test]
async fn j7_envoy_decides_by_the_manifests_as_the_edge_does_by_the_policy() {
    let test = async {
        let stage = Stage::set().await;
        let mut runner = TestRunner::default();
        let mut tally = Tally::default();
        let mut left = policies();
        while left > 0 {
            let together = left.min(AT_ONCE);
            left -= together;
            compare(&stage, &mut runner, together, &mut tally).await;
        }
        let Tally {
            allowed,
            refused,
            differences,
        } = tally;
        let told = format!("{allowed} allowed, {refused} refused, {differences} told by a note");
        assert!(allowed > policies() && refused > policies(), "{told}");
        println!("{told}");
    };
    LocalSet::new().run_until(test).await;
}

/// The four ways in which Istio's mesh configuration can have Envoy tidy up paths.
fn normalisation_modes() -> [Value; 4] {
    [
        json!({}),
        json!({ "normalize_path": true }),
        json!({ "normalize_path": true, "merge_slashes": true }),
        json!({
            "normalize_path": true,
            "merge_slashes": true,
            "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
        }),
    ]
}

/// Every path that a byte, as it is or encoded, makes in some place, and that the edge lets through.
fn paths_of_the_edge() -> Vec<String> {
    let encoded = (0..=255u8).map(|byte| format!("%{byte:02X}"));
    let parts = (0x21..0x7fu8).map(|byte| char::from(byte).to_string());
    let parts = parts.chain(encoded).chain([
        "%C3%A9".to_owned(),
        "%E2%80%A8".to_owned(),
        "...".to_owned(),
        "%3B".to_owned(),
    ]);
    let paths = parts.flat_map(|part| {
        [
            format!("/{part}"),
            format!("/a{part}b/c"),
            format!("/a/{part}"),
            format!("/a/{part}/"),
            format!("/{part}{part}/x"),
        ]
    });
    paths
        .filter(|path| wayleave::address::path::examine_path(path).is_ok())
        .collect()
}

#[tokio::test]
async fn b13_paths_that_pass_the_edge_read_the_same_in_every_mode_of_istio() {
    let test = async {
        let stage = Stage::set().await;
        let ports: [u16; 4] = free_ports();
        let kind = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.{name}");
        let header = json!({ "header": { "key": "x-path", "value": "%REQ(:path)%" } });
        let route = json!({
            "match": { "prefix": "/" },
            "direct_response": { "status": 200 },
            "response_headers_to_add": [header],
        });
        let listeners: Vec<Value> = normalisation_modes()
            .into_iter()
            .zip(ports)
            .map(|(mode, port)| {
                let mut manager = json!({
                    "@type": kind("network.http_connection_manager.v3.HttpConnectionManager"),
                    "stat_prefix": "in",
                    "http_filters": [{ "name": "router", "typed_config": { "@type": kind("http.router.v3.Router") } }],
                    "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
                });
                let own = mode.as_object().unwrap().clone();
                manager.as_object_mut().unwrap().extend(own);
                json!({ "name": format!("mode-{port}"), "port": port, "manager": manager })
            })
            .collect();
        let _envoy = Envoy::start_as(stage.folder.path(), &listeners).await;
        let identity = MeshIdentity::parse("spiffe://demo.wayleave/ns/people/sa/a").unwrap();
        let svid = stage.pools.svid(&identity).unwrap();
        let paths = paths_of_the_edge();
        assert!(paths.len() > 400, "{}", paths.len());
        for port in ports {
            let to = crate::mesh::route(port, UpstreamProtocol::Http1, WORKLOAD);
            for path in &paths {
                let request = Request::builder().uri(path).header("host", "a.example");
                let request = request.body(EdgeBody::Empty).unwrap();
                let sent = stage
                    .pools
                    .exchange(&svid, &to, Box::new(request))
                    .await
                    .unwrap();
                let seen = sent.response.headers().get("x-path");
                assert_eq!(seen.map(|seen| seen.as_bytes()), Some(path.as_bytes()));
                sent.response.into_body().collect().await.unwrap();
            }
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manifests_are_exported_and_what_differs_is_told() {
    let parties = Parties::gather().await;
    let edge = parties.serve().await;
    let folder = parties.stage.path("istio");
    let folder = folder.to_str().unwrap();
    let export = async |more: &[&str]| {
        let arguments = [&["export", "--format", "istio"][..], more].concat();
        command(&parties, "policy", &arguments).await
    };
    let printed = export(&[]).await.expect_done();
    for words in [
        "kind: RequestAuthentication",
        "kind: AuthorizationPolicy",
        "forwardOriginalToken: true",
        "wayleave-jwt-assertion",
        "demo.wayleave/ns/people/sa/*",
    ] {
        assert!(printed.out.contains(words), "{words} in {}", printed.out);
    }
    assert!(printed.err.contains("--selector"), "{}", printed.err);

    let nothing = export(&["--check", folder]).await;
    assert_eq!(nothing.code, Some(1), "no such folder: {}", nothing.err);
    export(&["--out", folder]).await.expect_done();
    export(&["--check", folder]).await.expect_done();
    let files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(files.len() >= 2, "{files:?}");
    let file = files
        .iter()
        .find(|file| file.to_str().unwrap().contains("payroll"));
    let file = file.unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, text.replacen("- GET", "- PUT", 1)).unwrap();
    let differs = export(&["--check", folder]).await;
    assert_eq!(differs.code, Some(6), "{} {}", differs.out, differs.err);
    assert!(differs.out.contains("methods"), "{}", differs.out);
    let as_json = export(&["--check", folder, "--json"]).await;
    assert_eq!(as_json.code, Some(6));
    let as_json = as_json.json();
    assert_eq!(
        as_json["differences"].as_array().unwrap().len(),
        1,
        "{as_json}"
    );
    std::fs::remove_file(file).unwrap();
    let missing = export(&["--check", folder]).await;
    assert_eq!(missing.code, Some(6));
    assert!(missing.out.contains("is missing"), "{}", missing.out);

    // Labels and ports that are said, and a slip of the pen.
    let workload = file
        .file_stem()
        .unwrap()
        .to_str()
        .unwrap()
        .replace('.', "/");
    let selector = format!("{workload}=app.kubernetes.io/name:board,tier:front");
    let said = export(&["--selector", &selector]).await.expect_done();
    assert!(
        said.out.contains("app.kubernetes.io/name: board"),
        "{}",
        said.out
    );
    for (arguments, words) in [
        (["--selector", "nowhere/web=app:web"], "no route leads to"),
        (["--selector", "web=app:web"], "NAMESPACE/SERVICE-ACCOUNT"),
        (["--target-port", "a/b=80"], "PORT:TARGET"),
    ] {
        let refused = export(&arguments).await;
        assert_ne!(refused.code, Some(0), "{arguments:?}");
        assert!(refused.err.contains(words), "{words}: {}", refused.err);
    }
    let ambient = export(&["--ambient"]).await.expect_done();
    for words in [
        "when:",
        "paths:",
        "methods:",
        "hosts:",
        "RequestAuthentication",
    ] {
        assert!(!ambient.out.contains(words), "{words} in {}", ambient.out);
    }
    let unknown = export(&["--revision", "99"]).await;
    assert!(
        unknown.err.contains("there is no revision 99"),
        "{}",
        unknown.err
    );
    let useless = command(&parties, "policy", &["export", "--ambient"]).await;
    assert!(useless.err.contains("--format istio"), "{}", useless.err);
    end(edge).await;
    parties.leave().await;
}

#[tokio::test]
async fn f10_no_kept_claim_takes_the_place_of_one_of_the_assertions_own() {
    let test = async {
        let stage = Stage::set().await;
        let identity = MeshIdentity::parse("spiffe://demo.wayleave/ns/people/sa/a").unwrap();
        let svid = stage.pools.svid(&identity).unwrap();
        let mut runner = TestRunner::deterministic();
        let principal = loop {
            let tree = strategies::principal().new_tree(&mut runner).unwrap();
            if let Some(principal) = tree.current() {
                break principal;
            }
        };
        let names = [
            "iss",
            "sub",
            "aud",
            "exp",
            "iat",
            "jti",
            "groups",
            "email",
            "provider",
            "cnf",
            "mesh_identity",
        ];
        let forged = names.map(|name| (name.into(), vec!["forged".into()]));
        let with_claims = wayleave::identity::principal::Principal {
            claims: forged.into(),
            ..principal.clone()
        };
        let claims = |principal| {
            let minted = stage
                .minter
                .mint(principal, "https://a.example", &svid, None);
            let payload = crate::mesh::payload(minted.value.to_str().unwrap());
            let mut payload = payload.as_object().unwrap().clone();
            for varies in ["jti", "iat", "exp"] {
                assert!(
                    payload
                        .remove(varies)
                        .is_some_and(|value| value != "forged")
                );
            }
            payload
        };
        assert_eq!(claims(&with_claims), claims(&principal));
    };
    LocalSet::new().run_until(test).await;
}
