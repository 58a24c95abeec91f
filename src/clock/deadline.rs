//! A deadline that costs nothing while it keeps moving later.
//!
//! The runtime's timer is armed once and left alone: when it fires before the deadline that then
//! holds, it is armed anew. So a deadline per request needs no timer operation per request.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::task::coop::unconstrained;
use tokio::time::{Sleep, sleep_until};

use crate::clock;

/// One deadline at a time, or none.
#[derive(Debug, Default)]
pub struct Deadline {
    at: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom the timer wakes.
    woken: Option<Waker>,
}

impl Deadline {
    /// Whether it is set.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.at.is_some()
    }

    /// Sets it, in place of what was set before. A wait too long to be told apart from for ever
    /// has no end.
    pub fn start(&mut self, wait: Duration) {
        self.at = clock::monotonic().checked_add(wait);
    }

    /// Sets it to a point in time, in place of what was set before.
    pub fn start_at(&mut self, at: Option<Instant>) {
        self.at = at;
    }

    /// Takes it back. The timer stays as it is.
    pub fn clear(&mut self) {
        self.at = None;
    }

    /// Ready when the deadline is over; the task is woken then. Never ready when none is set.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(at.into())));
        if sleep.deadline().into_std() > at {
            sleep.as_mut().reset(at.into());
        } else if !sleep.is_elapsed()
            && (self.woken.as_ref()).is_some_and(|woken| woken.will_wake(cx.waker()))
        {
            // It was asked already; to ask again takes a lock.
            return Poll::Pending;
        }
        // A deadline is no work: a task that has done all it may for now is held to it too.
        while Pin::new(&mut unconstrained(sleep.as_mut()))
            .poll(cx)
            .is_ready()
        {
            if clock::monotonic() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at.into());
        }
        self.woken = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::task::coop::{has_budget_remaining, poll_proceed};

    use super::*;

    #[tokio::test]
    async fn a_task_that_has_done_all_it_may_for_now_still_meets_its_deadline() {
        let mut deadline = Deadline::default();
        deadline.start(Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(5)).await;
        let met = poll_fn(|cx| {
            while let Poll::Ready(one) = poll_proceed(cx) {
                one.made_progress();
            }
            Poll::Ready((has_budget_remaining(), deadline.poll(cx).is_ready()))
        });
        assert_eq!(met.await, (false, true));
    }

    #[tokio::test]
    async fn whoever_asked_last_is_woken_however_often_it_asks() {
        const WAIT: Duration = Duration::from_millis(20);
        let nobody = &mut Context::from_waker(Waker::noop());
        let mut deadline = Deadline::default();
        for _ in 0..3 {
            deadline.start(WAIT);
            assert!(deadline.poll(nobody).is_pending());
            let met = poll_fn(|cx| match deadline.poll(cx) {
                Poll::Pending => deadline.poll(cx),
                met @ Poll::Ready(()) => met,
            });
            tokio::time::timeout(WAIT * 50, met).await.unwrap();
            // The timer is left alone when it is asked for a later time.
            deadline.start(WAIT);
            assert!(deadline.poll(nobody).is_pending());
            tokio::time::sleep(WAIT / 2).await;
            deadline.start(WAIT);
            assert!(deadline.poll(nobody).is_pending());
        }
    }
}
