//! Properties of the manifests over random policies and requests, with what Istio makes of them as [`meaning`] has it. That Envoy agrees with
//! [`meaning`] is tried in the integration tests.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use crate::policy::compile::CompiledPolicy;
use crate::policy::decide::Verdict;
use crate::policy::model::{Policy, Rule};
use crate::policy::properties::strategies::{self, rules};
use crate::policy::yaml;

mod cases;
mod meaning;

use cases::{Asked, HOSTS, as_json, asked, compile, export, policy, sayable_rules, unexplained};

const PORT: u16 = 8080;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::policy::properties::cases() / 4))]

    #[test]
    fn j7_the_workload_allows_nothing_that_the_edge_refuses_and_tells_what_it_refuses(rules in prop_oneof![rules(), sayable_rules()], requests in vec(asked(), 1..40), takes_all: bool) {
        let policy = compile(policy(rules, PORT));
        let export = export(&policy, json!({ "keys": [] }), false);
        let manifests = as_json(&export);
        for asked in &requests {
            let Some(mut passage) = asked.pass(&policy, PORT) else { continue };
            passage.seen.takes_all = takes_all;
            let allowed = meaning::is_allowed(&manifests, &passage.seen);
            let wrong = unexplained(&policy, &export, &passage, allowed);
            prop_assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
        }
    }

    #[test]
    fn j7_ztunnel_admits_nobody_whom_no_rule_is_for(rules in prop_oneof![rules(), sayable_rules()], requests in vec(asked(), 1..20)) {
        let policy = compile(policy(rules.clone(), PORT));
        let manifests = as_json(&export(&policy, json!({}), true));
        let text = serde_json::to_string(&manifests).unwrap();
        for layer_7 in ["\"when\"", "\"hosts\"", "\"methods\"", "aths\"", "RequestAuthentication"] {
            prop_assert!(!text.contains(layer_7), "{}", layer_7);
        }
        let alone: Vec<_> = rules
            .into_iter()
            .filter(|rule| rule.when.is_none() && rule.require.is_none())
            .map(|rule| compile(self::policy(vec![Rule { to: None, ..rule }], PORT)))
            .collect();
        for asked in &requests {
            let Some(passage) = asked.pass(&policy, PORT) else { continue };
            if !meaning::is_allowed(&manifests, &passage.seen) {
                continue;
            }
            let is_for = |one: &CompiledPolicy| {
                HOSTS.iter().any(|host| {
                    let elsewhere = Asked { host, path: "/p", ..asked.clone() };
                    let passage = elsewhere.pass(one, PORT);
                    passage.is_some_and(|passage| matches!(passage.verdict, Verdict::Allow { .. }))
                })
            };
            prop_assert!(alone.iter().any(is_for), "{:?}", asked);
        }
    }
}

#[test]
fn ztunnel_admits_whom_a_rule_is_wholly_for() {
    let (sre, people) = (
        "demo.wayleave/ns/people/sa/s.re",
        "demo.wayleave/ns/people/sa/p-*",
    );
    let cases: [(&str, Vec<&str>, Vec<&str>); 10] = [
        (
            "{ name: r, action: allow, from: [{ groups: [sre] }] }",
            vec![sre],
            vec![],
        ),
        (
            "{ name: r, action: allow, from: [{ groups: [sre, ops] }], to: [{ methods: [GET] }] }",
            vec![sre],
            vec![],
        ),
        (
            "{ name: r, action: allow, from: [{ emails: [alice@corp.com] }] }",
            vec![],
            vec![],
        ),
        (
            "{ name: r, action: allow, from: [{ signed_in: true }], to: [{ not_routes: [b] }] }",
            vec![people, sre],
            vec![],
        ),
        (
            "{ name: r, action: allow, from: [{ signed_in: true }], to: [{ routes: [b] }] }",
            vec![],
            vec![],
        ),
        (
            "{ name: r, action: allow, from: [{ signed_in: true }], when: { until: 2027-01-31 } }",
            vec![],
            vec![],
        ),
        (
            "{ name: r, action: allow, mode: shadow, from: [{ signed_in: true }] }",
            vec![],
            vec![],
        ),
        (
            "{ name: d, action: deny, from: [{ groups: [sre] }] }",
            vec![],
            vec![sre],
        ),
        (
            "{ name: d, action: deny, from: [{ groups: [sre] }], to: [{ routes: [a] }] }",
            vec![],
            vec![],
        ),
        (
            "{ name: d, action: deny, from: [{ groups: [sre] }], to: [{ methods: [POST] }] }",
            vec![],
            vec![],
        ),
    ];
    for (rules, allowed, denied) in cases {
        let upstream = "upstream: { addresses: ['u:1'], tls: { server_name: u } }";
        let text = format!(
            "routes: [{{ name: a, host: a, {upstream} }}, {{ name: b, host: b, {upstream} }}]\nrules: [{rules}]"
        );
        let parsed = yaml::parse(&text).unwrap();
        let policy = compile(Policy {
            rules: parsed.rules,
            ..policy(Vec::new(), PORT)
        });
        let manifests = as_json(&export(&policy, json!({}), true));
        let principals = |action: &str| -> Vec<String> {
            let mut found = std::collections::BTreeSet::new();
            for manifest in &manifests {
                let rules = manifest["spec"]["rules"].as_array().into_iter().flatten();
                for rule in rules.filter(|_| manifest["spec"]["action"] == action) {
                    let names = rule["from"][0]["source"]["principals"].as_array().unwrap();
                    found.extend(names.iter().map(|name| name.as_str().unwrap().to_owned()));
                }
            }
            found.into_iter().collect()
        };
        assert_eq!(principals("ALLOW"), allowed, "{rules}");
        assert_eq!(principals("DENY"), denied, "{rules}");
    }
}

/// Or the property above would be about nothing.
#[test]
fn most_of_what_the_edge_allows_is_allowed_at_the_workload() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut both, mut edge_alone, mut neither, mut workload_alone) = (0, 0, 0, 0);
    for _ in 0..300 {
        let mut rules = || sayable_rules().new_tree(&mut runner).unwrap().current();
        let policy = compile(policy(rules(), PORT));
        let export = export(&policy, json!({ "keys": [] }), false);
        let manifests = as_json(&export);
        let requests = vec(asked(), 20..21).new_tree(&mut runner).unwrap();
        for asked in requests.current() {
            let Some(passage) = asked.pass(&policy, PORT) else {
                continue;
            };
            let at_the_edge = matches!(passage.verdict, Verdict::Allow { .. });
            match (at_the_edge, meaning::is_allowed(&manifests, &passage.seen)) {
                (true, true) => both += 1,
                (true, false) => edge_alone += 1,
                (false, true) => workload_alone += 1,
                (false, false) => neither += 1,
            }
        }
    }
    let told = format!("{both} {edge_alone} {neither} {workload_alone}");
    assert!(both > 10 * edge_alone, "{told}");
    assert!(neither > 20 * workload_alone, "{told}");
    assert!(both > 1000 && neither > 1000, "{told}");
}
