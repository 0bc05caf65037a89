//! A request's body on its way, and how far it has come.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::edge::body::BoxError;

/// Bodies that can be sent to an upstream.
pub trait UploadBody: Body<Data = Bytes, Error = BoxError> + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error = BoxError> + Unpin + 'static> UploadBody for B {}

/// A body that notes when it is over.
pub(super) struct Upload<B> {
    body: B,
    /// Bytes still to come, where that is known.
    left: Option<u64>,
    progress: Rc<Progress>,
}

/// How far a request's body has come.
#[derive(Default)]
pub(super) struct Progress {
    is_complete: Cell<bool>,
    is_over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Progress {
    /// Whether all of it was taken.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete.get()
    }

    /// Waits until nobody takes any more of it.
    pub(super) async fn over(&self) {
        std::future::poll_fn(|context| {
            if self.is_over.get() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn end(&self, is_complete: bool) {
        self.is_complete.set(self.is_complete.get() || is_complete);
        self.is_over.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl<B: Body> Upload<B> {
    pub(super) fn new(body: B) -> (Self, Rc<Progress>) {
        let progress = Rc::new(Progress::default());
        let left = body.size_hint().exact();
        if body.is_end_stream() || left == Some(0) {
            progress.end(true);
        }
        let upload = Self {
            body,
            left,
            progress: Rc::clone(&progress),
        };
        (upload, progress)
    }
}

impl<B> Drop for Upload<B> {
    fn drop(&mut self) {
        self.progress.end(false);
    }
}

impl<B: Body<Data = Bytes, Error = BoxError> + Unpin> Body for Upload<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
                this.left = this.left.map(|left| left.saturating_sub(bytes));
                // With a known length nobody asks for the end.
                if this.left == Some(0) || this.body.is_end_stream() {
                    this.progress.end(true);
                }
            }
            Poll::Ready(None) => this.progress.end(true),
            Poll::Ready(Some(Err(_))) => this.progress.end(false),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
