//! Manifests for ztunnel: who may connect to which port. It drops a whole rule that says anything of layer 7, so none is written; methods, paths and
//! the assertion are for the edge, or for a waypoint with the sidecars' manifests.
//!
//! A mesh identity is admitted only where a rule is for everybody who can bear it: whom a mapping merges cannot be told apart here.

use crate::policy::compile::CompiledPolicy;
use crate::policy::istio::manifest::{
    Action as IstioAction, AuthorizationPolicy, From, Manifest, Operation, Rule as IstioRule,
    Source as IstioSource, To,
};
use crate::policy::istio::operations::names_route;
use crate::policy::istio::principals::{Pattern, shortest};
use crate::policy::istio::sidecar::beyond;
use crate::policy::istio::workloads::Workload;
use crate::policy::istio::{Effect, Note, WorkloadExport};
use crate::policy::matcher::TextMatch;
use crate::policy::model::{Action, Mode, People, Route, RouteGroup, Rule, Source, Target};

/// See the module.
pub(super) fn export(policy: &CompiledPolicy, workload: &Workload<'_>) -> WorkloadExport {
    let mut writer = Writer {
        policy,
        notes: workload.notes.clone(),
    };
    let mut manifests = vec![authorization(
        workload,
        "-default-deny",
        IstioAction::Allow,
        Vec::new(),
    )];
    for (purpose, action, istio) in [
        ("-deny", Action::Deny, IstioAction::Deny),
        ("-allow", Action::Allow, IstioAction::Allow),
    ] {
        let rules = writer.rules(workload, action);
        if !rules.is_empty() {
            manifests.push(authorization(workload, purpose, istio, rules));
        }
    }
    let mut notes = writer.notes;
    notes.sort();
    notes.dedup();
    WorkloadExport {
        namespace: workload.namespace.clone(),
        service_account: workload.service_account.clone(),
        manifests,
        notes,
    }
}

fn authorization(
    workload: &Workload<'_>,
    purpose: &str,
    action: IstioAction,
    rules: Vec<IstioRule>,
) -> Manifest {
    let spec = AuthorizationPolicy {
        selector: workload.selector(),
        action,
        rules,
    };
    Manifest::authorization(workload.metadata(purpose), spec)
}

/// What a sidecar is told of TCP routes, which is the same: the denials, the admissions, and what differs from the edge. A port that HTTP routes
/// lead to as well is left out, since whoever may connect to it might say anything there.
pub(super) fn connections(
    policy: &CompiledPolicy,
    workload: &Workload<'_>,
) -> (Vec<IstioRule>, Vec<IstioRule>, Vec<Note>) {
    let (tcp, http): (Vec<_>, Vec<_>) = workload
        .routes
        .iter()
        .cloned()
        .partition(|(route, _)| route.is_tcp());
    let speaks_http = |port: &u16| http.iter().any(|(_, ports)| ports.contains(port));
    let (shared, own): (Vec<_>, Vec<_>) = tcp
        .into_iter()
        .partition(|(_, ports)| ports.iter().any(speaks_http));
    let notes = shared.into_iter().map(|(route, _)| Note {
        about: format!("route {}", route.name),
        effect: Effect::RefusesMore,
        why: "its port is that of an HTTP route as well, so nobody is let in for it".to_owned(),
    });
    let mut writer = Writer {
        policy,
        notes: notes.collect(),
    };
    let own = workload.with_routes(own);
    let denied = writer.rules(&own, Action::Deny);
    let allowed = writer.rules(&own, Action::Allow);
    (denied, allowed, writer.notes)
}

struct Writer<'a> {
    policy: &'a CompiledPolicy,
    notes: Vec<Note>,
}

impl Writer<'_> {
    fn rules(&mut self, workload: &Workload<'_>, action: Action) -> Vec<IstioRule> {
        let policy = self.policy;
        let rules = policy.policy().rules.iter();
        let rules = rules.filter(|rule| rule.action == action && rule.mode == Mode::Enforce);
        let mut written: Vec<IstioRule> = Vec::new();
        for rule in rules {
            for (route, ports) in &workload.routes {
                if let Some(principals) = self.rule_on(rule, route, ports, workload) {
                    let rule = connection(principals, ports);
                    if !written.contains(&rule) {
                        written.push(rule);
                    }
                }
            }
        }
        written
    }

    /// Whom a rule certainly admits to, or bars from, the ports of a route.
    fn rule_on(
        &mut self,
        rule: &Rule,
        route: &Route,
        ports: &[u16],
        workload: &Workload<'_>,
    ) -> Option<Vec<String>> {
        let groups = &self.policy.policy().route_groups;
        let to = rule.to.as_ref();
        let names = |target: &Target| names_route(target, groups, route);
        if to.is_some_and(|to| !to.iter().any(names)) {
            return None;
        }
        let is_narrow = !is_about_all(rule, groups, route);
        let is_shared = workload.routes.iter().any(|(other, own)| {
            own.iter().any(|port| ports.contains(port)) && !is_about_all(rule, groups, other)
        });
        let about = format!("rule {} on route {}", rule.name, route.name);
        let mut note = |effect, why: String| {
            self.notes.push(Note {
                about: about.clone(),
                effect,
                why,
            });
        };
        if let Some(why) = beyond(rule) {
            let effect = match rule.action {
                Action::Allow => Effect::RefusesMore,
                Action::Deny => Effect::LeavesToTheEdge,
            };
            note(
                effect,
                format!("Istio does not know this: {why}; so it is left out"),
            );
            return None;
        }
        let why = match (is_narrow, is_shared) {
            (true, _) => Some("a connection shows no methods and paths"),
            (false, true) => Some("routes to the same port cannot be told apart"),
            (false, false) => None,
        };
        if let Some(why) = why {
            note(Effect::LeavesToTheEdge, why.to_owned());
            if rule.action == Action::Deny {
                return None;
            }
        }
        let (certain, unclear) = self.sorted_out(rule, route);
        if unclear {
            let (effect, why) = match rule.action {
                Action::Allow => (
                    Effect::RefusesMore,
                    "a mesh identity that others bear as well is not admitted",
                ),
                Action::Deny => (
                    Effect::LeavesToTheEdge,
                    "a mesh identity that others bear as well is not denied",
                ),
            };
            self.notes.push(Note {
                about,
                effect,
                why: why.to_owned(),
            });
        }
        // An empty list would be anybody.
        (!certain.is_empty()).then(|| shortest(&certain))
    }

    /// The patterns of which everybody is meant by the rule, and whether there are others.
    fn sorted_out(&self, rule: &Rule, route: &Route) -> (Vec<Pattern>, bool) {
        let policy = self.policy.policy();
        let own = self.policy.trust_domain();
        let patterns: Vec<(Pattern, bool)> = policy
            .mappings
            .iter()
            .filter_map(|mapping| {
                let pattern = Pattern::of(mapping, own)?;
                let means = |source: &Source| {
                    is_meant(source, rule, &policy.people)
                        && (rule.action == Action::Deny || is_accepted(source, route))
                };
                Some((pattern, mapping.from.iter().all(means)))
            })
            .collect();
        let is_certain = |pattern: &Pattern| {
            patterns
                .iter()
                .all(|(other, means)| *means || !pattern.meets(other))
        };
        let certain: Vec<Pattern> = patterns
            .iter()
            .map(|(pattern, _)| pattern)
            .filter(|pattern| is_certain(pattern))
            .cloned()
            .collect();
        let unclear = certain.len() < patterns.len();
        (certain, unclear)
    }
}

/// Whether a rule is about everything on a route.
fn is_about_all(rule: &Rule, groups: &[RouteGroup], route: &Route) -> bool {
    let is_open = |target: &Target| {
        let methods = target.methods.is_some() || target.not_methods.is_some();
        let paths = target.paths.is_some() || target.not_paths.is_some();
        !methods && !paths && names_route(target, groups, route)
    };
    let to = rule.to.as_ref();
    to.is_none_or(|to| to.iter().any(is_open))
}

fn connection(principals: Vec<String>, ports: &[u16]) -> IstioRule {
    let source = IstioSource { principals };
    let operation = Operation {
        ports: ports.iter().map(u16::to_string).collect(),
        ..Operation::default()
    };
    IstioRule {
        from: vec![From { source }],
        to: vec![To { operation }],
        when: Vec::new(),
    }
}

/// Whether the route takes everybody whom the item is for.
fn is_accepted(source: &Source, route: &Route) -> bool {
    let Some(accepted) = &route.providers else {
        return true;
    };
    let named = source.providers.as_ref();
    named.is_some_and(|named| named.iter().all(|name| accepted.contains(name)))
}

/// Whether everybody whom a mapping's item is for is meant by one of a rule's, as far as can be seen from what both say.
fn is_meant(item: &Source, rule: &Rule, people: &[People]) -> bool {
    rule.from
        .iter()
        .any(|wanted| has_agents_of(item, wanted, rule.action) && implies(item, wanted, people))
}

/// Whether the item is for the same agents. Which of them acts the certificate says only where a mapping is for agents alone; a rule that denies without a word
/// about them is for all.
fn has_agents_of(item: &Source, wanted: &Source, action: Action) -> bool {
    let is_same = item.agents == wanted.agents && item.not_agents == wanted.not_agents;
    is_same || (action == Action::Deny && wanted.agents.is_none())
}

fn implies(item: &Source, wanted: &Source, people: &[People]) -> bool {
    if wanted.anyone {
        return true;
    }
    if item.anyone {
        return false;
    }
    let named = |names: &Vec<std::sync::Arc<str>>| {
        let meant = people.iter().filter(|people| names.contains(&people.name));
        meant.flat_map(|people| &people.from).collect::<Vec<_>>()
    };
    let people_hold = wanted.people.as_ref().is_none_or(|names| {
        is_within(item.people.as_ref(), names)
            || named(names)
                .into_iter()
                .any(|one| implies(item, one, people))
    });
    if people_hold && fields_hold(item, wanted) {
        return true;
    }
    // Whoever is named is meant whatever else is asked of them.
    item.people.as_ref().is_some_and(|names| {
        named(names)
            .into_iter()
            .all(|one| implies(one, wanted, people))
    })
}

fn fields_hold(item: &Source, wanted: &Source) -> bool {
    let texts = |own: &Option<Vec<TextMatch>>, wanted: &Option<Vec<TextMatch>>| {
        wanted.as_ref().is_none_or(|wanted| {
            let own = own.as_ref();
            own.is_some_and(|own| own.iter().all(|one| is_covered(one, wanted)))
        })
    };
    let excepts = |own: &Option<Vec<TextMatch>>, other: &Option<Vec<TextMatch>>| {
        other.as_ref().is_none_or(|other| {
            is_within(Some(other), own.as_deref().unwrap_or_default()) && own.is_some()
        })
    };
    texts(&item.emails, &wanted.emails)
        && texts(&item.subjects, &wanted.subjects)
        && texts(&item.groups, &wanted.groups)
        && excepts(&item.not_emails, &wanted.not_emails)
        && excepts(&item.not_subjects, &wanted.not_subjects)
        && excepts(&item.not_groups, &wanted.not_groups)
        && wanted
            .email_domains
            .as_ref()
            .is_none_or(|wanted| is_within(item.email_domains.as_ref(), wanted))
        && wanted
            .providers
            .as_ref()
            .is_none_or(|wanted| is_within(item.providers.as_ref(), wanted))
        && wanted
            .kinds
            .as_ref()
            .is_none_or(|wanted| is_within(item.kinds.as_ref(), wanted))
        && wanted.not_providers.as_ref().is_none_or(|other| {
            is_within(
                Some(other),
                item.not_providers.as_deref().unwrap_or_default(),
            )
        })
        && wanted.not_people.as_ref().is_none_or(|other| {
            is_within(Some(other), item.not_people.as_deref().unwrap_or_default())
        })
        && (wanted.claims.is_none() || wanted.claims == item.claims)
        && (wanted.not_claims.is_none() || wanted.not_claims == item.not_claims)
}

/// Whether there is a list, and all in it is in the other.
fn is_within<T: PartialEq>(list: Option<&Vec<T>>, other: &[T]) -> bool {
    list.is_some_and(|list| list.iter().all(|one| other.contains(one)))
}

/// Whether whatever a condition matches is matched by one of the others.
fn is_covered(one: &TextMatch, wanted: &[TextMatch]) -> bool {
    wanted.iter().any(|wanted| match one {
        TextMatch::Exact(text) => wanted.matches(text),
        TextMatch::Prefix(_) | TextMatch::Suffix(_) | TextMatch::Present => wanted == one,
    })
}
