//! Whether certificates and keys are what the edge needs: by using them, as the edge would.

use std::error::Error;
use std::path::Path;

use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::clock::Timestamp;
use crate::config::checked::{CertificateFiles, MeshConfig};
use crate::mesh::authority::Authority;

/// A listener's chain and key: they belong together, are in force, and have DNS names.
pub(super) fn front_door(files: &CertificateFiles, now: Timestamp) -> Result<String, String> {
    let chain = certificates(&files.chain)?;
    let leaf = parsed(&chain[0], &files.chain)?;
    let key = key(&files.key)?;
    if leaf.public_key().raw != key.subject_public_key_info() {
        let key = files.key.display();
        return Err(format!(
            "{key} is not the key of the first certificate in the file"
        ));
    }
    in_force(&leaf, now)?;
    let names = dns_names(&leaf);
    if names.is_empty() {
        return Err(
            "the certificate has no DNS names; browsers and the edge choose by them".into(),
        );
    }
    Ok(format!(
        "for {}, until {}",
        names.join(", "),
        ends(&leaf).rfc3339()
    ))
}

/// The edge's own CA: loaded as the edge loads it, which signs a throw-away certificate and verifies it against the bundle.
pub(super) fn authority(mesh: &MeshConfig, now: Timestamp) -> Result<String, String> {
    let authority = Authority::load(mesh, now).map_err(|error| match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })?;
    Ok(format!("until {}", authority.ends().rfc3339()))
}

/// All certificates of a PEM file; at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = file.display();
    let text = std::fs::read(file).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|_| format!("{shown} is not PEM"))?;
    if certificates.is_empty() {
        return Err(format!("{shown} holds no certificate"));
    }
    Ok(certificates)
}

fn key(file: &Path) -> Result<KeyPair, String> {
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map(zeroize::Zeroizing::new)
        .map_err(|error| format!("{shown} cannot be read: {error}"))?;
    KeyPair::from_pem(&text).map_err(|_| {
        format!("{shown} holds no private key that can be used (PKCS#8, PKCS#1 or SEC1, PEM)")
    })
}

fn parsed<'a>(der: &'a CertificateDer<'_>, file: &Path) -> Result<X509Certificate<'a>, String> {
    let (_, certificate) = X509Certificate::from_der(der)
        .map_err(|_| format!("{} holds no readable certificate", file.display()))?;
    Ok(certificate)
}

fn in_force(certificate: &X509Certificate<'_>, now: Timestamp) -> Result<(), String> {
    let begins = Timestamp::from_seconds(certificate.validity().not_before.timestamp());
    if now < begins {
        return Err(format!("it is not in force before {}", begins.rfc3339()));
    }
    if now > ends(certificate) {
        return Err(format!("it ended at {}", ends(certificate).rfc3339()));
    }
    Ok(())
}

fn ends(certificate: &X509Certificate<'_>) -> Timestamp {
    Timestamp::from_seconds(certificate.validity().not_after.timestamp())
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names
        .into_iter()
        .flat_map(|names| &names.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
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
