//! What this edge has seen of the store, kept on its own disk: a store that was set back, replaced or rewritten is not taken for the one that it was.
//!
//! The newest event of the audit log stands for the whole: every change of rights is an event, and each event's hash covers all before it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::audit::chain::Link;
use crate::store::{Store, StoreError};

const FILE: &str = "seen.json";

/// The newest event that was seen.
#[derive(Serialize, Deserialize)]
struct Seen {
    seq: i64,
    hash: String,
}

/// Why the store is not to be trusted, or not known to be.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The store does not hold what was seen.
    #[error(
        "the store does not hold event {seq} of the audit log as this edge has seen it: it was set back to an earlier state, replaced or rewritten. \
         If that was meant, delete {} and start again", .file.display()
    )]
    Forgotten {
        /// The event.
        seq: i64,
        /// What this edge has seen.
        file: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("{} cannot be read or written; an edge whose store is known to be the right one starts anew without it", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Remembers the store's newest event.
#[derive(Clone, Debug)]
pub struct Witness {
    file: PathBuf,
}

impl Witness {
    /// Remembers in a folder that belongs to this edge.
    pub fn new(folder: &Path) -> Self {
        Self {
            file: folder.join(FILE),
        }
    }

    /// Looks whether the store goes on from what was seen last, and remembers its newest event, which is returned.
    pub async fn look(&self, store: &Store) -> Result<(i64, Link), WitnessError> {
        let fault = |error| WitnessError::File(self.file.clone(), error);
        let seen = self.read().map_err(fault)?;
        let (seq, link) = store.audit_head().await?;
        if let Some(seen) = &seen {
            let is_there = match Link::parse(&seen.hash) {
                Some(link) => seen.seq <= seq && store.remembers_event(seen.seq, link).await?,
                None => false,
            };
            if !is_there {
                return Err(WitnessError::Forgotten {
                    seq: seen.seq,
                    file: self.file.clone(),
                });
            }
        }
        if seq > seen.map_or(0, |seen| seen.seq) {
            let hash = link.to_string();
            self.write(&Seen { seq, hash }).map_err(fault)?;
        }
        Ok((seq, link))
    }

    fn read(&self) -> io::Result<Option<Seen>> {
        match std::fs::read(&self.file) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// In one step, so that no kill leaves half.
    fn write(&self, seen: &Seen) -> io::Result<()> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(seen)?)?;
        // Or a power cut may leave the new name and none of the text.
        file.as_file().sync_all()?;
        file.persist(&self.file)?;
        Ok(())
    }
}
