//! Never more than the limit says, for each account alone, in a memory that does not grow.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::thread;

use http::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::clock;
use crate::policy::limit::{Per, Rate, Unit};

pub(super) fn limit(name: &str, count: u32, unit: Unit, burst: u32) -> Arc<RateLimit> {
    Arc::new(RateLimit {
        name: name.into(),
        rate: Rate {
            count: NonZeroU32::new(count).unwrap(),
            unit,
        },
        burst: NonZeroU32::new(burst).unwrap(),
        per: Per::Ip,
        shared: false,
    })
}

struct Counted {
    limiter: Limiter,
    start: Instant,
}

impl Counted {
    fn new(limit: &Arc<RateLimit>) -> Self {
        let start = clock::monotonic();
        Self {
            limiter: Limiter::new(limit, start),
            start,
        }
    }

    /// A request of the address of this number, so long after the start.
    fn request(&self, address: u32, at: Duration) -> Result<Standing, Over> {
        let headers = HeaderMap::new();
        let ip = IpAddr::V4(Ipv4Addr::from_bits(address));
        let account = self.limiter.limit.account(ip, None, &headers);
        self.limiter.count(&account, self.start + at)
    }

    fn owing(&self, at: Duration) -> usize {
        let now = self.limiter.nanos(self.start + at);
        self.limiter.table.owing(now)
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn as_many_as_burst_pass_at_once_and_then_one_each_period() {
    let counted = Counted::new(&limit("login", 10, Unit::Minute, 5));
    for left in (0..5).rev() {
        let standing = counted.request(1, SECOND).unwrap();
        assert_eq!((standing.burst, standing.remaining), (5, left));
        assert_eq!(standing.whole_in, SECOND * 6 * (5 - left));
    }
    let over = counted.request(1, SECOND).unwrap_err();
    assert_eq!(over.wait, SECOND * 6);
    assert_eq!(over.standing.whole_in, SECOND * 30);
    // It did not count: whoever waits as told passes.
    assert!(counted.request(1, SECOND * 6).is_err());
    assert!(counted.request(1, SECOND * 7).is_ok());
    assert_eq!(counted.request(1, SECOND * 7).unwrap_err().wait, SECOND * 6);
}

#[test]
fn who_was_away_long_enough_begins_anew() {
    let counted = Counted::new(&limit("login", 10, Unit::Minute, 5));
    for _ in 0..5 {
        counted.request(1, SECOND).unwrap();
    }
    assert_eq!(counted.owing(SECOND), 1);
    assert_eq!(counted.owing(SECOND * 31), 0);
    let standing = counted.request(1, SECOND * 31).unwrap();
    assert_eq!((standing.remaining, standing.whole_in), (4, SECOND * 6));
}

#[test]
fn a_request_from_before_the_start_is_one_at_the_start() {
    let counted = Counted::new(&limit("login", 10, Unit::Minute, 2));
    let headers = HeaderMap::new();
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let account = counted.limiter.limit.account(ip, None, &headers);
    let before = counted.start.checked_sub(SECOND).unwrap();
    assert!(counted.limiter.count(&account, before).is_ok());
    assert!(counted.limiter.count(&account, counted.start).is_ok());
    assert!(counted.limiter.count(&account, before).is_err());
}

#[test]
fn the_largest_numbers_that_the_file_takes_do_not_overflow() {
    let most = 1_000_000;
    let counted = Counted::new(&limit("slow", 1, Unit::Hour, most));
    let year = SECOND * 86_400 * 365;
    for at in [Duration::ZERO, year, year * 100] {
        assert_eq!(counted.request(1, at).unwrap().remaining, most - 1);
    }
    let fast = Counted::new(&limit("fast", most, Unit::Second, most));
    assert_eq!(fast.request(1, SECOND).unwrap().remaining, most - 1);
}

#[test]
fn a_million_addresses_take_no_more_memory_than_none() {
    let counted = Counted::new(&limit("login", 1, Unit::Minute, 1));
    let table = counted.limiter.table.bytes();
    assert_eq!(table, 1 << 20);
    for address in 0..1_000_000 {
        // Each is new, and new ones pass.
        assert!(counted.request(address, SECOND).is_ok());
    }
    assert_eq!(counted.limiter.table.bytes(), table);
    assert!(counted.owing(SECOND) <= ACCOUNTS);
    // By chance a few buckets are not full.
    assert!(counted.owing(SECOND) > ACCOUNTS * 99 / 100);
}

#[test]
fn nobody_is_freed_by_a_flood_of_others_who_used_up_less() {
    let counted = Counted::new(&limit("login", 10, Unit::Minute, 10));
    let offender = 4_000_000;
    for _ in 0..10 {
        counted.request(offender, SECOND).unwrap();
    }
    for address in 0..500_000 {
        counted.request(address, SECOND).unwrap();
    }
    assert!(counted.request(offender, SECOND).is_err());
}

#[test]
fn a_full_bucket_gives_up_the_account_that_is_whole_first() {
    let table = Table::new();
    let quota = Quota::per_second(NonZeroU32::new(1).unwrap());
    let quota = quota.allow_burst(NonZeroU32::new(3).unwrap());
    let buckets = ACCOUNTS as u64 / 8;
    let come = |number: u64, at: u64| {
        let tag = NonZeroU64::new(1 + number * buckets).unwrap();
        ask(quota, table.place(tag).unwrap(), at.into()).is_ok()
    };
    for number in 0..8 {
        // The last uses up least.
        let times = if number == 7 { 1 } else { 3 };
        assert!((0..times).all(|_| come(number, 0)));
    }
    assert!(come(8, 0), "a ninth finds a way");
    for number in 0..7 {
        assert!(!come(number, 0), "{number} is still known");
    }
    assert!(come(8, 0) && come(8, 0) && !come(8, 0));
}

#[test]
fn threads_at_once_let_no_more_through_than_one_would() {
    let counted = Counted::new(&limit("api", 1, Unit::Hour, 1_000));
    let passed = |_: u32| {
        let times = 0..2_000;
        times
            .filter(|number| counted.request(number % 5, SECOND).is_ok())
            .count()
    };
    let total: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| scope.spawn(move || passed(number)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(total, 5 * 1_000);
}

/// Where a bucket is full an account may be given up and come back between two looks of another
/// thread, and count as new once more for each thread that is there at that moment.
#[test]
fn threads_at_once_in_a_full_table_let_through_few_more() {
    let counted = Counted::new(&limit("api", 1, Unit::Hour, 100));
    let offender = 4_000_000;
    let passed = |number: u32| {
        let times = 0..100_000;
        let own = 100_000 * number;
        times
            .filter(|at| {
                counted.request(own + at, SECOND).unwrap();
                counted.request(offender, SECOND).is_ok()
            })
            .count()
    };
    let passed = &passed;
    let total: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|number| scope.spawn(move || passed(number)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert!((100..=104).contains(&total), "{total}");
}

#[test]
fn a_limit_that_did_not_change_goes_on_with_its_accounts() {
    let now = clock::monotonic();
    let kept = limit("kept", 10, Unit::Minute, 1);
    let changed = limit("changed", 10, Unit::Minute, 1);
    let first = Limiters::assemble(&[Arc::clone(&changed), Arc::clone(&kept)], None, None, now);
    let headers = HeaderMap::new();
    let account = kept.account(IpAddr::V4(Ipv4Addr::LOCALHOST), None, &headers);
    let count = |limiters: &Limiters, id| {
        let limiter = limiters.get(LimitId(id)).unwrap();
        limiter.count(&account, now).is_ok()
    };
    for id in [0, 1] {
        assert!(count(&first, id) && !count(&first, id));
    }
    let again = limit("kept", 10, Unit::Minute, 1);
    let other = limit("changed", 20, Unit::Minute, 1);
    let new = limit("new", 10, Unit::Minute, 1);
    let next = Limiters::assemble(&[again, other, new], None, Some(&first), now);
    assert!(!count(&next, 0), "it knows the account");
    assert!(count(&next, 1), "another limit counts anew");
    assert!(count(&next, 2));
    let over: Vec<_> = next
        .readings(now)
        .map(|reading| (reading.limit.to_string(), reading.over))
        .collect();
    let told = |name: &str, over| (name.to_owned(), over);
    assert_eq!(over, [told("kept", 2), told("changed", 1), told("new", 0)]);
}

proptest! {
    /// The promise: in any time at most `burst` and what the rate adds.
    #[test]
    fn never_more_pass_in_any_time_than_burst_and_what_the_rate_adds(
        count in 1_u32..2_000,
        burst in 1_u32..20,
        steps in prop::collection::vec(0_u64..2_000_000_000, 1..200),
    ) {
        let limit = limit("api", count, Unit::Minute, burst);
        let period = limit.rate.period().as_nanos();
        let counted = Counted::new(&limit);
        let mut now = 0;
        let mut passed: Vec<u64> = Vec::new();
        for step in steps {
            now += step / u64::from(count);
            if counted.request(1, Duration::from_nanos(now)).is_ok() {
                passed.push(now);
            }
        }
        for (index, from) in passed.iter().enumerate() {
            for (further, to) in passed.iter().skip(index).enumerate() {
                let added = u128::from(to - from) / period;
                prop_assert!((further as u128) < u128::from(burst) + added);
            }
        }
    }

    #[test]
    fn who_comes_back_after_the_wait_passes_and_not_a_moment_before(
        count in 1_u32..100_000,
        burst in 1_u32..10,
        step in 0_u64..1_000_000,
    ) {
        let counted = Counted::new(&limit("api", count, Unit::Hour, burst));
        let mut now = Duration::ZERO;
        for _ in 0..50 {
            match counted.request(1, now) {
                Ok(_) => now += Duration::from_nanos(step),
                Err(over) => {
                    let early = (now + over.wait).saturating_sub(Duration::from_nanos(1));
                    prop_assert!(counted.request(1, early).is_err());
                    now += over.wait;
                    prop_assert!(counted.request(1, now).is_ok());
                }
            }
        }
    }
}

proptest! {
    // Each case makes five tables.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn one_account_does_not_disturb_another(
        burst in 1_u32..10,
        requests in prop::collection::vec((1_u32..4, 0_u64..5_000_000_000), 1..200),
    ) {
        let limit = limit("api", 60, Unit::Minute, burst);
        let together = Counted::new(&limit);
        let alone: Vec<_> = (0..4).map(|_| Counted::new(&limit)).collect();
        let mut now = 0;
        for (address, step) in requests {
            now += step;
            let at = Duration::from_nanos(now);
            let one = &alone[address as usize];
            prop_assert_eq!(together.request(address, at), one.request(address, at));
        }
    }
}
