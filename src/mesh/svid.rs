//! X.509-SVIDs (X509-SVID §2-§5) that we hold.

use crate::clock::Timestamp;
use crate::identity::spiffe_id::MeshIdentity;

/// A short-lived certificate and key that prove one mesh identity.
pub struct Svid {
    pub identity: MeshIdentity,
    pub not_after: Timestamp,
    /// base64url SHA-256 of the leaf's DER (`x5t#S256`, RFC 8705 §3.1).
    pub thumbprint: String,
}

/// Why there is no SVID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvidError {
    #[error("the certificate authority may not sign for namespace {0}")]
    Namespace(String),
    #[error("the certificate authority's own certificate ends too soon")]
    AuthorityExpired,
    #[error("signing failed")]
    Signing,
}
