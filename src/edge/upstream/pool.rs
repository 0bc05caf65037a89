//! The connections of one mesh identity to one upstream.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::client::conn::http1;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::clock::{SharedClock, Timestamp};
use crate::edge::upstream::connect::connect;
use crate::edge::upstream::connection::{
    Held, Info, Shared, Single, Slot, start_http1, start_http2,
};
use crate::edge::upstream::metrics::UpstreamMetrics;
use crate::edge::upstream::upload::{Progress, Upload, UploadBody};
use crate::edge::upstream::{Connected, Line, SendError};
use crate::identity::spiffe_id::MeshIdentity;
use crate::mesh::svid::Svid;
use crate::mesh::svids::Svids;
use crate::mesh::tls::{Handshaker, Refused};
use crate::policy::model::{Upstream, UpstreamProtocol};

/// Idle connections that a pool keeps.
const IDLE: usize = 32;

/// What is kept apart from everything else: nothing of one identity is ever used for another, nor for what is reached or verified differently.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    pub(super) identity: MeshIdentity,
    pub(super) upstream: Rc<Upstream>,
}

/// What all pools of a worker have in common.
pub(super) struct Common {
    pub(super) svids: Arc<Svids>,
    pub(super) clock: SharedClock,
    pub(super) metrics: UpstreamMetrics,
    pub(super) most: usize,
    pub(super) connect_within: Duration,
    pub(super) idle_for: Duration,
    pub(super) head_within: Duration,
}

pub(super) struct Pool<B> {
    key: PoolKey,
    common: Rc<Common>,
    /// The latest SVID seen; connections that bear another are not kept.
    newest: RefCell<Option<Arc<Svid>>>,
    idle: RefCell<Vec<Single<B>>>,
    shared: RefCell<Vec<Rc<Shared<B>>>>,
    handshakers: RefCell<Vec<KeptHandshaker>>,
    open: Arc<AtomicUsize>,
    /// The upstream chose HTTP/1 last time, so connections cannot be shared and nobody waits for another's.
    speaks_http1: Cell<bool>,
    is_connecting: Cell<bool>,
    connected: Notify,
}

struct KeptHandshaker {
    thumbprint: String,
    generation: u64,
    protocol: UpstreamProtocol,
    handshaker: Handshaker,
}

/// A connection that a request can be put on.
pub(super) enum Ready<B> {
    Single(Single<B>, WasUsed),
    Shared(Rc<Shared<B>>, WasUsed),
}

/// Whether it carried a request before.
pub(super) type WasUsed = bool;

/// A connection of its own for an upgrade.
pub(super) struct Upgradeable<B> {
    pub(super) sender: http1::SendRequest<Upload<B>>,
    pub(super) peer: SocketAddr,
    pub(super) refused: Refused,
}

impl<B: UploadBody> Pool<B> {
    pub(super) fn new(key: PoolKey, common: Rc<Common>) -> Self {
        Self {
            speaks_http1: Cell::new(key.upstream.protocol == UpstreamProtocol::Http1),
            key,
            common,
            newest: RefCell::default(),
            idle: RefCell::default(),
            shared: RefCell::default(),
            handshakers: RefCell::default(),
            open: Arc::default(),
            is_connecting: Cell::new(false),
            connected: Notify::new(),
        }
    }

    /// A connection that bears this SVID: one at hand, or a new one. With `fresh` none that was idle.
    pub(super) async fn obtain(
        self: &Rc<Self>,
        svid: &Arc<Svid>,
        fresh: bool,
    ) -> Result<Ready<B>, SendError> {
        let mut fresh = fresh;
        let obtaining = async {
            loop {
                self.adopt(svid);
                if let Some(ready) = self.take(svid, fresh) {
                    return Ok(ready);
                }
                if self.speaks_http1.get() || !self.is_connecting.get() {
                    // Rare and large: not part of every request's future.
                    return Box::pin(self.open(svid)).await;
                }
                // Somebody opens a connection that can perhaps be shared.
                self.connected.notified().await;
                fresh = false;
            }
        };
        timeout(self.common.connect_within, obtaining)
            .await
            .unwrap_or(Err(SendError::ConnectTimeout))
    }

    /// A connection for an upgrade, of which the pool knows nothing more than that it is open.
    pub(super) async fn open_upgradeable(
        &self,
        svid: &Arc<Svid>,
    ) -> Result<Upgradeable<B>, SendError> {
        self.adopt(svid);
        let opening = self.connect(svid, UpstreamProtocol::Http1);
        let (held, info) = timeout(self.common.connect_within, opening)
            .await
            .unwrap_or(Err(SendError::ConnectTimeout))?;
        let sender = start_http1(held, true)
            .await
            .map_err(|error| broken(error, &info.refused))?;
        self.common.metrics.opened("upgrade");
        Ok(Upgradeable {
            sender,
            peer: info.peer,
            refused: info.refused,
        })
    }

    /// A connection for a tunnel, of which the pool knows nothing more than that it is open.
    pub(super) async fn open_line(&self, svid: &Arc<Svid>) -> Result<Line, SendError> {
        self.adopt(svid);
        let opening = self.connect(svid, UpstreamProtocol::Tcp);
        let (held, info) = timeout(self.common.connect_within, opening)
            .await
            .unwrap_or(Err(SendError::ConnectTimeout))?;
        self.common.metrics.opened("tcp");
        let connected = Connected {
            reused: false,
            http2: false,
            peer: Some(info.peer),
        };
        Ok(Line::new(held, info.refused, connected))
    }

    /// Takes a connection back when its exchange has ended well on both sides; it is closed if that does not happen.
    pub(super) fn return_later(self: &Rc<Self>, single: Single<B>, progress: Rc<Progress>) {
        let pool = Rc::downgrade(self);
        spawn_local(async move {
            let mut single = single;
            // Ready means that the answer has been read to its end and the request is written; anything else ends the connection.
            let is_reusable = single.sender.ready().await.is_ok() && progress.is_complete();
            match pool.upgrade() {
                Some(pool) if is_reusable => pool.keep(single),
                _ => {}
            }
        });
    }

    /// Closes what has been idle for too long, has ended, or bears a former certificate. `false`: nothing is left.
    pub(super) fn tidy(&self) -> bool {
        let now = self.common.clock.now();
        let newest = self.newest.borrow().clone();
        let generation = self.common.svids.generation();
        let is_wanted = |info: &Info, since: Timestamp| {
            let is_current = newest
                .as_ref()
                .is_some_and(|newest| info.bears(newest, generation, now));
            is_current && now.since(since) < self.common.idle_for
        };
        self.retain_idle(|single| {
            !single.sender.is_closed() && is_wanted(&single.info, single.since)
        });
        // Streams under way go on: such a connection ends with the last of them.
        self.shared.borrow_mut().retain(|shared| {
            let is_busy = shared.open.get() > 0;
            let since = if is_busy { now } else { shared.since.get() };
            !shared.sender.is_closed() && is_wanted(&shared.info, since)
        });
        self.handshakers.borrow_mut().retain(|kept| {
            let is_newest = newest
                .as_ref()
                .is_some_and(|newest| newest.thumbprint == kept.thumbprint);
            is_newest && kept.generation == generation
        });
        self.open.load(Ordering::Acquire) > 0 || self.is_connecting.get()
    }

    /// From a newer SVID on, connections of the former are not kept.
    fn adopt(&self, svid: &Arc<Svid>) {
        let mut newest = self.newest.borrow_mut();
        let is_newer = match newest.as_ref() {
            None => true,
            Some(known) if known.thumbprint == svid.thumbprint => false,
            Some(known) => known.renew_at <= svid.renew_at,
        };
        if !is_newer {
            return;
        }
        *newest = Some(Arc::clone(svid));
        drop(newest);
        self.retain_idle(|single| single.info.svid.thumbprint == svid.thumbprint);
        self.shared
            .borrow_mut()
            .retain(|shared| shared.info.svid.thumbprint == svid.thumbprint);
    }

    fn retain_idle(&self, mut is_kept: impl FnMut(&Single<B>) -> bool) {
        self.idle.borrow_mut().retain(|single| {
            let is_kept = is_kept(single);
            if !is_kept {
                // Nothing is under way on it, so its place is free at once.
                single.info.slot.release();
            }
            is_kept
        });
    }

    /// The connection used last of those that fit.
    fn take(&self, svid: &Svid, fresh: bool) -> Option<Ready<B>> {
        let now = self.common.clock.now();
        let generation = self.common.svids.generation();
        let shared = self.shared.borrow();
        let fitting = shared
            .iter()
            .find(|shared| shared.info.bears(svid, generation, now) && shared.has_room());
        if let Some(shared) = fitting {
            shared.since.set(now);
            let was_used = shared.was_used.replace(true);
            return Some(Ready::Shared(Rc::clone(shared), was_used));
        }
        drop(shared);
        if fresh {
            return None;
        }
        loop {
            let mut idle = self.idle.borrow_mut();
            let at = idle
                .iter()
                .rposition(|single| single.info.bears(svid, generation, now))?;
            let single = idle.remove(at);
            let is_stale = now.since(single.since) >= self.common.idle_for;
            if !is_stale && single.sender.is_ready() {
                return Some(Ready::Single(single, true));
            }
            single.info.slot.release();
        }
    }

    fn keep(&self, mut single: Single<B>) {
        let now = self.common.clock.now();
        let generation = self.common.svids.generation();
        let is_newest = self
            .newest
            .borrow()
            .as_ref()
            .is_some_and(|newest| single.info.bears(newest, generation, now));
        let mut idle = self.idle.borrow_mut();
        if is_newest && idle.len() < IDLE {
            single.since = now;
            idle.push(single);
        } else {
            single.info.slot.release();
        }
    }

    async fn open(self: &Rc<Self>, svid: &Arc<Svid>) -> Result<Ready<B>, SendError> {
        let announced = Connecting::begin(self);
        let protocol = self.key.upstream.protocol;
        let (held, info) = self.connect(svid, protocol).await?;
        let refused = info.refused.clone();
        let since = self.common.clock.now();
        let is_http2 = held.stream.is_http2(protocol);
        self.speaks_http1.set(!is_http2);
        if !is_http2 {
            let sender = start_http1(held, false)
                .await
                .map_err(|error| broken(error, &refused))?;
            self.common.metrics.opened("http/1.1");
            let single = Single {
                sender,
                info,
                since,
            };
            return Ok(Ready::Single(single, false));
        }
        let (sender, most) = start_http2(held)
            .await
            .map_err(|error| broken(error, &refused))?;
        self.common.metrics.opened("h2");
        let shared = Rc::new(Shared {
            sender,
            most,
            info,
            open: Rc::default(),
            was_used: Cell::new(true),
            since: Cell::new(since),
        });
        let mut known = self.shared.borrow_mut();
        known.retain(|shared| !shared.sender.is_closed());
        known.push(Rc::clone(&shared));
        let (opened, within) = (Rc::clone(&shared), self.common.connect_within);
        spawn_local(async move {
            let _settled = timeout(within, opened.is_settled()).await;
            drop(announced);
        });
        Ok(Ready::Shared(shared, false))
    }

    async fn connect(
        &self,
        svid: &Arc<Svid>,
        protocol: UpstreamProtocol,
    ) -> Result<(Held, Info), SendError> {
        let slot = self.place()?;
        let generation = self.common.svids.generation();
        let handshaker = self.handshaker(svid, generation, protocol)?;
        let addresses = &self.key.upstream.addresses;
        let within = self.common.connect_within;
        let (stream, peer) = connect(addresses, &handshaker, within).await?;
        let info = Info {
            svid: Arc::clone(svid),
            generation,
            peer,
            refused: stream.refused(),
            slot: Arc::clone(&slot),
        };
        Ok((
            Held {
                stream,
                _slot: slot,
            },
            info,
        ))
    }

    /// A place for one more connection; an idle one makes room.
    fn place(&self) -> Result<Arc<Slot>, SendError> {
        if let Some(slot) = Slot::take(&self.open, self.common.most) {
            return Ok(slot);
        }
        self.shared
            .borrow_mut()
            .retain(|shared| !shared.sender.is_closed());
        let mut idle = self.idle.borrow_mut();
        if !idle.is_empty() {
            idle.remove(0).info.slot.release();
        }
        Slot::take(&self.open, self.common.most).ok_or(SendError::Exhausted)
    }

    fn handshaker(
        &self,
        svid: &Svid,
        generation: u64,
        protocol: UpstreamProtocol,
    ) -> Result<Handshaker, SendError> {
        let mut kept = self.handshakers.borrow_mut();
        let found = kept.iter().find(|kept| {
            kept.thumbprint == svid.thumbprint
                && kept.generation == generation
                && kept.protocol == protocol
        });
        if let Some(found) = found {
            return Ok(found.handshaker.clone());
        }
        let handshaker = Handshaker::new(
            svid,
            &self.key.upstream.transport,
            protocol,
            self.common.svids.bundle(),
            Arc::clone(&self.common.clock),
        )
        .map_err(|error| SendError::Tls(io::Error::other(error)))?;
        // Former certificates have no use for theirs.
        kept.retain(|kept| kept.thumbprint == svid.thumbprint && kept.generation == generation);
        kept.push(KeptHandshaker {
            thumbprint: svid.thumbprint.clone(),
            generation,
            protocol,
            handshaker: handshaker.clone(),
        });
        Ok(handshaker)
    }
}

/// The error of a connection, by whether the upstream has refused our certificate.
pub(super) fn broken(error: hyper::Error, refused: &Refused) -> SendError {
    if refused.is_set() {
        SendError::IdentityRefused(error.into())
    } else {
        SendError::Broken(error)
    }
}

/// Says that a connection is being opened, until that has ended in one way or another.
struct Connecting<B> {
    pool: Rc<Pool<B>>,
    is_first: bool,
}

impl<B> Connecting<B> {
    fn begin(pool: &Rc<Pool<B>>) -> Self {
        Self {
            is_first: !pool.is_connecting.replace(true),
            pool: Rc::clone(pool),
        }
    }
}

impl<B> Drop for Connecting<B> {
    fn drop(&mut self) {
        if self.is_first {
            self.pool.is_connecting.set(false);
            self.pool.connected.notify_waiters();
        }
    }
}
