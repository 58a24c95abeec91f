//! When a connection was last in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::clock;

/// How many streams are open, and since when there is none.
#[derive(Debug)]
pub(super) struct Activity {
    open: AtomicUsize,
    /// Milliseconds after `since`.
    last: AtomicU64,
    since: Instant,
}

impl Activity {
    /// A connection that was used just now.
    pub(super) fn new() -> Self {
        Self {
            open: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            since: clock::monotonic(),
        }
    }

    /// The connection is in use now.
    pub(super) fn touch(&self) {
        let now = clock::monotonic()
            .saturating_duration_since(self.since)
            .as_millis();
        self.last
            .store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long nothing was open; zero while something is.
    pub(super) fn idle(&self) -> Duration {
        if self.open.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        clock::monotonic()
            .saturating_duration_since(self.since)
            .saturating_sub(last)
    }
}

/// Counts one request, its answer's body included.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Busy {
    /// A request begins.
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        activity.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.touch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_idle_from_the_end_of_its_last_request_on() {
        let activity = Arc::new(Activity::new());
        let (first, second) = (Busy::begin(&activity), Busy::begin(&activity));
        drop(first);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(activity.idle(), Duration::ZERO);
        drop(second);
        std::thread::sleep(Duration::from_millis(5));
        assert!(activity.idle() >= Duration::from_millis(4));
    }
}
