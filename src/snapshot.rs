//! The policy in force and what is granted: loads the current revision, compiles it, publishes it to the data plane, and follows the change feed.
//!
//! Invariants: revisions only move forward; what cannot be read or compiled never replaces what is in force.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::identity::spiffe_id::TrustDomain;
use crate::policy::compile::CompiledPolicy;
use crate::policy::kind::Kind;
use crate::policy::model::Revision;
use crate::policy::yaml::PolicyFault;
use crate::store::policy::{PolicyObject, RowKind};
use crate::store::{Store, StoreError};

pub mod follow;
pub mod grants;
pub mod objects;
mod successor;

/// Why there is no snapshot of a revision.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The store cannot be read.
    #[error("the policy cannot be read from the store")]
    Store(#[from] StoreError),
    /// The store did not answer in time.
    #[error("the store did not answer in time")]
    Deadline,
    /// An object's body is no JSON of an object of its name.
    #[error("{} {name} in the store cannot be read", .kind.as_str())]
    Object {
        /// Its kind.
        kind: RowKind,
        /// Its name.
        name: String,
        /// What its JSON lacks; `None` where it is JSON of something else.
        source: Option<serde_json::Error>,
    },
    /// The objects are no policy together.
    #[error("the policy in the store has {} faults: {}", .0.len(), first(.0))]
    Faults(Vec<PolicyFault>),
}

fn first(faults: &[PolicyFault]) -> String {
    faults
        .first()
        .map(PolicyFault::to_string)
        .unwrap_or_default()
}

/// Stands for the empty policy of a store that has never had a revision.
pub const NOTHING: Revision = Revision(0);

/// A revision from the store.
#[derive(Debug)]
pub struct Loaded {
    /// Ready to decide by.
    pub policy: CompiledPolicy,
    /// Where each of its rules stands in the store, in the order written: by this the next revision's rules find their places.
    pub positions: Vec<i64>,
}

/// Loads and compiles the store's current revision, or [`NOTHING`].
pub async fn load(store: &Store, trust_domain: &TrustDomain) -> Result<Loaded, SnapshotError> {
    let revision = store.current_revision().await?;
    load_whole(store, revision, trust_domain).await
}

/// Loads the store's current revision, if it is newer than the one in force; for the cost of what differs, where that is little.
pub async fn load_newer(
    store: &Store,
    in_force: &CompiledPolicy,
    positions: &[i64],
) -> Result<Option<Loaded>, SnapshotError> {
    let newest = store.current_revision().await?;
    if newest.unwrap_or(NOTHING) < in_force.revision {
        return Err(StoreError::AnotherHistory.into());
    }
    let Some(revision) = newest.filter(|newest| *newest > in_force.revision) else {
        return Ok(None);
    };
    let loaded = successor::successor(store, in_force, positions, revision).await?;
    match loaded {
        Some(loaded) => Ok(Some(loaded)),
        None => load_whole(store, Some(revision), in_force.trust_domain())
            .await
            .map(Some),
    }
}

/// Loads and compiles a revision that there is; `None` is [`NOTHING`].
pub async fn load_revision(
    store: &Store,
    revision: Option<Revision>,
    trust_domain: &TrustDomain,
) -> Result<CompiledPolicy, SnapshotError> {
    let loaded = load_whole(store, revision, trust_domain).await?;
    Ok(loaded.policy)
}

async fn load_whole(
    store: &Store,
    revision: Option<Revision>,
    trust_domain: &TrustDomain,
) -> Result<Loaded, SnapshotError> {
    let objects = match revision {
        Some(revision) => store.policy_bodies(revision).await?,
        None => Vec::new(),
    };
    let trust_domain = trust_domain.clone();
    // A large policy computes for seconds, and requests go on meanwhile.
    let compiling = move || compiled(objects, revision.unwrap_or(NOTHING), &trust_domain);
    match tokio::task::spawn_blocking(compiling).await {
        Ok(loaded) => loaded,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(_) => Err(SnapshotError::Deadline),
    }
}

fn compiled(
    objects: Vec<PolicyObject>,
    revision: Revision,
    trust_domain: &TrustDomain,
) -> Result<Loaded, SnapshotError> {
    let policy = objects::from_objects(&objects)?;
    let rules = { objects.iter() }.filter(|object| object.kind == RowKind::Object(Kind::Rule));
    let positions = rules.map(|rule| rule.position).collect();
    // Compiling takes memory of its own.
    drop(objects);
    let policy = CompiledPolicy::new(policy, revision, trust_domain);
    Ok(Loaded {
        policy: policy.map_err(SnapshotError::Faults)?,
        positions,
    })
}

/// What every request is decided by; taken once per request.
pub struct Snapshots {
    current: ArcSwap<CompiledPolicy>,
    changed: watch::Sender<Revision>,
}

impl Snapshots {
    /// Starts with a compiled revision.
    pub fn new(policy: CompiledPolicy) -> Arc<Self> {
        let (changed, _) = watch::channel(policy.revision);
        Arc::new(Self {
            current: ArcSwap::from_pointee(policy),
            changed,
        })
    }

    /// The policy in force.
    pub fn current(&self) -> arc_swap::Guard<Arc<CompiledPolicy>> {
        self.current.load()
    }

    /// Puts a newer revision in force.
    pub fn publish(&self, policy: CompiledPolicy) {
        let revision = policy.revision;
        self.current.store(Arc::new(policy));
        self.changed.send_replace(revision);
    }

    /// Tells when another revision is in force, for long-lived streams.
    pub fn subscribe(&self) -> watch::Receiver<Revision> {
        self.changed.subscribe()
    }
}

/// How fresh our knowledge of the store is: written by the follower, read by health checks and the request path.
#[derive(Debug, Default)]
pub struct Freshness(std::sync::atomic::AtomicI64);

impl Freshness {
    /// The feed was read to its end at this time.
    pub fn mark(&self, at: Timestamp) {
        self.0
            .store(at.micros(), std::sync::atomic::Ordering::Release);
    }

    /// What we know is not of the store that there is now: nothing may be decided by it any more.
    pub fn lost(&self, why: &(dyn std::error::Error + 'static)) {
        self.mark(Timestamp::from_micros(0));
        tracing::error!(
            error = why,
            "everything is refused from now on, and this edge ends"
        );
    }

    /// When it was last read to its end.
    pub fn at(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(std::sync::atomic::Ordering::Acquire))
    }
}
