//! The authenticated caller.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::identity::email::Email;

/// What kind of caller a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A person who signed in at an identity provider.
    User,
    /// A program whose token a trusted issuer signed.
    Workload,
}

/// The groups a principal is in. That they are not known is never the same as being in none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Groups {
    /// What the provider said, possibly nothing.
    Known(BTreeSet<Arc<str>>),
    /// The provider said nothing where groups were expected, or only pointed elsewhere; no rule that asks for a group matches,
    /// and a deny rule that asks for one applies.
    Missing,
}

/// The authenticated caller. Its key is (issuer, subject).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// Whether a person or a program.
    pub kind: PrincipalKind,
    /// The configured name of the identity provider or trusted issuer.
    pub provider: Arc<str>,
    /// The issuer's URL, exactly as configured.
    pub issuer: Arc<str>,
    /// The `sub` of the issuer, exactly; it names the principal there for ever (OIDC Core §2).
    pub subject: Arc<str>,
    /// Present only when the provider vouches for it (`email_verified`, or the provider is set to be trusted in this).
    pub email: Option<Email>,
    /// A label for pages; never compared.
    pub display_name: Option<Arc<str>>,
    /// Compared exactly, case and all.
    pub groups: Groups,
}

impl Principal {
    /// What pages and logs call this principal: e-mail if vouched for, else the subject.
    pub fn label(&self) -> &str {
        self.email.as_ref().map_or(&self.subject, Email::as_str)
    }
}
