//! Keys that sign our assertions, shared by all replicas: private halves sealed, for as long as they sign; public halves and times for ever.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use crate::audit::event::Event;
use crate::clock::Timestamp;
use crate::store::changes::Change;
use crate::store::dialect::{Transaction, Turn, args};
use crate::store::{Store, StoreError, within};

/// A signing key, its private part opened.
pub struct SigningKeyRecord {
    /// RFC 7638 thumbprint of the public key.
    pub kid: String,
    /// PKCS#8 DER; `None` when it signs no more.
    pub private_key: Option<Zeroizing<Vec<u8>>>,
    /// The public half, as an uncompressed point; `None` for one that a release without rotation made.
    pub public_key: Option<Vec<u8>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From then on it signs, until another one does.
    pub signs_from: Timestamp,
    /// From then on it neither signs nor verifies.
    pub revoked_at: Option<Timestamp>,
}

/// A key that was made just now.
pub struct NewSigningKey {
    /// RFC 7638 thumbprint of the public key.
    pub kid: String,
    /// PKCS#8 DER.
    pub private_key: Zeroizing<Vec<u8>>,
    /// The public half, as an uncompressed point.
    pub public_key: [u8; 65],
    /// When it was made.
    pub created_at: Timestamp,
    /// From then on it signs.
    pub signs_from: Timestamp,
}

#[derive(sqlx::FromRow)]
struct SigningKeyRow {
    kid: String,
    private_key: Option<String>,
    public_key: Option<String>,
    created_at: i64,
    signs_from: i64,
    revoked_at: Option<i64>,
}

/// Those with a life, and those that a release without rotation made, which sign from when they were made.
const ALL: &str = "SELECT lives.kid, keys.private_key, lives.public_key, lives.created_at, lives.signs_from, lives.revoked_at \
    FROM signing_key_lives lives LEFT JOIN signing_keys keys ON keys.kid = lives.kid \
    UNION ALL \
    SELECT kid, private_key, NULL, created_at, created_at, NULL FROM signing_keys \
    WHERE kid NOT IN (SELECT kid FROM signing_key_lives) \
    ORDER BY 5, 1";

/// Key id and sealed key of each.
pub(in crate::store) const SIGNING_KEYS: &str = "SELECT kid, private_key FROM signing_keys";

pub(in crate::store) fn purpose(kid: &str) -> String {
    format!("signing-key/{kid}")
}

impl Store {
    /// All keys that there ever were, in the order in which they sign.
    pub async fn signing_keys(&self) -> Result<Vec<SigningKeyRecord>, StoreError> {
        let rows = within(self.database.fetch(ALL, args![])).await?;
        self.opened_keys(rows)
    }

    /// Keeps `key` if there is none yet; either way returns all keys.
    pub async fn ensure_signing_key(
        &self,
        key: &NewSigningKey,
    ) -> Result<Vec<SigningKeyRecord>, StoreError> {
        let rows = within(async {
            let mut transaction = self.database.begin().await?;
            transaction.take_turn(Turn::SigningKeys).await?;
            let present: Vec<SigningKeyRow> = transaction.fetch(ALL, args![]).await?;
            if present.is_empty() {
                self.insert_key(&mut transaction, key).await?;
            }
            let rows = transaction.fetch(ALL, args![]).await?;
            transaction.commit().await?;
            Ok(rows)
        })
        .await?;
        self.opened_keys(rows)
    }

    /// Keeps the public half of a key that a release without rotation made.
    pub async fn keep_public_half(&self, kid: &str, point: &[u8; 65]) -> Result<(), StoreError> {
        within(async {
            let mut transaction = self.database.begin().await?;
            transaction
                .execute(
                    "INSERT INTO signing_key_lives (kid, public_key, created_at, signs_from) \
                     SELECT kid, $2, created_at, created_at FROM signing_keys WHERE kid = $1 ON CONFLICT (kid) DO NOTHING",
                    args![kid, STANDARD_NO_PAD.encode(point)],
                )
                .await?;
            transaction.commit().await
        })
        .await
    }

    /// Adds a key that signs after `newest`; `false` when that is not the newest one any more: somebody else was first.
    pub async fn add_signing_key(
        &self,
        newest: &str,
        key: &NewSigningKey,
        event: &Event,
    ) -> Result<bool, StoreError> {
        within(async {
            let mut transaction = self.database.begin().await?;
            transaction.take_turn(Turn::SigningKeys).await?;
            if transaction.newest_key().await?.as_deref() != Some(newest) {
                return Ok(false);
            }
            self.insert_key(&mut transaction, key).await?;
            transaction
                .commit_with(
                    std::slice::from_ref(event),
                    &[Change::SigningKeys],
                    key.created_at,
                )
                .await?;
            Ok(true)
        })
        .await
    }

    /// Takes a key out of use at once: its private half is gone when this returns. Where no other key signs by then, the one that was to sign next
    /// does, or else `successor`, which has an event of its own. `false` when it was revoked before, or is unknown.
    pub async fn revoke_signing_key(
        &self,
        kid: &str,
        successor: &NewSigningKey,
        [revoked_event, made_event]: [Event; 2],
    ) -> Result<bool, StoreError> {
        let now = successor.created_at;
        within(async {
            let mut transaction = self.database.begin().await?;
            transaction.take_turn(Turn::SigningKeys).await?;
            let revoked = transaction
                .execute(
                    "UPDATE signing_key_lives SET revoked_at = $1 WHERE kid = $2 AND revoked_at IS NULL",
                    args![now, kid],
                )
                .await?;
            if revoked == 0 {
                return Ok(false);
            }
            transaction
                .execute("DELETE FROM signing_keys WHERE kid = $1", args![kid])
                .await?;
            let mut events = vec![revoked_event];
            if self.succeed(&mut transaction, successor).await? {
                events.push(made_event);
            }
            transaction.commit_with(&events, &[Change::SigningKeys], now).await?;
            Ok(true)
        })
        .await
    }

    /// Sees to it that some key signs now; whether that is the new one.
    async fn succeed(
        &self,
        transaction: &mut Transaction,
        successor: &NewSigningKey,
    ) -> Result<bool, StoreError> {
        let now = successor.created_at;
        let usable: Vec<(String, i64)> = transaction
            .fetch(
                "SELECT lives.kid, lives.signs_from FROM signing_key_lives lives \
                 JOIN signing_keys keys ON keys.kid = lives.kid WHERE lives.revoked_at IS NULL ORDER BY lives.signs_from DESC, lives.kid DESC",
                args![],
            )
            .await?;
        let last_signing: Vec<(String,)> = transaction
            .fetch(
                "SELECT kid FROM signing_key_lives WHERE signs_from <= $1 ORDER BY signs_from DESC, kid DESC LIMIT 1",
                args![now],
            )
            .await?;
        let signs = |kid: &String| last_signing.first().is_some_and(|(last,)| last == kid);
        if usable.iter().any(|(kid, _)| signs(kid)) {
            return Ok(false);
        }
        match usable.iter().find(|(_, from)| *from > now.micros()) {
            Some((next, _)) => {
                transaction
                    .execute(
                        "UPDATE signing_key_lives SET signs_from = $1 WHERE kid = $2",
                        args![now, next.as_str()],
                    )
                    .await?;
                Ok(false)
            }
            None => {
                self.insert_key(transaction, successor).await?;
                Ok(true)
            }
        }
    }

    /// Deletes the private half of a key that signs no more.
    pub async fn forget_private_half(&self, kid: &str) -> Result<(), StoreError> {
        within(async {
            let mut transaction = self.database.begin().await?;
            transaction
                .execute(
                    "DELETE FROM signing_keys WHERE kid = $1 AND kid IN (SELECT kid FROM signing_key_lives)",
                    args![kid],
                )
                .await?;
            transaction.commit().await
        })
        .await
    }

    async fn insert_key(
        &self,
        transaction: &mut Transaction,
        key: &NewSigningKey,
    ) -> Result<(), StoreError> {
        let sealed = self.seal(&purpose(&key.kid), &key.private_key);
        transaction
            .execute(
                "INSERT INTO signing_keys (kid, private_key, created_at) VALUES ($1, $2, $3)",
                args![key.kid.as_str(), sealed, key.created_at],
            )
            .await?;
        transaction
            .execute(
                "INSERT INTO signing_key_lives (kid, public_key, created_at, signs_from) VALUES ($1, $2, $3, $4)",
                args![
                    key.kid.as_str(),
                    STANDARD_NO_PAD.encode(key.public_key),
                    key.created_at,
                    key.signs_from
                ],
            )
            .await?;
        Ok(())
    }

    fn opened_keys(&self, rows: Vec<SigningKeyRow>) -> Result<Vec<SigningKeyRecord>, StoreError> {
        rows.into_iter().map(|row| self.opened_key(row)).collect()
    }

    fn opened_key(&self, row: SigningKeyRow) -> Result<SigningKeyRecord, StoreError> {
        let sealed = row.private_key.as_deref();
        let private_key = sealed.map(|sealed| self.unseal(&purpose(&row.kid), sealed));
        let public_key = row.public_key.map(|text| STANDARD_NO_PAD.decode(text));
        let public_key = public_key
            .transpose()
            .map_err(|_| StoreError::Inconsistent {
                table: "signing_key_lives",
                id: row.kid.clone(),
                what: "the public key is not base64".to_owned(),
            })?;
        Ok(SigningKeyRecord {
            private_key: private_key.transpose()?,
            public_key,
            created_at: Timestamp::from_micros(row.created_at),
            signs_from: Timestamp::from_micros(row.signs_from),
            revoked_at: row.revoked_at.map(Timestamp::from_micros),
            kid: row.kid,
        })
    }
}

impl Transaction {
    async fn newest_key(&mut self) -> Result<Option<String>, StoreError> {
        let newest: Vec<(String,)> = self
            .fetch(
                "SELECT kid FROM signing_key_lives WHERE revoked_at IS NULL ORDER BY signs_from DESC, kid DESC LIMIT 1",
                args![],
            )
            .await?;
        Ok(newest.into_iter().next().map(|(kid,)| kid))
    }
}
