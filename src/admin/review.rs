//! Two people for a dangerous change: the one rule below everything that writes a revision (but the followed file, which cannot be together
//! with it).
//!
//! An approval is of one version of a draft, so of one text against one parent. It counts while whoever gave it may review, by the policy
//! that is to be replaced and by what their provider said of them last.

use std::collections::BTreeSet;

use crate::admin::actor::Actor;
use crate::admin::revisions::{Revisions, RevisionsError, Writing};
use crate::audit::event::actor as called;
use crate::identity::principal::{PersonId, Principal, PrincipalKind};
use crate::policy::compile::CompiledPolicy;
use crate::policy::model::Revision;
use crate::policy::roles::Permission;
use crate::snapshot::load_revision;
use crate::store::drafts::{Approval, Draft, DraftRecord};
use crate::store::policy::Ground;

/// By what right somebody wants to write a revision.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    /// They want to.
    Own(&'a Writing),
    /// They want to, and it cannot wait.
    Emergency(&'a Writing),
    /// They have the code that the server printed for the first owner, before whom nobody approves of anything.
    Claim(&'a Writing),
    /// It was drafted.
    Draft(&'a Draft),
}

impl<'a> Right<'a> {
    pub(super) fn of(writing: &'a Writing) -> Self {
        if writing.is_emergency {
            Self::Emergency(writing)
        } else {
            Self::Own(writing)
        }
    }

    pub(super) fn parent(self) -> Option<Revision> {
        match self {
            Self::Own(writing) | Self::Emergency(writing) | Self::Claim(writing) => writing.parent,
            Self::Draft(draft) => draft.record.parent,
        }
    }

    pub(super) fn message(self) -> &'a str {
        match self {
            Self::Own(writing) | Self::Emergency(writing) | Self::Claim(writing) => {
                &writing.message
            }
            Self::Draft(draft) => &draft.record.message,
        }
    }

    /// Whose words it is; whoever writes it is called `name`.
    pub(super) fn author<'b>(self, name: &'b str) -> &'b str
    where
        'a: 'b,
    {
        match self {
            Self::Own(_) | Self::Emergency(_) | Self::Claim(_) => name,
            Self::Draft(draft) => &draft.record.author,
        }
    }
}

/// More people have to approve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this needs the approval of {} who did not write it{}", people(*.needed), so_far(.have, .void))]
pub struct Needed {
    /// So many.
    pub needed: usize,
    /// So many have, and still may.
    pub have: usize,
    /// Those whose approval does not count any more.
    pub void: Vec<String>,
}

fn people(count: usize) -> String {
    match count {
        1 => "one person".to_owned(),
        many => format!("{many} people"),
    }
}

fn so_far(have: &usize, void: &[String]) -> String {
    let so_far = match have {
        0 => String::new(),
        have => format!("; {have} did"),
    };
    if void.is_empty() {
        return so_far;
    }
    format!(
        "{so_far}; that of {} does not count any more",
        void.join(", ")
    )
}

/// An approval, and whether it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who, when and why.
    pub approval: Approval,
    /// Whether who gave it may still review.
    pub counts: bool,
}

/// Proof that a revision may be written. Only [`Revisions::cleared`] makes one.
pub(super) struct Cleared<'a> {
    right: Right<'a>,
    approvals: Vec<Approval>,
}

impl<'a> Cleared<'a> {
    pub(super) fn ground(&self) -> Ground<'_> {
        match self.right {
            Right::Own(_) | Right::Claim(_) => Ground::Own,
            Right::Emergency(_) => Ground::Emergency,
            Right::Draft(draft) => Ground::Draft {
                draft,
                approvals: &self.approvals,
            },
        }
    }

    pub(super) fn log(&self, revision: Revision, by: &str, message: &str) {
        let revision = revision.0;
        match self.right {
            Right::Own(_) | Right::Claim(_) => {
                tracing::info!(
                    revision,
                    author = by,
                    why = message,
                    "a policy revision was written"
                );
            }
            Right::Emergency(_) => tracing::warn!(
                revision,
                author = by,
                why = message,
                "EMERGENCY: a policy revision was written without the approvals that are asked for"
            ),
            Right::Draft(draft) => tracing::info!(
                revision,
                author = draft.record.author,
                why = message,
                draft = draft.record.id.0,
                applied_by = by,
                "a draft became a policy revision"
            ),
        }
    }
}

impl Revisions {
    /// How many people have to approve of a draft. An operator is no person: any of those who approve could be the author as well, so one more is
    /// needed.
    pub fn approvals_needed(&self, draft: &DraftRecord) -> usize {
        match draft.person {
            Some(_) => self.approvals,
            None if self.approvals == 0 => 0,
            None => self.approvals.saturating_add(1),
        }
    }

    /// Refuses revisions that come of no draft, where others have to approve.
    pub(super) fn check_own_right(&self) -> Result<(), Needed> {
        match self.approvals {
            0 => Ok(()),
            wanted => Err(needed(wanted, &[])),
        }
    }

    /// Refuses a revision for which people have not approved.
    pub(super) async fn cleared<'a>(
        &self,
        right: Right<'a>,
        actor: &Actor,
    ) -> Result<Cleared<'a>, RevisionsError> {
        let draft = match right {
            Right::Emergency(_) if self.approvals == 0 => return Err(RevisionsError::NoEmergency),
            Right::Emergency(_) => match actor {
                Actor::Operator { .. } => return Ok(cleared(right, Vec::new())),
                Actor::Person { .. } => return Err(RevisionsError::NotAnOperator),
            },
            Right::Own(_) => {
                self.check_own_right()?;
                return Ok(cleared(right, Vec::new()));
            }
            Right::Claim(_) => return Ok(cleared(right, Vec::new())),
            Right::Draft(draft) => draft,
        };
        let standing = self.standing(&draft.record, draft.record.parent).await?;
        let wanted = self.approvals_needed(&draft.record);
        let refused = needed(wanted, &standing);
        if refused.have < wanted {
            return Err(refused.into());
        }
        let counting = standing.into_iter().filter(|standing| standing.counts);
        let approvals = counting.map(|standing| standing.approval).collect();
        Ok(cleared(right, approvals))
    }

    /// The approvals of a draft's version, and which of them count by a revision's roles.
    pub(super) async fn standing(
        &self,
        draft: &DraftRecord,
        revision: Option<Revision>,
    ) -> Result<Vec<Standing>, RevisionsError> {
        let approvals = self.store.draft_approvals(draft).await?;
        if approvals.is_empty() {
            return Ok(Vec::new());
        }
        let policy = load_revision(&self.store, revision, &self.rules.trust_domain).await?;
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        for approval in approvals {
            let person = approval.principal.person_id();
            let newest = self.store.newest_principal(&person).await?;
            let may = [Some(&approval.principal), newest.as_ref()]
                .into_iter()
                .flatten()
                .all(|principal| may_review(principal, draft.person.as_ref(), &policy));
            let counts = may && seen.insert(person);
            all.push(Standing { approval, counts });
        }
        Ok(all)
    }
}

fn cleared(right: Right<'_>, approvals: Vec<Approval>) -> Cleared<'_> {
    Cleared { right, approvals }
}

fn needed(needed: usize, standing: &[Standing]) -> Needed {
    let void = standing.iter().filter(|standing| !standing.counts);
    Needed {
        needed,
        have: standing.iter().filter(|standing| standing.counts).count(),
        void: void
            .map(|standing| called(&standing.approval.principal))
            .collect(),
    }
}

/// Whether somebody is a person, not the author, and has a role that reviews.
pub(super) fn may_review(
    principal: &Principal,
    author: Option<&PersonId>,
    policy: &CompiledPolicy,
) -> bool {
    let is_person = principal.kind == PrincipalKind::User;
    let is_author = author == Some(&principal.person_id());
    let mut roles = policy.roles_of(principal).into_iter();
    is_person && !is_author && roles.any(|role| role.permits(Permission::ReviewPolicy))
}
