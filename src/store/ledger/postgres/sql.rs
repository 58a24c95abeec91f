//! The statements. Each is one step: what it changes is there whole or not at all.
//!
//! The row of `log` gives revocations their numbers. Who takes one holds the row until the end of
//! the step, so that numbers come in the order in which steps are finished, and who reads behind
//! a number misses none. Sessions are locked before that row, never after it.

/// Key, user, generation, last use, end, record.
pub(super) const CREATE: &str = "\
insert into portcullis.session (key, user_id, generation, seen, ends, record)
values ($1, $2, $3, $4, $5, $6) on conflict (key) do nothing";

/// Key.
pub(super) const LOAD: &str = "select record from portcullis.session where key = $1";

/// Key, generation and last use as they were read; then generation, last use, end, record.
pub(super) const SWAP: &str = "\
update portcullis.session set generation = $4, seen = $5, ends = $6, record = $7
where key = $1 and generation = $2 and seen = $3 returning true";

/// Like the one before, and then the new key, the end of the log's entry, the entry.
pub(super) const MOVE: &str = "\
with moved as (
  update portcullis.session set key = $8, generation = $4, seen = $5, ends = $6, record = $7
  where key = $1 and generation = $2 and seen = $3 returning true
), numbered as (
  update portcullis.log set last = last + 1 where exists (select from moved) returning last
)
insert into portcullis.revocation (number, until, entry) select last, $9, $10 from numbered
returning pg_notify('portcullis', '') is null";

/// Key, the end of the log's entry, the entry.
pub(super) const END: &str = "\
with gone as (
  delete from portcullis.session where key = $1 returning true
), numbered as (
  update portcullis.log set last = last + 1 where (select count(*) from gone) >= 0 returning last
)
insert into portcullis.revocation (number, until, entry) select last, $2, $3 from numbered
returning pg_notify('portcullis', '') is null";

/// User, the end of the log's entries, what stands in each before the key. The user's rows are locked
/// in one order, and then deleted by the user: one that was moved to another key while its lock was
/// waited for is among them.
pub(super) const END_ALL: &str = "\
with mine as (
  select key from portcullis.session where user_id = $1 order by key for update
), gone as (
  delete from portcullis.session
  where user_id = $1 and (select count(*) from mine) >= 0 returning key
), counted as (
  select key, row_number() over () as place from gone
), numbered as (
  update portcullis.log set last = last + (select count(*) from gone) returning last
), told as (
  insert into portcullis.revocation (number, until, entry)
  select last - (select count(*) from gone) + place, $2, $3 || key from counted, numbered
  returning number
)
select count(*), pg_notify('portcullis', '') is null from told";

/// The end of the entry, the entry.
pub(super) const REVOKE: &str = "\
with numbered as (
  update portcullis.log set last = last + 1 returning last
)
insert into portcullis.revocation (number, until, entry) select last, $1, $2 from numbered
returning number, pg_notify('portcullis', '') is null";

/// The number of the last revocation.
pub(super) const LAST: &str = "select last from portcullis.log";

/// Behind which number, now, so many at most. The log's last number comes with each, so that both
/// are of one moment.
pub(super) const SINCE: &str = "\
select log.last, found.number, found.entry from portcullis.log left join lateral (
  select number, entry from portcullis.revocation
  where number > case when log.last < $1 then 0 else $1 end and until > $2
  order by number limit $3
) found on true order by found.number";

/// Key, holder, milliseconds.
pub(super) const LEASE: &str = "\
insert into portcullis.lease as held (key, holder, until)
values ($1, $2, clock_timestamp() + $3 * interval '1 millisecond')
on conflict (key) do update set holder = excluded.holder, until = excluded.until
where held.until <= clock_timestamp() or held.holder = excluded.holder
returning true";

/// Key, holder.
pub(super) const RELEASE: &str = "delete from portcullis.lease where key = $1 and holder = $2";

/// Behind which key, now, so many at most.
pub(super) const LIST: &str = "\
select key, record from portcullis.session where key > $1 and ends > $2 order by key limit $3";

/// The same of a user.
pub(super) const LIST_OF_USER: &str = "\
select key, record from portcullis.session
where user_id = $4 and key > $1 and ends > $2 order by key limit $3";

/// Now, so many at most.
pub(super) const SWEEP: &[&str] = &[
    "with over as (
       select key from portcullis.session where ends <= $1 limit $2 for update skip locked
     ), gone as (
       delete from portcullis.session where key in (select key from over) returning true
     ) select count(*) from gone",
    "with over as (
       select number from portcullis.revocation where until <= $1 limit $2 for update skip locked
     ), gone as (
       delete from portcullis.revocation where number in (select number from over) returning true
     ) select count(*) from gone",
    "with over as (
       select key from portcullis.lease
       where until <= clock_timestamp() and $1::bigint is not null limit $2
       for update skip locked
     ), gone as (
       delete from portcullis.lease where key in (select key from over) returning true
     ) select count(*) from gone",
];
