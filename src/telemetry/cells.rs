//! What is counted in: plain atomics, added to without order, read when Prometheus asks.
//!
//! A reader may see one cell of a request counted and another not yet; the next scrape has both.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::policy::denial::Code;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// One more.
    pub fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn dec(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// This number from now on.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations counted by size.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    /// Upper ends of the buckets in nanoseconds, growing.
    bounds: &'static [u64; N],
    buckets: [Counter; N],
    beyond: Counter,
    sum_ns: Counter,
}

impl<const N: usize> Histogram<N> {
    /// Empty, with the upper ends of its buckets in nanoseconds.
    pub(super) fn new(bounds: &'static [u64; N]) -> Self {
        Self {
            bounds,
            buckets: std::array::from_fn(|_| Counter::default()),
            beyond: Counter::default(),
            sum_ns: Counter::default(),
        }
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.add(ns);
        let mut buckets = self.bounds.iter().zip(&self.buckets);
        let bucket = buckets.find(|(bound, _)| ns <= **bound);
        bucket.map_or(&self.beyond, |(_, bucket)| bucket).inc();
    }

    /// How many were in each bucket, and beyond the last.
    pub(super) fn numbers(&self) -> ([u64; N], u64) {
        (self.buckets.each_ref().map(Counter::get), self.beyond.get())
    }

    /// What was counted so far.
    pub(super) fn read(&self) -> Observed {
        let mut count = 0;
        let buckets = (self.bounds.iter().zip(&self.buckets))
            .map(|(bound, bucket)| {
                count += bucket.get();
                (seconds(*bound), count)
            })
            .collect();
        Observed {
            buckets,
            count: count + self.beyond.get(),
            sum_s: seconds(self.sum_ns.get()),
        }
    }
}

/// What a [`Histogram`] has counted.
#[derive(Debug)]
pub(super) struct Observed {
    /// Upper end in seconds, and how many were not above it.
    pub(super) buckets: Vec<(f64, u64)>,
    /// How many there were.
    pub(super) count: u64,
    /// All of them together, in seconds.
    pub(super) sum_s: f64,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a float is what Prometheus reads; beyond 2^53 ns the error is below 2 ns"
)]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// One counter for each code, made when the first refusal is counted.
#[derive(Debug, Default)]
pub struct CodeCounters(OnceLock<Box<[Counter]>>);

impl CodeCounters {
    /// Counts one refusal.
    pub fn inc(&self, code: Code) {
        let cells = self
            .0
            .get_or_init(|| Code::ALL.iter().map(|_| Counter::default()).collect());
        // `Code::ALL` has the codes in the order of the enum.
        if let Some(cell) = cells.get(code as usize) {
            cell.inc();
        }
    }

    /// How often a code was counted.
    pub fn get(&self, code: Code) -> u64 {
        let cell = self.0.get().and_then(|cells| cells.get(code as usize));
        cell.map_or(0, Counter::get)
    }

    /// The codes that were counted, and how often.
    pub fn read(&self) -> impl Iterator<Item = (Code, u64)> + '_ {
        let cells = self.0.get().map(|cells| &**cells).unwrap_or_default();
        (Code::ALL.iter().zip(cells))
            .map(|(code, cell)| (*code, cell.get()))
            .filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_own_counter() {
        let counters = CodeCounters::default();
        for code in Code::ALL {
            counters.inc(*code);
        }
        counters.inc(Code::Draining);
        let read: Vec<_> = counters.read().collect();
        assert_eq!(read.len(), Code::ALL.len());
        assert!(
            read.iter()
                .all(|(code, count)| *count == if *code == Code::Draining { 2 } else { 1 })
        );
    }

    #[test]
    fn a_duration_on_a_bound_belongs_below_it() {
        let histogram = Histogram::new(&[1_000, 2_000]);
        for ns in [1_000, 1_001, 5_000] {
            histogram.observe(Duration::from_nanos(ns));
        }
        let read = histogram.read();
        assert_eq!(read.buckets, [(1e-6, 1), (2e-6, 2)]);
        assert_eq!((read.count, read.sum_s), (3, 7.001e-6));
    }
}
