//! Which schema a store has, seen without changing anything of it.

use sqlx::migrate::{MigrateError, Migrator};

use crate::config::checked::StoreConfig;
use crate::secret::ExposeSecret;
use crate::store::{Store, StoreError, dialect, signing_keys, unseal};

/// The schema of a store beside the one that this binary knows. Versions are the numbers of `migrations/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Nothing is there yet; opening the store makes version `known`.
    Empty {
        /// What this binary knows.
        known: i64,
    },
    /// Opening the store migrates it from `version` to `known`.
    Older {
        /// What is there.
        version: i64,
        /// What this binary knows.
        known: i64,
    },
    /// Opening the store changes nothing.
    Current {
        /// What is there.
        version: i64,
    },
    /// A newer release was here. Opening the store changes nothing, so that a release can be rolled back.
    Newer {
        /// What is there.
        version: i64,
        /// What this binary knows.
        known: i64,
    },
}

/// A migration that a database says was applied.
#[derive(sqlx::FromRow)]
pub(in crate::store) struct Applied {
    pub(in crate::store) version: i64,
    success: bool,
    checksum: Vec<u8>,
}

impl Schema {
    /// What opening would make of a store with these migrations; fails where opening would.
    pub(in crate::store) fn of(
        applied: &[Applied],
        migrator: &Migrator,
    ) -> Result<Self, StoreError> {
        let refused = |fault| Err(StoreError::Migration(fault));
        if let Some(unfinished) = applied.iter().find(|applied| !applied.success) {
            return refused(MigrateError::Dirty(unfinished.version));
        }
        let mut known = 0;
        let mut is_older = false;
        for migration in migrator.iter() {
            known = known.max(migration.version);
            let found = applied
                .iter()
                .find(|applied| applied.version == migration.version);
            match found {
                Some(found) if *found.checksum != *migration.checksum => {
                    return refused(MigrateError::VersionMismatch(migration.version));
                }
                Some(_) => {}
                None => is_older = true,
            }
        }
        Ok(match applied.iter().map(|applied| applied.version).max() {
            None => Self::Empty { known },
            Some(version) if is_older => Self::Older { version, known },
            Some(version) if version > known => Self::Newer { version, known },
            Some(version) => Self::Current { version },
        })
    }
}

impl Store {
    /// Connects, looks at the schema, tries the store key on what is sealed, and leaves everything as it is; fails wherever an edge that
    /// starts is known to fail.
    pub async fn look(config: &StoreConfig) -> Result<Schema, StoreError> {
        let seen = dialect::look(config.url.expose_secret()).await?;
        for (kid, sealed) in &seen.signing_keys {
            unseal(&config.key, &signing_keys::purpose(kid), sealed)?;
        }
        Ok(seen.schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(version: i64, checksum: &[u8]) -> Applied {
        Applied {
            version,
            success: true,
            checksum: checksum.to_vec(),
        }
    }

    #[test]
    fn a_schema_is_compared_with_the_one_that_is_known() {
        let migrator = sqlx::migrate!("./migrations");
        let known = migrator.iter().map(|known| known.version).max().unwrap();
        let mut all: Vec<Applied> = migrator
            .iter()
            .map(|known| applied(known.version, &known.checksum))
            .collect();
        let check = |applied: &[Applied]| Schema::of(applied, &migrator);
        assert_eq!(check(&[]).unwrap(), Schema::Empty { known });
        assert_eq!(check(&all).unwrap(), Schema::Current { version: known });
        let version = known + 7;
        all.push(applied(version, b"another release's"));
        assert_eq!(check(&all).unwrap(), Schema::Newer { version, known });
        // Something is there, and not what this binary would have made.
        let strange = [applied(0, b"")];
        let version = 0;
        assert_eq!(check(&strange).unwrap(), Schema::Older { version, known });
        let other = [applied(known, b"other")];
        assert!(matches!(
            check(&other),
            Err(StoreError::Migration(MigrateError::VersionMismatch(_)))
        ));
        let mut unfinished = applied(known, b"");
        unfinished.success = false;
        assert!(matches!(
            check(&[unfinished]),
            Err(StoreError::Migration(MigrateError::Dirty(_)))
        ));
    }
}
