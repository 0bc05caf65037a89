use std::fs;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use super::*;
use crate::clock::{Clock, SystemClock};

const NOW: Timestamp = Timestamp::from_seconds(1_900_000_000);
const DAY: Duration = Duration::from_secs(86_400);

/// Writes a self-signed certificate for `names` and gives its files.
fn files(folder: &Path, name: &str, names: &[&str]) -> CertificateFiles {
    files_of(folder, name, names, NOW)
}

fn files_of(folder: &Path, name: &str, names: &[&str], now: Timestamp) -> CertificateFiles {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = now.minus(DAY).to_offset_date_time();
    params.not_after = now.plus(DAY).to_offset_date_time();
    let certificate = params.self_signed(&key).unwrap();
    let files = CertificateFiles {
        chain: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
    };
    fs::write(&files.chain, certificate.pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

fn load_error(files: &[CertificateFiles], now: Timestamp) -> String {
    let faults = Certificates::load(files, false, now).err().unwrap();
    faults.iter().map(|fault| format!("{fault}\n")).collect()
}

#[test]
fn c4_what_does_not_fit_together_is_refused_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let good = files(folder, "good", &["app.example"]);
    let other = files(folder, "other", &["b.example"]);
    let nameless = files(folder, "nameless", &[]);
    fs::write(folder.join("garbage"), "garbage").unwrap();
    let pair = |chain: &Path, key: &Path| CertificateFiles {
        chain: chain.to_owned(),
        key: key.to_owned(),
    };
    let garbage = folder.join("garbage");
    let missing = folder.join("missing");
    for (files, why) in [
        (pair(&good.chain, &other.key), "is not the key"),
        (pair(&missing, &good.key), "missing cannot be read"),
        (pair(&good.chain, &missing), "missing cannot be read"),
        (
            pair(&garbage, &good.key),
            "garbage holds no readable certificate",
        ),
        (pair(&good.chain, &garbage), "garbage holds no private key"),
        (nameless, "no DNS names"),
    ] {
        let error = load_error(&[good.clone(), files], NOW);
        assert!(error.contains(why), "{why}: {error}");
    }
    assert!(load_error(std::slice::from_ref(&good), NOW.plus(2 * DAY)).contains("in force"));
    assert!(load_error(&[good], NOW.minus(2 * DAY)).contains("in force"));
}

/// A client's own certificate, and its key.
type Own = (
    Vec<CertificateDer<'static>>,
    rustls_pki_types::PrivateKeyDer<'static>,
);

fn client(
    roots: &RootCertStore,
    own: Option<Own>,
    version: &'static rustls::SupportedProtocolVersion,
) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots.clone());
    match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
    }
}

/// What a client of this configuration presents, and how its handshake went.
async fn presents(
    certificates: &Certificates,
    config: &Arc<ClientConfig>,
) -> (Option<Presented>, rustls::HandshakeKind) {
    use tokio::io::AsyncReadExt;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("app.example").unwrap();
        let connector = TlsConnector::from(Arc::clone(config));
        let mut stream = connector.connect(name, stream).await.unwrap();
        // Tickets come after the handshake.
        let _end = stream.read(&mut [0]).await;
    };
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut accepted = certificates.accept(stream).await.unwrap();
        let kind = accepted.stream.get_ref().1.handshake_kind().unwrap();
        let _end = tokio::io::AsyncWriteExt::shutdown(&mut accepted.stream).await;
        (accepted.presented, kind)
    };
    tokio::join!(client, server).1
}

#[tokio::test]
async fn c6_certificates_of_clients_are_asked_for_where_configured_and_proven_with_each_connection()
{
    use rustls::HandshakeKind;
    let folder = tempfile::tempdir().unwrap();
    let now = SystemClock.now();
    let app = files_of(folder.path(), "app", &["app.example"], now);
    let own = files_of(folder.path(), "own", &["own.example"], now);
    let mut roots = RootCertStore::empty();
    roots
        .add(read_chain(&app.chain).unwrap().remove(0))
        .unwrap();
    let of_client = || {
        let key = rustls_pki_types::PrivateKeyDer::from_pem_file(&own.key).unwrap();
        Some((read_chain(&own.chain).unwrap(), key))
    };
    let load = |asks| Certificates::load(std::slice::from_ref(&app), asks, now).unwrap();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let (asking, silent) = (load(true), load(false));
        let with = Arc::new(client(&roots, of_client(), version));
        let without = Arc::new(client(&roots, None, version));
        // One after the other, so that whatever the first has left is what the second would resume.
        for _ in 0..2 {
            let (presented, kind) = presents(&asking, &with).await;
            assert_eq!(&presented.unwrap()[..], read_chain(&own.chain).unwrap());
            assert!(kind != HandshakeKind::Resumed, "{kind:?}");
        }
        assert!(presents(&asking, &without).await.0.is_none());
        assert!(presents(&silent, &with).await.0.is_none());
        // Elsewhere sessions are resumed.
        let (_, kind) = presents(&silent, &without).await;
        let (_, again) = presents(&silent, &without).await;
        assert!(
            kind == HandshakeKind::Resumed || again == HandshakeKind::Resumed,
            "{kind:?} {again:?}"
        );
    }
}

/// The names that a client is served for, and what it is shown.
async fn handshake(certificates: &Certificates, name: &str, roots: &RootCertStore) -> Option<Host> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    let client = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    };
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        certificates.accept(stream).await
    };
    let (client, server) = tokio::join!(client, server);
    assert_eq!(client.is_ok(), server.is_ok(), "{name}");
    server.ok().map(|accepted| accepted.server_name)
}

#[tokio::test]
async fn c5_without_a_name_of_ours_there_is_no_handshake() {
    let folder = tempfile::tempdir().unwrap();
    // The client judges by the real time.
    let now = SystemClock.now();
    let names = ["app.example", "*.apps.example"];
    let app = files_of(folder.path(), "app", &names, now);
    let certificates = Certificates::load(std::slice::from_ref(&app), false, now).unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(read_chain(&app.chain).unwrap().remove(0))
        .unwrap();
    for name in ["app.example", "x.apps.example"] {
        let served = handshake(&certificates, name, &roots).await;
        assert_eq!(served, Host::parse(name).ok());
    }
    for name in ["other.example", "example", "a.b.apps.example", "127.0.0.1"] {
        assert_eq!(handshake(&certificates, name, &roots).await, None, "{name}");
    }
}

#[test]
fn c4_a_reload_that_fails_leaves_the_last_good_ones() {
    let folder = tempfile::tempdir().unwrap();
    let app = files(folder.path(), "app", &["app.example"]);
    let certificates = Certificates::load(std::slice::from_ref(&app), false, NOW).unwrap();
    let before = certificates.served.load_full();
    fs::write(&app.key, "garbage").unwrap();
    assert!(
        certificates
            .reload(std::slice::from_ref(&app), NOW)
            .is_err()
    );
    assert!(Arc::ptr_eq(&before, &certificates.served.load_full()));
    let renewed = files(folder.path(), "app", &["app.example", "b.example"]);
    certificates.reload(&[renewed], NOW).unwrap();
    let names = certificates.served.load().names.clone();
    assert!(
        names
            .certificate_for(&Host::parse("b.example").unwrap())
            .is_some()
    );
}
