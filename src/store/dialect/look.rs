//! Looks at a database and changes nothing: no file is made, no table, no lock is taken.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::connect::migrations;
use crate::store::StoreError;
use crate::store::schema::{Applied, Schema};
use crate::store::signing_keys::SIGNING_KEYS;

/// Longest time for connecting and looking.
const LOOK: Duration = Duration::from_secs(10);
/// Where the migrator keeps what it applied.
const APPLIED: &str = "SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version";
/// The migration that made the table of signing keys.
const WITH_KEYS: i64 = 1;

/// What was seen.
pub(in crate::store) struct Seen {
    pub(in crate::store) schema: Schema,
    /// Key id and sealed key of each signing key.
    pub(in crate::store) signing_keys: Vec<(String, String)>,
}

/// Looks at `sqlite:///path` or `postgres://…`.
pub(in crate::store) async fn look(url: &str) -> Result<Seen, StoreError> {
    let looking = async {
        if let Some(path) = url.strip_prefix("sqlite://") {
            look_at_sqlite(PathBuf::from(path)).await
        } else {
            look_at_postgres(url).await
        }
    };
    tokio::time::timeout(LOOK, looking)
        .await
        .unwrap_or(Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)))
}

async fn look_at_sqlite(path: PathBuf) -> Result<Seen, StoreError> {
    let exists = may_write(&path).map_err(|source| StoreError::File {
        path: path.clone(),
        source,
    })?;
    if !exists {
        let schema = Schema::of(&[], &migrations())?;
        let signing_keys = Vec::new();
        return Ok(Seen {
            schema,
            signing_keys,
        });
    }
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(false)
        .read_only(true)
        // Without a log of writes nobody has it open, and the database file is all there is. SQLite would make a log to read one otherwise.
        .immutable(!Path::new(&log).exists());
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let has_any: bool = sqlx::query_scalar(
        "SELECT count(*) > 0 FROM sqlite_master WHERE name = '_sqlx_migrations'",
    )
    .fetch_one(&mut connection)
    .await?;
    let applied: Vec<Applied> = if has_any {
        sqlx::query_as(APPLIED).fetch_all(&mut connection).await?
    } else {
        Vec::new()
    };
    let schema = Schema::of(&applied, &migrations())?;
    let signing_keys = if has_keys(&applied) {
        sqlx::query_as(SIGNING_KEYS)
            .fetch_all(&mut connection)
            .await?
    } else {
        Vec::new()
    };
    connection.close().await?;
    Ok(Seen {
        schema,
        signing_keys,
    })
}

fn has_keys(applied: &[Applied]) -> bool {
    applied.iter().any(|applied| applied.version == WITH_KEYS)
}

/// Whether the file is there and may be written, or is not there and may be made.
fn may_write(path: &Path) -> io::Result<bool> {
    match OpenOptions::new().write(true).open(path) {
        Ok(_) => Ok(true),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(Path::new("/"));
            // A file without a name, which nobody sees.
            tempfile::tempfile_in(folder).map(|_| false)
        }
        Err(fault) => Err(fault),
    }
}

async fn look_at_postgres(url: &str) -> Result<Seen, StoreError> {
    // The source of this error could quote the URL, and with it the password.
    let options = PgConnectOptions::from_str(url).map_err(|_| StoreError::Url)?;
    let options = options
        .application_name("wayleave-check")
        .options([("default_transaction_read_only", "on")]);
    let mut connection = PgConnection::connect_with(&options).await?;
    let has_any: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut connection)
        .await?;
    let applied: Vec<Applied> = if has_any {
        sqlx::query_as(APPLIED).fetch_all(&mut connection).await?
    } else {
        Vec::new()
    };
    let schema = Schema::of(&applied, &migrations())?;
    if matches!(schema, Schema::Empty { .. } | Schema::Older { .. }) {
        // NULL where the search path leads nowhere.
        let may_create: Option<bool> =
            sqlx::query_scalar("SELECT has_schema_privilege(current_schema(), 'CREATE')")
                .fetch_one(&mut connection)
                .await?;
        if may_create != Some(true) {
            return Err(StoreError::MayNotCreate);
        }
    }
    let signing_keys = if has_keys(&applied) {
        sqlx::query_as(SIGNING_KEYS)
            .fetch_all(&mut connection)
            .await?
    } else {
        Vec::new()
    };
    connection.close().await?;
    Ok(Seen {
        schema,
        signing_keys,
    })
}
