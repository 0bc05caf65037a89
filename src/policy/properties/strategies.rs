//! Random policies, callers and requests: small alphabets, so that conditions meet what they are about.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use wayleave::identity::email::Email;
use wayleave::identity::principal::{Agent, Groups, Principal, PrincipalKind, Requirement};
use wayleave::identity::spiffe_id::TrustDomain;
use wayleave::policy::compile::CompiledPolicy;
use wayleave::policy::decide::{Facts, Grant, Verdict};
use wayleave::policy::hours::Hours;
use wayleave::policy::matcher::{PathMatch, TextMatch};
use wayleave::policy::model::{
    Action, Approval, Mapping, Mode, Policy, Revision, Rule, Source, Target, When,
};
use wayleave::policy::svids::SvidKind;
use wayleave::policy::when::RequestHeaders;
use wayleave::policy::yaml;

pub(crate) const ROUTES: [&str; 3] = ["a", "b", "c"];
pub(crate) const GROUPS: [&str; 5] = ["sre", "sre-eu", "ops", "x", "dev"];
pub(crate) const EMAILS: [&str; 4] = [
    "alice@corp.com",
    "bob@corp.com",
    "x@evilcorp.com",
    "x@sub.corp.com",
];
pub(crate) const PATHS: [&str; 10] = [
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/a/b/c",
    "/admin",
    "/admin/x",
    "/d;v=1/b",
    "/a/%40b",
    "/d%3Bv=1/b",
];
/// The second is a moment after the first.
pub(crate) const MOMENTS: [&str; 3] = [
    "2026-11-27T23:59:59.999999Z",
    "2026-11-28T00:00:00Z",
    "2026-11-29T23:00:00Z",
];
pub(crate) const METHODS: [&str; 4] = ["GET", "HEAD", "POST", "DELETE"];

pub(crate) fn texts(
    forms: &'static [&'static str],
) -> impl Strategy<Value = Option<Vec<TextMatch>>> {
    let condition = select(forms).prop_map(|form| TextMatch::parse(form).unwrap());
    rarely(vec(condition, 0..3))
}

pub(crate) fn rarely<S: Strategy>(strategy: S) -> impl Strategy<Value = Option<S::Value>> {
    option::weighted(0.25, strategy)
}

pub(crate) fn names(of: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<Arc<str>>>> {
    rarely(vec(select(of).prop_map(Arc::from), 0..3))
}

pub(crate) fn source() -> impl Strategy<Value = Source> {
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
    let claims = || {
        let conditions = texts(&["eng", "e*", "*"]).prop_map(Option::unwrap_or_default);
        let name = select(&["team", "unknown"][..]);
        rarely(
            (name, conditions).prop_map(|(name, wanted)| BTreeMap::from([(name.into(), wanted)])),
        )
    };
    let people = || names(&["mixed", "nobody"]);
    let agents = || texts(&["https://agent.example", "loopback", "robots/*", "*"]);
    let agents = (agents(), agents());
    let more = (claims(), claims(), people(), people(), agents);
    (0..6, any::<bool>(), wanted, other, more).prop_map(|(kind, signed_in, wanted, other, more)| {
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
            claims: more.0,
            not_claims: more.1,
            people: more.2,
            not_people: more.3,
            not_agents: more.4.1.filter(|_| more.4.0.is_some()),
            agents: more.4.0,
            anyone: false,
            signed_in: false,
        };
        source.signed_in = signed_in || source == Source::default();
        source
    })
}

pub(crate) fn target() -> impl Strategy<Value = Target> {
    let routes = || names(&ROUTES);
    let methods = || rarely(vec(select(&METHODS[..]).prop_map(str::to_owned), 0..3));
    let paths = || {
        let forms = &[
            "/a", "/a/", "/a/@b", "/%40*", "/admin", "/a*", "*b", "*", "/{*}", "/a/{**}",
            "/{**}/b", "/d/b",
        ][..];
        rarely(vec(
            select(forms).prop_map(|form| PathMatch::parse(form).unwrap()),
            0..3,
        ))
    };
    let groups = || names(&["ab", "none"]);
    let groups = (groups(), groups());
    let svids = vec(select(&[SvidKind::X509, SvidKind::Jwt][..]), 0..3);
    (
        routes(),
        methods(),
        paths(),
        routes(),
        methods(),
        paths(),
        groups,
        option::weighted(0.2, svids),
    )
        .prop_map(|fields| {
            let target = Target {
                svids: None,
                routes: fields.0,
                methods: fields.1,
                paths: fields.2,
                not_routes: fields.3,
                not_methods: fields.4,
                not_paths: fields.5,
                route_groups: fields.6.0,
                not_route_groups: fields.6.1,
            };
            if let Some(svids) = fields.7 {
                return Target {
                    svids: Some(svids),
                    ..Target::default()
                };
            }
            if target == Target::default() {
                return Target {
                    methods: Some(vec!["GET".to_owned()]),
                    ..target
                };
            }
            target
        })
}

pub(crate) fn when() -> impl Strategy<Value = When> {
    let networks = || {
        let forms = &["10.0.0.0/8", "10.1.2.3/32", "fd00::/8"][..];
        rarely(vec(
            select(forms).prop_map(|form| form.parse().unwrap()),
            0..2,
        ))
    };
    let headers = || {
        let conditions = texts(&["prod", "pre-*", "*"]).prop_map(Option::unwrap_or_default);
        let named =
            conditions.prop_map(|conditions| BTreeMap::from([("x-env".into(), conditions)]));
        rarely(named)
    };
    let hours = &["Mon-Fri 08:00-19:00 UTC", "Sat,Sun 22:00-06:00 UTC"][..];
    let hours = rarely(vec(
        select(hours).prop_map(|form| Hours::parse(form).unwrap()),
        0..2,
    ));
    let until = rarely(select(&MOMENTS[..]).prop_map(|text| text.parse().unwrap()));
    let networks = (networks(), networks());
    (networks, headers(), headers(), hours, until).prop_map(|fields| {
        let when = When {
            source_ips: fields.0.0,
            not_source_ips: fields.0.1,
            headers: fields.1,
            not_headers: fields.2,
            hours: fields.3,
            until: fields.4,
        };
        if when == When::default() {
            return When {
                source_ips: Some(Vec::new()),
                ..when
            };
        }
        when
    })
}

pub(crate) fn requirement() -> impl Strategy<Value = Requirement> {
    let acr = rarely(vec(select(&["mfa", "hwk"][..]).prop_map(Arc::from), 0..2));
    (acr, option::of(select(&[60u32, 3600][..]))).prop_map(|(acr, max_age)| Requirement {
        max_age: max_age.or(acr.is_none().then_some(60)),
        acr,
    })
}

pub(crate) fn approval() -> impl Strategy<Value = Approval> {
    let length = select(&[60, 4 * 60 * 60][..]).prop_map(Duration::from_secs);
    (vec(source(), 0..3), length, any::<bool>()).prop_map(|(mut from, at_most, break_glass)| {
        from.retain(|source| !source.anyone && source.agents.is_none());
        Approval {
            from,
            at_most,
            break_glass,
        }
    })
}

/// Of rules that there are and that there are not; before, at and after the moments of requests.
pub(crate) fn grants() -> impl Strategy<Value = Vec<Grant>> {
    let until = prop_oneof![
        Just(now()),
        Just(jiff::Timestamp::MAX),
        select(&MOMENTS[..]).prop_map(|text| text.parse().unwrap()),
    ];
    let grant = (0..9usize, until).prop_map(|(rule, until)| Grant {
        rule: format!("r{rule}").into(),
        until,
    });
    vec(grant, 0..5)
}

pub(crate) fn rule() -> impl Strategy<Value = Rule> {
    let action = select(&[Action::Allow, Action::Allow, Action::Deny][..]);
    let mode = select(&[Mode::Enforce, Mode::Enforce, Mode::Shadow][..]);
    let parts = (vec(source(), 0..3), option::of(vec(target(), 0..3)));
    let required = (rarely(requirement()), rarely(approval()));
    (action, mode, parts, rarely(when()), required).prop_map(
        |(action, mode, (from, to), when, (require, approval))| {
            let can_require = action == Action::Allow && !from.iter().any(|source| source.anyone);
            Rule {
                name: "".into(),
                action,
                mode,
                from,
                to,
                when,
                require: require.filter(|_| can_require),
                approval: approval.filter(|_| can_require),
            }
        },
    )
}

pub(crate) fn rules() -> impl Strategy<Value = Vec<Rule>> {
    vec(rule(), 0..8).prop_map(|mut rules| {
        for (index, rule) in rules.iter_mut().enumerate() {
            rule.name = format!("r{index}").into();
        }
        rules
    })
}

/// A rule of this name that is about everything.
pub(crate) fn plain(name: &str, action: Action, from: Vec<Source>) -> Rule {
    Rule {
        name: name.into(),
        action,
        mode: Mode::Enforce,
        from,
        to: None,
        when: None,
        require: None,
        approval: None,
    }
}

const AGENTS: [&str; 3] = ["https://agent.example", "loopback", "robots/1"];

fn agent(id: &str) -> Agent {
    Agent {
        id: id.into(),
        issuer: "https://issuer.example".into(),
        subject: id.into(),
        name: None,
    }
}

pub(crate) fn principal() -> impl Strategy<Value = Option<Principal>> {
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
    let team = option::of(vec(select(&["eng", "ops"][..]).prop_map(Arc::from), 0..2));
    let acr = option::of(select(&["mfa", "pwd"][..]).prop_map(Arc::from));
    let sign_in = (team, acr, option::of(0i64..7200));
    let agents = prop_oneof![
        2 => Just(Vec::new()),
        1 => vec(select(&AGENTS[..]), 1..3),
    ];
    let known = (groups, email, kind, names, sign_in, agents);
    option::weighted(0.8, known).prop_map(|principal| {
        principal.map(
            |(groups, email, kind, (provider, subject), (team, acr, ago), agents)| Principal {
                kind,
                provider: provider.into(),
                issuer: format!("https://{provider}").into(),
                subject: subject.into(),
                email,
                display_name: None,
                groups,
                claims: team.map(|team| ("team".into(), team)).into_iter().collect(),
                acr,
                auth_time: ago.map(|ago| now().as_second() - ago),
                agents: agents.into_iter().map(agent).collect(),
            },
        )
    })
}

/// Whole policies, with mappings in some order.
pub(crate) fn policies() -> impl Strategy<Value = Policy> {
    let mapping = (select(&["m1", "m2", "m3"][..]), vec(source(), 0..2));
    let mappings = vec(mapping, 0..4).prop_map(|mappings| {
        let mut named: Vec<Mapping> = Vec::new();
        for (name, mut from) in mappings {
            from.retain(|source| !source.anyone);
            if named.iter().all(|other| *other.name != *name) {
                named.push(Mapping {
                    name: name.into(),
                    from,
                    spiffe_id: "spiffe://{trust_domain}/ns/people/sa/{user}".to_owned(),
                });
            }
        }
        named
    });
    (rules(), mappings).prop_map(|(rules, mappings)| Policy {
        mappings,
        ..policy(rules)
    })
}

pub(crate) fn policy(rules: Vec<Rule>) -> Policy {
    let text = r#"
routes:
  - { name: a, host: a.example, upstream: { addresses: ["u:1"], tls: { server_name: u } } }
  - { name: b, host: b.example, providers: [okta], upstream: { addresses: ["u:1"], tls: { server_name: u } } }
  - { name: c, host: c.example, allow_path_parameters: true, upstream: { addresses: ["u:1"], tls: { server_name: u } } }
route_groups: [{ name: ab, routes: [a, b] }, { name: none, routes: [] }]
people:
  - { name: mixed, from: [{ groups: [sre], providers: [okta] }, { emails: ["*@corp.com"] }, { not_claims: { team: [eng] } }] }
  - { name: nobody, from: [] }
trusted_issuers:
  - { name: ci, issuer: "https://ci.example", audiences: [edge], algorithms: [ES384], required_claims: { repository: ["corp/*"] }, not_claims: { fork: ["true"] }, subject_claim: repository, groups_claim: /a/b, claims: [ref], at_most: 1h }
  - { name: far, issuer: cluster, audiences: [edge], algorithms: [EdDSA], jwks: { keys: [{ kty: OKP, crv: Ed25519, use: sig, x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }] } }
  - { name: aws, aws_roles: ["arn:aws:iam::123456789012:role/deploy", "arn:aws-cn:iam::123456789012:role/ci-*"], at_most: 30m }
  - { name: mesh, trust_domain: partner.example, bundle: "-----BEGIN CERTIFICATE-----\nMIIBijCCAS+gAwIBAgIUYpUAe506bXS4tqtSwW47Ag71lkwwCgYIKoZIzj0EAwIw\nEjEQMA4GA1UEAwwHcGFydG5lcjAeFw0yNjExMzAxNDM3NThaFw00NjExMjUxNDM3\nNThaMBIxEDAOBgNVBAMMB3BhcnRuZXIwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\nAAQdCzzuSGcvPTlNN6eN74j26eleDUoQCVZo/lJoscT3LslF9iEPG0VkBf2Ywn/3\n3Za/S31VeRC2Sl4znkyU5Vm0o2MwYTAdBgNVHQ4EFgQUS/7DckAmIdyy8LPMqygm\n+CSdjs4wHwYDVR0jBBgwFoAUS/7DckAmIdyy8LPMqygm+CSdjs4wDwYDVR0TAQH/\nBAUwAwEB/zAOBgNVHQ8BAf8EBAMCAgQwCgYIKoZIzj0EAwIDSQAwRgIhANKRVeVA\nqGqbpTzlVNZp6sHohyryOOGkx3z2FlCVkW6eAiEA7IhktEceBV+zujmBJ4KokhDp\nf0zRcHS9wIq+4kDnZ/8=\n-----END CERTIFICATE-----\n", spiffe_ids: ["spiffe://partner.example/ns/jobs/*"] }
  - { name: aws-other, aws_roles: ["arn:aws:iam::210987654321:role/*"] }
service_accounts:
  - { name: backup, description: nightly, groups: [ops], until: 2027-01-31, jwks: { keys: [{ kty: OKP, crv: Ed25519, x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }] } }
  - { name: bare, jwks: { keys: [{ kty: OKP, crv: Ed25519, kid: a, x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }] } }
role_bindings: [{ name: chiefs, role: owner, from: [{ people: [mixed] }] }, { name: none, role: auditor, from: [] }]
"#;
    Policy {
        rules: rules.into_iter().map(Arc::new).collect(),
        ..yaml::parse(text).unwrap()
    }
}

pub(crate) fn compile(rules: Vec<Rule>) -> CompiledPolicy {
    CompiledPolicy::new(
        policy(rules),
        Revision(1),
        &TrustDomain::parse("td").unwrap(),
    )
    .unwrap()
}

/// A mapping for everybody who is signed in.
pub(crate) fn everybody() -> Mapping {
    Mapping {
        name: "everybody".into(),
        from: vec![Source {
            signed_in: true,
            ..Source::default()
        }],
        spiffe_id: "spiffe://{trust_domain}/ns/people/sa/{user}".to_owned(),
    }
}

/// A Tuesday.
pub(crate) fn now() -> jiff::Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

/// A stranger who gets the root of the first route, of whom nothing more is known.
pub(crate) fn facts(policy: &CompiledPolicy) -> Facts<'_> {
    Facts {
        principal: None,
        route: &policy.routes()[0],
        method: "GET",
        path: "/",
        now: now(),
        peer: None,
        headers: None,
        grants: &[],
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) principal: Option<Principal>,
    route: usize,
    method: &'static str,
    path: &'static str,
    now: jiff::Timestamp,
    peer: Option<IpAddr>,
    headers: Option<RequestHeaders>,
    pub(crate) grants: Vec<Grant>,
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let peers = &[
        "10.1.2.3",
        "10.9.9.9",
        "192.0.2.1",
        "::ffff:10.0.0.1",
        "fd00::1",
    ][..];
    let peer = option::weighted(0.8, select(peers).prop_map(|text| text.parse().unwrap()));
    let line = select(&["prod", "pre-1", "test", "test,prod", "\u{e9}", ""][..]);
    let headers = option::weighted(0.8, vec(line, 0..3)).prop_map(|lines| {
        lines.map(|lines| {
            RequestHeaders::read(&["x-env".into()], |_| {
                lines.iter().map(|line| line.as_bytes())
            })
        })
    });
    let now = prop_oneof![
        Just(now()),
        select(&MOMENTS[..]).prop_map(|text| text.parse().unwrap()),
    ];
    let what = (0..5usize, select(&METHODS[..]), select(&PATHS[..]));
    (principal(), what, now, peer, headers, grants()).prop_map(
        |(principal, (route, method, path), now, peer, headers, grants)| Request {
            principal,
            route,
            method,
            path,
            now,
            peer,
            headers,
            grants,
        },
    )
}

impl Request {
    pub(crate) fn facts<'a>(&'a self, policy: &'a CompiledPolicy) -> Facts<'a> {
        Facts {
            principal: self.principal.as_ref(),
            route: match self.route {
                3 => policy.svid(SvidKind::X509),
                4 => policy.svid(SvidKind::Jwt),
                route => &policy.routes()[route],
            },
            method: self.method,
            path: self.path,
            now: self.now,
            peer: self.peer,
            headers: self.headers.as_ref(),
            grants: &self.grants,
        }
    }

    pub(crate) fn verdict(&self, rules: &[Rule]) -> Verdict {
        let policy = compile(rules.to_vec());
        policy.decide(&self.facts(&policy))
    }
}
