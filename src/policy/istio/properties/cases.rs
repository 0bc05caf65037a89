//! Random policies at one workload, the requests that come to it through the edge, and how the two may differ.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use wayleave::address::host::Host;
use wayleave::address::origin::{Origin, Scheme};
use wayleave::identity::principal::{Groups, Principal, PrincipalKind};
use wayleave::identity::spiffe_id::TrustDomain;
use wayleave::policy::compile::{CompiledPolicy, CompiledRoute};
use wayleave::policy::decide::{DenyReason, Facts, Verdict};
use wayleave::policy::istio::{self, Edge, Effect, Note, Placement, Wanted, WorkloadExport};
use wayleave::policy::matcher::{PathMatch, TextMatch};
use wayleave::policy::model::{Action, Mode, Policy, Revision, Rule, Source, Target};
use wayleave::policy::yaml;

use super::meaning::Seen;
use super::strategies::{METHODS, principal};

pub(crate) const TRUST_DOMAIN: &str = "demo.wayleave";
pub(crate) const ISSUER: &str = "https://access.example";
/// More than those of the shared alphabet: with stars and dots in them.
pub(crate) const PATHS: [&str; 19] = [
    "/x/$a", "/x/%24a", "/", "/a", "/a/", "/a/b", "/a/b/c", "/admin", "/admin/x", "/d;v=1/b",
    "/d/b", "/ax/b", "/a/*", "/a*b", "/a/=", "/p", "/p/", "/p/a", "/p/a/b",
];
pub(crate) const HOSTS: [&str; 4] = ["a.example", "b.example", "c.example", "d.example"];

/// These rules on routes of every kind to one workload, which listens on a port.
pub(crate) fn policy(rules: Vec<Rule>, port: u16) -> Policy {
    let upstream = format!(
        "upstream: {{ addresses: ['127.0.0.1:{port}'], mtls: {{ spiffe_ids: ['spiffe://{TRUST_DOMAIN}/ns/apps/sa/web'] }} }}"
    );
    let text = format!(
        r#"
routes:
  - {{ name: a, host: a.example, {upstream} }}
  - {{ name: a-admin, host: a.example, prefix: /admin, {upstream} }}
  - {{ name: b, host: b.example, providers: [okta], {upstream} }}
  - {{ name: c, host: c.example, allow_path_parameters: true, {upstream} }}
  - {{ name: d, host: d.example, prefix: /p, strip_prefix: true, {upstream} }}
route_groups: [{{ name: ab, routes: [a, b] }}, {{ name: none, routes: [] }}]
people:
  - {{ name: mixed, from: [{{ groups: [sre], providers: [okta] }}, {{ emails: ["*@corp.com"] }}, {{ not_claims: {{ team: [eng] }} }}] }}
  - {{ name: nobody, from: [] }}
mappings:
  - {{ name: sre, from: [{{ groups: [sre] }}], spiffe_id: 'spiffe://{{trust_domain}}/ns/people/sa/s.re' }}
  - {{ name: people, from: [{{ signed_in: true }}], spiffe_id: 'spiffe://{{trust_domain}}/ns/people/sa/p-{{user}}' }}
  - {{ name: guests, from: [{{ anyone: true }}], spiffe_id: 'spiffe://{{trust_domain}}/ns/people/sa/guest' }}
"#
    );
    Policy {
        rules: rules.into_iter().map(Arc::new).collect(),
        ..yaml::parse(&text).unwrap()
    }
}

pub(crate) fn compile(policy: Policy) -> CompiledPolicy {
    let trust_domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
    CompiledPolicy::new(policy, Revision(1), &trust_domain).unwrap()
}

/// The one workload's manifests.
pub(crate) fn export(policy: &CompiledPolicy, jwks: Value, ambient: bool) -> WorkloadExport {
    let edge = Edge {
        issuer: ISSUER.to_owned(),
        jwks,
        doors: vec![(Scheme::Https, 443)],
        providers: vec!["okta".into()],
        issuers: vec!["entra".into(), "other".into()],
    };
    let wanted = Wanted {
        ambient,
        workloads: vec![Placement {
            namespace: "apps".to_owned(),
            service_account: "web".to_owned(),
            labels: Some([("app".to_owned(), "web".to_owned())].into()),
            ports: [(9, 9)].into(),
        }],
    };
    let mut found = istio::export(policy, &edge, &wanted).unwrap();
    assert_eq!(found.workloads.len(), 1);
    found.workloads.remove(0)
}

pub(crate) fn as_json(export: &WorkloadExport) -> Vec<Value> {
    let manifests = export.manifests.iter();
    manifests
        .map(|manifest| serde_json::to_value(manifest).unwrap())
        .collect()
}

/// In the configuration a name is that of a provider or of an issuer, so a caller's kind follows from it.
pub(crate) fn of_its_kind(principal: Principal) -> Principal {
    let kind = match &*principal.provider {
        "okta" => PrincipalKind::User,
        _ => PrincipalKind::Workload,
    };
    // Which agent acts is left to the edge, whose decision every request has passed.
    Principal {
        kind,
        agents: Vec::new(),
        ..principal
    }
}

/// A request before the edge.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) principal: Option<Principal>,
    pub(crate) host: &'static str,
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
}

/// The same, as the edge decides it and as it would come to the workload.
pub(crate) struct Passage<'a> {
    pub(crate) route: &'a Arc<CompiledRoute>,
    pub(crate) verdict: Verdict,
    pub(crate) seen: Seen,
}

impl Asked {
    pub(crate) fn origin(&self) -> Origin {
        Origin {
            scheme: Scheme::Https,
            host: Host::parse(self.host).unwrap(),
            port: 443,
        }
    }

    /// `None` if the edge has no such route, would not take such a path, or has nobody to send.
    pub(crate) fn pass<'a>(&self, policy: &'a CompiledPolicy, port: u16) -> Option<Passage<'a>> {
        let origin = self.origin();
        let route = policy.route(&origin.host, self.path)?;
        if self.path.contains(';') && !route.route.allow_path_parameters {
            return None;
        }
        let identity = policy.mesh_identity(self.principal.as_ref()).ok()?;
        let verdict = policy.decide(&Facts {
            principal: self.principal.as_ref(),
            route,
            method: self.method,
            path: self.path,
            now: "2026-11-24T12:00:00Z".parse().unwrap(),
            peer: Some([10, 1, 2, 3].into()),
            headers: None,
            grants: &[],
        });
        let path = if route.route.strip_prefix {
            let rest = self.path.strip_prefix(route.route.prefix.as_str()).unwrap();
            if rest.is_empty() { "/" } else { rest }
        } else {
            self.path
        };
        let seen = Seen {
            principal: identity
                .as_str()
                .strip_prefix("spiffe://")
                .unwrap()
                .to_owned(),
            host: self.host.to_owned(),
            port,
            method: self.method.to_owned(),
            path: path.to_owned(),
            takes_all: true,
            claims: self.principal.as_ref().map(|one| claims(one, &origin)),
        };
        Some(Passage {
            route,
            verdict,
            seen,
        })
    }
}

/// As the assertion has them.
fn claims(principal: &Principal, origin: &Origin) -> Value {
    let mut claims = json!({
        "iss": ISSUER,
        "aud": origin.to_string(),
        "sub": &*principal.subject,
        "provider": &*principal.provider,
    });
    if let Some(email) = &principal.email {
        claims["email"] = email.as_str().into();
    }
    if let Groups::Known(groups) = &principal.groups {
        claims["groups"] = groups.iter().map(|group| group.to_string()).collect();
    }
    claims
}

/// What is wrong with the two answers: a difference that no note tells.
pub(crate) fn unexplained(
    policy: &CompiledPolicy,
    export: &WorkloadExport,
    passage: &Passage<'_>,
    at_the_workload: bool,
) -> Option<String> {
    let at_the_edge = matches!(passage.verdict, Verdict::Allow { .. });
    if at_the_edge == at_the_workload {
        return None;
    }
    let route = &*passage.route.route.name;
    let on_route = format!("route {route}");
    let rules = &policy.policy().rules;
    let is_told = |effect: Effect, fits: &dyn Fn(&Note) -> bool| {
        let notes = export.notes.iter();
        let mut told = notes.filter(|note| note.effect == effect);
        told.any(|note| note.about == on_route || (note.about.ends_with(&on_route) && fits(note)))
    };
    let is_about = |note: &Note, name: &str| note.about == format!("rule {name} on {on_route}");
    let denies = |note: &Note| {
        let mut all = rules.iter().filter(|rule| rule.action == Action::Deny);
        all.any(|rule| is_about(note, &rule.name))
    };
    let is_explained = match &passage.verdict {
        Verdict::Allow { rule, .. } => is_told(Effect::RefusesMore, &|note| {
            is_about(note, rule) || denies(note)
        }),
        Verdict::Deny(DenyReason::Rule { rule }) => {
            is_told(Effect::LeavesToTheEdge, &|note| is_about(note, rule))
        }
        // Nothing allows it, but what comes as the same path may be allowed.
        Verdict::Deny(DenyReason::NoRule) => is_told(Effect::LeavesToTheEdge, &|note| {
            note.why.contains("once the prefix is taken off")
        }),
        // A stranger whom a deny rule might mean.
        Verdict::SignIn => is_told(Effect::LeavesToTheEdge, &|note| {
            denies(note) || note.why.contains("once the prefix is taken off")
        }),
        Verdict::StepUp { .. }
        | Verdict::Ask { .. }
        | Verdict::Deny(DenyReason::Provider | DenyReason::Agent) => false,
    };
    (!is_explained).then(|| {
        format!(
            "edge {:?}, workload {at_the_workload} on {on_route}: {:?}\n{}",
            passage.verdict,
            passage.seen,
            export.text("The manifests")
        )
    })
}

/// Rules of what Istio can say, but for what is known of groups.
pub(crate) fn sayable_rules() -> impl Strategy<Value = Vec<Rule>> {
    let texts = |forms: &'static [&'static str]| {
        let condition = select(forms).prop_map(|form| TextMatch::parse(form).unwrap());
        vec(condition, 1..3)
    };
    let source = (0..12u8, any::<bool>()).prop_flat_map(move |(kind, signed_in)| {
        let groups = texts(&["sre", "sre-*", "*-eu", "ops", "x"]);
        let emails = texts(&["alice@corp.com", "*@corp.com", "bob*", "*"]);
        let subjects = texts(&["1", "2", "*"]);
        (groups, emails, subjects).prop_map(move |(groups, emails, subjects)| {
            let mut source = Source {
                signed_in,
                ..Source::default()
            };
            match kind {
                0 => {
                    return Source {
                        anyone: true,
                        ..Source::default()
                    };
                }
                1 | 2 => source.groups = Some(groups),
                3 => source.not_groups = Some(groups),
                4 => source.emails = Some(emails),
                5 => source.not_emails = Some(emails),
                6 => source.subjects = Some(subjects),
                7 => source.not_subjects = Some(subjects),
                8 => source.providers = Some(vec!["okta".into()]),
                9 => source.not_providers = Some(vec!["okta".into(), "entra".into()]),
                10 => source.kinds = Some(vec![PrincipalKind::User]),
                _ => source.signed_in = true,
            }
            source
        })
    });
    let target = (0..6u8, any::<bool>()).prop_flat_map(|(kind, only_reads)| {
        let forms = &[
            "/a",
            "/a/",
            "/admin",
            "/a*",
            "/a/*",
            "/a/{**}",
            "/d/{**}",
            "/{**}/b",
            "*b",
            "/p/{**}",
            "/p/a*",
            "/admin/{**}",
            "/a/{*}",
            "/x/$a",
            "/x/%24*",
        ][..];
        let paths = vec(
            select(forms).prop_map(|form| PathMatch::parse(form).unwrap()),
            1..3,
        );
        paths.prop_map(move |paths| {
            let mut target = Target::default();
            match kind {
                0 | 1 => target.paths = Some(paths),
                2 => target.not_paths = Some(paths),
                3 => target.routes = Some(vec!["a".into(), "d".into()]),
                _ => {}
            }
            if only_reads || target == Target::default() {
                target.methods = Some(vec!["GET".to_owned()]);
            }
            target
        })
    });
    let actions = &[Action::Allow, Action::Allow, Action::Deny][..];
    let rule = (
        select(actions),
        vec(source, 1..3),
        option::of(vec(target, 1..3)),
    );
    vec(rule, 1..5).prop_map(|rules| {
        let named = rules.into_iter().enumerate();
        let rule = |(index, (action, from, to))| Rule {
            name: format!("r{index}").into(),
            action,
            mode: Mode::Enforce,
            from,
            to,
            when: None,
            require: None,
            approval: None,
        };
        named.map(rule).collect()
    })
}

pub(crate) fn asked() -> impl Strategy<Value = Asked> {
    let what = (select(&HOSTS[..]), select(&METHODS[..]), select(&PATHS[..]));
    (principal(), what).prop_map(|(principal, (host, method, path))| Asked {
        principal: principal.map(of_its_kind),
        host,
        method,
        path,
    })
}
