//! A body that keeps something alive until its answer is over.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::pipeline::body::Body;

/// An answer's body and what is dropped with it.
#[derive(Debug)]
pub(super) struct Kept<T> {
    body: Body,
    _with: T,
}

impl<T> Kept<T> {
    pub(super) const fn new(body: Body, kept: T) -> Self {
        Self { body, _with: kept }
    }
}

impl<T: Unpin> http_body::Body for Kept<T> {
    type Data = Bytes;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
