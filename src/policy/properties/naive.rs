//! Deciding once more, straight from the document and as slowly as can be: what the rules mean, in three truth values, with nothing of the engine in
//! it. `None` is what nobody knows; it counts for an allow rule as no and for a deny rule as yes, at the end and not before.

use std::collections::BTreeMap;
use std::sync::Arc;

use wayleave::identity::principal::{Agent, Groups, Principal};
use wayleave::policy::decide::{DenyReason, Facts, Verdict};
use wayleave::policy::matcher::{PathMatch, TemplateSegment, TextMatch};
use wayleave::policy::model::{Action, Mode, Policy, Rule, Source, Target, When};

type Truth = Option<bool>;

fn and(all: impl IntoIterator<Item = Truth>) -> Truth {
    let all: Vec<Truth> = all.into_iter().collect();
    if all.contains(&Some(false)) {
        return Some(false);
    }
    (!all.contains(&None)).then_some(true)
}

fn or(any: impl IntoIterator<Item = Truth>) -> Truth {
    not(and(any.into_iter().map(not)))
}

fn not(truth: Truth) -> Truth {
    truth.map(|truth| !truth)
}

fn text(wanted: &TextMatch, found: &str) -> bool {
    match wanted {
        TextMatch::Exact(text) => found == text,
        TextMatch::Prefix(text) => found.starts_with(text.as_str()),
        TextMatch::Suffix(text) => found.ends_with(text.as_str()),
        TextMatch::Present => !found.is_empty(),
    }
}

fn any_text(wanted: &[TextMatch], found: &str) -> bool {
    wanted.iter().any(|wanted| text(wanted, found))
}

/// By trying every number of segments that `{**}` could be.
fn segments(wanted: &[TemplateSegment], found: &[&str]) -> bool {
    match (wanted.split_first(), found.split_first()) {
        (None, None) => true,
        (Some((TemplateSegment::Any, rest)), _) => {
            (0..=found.len()).any(|taken| segments(rest, &found[taken..]))
        }
        (Some((TemplateSegment::One, rest)), Some((first, others))) => {
            !first.is_empty() && segments(rest, others)
        }
        (Some((TemplateSegment::Literal(text), rest)), Some((first, others))) => {
            text == first && segments(rest, others)
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn path(wanted: &PathMatch, found: &str) -> bool {
    match wanted {
        PathMatch::Text(wanted) => text(wanted, found),
        PathMatch::Template(wanted) => {
            let found: Vec<&str> = found[1..].split('/').collect();
            // "/" is one empty segment, or none.
            segments(wanted, &found) || (found == [""] && segments(wanted, &[]))
        }
    }
}

/// A field that is absent is no condition.
fn field<T>(wanted: &Option<T>, holds: impl FnOnce(&T) -> Truth) -> Truth {
    wanted.as_ref().map_or(Some(true), holds)
}

fn groups(wanted: &[TextMatch], principal: &Principal) -> Truth {
    match &principal.groups {
        Groups::Known(names) => Some(names.iter().any(|name| any_text(wanted, name))),
        Groups::Missing => wanted.is_empty().then_some(false),
    }
}

fn claims<'a>(
    wanted: &'a BTreeMap<Arc<str>, Vec<TextMatch>>,
    principal: &'a Principal,
) -> impl Iterator<Item = Truth> + 'a {
    wanted.iter().map(|(name, wanted)| {
        let values = principal.claims.get(name);
        let known = values.map(|values| values.iter().any(|value| any_text(wanted, value)));
        if wanted.is_empty() {
            Some(false)
        } else {
            known
        }
    })
}

fn asks_for_email(source: &Source) -> bool {
    source.emails.is_some() || source.email_domains.is_some()
}

fn named<'a>(policy: &'a Policy, names: &'a [Arc<str>]) -> Vec<&'a Source> {
    let people = policy.people.iter();
    let people = people.filter(|people| names.contains(&people.name));
    people.flat_map(|people| &people.from).collect()
}

/// Somebody without a vouched-for address has none where one is asked for; whether they are excepted by theirs nobody knows.
fn source(policy: &Policy, source: &Source, principal: &Principal) -> Truth {
    let email = principal.email.as_ref();
    let address = email.map(|email| email.as_str());
    let text_in = |wanted: &Vec<TextMatch>, found: &str| Some(any_text(wanted, found));
    let among = |names: &Vec<Arc<str>>| {
        let sources = named(policy, names);
        or(sources
            .iter()
            .map(|one| self::source(policy, one, principal)))
    };
    and([
        field(&source.providers, |wanted| {
            Some(wanted.contains(&principal.provider))
        }),
        field(&source.not_providers, |other| {
            Some(!other.contains(&principal.provider))
        }),
        field(&source.kinds, |wanted| {
            Some(wanted.contains(&principal.kind))
        }),
        field(&source.subjects, |wanted| {
            text_in(wanted, &principal.subject)
        }),
        field(&source.not_subjects, |other| {
            not(text_in(other, &principal.subject))
        }),
        field(&source.emails, |wanted| {
            Some(address.is_some_and(|address| any_text(wanted, address)))
        }),
        field(&source.not_emails, |other| {
            address.map(|address| !any_text(other, address))
        }),
        field(&source.email_domains, |wanted| {
            let domain = address.and_then(|address| address.rsplit_once('@'));
            Some(domain.is_some_and(|(_, domain)| wanted.iter().any(|wanted| wanted == domain)))
        }),
        field(&source.groups, |wanted| groups(wanted, principal)),
        field(&source.not_groups, |other| not(groups(other, principal))),
        field(&source.claims, |wanted| and(claims(wanted, principal))),
        field(&source.not_claims, |other| {
            and(claims(other, principal).map(not))
        }),
        field(&source.people, among),
        field(&source.not_people, |other| {
            let is_unclear =
                address.is_none() && named(policy, other).into_iter().any(asks_for_email);
            match among(other) {
                Some(true) => Some(false),
                Some(false) if !is_unclear => Some(true),
                Some(false) | None => None,
            }
        }),
    ])
}

/// Whether an item is for what acts for somebody. To allow, all of a chain has to be named; to deny, one of it.
fn acting(source: &Source, agents: &[Agent], action: Action) -> bool {
    let named = |agent: &Agent, wanted: &[TextMatch]| {
        let other = source.not_agents.as_deref().unwrap_or_default();
        any_text(wanted, &agent.id) && !any_text(other, &agent.id)
    };
    match (&source.agents, action) {
        (None, Action::Deny) => true,
        (None, Action::Allow) => agents.is_empty(),
        (Some(wanted), Action::Deny) => agents.iter().any(|agent| named(agent, wanted)),
        (Some(_), Action::Allow) if agents.is_empty() => false,
        (Some(wanted), Action::Allow) => !agents.iter().any(|agent| !named(agent, wanted)),
    }
}

/// Whom a rule is for.
fn from(policy: &Policy, rule: &Rule, principal: Option<&Principal>, agents: &[Agent]) -> Truth {
    or(rule.from.iter().map(|one| match principal {
        Some(_) if !acting(one, agents, rule.action) => Some(false),
        _ if one.anyone => Some(true),
        Some(principal) => source(policy, one, principal),
        None if only_excepts(policy, one) => None,
        None => Some(false),
    }))
}

/// Whether nothing is asked of whoever comes but not to be somebody, here or in what is named.
fn only_excepts(policy: &Policy, source: &Source) -> bool {
    let asks = [
        source.signed_in,
        asks_for_email(source),
        source.subjects.is_some(),
        source.groups.is_some(),
        source.providers.is_some(),
        source.kinds.is_some(),
        source.agents.is_some(),
        source.claims.is_some(),
    ];
    let named = source.people.as_ref().map(|names| named(policy, names));
    !asks.contains(&true)
        && named.is_none_or(|named| named.into_iter().any(|one| only_excepts(policy, one)))
}

fn route(policy: &Policy, routes: &[Arc<str>], groups: &[Arc<str>], name: &Arc<str>) -> bool {
    let mut group = policy
        .route_groups
        .iter()
        .filter(|group| groups.contains(&group.name));
    routes.contains(name) || group.any(|group| group.routes.contains(name))
}

fn target(policy: &Policy, target: &Target, facts: &Facts<'_>, seen: &str) -> bool {
    if let Some(kind) = facts.route.svid {
        let svids = target.svids.as_ref();
        return svids.is_some_and(|svids| svids.contains(&kind));
    }
    if target.svids.is_some() {
        return false;
    }
    let name = &facts.route.route.name;
    let empty = Vec::new();
    let names = |routes: &Option<Vec<_>>, groups: &Option<Vec<_>>| {
        let stands = routes.is_some() || groups.is_some();
        let (routes, groups) = (
            routes.as_ref().unwrap_or(&empty),
            groups.as_ref().unwrap_or(&empty),
        );
        stands.then(|| route(policy, routes, groups, name))
    };
    let method = |listed: &Vec<String>| {
        listed
            .iter()
            .any(|listed| listed == facts.method || (listed == "GET" && facts.method == "HEAD"))
    };
    let paths = |listed: &Vec<PathMatch>| listed.iter().any(|listed| path(listed, seen));
    names(&target.routes, &target.route_groups) != Some(false)
        && names(&target.not_routes, &target.not_route_groups) != Some(true)
        && target.methods.as_ref().is_none_or(method)
        && !target.not_methods.as_ref().is_some_and(method)
        && target.paths.as_ref().is_none_or(paths)
        && !target.not_paths.as_ref().is_some_and(paths)
}

/// Of several lines, or of a list in one, readers could take any; where all of them would say the same it is known.
fn header(facts: &Facts<'_>, name: &str, wanted: &[TextMatch]) -> Truth {
    if wanted.is_empty() {
        return Some(false);
    }
    let lines = facts.headers?.lines(name)?;
    let whole: Vec<bool> = lines
        .iter()
        .map(|line| std::str::from_utf8(line).is_ok_and(|line| any_text(wanted, line)))
        .collect();
    let may = lines.iter().any(|line| match std::str::from_utf8(line) {
        Ok(line) => {
            any_text(wanted, line) || line.split(',').any(|part| any_text(wanted, part.trim()))
        }
        Err(_) => true,
    });
    match (may, whole.iter().all(|whole| *whole)) {
        (false, _) => Some(false),
        (true, true) => Some(true),
        (true, false) => None,
    }
}

fn when(when: &When, facts: &Facts<'_>) -> Truth {
    let inside = |networks: &Vec<ipnet::IpNet>| {
        let peer = facts.peer.map(|peer| peer.to_canonical());
        let known = peer.map(|peer| networks.iter().any(|network| network.contains(&peer)));
        if networks.is_empty() {
            Some(false)
        } else {
            known
        }
    };
    let headers = |wanted: &BTreeMap<Arc<str>, Vec<TextMatch>>| -> Vec<Truth> {
        let each = wanted.iter();
        each.map(|(name, wanted)| header(facts, name, wanted))
            .collect()
    };
    and([
        field(&when.until, |until| Some(facts.now < *until)),
        field(&when.hours, |hours| {
            Some(hours.iter().any(|hours| hours.contains(facts.now)))
        }),
        field(&when.source_ips, inside),
        field(&when.not_source_ips, |other| not(inside(other))),
        field(&when.headers, |wanted| and(headers(wanted))),
        field(&when.not_headers, |other| {
            and(headers(other).into_iter().map(not))
        }),
    ])
}

/// Whether a rule applies: known, unknown, or known not to. What is unknown of a stranger is kept so.
fn applies(policy: &Policy, rule: &Rule, facts: &Facts<'_>, agents: &[Agent], seen: &str) -> Truth {
    let to = rule.to.as_ref();
    let is_about = match to {
        Some(to) => to.iter().any(|one| target(policy, one, facts, seen)),
        None => facts.route.svid.is_none() || rule.action == Action::Deny,
    };
    let circumstances = field(&rule.when, |one| when(one, facts));
    let resolved = |truth: Truth| truth.unwrap_or(rule.action == Action::Deny);
    if !is_about || !resolved(circumstances) {
        return Some(false);
    }
    let whom = from(policy, rule, facts.principal, agents);
    match facts.principal {
        Some(_) => Some(resolved(whom)),
        None => whom,
    }
}

fn is_met(rule: &Rule, principal: &Principal, now: i64) -> bool {
    let Some(require) = &rule.require else {
        return true;
    };
    let classes = require.acr.as_ref();
    let class = classes.is_none_or(|classes| {
        principal
            .acr
            .as_ref()
            .is_some_and(|acr| classes.contains(acr))
    });
    let age = principal.auth_time.map(|at| now - at);
    let is_recent = |limit: u32| age.is_some_and(|age| age <= i64::from(limit));
    class && require.max_age.is_none_or(is_recent)
}

/// What may stand in a path encoded or not.
const TWO_SPELLINGS: [(&str, &str); 13] = [
    ("%21", "!"),
    ("%24", "$"),
    ("%26", "&"),
    ("%27", "'"),
    ("%28", "("),
    ("%29", ")"),
    ("%2A", "*"),
    ("%2B", "+"),
    ("%2C", ","),
    ("%3A", ":"),
    ("%3B", ";"),
    ("%3D", "="),
    ("%40", "@"),
];

/// Until when somebody has leave to use the rule; `None` is not at all.
fn leave(rule: &Rule, facts: &Facts<'_>) -> Option<jiff::Timestamp> {
    let mut last = None;
    for grant in facts.grants {
        if grant.rule == rule.name && grant.until > facts.now {
            last = last.max(Some(grant.until));
        }
    }
    last
}

/// The path without path parameters; `None` where the route takes none.
fn seen(facts: &Facts<'_>) -> Option<String> {
    let mut path = facts.path.to_owned();
    for (encoded, plain) in TWO_SPELLINGS {
        path = path.replace(encoded, plain);
    }
    if !path.contains(';') {
        return Some(path);
    }
    let parts = path.split('/').map(|part| part.split(';').next().unwrap());
    let parts: Vec<&str> = parts.collect();
    let inner = &parts[1..parts.len() - 1];
    let is_odd = inner.contains(&"") || parts.iter().any(|part| [".", ".."].contains(part));
    (facts.route.route.allow_path_parameters && !is_odd).then(|| parts.join("/"))
}

/// What a document says of a request. With agents the person has to be let in as well, as if they came themselves.
pub(crate) fn decide(policy: &Policy, facts: &Facts<'_>) -> Verdict {
    let agents = facts
        .principal
        .map(|principal| principal.agents.clone())
        .unwrap_or_default();
    let through = decide_through(policy, facts, &agents);
    if agents.is_empty() {
        return through;
    }
    if let Verdict::Deny(DenyReason::Provider | DenyReason::Rule { .. }) = through {
        return through;
    }
    let own = match decide_through(policy, facts, &[]) {
        Verdict::Allow { until, .. } => until,
        refused => return refused,
    };
    match through {
        Verdict::Allow { rule, until } => Verdict::Allow {
            rule,
            until: match (own, until) {
                (Some(own), Some(until)) => Some(own.min(until)),
                (one, other) => one.or(other),
            },
        },
        Verdict::Deny(DenyReason::NoRule) => Verdict::Deny(DenyReason::Agent),
        refused => refused,
    }
}

fn decide_through(policy: &Policy, facts: &Facts<'_>, agents: &[Agent]) -> Verdict {
    let Some(seen) = seen(facts) else {
        return Verdict::Deny(DenyReason::NoRule);
    };
    let accepted = facts.route.route.providers.as_ref();
    let principal = facts.principal;
    if let (Some(accepted), Some(principal)) = (accepted, principal)
        && !accepted.contains(&principal.provider)
    {
        return Verdict::Deny(DenyReason::Provider);
    }
    let of = |action: Action| {
        let rules = policy.rules.iter();
        let counting =
            rules.filter(move |rule| rule.action == action && rule.mode == Mode::Enforce);
        let judged = counting.map(|rule| (rule, applies(policy, rule, facts, agents, &seen)));
        judged.collect::<Vec<_>>()
    };
    let (denying, allowing) = (of(Action::Deny), of(Action::Allow));
    let name = |rule: &Rule| Arc::clone(&rule.name);
    if let Some((rule, _)) = denying.iter().find(|(_, applies)| *applies == Some(true)) {
        return Verdict::Deny(DenyReason::Rule { rule: name(rule) });
    }
    if denying.iter().any(|(_, applies)| applies.is_none()) {
        return Verdict::SignIn;
    }
    let mut open = allowing
        .iter()
        .filter(|(_, applies)| *applies == Some(true));
    let Some(principal) = principal else {
        let first = open.next();
        return first.map_or(Verdict::SignIn, |(rule, _)| Verdict::Allow {
            rule: name(rule),
            until: None,
        });
    };
    let open: Vec<&Rule> = open.map(|(rule, _)| &***rule).collect();
    let now = facts.now.as_second();
    // Each with whether its sign-in, and its approval, are there.
    let open: Vec<(&Rule, bool, bool)> = open
        .into_iter()
        .map(|rule| {
            let approved = rule.approval.is_none() || leave(rule, facts).is_some();
            (rule, is_met(rule, principal, now), approved)
        })
        .collect();
    for (rule, signed_in, approved) in &open {
        if *signed_in && *approved {
            let until = rule.approval.as_ref().and_then(|_| leave(rule, facts));
            let rule = name(rule);
            return Verdict::Allow { rule, until };
        }
    }
    let mut by_themselves = open.iter().filter(|(_, _, approved)| *approved);
    match by_themselves.next().or(open.first()) {
        Some((rule, false, _)) => Verdict::StepUp {
            rule: name(rule),
            require: rule.require.clone().unwrap(),
        },
        Some((rule, true, _)) => Verdict::Ask { rule: name(rule) },
        None => Verdict::Deny(DenyReason::NoRule),
    }
}
