//! Rules that another one leaves nothing to do: whatever such a rule is about, the other is about as well.
//!
//! What is found is so; not all that is so is found. Each item of the one has to be within a single item of the other, field by field.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::identity::principal::Requirement;
use crate::policy::compile::rule::lists_method;
use crate::policy::lint::{may_decide, may_mean_somebody};
use crate::policy::matcher::{PathMatch, TextMatch};
use crate::policy::model::{Action, Approval, Policy, Rule, Source, Target};

/// So many rules at most are held against one: of more under the same condition, some could escape.
const MOST_HELD_AGAINST: usize = 64;

/// What a rule cannot do without: by this those are found that may leave it nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who<'a> {
    Email(&'a str),
    Subject(&'a str),
    Group(&'a str),
    People(&'a str),
    /// None of these.
    Open,
}

/// A condition of each kind; `None` is any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key<'a> {
    route: Option<&'a str>,
    path: Option<&'a str>,
    who: Who<'a>,
}

/// The rules that count, found by what a rule that they leave nothing must have.
pub(super) struct Covering<'a> {
    names: Names<'a>,
    entered: HashMap<Key<'a>, Vec<(usize, &'a Rule)>>,
    now: jiff::Timestamp,
}

/// The routes of groups.
struct Names<'a>(HashMap<&'a str, &'a [Arc<str>]>);

impl<'a> Covering<'a> {
    pub(super) fn new(policy: &'a Policy, now: jiff::Timestamp) -> Self {
        let mut all = Self {
            names: Names::of(policy),
            entered: HashMap::new(),
            now,
        };
        let counting = policy.rules.iter().enumerate();
        for (at, rule) in counting.filter(|(_, rule)| may_decide(rule, now)) {
            for key in all.names.keys(rule) {
                all.entered.entry(key).or_default().push((at, rule));
            }
        }
        all
    }

    /// What a rule, at this place of the policy, leaves undone because of another.
    pub(super) fn finding(&self, at: usize, rule: &Rule) -> Option<String> {
        if !may_decide(rule, self.now) {
            return None;
        }
        let keys = self.names.wanted(rule);
        let held = keys
            .iter()
            .filter_map(|key| self.entered.get(key))
            .flatten();
        let mut held: Vec<&(usize, &Rule)> = held.take(MOST_HELD_AGAINST).collect();
        // The first one in the order written is named, under whatever it was found.
        held.sort_unstable_by_key(|(other_at, _)| *other_at);
        held.into_iter()
            .find_map(|(other_at, other)| self.names.finding((at, rule), (*other_at, other)))
    }
}

/// As [`Covering::finding`], for one rule alone, and held against every other.
pub(super) fn finding(policy: &Policy, at: usize, now: jiff::Timestamp) -> Option<String> {
    let rule = { policy.rules.get(at) }.filter(|rule| may_decide(rule, now))?;
    let names = Names::of(policy);
    if names.wanted(rule).is_empty() {
        return None;
    }
    let others = policy.rules.iter().enumerate();
    let mut others = others.filter(|(_, other)| may_decide(other, now));
    others.find_map(|(other_at, other)| names.finding((at, rule), (other_at, other)))
}

impl<'a> Names<'a> {
    fn of(policy: &'a Policy) -> Self {
        let groups = policy.route_groups.iter();
        Self(groups.map(|group| (&*group.name, &*group.routes)).collect())
    }

    /// What one rule leaves undone because of the other; each with its place.
    fn finding(
        &self,
        (at, rule): (usize, &Rule),
        (other_at, other): (usize, &Rule),
    ) -> Option<String> {
        // Most are not, and of those nothing else has to be known.
        if at == other_at || !self.is_within(rule, other) {
            return None;
        }
        let name = &other.name;
        // Of two that say the same in other words, the first has something to do.
        let is_first = || at < other_at && self.is_within(other, rule);
        Some(match (rule.action, other.action) {
            (Action::Allow, Action::Deny) => {
                format!("it changes nothing: rule {name} denies all that it allows")
            }
            (Action::Allow, Action::Allow) if requirements(rule) != requirements(other) => {
                if requirements(other) != (&None, &None) {
                    return None;
                }
                format!("what it requires is never asked for: rule {name} allows the same without")
            }
            (Action::Deny, Action::Allow) => return None,
            _ if is_first() => return None,
            (Action::Deny, Action::Deny) => {
                format!("it adds nothing: rule {name} denies the same and more")
            }
            (Action::Allow, Action::Allow) => {
                format!("it adds nothing: rule {name} allows the same and more")
            }
        })
    }

    /// Whether all that `rule` is about is what `other` is about.
    fn is_within(&self, rule: &Rule, other: &Rule) -> bool {
        let in_source = |source: &Source| {
            let mut others = other.from.iter();
            others.any(|wider| is_source_within((source, rule.action), (wider, other.action)))
        };
        let in_target = |target: &Target| match &other.to {
            None => target.svids.is_none() || other.action == Action::Deny,
            Some(to) => to.iter().any(|wider| self.is_target_within(target, wider)),
        };
        // What says nothing of targets is about requests, and in a deny rule about SVIDs too.
        let to = || match (&rule.to, &other.to) {
            (None, None) => rule.action == Action::Allow || other.action == Action::Deny,
            (None, Some(_)) => rule.action == Action::Allow && in_target(&Target::default()),
            (Some(to), _) => to.iter().all(in_target),
        };
        (other.when.is_none() || other.when == rule.when) && rule.from.iter().all(in_source) && to()
    }

    fn is_target_within(&self, target: &Target, wider: &Target) -> bool {
        if target.svids.is_some() || wider.svids.is_some() {
            let both = target.svids.as_ref().zip(wider.svids.as_ref());
            return both.is_some_and(|(some, all)| some.iter().all(|kind| all.contains(kind)));
        }
        let listed = |some: &Vec<String>, all: &Vec<String>| are_methods_within(some, all);
        let matched = |some: &Vec<PathMatch>, all: &Vec<PathMatch>| are_paths_within(some, all);
        self.are_routes_within(target, wider)
            && is_within(&target.methods, &wider.methods, listed)
            && excludes_no_more(&wider.not_methods, &target.not_methods, listed)
            && is_within(&target.paths, &wider.paths, matched)
            && excludes_no_more(&wider.not_paths, &target.not_paths, matched)
    }

    fn are_routes_within(&self, target: &Target, wider: &Target) -> bool {
        let named = |target| self.routes(target, |it| (&it.routes, &it.route_groups));
        let not = |target| self.routes(target, |it| (&it.not_routes, &it.not_route_groups));
        let (these, those) = (named(target), named(wider));
        let left_out = not(target);
        let is_left_out = |route: &&str| {
            left_out.as_ref().is_some_and(|not| not.contains(route))
                || these.as_ref().is_some_and(|these| !these.contains(route))
        };
        is_within(&these, &those, |some, all| some.is_subset(all))
            && not(wider).is_none_or(|routes| routes.iter().all(is_left_out))
    }

    /// The routes that a target names one by one and in groups; `None` where it says nothing of either.
    fn routes<'t>(
        &self,
        target: &'t Target,
        of: impl Fn(&'t Target) -> (&'t ArcNames, &'t ArcNames),
    ) -> Option<HashSet<&'t str>>
    where
        'a: 't,
    {
        let (names, groups) = of(target);
        if names.is_none() && groups.is_none() {
            return None;
        }
        let groups = groups.iter().flatten();
        let members = groups.filter_map(|group| self.0.get(&**group).copied());
        let named = names.iter().flatten().chain(members.flatten());
        Some(named.map(|name| &**name).collect())
    }

    /// Under what a rule is found by those that it leaves nothing.
    fn keys<'r>(&self, rule: &'r Rule) -> Vec<Key<'r>>
    where
        'a: 'r,
    {
        let places = self.places(rule);
        let mut keys = Vec::new();
        for who in rule.from.iter().flat_map(who_are_meant) {
            for (routes, path) in &places {
                let key = |route: &Option<_>| Key {
                    route: *route,
                    path: *path,
                    who,
                };
                keys.extend(routes.iter().map(key));
            }
        }
        keys
    }

    /// Under what a rule has to look for those that leave it nothing: they are about its first item, and its first target, and so on.
    fn wanted<'r>(&self, rule: &'r Rule) -> Vec<Key<'r>>
    where
        'a: 'r,
    {
        let mut from = rule.from.iter();
        let first = from.find(|source| may_mean_somebody(source));
        let first = first.map(first_of_each).unwrap_or_default();
        let mut places = self.places(rule).into_iter();
        // Groups of routes may be empty, and a rule about nothing.
        let Some((routes, path)) = places.find(|(routes, _)| !routes.is_empty()) else {
            return Vec::new();
        };
        let route = routes.into_iter().flatten().next();
        let mut keys = Vec::new();
        for route in [None].into_iter().chain(route.map(Some)) {
            for path in [None].into_iter().chain(path.map(Some)) {
                keys.extend(first.iter().map(|who| Key {
                    route,
                    path,
                    who: *who,
                }));
            }
        }
        keys
    }

    /// The routes and the paths that each target of a rule names; `None` is any.
    fn places<'r>(&self, rule: &'r Rule) -> Vec<(Vec<Option<&'r str>>, Option<&'r str>)>
    where
        'a: 'r,
    {
        let Some(targets) = &rule.to else {
            return vec![(vec![None], None)];
        };
        let mut places = Vec::new();
        for target in targets {
            let routes = self.routes(target, |it| (&it.routes, &it.route_groups));
            let routes: Vec<_> =
                routes.map_or(vec![None], |routes| routes.into_iter().map(Some).collect());
            let paths = { target.paths.as_ref() }.map(|paths| paths.iter().map(PathMatch::exact));
            let exact: Option<Vec<&str>> = paths.and_then(Iterator::collect);
            match exact {
                Some(paths) => {
                    places.extend(paths.into_iter().map(|path| (routes.clone(), Some(path))));
                }
                None => places.push((routes, None)),
            }
        }
        places
    }
}

fn requirements(rule: &Rule) -> (&Option<Requirement>, &Option<Approval>) {
    (&rule.require, &rule.approval)
}

type ArcNames = Option<Vec<Arc<str>>>;

/// What an item cannot do without, once for each value of one field.
fn who_are_meant(source: &Source) -> Vec<Who<'_>> {
    fn texts<'s>(
        list: &'s Option<Vec<TextMatch>>,
        who: fn(&'s str) -> Who<'s>,
    ) -> Option<Vec<Who<'s>>> {
        let values = list.as_ref()?.iter();
        values.map(|value| value.exact().map(who)).collect()
    }
    let people = source.people.as_ref();
    texts(&source.emails, Who::Email)
        .or_else(|| texts(&source.subjects, Who::Subject))
        .or_else(|| texts(&source.groups, Who::Group))
        .or_else(|| people.map(|people| people.iter().map(|name| Who::People(name)).collect()))
        .unwrap_or_else(|| vec![Who::Open])
}

/// Whatever a wider item can have entered itself under.
fn first_of_each(source: &Source) -> Vec<Who<'_>> {
    fn first<'s>(list: &'s Option<Vec<TextMatch>>, who: fn(&'s str) -> Who<'s>) -> Option<Who<'s>> {
        list.as_ref()?.first()?.exact().map(who)
    }
    let people = { source.people.iter().flatten() }.next();
    let named = [
        first(&source.emails, Who::Email),
        first(&source.subjects, Who::Subject),
        first(&source.groups, Who::Group),
        people.map(|name| Who::People(name)),
    ];
    [Who::Open]
        .into_iter()
        .chain(named.into_iter().flatten())
        .collect()
}

/// Whether the values of one field are within those of another; no values at all are any value.
fn is_within<T>(some: &Option<T>, all: &Option<T>, are_within: impl Fn(&T, &T) -> bool) -> bool {
    match (some, all) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(some), Some(all)) => are_within(some, all),
    }
}

/// Whether what the one takes out the other takes out as well; no values at all take out nothing.
fn excludes_no_more<T>(
    wider: &Option<T>,
    other: &Option<T>,
    are_within: impl Fn(&T, &T) -> bool,
) -> bool {
    match (wider, other) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wider), Some(other)) => are_within(wider, other),
    }
}

/// Whether everybody whom an item is for is somebody whom the other, of a rule of its own action, is for.
pub(super) fn is_source_within(
    (source, action): (&Source, Action),
    (wider, wider_action): (&Source, Action),
) -> bool {
    let are_same_agents =
        (&source.agents, &source.not_agents) == (&wider.agents, &wider.not_agents);
    // An item of a deny rule that says nothing of agents is for whatever acts, and for who acts themselves.
    let is_for_all = wider_action == Action::Deny && wider.agents.is_none();
    if !are_same_agents && !is_for_all {
        return false;
    }
    if wider.anyone || source.anyone {
        return wider.anyone;
    }
    // Such an item of a deny rule is for strangers as well, of whom nobody knows.
    if action == Action::Deny && only_excludes(source) {
        return source == wider;
    }
    let texts = |some: &Vec<TextMatch>, all: &Vec<TextMatch>| are_texts_within(some, all);
    let names = |some: &Vec<Arc<str>>, all: &Vec<Arc<str>>| is_among(some, all);
    is_within(&source.emails, &wider.emails, texts)
        && is_within(&source.email_domains, &wider.email_domains, |some, all| {
            is_among(some, all)
        })
        && is_within(&source.subjects, &wider.subjects, texts)
        && is_within(&source.groups, &wider.groups, texts)
        && is_within(&source.providers, &wider.providers, names)
        && is_within(&source.kinds, &wider.kinds, |some, all| is_among(some, all))
        && is_within(&source.claims, &wider.claims, |some, all| {
            have_claims(all, some, are_texts_within)
        })
        && is_within(&source.people, &wider.people, names)
        && excludes_no_more(&wider.not_emails, &source.not_emails, texts)
        && excludes_no_more(&wider.not_subjects, &source.not_subjects, texts)
        && excludes_no_more(&wider.not_groups, &source.not_groups, texts)
        && excludes_no_more(&wider.not_providers, &source.not_providers, names)
        && excludes_no_more(&wider.not_claims, &source.not_claims, |some, all| {
            have_claims(some, all, |all, some| are_texts_within(some, all))
        })
        && excludes_no_more(&wider.not_people, &source.not_people, names)
}

fn only_excludes(source: &Source) -> bool {
    let only = Source {
        agents: source.agents.clone(),
        not_agents: source.not_agents.clone(),
        not_emails: source.not_emails.clone(),
        not_subjects: source.not_subjects.clone(),
        not_groups: source.not_groups.clone(),
        not_providers: source.not_providers.clone(),
        not_claims: source.not_claims.clone(),
        not_people: source.not_people.clone(),
        people: source.people.clone(),
        ..Source::default()
    };
    *source == only
}

pub(super) fn is_among<T: PartialEq>(some: &[T], all: &[T]) -> bool {
    some.iter().all(|value| all.contains(value))
}

pub(super) fn are_texts_within(some: &[TextMatch], all: &[TextMatch]) -> bool {
    let is_within = |text: &TextMatch| all.iter().any(|wider| is_text_within(text, wider));
    some.iter().all(is_within)
}

/// Whether every one of the first claims is among the second, with values that are held against its own.
fn have_claims(
    claims: &Claims,
    others: &Claims,
    are_held: fn(&[TextMatch], &[TextMatch]) -> bool,
) -> bool {
    let mut claims = claims.iter();
    claims.all(|(name, values)| {
        others
            .get(name)
            .is_some_and(|other| are_held(other, values))
    })
}

type Claims = BTreeMap<Arc<str>, Vec<TextMatch>>;

fn is_text_within(text: &TextMatch, wider: &TextMatch) -> bool {
    match (text, wider) {
        (TextMatch::Exact(text), wider) => wider.matches(text),
        (_, TextMatch::Present) => true,
        (TextMatch::Prefix(text), TextMatch::Prefix(wider)) => text.starts_with(wider),
        (TextMatch::Suffix(text), TextMatch::Suffix(wider)) => text.ends_with(wider),
        (TextMatch::Prefix(_) | TextMatch::Suffix(_) | TextMatch::Present, _) => false,
    }
}

pub(super) fn are_methods_within(some: &[String], all: &[String]) -> bool {
    some.iter().all(|method| lists_method(all, method))
}

pub(super) fn are_paths_within(some: &[PathMatch], all: &[PathMatch]) -> bool {
    let is_within = |path: &PathMatch| all.iter().any(|wider| is_path_within(path, wider));
    some.iter().all(is_within)
}

fn is_path_within(path: &PathMatch, wider: &PathMatch) -> bool {
    match (path, wider) {
        (PathMatch::Text(TextMatch::Exact(path)), wider) => wider.matches(path),
        (PathMatch::Text(path), PathMatch::Text(wider)) => is_text_within(path, wider),
        (path, wider) => path == wider || *wider == PathMatch::Text(TextMatch::Present),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::yaml;

    /// What is found of the first of two rules.
    fn found(first: &str, second: &str) -> Option<String> {
        let routes: Vec<String> = { ["a", "b"].iter() }
            .map(|name| format!("{{ name: {name}, host: {name}.example, upstream: {{ addresses: ['u:1'], tls: {{ server_name: u }} }} }}"))
            .collect();
        let text = format!(
            "routes: [{}]\nroute_groups: [{{ name: ab, routes: [a, b] }}]\nrules: [{{ name: first, {first} }}, {{ name: second, {second} }}]",
            routes.join(", ")
        );
        let policy = yaml::parse(&text).unwrap();
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        let alone = finding(&policy, 0, now);
        let among_all = Covering::new(&policy, now).finding(0, &policy.rules[0]);
        assert_eq!(alone, among_all, "{text}");
        alone
    }

    #[test]
    fn rules_that_another_leaves_nothing_are_found() {
        let allow = "action: allow, from: [{ groups: [sre] }]";
        let changes = Some("it changes nothing: rule second denies all that it allows");
        let adds = Some("it adds nothing: rule second allows the same and more");
        let required =
            Some("what it requires is never asked for: rule second allows the same without");
        for (first, second, expected) in [
            (allow, "action: deny, from: [{ signed_in: true }]", changes),
            (allow, "action: deny, from: [{ groups: [sre-*] }]", None),
            (allow, "action: deny, from: [{ groups: [sr*, x] }]", changes),
            (
                allow,
                "action: deny, from: [{ groups: [sre], emails: [a@b.c] }]",
                None,
            ),
            (
                allow,
                "action: deny, mode: shadow, from: [{ anyone: true }]",
                None,
            ),
            (
                allow,
                "action: deny, from: [{ anyone: true }], when: { hours: 'Mon-Fri 09:00-17:00 Europe/Berlin' }",
                None,
            ),
            (
                allow,
                "action: deny, from: [{ anyone: true }], to: [{ routes: [a] }]",
                None,
            ),
            (allow, "action: allow, from: [{ groups: [sre, ops] }]", adds),
            (
                allow,
                "action: allow, from: [{ groups: [ops] }, { signed_in: true }]",
                adds,
            ),
            (
                allow,
                "action: allow, from: [{ signed_in: true, not_groups: [ops] }]",
                None,
            ),
            (
                allow,
                "action: allow, from: [{ signed_in: true }], require: { max_age: 1h }",
                None,
            ),
            (
                "action: allow, from: [{ groups: [sre] }], require: { max_age: 1h }",
                allow,
                required,
            ),
            (
                "action: allow, from: [{ groups: [sre] }], to: [{ routes: [a], methods: [HEAD], paths: [/d/1] }]",
                "action: allow, from: [{ signed_in: true }], to: [{ route_groups: [ab], methods: [GET], paths: ['/d/{*}'] }]",
                adds,
            ),
            (
                "action: allow, from: [{ groups: [sre] }], to: [{ routes: [a], paths: [/d/*] }]",
                "action: allow, from: [{ groups: [sre] }], to: [{ not_routes: [b], not_paths: [/e] }]",
                None,
            ),
            (
                "action: allow, from: [{ groups: [sre] }], to: [{ routes: [a], not_paths: [/e, /f] }]",
                "action: allow, from: [{ groups: [sre] }], to: [{ not_routes: [b], not_paths: [/e] }]",
                adds,
            ),
            (
                "action: allow, from: [{ groups: [sre] }], to: [{ svids: [x509] }]",
                "action: allow, from: [{ groups: [sre] }]",
                None,
            ),
            (
                "action: allow, from: [{ groups: [sre] }], to: [{ svids: [x509] }]",
                "action: deny, from: [{ anyone: true }]",
                changes,
            ),
            (
                "action: deny, from: [{ groups: [sre] }], to: [{ routes: [a] }]",
                "action: deny, from: [{ anyone: true }]",
                Some("it adds nothing: rule second denies the same and more"),
            ),
            (
                "action: deny, from: [{ not_groups: [sre] }]",
                "action: deny, from: [{ signed_in: true }]",
                None,
            ),
            (
                "action: allow, from: [{ agents: [x], groups: [sre] }]",
                "action: allow, from: [{ groups: [sre] }]",
                None,
            ),
            (
                "action: allow, from: [{ agents: [x], groups: [sre] }]",
                "action: deny, from: [{ groups: [sre] }]",
                changes,
            ),
        ] {
            assert_eq!(
                found(first, second).as_deref(),
                expected,
                "{first}; {second}"
            );
        }
    }

    #[test]
    fn of_two_rules_that_say_the_same_in_other_words_the_first_has_something_to_do() {
        let [one, other] = ["[{ groups: [a, b] }]", "[{ groups: [b, a] }]"]
            .map(|from| format!("action: allow, from: {from}"));
        assert_eq!(found(&one, &other), None);
    }
}
