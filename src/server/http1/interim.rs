//! Interim answers (RFC 9110 §15.2) on their way to a client.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, StatusCode};

use super::head;
use crate::server::framing::MAX_INTERIM;

/// Those that were passed on and not written yet.
#[derive(Debug, Default)]
pub(super) struct Interim {
    lines: Mutex<Vec<u8>>,
    /// Whether there may be any: most requests have none, and take no lock to learn that.
    any: AtomicBool,
}

impl Interim {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one up. What is none, and what is too much, is dropped: a client need not be told.
    pub(super) fn pass(&self, status: StatusCode, headers: &HeaderMap) {
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        self.any.store(true, Ordering::Release);
        let mut waiting = self.lock();
        let before = waiting.len();
        head::interim(&mut waiting, status, headers);
        if waiting.len() > MAX_INTERIM {
            waiting.truncate(before);
        }
    }

    /// Those that wait.
    pub(super) fn take(&self) -> Option<Vec<u8>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut waiting = self.lock();
        (!waiting.is_empty()).then(|| std::mem::take(&mut *waiting))
    }
}
