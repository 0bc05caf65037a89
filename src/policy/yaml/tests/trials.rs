//! Tests that stand in policies, read and run.

use crate::identity::spiffe_id::TrustDomain;
use crate::policy::check::Known;
use crate::policy::compile::CompiledPolicy;
use crate::policy::json::{from_json, to_json};
use crate::policy::model::Revision;
use crate::policy::yaml::{PolicyFault, parse};

/// What comes of a policy's own tests.
fn try_out(text: &str) -> Vec<PolicyFault> {
    let policy = parse(text).unwrap();
    assert_eq!(from_json(to_json(&policy)).unwrap(), policy);
    let own = TrustDomain::parse("td").unwrap();
    CompiledPolicy::new(policy, Revision(1), &own)
        .unwrap()
        .try_out(&Known::default())
}

pub(super) const APPROVED: &str = r#"
routes:
  - { name: a, host: a.example, upstream: { addresses: ['u:1'], tls: { server_name: u } } }
people: [{ name: leads, from: [{ groups: [sre-leads] }] }]
mappings: [{ name: all, from: [{ signed_in: true }], spiffe_id: "spiffe://{trust_domain}/ns/people/sa/all" }]
rules:
  - name: r
    action: allow
    from: [{ groups: [sre] }]
    require:
      acr: mfa
      approval: { from: [{ people: [leads] }, { emails: ["cto@corp.example"] }], at_most: 4h, break_glass: true }
  - { name: s, action: allow, from: [{ groups: [ops] }], require: { approval: { from: [], at_most: 30days } } }
tests:
  - { name: asked, as: { provider: okta, email: a@corp.example, groups: [sre], acr: mfa }, request: GET a /, expect: ask }
  - { name: first, as: { provider: okta, email: a@corp.example, groups: [sre] }, request: GET a /, expect: step_up }
  - { name: there, as: { provider: okta, email: a@corp.example, groups: [sre], acr: mfa }, request: GET a /, granted: [r], expect: allow }
  - { name: other, as: { provider: okta, email: a@corp.example, groups: [sre], acr: mfa }, request: GET a /, granted: [s], expect: ask }
  - { name: who, as: { provider: okta, email: a@corp.example, groups: [x] }, request: GET a /, granted: [r, s], expect: deny }
"#;

#[test]
fn approvals_are_read_written_and_tried_out() {
    let policy = parse(APPROVED).unwrap();
    let approval = policy.rules[0].approval.as_ref().unwrap();
    assert_eq!(approval.at_most.as_secs(), 4 * 60 * 60);
    assert_eq!((approval.from.len(), approval.break_glass), (2, true));
    assert!(policy.rules[0].require.is_some());
    let other = policy.rules[1].approval.as_ref().unwrap();
    assert_eq!((other.from.len(), other.break_glass), (0, false));
    assert_eq!(policy.rules[1].require, None);
    assert_eq!(try_out(APPROVED), []);
}

pub(super) const TRIED: &str = r#"
routes:
  - { name: a, host: a.example, upstream: { addresses: ['u:1'], tls: { server_name: u } } }
  - { name: b, host: a.example, prefix: /b, upstream: { addresses: ['u:1'], tls: { server_name: u } } }
mappings:
  - { name: m, from: [{ signed_in: true }], spiffe_id: "spiffe://{trust_domain}/ns/teams/sa/all" }
rules:
  - name: r
    action: allow
    from: [{ groups: [sre], claims: { team: [x] } }]
    to: [{ routes: [a], methods: [GET] }]
    when: { hours: "Wed 09:00-17:00 UTC", source_ips: [10.0.0.0/8], headers: { x-env: [prod] } }
    require: { acr: mfa, max_age: 1h }
tests:
  - name: t
    as: { provider: okta, email: alice@corp.example, groups: [sre], claims: { team: [x] }, acr: mfa, signed_in_ago: 1h }
    request: GET a /x
    source_ip: 10.1.2.3
    headers: { X-Env: prod }
    expect: allow
    mesh_identity: "spiffe://{trust_domain}/ns/teams/sa/all"
"#;

#[test]
fn a_policys_own_tests_are_run() {
    assert_eq!(try_out(TRIED), []);
    for (good, bad, words) in [
        (
            "groups: [sre], claims: { team: [x] }, acr",
            "groups: [ops], claims: { team: [x] }, acr",
            "expected allow, and it is deny (rule r: it is for the groups sre",
        ),
        (
            "claims: { team: [x] }, acr",
            "acr",
            "it is for the values x of team, and yours are not known",
        ),
        ("GET a /x", "POST a /x", "it is for the methods GET"),
        ("GET a /x", "GET a /b/x", "/b/x leads to b, not to a"),
        (
            "10.1.2.3",
            "11.1.2.3",
            "it is for connections from 10.0.0.0/8",
        ),
        (
            "X-Env: prod",
            "X-Env: test",
            "whose header x-env is prod, and here it is \"test\"",
        ),
        (
            "acr: mfa, signed",
            "signed",
            "it is step_up (rule r: it asks for a sign-in of the class mfa, and yours was said to be of none)",
        ),
        (
            "signed_in_ago: 1h",
            "signed_in_ago: 2h",
            "it asks for a sign-in that is at most 1h old, and yours is 2h old",
        ),
        (
            "    expect: allow",
            "    at: '2026-11-24T10:00:00Z'\n    expect: allow",
            "it holds Wed 09:00-17:00 UTC, and now it is Tue 10:00",
        ),
        (
            "expect: allow",
            "expect: deny",
            "expected deny, and it is allow: rule r allows it",
        ),
        (
            "    mesh_identity: \"spiffe://{trust_domain}/ns/teams/sa/all",
            "    mesh_identity: \"spiffe://{trust_domain}/ns/teams/sa/x",
            "and it goes as spiffe://td/ns/teams/sa/all",
        ),
    ] {
        assert!(TRIED.contains(good), "{good}");
        let faults = try_out(&TRIED.replacen(good, bad, 1));
        assert_eq!(faults.len(), 1, "{bad}");
        assert_eq!(faults[0].key, "tests[0]");
        assert!(faults[0].message.contains(words), "{}", faults[0].message);
    }
    // A test that asks nothing of who asks.
    let stranger = TRIED
        .lines()
        .filter(|line| !line.contains("as: {"))
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(
        try_out(
            &stranger
                .replace("expect: allow", "expect: sign_in")
                .replace("    mesh_identity", "    # mesh_identity")
        ),
        []
    );
}

#[test]
fn what_the_edge_refuses_for_want_of_an_identity_is_not_allowed_in_tests_either() {
    let without = TRIED
        .lines()
        .filter(|line| !line.contains("mesh_identity:"))
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(try_out(&without), []);
    let unmapped = without.replace("from: [{ signed_in: true }]", "from: [{ groups: [ops] }]");
    let [fault] = try_out(&unmapped).try_into().unwrap();
    let said = "the rules allow it, and the edge refuses it: no identity mapping matches";
    assert!(fault.message.contains(said), "{}", fault.message);
}

#[test]
fn all_that_is_wrong_with_a_test_is_said_at_once() {
    let odd = "tests: [{ name: t, as: { provider: okta, email: x, signed_in_ago: soon }, request: 'GET a /x?y=1', at: noon, source_ip: 1.2.3, expect: maybe, zz: 1 }]";
    let faults = parse(odd).unwrap_err();
    let mut keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "tests[0].as.email",
            "tests[0].as.signed_in_ago",
            "tests[0].at",
            "tests[0].expect",
            "tests[0].request",
            "tests[0].source_ip",
            "tests[0].zz",
        ]
    );
    let request = faults.iter().find(|fault| fault.key.ends_with("request"));
    assert!(request.unwrap().message.contains("rules see no query"));
}
