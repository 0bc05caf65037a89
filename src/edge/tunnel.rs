//! Tunnels: after `101 Switching Protocols` bytes are copied both ways, as long as the session and the policy allow it.
//!
//! Nothing is passed on before the upstream has agreed: until then what the client sends is a request, and is read as one.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};

use crate::edge::access_log::Entry;
use crate::edge::body::EdgeBody;
use crate::edge::forward::{Answer, unless_cut};
use crate::edge::headers::{self, UpgradeTo};
use crate::edge::metrics::Outcome;
use crate::edge::respond::Refused;
use crate::edge::streams::{Cut, Exchange};

/// Buffer of each direction.
const BUFFER: usize = 16 * 1024;
/// Longest wait for the two connections to be handed over after the 101.
pub(in crate::edge) const HAND_OVER: Duration = Duration::from_secs(10);

/// Answers 101 and connects the two sides; the access log line is written when the tunnel ends.
pub fn open(
    answer: Answer,
    client: OnUpgrade,
    asked: &UpgradeTo,
    mut entry: Entry,
) -> Result<Response<EdgeBody>, Box<(Refused, Entry)>> {
    let Answer { sent, under_way } = answer;
    let (mut head, incoming) = sent.response.into_parts();
    let Some(protocol) = headers::agreed(&head.headers, asked) else {
        return Err(Box::new((Refused::WrongProtocol, entry)));
    };
    let upstream = hyper::upgrade::on(Response::from_parts(head.clone(), incoming));
    headers::rewrite_response(&mut head.headers);
    headers::set_switching(&mut head.headers, protocol);
    head.extensions.clear();
    entry.status(StatusCode::SWITCHING_PROTOCOLS);
    // Until it has ended well it counts as broken off.
    entry.outcome(Outcome::Aborted, "aborted");
    tokio::task::spawn_local(async move {
        match copy(client, upstream, under_way.exchange()).await {
            Ok(()) => entry.outcome(Outcome::Allowed, "allowed"),
            Err(Ended::Cut(cut)) => entry.outcome(cut.outcome(), cut.code()),
            Err(Ended::Broken) => {}
        }
        entry.under_way(&under_way);
    });
    Ok(Response::from_parts(head, EdgeBody::Empty))
}

enum Ended {
    Cut(Cut),
    Broken,
}

async fn copy(
    client: OnUpgrade,
    upstream: OnUpgrade,
    exchange: &Rc<Exchange>,
) -> Result<(), Ended> {
    let both = async { tokio::try_join!(client, upstream) };
    let (client, upstream) = match tokio::time::timeout(HAND_OVER, both).await {
        Ok(Ok(both)) => both,
        Ok(Err(_)) | Err(_) => return Err(Ended::Broken),
    };
    let mut client = Watched {
        io: TokioIo::new(client),
        exchange: Rc::clone(exchange),
    };
    let mut upstream = TokioIo::new(upstream);
    let copying = copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER);
    match unless_cut(exchange, copying).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(Ended::Broken),
        Err(cut) => Err(Ended::Cut(cut)),
    }
}

/// The client's side of a tunnel: counts what passes.
struct Watched<T> {
    io: T,
    exchange: Rc<Exchange>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(context, buffer);
        if polled.is_ready() {
            this.exchange.received(buffer.filled().len() - before);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = &polled {
            this.exchange.sent(*written);
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}
