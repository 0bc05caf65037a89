//! Parts of a policy that nothing ever comes of: groups that nobody names, items that take out again what they name, and targets that are none of their routes'.
//!
//! What is found is so; not all that is so is found.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::address::host::Host;
use crate::policy::compile::rule::lists_method;
use crate::policy::kind::Kind;
use crate::policy::lint::covered::{
    are_methods_within, are_paths_within, are_texts_within, is_among, is_source_within,
};
use crate::policy::matcher::{PathMatch, TemplateSegment, TextMatch};
use crate::policy::model::{Action, Mode, Policy, Route, Rule, Source, Target};

/// Whether a caller could be meant: no list is empty, and none is taken out again as a whole.
pub(in crate::policy) fn may_mean_somebody(source: &Source) -> bool {
    let lists = [
        source.emails.as_ref().map(Vec::len),
        source.email_domains.as_ref().map(Vec::len),
        source.subjects.as_ref().map(Vec::len),
        source.groups.as_ref().map(Vec::len),
        source.providers.as_ref().map(Vec::len),
        source.kinds.as_ref().map(Vec::len),
        source.people.as_ref().map(Vec::len),
        source.agents.as_ref().map(Vec::len),
    ];
    let is_emptied = is_taken_out(&source.emails, &source.not_emails, are_texts_within)
        || is_taken_out(&source.subjects, &source.not_subjects, are_texts_within)
        || is_taken_out(&source.groups, &source.not_groups, are_texts_within)
        || is_taken_out(&source.providers, &source.not_providers, is_among)
        || is_taken_out(&source.people, &source.not_people, is_among);
    let mut claims = source.claims.iter().flatten();
    !lists.contains(&Some(0)) && !is_emptied && !claims.any(|(_, values)| values.is_empty())
}

/// Whether a request or an SVID could be meant, as [`may_mean_somebody`] of callers.
pub(super) fn may_be_about_something(target: &Target) -> bool {
    let named = target.routes.as_ref().or(target.route_groups.as_ref());
    let lists = [
        named.map(Vec::len),
        target.methods.as_ref().map(Vec::len),
        target.paths.as_ref().map(Vec::len),
        target.svids.as_ref().map(Vec::len),
    ];
    // A target that names no paths is about all of them.
    let all_paths = [PathMatch::Text(TextMatch::Present)];
    let paths = target.paths.as_deref().unwrap_or(&all_paths);
    let not_paths = target.not_paths.as_deref();
    let only_routes = target
        .routes
        .as_ref()
        .filter(|_| target.route_groups.is_none());
    let is_emptied = only_routes
        .zip(target.not_routes.as_ref())
        .is_some_and(|(some, all)| is_among(some, all))
        || is_taken_out(&target.methods, &target.not_methods, are_methods_within)
        || not_paths.is_some_and(|not| are_paths_within(paths, not));
    !lists.contains(&Some(0)) && !is_emptied
}

fn is_taken_out<T>(
    named: &Option<Vec<T>>,
    not: &Option<Vec<T>>,
    is_within: fn(&[T], &[T]) -> bool,
) -> bool {
    let both = named.as_ref().zip(not.as_ref());
    both.is_some_and(|(named, not)| is_within(named, not))
}

/// Items of a rule that can apply which are for nobody, or about nothing.
pub(super) fn items(rule: &Rule) -> impl Iterator<Item = String> {
    let from = rule.from.iter().enumerate();
    let from = from.filter(|(_, source)| !may_mean_somebody(source));
    let to = rule.to.iter().flatten().enumerate();
    let to = to.filter(|(_, target)| !may_be_about_something(target));
    let from = from.map(|(at, _)| format!("its `from[{at}]` is for nobody"));
    // Where it is nobody at all, that is said of the whole.
    let approval = rule.approval.iter();
    let approvers = approval
        .filter(|approval| approval.from.iter().any(may_mean_somebody))
        .flat_map(|approval| &approval.from);
    let approvers = approvers
        .enumerate()
        .filter(|(_, source)| !may_mean_somebody(source));
    let approvers = approvers.map(|(at, _)| format!("`approval.from[{at}]` of it is nobody"));
    from.chain(approvers)
        .chain(to.map(|(at, _)| format!("its `to[{at}]` is about nothing")))
}

/// What becomes of those whom a rule lets in and no mapping names; `None` if there are none, for all that can be told.
pub(super) fn unmapped(rule: &Rule, policy: &Policy) -> Option<String> {
    let lets_in = |rule: &Rule| rule.action == Action::Allow && rule.mode == Mode::Enforce;
    if !lets_in(rule) {
        return None;
    }
    let mappings = &policy.mappings;
    if mappings.is_empty() {
        // Said once.
        let first = policy.rules.iter().find(|first| lets_in(first));
        let is_first = first.is_some_and(|first| first.name == rule.name);
        return is_first
            .then(|| "there is no identity mapping, so that everybody is refused".to_owned());
    }
    let is_mapped = |source: &Source| {
        let mut items = mappings.iter().flat_map(|mapping| &mapping.from);
        items.any(|wider| is_within_mapping(source, wider))
    };
    let meant = rule.from.iter().filter(|source| may_mean_somebody(source));
    let each = meant.flat_map(one_group_each);
    let lost = each.into_iter().find(|source| !is_mapped(source))?;
    let whom = match (lost.anyone, lost.groups.as_deref()) {
        (true, _) => "whoever is not signed in".to_owned(),
        (false, Some([group])) => format!("somebody of the group {group}"),
        (false, _) => "somebody whom it is for".to_owned(),
    };
    Some(format!(
        "{whom} may have no mesh identity, and is refused then: no identity mapping is for all of them"
    ))
}

/// Groups are alternatives, each of which another mapping may be for.
fn one_group_each(source: &Source) -> Vec<Source> {
    match &source.groups {
        Some(groups) => { groups.iter() }
            .map(|group| Source {
                groups: Some(vec![group.clone()]),
                ..source.clone()
            })
            .collect(),
        None => vec![source.clone()],
    }
}

fn is_within_mapping(source: &Source, wider: &Source) -> bool {
    // Through whom somebody acts is nothing to a mapping.
    let person = Source {
        agents: None,
        not_agents: None,
        ..source.clone()
    };
    is_source_within((&person, Action::Allow), (wider, Action::Allow))
}

/// Groups of people and of routes that nothing names: kind and name.
pub(super) fn unused_groups(policy: &Policy) -> Vec<(Kind, &str)> {
    let sources = policy
        .callers()
        .into_iter()
        .flat_map(|callers| callers.from);
    let people = sources.flat_map(|source| source.people.iter().chain(&source.not_people));
    let people: HashSet<&Arc<str>> = people.flatten().collect();
    let targets = policy
        .rules
        .iter()
        .flat_map(|rule| rule.to.iter().flatten());
    let groups =
        targets.flat_map(|target| target.route_groups.iter().chain(&target.not_route_groups));
    let groups: HashSet<&Arc<str>> = groups.flatten().collect();
    let idle_people = { policy.people.iter() }.filter(|it| !people.contains(&it.name));
    let idle_routes = { policy.route_groups.iter() }.filter(|it| !groups.contains(&it.name));
    let idle_people = idle_people.map(|it| (Kind::People, &*it.name));
    idle_people
        .chain(idle_routes.map(|it| (Kind::RouteGroup, &*it.name)))
        .collect()
}

/// The routes of a policy, by name, group and host.
pub(super) struct Places<'a> {
    routes: HashMap<&'a str, &'a Route>,
    groups: HashMap<&'a str, &'a [Arc<str>]>,
    /// The prefixes of each host.
    prefixes: HashMap<&'a Host, Vec<&'a str>>,
}

impl<'a> Places<'a> {
    pub(super) fn of(policy: &'a Policy) -> Self {
        let mut prefixes: HashMap<&Host, Vec<&str>> = HashMap::new();
        for route in &policy.routes {
            prefixes.entry(&route.host).or_default().push(&route.prefix);
        }
        let routes = policy.routes.iter();
        let groups = policy.route_groups.iter();
        Self {
            routes: routes.map(|route| (&*route.name, route)).collect(),
            groups: groups.map(|group| (&*group.name, &*group.routes)).collect(),
            prefixes,
        }
    }

    /// What is odd about the targets of a rule that can apply otherwise.
    pub(super) fn findings(&self, rule: &Rule) -> Vec<String> {
        let mut found = Vec::new();
        let targets = rule.to.iter().flatten();
        for target in targets.filter(|target| may_be_about_something(target)) {
            let routes = self.named(target);
            if routes.is_empty() {
                continue;
            }
            if routes.iter().all(|route| route.is_tcp()) && !opens_tunnels(target) {
                let message =
                    "it is about nothing of a TCP route: to rules a tunnel is a POST to /";
                found.push(message.to_owned());
                continue;
            }
            let paths = target.paths.iter().flatten();
            let strays =
                paths.filter(|path| !routes.iter().any(|route| self.may_have(route, path)));
            found.extend(strays.map(|path| stray(&routes, path)));
        }
        found
    }

    /// The routes that a target names one by one and in groups; none where it is about all, or about SVIDs.
    fn named(&self, target: &Target) -> Vec<&'a Route> {
        let groups = target.route_groups.iter().flatten();
        let members = groups.filter_map(|group| self.groups.get(&**group).copied());
        let names = target.routes.iter().flatten().chain(members.flatten());
        names
            .filter_map(|name| self.routes.get(&**name).copied())
            .collect()
    }

    /// Whether a request to a route could have a path that fits.
    fn may_have(&self, route: &Route, path: &PathMatch) -> bool {
        if route.is_tcp() {
            return path.matches("/");
        }
        let begins = beginning(path);
        let Some(whole) = path.exact() else {
            return begins.starts_with(&route.prefix) || route.prefix.starts_with(&*begins);
        };
        let prefixes = self.prefixes.get(&route.host).into_iter().flatten();
        let fitting = prefixes.filter(|prefix| is_below(whole, prefix));
        let longest = fitting.max_by_key(|prefix| prefix.len());
        longest.is_some_and(|longest| **longest == *route.prefix)
    }
}

fn stray(routes: &[&Route], path: &PathMatch) -> String {
    let path = path.to_string();
    match routes {
        [route] => format!(
            "its path {path} is none of route {}, which begins at {}",
            route.name, route.prefix
        ),
        _ => format!("its path {path} is none of its routes'"),
    }
}

/// Whether a path is a route's prefix or below it.
fn is_below(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'))
}

/// What every path that fits begins with.
fn beginning(path: &PathMatch) -> String {
    match path {
        PathMatch::Text(TextMatch::Exact(text) | TextMatch::Prefix(text)) => text.clone(),
        PathMatch::Text(TextMatch::Suffix(_) | TextMatch::Present) => "/".to_owned(),
        PathMatch::Template(segments) => {
            let literal = |segment: &TemplateSegment| match segment {
                TemplateSegment::Literal(text) => Some(format!("/{text}")),
                TemplateSegment::One | TemplateSegment::Any => None,
            };
            let begins: String = segments.iter().map_while(literal).collect();
            if begins.is_empty() {
                "/".to_owned()
            } else {
                begins
            }
        }
    }
}

/// Whether a tunnel could be meant.
fn opens_tunnels(target: &Target) -> bool {
    let lists = |methods: &Option<Vec<String>>| {
        methods
            .as_ref()
            .map(|methods| lists_method(methods, "POST"))
    };
    let fits = |paths: &Option<Vec<PathMatch>>| {
        paths
            .as_ref()
            .map(|paths| paths.iter().any(|path| path.matches("/")))
    };
    lists(&target.methods) != Some(false)
        && lists(&target.not_methods) != Some(true)
        && fits(&target.paths) != Some(false)
        && fits(&target.not_paths) != Some(true)
}

#[cfg(test)]
mod tests {
    use crate::policy::lint::{Seen, lint};
    use crate::policy::yaml;

    /// What is found of a rule, or else of anything, of a policy with a route for all of a host, one below a prefix of it, and one for tunnels.
    fn found(more: &str) -> Vec<String> {
        let upstream = "upstream: { addresses: ['u:1'], tls: { server_name: u }";
        let text = format!(
            "routes: [{{ name: all, host: a.example, {upstream} }} }}, {{ name: app, host: a.example, prefix: /app, {upstream} }} }}, \
             {{ name: db, host: db.example, {upstream}, protocol: tcp }} }}]\n\
             mappings: [{{ name: all, from: [{{ signed_in: true }}], spiffe_id: 'spiffe://{{trust_domain}}/ns/a/sa/all' }}]\n{more}"
        );
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        let findings = lint(&yaml::parse(&text).unwrap(), now, &Seen::default());
        findings
            .into_iter()
            .filter(|finding| !finding.message.starts_with("nobody can reach it"))
            .map(|finding| format!("{}: {}", finding.object, finding.message))
            .collect()
    }

    #[test]
    fn targets_that_are_none_of_their_routes_are_found() {
        for (to, expected) in [
            (
                "routes: [app], paths: [/app, /app/x, /app*, '/ap*', '*.css', '*', '/{*}/x', '/app/{**}']",
                vec![],
            ),
            (
                "routes: [app], paths: [/apple, /app]",
                vec!["its path /apple is none of route app, which begins at /app"],
            ),
            (
                "routes: [app], paths: ['/x*']",
                vec!["its path /x* is none of route app, which begins at /app"],
            ),
            (
                "routes: [app], paths: ['/x/{*}']",
                vec!["its path /x/{*} is none of route app, which begins at /app"],
            ),
            // The longer prefix wins.
            (
                "routes: [all], paths: [/app/x, /x]",
                vec!["its path /app/x is none of route all, which begins at /"],
            ),
            ("routes: [app, all], paths: [/x]", vec![]),
            (
                "routes: [app, db], paths: [/y, /app]",
                vec!["its path /y is none of its routes'"],
            ),
            ("paths: [/x]", vec![]),
            ("routes: [db], methods: [POST], paths: [/]", vec![]),
            (
                "routes: [db], methods: [GET]",
                vec!["it is about nothing of a TCP route: to rules a tunnel is a POST to /"],
            ),
            (
                "routes: [db], paths: [/x]",
                vec!["it is about nothing of a TCP route: to rules a tunnel is a POST to /"],
            ),
            (
                "routes: [db], not_methods: [POST]",
                vec!["it is about nothing of a TCP route: to rules a tunnel is a POST to /"],
            ),
            ("routes: [db, all], methods: [GET]", vec![]),
        ] {
            let text = found(&format!(
                "rules: [{{ name: r, action: allow, from: [{{ groups: [g] }}], to: [{{ {to} }}] }}]"
            ));
            let expected: Vec<String> = expected
                .iter()
                .map(|message| format!("rule r: {message}"))
                .collect();
            assert_eq!(text, expected, "{to}");
        }
    }

    #[test]
    fn what_takes_out_all_that_it_names_is_found() {
        let never =
            "rule r: it can never apply: a list in it is empty, or all of it is taken out again";
        for (rule, expected) in [
            ("from: [{ groups: [a], not_groups: ['a*'] }]", vec![never]),
            ("from: [{ groups: [a, b], not_groups: [a] }]", vec![]),
            (
                "from: [{ emails: [a@b.c], not_emails: ['*@b.c'] }]",
                vec![never],
            ),
            (
                "from: [{ providers: [a], not_providers: [b, a] }]",
                vec![never],
            ),
            (
                "from: [{ groups: [a] }, { subjects: [s], not_subjects: [s] }]",
                vec!["rule r: its `from[1]` is for nobody"],
            ),
            (
                "from: [{ groups: [a] }], to: [{ methods: [GET, HEAD], not_methods: [GET] }]",
                vec![never],
            ),
            (
                "from: [{ groups: [a] }], to: [{ methods: [GET], not_methods: [HEAD] }]",
                vec![],
            ),
            (
                "from: [{ groups: [a] }], to: [{ routes: [all], not_routes: [app, all] }, { routes: [app] }]",
                vec!["rule r: its `to[0]` is about nothing"],
            ),
            (
                "from: [{ groups: [a] }], to: [{ paths: [/x], not_paths: ['/*'] }]",
                vec![never],
            ),
            (
                "from: [{ groups: [a] }], to: [{ not_paths: [/x, '*'] }]",
                vec![never],
            ),
        ] {
            let text = found(&format!("rules: [{{ name: r, action: allow, {rule} }}]"));
            assert_eq!(text, expected, "{rule}");
        }
    }

    #[test]
    fn groups_that_nothing_names_are_found() {
        let groups = "people: [{ name: leads, from: [{ groups: [l] }] }]\nroute_groups: [{ name: web, routes: [all] }]\n";
        let idle = [
            "people leads: nothing names it",
            "route_group web: nothing names it",
        ];
        let rule = |from: &str, to: &str| {
            format!(
                "{groups}rules: [{{ name: r, action: allow, from: [{{ {from} }}], to: [{{ {to} }}] }}]"
            )
        };
        assert_eq!(found(&rule("groups: [a]", "routes: [all]")), idle);
        assert_eq!(
            found(&rule("people: [leads]", "route_groups: [web]")),
            [""; 0]
        );
        assert_eq!(
            found(&rule(
                "signed_in: true, not_people: [leads]",
                "not_route_groups: [web]"
            )),
            [""; 0]
        );
    }

    #[test]
    fn rules_for_people_whom_no_mapping_names_are_found() {
        let mapping = |from: &str| {
            format!(
                "mappings: [{{ name: m, from: [{from}], spiffe_id: 'spiffe://{{trust_domain}}/ns/a/sa/all' }}]\n"
            )
        };
        let found = |mappings: &str, from: &str| {
            let text = format!(
                "routes: [{{ name: a, host: a.example, upstream: {{ addresses: ['u:1'], tls: {{ server_name: u }} }} }}]\n{mappings}\
                 rules: [{{ name: r, action: allow, from: [{from}] }}, {{ name: other, action: allow, from: [{{ groups: [sre] }}], to: [{{ paths: [/x] }}] }}]"
            );
            let now = "2026-11-24T12:00:00Z".parse().unwrap();
            let findings = lint(&yaml::parse(&text).unwrap(), now, &Seen::default());
            let mut findings = findings
                .into_iter()
                .filter(|finding| finding.message.contains("mapping"));
            let first = findings.next().map(|finding| finding.message);
            assert_eq!(findings.count(), 0);
            first.and_then(|first| first.split(" may").next().map(str::to_owned))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            found("", "{ signed_in: true }"),
            some("there is no identity mapping, so that everybody is refused")
        );
        for (mapped, meant, expected) in [
            (
                "{ signed_in: true }",
                "{ groups: [staff] }, { emails: [a@b.c] }",
                None,
            ),
            (
                "{ signed_in: true }",
                "{ anyone: true }",
                Some("whoever is not signed in"),
            ),
            ("{ groups: [sre] }", "{ groups: [sre] }", None),
            (
                "{ groups: [sre] }",
                "{ groups: [sre, staff] }",
                Some("somebody of the group staff"),
            ),
            (
                "{ groups: [sre] }, { groups: [staff] }",
                "{ groups: [sre, staff] }",
                None,
            ),
            (
                "{ groups: [sre] }",
                "{ signed_in: true }",
                Some("somebody whom it is for"),
            ),
        ] {
            assert_eq!(
                found(&mapping(mapped), meant).as_deref(),
                expected,
                "{mapped} {meant}"
            );
        }
    }
}
