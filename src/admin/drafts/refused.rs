//! Why nothing was done with a draft.

use crate::admin::actor::NotPermitted;
use crate::admin::drafts::{LONGEST_COMMENT, MOST_COMMENTS, MOST_OPEN};
use crate::admin::revisions::RevisionsError;
use crate::policy::draft::{DraftId, NotNow};
use crate::policy::model::Revision;
use crate::store::StoreError;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum DraftsError {
    /// There is no such draft.
    #[error("there is no draft {}", .0.0)]
    Unknown(DraftId),
    /// It is not in a state for this.
    #[error("this cannot be done with the draft: {0}")]
    NotNow(NotNow),
    /// It is somebody else's.
    #[error("only {0}, who made it, changes or submits this draft")]
    NotAuthor(String),
    /// Nobody reviews what they wrote.
    #[error("somebody else has to review what you wrote")]
    OwnDraft,
    /// Programs and the operator token are nobody.
    #[error("only people approve: the operator token and programs are no person")]
    NotAPerson,
    /// They did already.
    #[error("you approved of this version already")]
    Already,
    /// It is not what was seen.
    #[error("the draft was changed meanwhile; this is version {0}")]
    Overtaken(i64),
    /// Another revision is current by now.
    #[error("the draft was made against {}, and {} is current", of(*.parent), of(*.current))]
    Moved {
        /// What it was made against.
        parent: Option<Revision>,
        /// What is current.
        current: Option<Revision>,
    },
    /// Both the draft and the policy changed these.
    #[error("the policy moved on, and both changed {}", .0.join(", "))]
    Conflicts(Vec<String>),
    /// There is nothing to bring it onto.
    #[error("the draft is made against the current revision already")]
    NotBehind,
    /// It says what is current.
    #[error("the draft changes nothing of the current revision")]
    ChangesNothing,
    /// Too many.
    #[error("you have {MOST_OPEN} drafts under way already; apply or discard some")]
    TooManyDrafts,
    /// Too many.
    #[error("the draft has {MOST_COMMENTS} comments already")]
    TooManyComments,
    /// It is empty, too long, or not text.
    #[error("a comment has 1 to {LONGEST_COMMENT} characters and no control characters")]
    Comment,
    /// As with revisions.
    #[error(transparent)]
    Revisions(#[from] RevisionsError),
}

impl From<StoreError> for DraftsError {
    fn from(error: StoreError) -> Self {
        Self::Revisions(error.into())
    }
}

impl From<NotPermitted> for DraftsError {
    fn from(refused: NotPermitted) -> Self {
        Self::Revisions(refused.into())
    }
}

fn of(revision: Option<Revision>) -> String {
    revision.map_or_else(
        || "no revision".to_owned(),
        |revision| format!("revision {}", revision.0),
    )
}
