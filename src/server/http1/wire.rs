//! The bytes of one connection, both ways: heads and bodies as they come, what is to be written, and
//! the waits that end it.

mod out;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::request;
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use self::out::Out;
use crate::clock::Deadline;
use crate::policy::denial::Denial;
use crate::server::framing::{CleanHead, Expects, Inflow, Limits, Piece, Timeouts, Violation};

/// Room for a first read; most heads fit.
const ROOM: usize = 4096;
/// Most room for a read of a body.
const MOST_ROOM: usize = 64 * 1024;
/// Without a reason to keep it, a larger buffer is given back when nothing is under way.
const KEPT: usize = 8192;

/// One connection.
#[derive(Debug)]
pub(in super::super) struct Wire<IO> {
    io: IO,
    inflow: Inflow,
    /// For the next read.
    room: usize,
    timeouts: Timeouts,
    stage: Stage,
    wait: Deadline,
    /// Whether the client waits for `100 Continue`.
    expects: bool,
    out: Out,
    end: out::End,
}

/// What is waited for between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The first byte of a head.
    Quiet,
    /// The rest of it.
    Begun,
}

/// What came of waiting for a head.
#[derive(Debug)]
pub(super) enum Came {
    /// A request.
    Request(Box<request::Parts>, CleanHead),
    /// What is none, and is to be answered so; nothing is read after it.
    Refused(Denial),
    /// The end.
    Nothing,
}

impl<IO> Wire<IO> {
    /// A connection on which nothing has come. The time for its first head starts.
    pub(in super::super) fn new(io: IO, limits: Limits, timeouts: Timeouts) -> Self {
        let mut wait = Deadline::default();
        wait.start(timeouts.request_headers);
        Self {
            io,
            inflow: Inflow::new(limits),
            room: ROOM,
            timeouts,
            stage: Stage::Begun,
            wait,
            expects: false,
            out: Out::default(),
            end: out::End::default(),
        }
    }

    /// An answer is over, and the time to the next request's first byte starts.
    pub(super) fn rest(&mut self) {
        self.stage = Stage::Quiet;
        self.wait.start(self.timeouts.keep_alive);
        self.expects = false;
        self.room = ROOM;
        self.out.rest();
        let bytes = self.inflow.bytes();
        if bytes.is_empty() && bytes.capacity() > KEPT {
            *bytes = BytesMut::new();
        }
    }

    /// Whether a byte of a head has come; an empty line alone is none.
    pub(super) fn head_begun(&self) -> bool {
        self.inflow.head_begun()
    }

    /// Whether all of the request's body has been taken.
    pub(super) fn body_is_over(&self) -> bool {
        self.inflow.body_is_over()
    }

    /// The stream, and what was read of it and not taken.
    pub(in super::super) fn into_parts(self) -> (IO, BytesMut) {
        (self.io, self.inflow.into_bytes())
    }

    fn refuse(&mut self, violation: Violation) -> Came {
        self.wait.clear();
        self.inflow.refuse(violation);
        Came::Refused(violation.denial())
    }
}

impl<IO: AsyncRead + Unpin> Wire<IO> {
    /// Reads what has come; zero at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let bytes = self.inflow.bytes();
        if bytes.capacity() - bytes.len() < ROOM / 2 {
            bytes.reserve(self.room);
        }
        let count = ready!(poll_read_buf(Pin::new(&mut self.io), cx, bytes))?;
        if bytes.len() == bytes.capacity() {
            self.room = (self.room * 2).min(MOST_ROOM);
        }
        Poll::Ready(Ok(count))
    }

    /// Waits for a head. Where it does not come in time, what had begun is answered, and what had not
    /// is just closed.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Came> {
        loop {
            match self.inflow.take_head() {
                Ok(Some((parts, clean))) => {
                    self.wait.clear();
                    self.expects = clean.expects == Expects::Continue;
                    // From here on it goes from hand to hand.
                    return Poll::Ready(Came::Request(Box::new(parts), clean));
                }
                Ok(None) => {}
                Err(violation) => return Poll::Ready(self.refuse(violation)),
            }
            if self.stage == Stage::Quiet && self.head_begun() {
                self.stage = Stage::Begun;
                self.wait.start(self.timeouts.request_headers);
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Came::Nothing),
                Poll::Pending => {
                    ready!(self.wait.poll(cx));
                    return Poll::Ready(if self.head_begun() {
                        self.refuse(Violation::HeadTimeout)
                    } else {
                        Came::Nothing
                    });
                }
            }
        }
    }

    /// Ready when the client is gone while its answer is worked on. One that sent the next request
    /// already is not looked at any further.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.body_is_over() || !self.inflow.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.poll_fill(cx)) {
            Ok(1..) => Poll::Pending,
            Ok(0) | Err(_) => Poll::Ready(()),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    /// The next piece of the request's body. Whoever asks is told to go on sending, where the client
    /// waits for that.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            match self.inflow.take_body() {
                Ok(Piece::Frame(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(Piece::End) => return Poll::Ready(None),
                Ok(Piece::More) => {}
                Err(violation) => {
                    let error = io::Error::new(io::ErrorKind::InvalidData, violation.denial());
                    return Poll::Ready(Some(Err(error)));
                }
            }
            if std::mem::take(&mut self.expects) && !self.out.answers {
                self.out.queue(b"HTTP/1.1 100 Continue\r\n\r\n");
                // What does not go now goes with what is written next.
                let _failed_or_later = self.poll_sent(cx);
            }
            match ready!(self.poll_fill(cx)) {
                Ok(1..) => {}
                Ok(0) => {
                    let cut = io::ErrorKind::UnexpectedEof;
                    return Poll::Ready(Some(Err(cut.into())));
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}
