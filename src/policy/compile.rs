//! Policy compiled for deciding: indexes by host, path prefix and route, so that the cost of a decision does not grow with rules that cannot apply.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::address::host::Host;
use crate::address::path::reading;
use crate::identity::principal::{Principal, Requirement};
use crate::identity::spiffe_id::{MeshIdentity, TrustDomain};
use crate::policy::check;
use crate::policy::decide::Facts;
use crate::policy::index::{Entry, RuleIndex};
use crate::policy::matcher::{PathMatch, TextMatch};
use crate::policy::model::{Action, Mode, Policy, Revision, Route, RouteGroup, Rule, Target, When};
use crate::policy::roles::CompiledBinding;
use crate::policy::source::{self, CompiledSource, Named};
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
    pub(super) role_bindings: Vec<CompiledBinding>,
    pub(super) rules: Vec<CompiledRule>,
    /// Rules that count.
    pub(super) enforced: RuleSet,
    /// Rules in shadow mode, if there are any.
    pub(super) shadow: Option<RuleSet>,
    /// Whether any rule that counts asks how the caller signed in.
    pub(super) has_requirements: bool,
    varies: bool,
    header_names: Vec<Arc<str>>,
}

/// Rules of one mode, found by route.
#[derive(Debug)]
pub(super) struct RuleSet {
    /// By position of the route.
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

impl Indexes {
    pub(super) fn of(&self, action: Action) -> &RuleIndex {
        match action {
            Action::Allow => &self.allow,
            Action::Deny => &self.deny,
        }
    }
}

#[derive(Debug)]
pub(super) struct CompiledRule {
    pub(super) name: Arc<str>,
    pub(super) from: Vec<CompiledSource>,
    to: Option<Vec<CompiledTarget>>,
    when: Option<When>,
    pub(super) require: Option<Requirement>,
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
        let mappings = compile_mappings(&policy, trust_domain, &mut faults);
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
        let named = source::named(&policy.people);
        let rules: Vec<CompiledRule> = policy
            .rules
            .iter()
            .map(|rule| CompiledRule::new(rule, &policy, &names, &named))
            .collect();
        let bindings = policy.role_bindings.iter();
        let role_bindings = bindings.map(|binding| CompiledBinding::new(binding, &policy, &named));
        let role_bindings = role_bindings.collect();
        let of_mode = |mode| RuleSet::new(mode, &policy.rules, &rules, routes.len());
        let has_shadow = policy.rules.iter().any(|rule| rule.mode == Mode::Shadow);
        let requires = |rule: &CompiledRule| rule.require.is_some();
        Ok(Self {
            revision,
            trust_domain: trust_domain.clone(),
            hosts: index_hosts(&routes),
            enforced: of_mode(Mode::Enforce),
            shadow: has_shadow.then(|| of_mode(Mode::Shadow)),
            has_requirements: rules.iter().any(requires),
            varies: rules.iter().any(CompiledRule::varies),
            header_names: header_names(&policy.rules),
            routes,
            mappings,
            role_bindings,
            rules,
            policy,
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

    /// Whether time alone can change a decision, so that what is under way has to be decided again.
    pub fn varies(&self) -> bool {
        self.varies
    }

    /// Lower-case names of the request headers that rules look at, each once.
    pub fn header_names(&self) -> &[Arc<str>] {
        &self.header_names
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
    fn new(rule: &Rule, policy: &Policy, routes: &HashMap<&str, usize>, named: &Named) -> Self {
        let compile = |target: &Target| CompiledTarget::new(target, &policy.route_groups, routes);
        Self {
            name: rule.name.clone(),
            from: source::compile(&rule.from, &policy.people, named),
            to: rule.to.as_ref().map(|to| to.iter().map(compile).collect()),
            when: rule.when.clone(),
            require: rule.require.clone(),
        }
    }

    /// Whether the request, and its circumstances, are those that the rule is about.
    pub(super) fn is_about(&self, facts: &Facts<'_>, action: Action) -> bool {
        let holds =
            |target: &CompiledTarget| target.holds(facts.route.index, facts.method, facts.path);
        let to = self.to.as_ref();
        let when = self.when.as_ref();
        to.is_none_or(|to| to.iter().any(holds))
            && when.is_none_or(|when| when.holds(facts, action))
    }

    /// Whether the caller signed in as the rule asks, if it does.
    pub(super) fn is_met(&self, principal: &Principal, now: jiff::Timestamp) -> bool {
        let require = self.require.as_ref();
        require.is_none_or(|require| require.is_met(principal, now.as_second()))
    }

    fn varies(&self) -> bool {
        let ages = self
            .require
            .as_ref()
            .is_some_and(|require| require.max_age.is_some());
        ages || self.when.as_ref().is_some_and(When::varies)
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
    fn new(target: &Target, groups: &[RouteGroup], routes: &HashMap<&str, usize>) -> Self {
        let positions = |names: &Option<Vec<Arc<str>>>, grouped: &Option<Vec<Arc<str>>>| {
            if names.is_none() && grouped.is_none() {
                return None;
            }
            let is_meant =
                |group: &&RouteGroup| grouped.iter().flatten().any(|name| *name == group.name);
            let in_groups = groups
                .iter()
                .filter(is_meant)
                .flat_map(|group| &group.routes);
            let all = names.iter().flatten().chain(in_groups);
            let found = all.filter_map(|name| routes.get(&**name).copied());
            let mut positions: Vec<usize> = found.collect();
            positions.sort_unstable();
            positions.dedup();
            Some(positions)
        };
        Self {
            routes: positions(&target.routes, &target.route_groups),
            not_routes: positions(&target.not_routes, &target.not_route_groups),
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

fn header_names(rules: &[Rule]) -> Vec<Arc<str>> {
    let whens = rules.iter().filter_map(|rule| rule.when.as_ref());
    let names: BTreeSet<&Arc<str>> = whens.flat_map(When::header_names).collect();
    names.into_iter().cloned().collect()
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

impl RuleSet {
    fn new(mode: Mode, rules: &[Rule], compiled: &[CompiledRule], routes: usize) -> Self {
        let mut set = Self {
            of_route: (0..routes).map(|_| Indexes::default()).collect(),
            everywhere: Indexes::default(),
        };
        for (number, (rule, compiled)) in (0u32..).zip(rules.iter().zip(compiled)) {
            if rule.mode == mode {
                set.enter(number, rule.action, compiled);
            }
        }
        set
    }

    fn enter(&mut self, number: u32, action: Action, rule: &CompiledRule) {
        let named = rule.named_routes();
        let paths = rule.exact_paths();
        for (at, source) in (0u32..).zip(&rule.from) {
            let entry = Entry {
                rule: number,
                source: at,
            };
            let enter = |indexes: &mut Indexes| {
                let index = match action {
                    Action::Allow => &mut indexes.allow,
                    Action::Deny => &mut indexes.deny,
                };
                index.enter(entry, source, action, paths.as_deref());
            };
            match &named {
                Some(named) => {
                    for &route in named {
                        self.of_route.get_mut(route).into_iter().for_each(enter);
                    }
                }
                None => enter(&mut self.everywhere),
            }
        }
    }
}
