//! Whether the client is still there: one that is silent is asked by a PING (RFC 9113 §6.7).
//!
//! Any byte counts as an answer: a client whose upload stands before its PING is there too.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::Deadline;

/// How long a client may be silent before it is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(30);
/// How long it may take to say so.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether a byte of the client has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<AtomicBool>);

impl Heard {
    /// Whether one has come since this was last asked.
    fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

/// Asks a silent client, and tells when it has gone.
pub(super) struct Presence {
    pings: Option<PingPong>,
    heard: Heard,
    /// When it is asked next or, once asked, given up.
    deadline: Deadline,
    asked: bool,
    waits: (Duration, Duration),
}

impl Presence {
    /// Watches a client that has just been heard.
    pub(super) fn new(pings: Option<PingPong>, heard: Heard) -> Self {
        Self::with_waits(pings, heard, (SILENCE, PATIENCE))
    }

    fn with_waits(pings: Option<PingPong>, heard: Heard, waits: (Duration, Duration)) -> Self {
        let mut deadline = Deadline::default();
        deadline.start(waits.0);
        Self {
            pings,
            heard,
            deadline,
            asked: false,
            waits,
        }
    }

    /// Ready when the client was asked and did not answer.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.heard.take() {
            self.asked = false;
            self.deadline.start(self.waits.0);
        }
        ready!(self.deadline.poll(cx));
        if self.asked {
            return Poll::Ready(());
        }
        self.ask(cx);
        self.deadline.start(self.waits.1);
        self.deadline.poll(cx)
    }

    fn ask(&mut self, cx: &mut Context<'_>) {
        self.asked = true;
        if let Some(pings) = &mut self.pings {
            // The answer to the one before makes room for this one. Where that is still not there,
            // it is what is waited for.
            let _answered = pings.poll_pong(cx);
            let _sent = pings.send_ping(Ping::opaque());
        }
    }
}

/// A connection that notes when something is read.
#[derive(Debug)]
pub(super) struct Listened<IO> {
    io: IO,
    heard: Heard,
}

impl<IO> Listened<IO> {
    pub(super) const fn new(io: IO, heard: Heard) -> Self {
        Self { io, heard }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Listened<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.heard.0.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Listened<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
