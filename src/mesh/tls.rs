//! TLS with upstreams: SPIFFE mTLS as one mesh identity, or ordinary TLS outside the mesh. Sessions are never resumed: each connection proves both ends anew.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    AlertDescription, CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::clock::SharedClock;
use crate::identity::spiffe_id::SpiffeId;
use crate::mesh::authority::{AuthorityError, certificates};
use crate::mesh::svid::Svid;
use crate::mesh::verify::{TrustBundle, spiffe_id};
use crate::policy::model::{Transport, UpstreamProtocol};
use crate::tls::{self, read_ahead::ReadAhead};

/// Everything that a handshake with one upstream needs; good for one SVID.
#[derive(Clone)]
pub struct Handshaker {
    config: Arc<ClientConfig>,
    /// The name to prove, where that is not a SPIFFE ID.
    server_name: Option<ServerName<'static>>,
}

/// Why no TLS can be spoken at all.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The roots cannot be read.
    #[error(transparent)]
    Roots(#[from] AuthorityError),
    /// The library does not take key, roots or name.
    #[error("TLS cannot be set up: {0}")]
    Library(String),
}

/// Why a handshake failed.
#[derive(Debug)]
pub enum HandshakeFault {
    /// The server did not prove what is expected; the text says what was wrong.
    Peer(String),
    /// The server does not take our certificate.
    Refused(io::Error),
    /// Anything else.
    Other(io::Error),
}

/// The protocols that are offered (ALPN). `istio` is for sidecars in permissive mode, which take only connections that offer it for mTLS.
fn offered(transport: &Transport, protocol: UpstreamProtocol) -> Vec<Vec<u8>> {
    let mesh: &[&[u8]] = match transport {
        Transport::Mtls { .. } => &[b"istio"],
        Transport::Tls { .. } => &[],
    };
    let http: &[&[u8]] = match protocol {
        UpstreamProtocol::Auto => &[b"h2", b"http/1.1"],
        UpstreamProtocol::Http1 => &[b"http/1.1"],
        UpstreamProtocol::Http2 => &[b"h2"],
        UpstreamProtocol::Tcp => &[],
    };
    mesh.iter().chain(http).map(|name| name.to_vec()).collect()
}

impl Handshaker {
    /// For connections that bear this SVID.
    pub fn new(
        svid: &Svid,
        transport: &Transport,
        protocol: UpstreamProtocol,
        bundle: Arc<TrustBundle>,
        clock: SharedClock,
    ) -> Result<Self, TlsSetupError> {
        let library = |error: &dyn fmt::Display| TlsSetupError::Library(error.to_string());
        let provider = tls::provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| library(&error))?
            .dangerous();
        let (mut config, server_name) = match transport {
            Transport::Mtls { spiffe_ids } => {
                let verifier = SpiffeVerifier {
                    bundle,
                    expected: spiffe_ids.clone(),
                    clock,
                    provider,
                };
                let config = builder
                    .with_custom_certificate_verifier(Arc::new(verifier))
                    .with_client_auth_cert(svid.chain.clone(), svid.key.clone_key().into())
                    .map_err(|error| library(&error))?;
                (config, None)
            }
            Transport::Tls {
                server_name,
                ca_file,
            } => {
                let name = ServerName::try_from(server_name.clone());
                let name = name.map_err(|error| library(&error))?;
                let verifier = outside(ca_file.as_deref(), provider)?;
                let config = builder
                    .with_custom_certificate_verifier(verifier)
                    .with_no_client_auth();
                (config, Some(name))
            }
        };
        config.alpn_protocols = offered(transport, protocol);
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
            server_name,
        })
    }

    /// Speaks TLS over a connection to `host`, which is at `address`.
    pub async fn handshake(
        &self,
        tcp: TcpStream,
        host: &str,
        address: IpAddr,
    ) -> Result<SecureStream, HandshakeFault> {
        // In the mesh the name proves nothing; it is sent for servers that choose by it.
        let name = self.server_name.clone().unwrap_or_else(|| {
            ServerName::try_from(host.to_owned())
                .unwrap_or_else(|_| ServerName::IpAddress(address.into()))
        });
        let connector = TlsConnector::from(Arc::clone(&self.config));
        match connector.connect(name, ReadAhead::new(tcp)).await {
            Ok(stream) => Ok(SecureStream {
                stream,
                refused: Refused::default(),
            }),
            Err(error) => Err(match library_error(&error) {
                Some(Error::InvalidCertificate(CertificateError::Other(OtherError(why)))) => {
                    HandshakeFault::Peer(why.to_string())
                }
                Some(Error::InvalidCertificate(why)) => HandshakeFault::Peer(why.to_string()),
                Some(Error::NoCertificatesPresented) => {
                    HandshakeFault::Peer("no certificate".to_owned())
                }
                Some(Error::AlertReceived(alert)) if is_refusal(*alert) => {
                    HandshakeFault::Refused(error)
                }
                _ => HandshakeFault::Other(error),
            }),
        }
    }
}

/// Whether the roots of transport `tls` can be read and are some. Reads the file.
pub fn check_roots(ca_file: &str) -> Result<(), TlsSetupError> {
    outside(Some(ca_file), tls::provider()).map(|_verifier| ())
}

/// The verifier of transport `tls`: the given roots, or the system's.
fn outside(
    ca_file: Option<&str>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsSetupError> {
    let library = |error: &dyn fmt::Display| TlsSetupError::Library(error.to_string());
    let Some(file) = ca_file else {
        let verifier = rustls_platform_verifier::Verifier::new(provider);
        return Ok(Arc::new(verifier.map_err(|error| library(&error))?));
    };
    let mut roots = RootCertStore::empty();
    for root in certificates(file.as_ref())? {
        roots.add(root).map_err(|error| library(&error))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    Ok(verifier.map_err(|error| library(&error))?)
}

struct SpiffeVerifier {
    bundle: Arc<TrustBundle>,
    expected: Vec<SpiffeId>,
    clock: SharedClock,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for SpiffeVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpiffeVerifier({:?})", self.expected)
    }
}

impl ServerCertVerifier for SpiffeVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let now = self.clock.now();
        self.bundle
            .verify_server(leaf, intermediates, &self.expected, now)
            .map(|_id| ServerCertVerified::assertion())
            .map_err(|fault| {
                Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(fault))))
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Whether an alert says that the server does not take our certificate.
fn is_refusal(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied
            // A signature in our chain, or of our key, does not fit.
            | AlertDescription::DecryptError
    )
}

fn library_error(error: &io::Error) -> Option<&Error> {
    let inner: &(dyn StdError + 'static) = error.get_ref()?;
    inner.downcast_ref()
}

/// Whether the server has said, after the handshake, that it does not take our certificate: in TLS 1.3 it says so only then.
#[derive(Clone, Debug, Default)]
pub struct Refused(Arc<AtomicBool>);

impl Refused {
    /// Whether it has.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// An encrypted connection whose far end has proved who it is.
pub struct SecureStream {
    stream: TlsStream<ReadAhead<TcpStream>>,
    refused: Refused,
}

impl SecureStream {
    /// Whether HTTP/2 is spoken. `istio` alone says nothing of HTTP, so the route does.
    pub fn is_http2(&self, protocol: UpstreamProtocol) -> bool {
        match self.stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => true,
            Some(b"http/1.1") => false,
            _ => protocol == UpstreamProtocol::Http2,
        }
    }

    /// The SPIFFE ID of the far end's certificate, if it has exactly one; in the mesh it was verified.
    pub fn proved(&self) -> Option<SpiffeId> {
        let leaf = self.stream.get_ref().1.peer_certificates()?.first()?;
        spiffe_id(leaf).ok()
    }

    /// Whether our certificate is refused, now or later.
    pub fn refused(&self) -> Refused {
        self.refused.clone()
    }

    fn notice(&self, error: &io::Error) {
        if let Some(Error::AlertReceived(alert)) = library_error(error)
            && is_refusal(*alert)
        {
            self.refused.0.store(true, Ordering::Relaxed);
        }
    }

    /// When writing fails because the server has hung up, its last word may still be on its way up: that is waited for, since it says why.
    fn written<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let has_hung_up = matches!(&polled, Poll::Ready(Err(error)) if matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
        ));
        if !has_hung_up {
            return polled;
        }
        let mut buffer = [0; 64];
        let mut buffer = ReadBuf::new(&mut buffer);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Ready(Err(error)) => {
                self.notice(&error);
                Poll::Ready(Err(error))
            }
            Poll::Ready(Ok(())) => polled,
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for SecureStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(error)) = &polled {
            this.notice(error);
        }
        polled
    }
}

impl AsyncWrite for SecureStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(polled, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(context, pieces);
        this.written(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(context);
        this.written(polled, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
