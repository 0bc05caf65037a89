//! Who the client's certificate says is calling.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::clock::Timestamp;
use crate::secret::sha256;

/// The client, as its certificate has it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Caller {
    pub(super) spiffe_id: String,
    pub(super) serial: String,
    pub(super) not_before: String,
    pub(super) not_after: String,
    /// `x5t#S256` (RFC 8705 §3.1).
    pub(super) thumbprint: String,
}

impl Caller {
    /// Who is at the other end of a connection. The handshake proved the chain; what has no single SPIFFE ID is nobody.
    pub(super) fn on(stream: &TlsStream<TcpStream>) -> Option<Self> {
        let certificate = stream.get_ref().1.peer_certificates()?.first()?;
        Self::of(certificate)
    }

    /// Reads a leaf that the handshake has verified; it must have exactly one URI SAN, a SPIFFE ID (X509-SVID §2).
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        let mut uris = names
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            });
        let (Some(uri), None) = (uris.next(), uris.next()) else {
            return None;
        };
        let shown = |at: i64| Timestamp::from_seconds(at).rfc3339();
        let validity = certificate.validity();
        Some(Self {
            spiffe_id: uri.starts_with("spiffe://").then(|| uri.to_owned())?,
            serial: certificate.raw_serial_as_string(),
            not_before: shown(validity.not_before.timestamp()),
            not_after: shown(validity.not_after.timestamp()),
            thumbprint: URL_SAFE_NO_PAD.encode(sha256(der)),
        })
    }
}
