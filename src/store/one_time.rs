//! Short-lived state that is used once: sign-in attempts, provider exchanges, hand-back codes, seen token ids.

use crate::clock::Timestamp;
use crate::secret::TokenHash;
use crate::store::changes::KEPT;
use crate::store::dialect::args;
use crate::store::{Store, StoreError, within};

fn purpose(kind: &str, key: &str) -> String {
    format!("one-time/{kind}/{key}")
}

impl Store {
    /// Keeps a sealed value under (kind, key) until `expires_at`; false if there is one already (nothing is overwritten).
    /// One that has expired counts as there until it is swept: an id that was seen is not unseen early.
    pub async fn put_once(
        &self,
        kind: &'static str,
        key: TokenHash,
        value: &[u8],
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let key = key.to_hex();
        let sealed = self.seal(&purpose(kind, &key), value);
        within(async {
            let mut transaction = self.database.begin().await?;
            let kept = transaction
                .execute(
                    "INSERT INTO one_time (kind, key, value, expires_at) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (kind, key) DO NOTHING",
                    args![kind, key, sealed, expires_at],
                )
                .await?;
            transaction.commit().await?;
            Ok(kept == 1)
        })
        .await
    }

    /// Reads a value that has not expired, and leaves it.
    pub async fn peek_once(
        &self,
        kind: &'static str,
        key: TokenHash,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let key = key.to_hex();
        let rows: Vec<(String,)> = within(self.database.fetch(
            "SELECT value FROM one_time WHERE kind = $1 AND key = $2 AND expires_at > $3",
            args![kind, key.as_str(), self.clock.now()],
        ))
        .await?;
        self.opened(kind, &key, rows)
    }

    /// Takes a value that has not expired: of several takers exactly one gets it.
    pub async fn take_once(
        &self,
        kind: &'static str,
        key: TokenHash,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let key = key.to_hex();
        let rows: Vec<(String,)> = within(async {
            let mut transaction = self.database.begin().await?;
            let rows = transaction
                .fetch(
                    "DELETE FROM one_time WHERE kind = $1 AND key = $2 AND expires_at > $3 RETURNING value",
                    args![kind, key.as_str(), self.clock.now()],
                )
                .await?;
            transaction.commit().await?;
            Ok(rows)
        })
        .await?;
        self.opened(kind, &key, rows)
    }

    fn opened(
        &self,
        kind: &str,
        key: &str,
        rows: Vec<(String,)>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        rows.first()
            .map(|(sealed,)| {
                let plain = self.unseal(&purpose(kind, key), sealed)?;
                Ok(plain.to_vec())
            })
            .transpose()
    }

    /// Deletes what has expired: one-time values, machines that wait for approval, sessions past their absolute end, tombstones of sessions
    /// that ended a day ago, and changes that are a day old.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let old = now.minus(KEPT);
        within(async {
            let mut transaction = self.database.begin().await?;
            transaction
                .execute("DELETE FROM one_time WHERE expires_at <= $1", args![now])
                .await?;
            transaction
                .execute(
                    "DELETE FROM device_grants WHERE expires_at <= $1",
                    args![now],
                )
                .await?;
            transaction
                .execute("DELETE FROM changes WHERE at <= $1", args![old])
                .await?;
            let ended = transaction.sweep_sessions(now, old).await?;
            transaction.tell(&ended, now).await?;
            transaction.commit().await
        })
        .await
    }
}
