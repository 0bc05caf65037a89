//! Rows of machines that wait for somebody to approve them (RFC 8628). Only hashes of their codes are kept.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::secret::TokenHash;
use crate::session::SessionId;
use crate::store::dialect::args;
use crate::store::{Store, StoreError, within};

/// What a machine asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Which program it is.
    pub client: String,
    /// RFC 7638 thumbprint of the key that its tokens will be bound to.
    pub key_thumbprint: Option<String>,
    /// Where it asks from, as JSON, to be shown to whoever approves.
    pub asker: String,
    /// When it asked.
    pub created_at: Timestamp,
    /// Not good from then on.
    pub expires_at: Timestamp,
}

/// What a machine that asks again is told.
#[derive(Debug, PartialEq, Eq)]
pub enum Poll {
    /// Nobody has decided yet.
    Pending,
    /// It asks too often; it has to wait longer from now on.
    TooSoon,
    /// Somebody approved it. It is told once.
    Approved(DeviceRecord, SessionId),
    /// Somebody refused it. It is told once.
    Denied,
    /// There is no such code, or not any more.
    Unknown,
}

#[derive(sqlx::FromRow)]
struct DeviceRow {
    client: String,
    key_thumbprint: Option<String>,
    asker: String,
    created_at: i64,
    expires_at: i64,
    state: String,
    session: Option<String>,
    poll_interval: i64,
    polled_at: i64,
}

impl DeviceRow {
    fn record(self) -> DeviceRecord {
        DeviceRecord {
            client: self.client,
            key_thumbprint: self.key_thumbprint,
            asker: self.asker,
            created_at: Timestamp::from_micros(self.created_at),
            expires_at: Timestamp::from_micros(self.expires_at),
        }
    }
}

/// How much longer a machine has to wait each time that it asked too soon (RFC 8628 §3.5).
const SLOWER: Duration = Duration::from_secs(5);

impl Store {
    /// Keeps a new one; false if there is one with the same user code.
    pub async fn create_device(
        &self,
        device: TokenHash,
        user_code: TokenHash,
        record: &DeviceRecord,
        interval: Duration,
    ) -> Result<bool, StoreError> {
        let interval = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX);
        within(async {
            let mut transaction = self.database.begin().await?;
            let kept = transaction
                .execute(
                    "INSERT INTO device_grants (device_code, user_code, client, key_thumbprint, asker, \
                     poll_interval, polled_at, created_at, expires_at, state) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'pending') ON CONFLICT DO NOTHING",
                    args![
                        device.to_hex(),
                        user_code.to_hex(),
                        record.client.as_str(),
                        record.key_thumbprint.as_deref(),
                        record.asker.as_str(),
                        interval,
                        0_i64,
                        record.created_at,
                        record.expires_at
                    ],
                )
                .await?;
            transaction.commit().await?;
            Ok(kept == 1)
        })
        .await
    }

    /// The one that waits under a user code.
    pub async fn pending_device(
        &self,
        user_code: TokenHash,
    ) -> Result<Option<DeviceRecord>, StoreError> {
        let rows: Vec<DeviceRow> = within(self.database.fetch(
            "SELECT client, key_thumbprint, asker, created_at, expires_at, state, session, poll_interval, polled_at \
             FROM device_grants WHERE user_code = $1 AND state = 'pending' AND expires_at > $2",
            args![user_code.to_hex(), self.clock.now()],
        ))
        .await?;
        Ok(rows.into_iter().next().map(DeviceRow::record))
    }

    /// Approves for a session, or denies without one; false if nothing waits under the user code. Of several who decide at once one does.
    pub async fn decide_device(
        &self,
        user_code: TokenHash,
        approved_by: Option<&SessionId>,
    ) -> Result<bool, StoreError> {
        let state = approved_by.map_or("denied", |_| "approved");
        let session = approved_by.map(|id| &*id.0);
        within(async {
            let mut transaction = self.database.begin().await?;
            let decided = transaction
                .execute(
                    "UPDATE device_grants SET state = $2, session = $3 \
                     WHERE user_code = $1 AND state = 'pending' AND expires_at > $4",
                    args![user_code.to_hex(), state, session, self.clock.now()],
                )
                .await?;
            transaction.commit().await?;
            Ok(decided == 1)
        })
        .await
    }

    /// A machine asks whether it was approved. `client` and `key` must be those it began with.
    pub async fn poll_device(
        &self,
        device: TokenHash,
        client: &str,
        key: Option<&str>,
    ) -> Result<Poll, StoreError> {
        let now = self.clock.now();
        within(async {
            let mut transaction = self.database.begin().await?;
            let rows: Vec<DeviceRow> = transaction
                .fetch(
                    "UPDATE device_grants SET polled_at = polled_at WHERE device_code = $1 AND expires_at > $2 \
                     RETURNING client, key_thumbprint, asker, created_at, expires_at, state, session, poll_interval, polled_at",
                    args![device.to_hex(), now],
                )
                .await?;
            let Some(row) = rows.into_iter().next() else {
                return Ok(Poll::Unknown);
            };
            if row.client != client || row.key_thumbprint.as_deref() != key {
                return Ok(Poll::Unknown);
            }
            let micros = u64::try_from(row.poll_interval).unwrap_or_default();
            let interval = Duration::from_micros(micros);
            let too_soon = now.since(Timestamp::from_micros(row.polled_at)) < interval;
            let slower = if too_soon { interval + SLOWER } else { interval };
            let slower = i64::try_from(slower.as_micros()).unwrap_or(i64::MAX);
            if too_soon || row.state == "pending" {
                transaction
                    .execute(
                        "UPDATE device_grants SET polled_at = $2, poll_interval = $3 WHERE device_code = $1",
                        args![device.to_hex(), now, slower],
                    )
                    .await?;
                transaction.commit().await?;
                return Ok(if too_soon { Poll::TooSoon } else { Poll::Pending });
            }
            transaction
                .execute(
                    "DELETE FROM device_grants WHERE device_code = $1",
                    args![device.to_hex()],
                )
                .await?;
            transaction.commit().await?;
            Ok(match row.session.clone() {
                Some(session) => Poll::Approved(row.record(), SessionId(session.into())),
                None => Poll::Denied,
            })
        })
        .await
    }
}
