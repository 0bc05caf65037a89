//! Whether certificates and keys are what the edge needs: by using them, as the edge would.

use super::with_cause;
use crate::clock::Timestamp;
use crate::config::checked::{CertificateFiles, MeshConfig};
use crate::edge::tls::certificates::Certificate;
use crate::mesh::authority::Authority;

/// A listener's chain and key: loaded as the edge loads them.
pub(super) fn front_door(files: &CertificateFiles, now: Timestamp) -> Result<String, String> {
    let certificate = Certificate::load(files, now).map_err(|fault| with_cause(&fault))?;
    let names = certificate.names.join(", ");
    Ok(format!("for {names}, until {}", certificate.ends.rfc3339()))
}

/// The edge's own CA: loaded as the edge loads it, which signs a throw-away certificate and verifies it against the bundle.
pub(super) fn authority(mesh: &MeshConfig, now: Timestamp) -> Result<String, String> {
    let authority = Authority::load(mesh, now).map_err(|error| with_cause(&error))?;
    Ok(format!("until {}", authority.ends().rfc3339()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::config::checked::SvidConfig;
    use crate::demo::stage::{Ports, Stage};
    use crate::identity::spiffe_id::TrustDomain;
    use crate::lifecycle::Lifecycle;

    const ANY: Ports = Ports {
        http: 0,
        https: 0,
        admin: 0,
        identity_provider: 0,
    };

    fn mesh(stage: &Stage, chain: &str, key: &str, bundle: &str) -> MeshConfig {
        MeshConfig {
            trust_domain: TrustDomain::parse("demo.wayleave").unwrap(),
            bundle_file: stage.path(bundle),
            svid: SvidConfig::Ca {
                chain_file: stage.path(chain),
                key_file: stage.path(key),
                namespaces: vec!["people".to_owned()],
                lifetime: Duration::from_secs(900),
            },
        }
    }

    #[tokio::test]
    async fn authorities_and_certificates_are_tried_by_using_them() {
        let lifecycle = Lifecycle::new();
        let stage = Stage::set_up(ANY, Arc::new(SystemClock), &lifecycle)
            .await
            .unwrap();
        let now = SystemClock.now();
        let good = mesh(&stage, "edge-ca.pem", "edge-ca.key", "mesh-root.pem");
        authority(&good, now).unwrap();
        for (chain, key, bundle) in [
            ("edge-ca.pem", "front-door.key", "mesh-root.pem"),
            ("edge-ca.pem", "edge-ca.key", "front-door-root.pem"),
            ("front-door.pem", "front-door.key", "front-door-root.pem"),
            ("edge-ca.pem", "store.key", "mesh-root.pem"),
            ("store.key", "edge-ca.key", "mesh-root.pem"),
        ] {
            let bad = authority(&mesh(&stage, chain, key, bundle), now);
            assert!(bad.is_err(), "{chain} {key} {bundle}");
        }
        let later = now.plus(Duration::from_secs(48 * 3600));
        assert!(
            authority(&good, later)
                .unwrap_err()
                .contains("ends too soon")
        );
        let files = |key: &str| CertificateFiles {
            chain: stage.path("front-door.pem"),
            key: stage.path(key),
        };
        let door = front_door(&files("front-door.key"), now).unwrap();
        assert!(door.contains("grafana.localhost"), "{door}");
        assert!(front_door(&files("edge-ca.key"), now).is_err());
        lifecycle.stop(Duration::from_secs(5)).await;
        let folder = stage.path("");
        stage.close().unwrap();
        assert!(!folder.exists(), "nothing is left behind");
    }
}
