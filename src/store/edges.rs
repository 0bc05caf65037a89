//! The processes that serve, as each says of itself now and then.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::store::dialect::args;
use crate::store::{Store, StoreError, within};

/// One that was silent for this long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// What a process says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeRecord {
    /// Its own, as long as it runs.
    pub id: String,
    /// The machine's.
    pub name: String,
    /// The release.
    pub version: String,
    /// The policy revision in force.
    pub revision: i64,
    /// When it started.
    pub started_at: Timestamp,
    /// When it last read the change feed to its end.
    pub fresh_at: Timestamp,
    /// When it said this.
    pub seen_at: Timestamp,
}

type EdgeRow = (String, String, String, i64, i64, i64, i64);

impl Store {
    /// Keeps what a process says of itself, and forgets those that have been silent for a day.
    pub async fn keep_edge(&self, edge: &EdgeRecord) -> Result<(), StoreError> {
        within(async {
            let mut transaction = self.database.begin().await?;
            transaction
                .execute(
                    "INSERT INTO edges (id, name, version, revision, started_at, fresh_at, seen_at) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET \
                     revision = excluded.revision, fresh_at = excluded.fresh_at, seen_at = excluded.seen_at",
                    args![
                        edge.id.as_str(),
                        edge.name.as_str(),
                        edge.version.as_str(),
                        edge.revision,
                        edge.started_at,
                        edge.fresh_at,
                        edge.seen_at
                    ],
                )
                .await?;
            transaction
                .execute(
                    "DELETE FROM edges WHERE seen_at < $1",
                    args![edge.seen_at.minus(FORGOTTEN_AFTER)],
                )
                .await?;
            transaction.commit().await
        })
        .await
    }

    /// All of them, by name.
    pub async fn edges(&self) -> Result<Vec<EdgeRecord>, StoreError> {
        let rows: Vec<EdgeRow> = within(self.database.fetch(
            "SELECT id, name, version, revision, started_at, fresh_at, seen_at FROM edges ORDER BY name, started_at LIMIT 200",
            args![],
        ))
        .await?;
        let read =
            |(id, name, version, revision, started_at, fresh_at, seen_at): EdgeRow| EdgeRecord {
                id,
                name,
                version,
                revision,
                started_at: Timestamp::from_micros(started_at),
                fresh_at: Timestamp::from_micros(fresh_at),
                seen_at: Timestamp::from_micros(seen_at),
            };
        Ok(rows.into_iter().map(read).collect())
    }
}
