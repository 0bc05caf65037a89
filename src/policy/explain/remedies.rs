//! What would change an answer.

use crate::policy::decide::{DenyReason, Verdict};
use crate::policy::explain::{Considered, Explanation};
use crate::policy::model::{Action, Mode};

/// So many rules at most are told of that would allow what is refused, or refuse what is allowed.
const TOLD: usize = 5;

/// The same for a caller who was refused.
const TOLD_TO_CALLERS: usize = 3;

impl Explanation {
    /// In a sentence each: what keeps rules from applying that would change the verdict, or what would take the refusing one away. `route` is the route's name.
    pub fn remedies(&self, route: &str) -> Vec<String> {
        let of_rule = |rule: &str, what: &str| format!("{what} as rule {rule} asks for.");
        match &self.verdict {
            Verdict::Allow { .. } => self.kept_from(Action::Deny).take(TOLD).collect(),
            Verdict::Deny(DenyReason::Rule { rule }) => {
                let refusing = format!("Rule {rule} would have to be about something else.");
                [refusing]
                    .into_iter()
                    .chain(self.kept_from(Action::Allow).take(TOLD))
                    .collect()
            }
            Verdict::Deny(DenyReason::Provider) => {
                vec![format!("Route {route} would have to accept the provider.")]
            }
            Verdict::StepUp { rule, .. } => {
                let is_it = |it: &Considered| it.rule == *rule && it.wants_approval;
                let mut remedies = vec![of_rule(rule, "A sign-in")];
                if self.considered.iter().any(is_it) {
                    remedies.push(of_rule(rule, "And then an approval"));
                }
                remedies
            }
            Verdict::Ask { rule, .. } => vec![of_rule(rule, "An approval")],
            Verdict::SignIn => vec!["Signing in, as somebody whom a rule allows.".to_owned()],
            Verdict::Deny(DenyReason::NoRule | DenyReason::Agent) => {
                let allowing: Vec<String> = self.kept_from(Action::Allow).take(TOLD).collect();
                match allowing.is_empty() {
                    true => vec![format!("A rule that allows something on route {route}.")],
                    false => allowing,
                }
            }
        }
    }

    /// What a caller may be told of it who is refused because no rule allows it: of each rule that is for them, what keeps it from applying.
    pub fn for_the_caller(&self) -> Vec<String> {
        if self.verdict != Verdict::Deny(DenyReason::NoRule) {
            return Vec::new();
        }
        let is_theirs = |rule: &&Considered| {
            rule.action == Action::Allow && rule.mode == Mode::Enforce && rule.is_for_caller
        };
        let mut theirs: Vec<&Considered> = self.considered.iter().filter(is_theirs).collect();
        theirs.sort_by_key(|rule| rule.fails.len());
        let told = theirs.into_iter().map(|rule| {
            let why: Vec<&str> = rule.fails.iter().map(|unheld| &*unheld.told).collect();
            format!("Rule {} is for you, but {}.", rule.rule, why.join("; "))
        });
        told.take(TOLD_TO_CALLERS).collect()
    }

    /// Enforced rules of an action that do not apply, and why not; those of which the least fails first.
    fn kept_from(&self, action: Action) -> impl Iterator<Item = String> {
        let would = match action {
            Action::Allow => "allow",
            Action::Deny => "refuse",
        };
        let counts = |rule: &&Considered| {
            rule.action == action && rule.mode == Mode::Enforce && !rule.fails.is_empty()
        };
        let mut kept: Vec<&Considered> = self.considered.iter().filter(counts).collect();
        kept.sort_by_key(|rule| rule.fails.len());
        kept.into_iter().filter_map(move |rule| {
            let name = &rule.rule;
            let why = rule.why_not()?;
            Some(match rule.fails.len() {
                1 => format!("Rule {name} would {would} it, but {why}."),
                _ => format!("Rule {name} would {would} it if all of this were otherwise: {why}."),
            })
        })
    }
}
