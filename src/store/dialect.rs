//! Where the two databases differ: connecting, transactions, locks and waking. SQL itself is written once, with `$1`
//! placeholders, and runs on either through [`Database`] and [`Transaction`].

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgListener, PgPool, PgRow};
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{Arguments, FromRow, Postgres, Sqlite};
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

use crate::clock::Timestamp;
use crate::store::StoreError;

mod connect;
mod look;

pub(in crate::store) use connect::open;
pub(in crate::store) use look::look;

/// The channel that wakes the followers of the change feed.
const CHANNEL: &str = "wayleave_changes";

/// As many rows go with one statement.
const BULK: usize = 5_000;

/// A value bound to a placeholder.
pub(in crate::store) enum Arg {
    Text(Option<String>),
    Int(i64),
    MaybeInt(Option<i64>),
}

impl From<&str> for Arg {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<String> for Arg {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<&str>> for Arg {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}

impl From<Option<String>> for Arg {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<Option<i64>> for Arg {
    fn from(value: Option<i64>) -> Self {
        Self::MaybeInt(value)
    }
}

impl From<Timestamp> for Arg {
    fn from(value: Timestamp) -> Self {
        Self::Int(value.micros())
    }
}

/// The arguments of a statement, in the order of its placeholders.
macro_rules! args {
    ($($value:expr),* $(,)?) => {
        [$($crate::store::dialect::Arg::from($value)),*]
    };
}
pub(in crate::store) use args;

fn sqlite_arguments<const N: usize>(args: [Arg; N]) -> Result<SqliteArguments, sqlx::Error> {
    let mut bound = SqliteArguments::default();
    for arg in args {
        match arg {
            Arg::Text(value) => bound.add(value),
            Arg::Int(value) => bound.add(value),
            Arg::MaybeInt(value) => bound.add(value),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(bound)
}

fn postgres_arguments<const N: usize>(args: [Arg; N]) -> Result<PgArguments, sqlx::Error> {
    let mut bound = PgArguments::default();
    for arg in args {
        match arg {
            Arg::Text(value) => bound.add(value),
            Arg::Int(value) => bound.add(value),
            Arg::MaybeInt(value) => bound.add(value),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(bound)
}

/// A row struct that can be read from either database.
pub(in crate::store) trait Readable:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl<T> Readable for T where
    T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

/// What must happen one at a time across all replicas.
#[derive(Clone, Copy)]
pub(in crate::store) enum Turn {
    WriteRevision,
    SigningKeys,
    OpenDraft,
    AskForAccess,
    RegisterClient,
    /// Seeing to it that the database keeps audit events.
    KeepEvents,
}

/// Waits for the turn of the number `$1`, on Postgres.
const TAKE_TURN: &str = "SELECT pg_advisory_xact_lock($1)";

impl Turn {
    /// The number of the Postgres advisory lock that stands for it: ours by its first four bytes, "wayl".
    const fn lock(self) -> i64 {
        match self {
            Self::WriteRevision => 0x7761_796c_0001,
            Self::SigningKeys => 0x7761_796c_0002,
            Self::OpenDraft => 0x7761_796c_0006,
            Self::AskForAccess => 0x7761_796c_0003,
            Self::RegisterClient => 0x7761_796c_0007,
            Self::KeepEvents => 0x7761_796c_0004,
        }
    }
}

/// A statement about many rows at once, which come as one JSON array: the one place where the two databases write differently what we would
/// otherwise have to send row by row.
pub(in crate::store) struct Bulk {
    pub(in crate::store) sqlite: &'static str,
    pub(in crate::store) postgres: &'static str,
}

/// A [`Bulk`] of a statement that takes rows: it begins so, selects these members of the objects in the array that is `$1` and what is said
/// `beside` them, and ends so. A number is `$2`.
macro_rules! bulk {
    ($head:literal, ($($column:ident $kind:ident),+ $(,)?), $beside:literal, $tail:literal) => {
        $crate::store::dialect::Bulk {
            sqlite: concat!(
                $head,
                $crate::store::dialect::columns!(" SELECT ", ", ", $("value ->> '", stringify!($column), "'");+),
                $beside,
                " FROM json_each($1)",
                $tail
            ),
            postgres: concat!(
                $head,
                $crate::store::dialect::columns!(" SELECT ", ", ", $(stringify!($column), "", "");+),
                $beside,
                " FROM json_to_recordset($1::json) AS given",
                $crate::store::dialect::columns!(" (", ", ", $(stringify!($column), " ", stringify!($kind));+),
                ")",
                $tail
            ),
        }
    };
}
pub(in crate::store) use bulk;

/// Texts of three parts, with something before the first and between any two.
macro_rules! columns {
    ($before:literal, $between:literal, $a:expr, $b:expr, $c:expr $(; $x:expr, $y:expr, $z:expr)*) => {
        concat!($before, $a, $b, $c $(, $between, $x, $y, $z)*)
    };
}
pub(in crate::store) use columns;

/// The connections to one of the two databases.
#[derive(Clone)]
pub(in crate::store) enum Database {
    Sqlite {
        pool: SqlitePool,
        /// SQLite has one writer at a time: those of this process queue here, in order, instead of polling its lock.
        writer: Arc<Mutex<()>>,
        wake: Arc<Notify>,
    },
    Postgres {
        pool: PgPool,
        /// A pool of one connection, outside the others' deadlines.
        listener_pool: PgPool,
        listener: Arc<Mutex<Option<PgListener>>>,
    },
}

impl Database {
    /// Reads rows outside a transaction.
    pub(in crate::store) async fn fetch<T: Readable, const N: usize>(
        &self,
        sql: &'static str,
        args: [Arg; N],
    ) -> Result<Vec<T>, StoreError> {
        Ok(match self {
            Self::Sqlite { pool, .. } => {
                sqlx::query_as_with::<Sqlite, T, _>(sql, sqlite_arguments(args)?)
                    .fetch_all(pool)
                    .await?
            }
            Self::Postgres { pool, .. } => {
                sqlx::query_as_with::<Postgres, T, _>(sql, postgres_arguments(args)?)
                    .fetch_all(pool)
                    .await?
            }
        })
    }

    /// Begins a transaction that may write.
    pub(in crate::store) async fn begin(&self) -> Result<Transaction, StoreError> {
        Ok(match self {
            Self::Sqlite { pool, writer, wake } => {
                let turn = Arc::clone(writer).lock_owned().await;
                Transaction::Sqlite {
                    transaction: pool.begin_with("BEGIN IMMEDIATE").await?,
                    _turn: turn,
                    wake: Arc::clone(wake),
                    announced: false,
                }
            }
            Self::Postgres { pool, .. } => Transaction::Postgres(pool.begin().await?),
        })
    }

    /// Returns when the feed may have grown, or after `at_most`.
    pub(in crate::store) async fn wait_for_change(&self, at_most: Duration) {
        match self {
            Self::Sqlite { wake, .. } => {
                let _waited = tokio::time::timeout(at_most, wake.notified()).await;
            }
            Self::Postgres {
                listener_pool,
                listener,
                ..
            } => {
                let waited = tokio::time::timeout(at_most, listen(listener_pool, listener));
                // Without a listener the caller polls, once per `at_most`.
                if let Ok(Err(fault)) = waited.await {
                    tracing::debug!(error = %fault, "not listening for changes, polling instead");
                    tokio::time::sleep(at_most).await;
                }
            }
        }
    }

    /// Closes the connections; waits for those in use, briefly.
    pub(in crate::store) async fn close(&self) {
        let closing = async {
            match self {
                Self::Sqlite { pool, .. } => pool.close().await,
                Self::Postgres {
                    pool,
                    listener_pool,
                    listener,
                } => {
                    // Closing the pool ends a wait that is under way, which then lets go of the listener.
                    tokio::join!(listener_pool.close(), pool.close(), async {
                        *listener.lock().await = None;
                    });
                }
            }
        };
        let _closed = tokio::time::timeout(Duration::from_secs(5), closing).await;
    }
}

/// Waits for one notification. Those that arrive between two calls wait in the connection, so none is missed;
/// a new or lost connection counts as a notification, since some may have been missed.
async fn listen(pool: &PgPool, listener: &Mutex<Option<PgListener>>) -> Result<(), sqlx::Error> {
    let mut slot = listener.lock().await;
    let Some(connected) = slot.as_mut() else {
        let mut fresh = PgListener::connect_with(pool).await?;
        fresh.eager_reconnect(false);
        fresh.listen(CHANNEL).await?;
        *slot = Some(fresh);
        return Ok(());
    };
    match connected.try_recv().await {
        Ok(Some(_)) => {
            while connected.next_buffered().is_some() {}
            Ok(())
        }
        Ok(None) | Err(_) => {
            *slot = None;
            Ok(())
        }
    }
}

/// A transaction that may write; rolled back when it is dropped.
pub(in crate::store) enum Transaction {
    Sqlite {
        transaction: sqlx::Transaction<'static, Sqlite>,
        _turn: OwnedMutexGuard<()>,
        wake: Arc<Notify>,
        announced: bool,
    },
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Transaction {
    /// Reads rows, of a query or of `RETURNING`.
    pub(in crate::store) async fn fetch<T: Readable, const N: usize>(
        &mut self,
        sql: &'static str,
        args: [Arg; N],
    ) -> Result<Vec<T>, StoreError> {
        Ok(match self {
            Self::Sqlite { transaction, .. } => {
                sqlx::query_as_with::<Sqlite, T, _>(sql, sqlite_arguments(args)?)
                    .fetch_all(&mut **transaction)
                    .await?
            }
            Self::Postgres(transaction) => {
                sqlx::query_as_with::<Postgres, T, _>(sql, postgres_arguments(args)?)
                    .fetch_all(&mut **transaction)
                    .await?
            }
        })
    }

    /// Runs a statement; returns how many rows it touched.
    pub(in crate::store) async fn execute<const N: usize>(
        &mut self,
        sql: &'static str,
        args: [Arg; N],
    ) -> Result<u64, StoreError> {
        Ok(match self {
            Self::Sqlite { transaction, .. } => sqlx::query_with(sql, sqlite_arguments(args)?)
                .execute(&mut **transaction)
                .await?
                .rows_affected(),
            Self::Postgres(transaction) => sqlx::query_with(sql, postgres_arguments(args)?)
                .execute(&mut **transaction)
                .await?
                .rows_affected(),
        })
    }

    /// Runs a statement about all of these rows.
    pub(in crate::store) async fn execute_bulk(
        &mut self,
        bulk: &Bulk,
        rows: &[serde_json::Value],
        number: i64,
    ) -> Result<(), StoreError> {
        for some in rows.chunks(BULK) {
            let json = serde_json::Value::from(some).to_string();
            match self {
                Self::Sqlite { transaction, .. } => {
                    sqlx::query(bulk.sqlite)
                        .bind(json)
                        .bind(number)
                        .execute(&mut **transaction)
                        .await?;
                }
                Self::Postgres(transaction) => {
                    sqlx::query(bulk.postgres)
                        .bind(json)
                        .bind(number)
                        .execute(&mut **transaction)
                        .await?;
                }
            }
        }
        Ok(())
    }

    /// Waits until no other transaction has this turn; held until the transaction ends.
    /// SQLite's writers take turns anyway.
    pub(in crate::store) async fn take_turn(&mut self, turn: Turn) -> Result<(), StoreError> {
        if let Self::Postgres(transaction) = self {
            sqlx::query(TAKE_TURN)
                .bind(turn.lock())
                .execute(&mut **transaction)
                .await?;
        }
        Ok(())
    }

    /// Wakes the followers of the feed when this transaction commits.
    pub(in crate::store) async fn announce(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite { announced, .. } => *announced = true,
            Self::Postgres(transaction) => {
                sqlx::query("SELECT pg_notify($1, '')")
                    .bind(CHANNEL)
                    .execute(&mut **transaction)
                    .await?;
            }
        }
        Ok(())
    }

    /// Makes it last: when this returns, the writes survive a crash.
    pub(in crate::store) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite {
                transaction,
                wake,
                announced,
                ..
            } => {
                transaction.commit().await?;
                if announced {
                    // Everybody who waits now, and the next who comes if nobody does.
                    wake.notify_waiters();
                    wake.notify_one();
                }
            }
            Self::Postgres(transaction) => transaction.commit().await?,
        }
        Ok(())
    }
}
