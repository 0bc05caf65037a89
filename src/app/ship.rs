//! Ships the spool's segments to the store, oldest first, for as long as the process runs.

use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

use crate::audit::spool::{SYNC_EVERY, Segment, Spool};
use crate::lifecycle::Lifecycle;
use crate::store::{Store, StoreError};
use crate::telemetry::causes::Causes;
use crate::telemetry::metrics::Metrics;

/// How often it is looked for segments.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Decisions that the store takes in at once: a segment is always cut into the same parts.
const AT_ONCE: usize = 500;
/// Pause after the store did not take a segment.
const AGAIN: Duration = Duration::from_secs(1);
/// A store that answers and refuses a segment so often will not take it.
const ATTEMPTS: u32 = 20;

/// Starts shipping, and making safe what is being written.
pub fn start(spool: &Spool, store: &Store, metrics: &Metrics, lifecycle: &Lifecycle) {
    let waiting: Gauge = Gauge::default();
    metrics.register(|registry| {
        registry.register(
            "wayleave_spool_bytes",
            "Bytes of recorded decisions that wait to be taken in by the store",
            waiting.clone(),
        );
    });
    let synced = spool.clone();
    lifecycle.spawn("spool's safety", async move {
        loop {
            tokio::time::sleep(SYNC_EVERY).await;
            if !synced.is_open() {
                continue;
            }
            let spool = synced.clone();
            let outcome = tokio::task::spawn_blocking(move || spool.sync()).await;
            if let Ok(Err(error)) = outcome {
                tracing::error!(error = %Causes(&error), "recorded decisions would not survive a power cut");
                tokio::time::sleep(AGAIN).await;
            }
        }
    });
    let shipper = Shipper {
        spool: spool.clone(),
        store: store.clone(),
    };
    lifecycle.spawn("shipping of decisions", async move {
        loop {
            waiting.set(i64::try_from(shipper.spool.used()).unwrap_or(i64::MAX));
            match shipper.spool.oldest() {
                Some(segment) => shipper.ship(&segment).await,
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    });
}

struct Shipper {
    spool: Spool,
    store: Store,
}

impl Shipper {
    /// Returns when the segment is in the store, or was set aside because the store will never take it.
    async fn ship(&self, segment: &Segment) {
        let mut refused = 0;
        let mut is_told = false;
        loop {
            let Err(error) = self.try_to_ship(segment).await else {
                return;
            };
            if !std::mem::replace(&mut is_told, true) {
                tracing::warn!(error = %Causes(&error), segment = segment.id, "recorded decisions wait");
            }
            refused += u32::from(self.store.ping().await.is_ok());
            if refused >= ATTEMPTS {
                match self.spool.set_aside(segment) {
                    Ok(()) => {
                        tracing::error!(error = %Causes(&error), segment = segment.id, "these decisions cannot be taken in; they were set aside as a file .bad in the spool");
                    }
                    Err(error) => {
                        tracing::error!(error = %Causes(&error), segment = segment.id, "decisions that cannot be taken in cannot be set aside either");
                    }
                }
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn try_to_ship(&self, segment: &Segment) -> Result<(), ShipError> {
        let (spool, of) = (self.spool.clone(), segment.clone());
        let read = tokio::task::spawn_blocking(move || spool.read(&of)).await;
        let read = read.map_err(std::io::Error::other)??;
        for (number, part) in read.decided.chunks(AT_ONCE).enumerate() {
            let id = format!("{}/{number}", segment.id);
            self.store.take_in(&id, part).await?;
        }
        if read.unread > 0 {
            // A kill leaves no more than what nobody was told of; a power cut or another release may leave more, and whoever looks into it should find it.
            self.spool.set_aside(segment)?;
            tracing::error!(
                segment = segment.id,
                bytes = read.unread,
                why = read.why.map(|why| why.to_string()),
                "the end of these decisions cannot be read; the file was kept as .bad in the spool"
            );
            return Ok(());
        }
        Ok(self.spool.shipped(segment)?)
    }
}

#[derive(Debug, thiserror::Error)]
enum ShipError {
    #[error("its file cannot be read")]
    Spool(#[from] std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}
