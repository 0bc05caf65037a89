//! Reading ahead of TLS. The library reads records in pieces of 4 KiB, with a system call for each; where much comes in, this reads many at once and
//! hands them out.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// Bytes read at once while much comes in.
const AHEAD: usize = 64 * 1024;

/// A connection below TLS. A quiet one has no buffer.
#[derive(Debug)]
pub struct ReadAhead<IO> {
    io: IO,
    /// What was read and not asked for yet.
    buffer: BytesMut,
    /// The last read took all that it had room for: there is more.
    is_flowing: bool,
}

impl<IO> ReadAhead<IO> {
    /// Over a connection of which nothing was read yet.
    pub fn new(io: IO) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
            is_flowing: false,
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for ReadAhead<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.buffer.is_empty() && !this.is_flowing {
            ready!(Pin::new(&mut this.io).poll_read(context, into))?;
            this.is_flowing = into.remaining() == 0;
            return Poll::Ready(Ok(()));
        }
        if this.buffer.is_empty() {
            this.buffer.reserve(AHEAD);
            let polled = poll_read_buf(Pin::new(&mut this.io), context, &mut this.buffer);
            this.is_flowing = this.buffer.len() >= AHEAD;
            if this.buffer.is_empty() {
                this.buffer = BytesMut::new();
                return polled.map_ok(drop);
            }
        }
        let length = this.buffer.len().min(into.remaining());
        into.put_slice(&this.buffer[..length]);
        this.buffer.advance(length);
        if this.buffer.is_empty() && !this.is_flowing {
            this.buffer = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for ReadAhead<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    use super::*;

    /// What arrives, and how much each read had room for.
    #[derive(Default)]
    struct Incoming {
        bytes: VecDeque<u8>,
        /// How much of it is there for each read; `0` is nothing yet, and all is once this ends.
        arrives: VecDeque<usize>,
        reads: Vec<usize>,
    }

    impl AsyncRead for Incoming {
        fn poll_read(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let this = self.get_mut();
            let there = this.arrives.pop_front().unwrap_or(usize::MAX);
            if there == 0 {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            this.reads.push(into.remaining());
            let length = there.min(this.bytes.len()).min(into.remaining());
            let read: Vec<u8> = this.bytes.drain(..length).collect();
            into.put_slice(&read);
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn little_is_read_as_it_was_asked_for_and_much_at_once() {
        let mut stream = ReadAhead::new(Incoming {
            bytes: vec![7; 40_000].into(),
            arrives: [100].into(),
            reads: Vec::new(),
        });
        let mut into = [0; 4096];
        assert_eq!(stream.read(&mut into).await.unwrap(), 100);
        assert_eq!(stream.buffer.capacity(), 0);
        for _ in 0..9 {
            assert_eq!(stream.read(&mut into).await.unwrap(), 4096);
        }
        assert_eq!(
            stream.io.reads.len(),
            3,
            "the last of them for all the rest"
        );
        while stream.read(&mut into).await.unwrap() > 0 {}
        assert_eq!(stream.buffer.capacity(), 0, "a quiet one has no buffer");
    }

    proptest! {
        #[test]
        fn every_byte_is_read_once_and_in_order(
            length in 0_usize..300_000,
            arrives in proptest::collection::vec(0_usize..100_000, 0..20),
            asked in 1_usize..9000,
        ) {
            let all: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let incoming = Incoming {
                bytes: all.iter().copied().collect(),
                arrives: arrives.into(),
                reads: Vec::new(),
            };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(async {
                let (mut stream, mut read) = (ReadAhead::new(incoming), Vec::new());
                let mut into = vec![0; asked];
                loop {
                    match stream.read(&mut into).await.unwrap() {
                        0 => return read,
                        length => read.extend_from_slice(&into[..length]),
                    }
                }
            });
            prop_assert_eq!(read, all);
        }
    }
}
