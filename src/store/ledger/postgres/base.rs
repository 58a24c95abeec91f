//! What is asked of the database, each question one statement of [`sql`], once the schema is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::log::AT_ONCE;
use super::super::memory::{key_of, mark_of};
use super::{schema, sql};
use crate::auth::ledger::{
    Catch, Change, Cursor, Holder, Lease, Listing, Page, Revocation, Session, SessionKey,
};
use crate::auth::ports::StoreError;
use crate::clock::{self, Timestamp};
use crate::store::cell::Cell;
use crate::store::fault::{Fault, Grant, unreadable};
use crate::store::pool::Pool;
use crate::store::question::{Parameter, Question, With};

/// How often a change is begun anew because the session was touched in between.
const MOST_TRIES: usize = 8;
/// Sessions of one answer: with all that they may hold they fit into it.
const MOST_LISTED: usize = 100;
/// Rows that one statement sweeps, and statements of one sweep.
const SWEPT: (i64, usize) = (1000, 20);

/// The database, once its schema is there.
#[derive(Clone, Debug)]
pub(super) struct Base(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: Pool,
    shown: Arc<str>,
    grant: Grant,
    made: AtomicBool,
    making: tokio::sync::Mutex<()>,
}

/// What a statement answers.
pub(super) type Rows = Vec<Vec<Cell>>;

fn bytes(of: &[u8]) -> Parameter {
    Parameter::Bytes(of.to_vec())
}

fn key_bytes(key: SessionKey) -> Parameter {
    bytes(key.as_bytes())
}

fn micros(at: Timestamp) -> Parameter {
    Parameter::Whole(at.unix_micros())
}

fn number(number: u64) -> Parameter {
    Parameter::Whole(i64::try_from(number).unwrap_or(i64::MAX))
}

fn count(number: usize) -> Parameter {
    Parameter::Whole(i64::try_from(number).unwrap_or(i64::MAX))
}

impl Base {
    /// No connection yet.
    pub(super) fn new(pool: Pool, shown: Arc<str>) -> Self {
        let grant = Grant {
            tables: "ALL TABLES IN SCHEMA portcullis".into(),
            user: pool.user(),
        };
        Self(Arc::new(Inner {
            pool,
            shown,
            grant,
            made: AtomicBool::new(false),
            making: tokio::sync::Mutex::default(),
        }))
    }

    pub(super) async fn ask(&self, sql: &str, with: Vec<Parameter>) -> Result<Rows, StoreError> {
        self.make().await?;
        match self.question(sql, with).await {
            Ok(rows) => Ok(rows),
            Err(fault) => {
                if fault.of_schema() {
                    // Someone dropped it: it is made anew, or what is missing is told.
                    self.0.made.store(false, Ordering::Relaxed);
                }
                Err(self.told(fault))
            }
        }
    }

    async fn question(&self, sql: &str, with: Vec<Parameter>) -> Result<Rows, Fault> {
        let question = Question {
            sql: sql.into(),
            with: With::These(with),
            most: AT_ONCE + 1,
        };
        Ok(self.0.pool.ask(&question).await?.rows)
    }

    /// Makes the schema where it is not there; one at a time.
    async fn make(&self) -> Result<(), StoreError> {
        if self.0.made.load(Ordering::Relaxed) {
            return Ok(());
        }
        let _turn = self.0.making.lock().await;
        if self.0.made.load(Ordering::Relaxed) {
            return Ok(());
        }
        let found = match self.question(schema::FOUND, Vec::new()).await {
            Err(fault) if fault.of_schema() => {
                let made = self.question(schema::MAKE, Vec::new()).await;
                made.map_err(|fault| self.told(fault))?;
                self.question(schema::FOUND, Vec::new()).await
            }
            other => other,
        };
        let found = found.map_err(|fault| self.told(fault))?;
        match found.first().and_then(|row| row.first()) {
            Some(Cell::Whole(schema::VERSION)) => {
                self.0.made.store(true, Ordering::Relaxed);
                Ok(())
            }
            Some(Cell::Whole(newer)) => Err(self.refused(format!(
                "its schema `portcullis` is of version {newer}, and this gateway knows {}; run \
                 the newer version of Portcullis",
                schema::VERSION
            ))),
            Some(_) | None => Err(unreadable(&self.0.shown, "no version of the schema")),
        }
    }

    fn refused(&self, what: String) -> StoreError {
        StoreError::Refused {
            store: Arc::clone(&self.0.shown),
            what: what.into(),
        }
    }

    fn told(&self, fault: Fault) -> StoreError {
        if fault.of_rights() {
            let user = self.0.grant.user.as_deref().unwrap_or_default();
            return self.refused(format!(
                "the user may not make or change the tables; let an owner of the database run \
                 once: CREATE SCHEMA portcullis AUTHORIZATION {user}"
            ));
        }
        fault.told(&self.0.shown, &self.0.grant)
    }

    fn read(&self, cell: Option<&Cell>) -> Result<Session, StoreError> {
        let read = match cell {
            Some(Cell::Bytes(bytes)) => Session::from_bytes(bytes).ok(),
            Some(_) | None => None,
        };
        read.ok_or_else(|| unreadable(&self.0.shown, "a record that is no session"))
    }

    pub(super) async fn stored(&self, key: SessionKey) -> Result<Option<Session>, StoreError> {
        let rows = self.ask(sql::LOAD, vec![key_bytes(key)]).await?;
        rows.first().map(|row| self.read(row.first())).transpose()
    }

    pub(super) async fn create(
        &self,
        key: SessionKey,
        session: &Session,
    ) -> Result<(), StoreError> {
        let with = vec![
            key_bytes(key),
            Parameter::Text(session.user().to_owned()),
            number(session.generation().number()),
            micros(session.seen()),
            micros(session.ends()),
            bytes(&session.to_bytes()),
        ];
        self.ask(sql::CREATE, with).await.map(|_| ())
    }

    /// Puts `session` in the place of `stored`, if that is still there.
    async fn swap(
        &self,
        (old, new): (SessionKey, SessionKey),
        stored: &Session,
        session: &Session,
    ) -> Result<bool, StoreError> {
        let mut with = vec![
            key_bytes(old),
            number(stored.generation().number()),
            micros(stored.seen()),
            number(session.generation().number()),
            micros(session.seen()),
            micros(session.ends()),
            bytes(&session.to_bytes()),
        ];
        if old == new {
            return Ok(!self.ask(sql::SWAP, with).await?.is_empty());
        }
        let ended = Revocation::of_session(old, clock::now());
        with.push(key_bytes(new));
        with.push(micros(ended.until()));
        with.push(bytes(&ended.to_bytes()));
        Ok(!self.ask(sql::MOVE, with).await?.is_empty())
    }

    pub(super) async fn touch(&self, key: SessionKey, now: Timestamp) -> Result<bool, StoreError> {
        for _ in 0..MOST_TRIES {
            let stored = self.stored(key).await?;
            let Some(stored) = stored.filter(|session| session.lives(now)) else {
                return Ok(false);
            };
            if !stored.wants_touch(now) {
                return Ok(true);
            }
            let touched = stored.clone().seen_at(now);
            if self.swap((key, key), &stored, &touched).await? {
                return Ok(true);
            }
        }
        Err(self.restless())
    }

    pub(super) async fn step(
        &self,
        keys: (SessionKey, SessionKey),
        session: Session,
    ) -> Result<Change, StoreError> {
        for _ in 0..MOST_TRIES {
            let Some(stored) = self.stored(keys.0).await? else {
                return Ok(Change::Gone);
            };
            if session.generation().previous() != Some(stored.generation()) {
                return Ok(Change::Stale);
            }
            let session = session.clone().seen_at(stored.seen());
            if self.swap(keys, &stored, &session).await? {
                return Ok(Change::Done);
            }
        }
        Err(self.restless())
    }

    pub(super) async fn end(&self, key: SessionKey, now: Timestamp) -> Result<(), StoreError> {
        let ended = Revocation::of_session(key, now);
        let with = vec![
            key_bytes(key),
            micros(ended.until()),
            bytes(&ended.to_bytes()),
        ];
        self.ask(sql::END, with).await.map(|_| ())
    }

    pub(super) async fn end_all_of(&self, user: &str, now: Timestamp) -> Result<u64, StoreError> {
        let some = SessionKey::from_bytes([0; 32]);
        let ended = Revocation::of_session(some, now);
        let entry = ended.to_bytes();
        let before = entry.strip_suffix(some.as_bytes()).unwrap_or_default();
        let with = vec![
            Parameter::Text(user.to_owned()),
            micros(ended.until()),
            bytes(before),
        ];
        let rows = self.ask(sql::END_ALL, with).await?;
        Ok(rows.first().map_or(0, |row| whole(row.first())))
    }

    pub(super) async fn list(&self, page: &Page, now: Timestamp) -> Result<Listing, StoreError> {
        let after = page.after.as_ref().and_then(key_of);
        let most = page.size().min(MOST_LISTED);
        let mut with = vec![
            after.map_or_else(|| bytes(&[]), key_bytes),
            micros(now),
            count(most),
        ];
        let sql = match &page.user {
            Some(user) => {
                with.push(Parameter::Text(user.to_string()));
                sql::LIST_OF_USER
            }
            None => sql::LIST,
        };
        let mut listing = Listing::default();
        for row in self.ask(sql, with).await? {
            let Some(Cell::Bytes(key)) = row.first() else {
                continue;
            };
            if let Ok(key) = <[u8; 32]>::try_from(key.as_slice()) {
                let session = self.read(row.get(1))?;
                listing
                    .sessions
                    .push((SessionKey::from_bytes(key), session));
            }
        }
        if listing.sessions.len() == most {
            listing.next = listing.sessions.last().map(|(key, _)| mark_of(*key));
        }
        Ok(listing)
    }

    pub(super) async fn lease(
        &self,
        key: SessionKey,
        holder: Holder,
        time: Duration,
    ) -> Result<Lease, StoreError> {
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        // A year is as good as for ever, and no number of the database's own grows too large.
        let millis = Parameter::Whole(millis.clamp(1, 366 * 86_400_000));
        let with = vec![key_bytes(key), bytes(&holder), millis];
        let yours = !self.ask(sql::LEASE, with).await?.is_empty();
        Ok(if yours { Lease::Yours } else { Lease::Held })
    }

    pub(super) async fn revoke(&self, revocation: &Revocation) -> Result<Cursor, StoreError> {
        let with = vec![micros(revocation.until()), bytes(&revocation.to_bytes())];
        let rows = self.ask(sql::REVOKE, with).await?;
        let number = rows.first().map_or(0, |row| whole(row.first()));
        Ok(Cursor::from_number(number))
    }

    pub(super) async fn last(&self) -> Result<Cursor, StoreError> {
        let rows = self.ask(sql::LAST, Vec::new()).await?;
        let last = rows.first().map_or(0, |row| whole(row.first()));
        Ok(Cursor::from_number(last))
    }

    pub(super) async fn since(&self, cursor: Cursor, now: Timestamp) -> Result<Catch, StoreError> {
        let with = vec![number(cursor.number()), micros(now), count(AT_ONCE + 1)];
        let rows = self.ask(sql::SINCE, with).await?;
        let last = rows.first().map_or(0, |row| whole(row.first()));
        let mut catch = Catch {
            more: rows.len() > AT_ONCE,
            ..Catch::default()
        };
        for row in rows.iter().take(AT_ONCE) {
            let Some(Cell::Bytes(entry)) = row.get(2) else {
                // There was none behind the cursor.
                continue;
            };
            let read = Revocation::from_bytes(entry);
            let read = read.map_err(|damaged| unreadable(&self.0.shown, &damaged.to_string()))?;
            catch.revocations.push(read);
            catch.cursor = Cursor::from_number(whole(row.get(1)));
        }
        if !catch.more {
            catch.cursor = Cursor::from_number(last);
        }
        Ok(catch)
    }

    pub(super) async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        let (rows, most) = SWEPT;
        let mut swept = 0;
        for sql in sql::SWEEP {
            for _ in 0..most {
                let with = vec![micros(now), Parameter::Whole(rows)];
                let found = self.ask(sql, with).await?;
                let gone = found.first().map_or(0, |row| whole(row.first()));
                swept += gone;
                if gone < rows.unsigned_abs() {
                    break;
                }
            }
        }
        Ok(swept)
    }

    pub(super) async fn release(&self, key: SessionKey, holder: Holder) -> Result<(), StoreError> {
        let with = vec![key_bytes(key), bytes(&holder)];
        self.ask(sql::RELEASE, with).await.map(|_| ())
    }

    fn restless(&self) -> StoreError {
        StoreError::Busy {
            store: Arc::clone(&self.0.shown),
        }
    }
}

/// A count; 0 where it is none.
pub(super) fn whole(cell: Option<&Cell>) -> u64 {
    match cell {
        Some(Cell::Whole(number)) => u64::try_from(*number).unwrap_or(0),
        Some(_) | None => 0,
    }
}
