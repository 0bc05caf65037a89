//! What forwarding needs of the mesh: SVIDs, and connections that bear them. One per worker.
//!
//! There is no way to send a request but with the SVID its connection has to bear, and forwarding takes that SVID from a permit.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::edge::body::BoxError;
use crate::edge::forward::RequestBody;
use crate::identity::spiffe_id::MeshIdentity;
use crate::mesh::svid::{Svid, SvidError};
use crate::policy::compile::CompiledRoute;

mod connect;
mod connection;
mod line;
pub mod metrics;
mod pool;
pub mod pools;
pub mod upload;

pub use line::Line;

/// SVIDs and pooled connections, keyed by (mesh identity, upstream).
#[expect(
    async_fn_in_trait,
    reason = "worker-local: the futures are not Send on purpose"
)]
pub trait Upstreams: 'static {
    /// The SVID at hand if it is in the first half of its life; no waiting, no shared lock.
    fn svid_at_hand(&self, identity: &MeshIdentity) -> Option<Arc<Svid>>;

    /// A valid SVID: the one at hand, or a new one. Bounded in time.
    async fn svid(&self, identity: &MeshIdentity) -> Result<Arc<Svid>, SvidError>;

    /// Sends a request as the SVID's identity, on a connection that bears this identity's certificate and no other.
    ///
    /// The request has an origin-form target and a `Host`; the version is the connection's (for HTTP/2, `Host` becomes `:authority`). Does not wait for
    /// the response's body. A connection whose exchange does not end cleanly is never used again.
    async fn send(
        &self,
        svid: &Arc<Svid>,
        route: &Arc<CompiledRoute>,
        request: Box<Request<RequestBody>>,
    ) -> Result<Sent, SendError>;

    /// Sends an HTTP/1.1 upgrade request on a connection of its own, never pooled. On 101 `hyper::upgrade::on(response)` gives the tunnel.
    async fn send_upgrade(
        &self,
        svid: &Arc<Svid>,
        route: &Arc<CompiledRoute>,
        request: Box<Request<RequestBody>>,
    ) -> Result<Sent, SendError>;

    /// A connection for a tunnel, for one caller alone and never pooled; bytes are all that passes over it.
    async fn connect(
        &self,
        svid: &Arc<Svid>,
        route: &Arc<CompiledRoute>,
    ) -> Result<Line, SendError>;

    /// Closes connections that are idle for too long or bear a former certificate. Called every few seconds.
    fn tidy(&self);
}

/// An answer's head, and what it came over.
#[derive(Debug)]
pub struct Sent {
    /// Its body has not been read.
    pub response: Response<Incoming>,
    /// Where it came from.
    pub connected: Connected,
    /// To be held until the answer is over.
    pub stream: OpenStream,
}

/// A stream's place on a connection that others share; nothing on one of its own.
#[derive(Debug, Default)]
pub struct OpenStream(Option<Rc<Cell<usize>>>);

impl OpenStream {
    fn among(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self(Some(Rc::clone(open)))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if let Some(open) = &self.0 {
            open.set(open.get().saturating_sub(1));
        }
    }
}

/// Where the connection of an answered request went, for logs and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connected {
    /// Whether it had been used before.
    pub reused: bool,
    /// HTTP/2 instead of HTTP/1.
    pub http2: bool,
    /// The other end.
    pub peer: Option<SocketAddr>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// DNS has no address for it.
    #[error("the upstream's name does not resolve")]
    Resolve(#[source] std::io::Error),
    /// Nobody listens, or nothing leads there.
    #[error("the upstream does not accept connections")]
    Connect(#[source] std::io::Error),
    /// TCP and TLS together took longer than `limits.upstream_connect`.
    #[error("connecting to the upstream took too long")]
    ConnectTimeout,
    /// The far end is somebody else; the text says who, for the log.
    #[error("the upstream did not prove the expected SPIFFE ID: {0}")]
    PeerIdentity(String),
    /// Any other fault of the handshake.
    #[error("the TLS handshake with the upstream failed")]
    Tls(#[source] std::io::Error),
    /// The workload does not accept our certificate.
    #[error("the upstream refused the mesh identity")]
    IdentityRefused(#[source] BoxError),
    /// No head of an answer within the route's deadline.
    #[error("the upstream did not answer in time")]
    HeadTimeout,
    /// `limits.upstream_connections` are in use.
    #[error("too many connections to the upstream")]
    Exhausted,
    /// It broke while the request was under way.
    #[error("the connection to the upstream broke")]
    Broken(#[source] hyper::Error),
}
