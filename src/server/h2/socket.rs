//! A stream that has become a WebSocket (RFC 8441 §5): its DATA frames as bytes.
//!
//! The client gets back what it may send only when what it sent before was passed on, and is sent no
//! more than it has room for. Its `END_STREAM` is the end of its bytes, a reset a broken connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most that is sent in one piece, in bytes.
const PIECE: usize = 16 * 1024;

/// Both directions of a stream. Dropped before both have ended, it is reset.
#[derive(Debug)]
pub(super) struct H2Socket {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// Received and not read yet.
    unread: Bytes,
    /// Bytes read that the client may not send again yet.
    held: usize,
    is_shut: bool,
    is_over: bool,
}

impl H2Socket {
    /// A stream whose answer was sent.
    pub(super) const fn new(send: SendStream<Bytes>, receive: RecvStream) -> Self {
        Self {
            send,
            receive,
            unread: Bytes::new(),
            held: 0,
            is_shut: false,
            is_over: false,
        }
    }

    /// Lets the client send as much again as has been read.
    fn give_back(&mut self) {
        if self.held > 0 {
            // It fails only for more than was held.
            let _given = self.receive.flow_control().release_capacity(self.held);
            self.held = 0;
        }
    }
}

impl AsyncRead for H2Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Whoever asks is done with what came before.
        this.give_back();
        while this.unread.is_empty() && !this.is_over {
            match ready!(this.receive.poll_data(cx)) {
                Some(data) => this.unread = data.map_err(broken)?,
                None => this.is_over = true,
            }
        }
        let size = this.unread.len().min(buf.remaining());
        buf.put_slice(this.unread.get(..size).unwrap_or_default());
        this.unread.advance(size);
        this.held += size;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for H2Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // Room is asked for only with bytes in hand: a quiet socket takes nothing from the window
        // that all streams of the connection share.
        let wanted = buf.len().min(PIECE);
        this.send.reserve_capacity(wanted);
        while this.send.capacity() == 0 {
            match ready!(this.send.poll_capacity(cx)) {
                Some(room) => drop(room.map_err(broken)?),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let size = wanted.min(this.send.capacity());
        let piece = Bytes::copy_from_slice(buf.get(..size).unwrap_or_default());
        this.send.send_data(piece, false).map_err(broken)?;
        Poll::Ready(Ok(size))
    }

    /// The connection's own task writes what was handed to it.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_shut
            && let Poll::Ready(reset) = this.send.poll_reset(cx)
        {
            let why = reset.map_or_else(broken, |reason| broken(reason.into()));
            return Poll::Ready(Err(why));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_shut {
            this.is_shut = true;
            this.send.send_data(Bytes::new(), true).map_err(broken)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for H2Socket {
    fn drop(&mut self) {
        self.give_back();
        if !(self.is_shut && self.is_over) {
            self.send.send_reset(Reason::CANCEL);
        }
    }
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
