//! Drafts: a proposed state of the policy that is left for review, and becomes a revision.
//!
//! Only its author changes a draft, so that its words are one person's; whoever reviews it says which version they saw. How many have to
//! approve is [`crate::admin::review`]'s rule.

use crate::admin::actor::{Actor, NotPermitted};
use crate::admin::rebase::rebase;
use crate::admin::review::{Right, Standing, may_review};
use crate::admin::revisions::{NewPolicy, Outcome, Plan, Revisions, RevisionsError, check_note};
use crate::admin::steps::{
    person, to_applied, to_approved, to_discarded, to_edited, to_rebased, to_rejected, to_submitted,
};
use crate::audit::event::drafts::DraftStep;
use crate::clock::Timestamp;
use crate::identity::unseen::is_unseen;
use crate::policy::diff::{Change, diff};
use crate::policy::draft::{DraftId, DraftState};
use crate::policy::model::Revision;
use crate::policy::roles::Permission;
use crate::policy::yaml::PolicyFault;
use crate::snapshot::objects::{from_objects, to_objects, to_text};
use crate::snapshot::{SnapshotError, load_revision};
use crate::store::drafts::{Approved, Comment, Content, Draft, DraftRecord};

mod refused;

pub use refused::DraftsError;

/// How many drafts of one person may be under way; all operators together count as one.
const MOST_OPEN: i64 = 20;
/// How many comments a draft has at most, and how long one is, in characters.
const MOST_COMMENTS: i64 = 500;
const LONGEST_COMMENT: usize = 4000;

/// What somebody wants a draft to say.
#[derive(Clone, Debug)]
pub struct Saving {
    /// One that there is, as it was seen, or a new one.
    pub draft: Option<Seen>,
    /// The document.
    pub text: String,
    /// Why: the message of the revision.
    pub message: String,
    /// The revision that it was made against; the draft's own, or the current one, if left out.
    pub parent: Option<Revision>,
}

/// A version of a draft: what somebody saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The draft.
    pub draft: DraftId,
    /// The version.
    pub version: i64,
}

/// All that is to be said of a draft.
#[derive(Clone, Debug)]
pub struct Shown {
    /// It.
    pub draft: Draft,
    /// What it would do, or all that is wrong with it by now.
    pub effect: Result<Effect, Vec<PolicyFault>>,
    /// Who approved of this version.
    pub standing: Vec<Standing>,
    /// How many have to.
    pub needed: usize,
    /// What was said.
    pub comments: Vec<Comment>,
}

/// What a draft would do.
#[derive(Clone, Debug)]
pub struct Effect {
    /// What it changes of the revision that it was made against.
    pub changes: Vec<Change>,
    /// What applying it would change of the current revision, and what is odd about it.
    pub plan: Plan,
    /// How many tests of its own it passes.
    pub tests: usize,
}

impl Effect {
    /// Whether the policy moved on since the draft was made.
    pub fn is_behind(&self, draft: &DraftRecord) -> bool {
        self.plan.parent != draft.parent
    }
}

impl Revisions {
    /// The newest drafts before one, or of all, newest first. Those that are over only if they are wanted.
    pub async fn drafts(
        &self,
        with_those_over: bool,
        before: Option<DraftId>,
        limit: u16,
    ) -> Result<Vec<DraftRecord>, DraftsError> {
        Ok(self.store.drafts(with_those_over, before, limit).await?)
    }

    /// A draft, what it would do, and what others said of it.
    pub async fn show_draft(&self, id: DraftId, now: Timestamp) -> Result<Shown, DraftsError> {
        let draft = self.draft(id).await?;
        let effect = match self.effect(&draft, now).await {
            Ok(effect) => Ok(effect),
            Err(RevisionsError::Faults(faults)) => Err(faults),
            Err(error) => return Err(error.into()),
        };
        let current = self.store.current_revision().await?;
        Ok(Shown {
            effect,
            standing: self.standing(&draft.record, current).await?,
            needed: self.approvals_needed(&draft.record),
            comments: self.store.draft_comments(id).await?,
            draft,
        })
    }

    /// Makes a draft, or gives one's own other words, which takes its approvals and has to be submitted once more.
    pub async fn save_draft(
        &self,
        saving: Saving,
        actor: &Actor,
    ) -> Result<DraftRecord, DraftsError> {
        self.check_own_writing(actor)?;
        let name = actor.name();
        check_note("the author", &name)?;
        check_note("the message", &saving.message)?;
        let checked = self.rules.check(&saving.text);
        checked.map_err(RevisionsError::Faults)?;
        let Some(seen) = saving.draft else {
            let content = Content {
                parent: self.wanted(saving.parent).await?,
                message: saving.message,
                text: saving.text,
            };
            let doer = actor.doer(&name);
            let opened = self.store.open_draft(&content, doer, MOST_OPEN).await?;
            let id = opened.ok_or(DraftsError::TooManyDrafts)?;
            return Ok(self.draft(id).await?.record);
        };
        let draft = self.draft(seen.draft).await?;
        let to = to_edited(&draft, actor)?;
        let draft = as_seen(draft, seen)?;
        let content = Content {
            parent: match saving.parent {
                Some(parent) => Some(self.record(parent).await?.revision),
                None => draft.record.parent,
            },
            message: saving.message,
            text: saving.text,
        };
        self.rewrite(&draft, &to, &content, DraftStep::Saved, actor)
            .await
    }

    /// Brings a draft onto the current revision, unless both changed the same objects. That is another version, so it takes its approvals.
    pub async fn rebase_draft(
        &self,
        id: DraftId,
        actor: &Actor,
    ) -> Result<DraftRecord, DraftsError> {
        actor.check(Permission::WritePolicy)?;
        let draft = self.draft(id).await?;
        let to = to_rebased(&draft, actor)?;
        let current = self.store.current_revision().await?;
        if current == draft.record.parent {
            return Ok(draft.record);
        }
        let text = self.rebased(&draft, current).await?;
        let content = Content {
            parent: current,
            message: draft.record.message.clone(),
            text,
        };
        self.rewrite(&draft, &to, &content, DraftStep::Rebased, actor)
            .await
    }

    /// Leaves one's draft for review.
    pub async fn submit_draft(
        &self,
        id: DraftId,
        actor: &Actor,
    ) -> Result<DraftRecord, DraftsError> {
        actor.check(Permission::WritePolicy)?;
        let draft = self.draft(id).await?;
        let to = to_submitted(&draft, actor)?;
        self.move_to(&draft, &to, DraftStep::Submitted, actor).await
    }

    /// Agrees to what was seen. Counts once for a person, and for nothing else.
    pub async fn approve_draft(
        &self,
        seen: Seen,
        message: &str,
        actor: &Actor,
    ) -> Result<DraftRecord, DraftsError> {
        actor.check(Permission::ReviewPolicy)?;
        check_note("the message", message)?;
        person(actor)?;
        let draft = self.seen(seen).await?;
        let principal = to_approved(&draft, actor)?;
        self.check_parent(&draft.record).await?;
        // What the caller may was found out by the revision in force here, which may be a moment behind.
        let (author, parent) = (draft.record.person.as_ref(), draft.record.parent);
        let policy = load_revision(&self.store, parent, &self.rules.trust_domain).await;
        let policy = policy.map_err(RevisionsError::from)?;
        if !may_review(principal, author, &policy) {
            return Err(NotPermitted(Permission::ReviewPolicy).into());
        }
        let name = actor.name();
        let doer = actor.doer(&name);
        let approved = self.store.approve_draft(&draft, principal, message, doer);
        match approved.await? {
            Approved::Kept => Ok(self.draft(seen.draft).await?.record),
            Approved::Already => Err(DraftsError::Already),
            Approved::Overtaken => Err(self.overtaken(seen.draft).await),
        }
    }

    /// Says no to what was seen, whatever others say.
    pub async fn reject_draft(
        &self,
        seen: Seen,
        message: &str,
        actor: &Actor,
    ) -> Result<DraftRecord, DraftsError> {
        actor.check(Permission::ReviewPolicy)?;
        check_note("the message", message)?;
        let draft = self.seen(seen).await?;
        let to = to_rejected(&draft, actor)?;
        self.move_to(&draft, &to, DraftStep::Rejected(message), actor)
            .await
    }

    /// Says something of a draft.
    pub async fn comment_draft(
        &self,
        id: DraftId,
        text: &str,
        actor: &Actor,
    ) -> Result<i64, DraftsError> {
        actor.check(Permission::ReviewPolicy)?;
        let is_long = text.chars().count() > LONGEST_COMMENT;
        let is_odd = text.chars().any(|c| is_unseen(c) && c != '\n');
        if text.trim().is_empty() || is_long || is_odd {
            return Err(DraftsError::Comment);
        }
        let name = actor.name();
        check_note("the author", &name)?;
        let draft = self.draft(id).await?;
        let doer = actor.doer(&name);
        let comment = self.store.comment_draft(&draft, text, doer, MOST_COMMENTS);
        comment.await?.ok_or(DraftsError::TooManyComments)
    }

    /// Gives up a draft, one's own or another's.
    pub async fn discard_draft(
        &self,
        id: DraftId,
        actor: &Actor,
    ) -> Result<DraftRecord, DraftsError> {
        actor.check(Permission::WritePolicy)?;
        let draft = self.draft(id).await?;
        let to = to_discarded(&draft, actor)?;
        self.move_to(&draft, &to, DraftStep::Discarded, actor).await
    }

    /// Makes what was seen the current revision, if enough people approved of it.
    pub async fn apply_draft(&self, seen: Seen, actor: &Actor) -> Result<Outcome, DraftsError> {
        actor.check(Permission::WritePolicy)?;
        let draft = self.seen(seen).await?;
        to_applied(&draft, actor)?;
        self.check_parent(&draft.record).await?;
        let read = self.rules.read(&draft.text);
        let (policy, document) = read.map_err(RevisionsError::Faults)?;
        let objects = to_objects(&policy, &document);
        let right = Right::Draft(&draft);
        let content = NewPolicy {
            policy: &policy,
            objects: &objects,
            restores: None,
        };
        match self.write(content, actor, right).await {
            Ok(outcome) if outcome.is_new => Ok(outcome),
            Ok(_) => Err(DraftsError::ChangesNothing),
            Err(RevisionsError::Conflict(current)) => Err(DraftsError::Moved {
                parent: draft.record.parent,
                current: current.map(|current| current.revision),
            }),
            Err(RevisionsError::Overtaken) => Err(self.overtaken(seen.draft).await),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn draft(&self, id: DraftId) -> Result<Draft, DraftsError> {
        let draft = self.store.draft(id).await?;
        draft.ok_or(DraftsError::Unknown(id))
    }

    pub(super) async fn seen(&self, seen: Seen) -> Result<Draft, DraftsError> {
        as_seen(self.draft(seen.draft).await?, seen)
    }

    /// Whoever came second is told what became of it.
    async fn overtaken(&self, id: DraftId) -> DraftsError {
        match self.draft(id).await {
            Ok(draft) => DraftsError::Overtaken(draft.record.version),
            Err(error) => error,
        }
    }

    pub(super) async fn check_parent(&self, draft: &DraftRecord) -> Result<(), DraftsError> {
        let current = self.store.current_revision().await?;
        let parent = draft.parent;
        if current == parent {
            Ok(())
        } else {
            Err(DraftsError::Moved { parent, current })
        }
    }

    async fn effect(&self, draft: &Draft, now: Timestamp) -> Result<Effect, RevisionsError> {
        let read = self.rules.read(&draft.text);
        let (policy, document) = read.map_err(RevisionsError::Faults)?;
        let plan = self.plan_of(&policy, &document, now).await?;
        let parent = self.held(draft.record.parent).await?.policy;
        Ok(Effect {
            changes: diff(&parent, &policy),
            plan,
            tests: policy.tests.len(),
        })
    }

    /// A draft's text onto another revision.
    async fn rebased(
        &self,
        draft: &Draft,
        current: Option<Revision>,
    ) -> Result<String, DraftsError> {
        let read = self.rules.read(&draft.text);
        let (policy, document) = read.map_err(RevisionsError::Faults)?;
        let mine = to_objects(&policy, &document);
        let parent = self.held(draft.record.parent).await?;
        let current = self.held(current).await?;
        let merged =
            rebase(&parent.objects, &mine, &current.objects).map_err(DraftsError::Conflicts)?;
        let policy = from_objects(&merged).map_err(|error| match error {
            SnapshotError::Faults(faults) => RevisionsError::Faults(faults),
            error => RevisionsError::Snapshot(error),
        })?;
        let text = to_text(&merged, &policy);
        let checked = self.rules.check(&text);
        checked.map_err(RevisionsError::Faults)?;
        Ok(text)
    }

    async fn rewrite(
        &self,
        draft: &Draft,
        to: &DraftState,
        content: &Content,
        step: DraftStep<'_>,
        actor: &Actor,
    ) -> Result<DraftRecord, DraftsError> {
        let name = actor.name();
        let doer = actor.doer(&name);
        let record = &draft.record;
        let written = self.store.rewrite_draft(record, to, content, step, doer);
        if written.await? {
            Ok(self.draft(record.id).await?.record)
        } else {
            Err(self.overtaken(record.id).await)
        }
    }

    async fn move_to(
        &self,
        draft: &Draft,
        to: &DraftState,
        step: DraftStep<'_>,
        actor: &Actor,
    ) -> Result<DraftRecord, DraftsError> {
        let name = actor.name();
        check_note("the author", &name)?;
        let moved = self.store.move_draft(draft, to, step, actor.doer(&name));
        let id = draft.record.id;
        if moved.await? {
            Ok(self.draft(id).await?.record)
        } else {
            Err(self.overtaken(id).await)
        }
    }
}

/// A draft that still is the version that somebody saw.
fn as_seen(draft: Draft, seen: Seen) -> Result<Draft, DraftsError> {
    if draft.record.version == seen.version {
        Ok(draft)
    } else {
        Err(DraftsError::Overtaken(draft.record.version))
    }
}
