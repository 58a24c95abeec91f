//! Where a question is handed over: bounded in number and in time, and counted.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};

use super::engine::Engine;
use crate::auth::ledger::Told;
use crate::auth::ports::{StoreError, StoreStatus};
use crate::clock;
use crate::telemetry::spans;

/// How long a question may take in all, connecting included.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Questions under way at one store, over all who ask it.
pub(super) const AT_A_TIME: usize = 1024;

/// A store as all who ask it see it.
#[derive(Debug)]
pub(super) struct Counter {
    /// Which store, without credentials: `PostgreSQL at db:5432/shop`.
    pub(super) shown: Arc<str>,
    turns: Arc<Semaphore>,
    engine: Arc<Engine>,
}

/// What became of the questions of one asker.
#[derive(Debug)]
pub(super) struct Tally {
    name: Arc<str>,
    kind: &'static str,
    answered: AtomicU64,
    failed: AtomicU64,
    micros: AtomicU64,
    problem: Mutex<Option<String>>,
}

impl Counter {
    /// A counter at which nobody stands yet.
    pub(super) fn new(shown: Arc<str>, engine: Arc<Engine>) -> Self {
        Self {
            shown,
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
            engine,
        }
    }

    /// The thread that this store lives on.
    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Has `work` done on the stores' thread; starts when first polled. The work goes on to its
    /// end when nobody waits for it any more, so that impatient clients cost no connections.
    pub(super) fn ask<T, W>(self: &Arc<Self>, tally: &Arc<Tally>, work: W) -> Told<T>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let tally = Arc::clone(tally);
        self.run(work, move |outcome, began| tally.note(outcome, began))
    }

    /// Like `ask`, for who keeps no tally: `note` is told what came of it, and since when.
    pub(super) fn run<T, W, N>(self: &Arc<Self>, work: W, note: N) -> Told<T>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, StoreError>> + Send + 'static,
        N: FnOnce(&Result<T, StoreError>, Instant) + Send + 'static,
    {
        let counter = Arc::clone(self);
        Box::pin(async move {
            let place = spans::current().map(|place| (place, clock::monotonic()));
            let Ok(turn) = Arc::clone(&counter.turns).try_acquire_owned() else {
                let busy = Err(StoreError::Busy {
                    store: Arc::clone(&counter.shown),
                });
                note(&busy, clock::monotonic());
                return busy;
            };
            let (tell, told) = oneshot::channel();
            let shown = Arc::clone(&counter.shown);
            counter.engine.spawn(async move {
                let began = clock::monotonic();
                let outcome = tokio::time::timeout(PATIENCE, work).await;
                let outcome = outcome.unwrap_or_else(|_| Err(late(&shown, PATIENCE)));
                note(&outcome, began);
                drop(turn);
                // Nobody may wait any more.
                let _ = tell.send(outcome);
            });
            let outcome = told.await.unwrap_or_else(|_| {
                Err(StoreError::Unreachable {
                    store: Arc::clone(&counter.shown),
                    cause: Arc::new(Stopped),
                })
            });
            if let Some((place, began)) = place {
                place.asked(&counter.shown, began, outcome.is_err());
            }
            outcome
        })
    }
}

/// The error of a store that took too long.
pub(super) fn late(shown: &Arc<str>, limit: Duration) -> StoreError {
    StoreError::TimedOut {
        store: Arc::clone(shown),
        limit,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the thread of the stores has ended")]
struct Stopped;

impl Tally {
    /// Nothing asked yet. `name` is `auth.NAME` or `directory.NAME`.
    pub(super) fn new(name: Arc<str>, kind: &'static str) -> Self {
        Self {
            name,
            kind,
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            micros: AtomicU64::new(0),
            problem: Mutex::default(),
        }
    }

    /// Whether it counts for this asker and kind of store.
    pub(super) fn counts_for(&self, name: &str, kind: &str) -> bool {
        *self.name == *name && self.kind == kind
    }

    fn note<T>(&self, outcome: &Result<T, StoreError>, began: Instant) {
        match outcome {
            Ok(_) => {
                let took = clock::monotonic().saturating_duration_since(began);
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.micros.fetch_add(micros, Ordering::Relaxed);
                self.answered.fetch_add(1, Ordering::Relaxed);
                if self.tell(None).is_some() {
                    tracing::info!(name = &*self.name, store = self.kind, "answers again");
                }
            }
            Err(error) => self.failed(error),
        }
    }

    fn failed(&self, error: &StoreError) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let problem = chain(error);
        let known = self.tell(Some(problem.clone()));
        if known.as_ref() != Some(&problem) {
            tracing::warn!(name = &*self.name, store = self.kind, problem, "no answer");
        }
    }

    fn tell(&self, problem: Option<String>) -> Option<String> {
        let mut told = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *told, problem)
    }

    /// How it stands.
    pub(super) fn status(&self) -> StoreStatus {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        StoreStatus {
            name: Arc::clone(&self.name),
            kind: self.kind,
            answered: self.answered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            spent: Duration::from_micros(self.micros.load(Ordering::Relaxed)),
            problem: problem.clone(),
        }
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !told.ends_with(&words) {
            told = format!("{told}: {words}");
        }
        cause = inner.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> (Arc<Counter>, Arc<Tally>) {
        let engine = Engine::start().unwrap();
        (
            Arc::new(Counter::new("a store".into(), engine)),
            Arc::new(Tally::new("auth.app".into(), "redis")),
        )
    }

    #[test]
    fn an_answer_may_be_awaited_on_any_runtime() {
        let (counter, tally) = counter();
        let answer = counter.ask(&tally, async { Ok(Some(std::thread::current().id())) });
        let runtime = tokio::runtime::Builder::new_current_thread();
        let there = { runtime }.build().unwrap().block_on(answer);
        assert_ne!(there.unwrap(), Some(std::thread::current().id()));
        let status = tally.status();
        assert_eq!((status.answered, status.failed), (1, 0));
    }

    #[tokio::test]
    async fn a_question_that_hangs_costs_the_deadline_and_no_more() {
        let (counter, tally) = counter();
        let began = clock::monotonic();
        let outcome = counter.ask::<(), _>(&tally, std::future::pending()).await;
        assert!(
            matches!(outcome, Err(StoreError::TimedOut { .. })),
            "{outcome:?}"
        );
        assert!(clock::monotonic() - began < PATIENCE + Duration::from_secs(1));
        let problem = tally.status().problem;
        assert_eq!(problem.as_deref(), Some("a store did not answer within 2s"));
    }

    #[tokio::test]
    async fn one_question_too_many_is_busy_at_once() {
        let (counter, tally) = counter();
        let mut waiting: Vec<_> = (0..AT_A_TIME)
            .map(|_| counter.ask::<(), _>(&tally, std::future::pending()))
            .collect();
        for one in &mut waiting {
            assert!(futures_util::poll!(one).is_pending());
        }
        let outcome = counter.ask(&tally, async { Ok(Some(())) }).await;
        assert!(
            matches!(outcome, Err(StoreError::Busy { .. })),
            "{outcome:?}"
        );
    }

    #[tokio::test]
    async fn work_that_breaks_is_an_error_and_not_a_hang() {
        let (counter, tally) = counter();
        let outcome = counter
            .ask::<(), _>(&tally, async { panic!("on purpose") })
            .await;
        assert!(
            matches!(outcome, Err(StoreError::Unreachable { .. })),
            "{outcome:?}"
        );
    }
}
