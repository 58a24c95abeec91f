//! A client's body, as either version of HTTP brings it.
//!
//! Nothing is read ahead: HTTP/1 reads when asked, and an HTTP/2 client gets back what it may send
//! only when the app has taken what came before.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};

/// The body of a client's request, not looked at yet.
#[derive(Debug)]
pub enum ClientBody {
    /// Over HTTP/1.
    Http1(Http1Body),
    /// Over HTTP/2.
    Http2(Http2Body),
    /// None. What follows the request is another one, or belongs to a WebSocket.
    None,
}

/// A client's body broke off.
#[derive(Debug, thiserror::Error)]
pub enum ClientBodyError {
    /// Over HTTP/1.
    #[error("the client's connection")]
    Http1(#[from] io::Error),
    /// Over HTTP/2.
    #[error(transparent)]
    Http2(#[from] h2::Error),
}

/// A connection that a body comes from.
pub trait Source: fmt::Debug + Send + Sync {
    /// The next piece; `None` at the end. What is wrong with the body's framing is a
    /// [`Denial`](crate::policy::denial::Denial) in the error.
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>>;
}

/// A body that comes on a connection of HTTP/1.
#[derive(Debug)]
pub struct Http1Body {
    /// `None` when it is over.
    source: Option<Arc<dyn Source>>,
    /// Bytes still to come, where the client said how many.
    left: Option<u64>,
}

impl Http1Body {
    /// A body of so many bytes, or of chunks.
    #[must_use]
    pub fn new(source: Arc<dyn Source>, length: Option<u64>) -> Self {
        Self {
            source: Some(source),
            left: length,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(source) = &self.source else {
            return Poll::Ready(None);
        };
        let frame = ready!(source.poll_frame(cx));
        let data = match &frame {
            Some(Ok(frame)) => frame.data_ref().map(Bytes::len),
            Some(Err(_)) | None => None,
        };
        if let (Some(left), Some(data)) = (&mut self.left, data) {
            *left = left.saturating_sub(data as u64);
        }
        if data.is_none() || self.left == Some(0) {
            self.source = None;
        }
        Poll::Ready(frame)
    }
}

/// Tells whether a body has been asked for: its client waits for that (RFC 9110 §10.1.1).
#[derive(Clone, Debug, Default)]
pub struct Wanted(Arc<AtomicBool>);

impl Wanted {
    /// Whether it has been, since this was last asked.
    #[must_use]
    pub fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

/// A body that comes on an HTTP/2 stream.
#[derive(Debug)]
pub struct Http2Body {
    stream: RecvStream,
    /// Bytes still to come, where the client said how many.
    left: Option<u64>,
    /// Bytes handed on that the client may not send again yet.
    held: usize,
    /// Whether only trailers can follow.
    data_is_over: bool,
    wanted: Option<Wanted>,
}

impl Http2Body {
    /// Takes the body of a request with these headers. `wanted` hears when it is first asked for.
    ///
    /// h2 has refused a `Content-Length` that is no number, and refuses a body of another length
    /// (RFC 9113 §8.1.1).
    #[must_use]
    pub fn new(stream: RecvStream, headers: &HeaderMap, wanted: Option<Wanted>) -> Self {
        let length = headers.get(CONTENT_LENGTH);
        Self {
            left: length.and_then(|value| value.to_str().ok()?.parse().ok()),
            stream,
            held: 0,
            data_is_over: false,
            wanted,
        }
    }

    /// Lets the client send as much again as has been taken.
    fn give_back(&mut self) {
        if self.held > 0 {
            // It fails only for more than was held.
            let _given = self.stream.flow_control().release_capacity(self.held);
            self.held = 0;
        }
    }

    /// The next piece. Whoever asks is done with the one before.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Some(wanted) = self.wanted.take() {
            wanted.0.store(true, Ordering::Relaxed);
        }
        self.give_back();
        if !self.data_is_over {
            if let Some(data) = ready!(self.stream.poll_data(cx)) {
                return Poll::Ready(Some(data.map(|data| self.hand_on(data))));
            }
            self.data_is_over = true;
        }
        let trailers = ready!(self.stream.poll_trailers(cx)).transpose();
        Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)))
    }

    fn hand_on(&mut self, data: Bytes) -> Frame<Bytes> {
        self.held = data.len();
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(data.len() as u64);
        }
        Frame::data(data)
    }
}

impl Drop for Http2Body {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        match self.get_mut() {
            Self::Http1(body) => body.poll_next(cx).map_err(Into::into),
            Self::Http2(body) => body.poll_next(cx).map_err(Into::into),
            Self::None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.source.is_none(),
            Self::Http2(body) => body.stream.is_end_stream(),
            Self::None => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body
                .left
                .map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::None => SizeHint::with_exact(0),
            Self::Http2(body) if body.stream.is_end_stream() => SizeHint::with_exact(0),
            Self::Http2(body) => body
                .left
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

#[cfg(test)]
#[path = "incoming_tests.rs"]
mod tests;
