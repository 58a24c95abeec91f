//! The signal to stop, as connections and accept loops see it.
//!
//! It comes in two steps. When the drain begins, nothing more is accepted, and each answer over
//! HTTP/1.1 says that it is the last of its connection. Connections on which nothing comes are closed
//! [`GRACE`] later: a request that is on its way to one of them is not cut off so.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// How long an idle connection stays open, so that a client that is about to use it learns by an
/// answer that it ends.
pub const GRACE: Duration = Duration::from_millis(500);

/// Says when to stop, and how long what is in flight may take.
#[derive(Debug, Default)]
pub struct Drain {
    begun: AtomicBool,
    /// Whether idle connections are to be closed.
    idle_over: AtomicBool,
    /// Its own, so that a connection that waits for the second step sleeps through the first.
    idle_notify: Notify,
    limit: OnceLock<Duration>,
    notify: Notify,
}

impl Drain {
    /// Begins the drain.
    pub(super) fn begin(&self, limit: Duration) {
        let _first = self.limit.set(limit);
        self.begun.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    /// Whether the drain has begun.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Closes idle connections.
    pub(super) fn end_idle(&self) {
        self.idle_over.store(true, Ordering::Release);
        self.idle_notify.notify_waiters();
    }

    /// Whether idle connections are to be closed.
    pub(super) fn is_idle_over(&self) -> bool {
        self.idle_over.load(Ordering::Acquire)
    }

    /// Waits until idle connections are to be closed.
    pub(super) async fn idle_ends(&self) {
        let mut notified = std::pin::pin!(self.idle_notify.notified());
        notified.as_mut().enable();
        if !self.is_idle_over() {
            notified.await;
        }
    }

    /// How long what is in flight may take.
    pub(super) fn limit(&self) -> Duration {
        self.limit.get().copied().unwrap_or_default()
    }

    /// Waits for the beginning.
    pub(super) async fn begins(&self) {
        let mut notified = std::pin::pin!(self.notify.notified());
        notified.as_mut().enable();
        if !self.has_begun() {
            notified.await;
        }
    }
}
