//! A revision in 32 bytes: what the audit log holds its rows against.

use crate::audit::verify::InForce;
use crate::secret::sha256_of_all;
use crate::store::policy::PolicyObject;
use crate::store::{Store, StoreError};

/// Revisions are not written so often that more would be needed.
const LOOKS: usize = 3;

/// The SHA-256, in hexadecimal digits, of all objects in their order: kind, name, and what they say in both forms.
pub(super) fn digest_of(objects: &[PolicyObject]) -> String {
    let texts = objects.iter().flat_map(|object| {
        [
            object.kind.as_str(),
            &object.name,
            &object.body,
            &object.text,
        ]
    });
    hex::encode(sha256_of_all(texts))
}

impl Store {
    /// The newest revision, and the digest of its rows as they are; `None` while there is no revision, or another at every look.
    pub async fn policy_in_force(&self) -> Result<Option<InForce>, StoreError> {
        for _ in 0..LOOKS {
            let Some(revision) = self.current_revision().await? else {
                return Ok(None);
            };
            let objects = self.policy_objects(revision).await?;
            let (seq, _) = self.audit_head().await?;
            // Numbers only grow: it was the newest when the head was read.
            if self.current_revision().await? == Some(revision) {
                return Ok(Some(InForce {
                    revision: revision.0,
                    digest: digest_of(&objects),
                    seq,
                }));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::policy::RowKind;

    /// Events of older versions hold digests: rows that stay the same have to keep theirs.
    #[test]
    fn k10_what_a_digest_is_of_stays_what_it_was() {
        let kinds = "test part rule people mapping route route_group role_binding trusted_issuer service_account";
        let mut objects: Vec<PolicyObject> = kinds
            .split(' ')
            .zip(0..)
            .map(|(kind, position)| PolicyObject {
                kind: RowKind::parse(kind).unwrap(),
                name: format!("name {position}"),
                position,
                body: format!("body {position}"),
                text: format!("text {position}"),
            })
            .collect();
        objects.sort_by_key(|object| (object.kind, object.position));
        assert_eq!(
            digest_of(&objects),
            "fde58f979604e160fecda25f04f426aac73fee24aa6fd3aaf61ade876810bfbe"
        );
    }
}
