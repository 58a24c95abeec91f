//! What became of the gateway's own sessions, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of the whole process.
#[derive(Debug, Default)]
pub struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
    renewed: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

/// What they say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallied {
    /// Sessions that began.
    pub begun: u64,
    /// Sessions that were ended: by a sign-out, a new sign-in, a refused renewal or an operator.
    pub ended: u64,
    /// Renewals that brought a new access token.
    pub renewed: u64,
    /// Renewals that the app refused.
    pub refused: u64,
    /// Renewals that came to nothing: the app or the store could not be asked.
    pub failed: u64,
}

impl Counts {
    pub(super) fn begun(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, sessions: u64) {
        self.ended.fetch_add(sessions, Ordering::Relaxed);
    }

    pub(super) fn renewed(&self) {
        self.renewed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Tallied {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Tallied {
            begun: of(&self.begun),
            ended: of(&self.ended),
            renewed: of(&self.renewed),
            refused: of(&self.refused),
            failed: of(&self.failed),
        }
    }
}
