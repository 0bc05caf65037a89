//! Tunnels of TCP routes: bytes both ways between a program and a workload, which sees a connection of the caller's mesh identity and nothing else.
//!
//! A tunnel is asked for by a request like any other, so that it is decided, recorded and looked at again like any other: `POST /` whose two bodies
//! stream (HTTP/2), or an upgrade (HTTP/1.1). Each side may end before the other, in order; whatever else ends a tunnel ends it with an error on both
//! sides, whose number says why, and never with an end that could pass for the far side's own.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode, Version, request};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::task::spawn_local;

use crate::edge::access_log::Entry;
use crate::edge::authorize::Permit;
use crate::edge::body::{BoxError, EdgeBody};
use crate::edge::forward::{own_svid, unless_cut, unless_cut_on};
use crate::edge::headers::{self, UpgradeTo};
use crate::edge::local::Worker;
use crate::edge::respond::Refused;
use crate::edge::route::Routed;
use crate::edge::streams::{Cut, Side, UnderWay};
use crate::edge::tunnel::HAND_OVER;
use crate::edge::upstream::{Line, Upstreams};

mod end;

pub use end::End;

/// The media type of both bodies, by which a tunnel is asked for over HTTP/2.
pub const MEDIA_TYPE: &str = "application/vnd.wayleave.tcp";
/// The protocol that HTTP/1.1 changes to.
pub const PROTOCOL: &str = "wayleave-tcp";
/// The longest silence where the route says nothing: people leave a prompt open over lunch.
const IDLE: Duration = Duration::from_secs(60 * 60);
/// How much is read at once.
const PIECE: usize = 32 * 1024;

thread_local! {
    /// What is read goes through here, so that a tunnel that is silent holds no buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; PIECE].into());
}

/// Whether a request asks for a tunnel.
pub fn is_asked_for(head: &request::Parts, upgrade: Option<&UpgradeTo>) -> bool {
    let asks = match upgrade {
        Some(to) => to.is(PROTOCOL),
        None => {
            head.version == Version::HTTP_2
                && head
                    .headers
                    .get(CONTENT_TYPE)
                    .is_some_and(|kind| kind == MEDIA_TYPE)
        }
    };
    asks && head.method == Method::POST
}

/// Nothing but tunnels goes to a TCP route, and tunnels go nowhere else.
pub fn check(routed: &Routed, is_tunnel: bool) -> Result<(), Refused> {
    let request = routed.request();
    let is_whole = request.path == "/" && request.query.is_none();
    match (routed.route().route.is_tcp(), is_tunnel) {
        (true, true) if !is_whole => Err(Refused::NoRoute),
        (true, false) => Err(Refused::OnlyTunnels),
        (false, true) => Err(Refused::NoTunnels),
        (true, true) | (false, false) => Ok(()),
    }
}

/// A connection to the workload that the client has yet to be joined to.
pub struct Opened {
    line: Line,
    under_way: UnderWay,
}

/// The client's side of a tunnel.
pub enum Client {
    /// The request's body; the answer's is the other direction.
    Streams(Incoming),
    /// The connection itself.
    Upgrade(OnUpgrade),
}

/// Connects to the workload with the permit's own SVID.
pub async fn open<U: Upstreams>(
    worker: &Worker<U>,
    permit: Permit,
    entry: &mut Entry,
) -> Result<Opened, Refused> {
    let svid = own_svid(worker, &permit).await?;
    let route = std::sync::Arc::clone(permit.routed().route());
    let idle = route.route.timeouts.idle;
    let idle = idle.unwrap_or_else(|| worker.edge.limits.idle_stream.max(IDLE));
    let under_way = worker.streams.begin(permit, idle, true);
    entry.sent();
    let connecting = worker.upstreams.connect(&svid, &route);
    let line = unless_cut(under_way.exchange(), connecting).await??;
    under_way.exchange().answered();
    entry.answered(line.connected);
    Ok(Opened { line, under_way })
}

impl Opened {
    /// Answers the client and connects the two sides; the access log line is written when the tunnel ends.
    pub fn join(self, client: Client, mut entry: Entry) -> Response<EdgeBody> {
        let status = match &client {
            Client::Streams(_) => StatusCode::OK,
            Client::Upgrade(_) => StatusCode::SWITCHING_PROTOCOLS,
        };
        entry.status(status);
        let tunnel = Rc::new(Tunnel {
            line: RefCell::new(Some(self.line)),
            under_way: self.under_way,
            entry: RefCell::new(Some(entry)),
            client_ended: Cell::new(false),
            far_ended: Cell::new(false),
            end: Cell::new(None),
        });
        let download = Download(Rc::clone(&tunnel));
        let mut response = Response::new(EdgeBody::Empty);
        *response.status_mut() = status;
        let head = response.headers_mut();
        head.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match client {
            Client::Streams(body) => {
                head.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
                *response.body_mut() = EdgeBody::Tunnel(download);
                spawn_local(async move { tunnel.upload(Upload::Stream(body)).await });
            }
            Client::Upgrade(client) => {
                headers::set_switching(head, HeaderValue::from_static(PROTOCOL));
                spawn_local(upgraded(tunnel, download, client));
            }
        }
        response
    }
}

async fn upgraded(tunnel: Rc<Tunnel>, download: Download, client: OnUpgrade) {
    let Ok(Ok(client)) = tokio::time::timeout(HAND_OVER, client).await else {
        return;
    };
    let (reader, writer) = tokio::io::split(TokioIo::new(client));
    tokio::join!(
        tunnel.upload(Upload::Upgraded(reader)),
        download.into_client(writer)
    );
}

/// A tunnel that is open.
struct Tunnel {
    /// The connection to the workload, until the tunnel has ended.
    line: RefCell<Option<Line>>,
    under_way: UnderWay,
    entry: RefCell<Option<Entry>>,
    client_ended: Cell<bool>,
    far_ended: Cell<bool>,
    end: Cell<Option<End>>,
}

impl Tunnel {
    /// Ends it in both directions. The first reason stays.
    fn end(&self, end: End) {
        if self.end.get().is_some() {
            return;
        }
        self.end.set(Some(end));
        if let Some(mut entry) = self.entry.borrow_mut().take() {
            let (outcome, reason) = end.outcome();
            entry.outcome(outcome, reason);
            entry.under_way(&self.under_way);
        }
        self.line.borrow_mut().take();
        // Whoever waits for the other direction is woken.
        self.under_way.exchange().cut(Cut::Over);
    }

    /// What a cut means: it may be the one that [`Self::end`] wakes with.
    fn ended_by(&self, cut: Cut) -> End {
        self.end(End::Cut(cut));
        self.end.get().unwrap_or(End::Cut(cut))
    }

    fn direction_ended(&self, direction: &Cell<bool>) {
        direction.set(true);
        if self.client_ended.get() && self.far_ended.get() {
            self.end(End::Well);
        }
    }

    /// The workload's connection broke, or it does not take our certificate, which it may say only now.
    fn broken(&self) -> End {
        let line = self.line.borrow();
        let is_refused = line.as_ref().is_some_and(Line::is_refused);
        if is_refused {
            End::IdentityRefused
        } else {
            End::FarBroke
        }
    }

    /// Does something with the workload's connection; it is gone once the tunnel has ended.
    fn poll_line<T>(
        &self,
        poll: impl FnOnce(Pin<&mut Line>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match self.line.borrow_mut().as_mut() {
            Some(line) => poll(Pin::new(line)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Carries what the client sends, to its end, and sees to it that the tunnel ends when it must.
    async fn upload(&self, mut from: Upload) {
        let exchange = self.under_way.exchange();
        let carrying = async {
            while let Some(piece) = from.next().await? {
                exchange.received(piece.len());
                self.write(&piece).await.map_err(|_| self.broken())?;
            }
            // A workload that has hung up needs not be told; how it did is seen where it is read from.
            let _told = LineIo(self).shutdown().await;
            exchange.upload_ended();
            self.direction_ended(&self.client_ended);
            // The other direction may be stuck in a client that reads nothing.
            std::future::pending::<Result<(), End>>().await
        };
        match unless_cut_on(exchange, Side::Upload, carrying).await {
            Ok(Ok(())) => {}
            Ok(Err(end)) => self.end(end),
            Err(cut) => {
                self.ended_by(cut);
            }
        }
    }

    async fn write(&self, piece: &[u8]) -> io::Result<()> {
        let mut line = LineIo(self);
        line.write_all(piece).await?;
        line.flush().await
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // Where the worker or the client's connection ends under it.
        self.end(End::ClientLeft);
    }
}

/// Writes to the workload, for as long as the tunnel lasts.
struct LineIo<'a>(&'a Tunnel);

impl tokio::io::AsyncWrite for LineIo<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_line(|line| line.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_line(|line| line.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_line(|line| line.poll_shutdown(context))
    }
}

/// Where the client's bytes come from.
enum Upload {
    Stream(Incoming),
    Upgraded(ReadHalf<TokioIo<Upgraded>>),
}

impl Upload {
    /// The next piece; nothing at an end that the client itself has put there.
    async fn next(&mut self) -> Result<Option<Bytes>, End> {
        match self {
            Self::Stream(body) => loop {
                let frame =
                    std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
                match frame.await {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => return Ok(Some(data)),
                        Err(_trailers) => {}
                    },
                    // A stream that was reset without an error looks like one that ended, but for this.
                    None if body.is_end_stream() => return Ok(None),
                    None | Some(Err(_)) => return Err(End::ClientLeft),
                }
            },
            Self::Upgraded(reader) => {
                let mut piece = vec![0; PIECE / 2];
                let read = reader.read(&mut piece).await.map_err(|_| End::ClientLeft)?;
                piece.truncate(read);
                Ok((read > 0).then(|| piece.into()))
            }
        }
    }
}

/// What the workload sends, on its way to the client.
pub struct Download(Rc<Tunnel>);

impl Download {
    /// How long a client may leave it unread.
    pub fn patience(&self) -> Duration {
        self.0.under_way.exchange().idle()
    }

    async fn into_client(mut self, mut client: WriteHalf<TokioIo<Upgraded>>) {
        loop {
            let piece = std::future::poll_fn(|context| self.poll_piece(context)).await;
            let sent = match piece {
                Some(Ok(piece)) => client.write_all(&piece).await,
                None => {
                    // A client that has hung up needs not be told.
                    let _told = client.shutdown().await;
                    return;
                }
                Some(Err(_)) => return,
            };
            if sent.is_err() || client.flush().await.is_err() {
                return self.0.end(End::ClientLeft);
            }
        }
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        let tunnel = &*self.0;
        let exchange = tunnel.under_way.exchange();
        if tunnel.far_ended.get() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(cut) = exchange.poll_cut(Side::Answer, context) {
            return Poll::Ready(Some(Err(tunnel.ended_by(cut).into())));
        }
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(tunnel.poll_line(|line| line.poll_read(context, &mut buffer)))?;
            Poll::Ready(Ok::<_, io::Error>(Bytes::copy_from_slice(buffer.filled())))
        });
        Poll::Ready(match ready!(read) {
            Ok(piece) if piece.is_empty() => {
                tunnel.direction_ended(&tunnel.far_ended);
                None
            }
            Ok(piece) => {
                exchange.sent(piece.len());
                Some(Ok(piece))
            }
            Err(_) => {
                tunnel.end(tunnel.broken());
                tunnel.end.get().map(|end| Err(end.into()))
            }
        })
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let piece = self.get_mut().poll_piece(context);
        piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if !self.0.far_ended.get() {
            self.0.end(End::ClientLeft);
        }
    }
}
