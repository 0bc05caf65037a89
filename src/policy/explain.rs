//! The same question as [`decide`](crate::policy::decide), answered slowly and in words: rule by rule, from the policy as written and without
//! any index. The page of a refusal shows it, and tests hold the fast answer against it.

use std::fmt::Display;
use std::sync::Arc;

use crate::identity::principal::{Groups, Principal};
use crate::policy::compile::{CompiledPolicy, lists_method};
use crate::policy::decide::{DenyReason, Facts, Verdict, accepts_provider, path_for_rules};
use crate::policy::matcher::TextMatch;
use crate::policy::model::{Action, Rule, Source, Target};

/// Why a request gets the verdict it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The same as [`CompiledPolicy::decide`] gives.
    pub verdict: Verdict,
    /// The rules that are for this route, in the order written.
    pub considered: Vec<Considered>,
}

/// One rule, and whether it applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// The rule's name.
    pub rule: Arc<str>,
    /// What it would do.
    pub action: Action,
    /// `None` when it applies; else, in plain words, the first condition that fails, of the alternative that comes nearest.
    pub fails: Option<String>,
}

/// How far an alternative came.
enum Outcome {
    Applies,
    /// Only a `not_…` condition is left, of which nothing is known for somebody who is not signed in.
    Unknown,
    Fails(String),
}

impl CompiledPolicy {
    /// Explains one request; the cost grows with the number of rules.
    pub fn explain(&self, facts: &Facts<'_>) -> Explanation {
        let path = path_for_rules(&facts.route.route, facts.path);
        let is_ours = facts.route.index < self.routes().len();
        let (Some(path), true) = (path, is_ours) else {
            return Explanation {
                verdict: Verdict::Deny(DenyReason::NoRule),
                considered: Vec::new(),
            };
        };
        let facts = Facts {
            path: &path,
            ..*facts
        };
        let rules = self
            .policy()
            .rules
            .iter()
            .filter(|rule| is_for_route(rule, &facts));
        let judged: Vec<(&Rule, Outcome)> = rules.map(|rule| (rule, judge(rule, &facts))).collect();
        Explanation {
            verdict: verdict(&facts, &judged),
            considered: judged
                .into_iter()
                .map(|(rule, outcome)| Considered {
                    rule: Arc::clone(&rule.name),
                    action: rule.action,
                    fails: match outcome {
                        Outcome::Applies => None,
                        Outcome::Unknown => Some(
                            "you are not signed in, so nobody knows whether you are excepted"
                                .to_owned(),
                        ),
                        Outcome::Fails(why) => Some(why),
                    },
                })
                .collect(),
        }
    }
}

fn verdict(facts: &Facts<'_>, judged: &[(&Rule, Outcome)]) -> Verdict {
    if facts
        .principal
        .is_some_and(|principal| !accepts_provider(&facts.route.route, principal))
    {
        return Verdict::Deny(DenyReason::Provider);
    }
    let applies = |wanted: Action| {
        let mut found = judged
            .iter()
            .filter(|(rule, outcome)| rule.action == wanted && matches!(outcome, Outcome::Applies));
        found.next().map(|(rule, _)| Arc::clone(&rule.name))
    };
    let is_unknown = judged
        .iter()
        .any(|(_, outcome)| matches!(outcome, Outcome::Unknown));
    match (
        applies(Action::Deny),
        applies(Action::Allow),
        facts.principal,
    ) {
        (Some(rule), _, _) => Verdict::Deny(DenyReason::Rule { rule }),
        (None, Some(rule), _) if !is_unknown => Verdict::Allow { rule },
        (None, _, None) => Verdict::SignIn,
        (None, _, Some(_)) => Verdict::Deny(DenyReason::NoRule),
    }
}

fn is_for_route(rule: &Rule, facts: &Facts<'_>) -> bool {
    let name = &facts.route.route.name;
    let is_for = |target: &Target| {
        target
            .routes
            .as_ref()
            .is_none_or(|routes| routes.contains(name))
            && !target
                .not_routes
                .as_ref()
                .is_some_and(|routes| routes.contains(name))
    };
    rule.to.as_ref().is_none_or(|to| to.iter().any(is_for))
}

/// The target is told of before the source: who somebody is matters only where the rule is about the request.
fn judge(rule: &Rule, facts: &Facts<'_>) -> Outcome {
    if let Some(to) = &rule.to {
        let failures: Option<Vec<String>> = to
            .iter()
            .map(|target| target_fails(target, facts))
            .collect();
        if let Some(failures) = failures {
            return Outcome::Fails(
                failures
                    .into_iter()
                    .next()
                    .unwrap_or_else(|| "it is for no request".to_owned()),
            );
        }
    }
    let mut nearest = None;
    let mut is_unknown = false;
    for source in &rule.from {
        match judge_source(source, facts.principal, rule.action) {
            Outcome::Applies => return Outcome::Applies,
            Outcome::Unknown => is_unknown = true,
            Outcome::Fails(why) => nearest = nearest.or(Some(why)),
        }
    }
    if is_unknown {
        return Outcome::Unknown;
    }
    Outcome::Fails(nearest.unwrap_or_else(|| "it is for nobody".to_owned()))
}

fn list<T: Display>(values: &[T]) -> String {
    if values.is_empty() {
        return "nothing at all".to_owned();
    }
    let texts: Vec<String> = values.iter().map(T::to_string).collect();
    texts.join(", ")
}

fn target_fails(target: &Target, facts: &Facts<'_>) -> Option<String> {
    let Facts {
        method,
        path,
        route,
        ..
    } = facts;
    let name = &route.route.name;
    if let Some(routes) = &target.routes
        && !routes.contains(name)
    {
        return Some(format!("it is for {}", list(routes)));
    }
    if let Some(routes) = &target.not_routes
        && routes.contains(name)
    {
        return Some(format!("it is not for {}", list(routes)));
    }
    if let Some(methods) = &target.methods
        && !lists_method(methods, method)
    {
        return Some(format!(
            "it is for the methods {}, and this is {method}",
            list(methods)
        ));
    }
    if let Some(methods) = &target.not_methods
        && lists_method(methods, method)
    {
        return Some(format!("it is not for the methods {}", list(methods)));
    }
    if let Some(paths) = &target.paths
        && !paths.iter().any(|wanted| wanted.matches(path))
    {
        return Some(format!("it is for the paths {}", list(paths)));
    }
    if let Some(paths) = &target.not_paths
        && paths.iter().any(|other| other.matches(path))
    {
        return Some(format!("it is not for the paths {}", list(paths)));
    }
    None
}

fn judge_source(source: &Source, principal: Option<&Principal>, action: Action) -> Outcome {
    if source.anyone {
        return Outcome::Applies;
    }
    let Some(principal) = principal else {
        let only_excludes = *source
            == Source {
                not_emails: source.not_emails.clone(),
                not_subjects: source.not_subjects.clone(),
                not_groups: source.not_groups.clone(),
                not_providers: source.not_providers.clone(),
                ..Source::default()
            };
        return match action {
            Action::Deny if only_excludes => Outcome::Unknown,
            Action::Deny | Action::Allow => Outcome::Fails("you are not signed in".to_owned()),
        };
    };
    let failure = label_fails(source, principal)
        .or_else(|| email_fails(source, principal, action))
        .or_else(|| groups_fail(source, &principal.groups, action));
    failure.map_or(Outcome::Applies, Outcome::Fails)
}

fn matches(conditions: &[TextMatch], text: &str) -> bool {
    conditions.iter().any(|condition| condition.matches(text))
}

fn label_fails(source: &Source, principal: &Principal) -> Option<String> {
    if let Some(providers) = &source.providers
        && !providers.contains(&principal.provider)
    {
        return Some(format!(
            "it is for people who signed in at {}",
            list(providers)
        ));
    }
    if let Some(providers) = &source.not_providers
        && providers.contains(&principal.provider)
    {
        return Some(format!(
            "it is not for people who signed in at {}",
            list(providers)
        ));
    }
    if let Some(kinds) = &source.kinds
        && !kinds.contains(&principal.kind)
    {
        return Some("it is for another kind of caller".to_owned());
    }
    if let Some(subjects) = &source.subjects
        && !matches(subjects, &principal.subject)
    {
        return Some("it is for other subjects".to_owned());
    }
    if let Some(subjects) = &source.not_subjects
        && matches(subjects, &principal.subject)
    {
        return Some("it is not for your subject".to_owned());
    }
    None
}

fn email_fails(source: &Source, principal: &Principal, action: Action) -> Option<String> {
    let asks = source.emails.is_some() || source.email_domains.is_some();
    let Some(email) = &principal.email else {
        let excludes = source.not_emails.is_some() && action == Action::Allow;
        let why = "it asks for an e-mail address, and your provider vouches for none";
        return (asks || excludes).then(|| why.to_owned());
    };
    if let Some(emails) = &source.emails
        && !matches(emails, email.as_str())
    {
        return Some("it is for other e-mail addresses".to_owned());
    }
    if let Some(domains) = &source.email_domains
        && !domains.iter().any(|domain| domain == email.domain())
    {
        return Some(format!("it is for e-mail addresses at {}", list(domains)));
    }
    if let Some(emails) = &source.not_emails
        && matches(emails, email.as_str())
    {
        return Some("it is not for your e-mail address".to_owned());
    }
    None
}

fn groups_fail(source: &Source, groups: &Groups, action: Action) -> Option<String> {
    let names = match groups {
        Groups::Known(names) => names,
        Groups::Missing => {
            let nobody = source.groups.as_ref().is_some_and(Vec::is_empty);
            let asks = source.groups.is_some();
            let excludes = source
                .not_groups
                .as_ref()
                .is_some_and(|groups| !groups.is_empty());
            let fails = nobody || ((asks || excludes) && action == Action::Allow);
            return fails.then(|| {
                "it asks for groups, and your provider did not say which you are in".to_owned()
            });
        }
    };
    if let Some(wanted) = &source.groups
        && !names.iter().any(|name| matches(wanted, name))
    {
        return Some(format!(
            "it is for the groups {}, and you are in none of them",
            list(wanted)
        ));
    }
    if let Some(other) = &source.not_groups
        && names.iter().any(|name| matches(other, name))
    {
        return Some(format!("it is not for the groups {}", list(other)));
    }
    None
}
