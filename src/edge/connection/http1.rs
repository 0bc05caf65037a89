//! A connection of HTTP/1: the framing gate, and behind it a server that exists only while there is something to serve.
//!
//! A connection that is quiet goes to sleep: its server is taken down with all its buffers, and what is left is the gate over the TLS stream.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::config::checked::Limits;
use crate::edge::activity::{Answered, Rest};
use crate::edge::body::EdgeBody;
use crate::edge::connection::{Client, LEAVES_WITHIN};
use crate::edge::framing::gate::{Gate, GateLimits};
use crate::edge::framing::head::HeadLimits;
use crate::edge::framing::state::FramingState;
use crate::edge::worker::Handler;

/// How long a quiet connection stays awake.
const AWAKE: Duration = Duration::from_secs(5);
/// Fields of a head that the server takes by itself.
const SERVERS_FIELDS: usize = 100;
/// How far a connection's buffers may grow beyond a head while a body passes.
const BODY_BUFFER: usize = 128 * 1024;

/// One connection, awake or asleep.
struct Http1<'a, H> {
    client: Client<'a, H>,
    framing: Arc<FramingState>,
    /// Requests so far, by which faults are found.
    requests: Cell<u64>,
}

/// Serves requests until the connection ends, or is an upgraded one that belongs to its tunnel.
pub(super) async fn serve<H: Handler>(
    client: Client<'_, H>,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> io::Result<()> {
    let (mut gate, framing) = Gate::new(io, gate_limits(client.limits));
    let connection = Http1 {
        client,
        framing,
        requests: Cell::new(0),
    };
    let mut leaves_within = connection.client.limits.idle_connection;
    loop {
        match connection.wakes(&mut gate).await {
            Waking::Wakes => connection.client.activity.stir(),
            Waking::Ends => break,
            Waking::Leaves => {
                leaves_within = leaves_within.min(LEAVES_WITHIN);
                break;
            }
        }
        // Boxed, so that it takes no room while the connection sleeps.
        match Box::pin(connection.awake(gate)).await? {
            Some(same) => gate = same,
            None => return Ok(()),
        }
    }
    timeout(leaves_within, gate.shutdown()).await?
}

/// What a sleeping connection comes to.
enum Waking {
    /// The client sent something.
    Wakes,
    /// Its time is up.
    Ends,
    /// Its place is wanted.
    Leaves,
}

impl<H: Handler> Http1<'_, H> {
    /// Sleeps until the client sends something, or the connection has to end.
    async fn wakes<IO: AsyncRead + Unpin>(&self, gate: &mut Gate<IO>) -> Waking {
        let limits = self.client.limits;
        tokio::select! {
            biased;
            is_awake = poll_fn(|context| gate.poll_awake(context)) => match is_awake {
                true => Waking::Wakes,
                false => Waking::Ends,
            },
            () = self.client.lifecycle.draining() => Waking::Ends,
            rest = self.client.activity.rest(limits.idle_connection, limits.idle_stream) => match rest {
                Rest::Dismissed => Waking::Leaves,
                Rest::Quiet | Rest::Stalled => Waking::Ends,
            },
        }
    }

    /// Serves until the connection is quiet, and gives it back; `None` when there is nothing to give back.
    async fn awake<IO>(&self, gate: Gate<IO>) -> io::Result<Option<Gate<IO>>>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Client {
            limits, lifecycle, ..
        } = self.client;
        // Boxed, since the server keeps room for it, and for the longest of its branches.
        let service = service_fn(|request| Box::pin(self.answer(request)));
        // The gate keeps all limits and deadlines of heads; the server only has to take what it lets through.
        let mut builder = Builder::new();
        if limits.header_count > SERVERS_FIELDS {
            // Costs some work for each head.
            builder.max_headers(limits.header_count);
        }
        let mut connection = builder
            .half_close(false)
            .max_buf_size(limits.header_bytes + BODY_BUFFER)
            .serve_connection(TokioIo::new(gate), service)
            .with_upgrades();
        let awake = AWAKE.min(limits.idle_connection);
        let mut quiet = awake;
        loop {
            let rest = tokio::select! {
                ended = &mut connection => return ended.map(|()| None).map_err(io::Error::other),
                () = lifecycle.draining() => {
                    Pin::new(&mut connection).graceful_shutdown();
                    return connection.await.map(|()| None).map_err(io::Error::other);
                }
                rest = self.client.activity.rest(quiet, limits.idle_stream) => rest,
            };
            match rest {
                Rest::Quiet | Rest::Dismissed if !self.framing.is_write_blocked() => break,
                // The last answer's end is still on its way.
                Rest::Dismissed => self.client.activity.stir(),
                // The last answer's end is on its way, slowly or not at all.
                Rest::Quiet if self.framing.has_taken() => {
                    self.client.activity.stir();
                    quiet = awake;
                }
                Rest::Quiet if quiet < limits.idle_stream => quiet = limits.idle_stream,
                Rest::Quiet | Rest::Stalled => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        // Takes the server down and nothing else: it is between requests, with nothing read and nothing to write.
        self.framing.set_stays_open(true);
        Pin::new(&mut connection).graceful_shutdown();
        (&mut connection).await.map_err(io::Error::other)?;
        self.framing.set_stays_open(false);
        let parts = connection.into_parts();
        let unread = parts.filter(|parts| parts.read_buf.is_empty());
        Ok(unread.map(|parts| parts.io.into_inner()))
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Answered>, Infallible> {
        let number = self.requests.replace(self.requests.get() + 1);
        let answering = self.client.activity.begin();
        let (info, handler) = (
            Rc::clone(&self.client.info),
            Rc::clone(&self.client.handler),
        );
        let wants_tunnel =
            request.method() == Method::CONNECT || request.headers().contains_key(UPGRADE);
        let mut response = match self.framing.fault_of(number) {
            Some(fault) => close_after(handler.refuse(info, fault.into()).await),
            None => handler.handle(info, request).await,
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.framing.pass_through();
        } else if wants_tunnel {
            // What the client sent behind its head was meant for a tunnel, and must not become a request.
            response = close_after(response);
        }
        Ok(response.map(|body| Answered::new(body, answering)))
    }
}

fn close_after(mut response: Response<EdgeBody>) -> Response<EdgeBody> {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

fn gate_limits(limits: &Limits) -> GateLimits {
    GateLimits {
        head: HeadLimits {
            bytes: limits.header_bytes,
            fields: limits.header_count,
            value: limits.header_value_bytes,
            target: limits.target_bytes,
        },
        head_deadline: limits.request_head,
        body_idle: limits.idle_stream,
    }
}
