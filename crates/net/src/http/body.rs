//! The bodies of a request and of its answer, which note their ends.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};
use hyper::body::{Bytes, Incoming};

use super::stage::Stage;

/// The body of a request.
#[derive(Debug)]
pub struct Arriving {
    body: Incoming,
    stage: Stage,
}

impl Arriving {
    pub(super) fn new(body: Incoming, stage: Stage) -> Self {
        if body.is_end_stream() {
            stage.whole();
        }
        Self { body, stage }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.stage.whole();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer. Dropped, there is nothing more to make of the answer.
#[derive(Debug)]
pub(super) struct Ending<B> {
    body: B,
    stage: Stage,
}

impl<B> Ending<B> {
    pub(super) const fn new(body: B, stage: Stage) -> Self {
        Self { body, stage }
    }
}

impl<B: Body + Unpin> Body for Ending<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Ending<B> {
    fn drop(&mut self) {
        self.stage.answered();
    }
}
