//! The signal to stop, as connections and accept loops see it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Says when to stop, and how long what is in flight may take.
#[derive(Debug, Default)]
pub struct Drain {
    begun: AtomicBool,
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
