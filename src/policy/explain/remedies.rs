//! What would change an answer.

use crate::policy::decide::{DenyReason, Verdict};
use crate::policy::explain::{Considered, Explanation};
use crate::policy::model::{Action, Mode};

/// So many rules at most are told of that would allow what is refused, or refuse what is allowed.
const TOLD: usize = 5;

impl Explanation {
    /// In a sentence each: what keeps rules from applying that would change the verdict, or what would take the refusing one away. `route` is the route's name.
    pub fn remedies(&self, route: &str) -> Vec<String> {
        let of_rule = |rule: &str, what: &str| vec![format!("{what} as rule {rule} asks for.")];
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
            Verdict::StepUp { rule, .. } => of_rule(rule, "A sign-in"),
            Verdict::Ask { rule, .. } => of_rule(rule, "An approval"),
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

    /// Enforced rules of an action that do not apply, and why not.
    fn kept_from(&self, action: Action) -> impl Iterator<Item = String> {
        let would = match action {
            Action::Allow => "allow",
            Action::Deny => "refuse",
        };
        let counts = move |rule: &&Considered| rule.action == action && rule.mode == Mode::Enforce;
        let counting = self.considered.iter().filter(counts);
        counting.filter_map(move |rule| {
            let fails = rule.fails.as_ref()?;
            Some(format!("Rule {} would {would} it, but {fails}.", rule.rule))
        })
    }
}
