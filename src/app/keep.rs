//! What is kept is signed while it is new, and deleted when it is old enough.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{SharedClock, Timestamp};
use crate::config::checked::AuditConfig;
use crate::lifecycle::Lifecycle;
use crate::store::{Store, StoreError};
use crate::token::assertion::Minter;

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A newest event is covered by a checkpoint after this long.
const SIGN_AFTER: Duration = Duration::from_secs(600);
/// So many events are covered by a checkpoint at once.
const SIGN_AFTER_EVENTS: i64 = 1000;

/// What is older than it has to be is deleted once in so long, since that is an event itself.
const PRUNE_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Keeps the audit log in order. Every replica does; what one has done, the others leave.
pub struct Keeper {
    /// Where the log is.
    pub store: Store,
    /// Signs checkpoints.
    pub minter: Arc<Minter>,
    /// The time.
    pub clock: SharedClock,
    /// How long things are kept.
    pub config: AuditConfig,
}

impl Keeper {
    /// Works for as long as the process runs.
    pub fn start(self, lifecycle: &Lifecycle) {
        lifecycle.spawn("audit log", async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                if let Err(error) = self.look().await {
                    tracing::warn!(%error, "the audit log could not be looked after; trying again later");
                }
            }
        });
    }

    async fn look(&self) -> Result<(), StoreError> {
        self.sign().await?;
        let now = self.clock.now();
        let oldest = now.minus(self.config.keep_events);
        self.store.prune_events(oldest, PRUNE_AFTER).await?;
        let oldest = now.minus(self.config.keep_decisions);
        self.store.prune_decisions(oldest).await
    }

    async fn sign(&self) -> Result<(), StoreError> {
        let (seq, link) = self.store.audit_head().await?;
        let (signed, at) = self
            .store
            .newest_checkpoint()
            .await?
            .unwrap_or((0, Timestamp::from_micros(0)));
        let is_due = seq - signed >= SIGN_AFTER_EVENTS || self.clock.now().since(at) >= SIGN_AFTER;
        if seq == signed || !is_due {
            return Ok(());
        }
        let token = self.minter.checkpoint(seq, link);
        self.store.keep_checkpoint(seq, &token).await
    }
}
