//! The edge's own certificate authority: an intermediate under the mesh's root that signs short-lived SVIDs (as Istio's plug-in CA does).
//!
//! It keeps its own list of namespaces and refuses all others, whatever the identity mappings say: the mapping code may be wrong, the signer may not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SubjectPublicKeyInfo,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::config::checked::{MeshConfig, SvidConfig};
use crate::identity::spiffe_id::{MeshIdentity, TrustDomain};
use crate::mesh::csr::ProvenKey;
use crate::mesh::svid::{HandedOut, Svid, SvidError};
use crate::mesh::verify::TrustBundle;
use crate::secret::{random, sha256};
use crate::tls;

/// SVIDs begin this long ago, for workloads whose clocks are behind.
const BACKDATED: Duration = Duration::from_secs(120);
/// An SVID ends at least this long before its authority does.
const MARGIN: Duration = Duration::from_secs(60);
/// The name that is signed once when an authority is loaded, to see that what it signs is good.
const TRIAL: &str = "wayleave-trial";

/// Signs SVIDs for the namespaces it is configured for.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Sent behind each leaf: our intermediate and those above it, without roots.
    intermediates: Vec<CertificateDer<'static>>,
    trust_domain: TrustDomain,
    namespaces: Vec<String>,
    lifetime: Duration,
    begins: Timestamp,
    ends: Timestamp,
    /// What it was tried out against.
    bundle: Arc<TrustBundle>,
}

/// Why an authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file is not there or not readable.
    #[error("{} cannot be read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {what}", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The trial certificate could not be signed.
    #[error("the certificate authority cannot sign")]
    Trial(#[from] SvidError),
    /// What it signs does not verify against the bundle.
    #[error(
        "what the certificate authority signs does not verify against the bundle: {0}; do key, chain and bundle belong together?"
    )]
    Chain(webpki::Error),
}

impl Authority {
    /// Reads chain and key, and tries them: signs a certificate whose key is thrown away and verifies it against the bundle.
    /// That works only if key and certificate belong together, the certificate may sign, and all of the chain is in force.
    pub fn load(mesh: &MeshConfig, now: Timestamp) -> Result<Self, AuthorityError> {
        let SvidConfig::Ca {
            chain_file,
            key_file,
            namespaces,
            lifetime,
        } = &mesh.svid;
        let chain = certificates(chain_file)?;
        let unusable = |file: &Path, what| AuthorityError::Content {
            file: file.to_owned(),
            what,
        };
        let (_, own) = X509Certificate::from_der(&chain[0])
            .map_err(|_| unusable(chain_file, "certificate"))?;
        let begins = Timestamp::from_seconds(own.validity().not_before.timestamp());
        let ends = Timestamp::from_seconds(own.validity().not_after.timestamp());
        let key =
            String::from_utf8(read(key_file)?).map_err(|_| unusable(key_file, "private key"))?;
        let key = KeyPair::from_pem(&Zeroizing::new(key))
            .map_err(|_| unusable(key_file, "private key"))?;
        let issuer = Issuer::from_ca_cert_der(&chain[0], key)
            .map_err(|_| unusable(chain_file, "certificate authority"))?;
        let roots = certificates(&mesh.bundle_file)?;
        let bundle = TrustBundle::new(mesh.trust_domain.clone(), &roots)
            .ok_or_else(|| unusable(&mesh.bundle_file, "trust anchor"))?;
        let authority = Self {
            issuer,
            intermediates: chain
                .into_iter()
                .filter(|certificate| !is_root(certificate))
                .collect(),
            trust_domain: mesh.trust_domain.clone(),
            namespaces: namespaces.clone(),
            lifetime: *lifetime,
            begins,
            ends,
            bundle: Arc::new(bundle),
        };
        authority.try_out(now)?;
        Ok(authority)
    }

    /// When the authority's own certificate began.
    pub fn begins(&self) -> Timestamp {
        self.begins
    }

    /// When the authority's own certificate ends.
    pub fn ends(&self) -> Timestamp {
        self.ends
    }

    /// The trust bundle that what it signs leads to.
    pub fn bundle(&self) -> &Arc<TrustBundle> {
        &self.bundle
    }

    /// Signs an SVID with a new P-256 key: exactly one URI SAN, no subject, not a CA, for TLS clients and servers.
    pub fn sign(&self, identity: &MeshIdentity, now: Timestamp) -> Result<Svid, SvidError> {
        let not_after = self.may_sign(identity, now, None)?;
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(|_| SvidError::Signing)?;
        let usages = &[
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let leaf = leaf(identity, now, not_after, usages)
            .and_then(|params| params.signed_by(&key, &self.issuer))
            .map_err(|_| SvidError::Signing)?;
        let chain = self.chain(leaf.der());
        Ok(Svid {
            identity: identity.clone(),
            renew_at: now.plus(not_after.since(now) / 2),
            not_after,
            thumbprint: thumbprint(leaf.der()),
            chain,
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        })
    }

    /// Signs an SVID for the key of somebody who keeps it themselves: as [`Self::sign`], but not for servers, and up to `until` at the latest.
    pub fn sign_for(
        &self,
        identity: &MeshIdentity,
        key: &ProvenKey,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<HandedOut, SvidError> {
        let not_after = self.may_sign(identity, now, Some(until))?;
        let key = SubjectPublicKeyInfo::from_der(key.info()).map_err(|_| SvidError::Signing)?;
        let usages = &[ExtendedKeyUsagePurpose::ClientAuth];
        let params = leaf(identity, now, not_after, usages).map_err(|_| SvidError::Signing)?;
        let serial = params.serial_number.as_ref();
        let serial = hex::encode(serial.map(|serial| serial.to_bytes()).unwrap_or_default());
        let leaf = params.signed_by(&key, &self.issuer);
        let leaf = leaf.map_err(|_| SvidError::Signing)?;
        Ok(HandedOut {
            identity: identity.clone(),
            not_after,
            serial,
            thumbprint: thumbprint(leaf.der()),
            chain: self.chain(leaf.der()),
            roots: self.bundle.certificates().to_vec(),
        })
    }

    fn chain(&self, leaf: &CertificateDer<'static>) -> Vec<CertificateDer<'static>> {
        let leaf = std::iter::once(leaf.clone());
        leaf.chain(self.intermediates.iter().cloned()).collect()
    }

    /// Whether it may sign for an identity, and up to when.
    fn may_sign(
        &self,
        identity: &MeshIdentity,
        now: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<Timestamp, SvidError> {
        if identity.id().trust_domain() != self.trust_domain.as_str() {
            return Err(SvidError::TrustDomain(
                identity.id().trust_domain().to_owned(),
            ));
        }
        if !self
            .namespaces
            .iter()
            .any(|namespace| namespace == identity.namespace())
        {
            return Err(SvidError::Namespace(identity.namespace().to_owned()));
        }
        let not_after = now.plus(self.lifetime).min(self.ends.minus(MARGIN));
        if not_after <= now {
            return Err(SvidError::AuthorityExpired);
        }
        Ok(until.map_or(not_after, |until| until.min(not_after)))
    }

    fn try_out(&self, now: Timestamp) -> Result<(), AuthorityError> {
        let namespace = self.namespaces.first().map_or("", String::as_str);
        let identity = MeshIdentity::new(&self.trust_domain, namespace, TRIAL)
            .map_err(|_| SvidError::Namespace(namespace.to_owned()))?;
        let trial = self.sign(&identity, now)?;
        let seconds = Duration::from_secs(u64::try_from(now.seconds()).unwrap_or(0));
        EndEntityCert::try_from(&trial.chain[0])
            .and_then(|leaf| {
                let at = UnixTime::since_unix_epoch(seconds);
                let algorithms = webpki::ALL_VERIFICATION_ALGS;
                leaf.verify_for_usage(
                    algorithms,
                    self.bundle.roots(),
                    &trial.chain[1..],
                    at,
                    KeyUsage::client_auth(),
                    None,
                    None,
                )
                .map(|_path| ())
            })
            .map_err(AuthorityError::Chain)
    }
}

fn thumbprint(leaf: &CertificateDer<'_>) -> String {
    URL_SAFE_NO_PAD.encode(sha256(leaf))
}

fn leaf(
    identity: &MeshIdentity,
    now: Timestamp,
    not_after: Timestamp,
    usages: &[ExtendedKeyUsagePurpose],
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    // The name is in the SAN alone, which is then critical (RFC 5280 §4.1.2.6).
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(identity.as_str().try_into()?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages.to_vec();
    params.use_authority_key_identifier_extension = true;
    // Positive and not zero (RFC 5280 §4.1.2.2), with 127 bits of chance.
    let mut serial = random::<16>();
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(serial.to_vec().into());
    params.not_before = now.minus(BACKDATED).to_offset_date_time();
    params.not_after = not_after.to_offset_date_time();
    Ok(params)
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>, AuthorityError> {
    std::fs::read(file).map_err(|source| AuthorityError::Unreadable {
        file: file.to_owned(),
        source,
    })
}

/// All certificates of a PEM file, one at least.
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
    tls::certificates(&read(file)?).ok_or_else(|| AuthorityError::Content {
        file: file.to_owned(),
        what: "certificate",
    })
}

fn is_root(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, parsed)| parsed.subject() == parsed.issuer())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertifiedIssuer};
    use x509_parser::prelude::GeneralName;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn ca(name: &str, ends: Timestamp) -> CertificateParams {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_before = NOW.minus(DAY).to_offset_date_time();
        params.not_after = ends.to_offset_date_time();
        params
    }

    /// A folder with `root.pem`, `ca.pem`, `ca.key`, `leaf.pem`, `leaf.key`, `other.pem` and `garbage.pem`.
    fn files(ends: Timestamp) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let key = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let root = CertifiedIssuer::self_signed(ca("root", NOW.plus(30 * DAY)), key()).unwrap();
        let other = CertifiedIssuer::self_signed(ca("other", NOW.plus(30 * DAY)), key()).unwrap();
        let (ca_key, leaf_key) = (key(), key());
        let mut plain = ca("leaf", NOW.plus(DAY));
        plain.is_ca = IsCa::ExplicitNoCa;
        write("root.pem", &root.pem());
        write("other.pem", &other.pem());
        write(
            "ca.pem",
            &ca("ca", ends).signed_by(&ca_key, &root).unwrap().pem(),
        );
        write("ca.key", &ca_key.serialize_pem());
        write(
            "leaf.pem",
            &plain.signed_by(&leaf_key, &root).unwrap().pem(),
        );
        write("leaf.key", &leaf_key.serialize_pem());
        write("garbage.pem", "-----BEGIN CERTIFICATE-----\n????\n");
        folder
    }

    fn config(folder: &tempfile::TempDir, chain: &str, key: &str, bundle: &str) -> MeshConfig {
        let file = |name: &str| folder.path().join(name);
        MeshConfig {
            trust_domain: TrustDomain::parse("mesh.test").unwrap(),
            bundle_file: file(bundle),
            svid: SvidConfig::Ca {
                chain_file: file(chain),
                key_file: file(key),
                namespaces: vec!["people".to_owned(), "teams".to_owned()],
                lifetime: Duration::from_secs(3600),
            },
        }
    }

    fn identity(text: &str) -> MeshIdentity {
        MeshIdentity::parse(text).unwrap()
    }

    #[test]
    fn an_svid_is_what_the_spiffe_rules_want() {
        let folder = files(NOW.plus(10 * DAY));
        let authority =
            Authority::load(&config(&folder, "ca.pem", "ca.key", "root.pem"), NOW).unwrap();
        let svid = authority
            .sign(&identity("spiffe://mesh.test/ns/people/sa/alice"), NOW)
            .unwrap();
        assert_eq!(svid.chain.len(), 2, "leaf and intermediate");
        assert_eq!(
            (svid.renew_at, svid.not_after),
            (
                NOW.plus(Duration::from_secs(1800)),
                NOW.plus(Duration::from_secs(3600))
            )
        );
        let (_, leaf) = X509Certificate::from_der(&svid.chain[0]).unwrap();
        let names = leaf.subject_alternative_name().unwrap().unwrap();
        assert!(names.critical);
        assert_eq!(
            names.value.general_names,
            vec![GeneralName::URI("spiffe://mesh.test/ns/people/sa/alice")]
        );
        assert!(!leaf.is_ca());
        let usage = leaf.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign());
        let again = authority
            .sign(&identity("spiffe://mesh.test/ns/people/sa/alice"), NOW)
            .unwrap();
        assert_ne!(
            again.thumbprint, svid.thumbprint,
            "each has a key and serial of its own"
        );
    }

    #[test]
    fn the_signer_keeps_to_its_namespaces_whatever_it_is_asked() {
        let folder = files(NOW.plus(10 * DAY));
        let authority =
            Authority::load(&config(&folder, "ca.pem", "ca.key", "root.pem"), NOW).unwrap();
        for asked in [
            "istio-system",
            "default",
            "people2",
            "peopl",
            "people.teams",
        ] {
            let id = identity(&format!("spiffe://mesh.test/ns/{asked}/sa/alice"));
            assert_eq!(
                authority.sign(&id, NOW).unwrap_err(),
                SvidError::Namespace(asked.to_owned())
            );
        }
        let foreign = identity("spiffe://other.test/ns/people/sa/alice");
        assert_eq!(
            authority.sign(&foreign, NOW).unwrap_err(),
            SvidError::TrustDomain("other.test".to_owned())
        );
    }

    #[test]
    fn an_svid_never_outlives_its_authority() {
        let folder = files(NOW.plus(Duration::from_secs(600)));
        let authority =
            Authority::load(&config(&folder, "ca.pem", "ca.key", "root.pem"), NOW).unwrap();
        let alice = identity("spiffe://mesh.test/ns/people/sa/alice");
        assert_eq!(
            authority.sign(&alice, NOW).unwrap().not_after,
            NOW.plus(Duration::from_secs(540))
        );
        let end = NOW.plus(Duration::from_secs(540));
        assert_eq!(
            authority.sign(&alice, end).unwrap_err(),
            SvidError::AuthorityExpired
        );
    }

    #[test]
    fn c4_an_authority_that_does_not_fit_together_is_refused() {
        let folder = files(NOW.plus(10 * DAY));
        for (chain, key, bundle) in [
            ("ca.pem", "leaf.key", "root.pem"),
            ("ca.pem", "ca.key", "other.pem"),
            ("leaf.pem", "leaf.key", "root.pem"),
            ("garbage.pem", "ca.key", "root.pem"),
            ("ca.pem", "garbage.pem", "root.pem"),
            ("ca.pem", "ca.key", "garbage.pem"),
            ("missing.pem", "ca.key", "root.pem"),
            ("ca.pem", "missing.key", "root.pem"),
            ("ca.pem", "ca.key", "missing.pem"),
        ] {
            let loaded = Authority::load(&config(&folder, chain, key, bundle), NOW);
            assert!(loaded.is_err(), "{chain} {key} {bundle}");
        }
        let fits = config(&folder, "ca.pem", "ca.key", "root.pem");
        assert!(
            Authority::load(&fits, NOW.plus(11 * DAY)).is_err(),
            "an expired authority"
        );
    }
}
