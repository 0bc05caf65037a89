//! The rules of a revision, found by route, and those of the next one, for the cost of what differs.
//!
//! A rule has a slot, which it keeps from revision to revision as long as it stays, so that indexes stay true when others come and go around it;
//! where it stands among the rules as written is its slot's rank.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::policy::check;
use crate::policy::compile::rule::{CompiledRule, Names};
use crate::policy::index::{Entry, RuleIndex};
use crate::policy::model::{Action, Mode, Policy, Rule, When};
use crate::policy::svids::SVID_KINDS;

/// The rank of a slot whose rule is gone.
const GONE: u32 = u32::MAX;

#[derive(Debug)]
pub(in crate::policy) struct CompiledRules {
    slots: Slots,
    /// The slots in the order written.
    written: Vec<u32>,
    /// Rules that count.
    pub(in crate::policy) enforced: RuleSet,
    /// Rules in shadow mode, if there are any.
    pub(in crate::policy) shadow: Option<RuleSet>,
    /// Whether any rule asks how the caller signed in, or for an approval.
    pub(in crate::policy) has_requirements: bool,
    /// Whether any rule asks for an approval, so that it matters what was granted.
    pub(super) has_approvals: bool,
    pub(super) varies: bool,
    pub(super) header_names: Vec<Arc<str>>,
}

#[derive(Debug, Default)]
struct Slots {
    /// What is gone stays in its slot, where no index leads, until everything is compiled anew.
    rules: Vec<Arc<CompiledRule>>,
    ranks: Vec<u32>,
}

/// Rules of one mode, found by route.
#[derive(Debug)]
pub(in crate::policy) struct RuleSet {
    /// By position of the route; behind them what is about SVIDs.
    pub(in crate::policy) of_route: Vec<Arc<Indexes>>,
    /// Rules that do not name the routes they are for.
    pub(in crate::policy) everywhere: Arc<Indexes>,
}

/// The rules of one route, by action.
#[derive(Debug, Default)]
pub(in crate::policy) struct Indexes {
    pub(in crate::policy) allow: RuleIndex,
    pub(in crate::policy) deny: RuleIndex,
}

impl CompiledRules {
    /// All rules of a policy without faults.
    pub(super) fn new(policy: &Policy) -> Self {
        let names = Names::of(policy);
        let rules = policy.rules.iter();
        let rules: Vec<_> = rules
            .map(|rule| Arc::new(CompiledRule::new(rule, &names)))
            .collect();
        let written: Vec<u32> = (0..).take(rules.len()).collect();
        let slots = Slots {
            rules,
            ranks: written.clone(),
        };
        let empty = RuleSet::empty(policy);
        let of_mode = |mode| empty.successor(mode, &written, &slots);
        let enforced = of_mode(Mode::Enforce);
        let shadow = has_shadow(policy).then(|| of_mode(Mode::Shadow));
        Self::found(policy, slots, written, enforced, shadow)
    }

    /// The rules of a policy that differs from ours in nothing but its rules. `None` if it has to be compiled whole: rules have changed places, too much is gone, or
    /// a new one has a fault.
    pub(super) fn successor(&self, policy: &Policy) -> Option<Self> {
        let rules = &policy.rules;
        let of_rule = |slot: &u32| Some((Arc::as_ptr(&self.slots.rule(*slot)?.rule).addr(), *slot));
        let known: foldhash::HashMap<usize, u32> =
            self.written.iter().filter_map(of_rule).collect();
        let slot_of = |rule: &Arc<Rule>| known.get(&Arc::as_ptr(rule).addr()).copied();
        let fresh: Vec<Arc<Rule>> = { rules.iter() }
            .filter(|rule| slot_of(rule).is_none())
            .cloned()
            .collect();
        if !check::are_rules_sound(policy, fresh.clone()) {
            return None;
        }
        let mut slots = Slots {
            rules: self.slots.rules.clone(),
            ranks: Vec::new(),
        };
        let names = Names::of(policy);
        let fresh = fresh.iter();
        slots
            .rules
            .extend(fresh.map(|rule| Arc::new(CompiledRule::new(rule, &names))));
        if slots.rules.len() / 2 > rules.len() {
            return None;
        }
        let mut next = u32::try_from(self.slots.rules.len()).ok()?..;
        let places = rules
            .iter()
            .map(|rule| slot_of(rule).or_else(|| next.next()));
        let written: Vec<u32> = places.collect::<Option<_>>()?;
        slots.rank(&written)?;
        let ranks = self.written.iter().map(|slot| slots.rank_of(*slot));
        if !ranks.flatten().is_sorted() {
            return None;
        }
        let is_gone = |slot: &u32| slots.rank_of(*slot).is_none();
        let is_fresh = |slot: &u32| self.slots.rule(*slot).is_none();
        let gone = self.written.iter().copied().filter(is_gone);
        let changed: Vec<u32> = gone
            .chain(written.iter().copied().filter(is_fresh))
            .collect();
        let enforced = self.enforced.successor(Mode::Enforce, &changed, &slots);
        let shadow = has_shadow(policy).then(|| {
            // Where there were none before, all that there are came now.
            let none = RuleSet::empty(policy);
            let before = self.shadow.as_ref().unwrap_or(&none);
            before.successor(Mode::Shadow, &changed, &slots)
        });
        Some(Self::found(policy, slots, written, enforced, shadow))
    }

    fn found(
        policy: &Policy,
        slots: Slots,
        written: Vec<u32>,
        enforced: RuleSet,
        shadow: Option<RuleSet>,
    ) -> Self {
        let rules = || policy.rules.iter();
        let has_approvals = rules().any(|rule| rule.approval.is_some());
        Self {
            enforced,
            shadow,
            has_requirements: has_approvals || rules().any(|rule| rule.require.is_some()),
            has_approvals,
            varies: rules().any(|rule| varies(rule)),
            header_names: header_names(&policy.rules),
            slots,
            written,
        }
    }

    /// The rule in a slot.
    pub(in crate::policy) fn rule(&self, slot: u32) -> Option<&CompiledRule> {
        self.slots.rule(slot)
    }

    /// Where the rule in a slot stands among the rules as written.
    pub(in crate::policy) fn rank_of(&self, slot: u32) -> Option<u32> {
        self.slots.rank_of(slot)
    }

    /// All, in the order written.
    pub(in crate::policy) fn iter(&self) -> impl Iterator<Item = &CompiledRule> {
        self.written.iter().filter_map(|slot| self.rule(*slot))
    }
}

impl Slots {
    fn rule(&self, slot: u32) -> Option<&CompiledRule> {
        self.rules.get(slot as usize).map(|rule| &**rule)
    }

    fn rank_of(&self, slot: u32) -> Option<u32> {
        let rank = self.ranks.get(slot as usize).copied();
        rank.filter(|rank| *rank != GONE)
    }

    /// Ranks the slots as written; `None` if one is written twice.
    fn rank(&mut self, written: &[u32]) -> Option<()> {
        self.ranks = vec![GONE; self.rules.len()];
        for (rank, slot) in (0..).zip(written) {
            let place = self.ranks.get_mut(*slot as usize)?;
            if *place != GONE {
                return None;
            }
            *place = rank;
        }
        Some(())
    }
}

impl RuleSet {
    /// No rules yet.
    fn empty(policy: &Policy) -> Self {
        let places = policy.routes.len() + SVID_KINDS.len();
        Self {
            of_route: (0..places).map(|_| Arc::default()).collect(),
            everywhere: Arc::default(),
        }
    }

    /// This set where `changed` rules came or went: only their routes' indexes are built anew.
    fn successor(&self, mode: Mode, changed: &[u32], slots: &Slots) -> Self {
        let mut of_routes: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        let mut everywhere = Vec::new();
        for &slot in changed {
            let Some(rule) = slots.rule(slot).filter(|rule| rule.rule.mode == mode) else {
                continue;
            };
            match rule.named_routes() {
                Some(routes) => {
                    for route in routes {
                        of_routes.entry(route).or_default().push(slot);
                    }
                }
                None => everywhere.push(slot),
            }
        }
        let mut of_route = self.of_route.clone();
        for (route, changed) in of_routes {
            if let Some(indexes) = of_route.get_mut(route) {
                *indexes = indexes.successor(&changed, slots);
            }
        }
        Self {
            of_route,
            everywhere: match everywhere.as_slice() {
                [] => Arc::clone(&self.everywhere),
                changed => self.everywhere.successor(changed, slots),
            },
        }
    }
}

impl Indexes {
    pub(in crate::policy) fn of(&self, action: Action) -> &RuleIndex {
        match action {
            Action::Allow => &self.allow,
            Action::Deny => &self.deny,
        }
    }

    fn enter(&mut self, slot: u32, rule: &CompiledRule) {
        let paths = rule.exact_paths();
        let action = rule.rule.action;
        let index = match action {
            Action::Allow => &mut self.allow,
            Action::Deny => &mut self.deny,
        };
        for (at, source) in (0..).zip(&rule.from) {
            let entry = Entry {
                rule: slot,
                source: at,
            };
            index.enter(entry, source, action, paths.as_deref());
        }
    }

    fn successor(&self, changed: &[u32], slots: &Slots) -> Arc<Self> {
        let entries = self.allow.entries().chain(self.deny.entries());
        let all = entries
            .map(|entry| entry.rule)
            .chain(changed.iter().copied());
        let ranked = all.filter_map(|slot| Some((slots.rank_of(slot)?, slot)));
        let ranked: BTreeSet<(u32, u32)> = ranked.collect();
        let mut indexes = Self::default();
        for (_, slot) in ranked {
            let rule = slots.rule(slot);
            rule.into_iter().for_each(|rule| indexes.enter(slot, rule));
        }
        Arc::new(indexes)
    }
}

fn has_shadow(policy: &Policy) -> bool {
    policy.rules.iter().any(|rule| rule.mode == Mode::Shadow)
}

/// Whether time alone changes what a rule says.
fn varies(rule: &Rule) -> bool {
    let require = rule.require.as_ref();
    require.is_some_and(|require| require.max_age.is_some())
        || rule.when.as_ref().is_some_and(When::varies)
}

fn header_names(rules: &[Arc<Rule>]) -> Vec<Arc<str>> {
    let whens = rules.iter().filter_map(|rule| rule.when.as_ref());
    let names: BTreeSet<&Arc<str>> = whens.flat_map(When::header_names).collect();
    names.into_iter().cloned().collect()
}
