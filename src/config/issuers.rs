//! `[[trusted_issuers]]`: issuers whose JWTs are accepted as bearer tokens.

use std::collections::BTreeSet;

use jsonwebtoken::Algorithm;

use crate::config::checked::{IssuerReach, PolicyIssuers, TrustedIssuerConfig};
use crate::config::providers::{Reach, name, reach, url};
use crate::config::section::Section;
use crate::identity::algorithm::algorithm;
use crate::identity::principal::PrincipalKind;

/// Reads all trusted issuers. `names` are those taken so far.
pub(super) fn read(
    root: &Section<'_>,
    names: &mut BTreeSet<String>,
) -> Option<Vec<TrustedIssuerConfig>> {
    let sections = root.each("trusted_issuers");
    let mut issuers = BTreeSet::new();
    let read: Vec<_> = sections
        .iter()
        .map(|section| {
            let issuer = issuer(section, names)?;
            if !issuers.insert(issuer.issuer.clone()) {
                section.fault(
                    "issuer",
                    "another trusted issuer has this issuer; tokens could not be told apart",
                );
                return None;
            }
            Some(issuer)
        })
        .collect();
    read.into_iter().collect()
}

fn issuer(section: &Section<'_>, names: &mut BTreeSet<String>) -> Option<TrustedIssuerConfig> {
    let name = name(section, names);
    let reach = reach(section);
    let insecure = reach.as_ref().is_some_and(|reach| reach.insecure_loopback);
    let issuer = section.required("issuer");
    // With a key set of its own an issuer is a text that is compared and never visited (Kubernetes clusters have such).
    let jwks_url = if section.has("jwks_url") {
        let text = section.text("jwks_url");
        text.and_then(|text| url(section, "jwks_url", &text, insecure))
            .map(Some)
    } else {
        issuer
            .as_deref()
            .and_then(|text| url(section, "issuer", text, insecure))
            .map(|_| None)
    };
    let audiences = section.required_list("audiences");
    let algorithms = algorithms(section);
    let kind = section.required_parsed("kind", |text| match text {
        "user" => Ok(PrincipalKind::User),
        "workload" => Ok(PrincipalKind::Workload),
        _ => Err("this must be \"user\" or \"workload\""),
    });
    let groups_claim = section.text("groups_claim");
    let claims = section.list("claims").unwrap_or_default();
    let trust_email = section.flag("trust_email").unwrap_or(false);
    let required_claims = section.section("required_claims").entries();
    let reach = reach?;
    Some(TrustedIssuerConfig {
        name: name?.into(),
        issuer: issuer?.into(),
        jwks_url: jwks_url?,
        audiences: audiences?,
        algorithms: algorithms?,
        kind: kind?,
        groups_claim,
        claims: claims.into_iter().map(Into::into).collect(),
        trust_email,
        required_claims,
        reach: issuer_reach(reach),
    })
}

/// Reads `[policy_issuers]`: where those whom a policy trusts may be.
pub(super) fn of_policy(section: &Section<'_>) -> Option<PolicyIssuers> {
    const KEY: &str = "insecure_sts_endpoint";
    let reach = reach(section);
    let is_test = reach.as_ref().is_some_and(|reach| reach.insecure_loopback);
    let endpoint = match section.has(KEY) {
        false => Some(None),
        true => section.text(KEY).and_then(|text| {
            let url = url(section, KEY, &text, is_test)?;
            let is_fine = url.scheme() == "http" && url.path() == "/" && url.query().is_none();
            if !is_fine {
                section.fault(KEY, "this must be like http://127.0.0.1:5000: whatever listens there is believed to be AWS");
            }
            is_fine.then_some(Some(url))
        }),
    };
    Some(PolicyIssuers {
        reach: issuer_reach(reach?),
        insecure_sts_endpoint: endpoint?,
    })
}

fn issuer_reach(reach: Reach) -> IssuerReach {
    IssuerReach {
        ca_file: reach.ca_file,
        allowed_private_networks: reach.allowed_private_networks,
        insecure_allow_http_loopback: reach.insecure_loopback,
    }
}

fn algorithms(section: &Section<'_>) -> Option<Vec<Algorithm>> {
    let names = section.required_list("algorithms")?;
    let mut algorithms = Vec::new();
    for name in &names {
        match algorithm(name) {
            Ok(algorithm) => algorithms.push(algorithm),
            Err(fault) => section.fault("algorithms", format!("{name:?}: {fault}")),
        }
    }
    (algorithms.len() == names.len()).then_some(algorithms)
}
