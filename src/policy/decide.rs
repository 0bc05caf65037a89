//! Deciding: DENY before ALLOW, and nothing is allowed unless a rule allows it.

use std::borrow::Cow;
use std::sync::Arc;

use crate::identity::principal::Principal;
use crate::policy::compile::{CompiledPolicy, CompiledRoute, Indexes};
use crate::policy::index::{Entry, RuleIndex};
use crate::policy::model::{Action, Route};

/// What is known of a request when it is decided.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// `None` when nobody is signed in.
    pub principal: Option<&'a Principal>,
    /// A route of the revision that decides.
    pub route: &'a CompiledRoute,
    /// Upper-case wire method.
    pub method: &'a str,
    /// Canonical path, without query.
    pub path: &'a str,
}

/// What the rules say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This rule allows it.
    Allow {
        /// The first allow rule, in the order written, that applies.
        rule: Arc<str>,
    },
    /// Nobody is signed in, and somebody who is might be allowed.
    SignIn,
    /// It is refused, and signing in would not help.
    Deny(DenyReason),
}

/// Why a request is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DenyReason {
    /// This deny rule applies.
    Rule {
        /// The first deny rule, in the order written, that applies.
        rule: Arc<str>,
    },
    /// No allow rule matches.
    NoRule,
    /// The route does not accept principals of this provider.
    Provider,
}

impl CompiledPolicy {
    /// Decides one request. Pure and total: no error can let a request through.
    ///
    /// In this order: the route's providers; deny rules; allow rules; and then nothing is allowed. Somebody who is not signed in is
    /// asked to, unless a rule denies `anyone`: a stranger does not learn which paths have rules. They are asked as well where a deny rule
    /// only says who is excepted (`not_…`), since leaving that to strangers would let everybody through who signs out.
    pub fn decide(&self, facts: &Facts<'_>) -> Verdict {
        let Some(of_route) = self.of_route.get(facts.route.index) else {
            return Verdict::Deny(DenyReason::NoRule);
        };
        let Some(path) = path_for_rules(&facts.route.route, facts.path) else {
            return Verdict::Deny(DenyReason::NoRule);
        };
        let facts = Facts {
            path: &path,
            ..*facts
        };
        match facts.principal {
            Some(principal) => self.decide_known(&facts, principal, of_route),
            None => self.decide_stranger(&facts, of_route),
        }
    }

    fn decide_known(
        &self,
        facts: &Facts<'_>,
        principal: &Principal,
        of_route: &Indexes,
    ) -> Verdict {
        if !accepts_provider(&facts.route.route, principal) {
            return Verdict::Deny(DenyReason::Provider);
        }
        let first = |action, own: &RuleIndex, shared: &RuleIndex| {
            let lists = own
                .candidates(principal, facts.path)
                .chain(shared.candidates(principal, facts.path));
            self.first(facts, lists, |entry| {
                let rule = self.rules.get(entry.rule as usize);
                let source = rule.and_then(|rule| rule.from.get(entry.source as usize));
                source.is_some_and(|source| source.holds(principal, action))
            })
        };
        if let Some(rule) = first(Action::Deny, &of_route.deny, &self.everywhere.deny) {
            return Verdict::Deny(DenyReason::Rule { rule });
        }
        match first(Action::Allow, &of_route.allow, &self.everywhere.allow) {
            Some(rule) => Verdict::Allow { rule },
            None => Verdict::Deny(DenyReason::NoRule),
        }
    }

    fn decide_stranger(&self, facts: &Facts<'_>, of_route: &Indexes) -> Verdict {
        let shared = &self.everywhere;
        let first = |lists: [&[Entry]; 2]| self.first(facts, lists.into_iter(), |_| true);
        if let Some(rule) = first([&of_route.deny.anyone, &shared.deny.anyone]) {
            return Verdict::Deny(DenyReason::Rule { rule });
        }
        if first([&of_route.deny.excluding, &shared.deny.excluding]).is_some() {
            return Verdict::SignIn;
        }
        match first([&of_route.allow.anyone, &shared.allow.anyone]) {
            Some(rule) => Verdict::Allow { rule },
            None => Verdict::SignIn,
        }
    }

    /// The first rule, in the order written, with an entry that holds and that is about the request.
    fn first<'a>(
        &self,
        facts: &Facts<'_>,
        lists: impl Iterator<Item = &'a [Entry]>,
        holds: impl Fn(Entry) -> bool,
    ) -> Option<Arc<str>> {
        let mut first: Option<u32> = None;
        for list in lists {
            for &entry in list {
                // Each list is in the order of the rules, so nothing better follows in it.
                if first.is_some_and(|first| first <= entry.rule) {
                    break;
                }
                let is_about = self
                    .rules
                    .get(entry.rule as usize)
                    .is_some_and(|rule| rule.is_about(facts.route.index, facts.method, facts.path));
                if is_about && holds(entry) {
                    first = Some(entry.rule);
                    break;
                }
            }
        }
        let rule = self.rules.get(first? as usize)?;
        Some(Arc::clone(&rule.name))
    }
}

/// Whether principals of this provider count at the route.
pub(super) fn accepts_provider(route: &Route, principal: &Principal) -> bool {
    route
        .providers
        .as_ref()
        .is_none_or(|accepted| accepted.contains(&principal.provider))
}

/// The path as rules see it. A route that takes path parameters (`/a;v=1/b`) has upstreams that leave them out when they look for the
/// resource, so rules do the same; `None` if what remains has another reading then, or if there is a `;` that the route does not take.
pub(super) fn path_for_rules<'a>(route: &Route, path: &'a str) -> Option<Cow<'a, str>> {
    if !path.contains(';') {
        return Some(Cow::Borrowed(path));
    }
    if !route.allow_path_parameters {
        return None;
    }
    let segments: Vec<&str> = path
        .split('/')
        .map(|segment| segment.split(';').next().unwrap_or(segment))
        .collect();
    let inner = segments.get(1..segments.len().saturating_sub(1))?;
    let is_unclear = |segment: &&str| matches!(*segment, "." | "..");
    if inner.iter().any(|segment| segment.is_empty()) || segments.iter().any(is_unclear) {
        return None;
    }
    Some(Cow::Owned(segments.join("/")))
}
