//! The SVIDs of everybody who travels, and the bundle that workloads are verified with. Shared by all workers.

use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use quick_cache::sync::Cache;

use crate::clock::{SharedClock, Timestamp};
use crate::config::checked::{MeshConfig, SvidConfig};
use crate::identity::spiffe_id::MeshIdentity;
use crate::mesh::authority::{self, Authority, AuthorityError};
use crate::mesh::csr::ProvenKey;
use crate::mesh::svid::{HandedOut, Svid, SvidError};
use crate::mesh::verify::TrustBundle;
use crate::secret::sha256;
use crate::telemetry::causes::Causes;
use crate::telemetry::metrics::Metrics;

/// Identities whose SVIDs are kept.
const KEPT: usize = 65_536;
/// Locks that keep one identity from being signed for twice at once.
const SHARDS: usize = 64;

/// Signs SVIDs when they are wanted and keeps them for the first half of their lives.
pub struct Svids {
    mesh: ArcSwap<Mesh>,
    kept: Cache<MeshIdentity, Kept>,
    signing: [Mutex<()>; SHARDS],
    hasher: foldhash::quality::RandomState,
    clock: SharedClock,
    metrics: SvidMetrics,
}

/// What one successful reading of the mesh's files gave.
struct Mesh {
    authority: Authority,
    generation: u64,
    fingerprint: [u8; 32],
}

#[derive(Clone)]
struct Kept {
    generation: u64,
    svid: Arc<Svid>,
}

struct SvidMetrics {
    signed: Counter,
    handed_out: Counter,
    failed: Counter,
    reload_failures: Counter,
    authority_ends: Gauge,
}

impl SvidMetrics {
    fn new(metrics: &Metrics) -> Self {
        let this = Self {
            signed: Counter::default(),
            handed_out: Counter::default(),
            failed: Counter::default(),
            reload_failures: Counter::default(),
            authority_ends: Gauge::default(),
        };
        metrics.register(|registry| {
            registry.register("wayleave_svids_signed", "SVIDs signed", this.signed.clone());
            registry.register(
                "wayleave_svids_handed_out",
                "X.509-SVIDs signed for keys that people keep themselves",
                this.handed_out.clone(),
            );
            registry.register(
                "wayleave_svid_failures",
                "SVIDs that could not be signed",
                this.failed.clone(),
            );
            registry.register(
                "wayleave_mesh_reload_failures",
                "Readings of the mesh's certificate authority or bundle that failed; the last good ones stay in use",
                this.reload_failures.clone(),
            );
            registry.register(
                "wayleave_mesh_authority_not_after_seconds",
                "When the edge's certificate authority ends, in seconds since 1970",
                this.authority_ends.clone(),
            );
        });
        this
    }
}

impl Svids {
    /// Reads authority and bundle, and tries them.
    pub fn new(
        mesh: &MeshConfig,
        clock: SharedClock,
        metrics: &Metrics,
    ) -> Result<Self, AuthorityError> {
        let fingerprint = fingerprint(mesh)?;
        let mesh = Mesh::load(mesh, fingerprint, 0, clock.now())?;
        let metrics = SvidMetrics::new(metrics);
        metrics.authority_ends.set(mesh.authority.ends().seconds());
        Ok(Self {
            mesh: ArcSwap::from_pointee(mesh),
            kept: Cache::new(KEPT),
            signing: [const { Mutex::new(()) }; SHARDS],
            hasher: foldhash::quality::RandomState::default(),
            clock,
            metrics,
        })
    }

    /// Reads authority and bundle again. Where that fails, or nothing has changed, what is in use stays.
    /// After a change every SVID is signed anew, and no connection is used again that was verified with the former bundle.
    pub fn reload(&self, mesh: &MeshConfig, now: Timestamp) -> Result<(), AuthorityError> {
        let result = self.try_reload(mesh, now);
        if let Err(error) = &result {
            self.metrics.reload_failures.inc();
            tracing::error!(error = %Causes(&error), "the mesh's certificate authority or bundle cannot be used; the last good ones stay in use");
        }
        result
    }

    fn try_reload(&self, mesh: &MeshConfig, now: Timestamp) -> Result<(), AuthorityError> {
        let fingerprint = fingerprint(mesh)?;
        let current = self.mesh.load();
        if fingerprint == current.fingerprint {
            return Ok(());
        }
        let generation = current.generation + 1;
        let new = Mesh::load(mesh, fingerprint, generation, now)?;
        self.metrics
            .authority_ends
            .set(new.authority.ends().seconds());
        self.mesh.store(Arc::new(new));
        tracing::info!("the mesh's certificate authority and bundle were read anew");
        Ok(())
    }

    /// Counts successful reloads: an SVID got under a former number is not to be used any longer.
    pub fn generation(&self) -> u64 {
        self.mesh.load().generation
    }

    /// When the edge's own authority began and when it ends.
    pub fn authority_lives(&self) -> (Timestamp, Timestamp) {
        let mesh = self.mesh.load();
        (mesh.authority.begins(), mesh.authority.ends())
    }

    /// The roots that workloads have to lead to.
    pub fn bundle(&self) -> Arc<TrustBundle> {
        Arc::clone(self.mesh.load().authority.bundle())
    }

    /// The SVID at hand if it is in the first half of its life.
    pub fn at_hand(&self, identity: &MeshIdentity) -> Option<Arc<Svid>> {
        let kept = self.kept.get(identity)?;
        let is_fresh =
            kept.generation == self.generation() && self.clock.now() < kept.svid.renew_at;
        is_fresh.then_some(kept.svid)
    }

    /// A valid SVID: the one at hand, or a new one (tens of microseconds). If signing fails, the former one serves until it ends.
    pub fn svid(&self, identity: &MeshIdentity) -> Result<Arc<Svid>, SvidError> {
        if let Some(svid) = self.at_hand(identity) {
            return Ok(svid);
        }
        let shard = usize::try_from(self.hasher.hash_one(identity) % (SHARDS as u64)).unwrap_or(0);
        let _one_at_a_time = self
            .signing
            .get(shard)
            .map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner));
        // Somebody else may have signed it while this one waited.
        if let Some(svid) = self.at_hand(identity) {
            return Ok(svid);
        }
        let mesh = self.mesh.load_full();
        let now = self.clock.now();
        match mesh.authority.sign(identity, now) {
            Ok(svid) => {
                let svid = Arc::new(svid);
                self.metrics.signed.inc();
                let kept = Kept {
                    generation: mesh.generation,
                    svid: Arc::clone(&svid),
                };
                self.kept.insert(identity.clone(), kept);
                Ok(svid)
            }
            Err(error) => {
                self.metrics.failed.inc();
                tracing::error!(%identity, error = %Causes(&error), "no new SVID can be signed");
                // What a former authority signed does not count: it may have been replaced for a reason.
                self.kept
                    .get(identity)
                    .filter(|kept| kept.generation == mesh.generation && now < kept.svid.not_after)
                    .map(|kept| kept.svid)
                    .ok_or(error)
            }
        }
    }
}

impl Svids {
    /// Signs an SVID for a key that somebody keeps themselves, until then at the latest. Not kept: each is signed once.
    pub fn hand_out(
        &self,
        identity: &MeshIdentity,
        key: &ProvenKey,
        until: Timestamp,
    ) -> Result<HandedOut, SvidError> {
        let mesh = self.mesh.load();
        let signed = mesh
            .authority
            .sign_for(identity, key, self.clock.now(), until);
        match &signed {
            Ok(_) => self.metrics.handed_out.inc(),
            Err(error) => {
                tracing::error!(%identity, error = %Causes(&error), "no SVID can be signed for somebody's own key");
                self.metrics.failed.inc()
            }
        };
        signed
    }
}

impl Mesh {
    fn load(
        mesh: &MeshConfig,
        fingerprint: [u8; 32],
        generation: u64,
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        Ok(Self {
            authority: Authority::load(mesh, now)?,
            generation,
            fingerprint,
        })
    }
}

/// Of everything that a reading depends on, so that reading the same twice changes nothing.
fn fingerprint(mesh: &MeshConfig) -> Result<[u8; 32], AuthorityError> {
    let SvidConfig::Ca {
        chain_file,
        key_file,
        namespaces,
        lifetime,
    } = &mesh.svid;
    let words = format!("{}{namespaces:?}{lifetime:?}", mesh.trust_domain.as_str());
    let mut hashes = sha256(words.as_bytes()).to_vec();
    for file in [chain_file, key_file, &mesh.bundle_file] {
        let text = zeroize::Zeroizing::new(authority::read(file)?);
        hashes.extend_from_slice(&sha256(&text));
    }
    Ok(sha256(&hashes))
}

#[cfg(test)]
pub(crate) mod tests;
