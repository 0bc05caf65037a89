//! The same question as [`decide`](crate::policy::decide), answered slowly and in words: rule by rule, from the policy as written and without
//! any index. The page of a refusal shows it, and tests hold the fast answer against it.

use std::fmt::Display;
use std::sync::Arc;

use crate::identity::principal::{Agent, Principal};
use crate::policy::compile::CompiledPolicy;
use crate::policy::decide::{
    DenyReason, Facts, Verdict, accepts_provider, path_for_rules, through,
};
use crate::policy::model::{Action, Mode, Policy, Rule, Target};

mod remedies;
mod request;
mod required;
mod source;

use request::{circumstances_fail, target_fails};
use required::{Unmet, lacking};
use source::{agents_fail, judge_source};

/// Values that are told one by one; more are only counted.
const LISTED: usize = 20;

/// Why a request gets the verdict it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The same as [`CompiledPolicy::decide`] gives.
    pub verdict: Verdict,
    /// The rules that are for this route, in the order written.
    pub considered: Vec<Considered>,
}

/// One rule, and whether it applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// The rule's name.
    pub rule: Arc<str>,
    /// What it would do.
    pub action: Action,
    /// Whether it counts.
    pub mode: Mode,
    /// Every condition that fails, of the alternative that comes nearest; none when it applies.
    pub fails: Vec<Unheld>,
    /// Whether it is for the caller, so that only what they asked for, or how, keeps it from applying.
    pub is_for_caller: bool,
    /// Whether what keeps it from applying is, besides how the caller signed in, that nobody approved.
    pub wants_approval: bool,
}

/// A condition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unheld {
    /// What it wants and what there is, in plain words; "you" is the caller.
    pub why: String,
    /// What may be said of it to a caller whom the rule is for: what it wants of headers is nothing for whoever could send them.
    pub told: String,
}

impl From<String> for Unheld {
    fn from(why: String) -> Self {
        Self {
            told: why.clone(),
            why,
        }
    }
}

impl From<&str> for Unheld {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

impl Considered {
    /// What fails, as a list in a sentence; `None` when it applies.
    pub fn why_not(&self) -> Option<String> {
        let why: Vec<&str> = self.fails.iter().map(|unheld| &*unheld.why).collect();
        (!why.is_empty()).then(|| why.join("; "))
    }
}

/// How far a rule came.
enum Outcome {
    Applies,
    /// Only a `not_…` condition is left, of which nothing is known for somebody who is not signed in.
    Unknown,
    /// Only what the rule requires is not met.
    Unmet(Unmet, Vec<Unheld>),
    Fails {
        why: Vec<Unheld>,
        is_for_caller: bool,
    },
}

/// Whether a rule, or an alternative of it, is for a caller.
enum Meant {
    Yes,
    /// As [`Outcome::Unknown`].
    Unknown,
    No(Vec<Unheld>),
}

impl CompiledPolicy {
    /// Explains one request; the cost grows with the number of rules.
    pub fn explain(&self, facts: &Facts<'_>) -> Explanation {
        let path = path_for_rules(&facts.route.route, facts.path);
        let is_ours = facts.route.svid.is_some() || facts.route.index < self.routes().len();
        let (Some(path), true) = (path, is_ours) else {
            return Explanation {
                verdict: Verdict::Deny(DenyReason::NoRule),
                considered: Vec::new(),
            };
        };
        let facts = Facts {
            path: &path,
            ..*facts
        };
        let policy = self.policy();
        let rules: Vec<&Rule> = policy
            .rules
            .iter()
            .filter(|rule| is_for_route(policy, rule, &facts))
            .map(AsRef::as_ref)
            .collect();
        let judged = |agents: &[Agent]| -> Vec<(&Rule, Outcome)> {
            let rules = rules.iter();
            rules
                .map(|rule| (*rule, judge(policy, rule, &facts, agents)))
                .collect()
        };
        let own = judged(&[]);
        let agents = facts.principal.map(|principal| principal.agents.as_slice());
        let Some(agents) = agents.filter(|agents| !agents.is_empty()) else {
            return Explanation {
                verdict: verdict(&facts, &own),
                considered: own.into_iter().map(considered).collect(),
            };
        };
        let acting = judged(agents);
        let verdict = match (denied(&facts, &acting), verdict(&facts, &own)) {
            (Some(denied), _) => denied,
            (None, Verdict::Allow { until, .. }) => through(verdict(&facts, &acting), until),
            (None, own) => own,
        };
        // Of a rule that says nothing of agents it is told whether it is for the person.
        let told = own.into_iter().zip(acting).map(|(own, acting)| {
            if acting.0.action == Action::Deny || names_agents(acting.0) {
                acting
            } else {
                own
            }
        });
        Explanation {
            verdict,
            considered: told.map(considered).collect(),
        }
    }
}

fn names_agents(rule: &Rule) -> bool {
    rule.from.iter().any(|source| source.agents.is_some())
}

fn considered((rule, outcome): (&Rule, Outcome)) -> Considered {
    let unknown = "you are not signed in, so nobody knows whether you are excepted";
    Considered {
        rule: Arc::clone(&rule.name),
        action: rule.action,
        mode: rule.mode,
        wants_approval: matches!(&outcome, Outcome::Unmet(unmet, _) if unmet.approval),
        is_for_caller: match &outcome {
            Outcome::Applies | Outcome::Unmet(..) => true,
            Outcome::Unknown => false,
            Outcome::Fails { is_for_caller, .. } => *is_for_caller,
        },
        fails: match outcome {
            Outcome::Applies => Vec::new(),
            Outcome::Unknown => vec![unknown.into()],
            Outcome::Unmet(_, why) | Outcome::Fails { why, .. } => why,
        },
    }
}

/// The first rule of an action that counts and applies.
fn applying(judged: &[(&Rule, Outcome)], wanted: Action) -> Option<Arc<str>> {
    let applies = |(rule, outcome): &&(&Rule, Outcome)| {
        rule.mode == Mode::Enforce && rule.action == wanted && matches!(outcome, Outcome::Applies)
    };
    let found = judged.iter().find(applies);
    found.map(|(rule, _)| Arc::clone(&rule.name))
}

/// What comes before all allow rules.
fn denied(facts: &Facts<'_>, judged: &[(&Rule, Outcome)]) -> Option<Verdict> {
    let refused = |principal| !accepts_provider(&facts.route.route, principal);
    if facts.principal.is_some_and(refused) {
        return Some(Verdict::Deny(DenyReason::Provider));
    }
    let rule = applying(judged, Action::Deny)?;
    Some(Verdict::Deny(DenyReason::Rule { rule }))
}

fn verdict(facts: &Facts<'_>, judged: &[(&Rule, Outcome)]) -> Verdict {
    if let Some(denied) = denied(facts, judged) {
        return denied;
    }
    let counting = || judged.iter().filter(|(rule, _)| rule.mode == Mode::Enforce);
    let is_unknown = counting().any(|(_, outcome)| matches!(outcome, Outcome::Unknown));
    if let Some(rule) = applying(judged, Action::Allow).filter(|_| !is_unknown) {
        let asks =
            |(judged, _): &(&Rule, Outcome)| judged.name == rule && judged.approval.is_some();
        let until = judged.iter().any(asks).then(|| facts.granted_until(&rule));
        return Verdict::Allow {
            until: until.flatten(),
            rule,
        };
    }
    if facts.principal.is_none() {
        return Verdict::SignIn;
    }
    let unmet = || {
        counting().filter_map(|(rule, outcome)| match outcome {
            Outcome::Unmet(unmet, _) => Some((Arc::clone(&rule.name), unmet)),
            Outcome::Applies | Outcome::Unknown | Outcome::Fails { .. } => None,
        })
    };
    // What the caller can do alone comes before what somebody else has to agree to.
    let first = unmet().find(|(_, unmet)| !unmet.approval);
    match first.or_else(|| unmet().next()) {
        Some((rule, unmet)) => match &unmet.sign_in {
            Some(require) => Verdict::StepUp {
                rule,
                require: require.clone(),
            },
            None => Verdict::Ask { rule },
        },
        None => Verdict::Deny(DenyReason::NoRule),
    }
}

/// Whether a route is among those named, alone or in groups.
fn names_route(
    policy: &Policy,
    route: &Arc<str>,
    names: &Option<Vec<Arc<str>>>,
    groups: &Option<Vec<Arc<str>>>,
) -> Option<bool> {
    if names.is_none() && groups.is_none() {
        return None;
    }
    let in_group = |name: &Arc<str>| {
        let mut named = policy
            .route_groups
            .iter()
            .filter(|group| group.name == *name);
        named.any(|group| group.routes.contains(route))
    };
    let is_named = names.iter().flatten().any(|name| name == route);
    Some(is_named || groups.iter().flatten().any(in_group))
}

fn is_for_route(policy: &Policy, rule: &Rule, facts: &Facts<'_>) -> bool {
    if let Some(kind) = facts.route.svid {
        let names = |target: &Target| {
            let svids = target.svids.as_ref();
            svids.is_some_and(|svids| svids.contains(&kind))
        };
        return match &rule.to {
            Some(to) => to.iter().any(names),
            None => rule.action == Action::Deny,
        };
    }
    let route = &facts.route.route.name;
    let is_for = |target: &Target| {
        target.svids.is_none()
            && names_route(policy, route, &target.routes, &target.route_groups) != Some(false)
            && names_route(policy, route, &target.not_routes, &target.not_route_groups)
                != Some(true)
    };
    rule.to.as_ref().is_none_or(|to| to.iter().any(is_for))
}

/// What is told of the request stands before what is told of the caller: who somebody is matters only where the rule is about the request.
fn judge(policy: &Policy, rule: &Rule, facts: &Facts<'_>, agents: &[Agent]) -> Outcome {
    let targets = rule.to.iter().flatten();
    let targets = targets.map(|target| target_fails(policy, target, facts));
    let mut why = match (&rule.to, nearest(targets)) {
        (None, _) => Vec::new(),
        (Some(_), found) => found.unwrap_or_else(|| vec!["it is for no request".into()]),
    };
    why.extend(circumstances_fail(rule, facts));
    let lacks = |principal| lacking(rule, principal, facts);
    match judge_from(policy, rule, facts.principal, agents) {
        Meant::Yes => match (facts.principal.and_then(lacks), why.is_empty()) {
            (None, true) => Outcome::Applies,
            (Some((unmet, lacks)), true) => Outcome::Unmet(unmet, lacks),
            (lacks, false) => {
                why.extend(lacks.into_iter().flat_map(|(_, lacks)| lacks));
                Outcome::Fails {
                    why,
                    is_for_caller: true,
                }
            }
        },
        Meant::Unknown if why.is_empty() => Outcome::Unknown,
        Meant::Unknown => Outcome::Fails {
            why,
            is_for_caller: false,
        },
        Meant::No(more) => {
            why.extend(more);
            Outcome::Fails {
                why,
                is_for_caller: false,
            }
        }
    }
}

/// Of several alternatives the one of which the fewest conditions fail, the first of equals.
fn nearest(alternatives: impl Iterator<Item = Vec<Unheld>>) -> Option<Vec<Unheld>> {
    alternatives.min_by_key(Vec::len)
}

fn judge_from(
    policy: &Policy,
    rule: &Rule,
    principal: Option<&Principal>,
    agents: &[Agent],
) -> Meant {
    let mut fails = Vec::new();
    let mut is_unknown = false;
    for source in &rule.from {
        let of_agents = agents_fail(source, agents, rule.action);
        match (
            of_agents,
            judge_source(policy, source, principal, rule.action),
        ) {
            (None, Meant::Yes) => return Meant::Yes,
            (None, Meant::Unknown) => is_unknown = true,
            (None, Meant::No(why)) => fails.push(why),
            (Some(why), Meant::No(more)) => fails.push([vec![why], more].concat()),
            (Some(why), Meant::Yes | Meant::Unknown) => fails.push(vec![why]),
        }
    }
    if is_unknown {
        return Meant::Unknown;
    }
    Meant::No(nearest(fails.into_iter()).unwrap_or_else(|| vec!["it is for nobody".into()]))
}

/// What a rule names.
fn list<T: Display>(values: &[T]) -> String {
    few(values, "nothing at all")
}

/// A list that may be long, or have nothing in it.
fn few<T: Display>(values: &[T], nothing: &str) -> String {
    if values.is_empty() {
        return nothing.to_owned();
    }
    let texts: Vec<String> = values.iter().take(LISTED).map(T::to_string).collect();
    match values.len().saturating_sub(LISTED) {
        0 => texts.join(", "),
        more => format!("{} and {more} more", texts.join(", ")),
    }
}
