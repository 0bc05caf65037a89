//! What a connection's gate and its listener tell each other. Shared by atomics, since an upgraded connection has to be `Send`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
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
    answering: AtomicUsize,
}

/// A request that is being answered; dropped with the end of the answer's body.
#[derive(Debug)]
pub struct Answering(Arc<FramingState>);

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

    /// A request begins; until its answer has ended the connection is not idle.
    pub fn begin(self: &Arc<Self>) -> Answering {
        self.answering.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }

    pub(in crate::edge::framing) fn is_answering(&self) -> bool {
        self.answering.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}
