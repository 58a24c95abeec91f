//! The schema that the gateway makes, once however many start together, and its version.

/// The version that this gateway makes and reads.
pub(in crate::store::ledger) const VERSION: i64 = 1;

/// Makes what is missing, in one transaction under a lock that all gateways share. Touches nothing
/// that is there; a later version adds its steps below, each behind the number it begins from.
pub(super) const MAKE: &str = "\
do $$ begin
  perform pg_advisory_xact_lock(5782047365418632);
  if to_regclass('portcullis.version') is not null then
    return;
  end if;
  if not exists (select from pg_namespace where nspname = 'portcullis') then
    create schema portcullis;
  end if;
  create table portcullis.session (
    key bytea primary key check (length(key) = 32),
    user_id text not null,
    generation bigint not null,
    seen bigint not null,
    ends bigint not null,
    record bytea not null
  );
  create index session_of_user on portcullis.session (user_id, key);
  create index session_ends on portcullis.session (ends);
  create table portcullis.revocation (
    number bigint primary key,
    until bigint not null,
    entry bytea not null
  );
  create index revocation_until on portcullis.revocation (until);
  create table portcullis.log (one boolean primary key check (one), last bigint not null);
  insert into portcullis.log values (true, 0);
  create table portcullis.lease (
    key bytea primary key,
    holder bytea not null,
    until timestamptz not null
  );
  create table portcullis.shelf (
    key bytea primary key check (length(key) = 32),
    thing bytea not null,
    until timestamptz
  );
  create unlogged table portcullis.account (
    key bytea primary key check (length(key) = 16),
    whole bigint not null
  ) with (fillfactor = 80);
  create table portcullis.version (one boolean primary key check (one), number bigint not null);
  insert into portcullis.version values (true, 1);
end $$";

/// Which version is there.
pub(in crate::store::ledger) const FOUND: &str = "select number from portcullis.version";
