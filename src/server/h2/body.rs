//! An answer's body on its way to an HTTP/2 client, no faster than the client takes it.
//!
//! A piece is asked for when the one before has found room, so h2 keeps one piece and what fits in
//! its buffer. Room is asked for only with a piece in hand: a quiet answer takes nothing from the
//! window that all streams of the connection share.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

use crate::clock::Deadline;

/// Why a body did not reach its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// The client has reset the stream, or the connection is gone.
    #[error("the client went away")]
    Gone,
    /// The answer broke off before its end.
    #[error("the answer was cut off")]
    CutOff,
    /// The client took nothing for too long.
    #[error("the client takes nothing of the answer")]
    Stalled,
}

/// Sends a body to its end. Where it does not come so far, the stream is reset.
///
/// # Errors
///
/// Why it did not.
pub(super) async fn send<B>(
    body: B,
    stream: SendStream<Bytes>,
    stall: Duration,
) -> Result<(), Ended>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut sending = Sending {
        body,
        stream,
        piece: None,
        stall,
        deadline: Deadline::default(),
    };
    let sent = poll_fn(|cx| sending.poll(cx)).await;
    match &sent {
        Ok(()) | Err(Ended::Gone) => {}
        Err(Ended::CutOff) => sending.stream.send_reset(Reason::INTERNAL_ERROR),
        Err(Ended::Stalled) => sending.stream.send_reset(Reason::CANCEL),
    }
    sent
}

struct Sending<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// What waits for room, and whether nothing comes after it.
    piece: Option<(Bytes, bool)>,
    stall: Duration,
    /// The end of the wait for the client.
    deadline: Deadline,
}

impl<B: Body<Data = Bytes> + Unpin> Sending<B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        loop {
            if self.piece.is_some() {
                ready!(self.poll_room(cx))?;
            }
            if let Some((piece, is_last)) = self.piece.take() {
                self.write(piece, is_last)?;
                if is_last {
                    return Poll::Ready(Ok(()));
                }
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                // To be woken when the client resets the stream.
                return match self.stream.poll_reset(cx) {
                    Poll::Ready(_) => Poll::Ready(Err(Ended::Gone)),
                    Poll::Pending => Poll::Pending,
                };
            };
            let Some(frame) = frame else {
                return Poll::Ready(self.write(Bytes::new(), true));
            };
            let Ok(frame) = frame else {
                return Poll::Ready(Err(Ended::CutOff));
            };
            match frame.into_data() {
                Ok(data) => self.hold(data),
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        let sent = self.stream.send_trailers(trailers);
                        return Poll::Ready(sent.map_err(|_gone| Ended::Gone));
                    }
                }
            }
        }
    }

    /// Keeps a piece until there is room. One without bytes needs none and says nothing, unless it
    /// is the last.
    fn hold(&mut self, data: Bytes) {
        let is_last = self.body.is_end_stream();
        if !data.is_empty() {
            // As little as can be: with the piece itself h2 asks for the rest, and streams that
            // wait for a full window do not each claim all of it.
            self.stream.reserve_capacity(1);
        }
        if is_last || !data.is_empty() {
            self.piece = Some((data, is_last));
        }
    }

    /// Ready when the client has room for the piece in hand.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let needs_none = self
            .piece
            .as_ref()
            .is_none_or(|(piece, _)| piece.is_empty());
        while !needs_none && self.stream.capacity() == 0 {
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(Ended::Gone)),
                Poll::Pending => {
                    if !self.deadline.runs() {
                        self.deadline.start(self.stall);
                    }
                    ready!(self.deadline.poll(cx));
                    return Poll::Ready(Err(Ended::Stalled));
                }
            }
        }
        self.deadline.clear();
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, piece: Bytes, is_last: bool) -> Result<(), Ended> {
        let sent = self.stream.send_data(piece, is_last);
        sent.map_err(|_gone| Ended::Gone)
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
