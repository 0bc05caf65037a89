//! Tunnels through an edge: many over one HTTP/2 connection, or each over an HTTP/1.1 connection of its own.

use std::io;

use bytes::Bytes;
use futures_util::stream::poll_fn;
use futures_util::{FutureExt, Stream, StreamExt};
use reqwest::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::sync::oneshot;
use tokio_util::io::ReaderStream;
use url::Url;

use crate::cli::person::fault::Fault;
use crate::cli::person::home::{builder, built, token_headers, unreachable};
use crate::cli::person::profile::Profile;
use crate::edge::tcp::{End, MEDIA_TYPE, PROTOCOL};
use crate::token::dpop::prover::Prover;

/// How much is read from a program at once.
const PIECE: usize = 32 * 1024;
/// What the edge may send ahead of a program that reads slowly, in each tunnel and in all of them.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// The way to one TCP route.
pub(in crate::cli) struct Tunnels {
    http: reqwest::Client,
    url: Url,
    is_http1: bool,
}

/// Why there is no tunnel.
pub(in crate::cli) enum NoTunnel {
    /// The token is not taken any more; another may be.
    NotSignedIn(String),
    /// Anything else.
    Fault(Fault),
}

/// How many bytes came from the workload.
pub(in crate::cli) type Received = u64;

/// A program on this machine.
pub(in crate::cli) struct Program<R, W> {
    pub(in crate::cli) reader: R,
    pub(in crate::cli) writer: W,
}

impl Tunnels {
    /// HTTP/1.1 is spoken if it is asked for, or the edge has no TLS.
    pub(in crate::cli) fn new(profile: &Profile, url: Url, http1: bool) -> Result<Self, Fault> {
        let is_http1 = http1 || url.scheme() == "http";
        let builder = builder(profile, &url)?;
        let builder = if is_http1 {
            builder.http1_only().pool_max_idle_per_host(0)
        } else {
            builder
                .http2_prior_knowledge()
                .http2_initial_stream_window_size(STREAM_WINDOW)
                .http2_initial_connection_window_size(CONNECTION_WINDOW)
        };
        let http = built(builder.tcp_nodelay(true))?;
        Ok(Self {
            http,
            url,
            is_http1,
        })
    }

    /// Asks for a tunnel and joins a program to it, until both sides have ended. The error says why it ended otherwise.
    pub(in crate::cli) async fn carry<R, W>(
        &self,
        key: &Prover,
        token: &str,
        program: &mut Option<Program<R, W>>,
    ) -> Result<Result<Received, String>, NoTunnel>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin,
    {
        let headers = token_headers(key, "POST", &self.url, token).map_err(NoTunnel::Fault)?;
        let request = self.http.post(self.url.clone()).headers(headers);
        if self.is_http1 {
            self.upgrade(request, program).await
        } else {
            self.stream(request, program).await
        }
    }

    async fn upgrade<R, W>(
        &self,
        request: RequestBuilder,
        program: &mut Option<Program<R, W>>,
    ) -> Result<Result<Received, String>, NoTunnel>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin,
    {
        let request = request.header(CONNECTION, "upgrade");
        let sent = request.header(UPGRADE, PROTOCOL).send().await;
        let response = self.opened(sent, StatusCode::SWITCHING_PROTOCOLS).await?;
        let tunnel = response.upgrade().await;
        let mut tunnel = tunnel.map_err(|error| NoTunnel::Fault(unreachable(&self.url, &error)))?;
        let Some(program) = program.take() else {
            return Ok(Ok(0));
        };
        let mut program = tokio::io::join(program.reader, program.writer);
        let carried = copy_bidirectional(&mut program, &mut tunnel).await;
        Ok(carried
            .map(|(_, received)| received)
            .map_err(|error| error.to_string()))
    }

    async fn stream<R, W>(
        &self,
        request: RequestBuilder,
        program: &mut Option<Program<R, W>>,
    ) -> Result<Result<Received, String>, NoTunnel>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin,
    {
        // The program is read only once the tunnel is there: whatever comes of it before can be tried again.
        let (start, started) = oneshot::channel();
        let body = reqwest::Body::wrap_stream(started.into_stream().flat_map(|reader| {
            let (reader, broken_off) = match reader {
                Ok((reader, broken_off)) => (Some(reader), broken_off),
                Err(_) => (None, None),
            };
            pieces(reader, broken_off)
        }));
        let sent = request.header(CONTENT_TYPE, MEDIA_TYPE).body(body).send();
        let mut response = self.opened(sent.await, StatusCode::OK).await?;
        let Some(Program { reader, mut writer }) = program.take() else {
            return Ok(Ok(0));
        };
        let (break_off, broken_off) = oneshot::channel();
        let (ended, uploaded) = oneshot::channel();
        let started = start.send((Told { reader, ended }, Some(broken_off)));
        if started.is_err() {
            return Ok(Err(End::ClientLeft.words().to_owned()));
        }
        let mut received = 0;
        loop {
            match response.chunk().await {
                Ok(Some(piece)) => {
                    received += piece.len() as u64;
                    let written = async {
                        writer.write_all(&piece).await?;
                        writer.flush().await
                    };
                    if let Err(error) = written.await {
                        let _broken = break_off.send(());
                        return Ok(Err(error.to_string()));
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let _broken = break_off.send(());
                    let end = End::told_by(&error);
                    let words = end.map_or("the way to the edge broke", End::words);
                    return Ok(Err(words.to_owned()));
                }
            }
        }
        // A program that has hung up needs not be told.
        let _told = writer.shutdown().await;
        // It may have more to say than it is told.
        let _ended = uploaded.await;
        drop(break_off);
        Ok(Ok(received))
    }

    /// The answer, if it opens a tunnel; what it says, if not.
    async fn opened(
        &self,
        sent: reqwest::Result<Response>,
        wanted: StatusCode,
    ) -> Result<Response, NoTunnel> {
        let response = sent.map_err(|error| {
            let fault = unreachable(&self.url, &error);
            NoTunnel::Fault(if self.is_http1 {
                fault
            } else {
                fault.next("if what is between speaks no HTTP/2, say --http1")
            })
        })?;
        let status = response.status();
        if status == wanted {
            return Ok(response);
        }
        let problem: Value = response.json().await.unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("the edge says no");
        let (code, why) = (problem["code"].as_str(), problem["why"].as_str());
        let message = why.map_or_else(|| detail.to_owned(), |why| format!("{why} {detail}"));
        Err(match (status, code) {
            (StatusCode::UNAUTHORIZED, Some("invalid_token")) => NoTunnel::NotSignedIn(message),
            (StatusCode::UNAUTHORIZED, _) => {
                NoTunnel::Fault(Fault::not_signed_in(message).next("wayleave login"))
            }
            (StatusCode::FORBIDDEN, Some("approval_required")) => NoTunnel::Fault(
                Fault::denied(message).next("wayleave request ROUTE -X POST -m WHY asks for it"),
            ),
            (StatusCode::FORBIDDEN, _) => {
                NoTunnel::Fault(Fault::denied(message).next("wayleave routes"))
            }
            (StatusCode::MISDIRECTED_REQUEST, _) => NoTunnel::Fault(Fault::usage(message)),
            (status, _) if status.is_server_error() => NoTunnel::Fault(Fault::unreachable(message)),
            (status, None) => NoTunnel::Fault(Fault::unreachable(format!(
                "what answers at {} is no Wayleave edge: it says {status}",
                self.url
            ))),
            (_, Some(_)) => NoTunnel::Fault(Fault::failed(message)),
        })
    }
}

/// A reader, and whoever wants to know when it is not needed any more.
struct Told<R> {
    reader: R,
    #[expect(dead_code, reason = "dropping it tells")]
    ended: oneshot::Sender<()>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Told<R> {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.get_mut().reader).poll_read(context, buffer)
    }
}

/// What a program sends, to its end; or to an error, once it is broken off.
fn pieces<R: AsyncRead + Unpin>(
    reader: Option<R>,
    mut broken_off: Option<oneshot::Receiver<()>>,
) -> impl Stream<Item = io::Result<Bytes>> {
    let mut pieces = reader.map(|reader| ReaderStream::with_capacity(reader, PIECE));
    poll_fn(move |context| {
        if let Some(told) = broken_off.as_mut()
            && let std::task::Poll::Ready(told) = told.poll_unpin(context)
        {
            broken_off = None;
            if told.is_ok() {
                pieces = None;
                let error = io::Error::from(io::ErrorKind::ConnectionAborted);
                return std::task::Poll::Ready(Some(Err(error)));
            }
        }
        match pieces.as_mut() {
            Some(all) => {
                let polled = all.poll_next_unpin(context);
                if matches!(polled, std::task::Poll::Ready(None)) {
                    pieces = None;
                }
                polled
            }
            None => std::task::Poll::Ready(None),
        }
    })
}
