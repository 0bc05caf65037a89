//! The X.509 roots of a trust domain (SPIFFE Trust Domain and Bundle §4) as PEM, which is how a policy has them.

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::tls;

/// More roots than this no trust domain has at once.
const MOST: usize = 20;

/// Why a text is no bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleFault {
    /// Whoever reads the policy would have it.
    #[error("there is a private key in it; a bundle has certificates alone")]
    PrivateKey,
    /// No PEM, or damaged.
    #[error("it holds no readable certificates, PEM from -----BEGIN CERTIFICATE----- on")]
    Unreadable,
    /// Something else than a root.
    #[error("each certificate must be that of an authority")]
    NoAuthority,
    /// Too many.
    #[error("20 certificates are the most")]
    TooMany,
}

/// The roots in a PEM text, all of them sound.
pub fn roots(pem: &str) -> Result<Vec<CertificateDer<'static>>, BundleFault> {
    if pem.contains("PRIVATE KEY-----") {
        return Err(BundleFault::PrivateKey);
    }
    let roots = tls::certificates(pem.as_bytes()).ok_or(BundleFault::Unreadable)?;
    if roots.len() > MOST {
        return Err(BundleFault::TooMany);
    }
    for root in &roots {
        let (_, read) = X509Certificate::from_der(root).map_err(|_| BundleFault::Unreadable)?;
        if !read.is_ca() {
            return Err(BundleFault::NoAuthority);
        }
        webpki::anchor_from_trusted_cert(root).map_err(|_| BundleFault::Unreadable)?;
    }
    Ok(roots)
}
