//! What a connection's gate and its listener tell each other. Shared by atomics, since an upgraded connection has to be `Send`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use crate::edge::framing::head::FramingFault;

/// Faults and tunnels of one connection.
#[derive(Debug, Default)]
pub struct FramingState {
    /// The number of the faulty request, and its fault. There is one at most: nothing is read after it.
    fault: OnceLock<(u64, FramingFault)>,
    is_tunnel: AtomicBool,
    holding: AtomicWaker,
    is_write_blocked: AtomicBool,
    was_unblocked: AtomicBool,
    stays_open: AtomicBool,
}

impl FramingState {
    /// The fault of the request with this number (from 0), if it has one: what the server was given in its place is a stand-in, to be answered by a refusal.
    pub fn fault_of(&self, request: u64) -> Option<FramingFault> {
        let (faulty, fault) = self.fault.get()?;
        (*faulty == request).then_some(*fault)
    }

    pub(in crate::edge::framing) fn set_fault(&self, request: u64, fault: FramingFault) {
        let _first = self.fault.set((request, fault));
    }

    /// The upgrade is agreed: from here on bytes are a tunnel's.
    pub fn pass_through(&self) {
        self.is_tunnel.store(true, Ordering::Release);
        self.holding.wake();
    }

    pub(in crate::edge::framing) fn poll_tunnel(&self, context: &mut Context<'_>) -> Poll<()> {
        self.holding.register(context.waker());
        match self.is_tunnel.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Whether the client has not yet taken all that was written.
    pub fn is_write_blocked(&self) -> bool {
        self.is_write_blocked.load(Ordering::Relaxed)
    }

    pub(in crate::edge::framing) fn set_write_blocked(&self, is_blocked: bool) {
        self.is_write_blocked.store(is_blocked, Ordering::Relaxed);
        if !is_blocked {
            self.was_unblocked.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the client took anything that had to wait since this was asked last.
    pub fn has_taken(&self) -> bool {
        self.was_unblocked.swap(false, Ordering::Relaxed)
    }

    /// Whether the server's end is the connection's end (as it is at first), or another server will go on with it.
    pub fn set_stays_open(&self, stays_open: bool) {
        self.stays_open.store(stays_open, Ordering::Relaxed);
    }

    pub(in crate::edge::framing) fn stays_open(&self) -> bool {
        self.stays_open.load(Ordering::Relaxed)
    }
}
