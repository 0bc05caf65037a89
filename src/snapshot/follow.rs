//! Following the change feed: new revisions are put in force, grants are read again, ended sessions are told of.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{SharedClock, Timestamp};
use crate::policy::model::Policy;
use crate::snapshot::grants::LiveGrants;
use crate::snapshot::{Freshness, SnapshotError, Snapshots, load_newer};
use crate::store::changes::{Change, FeedPoint};
use crate::store::{Store, StoreError};
use crate::telemetry::causes::Causes;

/// How long the store may be silent before it is asked again.
const POLL: Duration = Duration::from_secs(1);
/// How long one reading of the feed, and of a revision in it, may take.
const READ_DEADLINE: Duration = Duration::from_secs(10);

/// Follows the feed of one store.
pub struct Follower {
    /// Where the feed is.
    pub store: Store,
    /// Where new revisions are put in force.
    pub snapshots: Arc<Snapshots>,
    /// Where what is granted is published.
    pub grants: Arc<LiveGrants>,
    /// Told after each complete reading.
    pub freshness: Arc<Freshness>,
    /// For freshness.
    pub clock: SharedClock,
    /// Of the rules in force, as they were loaded.
    pub positions: Vec<i64>,
    /// Read from the store *before* the revision that is in force was loaded, so that no change can fall between.
    pub after: FeedPoint,
}

/// What the follower remembers from one reading to the next.
#[derive(Default)]
struct Progress {
    /// A revision was announced and could not be loaded yet.
    revision_waits: bool,
    /// Grants have changed and could not be read yet.
    grants_wait: bool,
    /// The last reading failed, and that is in the log.
    failing: bool,
}

impl Follower {
    /// `on_change` is called for every change in order, a revision's after it is in force and that of grants after they were read; `before_policy` for a revision right before. Neither may block.
    ///
    /// A revision that does not compile leaves the last good one in force. While the store does not answer, freshness stays as it is. Returns only where
    /// the store is not the one any more that was followed: from then on nothing is fresh, and the process has to start anew.
    pub async fn follow(
        mut self,
        before_policy: impl Fn(&Policy) + Send + Sync,
        on_change: impl Fn(&Change) + Send + Sync,
    ) {
        let mut progress = Progress::default();
        loop {
            let read = self.read(&mut progress, &before_policy, &on_change);
            let outcome = match tokio::time::timeout(READ_DEADLINE, read).await {
                Ok(outcome) => outcome,
                Err(_) => Err(SnapshotError::Deadline),
            };
            match outcome {
                Ok(()) if progress.failing => {
                    progress.failing = false;
                    tracing::info!("the store's changes are being followed again");
                }
                Ok(()) => {}
                Err(SnapshotError::Store(error @ StoreError::AnotherHistory)) => {
                    self.freshness.lost(&error);
                    return;
                }
                Err(error) if !progress.failing => {
                    progress.failing = true;
                    tracing::warn!(
                        error = %Causes(&error),
                        "the store's changes cannot be followed at present"
                    );
                }
                Err(_) => {}
            }
            if progress.failing {
                // A wait that fails at once must not become a busy loop.
                tokio::time::sleep(POLL).await;
            } else {
                self.store.wait_for_change(POLL).await;
            }
        }
    }

    async fn read(
        &mut self,
        progress: &mut Progress,
        before_policy: &(impl Fn(&Policy) + Send + Sync),
        on_change: &(impl Fn(&Change) + Send + Sync),
    ) -> Result<(), SnapshotError> {
        let asked_at = self.read_feed(progress, on_change).await?;
        // Before a revision, which may be slow to compile: what was taken away has to be gone at once.
        if progress.grants_wait {
            self.grants.reload(&self.store).await?;
            progress.grants_wait = false;
            on_change(&Change::GrantsChanged);
        }
        if progress.revision_waits {
            self.take_revision(before_policy, on_change).await?;
            progress.revision_waits = false;
        }
        self.freshness.mark(asked_at);
        Ok(())
    }

    /// Reads the feed to its end, and says when that was asked for.
    async fn read_feed(
        &mut self,
        progress: &mut Progress,
        on_change: &(impl Fn(&Change) + Send + Sync),
    ) -> Result<Timestamp, SnapshotError> {
        loop {
            let asked_at = self.clock.now();
            let page = self.store.changes_after(self.after).await?;
            if page.is_empty() {
                return Ok(asked_at);
            }
            for (point, change) in page {
                match change {
                    Some(Change::PolicyRevision(_)) => progress.revision_waits = true,
                    Some(Change::GrantsChanged) => progress.grants_wait = true,
                    Some(
                        change @ (Change::SessionEnded(_)
                        | Change::SessionRefreshed(_)
                        | Change::FamilyEnded(_)
                        | Change::SigningKeys
                        | Change::RequestsChanged
                        | Change::DraftsChanged),
                    ) => on_change(&change),
                    None => {}
                }
                self.after = point;
            }
        }
    }

    /// Several announced revisions are one reading: only the newest counts.
    async fn take_revision(
        &mut self,
        before_policy: &(impl Fn(&Policy) + Send + Sync),
        on_change: &(impl Fn(&Change) + Send + Sync),
    ) -> Result<(), SnapshotError> {
        let in_force = Arc::clone(&self.snapshots.current());
        match load_newer(&self.store, &in_force, &self.positions).await {
            Ok(Some(loaded)) => {
                let revision = loaded.policy.revision;
                self.positions = loaded.positions;
                before_policy(loaded.policy.policy());
                self.snapshots.publish(loaded.policy);
                tracing::info!(revision = revision.0, "a policy revision is in force");
                on_change(&Change::PolicyRevision(revision));
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error @ (SnapshotError::Store(_) | SnapshotError::Deadline)) => Err(error),
            Err(error @ (SnapshotError::Faults(_) | SnapshotError::Object { .. })) => {
                tracing::error!(
                    error = %Causes(&error),
                    in_force = in_force.revision.0,
                    "a policy revision cannot be used; the last good one stays in force"
                );
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs_send(_task: impl Future<Output = ()> + Send + 'static) {}

    #[test]
    fn following_can_be_spawned() {
        let _proof = |follower: Follower| needs_send(follower.follow(|_policy| (), |_change| ()));
    }
}
