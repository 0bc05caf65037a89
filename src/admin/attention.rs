//! What somebody should look at: oddities of the policy in force, and what ends soon. The policy is looked at beside the requests, since that takes
//! longer than a page may.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::admin::actor::{Actor, NotPermitted};
use crate::clock::SharedClock;
use crate::policy::lint::{Finding, Seen, lint};
use crate::policy::model::Revision;
use crate::policy::roles::Permission;
use crate::snapshot::{NOTHING, Snapshots};
use crate::store::Store;

/// Groups and ends change without the policy: it is looked at again after so long.
const AGAIN: Duration = Duration::from_secs(300);

/// What was found in a revision.
#[derive(Clone, Debug)]
pub struct Findings {
    /// Which; [`NOTHING`] before the first look.
    pub revision: Revision,
    /// What is odd about it.
    pub findings: Vec<Finding>,
}

/// Keeps the findings of the policy in force.
pub struct Attention {
    store: Store,
    snapshots: Arc<Snapshots>,
    clock: SharedClock,
    found: ArcSwap<Findings>,
}

impl Attention {
    /// Has found nothing yet.
    pub fn new(store: Store, snapshots: Arc<Snapshots>, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self {
            store,
            snapshots,
            clock,
            found: ArcSwap::from_pointee(Findings {
                revision: NOTHING,
                findings: Vec::new(),
            }),
        })
    }

    /// What was found last.
    pub fn findings(&self, actor: &Actor) -> Result<Arc<Findings>, NotPermitted> {
        actor.check(Permission::ReadPolicy)?;
        Ok(self.found.load_full())
    }

    /// Looks at each revision that comes into force, and again now and then; runs until cancelled.
    pub async fn maintain(self: Arc<Self>) {
        let mut changes = self.snapshots.subscribe();
        loop {
            self.look().await;
            let _changed_or_time = tokio::time::timeout(AGAIN, changes.changed()).await;
        }
    }

    /// Looks now.
    pub async fn look(&self) {
        let policy = Arc::clone(&self.snapshots.current());
        // Without the store nothing is said of groups.
        let groups = self.store.groups_seen().await.unwrap_or_default();
        let now = self.clock.now().to_jiff();
        let looking = tokio::task::spawn_blocking(move || Findings {
            revision: policy.revision,
            findings: lint(policy.policy(), now, &Seen { groups }),
        });
        if let Ok(found) = looking.await {
            self.found.store(Arc::new(found));
        }
    }
}
