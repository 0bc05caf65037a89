//! Opens a database and brings its schema up to date.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use tokio::sync::{Mutex, Notify};

use crate::store::StoreError;
use crate::store::dialect::{Database, TAKE_TURN, Turn};

/// Longest wait for a connection.
const ACQUIRE: Duration = Duration::from_secs(3);
/// Longest time for connecting and migrating, other replicas' migrations included.
const OPEN: Duration = Duration::from_secs(60);

/// Events are never changed, and deleted only behind a checkpoint: whoever gets at the store by a fault of ours cannot tidy up after themselves.
const KEEP_SQLITE: [&str; 2] = [
    "CREATE TRIGGER IF NOT EXISTS audit_events_unchanged BEFORE UPDATE ON audit_events \
     BEGIN SELECT RAISE(ABORT, 'audit events are never changed'); END",
    "CREATE TRIGGER IF NOT EXISTS audit_events_kept BEFORE DELETE ON audit_events \
     WHEN OLD.seq > (SELECT pruned_to FROM audit_head WHERE name = 'events') \
     BEGIN SELECT RAISE(ABORT, 'audit events are kept until a checkpoint is older than the retention'); END",
];

/// The same; the tables' owner needs no more rights than for migrating, and none where the trigger is there.
const KEEP_POSTGRES: &str = "DO $do$ BEGIN \
     IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'audit_events_kept' AND tgrelid = 'audit_events'::regclass) THEN \
         CREATE OR REPLACE FUNCTION audit_events_kept() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN \
             IF TG_OP = 'DELETE' AND OLD.seq <= (SELECT pruned_to FROM audit_head WHERE name = 'events') THEN RETURN OLD; END IF; \
             RAISE EXCEPTION 'audit events are never changed, and kept until a checkpoint is older than the retention'; \
         END $f$; \
         CREATE TRIGGER audit_events_kept BEFORE UPDATE OR DELETE ON audit_events FOR EACH ROW EXECUTE FUNCTION audit_events_kept(); \
         CREATE TRIGGER audit_events_not_emptied BEFORE TRUNCATE ON audit_events FOR EACH STATEMENT EXECUTE FUNCTION audit_events_kept(); \
     END IF; END $do$";

/// The schema. What is newer than this binary is left alone, so that a release can be rolled back.
pub(super) fn migrations() -> Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.set_ignore_missing(true);
    migrator
}

/// Connects to `sqlite:///path` or `postgres://…`.
pub(in crate::store) async fn open(url: &str, connections: u32) -> Result<Database, StoreError> {
    let opening = async {
        if let Some(path) = url.strip_prefix("sqlite://") {
            open_sqlite(PathBuf::from(path), connections).await
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            open_postgres(url, connections).await
        } else {
            Err(StoreError::Url)
        }
    };
    tokio::time::timeout(OPEN, opening)
        .await
        .unwrap_or(Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)))
}

fn migration_fault(fault: MigrateError) -> StoreError {
    match fault {
        MigrateError::Execute(source) if !matches!(source, sqlx::Error::Database(_)) => {
            StoreError::Unavailable(source)
        }
        fault => StoreError::Migration(fault),
    }
}

async fn open_sqlite(path: PathBuf, connections: u32) -> Result<Database, StoreError> {
    if path.as_os_str().is_empty() {
        return Err(StoreError::Url);
    }
    let fault = |source| StoreError::File {
        path: path.clone(),
        source,
    };
    // Held until the schema is up to date: SQLite has no advisory lock of its own.
    let _lock = lock_file(&path).await.map_err(fault)?;
    create_private(&path).map_err(fault)?;
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        // What was acknowledged survives a power cut, too.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // Rows come from a thread of their own; with fewer, reading many would be waiting for each other.
        .row_buffer_size(1024)
        // KiB, of which only what is used is taken. With less, a replay reads most pages once for each of their rows.
        .pragma("cache_size", "-16384")
        .busy_timeout(Duration::from_secs(4));
    let mut connection = SqliteConnection::connect_with(&options).await?;
    migrations()
        .run(&mut connection)
        .await
        .map_err(migration_fault)?;
    for trigger in KEEP_SQLITE {
        sqlx::query(trigger).execute(&mut connection).await?;
    }
    connection.close().await?;
    let pool = SqlitePoolOptions::new()
        .max_connections(connections.max(1))
        .acquire_timeout(ACQUIRE)
        .connect_with(options)
        .await?;
    Ok(Database::Sqlite {
        pool,
        writer: Arc::new(Mutex::new(())),
        wake: Arc::new(Notify::new()),
    })
}

/// Only we may read it; SQLite gives its -wal and -shm files the same mode.
fn create_private(path: &Path) -> io::Result<()> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match created {
        Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::set_permissions(path, Permissions::from_mode(0o600))
        }
        created => created.map(drop),
    }
}

/// Takes the lock of the file `<path>.lock`. (A lock on the database itself would be lost by SQLite's own.)
async fn lock_file(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(name)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(TryLockError::Error(fault)) => return Err(fault),
        }
    }
}

/// Replicas that start at once take turns: two that create one function or trigger at a time would fail.
async fn keep_events(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::query(TAKE_TURN)
        .bind(Turn::KeepEvents.lock())
        .execute(&mut *transaction)
        .await?;
    sqlx::query(KEEP_POSTGRES)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

async fn open_postgres(url: &str, connections: u32) -> Result<Database, StoreError> {
    // The source of this error could quote the URL, and with it the password.
    let options = PgConnectOptions::from_str(url).map_err(|_| StoreError::Url)?;
    // Not subject to the pool's deadlines: another replica may be migrating for a while.
    let mut connection = PgConnection::connect_with(&options).await?;
    migrations()
        .run(&mut connection)
        .await
        .map_err(migration_fault)?;
    keep_events(&mut connection).await?;
    connection.close().await?;
    let listener_options = options.clone().application_name("wayleave-listener");
    let options = options.application_name("wayleave").options([
        ("statement_timeout", "5000"),
        ("lock_timeout", "4000"),
        ("idle_in_transaction_session_timeout", "10000"),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(connections.max(1))
        .acquire_timeout(ACQUIRE)
        .connect_with(options)
        .await?;
    let listener_pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(listener_options);
    Ok(Database::Postgres {
        pool,
        listener_pool,
        listener: Arc::new(Mutex::new(None)),
    })
}
