//! The demonstration's certificate authorities: one root for the mesh, with an intermediate for the edge; and one for the https front door.
//! P-256, made anew each time, good for a day.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};

use crate::clock::Timestamp;
use crate::demo::DemoError;

/// How long certificates are good for, and how far back they begin.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const BACKDATED: Duration = Duration::from_secs(5 * 60);

/// Signs everything that the demonstration needs.
pub struct Authority {
    mesh_root: CertifiedIssuer<'static, KeyPair>,
    door_root: CertifiedIssuer<'static, KeyPair>,
    now: Timestamp,
}

/// A certificate chain and its key, PEM.
pub struct Issued {
    /// Leaf (or intermediate) first; the root is not in it.
    pub chain: String,
    /// PKCS#8.
    pub key: String,
}

impl Authority {
    /// New roots.
    pub fn new(now: Timestamp) -> Result<Self, DemoError> {
        let root = |name: &str| -> Result<_, DemoError> {
            let params = authority(name, BasicConstraints::Constrained(1), now);
            Ok(CertifiedIssuer::self_signed(params, new_key()?)?)
        };
        Ok(Self {
            mesh_root: root("Wayleave demo mesh root")?,
            door_root: root("Wayleave demo front door root")?,
            now,
        })
    }

    /// The root of the demo mesh, PEM: the trust domain's bundle.
    pub fn mesh_bundle(&self) -> String {
        self.mesh_root.pem()
    }

    /// The root of the front door's certificate, PEM: for `curl --cacert`.
    pub fn door_bundle(&self) -> String {
        self.door_root.pem()
    }

    /// The edge's intermediate CA under the mesh's root.
    pub fn edge_authority(&self) -> Result<Issued, DemoError> {
        let params = authority(
            "Wayleave demo edge CA",
            BasicConstraints::Constrained(0),
            self.now,
        );
        issue(params, &self.mesh_root)
    }

    /// A workload's X.509-SVID: exactly one URI SAN, no host names.
    pub fn workload(&self, spiffe_id: &str) -> Result<Issued, DemoError> {
        let mut params = leaf("Wayleave demo workload", self.now);
        params.subject_alt_names = vec![SanType::URI(spiffe_id.try_into()?)];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        issue(params, &self.mesh_root)
    }

    /// The front door's certificate. Each host is named beside `*.localhost`, since many clients accept no wildcard directly under a top-level name.
    pub fn front_door(&self, hosts: &[&str]) -> Result<Issued, DemoError> {
        let mut params = leaf("Wayleave demo front door", self.now);
        for host in hosts.iter().chain(&["localhost", "*.localhost"]) {
            params
                .subject_alt_names
                .push(SanType::DnsName((*host).try_into()?));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        issue(params, &self.door_root)
    }
}

fn new_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}

fn issue(
    params: CertificateParams,
    issuer: &CertifiedIssuer<'static, KeyPair>,
) -> Result<Issued, DemoError> {
    let key = new_key()?;
    let certificate = params.signed_by(&key, issuer)?;
    Ok(Issued {
        chain: certificate.pem(),
        key: key.serialize_pem(),
    })
}

fn named(name: &str, now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = now.minus(BACKDATED).to_offset_date_time();
    params.not_after = now.plus(LIFETIME).to_offset_date_time();
    params
}

fn authority(name: &str, constraints: BasicConstraints, now: Timestamp) -> CertificateParams {
    let mut params = named(name, now);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(name: &str, now: Timestamp) -> CertificateParams {
    let mut params = named(name, now);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}
