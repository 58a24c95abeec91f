//! How many requests of an upstream may be tried again. Pure: time and counts in, yes or no out.
//!
//! When servers fail, retries would double the load of those that are left. So they come out of a
//! budget: a fifth of the requests of the last ten seconds, and five a second beside that for
//! upstreams with little to do.

use std::time::Duration;

/// How long a request counts.
const WINDOW: Duration = Duration::from_secs(10);
/// A retry, in the budget's unit.
const RETRY: u64 = 1000;
/// What a request brings.
const SHARE: u64 = RETRY / 5;
/// What a second brings.
const FLOOR: u64 = 5 * RETRY;

/// What is left for retries.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    left: u64,
    looked: Duration,
    requests: u64,
}

impl Budget {
    /// With what quiet ten seconds bring.
    pub(super) fn new() -> Self {
        Self {
            left: FLOOR * WINDOW.as_secs(),
            looked: Duration::ZERO,
            requests: 0,
        }
    }

    /// Takes one retry out where there is one. `requests` is how many there were in all, retries
    /// not counted; `now` counts from one fixed point.
    pub(super) fn take(&mut self, now: Duration, requests: u64) -> bool {
        let passed = now.saturating_sub(self.looked);
        let recent = passed.min(WINDOW);
        let fresh = requests.saturating_sub(self.requests);
        // Of what came since the last look, as much as fits into the window.
        let counted = part(fresh, recent, passed.max(recent));
        let kept = part(self.left, WINDOW.saturating_sub(recent), WINDOW);
        let floor = part(FLOOR * WINDOW.as_secs(), recent, WINDOW);
        self.left = kept
            .saturating_add(counted.saturating_mul(SHARE))
            .saturating_add(floor);
        self.looked = self.looked.max(now);
        self.requests = self.requests.max(requests);
        match self.left.checked_sub(RETRY) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// `whole * of / all`; the whole where both are nothing.
fn part(whole: u64, of: Duration, all: Duration) -> u64 {
    let scaled = (u128::from(whole) * of.as_nanos()).checked_div(all.as_nanos());
    scaled.map_or(whole, |part| u64::try_from(part).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_quiet_upstream_has_fifty_retries_and_no_more_at_once() {
        let mut budget = Budget::new();
        let now = Duration::from_secs(1);
        let taken = (0..200).filter(|_| budget.take(now, 0)).count();
        assert_eq!(taken, 50);
        assert!(
            budget.take(now + Duration::from_secs(1), 0),
            "five a second come back"
        );
    }

    #[test]
    fn a_busy_upstream_may_try_a_fifth_again() {
        let mut budget = Budget::new();
        let mut taken = 0_u64;
        for millisecond in 0..20_000_u64 {
            // A thousand a second, of which every one fails.
            let now = Duration::from_millis(millisecond);
            taken += u64::from(budget.take(now, millisecond));
        }
        assert!((4_000..=4_200).contains(&taken), "{taken}");
    }

    proptest! {
        #[test]
        fn retries_never_come_to_more_than_a_fifth_and_the_floor(
            steps in prop::collection::vec((0_u64..5_000, 0_u64..2_000, 0_u8..20), 1..200),
        ) {
            let mut budget = Budget::new();
            let (mut now, mut requests, mut taken) = (0, 0, 0);
            for (passed, came, tries) in steps {
                now += passed;
                requests += came;
                for _ in 0..tries {
                    taken += u64::from(budget.take(Duration::from_millis(now), requests));
                }
                prop_assert!(taken <= requests / 5 + now * 5 / 1000 + 51);
            }
        }
    }
}
