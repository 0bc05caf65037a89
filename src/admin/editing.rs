//! Editing one object of a revision or of a draft, and leaving everything else of the document as its authors wrote it.

use crate::admin::actor::Actor;
use crate::admin::drafts::{DraftsError, Saving, Seen};
use crate::admin::revisions::{Revisions, RevisionsError};
use crate::policy::model::{Policy, Revision};
use crate::policy::yaml;
use crate::store::drafts::DraftRecord;

/// What an edit starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A revision; `None` where there has never been any.
    Revision(Option<Revision>),
    /// A version of a draft.
    Draft(Seen),
}

/// Where an edit starts.
#[derive(Clone, Debug)]
pub struct Started {
    /// The revision that the result is made against.
    pub parent: Option<Revision>,
    /// The draft that is gone on with.
    pub draft: Option<DraftRecord>,
    /// The document.
    pub text: String,
    /// What it says.
    pub policy: Policy,
}

impl Revisions {
    /// What an edit of the current revision starts from.
    pub async fn current_base(&self) -> Result<Base, RevisionsError> {
        Ok(Base::Revision(self.store.current_revision().await?))
    }

    /// Opens what is to be edited. A draft must still be the version that was seen.
    pub async fn start(&self, base: Base) -> Result<Started, DraftsError> {
        let (parent, draft, text) = match base {
            Base::Revision(None) => (None, None, "{}\n".to_owned()),
            Base::Revision(Some(revision)) => {
                let (parent, text) = self.export(Some(revision)).await?;
                (parent, None, text)
            }
            Base::Draft(seen) => {
                let draft = self.seen(seen).await?;
                (draft.record.parent, Some(draft.record), draft.text)
            }
        };
        let policy = yaml::parse(&text).map_err(RevisionsError::Faults)?;
        Ok(Started {
            parent,
            draft,
            text,
            policy,
        })
    }

    /// Saves what became of an edit as a draft: the one that was edited, or a new one.
    pub async fn save_edit(
        &self,
        started: &Started,
        text: String,
        message: &str,
        actor: &Actor,
    ) -> Result<DraftRecord, DraftsError> {
        let saving = Saving {
            draft: started.draft.as_ref().map(|draft| Seen {
                draft: draft.id,
                version: draft.version,
            }),
            text,
            message: message.to_owned(),
            parent: started.parent,
        };
        self.save_draft(saving, actor).await
    }
}
