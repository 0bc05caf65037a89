//! Policy as revisions: what a document would change, making it the current one, looking back, and going back.
//!
//! A revision is written only onto the one that its author saw; whoever comes second is told of the first.

use std::path::PathBuf;

use crate::admin::actor::{Actor, NotPermitted};
use crate::admin::policy_rules::PolicyRules;
use crate::admin::review::{Needed, Right};
use crate::clock::Timestamp;
use crate::identity::unseen::is_unseen;
use crate::policy::diff::{Change, diff};
use crate::policy::document::Document;
use crate::policy::lint::{Finding, Seen, lint};
use crate::policy::model::{Policy, Revision};
use crate::policy::roles::{Permission, has_owner, owners_differ};
use crate::policy::yaml::PolicyFault;
use crate::snapshot::SnapshotError;
use crate::snapshot::objects::{from_objects, to_objects, to_text};
use crate::store::policy::{NewRevision, PolicyObject, RevisionRecord, Written};
use crate::store::{Store, StoreError};

/// Longest author and message, in characters.
const LONGEST_NOTE: usize = 500;

/// The revisions of a store.
#[derive(Clone)]
pub struct Revisions {
    /// Where they are.
    pub store: Store,
    /// What every one has to comply with.
    pub rules: PolicyRules,
    /// The file that is followed, if one is: then nothing is written but by changing it.
    pub follows: Option<PathBuf>,
    /// How many other people have to approve of a revision before it is written.
    pub approvals: usize,
}

/// What a document would change.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The revision that it was compared with; `None` when there is none.
    pub parent: Option<Revision>,
    /// What it would change of it.
    pub changes: Vec<Change>,
    /// Nothing but comments or layout differs.
    pub rewords: bool,
    /// What is hardly meant.
    pub findings: Vec<Finding>,
}

impl Plan {
    /// Whether applying it would write nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && !self.rewords && self.parent.is_some()
    }
}

/// Onto which revision another is written, and why.
#[derive(Clone, Debug)]
pub struct Writing {
    /// The revision that its author saw; `None` when there was none.
    pub parent: Option<Revision>,
    /// In their words.
    pub message: String,
    /// Past the approvals that are asked for, which only operators may do.
    pub is_emergency: bool,
}

/// What is current after writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The current revision.
    pub revision: Revision,
    /// It was written just now; otherwise it says what was to be written already.
    pub is_new: bool,
}

/// Why nothing was read or written.
#[derive(Debug, thiserror::Error)]
pub enum RevisionsError {
    /// The document is no policy; all that is wrong with it.
    #[error("the document has {}", counted(.0.len()))]
    Faults(Vec<PolicyFault>),
    /// There is no such revision.
    #[error("there is no revision {}", .0.0)]
    Unknown(Revision),
    /// Somebody else wrote first; this is the current revision.
    #[error("the policy was changed meanwhile")]
    Conflict(Option<Box<RevisionRecord>>),
    /// The policy is that of a file.
    #[error("this edge follows {}", .0.display())]
    Follows(PathBuf),
    /// Who asks may not do this.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    /// Other people have to approve first.
    #[error(transparent)]
    NeedsApprovals(#[from] Needed),
    /// Emergencies are for operators.
    #[error("only whoever has the operator token may go past the approvals")]
    NotAnOperator,
    /// There is nothing to go past.
    #[error("this edge asks for no approvals, so there is no emergency to declare")]
    NoEmergency,
    /// The draft was changed, or is over.
    #[error("the draft was changed meanwhile")]
    Overtaken,
    /// Nobody would be owner any more.
    #[error("nobody would be owner any more; only whoever has the operator token can do that")]
    LastOwner,
    /// Author or message are empty, too long, or not of one line.
    #[error("{0} must be one line of 1 to {LONGEST_NOTE} characters")]
    Note(&'static str),
    /// What the store holds cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A revision's policy and its rows.
pub(super) struct Held {
    pub(super) policy: Policy,
    pub(super) objects: Vec<PolicyObject>,
}

/// What a revision is to be.
pub(super) struct NewPolicy<'a> {
    pub(super) policy: &'a Policy,
    /// The same as rows.
    pub(super) objects: &'a [PolicyObject],
    /// The earlier revision that it is, where that is put in force again.
    pub(super) restores: Option<Revision>,
}

impl Revisions {
    /// The newest revisions before one, or of all, newest first.
    pub async fn history(
        &self,
        before: Option<Revision>,
        limit: u16,
    ) -> Result<Vec<RevisionRecord>, RevisionsError> {
        Ok(self.store.revisions(before, limit).await?)
    }

    /// A revision's own data, and what it changed of its parent.
    pub async fn show(
        &self,
        revision: Revision,
    ) -> Result<(RevisionRecord, Vec<Change>), RevisionsError> {
        let record = self.record(revision).await?;
        let changes = self.between(record.parent, revision).await?;
        Ok((record, changes))
    }

    /// What differs from one revision to another.
    pub async fn diff(&self, from: Revision, to: Revision) -> Result<Vec<Change>, RevisionsError> {
        self.record(from).await?;
        self.record(to).await?;
        self.between(Some(from), to).await
    }

    /// A revision as a document, as its author wrote it; the current one if none is named. Without any it is that of an empty policy.
    pub async fn export(
        &self,
        revision: Option<Revision>,
    ) -> Result<(Option<Revision>, String), RevisionsError> {
        let wanted = self.wanted(revision).await?;
        let held = self.held(wanted).await?;
        Ok((wanted, to_text(&held.objects, &held.policy)))
    }

    /// What a document would change of the current revision, and what is odd about it.
    pub async fn plan(&self, text: &str, now: Timestamp) -> Result<Plan, RevisionsError> {
        let (policy, document) = self.rules.read(text).map_err(RevisionsError::Faults)?;
        self.plan_of(&policy, &document, now).await
    }

    /// What a document that was read already would change.
    pub(super) async fn plan_of(
        &self,
        policy: &Policy,
        document: &Document,
        now: Timestamp,
    ) -> Result<Plan, RevisionsError> {
        let parent = self.store.current_revision().await?;
        let held = self.held(parent).await?;
        let seen = Seen {
            groups: self.store.groups_seen().await?,
        };
        let changes = diff(&held.policy, policy);
        let mut findings = lint(policy, now.to_jiff(), &seen);
        if has_owner(&held.policy) && !has_owner(policy) {
            findings.push(Finding {
                object: "role_bindings".to_owned(),
                message: "nobody would be owner any more; an operator alone could apply it"
                    .to_owned(),
            });
        }
        // What cannot be cut is kept as it is written anew, and compared so.
        let rewords = || document.text() != to_text(&held.objects, &held.policy);
        Ok(Plan {
            parent,
            findings,
            rewords: changes.is_empty() && rewords(),
            changes,
        })
    }

    /// Makes a document the current revision.
    pub async fn apply(
        &self,
        text: &str,
        actor: &Actor,
        writing: &Writing,
    ) -> Result<Outcome, RevisionsError> {
        actor.check(Permission::WritePolicy)?;
        self.write_text(text, actor, Right::of(writing)).await
    }

    /// Makes an earlier revision the current one again, as a new revision. It has to comply with what is configured now.
    pub async fn rollback(
        &self,
        to: Revision,
        actor: &Actor,
        writing: &Writing,
    ) -> Result<Outcome, RevisionsError> {
        actor.check(Permission::WritePolicy)?;
        self.record(to).await?;
        let held = self.held(Some(to)).await?;
        let text = to_text(&held.objects, &held.policy);
        self.rules.check(&text).map_err(RevisionsError::Faults)?;
        let content = NewPolicy {
            policy: &held.policy,
            objects: &held.objects,
            restores: Some(to),
        };
        self.write(content, actor, Right::of(writing)).await
    }

    /// Owners alone say who is owner, and they leave at least one (what they change is what the parent says, or else there is a conflict).
    pub(super) async fn check_owners(
        &self,
        policy: &Policy,
        actor: &Actor,
        parent: Option<Revision>,
    ) -> Result<(), RevisionsError> {
        let before = match parent {
            Some(parent) => from_objects(&self.store.owners_of(parent).await?)?,
            None => Policy::default(),
        };
        if !owners_differ(&before, policy) {
            return Ok(());
        }
        if let Err(refused) = actor.check(Permission::AppointOwners) {
            actor.told_off(refused, "write", "role_bindings");
            return Err(refused.into());
        }
        let is_person = actor.principal().is_some();
        if is_person && !has_owner(policy) {
            return Err(RevisionsError::LastOwner);
        }
        Ok(())
    }

    /// Nobody writes beside a file that is followed.
    pub(super) fn check_not_followed(&self) -> Result<(), RevisionsError> {
        match &self.follows {
            Some(file) => Err(RevisionsError::Follows(file.clone())),
            None => Ok(()),
        }
    }

    /// Makes a document the current revision, by whatever right somebody has.
    pub(super) async fn write_text(
        &self,
        text: &str,
        actor: &Actor,
        right: Right<'_>,
    ) -> Result<Outcome, RevisionsError> {
        let (policy, document) = self.rules.read(text).map_err(RevisionsError::Faults)?;
        let objects = to_objects(&policy, &document);
        let content = NewPolicy {
            policy: &policy,
            objects: &objects,
            restores: None,
        };
        self.write(content, actor, right).await
    }

    /// The only way to a revision but the followed file's.
    pub(super) async fn write(
        &self,
        content: NewPolicy<'_>,
        actor: &Actor,
        right: Right<'_>,
    ) -> Result<Outcome, RevisionsError> {
        self.check_not_followed()?;
        let name = actor.name();
        check_note("the author", &name)?;
        check_note("the message", right.message())?;
        let parent = right.parent();
        // Who is owner is judged by the parent, so that has to be what is current, now and when it is written.
        let current = self.store.current_revision().await?;
        if current != parent {
            return Err(self.conflict(current).await?);
        }
        self.check_owners(content.policy, actor, parent).await?;
        let cleared = self.cleared(right, actor).await?;
        let new = NewRevision {
            parent,
            author: right.author(&name),
            message: right.message(),
            objects: content.objects,
            restores: content.restores,
            doer: actor.doer(&name),
            ground: cleared.ground(),
        };
        match self.store.write(&new).await? {
            Written::Revision(revision) => {
                cleared.log(revision, &name, right.message());
                Ok(Outcome {
                    revision,
                    is_new: true,
                })
            }
            Written::Unchanged(revision) => Ok(Outcome {
                revision,
                is_new: false,
            }),
            Written::Conflict(current) => Err(self.conflict(current).await?),
            Written::Overtaken => Err(RevisionsError::Overtaken),
        }
    }

    async fn conflict(&self, current: Option<Revision>) -> Result<RevisionsError, StoreError> {
        let current = match current {
            Some(current) => self.store.revision(current).await?,
            None => None,
        };
        Ok(RevisionsError::Conflict(current.map(Box::new)))
    }

    pub(super) async fn record(
        &self,
        revision: Revision,
    ) -> Result<RevisionRecord, RevisionsError> {
        let record = self.store.revision(revision).await?;
        record.ok_or(RevisionsError::Unknown(revision))
    }

    async fn between(
        &self,
        from: Option<Revision>,
        to: Revision,
    ) -> Result<Vec<Change>, RevisionsError> {
        let (before, after) = (self.held(from).await?, self.held(Some(to)).await?);
        Ok(diff(&before.policy, &after.policy))
    }

    /// The revision that is asked for, or the current one.
    pub(super) async fn wanted(
        &self,
        revision: Option<Revision>,
    ) -> Result<Option<Revision>, RevisionsError> {
        match revision {
            Some(revision) => Ok(Some(self.record(revision).await?.revision)),
            None => Ok(self.store.current_revision().await?),
        }
    }

    pub(super) async fn held(&self, revision: Option<Revision>) -> Result<Held, RevisionsError> {
        let objects = match revision {
            Some(revision) => self.store.policy_objects(revision).await?,
            None => Vec::new(),
        };
        let policy = from_objects(&objects)?;
        Ok(Held { policy, objects })
    }
}

fn counted(faults: usize) -> String {
    match faults {
        1 => "a fault".to_owned(),
        many => format!("{many} faults"),
    }
}

/// They are shown in lists, logs and terminals.
pub(super) fn check_note(what: &'static str, text: &str) -> Result<(), RevisionsError> {
    let is_long = text.chars().count() > LONGEST_NOTE;
    if text.trim().is_empty() || is_long || text.chars().any(is_unseen) {
        return Err(RevisionsError::Note(what));
    }
    Ok(())
}
