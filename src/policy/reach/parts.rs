//! Which parts of a route somebody may open, or ask for, where opening the whole of it is refused.
//!
//! Nothing is decided here: of each rule that is for them, and that names paths or methods, one request is made up and decided as any other. So what is said
//! to be open is; where a deny rule, or another condition, leaves less than a rule's paths, they find out there.

use crate::identity::principal::Principal;
use crate::policy::compile::CompiledPolicy;
use crate::policy::compile::rule::CompiledRule;
use crate::policy::decide::{Facts, Verdict};
use crate::policy::matcher::{PathMatch, TemplateSegment, TextMatch};
use crate::policy::model::{Action, Target};
use crate::policy::reach::Reach;

/// Parts of one kind that are told of a route.
const MOST_TOLD: usize = 8;
/// Entries of rules that are looked at for a route. Whoever has more rules of their own is told less.
const MOST_LOOKED_AT: usize = 2000;
/// Methods that are tried where a rule takes all but some.
const USUAL_METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
/// What stands where a rule takes any segment.
const ANY_SEGMENT: &str = "x";

/// A part of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The paths, as a rule has them, with the method in front where it is not looking at them.
    pub pattern: String,
    /// The method of a request that is part of it.
    pub method: String,
    /// The path of a request that is part of it.
    pub path: String,
    /// Whether that path is one that somebody wrote, and not made up: then it can be a link.
    pub is_written: bool,
}

/// The parts of a route that are something to somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Those that open; signing in once more is no obstacle.
    pub open: Vec<Part>,
    /// Those that open once somebody else has approved.
    pub askable: Vec<Part>,
}

impl CompiledPolicy {
    /// The parts of a route that is not open as a whole: none where only the whole counts, or nothing of it opens.
    pub fn parts(&self, reach: &Reach<'_>) -> Parts {
        let mut parts = Parts::default();
        let facts = &reach.facts;
        let Some(principal) = facts.principal.filter(|_| reach.may_open_in_parts()) else {
            return parts;
        };
        for rule in self.rules_of(principal, facts) {
            for target in rule.rule.to.iter().flatten() {
                for part in parts_of(target, facts) {
                    self.enter(part, rule, facts, &mut parts);
                }
            }
        }
        parts
    }

    /// Enters what becomes of a part, if the rule that names it is about it.
    fn enter(&self, part: Part, rule: &CompiledRule, facts: &Facts<'_>, parts: &mut Parts) {
        let facts = Facts {
            method: &part.method,
            path: &part.path,
            ..*facts
        };
        let leads_here = self.route(&facts.route.route.host, &part.path);
        let leads_here = leads_here.is_some_and(|route| route.index == facts.route.index);
        if !leads_here || !rule.is_about(&facts, Action::Allow) {
            return;
        }
        let told = match self.decide(&facts) {
            // Once they have signed in as it asks they will have to ask.
            Verdict::StepUp { rule: found, .. }
                if *found == *rule.rule.name
                    && rule.approval.is_some()
                    && facts.granted_until(&found).is_none() =>
            {
                &mut parts.askable
            }
            Verdict::Allow { .. } | Verdict::StepUp { .. } => &mut parts.open,
            Verdict::Ask { .. } if rule.approval.is_some() => &mut parts.askable,
            Verdict::Ask { .. } | Verdict::SignIn | Verdict::Deny(_) => return,
        };
        if told.len() < MOST_TOLD && !told.iter().any(|told| told.pattern == part.pattern) {
            told.push(part);
        }
    }

    /// The allow rules of a route that are for somebody, in the order written, each once.
    fn rules_of(&self, principal: &Principal, facts: &Facts<'_>) -> Vec<&CompiledRule> {
        let enforced = &self.rules.enforced;
        let of_route = enforced.of_route.get(facts.route.index);
        let indexes = of_route.into_iter().chain([&enforced.everywhere]);
        let entries = indexes.flat_map(|indexes| indexes.of(Action::Allow).entries_of(principal));
        let mut found: Vec<(u32, &CompiledRule)> = entries
            .take(MOST_LOOKED_AT)
            .filter_map(|entry| {
                let rule = self.rules.rule(entry.rule)?;
                let source = rule.from.get(entry.source as usize)?;
                let is_meant = source.takes_agents(&principal.agents, Action::Allow)
                    && source.holds(principal, Action::Allow);
                let rank = self.rules.rank_of(entry.rule)?;
                is_meant.then_some((rank, rule))
            })
            .collect();
        found.sort_unstable_by_key(|(rank, _)| *rank);
        found.dedup_by_key(|(rank, _)| *rank);
        found.into_iter().map(|(_, rule)| rule).collect()
    }
}

/// What a rule names of a route, each with a request that could be it.
fn parts_of(target: &Target, facts: &Facts<'_>) -> Vec<Part> {
    let Some(method) = method_of(target) else {
        return Vec::new();
    };
    let route = &facts.route.route;
    let below = route.prefix.trim_end_matches('/');
    let part = |pattern: String, path: String, is_written: bool| Part {
        pattern: match method.as_str() {
            "GET" => pattern,
            method => format!("{method} {pattern}"),
        },
        is_written: is_written && method == "GET",
        method: method.clone(),
        path,
    };
    match &target.paths {
        // The whole of it, with another method.
        None => vec![part(format!("{below}/*"), route.prefix.clone(), false)],
        Some(paths) => paths
            .iter()
            .map(|path| {
                let (example, is_written) = example(path, below);
                part(path.to_string(), example, is_written)
            })
            .collect(),
    }
}

/// A method that a target takes.
fn method_of(target: &Target) -> Option<String> {
    let listed = target.methods.iter().flatten().map(String::as_str);
    let all = match &target.methods {
        Some(methods) if !methods.iter().any(|method| method == "GET") => None,
        _ => Some(USUAL_METHODS),
    };
    let refused = target.not_methods.as_deref().unwrap_or_default();
    let mut tried = all.into_iter().flatten().chain(listed);
    let found = tried.find(|method| !refused.iter().any(|refused| refused == method));
    found.map(str::to_owned)
}

/// A path for which a condition holds, and whether somebody wrote it as it is.
fn example(path: &PathMatch, below: &str) -> (String, bool) {
    match path {
        PathMatch::Text(TextMatch::Exact(path) | TextMatch::Prefix(path)) => (path.clone(), true),
        PathMatch::Text(TextMatch::Suffix(end)) if end.starts_with('/') => {
            (format!("{below}{end}"), false)
        }
        PathMatch::Text(TextMatch::Suffix(end)) => (format!("{below}/{ANY_SEGMENT}{end}"), false),
        PathMatch::Text(TextMatch::Present) => (format!("{below}/"), false),
        PathMatch::Template(segments) => {
            let segments = segments.iter().map(|segment| match segment {
                TemplateSegment::Literal(text) => text.as_str(),
                TemplateSegment::One | TemplateSegment::Any => ANY_SEGMENT,
            });
            let segments: Vec<&str> = segments.collect();
            (format!("/{}", segments.join("/")), false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::principal::Groups;
    use crate::identity::spiffe_id::TrustDomain;
    use crate::policy::decide::Grant;
    use crate::policy::model::Revision;
    use crate::policy::trial::nobody_yet;
    use crate::policy::yaml;

    fn told(rules: &str, grants: &[Grant]) -> Vec<String> {
        let text = format!(
            "routes: [{{ name: app, host: app.example, upstream: {{ addresses: ['u:1'], tls: {{ server_name: u }} }} }}]
mappings: [{{ name: all, from: [{{ signed_in: true }}], spiffe_id: 'spiffe://{{trust_domain}}/ns/p/sa/{{user}}' }}]
rules: [{rules}]"
        );
        let policy = yaml::parse(&text).unwrap();
        let domain = TrustDomain::parse("example.org").unwrap();
        let policy = CompiledPolicy::new(policy, Revision(1), &domain).unwrap();
        let mut alice = nobody_yet("okta", "alice");
        alice.groups = Groups::Known(["sre".into()].into());
        let reach = policy.reach(&alice, jiff::Timestamp::UNIX_EPOCH, None, grants);
        let parts = policy.parts(&reach[0]);
        let open = parts.open.iter().map(|part| part.pattern.clone());
        let askable = parts.askable.iter();
        open.chain(askable.map(|part| format!("ask {}", part.pattern)))
            .collect()
    }

    #[test]
    fn what_a_rule_names_of_a_route_is_told_where_the_whole_is_not_open() {
        let rule = |name: &str, rest: &str| {
            format!("{{ name: {name}, action: allow, from: [{{ groups: [sre] }}], {rest} }}")
        };
        let reports = rule(
            "r",
            "to: [{ routes: [app], paths: ['/reports/*', '/d/{*}/x'] }]",
        );
        assert_eq!(told(&reports, &[]), ["/reports/*", "/d/{*}/x"]);
        let posts = rule("r", "to: [{ routes: [app], methods: [POST] }]");
        assert_eq!(told(&posts, &[]), ["POST /*"]);
        let asks = rule(
            "a",
            "to: [{ paths: [/admin] }], require: { approval: { from: [{ groups: [lead] }], at_most: 1h } }",
        );
        assert_eq!(told(&format!("{asks}, {reports}"), &[])[2], "ask /admin");
        let granted = Grant {
            rule: "a".into(),
            until: jiff::Timestamp::MAX,
        };
        assert_eq!(told(&asks, &[granted]), ["/admin"]);
        // Nothing of what is open as a whole, of what is denied, or of what is for others.
        let whole = rule("w", "to: [{ routes: [app] }]");
        let denied = "{ name: d, action: deny, from: [{ signed_in: true }] }".to_owned();
        let others = reports.replace("[sre]", "[hr]");
        for rules in [
            format!("{whole}, {reports}"),
            format!("{denied}, {reports}"),
            others,
        ] {
            assert_eq!(told(&rules, &[]), [""; 0], "{rules}");
        }
    }
}
