//! Says now and then in the store that this process serves, so that the console of any edge shows them all.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::SharedClock;
use crate::lifecycle::Lifecycle;
use crate::secret::random;
use crate::snapshot::{Freshness, Snapshots};
use crate::store::Store;
use crate::store::edges::EdgeRecord;
use crate::telemetry::causes::Causes;

/// How often.
const EVERY: Duration = Duration::from_secs(15);

/// What is said.
pub struct Heartbeat {
    /// Where.
    pub store: Store,
    /// The policy in force.
    pub snapshots: Arc<Snapshots>,
    /// When the store was last heard of.
    pub freshness: Arc<Freshness>,
    /// The time.
    pub clock: SharedClock,
}

impl Heartbeat {
    /// Beats for as long as the process runs.
    pub fn start(self, lifecycle: &Lifecycle) {
        let mut edge = EdgeRecord {
            id: hex::encode(random::<8>()),
            name: machine(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: 0,
            started_at: self.clock.now(),
            fresh_at: self.clock.now(),
            seen_at: self.clock.now(),
        };
        lifecycle.spawn("heartbeat", async move {
            loop {
                edge.revision = self.snapshots.current().revision.0;
                edge.fresh_at = self.freshness.at();
                edge.seen_at = self.clock.now();
                if let Err(error) = self.store.keep_edge(&edge).await {
                    tracing::debug!(error = %Causes(&error), "the store does not know that this edge serves");
                }
                tokio::time::sleep(EVERY).await;
            }
        });
    }
}

/// The machine's name, as Linux tells it.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "edge".to_owned(),
        name => name.chars().take(100).collect(),
    }
}
