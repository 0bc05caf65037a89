//! The policy as Istio's manifests: what a workload's own sidecar (or ztunnel) can enforce of what the edge enforces.
//!
//! The workload sees the mesh identity of the connection and, with the signed assertion, who the person is. What Istio cannot express never
//! widens: a part of an allow rule that cannot be said is left out or narrowed to what is certain, a deny rule that cannot be said is reported.
//! Every such difference is a [`Note`], so that a manifest never refuses in silence what the edge allows.
//!
//! - [`claims`]: the items of `from` as conditions on the assertion's claims.
//! - [`operations`], [`paths`]: routes and the items of `to`, as the workload sees them.
//! - [`principals`]: the mesh identities that the mappings can give.
//! - [`sidecar`] and [`ambient`]: the two kinds of manifests; [`manifest`] is their shape, [`files`] their text, [`drift`] what differs from it.

mod ambient;
mod claims;
pub mod drift;
mod files;
pub mod manifest;
mod operations;
mod paths;
mod principals;
#[cfg(test)]
mod properties;
mod sidecar;
mod workloads;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::address::origin::Scheme;
use crate::identity::principal::SERVICE_ACCOUNTS;
use crate::policy::compile::CompiledPolicy;
use crate::policy::istio::manifest::Manifest;

/// What the edge is to the mesh, beside its policy.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The issuer of assertions.
    pub issuer: String,
    /// The keys that verify them (RFC 7517).
    pub jwks: Value,
    /// Scheme and public port of each front door.
    pub doors: Vec<(Scheme, u16)>,
    /// Names of the providers that people sign in at.
    pub providers: Vec<Arc<str>>,
    /// Names of the issuers whose tokens programs bring, without those of the policy.
    pub issuers: Vec<Arc<str>>,
}

/// How the manifests are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// For ztunnel: ports and principals only.
    pub ambient: bool,
    /// What is known of workloads that their SPIFFE IDs do not tell.
    pub workloads: Vec<Placement>,
}

/// Where a workload's pods are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Of its SPIFFE ID.
    pub namespace: String,
    /// Of its SPIFFE ID.
    pub service_account: String,
    /// The labels that select its pods; `None` for `app` and the name of the service account.
    pub labels: Option<BTreeMap<String, String>>,
    /// The workload's own ports by those of its addresses, where they differ (`targetPort` of a Service).
    pub ports: BTreeMap<u16, u16>,
}

/// The manifests of a revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Export {
    /// By workload.
    pub workloads: Vec<WorkloadExport>,
    /// What is about no workload.
    pub notes: Vec<Note>,
}

/// The manifests of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadExport {
    /// Where they belong.
    pub namespace: String,
    /// The workload's service account.
    pub service_account: String,
    /// In the order in which they are to be applied.
    pub manifests: Vec<Manifest>,
    /// What differs from the edge.
    pub notes: Vec<Note>,
}

/// A way in which the manifests are not what the edge does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The rule or route.
    pub about: String,
    /// What follows.
    pub effect: Effect,
    /// Why.
    pub why: String,
}

/// What follows from what Istio cannot express.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The workload refuses what the edge would allow.
    RefusesMore,
    /// The workload does not refuse what the edge refuses.
    LeavesToTheEdge,
    /// There is something to be done or known.
    Look,
}

impl Effect {
    /// In a few words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RefusesMore => "the workload refuses more than the edge",
            Self::LeavesToTheEdge => "only the edge refuses it",
            Self::Look => "look at this",
        }
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Group names and the like are quoted in it, and it becomes a comment.
        let why: String = self.why.chars().map(visible).collect();
        write!(f, "{}: {} ({})", self.about, why, self.effect.as_str())
    }
}

fn visible(letter: char) -> char {
    let is_break = letter.is_control() || matches!(letter, '\u{85}' | '\u{2028}' | '\u{2029}');
    if is_break { '\u{fffd}' } else { letter }
}

/// Why there are no manifests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IstioFault {
    /// A placement of something that no route leads to: a slip of the pen would leave the workload without a policy.
    #[error("no route leads to a workload {0}/{1} over the mesh")]
    NoSuchWorkload(String, String),
    /// Kubernetes has no such label.
    #[error("{0} is no label of Kubernetes")]
    Label(String),
    /// Ports are 1 or more.
    #[error("a port is 1 to 65535")]
    Port,
}

/// The manifests that enforce a policy at its workloads.
pub fn export(policy: &CompiledPolicy, edge: &Edge, wanted: &Wanted) -> Result<Export, IstioFault> {
    let mut edge = edge.clone();
    let issuers = policy.policy().trusted_issuers.iter();
    edge.issuers
        .extend(issuers.map(|issuer| Arc::clone(&issuer.name)));
    if !policy.policy().service_accounts.is_empty() {
        edge.issuers.push(SERVICE_ACCOUNTS.into());
    }
    let edge = &edge;
    let (workloads, notes) = workloads::find(policy, wanted)?;
    let build = |workload| {
        if wanted.ambient {
            ambient::export(policy, workload)
        } else {
            sidecar::export(policy, edge, workload)
        }
    };
    Ok(Export {
        workloads: workloads.iter().map(build).collect(),
        notes,
    })
}
