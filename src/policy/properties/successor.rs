//! A revision that is made from the one before it decides as if it had been compiled whole.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::cases;
use super::strategies::{Request, compile, plain, request, rule, rules};
use crate::policy::compile::CompiledPolicy;
use crate::policy::model::{Action, Revision, Rule, Target};

/// What somebody does to the rules of a policy.
#[derive(Clone, Debug)]
enum Edit {
    Add(usize, Rule),
    Change(usize, Rule),
    Remove(usize),
    /// Puts the first ones last.
    Turn(usize),
    Nothing,
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = 0..8usize;
    prop_oneof![
        4 => (at.clone(), rule()).prop_map(|(at, rule)| Edit::Add(at, rule)),
        4 => (at.clone(), rule()).prop_map(|(at, rule)| Edit::Change(at, rule)),
        4 => at.clone().prop_map(Edit::Remove),
        1 => at.prop_map(Edit::Turn),
        1 => Just(Edit::Nothing),
    ]
}

/// The rules after an edit; those that stay are the very same. `number` makes names that are not taken.
fn edited(rules: &[Arc<Rule>], edit: Edit, number: usize) -> Vec<Arc<Rule>> {
    let mut rules = rules.to_vec();
    let named = |rule| {
        Arc::new(Rule {
            name: format!("new{number}").into(),
            ..rule
        })
    };
    match edit {
        Edit::Add(at, rule) => rules.insert(at.min(rules.len()), named(rule)),
        Edit::Change(at, rule) => {
            if let Some(place) = rules.get_mut(at) {
                let name = Arc::clone(&place.name);
                *place = Arc::new(Rule { name, ..rule });
            }
        }
        Edit::Remove(at) if at < rules.len() => drop(rules.remove(at)),
        Edit::Remove(_) | Edit::Nothing => {}
        Edit::Turn(by) => {
            let by = by.min(rules.len());
            rules.rotate_left(by);
        }
    }
    rules
}

fn assert_same(made: &CompiledPolicy, requests: &[Request]) -> Result<(), TestCaseError> {
    let whole = made.policy().clone();
    let whole = CompiledPolicy::new(whole, made.revision, made.trust_domain()).unwrap();
    for request in requests {
        let (made_facts, facts) = (request.facts(made), request.facts(&whole));
        let verdict = made.decide(&made_facts);
        prop_assert_eq!(&verdict, &whole.decide(&facts));
        prop_assert_eq!(
            made.shadow(&made_facts, &verdict),
            whole.shadow(&facts, &verdict)
        );
        if let Some(principal) = facts.principal {
            for rule in &made.policy().rules {
                let name = &rule.name;
                prop_assert_eq!(
                    made.may_ask(principal, name),
                    whole.may_ask(principal, name)
                );
                let approves = [made, &whole].map(|policy| policy.may_approve(principal, name));
                prop_assert_eq!(approves[0], approves[1]);
            }
        }
    }
    prop_assert_eq!(made.has_approvals(), whole.has_approvals());
    prop_assert_eq!(made.varies(), whole.varies());
    prop_assert_eq!(made.header_names(), whole.header_names());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn a_revision_made_from_the_one_before_decides_like_one_compiled_whole(
        rules in rules(),
        edits in vec(edit(), 1..8),
        requests in vec(request(), 1..12),
    ) {
        let mut policy = compile(rules);
        for (number, edit) in edits.into_iter().enumerate() {
            let rules = edited(&policy.policy().rules, edit, number);
            let revision = Revision(policy.revision.0 + 1);
            policy = policy.with_rules(rules, revision).unwrap();
            assert_same(&policy, &requests)?;
        }
    }
}

#[test]
fn a_rule_that_leads_nowhere_is_refused() {
    let policy = compile(Vec::new());
    let rule = plain("r", Action::Allow, Vec::new());
    let rule = Rule {
        to: Some(vec![Target {
            routes: Some(vec!["nowhere".into()]),
            ..Default::default()
        }]),
        ..rule
    };
    let faults = policy
        .with_rules(vec![Arc::new(rule)], Revision(2))
        .unwrap_err();
    assert_eq!(faults[0].key, "rules[0].to[0].routes[0]");
    let twice = Arc::new(plain("r", Action::Allow, Vec::new()));
    let faults = policy
        .with_rules(vec![Arc::clone(&twice), twice], Revision(2))
        .unwrap_err();
    assert_eq!(faults[0].key, "rules[1].name");
}
