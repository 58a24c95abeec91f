//! The guard in the stream: hyper reads through it and sees clean bytes only.
//!
//! Bytes are read into hyper's own buffer and judged there. What is clean stays; a head that has
//! not ended, and what is not clean, is taken out again. So a request that comes whole is never
//! copied, and a body is not even looked at where its length is known.
//!
//! In the place of what is refused hyper is given one made-up request, so that the refusal is
//! answered by the same service, in its turn, as any other; after that nothing more is read.

mod write;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::write::End;

use super::handle::{GuardHandle, Release, Shared};
use super::scanner::{Limits, Scanner, Stop};
use super::violation::Violation;
use crate::clock::Deadline;
use crate::config::settings::ServerTimeouts;
use crate::policy::denial::Denial;

/// What hyper reads where a request was refused. The guard's handle tells what it stands for, so
/// it does not matter that a client could send the same.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n";

/// Bytes kept for a client that sends before its request for a WebSocket is answered.
const MAX_HELD: usize = 16 * 1024;

/// The waits that the guard ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the connection or a head's first byte to the head's end.
    pub request_headers: Duration,
    /// From the end of an answer to the next request's first byte.
    pub keep_alive: Duration,
    /// Between two writes that the client accepts.
    pub response_body: Duration,
}

impl From<&ServerTimeouts> for Timeouts {
    fn from(timeouts: &ServerTimeouts) -> Self {
        Self {
            request_headers: timeouts.request_headers,
            keep_alive: timeouts.keep_alive,
            response_body: timeouts.response_body,
        }
    }
}

/// What hyper's server is given.
pub type Framed<IO> = TokioIo<Guarded<IO>>;

/// Puts a guard in front of an accepted connection (after TLS). The time for the first head starts.
pub fn guard<IO>(io: IO, limits: Limits, timeouts: Timeouts) -> (Framed<IO>, GuardHandle)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (handle, shared) = GuardHandle::new();
    let mut guarded = Guarded {
        io,
        scanner: Scanner::new(limits),
        shared,
        timeouts,
        mode: Mode::Scan,
        side: BytesMut::new(),
        clean: 0,
        task: None,
        wait: Wait::default(),
        stall: Deadline::default(),
        between_answers: true,
        interim: Bytes::new(),
        end: End::default(),
    };
    guarded.wait.deadline.start(timeouts.request_headers);
    guarded.wait.stage = Stage::Begun;
    (TokioIo::new(guarded), handle)
}

/// A stream that yields clean bytes only. Made by [`guard`].
#[derive(Debug)]
pub struct Guarded<IO> {
    io: IO,
    scanner: Scanner,
    shared: Arc<Shared>,
    timeouts: Timeouts,
    mode: Mode,
    /// Bytes read that hyper does not have; empty for a request that comes whole.
    side: BytesMut,
    /// So many of them may be handed on.
    clean: usize,
    /// The task that drives the connection, as the handle knows it.
    task: Option<Waker>,
    /// The wait for a head.
    wait: Wait,
    /// The end of the wait for the client to accept a byte.
    stall: Deadline,
    /// Whether hyper has written out all that it had, so that interim answers may stand here.
    between_answers: bool,
    /// Interim answers being written.
    interim: Bytes,
    end: End,
}

#[derive(Debug)]
enum Mode {
    /// Bytes are judged.
    Scan,
    /// They wait for the answer to a request for a WebSocket.
    Held,
    /// They are not looked at.
    Tunnel,
    /// A refusal was handed on; nothing more is read.
    Refused,
    /// The body under way is not well formed.
    Broken(Denial),
    /// The client was idle too long: hyper is told that it went.
    Ended,
}

#[derive(Debug, Default)]
struct Wait {
    deadline: Deadline,
    stage: Stage,
    /// The heads before the one waited for.
    after: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// A request is under way.
    #[default]
    Busy,
    /// Nothing of the next head has come.
    Quiet,
    /// Some of it has, or it is the first.
    Begun,
}

impl<IO> Guarded<IO> {
    /// The stream beneath.
    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    /// Takes the guard away from a connection that has become a tunnel: the stream, and what was
    /// read of it that hyper does not have.
    pub fn into_parts(self) -> (IO, BytesMut) {
        (self.io, self.side)
    }

    /// Whether the connection waits for a head and owes no answer.
    fn is_idle(&self) -> bool {
        matches!(self.mode, Mode::Scan)
            && self.scanner.awaits_head()
            && self.shared.is_idle(self.scanner.heads())
    }

    /// Whether a byte of the head has come; an empty line alone is none.
    fn head_begun(&self) -> bool {
        !matches!(self.side.as_ref(), b"" | b"\r" | b"\r\n")
    }

    fn note_task(&mut self, cx: &Context<'_>) {
        if !self
            .task
            .as_ref()
            .is_some_and(|task| task.will_wake(cx.waker()))
        {
            self.task = Some(cx.waker().clone());
            self.shared.note_task(cx.waker());
        }
    }

    /// Judges what has come. Returns how many bytes of `fresh` may be handed on where they are; the
    /// others are in `side`.
    fn judge(&mut self, fresh: &mut [u8]) -> usize {
        if self.side.is_empty() {
            let scan = self.scanner.scan(fresh);
            hide(fresh, self.scanner.take_disregarded_upgrades());
            self.side
                .extend_from_slice(fresh.get(scan.clean..).unwrap_or_default());
            self.follow(scan.stop, 0);
            return scan.clean;
        }
        self.side.extend_from_slice(fresh);
        self.judge_side();
        0
    }

    fn judge_side(&mut self) {
        let scan = self.scanner.scan(&self.side);
        hide(&mut self.side, self.scanner.take_disregarded_upgrades());
        self.clean = scan.clean;
        self.follow(scan.stop, scan.clean);
    }

    /// Takes up what a look at the bytes found; the first `clean` bytes of `side` are clean.
    fn follow(&mut self, stop: Stop, clean: usize) {
        match stop {
            Stop::More => {}
            Stop::Held => {
                if matches!(self.mode, Mode::Scan) {
                    self.shared.hold(self.scanner.heads());
                    self.mode = Mode::Held;
                }
            }
            Stop::BadHead(violation) => self.refuse(clean, violation),
            Stop::BadBody(violation) => {
                self.side.truncate(clean);
                self.mode = Mode::Broken(violation.denial());
            }
        }
    }

    /// Puts the stand-in behind the first `clean` bytes of `side`.
    fn refuse(&mut self, clean: usize, violation: Violation) {
        let number = self.scanner.heads() + 1;
        self.shared.refuse(number, violation.denial());
        self.side.truncate(clean);
        self.side.extend_from_slice(STAND_IN);
        self.clean = self.side.len();
        self.mode = Mode::Refused;
        self.wait.deadline.clear();
    }

    /// Hands on what is clean of `side`.
    fn deliver(&mut self, buf: &mut ReadBuf<'_>) {
        let len = self.clean.min(buf.remaining());
        if let Some(bytes) = self.side.get(..len) {
            buf.put_slice(bytes);
        }
        self.side.advance(len);
        self.clean -= len;
        if self.side.is_empty() {
            // An idle connection keeps no buffer.
            self.side = BytesMut::new();
        }
    }

    /// Keeps the deadline for the head that is waited for, if one is, and tells when it is over.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_idle() {
            self.wait.stage = Stage::Busy;
            self.wait.deadline.clear();
            return Poll::Pending;
        }
        let heads = self.scanner.heads();
        if self.wait.after != heads {
            self.wait.after = heads;
            self.wait.stage = Stage::Busy;
        }
        let begun = self.head_begun();
        match self.wait.stage {
            Stage::Busy | Stage::Quiet if begun => {
                self.wait.stage = Stage::Begun;
                self.wait.deadline.start(self.timeouts.request_headers);
            }
            Stage::Busy => {
                self.wait.stage = Stage::Quiet;
                self.wait.deadline.start(self.timeouts.keep_alive);
            }
            Stage::Quiet | Stage::Begun => {}
        }
        self.wait.deadline.poll(cx)
    }

    /// Whether a wait should have begun that nobody polls for yet: after an answer, hyper counts on
    /// the read that it began before it.
    fn wait_is_due(&self) -> bool {
        self.is_idle()
            && (self.wait.stage == Stage::Busy || self.wait.after != self.scanner.heads())
    }

    /// The head did not come in time: answered if some of it had come, else just closed.
    fn give_up_waiting(&mut self) {
        if self.head_begun() {
            self.refuse(0, Violation::HeadTimeout);
        } else {
            self.mode = Mode::Ended;
        }
    }

    fn release(&mut self, release: Release) {
        match release {
            Release::Resume => {
                self.scanner.resume();
                self.mode = Mode::Scan;
            }
            Release::Tunnel => {
                self.scanner.tunnel();
                self.mode = Mode::Tunnel;
            }
        }
        if !self.side.is_empty() {
            self.judge_side();
        }
    }
}

/// Turns the names of these Upgrade lines into `Up_rade`, the one change that is made to a request.
///
/// Whoever asked hyper for any protocol gets a connection that hyper, when it is done, neither
/// flushes nor shuts down: an answer given before the request's body was read could be cut off
/// (`poll_inner` of hyper 1.12's `dispatch.rs`). The `_` has the line dropped before forwarding.
fn hide(window: &mut [u8], upgrade_lines: Vec<usize>) {
    for line in upgrade_lines {
        if let Some(byte) = window.get_mut(line + 2) {
            *byte = b'_';
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guarded<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.note_task(cx);
        while buf.remaining() > 0 {
            if this.clean > 0 {
                this.deliver(buf);
                break;
            }
            match &this.mode {
                Mode::Scan | Mode::Tunnel => {}
                Mode::Held => {
                    if let Some(release) = this.shared.release() {
                        this.release(release);
                        continue;
                    }
                    if this.side.len() >= MAX_HELD {
                        return Poll::Pending;
                    }
                }
                Mode::Refused => return Poll::Pending,
                Mode::Broken(denial) => {
                    let denial = denial.clone();
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, denial)));
                }
                Mode::Ended => break,
            }
            let before = buf.filled().len();
            if Pin::new(&mut this.io).poll_read(cx, buf)?.is_pending() {
                ready!(this.poll_wait(cx));
                this.give_up_waiting();
                continue;
            }
            let fresh = buf.filled_mut().get_mut(before..).unwrap_or_default();
            if fresh.is_empty() {
                break;
            }
            let handed_on = this.judge(fresh);
            buf.set_filled(before + handed_on);
            if handed_on > 0 {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "io_tests.rs"]
mod tests;
