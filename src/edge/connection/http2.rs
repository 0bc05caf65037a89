//! A connection of HTTP/2.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;

use crate::config::checked::Limits;
use crate::edge::activity::{Answered, Rest};
use crate::edge::connection::{Client, LEAVES_WITHIN};
use crate::edge::framing::head::FramingFault;
use crate::edge::local::LocalExecutor;
use crate::edge::worker::Handler;

/// Flow control windows: what a stream and a connection may send ahead of its reader.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// A silent peer is asked this often whether it is still there, and has this long to answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PONG_WITHIN: Duration = Duration::from_secs(15);
/// Resets of one connection that wait to be dealt with, before it is closed (rapid reset and its kin).
const PENDING_RESETS: usize = 20;
const LOCAL_RESETS: usize = 256;

/// Serves requests until the connection ends.
pub(super) async fn serve<H: Handler>(
    client: Client<'_, H>,
    io: impl AsyncRead + AsyncWrite + Unpin + 'static,
) -> io::Result<()> {
    let Client {
        limits, lifecycle, ..
    } = client;
    let activity = Rc::clone(&client.activity);
    let service = service_fn(|request: Request<Incoming>| {
        let (info, handler) = (Rc::clone(&client.info), Rc::clone(&client.handler));
        let answering = activity.begin();
        let fault = head_fault(&request, limits);
        // Boxed, since the server moves it some times before it runs.
        Box::pin(async move {
            let response = match fault {
                Some(fault) => handler.refuse(info, fault.into()).await,
                None => handler.handle(info, request).await,
            };
            Ok::<_, Infallible>(response.map(|body| Answered::new(body, answering)))
        })
    });
    let mut connection = pin!(builder(limits).serve_connection(TokioIo::new(io), service));
    let rest = activity.rest(limits.idle_connection, limits.idle_stream);
    // What a client that says nothing is given besides; `None` when requests under way may take their time.
    let patience = tokio::select! {
        ended = connection.as_mut() => return ended.map_err(io::Error::other),
        () = lifecycle.draining() => None,
        rest = rest => match rest {
            Rest::Quiet => Some(limits.idle_connection),
            Rest::Dismissed => Some(limits.idle_connection.min(LEAVES_WITHIN)),
            Rest::Stalled => return Err(io::ErrorKind::TimedOut.into()),
        },
    };
    connection.as_mut().graceful_shutdown();
    // A client may have asked for something just before it was told; one that says nothing is not waited for.
    let says_nothing = async {
        let patience = patience.unwrap_or(limits.idle_connection);
        sleep(patience).await;
        let _rest = activity.rest(patience, limits.idle_stream).await;
    };
    tokio::select! {
        ended = connection => ended.map_err(io::Error::other),
        () = says_nothing, if patience.is_some() => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn builder(limits: &Limits) -> Builder<LocalExecutor> {
    let mut builder = Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN);
    builder
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
