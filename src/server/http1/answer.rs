//! Writes an answer: its head with the first of its body, and then the body as the app gives it and
//! the client takes it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};

use super::head::{self, Framing};
use super::held::{Held, Stream};
use super::wire::Wire;
use crate::pipeline::body::Body;
use crate::upstream::chunk_size;

/// An answer whose head is to be written.
#[derive(Debug)]
pub(super) struct Answer {
    /// `None` when all of it was taken, and where none is wanted.
    body: Option<Body>,
    framing: Framing,
}

/// The app's body is not what its head said.
fn cut(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn gone<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

impl Answer {
    pub(super) fn new(body: Body, framing: Framing) -> Self {
        let wanted = !matches!(framing, Framing::None);
        Self {
            body: wanted.then_some(body),
            framing,
        }
    }

    /// Moves it on. Ready when all of it is written, or cannot be.
    pub(super) fn poll<IO: Stream>(
        &mut self,
        held: &mut Held<IO>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let more = self.poll_next(held, cx)?;
            ready!(held.with(|wire| wire.poll_written(cx)).unwrap_or_else(gone))?;
            match more {
                Poll::Ready(true) => {}
                Poll::Ready(false) => {
                    return held.with(|wire| wire.poll_sent(cx)).unwrap_or_else(gone);
                }
                Poll::Pending => {
                    // A client that leaves while nothing is to be written is noticed here alone.
                    if held
                        .with(|wire| wire.poll_gone(cx))
                        .is_none_or(|gone| gone.is_ready())
                    {
                        return gone();
                    }
                    ready!(held.with(|wire| wire.poll_sent(cx)).unwrap_or_else(gone))?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Puts the next piece behind what is to be written, where there is room for it. Says whether
    /// there may be more.
    ///
    /// The app is not asked under the wire's lock: it may ask for the request's body in its turn.
    fn poll_next<IO: Stream>(
        &mut self,
        held: &mut Held<IO>,
        cx: &mut Context<'_>,
    ) -> Result<Poll<bool>, io::Error> {
        let takes = held.with(|wire| wire.takes_data());
        if takes == Some(false) {
            return Ok(Poll::Ready(true));
        }
        let Some(body) = &mut self.body else {
            return Ok(Poll::Ready(false));
        };
        let frame = match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(frame) => frame.transpose().map_err(io::Error::other)?,
        };
        let is_over = frame.is_none() || body.is_end_stream();
        if is_over {
            self.body = None;
        }
        held.with(|wire| self.put(wire, frame, is_over))
            .unwrap_or(Ok(true))
            .map(|is_over| Poll::Ready(!is_over))
    }

    /// Puts a piece there, and the end. Says whether that is all.
    fn put<IO>(
        &mut self,
        wire: &mut Wire<IO>,
        frame: Option<Frame<Bytes>>,
        is_over: bool,
    ) -> io::Result<bool> {
        let mut trailers = None;
        match frame.map(Frame::into_data) {
            Some(Ok(data)) => self.data(wire, data)?,
            Some(Err(frame)) => trailers = frame.into_trailers().ok(),
            None => {}
        }
        let is_over = is_over || trailers.is_some();
        if is_over {
            self.body = None;
            self.end(wire, &trailers.unwrap_or_default())?;
        }
        Ok(is_over)
    }

    fn data<IO>(&mut self, wire: &mut Wire<IO>, data: Bytes) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.framing {
            Framing::None => return Ok(()),
            Framing::Length(left) => {
                *left = left
                    .checked_sub(data.len() as u64)
                    .ok_or_else(|| cut("the body is longer than its head says"))?;
            }
            Framing::Chunked(_) => {
                chunk_size(wire.lines(), data.len());
                wire.put(data);
                // At once: a client may not take a chunk for whole before its end.
                wire.behind(|lines| lines.extend_from_slice(b"\r\n"));
                return Ok(());
            }
            Framing::Close => {}
        }
        wire.put(data);
        Ok(())
    }

    /// Ends the body.
    fn end<IO>(&mut self, wire: &mut Wire<IO>, trailers: &HeaderMap) -> io::Result<()> {
        match &self.framing {
            Framing::Length(1..) => Err(cut("the body is shorter than its head says")),
            Framing::Chunked(named) => {
                wire.behind(|lines| {
                    lines.extend_from_slice(b"0\r\n");
                    head::trailer_lines(lines, trailers, named);
                    lines.extend_from_slice(b"\r\n");
                });
                Ok(())
            }
            Framing::None | Framing::Length(0) | Framing::Close => Ok(()),
        }
    }
}
