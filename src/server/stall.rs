//! Lets go of HTTP/2 streams whose client takes nothing of the answer.
//!
//! HTTP/1 has its own guard in the stream. On HTTP/2 hyper drives each stream as a task that simply
//! waits while the client's window is closed; the task made here also watches the time. It is
//! counted only while the client is waited for, so that a quiet app is not taken for a stalled
//! client.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use crate::clock;

/// Whether a stream waits for its client.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    on_client: AtomicBool,
}

impl Pulse {
    /// The pulse of the stream that is being polled on this thread.
    pub(super) fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// The answer has given the client something to take, or has not.
    pub(super) fn wait_on_client(&self, waits: bool) {
        self.on_client.store(waits, Ordering::Relaxed);
    }

    fn waits_on_client(&self) -> bool {
        self.on_client.load(Ordering::Relaxed)
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Pulse>>> = const { RefCell::new(None) };
}

/// Drives a stream until it ends, or until its client has taken nothing for `limit`: then it is
/// dropped, which resets it.
pub(super) async fn watched(stream: impl Future<Output = ()>, limit: Duration) {
    let pulse = Arc::new(Pulse::default());
    let mut stream = pin!(stream);
    let mut watch = Watch {
        limit,
        timer: None,
        moved: false,
    };
    poll_fn(|cx| {
        let before = CURRENT.replace(Some(Arc::clone(&pulse)));
        let ended = stream.as_mut().poll(cx);
        CURRENT.replace(before);
        if ended.is_ready() {
            return Poll::Ready(());
        }
        if pulse.waits_on_client() {
            return watch.poll(cx);
        }
        watch.timer = None;
        Poll::Pending
    })
    .await;
}

struct Watch {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the stream was woken since the timer was set: by the client, then.
    moved: bool,
}

impl Watch {
    /// Ready when the client has not moved for the whole time.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let fresh = self.timer.is_none();
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if timer.as_mut().poll(cx).is_pending() {
            self.moved = !fresh;
            return Poll::Pending;
        }
        if !self.moved {
            return Poll::Ready(());
        }
        self.moved = false;
        timer
            .as_mut()
            .reset(tokio::time::Instant::from_std(clock::monotonic()) + limit);
        timer.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(on_client: bool) -> bool {
        let stream = async move {
            if let Some(pulse) = Pulse::current() {
                pulse.wait_on_client(on_client);
            }
            std::future::pending::<()>().await;
        };
        let limit = Duration::from_millis(20);
        tokio::time::timeout(limit * 20, watched(stream, limit))
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_let_go() {
        assert!(run(true).await);
    }

    #[tokio::test]
    async fn a_quiet_app_is_not_taken_for_a_stalled_client() {
        assert!(!run(false).await);
    }
}
