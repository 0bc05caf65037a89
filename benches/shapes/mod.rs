//! Policies that are decided by in benchmarks, and who asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use wayleave::identity::principal::{Groups, Principal, PrincipalKind};
use wayleave::identity::spiffe_id::TrustDomain;
use wayleave::policy::compile::{CompiledPolicy, CompiledRoute};
use wayleave::policy::decide::Facts;
use wayleave::policy::json::{PolicyJson, from_json};
use wayleave::policy::model::{Policy, Revision};

/// How rules differ from each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// Each names a route and a group.
    RoutesAndGroups,
    /// Each is about paths of one route, for everyone; the matching one comes last.
    PathsOfOneRoute,
}

/// How many rules.
pub(crate) const SIZES: [usize; 4] = [10, 1_000, 10_000, 100_000];

/// So many routes at most.
pub(crate) const ROUTES: usize = 1_000;

pub(crate) fn policy(rules: usize, shape: Shape) -> Policy {
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

pub(crate) fn compiled(policy: Policy) -> CompiledPolicy {
    CompiledPolicy::new(policy, Revision(1), &TrustDomain::parse("td").unwrap()).unwrap()
}

/// Somebody in 200 groups, of which one is the last rule's.
pub(crate) fn person(rules: usize) -> Principal {
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
        claims: BTreeMap::new(),
        acr: None,
        auth_time: None,
        agents: Vec::new(),
    }
}

/// The number of the route and the path that the last rule is about.
pub(crate) fn asked(rules: usize, shape: Shape) -> (usize, String) {
    match shape {
        Shape::RoutesAndGroups => ((rules - 1) % ROUTES.min(rules), "/d/1".to_owned()),
        Shape::PathsOfOneRoute => (0, format!("/p{}", rules - 1)),
    }
}

/// What somebody asks.
pub(crate) fn facts<'a>(
    route: &'a CompiledRoute,
    person: &'a Principal,
    path: &'a str,
) -> Facts<'a> {
    Facts {
        principal: Some(person),
        route,
        method: "GET",
        path,
        now: jiff::Timestamp::UNIX_EPOCH,
        peer: None,
        headers: None,
        grants: &[],
    }
}
