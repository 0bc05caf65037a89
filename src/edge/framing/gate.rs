//! The gate: a byte stream that passes on only what was judged, one message of HTTP/1 after the other.
//!
//! The server behind it never sees a byte of a faulty head. It is given a stand-in request instead, which the listener answers with the refusal
//! ([`FramingState::fault_of`]); nothing of the client's is read as a request after that. A fault within a body is an error of the stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::io::poll_read_buf;

use crate::edge::framing::chunked::ChunkedBody;
use crate::edge::framing::head::{BodyFraming, FramingFault, HeadLimits, check_head, is_token};
use crate::edge::framing::state::FramingState;

/// What the server is given in place of a faulty head.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: invalid\r\nconnection: close\r\n\r\n";
/// Bytes behind an upgrade that are kept until the upgrade is agreed; no more are read before.
const HELD: usize = 64 * 1024;
/// Bytes asked of the connection at once, for heads and for chunked bodies.
const HEAD_READ: usize = 8 * 1024;
const BODY_READ: usize = 64 * 1024;
/// What a client sent and nobody read is swallowed at the end, this much and this long: closing at once would reset the connection, and the
/// client would lose the answer.
const LINGER_BYTES: usize = 1024 * 1024;
const LINGER: Duration = Duration::from_secs(2);

/// Sizes and deadlines.
#[derive(Clone, Copy, Debug)]
pub struct GateLimits {
    /// Sizes of heads.
    pub head: HeadLimits,
    /// From the first byte of a head to its end, and from accept to the first head's end.
    pub head_deadline: Duration,
    /// Longest wait for a next byte of a body.
    pub body_idle: Duration,
}

/// What comes next from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A head, of which this many bytes were looked at already.
    Head(usize),
    /// This many bytes of a body.
    Length(u64),
    /// A chunked body.
    Chunked(ChunkedBody),
    /// Nothing, until an upgrade is agreed.
    Hold,
    /// A tunnel's bytes.
    Tunnel,
    /// Nothing any more: the stand-in from this byte on, and silence.
    StandIn(usize),
}

/// What is being waited for, each with its own deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Head,
    Body,
    Linger,
}

/// A connection with the gate in it.
pub struct Gate<IO> {
    io: IO,
    limits: GateLimits,
    /// What came and was not passed on.
    buffer: BytesMut,
    /// Bytes at the buffer's start that may be passed on.
    judged: usize,
    phase: Phase,
    heads: u64,
    state: Arc<FramingState>,
    timer: Pin<Box<Sleep>>,
    armed: Option<Wait>,
    swallowed: usize,
    is_write_blocked: bool,
}

impl<IO> Gate<IO> {
    /// A gate before a new connection, and what the listener has to know of it.
    pub fn new(io: IO, limits: GateLimits) -> (Self, Arc<FramingState>) {
        let state = Arc::new(FramingState::default());
        let gate = Self {
            io,
            limits,
            buffer: BytesMut::new(),
            judged: 0,
            phase: Phase::Head(0),
            heads: 0,
            state: Arc::clone(&state),
            timer: Box::pin(sleep(limits.head_deadline)),
            armed: Some(Wait::Head),
            swallowed: 0,
            is_write_blocked: false,
        };
        (gate, state)
    }

    fn fault(&mut self, fault: FramingFault) {
        self.state.set_fault(self.heads, fault);
        self.phase = Phase::StandIn(0);
    }

    /// Judges what is in the buffer as far as it goes. Whether anything came of it; if not, more is needed.
    fn judge(&mut self) -> io::Result<bool> {
        match self.phase {
            Phase::Head(seen) => return Ok(self.judge_head(seen)),
            Phase::Length(length) => {
                let there = u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
                let good = length.min(there);
                self.judged = usize::try_from(good).unwrap_or(0);
                self.phase = match length - good {
                    0 => Phase::Head(0),
                    rest => Phase::Length(rest),
                };
            }
            Phase::Chunked(mut body) => {
                let judged = body.read(&self.buffer);
                self.judged =
                    judged.map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
                self.phase = match body {
                    ChunkedBody::Done => Phase::Head(0),
                    body => Phase::Chunked(body),
                };
            }
            Phase::Hold | Phase::Tunnel | Phase::StandIn(_) => {}
        }
        Ok(self.judged > 0)
    }

    fn judge_head(&mut self, seen: usize) -> bool {
        let end = match head_end(&self.buffer, seen, &self.limits.head) {
            Ok(Some(end)) => end,
            Ok(None) => {
                self.phase = Phase::Head(self.buffer.len());
                return false;
            }
            Err(fault) => {
                self.fault(fault);
                return true;
            }
        };
        let head = match check_head(&self.buffer[..end], &self.limits.head) {
            Ok(head) => head,
            Err(fault) => {
                self.fault(fault);
                return true;
            }
        };
        self.judged = end;
        self.heads += 1;
        self.armed = None;
        self.phase = match head.body {
            _ if head.holds => Phase::Hold,
            BodyFraming::Empty => Phase::Head(0),
            BodyFraming::Length(length) => Phase::Length(length),
            BodyFraming::Chunked => Phase::Chunked(ChunkedBody::START),
        };
        true
    }

    /// Whether the deadline of what is being waited for has passed; it begins when the wait does.
    fn poll_deadline(&mut self, context: &mut Context<'_>, wait: Option<Wait>) -> bool {
        let Some(wait) = wait else {
            self.armed = None;
            return false;
        };
        if self.armed != Some(wait) {
            let longest = match wait {
                Wait::Head => self.limits.head_deadline,
                Wait::Body => self.limits.body_idle,
                Wait::Linger => LINGER,
            };
            self.timer.as_mut().reset(Instant::now() + longest);
            self.armed = Some(wait);
        }
        self.timer.as_mut().poll(context).is_ready()
    }

    fn waits_for(&self) -> Option<Wait> {
        match self.phase {
            Phase::Head(_) if !self.buffer.is_empty() || self.heads == 0 => Some(Wait::Head),
            Phase::Length(_) | Phase::Chunked(_) => Some(Wait::Body),
            // How long a connection may be quiet is its own affair.
            Phase::Head(_) | Phase::Hold | Phase::Tunnel | Phase::StandIn(_) => None,
        }
    }
}

/// Where the head at the buffer's start ends, if it does; `seen` bytes of it were searched before.
fn head_end(
    buffer: &[u8],
    seen: usize,
    limits: &HeadLimits,
) -> Result<Option<usize>, FramingFault> {
    // Nothing that begins like this becomes a request: not waited for. A TLS handshake at a plain port is the usual case.
    if buffer.first().is_some_and(|first| !is_token(*first)) {
        return Err(FramingFault::RequestLine);
    }
    for at in memchr::memchr_iter(b'\n', &buffer[seen..]).map(|at| at + seen) {
        // A lone LF ends lines for others: not waited for, it would hide the end of the head.
        if at == 0 || buffer[at - 1] != b'\r' {
            return Err(FramingFault::LineEnd);
        }
        if at == 1 || buffer[at - 2] == b'\n' {
            return Ok(Some(at + 1));
        }
    }
    if buffer.len() <= limits.bytes {
        return Ok(None);
    }
    match memchr::memchr(b'\n', buffer) {
        Some(_) => Err(FramingFault::HeaderTooLarge),
        None => Err(FramingFault::TargetTooLong),
    }
}

impl<IO: AsyncRead + Unpin> Gate<IO> {
    /// Gives what was judged.
    fn give(&mut self, into: &mut ReadBuf<'_>) {
        let length = self.judged.min(into.remaining());
        into.put_slice(&self.buffer[..length]);
        self.buffer.advance(length);
        self.judged -= length;
    }

    /// Reads more from the connection: how many bytes, 0 at its end.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.buffer.reserve(match self.phase {
            Phase::Chunked(_) => BODY_READ,
            _ => HEAD_READ,
        });
        let polled = poll_read_buf(Pin::new(&mut self.io), context, &mut self.buffer);
        if polled.is_pending() && self.buffer.is_empty() {
            // An idle connection keeps no buffer.
            self.buffer = BytesMut::new();
        }
        polled
    }

    fn poll_message(
        &mut self,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.judged > 0 {
                self.give(into);
                return Poll::Ready(Ok(()));
            }
            match self.phase {
                Phase::Tunnel => return self.poll_tunnel(context, into),
                Phase::StandIn(given) => return self.poll_stand_in(given, into),
                Phase::Hold => ready!(self.poll_hold(context))?,
                Phase::Length(length) if self.is_all_body(length, into) => {
                    match self.poll_body(length, context, into) {
                        Poll::Pending if self.poll_deadline(context, Some(Wait::Body)) => {
                            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                        }
                        polled => return polled,
                    }
                }
                Phase::Head(_) | Phase::Length(_) | Phase::Chunked(_) => {
                    if !self.buffer.is_empty() && self.judge()? {
                        continue;
                    }
                    match self.poll_fill(context) {
                        Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                        Poll::Ready(Ok(_)) if self.armed == Some(Wait::Head) => {}
                        Poll::Ready(Ok(_)) => self.armed = None,
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => {
                            let wait = self.waits_for();
                            if !self.poll_deadline(context, wait) {
                                return Poll::Pending;
                            }
                            match wait {
                                Some(Wait::Head) if !self.buffer.is_empty() => {
                                    self.fault(FramingFault::HeadTimeout);
                                }
                                Some(Wait::Body) => {
                                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                                }
                                // Nothing is under way: a plain end.
                                _ => return Poll::Ready(Ok(())),
                            }
                        }
                    }
                }
            }
        }
    }

    /// Ready when something is there to be read, while nothing else goes on: `false` at the client's end, or when its first head is overdue.
    pub fn poll_awake(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if !self.buffer.is_empty() {
            return Poll::Ready(true);
        }
        match self.poll_fill(context) {
            Poll::Ready(read) => Poll::Ready(matches!(read, Ok(1..))),
            Poll::Pending => {
                let wait = self.waits_for();
                match self.poll_deadline(context, wait) {
                    true => Poll::Ready(false),
                    false => Poll::Pending,
                }
            }
        }
    }

    /// Whether everything that fits belongs to a body of this many bytes still to come: then it needs no judging and no copy.
    fn is_all_body(&self, length: u64, into: &ReadBuf<'_>) -> bool {
        let room = u64::try_from(into.remaining()).unwrap_or(u64::MAX);
        self.buffer.is_empty() && room <= length
    }

    fn poll_body(
        &mut self,
        length: u64,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, into))?;
        let read = u64::try_from(into.filled().len() - before).unwrap_or(u64::MAX);
        self.phase = match length - read.min(length) {
            0 => Phase::Head(0),
            rest => Phase::Length(rest),
        };
        self.armed = None;
        Poll::Ready(Ok(()))
    }

    /// Ready when the tunnel was agreed. The end of the client's side is an error: nobody is there to be connected.
    fn poll_hold(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.state.poll_tunnel(context).is_ready() {
                self.phase = Phase::Tunnel;
                return Poll::Ready(Ok(()));
            }
            if self.buffer.len() >= HELD {
                return Poll::Pending;
            }
            if ready!(self.poll_fill(context))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn poll_tunnel(
        &mut self,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            return Pin::new(&mut self.io).poll_read(context, into);
        }
        self.judged = self.buffer.len();
        self.give(into);
        self.judged = 0;
        Poll::Ready(Ok(()))
    }

    /// The stand-in, then silence: an end would make the server drop the answer.
    fn poll_stand_in(&mut self, given: usize, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let rest = STAND_IN.get(given..).unwrap_or_default();
        if rest.is_empty() {
            return Poll::Pending;
        }
        let length = rest.len().min(into.remaining());
        into.put_slice(&rest[..length]);
        self.phase = Phase::StandIn(given + length);
        Poll::Ready(Ok(()))
    }

    /// Swallows what the client still sends, for a while.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.swallowed < LINGER_BYTES {
            self.buffer.clear();
            match self.poll_fill(context) {
                Poll::Ready(Ok(length @ 1..)) => self.swallowed += length,
                Poll::Ready(Ok(_) | Err(_)) => break,
                Poll::Pending if self.poll_deadline(context, Some(Wait::Linger)) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Gate<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().poll_message(context, into)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Gate<IO> {
    /// Notes whether the client takes what is written.
    fn wrote<T>(&mut self, written: Poll<T>) -> Poll<T> {
        if self.is_write_blocked != written.is_pending() {
            self.is_write_blocked = written.is_pending();
            self.state.set_write_blocked(self.is_write_blocked);
        }
        written
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gate<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(context, bytes);
        this.wrote(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(context, slices);
        this.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(context);
        this.wrote(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.state.stays_open() {
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut this.io).poll_shutdown(context))?;
        // Between messages nothing is unread, and a tunnel has its own end.
        let is_clean = matches!(this.phase, Phase::Head(_) if this.buffer.is_empty());
        if is_clean || this.phase == Phase::Tunnel {
            return Poll::Ready(Ok(()));
        }
        this.poll_linger(context).map(Ok)
    }
}

#[cfg(test)]
mod tests;
