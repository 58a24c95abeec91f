//! Requests that all gateways count together, in PostgreSQL: one statement for each, on one row of
//! a table that is not written to the log. After a crash of the server all accounts are whole.

use std::sync::Arc;
use std::time::Duration;

use super::base::{self, Base};
use crate::auth::ledger::{AccountKey, Counts, Pace, Told};
use crate::auth::ports::StoreError;
use crate::policy::limit::{Over, Standing};
use crate::store::cell::Cell;
use crate::store::desk::Counter;
use crate::store::fault::unreadable;
use crate::store::pool::Pool;
use crate::store::question::Parameter;

/// The server's clock, in nanoseconds since 1970.
macro_rules! now {
    () => {
        "(extract(epoch from clock_timestamp()) * 1000000)::bigint * 1000"
    };
}

/// GCRA. Account, period, burst less one. Answers whether it passed, and what it owes then.
///
/// The clock is read where it is used, behind the wait for the row: one that was read before is
/// behind that of the request that was waited for, and refuses the last of a burst.
///
/// No account owes more than its whole burst. One that seems to is from before the server's clock
/// was set back: it owes its whole burst. A row that another made meanwhile is not seen by the last
/// lines; then the account owes at least a burst.
const COUNT: &str = concat!(
    "with counted as (
  insert into portcullis.account as held (key, whole) values ($1, ",
    now!(),
    " + $2::bigint)
  on conflict (key) do update set whole = least(
    greatest(held.whole, ",
    now!(),
    ") + $2::bigint, ",
    now!(),
    " + $2::bigint * ($3::bigint + 1)
  )
  where held.whole - ",
    now!(),
    " <= $2::bigint * $3::bigint
    or held.whole - ",
    now!(),
    " > $2::bigint * ($3::bigint + 1)
  returning whole - ",
    now!(),
    " as owed
), before as (
  select whole - ",
    now!(),
    " as owed from portcullis.account where key = $1
)
select
  exists (select from counted)
    and coalesce((select owed from before) <= $2::bigint * ($3::bigint + 1), true),
  coalesce(
    (select owed from counted), (select owed from before), $2::bigint * ($3::bigint + 1)
  )",
);

/// Takes out some accounts that are whole.
const SWEEP: &str = concat!(
    "with over as (
  select key from portcullis.account where whole <= ",
    now!(),
    "
  limit $1 for update skip locked
), gone as (
  delete from portcullis.account where key in (select key from over) returning true
) select count(*) from gone",
);

/// Rows that one statement sweeps, and statements of one sweep.
const SWEPT: (i64, usize) = (20_000, 20);

/// Counts in PostgreSQL.
#[derive(Debug)]
pub(in super::super) struct InPostgres {
    base: Base,
    counter: Arc<Counter>,
}

impl InPostgres {
    /// Opens nothing yet.
    pub(in super::super) fn new(pool: Pool, counter: Counter) -> Self {
        Self {
            base: Base::new(pool, Arc::clone(&counter.shown)),
            counter: Arc::new(counter),
        }
    }
}

impl Counts for InPostgres {
    fn count(&self, account: AccountKey, pace: Pace) -> Told<Result<Standing, Over>> {
        let (store, shown) = (self.base.clone(), Arc::clone(&self.counter.shown));
        let work = async move {
            let more = i64::from(pace.burst.get()) - 1;
            let with = vec![
                Parameter::Bytes(account.to_vec()),
                Parameter::Whole(nanos(pace.period)),
                Parameter::Whole(more),
            ];
            let rows = store.ask(COUNT, with).await?;
            match rows.first().map(Vec::as_slice) {
                Some([Cell::Bool(passed), Cell::Whole(owed)]) => Ok(read(*passed, *owed, pace)),
                Some(_) | None => Err(unreadable(&shown, "no count")),
            }
        };
        self.counter.run(work, |_, _| ())
    }

    fn sweep(&self) -> Told<u64> {
        let store = self.base.clone();
        let work = async move {
            let (rows, most) = SWEPT;
            let mut swept = 0;
            for _ in 0..most {
                let found = store.ask(SWEEP, vec![Parameter::Whole(rows)]).await?;
                let gone = found.first().map_or(0, |row| base::whole(row.first()));
                swept += gone;
                if gone < rows.unsigned_abs() {
                    break;
                }
            }
            Ok::<_, StoreError>(swept)
        };
        self.counter.run(work, |_, _| ())
    }
}

/// What the statement said.
fn read(passed: bool, owed: i64, pace: Pace) -> Result<Standing, Over> {
    let (burst, period) = (pace.burst.get(), nanos(pace.period));
    let most = period.saturating_mul(i64::from(burst));
    let owed = owed.clamp(0, most);
    let left = (most - owed).checked_div(period).unwrap_or(0);
    let standing = Standing {
        burst,
        remaining: if passed {
            u32::try_from(left).unwrap_or(0)
        } else {
            0
        },
        whole_in: Duration::from_nanos(owed.unsigned_abs()),
    };
    if passed {
        return Ok(standing);
    }
    let wait = owed - (most - period);
    Err(Over {
        wait: Duration::from_nanos(wait.max(0).unsigned_abs()),
        standing,
    })
}

fn nanos(of: Duration) -> i64 {
    i64::try_from(of.as_nanos()).unwrap_or(i64::MAX).max(1)
}
