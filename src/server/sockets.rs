//! What all open sockets of a worker are told: that the gateway stops, and that the wall clock was
//! set.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::clock::{self, Timestamp};
use crate::policy::websocket::close::Ending;

/// How far the wall clock may go apart from the monotonic one before that is told, in microseconds.
/// A clock that is being slewed stays below it for long.
const APART: u64 = 100_000;

/// The open sockets of a worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Sockets(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_closing: AtomicBool,
    /// How often something was told.
    told: AtomicU64,
    notify: Arc<Notify>,
}

impl Sockets {
    /// Closes them all.
    pub(super) fn close(&self) {
        self.0.is_closing.store(true, Ordering::Release);
        self.look_up();
    }

    /// Has them all look at the wall clock.
    pub(super) fn look_up(&self) {
        self.0.told.fetch_add(1, Ordering::AcqRel);
        self.0.notify.notify_waiters();
    }

    /// What one socket is told.
    pub(super) fn summons(&self) -> Summons {
        let shared = Arc::clone(&self.0);
        let notified = Box::pin(Arc::clone(&shared.notify).notified_owned());
        Summons {
            shared,
            notified,
            heard: None,
        }
    }
}

/// Ready when a socket is to be closed. Its task is woken when the wall clock was set.
#[derive(Debug)]
pub(super) struct Summons {
    shared: Arc<Shared>,
    notified: Pin<Box<OwnedNotified>>,
    /// Who is woken, and how much had been told when that was arranged.
    heard: Option<(Waker, u64)>,
}

impl Summons {
    /// Whether there is nothing new, and this task will hear when there is. Each message passes
    /// here: the lock behind `notified` is not taken for it.
    fn is_waiting(&self, cx: &Context<'_>) -> bool {
        let told = self.shared.told.load(Ordering::Acquire);
        let heard = self.heard.as_ref();
        heard.is_some_and(|(waker, so_far)| *so_far == told && waker.will_wake(cx.waker()))
    }
}

impl Future for Summons {
    type Output = Ending;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ending> {
        if self.is_waiting(cx) {
            return Poll::Pending;
        }
        loop {
            let so_far = self.shared.told.load(Ordering::Acquire);
            let told = self.notified.as_mut().poll(cx);
            self.heard = told.is_pending().then(|| (cx.waker().clone(), so_far));
            // After the look-up, so that what is told in between is not missed.
            if self.shared.is_closing.load(Ordering::Acquire) {
                return Poll::Ready(Ending::DRAINING);
            }
            ready!(told);
            let next = Arc::clone(&self.shared.notify).notified_owned();
            self.notified.set(next);
        }
    }
}

/// Notices when the wall clock is set.
#[derive(Debug)]
pub(super) struct ClockWatch {
    wall: Timestamp,
    since: Instant,
}

impl ClockWatch {
    /// Begins with the clocks as they are.
    pub(super) fn new() -> Self {
        Self {
            wall: clock::now(),
            since: clock::monotonic(),
        }
    }

    /// Whether the wall clock was set since the last look that said so.
    pub(super) fn look(&mut self) -> bool {
        self.differs(clock::now(), clock::monotonic())
    }

    fn differs(&mut self, wall: Timestamp, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since);
        let expected = self.wall.saturating_add(passed);
        let apart = wall.unix_micros().abs_diff(expected.unix_micros());
        if apart > APART {
            (self.wall, self.since) = (wall, now);
        }
        apart > APART
    }
}

/// How long before the end of a drain open sockets are closed, so that they can say goodbye.
pub(super) fn farewell(drain: Duration) -> Duration {
    (drain / 10).min(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_told_of_the_end_and_woken_when_the_clock_was_set() {
        let sockets = Sockets::default();
        let mut summons = sockets.summons();
        let waited = tokio::time::timeout(Duration::from_millis(5), &mut summons).await;
        assert!(waited.is_err());
        let waker = Arc::new(Woken::default());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut summons).poll(&mut cx).is_pending());
        let woken = Waker::from(Arc::clone(&waker));
        let mut cx = Context::from_waker(&woken);
        assert!(Pin::new(&mut summons).poll(&mut cx).is_pending());
        for _ in 0..2 {
            sockets.look_up();
            assert!(waker.0.swap(false, Ordering::Relaxed));
            assert!(Pin::new(&mut summons).poll(&mut cx).is_pending());
        }
        sockets.close();
        assert!(waker.0.load(Ordering::Relaxed));
        assert_eq!(summons.await, Ending::DRAINING);
        assert_eq!(sockets.summons().await, Ending::DRAINING);
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_clock_that_was_set_is_told_once() {
        let mut watch = ClockWatch::new();
        let (wall, since) = (watch.wall, watch.since);
        let second = Duration::from_secs(1);
        assert!(!watch.differs(wall.saturating_add(second), since + second));
        let later = wall.saturating_add(second * 60);
        assert!(watch.differs(later, since + second));
        assert!(!watch.differs(later.saturating_add(second), since + second * 2));
        assert!(watch.differs(wall, since + second * 2));
    }

    #[test]
    fn sockets_are_closed_a_little_before_the_drain_is_over() {
        let (long, short) = (Duration::from_secs(30), Duration::from_secs(2));
        assert_eq!(farewell(long), Duration::from_secs(1));
        assert_eq!(farewell(short), Duration::from_millis(200));
    }
}
