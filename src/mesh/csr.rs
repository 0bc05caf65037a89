//! Certificate signing requests (PKCS #10, RFC 2986) of people who want an X.509-SVID of their own.
//!
//! All that is taken from one is its public key, once it has been proven. What is issued is decided elsewhere: a request that asks for anything else than what its sender
//! gets anyhow is refused, so that nobody believes that they got it.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::{CertificateSigningRequestDer, pem::PemObject};
use x509_parser::certification_request::{X509CertificationRequest, X509CertificationRequestInfo};
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};
use x509_parser::prelude::FromDer;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Version};

use zeroize::Zeroizing;

use crate::identity::spiffe_id::MeshIdentity;

/// The largest request that is read, in bytes of PEM; one with a P-256 key has less than a thousand.
pub const LONGEST: usize = 4096;

/// The DER of its AlgorithmIdentifier (RFC 5758 §3.2).
const ECDSA_WITH_SHA256: &[u8] = &[
    0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
];

/// A public key whose private half whoever sent it has.
#[derive(Clone, PartialEq, Eq)]
pub struct ProvenKey {
    /// The DER of its SubjectPublicKeyInfo.
    info: Vec<u8>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrFault {
    /// Too much.
    #[error("the certificate signing request has more than {LONGEST} bytes")]
    TooLong,
    /// No PEM of one request.
    #[error("it is not one certificate signing request in PEM (RFC 7468 §7)")]
    Unreadable,
    /// Another kind of key.
    #[error("its key is not an uncompressed P-256 key")]
    Key,
    /// Another kind of signature.
    #[error("it is not signed with ECDSA and SHA-256")]
    Algorithm,
    /// Whoever sent it does not have the key.
    #[error("its signature is not by its own key")]
    Signature,
    /// A subject.
    #[error("it has a subject; an SVID's only name is its SPIFFE ID")]
    Subject,
    /// Another name than the one that there is.
    #[error("it asks for another name than the SPIFFE ID that you have")]
    Names,
    /// Something that is not given.
    #[error("it asks for extensions or has attributes that an SVID is not given")]
    Extensions,
}

impl ProvenKey {
    /// Reads a request in PEM of somebody who has this identity: the key is P-256 and signed the request, and the only name that it asks for, if any, is theirs.
    pub fn read(pem: &str, identity: &MeshIdentity) -> Result<Self, CsrFault> {
        if pem.len() > LONGEST {
            return Err(CsrFault::TooLong);
        }
        let mut found = CertificateSigningRequestDer::pem_slice_iter(pem.as_bytes());
        let (Some(Ok(der)), None) = (found.next(), found.next()) else {
            return Err(CsrFault::Unreadable);
        };
        let parsed = X509CertificationRequest::from_der(&der);
        let (rest, request) = parsed.map_err(|_| CsrFault::Unreadable)?;
        if !rest.is_empty() || request.certification_request_info.version != X509Version::V1 {
            return Err(CsrFault::Unreadable);
        }
        let info = &request.certification_request_info;
        // Compared as it is written, since it is not signed and the library reads it generously.
        let rest = (2..=5).find_map(|at| der.get(at..)?.strip_prefix(info.raw));
        if !rest.is_some_and(|rest| rest.starts_with(ECDSA_WITH_SHA256)) {
            return Err(CsrFault::Algorithm);
        }
        if request.signature_value.unused_bits != 0 {
            return Err(CsrFault::Signature);
        }
        let point = point(&info.subject_pki)?;
        // Reading the key also sees that the point is on the curve.
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
            .verify(info.raw, &request.signature_value.data)
            .map_err(|_| CsrFault::Signature)?;
        asks_for_no_more(info, identity)?;
        Ok(Self {
            info: info.subject_pki.raw.to_vec(),
        })
    }

    /// The DER of its SubjectPublicKeyInfo.
    pub(super) fn info(&self) -> &[u8] {
        &self.info
    }
}

/// A key that is made and kept by whoever wants an SVID.
pub struct OwnKey(KeyPair);

impl OwnKey {
    /// A new one; `None` if there is no chance to be had for it.
    pub fn generate() -> Option<Self> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256);
        key.ok().map(Self)
    }

    /// Reads PKCS #8 in PEM; `None` if it is no P-256 key.
    pub fn open(pem: &str) -> Option<Self> {
        let key = KeyPair::from_pem(pem).ok()?;
        key.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256)
            .then_some(Self(key))
    }

    /// PKCS #8 in PEM.
    pub fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }

    /// A request that proves the key and asks for nothing else, in PEM.
    pub fn request(&self) -> Option<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.0).ok()?;
        request.pem().ok()
    }
}

fn point<'a>(key: &'a SubjectPublicKeyInfo<'_>) -> Result<&'a [u8], CsrFault> {
    let parameters = key.algorithm.parameters.as_ref();
    let curve = parameters.and_then(|curve| curve.as_oid().ok());
    let is_p256 = key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
        && curve.is_some_and(|curve| curve == OID_EC_P256);
    let point: &[u8] = &key.subject_public_key.data;
    let is_whole = key.subject_public_key.unused_bits == 0;
    // SEC 1 §2.3.3: 0x04 and two coordinates.
    let is_uncompressed = point.len() == 65 && point.first() == Some(&4);
    (is_p256 && is_whole && is_uncompressed)
        .then_some(point)
        .ok_or(CsrFault::Key)
}

fn asks_for_no_more(
    info: &X509CertificationRequestInfo<'_>,
    identity: &MeshIdentity,
) -> Result<(), CsrFault> {
    if info.subject.iter_rdn().next().is_some() {
        return Err(CsrFault::Subject);
    }
    let extensions = match info.attributes() {
        [] => return Ok(()),
        [attribute] => match attribute.parsed_attribute() {
            ParsedCriAttribute::ExtensionRequest(requested) => &requested.extensions,
            _ => return Err(CsrFault::Extensions),
        },
        _ => return Err(CsrFault::Extensions),
    };
    match extensions.as_slice() {
        [] => Ok(()),
        [extension] => match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => {
                match names.general_names.as_slice() {
                    [GeneralName::URI(uri)] if *uri == identity.as_str() => Ok(()),
                    _ => Err(CsrFault::Names),
                }
            }
            _ => Err(CsrFault::Extensions),
        },
        _ => Err(CsrFault::Extensions),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CustomExtension, DnType, IsCa, KeyUsagePurpose, SanType};

    use super::*;

    const ALICE: &str = "spiffe://mesh.test/ns/people/sa/alice";

    fn key() -> KeyPair {
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
    }

    fn plain() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn read(params: &CertificateParams, key: &KeyPair) -> Result<ProvenKey, CsrFault> {
        read_text(&params.serialize_request(key).unwrap().pem().unwrap())
    }

    fn read_text(pem: &str) -> Result<ProvenKey, CsrFault> {
        ProvenKey::read(pem, &MeshIdentity::parse(ALICE).unwrap())
    }

    #[test]
    fn a_request_without_names_or_with_the_right_one_is_read() {
        let key = key();
        let mut named = plain();
        named.subject_alt_names = vec![uri(ALICE)];
        for params in [plain(), named] {
            let read = read(&params, &key).unwrap();
            assert_eq!(
                read.info,
                rcgen::PublicKeyData::subject_public_key_info(&key)
            );
        }
    }

    #[test]
    fn what_is_made_here_is_read() {
        let key = OwnKey::generate().unwrap();
        let again = OwnKey::open(&key.pem()).unwrap();
        let [one, other] = [key, again].map(|key| read_text(&key.request().unwrap()).unwrap());
        assert!(one == other);
        let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        assert!(OwnKey::open(&other.serialize_pem()).is_none());
        assert!(OwnKey::open("").is_none());
    }

    #[test]
    fn c7_a_request_for_anything_else_is_refused() {
        let names = |names: Vec<SanType>| {
            let mut params = plain();
            params.subject_alt_names = names;
            params
        };
        let with = |change: &dyn Fn(&mut CertificateParams)| {
            let mut params = plain();
            change(&mut params);
            params
        };
        let other = "spiffe://mesh.test/ns/people/sa/bob";
        for (what, params, fault) in [
            ("another's", names(vec![uri(other)]), CsrFault::Names),
            ("two", names(vec![uri(ALICE), uri(other)]), CsrFault::Names),
            (
                "twice",
                names(vec![uri(ALICE), uri(ALICE)]),
                CsrFault::Names,
            ),
            (
                "a host's",
                names(vec![
                    uri(ALICE),
                    SanType::DnsName("a.example".try_into().unwrap()),
                ]),
                CsrFault::Names,
            ),
            (
                "letter case",
                names(vec![uri("spiffe://MESH.test/ns/people/sa/alice")]),
                CsrFault::Names,
            ),
            (
                "a subject",
                with(&|params| params.distinguished_name.push(DnType::CommonName, "alice")),
                CsrFault::Subject,
            ),
            (
                "an authority",
                with(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
                CsrFault::Extensions,
            ),
            (
                "signing certificates",
                with(&|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]),
                CsrFault::Extensions,
            ),
            (
                "something unknown",
                with(&|params| {
                    let extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
                    params.custom_extensions = vec![extension];
                }),
                CsrFault::Extensions,
            ),
        ] {
            assert_eq!(read(&params, &key()).err(), Some(fault), "{what}");
        }
    }

    #[test]
    fn other_keys_are_refused() {
        for algorithm in [
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ED25519,
            &rcgen::PKCS_RSA_SHA256,
        ] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let fault = read(&plain(), &key).err();
            assert_eq!(fault, Some(CsrFault::Algorithm), "{algorithm:?}");
        }
    }

    #[test]
    fn the_key_has_to_be_proven() {
        use base64::Engine;
        use base64::engine::general_purpose::STANDARD;

        let request = plain().serialize_request(&key()).unwrap();
        let der: &[u8] = request.der();
        let pem = |der: &[u8]| {
            let text = STANDARD.encode(der);
            format!(
                "-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n"
            )
        };
        assert!(read_text(&pem(der)).is_ok());
        // Every byte counts, be it of the key, of what is signed or of the signature.
        for place in 0..der.len() {
            let mut other = der.to_vec();
            other[place] ^= 1;
            assert!(read_text(&pem(&other)).is_err(), "byte {place}");
        }
        // Another's key under a signature of one's own.
        let (mine, theirs) = (key(), key());
        let info = rcgen::PublicKeyData::subject_public_key_info;
        let request = plain().serialize_request(&mine).unwrap();
        let (wanted, put) = (info(&mine), info(&theirs));
        let mut forged = request.der().to_vec();
        let at = forged
            .windows(wanted.len())
            .position(|part| part == wanted)
            .unwrap();
        forged[at..at + put.len()].copy_from_slice(&put);
        assert_eq!(read_text(&pem(&forged)).err(), Some(CsrFault::Signature));
        // More than one, or something behind it.
        let whole = pem(der);
        assert_eq!(
            read_text(&format!("{whole}{whole}")).err(),
            Some(CsrFault::Unreadable)
        );
        let mut longer = der.to_vec();
        longer.push(0);
        assert_eq!(read_text(&pem(&longer)).err(), Some(CsrFault::Unreadable));
        assert_eq!(read_text("").err(), Some(CsrFault::Unreadable));
        assert_eq!(
            read_text(&" ".repeat(LONGEST + 1)).err(),
            Some(CsrFault::TooLong)
        );
    }
}
