//! Properties of deciding, over random policies, people and requests, with [`explain`](crate::policy::explain) as an oracle that shares no index.

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
use crate::policy::decide::{DenyReason, Facts, Verdict};
use crate::policy::json::{from_json, to_json};
use crate::policy::matcher::{PathMatch, TextMatch};
use crate::policy::model::{Action, Policy, Revision, Rule, Source, Target};
use crate::policy::yaml;

const ROUTES: [&str; 3] = ["a", "b", "c"];
const GROUPS: [&str; 5] = ["sre", "sre-eu", "ops", "x", "dev"];
const EMAILS: [&str; 4] = [
    "alice@corp.com",
    "bob@corp.com",
    "x@evilcorp.com",
    "x@sub.corp.com",
];
const PATHS: [&str; 8] = [
    "/", "/a", "/a/", "/a/b", "/a/b/c", "/admin", "/admin/x", "/d;v=1/b",
];
const METHODS: [&str; 4] = ["GET", "HEAD", "POST", "DELETE"];

fn texts(forms: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<TextMatch>>> {
    let condition = select(forms).prop_map(|form| TextMatch::parse(form).unwrap());
    rarely(vec(condition, 0..3))
}

fn rarely<S: Strategy>(strategy: S) -> impl Strategy<Value = Option<S::Value>> {
    option::weighted(0.25, strategy)
}

fn names(of: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<Arc<str>>>> {
    rarely(vec(select(of).prop_map(Arc::from), 0..3))
}

fn source() -> impl Strategy<Value = Source> {
    let groups = || texts(&["sre", "sre-*", "*-eu", "ops", "x", "*"]);
    let emails = || texts(&["alice@corp.com", "bob@corp.com", "*@corp.com", "*"]);
    let subjects = || texts(&["1", "2", "*"]);
    let providers = || names(&["okta", "entra"]);
    let wanted = (
        groups(),
        emails(),
        rarely(vec(
            select(&["corp.com", "com"][..]).prop_map(str::to_owned),
            0..2,
        )),
        subjects(),
        providers(),
        rarely(vec(
            select(&[PrincipalKind::User, PrincipalKind::Workload][..]),
            0..2,
        )),
    );
    let other = (groups(), emails(), subjects(), providers());
    (0..6, any::<bool>(), wanted, other).prop_map(|(kind, signed_in, wanted, other)| {
        if kind == 0 {
            return Source {
                anyone: true,
                ..Source::default()
            };
        }
        let mut source = Source {
            groups: wanted.0,
            emails: wanted.1,
            email_domains: wanted.2,
            subjects: wanted.3,
            providers: wanted.4,
            kinds: wanted.5,
            not_groups: other.0,
            not_emails: other.1,
            not_subjects: other.2,
            not_providers: other.3,
            ..Source::default()
        };
        source.signed_in = signed_in || source == Source::default();
        source
    })
}

fn target() -> impl Strategy<Value = Target> {
    let routes = || names(&ROUTES);
    let methods = || rarely(vec(select(&METHODS[..]).prop_map(str::to_owned), 0..3));
    let paths = || {
        let forms = &[
            "/a", "/a/", "/admin", "/a*", "*b", "*", "/{*}", "/a/{**}", "/{**}/b", "/d/b",
        ][..];
        rarely(vec(
            select(forms).prop_map(|form| PathMatch::parse(form).unwrap()),
            0..3,
        ))
    };
    (routes(), methods(), paths(), routes(), methods(), paths()).prop_map(|fields| {
        let target = Target {
            routes: fields.0,
            methods: fields.1,
            paths: fields.2,
            not_routes: fields.3,
            not_methods: fields.4,
            not_paths: fields.5,
        };
        if target == Target::default() {
            return Target {
                methods: Some(vec!["GET".to_owned()]),
                ..target
            };
        }
        target
    })
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let action = select(&[Action::Allow, Action::Allow, Action::Deny][..]);
    let rule = (action, vec(source(), 0..3), option::of(vec(target(), 0..3)));
    vec(rule, 0..8).prop_map(|rules| {
        let named = rules.into_iter().enumerate();
        named
            .map(|(index, (action, from, to))| Rule {
                name: format!("r{index}").into(),
                action,
                from,
                to,
            })
            .collect()
    })
}

fn principal() -> impl Strategy<Value = Option<Principal>> {
    let groups = prop_oneof![
        4 => vec(select(&GROUPS[..]).prop_map(Arc::from), 0..5)
            .prop_map(|groups: Vec<Arc<str>>| Groups::Known(groups.into_iter().collect())),
        1 => Just(Groups::Missing),
    ];
    let email = option::of(select(&EMAILS[..]).prop_map(|text| Email::parse(text).unwrap()));
    let kind = select(&[PrincipalKind::User, PrincipalKind::Workload][..]);
    let names = (
        select(&["okta", "entra", "other"][..]),
        select(&["1", "2", "3"][..]),
    );
    option::weighted(0.8, (groups, email, kind, names)).prop_map(|principal| {
        principal.map(|(groups, email, kind, (provider, subject))| Principal {
            kind,
            provider: provider.into(),
            issuer: format!("https://{provider}").into(),
            subject: subject.into(),
            email,
            display_name: None,
            groups,
        })
    })
}

fn policy(rules: Vec<Rule>) -> Policy {
    let text = r#"
routes:
  - { name: a, host: a.example, upstream: { addresses: ["u:1"], tls: { server_name: u } } }
  - { name: b, host: b.example, providers: [okta], upstream: { addresses: ["u:1"], tls: { server_name: u } } }
  - { name: c, host: c.example, allow_path_parameters: true, upstream: { addresses: ["u:1"], tls: { server_name: u } } }
"#;
    Policy {
        rules,
        ..yaml::parse(text).unwrap()
    }
}

fn compile(rules: Vec<Rule>) -> CompiledPolicy {
    CompiledPolicy::new(
        policy(rules),
        Revision(1),
        &TrustDomain::parse("td").unwrap(),
    )
    .unwrap()
}

#[derive(Clone, Debug)]
struct Request {
    principal: Option<Principal>,
    route: usize,
    method: &'static str,
    path: &'static str,
}

fn request() -> impl Strategy<Value = Request> {
    (
        principal(),
        0..3usize,
        select(&METHODS[..]),
        select(&PATHS[..]),
    )
        .prop_map(|(principal, route, method, path)| Request {
            principal,
            route,
            method,
            path,
        })
}

impl Request {
    fn facts<'a>(&'a self, policy: &'a CompiledPolicy) -> Facts<'a> {
        Facts {
            principal: self.principal.as_ref(),
            route: &policy.routes()[self.route],
            method: self.method,
            path: self.path,
        }
    }

    fn verdict(&self, rules: &[Rule]) -> Verdict {
        let policy = compile(rules.to_vec());
        policy.decide(&self.facts(&policy))
    }
}

fn outcome(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Allow { .. } => 0,
        Verdict::SignIn => 1,
        Verdict::Deny(_) => 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn indexes_find_what_going_through_all_rules_finds(rules in rules(), requests in vec(request(), 1..6)) {
        let policy = compile(rules);
        for request in &requests {
            let facts = request.facts(&policy);
            prop_assert_eq!(policy.decide(&facts), policy.explain(&facts).verdict, "{:?}", request);
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
        more.insert(at.min(rules.len()), Rule { name: "extra".into(), action: Action::Deny, from, to });
        prop_assert!(outcome(&request.verdict(&more)) >= outcome(&before));
    }

    #[test]
    fn b12_adding_an_allow_rule_never_widens_a_deny(rules in rules(), from in vec(source(), 0..3), request in request()) {
        let before = request.verdict(&rules);
        let mut more = rules.clone();
        more.push(Rule { name: "extra".into(), action: Action::Allow, from, to: None });
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
        if let Verdict::Allow { rule } = request.verdict(&rules) {
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
    let rules = vec![
        Rule {
            name: "all".into(),
            action: Action::Allow,
            from: vec![Source {
                signed_in: true,
                ..Source::default()
            }],
            to: None,
        },
        Rule {
            name: "admin".into(),
            action: Action::Deny,
            from: vec![Source {
                anyone: true,
                ..Source::default()
            }],
            to: Some(vec![Target {
                paths: Some(vec![PathMatch::parse("/admin/{**}").unwrap()]),
                ..Target::default()
            }]),
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
            method: "GET",
            path,
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
    let policy = compile(vec![Rule {
        name: "sre".into(),
        action: Action::Allow,
        from: vec![Source {
            groups: Some(vec![TextMatch::parse("sre").unwrap()]),
            ..Source::default()
        }],
        to: None,
    }]);
    let person = person(None, Groups::Known(std::collections::BTreeSet::new()));
    let facts = Facts {
        principal: Some(&person),
        route: &policy.routes()[0],
        method: "GET",
        path: "/",
    };
    let explanation = policy.explain(&facts);
    assert_eq!(explanation.verdict, Verdict::Deny(DenyReason::NoRule));
    assert_eq!(
        explanation.considered[0].fails.as_deref(),
        Some("it is for the groups sre, and you are in none of them")
    );
}
