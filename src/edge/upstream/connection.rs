//! One connection to an upstream: whose it is, and how requests are put on it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri, Version};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::clock::Timestamp;
use crate::edge::local::LocalExecutor;
use crate::edge::upstream::upload::{Upload, UploadBody};
use crate::mesh::svid::Svid;
use crate::mesh::tls::{Refused, SecureStream};

/// Streams that share an HTTP/2 connection, at most; the upstream may want fewer.
const STREAMS: usize = 100;
/// Stands for an upstream's limit until its first SETTINGS are there (RFC 9113 §6.5.2 has none then): no upstream names this number.
const UNKNOWN: usize = usize::MAX - 1;
/// The library does not tell when they have come: it is asked this often, for as long as somebody might wait for it.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// An HTTP/2 connection is asked this often whether it is still there, and has this long to say so.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_WITHIN: Duration = Duration::from_secs(10);

/// A place among the connections that a pool may have. Given back once, at the latest when the socket is closed.
pub(super) struct Slot {
    open: Arc<AtomicUsize>,
    is_held: AtomicBool,
}

impl Slot {
    /// A place, if there is one.
    pub(super) fn take(open: &Arc<AtomicUsize>, most: usize) -> Option<Arc<Self>> {
        // The pool belongs to this thread, so nobody else takes places; they are given back from anywhere.
        if open.load(Ordering::Acquire) >= most {
            return None;
        }
        open.fetch_add(1, Ordering::AcqRel);
        Some(Arc::new(Self {
            open: Arc::clone(open),
            is_held: AtomicBool::new(true),
        }))
    }

    /// Gives it back.
    pub(super) fn release(&self) {
        if self.is_held.swap(false, Ordering::AcqRel) {
            self.open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.release();
    }
}

/// What is known of a connection.
#[derive(Clone)]
pub(super) struct Info {
    /// The certificate that it bears.
    pub(super) svid: Arc<Svid>,
    /// Of the bundle that the upstream was verified with.
    pub(super) generation: u64,
    pub(super) peer: SocketAddr,
    pub(super) refused: Refused,
    pub(super) slot: Arc<Slot>,
}

impl Info {
    /// Whether a request of this SVID may travel on it: only if it bears this very certificate, which is still good, and the upstream would be verified
    /// by the same roots today.
    pub(super) fn bears(&self, svid: &Svid, generation: u64, now: Timestamp) -> bool {
        let is_same = self.svid.thumbprint == svid.thumbprint;
        // Pools are kept by identity; a connection of somebody else in this one would be a fault of ours, and is not used either way.
        debug_assert_eq!(self.svid.identity, svid.identity, "the pools are mixed up");
        is_same
            && self.svid.identity == svid.identity
            && self.generation == generation
            && now < self.svid.not_after
    }
}

/// HTTP/1: for one exchange at a time.
pub(super) struct Single<B> {
    pub(super) sender: http1::SendRequest<Upload<B>>,
    pub(super) info: Info,
    /// Since when it is idle.
    pub(super) since: Timestamp,
}

/// Asks a connection how many streams its other end accepts; [`UNKNOWN`] until it has said so.
pub(super) type Most = Rc<dyn Fn() -> usize>;

/// HTTP/2: shared by exchanges.
pub(super) struct Shared<B> {
    pub(super) sender: http2::SendRequest<Upload<B>>,
    /// How many streams the upstream wants at most.
    pub(super) most: Most,
    pub(super) info: Info,
    /// Streams under way, from a request's head to the end of its answer.
    pub(super) open: Rc<Cell<usize>>,
    pub(super) was_used: Cell<bool>,
    /// When the last request was put on it.
    pub(super) since: Cell<Timestamp>,
}

impl<B: UploadBody> Shared<B> {
    /// Waits until the upstream has said how many streams it takes, or the connection has ended.
    pub(super) async fn is_settled(&self) {
        while (self.most)() == UNKNOWN && !self.sender.is_closed() {
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether it takes one more request.
    pub(super) fn has_room(&self) -> bool {
        let most = match (self.most)() {
            // Its first request may go ahead; the others wait for the upstream's word.
            UNKNOWN => 1,
            most => most.min(STREAMS),
        };
        !self.sender.is_closed() && self.open.get() < most
    }
}

/// An encrypted connection that keeps its place until it is closed.
pub(super) struct Held {
    pub(super) stream: SecureStream,
    pub(super) _slot: Arc<Slot>,
}

/// Starts HTTP/1. With `upgrades` the connection can become a tunnel.
pub(super) async fn start_http1<B: UploadBody>(
    io: Held,
    upgrades: bool,
) -> hyper::Result<http1::SendRequest<Upload<B>>> {
    let (sender, connection) = http1::Builder::new().handshake(TokioIo::new(io)).await?;
    // How it ends is told to whoever waits for an answer.
    if upgrades {
        spawn_local(async move {
            let _ended = connection.with_upgrades().await;
        });
    } else {
        spawn_local(async move {
            let _ended = connection.await;
        });
    }
    Ok(sender)
}

/// Starts HTTP/2.
pub(super) async fn start_http2<B: UploadBody>(
    io: Held,
) -> hyper::Result<(http2::SendRequest<Upload<B>>, Most)> {
    let (sender, connection) = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WITHIN)
        .initial_max_send_streams(UNKNOWN)
        .handshake(TokioIo::new(io))
        .await?;
    let connection = Rc::new(RefCell::new(Some(connection)));
    let driven = Rc::clone(&connection);
    spawn_local(std::future::poll_fn(move |context| {
        let mut kept = driven.borrow_mut();
        if let Some(connection) = kept.as_mut() {
            let _ended = std::task::ready!(Pin::new(connection).poll(context));
        }
        // With it go the requests that still waited to be sent on it.
        let ended = kept.take();
        drop(kept);
        drop(ended);
        Poll::Ready(())
    }));
    let most = move || {
        let kept = connection.borrow();
        kept.as_ref()
            .map_or(0, http2::Connection::current_max_send_streams)
    };
    Ok((sender, Rc::new(most)))
}

/// Origin-form and `Host`, as HTTP/1 has it.
pub(super) fn as_http1<B>(request: &mut Request<B>) {
    *request.version_mut() = Version::HTTP_11;
    let Some(authority) = request.uri().authority() else {
        return;
    };
    let host = HeaderValue::from_str(authority.as_str());
    let target = request.uri().path_and_query().cloned();
    if let Ok(host) = host {
        request.headers_mut().entry(HOST).or_insert(host);
    }
    *request.uri_mut() = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
}

/// `:scheme`, `:authority` and `:path`, as HTTP/2 has it; `false` if there is no usable `Host`.
pub(super) fn as_http2<B>(request: &mut Request<B>) -> bool {
    *request.version_mut() = Version::HTTP_2;
    if request.uri().authority().is_some() {
        return true;
    }
    let Some(authority) = request
        .headers_mut()
        .remove(HOST)
        .and_then(|host| Authority::try_from(host.as_bytes()).ok())
    else {
        return false;
    };
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = Some(authority);
    parts
        .path_and_query
        .get_or_insert_with(|| PathAndQuery::from_static("/"));
    Uri::from_parts(parts)
        .map(|uri| *request.uri_mut() = uri)
        .is_ok()
}

impl AsyncRead for Held {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Held {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
