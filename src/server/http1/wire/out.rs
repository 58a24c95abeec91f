//! The way out: what is to be written, an end to clients that accept nothing, and a close that the
//! client does not take for a reset.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Wire;
use crate::clock::Deadline;

/// How long the rest of a request is read and thrown away after its answer, so that closing does
/// not reset the connection before the client has read that answer (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);

/// Bytes thrown away at most while lingering.
const MAX_LINGER: usize = 8 * 1024 * 1024;

/// A piece of a body of at most so many bytes is put among the lines: that costs less than a second
/// piece does in TLS and in the kernel. Beyond that, lines leave before more is put behind them.
const SMALL: usize = 2048;

/// Room for lines that a connection keeps while it rests.
const KEPT: usize = 4096;

/// What is to be written: lines, and a piece of a body behind them.
#[derive(Debug, Default)]
pub(super) struct Out {
    lines: Vec<u8>,
    /// How much of the lines is written.
    written: usize,
    data: Bytes,
    /// Lines behind the data.
    behind: Vec<u8>,
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

    fn put(&mut self, data: Bytes) {
        if data.len() <= SMALL {
            self.lines.extend_from_slice(&data);
        } else {
            self.data = data;
        }
    }

    /// Where what comes last is put.
    fn end(&mut self) -> &mut Vec<u8> {
        if self.data.is_empty() {
            &mut self.lines
        } else {
            &mut self.behind
        }
    }

    /// Lines that are not written.
    fn left(&self) -> &[u8] {
        self.lines.get(self.written..).unwrap_or_default()
    }

    /// What is to be written, in order.
    fn pieces(&self) -> [&[u8]; 3] {
        [self.left(), &self.data, &self.behind]
    }

    /// So many bytes were written.
    fn advance(&mut self, written: usize) {
        let mut rest = self.advance_lines(written);
        let data = self.data.len().min(rest);
        self.data.advance(data);
        rest -= data;
        if self.data.is_empty() && !self.behind.is_empty() {
            // The lines before it are written: those behind it are next.
            std::mem::swap(&mut self.lines, &mut self.behind);
            self.advance_lines(rest);
        }
    }

    /// So many bytes were written, of the lines at first. Gives how many of them were others.
    fn advance_lines(&mut self, written: usize) -> usize {
        let lines = self.left().len().min(written);
        self.written += lines;
        if self.written >= self.lines.len() {
            self.lines.clear();
            self.written = 0;
        }
        written - lines
    }

    /// Gives back what long lines took.
    pub(super) fn rest(&mut self) {
        if self.is_empty() {
            self.lines.shrink_to(KEPT);
            self.behind = Vec::new();
        }
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
    pub(in super::super) fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.out.lines
    }

    /// Puts a piece of a body behind the lines. There must be none yet.
    pub(in super::super) fn put(&mut self, data: Bytes) {
        self.out.put(data);
    }

    /// Writes lines behind that piece.
    pub(in super::super) fn behind(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(self.out.end());
    }

    /// Whether nothing is to be written.
    pub(in super::super) fn is_written(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether a piece may be put there.
    pub(in super::super) fn takes_data(&self) -> bool {
        let out = &self.out;
        out.data.is_empty() && out.behind.is_empty() && out.lines.len() <= SMALL
    }

    /// The final answer begins, or is over.
    pub(in super::super) fn answers(&mut self, answers: bool) {
        self.out.answers = answers;
    }
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
            let io = Pin::new(&mut self.io);
            let pieces = self.out.pieces();
            let progress = match pieces {
                [lines, [], []] => io.poll_write(cx, lines),
                [lines, data, []] => io.poll_write_vectored(cx, &[lines, data].map(IoSlice::new)),
                pieces => io.poll_write_vectored(cx, &pieces.map(IoSlice::new)),
            };
            let written = ready!(self.watch(cx, progress))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_put_is_written_once_and_in_order_however_little_goes_at_once(
            head in 0..3000_usize,
            data in 0..5000_usize,
            end in 0..40_usize,
            goes in prop::collection::vec(1..4000_usize, 1..6),
        ) {
            let bytes: Vec<u8> = (0..head + data + end).map(|at| at.to_le_bytes()[0]).collect();
            let mut rest = bytes.as_slice();
            let mut out = Out::default();
            out.queue(rest.split_off(..head).unwrap());
            out.put(Bytes::copy_from_slice(rest.split_off(..data).unwrap()));
            out.end().extend_from_slice(rest);
            let (mut written, mut goes) = (Vec::new(), goes.into_iter().cycle());
            while !out.is_empty() {
                let all = out.pieces().concat();
                let goes = goes.next().unwrap().min(all.len());
                prop_assert!(goes > 0);
                written.extend_from_slice(&all[..goes]);
                out.advance(goes);
            }
            prop_assert_eq!(written, bytes);
        }
    }
}
