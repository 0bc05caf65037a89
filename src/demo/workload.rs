//! A mesh workload that accepts nothing but mTLS from a mesh identity, and shows what it saw: identity, certificate, headers, assertion.
//!
//! It stands in for an application behind a sidecar, so it may also have a policy of its own, as an Istio `AuthorizationPolicy` would:
//! the second layer, which the edge cannot talk it out of.

mod caller;
pub mod lines;
mod pages;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{any, get, post};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::demo::DemoError;
use crate::demo::authority::Issued;
use caller::Caller;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest body that `/echo` sends back.
const ECHO_LIMIT: usize = 8 * 1024 * 1024;

/// A demo workload.
#[derive(Debug)]
pub struct Workload {
    /// For pages.
    pub title: &'static str,
    /// The SPIFFE ID it proves.
    pub spiffe_id: &'static str,
    /// What the SPIFFE ID of a caller must begin with; the workload's own mesh policy. `None` admits every identity of the mesh.
    pub admits: Option<&'static str>,
}

impl Workload {
    /// Serves until dropped, with this certificate, to clients whose certificates lead to `bundle` (PEM).
    /// Refuses a listener that is not on a loopback address.
    pub async fn serve(
        self,
        listener: TcpListener,
        issued: &Issued,
        bundle: &str,
    ) -> Result<(), DemoError> {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(issued, bundle)?));
        let router = Arc::new(self).router();
        let serve = |stream| connection(stream, acceptor.clone(), router.clone());
        accept(listener, serve).await
    }

    fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/events", get(pages::events))
            .route("/echo", post(pages::echo))
            .fallback(any(pages::seen))
            .layer(axum::extract::DefaultBodyLimit::max(ECHO_LIMIT))
            .layer(axum::middleware::from_fn_with_state(self.clone(), admit))
            .with_state(self)
    }
}

/// Serves every connection, until dropped. Refuses a listener that is not on a loopback address.
async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> F,
) -> Result<(), DemoError> {
    let address = listener.local_addr().map_err(|_| DemoError::NotLoopback)?;
    if !address.ip().is_loopback() {
        return Err(DemoError::NotLoopback);
    }
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A failed accept concerns that connection only.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream));
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// The workload's own mesh policy.
async fn admit(State(workload): State<Arc<Workload>>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>();
    let admitted = caller.is_some_and(|caller| {
        workload
            .admits
            .is_none_or(|prefix| caller.spiffe_id.starts_with(prefix))
    });
    if admitted {
        return next.run(request).await;
    }
    let id = caller.map_or("", |caller| caller.spiffe_id.as_str());
    pages::refused(&workload, id, request.headers())
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, router: Router) {
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else {
        return;
    };
    let Some(caller) = Caller::on(&stream) else {
        return;
    };
    let tls = stream.get_ref().1;
    let is_http2 = tls.alpn_protocol() == Some(b"h2");
    let service = TowerToHyperService::new(router.layer(axum::Extension(caller)));
    let io = TokioIo::new(stream);
    // A connection that breaks is the client's affair.
    if is_http2 {
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ended = server.serve_connection(io, service).await;
    } else {
        let server = hyper::server::conn::http1::Builder::new();
        let _ended = server.serve_connection(io, service).await;
    }
}

/// TLS that takes nobody without a certificate that leads to `bundle`, for HTTP/2 and HTTP/1.1.
pub fn server_config(issued: &Issued, bundle: &str) -> Result<ServerConfig, DemoError> {
    let fault = |error: &dyn std::fmt::Display| DemoError::Tls(error.to_string());
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        let root = root.map_err(|error| fault(&error))?;
        roots.add(root).map_err(|error| fault(&error))?;
    }
    let provider = crate::tls::provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .build()
        .map_err(|error| fault(&error))?;
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(issued.chain.as_bytes()).collect();
    let key =
        PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).map_err(|error| fault(&error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.map_err(|error| fault(&error))?, key)
        .map_err(|error| fault(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests;
