//! The way out: what is to be written, an end to clients that accept nothing, and a close that the
//! client does not take for a reset.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Wire;
use crate::clock::Deadline;

/// How long the rest of a request is read and thrown away after its answer, so that closing does
/// not reset the connection before the client has read that answer (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);

/// Bytes thrown away at most while lingering.
const MAX_LINGER: usize = 8 * 1024 * 1024;

/// What is to be written: lines, and a piece of a body behind them.
#[derive(Debug, Default)]
pub(super) struct Out {
    lines: BytesMut,
    data: Bytes,
    /// Lines behind the data.
    behind: BytesMut,
    /// Whether the head of the final answer has been written, or is to be.
    pub(super) answers: bool,
    stall: Deadline,
}

impl Out {
    pub(super) fn queue(&mut self, lines: &[u8]) {
        self.lines.extend_from_slice(lines);
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.data.is_empty() && self.behind.is_empty()
    }
}

#[derive(Debug, Default)]
pub(super) struct End {
    /// Whether our side is shut down.
    shut: bool,
    deadline: Deadline,
    /// Bytes thrown away.
    read: usize,
}

impl<IO> Wire<IO> {
    /// Where lines are put that are to be written. Nothing may be behind them yet.
    pub(in super::super) fn lines(&mut self) -> &mut BytesMut {
        &mut self.out.lines
    }

    /// Puts a piece of a body behind the lines. There must be none yet.
    pub(in super::super) fn put(&mut self, data: Bytes) {
        self.out.data = data;
    }

    /// Writes lines behind that piece.
    pub(in super::super) fn behind(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let out = &mut self.out;
        write(if out.data.is_empty() {
            &mut out.lines
        } else {
            &mut out.behind
        });
    }

    /// Whether nothing is to be written.
    pub(in super::super) fn is_written(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether a piece may be put there.
    pub(in super::super) fn takes_data(&self) -> bool {
        self.out.data.is_empty() && self.out.behind.is_empty()
    }

    /// The final answer begins, or is over.
    pub(in super::super) fn answers(&mut self, answers: bool) {
        self.out.answers = answers;
    }
}

/// Takes what was written out of what was to be.
fn take(pending: &mut impl Buf, written: &mut usize) {
    let taken = pending.remaining().min(*written);
    pending.advance(taken);
    *written -= taken;
}

impl<IO: AsyncWrite + Unpin> Wire<IO> {
    /// Ends a write that the client does not accept for too long.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        progress: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.out.stall.clear();
            return progress;
        }
        if !self.out.stall.runs() {
            self.out.stall.start(self.timeouts.response_body);
        }
        ready!(self.out.stall.poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client accepts no more bytes",
        )))
    }

    /// Writes all that is to be written.
    pub(in super::super) fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let Out {
                lines,
                data,
                behind,
                ..
            } = &self.out;
            let io = Pin::new(&mut self.io);
            let progress = if data.is_empty() && behind.is_empty() {
                io.poll_write(cx, lines)
            } else {
                let pieces = [&**lines, &**data, &**behind].map(IoSlice::new);
                let some = if behind.is_empty() { 2 } else { 3 };
                io.poll_write_vectored(cx, pieces.get(..some).unwrap_or(&pieces))
            };
            let mut written = ready!(self.watch(cx, progress))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let out = &mut self.out;
            take(&mut out.lines, &mut written);
            take(&mut out.data, &mut written);
            take(&mut out.behind, &mut written);
        }
        Poll::Ready(Ok(()))
    }

    /// The same, and has it sent.
    pub(in super::super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_written(cx))?;
        let progress = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, progress)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    /// Closes it, after what is to be written.
    pub(in super::super) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.end.shut {
            ready!(self.poll_sent(cx))?;
            let progress = Pin::new(&mut self.io).poll_shutdown(cx);
            ready!(self.watch(cx, progress))?;
            self.end.shut = true;
        }
        // Unread bytes may be on their way that would turn our close into a reset.
        if !self.body_is_over() {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }

    /// Reads and throws away what the client still sends, for a while.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.end.deadline.runs() {
            self.end.deadline.start(LINGER);
        }
        let mut scratch = [0_u8; 8192];
        while self.end.read < MAX_LINGER && self.end.deadline.poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => self.end.read += buf.filled().len(),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }
}
