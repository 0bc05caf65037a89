//! What came and went between two revisions, for the cost of that and not of the whole.

use crate::policy::model::Revision;
use crate::store::dialect::args;
use crate::store::policy::{PolicyObject, read};
use crate::store::{Store, StoreError, within};

/// What differs from one revision to a later one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Objects that only the earlier one has.
    pub gone: Vec<PolicyObject>,
    /// Objects that only the later one has. One that was changed, or moved, is in both.
    pub new: Vec<PolicyObject>,
}

impl Store {
    /// What differs from a revision to a later one, in no order.
    pub async fn policy_difference(
        &self,
        from: Revision,
        to: Revision,
    ) -> Result<Difference, StoreError> {
        let gone = self.database.fetch(
            "SELECT kind, name, position, body, text FROM policy_objects \
             WHERE valid_until > $1 AND valid_until <= $2 AND valid_from <= $1",
            args![from.0, to.0],
        );
        let new = self.database.fetch(
            "SELECT kind, name, position, body, text FROM policy_objects \
             WHERE valid_from > $1 AND valid_from <= $2 AND (valid_until IS NULL OR valid_until > $2)",
            args![from.0, to.0],
        );
        Ok(Difference {
            gone: read(within(gone).await?)?,
            new: read(within(new).await?)?,
        })
    }
}
