//! A connection into the mesh that carries a tunnel's bytes, and ends with it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::edge::upstream::Connected;
use crate::edge::upstream::connection::Held;
use crate::mesh::tls::Refused;

/// Bytes both ways, as one mesh identity.
pub struct Line {
    held: Held,
    refused: Refused,
    /// Where it leads.
    pub connected: Connected,
}

impl Line {
    pub(super) fn new(held: Held, refused: Refused, connected: Connected) -> Self {
        Self {
            held,
            refused,
            connected,
        }
    }

    /// Whether the workload has said that it does not take our certificate: in TLS 1.3 it says so after the handshake.
    pub fn is_refused(&self) -> bool {
        self.refused.is_set()
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().held).poll_read(context, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().held).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().held).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().held).poll_shutdown(context)
    }
}
