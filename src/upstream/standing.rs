//! What all workers know of a server's health.
//!
//! A request to a server that is well reads one or two atomics and writes none. The record behind
//! them is locked for what is rare: a failure, a check, an answer after a failure, a trial. Atomics
//! that are read while they change may let a request go where the record would not have, or keep one
//! away, for that moment; who may try a server that is out is decided under the lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::health::{Change, Record, Runs, Share, State, Summary};
use crate::clock;
use crate::config::settings::{Eject, HealthCheck};

/// Stands for "never" among milliseconds.
const NEVER: u64 = u64::MAX;

/// A server's health, shared.
#[derive(Debug)]
pub(super) struct Standing {
    /// Times are counted from here.
    origin: Instant,
    eject: Option<Eject>,
    runs: Option<Runs>,
    out: AtomicBool,
    listens: AtomicBool,
    at_ms: AtomicU64,
    resort_ms: AtomicU64,
    record: Mutex<Record>,
    /// What was wrong with the last check, where something was.
    problem: Mutex<Option<Box<str>>>,
}

impl Standing {
    /// Of a server of which nothing is known: it is in.
    pub(super) fn new(eject: Option<Eject>, health: Option<&HealthCheck>) -> Self {
        Self {
            origin: clock::monotonic(),
            eject,
            runs: health.map(|check| Runs {
                healthy: check.healthy,
                unhealthy: check.unhealthy,
            }),
            out: AtomicBool::new(false),
            listens: AtomicBool::new(false),
            at_ms: AtomicU64::new(NEVER),
            resort_ms: AtomicU64::new(NEVER),
            record: Mutex::default(),
            problem: Mutex::default(),
        }
    }

    /// What the server is given at `now`.
    pub(super) fn share(&self, now: Instant) -> Share {
        let at = self.at_ms.load(Ordering::Relaxed);
        let out = self.out.load(Ordering::Relaxed);
        if at == NEVER && !out {
            return Share::Tenths(10);
        }
        let summary = Summary {
            out,
            listens: false,
            at: told(at),
            resort: None,
        };
        summary.share(self.since_origin(now))
    }

    /// Whether a request may try the server, which is out and due.
    pub(super) fn claim(&self, now: Instant) -> bool {
        self.change(|record| record.claim(self.since_origin(now)))
    }

    /// Whether a request may try the server where none is left.
    pub(super) fn claim_last(&self, now: Instant) -> bool {
        let at = told(self.resort_ms.load(Ordering::Relaxed));
        let now = self.since_origin(now);
        at.is_some_and(|at| now >= at) && self.change(|record| record.claim_last(now))
    }

    /// A request that began at `begun` was answered.
    pub(super) fn answered(&self, begun: Instant) -> Option<Change> {
        if !self.listens.load(Ordering::Relaxed) {
            return None;
        }
        let (begun, now) = (
            self.since_origin(begun),
            self.since_origin(clock::monotonic()),
        );
        self.change(|record| record.answered(begun, now))
    }

    /// A request that began at `begun` failed by the server's fault.
    pub(super) fn failed(&self, begun: Instant) -> Option<Change> {
        let rule = self.eject.as_ref()?;
        let (begun, now) = (
            self.since_origin(begun),
            self.since_origin(clock::monotonic()),
        );
        self.change(|record| record.failed(begun, now, rule))
    }

    /// A check has ended; `problem` is what was wrong.
    pub(super) fn checked(&self, problem: Option<&str>) -> Option<Change> {
        let runs = self.runs?;
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem.map(Box::from);
        let now = self.since_origin(clock::monotonic());
        self.change(|record| record.checked(problem.is_none(), now, runs))
    }

    /// Whether it is out and no request may try it.
    pub(super) fn waits_for_checks(&self) -> bool {
        self.out.load(Ordering::Relaxed) && self.at_ms.load(Ordering::Relaxed) == NEVER
    }

    /// How the server stands now.
    pub(super) fn state(&self) -> State {
        let now = self.since_origin(clock::monotonic());
        self.record().state(now)
    }

    /// What was wrong with the last check, where something was.
    pub(super) fn problem(&self) -> Option<String> {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        problem.as_deref().map(str::to_owned)
    }

    fn since_origin(&self, time: Instant) -> Duration {
        time.saturating_duration_since(self.origin)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the record and shows what it has become.
    fn change<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        let mut record = self.record();
        let done = change(&mut record);
        let summary = record.summary();
        self.at_ms.store(written(summary.at), Ordering::Relaxed);
        self.resort_ms
            .store(written(summary.resort), Ordering::Relaxed);
        self.listens.store(summary.listens, Ordering::Relaxed);
        self.out.store(summary.out, Ordering::Relaxed);
        done
    }
}

fn written(time: Option<Duration>) -> u64 {
    time.and_then(|time| u64::try_from(time.as_millis()).ok())
        .unwrap_or(NEVER)
}

fn told(ms: u64) -> Option<Duration> {
    (ms != NEVER).then(|| Duration::from_millis(ms))
}
