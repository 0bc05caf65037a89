//! X.509-SVIDs (X509-SVID §2-§5) that we hold.

use std::fmt;

use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::clock::Timestamp;
use crate::identity::spiffe_id::MeshIdentity;

/// A short-lived certificate and key that prove one mesh identity. The key stays in the process.
pub struct Svid {
    /// Whom it proves.
    pub identity: MeshIdentity,
    /// Half of its life: from here on a new one is wanted.
    pub renew_at: Timestamp,
    /// Not good from this moment on.
    pub not_after: Timestamp,
    /// base64url SHA-256 of the leaf's DER (`x5t#S256`, RFC 8705 §3.1).
    pub thumbprint: String,
    /// Leaf first, then the intermediates; the root is left out.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's private key.
    pub key: PrivatePkcs8KeyDer<'static>,
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Svid({}, until {})",
            self.identity,
            self.not_after.rfc3339()
        )
    }
}

/// An X.509-SVID for somebody's own key. Certificates are public; who may have one was decided before.
#[derive(Clone, Debug)]
pub struct HandedOut {
    /// Whom it proves.
    pub identity: MeshIdentity,
    /// Not good from this moment on.
    pub not_after: Timestamp,
    /// Lower-case hexadecimal.
    pub serial: String,
    /// base64url SHA-256 of the leaf's DER (`x5t#S256`, RFC 8705 §3.1).
    pub thumbprint: String,
    /// Leaf first, then the intermediates; the root is left out.
    pub chain: Vec<CertificateDer<'static>>,
    /// The roots of the mesh.
    pub roots: Vec<CertificateDer<'static>>,
}

/// Why there is no SVID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvidError {
    /// The identity is of a namespace that is not on the signer's own list.
    #[error("the certificate authority may not sign for namespace {0}")]
    Namespace(String),
    /// The identity is of another trust domain than the signer's.
    #[error("the certificate authority does not sign for trust domain {0}")]
    TrustDomain(String),
    /// The authority's certificate is not in force long enough for a useful SVID.
    #[error("the certificate authority's own certificate ends too soon")]
    AuthorityExpired,
    /// The library that signs failed.
    #[error("signing failed")]
    Signing,
}
