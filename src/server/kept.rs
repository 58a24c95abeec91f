//! A body that keeps something alive until its answer is over.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::stall::Pulse;
use crate::pipeline::body::Body;

/// An answer's body and what is dropped with it.
#[derive(Debug)]
pub(super) struct Kept<T> {
    body: Body,
    pulse: Option<Arc<Pulse>>,
    _with: T,
}

impl<T> Kept<T> {
    pub(super) const fn new(body: Body, kept: T) -> Self {
        Self {
            body,
            pulse: None,
            _with: kept,
        }
    }

    /// Tells the stream's watch when the client has something to take.
    pub(super) fn felt_by(mut self, pulse: Option<Arc<Pulse>>) -> Self {
        self.pulse = pulse;
        self
    }
}

impl<T: Unpin> http_body::Body for Kept<T> {
    type Data = Bytes;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if let Some(pulse) = &this.pulse {
            pulse.wait_on_client(frame.is_ready());
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
