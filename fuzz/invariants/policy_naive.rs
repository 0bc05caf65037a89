//! The engine decides as an evaluator that shares nothing with it. Input: a policy document, then lines `---`, method, path, moment, address of the
//! connection (`?` for unknown), value of the header `x-env` (`?` for unknown), and for somebody who is signed in provider, kind, subject, e-mail, acr,
//! value of the claim `team` (`?` for unknown), and groups (`?` for unknown).

use std::sync::Arc;

use wayleave::clock::Timestamp;
use wayleave::identity::email::Email;
use wayleave::identity::principal::{Groups, Principal, PrincipalKind};
use wayleave::identity::spiffe_id::TrustDomain;
use wayleave::policy::compile::CompiledPolicy;
use wayleave::policy::decide::Facts;
use wayleave::policy::model::Revision;
use wayleave::policy::when::RequestHeaders;
use wayleave::policy::yaml;

#[path = "../../src/policy/properties/naive.rs"]
mod naive;

fn known(line: Option<&str>) -> Option<&str> {
    line.filter(|line| *line != "?")
}

fn principal<'a>(mut lines: impl Iterator<Item = &'a str>) -> Option<Principal> {
    let provider = lines.next()?;
    let kind = match lines.next() {
        Some("workload") => PrincipalKind::Workload,
        _ => PrincipalKind::User,
    };
    let subject = lines.next().unwrap_or_default();
    let email = lines.next().and_then(|text| Email::parse(text).ok());
    let acr = known(lines.next()).map(Arc::from);
    let team = known(lines.next()).map(|team| ("team".into(), vec![team.into()]));
    let groups: Vec<&str> = lines.collect();
    let groups = match groups.as_slice() {
        ["?", ..] => Groups::Missing,
        known => Groups::Known(known.iter().copied().map(Into::into).collect()),
    };
    Some(Principal {
        kind,
        provider: provider.into(),
        issuer: provider.into(),
        subject: subject.into(),
        email,
        display_name: None,
        groups,
        claims: team.into_iter().collect(),
        acr,
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
    // Whoever decides has been through this.
    if wayleave::address::path::examine_path(path).is_err() {
        return;
    }
    let now = lines.next().and_then(|text| text.parse().ok());
    let peer = known(lines.next()).and_then(|text| text.parse().ok());
    let header = known(lines.next());
    let headers = header.map(|value| {
        RequestHeaders::read(policy.header_names(), |name| {
            let own = (name == "x-env").then_some(value.as_bytes());
            own.into_iter()
        })
    });
    let principal = principal(lines);
    for route in policy.routes() {
        let facts = Facts {
            principal: principal.as_ref(),
            route,
            method,
            path,
            now: now.unwrap_or_else(|| Timestamp::from_seconds(1_795_521_600).to_jiff()),
            peer,
            headers: headers.as_ref(),
            grants: &[],
        };
        let slowly = naive::decide(policy.policy(), &facts);
        assert_eq!(policy.decide(&facts), slowly);
        assert_eq!(policy.explain(&facts).verdict, slowly);
    }
}
