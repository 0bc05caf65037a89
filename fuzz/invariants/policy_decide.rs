//! The indexed decision is the one that going through all rules gives. Input: a policy document, then lines
//! `---`, method, path, provider, subject, e-mail, and groups (`?` for unknown; nothing after the path for a stranger).

use wayleave::clock::Timestamp;
use wayleave::identity::email::Email;
use wayleave::identity::principal::{Groups, Principal, PrincipalKind};
use wayleave::identity::spiffe_id::TrustDomain;
use wayleave::policy::compile::CompiledPolicy;
use wayleave::policy::decide::{Facts, Grant};
use wayleave::policy::model::Revision;
use wayleave::policy::yaml;

fn principal<'a>(mut lines: impl Iterator<Item = &'a str>) -> Option<Principal> {
    let provider = lines.next()?;
    let subject = lines.next().unwrap_or_default();
    let email = lines.next().and_then(|text| Email::parse(text).ok());
    let groups: Vec<&str> = lines.collect();
    let groups = match groups.as_slice() {
        ["?", ..] => Groups::Missing,
        known => Groups::Known(known.iter().copied().map(Into::into).collect()),
    };
    Some(Principal {
        kind: PrincipalKind::User,
        provider: provider.into(),
        issuer: provider.into(),
        subject: subject.into(),
        email,
        display_name: None,
        groups,
        claims: std::collections::BTreeMap::new(),
        acr: None,
        auth_time: None,
        agents: Vec::new(),
    })
}

/// See the module.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(input) = std::str::from_utf8(bytes) else {
        return;
    };
    let Some((document, request)) = input.split_once("\n---\n") else {
        return;
    };
    let (Ok(policy), Ok(trust_domain)) = (yaml::parse(document), TrustDomain::parse("td")) else {
        return;
    };
    let Ok(policy) = CompiledPolicy::new(policy, Revision(1), &trust_domain) else {
        return;
    };
    let mut lines = request.lines();
    let method = lines.next().unwrap_or("GET");
    let path = lines.next().unwrap_or("/");
    let principal = principal(lines);
    let now = Timestamp::from_seconds(1_795_521_600).to_jiff();
    let every: Vec<Grant> = policy
        .policy()
        .rules
        .iter()
        .map(|rule| Grant {
            rule: rule.name.clone(),
            until: now + jiff::SignedDuration::from_secs(1),
        })
        .collect();
    for (route, grants) in policy
        .routes()
        .iter()
        .flat_map(|route| [(route, &[][..]), (route, &every)])
    {
        let facts = Facts {
            principal: principal.as_ref(),
            route,
            method,
            path,
            now,
            peer: None,
            headers: None,
            grants,
        };
        assert_eq!(policy.decide(&facts), policy.explain(&facts).verdict);
        let _chosen = policy.route(&route.route.host, path);
    }
    if let Ok(identity) = policy.mesh_identity(principal.as_ref()) {
        assert!(identity.as_str().starts_with("spiffe://td/ns/"));
    }
}
