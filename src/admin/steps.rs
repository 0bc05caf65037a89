//! Who may take which step with a draft, asked before the step is taken and, by pages, before it is offered: one rule for both.

use crate::admin::actor::Actor;
use crate::admin::drafts::{DraftsError, Shown};
use crate::admin::review::Right;
use crate::admin::revisions::{Revisions, RevisionsError};
use crate::identity::principal::{Principal, PrincipalKind};
use crate::policy::draft::{DraftState, NotNow};
use crate::policy::model::Revision;
use crate::policy::roles::Permission;
use crate::store::drafts::{Draft, DraftRecord};

/// Whether somebody may do something now, or why not.
pub type May = Result<(), DraftsError>;

/// All that can be done with a draft.
#[derive(Debug)]
pub struct Steps {
    /// Give it other words.
    pub edit: May,
    /// Leave it for review.
    pub submit: May,
    /// Say something.
    pub comment: May,
    /// Agree.
    pub approve: May,
    /// Say no.
    pub reject: May,
    /// Bring it onto the current revision.
    pub rebase: May,
    /// Make it the current revision.
    pub apply: May,
    /// Give it up.
    pub discard: May,
}

impl Revisions {
    /// What somebody may do with a draft as it stands. Another may be faster; each step asks again.
    pub async fn steps(&self, shown: &Shown, actor: &Actor) -> Steps {
        let draft = &shown.draft;
        Steps {
            edit: self
                .check_own_writing(actor)
                .map_err(DraftsError::from)
                .and_then(|()| to_edited(draft, actor).map(drop)),
            submit: to_submitted(draft, actor).map(drop),
            comment: actor
                .check(Permission::ReviewPolicy)
                .map_err(DraftsError::from),
            approve: self.may_approve(shown, actor).await,
            reject: to_rejected(draft, actor).map(drop),
            rebase: self.may_rebase(shown, actor),
            apply: self.may_apply(shown, actor).await,
            discard: to_discarded(draft, actor).map(drop),
        }
    }

    /// Whether somebody may write drafts.
    pub fn check_own_writing(&self, actor: &Actor) -> Result<(), RevisionsError> {
        actor.check(Permission::WritePolicy)?;
        self.check_not_followed()
    }

    /// Whether somebody may write revisions by their own right.
    pub fn check_own_revision(&self, actor: &Actor) -> Result<(), RevisionsError> {
        self.check_own_writing(actor)?;
        Ok(self.check_own_right()?)
    }

    async fn may_approve(&self, shown: &Shown, actor: &Actor) -> May {
        let principal = to_approved(&shown.draft, actor)?;
        self.check_parent(&shown.draft.record).await?;
        let who = principal.person_id();
        let mut given = shown.standing.iter();
        match given.any(|standing| standing.approval.principal.person_id() == who) {
            true => Err(DraftsError::Already),
            false => Ok(()),
        }
    }

    fn may_rebase(&self, shown: &Shown, actor: &Actor) -> May {
        to_rebased(&shown.draft, actor)?;
        match &shown.effect {
            Ok(effect) if !effect.is_behind(&shown.draft.record) => Err(DraftsError::NotBehind),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn may_apply(&self, shown: &Shown, actor: &Actor) -> May {
        let draft = &shown.draft;
        to_applied(draft, actor)?;
        self.check_not_followed()?;
        self.check_parent(&draft.record).await?;
        let policy = self.rules.check(&draft.text);
        let policy = policy.map_err(RevisionsError::Faults)?;
        if shown
            .effect
            .as_ref()
            .is_ok_and(|effect| effect.plan.is_empty())
        {
            return Err(DraftsError::ChangesNothing);
        }
        let parent = draft.record.parent;
        self.check_owners(&policy, actor, parent).await?;
        self.cleared(Right::Draft(draft), actor).await?;
        Ok(())
    }
}

/// Takes a step in thought.
fn step(
    draft: &Draft,
    step: impl FnOnce(DraftState) -> Result<DraftState, NotNow>,
) -> Result<DraftState, DraftsError> {
    step(draft.record.state.clone()).map_err(DraftsError::NotNow)
}

pub(super) fn to_edited(draft: &Draft, actor: &Actor) -> Result<DraftState, DraftsError> {
    actor.check(Permission::WritePolicy)?;
    check_author(&draft.record, actor)?;
    step(draft, DraftState::edited)
}

pub(super) fn to_rebased(draft: &Draft, actor: &Actor) -> Result<DraftState, DraftsError> {
    actor.check(Permission::WritePolicy)?;
    step(draft, DraftState::rebased)
}

pub(super) fn to_submitted(draft: &Draft, actor: &Actor) -> Result<DraftState, DraftsError> {
    actor.check(Permission::WritePolicy)?;
    check_author(&draft.record, actor)?;
    step(draft, DraftState::submitted)
}

/// Gives whoever approves.
pub(super) fn to_approved<'a>(
    draft: &Draft,
    actor: &'a Actor,
) -> Result<&'a Principal, DraftsError> {
    actor.check(Permission::ReviewPolicy)?;
    let principal = person(actor)?;
    check_other(&draft.record, actor)?;
    step(draft, DraftState::approved)?;
    Ok(principal)
}

pub(super) fn to_rejected(draft: &Draft, actor: &Actor) -> Result<DraftState, DraftsError> {
    actor.check(Permission::ReviewPolicy)?;
    check_other(&draft.record, actor)?;
    step(draft, DraftState::rejected)
}

pub(super) fn to_applied(draft: &Draft, actor: &Actor) -> Result<DraftState, DraftsError> {
    actor.check(Permission::WritePolicy)?;
    // The number is the store's to give.
    step(draft, |state| state.applied(Revision(0)))
}

pub(super) fn to_discarded(draft: &Draft, actor: &Actor) -> Result<DraftState, DraftsError> {
    actor.check(Permission::WritePolicy)?;
    step(draft, DraftState::discarded)
}

pub(super) fn person(actor: &Actor) -> Result<&Principal, DraftsError> {
    let principal = actor.principal().map(AsRef::as_ref);
    principal
        .filter(|principal| principal.kind == PrincipalKind::User)
        .ok_or(DraftsError::NotAPerson)
}

/// Operators are not told apart.
fn is_author(draft: &DraftRecord, actor: &Actor) -> bool {
    let who = actor.principal().map(|principal| principal.person_id());
    draft.person == who
}

fn check_author(draft: &DraftRecord, actor: &Actor) -> Result<(), DraftsError> {
    if is_author(draft, actor) {
        Ok(())
    } else {
        Err(DraftsError::NotAuthor(draft.author.clone()))
    }
}

/// Somebody else than the author; whoever has the operator token is nobody.
fn check_other(draft: &DraftRecord, actor: &Actor) -> Result<(), DraftsError> {
    if actor.principal().is_some() && is_author(draft, actor) {
        Err(DraftsError::OwnDraft)
    } else {
        Ok(())
    }
}
