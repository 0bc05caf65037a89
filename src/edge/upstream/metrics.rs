//! Metrics of connections to upstreams.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::telemetry::metrics::Metrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OpenedLabels {
    protocol: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailedLabels {
    reason: &'static str,
}

/// Counters of all workers. Cheap to clone.
#[derive(Clone, Default)]
pub struct UpstreamMetrics {
    opened: Family<OpenedLabels, Counter>,
    failed: Family<FailedLabels, Counter>,
    /// Requests that went over a connection used before.
    pub reused: Counter,
    /// Requests that were sent again because the connection had ended meanwhile.
    pub retried: Counter,
}

impl UpstreamMetrics {
    /// Registers the families.
    pub fn new(metrics: &Metrics) -> Self {
        let this = Self::default();
        metrics.register(|registry| {
            registry.register(
                "wayleave_upstream_connections_opened",
                "Connections opened to upstreams",
                this.opened.clone(),
            );
            registry.register(
                "wayleave_upstream_failures",
                "Requests that got no answer from an upstream",
                this.failed.clone(),
            );
            registry.register(
                "wayleave_upstream_reused",
                "Requests sent over a connection that was used before",
                this.reused.clone(),
            );
            registry.register(
                "wayleave_upstream_retried",
                "Requests sent again because the pooled connection had ended meanwhile",
                this.retried.clone(),
            );
        });
        this
    }

    pub(super) fn opened(&self, protocol: &'static str) {
        self.opened
            .get_or_create_owned(&OpenedLabels { protocol })
            .inc();
    }

    pub(super) fn failed(&self, reason: &'static str) {
        self.failed
            .get_or_create_owned(&FailedLabels { reason })
            .inc();
    }
}
