//! What became of one object from revision to revision.

use crate::policy::kind::Kind;
use crate::policy::model::Revision;
use crate::store::dialect::args;
use crate::store::{Store, StoreError, within};

/// How many rows of one object are read.
const LIMIT: i64 = 200;

/// An object as it was for some revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    /// JSON of it.
    pub body: String,
    /// What its author wrote.
    pub text: String,
    /// The first revision that had it so.
    pub from: Revision,
    /// The first one that did not; `None` while the current one does.
    pub until: Option<Revision>,
}

impl Store {
    /// All that an object was, newest first.
    pub async fn object_versions(
        &self,
        kind: Kind,
        name: &str,
    ) -> Result<Vec<ObjectVersion>, StoreError> {
        let rows: Vec<(String, String, i64, Option<i64>)> = within(self.database.fetch(
            "SELECT body, text, valid_from, valid_until FROM policy_objects \
             WHERE kind = $1 AND name = $2 ORDER BY valid_from DESC LIMIT $3",
            args![kind.as_str(), name, LIMIT],
        ))
        .await?;
        let read = |(body, text, from, until): (String, String, i64, Option<i64>)| ObjectVersion {
            body,
            text,
            from: Revision(from),
            until: until.map(Revision),
        };
        Ok(rows.into_iter().map(read).collect())
    }
}
