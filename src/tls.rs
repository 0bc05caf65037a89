//! What all TLS of the product has in common: the library's cryptography, with the cheaper of its equally good suites first, and reading ahead of it
//! ([`read_ahead`]).

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, SupportedCipherSuite};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

pub mod read_ahead;

/// AWS-LC with all its suites (AEAD with forward secrecy throughout). AES-128 comes before AES-256: no known attack tells them apart, and the SHA-256
/// that goes with it has instructions of its own on the processors of today, which SHA-384 has not.
pub fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(place);
    Arc::new(provider)
}

/// All certificates of a PEM text; `None` if one is damaged or there are none.
pub fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .ok()?;
    (!found.is_empty()).then_some(found)
}

/// TLS 1.3 before 1.2, AES-128 before AES-256 before ChaCha20; otherwise as the library has them.
fn place(suite: &SupportedCipherSuite) -> (bool, u8) {
    let cipher = match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 0,
        CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => 1,
        _ => 2,
    };
    (suite.tls13().is_none(), cipher)
}

#[cfg(test)]
mod tests {
    use rustls::CipherSuite;

    #[test]
    fn c11_all_suites_are_there_the_cheapest_first() {
        let suites = &super::provider().cipher_suites;
        assert_eq!(
            suites.len(),
            rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES.len()
        );
        assert_eq!(suites[0].suite(), CipherSuite::TLS13_AES_128_GCM_SHA256);
        let first_of_1_2 = suites.iter().position(|suite| suite.tls13().is_none());
        assert_eq!(first_of_1_2, Some(3), "after all three of TLS 1.3");
    }
}
