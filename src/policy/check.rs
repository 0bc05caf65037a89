//! What must hold between the parts of a policy: names are unique and lead somewhere, and no two routes claim one place.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::policy::model::{Policy, Route, Source, Target, Transport};
use crate::policy::template::IdentityTemplate;
use crate::policy::yaml::PolicyFault;

/// All faults between parts; they have keys but no lines, which only the document knows.
pub fn check(policy: &Policy) -> Vec<PolicyFault> {
    let mut faults = Vec::new();
    let route_names: Vec<&Arc<str>> = policy.routes.iter().map(|route| &route.name).collect();
    let mapping_names: Vec<&Arc<str>> = policy
        .mappings
        .iter()
        .map(|mapping| &mapping.name)
        .collect();
    let rule_names: Vec<&Arc<str>> = policy.rules.iter().map(|rule| &rule.name).collect();
    unique_names(&mut faults, "routes", &route_names);
    unique_names(&mut faults, "mappings", &mapping_names);
    unique_names(&mut faults, "rules", &rule_names);
    routes(&mut faults, &policy.routes);
    mappings(&mut faults, policy);
    let known: HashSet<&str> = route_names.iter().map(|name| &***name).collect();
    for (index, rule) in policy.rules.iter().enumerate() {
        for (at, target) in rule.to.iter().flatten().enumerate() {
            named_routes(
                &mut faults,
                &format!("rules[{index}].to[{at}]"),
                target,
                &known,
            );
        }
    }
    faults
}

/// Names of providers in the policy that are not among those configured.
pub fn unknown_providers(policy: &Policy, known: &[&str]) -> Vec<PolicyFault> {
    let mut faults = Vec::new();
    let mut look = |key: String, names: Option<&Vec<Arc<str>>>| {
        for (index, name) in names.into_iter().flatten().enumerate() {
            if !known.contains(&&**name) {
                let message = format!("no identity provider or trusted issuer is called {name}");
                faults.push(fault(format!("{key}[{index}]"), message));
            }
        }
    };
    for (index, route) in policy.routes.iter().enumerate() {
        look(
            format!("routes[{index}].providers"),
            route.providers.as_ref(),
        );
    }
    let mapped = policy
        .mappings
        .iter()
        .enumerate()
        .map(|(index, mapping)| (format!("mappings[{index}]"), &mapping.from));
    let ruled = policy
        .rules
        .iter()
        .enumerate()
        .map(|(index, rule)| (format!("rules[{index}]"), &rule.from));
    for (key, from) in mapped.chain(ruled) {
        for (at, source) in from.iter().enumerate() {
            look(
                format!("{key}.from[{at}].providers"),
                source.providers.as_ref(),
            );
            look(
                format!("{key}.from[{at}].not_providers"),
                source.not_providers.as_ref(),
            );
        }
    }
    faults
}

pub(super) fn fault(key: String, message: String) -> PolicyFault {
    PolicyFault {
        line: 0,
        column: 0,
        key,
        message,
    }
}

fn unique_names(faults: &mut Vec<PolicyFault>, part: &str, names: &[&Arc<str>]) {
    let mut seen = HashSet::new();
    for (index, name) in names.iter().enumerate() {
        if !seen.insert(name) {
            faults.push(fault(
                format!("{part}[{index}].name"),
                format!("the name {name} is taken already"),
            ));
        }
    }
}

fn routes(faults: &mut Vec<PolicyFault>, routes: &[Route]) {
    let mut places: HashMap<(&str, &str), &str> = HashMap::new();
    for (index, route) in routes.iter().enumerate() {
        if let Some(other) = places.insert((route.host.as_str(), &route.prefix), &route.name) {
            let message = format!("route {other} has this host and prefix already");
            faults.push(fault(format!("routes[{index}].host"), message));
        }
        if route.strip_prefix && route.prefix == "/" {
            let message = "there is no prefix to take off".to_owned();
            faults.push(fault(format!("routes[{index}].strip_prefix"), message));
        }
        if let Transport::Mtls { spiffe_ids } = &route.upstream.transport
            && spiffe_ids.is_empty()
        {
            let message = "there must be a SPIFFE ID that the upstream has to prove".to_owned();
            faults.push(fault(
                format!("routes[{index}].upstream.mtls.spiffe_ids"),
                message,
            ));
        }
        if route.upstream.addresses.is_empty() {
            let message = "there must be an address".to_owned();
            faults.push(fault(
                format!("routes[{index}].upstream.addresses"),
                message,
            ));
        }
    }
}

fn mappings(faults: &mut Vec<PolicyFault>, policy: &Policy) {
    for (index, mapping) in policy.mappings.iter().enumerate() {
        let key = format!("mappings[{index}].spiffe_id");
        match IdentityTemplate::parse(&mapping.spiffe_id) {
            Err(why) => faults.push(fault(key, why.to_string())),
            Ok(template) if template.names_the_caller() && mapping.from.iter().any(is_anyone) => {
                let message = "somebody who is not signed in has no name to put here; give `anyone` a mapping of its own";
                faults.push(fault(key, message.to_owned()));
            }
            Ok(_) => {}
        }
    }
}

fn is_anyone(source: &Source) -> bool {
    source.anyone
}

fn named_routes(faults: &mut Vec<PolicyFault>, key: &str, target: &Target, known: &HashSet<&str>) {
    for (field, names) in [
        ("routes", &target.routes),
        ("not_routes", &target.not_routes),
    ] {
        for (index, name) in names.iter().flatten().enumerate() {
            if !known.contains(&**name) {
                faults.push(fault(
                    format!("{key}.{field}[{index}]"),
                    format!("there is no route called {name}"),
                ));
            }
        }
    }
}
