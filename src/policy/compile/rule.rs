//! One rule, compiled: whether it is about a request.

use std::collections::HashMap;
use std::sync::Arc;

use crate::identity::principal::{Principal, Requirement};
use crate::policy::check::MOST_INDEXED_ROUTES;
use crate::policy::decide::Facts;
use crate::policy::matcher::PathMatch;
use crate::policy::model::{Action, Policy, RouteGroup, Rule, Target, When};
use crate::policy::source::{self, CompiledSource, Named};
use crate::policy::svids::SvidKind;

/// What rules refer to by name.
pub(super) struct Names<'a> {
    policy: &'a Policy,
    routes: HashMap<&'a str, usize>,
    people: Named,
}

#[derive(Debug)]
pub(in crate::policy) struct CompiledRule {
    /// As written.
    pub(in crate::policy) rule: Arc<Rule>,
    pub(in crate::policy) from: Vec<Arc<CompiledSource>>,
    to: Option<Vec<CompiledTarget>>,
    when: Option<When>,
    pub(in crate::policy) require: Option<Requirement>,
    pub(in crate::policy) approval: Option<CompiledApproval>,
}

/// Who approves of the use of a rule.
#[derive(Debug)]
pub(in crate::policy) struct CompiledApproval {
    pub(in crate::policy) from: Vec<Arc<CompiledSource>>,
}

#[derive(Debug)]
struct CompiledTarget {
    svids: Option<Vec<SvidKind>>,
    /// Positions of routes, sorted.
    routes: Option<Vec<usize>>,
    not_routes: Option<Vec<usize>>,
    methods: Option<Vec<String>>,
    not_methods: Option<Vec<String>>,
    paths: Option<Vec<PathMatch>>,
    not_paths: Option<Vec<PathMatch>>,
}

impl<'a> Names<'a> {
    pub(super) fn of(policy: &'a Policy) -> Self {
        let routes = policy.routes.iter().enumerate();
        Self {
            policy,
            routes: routes.map(|(index, route)| (&*route.name, index)).collect(),
            people: source::named(&policy.people),
        }
    }
}

impl CompiledRule {
    pub(super) fn new(rule: &Arc<Rule>, names: &Names<'_>) -> Self {
        let target = |target: &Target| CompiledTarget::new(target, names.policy, &names.routes);
        let from = |from| source::compile(from, &names.policy.people, &names.people);
        Self {
            rule: Arc::clone(rule),
            from: from(&rule.from),
            to: rule.to.as_ref().map(|to| to.iter().map(target).collect()),
            when: rule.when.clone(),
            require: rule.require.clone(),
            approval: rule.approval.as_ref().map(|approval| CompiledApproval {
                from: from(&approval.from),
            }),
        }
    }

    /// Whether the request, and its circumstances, are those that the rule is about.
    pub(in crate::policy) fn is_about(&self, facts: &Facts<'_>, action: Action) -> bool {
        let holds = |target: &CompiledTarget| target.holds(facts);
        // What a rule allows everywhere are requests; an SVID it has to name. What it denies everywhere is everything.
        let is_everywhere = facts.route.svid.is_none() || self.rule.action == Action::Deny;
        let when = self.when.as_ref();
        let to = self.to.as_ref();
        to.map_or(is_everywhere, |to| to.iter().any(holds))
            && when.is_none_or(|when| when.holds(facts, action))
    }

    /// Whether the caller signed in as the rule asks, if it does, and its use is approved.
    pub(in crate::policy) fn is_met(&self, principal: &Principal, facts: &Facts<'_>) -> bool {
        let require = self.require.as_ref();
        require.is_none_or(|require| require.is_met(principal, facts.now.as_second()))
            && self.is_approved(facts)
    }

    /// Whether its use was granted to the caller, or takes no approval.
    pub(in crate::policy) fn is_approved(&self, facts: &Facts<'_>) -> bool {
        self.approval.is_none() || facts.granted_until(&self.rule.name).is_some()
    }

    /// Positions of the routes it can apply to, if it names them.
    pub(super) fn named_routes(&self) -> Option<Vec<usize>> {
        let named: Option<Vec<&Vec<usize>>> = self
            .to
            .as_ref()?
            .iter()
            .map(|target| target.routes.as_ref())
            .collect();
        let mut routes: Vec<usize> = named?.into_iter().flatten().copied().collect();
        routes.sort_unstable();
        routes.dedup();
        Some(routes).filter(|routes| routes.len() <= MOST_INDEXED_ROUTES)
    }

    /// All paths it can apply to, if they can be listed.
    pub(super) fn exact_paths(&self) -> Option<Vec<&str>> {
        let mut paths = Vec::new();
        for target in self.to.as_ref()? {
            for path in target.paths.as_ref()? {
                paths.push(path.exact()?);
            }
        }
        paths.sort_unstable();
        paths.dedup();
        Some(paths)
    }
}

impl CompiledTarget {
    fn new(target: &Target, policy: &Policy, routes: &HashMap<&str, usize>) -> Self {
        let groups: &[RouteGroup] = &policy.route_groups;
        let places = |kinds: &Vec<SvidKind>| {
            let places = kinds.iter().map(|kind| kind.place(policy.routes.len()));
            places.collect::<Vec<usize>>()
        };
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
        let svids = target.svids.as_ref().map(places);
        Self {
            svids: target.svids.clone(),
            routes: svids.or_else(|| positions(&target.routes, &target.route_groups)),
            not_routes: positions(&target.not_routes, &target.not_route_groups),
            methods: target.methods.clone(),
            not_methods: target.not_methods.clone(),
            paths: target.paths.clone(),
            not_paths: target.not_paths.clone(),
        }
    }

    fn holds(&self, facts: &Facts<'_>) -> bool {
        match (facts.route.svid, &self.svids) {
            (Some(kind), Some(svids)) => svids.contains(&kind),
            (Some(_), None) | (None, Some(_)) => false,
            (None, None) => self.is_about(facts.route.index, facts.method, facts.path),
        }
    }

    fn is_about(&self, route: usize, method: &str, path: &str) -> bool {
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
pub(in crate::policy) fn lists_method(methods: &[String], method: &str) -> bool {
    methods
        .iter()
        .any(|listed| listed == method || (method == "HEAD" && listed == "GET"))
}
