//! One connection of a client, from accept to its end: TLS handshake, then requests of HTTP/1 (behind the framing gate) or HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::address::origin::Scheme;
use crate::config::checked::Limits;
use crate::edge::listen::Door;
use crate::edge::worker::{ConnectionInfo, Handler};
use crate::lifecycle::Lifecycle;

mod http1;
mod http2;

/// Serves a connection until it ends. Errors are the client's affair: what there is to say of a request is in the access log.
pub async fn serve<H: Handler>(
    stream: TcpStream,
    peer: SocketAddr,
    door: &Door,
    handler: Rc<H>,
    limits: &Limits,
    lifecycle: &Lifecycle,
) -> io::Result<()> {
    let mut info = ConnectionInfo {
        peer,
        scheme: door.scheme,
        external_port: door.external_port,
        server_name: None,
        certificate: None,
        certificate_names: None,
        http2: false,
    };
    let Some(certificates) = &door.certificates else {
        if door.scheme == Scheme::Https {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let client = Client::new(info, handler, limits, lifecycle);
        return http1::serve(client, stream).await;
    };
    let accepted = timeout(limits.tls_handshake, certificates.accept(stream)).await??;
    info.server_name = Some(accepted.server_name);
    info.certificate = Some(accepted.certificate);
    info.certificate_names = Some(accepted.names);
    info.http2 = accepted.http2;
    let client = Client::new(info, handler, limits, lifecycle);
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
    limits: &'a Limits,
    lifecycle: &'a Lifecycle,
}

impl<'a, H: Handler> Client<'a, H> {
    fn new(
        info: ConnectionInfo,
        handler: Rc<H>,
        limits: &'a Limits,
        lifecycle: &'a Lifecycle,
    ) -> Self {
        Self {
            info: Rc::new(info),
            handler,
            limits,
            lifecycle,
        }
    }
}

#[cfg(test)]
mod tests;
