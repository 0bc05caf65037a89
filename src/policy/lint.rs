//! What is allowed to stand in a policy and is hardly meant: said when a change is planned, and never in the way of it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::identity::principal::{PrincipalKind, SERVICE_ACCOUNTS};
use crate::policy::accounts;
use crate::policy::json;
use crate::policy::kind::{Callers, Kind};
use crate::policy::lint::covered::Covering;
use crate::policy::lint::idle::{Places, may_be_about_something};
use crate::policy::machines::TrustedIssuer;
use crate::policy::matcher::TextMatch;
use crate::policy::model::{Action, Mapping, Mode, Policy, Rule, Source, Target};

mod covered;
mod idle;

pub(super) use idle::may_mean_somebody;

/// How long before its end a rule is told of.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Kind and name of the object, like `rule staff`.
    pub object: String,
    /// What is odd about it.
    pub message: String,
}

/// What people's sessions say, if that is known.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Every group that anybody with a session is in; `None` when there is no session to tell.
    pub groups: Option<BTreeSet<String>>,
}

/// All findings, by object in the order of the policy.
pub fn lint(policy: &Policy, now: Timestamp, seen: &Seen) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    findings.routes(policy, now, None);
    findings.mappings(&policy.mappings);
    let covering = Covering::new(policy, now);
    let places = Places::of(policy);
    let mut said: HashMap<String, &str> = HashMap::new();
    for (at, rule) in policy.rules.iter().enumerate() {
        findings.rule(rule, now, (policy, &places));
        match said.entry(json::nameless_rule(rule)) {
            Entry::Occupied(first) => findings.same(rule, first.get()),
            Entry::Vacant(place) => {
                place.insert(&rule.name);
                findings.covered(rule, covering.finding(at, rule));
            }
        }
    }
    for issuer in &policy.trusted_issuers {
        findings.issuer(issuer);
    }
    findings.accounts(policy, now);
    findings.missing_accounts(policy);
    findings.groups(policy, seen);
    findings.unused_groups(policy);
    findings.0
}

/// The findings of one object; the cost grows with the number of objects, and not with its square.
pub fn lint_object(
    policy: &Policy,
    now: Timestamp,
    seen: &Seen,
    kind: Kind,
    name: &str,
) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    match kind {
        Kind::Route => findings.routes(policy, now, Some(name)),
        Kind::Mapping => findings.mappings(&policy.mappings),
        Kind::TrustedIssuer => {
            let mut issuers = policy.trusted_issuers.iter();
            if let Some(issuer) = issuers.find(|issuer| *issuer.name == *name) {
                findings.issuer(issuer);
            }
        }
        Kind::ServiceAccount => findings.accounts(policy, now),
        Kind::Rule => {
            let at = policy.rules.iter().position(|rule| *rule.name == *name);
            if let Some((rule, at)) = at.and_then(|at| Some((policy.rules.get(at)?, at))) {
                findings.rule(rule, now, (policy, &Places::of(policy)));
                let mut earlier = policy.rules.iter().take(at);
                match earlier.find(|earlier| is_same(earlier, rule)) {
                    Some(same) => findings.same(rule, &same.name),
                    None => findings.covered(rule, covered::finding(policy, at, now)),
                }
            }
        }
        Kind::RouteGroup | Kind::People | Kind::RoleBinding | Kind::Test => {}
    }
    findings.missing_accounts(policy);
    findings.groups(policy, seen);
    findings.unused_groups(policy);
    let object = format!("{kind} {name}");
    findings.0.retain(|finding| finding.object == object);
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn say(&mut self, kind: Kind, name: &str, message: String) {
        self.0.push(Finding {
            object: format!("{kind} {name}"),
            message,
        });
    }

    fn issuer(&mut self, issuer: &TrustedIssuer) {
        if let Some(message) = issuer.finding() {
            self.say(Kind::TrustedIssuer, &issuer.name, message);
        }
    }

    fn accounts(&mut self, policy: &Policy, now: Timestamp) {
        for (name, message) in accounts::findings(&policy.service_accounts, now) {
            self.say(Kind::ServiceAccount, &name, message);
        }
    }

    fn same(&mut self, rule: &Rule, other: &str) {
        let message = format!("it says the same as rule {other}");
        self.say(Kind::Rule, &rule.name, message);
    }

    fn covered(&mut self, rule: &Rule, finding: Option<String>) {
        if let Some(message) = finding {
            self.say(Kind::Rule, &rule.name, message);
        }
    }

    fn routes(&mut self, policy: &Policy, now: Timestamp, only: Option<&str>) {
        let is_wanted = |name: &str| only.is_none_or(|only| only == name);
        let counts = |rule: &&Rule| may_decide(rule, now);
        let rules = policy.rules.iter().map(|rule| &**rule);
        let rules: Vec<&Rule> = rules.filter(counts).collect();
        let is_allow = |rule: &Rule| rule.action == Action::Allow;
        let is_open = |rule: &Rule| is_allow(rule) && rule.from.iter().any(|from| from.anyone);
        let allowing = ByRoute::new(policy, &rules, is_allow);
        let denying = ByRoute::new(policy, &rules, denies_everybody);
        let open = ByRoute::new(policy, &rules, is_open);
        for route in policy.routes.iter().filter(|route| is_wanted(&route.name)) {
            if allowing.first(&route.name).is_none() {
                let message = "nobody can reach it: no rule allows anything there".to_owned();
                self.say(Kind::Route, &route.name, message);
            }
            if route.providers.as_ref().is_some_and(Vec::is_empty) {
                let message = "nobody who is signed in counts there: its `providers` are none";
                self.say(Kind::Route, &route.name, message.to_owned());
            }
            if let Some(rule) = denying.first(&route.name) {
                let message = format!("nobody can reach it: rule {} denies everybody", rule.name);
                self.say(Kind::Route, &route.name, message);
            } else if let Some(open) = open.first(&route.name) {
                let message = format!("anyone can reach it, signed in or not: rule {}", open.name);
                self.say(Kind::Route, &route.name, message);
            }
        }
    }

    fn mappings(&mut self, mappings: &[Mapping]) {
        let mut for_people: Option<&Mapping> = None;
        let mut for_all: Option<&Mapping> = None;
        for mapping in mappings {
            let only_people = !mapping.from.iter().any(|source| source.anyone);
            let first = for_all.or(for_people.filter(|_| only_people));
            if let Some(first) = first {
                let message = format!(
                    "it is never used: mapping {} comes first, and is for everybody",
                    first.name
                );
                self.say(Kind::Mapping, &mapping.name, message);
            } else if mapping.from.is_empty() {
                self.say(Kind::Mapping, &mapping.name, "it is for nobody".to_owned());
            }
            if mapping.from.iter().any(|source| source.anyone) {
                for_all = for_all.or(Some(mapping));
            }
            if mapping.from.iter().any(is_everybody_signed_in) {
                for_people = for_people.or(Some(mapping));
            }
        }
    }

    fn rule(&mut self, rule: &Rule, now: Timestamp, (policy, places): (&Policy, &Places<'_>)) {
        if !can_apply(rule, now) {
            let until = rule.when.as_ref().and_then(|when| when.until);
            let message = match until.filter(|until| *until <= now) {
                Some(until) => format!("it ended at {until}"),
                None => {
                    "it can never apply: a list in it is empty, or all of it is taken out again"
                        .to_owned()
                }
            };
            self.say(Kind::Rule, &rule.name, message);
            return;
        }
        let unmapped = idle::unmapped(rule, policy);
        for message in idle::items(rule)
            .chain(places.findings(rule))
            .chain(unmapped)
        {
            self.say(Kind::Rule, &rule.name, message);
        }
        if let Some(approval) = &rule.approval
            && !approval.from.iter().any(may_mean_a_person)
        {
            let message = "nobody can approve of its use: its `approval` is from nobody".to_owned();
            self.say(Kind::Rule, &rule.name, message);
        }
        if let Some(until) = rule.when.as_ref().and_then(|when| when.until)
            && until.duration_since(now).unsigned_abs() <= SOON
        {
            self.say(Kind::Rule, &rule.name, format!("it ends soon, at {until}"));
        }
        let by_address =
            |source: &Source| source.emails.is_some() || source.email_domains.is_some();
        if rule.action == Action::Deny && rule.from.iter().any(by_address) {
            let message = "it does not stop them when their address is not vouched for; name them by `subjects` or `groups` as well";
            self.say(Kind::Rule, &rule.name, message.to_owned());
        }
        let gives_svids = |target: &Target| target.svids.is_some();
        if rule.action == Action::Allow
            && rule.approval.is_none()
            && rule.to.iter().flatten().any(gives_svids)
            && rule.from.iter().any(is_everybody_signed_in)
        {
            let message = "everybody who is signed in gets SVIDs, which lead past the edge";
            self.say(Kind::Rule, &rule.name, message.to_owned());
        }
    }

    /// Service accounts that are named exactly, as nothing but such, and that there are not.
    fn missing_accounts(&mut self, policy: &Policy) {
        let accounts = policy.service_accounts.iter();
        let known: HashSet<&str> = accounts.map(|account| &*account.name).collect();
        for Callers {
            kind, name, from, ..
        } in policy.callers()
        {
            let is_account = |source: &&Source| {
                let providers = source.providers.as_deref();
                matches!(providers, Some([only]) if **only == *SERVICE_ACCOUNTS)
            };
            let accounts = { from.iter().filter(is_account) }
                .flat_map(|source| source.subjects.iter().flatten());
            for condition in accounts {
                if let TextMatch::Exact(account) = condition
                    && !known.contains(account.as_str())
                {
                    let message = format!("there is no service account {account}");
                    self.say(kind, name, message);
                }
            }
        }
    }

    fn unused_groups(&mut self, policy: &Policy) {
        for (kind, name) in idle::unused_groups(policy) {
            self.say(kind, name, "nothing names it".to_owned());
        }
    }

    /// Groups that are named exactly and that nobody has: no session, and no service account.
    fn groups(&mut self, policy: &Policy, seen: &Seen) {
        let Some(known) = &seen.groups else {
            return;
        };
        let accounts = policy.service_accounts.iter();
        let declared: HashSet<&str> = accounts
            .flat_map(|account| account.groups.iter().map(AsRef::as_ref))
            .collect();
        for Callers {
            kind, name, from, ..
        } in policy.callers()
        {
            let named = from.iter().flat_map(|source| {
                let groups = source.groups.iter().chain(&source.not_groups);
                groups.flatten()
            });
            let mut told = HashSet::new();
            for condition in named {
                if let TextMatch::Exact(group) = condition
                    && !known.contains(group)
                    && !declared.contains(group.as_str())
                    && told.insert(group)
                {
                    let message = format!(
                        "nobody with a session is in group {group}; is it spelt as the provider does?"
                    );
                    self.say(kind, name, message);
                }
            }
        }
    }
}

/// Some rules of a policy, by the routes that they name.
struct ByRoute<'a> {
    policy: &'a Policy,
    /// With their places in the order written.
    naming: HashMap<&'a str, Vec<(usize, &'a Rule)>>,
    /// Those that do not name their routes.
    others: Vec<(usize, &'a Rule)>,
}

impl<'a> ByRoute<'a> {
    fn new(policy: &'a Policy, rules: &[&'a Rule], is_wanted: impl Fn(&Rule) -> bool) -> Self {
        let groups = policy.route_groups.iter();
        let groups: HashMap<&str, &Vec<Arc<str>>> =
            groups.map(|group| (&*group.name, &group.routes)).collect();
        let mut naming: HashMap<&str, Vec<(usize, &Rule)>> = HashMap::new();
        let mut others = Vec::new();
        for (at, rule) in rules.iter().copied().enumerate() {
            if !is_wanted(rule) {
                continue;
            }
            // What is about SVIDs is about no route.
            let names = |target: &Target| {
                target.svids.is_some() || target.routes.is_some() || target.route_groups.is_some()
            };
            let Some(targets) = rule.to.as_ref().filter(|to| to.iter().all(names)) else {
                others.push((at, rule));
                continue;
            };
            let of_group = |name: &Arc<str>| groups.get(&**name).copied();
            let grouped = { targets.iter() }
                .flat_map(|target| target.route_groups.iter().flatten())
                .filter_map(of_group)
                .flatten();
            let named = targets
                .iter()
                .flat_map(|target| target.routes.iter().flatten());
            for route in named.chain(grouped) {
                naming.entry(route).or_default().push((at, rule));
            }
        }
        Self {
            policy,
            naming,
            others,
        }
    }

    /// The first one, in the order written, that is about a route.
    fn first(&self, route: &str) -> Option<&'a Rule> {
        let naming = self.naming.get(route).map_or(&[][..], Vec::as_slice);
        let found = [naming, &self.others].map(|rules| {
            let mut rules = rules.iter();
            rules.find(|(_, rule)| is_about(self.policy, rule, route))
        });
        let earliest = found.into_iter().flatten().min_by_key(|(at, _)| *at);
        earliest.map(|(_, rule)| *rule)
    }
}

fn is_same(a: &Rule, b: &Rule) -> bool {
    let Rule {
        name: _,
        action,
        mode,
        from,
        to,
        when,
        require,
        approval,
    } = a;
    (action, mode, from) == (&b.action, &b.mode, &b.from)
        && (to, when) == (&b.to, &b.when)
        && (require, approval) == (&b.require, &b.approval)
}

fn is_everybody_signed_in(source: &Source) -> bool {
    let everybody = Source {
        signed_in: true,
        ..Source::default()
    };
    *source == everybody
}

/// Programs decide nothing.
fn may_mean_a_person(source: &Source) -> bool {
    let kinds = source.kinds.as_ref();
    may_mean_somebody(source) && kinds.is_none_or(|kinds| kinds.contains(&PrincipalKind::User))
}

fn denies_everybody(rule: &Rule) -> bool {
    let is_everybody = |source: &Source| source.anyone || is_everybody_signed_in(source);
    let whole_routes = |target: &Target| {
        let only_routes = Target {
            routes: target.routes.clone(),
            route_groups: target.route_groups.clone(),
            ..Target::default()
        };
        *target == only_routes
    };
    let is_whole = rule
        .to
        .as_ref()
        .is_none_or(|to| to.iter().any(whole_routes));
    rule.action == Action::Deny
        && rule.when.is_none()
        && is_whole
        && rule.from.iter().any(is_everybody)
}

/// Whether it counts, and there is a request that it could be about.
fn may_decide(rule: &Rule, now: Timestamp) -> bool {
    rule.mode == Mode::Enforce && can_apply(rule, now)
}

/// Whether there is a request that it could be about.
fn can_apply(rule: &Rule, now: Timestamp) -> bool {
    let when = rule.when.as_ref();
    let lasts = when
        .and_then(|when| when.until)
        .is_none_or(|until| until > now);
    let is_empty = |list: Option<usize>| list == Some(0);
    let holds = when.is_none_or(|when| {
        let mut headers = when.headers.iter().flatten();
        !is_empty(when.hours.as_ref().map(Vec::len))
            && !is_empty(when.source_ips.as_ref().map(Vec::len))
            && !headers.any(|(_, values)| values.is_empty())
    });
    let acr = rule
        .require
        .as_ref()
        .and_then(|require| require.acr.as_ref());
    let to = rule.to.as_ref();
    lasts
        && holds
        && !is_empty(acr.map(|classes| classes.len()))
        && rule.from.iter().any(may_mean_somebody)
        && to.is_none_or(|to| to.iter().any(may_be_about_something))
}

/// Whether a rule is about requests to a route, by the routes that it names.
pub fn is_about(policy: &Policy, rule: &Rule, route: &str) -> bool {
    let in_group = |name: &Arc<str>| {
        let mut groups = policy
            .route_groups
            .iter()
            .filter(|group| group.name == *name);
        groups.any(|group| group.routes.iter().any(|member| **member == *route))
    };
    let names = |target: &Target| {
        let by_name = target.routes.iter().flatten().any(|name| **name == *route);
        let names_none = target.routes.is_none() && target.route_groups.is_none();
        let is_excepted = target
            .not_routes
            .iter()
            .flatten()
            .any(|name| **name == *route)
            || target.not_route_groups.iter().flatten().any(in_group);
        target.svids.is_none()
            && !is_excepted
            && (names_none || by_name || target.route_groups.iter().flatten().any(in_group))
    };
    rule.to.as_ref().is_none_or(|to| to.iter().any(names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::yaml;

    fn found(rest: &str, groups: Option<&[&str]>) -> Vec<String> {
        let mappings = match rest.contains("mappings:") {
            true => "",
            false => {
                "mappings: [{ name: all, from: [{ anyone: true }], spiffe_id: 'spiffe://{trust_domain}/ns/a/sa/all' }]\n"
            }
        };
        let text = format!(
            "routes: [{{ name: a, host: a.example, upstream: {{ addresses: ['u:1'], tls: {{ server_name: u }} }} }}]\n{mappings}{rest}"
        );
        let seen = Seen {
            groups: groups.map(|groups| groups.iter().map(|group| (*group).to_owned()).collect()),
        };
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        let findings = lint(&yaml::parse(&text).unwrap(), now, &seen);
        findings
            .into_iter()
            .map(|finding| format!("{}: {}", finding.object, finding.message))
            .collect()
    }

    #[test]
    fn what_is_hardly_meant_is_found() {
        let staff = "{ name: staff, action: allow, from: [{ groups: [staff] }]";
        for (rules, expected) in [
            (format!("{staff} }}"), &[][..]),
            (
                String::new(),
                &["route a: nobody can reach it: no rule allows anything there"],
            ),
            (
                format!("{staff}, mode: shadow }}"),
                &["route a: nobody can reach it: no rule allows anything there"],
            ),
            (
                format!("{staff}, require: {{ approval: {{ from: [], at_most: 4h }} }} }}"),
                &["rule staff: nobody can approve of its use"],
            ),
            (
                format!(
                    "{staff}, require: {{ approval: {{ from: [{{ groups: [] }}], at_most: 4h }} }} }}"
                ),
                &["rule staff: nobody can approve of its use"],
            ),
            (
                format!("{staff}, to: [] }}"),
                &[
                    "route a: nobody can reach it",
                    "rule staff: it can never apply",
                ],
            ),
            (
                format!("{staff}, to: [{{ methods: [] }}] }}"),
                &[
                    "route a: nobody can reach it",
                    "rule staff: it can never apply",
                ],
            ),
            (
                format!("{staff}, when: {{ until: '2026-11-24T12:00:00Z' }} }}"),
                &[
                    "route a: nobody can reach it",
                    "rule staff: it ended at 2026-11-24T12:00:00Z",
                ],
            ),
            (
                format!("{staff}, when: {{ until: 2026-11-30 }} }}"),
                &["rule staff: it ends soon, at 2026-12-01T00:00:00Z"],
            ),
            (
                format!("{staff} }}, {{ name: open, action: allow, from: [{{ anyone: true }}] }}"),
                &[
                    "route a: anyone can reach it, signed in or not: rule open",
                    "rule staff: it adds nothing: rule open allows the same and more",
                ],
            ),
            (
                format!(
                    "{staff} }}, {{ name: same, action: allow, from: [{{ groups: [staff] }}] }}"
                ),
                &["rule same: it says the same as rule staff"],
            ),
            (
                format!("{staff} }}, {{ name: shut, action: deny, from: [{{ anyone: true }}] }}"),
                &[
                    "route a: nobody can reach it: rule shut denies everybody",
                    "rule staff: it changes nothing: rule shut denies all that it allows",
                ],
            ),
            (
                format!("{staff} }}, {{ name: bob, action: deny, from: [{{ emails: [b@c.d] }}] }}"),
                &["rule bob: it does not stop them when their address is not vouched for"],
            ),
            (
                format!(
                    "{staff} }}, {{ name: part, action: deny, from: [{{ anyone: true }}], to: [{{ paths: [/x] }}] }}"
                ),
                &[],
            ),
        ] {
            let text = found(&format!("rules: [{rules}]"), None);
            assert_eq!(text.len(), expected.len(), "{rules}: {text:?}");
            for (found, expected) in text.iter().zip(expected) {
                assert!(found.starts_with(expected), "{rules}: {found}");
            }
        }
        let seen = found(&format!("rules: [{staff} }}]"), Some(&["Staff"]));
        assert!(
            seen[0].starts_with("rule staff: nobody with a session is in group staff"),
            "{seen:?}"
        );
        assert!(found(&format!("rules: [{staff} }}]"), Some(&["staff"])).is_empty());
        let approved = format!(
            "rules: [{staff}, require: {{ approval: {{ from: [{{ groups: [leads] }}], at_most: 4h }} }} }}]"
        );
        let seen = found(&approved, Some(&["staff"]));
        assert!(
            seen[0].starts_with("rule staff: nobody with a session is in group leads"),
            "{seen:?}"
        );
    }

    #[test]
    fn mappings_that_are_never_used_are_found() {
        let mapping = |name: &str, from: &str| {
            format!(
                "{{ name: {name}, from: [{from}], spiffe_id: 'spiffe://{{trust_domain}}/ns/a/sa/{name}' }}"
            )
        };
        let all = "rules: [{ name: r, action: allow, from: [{ signed_in: true }] }]";
        for (order, expected) in [
            (&["sre", "people", "anyone"][..], &[][..]),
            (
                &["people", "sre", "anyone"],
                &["mapping sre: it is never used: mapping people"],
            ),
            (
                &["anyone", "people"],
                &["mapping people: it is never used: mapping anyone"],
            ),
            (
                &["nobody"],
                &[
                    "mapping nobody: it is for nobody",
                    "rule r: somebody whom it is for may have no mesh identity",
                ],
            ),
        ] {
            let from = |name: &str| match name {
                "sre" => "{ groups: [sre] }",
                "people" => "{ signed_in: true }",
                "anyone" => "{ anyone: true }",
                _ => "",
            };
            let mappings: Vec<String> =
                order.iter().map(|name| mapping(name, from(name))).collect();
            let text = found(&format!("mappings: [{}]\n{all}", mappings.join(", ")), None);
            assert_eq!(text.len(), expected.len(), "{order:?}: {text:?}");
            for (found, expected) in text.iter().zip(expected) {
                assert!(found.starts_with(expected), "{order:?}: {found}");
            }
        }
    }
}
