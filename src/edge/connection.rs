//! One connection of a client, from accept to its end: TLS handshake, then requests of HTTP/1 (behind the framing gate) or HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::address::origin::Scheme;
use crate::config::checked::Limits;
use crate::edge::activity::{Activity, Rest};
use crate::edge::listen::Door;
use crate::edge::worker::{ConnectionInfo, Handler};
use crate::lifecycle::Lifecycle;

mod http1;
mod http2;

/// How long a connection whose place is wanted has to end in good order.
const LEAVES_WITHIN: Duration = Duration::from_secs(1);

/// A connection that was accepted.
pub struct Accepted {
    /// Without TLS.
    pub stream: TcpStream,
    /// The other end.
    pub peer: SocketAddr,
    /// What becomes of it.
    pub activity: Rc<Activity>,
}

/// Serves a connection until it ends. Errors are the client's affair: what there is to say of a request is in the access log.
pub async fn serve<H: Handler>(
    accepted: Accepted,
    door: &Door,
    handler: Rc<H>,
    limits: &Limits,
    lifecycle: &Lifecycle,
) -> io::Result<()> {
    let Accepted {
        stream,
        peer,
        activity,
    } = accepted;
    let mut info = ConnectionInfo {
        peer,
        scheme: door.scheme,
        external_port: door.external_port,
        server_name: None,
        certificate: None,
        certificate_names: None,
        http2: false,
        presented: None,
    };
    let Some(certificates) = &door.certificates else {
        if door.scheme == Scheme::Https {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let client = Client::new(info, handler, activity, limits, lifecycle);
        return http1::serve(client, stream).await;
    };
    let accepted = tokio::select! {
        accepted = timeout(limits.tls_handshake, certificates.accept(stream)) => accepted??,
        Rest::Dismissed = activity.rest(limits.tls_handshake, limits.tls_handshake) => {
            return Err(io::ErrorKind::TimedOut.into());
        }
    };
    activity.stir();
    info.server_name = Some(accepted.server_name);
    info.certificate = Some(accepted.certificate);
    info.certificate_names = Some(accepted.names);
    info.http2 = accepted.http2;
    info.presented = accepted.presented;
    let client = Client::new(info, handler, activity, limits, lifecycle);
    if accepted.http2 {
        http2::serve(client, accepted.stream).await
    } else {
        http1::serve(client, accepted.stream).await
    }
}

/// What the requests of a connection share.
struct Client<'a, H> {
    info: Rc<ConnectionInfo>,
    handler: Rc<H>,
    activity: Rc<Activity>,
    limits: &'a Limits,
    lifecycle: &'a Lifecycle,
}

impl<'a, H: Handler> Client<'a, H> {
    fn new(
        info: ConnectionInfo,
        handler: Rc<H>,
        activity: Rc<Activity>,
        limits: &'a Limits,
        lifecycle: &'a Lifecycle,
    ) -> Self {
        Self {
            info: Rc::new(info),
            handler,
            activity,
            limits,
            lifecycle,
        }
    }
}

#[cfg(test)]
mod tests;
