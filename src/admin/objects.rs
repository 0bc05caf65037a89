//! One object of the policy: who wrote it last, what is odd about it, how often it is used, and whom it concerns.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::admin::revisions::{Revisions, RevisionsError};
use crate::clock::Timestamp;
use crate::identity::principal::{Groups, Principal};
use crate::policy::compile::CompiledPolicy;
use crate::policy::edit::shown;
use crate::policy::kind::Kind;
use crate::policy::lint::{Finding, Seen, lint_object};
use crate::policy::model::Policy;
use crate::store::policy::{ObjectVersion, RevisionRecord};
use crate::store::usage::RuleUse;

/// How long ago a use still counts, and what replays look at.
pub const WINDOW: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// How many changes of an object are told.
const CHANGES_TOLD: usize = 10;

/// What a revision did to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// It made it.
    Made,
    /// It changed it, or its text.
    Changed,
    /// It took it out.
    Removed,
}

/// An object's past.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// What its author wrote, out of its list; `None` if it is not in the current revision, or nobody knows.
    pub text: Option<String>,
    /// The last changes, newest first.
    pub changes: Vec<(Touch, RevisionRecord)>,
}

/// Somebody who was seen, and the rule that lets them in somewhere.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Who.
    pub principal: Principal,
    /// The rule.
    pub rule: String,
    /// They have to sign in again first.
    pub steps_up: bool,
}

/// What can be completed while somebody writes policy.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Groups of those who were seen.
    pub groups: Vec<String>,
    /// E-mail addresses of those who were seen.
    pub emails: Vec<String>,
    /// Providers and trusted issuers that are configured.
    pub providers: Vec<String>,
}

impl Revisions {
    /// What became of an object.
    pub async fn past(&self, kind: Kind, name: &str) -> Result<Past, RevisionsError> {
        let versions = self.store.object_versions(kind, name).await?;
        let current = versions.first().filter(|version| version.until.is_none());
        let text = current.map(|version| version.text.as_str());
        let text = text.filter(|text| !text.is_empty()).map(shown);
        let mut changes = Vec::new();
        for (touch, revision) in touches(&versions).into_iter().take(CHANGES_TOLD) {
            changes.push((touch, self.record(revision).await?));
        }
        Ok(Past { text, changes })
    }

    /// What is odd about an object.
    pub async fn oddities(
        &self,
        policy: &Policy,
        kind: Kind,
        name: &str,
        now: Timestamp,
    ) -> Result<Vec<Finding>, RevisionsError> {
        let groups = self.store.groups_seen().await?;
        let (now, seen) = (now.to_jiff(), Seen { groups });
        Ok(lint_object(policy, now, &seen, kind, name))
    }

    /// How often a rule decided lately.
    pub async fn rule_use(&self, rule: &str, now: Timestamp) -> Result<RuleUse, RevisionsError> {
        Ok(self.store.rule_use(rule, now.minus(WINDOW)).await?)
    }

    /// Who of those that were seen may open the beginning of a route now; from where they would come is not known, and grants are not counted.
    pub async fn reach(
        &self,
        policy: &CompiledPolicy,
        route: &str,
        now: Timestamp,
    ) -> Result<Vec<Reach>, RevisionsError> {
        let reach = |principal: Principal| {
            let here = policy.reach_of_route(route, &principal, now.to_jiff())?;
            let (rule, steps_up) = here.opened_by()?;
            Some(Reach {
                rule: rule.to_owned(),
                steps_up,
                principal: principal.clone(),
            })
        };
        let seen = self.store.people_seen().await?;
        Ok(seen.into_iter().filter_map(reach).collect())
    }

    /// Names that somebody who writes policy may want.
    pub async fn names(&self) -> Result<Names, RevisionsError> {
        let (mut groups, mut emails) = (BTreeSet::new(), BTreeSet::new());
        for principal in self.store.people_seen().await? {
            if let Groups::Known(names) = &principal.groups {
                groups.extend(names.iter().map(ToString::to_string));
            }
            emails.extend(principal.email.map(|email| email.as_str().to_owned()));
        }
        Ok(Names {
            groups: groups.into_iter().collect(),
            emails: emails.into_iter().collect(),
            providers: self.rules.known.providers.keys().cloned().collect(),
        })
    }
}

/// What happened to an object when, newest first. That it only stands elsewhere in its list is not told.
fn touches(versions: &[ObjectVersion]) -> Vec<(Touch, crate::policy::model::Revision)> {
    let mut touches = Vec::new();
    let mut before: Option<&ObjectVersion> = None;
    for version in versions.iter().rev() {
        let last = before.replace(version);
        match last {
            Some(last) if last.until == Some(version.from) => {
                let is_same =
                    last.body == version.body && last.text.trim_end() == version.text.trim_end();
                if !is_same {
                    touches.push((Touch::Changed, version.from));
                }
            }
            Some(last) => {
                touches.extend(last.until.map(|until| (Touch::Removed, until)));
                touches.push((Touch::Made, version.from));
            }
            None => touches.push((Touch::Made, version.from)),
        }
    }
    touches.extend(before.and_then(|last| Some((Touch::Removed, last.until?))));
    touches.reverse();
    touches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::model::Revision;

    fn version(text: &str, from: i64, until: Option<i64>) -> ObjectVersion {
        ObjectVersion {
            body: "{}".to_owned(),
            text: text.to_owned(),
            from: Revision(from),
            until: until.map(Revision),
        }
    }

    #[test]
    fn the_past_of_an_object_is_what_changed_it() {
        let versions = [
            version("b", 9, Some(12)),
            version("b\n", 5, Some(7)),
            version("b", 3, Some(5)),
            version("a", 1, Some(3)),
        ];
        let told: Vec<(Touch, i64)> = touches(&versions)
            .into_iter()
            .map(|(touch, revision)| (touch, revision.0))
            .collect();
        assert_eq!(
            told,
            [
                (Touch::Removed, 12),
                (Touch::Made, 9),
                (Touch::Removed, 7),
                (Touch::Changed, 3),
                (Touch::Made, 1)
            ]
        );
        assert_eq!(touches(&[]), []);
    }
}
