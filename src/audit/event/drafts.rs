//! Events of drafts and revisions of policy.

use serde_json::{Value, json};

use crate::audit::event::{Event, POLICY_WRITTEN, person};
use crate::identity::principal::Principal;

/// Who does something to the policy.
#[derive(Clone, Copy, Debug)]
pub struct Doer<'a> {
    /// How the log calls them.
    pub name: &'a str,
    /// Who they are; `None` for whoever has the operator token.
    pub principal: Option<&'a Principal>,
}

/// What was done to a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftStep<'a> {
    /// It was made, or its words are others.
    Saved,
    /// It was brought onto another revision.
    Rebased,
    /// It was left for review.
    Submitted,
    /// Somebody agreed, with these words.
    Approved(&'a str),
    /// Somebody did not, with these words.
    Rejected(&'a str),
    /// It is given up.
    Discarded,
}

/// The version of a draft that an event is about.
#[derive(Clone, Copy, Debug)]
pub struct DraftVersion<'a> {
    /// The draft's number.
    pub draft: i64,
    /// The version's number.
    pub version: i64,
    /// The revision that it was made against.
    pub parent: Option<i64>,
    /// The SHA-256 of its text, in hexadecimal digits.
    pub text_sha256: &'a str,
}

/// A revision of the policy.
#[derive(Clone, Copy, Debug)]
pub struct PolicyWritten<'a> {
    /// Its number.
    pub revision: i64,
    /// What it was made from.
    pub parent: Option<i64>,
    /// The earlier one that it puts in force again.
    pub restores: Option<i64>,
    /// Why, in its author's words.
    pub message: &'a str,
    /// The SHA-256 of its rows, in hexadecimal digits.
    pub digest: &'a str,
}

impl Event {
    /// A revision was written.
    pub fn policy_written(doer: Doer<'_>, written: &PolicyWritten<'_>) -> Self {
        let details = json!({
            "revision": written.revision,
            "parent": written.parent,
            "restores": written.restores,
            "message": written.message,
            "digest": written.digest,
            "person": doer.principal.map(person),
        });
        Self::new(POLICY_WRITTEN, doer.name.to_owned(), details)
    }

    /// A step in the life of a draft.
    pub fn draft(step: DraftStep<'_>, doer: Doer<'_>, about: DraftVersion<'_>) -> Self {
        let (kind, message) = match step {
            DraftStep::Saved => ("draft_saved", None),
            DraftStep::Rebased => ("draft_rebased", None),
            DraftStep::Submitted => ("draft_submitted", None),
            DraftStep::Approved(message) => ("draft_approved", Some(message)),
            DraftStep::Rejected(message) => ("draft_rejected", Some(message)),
            DraftStep::Discarded => ("draft_discarded", None),
        };
        let mut details = version(doer, about);
        if let Some(message) = message {
            details["message"] = message.into();
        }
        Self::new(kind, doer.name.to_owned(), details)
    }

    /// Somebody said something of a draft; its words are with the draft.
    pub fn draft_commented(doer: Doer<'_>, about: DraftVersion<'_>, comment: i64) -> Self {
        let mut details = version(doer, about);
        details["comment"] = comment.into();
        Self::new("draft_commented", doer.name.to_owned(), details)
    }

    /// A draft became a revision, because these had approved of it.
    pub fn draft_applied(
        doer: Doer<'_>,
        about: DraftVersion<'_>,
        revision: i64,
        author: &str,
        approvers: &[Principal],
    ) -> Self {
        let mut details = version(doer, about);
        details["revision"] = revision.into();
        details["author"] = author.into();
        details["approvers"] = approvers.iter().map(person).collect();
        Self::new("draft_applied", doer.name.to_owned(), details)
    }

    /// An operator wrote a revision past the approvals that are asked for.
    pub fn policy_emergency(doer: Doer<'_>, message: &str, revision: i64) -> Self {
        let person = doer.principal.map(person);
        let details = json!({ "revision": revision, "message": message, "person": person });
        Self::new("policy_emergency", doer.name.to_owned(), details)
    }
}

fn version(doer: Doer<'_>, about: DraftVersion<'_>) -> Value {
    json!({
        "draft": about.draft,
        "version": about.version,
        "parent": about.parent,
        "text_sha256": about.text_sha256,
        "person": doer.principal.map(person),
    })
}
