//! What stands in the file, and how each question reads and changes it.

use std::ops::Bound;

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table,
    TableDefinition, WriteTransaction,
};

use super::super::log::AT_ONCE;
use super::super::memory::{key_of, mark_of};
use crate::auth::ledger::{Catch, Change, Cursor, Listing, Page, Revocation, Session, SessionKey};
use crate::clock::Timestamp;

/// The form of the file that this version writes.
pub(super) const VERSION: u64 = 1;
/// Most sessions.
const MOST_SESSIONS: u64 = 4_000_000;
/// Most revocations.
const MOST_REVOKED: u64 = 4_000_000;

/// Most entries that one read looks at, so that the next does not wait long.
const MOST_LOOKED: usize = 2000;

type Key = &'static [u8; 32];
const SESSIONS: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("sessions");
const USERS: TableDefinition<'_, (&str, Key), ()> = TableDefinition::new("sessions_of_users");
const REVOKED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("revocations");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const FORM: &str = "version";
/// The number of the last revocation: it never goes back, whatever was swept.
const LAST: &str = "last_revocation";

/// Why a question got no answer from the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The library says so.
    #[error("{0}")]
    File(#[from] redb::Error),
    /// Bytes that do not read.
    #[error("{0}")]
    Damaged(#[from] crate::auth::ledger::Damaged),
}

/// The library has an error for each step.
macro_rules! faults {
    ($($kind:ty),+) => {
        $(impl From<$kind> for Fault {
            fn from(error: $kind) -> Self {
                Self::File(error.into())
            }
        })+
    };
}
faults!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError
);

/// No more fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Makes all tables.
pub(super) fn make(database: &Database) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    let mut tables = Tables::open(&transaction)?;
    tables.numbers.insert(FORM, VERSION)?;
    drop(tables);
    Ok(transaction.commit()?)
}

/// Which form the file has.
pub(super) fn version(database: &Database) -> Result<Option<u64>, Fault> {
    let numbers = database.begin_read()?.open_table(NUMBERS)?;
    Ok(numbers.get(FORM)?.map(|found| found.value()))
}

/// All tables in one change.
pub(super) struct Tables<'t> {
    sessions: Table<'t, Key, &'static [u8]>,
    users: Table<'t, (&'static str, Key), ()>,
    revoked: Table<'t, u64, &'static [u8]>,
    numbers: Table<'t, &'static str, u64>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, Fault> {
        Ok(Self {
            sessions: transaction.open_table(SESSIONS)?,
            users: transaction.open_table(USERS)?,
            revoked: transaction.open_table(REVOKED)?,
            numbers: transaction.open_table(NUMBERS)?,
        })
    }

    fn stored(&self, key: SessionKey) -> Result<Option<Session>, Fault> {
        match self.sessions.get(key.as_bytes())? {
            Some(found) => Ok(Some(Session::from_bytes(found.value())?)),
            None => Ok(None),
        }
    }

    fn put(&mut self, key: SessionKey, session: &Session) -> Result<(), Fault> {
        let bytes = session.to_bytes();
        self.sessions.insert(key.as_bytes(), bytes.as_slice())?;
        self.users.insert((session.user(), key.as_bytes()), ())?;
        Ok(())
    }

    fn take(&mut self, key: SessionKey) -> Result<(), Fault> {
        if let Some(session) = self.stored(key)? {
            self.sessions.remove(key.as_bytes())?;
            self.users.remove((session.user(), key.as_bytes()))?;
        }
        Ok(())
    }

    pub(super) fn create(
        &mut self,
        key: SessionKey,
        session: &Session,
    ) -> Result<Result<(), Full>, Fault> {
        if self.sessions.len()? >= MOST_SESSIONS {
            return Ok(Err(Full));
        }
        self.put(key, session)?;
        Ok(Ok(()))
    }

    pub(super) fn touch(&mut self, key: SessionKey, now: Timestamp) -> Result<bool, Fault> {
        let Some(stored) = self.stored(key)?.filter(|session| session.lives(now)) else {
            return Ok(false);
        };
        if stored.wants_touch(now) {
            self.put(key, &stored.seen_at(now))?;
        }
        Ok(true)
    }

    pub(super) fn step(
        &mut self,
        old: SessionKey,
        new: SessionKey,
        session: Session,
    ) -> Result<Change, Fault> {
        let Some(stored) = self.stored(old)? else {
            return Ok(Change::Gone);
        };
        if session.generation().previous() != Some(stored.generation()) {
            return Ok(Change::Stale);
        }
        if old != new {
            self.take(old)?;
        }
        self.put(new, &session.seen_at(stored.seen()))?;
        Ok(Change::Done)
    }

    /// Ends a session and notes it in the log.
    pub(super) fn end(
        &mut self,
        key: SessionKey,
        now: Timestamp,
    ) -> Result<(Revocation, Cursor), Fault> {
        self.take(key)?;
        let ended = Revocation::of_session(key, now);
        let cursor = self.note(&ended)?;
        Ok((ended, cursor))
    }

    pub(super) fn end_all_of_user(
        &mut self,
        user: &str,
        now: Timestamp,
    ) -> Result<Vec<(Revocation, Cursor)>, Fault> {
        let mut keys = Vec::new();
        for found in self.users.range((user, &[0; 32])..=(user, &[0xff; 32]))? {
            let (found, ()) = found.map(|(key, value)| (key, value.value()))?;
            keys.push(SessionKey::from_bytes(*found.value().1));
        }
        keys.into_iter().map(|key| self.end(key, now)).collect()
    }

    pub(super) fn revoke(
        &mut self,
        revocation: &Revocation,
    ) -> Result<Result<Cursor, Full>, Fault> {
        if self.revoked.len()? >= MOST_REVOKED {
            return Ok(Err(Full));
        }
        self.note(revocation).map(Ok)
    }

    fn note(&mut self, revocation: &Revocation) -> Result<Cursor, Fault> {
        let last = self.numbers.get(LAST)?.map_or(0, |last| last.value());
        let number = last.saturating_add(1);
        self.numbers.insert(LAST, number)?;
        self.revoked
            .insert(number, revocation.to_bytes().as_slice())?;
        Ok(Cursor::from_number(number))
    }

    /// Takes out those of `keys` and `numbers` that are still over; how many there were.
    pub(super) fn sweep(&mut self, over: &Over, now: Timestamp) -> Result<u64, Fault> {
        let mut swept = 0;
        for key in &over.sessions {
            if self
                .stored(*key)?
                .is_some_and(|session| !session.lives(now))
            {
                self.take(*key)?;
                swept += 1;
            }
        }
        for number in &over.revoked {
            swept += u64::from(self.revoked.remove(number)?.is_some());
        }
        Ok(swept)
    }
}

/// What a look found to be over.
#[derive(Debug, Default)]
pub(super) struct Over {
    pub(super) sessions: Vec<SessionKey>,
    pub(super) revoked: Vec<u64>,
    /// Where to look next; `None` behind the last of all.
    pub(super) next: Option<Place>,
}

/// Where a sweep looks: at revocations first, then at sessions.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Behind a number.
    Revocations(u64),
    /// Behind a session, or at the first.
    Sessions(Option<SessionKey>),
}

impl Place {
    /// Before everything.
    pub(super) const FIRST: Self = Self::Revocations(0);
}

impl Over {
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.revoked.is_empty()
    }
}

/// The session of a key.
pub(super) fn load(read: &ReadTransaction, key: SessionKey) -> Result<Option<Session>, Fault> {
    let sessions = read.open_table(SESSIONS)?;
    match sessions.get(key.as_bytes())? {
        Some(found) => Ok(Some(Session::from_bytes(found.value())?)),
        None => Ok(None),
    }
}

/// A page in the order of the keys.
pub(super) fn list(read: &ReadTransaction, page: &Page, now: Timestamp) -> Result<Listing, Fault> {
    let after = page.after.as_ref().and_then(key_of);
    let mut listing = Listing::default();
    let mut last = None;
    for (looked, key) in keys(read, page.user.as_deref(), after)?.enumerate() {
        if listing.sessions.len() == page.size() || looked == MOST_LOOKED {
            listing.next = last.map(mark_of);
            break;
        }
        let key = key?;
        last = Some(key);
        if let Some(session) = load(read, key)?.filter(|session| session.lives(now)) {
            listing.sessions.push((key, session));
        }
    }
    Ok(listing)
}

type Keys = Box<dyn Iterator<Item = Result<SessionKey, Fault>>>;

/// The keys behind one, of a user or of all.
fn keys(
    read: &ReadTransaction,
    user: Option<&str>,
    after: Option<SessionKey>,
) -> Result<Keys, Fault> {
    let after = after.as_ref().map(SessionKey::as_bytes);
    let Some(user) = user else {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = read
            .open_table(SESSIONS)?
            .range::<&[u8; 32]>((from, Bound::Unbounded))?;
        return Ok(Box::new(
            found.map(|found| Ok(SessionKey::from_bytes(*found?.0.value()))),
        ));
    };
    let (low, high) = ([0; 32], [0xff; 32]);
    let from = match after {
        Some(after) => Bound::Excluded((user, after)),
        None => Bound::Included((user, &low)),
    };
    let to = Bound::Included((user, &high));
    let found = read.open_table(USERS)?.range((from, to))?;
    Ok(Box::new(found.map(|found| {
        Ok(SessionKey::from_bytes(*found?.0.value().1))
    })))
}

/// What was revoked behind a cursor.
pub(super) fn since(
    read: &ReadTransaction,
    cursor: Cursor,
    now: Timestamp,
) -> Result<Catch, Fault> {
    let numbers = read.open_table(NUMBERS)?;
    let last = numbers.get(LAST)?.map_or(0, |last| last.value());
    let last = Cursor::from_number(last);
    let cursor = cursor.within(last);
    let behind = (Bound::Excluded(cursor.number()), Bound::Unbounded);
    let mut catch = Catch {
        cursor,
        ..Catch::default()
    };
    for found in read.open_table(REVOKED)?.range(behind)? {
        let (number, bytes) = found?;
        let revocation = Revocation::from_bytes(bytes.value())?;
        if revocation.until() <= now {
            continue;
        }
        if catch.revocations.len() == AT_ONCE {
            catch.more = true;
            return Ok(catch);
        }
        catch.revocations.push(revocation);
        catch.cursor = Cursor::from_number(number.value());
    }
    catch.cursor = last;
    Ok(catch)
}

/// Looks at some revocations or sessions behind a place.
pub(super) fn over(read: &ReadTransaction, at: Place, now: Timestamp) -> Result<Over, Fault> {
    match at {
        Place::Revocations(number) => revocations_over(read, number, now),
        Place::Sessions(after) => sessions_over(read, after, now),
    }
}

fn revocations_over(read: &ReadTransaction, behind: u64, now: Timestamp) -> Result<Over, Fault> {
    let mut over = Over {
        next: Some(Place::Sessions(None)),
        ..Over::default()
    };
    let behind = (Bound::Excluded(behind), Bound::Unbounded);
    let found = read.open_table(REVOKED)?.range(behind)?;
    for (looked, found) in found.enumerate() {
        let (number, bytes) = found?;
        if Revocation::from_bytes(bytes.value())?.until() <= now {
            over.revoked.push(number.value());
        }
        if looked + 1 == MOST_LOOKED {
            over.next = Some(Place::Revocations(number.value()));
            break;
        }
    }
    Ok(over)
}

fn sessions_over(
    read: &ReadTransaction,
    after: Option<SessionKey>,
    now: Timestamp,
) -> Result<Over, Fault> {
    let mut over = Over::default();
    let from = after.as_ref().map(SessionKey::as_bytes);
    let from = from.map_or(Bound::Unbounded, Bound::Excluded);
    let sessions = read.open_table(SESSIONS)?;
    let found = sessions.range::<&[u8; 32]>((from, Bound::Unbounded))?;
    for (looked, found) in found.enumerate() {
        let (key, bytes) = found?;
        let key = SessionKey::from_bytes(*key.value());
        if !Session::from_bytes(bytes.value())?.lives(now) {
            over.sessions.push(key);
        }
        if looked + 1 == MOST_LOOKED {
            over.next = Some(Place::Sessions(Some(key)));
            break;
        }
    }
    Ok(over)
}
