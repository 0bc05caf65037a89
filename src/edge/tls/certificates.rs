//! A listener's certificates: loaded whole or not at all, chosen by SNI, replaced while connections go on.
//!
//! There is no default certificate: a client that names no host of ours, or none at all, gets no handshake. What is loaded was tried first: chain and key
//! belong together, the leaf is in force and has DNS names. A reload that fails leaves the last good ones in place.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache,
};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::address::host::Host;
use crate::clock::Timestamp;
use crate::config::checked::CertificateFiles;
use crate::edge::tls::{CertificateId, CertificateNames};
use crate::tls::{self, read_ahead::ReadAhead};

/// TLS sessions remembered for resumption, per listener.
const REMEMBERED_SESSIONS: usize = 4096;

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFault {
    /// The file cannot be read.
    #[error("{} cannot be read", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// The file has no PEM certificate, or one that is damaged.
    #[error("{} holds no readable certificate", .0.display())]
    Chain(PathBuf),
    /// The file has no PEM key.
    #[error("{} holds no private key that can be used (PKCS#8, PKCS#1 or SEC1, PEM)", .0.display())]
    Key(PathBuf),
    /// Key and leaf are not of one pair.
    #[error("{} is not the key of the first certificate in {}", .key.display(), .chain.display())]
    Mismatch {
        /// The chain's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The leaf is not in force.
    #[error("the certificate in {} is in force from {} to {} only", .0.display(), .1.rfc3339(), .2.rfc3339())]
    NotInForce(PathBuf, Timestamp, Timestamp),
    /// The leaf names no host.
    #[error("the certificate in {} has no DNS names; browsers and the edge choose by them", .0.display())]
    Nameless(PathBuf),
    /// The TLS library refuses the settings.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// A chain and its key, tried and found good.
#[derive(Debug)]
pub struct Certificate {
    /// DNS names of the leaf.
    pub names: Vec<String>,
    /// When the leaf began.
    pub begins: Timestamp,
    /// When the leaf ends.
    pub ends: Timestamp,
    key: Arc<CertifiedKey>,
}

impl Certificate {
    /// Reads and tries one pair of files.
    pub fn load(files: &CertificateFiles, now: Timestamp) -> Result<Self, CertificateFault> {
        let chain = read_chain(&files.chain)?;
        let unreadable = || CertificateFault::Chain(files.chain.clone());
        let leaf = chain.first().ok_or_else(unreadable)?.clone();
        let (_, leaf) = X509Certificate::from_der(&leaf).map_err(|_| unreadable())?;
        let at = |time: &x509_parser::time::ASN1Time| Timestamp::from_seconds(time.timestamp());
        let begins = at(&leaf.validity().not_before);
        let ends = at(&leaf.validity().not_after);
        let names = dns_names(&leaf);
        let key = certified_key(chain, files)?;
        if now < begins || now > ends {
            let file = files.chain.clone();
            return Err(CertificateFault::NotInForce(file, begins, ends));
        }
        if names.is_empty() {
            return Err(CertificateFault::Nameless(files.chain.clone()));
        }
        Ok(Self {
            names,
            begins,
            ends,
            key,
        })
    }
}

fn read(file: &Path) -> Result<Vec<u8>, CertificateFault> {
    std::fs::read(file).map_err(|error| CertificateFault::File(file.to_owned(), error))
}

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateFault> {
    tls::certificates(&read(file)?).ok_or_else(|| CertificateFault::Chain(file.to_owned()))
}

fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    files: &CertificateFiles,
) -> Result<Arc<CertifiedKey>, CertificateFault> {
    let text = zeroize::Zeroizing::new(read(&files.key)?);
    let unusable = || CertificateFault::Key(files.key.clone());
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| unusable())?;
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|_| unusable())?;
    let pair = CertifiedKey::new(chain, key);
    // A key whose public half cannot be known is no proof that they belong together: refused as well.
    match pair.keys_match() {
        Ok(()) => Ok(Arc::new(pair)),
        Err(_) => Err(CertificateFault::Mismatch {
            chain: files.chain.clone(),
            key: files.key.clone(),
        }),
    }
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    names
        .into_iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

/// All certificates of one listener.
pub struct Certificates {
    served: ArcSwap<Served>,
    /// Clients are asked for a certificate of theirs.
    asks_clients: bool,
}

/// What may be told of a certificate.
#[derive(Clone, Debug)]
pub struct Shown {
    /// DNS names of the leaf.
    pub names: Vec<String>,
    /// When the leaf began.
    pub begins: Timestamp,
    /// When the leaf ends.
    pub ends: Timestamp,
}

/// One state of a listener's certificates.
struct Served {
    shown: Vec<Shown>,
    names: Arc<CertificateNames>,
    acceptor: TlsAcceptor,
}

/// A connection whose handshake is done.
pub struct Accepted {
    /// The connection.
    pub stream: Box<TlsStream<ReadAhead<TcpStream>>>,
    /// The host that the client named.
    pub server_name: Host,
    /// The certificate it was shown.
    pub certificate: CertificateId,
    /// All names of the listener.
    pub names: Arc<CertificateNames>,
    /// HTTP/2 was agreed.
    pub http2: bool,
    /// What the client has presented, if it was asked and has any, its leaf first. That it has the leaf's key is proven; what that says is for others to judge.
    pub presented: Option<Presented>,
}

/// A client's certificates.
pub type Presented = Arc<[CertificateDer<'static>]>;

impl Certificates {
    /// Loads all, or says what is wrong with each that cannot be served.
    pub fn load(
        files: &[CertificateFiles],
        asks_clients: bool,
        now: Timestamp,
    ) -> Result<Self, Vec<CertificateFault>> {
        let served = ArcSwap::from_pointee(Served::load(files, asks_clients, now)?);
        Ok(Self {
            served,
            asks_clients,
        })
    }

    /// Puts others in place for connections to come, if all of them are good; otherwise everything stays as it is.
    pub fn reload(
        &self,
        files: &[CertificateFiles],
        now: Timestamp,
    ) -> Result<(), Vec<CertificateFault>> {
        let served = Served::load(files, self.asks_clients, now)?;
        self.served.store(Arc::new(served));
        Ok(())
    }

    /// What is served now.
    pub fn shown(&self) -> Vec<Shown> {
        self.served.load().shown.clone()
    }

    /// The handshake. The caller sets the deadline.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Accepted> {
        let served = self.served.load_full();
        let handshake = served.acceptor.accept(ReadAhead::new(stream));
        let stream = Box::new(handshake.await?);
        let connection = stream.get_ref().1;
        let server_name = connection
            .server_name()
            .and_then(|name| Host::parse(name).ok());
        let http2 = connection.alpn_protocol() == Some(b"h2");
        let presented = connection.peer_certificates().map(|presented| {
            let presented = presented.iter().cloned();
            presented.map(CertificateDer::into_owned).collect()
        });
        let named = server_name.and_then(|name| {
            let certificate = served.names.certificate_for(&name)?;
            Some((name, certificate))
        });
        // The resolver refused such a handshake already; a resumed one is judged here.
        let (server_name, certificate) = named.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Accepted {
            stream,
            server_name,
            certificate,
            names: Arc::clone(&served.names),
            http2,
            presented,
        })
    }
}

impl Served {
    fn load(
        files: &[CertificateFiles],
        asks_clients: bool,
        now: Timestamp,
    ) -> Result<Self, Vec<CertificateFault>> {
        let mut faults = Vec::new();
        let mut names = CertificateNames::default();
        let (mut keys, mut shown) = (Vec::new(), Vec::new());
        for (place, files) in files.iter().enumerate() {
            match Certificate::load(files, now) {
                Ok(certificate) => {
                    for name in &certificate.names {
                        names.add(name, CertificateId(place));
                    }
                    keys.push(certificate.key);
                    shown.push(Shown {
                        names: certificate.names,
                        begins: certificate.begins,
                        ends: certificate.ends,
                    });
                }
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let names = Arc::new(names);
        let resolver = BySni {
            names: Arc::clone(&names),
            keys,
        };
        let config = server_config(resolver, asks_clients);
        let config = config.map_err(|fault| vec![CertificateFault::Tls(fault)])?;
        Ok(Self {
            shown,
            names,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }
}

/// TLS 1.3 and 1.2 with the library's suites (all of them AEAD with forward secrecy), no early data, one ticket; none where clients are asked for
/// certificates, so that nobody who resumes a session has a certificate that they prove no more.
fn server_config(resolver: BySni, asks_clients: bool) -> Result<ServerConfig, rustls::Error> {
    let provider = tls::provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match asks_clients {
        false => builder.with_no_client_auth(),
        true => builder.with_client_cert_verifier(Arc::new(KeyAlone(provider))),
    };
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Every client of today has instructions for AES, also those that name other suites first.
    config.ignore_client_order = true;
    if asks_clients {
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
    } else {
        config.send_tls13_tickets = 1;
        config.session_storage = ServerSessionMemoryCache::new(REMEMBERED_SESSIONS);
    }
    Ok(config)
}

/// Makes sure that a client has the key of the certificate that it presents, if it presents one, and nothing else: whom that proves depends on the policy, and is
/// judged by whoever asks for it, each time.
#[derive(Debug)]
struct KeyAlone(Arc<CryptoProvider>);

impl ClientCertVerifier for KeyAlone {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Chooses by the name the client sends; without a name of ours there is no certificate and no handshake.
#[derive(Debug)]
struct BySni {
    names: Arc<CertificateNames>,
    keys: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = Host::parse(hello.server_name()?).ok()?;
        let CertificateId(place) = self.names.certificate_for(&host)?;
        self.keys.get(place).cloned()
    }
}

#[cfg(test)]
mod tests;
