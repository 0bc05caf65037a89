//! Policy compiled for deciding: indexes by host, path prefix and route, so that the cost of a decision does not grow with rules that cannot apply.

use std::sync::Arc;

use crate::address::host::Host;
use crate::address::path::reading;
use crate::identity::principal::Principal;
use crate::identity::spiffe_id::{MeshIdentity, TrustDomain};
use crate::policy::check;
use crate::policy::compile::rules::CompiledRules;
use crate::policy::kubernetes::{Impersonation, ImpersonationFault};
use crate::policy::model::{Policy, Revision, Route, Rule};
use crate::policy::roles::CompiledBinding;
use crate::policy::source::{self, CompiledSource};
use crate::policy::svids::{self, SvidKind, SvidPlaces};
use crate::policy::template::IdentityTemplate;
use crate::policy::yaml::PolicyFault;

pub(super) mod rule;
pub(super) mod rules;

/// A compiled revision. Immutable; shared by all workers.
#[derive(Debug)]
pub struct CompiledPolicy {
    /// Which revision this is.
    pub revision: Revision,
    policy: Policy,
    trust_domain: TrustDomain,
    routes: Vec<Arc<CompiledRoute>>,
    pub(super) svids: SvidPlaces,
    hosts: Arc<foldhash::HashMap<Host, Prefixes>>,
    mappings: Arc<[CompiledMapping]>,
    pub(super) role_bindings: Arc<[CompiledBinding]>,
    pub(super) rules: CompiledRules,
}

/// A route of a compiled revision.
#[derive(Debug)]
pub struct CompiledRoute {
    /// The route as written.
    pub route: Route,
    /// Position among the revision's routes; indexes per-route tables of the data plane.
    pub index: usize,
    /// What stands in the place of a route where an SVID is asked for. No request goes there, and the position is behind those of all routes.
    pub svid: Option<SvidKind>,
}

/// Why a principal has no mesh identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapFault {
    /// None of the mappings is for this caller.
    #[error("no identity mapping matches")]
    NoMapping,
    /// The first mapping that matches gives a text that is no mesh identity.
    #[error("identity mapping {mapping} gives no valid mesh identity: {why}")]
    Invalid {
        /// The mapping's name.
        mapping: Arc<str>,
        /// What is wrong with its result.
        why: String,
    },
}

/// The routes of one host by prefix.
#[derive(Debug, Default)]
struct Prefixes {
    routes: foldhash::HashMap<Box<str>, Arc<CompiledRoute>>,
    /// Bytes of the longest prefix: longer beginnings of a path need not be looked up.
    longest: usize,
}

#[derive(Debug)]
struct CompiledMapping {
    name: Arc<str>,
    from: Vec<Arc<CompiledSource>>,
    template: IdentityTemplate,
}

impl CompiledPolicy {
    /// Compiles; refuses what would be ambiguous or dangling (two routes of one host and prefix, unknown route names in rules …).
    pub fn new(
        policy: Policy,
        revision: Revision,
        trust_domain: &TrustDomain,
    ) -> Result<Self, Vec<PolicyFault>> {
        let mut faults = check::check(&policy);
        check::own_trust_domain(&mut faults, &policy, trust_domain);
        let mappings = compile_mappings(&policy, trust_domain, &mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        let routes: Vec<Arc<CompiledRoute>> = policy
            .routes
            .iter()
            .cloned()
            .enumerate()
            .map(|(index, route)| {
                let svid = None;
                Arc::new(CompiledRoute { route, index, svid })
            })
            .collect();
        let named = source::named(&policy.people);
        let bindings = policy.role_bindings.iter();
        let role_bindings = bindings.map(|binding| CompiledBinding::new(binding, &policy, &named));
        Ok(Self {
            revision,
            trust_domain: trust_domain.clone(),
            hosts: Arc::new(index_hosts(&routes)),
            rules: CompiledRules::new(&policy),
            svids: svids::places(routes.len()),
            routes,
            mappings: mappings.into(),
            role_bindings: role_bindings.collect(),
            policy,
        })
    }

    /// This policy with other rules, as another revision. Rules that are the very same (shared, and not only equal) are not compiled again, so
    /// the cost grows with what differs; where that would not do, everything is compiled.
    pub fn with_rules(
        &self,
        rules: Vec<Arc<Rule>>,
        revision: Revision,
    ) -> Result<Self, Vec<PolicyFault>> {
        let policy = Policy {
            rules,
            routes: self.policy.routes.clone(),
            route_groups: self.policy.route_groups.clone(),
            people: self.policy.people.clone(),
            mappings: self.policy.mappings.clone(),
            trusted_issuers: self.policy.trusted_issuers.clone(),
            service_accounts: self.policy.service_accounts.clone(),
            role_bindings: self.policy.role_bindings.clone(),
            tests: self.policy.tests.clone(),
        };
        let Some(rules) = self.rules.successor(&policy) else {
            return Self::new(policy, revision, &self.trust_domain);
        };
        Ok(Self {
            revision,
            policy,
            trust_domain: self.trust_domain.clone(),
            routes: self.routes.clone(),
            svids: self.svids.clone(),
            hosts: Arc::clone(&self.hosts),
            mappings: Arc::clone(&self.mappings),
            role_bindings: Arc::clone(&self.role_bindings),
            rules,
        })
    }

    /// The policy as written.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The mesh's own.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Whether any rule asks for an approval: only then does it matter what was granted to callers.
    pub fn has_approvals(&self) -> bool {
        self.rules.has_approvals
    }

    /// Whether time alone can change a decision, so that what is under way has to be decided again. What was allowed by a grant
    /// ([`Verdict::Allow`](crate::policy::decide::Verdict)) has to be in any case.
    pub fn varies(&self) -> bool {
        self.rules.varies
    }

    /// Lower-case names of the request headers that rules look at, each once.
    pub fn header_names(&self) -> &[Arc<str>] {
        &self.rules.header_names
    }

    /// Whether any route has this host.
    pub fn has_host(&self, host: &Host) -> bool {
        self.hosts.contains_key(host)
    }

    /// The route with the longest prefix for this canonical path.
    pub fn route(&self, host: &Host, path: &str) -> Option<&Arc<CompiledRoute>> {
        let prefixes = self.hosts.get(host)?;
        let path = reading(path);
        let bytes = path.as_bytes();
        let longest = prefixes.longest.min(bytes.len());
        // From the longest beginning that ends at a segment boundary to the shortest.
        (1..=longest)
            .rev()
            .filter(|&end| bytes.get(end).is_none_or(|byte| *byte == b'/'))
            .find_map(|end| prefixes.routes.get(path.get(..end)?))
            .or_else(|| prefixes.routes.get("/").filter(|_| path.starts_with('/')))
    }

    /// All routes, in the order written.
    pub fn routes(&self) -> &[Arc<CompiledRoute>] {
        &self.routes
    }

    /// The mesh identity this caller travels under; `None` is somebody who is not signed in, for whom only mappings with `anyone` are.
    pub fn mesh_identity(&self, principal: Option<&Principal>) -> Result<MeshIdentity, MapFault> {
        let is_meant = |source: &Arc<CompiledSource>| match principal {
            Some(principal) => source.describes(principal),
            None => source.anyone,
        };
        let mapping = self
            .mappings
            .iter()
            .find(|mapping| mapping.from.iter().any(is_meant))
            .ok_or(MapFault::NoMapping)?;
        mapping
            .template
            .identity(&self.trust_domain, principal)
            .map_err(|why| MapFault::Invalid {
                mapping: mapping.name.clone(),
                why: why.to_string(),
            })
    }
}

impl CompiledRoute {
    /// Whom an API server takes a caller for; `None` where the route leads to none.
    pub fn impersonation(
        &self,
        principal: Option<&Principal>,
        identity: &MeshIdentity,
    ) -> Option<Result<Impersonation, ImpersonationFault>> {
        let kubernetes = self.route.kubernetes.as_ref()?;
        Some(kubernetes.impersonation(principal, identity.as_str()))
    }
}

fn compile_mappings(
    policy: &Policy,
    own: &TrustDomain,
    faults: &mut Vec<PolicyFault>,
) -> Vec<CompiledMapping> {
    let named = source::named(&policy.people);
    let mut compiled = Vec::with_capacity(policy.mappings.len());
    for (index, mapping) in policy.mappings.iter().enumerate() {
        // A template that cannot be read is among the faults already.
        let Ok(template) = IdentityTemplate::parse(&mapping.spiffe_id) else {
            continue;
        };
        if template.trust_domain().is_some_and(|named| named != own) {
            let message =
                format!("the trust domain must be the mesh's own, {own}; write {{trust_domain}}");
            faults.push(check::fault(
                format!("mappings[{index}].spiffe_id"),
                message,
            ));
        }
        compiled.push(CompiledMapping {
            name: mapping.name.clone(),
            from: source::compile(&mapping.from, &policy.people, &named),
            template,
        });
    }
    compiled
}

fn index_hosts(routes: &[Arc<CompiledRoute>]) -> foldhash::HashMap<Host, Prefixes> {
    let mut hosts: foldhash::HashMap<Host, Prefixes> = foldhash::HashMap::default();
    for route in routes {
        let prefixes = hosts.entry(route.route.host.clone()).or_default();
        let prefix = route.route.prefix.as_str();
        prefixes.longest = prefixes.longest.max(prefix.len());
        prefixes.routes.insert(prefix.into(), Arc::clone(route));
    }
    hosts
}
