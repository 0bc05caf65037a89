//! All SQL and migrations: rows in, domain types out. Postgres and SQLite differ only in here.
//!
//! Knows no HTTP and decides nothing. Every call ends by a deadline ([`CALL_DEADLINE`]), whatever the database does; a call that
//! returned `Ok` survives a crash. Secrets rest sealed, each under a purpose that names its row, so that a sealed value
//! moved to another row does not open.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::clock::SharedClock;
use crate::config::checked::StoreConfig;
use crate::secret::Sealer;

pub mod access;
pub mod activity;
pub mod audit;
pub mod changes;
pub mod decisions;
pub mod device_grants;
pub mod dialect;
pub mod drafts;
pub mod edges;
pub mod oauth_clients;
pub mod one_time;
pub mod people;
pub mod policy;
pub mod programs;
pub mod revoking;
pub mod schema;
pub mod sessions;
pub mod signing_keys;
pub mod svids;
pub mod token_families;
pub mod usage;

/// No call takes longer than this, but for the writing of a revision.
pub const CALL_DEADLINE: Duration = Duration::from_secs(6);

/// The store, on either database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) clock: SharedClock,
    database: dialect::Database,
}

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StoreError {
    #[error("the store does not answer")]
    Unavailable(#[from] sqlx::Error),
    #[error("the store's URL is neither sqlite:///path nor a correct postgres:// URL")]
    Url,
    #[error("the database file {path} cannot be opened; its folder must exist")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("row {id} of table {table} makes no sense: {what}")]
    Inconsistent {
        table: &'static str,
        id: String,
        what: String,
    },
    #[error("the store was set back to an earlier state, or another took its place")]
    AnotherHistory,
    #[error("the user of the store's URL may not create tables in its schema")]
    MayNotCreate,
    #[error("migration of the store failed")]
    Migration(#[source] sqlx::migrate::MigrateError),
    #[error("a sealed value in the store does not open; is this the right store key?")]
    Sealed,
}

impl Store {
    /// Connects, and brings the schema up to date under a lock.
    pub async fn open(config: &StoreConfig, clock: SharedClock) -> Result<Self, StoreError> {
        Ok(Self {
            sealer: Arc::clone(&config.key),
            clock,
            database: dialect::open(config.url.expose_secret(), config.connections).await?,
        })
    }

    /// Whether the store answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.feed_point().await.map(drop)
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.database.close().await;
    }

    fn seal(&self, purpose: &str, plain: &[u8]) -> String {
        STANDARD_NO_PAD.encode(self.sealer.seal(purpose, plain))
    }

    fn unseal(&self, purpose: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        unseal(&self.sealer, purpose, sealed)
    }
}

/// Where a list goes on that is ordered by time, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// What is of before this moment, in microseconds since the Unix epoch,
    pub at: i64,
    /// or of then and has a smaller id.
    pub id: String,
}

impl After {
    /// For a query; the beginning where there is none.
    fn bounds(after: Option<&Self>) -> (i64, &str) {
        after.map_or((i64::MAX, ""), |after| (after.at, &after.id))
    }
}

fn unseal(sealer: &Sealer, purpose: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let sealed = STANDARD_NO_PAD
        .decode(sealed)
        .map_err(|_| StoreError::Sealed)?;
    sealer
        .open(purpose, &sealed)
        .map_err(|_| StoreError::Sealed)
}

/// Gives up on `work` at the deadline; a transaction under way is rolled back by being dropped.
async fn within<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    within_time(CALL_DEADLINE, work).await
}

/// The same for what may take longer.
async fn within_time<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    // Boxed: whoever waits holds a pointer, and futures of whole requests do not nest too deep for the compiler.
    tokio::time::timeout(deadline, Box::pin(work))
        .await
        .unwrap_or(Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)))
}
