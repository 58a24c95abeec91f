//! Counts with other gateways where the store answers, and alone where it does not.
//!
//! No request waits for the store longer than [`WAIT`]. Once it gives no answer, one request in
//! each [`PAUSE`] asks it again, and the others are counted here at once. What the store lets pass
//! is counted here too: where it goes, the counts go on from what this gateway saw.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;

use super::Limiter;
use crate::auth::ledger::{AccountKey, Pace, SharedCounts};
use crate::auth::ports::StoreError;
use crate::policy::limit::{Account, Over, RateLimit, Standing};

/// How long a request waits for the store at most.
pub const WAIT: Duration = Duration::from_millis(500);
/// From one question to the next at a store that gave no answer.
pub const PAUSE: Duration = Duration::from_millis(PAUSE_MS);
const PAUSE_MS: u64 = 1000;

/// The store that gateways share, and whether it answers.
#[derive(Debug)]
pub struct Shared {
    counts: SharedCounts,
    start: Instant,
    /// When it may be asked again, in milliseconds since `start`; 0 while it answers.
    again: AtomicU64,
}

impl Shared {
    pub(super) fn new(counts: SharedCounts, start: Instant) -> Self {
        Self {
            counts,
            start,
            again: AtomicU64::new(0),
        }
    }

    /// Whether it is this store.
    pub(super) fn is_of(&self, counts: &SharedCounts) -> bool {
        Arc::ptr_eq(&self.counts, counts)
    }

    /// Counts a request that came at `now`: with all gateways, or alone where the store is out.
    ///
    /// # Errors
    ///
    /// [`Over`] for one that is too many; it is not counted.
    pub async fn count(
        &self,
        limiter: &Limiter,
        account: &Account<'_>,
        now: Instant,
    ) -> Result<Standing, Over> {
        match self.ask(limiter, account, now).await {
            Some(Ok(standing)) => {
                limiter.note(account, now);
                Ok(standing)
            }
            Some(Err(over)) => {
                limiter.over.inc();
                Err(over)
            }
            None => {
                limiter.alone.inc();
                limiter.count(account, now)
            }
        }
    }

    /// What the store says, where it is asked and answers in time.
    async fn ask(
        &self,
        limiter: &Limiter,
        account: &Account<'_>,
        now: Instant,
    ) -> Option<Result<Standing, Over>> {
        if !self.turn(now) {
            return None;
        }
        let pace = Pace {
            period: limiter.quota.replenish_interval(),
            burst: limiter.quota.burst_size(),
        };
        let asked = self.counts.count(key(limiter.seed, account), pace);
        let name = &limiter.limit.name;
        match tokio::time::timeout(WAIT, asked).await {
            Ok(Ok(told)) => {
                self.answered(name);
                Some(told)
            }
            Ok(Err(error)) => {
                self.failed(name, now, Some(&error));
                None
            }
            // The answer may come later: then this request counts there too.
            Err(_) => {
                self.failed(name, now, None);
                None
            }
        }
    }

    /// Whether this request may ask the store.
    fn turn(&self, now: Instant) -> bool {
        let again = self.again.load(Ordering::Relaxed);
        if again == 0 {
            return true;
        }
        let now = self.millis(now);
        let next = now.saturating_add(PAUSE_MS);
        now >= again && swap(&self.again, again, next)
    }

    fn answered(&self, limit: &str) {
        if self.again.load(Ordering::Relaxed) != 0 && self.again.swap(0, Ordering::Relaxed) != 0 {
            tracing::info!(limit, "rate limits are counted over all gateways again");
        }
    }

    fn failed(&self, limit: &str, now: Instant, error: Option<&StoreError>) {
        let next = self.millis(now).saturating_add(PAUSE_MS);
        if self.again.fetch_max(next, Ordering::Relaxed) == 0 {
            let problem = error.map_or_else(|| format!("no answer within {WAIT:?}"), told);
            tracing::warn!(
                limit,
                problem,
                "rate limits are counted at this gateway alone until the store of [session] answers"
            );
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

fn swap(cell: &AtomicU64, from: u64, to: u64) -> bool {
    cell.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed)
        .is_ok()
}

/// An error with its causes, in one line.
fn told(error: &StoreError) -> String {
    let mut line = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        // Writing to a string does not fail.
        let _ = write!(line, ": {inner}");
        cause = inner.source();
    }
    line
}

/// What all accounts of a limit have in common: its name and all that it says. Gateways of another
/// file count elsewhere.
pub(super) type Seed = [u8; 32];

pub(super) fn seed(limit: &RateLimit) -> Seed {
    let text = format!("portcullis rate limit\0{}\0{limit}", limit.name);
    hash(&[text.as_bytes()])
}

/// The store sees no address, user or header's value, but a hash.
fn key(seed: Seed, account: &Account<'_>) -> AccountKey {
    let hash = hash(&[&seed, &account.to_bytes()]);
    std::array::from_fn(|at| hash.get(at).copied().unwrap_or(0))
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let digest = context.finish();
    std::array::from_fn(|at| digest.as_ref().get(at).copied().unwrap_or(0))
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
