//! One connection of a client, from accept to its end: TLS handshake, then requests of HTTP/1 (behind the framing gate) or HTTP/2.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::address::origin::Scheme;
use crate::config::checked::Limits;
use crate::edge::body::{EdgeBody, With};
use crate::edge::framing::gate::{Gate, GateLimits};
use crate::edge::framing::head::{FramingFault, HeadLimits};
use crate::edge::listen::Door;
use crate::edge::local::LocalExecutor;
use crate::edge::worker::{ConnectionInfo, Handler};
use crate::lifecycle::Lifecycle;

/// HTTP/2 flow control windows: what a stream and a connection may send ahead of its reader.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// A silent HTTP/2 peer is asked this often whether it is still there, and has this long to answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PONG_WITHIN: Duration = Duration::from_secs(15);
/// How far an HTTP/1 connection's buffers may grow beyond a head while a body passes.
const BODY_BUFFER: usize = 128 * 1024;
/// Resets of one HTTP/2 connection that wait to be dealt with, before it is closed (rapid reset and its kin).
const PENDING_RESETS: usize = 20;
const LOCAL_RESETS: usize = 256;

/// Serves a connection until it ends. Errors are the client's affair: what there is to say of a request is in the access log.
pub async fn serve<H: Handler>(
    stream: TcpStream,
    door: &Door,
    handler: Rc<H>,
    limits: &Limits,
    lifecycle: &Lifecycle,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut info = ConnectionInfo {
        peer: stream.peer_addr()?,
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
        return client.http1(stream).await;
    };
    let accepted = timeout(limits.tls_handshake, certificates.accept(stream)).await??;
    info.server_name = Some(accepted.server_name);
    info.certificate = Some(accepted.certificate);
    info.certificate_names = Some(accepted.names);
    info.http2 = accepted.http2;
    let client = Client::new(info, handler, limits, lifecycle);
    if accepted.http2 {
        client.http2(accepted.stream).await
    } else {
        client.http1(accepted.stream).await
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

    async fn http1(
        self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> io::Result<()> {
        let (gate, framing) = Gate::new(io, gate_limits(self.limits));
        let count = Cell::new(0);
        let service = service_fn(|request: Request<Incoming>| {
            let number = count.replace(count.get() + 1);
            let framing = framing.clone();
            let (info, handler) = (Rc::clone(&self.info), Rc::clone(&self.handler));
            // Boxed, since the server keeps room for it in every connection, idle ones too.
            Box::pin(async move {
                let answering = framing.begin();
                let wants_tunnel =
                    request.method() == Method::CONNECT || request.headers().contains_key(UPGRADE);
                let mut response = match framing.fault_of(number) {
                    Some(fault) => close_after(handler.refuse(info, fault.into()).await),
                    None => handler.handle(info, request).await,
                };
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    framing.pass_through();
                } else if wants_tunnel {
                    // What the client sent behind its head was meant for a tunnel, and must not become a request.
                    response = close_after(response);
                }
                Ok::<_, Infallible>(response.map(|body| With::new(body, answering)))
            })
        });
        // The gate keeps all limits and deadlines of heads; the buffer only has to take what it lets through.
        let connection = hyper::server::conn::http1::Builder::new()
            .half_close(false)
            .max_headers(self.limits.header_count)
            .max_buf_size(self.limits.header_bytes + BODY_BUFFER)
            .serve_connection(TokioIo::new(gate), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.lifecycle.draining() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        ended.map_err(io::Error::other)
    }

    async fn http2(self, io: impl AsyncRead + AsyncWrite + Unpin + 'static) -> io::Result<()> {
        let activity = Activity::new();
        let service = service_fn(|request: Request<Incoming>| {
            let (info, handler) = (Rc::clone(&self.info), Rc::clone(&self.handler));
            let under_way = activity.begin();
            let fault = head_fault(&request, self.limits);
            async move {
                let response = match fault {
                    Some(fault) => handler.refuse(info, fault.into()).await,
                    None => handler.handle(info, request).await,
                };
                Ok::<_, Infallible>(response.map(|body| With::new(body, under_way)))
            }
        });
        let mut builder = hyper::server::conn::http2::Builder::new(LocalExecutor);
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.http2_streams)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(self.limits.header_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .max_local_error_reset_streams(LOCAL_RESETS)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_WITHIN);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
        let has_to_end = async {
            tokio::select! {
                () = self.lifecycle.draining() => {}
                () = activity.idle_for(self.limits.idle_connection) => {}
            }
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = has_to_end => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        ended.map_err(io::Error::other)
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
        idle: limits.idle_connection,
        body_idle: limits.idle_stream,
    }
}

/// The limits that the HTTP/2 library does not keep for us; the total it does.
fn head_fault(request: &Request<Incoming>, limits: &Limits) -> Option<FramingFault> {
    let target = request.uri().path_and_query();
    if target.is_some_and(|target| target.as_str().len() > limits.target_bytes) {
        return Some(FramingFault::TargetTooLong);
    }
    let headers = request.headers();
    let too_long = |value: &HeaderValue| value.len() > limits.header_value_bytes;
    let is_too_large = headers.len() > limits.header_count || headers.values().any(too_long);
    is_too_large.then_some(FramingFault::HeaderTooLarge)
}

/// When an HTTP/2 connection was last asked for anything.
struct Activity {
    open: Rc<Cell<usize>>,
    last: Rc<Cell<Instant>>,
}

/// A request that is being answered.
struct Answering {
    open: Rc<Cell<usize>>,
    last: Rc<Cell<Instant>>,
}

impl Activity {
    fn new() -> Self {
        Self {
            open: Rc::default(),
            last: Rc::new(Cell::new(Instant::now())),
        }
    }

    fn begin(&self) -> Answering {
        self.open.set(self.open.get() + 1);
        Answering {
            open: Rc::clone(&self.open),
            last: Rc::clone(&self.last),
        }
    }

    /// Ready once no request was being answered for this long.
    async fn idle_for(&self, longest: Duration) {
        loop {
            let at = self.last.get() + longest;
            if self.open.get() == 0 && Instant::now() >= at {
                return;
            }
            let next = if self.open.get() == 0 {
                at
            } else {
                Instant::now() + longest
            };
            sleep_until(next).await;
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
        self.last.set(Instant::now());
    }
}

#[cfg(test)]
mod tests;
