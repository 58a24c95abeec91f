//! The way out through the guard: interim answers in their place, an end to clients that accept
//! nothing, and a close that the client does not take for a reset.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Deadline, Guarded, Mode};

/// How long the rest of a request is read and thrown away after its answer, so that closing does
/// not reset the connection before the client has read that answer (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);

/// Bytes thrown away at most while lingering.
const MAX_LINGER: usize = 8 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct End {
    /// Whether our side is shut down.
    shut: bool,
    deadline: Deadline,
    /// Bytes thrown away.
    read: usize,
}

impl<IO> Guarded<IO> {
    /// Whether unread bytes may be on their way that would turn our close into a reset.
    fn lingers(&self) -> bool {
        match self.mode {
            Mode::Refused | Mode::Broken(_) => true,
            Mode::Scan => self.scanner.awaits_body(),
            Mode::Held | Mode::Tunnel | Mode::Ended => false,
        }
    }
}

impl<IO: AsyncRead + Unpin> Guarded<IO> {
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

impl<IO: AsyncWrite + Unpin> Guarded<IO> {
    /// Ends a write that the client does not accept for too long.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut IO>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let progress = write(Pin::new(&mut self.io), cx);
        if progress.is_ready() {
            self.stall.clear();
            return progress;
        }
        if !self.stall.runs() {
            self.stall.start(self.timeouts.response_body);
        }
        ready!(self.stall.poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client accepts no more bytes",
        )))
    }

    /// Writes the interim answers that wait, where they may stand.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.interim.is_empty() {
            match self.shared.take_interim(self.between_answers) {
                Some(interim) => self.interim = Bytes::from(interim),
                None => return Poll::Ready(Ok(())),
            }
        }
        while !self.interim.is_empty() {
            let interim = self.interim.clone();
            let written = ready!(self.watch(cx, |io, cx| io.poll_write(cx, &interim)))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.interim.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        this.between_answers = false;
        this.watch(cx, |io, cx| io.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        this.between_answers = false;
        this.watch(cx, |io, cx| io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// hyper flushes when it has nothing left to write, so this is between two of its writes.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.note_task(cx);
        this.between_answers = true;
        ready!(this.poll_interim(cx))?;
        ready!(this.watch(cx, AsyncWrite::poll_flush))?;
        if this.wait_is_due() && this.poll_wait(cx).is_ready() {
            // The next read finds it over.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.end.shut {
            ready!(this.watch(cx, AsyncWrite::poll_shutdown))?;
            this.end.shut = true;
        }
        if this.lingers() {
            ready!(this.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}
