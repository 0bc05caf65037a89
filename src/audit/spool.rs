//! The spool: decisions are written to a file of this machine before a request goes on, so that neither a kill nor an outage of the store loses
//! one. Whole segments are shipped to the store and deleted.
//!
//! Each worker writes a segment of its own, with one `write(2)` per request: what the kernel has, a kill does not take. Requests that
//! are alike are counted in place, so that an outage costs room for what is different and not for every request. A power cut may
//! lose what was written in the last [`SYNC_EVERY`].

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod format;
mod recorder;
#[cfg(test)]
mod tests;

pub use format::Contents;
pub use recorder::{Asked, Recorder};

/// How often what was written is made to survive a power cut.
pub const SYNC_EVERY: Duration = Duration::from_millis(50);

/// How files are called that a recorder writes, and that it has ended.
const OPEN: &str = "open";
const CLOSED: &str = "closed";

/// The spool of this process. Cheap to clone.
#[derive(Clone)]
pub struct Spool(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    /// Bytes that may be used, and that are.
    room: u64,
    used: AtomicU64,
    /// Segments that wait to be shipped, oldest first.
    closed: Mutex<VecDeque<PathBuf>>,
    /// Segments that are written, for making them safe.
    open: Mutex<Vec<Arc<Writing>>>,
    /// Held for as long as the process runs: no two write here.
    _lock: File,
}

struct Writing {
    file: File,
    is_dirty: AtomicBool,
    /// Nothing more is written.
    is_ended: AtomicBool,
}

/// Why a decision was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Too much waits for the store.
    #[error("the spool is full")]
    Full,
    /// The disk does not take it.
    #[error("the spool cannot be written")]
    Io(#[from] io::Error),
}

/// A segment that is to be shipped.
#[derive(Clone, Debug)]
pub struct Segment {
    path: PathBuf,
    /// Its name: no two segments of any edge have the same.
    pub id: String,
}

impl Spool {
    /// Opens the folder, making it if it is not there. What another process left behind is shipped first.
    pub fn open(folder: &Path, room: u64) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(folder.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another edge uses this folder"),
            TryLockError::Error(error) => error,
        })?;
        let (left, used) = left_behind(folder)?;
        Ok(Self(Arc::new(Shared {
            folder: folder.to_owned(),
            room,
            used: AtomicU64::new(used),
            closed: Mutex::new(left),
            open: Mutex::default(),
            _lock: lock,
        })))
    }

    /// What one thread writes with.
    pub fn recorder(&self) -> Recorder {
        Recorder::new(self.clone())
    }

    /// The oldest segment that waits.
    pub fn oldest(&self) -> Option<Segment> {
        let path = lock(&self.0.closed).front().cloned()?;
        let id = path.file_stem()?.to_str()?.to_owned();
        Some(Segment { path, id })
    }

    /// What stands in a segment.
    pub fn read(&self, segment: &Segment) -> io::Result<Contents> {
        Ok(format::read(&std::fs::read(&segment.path)?))
    }

    /// Deletes a segment that the store has.
    pub fn shipped(&self, segment: &Segment) -> io::Result<()> {
        self.gone(segment, |path| std::fs::remove_file(path))
    }

    /// Leaves a segment that the store does not take to whoever looks into it.
    pub fn set_aside(&self, segment: &Segment) -> io::Result<()> {
        self.gone(segment, |path| {
            std::fs::rename(path, path.with_extension("bad"))
        })
    }

    fn gone(
        &self,
        segment: &Segment,
        remove: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let size = std::fs::metadata(&segment.path).map_or(0, |file| file.len());
        match remove(&segment.path) {
            Ok(()) => {
                self.0.used.fetch_sub(size, Ordering::Relaxed);
            }
            // Nothing waits there any more, whoever took it away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::error!(segment = segment.id, "a segment of the spool is gone");
            }
            Err(error) => return Err(error),
        }
        lock(&self.0.closed).retain(|path| *path != segment.path);
        Ok(())
    }

    /// Bytes that wait.
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Whether a segment is being written, or was until just now.
    pub fn is_open(&self) -> bool {
        !lock(&self.0.open).is_empty()
    }

    /// Makes what was written survive a power cut; blocks.
    pub fn sync(&self) -> io::Result<()> {
        let open = lock(&self.0.open).clone();
        for writing in &open {
            let is_ended = writing.is_ended.load(Ordering::Acquire);
            if writing.is_dirty.swap(false, Ordering::Relaxed) {
                writing.file.sync_data()?;
            }
            if is_ended {
                lock(&self.0.open).retain(|other| !Arc::ptr_eq(other, writing));
            }
        }
        Ok(())
    }

    fn has_waiting(&self) -> bool {
        !lock(&self.0.closed).is_empty()
    }

    /// Takes room for so many bytes more.
    fn take_room(&self, bytes: u64) -> Result<(), SpoolError> {
        let fits = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.0.room);
        let taken = self
            .0
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.map(drop).map_err(|_| SpoolError::Full)
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The segments of earlier processes, oldest first, and their size. One that was being written is closed.
fn left_behind(folder: &Path) -> io::Result<(VecDeque<PathBuf>, u64)> {
    let (mut left, mut used) = (Vec::new(), 0);
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let mut path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            Some(OPEN) => {
                let closed = path.with_extension(CLOSED);
                std::fs::rename(&path, &closed)?;
                path = closed;
            }
            Some(CLOSED) => {}
            Some(_) | None => continue,
        }
        used += std::fs::metadata(&path)?.len();
        left.push(path);
    }
    left.sort();
    Ok((left.into(), used))
}
