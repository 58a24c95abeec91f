//! What each account has used up, in a table of fixed size that nobody locks.
//!
//! An account's place is its bucket, which its tag names, and any of the eight ways there. A way
//! holds the tag and the time at which the account is whole again. Where all eight are taken the
//! one that is whole first is given up: it has the least to be forgiven, and one that is whole
//! already has nothing. So whoever used up most stays, however many others come.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::direct::NotKeyed;

/// How many accounts one limit knows at most.
pub const ACCOUNTS: usize = BUCKETS * WAYS;

const BUCKETS: usize = 8_192;
const WAYS: usize = 8;

/// One account, or none: a tag of 0.
#[derive(Debug, Default)]
struct Way {
    tag: AtomicU64,
    /// When it is whole again, in nanoseconds of the table's time.
    whole: AtomicU64,
}

/// Two cache lines.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket([Way; WAYS]);

/// 1 MiB: [`ACCOUNTS`] pairs of numbers.
pub(super) struct Table(Box<[Bucket]>);

impl Table {
    /// A table without accounts.
    pub(super) fn new() -> Self {
        Self((0..BUCKETS).map(|_| Bucket::default()).collect())
    }

    /// The place of an account. There is one for every tag.
    pub(super) fn place(&self, tag: NonZeroU64) -> Option<Place<'_>> {
        let index = usize::try_from(tag.get() % BUCKETS as u64).ok()?;
        let bucket = self.0.get(index)?;
        Some(Place { bucket, tag })
    }

    /// The memory that it takes, in bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// How many accounts are not whole at a time.
    pub(super) fn owing(&self, now: u64) -> usize {
        let ways = self.0.iter().flat_map(|bucket| &bucket.0);
        ways.filter(|way| way.whole.load(Ordering::Relaxed) > now)
            .count()
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({ACCOUNTS} accounts)")
    }
}

/// Where one account stands, for one question of governor's.
#[derive(Debug)]
pub(super) struct Place<'t> {
    bucket: &'t Bucket,
    tag: NonZeroU64,
}

impl StateStore for Place<'_> {
    type Key = NotKeyed;

    /// Goes round again only when another thread changed the way meanwhile, which means that a
    /// request of that thread was counted.
    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let tag = self.tag.get();
        loop {
            let known = (self.bucket.0.iter()).find(|way| way.tag.load(Ordering::Acquire) == tag);
            let Some(way) = known else {
                let (told, next) = decide(None)?;
                if self.bucket.take(tag, next.as_u64()) {
                    return Ok(told);
                }
                continue;
            };
            let whole = way.whole.load(Ordering::Acquire);
            let (told, next) = decide(Some(whole.into()))?;
            if swap(&way.whole, whole, next.as_u64()) {
                return Ok(told);
            }
        }
    }
}

impl Bucket {
    /// Gives a way to a new account: a free one, or the one that is whole first. Says no when
    /// another thread was faster.
    ///
    /// The time goes in before the tag, so that nobody finds the new tag with the old time. A
    /// thread that still counts for the old account meanwhile counts for the new one: it is one
    /// request too many for that, never one too few.
    fn take(&self, tag: u64, whole: u64) -> bool {
        let mut found: Option<(&Way, u64, u64)> = None;
        for way in &self.0 {
            let (old, until) = (
                way.tag.load(Ordering::Acquire),
                way.whole.load(Ordering::Acquire),
            );
            if old == 0 {
                found = Some((way, old, until));
                break;
            }
            if found.is_none_or(|(_, _, least)| until < least) {
                found = Some((way, old, until));
            }
        }
        found.is_some_and(|(way, old, until)| {
            swap(&way.whole, until, whole) && swap(&way.tag, old, tag)
        })
    }
}

fn swap(cell: &AtomicU64, from: u64, to: u64) -> bool {
    cell.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
        .is_ok()
}
