//! The workloads that routes lead to: where they are by their SPIFFE IDs, and which pods they are by labels.

use std::collections::BTreeMap;

use crate::identity::spiffe_id::MeshIdentity;
use crate::policy::compile::CompiledPolicy;
use crate::policy::istio::manifest::{Metadata, OWNER_LABEL, WorkloadSelector};
use crate::policy::istio::{Effect, IstioFault, Note, Placement, Wanted};
use crate::policy::model::{Route, Transport};

/// A workload, and the routes that lead to it.
pub(super) struct Workload<'a> {
    pub(super) namespace: String,
    pub(super) service_account: String,
    pub(super) labels: BTreeMap<String, String>,
    /// Each with the workload's ports.
    pub(super) routes: Vec<(&'a Route, Vec<u16>)>,
    /// What is to be known of it.
    pub(super) notes: Vec<Note>,
}

impl<'a> Workload<'a> {
    /// The same workload with these routes alone.
    pub(super) fn with_routes(&self, routes: Vec<(&'a Route, Vec<u16>)>) -> Self {
        Self {
            namespace: self.namespace.clone(),
            service_account: self.service_account.clone(),
            labels: self.labels.clone(),
            routes,
            notes: Vec::new(),
        }
    }

    pub(super) fn selector(&self) -> WorkloadSelector {
        WorkloadSelector {
            match_labels: self.labels.clone(),
        }
    }

    pub(super) fn metadata(&self, purpose: &str) -> Metadata {
        let (key, value) = OWNER_LABEL;
        Metadata {
            name: format!("wayleave-{}{purpose}", self.service_account),
            namespace: self.namespace.clone(),
            labels: [(key.to_owned(), value.to_owned())].into(),
        }
    }
}

/// Longest name of an object, without what is put around that of the service account.
const LONGEST_NAME: usize = 253 - "wayleave--default-deny".len();
/// Longest value of a label.
const LONGEST_LABEL: usize = 63;

/// All workloads by name, and what is said of routes that lead to none.
pub(super) fn find<'a>(
    policy: &'a CompiledPolicy,
    wanted: &Wanted,
) -> Result<(Vec<Workload<'a>>, Vec<Note>), IstioFault> {
    check(&wanted.workloads)?;
    let mut found: BTreeMap<(String, String), Workload<'a>> = BTreeMap::new();
    let mut notes = Vec::new();
    for route in &policy.policy().routes {
        let mut skip = |why: &str| {
            notes.push(Note {
                about: format!("route {}", route.name),
                effect: Effect::LeavesToTheEdge,
                why: why.to_owned(),
            });
        };
        let Transport::Mtls { spiffe_ids } = &route.upstream.transport else {
            skip("its upstream is outside of the mesh");
            continue;
        };
        if route.kubernetes.is_some() {
            skip(
                "an API server gets no assertion, so its proxy cannot tell what the rules ask for",
            );
            continue;
        }
        for id in spiffe_ids {
            let Some(identity) = placed(id.as_str()) else {
                skip(&format!(
                    "{id} names no namespace and service account of Kubernetes"
                ));
                continue;
            };
            let key = (
                identity.namespace().to_owned(),
                identity.service_account().to_owned(),
            );
            let placement = wanted.workloads.iter().find(|placement| {
                placement.namespace == key.0 && placement.service_account == key.1
            });
            if placement.is_none_or(|placement| placement.labels.is_none())
                && !is_label_value(&key.1)
            {
                skip(&format!(
                    "{id} is too long for a label: give the labels of its pods"
                ));
                continue;
            }
            let workload = found
                .entry(key.clone())
                .or_insert_with(|| workload(key, placement));
            workload.routes.push((route, ports(route, placement)));
        }
    }
    let lost = wanted.workloads.iter().find(|placement| {
        let key = (
            placement.namespace.clone(),
            placement.service_account.clone(),
        );
        !found.contains_key(&key)
    });
    if let Some(lost) = lost {
        return Err(IstioFault::NoSuchWorkload(
            lost.namespace.clone(),
            lost.service_account.clone(),
        ));
    }
    Ok((found.into_values().collect(), notes))
}

fn workload<'a>(key: (String, String), placement: Option<&Placement>) -> Workload<'a> {
    let (namespace, service_account) = key;
    let given = placement.and_then(|placement| placement.labels.clone());
    let about = format!("workload {namespace}/{service_account}");
    let mut notes = Vec::new();
    let mut look = |why: String| {
        notes.push(Note {
            about: about.clone(),
            effect: Effect::Look,
            why,
        });
    };
    if given.is_none() {
        look(format!(
            "its pods are taken to have the label app={service_account}; say otherwise with --selector {namespace}/{service_account}=KEY:VALUE"
        ));
    }
    if placement.is_none_or(|placement| placement.ports.is_empty()) {
        look(format!(
            "its ports are taken to be those of its addresses; where a Service maps them, say --target-port {namespace}/{service_account}=PORT:TARGET"
        ));
    }
    let labels = given.unwrap_or_else(|| [("app".to_owned(), service_account.clone())].into());
    Workload {
        namespace,
        service_account,
        labels,
        routes: Vec::new(),
        notes,
    }
}

fn ports(route: &Route, placement: Option<&Placement>) -> Vec<u16> {
    let mapped = placement.map(|placement| &placement.ports);
    let own = |port: u16| mapped.and_then(|ports| ports.get(&port)).copied();
    let addresses = route.upstream.addresses.iter();
    let mut ports: Vec<u16> = addresses
        .map(|address| own(address.port).unwrap_or(address.port))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// A SPIFFE ID of Istio's shape with names that Kubernetes could have.
fn placed(id: &str) -> Option<MeshIdentity> {
    let identity = MeshIdentity::parse(id).ok()?;
    let is_namespace = identity.namespace().len() <= LONGEST_LABEL
        && !identity.namespace().contains('.')
        && is_name(identity.namespace());
    let account = identity.service_account();
    let is_account = account.len() <= LONGEST_NAME && account.split('.').all(is_name);
    (is_namespace && is_account).then_some(identity)
}

/// RFC 1123's label, but for its length.
fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes()
        .all(|byte| is_plain(byte) || byte == b'-' || byte == b'.')
        && [text.bytes().next(), text.bytes().last()]
            .iter()
            .all(|byte| byte.is_some_and(is_plain))
}

fn check(placements: &[Placement]) -> Result<(), IstioFault> {
    for placement in placements {
        for (key, value) in placement.labels.iter().flatten() {
            let name =
                key.rsplit_once('/').map_or(
                    key.as_str(),
                    |(prefix, name)| {
                        if is_name(prefix) { name } else { "" }
                    },
                );
            if !is_label_value(name) || !is_label_value(value) {
                return Err(IstioFault::Label(format!("{key}={value}")));
            }
        }
        // None at all would select every pod of the namespace.
        if placement.labels.as_ref().is_some_and(BTreeMap::is_empty) {
            return Err(IstioFault::Label("nothing".to_owned()));
        }
        if placement
            .ports
            .iter()
            .any(|(from, to)| *from == 0 || *to == 0)
        {
            return Err(IstioFault::Port);
        }
    }
    Ok(())
}

/// Letters, digits, `-`, `_`, `.`; a letter or digit first and last. Kubernetes takes an empty value as well; nobody selects by it.
fn is_label_value(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.len() <= LONGEST_LABEL
        && text.bytes().all(is_inner)
        && [text.bytes().next(), text.bytes().last()]
            .iter()
            .all(|byte| byte.is_some_and(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::spiffe_id::TrustDomain;
    use crate::policy::model::Revision;

    #[test]
    fn an_api_server_is_left_to_the_edge() {
        let text = "routes:\n  - name: k\n    host: k.example\n    upstream: { addresses: [\"k:1\"], mtls: { spiffe_ids: [\"spiffe://td/ns/k/sa/k\"] } }\n";
        let found = |text: &str| {
            let policy = crate::policy::yaml::parse(text).unwrap();
            let own = TrustDomain::parse("td").unwrap();
            let policy = CompiledPolicy::new(policy, Revision(1), &own).unwrap();
            let (found, notes) = find(&policy, &Wanted::default()).unwrap();
            (found.len(), notes.len())
        };
        assert_eq!(found(text), (1, 0));
        assert_eq!(found(&format!("{text}    kubernetes: {{}}\n")), (0, 1));
    }
}
