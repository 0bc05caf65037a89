//! Rows of programs that registered themselves (RFC 7591). A registration that nobody makes use of is swept, so that floods pass.

use crate::clock::Timestamp;
use crate::store::dialect::{Turn, args};
use crate::store::{Store, StoreError, within};

/// A program that registered itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRecord {
    /// Its `client_id`.
    pub id: String,
    /// What it calls itself; nobody verified it.
    pub name: Option<String>,
    /// Where it may have people sent back to, exactly.
    pub redirect_uris: Vec<String>,
    /// Where it registered from; of IPv6 the network.
    pub address: String,
    /// When it registered.
    pub created_at: Timestamp,
    /// Forgotten from then on.
    pub expires_at: Timestamp,
}

/// How many registrations there may be at a time.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// From one address.
    pub of_address: u32,
    /// In all.
    pub in_all: u32,
}

#[derive(sqlx::FromRow)]
struct ClientRow {
    id: String,
    name: Option<String>,
    redirect_uris: String,
    address: String,
    created_at: i64,
    expires_at: i64,
}

impl Store {
    /// Keeps a registration; false if there is no room for it. Those that have expired make room.
    pub async fn register_client(
        &self,
        client: &ClientRecord,
        room: Room,
    ) -> Result<bool, StoreError> {
        let redirect_uris = serde_json::json!(client.redirect_uris).to_string();
        let now = self.clock.now();
        within(async {
            let mut transaction = self.database.begin().await?;
            // Who register at once are counted one after the other, on whichever edge.
            transaction.take_turn(Turn::RegisterClient).await?;
            transaction
                .execute("DELETE FROM oauth_clients WHERE expires_at <= $1", args![now])
                .await?;
            let counted: Vec<(i64, i64)> = transaction
                .fetch(
                    "SELECT COUNT(*), COUNT(CASE WHEN address = $1 THEN 1 END) FROM oauth_clients",
                    args![client.address.as_str()],
                )
                .await?;
            let (all, theirs) = counted.first().copied().unwrap_or_default();
            if all >= i64::from(room.in_all) || theirs >= i64::from(room.of_address) {
                return Ok(false);
            }
            transaction
                .execute(
                    "INSERT INTO oauth_clients (id, name, redirect_uris, address, created_at, expires_at) \
                     VALUES ($1, $2, $3, $4, $5, $6)",
                    args![
                        client.id.as_str(),
                        client.name.as_deref(),
                        redirect_uris.as_str(),
                        client.address.as_str(),
                        client.created_at,
                        client.expires_at
                    ],
                )
                .await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    /// A registration that has not expired.
    pub async fn client(&self, id: &str) -> Result<Option<ClientRecord>, StoreError> {
        let rows: Vec<ClientRow> = within(self.database.fetch(
            "SELECT id, name, redirect_uris, address, created_at, expires_at FROM oauth_clients \
             WHERE id = $1 AND expires_at > $2",
            args![id, self.clock.now()],
        ))
        .await?;
        let Some(row) = rows.into_iter().next() else {
            return Ok(None);
        };
        let redirect_uris = serde_json::from_str(&row.redirect_uris);
        let redirect_uris = redirect_uris.map_err(|fault| StoreError::Inconsistent {
            table: "oauth_clients",
            id: row.id.clone(),
            what: fault.to_string(),
        })?;
        Ok(Some(ClientRecord {
            id: row.id,
            name: row.name,
            redirect_uris,
            address: row.address,
            created_at: Timestamp::from_micros(row.created_at),
            expires_at: Timestamp::from_micros(row.expires_at),
        }))
    }

    /// Keeps a registration that is made use of for longer.
    pub async fn keep_client(&self, id: &str, until: Timestamp) -> Result<(), StoreError> {
        within(async {
            let mut transaction = self.database.begin().await?;
            transaction
                .execute(
                    "UPDATE oauth_clients SET expires_at = $2 WHERE id = $1 AND expires_at < $2",
                    args![id, until],
                )
                .await?;
            transaction.commit().await
        })
        .await
    }
}
