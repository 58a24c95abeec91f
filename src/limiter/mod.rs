//! Counts requests against the limits of the policy: at this gateway alone, or with all gateways
//! in the store that they share ([`Shared`]).
//!
//! The algorithm is governor's GCRA: an account has one number, the time at which it is whole
//! again. A refused request does not count. Where the numbers are kept is the table's matter; the
//! memory is fixed by the configuration, whoever comes. Time is an argument.

mod shared;
mod table;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::RateLimiter;
use governor::state::direct::NotKeyed;
use governor::{NotUntil, Quota};

use crate::auth::ledger::SharedCounts;
use crate::policy::limit::{Account, LimitId, Over, RateLimit, Standing};
use crate::telemetry::{Counter, LimitReading};
use shared::Seed;
pub use shared::{PAUSE, Shared, WAIT};
pub use table::ACCOUNTS;
use table::{Place, Table};

/// The limits of one configuration, in the order of [`LimitId`].
#[derive(Debug, Default)]
pub struct Limiters {
    list: Vec<Arc<Limiter>>,
    /// Who counts those that are shared.
    shared: Option<Arc<Shared>>,
}

impl Limiters {
    /// Makes the limiters that a policy asks for. One whose definition did not change since
    /// `previous` goes on with its accounts. `counts` is where gateways count together.
    #[must_use]
    pub fn assemble(
        limits: &[Arc<RateLimit>],
        counts: Option<&SharedCounts>,
        previous: Option<&Self>,
        now: Instant,
    ) -> Self {
        let made = limits.iter().map(|limit| {
            let mut before = previous.iter().flat_map(|old| &old.list);
            let before = before.find(|old| old.limit.name == limit.name);
            match before {
                Some(old) if old.limit == *limit => Arc::clone(old),
                Some(old) => Arc::new(Limiter {
                    over: Arc::clone(&old.over),
                    alone: Arc::clone(&old.alone),
                    ..Limiter::new(limit, now)
                }),
                None => Arc::new(Limiter::new(limit, now)),
            }
        });
        let before = previous.and_then(|old| old.shared.as_ref());
        let shared = counts.map(|counts| match before {
            Some(same) if same.is_of(counts) => Arc::clone(same),
            Some(_) | None => Arc::new(Shared::new(Arc::clone(counts), now)),
        });
        Self {
            list: made.collect(),
            shared,
        }
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: LimitId) -> Option<&Limiter> {
        self.list.get(id.0).map(|limiter| &**limiter)
    }

    /// Who counts a limit with other gateways; `None` for one that is this gateway's own.
    #[must_use]
    pub fn shared(&self, limit: &RateLimit) -> Option<&Shared> {
        self.shared.as_deref().filter(|_| limit.shared)
    }

    /// How they stand.
    pub fn readings(&self, now: Instant) -> impl Iterator<Item = LimitReading> {
        self.list.iter().map(move |limiter| LimitReading {
            limit: Arc::clone(&limiter.limit.name),
            over: limiter.over.get(),
            alone: limiter.limit.shared.then(|| limiter.alone.get()),
            accounts: limiter.table.owing(limiter.nanos(now)),
        })
    }
}

/// One limit and its accounts.
#[derive(Debug)]
pub struct Limiter {
    limit: Arc<RateLimit>,
    quota: Quota,
    table: Table,
    /// Its key is the process's own: nobody outside can tell which accounts share a bucket.
    hasher: RandomState,
    /// When the table's time begins.
    start: Instant,
    /// Requests that were over the limit. Outlives a change of the definition.
    over: Arc<Counter>,
    /// Of a shared limit, requests that were counted here alone.
    alone: Arc<Counter>,
    /// Of a shared limit, what its accounts have in common.
    seed: Seed,
}

impl Limiter {
    fn new(limit: &Arc<RateLimit>, now: Instant) -> Self {
        let quota = Quota::with_period(limit.rate.period());
        let quota = quota.unwrap_or(Quota::per_second(limit.rate.count));
        Self {
            limit: Arc::clone(limit),
            quota: quota.allow_burst(limit.burst),
            table: Table::new(),
            hasher: RandomState::new(),
            start: now,
            over: Arc::default(),
            alone: Arc::default(),
            seed: shared::seed(limit),
        }
    }

    /// What it limits, and how.
    #[must_use]
    pub fn limit(&self) -> &RateLimit {
        &self.limit
    }

    /// Counts a request that came at `now`.
    ///
    /// # Errors
    ///
    /// [`Over`] for one that is too many; it is not counted.
    pub fn count(&self, account: &Account<'_>, now: Instant) -> Result<Standing, Over> {
        let counted = self.ask(account, now);
        if counted.is_err() {
            self.over.inc();
        }
        counted
    }

    /// Counts a request that another let pass.
    fn note(&self, account: &Account<'_>, now: Instant) {
        // Whether it would pass here too is no matter.
        let _ = self.ask(account, now);
    }

    fn ask(&self, account: &Account<'_>, now: Instant) -> Result<Standing, Over> {
        let tag = NonZeroU64::new(self.hasher.hash_one(account)).unwrap_or(NonZeroU64::MAX);
        let burst = self.quota.burst_size().get();
        let Some(place) = self.table.place(tag) else {
            debug_assert!(false, "a tag without a bucket");
            return Ok(Standing {
                burst,
                remaining: burst,
                whole_in: Duration::ZERO,
            });
        };
        let now = Nanos::from(self.nanos(now));
        let period = self.quota.replenish_interval();
        match ask(self.quota, place, now) {
            Ok(remaining) => Ok(Standing {
                burst,
                remaining,
                whole_in: period.saturating_mul(burst.saturating_sub(remaining)),
            }),
            Err(until) => {
                let wait = until.wait_time_from(now);
                let whole_in = wait.saturating_add(period.saturating_mul(burst - 1));
                let standing = Standing {
                    burst,
                    remaining: 0,
                    whole_in,
                };
                Err(Over { wait, standing })
            }
        }
    }

    /// A point in the table's time.
    fn nanos(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Asks governor whether one more may come, and how many may come after it.
///
/// Its limiter reads a clock itself. So it is made for one question, with a clock that tells the
/// time it was given: 0 when the limiter is made, which is where the table's time begins.
fn ask(quota: Quota, place: Place<'_>, now: Nanos) -> Result<u32, NotUntil<Nanos>> {
    type Once<'t> = RateLimiter<NotKeyed, Place<'t>, Told, StateInformationMiddleware>;
    let limiter = Once::new(quota, place, Told::default());
    limiter.clock().0.set(now);
    limiter
        .check()
        .map(|state| state.remaining_burst_capacity())
}

/// A clock that says what it was told.
#[derive(Debug, Default)]
struct Told(Cell<Nanos>);

impl Clock for Told {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.get()
    }
}
