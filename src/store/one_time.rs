//! Short-lived state that is used once: sign-in attempts, provider exchanges, hand-back codes, seen token ids.

use crate::clock::Timestamp;
use crate::secret::TokenHash;
use crate::store::changes::{Change, KEPT};
use crate::store::dialect::args;
use crate::store::{Store, StoreError, within};

fn purpose(kind: &str, key: &str) -> String {
    format!("one-time/{kind}/{key}")
}

/// A sealed value to be kept.
pub struct OneTime {
    kind: &'static str,
    key: String,
    sealed: String,
    expires_at: Timestamp,
}

impl OneTime {
    /// What it is.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }
}

impl Store {
    /// Seals a value that is to be kept under (kind, key) until `expires_at`.
    pub fn sealed_once(
        &self,
        kind: &'static str,
        key: TokenHash,
        value: &[u8],
        expires_at: Timestamp,
    ) -> OneTime {
        let key = key.to_hex();
        let sealed = self.seal(&purpose(kind, &key), value);
        OneTime {
            kind,
            key,
            sealed,
            expires_at,
        }
    }

    /// Keeps a sealed value under (kind, key) until `expires_at`; false if there is one already (nothing is overwritten).
    /// One that has expired counts as there until it is swept: an id that was seen is not unseen early.
    pub async fn put_once(
        &self,
        kind: &'static str,
        key: TokenHash,
        value: &[u8],
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let value = self.sealed_once(kind, key, value, expires_at);
        Ok(self.put_all_once(&[value]).await? == [true])
    }

    /// The same of several values, in one transaction.
    pub async fn put_all_once(&self, values: &[OneTime]) -> Result<Vec<bool>, StoreError> {
        within(async {
            let mut transaction = self.database.begin().await?;
            let mut all = Vec::with_capacity(values.len());
            for value in values {
                let kept = transaction
                    .execute(
                        "INSERT INTO one_time (kind, key, value, expires_at) VALUES ($1, $2, $3, $4) \
                         ON CONFLICT (kind, key) DO NOTHING",
                        args![
                            value.kind,
                            value.key.as_str(),
                            value.sealed.as_str(),
                            value.expires_at
                        ],
                    )
                    .await?;
                all.push(kept == 1);
            }
            transaction.commit().await?;
            Ok(all)
        })
        .await
    }

    /// Makes room for values of a kind: if there are more than `most`, those that expire first go, and `fewer` more of them than would do.
    pub async fn thin_once(
        &self,
        kind: &'static str,
        most: usize,
        fewer: usize,
    ) -> Result<(), StoreError> {
        within(async {
            let counted: Vec<(i64,)> = self
                .database
                .fetch("SELECT COUNT(*) FROM one_time WHERE kind = $1", args![kind])
                .await?;
            let count = counted.first().map_or(0, |(count,)| *count);
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            if count <= most {
                return Ok(());
            }
            let surplus = (count - most).saturating_add(i64::try_from(fewer).unwrap_or(i64::MAX));
            let mut transaction = self.database.begin().await?;
            transaction
                .execute(
                    "DELETE FROM one_time WHERE kind = $1 AND key IN \
                     (SELECT key FROM one_time WHERE kind = $2 ORDER BY expires_at, key LIMIT $3)",
                    args![kind, kind, surplus],
                )
                .await?;
            transaction.commit().await
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

    /// Deletes what has expired: one-time values, machines that wait for approval, programs that registered and are not made use of,
    /// sessions past their absolute end, tombstones of sessions that ended a day ago, and changes that are a day old. Tells of sessions, requests for access and grants whose time is up.
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
                .execute(
                    "DELETE FROM oauth_clients WHERE expires_at <= $1",
                    args![now],
                )
                .await?;
            transaction
                .execute(
                    // The newest stays, by which readers tell that they read on in the same feed.
                    "DELETE FROM changes WHERE at <= $1 AND seq < (SELECT seq FROM feed_head WHERE name = 'changes')",
                    args![old],
                )
                .await?;
            let mut ended = transaction.sweep_sessions(now, old).await?;
            let over = transaction.sweep_access(now).await?;
            let changes = (!over.is_empty()).then_some(Change::RequestsChanged);
            ended.extend(over);
            transaction.tell(&ended, now).await?;
            transaction.append(changes.as_slice(), now).await?;
            transaction.commit().await
        })
        .await
    }
}
