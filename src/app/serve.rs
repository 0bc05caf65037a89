//! The process: starts the edge, follows signals and files, and ends in good order.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::app::compose::{Running, StartError, start};
use crate::app::reload::Reloading;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::lifecycle::Lifecycle;

/// How often certificate files are looked at.
const LOOK_AT_FILES: Duration = Duration::from_secs(10);
/// How long tasks have to end after the last connection.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Why the process ends with a failure.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Signals cannot be received.
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
    /// A part of it ended that should not have; the log says which.
    #[error("a part of the edge ended unexpectedly")]
    Failed,
}

/// Runs an edge until SIGTERM or Ctrl-C, and lets requests under way finish. `ready` hears of it once everything listens.
pub async fn serve(
    path: &Path,
    config: Config,
    lifecycle: &Lifecycle,
    ready: impl FnOnce(&Running),
) -> Result<(), ServeError> {
    let mut signals = Signals::new().map_err(ServeError::Signals)?;
    let drain = config.limits.drain;
    let mut running = start(config, Arc::new(SystemClock), lifecycle).await?;
    ready(&running);
    let outcome = tokio::select! {
        () = lifecycle.failed() => Err(ServeError::Failed),
        () = signals.end.next() => Ok(()),
        never = follow_reloads(path, &mut running.reloading, &mut signals.reload) => match never {},
    };
    end(running, lifecycle, drain).await;
    outcome
}

/// Stops accepting, waits for what is under way, then for every task.
pub async fn end(running: Running, lifecycle: &Lifecycle, drain: Duration) {
    tracing::info!(
        seconds = drain.as_secs(),
        "draining: requests under way may finish"
    );
    lifecycle.begin_drain();
    let Running {
        workers,
        store,
        log_writer,
        reloading,
        ..
    } = running;
    if timeout(drain + STOP_WITHIN, workers.ended()).await.is_err() {
        tracing::warn!("workers did not end in time");
    }
    lifecycle.stop(STOP_WITHIN).await;
    drop(reloading);
    let _closed = timeout(STOP_WITHIN, store.close()).await;
    // Everybody who writes to the log is gone by now; if not, lines may be missing, and the process ends all the same.
    let finished = tokio::task::spawn_blocking(move || log_writer.finish());
    let _finished = timeout(STOP_WITHIN, finished).await;
}

struct Signals {
    end: Either,
    reload: Signal,
}

/// SIGTERM or SIGINT.
struct Either(Signal, Signal);

impl Either {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

impl Signals {
    fn new() -> io::Result<Self> {
        let end = Either(
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let reload = signal(SignalKind::hangup())?;
        Ok(Self { end, reload })
    }
}

/// Reloads on SIGHUP, and certificates whenever their files changed.
async fn follow_reloads(
    path: &Path,
    reloading: &mut Reloading,
    hangup: &mut Signal,
) -> std::convert::Infallible {
    let mut ticks = interval(LOOK_AT_FILES);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = fingerprint(reloading);
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                reloading.configuration(path);
                seen = fingerprint(reloading);
            }
            _ = ticks.tick() => {
                let now = fingerprint(reloading);
                if now != seen {
                    reloading.files();
                    seen = now;
                }
            }
        }
    }
}

/// Size and time of every file that is followed; symbolic links are resolved, as mounted secrets are replaced by them.
fn fingerprint(reloading: &Reloading) -> HashMap<PathBuf, Option<(u64, SystemTime)>> {
    let stamp = |file: &Path| {
        let metadata = std::fs::metadata(file).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    };
    let files = reloading.watched().into_iter();
    files.map(|file| (file.to_owned(), stamp(file))).collect()
}
