//! The body of every response of the data plane: no box on the way of an upstream's bytes but the one watch over the stream.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::edge::headers::without_identity;
use crate::edge::tcp::Download;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Looks on while an upstream's answer passes, and may cut it off. Dropped with the body, whatever ended it.
pub trait StreamWatch: 'static {
    /// Ready when the stream must not go on: it is no longer allowed, or was silent for too long.
    fn poll_cut(&mut self, context: &mut Context<'_>) -> Poll<BoxError>;

    /// `bytes` of data went by (0 for trailers).
    fn passed(&mut self, bytes: usize);

    /// The upstream's stream ended, well (`None`) or not. Not called after a cut.
    fn ended(&mut self, fault: Option<&hyper::Error>);
}

/// A response body.
#[derive(Default)]
pub enum EdgeBody {
    #[default]
    /// Nothing, and at its end.
    Empty,
    /// One piece, known as a whole. Gives it once and is [`EdgeBody::Empty`] afterwards.
    Full(Bytes),
    /// An upstream's answer as it comes.
    Upstream {
        /// What is still to come.
        incoming: Incoming,
        /// Asked before every piece.
        watch: Box<dyn StreamWatch>,
    },
    /// What the far end of a tunnel sends.
    Tunnel(Download),
    /// One of our own pages.
    Own(axum::body::Body),
}

impl EdgeBody {
    /// A body of one piece.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() {
            Self::Empty
        } else {
            Self::Full(bytes)
        }
    }

    /// How much longer than other answers it may be left unread: whoever has a tunnel may take their time.
    pub fn patience(&self) -> Duration {
        match self {
            Self::Tunnel(download) => download.patience(),
            Self::Empty | Self::Full(_) | Self::Upstream { .. } | Self::Own(_) => Duration::ZERO,
        }
    }
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Upstream { incoming, watch } => poll_upstream(incoming, watch.as_mut(), context),
            Self::Tunnel(download) => Pin::new(download).poll_frame(context),
            Self::Own(body) => Pin::new(body).poll_frame(context).map_err(BoxError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) | Self::Tunnel(_) => false,
            Self::Upstream { incoming, .. } => incoming.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Self::Upstream { incoming, .. } => incoming.size_hint(),
            Self::Tunnel(_) => SizeHint::default(),
            Self::Own(body) => body.size_hint(),
        }
    }
}

/// The cut comes first: a stream that is no longer allowed gives no further byte, even if one is there.
fn poll_upstream(
    incoming: &mut Incoming,
    watch: &mut dyn StreamWatch,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
    if let Poll::Ready(reason) = watch.poll_cut(context) {
        return Poll::Ready(Some(Err(reason)));
    }
    let polled = Pin::new(incoming).poll_frame(context);
    match &polled {
        Poll::Ready(Some(Ok(frame))) => watch.passed(frame.data_ref().map_or(0, Bytes::len)),
        Poll::Ready(Some(Err(fault))) => watch.ended(Some(fault)),
        Poll::Ready(None) => watch.ended(None),
        Poll::Pending => {}
    }
    polled.map(|frame| Some(frame?.map(without_identity).map_err(BoxError::from)))
}
