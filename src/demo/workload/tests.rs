//! The workload as callers with and without a mesh identity see it.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Workload;
use crate::clock::{Clock, SystemClock};
use crate::demo::authority::{Authority, Issued};
use crate::lifecycle::Lifecycle;

const ALICE: &str = "spiffe://demo.wayleave/ns/people/sa/alice----x";
const BOB: &str = "spiffe://demo.wayleave/ns/people/sa/bob----x";

/// Takes any server: these tests are about what the server thinks of the client.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// What the workload answers to `GET /` of a client with this certificate; empty when it hangs up.
async fn answer(port: u16, issued: Option<&Issued>, accept: &str) -> String {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer));
    let config = match issued {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let chain = CertificateDer::pem_slice_iter(issued.chain.as_bytes());
            let chain = chain.collect::<Result<_, _>>().unwrap();
            let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("workload").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let Ok(mut stream) = connector.connect(name, stream).await else {
        return String::new();
    };
    // {"cnf":{}} as an assertion that is bound to nothing.
    let request = format!(
        "GET /a?b=c HTTP/1.1\r\nHost: h.localhost\r\nAccept: {accept}\r\nWayleave-Jwt-Assertion: e30.eyJjbmYiOnt9fQ.x\r\nConnection: close\r\n\r\n"
    );
    let _refused = stream.write_all(request.as_bytes()).await;
    let mut bytes = Vec::new();
    let _refused = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn it_shows_identities_of_the_mesh_and_takes_nobody_else() {
    let authority = Authority::new(SystemClock.now()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let workload = Workload {
        title: "Payroll",
        spiffe_id: "spiffe://demo.wayleave/ns/apps/sa/payroll",
        admits: Some("spiffe://demo.wayleave/ns/people/sa/alice"),
    };
    let issued = authority.workload(workload.spiffe_id).unwrap();
    let bundle = authority.mesh_bundle();
    let lifecycle = Lifecycle::new();
    lifecycle.spawn("workload", async move {
        let _ended = workload.serve(listener, &issued, &bundle).await;
    });

    let alice = authority.workload(ALICE).unwrap();
    let seen = answer(port, Some(&alice), "application/json").await;
    assert!(seen.starts_with("HTTP/1.1 200"), "{seen}");
    for part in [
        ALICE,
        "\"target\":\"/a?b=c\"",
        "h.localhost",
        "\"assertion_is_bound\":false",
        "\"cnf\"",
    ] {
        assert!(seen.contains(part), "{part} is not in {seen}");
    }
    let page = answer(port, Some(&alice), "text/html").await;
    assert!(
        page.contains("<h1>Payroll</h1>") && page.contains(ALICE),
        "{page}"
    );

    let bob = authority.workload(BOB).unwrap();
    let refused = answer(port, Some(&bob), "application/json").await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    assert!(
        refused.contains("the workload's own mesh policy refused"),
        "{refused}"
    );
    assert!(refused.contains(BOB), "{refused}");

    assert_eq!(
        answer(port, None, "*/*").await,
        "",
        "no certificate, no answer"
    );
    let stranger = Authority::new(SystemClock.now())
        .unwrap()
        .workload(ALICE)
        .unwrap();
    assert_eq!(
        answer(port, Some(&stranger), "*/*").await,
        "",
        "another root"
    );
}
