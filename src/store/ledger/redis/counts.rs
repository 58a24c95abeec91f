//! Requests that all gateways count together, in Redis: one script for each, on one key.
//!
//! A connection of their own, so that a request that is only counted never waits behind sessions,
//! nor they behind it. A key is gone when its account is whole again.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use redis::Script;

use super::link::{Link, Question};
use crate::auth::ledger::{AccountKey, Counts, Pace, Told};
use crate::auth::ports::StoreError;
use crate::config::settings::RedisHome;
use crate::policy::limit::{Over, Standing};
use crate::store::desk::Counter;

/// Ticks of a microsecond. Lua's numbers are whole up to 2^53, which is 17 years in ticks: so time
/// is told in ticks since 2026, and all that is added and compared is exact.
const TICKS: u128 = 16;

/// GCRA by the server's clock. Account; ticks of a period, and how many may come at once. Answers
/// how many more may come or -1, ticks until one may, ticks until all may.
///
/// No account owes more than its whole burst. One that seems to is from before the server's clock
/// was set back, or from a server whose clock was ahead: it owes its whole burst.
static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         local now = ((time[1] - 1767225600) * 1000000 + time[2]) * 16
         local period, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
         local most, room = period * burst, period * (burst - 1)
         local owed = math.max((tonumber(redis.call('GET', KEYS[1])) or now) - now, 0)
         local passes = owed <= room
         if passes then owed = owed + period end
         if passes or owed > most then
           owed = math.min(owed, most)
           redis.call('SET', KEYS[1], string.format('%.0f', now + owed), 'PX', math.ceil(owed / 16000))
         end
         if passes then return {math.floor((most - owed) / period), 0, owed} end
         return {-1, owed - room, owed}",
    )
});

/// Counts in Redis.
#[derive(Debug)]
pub(in super::super) struct InRedis {
    link: Arc<Link>,
    counter: Arc<Counter>,
}

impl InRedis {
    /// Opens nothing yet.
    pub(in super::super) fn new(home: &RedisHome, counter: Counter) -> Self {
        let link = Link::new(home, Arc::clone(&counter.shown));
        Self {
            link: Arc::new(link),
            counter: Arc::new(counter),
        }
    }
}

impl Counts for InRedis {
    fn count(&self, account: AccountKey, pace: Pace) -> Told<Result<Standing, Over>> {
        let link = Arc::clone(&self.link);
        let work = async move {
            let mut count = COUNT.key(format!("portcullis:limit:{}", BASE64.encode(account)));
            count
                .arg(period_in_ticks(pace.period))
                .arg(pace.burst.get());
            let told: (i64, u64, u64) = link.ask(Question::Script(&count)).await?;
            Ok::<_, StoreError>(read(told, pace))
        };
        self.counter.run(work, |_, _| ())
    }

    /// They go by themselves.
    fn sweep(&self) -> Told<u64> {
        super::super::ready(Ok(0))
    }
}

/// What the script said.
fn read((remaining, wait, whole): (i64, u64, u64), pace: Pace) -> Result<Standing, Over> {
    let burst = pace.burst.get();
    let standing = Standing {
        burst,
        remaining: u32::try_from(remaining).unwrap_or(0),
        whole_in: ticks(whole),
    };
    if remaining < 0 {
        let wait = ticks(wait);
        return Err(Over { wait, standing });
    }
    Ok(standing)
}

/// Rounded up, so that never more pass than the pace says.
fn period_in_ticks(period: Duration) -> u64 {
    let ticks = (period.as_nanos() * TICKS).div_ceil(1000).max(1);
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

fn ticks(ticks: u64) -> Duration {
    let nanos = (u128::from(ticks) * 1000).div_ceil(TICKS);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_told_in_ticks_that_are_never_shorter() {
        for (nanos, ticks) in [(1, 1), (1000, 16), (1001, 17), (333_333_334, 5_333_334)] {
            let told = period_in_ticks(Duration::from_nanos(nanos));
            assert_eq!(told, ticks);
            assert!(super::ticks(told) >= Duration::from_nanos(nanos));
        }
        assert_eq!(period_in_ticks(Duration::from_hours(1)), 57_600_000_000);
    }

    #[test]
    fn what_the_script_says_is_read() {
        let pace = Pace {
            period: Duration::from_secs(6),
            burst: 5.try_into().unwrap(),
        };
        let passed = read((4, 0, 96_000_000), pace).unwrap();
        assert_eq!((passed.burst, passed.remaining), (5, 4));
        assert_eq!(passed.whole_in, Duration::from_secs(6));
        let over = read((-1, 16_000_000, 400_000_000), pace).unwrap_err();
        assert_eq!(over.wait, Duration::from_secs(1));
        assert_eq!(over.standing.remaining, 0);
        assert_eq!(over.standing.whole_in, Duration::from_secs(25));
    }
}
