//! Routes and the items of `to` as Istio's operations: what the workload sees of a request that came over a route.

use crate::policy::compile::CompiledPolicy;
use crate::policy::istio::manifest::Operation;
use crate::policy::istio::paths::{self, Within};
use crate::policy::istio::{Edge, Effect};
use crate::policy::matcher::PathMatch;
use crate::policy::model::{Action, Route, RouteGroup, Rule, Target};

/// A route to one workload.
pub(super) struct Way<'a> {
    pub(super) route: &'a Route,
    /// What every request over it is like.
    base: Operation,
    /// Origins that people reach it by: the audiences of assertions.
    pub(super) origins: Vec<String>,
    /// What that does not say.
    losses: Vec<(Effect, String)>,
}

/// What came of an item.
#[derive(Default)]
pub(super) struct Operations {
    pub(super) found: Vec<Operation>,
    /// What the operations do not say.
    pub(super) losses: Vec<(Effect, String)>,
}

impl<'a> Way<'a> {
    /// `ports` are the workload's own.
    pub(super) fn new(
        route: &'a Route,
        ports: &[u16],
        policy: &CompiledPolicy,
        edge: &Edge,
    ) -> Self {
        let origins: Vec<_> = edge
            .doors
            .iter()
            .map(|&(scheme, port)| crate::address::origin::Origin {
                scheme,
                host: route.host.clone(),
                port,
            })
            .collect();
        let hosts = match &route.upstream_host {
            Some(host) => vec![host.clone()],
            None => origins.iter().map(|origin| origin.authority()).collect(),
        };
        let own = Own::of(route, policy);
        Self {
            route,
            base: Operation {
                hosts: sorted(hosts),
                ports: ports.iter().map(u16::to_string).collect(),
                paths: own.paths,
                not_paths: sorted(own.not_paths),
                ..Operation::default()
            },
            origins: sorted(origins.iter().map(ToString::to_string).collect()),
            losses: own.losses,
        }
    }

    /// Everything over it.
    pub(super) fn everything(&self) -> Operation {
        self.base.clone()
    }

    /// What a rule is about on this route; none at all if it is about nothing there.
    pub(super) fn of_rule(&self, rule: &Rule, groups: &[RouteGroup]) -> Operations {
        let mut operations = Operations {
            losses: self.losses.clone(),
            ..Operations::default()
        };
        let Some(to) = &rule.to else {
            operations.found.push(self.everything());
            return operations;
        };
        for target in to {
            if names_route(target, groups, self.route) {
                self.add(target, rule.action, &mut operations);
            }
        }
        operations
    }

    fn add(&self, target: &Target, action: Action, into: &mut Operations) {
        // What names the routes is looked at before.
        let Target {
            svids: _,
            routes: _,
            route_groups: _,
            methods,
            paths,
            not_routes: _,
            not_route_groups: _,
            not_methods,
            not_paths,
        } = target;
        let mut operation = self.everything();
        if let Some(methods) = methods {
            if methods.is_empty() {
                return;
            }
            operation.methods = with_head(methods);
        }
        operation.not_methods = with_head(not_methods.as_deref().unwrap_or_default());
        let mut conditions = Conditions {
            way: self,
            action,
            losses: &mut into.losses,
        };
        let is_possible = paths
            .as_ref()
            .is_none_or(|wanted| conditions.wanted(wanted, &mut operation))
            && not_paths
                .as_ref()
                .is_none_or(|other| conditions.excepted(other, &mut operation));
        if is_possible {
            operation.not_paths = sorted(std::mem::take(&mut operation.not_paths));
            into.found.push(operation);
        }
    }
}

/// Path conditions of one item at one route, for a rule of one action. An allow rule gets values that match at most what it is about, a deny rule
/// at least so where there are any.
struct Conditions<'a, 'b> {
    way: &'a Way<'a>,
    action: Action,
    losses: &'b mut Vec<(Effect, String)>,
}

impl Conditions<'_, '_> {
    fn lose(&mut self, effect: Effect, condition: &PathMatch, why: &str) {
        self.losses
            .push((effect, format!("the path {condition} {why}")));
    }

    /// A deny rule without a condition that cannot be said is one that is not enforced.
    fn effect_of_leaving_out(&self) -> Effect {
        match self.action {
            Action::Allow => Effect::RefusesMore,
            Action::Deny => Effect::LeavesToTheEdge,
        }
    }

    /// False if no path can be as wanted.
    fn wanted(&mut self, wanted: &[PathMatch], operation: &mut Operation) -> bool {
        let mut values = Vec::new();
        let left_out = self.effect_of_leaving_out();
        for condition in wanted {
            let own = match paths::within(condition, paths::beginning(self.way.route)) {
                Within::All => return true,
                Within::None => continue,
                Within::Some(own) => own,
                Within::Unclear => {
                    self.lose(left_out, condition, "cannot be cut to the route's prefix");
                    continue;
                }
            };
            if self.way.route.allow_path_parameters {
                let by_end = is_by_end(&own);
                if by_end && self.action == Action::Allow {
                    self.lose(left_out, condition, "could be that of a path parameter");
                    continue;
                }
                self.lose(left_out, condition, "is compared with its path parameters");
                if by_end {
                    self.lose(
                        Effect::RefusesMore,
                        condition,
                        "could be that of a path parameter",
                    );
                }
            }
            self.look_at_slash(&own);
            match paths::forms(&self.seen(&own)) {
                Some(forms) => {
                    if let Some(why) = forms.misses {
                        self.lose(left_out, condition, why);
                    }
                    values.extend(forms.values);
                }
                None => self.lose(left_out, condition, "has no form in Istio"),
            }
        }
        operation.paths = sorted(values);
        !operation.paths.is_empty()
    }

    /// False if nothing is left.
    fn excepted(&mut self, other: &[PathMatch], operation: &mut Operation) -> bool {
        for condition in other {
            let own = match paths::within(condition, paths::beginning(self.way.route)) {
                Within::All => return false,
                Within::None => continue,
                Within::Some(own) => own,
                Within::Unclear if self.action == Action::Allow => {
                    let why = "cannot be cut to the route's prefix, so nothing is allowed here";
                    self.lose(Effect::RefusesMore, condition, why);
                    return false;
                }
                Within::Unclear => {
                    let why = "cannot be cut to the route's prefix, so it is not excepted";
                    self.lose(Effect::RefusesMore, condition, why);
                    continue;
                }
            };
            if self.way.route.allow_path_parameters {
                self.lose(
                    Effect::RefusesMore,
                    condition,
                    "is compared with its path parameters",
                );
                match self.action {
                    Action::Allow => return false,
                    Action::Deny if is_by_end(&own) => continue,
                    Action::Deny => {}
                }
            }
            self.look_at_slash(&own);
            let seen = self.seen(&own);
            let forms = paths::forms(&seen);
            let is_whole = forms.as_ref().is_some_and(|forms| forms.misses.is_none());
            let values = match (forms, self.action) {
                (Some(forms), Action::Deny) => forms.values,
                (None, Action::Deny) => Vec::new(),
                (_, Action::Allow) => paths::at_least(&seen),
            };
            if !is_whole {
                let why = match self.action {
                    Action::Allow => "is excepted by its beginning alone",
                    Action::Deny => "is not excepted in all its forms",
                };
                self.lose(Effect::RefusesMore, condition, why);
            }
            operation.not_paths.extend(values);
        }
        true
    }

    /// As the workload sees it.
    fn seen(&self, own: &PathMatch) -> PathMatch {
        if self.way.route.strip_prefix {
            paths::without(own, paths::beginning(self.way.route))
        } else {
            own.clone()
        }
    }

    fn look_at_slash(&mut self, own: &PathMatch) {
        let beginning = paths::beginning(self.way.route);
        let is_stripped = self.way.route.strip_prefix && !beginning.is_empty();
        if is_stripped && paths::tells_the_slash(own, beginning) {
            for effect in [Effect::RefusesMore, Effect::LeavesToTheEdge] {
                self.lose(
                    effect,
                    own,
                    "is the same with and without a slash once the prefix is taken off",
                );
            }
        }
    }
}

fn is_by_end(condition: &PathMatch) -> bool {
    let forms = paths::forms(condition);
    let values = forms.iter().flat_map(|forms| &forms.values);
    values
        .clone()
        .any(|value| value.len() > 1 && value.starts_with('*'))
}

/// What is the same for every request over a route, besides its names and ports.
#[derive(Default)]
struct Own {
    /// Where its paths are; none is everywhere.
    paths: Vec<String>,
    /// Where those of routes below it are, which are not its own.
    not_paths: Vec<String>,
    /// What these do not say.
    losses: Vec<(Effect, String)>,
}

impl Own {
    /// As the workload sees paths.
    fn of(route: &Route, policy: &CompiledPolicy) -> Self {
        let beginning = paths::beginning(route);
        let mut own = Self::default();
        if !beginning.is_empty() && !route.strip_prefix {
            let spellings = paths::spellings(beginning).unwrap_or_else(|| {
                own.lose("its prefix has more spellings than are written out");
                vec![beginning.to_owned()]
            });
            own.paths = spellings
                .iter()
                .flat_map(|path| at_and_below(path))
                .collect();
        }
        let routes = policy.policy().routes.iter();
        let below = routes.filter(|other| {
            let other_beginning = paths::beginning(other);
            other.host == route.host
                && other_beginning.len() > beginning.len()
                && other_beginning.starts_with(&format!("{beginning}/"))
        });
        for other in below {
            let path = paths::beginning(other);
            let path = path
                .strip_prefix(beginning)
                .filter(|_| route.strip_prefix)
                .unwrap_or(path);
            own.leave_out(path, route);
        }
        own
    }

    /// Takes out what is another route's: rather too much of it than too little.
    fn leave_out(&mut self, path: &str, route: &Route) {
        let Some(spellings) = paths::spellings(path) else {
            self.lose("what is below another route's prefix is left out by its beginning alone");
            self.not_paths.push(format!("{}*", paths::spelt_once(path)));
            return;
        };
        if route.allow_path_parameters {
            // `/admin;x/y` is below `/admin` for a server that leaves parameters out.
            self.lose("what begins like another route's prefix is left out, since there may be path parameters");
            self.not_paths
                .extend(spellings.iter().map(|path| format!("{path}*")));
        } else {
            self.not_paths
                .extend(spellings.iter().flat_map(|path| at_and_below(path)));
        }
    }

    fn lose(&mut self, why: &str) {
        for effect in [Effect::RefusesMore, Effect::LeavesToTheEdge] {
            self.losses.push((effect, why.to_owned()));
        }
    }
}

fn at_and_below(path: &str) -> [String; 2] {
    [path.to_owned(), format!("{path}/*")]
}

/// Whether the routes of an item are the route.
pub(super) fn names_route(target: &Target, groups: &[RouteGroup], route: &Route) -> bool {
    let among = |names: &Option<Vec<_>>, named: &Option<Vec<_>>| {
        let mut in_groups = groups
            .iter()
            .filter(|group| named.iter().flatten().any(|name| *name == group.name));
        names.iter().flatten().any(|name| *name == route.name)
            || in_groups.any(|group| group.routes.contains(&route.name))
    };
    let is_open = target.routes.is_none() && target.route_groups.is_none();
    // What is about SVIDs is about no request.
    target.svids.is_none()
        && (is_open || among(&target.routes, &target.route_groups))
        && !among(&target.not_routes, &target.not_route_groups)
}

/// Where `GET` is listed the edge takes `HEAD` for it.
fn with_head(methods: &[String]) -> Vec<String> {
    let mut methods = methods.to_vec();
    if methods.iter().any(|method| method == "GET") {
        methods.push("HEAD".to_owned());
    }
    sorted(methods)
}

pub(super) fn sorted(mut values: Vec<String>) -> Vec<String> {
    values.sort();
    values.dedup();
    values
}
