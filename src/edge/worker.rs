//! What the listener and the request pipeline know of each other.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::address::host::Host;
use crate::address::origin::Scheme;
use crate::edge::body::EdgeBody;
use crate::edge::normalise::RequestFault;
use crate::edge::tls::certificates::Presented;
use crate::edge::tls::{CertificateId, CertificateNames};

/// What is known of a connection before its first request.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// The other end.
    pub peer: SocketAddr,
    /// The listener's.
    pub scheme: Scheme,
    /// The port as people's browsers see it, never 0.
    pub external_port: u16,
    /// SNI; always there with TLS.
    pub server_name: Option<Host>,
    /// The certificate that was shown.
    pub certificate: Option<CertificateId>,
    /// All names of the listener's certificates; `None` without TLS.
    pub certificate_names: Option<Arc<CertificateNames>>,
    /// HTTP/2 instead of HTTP/1.
    pub http2: bool,
    /// The certificates that the client has presented.
    pub presented: Option<Presented>,
}

/// The request pipeline of one worker, as the listener calls it.
#[expect(
    async_fn_in_trait,
    reason = "worker-local: the futures are not Send on purpose"
)]
pub trait Handler: 'static {
    /// Answers a request that is framed well; normalising it is the first thing to do.
    async fn handle(
        self: Rc<Self>,
        connection: Rc<ConnectionInfo>,
        request: Request<Incoming>,
    ) -> Response<EdgeBody>;

    /// Answers what is no request; the connection ends afterwards.
    async fn refuse(
        self: Rc<Self>,
        connection: Rc<ConnectionInfo>,
        fault: RequestFault,
    ) -> Response<EdgeBody>;
}
