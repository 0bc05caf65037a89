//! Verifying a workload by the SPIFFE rules (X509-SVID §5): the chain leads to the trust domain's own bundle, the leaf has exactly one
//! URI SAN and is no CA, and that SPIFFE ID is one of those expected. Host names play no part.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::clock::Timestamp;
use crate::identity::spiffe_id::{SpiffeId, TrustDomain};

/// The roots of one trust domain.
pub struct TrustBundle {
    trust_domain: TrustDomain,
    roots: Vec<TrustAnchor<'static>>,
    certificates: Vec<CertificateDer<'static>>,
}

/// Why a certificate does not prove an expected SPIFFE ID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyFault {
    /// The certificate, or one above it, cannot be read.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// It does not lead to the bundle, or is not in force.
    #[error("the certificate does not lead to the trust bundle: {0}")]
    Chain(webpki::Error),
    /// The leaf may sign certificates or revocation lists.
    #[error("the certificate is that of an authority")]
    Authority,
    /// Not exactly one URI SAN.
    #[error("the certificate has {0} URI names instead of one")]
    Names(usize),
    /// The URI SAN is no SPIFFE ID.
    #[error("the certificate's URI name is no SPIFFE ID")]
    NoSpiffeId,
    /// It proves an identity, but not one of those expected.
    #[error("the certificate proves {0}, which is not expected here")]
    Unexpected(SpiffeId),
}

impl TrustBundle {
    /// The roots of a trust domain; `None` when there is none, or one of them cannot be read.
    pub fn new(trust_domain: TrustDomain, roots: &[CertificateDer<'_>]) -> Option<Self> {
        let certificates = { roots.iter() }.map(|root| root.clone().into_owned());
        let certificates = certificates.collect();
        let roots: Vec<_> = roots
            .iter()
            .map(|root| webpki::anchor_from_trusted_cert(root).map(|anchor| anchor.to_owned()))
            .collect::<Result<_, _>>()
            .ok()?;
        (!roots.is_empty()).then_some(Self {
            trust_domain,
            roots,
            certificates,
        })
    }

    /// The roots' certificates.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// The roots as the library wants them.
    pub(super) fn roots(&self) -> &[TrustAnchor<'static>] {
        &self.roots
    }

    /// Verifies what a server presents: its leaf, then the intermediates it sent. Returns the ID that it proved.
    pub fn verify_server(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        expected: &[SpiffeId],
        now: Timestamp,
    ) -> Result<SpiffeId, VerifyFault> {
        let id = self.verify(leaf, intermediates, KeyUsage::server_auth(), now)?;
        match expected.contains(&id) {
            true => Ok(id),
            false => Err(VerifyFault::Unexpected(id)),
        }
    }

    /// Verifies what a client presents. Returns the ID that it proved, and when its leaf ends.
    pub fn verify_client(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<(SpiffeId, Timestamp), VerifyFault> {
        let id = self.verify(leaf, intermediates, KeyUsage::client_auth(), now)?;
        let (_, read) = X509Certificate::from_der(leaf).map_err(|_| VerifyFault::Unreadable)?;
        let ends = Timestamp::from_seconds(read.validity().not_after.timestamp());
        Ok((id, ends))
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: KeyUsage,
        now: Timestamp,
    ) -> Result<SpiffeId, VerifyFault> {
        let seconds = Duration::from_secs(u64::try_from(now.seconds()).unwrap_or(0));
        EndEntityCert::try_from(leaf)
            .and_then(|certificate| {
                let at = UnixTime::since_unix_epoch(seconds);
                let algorithms = webpki::ALL_VERIFICATION_ALGS;
                certificate
                    .verify_for_usage(
                        algorithms,
                        &self.roots,
                        intermediates,
                        at,
                        usage,
                        None,
                        None,
                    )
                    .map(|_path| ())
            })
            .map_err(VerifyFault::Chain)?;
        let id = spiffe_id(leaf)?;
        // The bundle is that of one trust domain, and vouches for no other (SPIFFE Trust Domain and Bundle §4).
        if id.trust_domain() != self.trust_domain.as_str() {
            return Err(VerifyFault::Unexpected(id));
        }
        Ok(id)
    }
}

/// The one SPIFFE ID of a leaf certificate.
pub fn spiffe_id(leaf: &CertificateDer<'_>) -> Result<SpiffeId, VerifyFault> {
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| VerifyFault::Unreadable)?;
    let usage = leaf.key_usage().map_err(|_| VerifyFault::Unreadable)?;
    let signs = usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign());
    if leaf.is_ca() || signs {
        return Err(VerifyFault::Authority);
    }
    let names = leaf
        .subject_alternative_name()
        .map_err(|_| VerifyFault::Unreadable)?;
    let uris: Vec<&str> = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    let [uri] = uris[..] else {
        return Err(VerifyFault::Names(uris.len()));
    };
    SpiffeId::parse(uri).map_err(|_| VerifyFault::NoSpiffeId)
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa,
        KeyPair, KeyUsagePurpose, SanType,
    };

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const DAY: Duration = Duration::from_secs(86_400);
    const GOOD: &str = "spiffe://mesh.test/ns/apps/sa/web";

    type Ca = CertifiedIssuer<'static, KeyPair>;

    fn key() -> KeyPair {
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
    }

    fn root() -> Ca {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_before = NOW.minus(DAY).to_offset_date_time();
        params.not_after = NOW.plus(30 * DAY).to_offset_date_time();
        CertifiedIssuer::self_signed(params, key()).unwrap()
    }

    fn leaf(uris: &[&str]) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().unwrap()))
            .collect();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = NOW.minus(DAY).to_offset_date_time();
        params.not_after = NOW.plus(DAY).to_offset_date_time();
        params
    }

    fn verify(
        ca: &Ca,
        params: &CertificateParams,
        by: &Ca,
        now: Timestamp,
    ) -> Result<SpiffeId, VerifyFault> {
        let bundle = TrustBundle::new(
            TrustDomain::parse("mesh.test").unwrap(),
            &[ca.der().clone()],
        )
        .unwrap();
        let certificate = params.signed_by(&key(), by).unwrap();
        bundle.verify_server(
            certificate.der(),
            &[],
            &[SpiffeId::parse(GOOD).unwrap()],
            now,
        )
    }

    #[test]
    fn a_workload_proves_the_expected_id() {
        let ca = root();
        assert_eq!(
            verify(&ca, &leaf(&[GOOD]), &ca, NOW).unwrap().as_str(),
            GOOD
        );
        let mut named = leaf(&[GOOD]);
        named
            .subject_alt_names
            .push(SanType::DnsName("any.example".try_into().unwrap()));
        assert!(
            verify(&ca, &named, &ca, NOW).is_ok(),
            "host names play no part"
        );
    }

    #[test]
    fn c6_wrong_leaves_are_refused() {
        let ca = root();
        let cases: &[(&[&str], &str)] = &[
            (&[], "has 0 URI names"),
            (
                &[GOOD, "spiffe://mesh.test/ns/apps/sa/other"],
                "has 2 URI names",
            ),
            (&[GOOD, GOOD], "has 2 URI names"),
            (&["spiffe://mesh.test"], "no SPIFFE ID"),
            (&["spiffe://mesh.test/"], "no SPIFFE ID"),
            (&["https://mesh.test/ns/apps/sa/web"], "no SPIFFE ID"),
            (&["spiffe://MESH.test/ns/apps/sa/web"], "no SPIFFE ID"),
            (&["spiffe://mesh.test/ns/apps/sa/web/"], "no SPIFFE ID"),
            (&["spiffe://mesh.test/ns/apps/../sa/web"], "no SPIFFE ID"),
            (&["spiffe://other.test/ns/apps/sa/web"], "not expected"),
            (&["spiffe://mesh.test/ns/apps/sa/webb"], "not expected"),
            (&["spiffe://mesh.test/ns/apps/sa/we"], "not expected"),
        ];
        for (uris, why) in cases {
            let fault = verify(&ca, &leaf(uris), &ca, NOW).unwrap_err().to_string();
            assert!(fault.contains(why), "{uris:?}: {fault}");
        }
    }

    #[test]
    fn c6_authorities_are_no_workloads() {
        let ca = root();
        let mut authority = leaf(&[GOOD]);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        assert!(verify(&ca, &authority, &ca, NOW).is_err());
        for usage in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
            let mut signs = leaf(&[GOOD]);
            signs.key_usages.push(usage);
            assert_eq!(
                verify(&ca, &signs, &ca, NOW).unwrap_err(),
                VerifyFault::Authority
            );
        }
    }

    #[test]
    fn c6_chains_that_do_not_lead_to_the_bundle_are_refused() {
        let (ca, rogue) = (root(), root());
        assert!(
            matches!(
                verify(&ca, &leaf(&[GOOD]), &rogue, NOW),
                Err(VerifyFault::Chain(_))
            ),
            "another root"
        );
        for now in [NOW.plus(2 * DAY), NOW.minus(2 * DAY)] {
            assert!(
                matches!(
                    verify(&ca, &leaf(&[GOOD]), &ca, now),
                    Err(VerifyFault::Chain(_))
                ),
                "not in force"
            );
        }
        let mut client = leaf(&[GOOD]);
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        assert!(
            matches!(verify(&ca, &client, &ca, NOW), Err(VerifyFault::Chain(_))),
            "no server"
        );
        // A leaf that plays the authority.
        let bundle = TrustBundle::new(
            TrustDomain::parse("mesh.test").unwrap(),
            &[ca.der().clone()],
        )
        .unwrap();
        let middle = CertifiedIssuer::signed_by(leaf(&[GOOD]), key(), &ca).unwrap();
        let below = leaf(&[GOOD]).signed_by(&key(), &middle).unwrap();
        let verified = bundle.verify_server(
            below.der(),
            &[middle.der().clone()],
            &[SpiffeId::parse(GOOD).unwrap()],
            NOW,
        );
        assert!(
            matches!(verified, Err(VerifyFault::Chain(_))),
            "issued by another leaf"
        );
    }

    #[test]
    fn a_bundle_without_roots_is_no_bundle() {
        let domain = || TrustDomain::parse("mesh.test").unwrap();
        assert!(TrustBundle::new(domain(), &[]).is_none());
        assert!(TrustBundle::new(domain(), &[CertificateDer::from(vec![1, 2, 3])]).is_none());
    }
}
