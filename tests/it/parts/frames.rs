//! HTTP/2 frame by frame (RFC 9113 §4.1), for what no library would send.

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::client::{Version, tls};
use super::house::House;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame that came, without what is in it.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
}

/// What is to be sent.
#[derive(Default)]
pub(crate) struct Frames(pub(crate) BytesMut);

impl Frames {
    pub(crate) fn push(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        self.0.put_slice(&length[1..]);
        self.0.put_slice(&[kind, flags]);
        self.0.put_u32(stream);
        self.0.put_slice(payload);
    }

    /// A request's whole head.
    pub(crate) fn request(&mut self, flags: u8, stream: u32, fields: &[(&str, &str)]) {
        self.push(HEADERS, flags | END_HEADERS, stream, &block(fields));
    }
}

/// Fields without compression (RFC 7541 §6.2.2): literals that are not indexed, with names of their own.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let length = u8::try_from(text.len()).unwrap();
            assert!(length < 127, "longer ones need more than one byte");
            block.push(length);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// The fields of a request to a host of the house.
pub(crate) fn fields<'a>(
    method: &'a str,
    authority: &'a str,
    path: &'a str,
) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", method),
        (":scheme", "https"),
        (":authority", authority),
        (":path", path),
    ]
}

/// A connection that said its preface.
pub(crate) struct Raw {
    pub(crate) read: ReadHalf<TlsStream<TcpStream>>,
    pub(crate) write: WriteHalf<TlsStream<TcpStream>>,
    pub(crate) authority: String,
}

impl Raw {
    /// To the public application.
    pub(crate) async fn open(house: &House) -> Self {
        let stream = tls(
            house.https,
            house.door_root(),
            "public.localhost",
            Version::H2,
        )
        .await;
        let (read, write) = tokio::io::split(stream);
        let mut this = Self {
            read,
            write,
            authority: format!("public.localhost:{}", house.https.port()),
        };
        let mut frames = Frames::default();
        frames.0.put_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frames.push(SETTINGS, 0, 0, &[]);
        this.send(&frames).await.unwrap();
        this
    }

    pub(crate) async fn send(&mut self, frames: &Frames) -> std::io::Result<()> {
        self.write.write_all(&frames.0).await?;
        self.write.flush().await
    }

    /// The next frame; `None` at the connection's end.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.read.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut skipped = vec![0; usize::try_from(length).unwrap()];
        self.read.read_exact(&mut skipped).await.ok()?;
        Some(Frame {
            kind: head[3],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        })
    }

    /// The first frame of these kinds, or the connection's end.
    pub(crate) async fn until(&mut self, kinds: &[u8]) -> Option<Frame> {
        loop {
            match self.frame().await {
                Some(frame) if !kinds.contains(&frame.kind) => {}
                ended => return ended,
            }
        }
    }
}
