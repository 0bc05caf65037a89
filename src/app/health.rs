//! Whether the process can do its work: asked by the readiness endpoint, published as metrics.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

use crate::clock::SharedClock;
use crate::lifecycle::Lifecycle;
use crate::snapshot::{Freshness, Snapshots};
use crate::telemetry::metrics::Metrics;

/// What readiness depends on.
pub struct Health {
    clock: SharedClock,
    lifecycle: Lifecycle,
    freshness: Arc<Freshness>,
    snapshots: Arc<Snapshots>,
    max_staleness: Duration,
    revision: Gauge,
    staleness: Gauge,
}

/// One thing that was looked at.
pub struct Check {
    /// What it is.
    pub name: &'static str,
    /// What is wrong with it, if anything.
    pub fault: Option<String>,
}

impl Health {
    /// Registers its gauges.
    pub fn new(
        clock: SharedClock,
        lifecycle: Lifecycle,
        freshness: Arc<Freshness>,
        snapshots: Arc<Snapshots>,
        max_staleness: Duration,
        metrics: &Metrics,
    ) -> Self {
        let revision = Gauge::default();
        let staleness = Gauge::default();
        metrics.register(|registry| {
            registry.register(
                "wayleave_policy_revision",
                "The policy revision in force",
                revision.clone(),
            );
            registry.register(
                "wayleave_store_staleness_seconds",
                "How long ago the store's change feed was last read to its end",
                staleness.clone(),
            );
        });
        Self {
            clock,
            lifecycle,
            freshness,
            snapshots,
            max_staleness,
            revision,
            staleness,
        }
    }

    fn stale_for(&self) -> Duration {
        self.clock.now().since(self.freshness.at())
    }

    /// Everything that readiness depends on.
    pub fn checks(&self) -> Vec<Check> {
        let draining = self
            .lifecycle
            .is_draining()
            .then(|| "the process is draining".to_owned());
        let stale = self.stale_for();
        let store = (stale > self.max_staleness)
            .then(|| format!("no word from the store for {} s", stale.as_secs()));
        vec![
            Check {
                name: "lifecycle",
                fault: draining,
            },
            Check {
                name: "store",
                fault: store,
            },
        ]
    }

    /// Brings the gauges up to date.
    pub fn publish(&self) {
        self.revision.set(self.snapshots.current().revision.0);
        self.staleness
            .set(i64::try_from(self.stale_for().as_secs()).unwrap_or(i64::MAX));
    }
}
