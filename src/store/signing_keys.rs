//! Keys that sign our assertions, shared by all replicas.

use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::store::dialect::{Turn, args};
use crate::store::{Store, StoreError, within};

/// A signing key, its private part opened.
pub struct SigningKeyRecord {
    /// RFC 7638 thumbprint of the public key.
    pub kid: String,
    /// PKCS#8 DER.
    pub private_key: Zeroizing<Vec<u8>>,
    /// The newest one signs.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct SigningKeyRow {
    kid: String,
    private_key: String,
    created_at: i64,
}

const NEWEST_FIRST: &str =
    "SELECT kid, private_key, created_at FROM signing_keys ORDER BY created_at DESC, kid";

/// Key id and sealed key of each.
pub(in crate::store) const SIGNING_KEYS: &str = "SELECT kid, private_key FROM signing_keys";

pub(in crate::store) fn purpose(kid: &str) -> String {
    format!("signing-key/{kid}")
}

impl Store {
    /// All keys, newest first.
    pub async fn signing_keys(&self) -> Result<Vec<SigningKeyRecord>, StoreError> {
        let rows = within(self.database.fetch(NEWEST_FIRST, args![])).await?;
        self.opened_keys(rows)
    }

    /// Keeps `key` if there is none yet; either way returns all keys.
    pub async fn ensure_signing_key(
        &self,
        key: SigningKeyRecord,
    ) -> Result<Vec<SigningKeyRecord>, StoreError> {
        let sealed = self.seal(&purpose(&key.kid), &key.private_key);
        let rows = within(async {
            let mut transaction = self.database.begin().await?;
            transaction.take_turn(Turn::SigningKeys).await?;
            let present: Vec<(i64,)> = transaction
                .fetch("SELECT COUNT(*) FROM signing_keys", args![])
                .await?;
            if present == [(0,)] {
                transaction
                    .execute(
                        "INSERT INTO signing_keys (kid, private_key, created_at) VALUES ($1, $2, $3)",
                        args![key.kid.as_str(), sealed, key.created_at],
                    )
                    .await?;
            }
            let rows = transaction.fetch(NEWEST_FIRST, args![]).await?;
            transaction.commit().await?;
            Ok(rows)
        })
        .await?;
        self.opened_keys(rows)
    }

    fn opened_keys(&self, rows: Vec<SigningKeyRow>) -> Result<Vec<SigningKeyRecord>, StoreError> {
        rows.into_iter()
            .map(|row| {
                Ok(SigningKeyRecord {
                    private_key: self.unseal(&purpose(&row.kid), &row.private_key)?,
                    kid: row.kid,
                    created_at: Timestamp::from_micros(row.created_at),
                })
            })
            .collect()
    }
}
