//! Properties of deciding, over random policies, people and requests, with [`explain`](crate::policy::explain) as an oracle that shares no index, and
//! [`naive`] as one that shares nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::address::host::Host;
use crate::identity::email::Email;
use crate::identity::principal::{Groups, Principal, PrincipalKind};
use crate::identity::spiffe_id::TrustDomain;
use crate::policy::compile::CompiledPolicy;
use crate::policy::decide::{DenyReason, Facts, Shadow, Verdict};
use crate::policy::json::{from_json, to_json};
use crate::policy::kind::Kind;
use crate::policy::lint;
use crate::policy::matcher::{PathMatch, TextMatch};
use crate::policy::model::{Action, Mode, Revision, Rule, Source, Target};
use crate::policy::yaml;

mod naive;
pub(super) mod strategies;
mod successor;

pub(crate) use strategies::policies;
use strategies::*;
pub(super) use strategies::{compile, facts};

fn outcome(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Allow { .. } => 0,
        Verdict::SignIn | Verdict::StepUp { .. } | Verdict::Ask { .. } => 1,
        Verdict::Deny(_) => 2,
    }
}

/// How many random policies each property is tried on; `make differential` wants many more.
#[expect(
    clippy::disallowed_methods,
    reason = "the tests have no other configuration"
)]
pub(super) fn cases() -> u32 {
    let wanted = std::env::var("WAYLEAVE_TEST_CASES");
    wanted.map_or(512, |wanted| wanted.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn indexes_find_what_going_through_all_rules_finds(rules in rules(), requests in vec(request(), 1..6)) {
        let policy = compile(rules);
        for request in &requests {
            let facts = request.facts(&policy);
            prop_assert_eq!(policy.decide(&facts), policy.explain(&facts).verdict, "{:?}", request);
        }
    }

    #[test]
    fn j7_the_engine_decides_as_the_document_says(rules in rules(), requests in vec(request(), 1..60)) {
        let policy = compile(rules);
        for request in &requests {
            let facts = request.facts(&policy);
            prop_assert_eq!(policy.decide(&facts), naive::decide(policy.policy(), &facts), "{:?}", request);
        }
    }

    #[test]
    fn what_is_told_of_parts_of_a_route_is_so(rules in rules(), principal in principal()) {
        let mut policy = policy(rules);
        policy.mappings = vec![strategies::everybody()];
        let policy = CompiledPolicy::new(policy, Revision(1), &TrustDomain::parse("td").unwrap()).unwrap();
        let Some(principal) = principal else { return Ok(()) };
        for reach in policy.reach(&principal, now(), None, &[]) {
            let parts = policy.parts(&reach);
            let both = [(&parts.open, true), (&parts.askable, false)];
            for (part, is_open) in both.into_iter().flat_map(|(all, is_open)| all.iter().map(move |part| (part, is_open))) {
                let facts = Facts { principal: Some(&principal), route: reach.route, method: &part.method, path: &part.path, ..facts(&policy) };
                let verdict = naive::decide(policy.policy(), &facts);
                match verdict {
                    Verdict::Allow { .. } | Verdict::StepUp { .. } => prop_assert!(is_open, "{:?}", part),
                    Verdict::Ask { .. } => prop_assert!(!is_open, "{:?}", part),
                    Verdict::SignIn | Verdict::Deny(_) => prop_assert!(false, "{:?} {:?}", part, verdict),
                }
                prop_assert!(!reach.is_open());
            }
        }
    }

    #[test]
    fn i2_an_agent_never_may_what_its_person_may_not_and_nothing_without_a_rule_about_agents(rules in rules(), mut request in request()) {
        let is_let = is_allowed(&request.verdict(&rules));
        let people_only: Vec<Rule> = rules.iter().cloned().map(|mut rule| {
            rule.from.retain(|source| source.agents.is_none());
            rule
        }).collect();
        let through = request.principal.as_ref().is_some_and(|principal| !principal.agents.is_empty());
        prop_assert!(!through || !is_allowed(&request.verdict(&people_only)));
        if let Some(principal) = &mut request.principal {
            principal.agents = Vec::new();
        }
        prop_assert!(!through || !is_let || is_allowed(&request.verdict(&people_only)));
    }

    #[test]
    fn rules_in_shadow_change_no_verdict(rules in rules(), request in request()) {
        let enforced: Vec<Rule> = rules.iter().filter(|rule| rule.mode == Mode::Enforce).cloned().collect();
        prop_assert_eq!(request.verdict(&rules), request.verdict(&enforced));
    }

    #[test]
    fn what_rules_in_shadow_would_change_is_what_they_change_when_enforced(rules in rules(), request in request()) {
        let policy = compile(rules.clone());
        let facts = request.facts(&policy);
        let verdict = policy.decide(&facts);
        let enforced: Vec<Rule> = rules.into_iter().map(|rule| Rule { mode: Mode::Enforce, ..rule }).collect();
        let after = request.verdict(&enforced);
        // Of a program nothing is told where the person it acts for has no rule.
        let is_told = request.principal.as_ref().is_some_and(|principal| principal.agents.is_empty() || verdict != Verdict::Deny(DenyReason::NoRule));
        match policy.shadow(&facts, &verdict) {
            Some(Shadow::WouldDeny { .. }) => prop_assert!(is_allowed(&verdict) && !is_allowed(&after)),
            Some(Shadow::WouldAllow { .. }) => prop_assert!(!is_allowed(&verdict)),
            None => prop_assert!(is_allowed(&verdict) == is_allowed(&after) || !is_told),
        }
    }

    #[test]
    fn what_a_rule_is_said_to_leave_to_another_it_does(rules in rules(), requests in vec(request(), 1..20)) {
        let whole = compile(rules.clone());
        let seen = lint::Seen::default();
        let findings = lint::lint(whole.policy(), now(), &seen);
        for (at, rule) in rules.iter().enumerate() {
            let object = format!("rule {}", rule.name);
            let of_rule: Vec<_> = findings.iter().filter(|finding| finding.object == object).cloned().collect();
            prop_assert_eq!(&of_rule, &lint::lint_object(whole.policy(), now(), &seen, Kind::Rule, &rule.name));
            let leaves = |finding: &&lint::Finding| finding.message.contains(": rule ");
            let Some(finding) = of_rule.iter().find(leaves) else { continue };
            let mut others = rules.clone();
            others.remove(at);
            let others = compile(others);
            for request in &requests {
                let [with, without] = [&whole, &others].map(|policy| is_allowed(&policy.decide(&request.facts(policy))));
                prop_assert_eq!(with, without, "{:?} {:?} {:?}", finding, rule, request);
            }
        }
    }

    #[test]
    fn without_an_allow_rule_nothing_is_allowed(rules in rules(), request in request()) {
        let rules: Vec<Rule> = rules.into_iter().filter(|rule| rule.action == Action::Deny).collect();
        prop_assert_ne!(outcome(&request.verdict(&rules)), 0);
    }

    #[test]
    fn b12_adding_a_deny_rule_never_allows(rules in rules(), from in vec(source(), 0..3), to in option::of(vec(target(), 0..2)), at in 0..8usize, request in request()) {
        let before = request.verdict(&rules);
        let mut more = rules.clone();
        more.insert(at.min(rules.len()), Rule { to, ..plain("extra", Action::Deny, from) });
        prop_assert!(outcome(&request.verdict(&more)) >= outcome(&before));
    }

    #[test]
    fn b12_adding_an_allow_rule_never_widens_a_deny(rules in rules(), from in vec(source(), 0..3), request in request()) {
        let before = request.verdict(&rules);
        let mut more = rules.clone();
        more.push(plain("extra", Action::Allow, from));
        let after = request.verdict(&more);
        if matches!(before, Verdict::Deny(DenyReason::Rule { .. } | DenyReason::Provider)) {
            prop_assert_eq!(before, after);
        }
    }

    #[test]
    fn b12_the_order_of_rules_does_not_matter(rules in rules(), turn in 0..8usize, request in request()) {
        let mut turned = rules.clone();
        turned.rotate_left(turn.min(rules.len()));
        prop_assert_eq!(outcome(&request.verdict(&rules)), outcome(&request.verdict(&turned)));
    }

    #[test]
    fn f3_without_a_vouched_e_mail_no_e_mail_rule_allows(rules in rules(), mut request in request()) {
        if let Some(principal) = &mut request.principal {
            principal.email = None;
        }
        if let Verdict::Allow { rule, .. } = request.verdict(&rules) {
            let rule = rules.iter().find(|other| other.name == rule).unwrap();
            let asks = |source: &Source| source.emails.is_some() || source.email_domains.is_some() || source.not_emails.is_some();
            prop_assert!(!rule.from.iter().all(asks));
        }
    }

    #[test]
    fn f6_unknown_groups_never_allow_more_than_any_known_ones(rules in rules(), mut request in request(), groups in vec(select(&GROUPS[..]), 0..5)) {
        if let Some(principal) = &mut request.principal {
            principal.groups = Groups::Missing;
        }
        let unknown = outcome(&request.verdict(&rules));
        if let Some(principal) = &mut request.principal {
            principal.groups = Groups::Known(groups.into_iter().map(Arc::from).collect());
        }
        prop_assert!(unknown >= outcome(&request.verdict(&rules)));
    }

    #[test]
    fn i9_a_grant_opens_its_own_rule_for_its_time_and_nothing_else(rules in rules(), request in request()) {
        let mut without = request.clone();
        without.grants.clear();
        let (before, after) = (without.verdict(&rules), request.verdict(&rules));
        match &after {
            Verdict::Allow { rule, until: Some(until) } => {
                let written = rules.iter().find(|other| other.name == *rule).unwrap();
                prop_assert!(written.approval.is_some() && written.mode == Mode::Enforce);
                prop_assert!(request.grants.iter().any(|grant| grant.rule == *rule && grant.until == *until));
                let policy = compile(rules.clone());
                prop_assert!(request.facts(&policy).now < *until);
            }
            Verdict::Allow { until: None, .. } => prop_assert!(is_allowed(&before)),
            Verdict::SignIn | Verdict::StepUp { .. } | Verdict::Ask { .. } | Verdict::Deny(_) => prop_assert!(!is_allowed(&before)),
        }
        // Who is denied, or has not signed in, stays so.
        if matches!(before, Verdict::Deny(_) | Verdict::SignIn) {
            prop_assert_eq!(before, after);
        }
    }

    #[test]
    fn i9_a_grant_of_another_rule_changes_nothing(rules in rules(), mut request in request()) {
        let mut without = request.clone();
        without.grants.clear();
        for grant in &mut request.grants {
            grant.rule = format!("{}x", grant.rule).into();
        }
        prop_assert_eq!(without.verdict(&rules), request.verdict(&rules));
    }

    #[test]
    fn json_of_a_policy_reads_as_the_same_policy(rules in rules()) {
        let policy = policy(rules);
        prop_assert_eq!(from_json(to_json(&policy)).unwrap(), policy);
    }
}

fn person(email: Option<&str>, groups: Groups) -> Principal {
    Principal {
        kind: PrincipalKind::User,
        provider: "okta".into(),
        issuer: "https://okta".into(),
        subject: "1".into(),
        email: email.map(|email| Email::parse(email).unwrap()),
        display_name: None,
        groups,
        claims: BTreeMap::new(),
        acr: None,
        auth_time: None,
        agents: Vec::new(),
    }
}

/// What a document with these rules says of a person who gets a path of route `a`.
fn decide(rules: &str, principal: Option<&Principal>, method: &str, path: &str) -> Verdict {
    let text = format!(
        "routes: [{{ name: a, host: a.example, upstream: {{ addresses: ['u:1'], tls: {{ server_name: u }} }} }}]\n{rules}"
    );
    let trust_domain = TrustDomain::parse("td").unwrap();
    let policy =
        CompiledPolicy::new(yaml::parse(&text).unwrap(), Revision(1), &trust_domain).unwrap();
    let route = policy
        .route(&Host::parse("a.example").unwrap(), path)
        .unwrap();
    policy.decide(&Facts {
        principal,
        route,
        method,
        path,
        ..facts(&policy)
    })
}

fn is_allowed(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Allow { .. })
}

#[test]
fn f1_domains_are_compared_whole() {
    let rules = "rules: [{ name: r, action: allow, from: [{ email_domains: [corp.com] }] }]";
    for (email, expected) in [
        ("x@corp.com", true),
        ("X@CORP.COM", true),
        ("x@evilcorp.com", false),
        ("x@corp.com.evil", false),
        ("x@sub.corp.com", false),
    ] {
        let person = person(Some(email), Groups::Missing);
        assert_eq!(
            is_allowed(&decide(rules, Some(&person), "GET", "/")),
            expected,
            "{email}"
        );
    }
}

#[test]
fn f7_missing_groups_are_not_no_groups() {
    let allow = "rules: [{ name: r, action: allow, from: [{ not_groups: [contractors] }] }]";
    let deny = "rules: [{ name: r, action: allow, from: [{ signed_in: true }] }, { name: d, action: deny, from: [{ groups: [contractors] }] }]";
    let deny_others = "rules: [{ name: r, action: allow, from: [{ signed_in: true }] }, { name: d, action: deny, from: [{ not_groups: [staff] }] }]";
    let none = person(None, Groups::Known(std::collections::BTreeSet::new()));
    let missing = person(None, Groups::Missing);
    for (rules, for_none) in [(allow, true), (deny, true), (deny_others, false)] {
        assert_eq!(
            is_allowed(&decide(rules, Some(&none), "GET", "/")),
            for_none,
            "{rules}"
        );
        assert!(
            !is_allowed(&decide(rules, Some(&missing), "GET", "/")),
            "{rules}"
        );
    }
}

#[test]
fn b1_a_rule_is_about_every_spelling_of_its_path() {
    let rules = "rules:
  - { name: all, action: allow, from: [{ anyone: true }] }
  - { name: no, action: deny, from: [{ anyone: true }], to: [{ paths: ['/wiki/Special:Export*', '/%40admin/{**}', '/x/$all'] }] }";
    for (path, denied) in [
        ("/wiki/Special:Export", true),
        ("/wiki/Special%3AExport/a", true),
        ("/@admin/x", true),
        ("/%40admin/x", true),
        ("/x/%24all", true),
        ("/x/%24al", false),
    ] {
        let verdict = decide(rules, None, "GET", path);
        assert_eq!(matches!(verdict, Verdict::Deny(_)), denied, "{path}");
    }
}

#[test]
fn b5_a_query_is_no_part_of_a_path() {
    let rules = "rules: [{ name: r, action: allow, from: [{ anyone: true }], to: [{ paths: ['/public*', '*/public'] }] }]";
    assert!(is_allowed(&decide(rules, None, "GET", "/public")));
    // Were a query ever handed over, it would still not be matched: no condition can be written that has one.
    assert!(
        yaml::parse(
            "rules: [{ name: r, action: allow, from: [], to: [{ paths: ['/admin?x=/public'] }] }]"
        )
        .is_err()
    );
}

#[test]
fn strangers_are_asked_to_sign_in_unless_anyone_is_denied() {
    let member = person(None, Groups::Missing);
    let rules = "rules:
  - { name: public, action: allow, from: [{ anyone: true }], to: [{ paths: ['/public/{**}'] }] }
  - { name: closed, action: deny, from: [{ anyone: true }], to: [{ paths: ['/closed'] }] }
  - { name: staff, action: deny, from: [{ not_providers: [okta] }], to: [{ paths: ['/public/staff'] }] }
  - { name: members, action: allow, from: [{ signed_in: true }], to: [{ methods: [GET] }] }";
    for (path, stranger, known) in [
        ("/public/x", 0, 0),
        ("/other", 1, 0),
        ("/closed", 2, 2),
        ("/public/staff", 1, 0),
    ] {
        assert_eq!(
            outcome(&decide(rules, None, "GET", path)),
            stranger,
            "{path}"
        );
        assert_eq!(
            outcome(&decide(rules, Some(&member), "GET", path)),
            known,
            "{path}"
        );
    }
}

#[test]
fn b11_head_is_decided_as_get() {
    let member = person(None, Groups::Missing);
    let rules = "rules: [{ name: r, action: allow, from: [{ signed_in: true }], to: [{ methods: [GET] }] }]";
    for (method, expected) in [
        ("GET", true),
        ("HEAD", true),
        ("get", false),
        ("OPTIONS", false),
        ("POST", false),
    ] {
        assert_eq!(
            is_allowed(&decide(rules, Some(&member), method, "/")),
            expected,
            "{method}"
        );
    }
}

#[test]
fn b4_path_parameters_do_not_hide_a_path() {
    let everybody = Source {
        signed_in: true,
        ..Source::default()
    };
    let anyone = Source {
        anyone: true,
        ..Source::default()
    };
    let rules = vec![
        plain("all", Action::Allow, vec![everybody]),
        Rule {
            to: Some(vec![Target {
                paths: Some(vec![PathMatch::parse("/admin/{**}").unwrap()]),
                ..Target::default()
            }]),
            ..plain("admin", Action::Deny, vec![anyone])
        },
    ];
    let policy = compile(rules);
    let member = person(None, Groups::Missing);
    // Route 2 takes path parameters, route 0 does not.
    for (route, path, expected) in [
        (2, "/a;v=1", true),
        (2, "/admin;x", false),
        (2, "/admin;x/b", false),
        (2, "/pub/..;/admin", false),
        (2, "/;/admin", false),
        (0, "/a", true),
        (0, "/a;v=1", false),
    ] {
        let facts = Facts {
            principal: Some(&member),
            route: &policy.routes()[route],
            path,
            ..facts(&policy)
        };
        assert_eq!(is_allowed(&policy.decide(&facts)), expected, "{path}");
    }
}

#[test]
fn the_longest_prefix_that_ends_at_a_segment_wins() {
    let route = |name: &str, prefix: &str| {
        format!(
            "  - {{ name: {name}, host: a.example, prefix: {prefix}, upstream: {{ addresses: ['u:1'], tls: {{ server_name: u }} }} }}\n"
        )
    };
    let text = format!(
        "routes:\n{}{}{}",
        route("b", "/a/b"),
        route("a", "/a"),
        route("root", "/")
    );
    let trust_domain = TrustDomain::parse("td").unwrap();
    let policy =
        CompiledPolicy::new(yaml::parse(&text).unwrap(), Revision(1), &trust_domain).unwrap();
    let host = Host::parse("a.example").unwrap();
    for (path, expected) in [
        ("/", "root"),
        ("/a", "a"),
        ("/a/", "a"),
        ("/ab", "root"),
        ("/a/b", "b"),
        ("/a/bc", "a"),
        ("/a/b/c", "b"),
        ("/x/a/b", "root"),
    ] {
        assert_eq!(
            &*policy.route(&host, path).unwrap().route.name,
            expected,
            "{path}"
        );
    }
    assert!(
        policy
            .route(&Host::parse("b.example").unwrap(), "/")
            .is_none()
    );
    assert!(!policy.has_host(&Host::parse("sub.a.example").unwrap()));
}

#[test]
fn the_first_mapping_that_matches_gives_the_mesh_identity() {
    let text = "mappings:
  - { name: sre, from: [{ groups: [sre] }], spiffe_id: 'spiffe://td/ns/teams/sa/sre' }
  - { name: people, from: [{ signed_in: true }], spiffe_id: 'spiffe://{trust_domain}/ns/people/sa/{user}' }
  - { name: guests, from: [{ anyone: true }], spiffe_id: 'spiffe://{trust_domain}/ns/guests/sa/guest' }";
    let td = TrustDomain::parse("td").unwrap();
    let policy = CompiledPolicy::new(yaml::parse(text).unwrap(), Revision(1), &td).unwrap();
    let sre = person(None, Groups::Known([Arc::from("sre")].into()));
    assert_eq!(
        policy.mesh_identity(Some(&sre)).unwrap().as_str(),
        "spiffe://td/ns/teams/sa/sre"
    );
    let other = person(None, Groups::Missing);
    assert_eq!(
        policy.mesh_identity(Some(&other)).unwrap().namespace(),
        "people"
    );
    assert_eq!(
        policy.mesh_identity(None).unwrap().service_account(),
        "guest"
    );
    assert!(compile(Vec::new()).mesh_identity(Some(&sre)).is_err());
    // Another trust domain, and a guest with a name, are faults.
    let other_domain = text.replace("spiffe://td/", "spiffe://other/");
    let faults =
        CompiledPolicy::new(yaml::parse(&other_domain).unwrap(), Revision(1), &td).unwrap_err();
    assert_eq!(faults[0].key, "mappings[0].spiffe_id");
    assert!(yaml::parse(&text.replace("sa/guest'", "sa/{user}'")).is_err());
}

#[test]
fn an_explanation_says_what_fails() {
    let sre = Source {
        groups: Some(vec![TextMatch::parse("sre").unwrap()]),
        ..Source::default()
    };
    let policy = compile(vec![plain("sre", Action::Allow, vec![sre])]);
    let person = person(None, Groups::Known(std::collections::BTreeSet::new()));
    let facts = Facts {
        principal: Some(&person),
        ..facts(&policy)
    };
    let explanation = policy.explain(&facts);
    assert_eq!(explanation.verdict, Verdict::Deny(DenyReason::NoRule));
    assert_eq!(
        explanation.considered[0].why_not().as_deref(),
        Some("it is for the groups sre, and you are in none")
    );
}

#[test]
fn what_would_help_is_all_that_a_rule_asks_for() {
    let text = "routes: [{ name: a, host: a.example, upstream: { addresses: ['u:1'], tls: { server_name: u } } }]
rules: [{ name: r, action: allow, from: [{ signed_in: true }], require: { acr: [mfa], approval: { from: [{ groups: [sre] }], at_most: 1h } } }]";
    let trust_domain = TrustDomain::parse("td").unwrap();
    let policy = CompiledPolicy::new(yaml::parse(text).unwrap(), Revision(1), &trust_domain);
    let policy = policy.unwrap();
    let sign_in = "A sign-in as rule r asks for.";
    for (acr, expected) in [
        (
            "pwd",
            &[sign_in, "And then an approval as rule r asks for."][..],
        ),
        ("mfa", &["An approval as rule r asks for."]),
    ] {
        let signed_in = Principal {
            acr: Some(acr.into()),
            ..person(None, Groups::Missing)
        };
        let facts = Facts {
            principal: Some(&signed_in),
            ..facts(&policy)
        };
        assert_eq!(policy.explain(&facts).remedies("a"), expected);
    }
}

/// A document's rules, decided for a person at a moment.
fn decide_at(rules: &str, principal: &Principal, now: &str) -> (Verdict, Option<Shadow>) {
    let text = format!(
        "routes: [{{ name: a, host: a.example, upstream: {{ addresses: ['u:1'], tls: {{ server_name: u }} }} }}]\n{rules}"
    );
    let trust_domain = TrustDomain::parse("td").unwrap();
    let policy =
        CompiledPolicy::new(yaml::parse(&text).unwrap(), Revision(1), &trust_domain).unwrap();
    let facts = Facts {
        principal: Some(principal),
        now: now.parse().unwrap(),
        ..facts(&policy)
    };
    let verdict = policy.decide(&facts);
    let shadow = policy.shadow(&facts, &verdict);
    (verdict, shadow)
}

#[test]
fn i9_a_rule_ends_at_its_moment() {
    let member = person(None, Groups::Missing);
    let rules = "rules: [{ name: r, action: allow, from: [{ signed_in: true }], when: { until: '2027-01-31T18:00:00Z' } }]";
    let at = |now| is_allowed(&decide_at(rules, &member, now).0);
    assert!(at("2027-01-31T17:59:59.999999Z"));
    assert!(!at("2027-01-31T18:00:00Z"));
}

#[test]
fn what_is_required_is_asked_for_where_nothing_else_allows() {
    let now = "2027-01-31T18:00:00Z";
    let seconds = now.parse::<jiff::Timestamp>().unwrap().as_second();
    let signed_in = |acr: Option<&str>, ago: Option<i64>| Principal {
        acr: acr.map(Into::into),
        auth_time: ago.map(|ago| seconds - ago),
        ..person(None, Groups::Missing)
    };
    let rules = "rules:
  - { name: strong, action: allow, from: [{ signed_in: true }], require: { acr: [mfa, hwk], max_age: 1h } }";
    for (acr, ago, expected) in [
        (Some("mfa"), Some(0), true),
        (Some("hwk"), Some(3600), true),
        (Some("mfa"), Some(3601), false),
        (Some("pwd"), Some(0), false),
        (None, Some(0), false),
        (Some("mfa"), None, false),
    ] {
        let (verdict, _) = decide_at(rules, &signed_in(acr, ago), now);
        assert_eq!(is_allowed(&verdict), expected, "{acr:?} {ago:?}");
        assert_eq!(matches!(verdict, Verdict::StepUp { .. }), !expected);
    }
    let denied =
        format!("{rules}\n  - {{ name: no, action: deny, from: [{{ signed_in: true }}] }}");
    let (verdict, _) = decide_at(&denied, &signed_in(None, None), now);
    assert_eq!(
        verdict,
        Verdict::Deny(DenyReason::Rule { rule: "no".into() })
    );
    let open =
        format!("{rules}\n  - {{ name: yes, action: allow, from: [{{ signed_in: true }}] }}");
    let (verdict, _) = decide_at(&open, &signed_in(None, None), now);
    assert!(matches!(verdict, Verdict::Allow { rule, .. } if *rule == *"yes"));
}

#[test]
fn what_somebody_can_do_alone_comes_before_asking() {
    let now = "2027-01-31T18:00:00Z";
    let member = person(None, Groups::Missing);
    let approval = "approval: { from: [{ groups: [leads] }], at_most: 4h }";
    let rule = |name: &str, require: &str| {
        format!(
            "{{ name: {name}, action: allow, from: [{{ signed_in: true }}], require: {{ {require} }} }}"
        )
    };
    let (alone, asked) = (rule("alone", "acr: mfa"), rule("asked", approval));
    let both = rule("both", &format!("acr: mfa, {approval}"));
    for (rules, expected) in [
        (asked.clone(), "ask asked"),
        (format!("{asked}, {alone}"), "step_up alone"),
        (both.clone(), "step_up both"),
        (format!("{both}, {asked}"), "step_up both"),
        (format!("{asked}, {both}"), "ask asked"),
    ] {
        let (verdict, _) = decide_at(&format!("rules: [{rules}]"), &member, now);
        let found = match verdict {
            Verdict::StepUp { rule, .. } => format!("step_up {rule}"),
            Verdict::Ask { rule } => format!("ask {rule}"),
            other => format!("{other:?}"),
        };
        assert_eq!(found, expected, "{rules}");
    }
    let deny = "{ name: no, action: deny, from: [{ signed_in: true }] }";
    let (verdict, _) = decide_at(&format!("rules: [{asked}, {deny}]"), &member, now);
    assert_eq!(
        verdict,
        Verdict::Deny(DenyReason::Rule { rule: "no".into() })
    );
}

#[test]
fn rules_in_shadow_are_reported_and_change_nothing() {
    let member = person(None, Groups::Missing);
    let now = "2027-01-31T18:00:00Z";
    let allow = "{ name: yes, action: allow, from: [{ signed_in: true }]";
    let deny = "{ name: no, action: deny, from: [{ signed_in: true }]";
    for (rules, allowed, shadow) in [
        (
            format!("{allow} }}, {deny}, mode: shadow }}"),
            true,
            Some(Shadow::WouldDeny { rule: "no".into() }),
        ),
        (
            format!("{allow}, mode: shadow }}"),
            false,
            Some(Shadow::WouldAllow { rule: "yes".into() }),
        ),
        (
            format!("{allow}, mode: shadow }}, {deny}, mode: shadow }}"),
            false,
            None,
        ),
        (format!("{allow}, mode: shadow }}, {deny} }}"), false, None),
        (format!("{allow} }}"), true, None),
    ] {
        let text = format!("rules: [{rules}]");
        let (verdict, found) = decide_at(&text, &member, now);
        assert_eq!((is_allowed(&verdict), found), (allowed, shadow), "{rules}");
    }
}

#[test]
fn j3_what_is_not_known_of_a_claim_counts_against_the_caller() {
    let now = "2027-01-31T18:00:00Z";
    let with = |team: Option<&[&str]>| Principal {
        claims: team
            .map(|team| {
                (
                    "team".into(),
                    team.iter().map(|value| Arc::from(*value)).collect(),
                )
            })
            .into_iter()
            .collect(),
        ..person(None, Groups::Missing)
    };
    let deny = |from: &str| {
        format!(
            "rules: [{{ name: all, action: allow, from: [{{ signed_in: true }}] }}, {{ name: no, action: deny, from: [{from}] }}]"
        )
    };
    let allow = |from: &str| format!("rules: [{{ name: yes, action: allow, from: [{from}] }}]");
    let (is, is_not) = (
        "{ claims: { team: [eng] } }",
        "{ not_claims: { team: [eng] } }",
    );
    // The team is eng; it is another; the provider names none; nobody knows.
    let teams = [Some(&["eng"][..]), Some(&["ops"]), Some(&[]), None];
    for (rules, expected) in [
        (allow(is), [true, false, false, false]),
        (allow(is_not), [false, true, true, false]),
        (deny(is), [false, true, true, false]),
        (deny(is_not), [true, false, false, false]),
    ] {
        let found = teams.map(|team| is_allowed(&decide_at(&rules, &with(team), now).0));
        assert_eq!(found, expected, "{rules}");
    }
}

#[test]
fn strangers_are_asked_who_they_are_where_those_denied_are_named_by_exceptions() {
    let source = |people: &str| Source {
        people: Some(vec![people.into()]),
        ..Source::default()
    };
    let anyone = Source {
        anyone: true,
        ..Source::default()
    };
    // One of the sources of `mixed` says only who is excepted.
    for (people, expected) in [
        ("mixed", Verdict::SignIn),
        (
            "nobody",
            Verdict::Allow {
                rule: "all".into(),
                until: None,
            },
        ),
    ] {
        let beside = Source {
            not_groups: Some(vec![]),
            ..source(people)
        };
        for from in [source(people), beside] {
            let policy = compile(vec![
                plain("all", Action::Allow, vec![anyone.clone()]),
                plain("some", Action::Deny, vec![from]),
            ]);
            let facts = facts(&policy);
            assert_eq!(policy.decide(&facts), expected, "{people}");
            assert_eq!(policy.explain(&facts).verdict, expected, "{people}");
        }
    }
}
