//! Sockets that clients come to: bound once per worker with `SO_REUSEPORT`, so that the kernel spreads connections and no thread hands any to another.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use crate::address::origin::Scheme;
use crate::config::checked::Listener;
use crate::edge::tls::certificates::Certificates;

/// Connections that may wait to be accepted, per socket.
const BACKLOG: i32 = 1024;

/// What all connections of one listener have in common.
pub struct Door {
    /// The address that was really bound.
    pub address: SocketAddr,
    /// With or without TLS.
    pub scheme: Scheme,
    /// The port as people's browsers see it.
    pub external_port: u16,
    /// `Some` exactly with `https`.
    pub certificates: Option<Arc<Certificates>>,
}

/// A listener that is bound: one socket for each worker.
pub struct BoundListener {
    /// What its connections have in common.
    pub door: Arc<Door>,
    /// One per worker.
    pub sockets: Vec<TcpListener>,
}

impl BoundListener {
    /// Binds a listener for a number of workers (at least one); port 0 takes any that is free.
    ///
    /// # Errors
    /// Whatever the system says, above all that the address is in use: also by another process that would share it.
    pub fn bind(
        listener: &Listener,
        certificates: Option<Arc<Certificates>>,
        workers: usize,
    ) -> io::Result<Self> {
        let alone = TcpListener::bind(listener.address)?;
        let address = alone.local_addr()?;
        // A socket that shares its port joins whoever else shares it, without an error: the one above makes sure that there is nobody.
        drop(alone);
        let sockets = (0..workers.max(1)).map(|_| shared_socket(address));
        let door = Door {
            address,
            scheme: listener.scheme,
            external_port: match listener.external_port {
                0 => address.port(),
                port => port,
            },
            certificates,
        };
        Ok(Self {
            sockets: sockets.collect::<Result<_, _>>()?,
            door: Arc::new(door),
        })
    }
}

fn shared_socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // What is accepted inherits it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Whether a failed accept is the system's want of something (descriptors, memory) rather than the connection's own end.
pub fn is_exhaustion(error: &io::Error) -> bool {
    // EMFILE, ENFILE, ENOBUFS, ENOMEM; the standard library has no names for the first three.
    matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port() -> Listener {
        Listener {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            scheme: Scheme::Http,
            external_port: 0,
            certificates: Vec::new(),
            client_certificates: false,
        }
    }

    #[test]
    fn every_worker_has_a_socket_of_the_same_port() {
        let bound = BoundListener::bind(&any_port(), None, 3).unwrap();
        let ports: Vec<_> = bound
            .sockets
            .iter()
            .map(|socket| socket.local_addr().unwrap())
            .collect();
        assert_eq!(ports, [bound.door.address; 3]);
        assert_eq!(bound.door.external_port, bound.door.address.port());
    }

    #[test]
    fn an_address_in_use_is_not_shared() {
        let first = BoundListener::bind(&any_port(), None, 1).unwrap();
        let same = Listener {
            address: first.door.address,
            ..any_port()
        };
        let second = BoundListener::bind(&same, None, 1);
        assert_eq!(
            second.err().map(|error| error.kind()),
            Some(io::ErrorKind::AddrInUse)
        );
    }
}
