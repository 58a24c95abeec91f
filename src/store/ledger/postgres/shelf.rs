//! What gateways keep for each other, in PostgreSQL: a row for each thing and each lease.

use std::sync::Arc;
use std::time::Duration;

use super::base::Base;
use super::sql;
use crate::auth::ledger::{Holder, Lease, MOST_ON_SHELF, Shelf, ShelfKey, Told};
use crate::auth::ports::StoreError;
use crate::store::cell::Cell;
use crate::store::desk::Counter;
use crate::store::fault::unreadable;
use crate::store::pool::Pool;
use crate::store::question::Parameter;

/// What stands under a key; one byte more than fits tells what is too large.
const LOAD: &str = "\
select substring(thing from 1 for $2::bigint::integer) from portcullis.shelf
where key = $1 and (until is null or until > clock_timestamp())";

/// Key, thing, its life in milliseconds; without one, zero.
const PUT: &str = "\
insert into portcullis.shelf (key, thing, until)
values ($1, $2, case when $3::bigint > 0 then clock_timestamp() + $3 * interval '1 millisecond' end)
on conflict (key) do update set thing = excluded.thing, until = excluded.until";

/// Takes one out, and what is over.
const REMOVE: &str = "delete from portcullis.shelf where key = $1 or until <= clock_timestamp()";

/// A year is as good as for ever, and no number of the database's own grows too large.
const LONGEST: i64 = 366 * 86_400_000;

/// A shelf in PostgreSQL.
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

    /// One statement, and whether it answered a row.
    fn does(&self, statement: &'static str, with: Vec<Parameter>) -> Told<bool> {
        let base = self.base.clone();
        let work = async move { Ok(!base.ask(statement, with).await?.is_empty()) };
        self.counter.run(work, |_, _| ())
    }
}

/// For what answers nothing.
fn done(told: Told<bool>) -> Told<()> {
    Box::pin(async move { told.await.map(|_| ()) })
}

impl Shelf for InPostgres {
    fn load(&self, key: ShelfKey) -> Told<Option<Vec<u8>>> {
        let (base, shown) = (self.base.clone(), Arc::clone(&self.counter.shown));
        let work = async move {
            let most = i64::try_from(MOST_ON_SHELF).unwrap_or(i64::MAX) + 1;
            let with = vec![bytes(&key), Parameter::Whole(most)];
            let rows = base.ask(LOAD, with).await?;
            match rows
                .into_iter()
                .next()
                .and_then(|row| row.into_iter().next())
            {
                None => Ok::<_, StoreError>(None),
                Some(Cell::Bytes(thing)) if thing.len() <= MOST_ON_SHELF => Ok(Some(thing)),
                Some(_) => {
                    let what = "something else than gateways keep for each other";
                    Err(unreadable(&shown, what))
                }
            }
        };
        self.counter.run(work, |_, _| ())
    }

    fn put(&self, key: ShelfKey, thing: Vec<u8>, life: Option<Duration>) -> Told<()> {
        let life = Parameter::Whole(life.map_or(0, millis));
        done(self.does(PUT, vec![bytes(&key), Parameter::Bytes(thing), life]))
    }

    fn remove(&self, key: ShelfKey) -> Told<()> {
        done(self.does(REMOVE, vec![bytes(&key)]))
    }

    fn lease(&self, key: ShelfKey, holder: Holder, time: Duration) -> Told<Lease> {
        let with = vec![bytes(&key), bytes(&holder), Parameter::Whole(millis(time))];
        let yours = self.does(sql::LEASE, with);
        Box::pin(async move {
            Ok(if yours.await? {
                Lease::Yours
            } else {
                Lease::Held
            })
        })
    }

    fn release(&self, key: ShelfKey, holder: Holder) -> Told<()> {
        done(self.does(sql::RELEASE, vec![bytes(&key), bytes(&holder)]))
    }
}

fn bytes(of: &[u8]) -> Parameter {
    Parameter::Bytes(of.to_vec())
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis())
        .unwrap_or(LONGEST)
        .clamp(1, LONGEST)
}
