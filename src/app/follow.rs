//! What the process follows while it runs: the store's change feed, the policy file, certificate files, and the time to tidy up.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

use crate::clock::{SharedClock, Timestamp};
use crate::config::checked::AuditConfig;
use crate::console::live::Live;
use crate::lifecycle::Lifecycle;
use crate::policy::model::Policy;
use crate::session::Sessions;
use crate::store::changes::Change;
use crate::store::{Store, StoreError};
use crate::telemetry::causes::Causes;
use crate::telemetry::metrics::Metrics;
use crate::token::programs::Programs;

/// How often expired rows are deleted.
const SWEEP_EVERY: Duration = Duration::from_secs(300);

/// Events that are older than they have to be are deleted once in so long, since that is an event itself.
const PRUNE_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Those who hold in memory what the store's feed tells of.
pub struct Following {
    /// Sessions, and what programs have of them.
    pub sessions: Arc<Sessions>,
    /// Programs whom the policy trusts.
    pub programs: Programs,
    /// Signing keys.
    pub keys_changed: Arc<Notify>,
    /// Files with roots that the policy names.
    pub policy_changed: Arc<Notify>,
    /// Pages of the console that are open.
    pub live: Arc<Live>,
}

impl Following {
    /// Passes a change on.
    pub fn apply(&self, change: &Change) {
        match change {
            Change::SessionEnded(id) => self.sessions.ended_elsewhere(id),
            Change::SessionRefreshed(id) => self.sessions.refreshed_elsewhere(id),
            Change::FamilyEnded(id) => self.sessions.families.ended(id),
            Change::SigningKeys => self.keys_changed.notify_one(),
            Change::PolicyRevision(_) => self.policy_changed.notify_one(),
            // The follower has published them already, or only pages show them.
            Change::GrantsChanged | Change::RequestsChanged | Change::DraftsChanged => {}
        }
        self.live.tell(change);
    }

    /// Trusts whom a policy trusts before it is in force: once it is seen to be, its issuers' tokens count, and what is trusted no more ends no later than its rules.
    pub fn trust(&self, policy: &Policy) {
        if self.programs.follow(policy) {
            self.sessions.providers_changed();
        }
    }
}

/// Deletes what has expired, for as long as the process runs. Every replica does it; the deletes are idempotent.
pub fn sweep(store: &Store, clock: &SharedClock, kept: &AuditConfig, lifecycle: &Lifecycle) {
    let (store, clock, kept) = (store.clone(), clock.clone(), kept.clone());
    lifecycle.spawn("sweep", async move {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            if let Err(error) = sweep_once(&store, clock.now(), &kept).await {
                tracing::warn!(error = %Causes(&error), "expired rows could not be deleted; trying again later");
            }
        }
    });
}

async fn sweep_once(store: &Store, now: Timestamp, kept: &AuditConfig) -> Result<(), StoreError> {
    store.sweep().await?;
    let events = now.minus(kept.keep_events);
    store.prune_events(events, PRUNE_AFTER).await?;
    let decisions = now.minus(kept.keep_decisions);
    store.prune_decisions(decisions).await
}

/// Hands an `Arc` to a maintenance loop of its own.
pub fn maintain<T, F>(
    lifecycle: &Lifecycle,
    name: &'static str,
    part: &Arc<T>,
    run: impl FnOnce(Arc<T>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    lifecycle.spawn(name, run(Arc::clone(part)));
}

/// Whether the policy file's newest content is in force: 1, or 0 while it is at fault.
#[derive(Clone)]
pub struct PolicyFileMetric(Gauge);

impl PolicyFileMetric {
    /// Starts at 1: the process does not start with a file at fault.
    pub fn new(metrics: &Metrics) -> Self {
        let gauge = Gauge::default();
        gauge.set(1);
        metrics.register(|registry| {
            registry.register(
                "wayleave_policy_file_ok",
                "Whether the policy file's newest content is in force (1) or at fault (0)",
                gauge.clone(),
            );
        });
        Self(gauge)
    }

    /// Whether the newest content is in force.
    pub fn is_good(&self) -> bool {
        self.0.get() == 1
    }

    /// An attempt to load it was made.
    pub fn note(&self, is_good: bool) {
        self.0.set(i64::from(is_good));
    }
}
