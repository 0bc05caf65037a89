//! What of a request, and of its circumstances, is not as a rule wants it.

use std::sync::Arc;

use crate::policy::compile::rule::lists_method;
use crate::policy::decide::Facts;
use crate::policy::explain::{Unheld, list, names_route};
use crate::policy::hours::Hours;
use crate::policy::model::{Policy, Rule, Target};
use crate::policy::when::Failure;

/// A header's values are somebody else's words; longer nobody reads them.
const LONGEST_VALUE: usize = 100;

/// Everything of a target that does not hold.
pub(super) fn target_fails(policy: &Policy, target: &Target, facts: &Facts<'_>) -> Vec<Unheld> {
    let Facts {
        method,
        path,
        route,
        ..
    } = facts;
    match (route.svid, &target.svids) {
        (Some(kind), Some(svids)) if svids.contains(&kind) => return Vec::new(),
        (Some(_), _) => return vec!["it is not for this kind of SVID".into()],
        (None, Some(svids)) => return vec![format!("it is for SVIDs: {}", list(svids)).into()],
        (None, None) => {}
    }
    let name = &route.route.name;
    let named = |names: &Option<Vec<Arc<str>>>, groups: &Option<Vec<Arc<str>>>| {
        let all: Vec<&Arc<str>> = names.iter().chain(groups).flatten().collect();
        list(&all)
    };
    let mut fails: Vec<Unheld> = Vec::new();
    let mut fail = |why: String| fails.push(why.into());
    let (wanted, groups) = (&target.routes, &target.route_groups);
    if names_route(policy, name, wanted, groups) == Some(false) {
        fail(format!("it is for {}", named(wanted, groups)));
    }
    let (other, groups) = (&target.not_routes, &target.not_route_groups);
    if names_route(policy, name, other, groups) == Some(true) {
        fail(format!("it is not for {}", named(other, groups)));
    }
    let methods = target.methods.as_ref();
    if let Some(methods) = methods.filter(|methods| !lists_method(methods, method)) {
        let methods = list(methods);
        fail(format!(
            "it is for the methods {methods}, and this is {method}"
        ));
    }
    let methods = target.not_methods.as_ref();
    if let Some(methods) = methods.filter(|methods| lists_method(methods, method)) {
        let methods = list(methods);
        fail(format!(
            "it is not for the methods {methods}, and this is {method}"
        ));
    }
    let paths = target.paths.as_ref();
    if let Some(paths) = paths.filter(|paths| !paths.iter().any(|wanted| wanted.matches(path))) {
        fail(format!(
            "it is for the paths {}, and this is {path}",
            list(paths)
        ));
    }
    let paths = target.not_paths.as_ref();
    if let Some(paths) = paths.filter(|paths| paths.iter().any(|other| other.matches(path))) {
        fail(format!(
            "it is not for the paths {}, and this is {path}",
            list(paths)
        ));
    }
    fails
}

/// Everything of the circumstances that is not as wanted.
pub(super) fn circumstances_fail(rule: &Rule, facts: &Facts<'_>) -> Vec<Unheld> {
    let when = rule.when.iter();
    let failures = when.flat_map(|when| when.failures(facts, rule.action));
    failures
        .map(|failure| circumstance(&failure, facts))
        .collect()
}

fn circumstance(failure: &Failure<'_>, facts: &Facts<'_>) -> Unheld {
    let peer = || {
        facts.peer.map_or_else(
            || "an unknown address".to_owned(),
            |peer| peer.to_canonical().to_string(),
        )
    };
    match failure {
        Failure::Until(until) => format!("it held until {until}").into(),
        Failure::Hours(hours) => {
            let now = hours.first().map(|hours| local(hours, facts.now));
            let now = now.unwrap_or_else(|| facts.now.to_string());
            format!("it holds {}, and now it is {now}", list(hours)).into()
        }
        Failure::SourceIps(wanted) => format!(
            "it is for connections from {}, and this comes from {}",
            list(wanted),
            peer()
        )
        .into(),
        Failure::NotSourceIps(other) => format!(
            "it is not for connections from {}, and this comes from {}",
            list(other),
            peer()
        )
        .into(),
        Failure::Header(name, wanted) => {
            let (wanted, seen) = (list(wanted), seen(facts, name));
            Unheld {
                why: format!("it is for requests whose header {name} is {wanted}, and {seen}"),
                told: "it asks for a header that this request does not have so".to_owned(),
            }
        }
        Failure::NotHeader(name, other) => {
            let (other, seen) = (list(other), seen(facts, name));
            Unheld {
                why: format!(
                    "it is not for requests whose header {name} is or may be {other}, and {seen}"
                ),
                told: "it is not for requests with a header as this one has it".to_owned(),
            }
        }
    }
}

/// In the time zone of a window.
fn local(hours: &Hours, now: jiff::Timestamp) -> String {
    let now = hours.zone().to_datetime(now);
    now.strftime("%a %H:%M").to_string()
}

/// What is known of a header of the request.
fn seen(facts: &Facts<'_>, name: &str) -> String {
    let lines = facts.headers.and_then(|headers| headers.lines(name));
    let Some(lines) = lines else {
        return "what it was is not known".to_owned();
    };
    if lines.is_empty() {
        return "there is none".to_owned();
    }
    let text = |line: &[u8]| {
        let text = String::from_utf8_lossy(line);
        let short: String = text.chars().take(LONGEST_VALUE).collect();
        format!("{short:?}")
    };
    let texts: Vec<String> = lines.iter().map(|line| text(line)).collect();
    format!("here it is {}", texts.join(", "))
}
