//! What the edge knows of a request when it hands it to one of our own pages.

use std::net::IpAddr;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use crate::address::origin::Origin;

/// Put into the request's extensions by the edge; there is no other source of host, scheme or client address.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    /// Identifies the request in log, header and page.
    pub request_id: Arc<str>,
    /// The origin the browser addressed: one of ours, canonical.
    pub origin: Origin,
    /// The client's address.
    pub client: IpAddr,
    /// The certificates that the client has presented, its leaf first, where the listener asks for them. Nobody has judged what they say; that the client has the leaf's key
    /// is proven.
    pub presented: Option<Arc<[CertificateDer<'static>]>>,
}
