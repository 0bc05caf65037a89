//! Whether an item of `from` is for a caller, and what of it does not hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::identity::principal::{Agent, Groups, Principal};
use crate::policy::explain::{Meant, Unheld, few, list, nearest};
use crate::policy::matcher::TextMatch;
use crate::policy::model::{Action, Policy, Source};
use crate::policy::when::{claims_differ, claims_hold};

/// Whether an item of `from` is for a caller; of agents it says nothing.
pub(super) fn judge_source(
    policy: &Policy,
    source: &Source,
    principal: Option<&Principal>,
    action: Action,
) -> Meant {
    if source.anyone {
        return Meant::Yes;
    }
    let Some(principal) = principal else {
        return match action {
            Action::Deny if only_excludes(policy, source) => Meant::Unknown,
            Action::Deny | Action::Allow => Meant::No(vec!["you are not signed in".into()]),
        };
    };
    let mut fails = label_fails(source, principal);
    fails.extend(email_fails(source, principal, action));
    fails.extend(groups_fail(source, &principal.groups, action));
    fails.extend(claims_fail(source, principal, action));
    fails.extend(people_fail(policy, source, principal, action));
    match fails.is_empty() {
        true => Meant::Yes,
        false => Meant::No(fails.into_iter().map(Unheld::from).collect()),
    }
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

/// Whether it is for whoever acts for the caller.
pub(super) fn agents_fail(source: &Source, agents: &[Agent], action: Action) -> Option<Unheld> {
    let Some(wanted) = &source.agents else {
        let is_for = action == Action::Deny || agents.is_empty();
        let why = "it is for people themselves, and says nothing of agents";
        return (!is_for).then(|| why.into());
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
    let ids: Vec<&str> = agents.iter().map(|agent| &*agent.id).collect();
    let acts = match ids.as_slice() {
        [] => "no agent acts for you".to_owned(),
        ids => format!("{} acts for you", ids.join(", ")),
    };
    (!is_for).then(|| format!("it is for the agents {}{but}, and {acts}", list(wanted)).into())
}

fn label_fails(source: &Source, principal: &Principal) -> Vec<String> {
    let (provider, subject) = (&principal.provider, &principal.subject);
    let mut fails = Vec::new();
    let providers = source.providers.as_ref();
    if let Some(providers) = providers.filter(|all| !all.contains(provider)) {
        let providers = list(providers);
        fails.push(format!(
            "it is for people who signed in at {providers}, and you did at {provider}"
        ));
    }
    let providers = source.not_providers.as_ref();
    if let Some(providers) = providers.filter(|all| all.contains(provider)) {
        let providers = list(providers);
        fails.push(format!(
            "it is not for people who signed in at {providers}, and you did at {provider}"
        ));
    }
    let kinds = source.kinds.as_ref();
    if let Some(kinds) = kinds.filter(|all| !all.contains(&principal.kind)) {
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        let (kinds, own) = (list(&kinds), principal.kind.as_str());
        fails.push(format!(
            "it is for callers of the kind {kinds}, and you are a {own}"
        ));
    }
    let subjects = source.subjects.as_ref();
    if let Some(subjects) = subjects.filter(|all| !matches(all, subject)) {
        let subjects = list(subjects);
        fails.push(format!(
            "it is for the subjects {subjects}, and you are {subject}"
        ));
    }
    let subjects = source.not_subjects.as_ref();
    if let Some(subjects) = subjects.filter(|all| matches(all, subject)) {
        let subjects = list(subjects);
        fails.push(format!(
            "it is not for the subjects {subjects}, and you are {subject}"
        ));
    }
    fails
}

fn email_fails(source: &Source, principal: &Principal, action: Action) -> Vec<String> {
    let asks = source.emails.is_some() || source.email_domains.is_some();
    let Some(email) = &principal.email else {
        let excludes = source.not_emails.is_some() && action == Action::Allow;
        let why = "it asks for an e-mail address, and your provider vouches for none";
        return (asks || excludes)
            .then(|| why.to_owned())
            .into_iter()
            .collect();
    };
    let mut fails = Vec::new();
    let own = email.as_str();
    let emails = source.emails.as_ref();
    if let Some(emails) = emails.filter(|all| !matches(all, own)) {
        let emails = list(emails);
        fails.push(format!(
            "it is for the e-mail addresses {emails}, and yours is {own}"
        ));
    }
    let domains = source.email_domains.as_ref();
    if let Some(domains) = domains.filter(|all| !all.iter().any(|one| one == email.domain())) {
        let domains = list(domains);
        fails.push(format!(
            "it is for e-mail addresses at {domains}, and yours is {own}"
        ));
    }
    let emails = source.not_emails.as_ref();
    if let Some(emails) = emails.filter(|all| matches(all, own)) {
        let emails = list(emails);
        fails.push(format!(
            "it is not for the e-mail addresses {emails}, and yours is {own}"
        ));
    }
    fails
}

fn groups_fail(source: &Source, groups: &Groups, action: Action) -> Vec<String> {
    let names = match groups {
        Groups::Known(names) => names,
        Groups::Missing => {
            let is_empty = |all: &Option<Vec<TextMatch>>| all.as_ref().map(Vec::is_empty);
            let asks = source.groups.is_some() || is_empty(&source.not_groups) == Some(false);
            let fails = is_empty(&source.groups) == Some(true) || (asks && action == Action::Allow);
            let why = "it asks for groups, and your provider did not say which you are in";
            return fails.then(|| why.to_owned()).into_iter().collect();
        }
    };
    let mut fails = Vec::new();
    let is_in = |all: &Vec<TextMatch>| names.iter().any(|name| matches(all, name));
    if let Some(wanted) = source.groups.as_ref().filter(|all| !is_in(all)) {
        let wanted = list(wanted);
        let names: Vec<_> = names.iter().collect();
        fails.push(format!(
            "it is for the groups {wanted}, and you are in {}",
            few(&names, "none")
        ));
    }
    if let Some(other) = source.not_groups.as_ref().filter(|all| is_in(all)) {
        let names = names.iter().filter(|name| matches(other, name));
        let names: Vec<_> = names.collect();
        fails.push(format!(
            "it is not for the groups {}, and you are in {}",
            list(other),
            few(&names, "none")
        ));
    }
    fails
}

fn claims_fail(source: &Source, principal: &Principal, action: Action) -> Vec<String> {
    let mut fails = Vec::new();
    let wanted = source.claims.iter().flatten();
    let held = |name: &Arc<str>, values: &Vec<TextMatch>| {
        BTreeMap::from([(Arc::clone(name), values.clone())])
    };
    for (name, values) in wanted {
        if !claims_hold(&held(name, values), principal, action) {
            let (values, own) = (list(values), own_values(principal, name));
            fails.push(format!(
                "it is for the values {values} of {name}, and {own}"
            ));
        }
    }
    let other = source.not_claims.iter().flatten();
    for (name, values) in other {
        if !claims_differ(&held(name, values), principal, action) {
            let (values, own) = (list(values), own_values(principal, name));
            fails.push(format!(
                "it is not for the values {values} of {name}, and {own}"
            ));
        }
    }
    fails
}

fn own_values(principal: &Principal, name: &str) -> String {
    match principal.claims.get(name) {
        None => "yours are not known".to_owned(),
        Some(values) if values.is_empty() => "you have none".to_owned(),
        Some(values) => format!("yours are {}", few(values, "none")),
    }
}

fn people_fail(
    policy: &Policy,
    source: &Source,
    principal: &Principal,
    action: Action,
) -> Vec<String> {
    let judged = |sources: &[&Source], action: Action| -> Vec<Meant> {
        let sources = sources.iter();
        sources
            .map(|source| judge_source(policy, source, Some(principal), action))
            .collect()
    };
    let is_among = |judged: &[Meant]| judged.iter().any(|meant| matches!(meant, Meant::Yes));
    let mut fails = Vec::new();
    if let Some(names) = &source.people {
        let sources: Vec<&Source> = sources_named(policy, names).collect();
        let judged = judged(&sources, action);
        if !is_among(&judged) {
            let why = judged.into_iter().filter_map(|meant| match meant {
                Meant::No(why) => Some(why),
                Meant::Yes | Meant::Unknown => None,
            });
            let why = nearest(why).into_iter().flatten().map(|unheld| unheld.why);
            let why: Vec<String> = why.collect();
            let because = match why.is_empty() {
                true => String::new(),
                false => format!(": {}", why.join("; ")),
            };
            let names = list(names);
            fails.push(format!(
                "it is for {names}, and you are not among them{because}"
            ));
        }
    }
    if let Some(names) = &source.not_people {
        let sources: Vec<&Source> = sources_named(policy, names).collect();
        let asks = |source: &&Source| source.emails.is_some() || source.email_domains.is_some();
        let may_be =
            action == Action::Allow && principal.email.is_none() && sources.iter().any(asks);
        if may_be || is_among(&judged(&sources, action.opposite())) {
            fails.push(format!(
                "it is not for {}, and you are or may be among them",
                list(names)
            ));
        }
    }
    fails
}
