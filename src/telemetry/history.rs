//! What the last minute and the last hour were like: what the counters grew by, second by second and
//! minute by minute.
//!
//! Somebody reads the counters once a second ([`Metrics::totals`](crate::telemetry::Metrics::totals))
//! and hands the reading over; nothing is added to the way of a request. The size is fixed. Times are
//! those of a steady clock, so that a wall clock that is set moves nothing.

use std::collections::VecDeque;
use std::time::Duration;

use crate::policy::denial::Code;
use crate::telemetry::cells::{CodeCounters, Histogram};
use crate::telemetry::tables::{APP_BOUNDS, GATEWAY_BOUNDS, RouteMetrics};

/// Seconds that are kept one by one, and minutes.
const KEPT: usize = 60;

/// Durations by size, as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durations<const N: usize> {
    /// Upper ends of the buckets in nanoseconds, growing.
    bounds: &'static [u64; N],
    buckets: [u64; N],
    beyond: u64,
}

impl<const N: usize> Durations<N> {
    const fn none(bounds: &'static [u64; N]) -> Self {
        Self {
            bounds,
            buckets: [0; N],
            beyond: 0,
        }
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum::<u64>() + self.beyond
    }

    /// The upper end of the last bucket: what is longer is told as this.
    #[must_use]
    pub fn ceiling(&self) -> Duration {
        Duration::from_nanos(self.bounds.last().copied().unwrap_or_default())
    }

    /// The duration that `percent` of 100 of them were not above, taken as spread evenly within
    /// their bucket; `None` where there were none.
    #[must_use]
    pub fn quantile(&self, percent: u64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        // The place in the row, from 1.
        let place = (count * percent).div_ceil(100).max(1);
        let (mut below, mut floor) = (0, 0);
        for (bound, in_bucket) in self.bounds.iter().zip(&self.buckets) {
            if below + in_bucket >= place {
                let span = u128::from(bound - floor) * u128::from(place - below);
                let within = span / u128::from(*in_bucket);
                let within = u64::try_from(within).unwrap_or(u64::MAX);
                return Some(Duration::from_nanos(floor.saturating_add(within)));
            }
            below += in_bucket;
            floor = *bound;
        }
        Some(self.ceiling())
    }

    fn add(&mut self, more: &Self) {
        each(&mut self.buckets, &more.buckets, |mine, more| mine + more);
        self.beyond += more.beyond;
    }

    fn add_histogram(&mut self, histogram: &Histogram<N>) {
        let (buckets, beyond) = histogram.numbers();
        each(&mut self.buckets, &buckets, |mine, more| mine + more);
        self.beyond += beyond;
    }

    fn subtract(&mut self, before: &Self) {
        each(&mut self.buckets, &before.buckets, u64::saturating_sub);
        self.beyond = self.beyond.saturating_sub(before.beyond);
    }
}

/// What was counted: since the start, or in one stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Requests answered.
    pub requests: u64,
    /// Those answered with 4xx, by gateway or app.
    pub client_errors: u64,
    /// Those answered with 5xx, by gateway or app.
    pub server_errors: u64,
    /// Those that the gateway refused.
    pub refused: u64,
    /// Time in the gateway.
    pub gateway: Durations<8>,
    /// Time in the app.
    pub app: Durations<11>,
    refused_by_code: [u64; Code::ALL.len()],
    observed_by_code: [u64; Code::ALL.len()],
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            requests: 0,
            client_errors: 0,
            server_errors: 0,
            refused: 0,
            gateway: Durations::none(&GATEWAY_BOUNDS),
            app: Durations::none(&APP_BOUNDS),
            refused_by_code: [0; Code::ALL.len()],
            observed_by_code: [0; Code::ALL.len()],
        }
    }
}

impl Tally {
    /// Refusals with this code.
    #[must_use]
    pub fn refused_with(&self, code: Code) -> u64 {
        of(&self.refused_by_code, code)
    }

    /// Refusals with this code that a route passed over.
    #[must_use]
    pub fn observed_with(&self, code: Code) -> u64 {
        of(&self.observed_by_code, code)
    }

    /// Adds what another one counted.
    pub fn add(&mut self, more: &Self) {
        self.requests += more.requests;
        self.client_errors += more.client_errors;
        self.server_errors += more.server_errors;
        self.refused += more.refused;
        self.gateway.add(&more.gateway);
        self.app.add(&more.app);
        let (mine, more_codes) = (&mut self.refused_by_code, &more.refused_by_code);
        each(mine, more_codes, |mine, more| mine + more);
        let (mine, more_codes) = (&mut self.observed_by_code, &more.observed_by_code);
        each(mine, more_codes, |mine, more| mine + more);
    }

    /// Adds what was counted of a route.
    pub(super) fn add_route(&mut self, route: &RouteMetrics) {
        for (class, count) in (route.by_method().iter()).flat_map(|(_, status)| status.read(true)) {
            self.requests += count;
            match class {
                "4xx" => self.client_errors += count,
                "5xx" => self.server_errors += count,
                _ => {}
            }
        }
        self.gateway.add_histogram(&route.gateway_seconds);
        self.app.add_histogram(&route.app_seconds);
        add_codes(&mut self.refused_by_code, &route.denials);
        add_codes(&mut self.observed_by_code, &route.observed);
        self.refused += route.denials.read().map(|(_, count)| count).sum::<u64>();
    }

    /// What was counted since `before`. Nothing, where less is counted now: a reload has taken a
    /// route away with its counts, and what the others grew by in that second is not known.
    fn since(mut self, before: &Self) -> Self {
        if self.requests < before.requests {
            return Self::default();
        }
        self.requests -= before.requests;
        self.client_errors = self.client_errors.saturating_sub(before.client_errors);
        self.server_errors = self.server_errors.saturating_sub(before.server_errors);
        self.refused = self.refused.saturating_sub(before.refused);
        self.gateway.subtract(&before.gateway);
        self.app.subtract(&before.app);
        let (mine, codes) = (&mut self.refused_by_code, &before.refused_by_code);
        each(mine, codes, u64::saturating_sub);
        let (mine, codes) = (&mut self.observed_by_code, &before.observed_by_code);
        each(mine, codes, u64::saturating_sub);
        self
    }
}

fn of(counts: &[u64], code: Code) -> u64 {
    // `Code::ALL` has the codes in the order of the enum.
    counts.get(code as usize).copied().unwrap_or_default()
}

fn add_codes(counts: &mut [u64], codes: &CodeCounters) {
    for (code, count) in codes.read() {
        if let Some(mine) = counts.get_mut(code as usize) {
            *mine += count;
        }
    }
}

fn each(mine: &mut [u64], others: &[u64], what: impl Fn(u64, u64) -> u64) {
    for (mine, other) in mine.iter_mut().zip(others) {
        *mine = what(*mine, *other);
    }
}

/// The last 60 seconds and the last 60 minutes.
#[derive(Debug)]
pub struct History {
    /// What was counted when it was last told.
    total: Tally,
    /// The second in which that was.
    second: u64,
    seconds: VecDeque<Tally>,
    minutes: VecDeque<Tally>,
}

impl Default for History {
    fn default() -> Self {
        let empty = || VecDeque::from(vec![Tally::default(); KEPT]);
        Self {
            total: Tally::default(),
            second: 0,
            seconds: empty(),
            minutes: empty(),
        }
    }
}

impl History {
    /// Takes in what is counted in all at `second`, by a steady clock that began with this.
    pub fn take(&mut self, total: Tally, second: u64) {
        let second = second.max(self.second);
        let grown = total.clone().since(&self.total);
        advance(&mut self.seconds, second - self.second, &grown);
        advance(&mut self.minutes, second / 60 - self.second / 60, &grown);
        self.total = total;
        self.second = second;
    }

    /// The last 60 seconds, the oldest first. The last one is the one in which it was last told.
    #[must_use]
    pub fn seconds(&self) -> impl DoubleEndedIterator<Item = &Tally> {
        self.seconds.iter()
    }

    /// The last 60 minutes, the oldest first. The last one is not over.
    #[must_use]
    pub fn minutes(&self) -> impl DoubleEndedIterator<Item = &Tally> {
        self.minutes.iter()
    }

    /// The last seconds together, 60 at most.
    #[must_use]
    pub fn last_seconds(&self, count: usize) -> Tally {
        together(self.seconds.iter().rev().take(count))
    }

    /// The last minutes together, 60 at most; the one that is not over is one of them.
    #[must_use]
    pub fn last_minutes(&self, count: usize) -> Tally {
        together(self.minutes.iter().rev().take(count))
    }
}

fn together<'a>(tallies: impl Iterator<Item = &'a Tally>) -> Tally {
    let mut all = Tally::default();
    tallies.for_each(|tally| all.add(tally));
    all
}

/// Goes on by so many places and adds what has grown to the last.
fn advance(row: &mut VecDeque<Tally>, by: u64, grown: &Tally) {
    for _ in 0..by.min(KEPT as u64) {
        row.pop_front();
        row.push_back(Tally::default());
    }
    if let Some(last) = row.back_mut() {
        last.add(grown);
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::policy::denial::Denial;
    use crate::telemetry::testing::{NOW, bind, completed, route};
    use crate::telemetry::{Completed, Log, Metrics};

    const MS: u64 = 1_000_000;

    fn total(requests: u64) -> Tally {
        Tally {
            requests,
            ..Tally::default()
        }
    }

    fn requests<'a>(tallies: impl Iterator<Item = &'a Tally>) -> Vec<u64> {
        tallies.map(|tally| tally.requests).collect()
    }

    #[test]
    fn what_the_counters_grew_by_stands_in_its_second_and_its_minute() {
        let mut history = History::default();
        for (count, second) in [(5, 1), (7, 2), (7, 3), (17, 61)] {
            history.take(total(count), second);
        }
        assert_eq!(
            requests(history.seconds().rev()).get(..2),
            Some(&[10, 0][..])
        );
        assert_eq!(
            requests(history.minutes().rev()).get(..2),
            Some(&[10, 7][..])
        );
        assert_eq!(history.last_minutes(60).requests, 17);
        assert_eq!(history.seconds().count(), KEPT);
    }

    #[test]
    fn a_sampler_that_was_held_up_leaves_empty_seconds_and_no_others() {
        let mut history = History::default();
        history.take(total(1), 1);
        history.take(total(2), u64::MAX);
        assert_eq!(history.last_seconds(60).requests, 1);
        // A clock that goes back changes nothing.
        history.take(total(3), 5);
        assert_eq!(history.last_seconds(1).requests, 2);
        assert_eq!((history.seconds.len(), history.minutes.len()), (KEPT, KEPT));
    }

    #[test]
    fn a_route_that_a_reload_takes_away_is_not_counted_as_traffic() {
        let mut history = History::default();
        history.take(total(100), 1);
        history.take(total(40), 2);
        history.take(total(43), 3);
        assert_eq!(
            requests(history.seconds().rev()).get(..3),
            Some(&[3, 0, 100][..])
        );
    }

    #[test]
    fn a_quantile_lies_within_the_bucket_that_holds_it() {
        let mut times = Durations::none(&GATEWAY_BOUNDS);
        assert_eq!(times.quantile(50), None);
        // A hundred of 250 µs to 1 ms, and one beyond the last bucket.
        times.buckets = [0, 0, 0, 100, 0, 0, 0, 0];
        times.beyond = 1;
        let median = times.quantile(50).unwrap();
        assert!(median > Duration::from_micros(620) && median < Duration::from_micros(640));
        assert_eq!(times.quantile(99), Some(Duration::from_nanos(MS)));
        assert_eq!(times.quantile(100), Some(times.ceiling()));
        assert_eq!(times.ceiling(), Duration::from_secs(1));
    }

    #[test]
    fn the_totals_are_those_of_all_routes_and_of_none() {
        let metrics = Metrics::new(Log::none(), NOW);
        let bound = bind(&metrics, &[route("/a"), route("/b")], &[]);
        let denial = Denial::new(Code::NoRoute, "nothing is here");
        bound.record(completed());
        bound.record(Completed {
            route: None,
            status: StatusCode::NOT_FOUND,
            denial: Some(&denial),
            app_time: None,
            ..completed()
        });
        let totals = metrics.totals();
        assert_eq!((totals.requests, totals.client_errors), (2, 1));
        assert_eq!((totals.refused, totals.server_errors), (1, 0));
        assert_eq!((totals.gateway.count(), totals.app.count()), (2, 1));
        assert_eq!(totals.refused_with(Code::NoRoute), 1);
        assert_eq!(totals.observed_with(Code::NoRoute), 0);
    }
}
