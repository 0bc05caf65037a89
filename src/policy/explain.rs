//! The same question as [`decide`](crate::policy::decide), answered slowly and in words: rule by rule, from the policy as written and without
//! any index. The page of a refusal shows it, and tests hold the fast answer against it.

use std::fmt::Display;
use std::sync::Arc;

use crate::identity::principal::{Agent, Groups, Principal};
use crate::policy::compile::CompiledPolicy;
use crate::policy::compile::rule::lists_method;
use crate::policy::decide::{
    DenyReason, Facts, Verdict, accepts_provider, path_for_rules, through,
};
use crate::policy::matcher::TextMatch;
use crate::policy::model::{Action, Mode, Policy, Rule, Source, Target};
use crate::policy::when::{Failure, claims_differ, claims_hold};

mod remedies;
mod required;

use required::{Unmet, lacking};

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
    /// `None` when it applies; else, in plain words, the first condition that fails, of the alternative that comes nearest.
    pub fails: Option<String>,
}

/// How far an alternative came.
enum Outcome {
    Applies,
    /// Only a `not_…` condition is left, of which nothing is known for somebody who is not signed in.
    Unknown,
    /// Only what the rule requires is not met.
    Unmet(Unmet, String),
    Fails(String),
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
        fails: match outcome {
            Outcome::Applies => None,
            Outcome::Unknown => Some(unknown.to_owned()),
            Outcome::Unmet(_, why) | Outcome::Fails(why) => Some(why),
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
            Outcome::Applies | Outcome::Unknown | Outcome::Fails(_) => None,
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

/// The target is told of before the source: who somebody is matters only where the rule is about the request.
fn judge(policy: &Policy, rule: &Rule, facts: &Facts<'_>, agents: &[Agent]) -> Outcome {
    if let Some(to) = &rule.to {
        let failures: Option<Vec<String>> = to
            .iter()
            .map(|target| target_fails(policy, target, facts))
            .collect();
        if let Some(failures) = failures {
            let first = failures.into_iter().next();
            return Outcome::Fails(first.unwrap_or_else(|| "it is for no request".to_owned()));
        }
    }
    let when = rule.when.as_ref();
    if let Some(failure) = when.and_then(|when| when.failure(facts, rule.action)) {
        return Outcome::Fails(circumstance(&failure, facts));
    }
    let outcome = judge_from(policy, rule, facts.principal, agents);
    match (outcome, facts.principal) {
        (Outcome::Applies, Some(principal)) => lacking(rule, principal, facts),
        (outcome, _) => outcome,
    }
}

fn judge_from(
    policy: &Policy,
    rule: &Rule,
    principal: Option<&Principal>,
    agents: &[Agent],
) -> Outcome {
    let mut nearest = None;
    let mut is_unknown = false;
    for source in &rule.from {
        if let Some(why) = agents_fail(source, agents, rule.action) {
            nearest = nearest.or(Some(why));
            continue;
        }
        match judge_source(policy, source, principal, rule.action) {
            Outcome::Applies => return Outcome::Applies,
            Outcome::Unknown => is_unknown = true,
            Outcome::Fails(why) | Outcome::Unmet(_, why) => nearest = nearest.or(Some(why)),
        }
    }
    if is_unknown {
        return Outcome::Unknown;
    }
    Outcome::Fails(nearest.unwrap_or_else(|| "it is for nobody".to_owned()))
}

fn circumstance(failure: &Failure<'_>, facts: &Facts<'_>) -> String {
    let peer = facts.peer.map_or_else(
        || "an unknown address".to_owned(),
        |peer| peer.to_canonical().to_string(),
    );
    match failure {
        Failure::Until(until) => format!("it held until {until}"),
        Failure::Hours(hours) => format!("it holds {}", list(hours)),
        Failure::SourceIps(wanted) => {
            format!(
                "it is for connections from {}, and this comes from {peer}",
                list(wanted)
            )
        }
        Failure::NotSourceIps(other) => {
            format!(
                "it is not for connections from {}, and this comes from {peer}",
                list(other)
            )
        }
        Failure::Header(name, wanted) => {
            format!("it is for requests whose header {name} is {}", list(wanted))
        }
        Failure::NotHeader(name, other) => {
            format!(
                "it is not for requests whose header {name} is or may be {}",
                list(other)
            )
        }
    }
}

fn list<T: Display>(values: &[T]) -> String {
    if values.is_empty() {
        return "nothing at all".to_owned();
    }
    let texts: Vec<String> = values.iter().map(T::to_string).collect();
    texts.join(", ")
}

fn target_fails(policy: &Policy, target: &Target, facts: &Facts<'_>) -> Option<String> {
    let Facts {
        method,
        path,
        route,
        ..
    } = facts;
    match (route.svid, &target.svids) {
        (Some(kind), Some(svids)) if svids.contains(&kind) => return None,
        (Some(_), _) => return Some("it is not for this kind of SVID".to_owned()),
        (None, Some(svids)) => return Some(format!("it is for SVIDs: {}", list(svids))),
        (None, None) => {}
    }
    let name = &route.route.name;
    let named = |names: &Option<Vec<Arc<str>>>, groups: &Option<Vec<Arc<str>>>| {
        let all: Vec<&Arc<str>> = names.iter().chain(groups).flatten().collect();
        list(&all)
    };
    let (wanted, groups) = (&target.routes, &target.route_groups);
    if names_route(policy, name, wanted, groups) == Some(false) {
        return Some(format!("it is for {}", named(wanted, groups)));
    }
    let (other, groups) = (&target.not_routes, &target.not_route_groups);
    if names_route(policy, name, other, groups) == Some(true) {
        return Some(format!("it is not for {}", named(other, groups)));
    }
    if let Some(methods) = &target.methods
        && !lists_method(methods, method)
    {
        return Some(format!(
            "it is for the methods {}, and this is {method}",
            list(methods)
        ));
    }
    if let Some(methods) = &target.not_methods
        && lists_method(methods, method)
    {
        return Some(format!("it is not for the methods {}", list(methods)));
    }
    if let Some(paths) = &target.paths
        && !paths.iter().any(|wanted| wanted.matches(path))
    {
        return Some(format!("it is for the paths {}", list(paths)));
    }
    if let Some(paths) = &target.not_paths
        && paths.iter().any(|other| other.matches(path))
    {
        return Some(format!("it is not for the paths {}", list(paths)));
    }
    None
}

fn judge_source(
    policy: &Policy,
    source: &Source,
    principal: Option<&Principal>,
    action: Action,
) -> Outcome {
    if source.anyone {
        return Outcome::Applies;
    }
    let Some(principal) = principal else {
        return match action {
            Action::Deny if only_excludes(policy, source) => Outcome::Unknown,
            Action::Deny | Action::Allow => Outcome::Fails("you are not signed in".to_owned()),
        };
    };
    let failure = label_fails(source, principal)
        .or_else(|| email_fails(source, principal, action))
        .or_else(|| groups_fail(source, &principal.groups, action))
        .or_else(|| claims_fail(source, principal, action))
        .or_else(|| people_fail(policy, source, principal, action));
    failure.map_or(Outcome::Applies, Outcome::Fails)
}

/// Whether a source, or one named in it beside nothing else, says only who is excepted.
fn only_excludes(policy: &Policy, source: &Source) -> bool {
    let excluding = Source {
        people: source.people.clone(),
        not_emails: source.not_emails.clone(),
        not_subjects: source.not_subjects.clone(),
        not_groups: source.not_groups.clone(),
        not_providers: source.not_providers.clone(),
        not_claims: source.not_claims.clone(),
        not_people: source.not_people.clone(),
        ..Source::default()
    };
    *source == excluding
        && source.people.as_ref().is_none_or(|names| {
            let mut named = sources_named(policy, names);
            named.any(|source| only_excludes(policy, source))
        })
}

/// What stands under names of people.
fn sources_named<'a>(
    policy: &'a Policy,
    names: &'a [Arc<str>],
) -> impl Iterator<Item = &'a Source> {
    let people = policy.people.iter();
    let named = people.filter(|people| names.contains(&people.name));
    named.flat_map(|people| &people.from)
}

fn matches(conditions: &[TextMatch], text: &str) -> bool {
    conditions.iter().any(|condition| condition.matches(text))
}

fn agents_fail(source: &Source, agents: &[Agent], action: Action) -> Option<String> {
    let Some(wanted) = &source.agents else {
        let is_for = action == Action::Deny || agents.is_empty();
        let why = "it is for people themselves, and says nothing of agents";
        return (!is_for).then(|| why.to_owned());
    };
    let other = source.not_agents.as_deref().unwrap_or_default();
    let is_named = |agent: &Agent| matches(wanted, &agent.id) && !matches(other, &agent.id);
    let is_for = match action {
        Action::Allow => !agents.is_empty() && agents.iter().all(is_named),
        Action::Deny => agents.iter().any(is_named),
    };
    let but = match other {
        [] => String::new(),
        other => format!(" but {}", list(other)),
    };
    (!is_for).then(|| format!("it is for the agents {}{but}", list(wanted)))
}

fn label_fails(source: &Source, principal: &Principal) -> Option<String> {
    if let Some(providers) = &source.providers
        && !providers.contains(&principal.provider)
    {
        return Some(format!(
            "it is for people who signed in at {}",
            list(providers)
        ));
    }
    if let Some(providers) = &source.not_providers
        && providers.contains(&principal.provider)
    {
        return Some(format!(
            "it is not for people who signed in at {}",
            list(providers)
        ));
    }
    if let Some(kinds) = &source.kinds
        && !kinds.contains(&principal.kind)
    {
        return Some("it is for another kind of caller".to_owned());
    }
    if let Some(subjects) = &source.subjects
        && !matches(subjects, &principal.subject)
    {
        return Some("it is for other subjects".to_owned());
    }
    if let Some(subjects) = &source.not_subjects
        && matches(subjects, &principal.subject)
    {
        return Some("it is not for your subject".to_owned());
    }
    None
}

fn email_fails(source: &Source, principal: &Principal, action: Action) -> Option<String> {
    let asks = source.emails.is_some() || source.email_domains.is_some();
    let Some(email) = &principal.email else {
        let excludes = source.not_emails.is_some() && action == Action::Allow;
        let why = "it asks for an e-mail address, and your provider vouches for none";
        return (asks || excludes).then(|| why.to_owned());
    };
    if let Some(emails) = &source.emails
        && !matches(emails, email.as_str())
    {
        return Some("it is for other e-mail addresses".to_owned());
    }
    if let Some(domains) = &source.email_domains
        && !domains.iter().any(|domain| domain == email.domain())
    {
        return Some(format!("it is for e-mail addresses at {}", list(domains)));
    }
    if let Some(emails) = &source.not_emails
        && matches(emails, email.as_str())
    {
        return Some("it is not for your e-mail address".to_owned());
    }
    None
}

fn groups_fail(source: &Source, groups: &Groups, action: Action) -> Option<String> {
    let names = match groups {
        Groups::Known(names) => names,
        Groups::Missing => {
            let nobody = source.groups.as_ref().is_some_and(Vec::is_empty);
            let asks = source.groups.is_some();
            let excludes = source
                .not_groups
                .as_ref()
                .is_some_and(|groups| !groups.is_empty());
            let fails = nobody || ((asks || excludes) && action == Action::Allow);
            return fails.then(|| {
                "it asks for groups, and your provider did not say which you are in".to_owned()
            });
        }
    };
    if let Some(wanted) = &source.groups
        && !names.iter().any(|name| matches(wanted, name))
    {
        return Some(format!(
            "it is for the groups {}, and you are in none of them",
            list(wanted)
        ));
    }
    if let Some(other) = &source.not_groups
        && names.iter().any(|name| matches(other, name))
    {
        return Some(format!("it is not for the groups {}", list(other)));
    }
    None
}

fn claims_fail(source: &Source, principal: &Principal, action: Action) -> Option<String> {
    if let Some(wanted) = &source.claims
        && !claims_hold(wanted, principal, action)
    {
        let names: Vec<&Arc<str>> = wanted.keys().collect();
        return Some(format!("it is for other values of {}", list(&names)));
    }
    if let Some(other) = &source.not_claims
        && !claims_differ(other, principal, action)
    {
        let names: Vec<&Arc<str>> = other.keys().collect();
        return Some(format!("it is not for your values of {}", list(&names)));
    }
    None
}

fn people_fail(
    policy: &Policy,
    source: &Source,
    principal: &Principal,
    action: Action,
) -> Option<String> {
    let described = |names| -> Vec<&Source> { sources_named(policy, names).collect() };
    let is_among = |sources: &[&Source], action: Action| {
        sources.iter().any(|source| {
            let outcome = judge_source(policy, source, Some(principal), action);
            matches!(outcome, Outcome::Applies)
        })
    };
    if let Some(names) = &source.people
        && !is_among(&described(names), action)
    {
        return Some(format!(
            "it is for {}, and you are not among them",
            list(names)
        ));
    }
    if let Some(names) = &source.not_people {
        let sources = described(names);
        let asks = |source: &&Source| source.emails.is_some() || source.email_domains.is_some();
        let may_be =
            action == Action::Allow && principal.email.is_none() && sources.iter().any(asks);
        if may_be || is_among(&sources, action.opposite()) {
            return Some(format!("it is not for {}", list(names)));
        }
    }
    None
}
