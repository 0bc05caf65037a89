//! Keeping, renewing and reloading, with a clock that is moved.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Svids;
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::config::checked::{MeshConfig, SvidConfig};
use crate::demo::authority::{Authority, Issued};
use crate::identity::spiffe_id::{MeshIdentity, TrustDomain};
use crate::mesh::svid::SvidError;
use crate::telemetry::metrics::Metrics;

const HOUR: Duration = Duration::from_secs(3600);

/// A mesh whose files are in `folder`; [`write_mesh`] puts them there.
pub(crate) fn mesh_config(folder: &Path, lifetime: Duration) -> MeshConfig {
    MeshConfig {
        trust_domain: TrustDomain::parse("demo.wayleave").unwrap(),
        bundle_file: folder.join("root.pem"),
        svid: SvidConfig::Ca {
            chain_file: folder.join("ca.pem"),
            key_file: folder.join("ca.key"),
            namespaces: vec!["people".to_owned()],
            lifetime,
        },
    }
}

pub(crate) fn write_mesh(folder: &Path, authority: &Authority, edge: &Issued) {
    for (name, text) in [
        ("root.pem", &authority.mesh_bundle()),
        ("ca.pem", &edge.chain),
        ("ca.key", &edge.key),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

struct Stage {
    folder: tempfile::TempDir,
    authority: Authority,
    clock: Arc<ManualClock>,
    config: MeshConfig,
    metrics: Metrics,
}

impl Stage {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let folder = tempfile::tempdir().unwrap();
        let config = mesh_config(folder.path(), HOUR);
        let stage = Self {
            authority: Authority::new(clock.now()).unwrap(),
            folder,
            clock,
            config,
            metrics: Metrics::default(),
        };
        stage.write(&stage.authority.edge_authority().unwrap());
        stage
    }

    fn write(&self, edge: &Issued) {
        write_mesh(self.folder.path(), &self.authority, edge);
    }

    fn svids(&self) -> Svids {
        Svids::new(&self.config, self.clock.clone(), &self.metrics).unwrap()
    }
}

fn person(name: &str) -> MeshIdentity {
    MeshIdentity::parse(&format!("spiffe://demo.wayleave/ns/people/sa/{name}")).unwrap()
}

#[test]
fn an_svid_is_kept_for_half_its_life() {
    let stage = Stage::new();
    let svids = stage.svids();
    let alice = person("alice");
    assert!(svids.at_hand(&alice).is_none());
    let first = svids.svid(&alice).unwrap();
    assert_eq!(first.identity, alice);
    assert_ne!(svids.svid(&person("bob")).unwrap().identity, alice);
    stage.clock.advance(HOUR / 2 - Duration::from_secs(1));
    assert_eq!(svids.svid(&alice).unwrap().thumbprint, first.thumbprint);
    stage.clock.advance(Duration::from_secs(1));
    assert!(svids.at_hand(&alice).is_none());
    let second = svids.svid(&alice).unwrap();
    assert_ne!(second.thumbprint, first.thumbprint);
    assert!(second.not_after > first.not_after);
}

#[test]
fn many_who_ask_at_once_get_the_same() {
    let stage = Stage::new();
    let svids = stage.svids();
    let alice = person("alice");
    let thumbprints: std::collections::HashSet<String> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| svids.svid(&alice).unwrap().thumbprint.clone()))
            .collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(thumbprints.len(), 1);
    assert!(
        stage
            .metrics
            .encode()
            .contains("wayleave_svids_signed_total 1\n")
    );
}

#[test]
fn a_former_svid_serves_until_it_ends_and_no_longer() {
    let stage = Stage::new();
    let svids = stage.svids();
    let alice = person("alice");
    // The authority is good for a day, less a minute: what is signed in its last hour is shorter.
    stage.clock.advance(23 * HOUR);
    let last = svids.svid(&alice).unwrap();
    let ends = svids.mesh.load().authority.ends();
    let almost = ends
        .minus(Duration::from_secs(60))
        .since(stage.clock.now())
        .saturating_sub(Duration::from_millis(1));
    stage.clock.advance(almost);
    assert!(svids.svid(&alice).unwrap().not_after <= last.not_after);
    stage.clock.advance(Duration::from_secs(1));
    assert_eq!(
        svids.svid(&alice).unwrap_err(),
        SvidError::AuthorityExpired,
        "never an expired one"
    );
}

#[test]
fn c12_a_reload_signs_anew_and_a_bad_one_changes_nothing() {
    let stage = Stage::new();
    let svids = stage.svids();
    let alice = person("alice");
    let first = svids.svid(&alice).unwrap();
    svids.reload(&stage.config, stage.clock.now()).unwrap();
    assert_eq!(svids.generation(), 0, "nothing has changed");
    assert_eq!(svids.svid(&alice).unwrap().thumbprint, first.thumbprint);

    std::fs::write(stage.folder.path().join("ca.key"), "garbage").unwrap();
    assert!(svids.reload(&stage.config, stage.clock.now()).is_err());
    assert_eq!(svids.svid(&alice).unwrap().thumbprint, first.thumbprint);
    assert!(
        stage
            .metrics
            .encode()
            .contains("wayleave_mesh_reload_failures_total 1\n")
    );

    stage.write(&stage.authority.edge_authority().unwrap());
    svids.reload(&stage.config, stage.clock.now()).unwrap();
    let second = svids.svid(&alice).unwrap();
    assert_ne!(second.thumbprint, first.thumbprint);
    assert_ne!(second.chain[1], first.chain[1], "the new intermediate");

    // An authority that may not sign for them any longer: what the former signed is no way round that.
    let mut narrower = stage.config.clone();
    let SvidConfig::Ca { namespaces, .. } = &mut narrower.svid;
    *namespaces = vec!["robots".to_owned()];
    svids.reload(&narrower, stage.clock.now()).unwrap();
    assert_eq!(
        svids.svid(&alice).unwrap_err(),
        SvidError::Namespace("people".to_owned())
    );
}
