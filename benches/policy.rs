//! What a decision costs, and what compiling a policy does, as the number of rules grows: `cargo bench --bench policy`.

#![expect(clippy::unwrap_used, reason = "a benchmark has no one to tell")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use wayleave::identity::principal::{Groups, Principal, PrincipalKind};
use wayleave::identity::spiffe_id::TrustDomain;
use wayleave::policy::compile::CompiledPolicy;
use wayleave::policy::decide::Facts;
use wayleave::policy::json::{PolicyJson, from_json};
use wayleave::policy::model::{Policy, Revision};

/// How rules differ from each other.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Each names a route and a group.
    RoutesAndGroups,
    /// Each is about paths of one route, for everyone; the matching one comes last.
    PathsOfOneRoute,
}

/// So many routes at most.
const ROUTES: usize = 1_000;

fn policy(rules: usize, shape: Shape) -> Policy {
    let routes = (0..ROUTES.min(rules)).map(|route| {
        serde_json::json!({
            "name": format!("r{route}"), "host": format!("r{route}.example"),
            "upstream": { "addresses": ["u:1"], "tls": { "server_name": "u" } },
        })
    });
    let rule = |index: usize| match shape {
        Shape::RoutesAndGroups => serde_json::json!({
            "name": format!("rule{index}"), "action": "allow",
            "from": [{ "groups": [format!("group{index}")] }],
            "to": [{ "routes": [format!("r{}", index % ROUTES.min(rules))], "methods": ["GET"] }],
        }),
        Shape::PathsOfOneRoute => serde_json::json!({
            "name": format!("rule{index}"), "action": "allow",
            "from": [{ "signed_in": true }],
            "to": [{ "routes": ["r0"], "paths": [format!("/p{index}")] }],
        }),
    };
    let json = PolicyJson {
        routes: routes.collect(),
        rules: (0..rules).map(rule).collect(),
        ..PolicyJson::default()
    };
    from_json(json).unwrap()
}

fn compiled(policy: Policy) -> CompiledPolicy {
    CompiledPolicy::new(policy, Revision(1), &TrustDomain::parse("td").unwrap()).unwrap()
}

/// Somebody in 200 groups, of which one is the last rule's.
fn person(rules: usize) -> Principal {
    let groups = (0..199).map(|group| Arc::from(format!("other{group}")));
    let last = Arc::from(format!("group{}", rules - 1));
    Principal {
        kind: PrincipalKind::User,
        provider: "okta".into(),
        issuer: "https://okta.example".into(),
        subject: "00u1".into(),
        email: None,
        display_name: None,
        groups: Groups::Known(groups.chain([last]).collect()),
        claims: std::collections::BTreeMap::new(),
        acr: None,
        auth_time: None,
        agents: Vec::new(),
    }
}

fn decide(criterion: &mut Criterion) {
    for shape in [Shape::RoutesAndGroups, Shape::PathsOfOneRoute] {
        let mut group = criterion.benchmark_group(format!("decide {shape:?}"));
        for rules in [10, 1_000, 10_000, 100_000] {
            let policy = compiled(policy(rules, shape));
            let person = person(rules);
            let (route, path) = match shape {
                Shape::RoutesAndGroups => ((rules - 1) % ROUTES.min(rules), "/d/1".to_owned()),
                Shape::PathsOfOneRoute => (0, format!("/p{}", rules - 1)),
            };
            let facts = Facts {
                principal: Some(&person),
                route: &policy.routes()[route],
                method: "GET",
                path: &path,
                now: jiff::Timestamp::UNIX_EPOCH,
                peer: None,
                headers: None,
                grants: &[],
            };
            group.bench_function(BenchmarkId::from_parameter(rules), |bencher| {
                bencher.iter(|| policy.decide(black_box(&facts)));
            });
        }
        group.finish();
    }
}

fn compile(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    for rules in [1_000, 100_000] {
        let policy = policy(rules, Shape::RoutesAndGroups);
        group.bench_function(BenchmarkId::from_parameter(rules), |bencher| {
            bencher.iter(|| compiled(policy.clone()));
        });
    }
    group.finish();
}

criterion_group!(benches, decide, compile);
criterion_main!(benches);
