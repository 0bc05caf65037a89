//! Who may ask for the use of a rule, and who may approve of it. Only rules that count are asked about, and only by those whom they are for.
//!
//! What is not known of somebody counts against them, whether they ask or approve.

use std::sync::Arc;

use crate::identity::principal::Principal;
use crate::policy::compile::CompiledPolicy;
use crate::policy::compile::rule::CompiledRule;
use crate::policy::decide::{Facts, Grant};
use crate::policy::model::{Action, Approval, Mode};
use crate::policy::roles::Permission;
use crate::policy::source::CompiledSource;

impl CompiledPolicy {
    /// What a rule asks of those who want its use, if it is for this caller.
    pub fn may_ask(&self, principal: &Principal, rule: &str) -> Option<&Approval> {
        let (compiled, approval) = self
            .with_approvals()
            .find(|(one, _)| *one.rule.name == *rule)?;
        is_meant(&compiled.from, principal).then_some(approval)
    }

    /// Whether somebody who asks so would have to be approved of before they use a rule.
    pub fn asks_for_approval(&self, rule: &str, facts: &Facts<'_>) -> bool {
        let mut rules = self.with_approvals();
        let asks = rules.any(|(one, _)| *one.rule.name == *rule);
        let holds = |grant: &Grant| *grant.rule == *rule && facts.now < grant.until;
        asks && !facts.grants.iter().any(holds)
    }

    /// Whether this caller may approve of the use of a rule by somebody else.
    pub fn may_approve(&self, principal: &Principal, rule: &str) -> bool {
        let mut rules = self.with_approvals();
        rules.any(|(one, _)| *one.rule.name == *rule && approves(one, principal))
    }

    /// Whether this caller may end and review what was granted of a rule: its approvers, and where there is no such rule any more all whose role reviews.
    pub fn may_look_after(&self, principal: &Principal, rule: &str) -> bool {
        let is_there = self
            .with_approvals()
            .any(|(one, _)| *one.rule.name == *rule);
        match is_there {
            true => self.may_approve(principal, rule),
            false => self.reviews(principal),
        }
    }

    /// Whether a role of theirs reviews.
    pub fn reviews(&self, principal: &Principal) -> bool {
        let mut roles = self.roles_of(principal).into_iter();
        roles.any(|role| role.permits(Permission::ReviewPolicy))
    }

    /// Whether there is any rule of whose use this caller may approve.
    pub fn approves_anything(&self, principal: &Principal) -> bool {
        let mut rules = self.with_approvals();
        rules.any(|(one, _)| approves(one, principal))
    }

    fn with_approvals(&self) -> impl Iterator<Item = (&CompiledRule, &Approval)> {
        self.rules.iter().filter_map(|compiled| {
            let rule = &compiled.rule;
            let counts = rule.mode == Mode::Enforce && rule.action == Action::Allow;
            let approval = rule.approval.as_ref().filter(|_| counts)?;
            Some((compiled, approval))
        })
    }
}

fn approves(rule: &CompiledRule, principal: &Principal) -> bool {
    let approval = rule.approval.as_ref();
    approval.is_some_and(|approval| is_meant(&approval.from, principal))
}

fn is_meant(from: &[Arc<CompiledSource>], principal: &Principal) -> bool {
    from.iter()
        .any(|source| source.holds(principal, Action::Allow))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::identity::principal::Groups;
    use crate::policy::trial::nobody_yet;

    fn compiled(rules: &str) -> CompiledPolicy {
        let policy = crate::policy::yaml::parse(&format!("rules: [{rules}]")).unwrap();
        let trust_domain = crate::identity::spiffe_id::TrustDomain::parse("td").unwrap();
        let revision = crate::policy::model::Revision(1);
        CompiledPolicy::new(policy, revision, &trust_domain).unwrap()
    }

    fn person(groups: Option<&[&str]>) -> Principal {
        let known = |groups: &[&str]| groups.iter().map(|name| Arc::from(*name)).collect();
        let groups: Option<BTreeSet<Arc<str>>> = groups.map(known);
        Principal {
            groups: groups.map_or(Groups::Missing, Groups::Known),
            ..nobody_yet("okta", "1")
        }
    }

    #[test]
    fn what_is_not_known_counts_against_whoever_asks_or_approves() {
        let rule = |from: &str, approvers: &str| {
            format!(
                "{{ name: r, action: allow, from: [{from}], require: {{ approval: {{ from: [{approvers}], at_most: 4h }} }} }}"
            )
        };
        let (staff, leads) = ("{ groups: [staff] }", "{ not_groups: [staff] }");
        for (groups, asks, approves) in [
            (Some(&["staff"][..]), true, false),
            (Some(&[]), false, true),
            (None, false, false),
        ] {
            let policy = compiled(&rule(staff, leads));
            let person = person(groups);
            assert_eq!(policy.may_ask(&person, "r").is_some(), asks, "{groups:?}");
            assert_eq!(policy.may_approve(&person, "r"), approves, "{groups:?}");
            assert_eq!(policy.approves_anything(&person), approves, "{groups:?}");
            assert!(policy.may_ask(&person, "other").is_none());
            assert!(!policy.may_approve(&person, "other"));
        }
        // An empty list is nobody.
        let policy = compiled(&rule(staff, ""));
        assert!(!policy.may_approve(&person(Some(&[])), "r"));
    }

    #[test]
    fn what_was_granted_of_a_rule_that_is_gone_is_looked_after_by_all_who_review() {
        let rule = "{ name: r, action: allow, from: [{ signed_in: true }], require: { approval: { from: [{ groups: [leads] }], at_most: 4h } } }";
        let bindings =
            "role_bindings: [{ name: b, role: approver, from: [{ groups: [reviewers] }] }]";
        let with = |rule: &str| {
            let policy = format!("rules: [{rule}]\n{bindings}");
            let policy = crate::policy::yaml::parse(&policy).unwrap();
            let trust_domain = crate::identity::spiffe_id::TrustDomain::parse("td").unwrap();
            let revision = crate::policy::model::Revision(1);
            CompiledPolicy::new(policy, revision, &trust_domain).unwrap()
        };
        let looks_after =
            |rule: &str, group| with(rule).may_look_after(&person(Some(&[group])), "r");
        assert!(looks_after(rule, "leads") && !looks_after(rule, "reviewers"));
        assert!(!looks_after("", "leads") && looks_after("", "reviewers"));
    }

    #[test]
    fn rules_that_do_not_count_are_not_asked_for() {
        let rule = "{ name: r, action: allow, mode: shadow, from: [{ signed_in: true }], require: { approval: { from: [{ signed_in: true }], at_most: 4h } } }";
        let policy = compiled(rule);
        let somebody = person(None);
        assert!(policy.may_ask(&somebody, "r").is_none());
        assert!(!policy.may_approve(&somebody, "r"));
        let policy = compiled("{ name: r, action: allow, from: [{ signed_in: true }] }");
        assert!(policy.may_ask(&somebody, "r").is_none());
    }
}
