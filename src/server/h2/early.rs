//! Interim answers (1xx) on their way to one HTTP/2 client.
//!
//! They wait here only until the stream's task has been polled: h2 then queues them, ahead of the
//! final head.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Response, StatusCode};

use crate::server::framing::MAX_INTERIM;

/// What a field costs beside its letters (RFC 9113 §6.5.2).
const FIELD: usize = 32;

/// The interim answers to one request: at most [`MAX_INTERIM`] bytes in all, as h2 does not tell
/// what it has written. How many there may be, the connection to the app sees to.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// Whether one waits.
    waits: AtomicBool,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Response<()>>,
    /// Bytes taken so far.
    bytes: usize,
}

impl Early {
    /// Takes one. It is dropped where it is too much: a client need not be told.
    pub(super) fn push(&self, status: StatusCode, headers: &HeaderMap) {
        let size = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + FIELD)
            .sum::<usize>();
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = queue.bytes.saturating_add(size).saturating_add(FIELD);
        if bytes > MAX_INTERIM {
            return;
        }
        queue.bytes = bytes;
        let mut interim = Response::new(());
        *interim.status_mut() = status;
        *interim.headers_mut() = headers.clone();
        queue.waiting.push(interim);
        self.waits.store(true, Ordering::Relaxed);
    }

    /// Whether there is something to send.
    pub(super) fn waits(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    /// Sends what waits. The final head must not have been sent, nor the stream reset.
    pub(super) fn send(&self, respond: &mut SendResponse<Bytes>) {
        self.waits.store(false, Ordering::Relaxed);
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        for interim in queue.waiting.drain(..) {
            // The client need not be told, and hears of a broken connection by other means.
            let _sent = respond.send_informational(interim);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn interim_answers_without_end_are_dropped() {
        let (early, mut headers) = (Early::default(), HeaderMap::new());
        headers.insert("link", HeaderValue::from_static("</a.css>; rel=preload"));
        assert!(!early.waits());
        for _ in 0..10_000 {
            early.push(StatusCode::EARLY_HINTS, &headers);
        }
        let kept = early.queue.lock().unwrap().waiting.len();
        assert!(early.waits() && (100..200).contains(&kept), "{kept}");
    }
}
