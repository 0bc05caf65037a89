//! Deciding: DENY before ALLOW, and nothing is allowed unless a rule allows it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use crate::address::path::{reading, without_parameters};
use crate::identity::principal::{Agent, Principal, Requirement};
use crate::policy::compile::rule::CompiledRule;
use crate::policy::compile::rules::{Indexes, RuleSet};
use crate::policy::compile::{CompiledPolicy, CompiledRoute};
use crate::policy::index::{Entry, RuleIndex};
use crate::policy::model::{Action, Route};
use crate::policy::source::CompiledSource;
use crate::policy::when::RequestHeaders;

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
    /// The present moment.
    pub now: jiff::Timestamp,
    /// The connection's other end; `None` when it is not known.
    pub peer: Option<IpAddr>,
    /// The request's headers as they came; `None` when they are not known.
    pub headers: Option<&'a RequestHeaders>,
    /// What was granted to the caller. One that is over counts for nothing.
    pub grants: &'a [Grant],
}

/// The use of a rule that asks for an approval, granted to somebody for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The rule's name.
    pub rule: Arc<str>,
    /// The first moment at which it does not hold any more.
    pub until: jiff::Timestamp,
}

/// What the rules say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This rule allows it.
    Allow {
        /// The first allow rule, in the order written, that applies.
        rule: Arc<str>,
        /// When the grant ends that it takes, if the rule asks for an approval.
        until: Option<jiff::Timestamp>,
    },
    /// Nobody is signed in, and somebody who is might be allowed.
    SignIn,
    /// The caller would be allowed if they signed in again in this way.
    StepUp {
        /// The first allow rule, in the order written, that applies but for this.
        rule: Arc<str>,
        /// What it asks for.
        require: Requirement,
    },
    /// The caller would be allowed if somebody else approved.
    Ask {
        /// The first allow rule, in the order written, that applies but for this.
        rule: Arc<str>,
    },
    /// It is refused, and neither signing in nor asking would help.
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
    /// The caller would be allowed themselves, and no allow rule names the program that acts for them.
    Agent,
}

/// What a rule in shadow mode would have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shadow {
    /// It was allowed, and this rule would have denied it.
    WouldDeny {
        /// The first such rule, in the order written.
        rule: Arc<str>,
    },
    /// It was not allowed, and this rule would have allowed it.
    WouldAllow {
        /// The first such rule, in the order written.
        rule: Arc<str>,
    },
}

impl Facts<'_> {
    /// When what was granted of this rule ends; `None` if nothing is granted now.
    pub(super) fn granted_until(&self, rule: &str) -> Option<jiff::Timestamp> {
        let live = |grant: &&Grant| *grant.rule == *rule && self.now < grant.until;
        let grants = self.grants.iter().filter(live);
        grants.map(|grant| grant.until).max()
    }
}

impl CompiledPolicy {
    /// Decides one request. Pure and total: no error can let a request through.
    ///
    /// In this order: the route's providers; deny rules; allow rules; and then nothing is allowed. Where rules would allow it but for something, what
    /// the caller can do alone comes first: a rule that only wants another sign-in; then the first that wants an approval, which is asked for once
    /// its other wishes are met. Somebody who is not signed in is asked to, unless a rule denies `anyone`: a stranger does not learn which paths have rules. They are asked as well where a deny rule
    /// only says who is excepted (`not_…`), since leaving that to strangers would let everybody through who signs out.
    ///
    /// What a program may do for somebody is decided twice, and has to pass both times: what they may do themselves, by the rules that say nothing of agents,
    /// and what a rule lets that program do for them. So it never may more than they may, and nothing without a rule that names it.
    pub fn decide(&self, facts: &Facts<'_>) -> Verdict {
        let refused = Verdict::Deny(DenyReason::NoRule);
        let rules = self.rules.enforced.of_route.get(facts.route.index);
        let path = path_for_rules(&facts.route.route, facts.path);
        let (Some(of_route), Some(path)) = (rules, path) else {
            return refused;
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

    /// What rules in shadow mode would have made of a request that got this verdict.
    pub fn shadow(&self, facts: &Facts<'_>, verdict: &Verdict) -> Option<Shadow> {
        let rules = self.rules.shadow.as_ref()?;
        let path = path_for_rules(&facts.route.route, facts.path)?;
        let facts = Facts {
            path: &path,
            ..*facts
        };
        let denies = self.first_of(rules, &facts, Action::Deny);
        match verdict {
            Verdict::Allow { .. } => denies.map(|rule| Shadow::WouldDeny { rule }),
            // Of an agent only what concerns it alone is told: what the person may not, no rule about agents would change.
            Verdict::Deny(DenyReason::NoRule) if is_by_agent(&facts) => None,
            Verdict::Deny(DenyReason::NoRule | DenyReason::Agent)
            | Verdict::SignIn
            | Verdict::StepUp { .. }
            | Verdict::Ask { .. }
                if denies.is_none() =>
            {
                let allows = self.first_of(rules, &facts, Action::Allow);
                allows.map(|rule| Shadow::WouldAllow { rule })
            }
            Verdict::Deny(_) | Verdict::SignIn | Verdict::StepUp { .. } | Verdict::Ask { .. } => {
                None
            }
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
        let both = [of_route, &*self.rules.enforced.everywhere];
        let agents = principal.agents.as_slice();
        let denies = self.first_known(facts, (principal, agents), Action::Deny, both, &|_| true);
        if let Some(rule) = denies {
            return denied_by(rule);
        }
        let own = self.allowing(facts, (principal, &[]), both);
        match (own, agents) {
            (own, []) => own,
            (Verdict::Allow { until, .. }, agents) => {
                through(self.allowing(facts, (principal, agents), both), until)
            }
            (own, _) => own,
        }
    }

    /// What allow rules say of somebody, or of programs that act for them.
    fn allowing(
        &self,
        facts: &Facts<'_>,
        caller: (&Principal, &[Agent]),
        both: [&Indexes; 2],
    ) -> Verdict {
        let (principal, _) = caller;
        let first = |action, accepts: &dyn Fn(&CompiledRule) -> bool| {
            self.first_known(facts, caller, action, both, accepts)
        };
        if let Some(rule) = first(Action::Allow, &|rule| rule.is_met(principal, facts)) {
            return allowed_by(rule, facts);
        }
        if !self.rules.has_requirements {
            return Verdict::Deny(DenyReason::NoRule);
        }
        // What is left are rules that ask for more than the caller has.
        let asking = first(Action::Allow, &|rule| rule.is_approved(facts))
            .or_else(|| first(Action::Allow, &|rule| rule.approval.is_some()));
        let Some(rule) = asking else {
            return Verdict::Deny(DenyReason::NoRule);
        };
        let unmet = rule
            .require
            .as_ref()
            .filter(|require| !require.is_met(principal, facts.now.as_second()));
        let rule = Arc::clone(&rule.rule.name);
        match unmet.cloned() {
            Some(require) => Verdict::StepUp { rule, require },
            None => Verdict::Ask { rule },
        }
    }

    fn decide_stranger(&self, facts: &Facts<'_>, of_route: &Indexes) -> Verdict {
        let shared = &self.rules.enforced.everywhere;
        let both = [of_route, shared];
        if let Some(rule) = self.first_for_anyone(facts, Action::Deny, both) {
            return denied_by(rule);
        }
        let excluding = both.map(|indexes| indexes.deny.excluding.as_slice());
        if self
            .first(facts, Action::Deny, excluding.into_iter(), |_, _| true)
            .is_some()
        {
            return Verdict::SignIn;
        }
        let allows = self.first_for_anyone(facts, Action::Allow, both);
        allows.map_or(Verdict::SignIn, |rule| allowed_by(rule, facts))
    }

    /// The first rule of a set that applies to the caller, whoever they are.
    fn first_of(&self, rules: &RuleSet, facts: &Facts<'_>, action: Action) -> Option<Arc<str>> {
        let of_route = rules.of_route.get(facts.route.index)?;
        let both = [&**of_route, &rules.everywhere];
        let first = match facts.principal {
            Some(principal) => {
                let is_met = |rule: &CompiledRule| rule.is_met(principal, facts);
                let caller = (principal, principal.agents.as_slice());
                self.first_known(facts, caller, action, both, &is_met)
            }
            None => self.first_for_anyone(facts, action, both),
        };
        first.map(|rule| Arc::clone(&rule.rule.name))
    }

    /// The first rule of an action that is for whoever comes.
    fn first_for_anyone(
        &self,
        facts: &Facts<'_>,
        action: Action,
        rules: [&Indexes; 2],
    ) -> Option<&CompiledRule> {
        let lists = rules.map(|indexes| indexes.of(action).anyone.as_slice());
        self.first(facts, action, lists.into_iter(), |_, _| true)
    }

    /// The first rule of an action that applies to somebody who is signed in.
    fn first_known(
        &self,
        facts: &Facts<'_>,
        (principal, agents): (&Principal, &[Agent]),
        action: Action,
        rules: [&Indexes; 2],
        accepts: &dyn Fn(&CompiledRule) -> bool,
    ) -> Option<&CompiledRule> {
        let [own, shared] = rules.map(|indexes| -> &RuleIndex { indexes.of(action) });
        let lists = own
            .candidates(principal, facts.path)
            .chain(shared.candidates(principal, facts.path));
        self.first(facts, action, lists, |rule, entry| {
            let source = rule.from.get(entry.source as usize);
            let is_meant = |source: &Arc<CompiledSource>| {
                source.takes_agents(agents, action) && source.holds(principal, action)
            };
            source.is_some_and(is_meant) && accepts(rule)
        })
    }

    /// The first rule, in the order written, with an entry that holds and that is about the request.
    fn first<'a>(
        &self,
        facts: &Facts<'_>,
        action: Action,
        lists: impl Iterator<Item = &'a [Entry]>,
        holds: impl Fn(&CompiledRule, Entry) -> bool,
    ) -> Option<&CompiledRule> {
        let mut first: Option<(u32, &CompiledRule)> = None;
        for list in lists {
            for &entry in list {
                // What has no rank is gone, and no index leads there.
                let Some(rank) = self.rules.rank_of(entry.rule) else {
                    continue;
                };
                // Each list is in the order of the rules, so nothing better follows in it.
                if first.is_some_and(|(first, _)| first <= rank) {
                    break;
                }
                let applies =
                    |rule: &&CompiledRule| rule.is_about(facts, action) && holds(rule, entry);
                if let Some(rule) = self.rules.rule(entry.rule).filter(applies) {
                    first = Some((rank, rule));
                    break;
                }
            }
        }
        first.map(|(_, rule)| rule)
    }
}

fn allowed_by(rule: &CompiledRule, facts: &Facts<'_>) -> Verdict {
    Verdict::Allow {
        rule: Arc::clone(&rule.rule.name),
        until: rule
            .approval
            .as_ref()
            .and_then(|_asked| facts.granted_until(&rule.rule.name)),
    }
}

/// What a program may, where the person may it themselves; what either owes to a grant ends with the first of them.
pub(super) fn through(agents: Verdict, own: Option<jiff::Timestamp>) -> Verdict {
    match agents {
        Verdict::Allow { rule, until } => Verdict::Allow {
            rule,
            until: own.into_iter().chain(until).min(),
        },
        Verdict::Deny(DenyReason::NoRule) => Verdict::Deny(DenyReason::Agent),
        other => other,
    }
}

fn is_by_agent(facts: &Facts<'_>) -> bool {
    facts
        .principal
        .is_some_and(|principal| !principal.agents.is_empty())
}

fn denied_by(rule: &CompiledRule) -> Verdict {
    let rule = Arc::clone(&rule.rule.name);
    Verdict::Deny(DenyReason::Rule { rule })
}

/// Whether principals of this provider count at the route.
pub(super) fn accepts_provider(route: &Route, principal: &Principal) -> bool {
    route
        .providers
        .as_ref()
        .is_none_or(|accepted| accepted.contains(&principal.provider))
}

/// The path as rules see it: its [`reading`]. A route that takes path parameters (`/a;v=1/b`) has upstreams that leave them out when they look for the
/// resource, so rules do the same; `None` if what remains has another reading then, or if there is a `;` that the route does not take.
pub(super) fn path_for_rules<'a>(route: &Route, path: &'a str) -> Option<Cow<'a, str>> {
    let seen = reading(path);
    if !seen.contains(';') {
        return Some(seen);
    }
    without_parameters(path).filter(|_| route.allow_path_parameters)
}
