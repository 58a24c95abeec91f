//! One direction of a tunnel.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::policy::websocket::edge::{FrameEdge, Place};

/// Most that is read at once, in bytes. So much waits at most for a side that does not read.
const MOST: usize = 32 * 1024;

thread_local! {
    /// The buffer of all tunnels of a thread. What one has read is written, or copied out, before
    /// the next has its turn.
    static SHARED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What a lane carries on.
#[derive(Debug)]
enum Course {
    /// Whatever comes.
    Open,
    /// What comes up to the next boundary, then this frame and nothing more.
    Finishing(Vec<u8>),
    /// Nothing more; what comes is thrown away.
    Silent,
    /// Nothing more, because the source has ended; its end is to be passed on.
    Ended,
    /// The end was passed on.
    Shut,
}

/// Which of the two ends of a lane broke.
#[derive(Debug)]
pub(super) enum Broken {
    /// Where bytes come from.
    Source(io::Error),
    /// Where they go.
    Sink(io::Error),
}

/// What came of a lane's turn.
pub(super) type Moved = Poll<Result<(), Broken>>;

/// How a lane goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Nothing came.
    Rests,
    /// Bytes went on.
    Moves,
    /// Bytes wait, be it for a flush, and none is taken.
    Stuck,
}

/// One direction: what has come, and how far it was passed on.
#[derive(Debug)]
pub(super) struct Lane {
    edge: FrameEdge,
    /// Read and not written yet. While there is any, nothing is read.
    waiting: Bytes,
    course: Course,
    passed: u64,
    /// Whether something was written since the last flush.
    dirty: bool,
    /// Whether something was written since this was last asked.
    moved: bool,
    /// Whether the source has ended.
    is_over: bool,
}

impl Lane {
    /// A lane on which `first` has come already.
    pub(super) fn new(first: Bytes) -> Self {
        let mut edge = FrameEdge::default();
        edge.follow(&first);
        Self {
            edge,
            passed: first.len() as u64,
            waiting: first,
            course: Course::Open,
            dirty: false,
            moved: false,
            is_over: false,
        }
    }

    /// Bytes that have come and were, or will be, passed on.
    pub(super) const fn passed(&self) -> u64 {
        self.passed
    }

    /// How it went since this was last asked.
    pub(super) fn pace(&mut self) -> Pace {
        let waits = !self.waiting.is_empty() || self.dirty;
        match (std::mem::take(&mut self.moved), waits) {
            (true, _) => Pace::Moves,
            (false, false) => Pace::Rests,
            (false, true) => Pace::Stuck,
        }
    }

    /// Whether the source has said all it will: a close frame, or its end.
    pub(super) const fn is_said(&self) -> bool {
        self.is_over || matches!(self.edge.place(), Place::Closed)
    }

    /// Whether the source has ended.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether nothing more goes on, and all that does has been written.
    pub(super) fn is_finished(&self) -> bool {
        match self.course {
            Course::Silent => self.waiting.is_empty() && !self.dirty,
            Course::Shut => true,
            Course::Open | Course::Finishing(_) | Course::Ended => false,
        }
    }

    /// Has the lane carry on what belongs to the frame under way, then `frame`, and nothing more.
    pub(super) fn finish(&mut self, frame: Vec<u8>) {
        match self.course {
            Course::Open | Course::Ended => self.course = Course::Finishing(frame),
            Course::Finishing(_) | Course::Silent | Course::Shut => {}
        }
    }

    /// Has the lane carry on nothing more at once, even in the middle of a frame.
    pub(super) fn cut(&mut self) {
        if !matches!(self.course, Course::Shut) {
            self.course = Course::Silent;
        }
        self.waiting = Bytes::new();
        self.dirty = false;
    }

    /// Nothing more comes of the source.
    pub(super) fn end(&mut self) {
        self.is_over = true;
        if matches!(self.course, Course::Open) {
            self.course = Course::Ended;
        }
    }

    /// Carries on what it can. Ready when the end of the source was passed on, or, on a lane that
    /// was finished, when the source has ended.
    ///
    /// # Errors
    ///
    /// [`Broken`] says which end broke, and what the system said.
    pub(super) fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Moved
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            ready!(self.poll_write(cx, to)).map_err(Broken::Sink)?;
            self.turn();
            if !self.waiting.is_empty() {
                continue;
            }
            match self.course {
                Course::Ended => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(Broken::Sink)?;
                    self.course = Course::Shut;
                    return Poll::Ready(Ok(()));
                }
                Course::Shut => return Poll::Ready(Ok(())),
                Course::Silent if self.is_over => {
                    return self.poll_flush(cx, to).map_err(Broken::Sink);
                }
                Course::Open | Course::Finishing(_) | Course::Silent => {}
            }
            let mut shared = SHARED.take();
            shared.resize(MOST, 0);
            let read = self.poll_pass(cx, from, to, &mut shared);
            SHARED.set(shared);
            if read?.is_pending() {
                // What was written must not wait for what comes next.
                let _registered = self.poll_flush(cx, to).map_err(Broken::Sink)?;
                return Poll::Pending;
            }
        }
    }

    /// Takes the step that is due where nothing waits and the stream stands where it does.
    fn turn(&mut self) {
        if !self.waiting.is_empty() {
            return;
        }
        let Course::Finishing(frame) = &mut self.course else {
            return;
        };
        match self.edge.place() {
            Place::Boundary => {
                self.waiting = Bytes::from(std::mem::take(frame));
                self.course = Course::Silent;
            }
            // Its own close frame has gone by, or no frame would be understood.
            Place::Closed | Place::Lost => self.course = Course::Silent,
            // Inside of a frame that will not end.
            Place::Within(_) if self.is_over => self.course = Course::Silent,
            Place::Within(_) => {}
        }
    }

    /// Reads once and writes what came, as far as there is room for it.
    fn poll_pass<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        shared: &mut [u8],
    ) -> Result<Poll<()>, Broken>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let room = shared.get_mut(..self.appetite()).unwrap_or_default();
        let mut buffer = ReadBuf::new(room);
        match Pin::new(from).poll_read(cx, &mut buffer) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(read) => read.map_err(Broken::Source)?,
        }
        let came = buffer.filled();
        if came.is_empty() {
            self.end();
            return Ok(Poll::Ready(()));
        }
        self.edge.follow(came);
        if matches!(self.course, Course::Silent | Course::Shut) {
            return Ok(Poll::Ready(()));
        }
        self.passed += came.len() as u64;
        let mut rest = came;
        while !rest.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, rest) {
                Poll::Pending => {
                    self.waiting = Bytes::copy_from_slice(rest);
                    break;
                }
                Poll::Ready(written) => {
                    let size = some(written).map_err(Broken::Sink)?;
                    (self.dirty, self.moved) = (true, true);
                    rest = rest.get(size..).unwrap_or_default();
                }
            }
        }
        Ok(Poll::Ready(()))
    }

    /// How much may be read: not beyond the boundary that is waited for.
    fn appetite(&self) -> usize {
        match (&self.course, self.edge.place()) {
            (Course::Finishing(_), Place::Within(more)) => {
                usize::try_from(more).unwrap_or(MOST).min(MOST)
            }
            _ => MOST,
        }
    }

    /// Writes what waits.
    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let size = some(ready!(Pin::new(&mut *to).poll_write(cx, &self.waiting)))?;
            self.waiting.advance(size);
            (self.dirty, self.moved) = (true, true);
        }
        self.waiting = Bytes::new();
        Poll::Ready(Ok(()))
    }

    fn poll_flush<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        if self.dirty {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.dirty = false;
        }
        Poll::Ready(Ok(()))
    }
}

/// A write of nothing would be tried for ever.
fn some(written: io::Result<usize>) -> io::Result<usize> {
    match written? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        size => Ok(size),
    }
}
