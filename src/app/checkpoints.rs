//! Checkpoints: the newest event of the audit log is signed before long.

use std::sync::Arc;
use std::time::Duration;

use crate::app::witness::{Witness, WitnessError};
use crate::clock::{SharedClock, Timestamp};
use crate::lifecycle::Lifecycle;
use crate::snapshot::Freshness;
use crate::store::Store;
use crate::telemetry::causes::Causes;
use crate::token::assertion::Minter;

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A newest event is covered by a checkpoint after this long.
const SIGN_AFTER: Duration = Duration::from_secs(600);
/// So many events are covered by a checkpoint at once.
const SIGN_AFTER_EVENTS: i64 = 1000;

/// Signs the audit log. Every replica does; what one has done, the others leave.
pub struct Signer {
    /// Where the log is.
    pub store: Store,
    /// Signs checkpoints.
    pub minter: Arc<Minter>,
    /// The time.
    pub clock: SharedClock,
    /// What is signed has to go on from what this edge saw.
    pub witness: Witness,
    /// Told if it does not.
    pub freshness: Arc<Freshness>,
}

impl Signer {
    /// Works for as long as the process runs, and the store is the one that it was: otherwise nothing is decided by it any more, and the process ends.
    pub fn start(self, lifecycle: &Lifecycle) {
        lifecycle.spawn("audit log's checkpoints", async move {
            loop {
                match self.sign().await {
                    Ok(()) => {}
                    Err(error @ WitnessError::Forgotten { .. }) => {
                        self.freshness.lost(&error);
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(error = %Causes(&error), "the audit log could not be signed; trying again later");
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
    }

    async fn sign(&self) -> Result<(), WitnessError> {
        let (seq, link) = self.witness.look(&self.store).await?;
        let (signed, at) = self
            .store
            .newest_checkpoint()
            .await?
            .unwrap_or((0, Timestamp::from_micros(0)));
        // What a revoked key signed proves nothing until a good one has signed again.
        let keys = self.minter.keys();
        let is_doubtful = keys.iter().any(|key| key.revoked_at >= Some(at));
        let is_due = seq - signed >= SIGN_AFTER_EVENTS
            || self.clock.now().since(at) >= SIGN_AFTER
            || is_doubtful;
        if seq == signed || !is_due {
            return Ok(());
        }
        let token = self.minter.checkpoint(seq, link);
        self.store.keep_checkpoint(seq, &token).await?;
        // Where logs are collected, this stands against whoever has both the store and the key.
        tracing::info!(seq, hash = %link, "the audit log was signed");
        Ok(())
    }
}
