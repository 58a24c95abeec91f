//! What follows a 101: bytes both ways, unchanged, until a side is done or the socket is closed.
//!
//! Both directions move in one poll, through a buffer that belongs to the thread and not to the
//! tunnel: a quiet one holds none. It has one timer, for whatever comes next.
//!
//! A socket is closed by a close frame to both sides. That goes in where a frame of theirs has
//! ended, and nothing of theirs passes behind it; then their answers are waited for.

mod closing;
mod lane;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use super::exchange::Exchange;
use super::server::InFlight;
use crate::clock::{self, Deadline, Timestamp};
use crate::policy::websocket::close::Ending;
use closing::{BOUNDARY, Closing};
use lane::{Broken, Lane, Moved, Pace};

/// How long a side that has closed waits for the other to close too.
const LINGER: Duration = Duration::from_secs(5);

/// The app's side of a connection that has switched protocols.
#[derive(Debug)]
pub struct Handover {
    exchange: Exchange,
}

/// When a tunnel ends beside when its two sides do.
#[derive(Debug)]
pub struct Terms<S> {
    /// Closed without a byte for this long, or when bytes wait for so long that nobody takes.
    pub idle: Duration,
    /// When the caller's identity ends, and how the socket is closed then. The wall clock is looked
    /// at each time that the tunnel is woken.
    pub until: Option<(Timestamp, Ending)>,
    /// Ready when the socket is to be closed now, for whatever other reason. It wakes the tunnel
    /// without being ready when the wall clock was set.
    pub summons: S,
}

/// What came of a tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Bytes from the client to the app.
    pub up: u64,
    /// Bytes from the app to the client.
    pub down: u64,
    /// How it was closed, where neither side did that.
    pub closed: Option<Ending>,
}

impl Handover {
    pub(super) fn new(exchange: Exchange) -> Self {
        Self { exchange }
    }

    /// Passes bytes both ways until both sides are done or the terms end it. `early` is what the
    /// client sent before it saw the answer to its handshake.
    ///
    /// # Errors
    ///
    /// What the system said when a side broke: then both are cut off.
    pub fn run<C, S>(
        self,
        client: C,
        early: Bytes,
        terms: Terms<S>,
    ) -> impl Future<Output = io::Result<Passed>>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        S: Future<Output = Ending> + Unpin,
    {
        let Exchange {
            link,
            in_flight,
            home: _,
        } = self.exchange;
        let (app, first, slot) = link.into_stream();
        let mut tunnel = Tunnel {
            client,
            app,
            up: Lane::new(early),
            down: Lane::new(first),
            terms,
            used: clock::monotonic(),
            until: None,
            lingers: None,
            deadline: Deadline::default(),
            closing: None,
            up_first: false,
            _counts: Some((in_flight, slot)),
        };
        poll_fn(move |cx| tunnel.poll(cx))
    }
}

/// A tunnel at work.
struct Tunnel<C, A, S> {
    client: C,
    app: A,
    /// From the client to the app.
    up: Lane,
    /// From the app to the client.
    down: Lane,
    terms: Terms<S>,
    /// When bytes last moved, and none was stuck.
    used: Instant,
    /// When the identity ends, as far as the wall clock has told so far.
    until: Option<Instant>,
    /// How long one side waits for the other, once it is done.
    lingers: Option<Instant>,
    deadline: Deadline,
    closing: Option<Closing>,
    /// Which lane has its turn first the next time.
    up_first: bool,
    /// The connection's place among those that its server may have.
    _counts: Option<(InFlight, OwnedSemaphorePermit)>,
}

impl<C, A, S> Tunnel<C, A, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
    A: AsyncRead + AsyncWrite + Unpin,
    S: Future<Output = Ending> + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Passed>> {
        loop {
            if self.closing.is_none()
                && let Some(ending) = self.called(cx)
            {
                self.close(ending);
            }
            if self.closing.is_some() {
                return self.poll_closing(cx).map(|()| Ok(self.passed()));
            }
            let (up, down) = self.poll_lanes(cx);
            if let (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) = (&up, &down) {
                return Poll::Ready(Ok(self.passed()));
            }
            let is_half = up.is_ready() || down.is_ready();
            for lane in [up, down] {
                if let Poll::Ready(Err(broken)) = lane {
                    return Poll::Ready(Err(broken.into()));
                }
            }
            if is_alive(self.up.pace(), self.down.pace()) {
                self.used = clock::monotonic();
            }
            if is_half && self.lingers.is_none() {
                self.lingers = clock::monotonic().checked_add(LINGER);
            }
            self.deadline.start_at(self.next());
            if self.deadline.poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = clock::monotonic();
            if self.lingers.is_some_and(|end| end <= now) {
                return Poll::Ready(Ok(self.passed()));
            }
            if self.idle_end().is_some_and(|end| end <= now) {
                self.close(Ending::IDLE);
            }
        }
    }

    /// Has both lanes carry on, each first in its turn: one that never rests uses up what the task
    /// may do at once, and would leave nothing to the other.
    fn poll_lanes(&mut self, cx: &mut Context<'_>) -> (Moved, Moved) {
        let Self {
            client,
            app,
            up,
            down,
            up_first,
            ..
        } = self;
        *up_first = !*up_first;
        if *up_first {
            let moved = up.poll(cx, client, app);
            (moved, down.poll(cx, app, client))
        } else {
            let moved = down.poll(cx, app, client);
            (up.poll(cx, client, app), moved)
        }
    }

    /// What is to be looked at next, if nothing comes.
    fn next(&self) -> Option<Instant> {
        let all = [self.idle_end(), self.until, self.lingers];
        all.into_iter().flatten().min()
    }

    fn idle_end(&self) -> Option<Instant> {
        self.used.checked_add(self.terms.idle)
    }

    /// Why the socket is to be closed now, if it is.
    fn called(&mut self, cx: &mut Context<'_>) -> Option<Ending> {
        if let Poll::Ready(ending) = Pin::new(&mut self.terms.summons).poll(cx) {
            return Some(ending);
        }
        let (until, ending) = self.terms.until?;
        let left = until.saturating_since(clock::now());
        if left.is_zero() {
            return Some(ending);
        }
        self.until = clock::monotonic().checked_add(left);
        None
    }

    fn close(&mut self, ending: Ending) {
        let mut mask = [0; 4];
        if aws_lc_rs::rand::fill(&mut mask).is_err() {
            mask = fastrand::u32(..).to_ne_bytes();
        }
        self.up.finish(ending.frame(Some(mask)));
        self.down.finish(ending.frame(None));
        self.closing = Some(Closing::new(ending));
        self.deadline.start(BOUNDARY);
    }

    const fn passed(&self) -> Passed {
        Passed {
            up: self.up.passed(),
            down: self.down.passed(),
            closed: match &self.closing {
                Some(closing) => Some(closing.ending()),
                None => None,
            },
        }
    }
}

/// Whether a socket is in use. One whose bytes nobody takes is not, whatever comes the other way.
const fn is_alive(up: Pace, down: Pace) -> bool {
    !matches!((up, down), (Pace::Stuck, _) | (_, Pace::Stuck))
        && matches!((up, down), (Pace::Moves, _) | (_, Pace::Moves))
}

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Source(error) | Broken::Sink(error) => error,
        }
    }
}

#[cfg(test)]
mod tests;
