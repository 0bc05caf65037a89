//! Policy compiled for deciding: indexes by host, path prefix and route, so that the cost of a decision does not grow with rules that cannot apply.

use std::collections::HashMap;
use std::sync::Arc;

use crate::address::host::Host;
use crate::identity::principal::Principal;
use crate::identity::spiffe_id::{MeshIdentity, TrustDomain};
use crate::policy::check;
use crate::policy::index::{Entry, RuleIndex};
use crate::policy::matcher::{PathMatch, TextMatch};
use crate::policy::model::{Action, Mapping, Policy, Revision, Route, Rule, Target};
use crate::policy::source::CompiledSource;
use crate::policy::template::IdentityTemplate;
use crate::policy::yaml::PolicyFault;

/// A rule that names more routes than this is looked at on every route, so that indexes stay small.
const MAX_INDEXED_ROUTES: usize = 64;

/// A compiled revision. Immutable; shared by all workers.
#[derive(Debug)]
pub struct CompiledPolicy {
    /// Which revision this is.
    pub revision: Revision,
    policy: Policy,
    trust_domain: TrustDomain,
    routes: Vec<Arc<CompiledRoute>>,
    hosts: foldhash::HashMap<Host, Prefixes>,
    mappings: Vec<CompiledMapping>,
    pub(super) rules: Vec<CompiledRule>,
    /// By route.
    pub(super) of_route: Vec<Indexes>,
    /// Rules that do not name the routes they are for.
    pub(super) everywhere: Indexes,
}

/// A route of a compiled revision.
#[derive(Debug)]
pub struct CompiledRoute {
    /// The route as written.
    pub route: Route,
    /// Position among the revision's routes; indexes per-route tables of the data plane.
    pub index: usize,
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
    from: Vec<CompiledSource>,
    template: IdentityTemplate,
}

/// The rules of one route, by action.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    pub(super) allow: RuleIndex,
    pub(super) deny: RuleIndex,
}

#[derive(Debug)]
pub(super) struct CompiledRule {
    pub(super) name: Arc<str>,
    pub(super) from: Vec<CompiledSource>,
    to: Option<Vec<CompiledTarget>>,
}

#[derive(Debug)]
struct CompiledTarget {
    /// Positions of routes, sorted.
    routes: Option<Vec<usize>>,
    not_routes: Option<Vec<usize>>,
    methods: Option<Vec<String>>,
    not_methods: Option<Vec<String>>,
    paths: Option<Vec<PathMatch>>,
    not_paths: Option<Vec<PathMatch>>,
}

impl CompiledPolicy {
    /// Compiles; refuses what would be ambiguous or dangling (two routes of one host and prefix, unknown route names in rules …).
    pub fn new(
        policy: Policy,
        revision: Revision,
        trust_domain: &TrustDomain,
    ) -> Result<Self, Vec<PolicyFault>> {
        let mut faults = check::check(&policy);
        let mappings = compile_mappings(&policy.mappings, trust_domain, &mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        let routes: Vec<Arc<CompiledRoute>> = policy
            .routes
            .iter()
            .cloned()
            .enumerate()
            .map(|(index, route)| Arc::new(CompiledRoute { route, index }))
            .collect();
        let names: HashMap<&str, usize> = policy
            .routes
            .iter()
            .enumerate()
            .map(|(index, route)| (&*route.name, index))
            .collect();
        let rules: Vec<CompiledRule> = policy
            .rules
            .iter()
            .map(|rule| CompiledRule::new(rule, &names))
            .collect();
        let (of_route, everywhere) = index_rules(&policy.rules, &rules, routes.len());
        Ok(Self {
            revision,
            trust_domain: trust_domain.clone(),
            hosts: index_hosts(&routes),
            routes,
            mappings,
            rules,
            of_route,
            everywhere,
            policy,
        })
    }

    /// The policy as written.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether any route has this host.
    pub fn has_host(&self, host: &Host) -> bool {
        self.hosts.contains_key(host)
    }

    /// The route with the longest prefix for this canonical path.
    pub fn route(&self, host: &Host, path: &str) -> Option<&Arc<CompiledRoute>> {
        let prefixes = self.hosts.get(host)?;
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
        let is_meant = |source: &CompiledSource| match principal {
            Some(principal) => source.holds(principal, Action::Allow),
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

impl CompiledRule {
    fn new(rule: &Rule, routes: &HashMap<&str, usize>) -> Self {
        let compile = |target: &Target| CompiledTarget::new(target, routes);
        Self {
            name: rule.name.clone(),
            from: rule.from.iter().map(CompiledSource::new).collect(),
            to: rule.to.as_ref().map(|to| to.iter().map(compile).collect()),
        }
    }

    /// Whether the request is one that the rule is about.
    pub(super) fn is_about(&self, route: usize, method: &str, path: &str) -> bool {
        self.to
            .as_ref()
            .is_none_or(|to| to.iter().any(|target| target.holds(route, method, path)))
    }

    /// Positions of the routes it can apply to, if it names them.
    fn named_routes(&self) -> Option<Vec<usize>> {
        let named: Option<Vec<&Vec<usize>>> = self
            .to
            .as_ref()?
            .iter()
            .map(|target| target.routes.as_ref())
            .collect();
        let mut routes: Vec<usize> = named?.into_iter().flatten().copied().collect();
        routes.sort_unstable();
        routes.dedup();
        Some(routes).filter(|routes| routes.len() <= MAX_INDEXED_ROUTES)
    }

    /// All paths it can apply to, if they can be listed.
    fn exact_paths(&self) -> Option<Vec<&str>> {
        let mut paths = Vec::new();
        for target in self.to.as_ref()? {
            for path in target.paths.as_ref()? {
                match path {
                    PathMatch::Text(TextMatch::Exact(path)) => paths.push(path.as_str()),
                    PathMatch::Text(_) | PathMatch::Template(_) => return None,
                }
            }
        }
        paths.sort_unstable();
        paths.dedup();
        Some(paths)
    }
}

impl CompiledTarget {
    fn new(target: &Target, routes: &HashMap<&str, usize>) -> Self {
        let positions = |names: &Vec<Arc<str>>| {
            let found = names.iter().filter_map(|name| routes.get(&**name).copied());
            let mut positions: Vec<usize> = found.collect();
            positions.sort_unstable();
            positions
        };
        Self {
            routes: target.routes.as_ref().map(positions),
            not_routes: target.not_routes.as_ref().map(positions),
            methods: target.methods.clone(),
            not_methods: target.not_methods.clone(),
            paths: target.paths.clone(),
            not_paths: target.not_paths.clone(),
        }
    }

    fn holds(&self, route: usize, method: &str, path: &str) -> bool {
        let among = |routes: &Vec<usize>| routes.binary_search(&route).is_ok();
        let listed = |methods: &Vec<String>| lists_method(methods, method);
        let matched = |paths: &Vec<PathMatch>| paths.iter().any(|wanted| wanted.matches(path));
        self.routes.as_ref().is_none_or(among)
            && !self.not_routes.as_ref().is_some_and(among)
            && self.methods.as_ref().is_none_or(listed)
            && !self.not_methods.as_ref().is_some_and(listed)
            && self.paths.as_ref().is_none_or(matched)
            && !self.not_paths.as_ref().is_some_and(matched)
    }
}

/// Methods are compared exactly (RFC 9110 §9.1), but HEAD counts as GET where GET is listed, since it tells what GET would (§9.3.2).
pub(super) fn lists_method(methods: &[String], method: &str) -> bool {
    methods
        .iter()
        .any(|listed| listed == method || (method == "HEAD" && listed == "GET"))
}

fn compile_mappings(
    mappings: &[Mapping],
    own: &TrustDomain,
    faults: &mut Vec<PolicyFault>,
) -> Vec<CompiledMapping> {
    let mut compiled = Vec::with_capacity(mappings.len());
    for (index, mapping) in mappings.iter().enumerate() {
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
            from: mapping.from.iter().map(CompiledSource::new).collect(),
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

fn index_rules(
    rules: &[Rule],
    compiled: &[CompiledRule],
    routes: usize,
) -> (Vec<Indexes>, Indexes) {
    let mut of_route: Vec<Indexes> = (0..routes).map(|_| Indexes::default()).collect();
    let mut everywhere = Indexes::default();
    for (number, (rule, compiled)) in (0u32..).zip(rules.iter().zip(compiled)) {
        let named = compiled.named_routes();
        let paths = compiled.exact_paths();
        for (at, source) in (0u32..).zip(&compiled.from) {
            let entry = Entry {
                rule: number,
                source: at,
            };
            let mut enter = |indexes: &mut Indexes| match rule.action {
                Action::Allow => {
                    indexes
                        .allow
                        .enter(entry, source, Action::Allow, paths.as_deref())
                }
                Action::Deny => indexes
                    .deny
                    .enter(entry, source, Action::Deny, paths.as_deref()),
            };
            match &named {
                Some(named) => {
                    for &route in named {
                        of_route.get_mut(route).into_iter().for_each(&mut enter);
                    }
                }
                None => enter(&mut everywhere),
            }
        }
    }
    (of_route, everywhere)
}
