//! Sessions in the gateway's own memory: gone with the process, and bounded.
//!
//! One ordered map for each of the 256 shards of keys, each behind its own lock. A session and its
//! successor are of one shard, so that a rotation is one step, and walking the shards in order is
//! walking all keys in order.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use super::leases::Leased;
use super::log::Log;
use super::{Clerk, ready};
use crate::auth::ledger::{
    Bookmark, Catch, Change, Cursor, Events, Holder, Lease, Ledger, Listing, Page, Revocation,
    Session, SessionKey, Succession, Told,
};
use crate::auth::ports::{StoreError, StoreStatus};
use crate::clock::{self, Timestamp};

/// Most sessions.
pub(super) const MOST_SESSIONS: usize = 262_144;
/// Most bytes of all sessions.
const MOST_BYTES: usize = 512 * 1024 * 1024;
/// What a session takes beside its bytes.
const OVERHEAD: usize = 256;

type Shard = BTreeMap<SessionKey, Session>;

/// Sessions in memory.
#[derive(Debug)]
pub(super) struct Memory {
    shards: Vec<RwLock<Shard>>,
    sessions: AtomicUsize,
    bytes: AtomicUsize,
    most: usize,
    leases: Leased,
    log: Mutex<Log>,
    clerk: Clerk,
}

impl Memory {
    /// Empty, for so many sessions.
    pub(super) fn new(clerk: Clerk, most: usize) -> Self {
        Self {
            shards: (0..=u8::MAX).map(|_| RwLock::default()).collect(),
            sessions: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            most,
            leases: Leased::default(),
            log: Mutex::default(),
            clerk,
        }
    }

    /// Where its work is counted.
    pub(super) const fn clerk(&self) -> &Clerk {
        &self.clerk
    }

    fn shard(&self, key: SessionKey) -> Option<&RwLock<Shard>> {
        // There is one for each.
        self.shards.get(usize::from(key.shard()))
    }

    fn put(&self, key: SessionKey, session: Session) -> Result<(), StoreError> {
        let weight = weight(&session);
        let full = self.sessions.load(Ordering::Relaxed) >= self.most
            || self.bytes.load(Ordering::Relaxed) + weight > MOST_BYTES;
        if full {
            return Err(self.clerk.refused(&format!(
                "no more than {} sessions or 512 MiB of them are kept in memory; name another \
                 `store` in `[session]`",
                self.most
            )));
        }
        if let Some(shard) = self.shard(key) {
            let before = write(shard).insert(key, session);
            self.count(weight, before.as_ref());
        }
        Ok(())
    }

    /// Notes what came in and what went.
    fn count(&self, came: usize, went: Option<&Session>) {
        if came > 0 {
            self.sessions.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(came, Ordering::Relaxed);
        }
        if let Some(went) = went {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
            self.bytes.fetch_sub(weight(went), Ordering::Relaxed);
        }
    }

    fn step(&self, old: SessionKey, new: SessionKey, session: Session) -> Change {
        let Some(shard) = self.shard(old) else {
            return Change::Gone;
        };
        let mut shard = write(shard);
        let Some(stored) = shard.get(&old) else {
            return Change::Gone;
        };
        if session.generation().previous() != Some(stored.generation()) {
            return Change::Stale;
        }
        let session = session.seen_at(stored.seen());
        let came = weight(&session);
        let went = shard.remove(&old);
        shard.insert(new, session);
        self.count(came, went.as_ref());
        Change::Done
    }

    fn take(&self, key: SessionKey) {
        if let Some(shard) = self.shard(key) {
            let went = write(shard).remove(&key);
            self.count(0, went.as_ref());
        }
    }

    /// Writes into the log and tells it, in the log's order.
    fn log(&self, revocation: Revocation, now: Timestamp) -> Result<Cursor, StoreError> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(cursor) = log.push(revocation.clone(), now) else {
            return Err(self.clerk.refused("no more revocations are kept in memory"));
        };
        self.clerk.tell(revocation, cursor);
        Ok(cursor)
    }

    fn ended(&self, key: SessionKey, now: Timestamp) {
        // A full log has no place for it; those who follow hear that they may have missed some.
        if self.log(Revocation::of_session(key, now), now).is_err() {
            self.clerk.missed();
        }
    }

    fn page(&self, page: &Page, now: Timestamp) -> Listing {
        let after = page.after.as_ref().and_then(key_of);
        let first = after.map_or(0, |key| usize::from(key.shard()));
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut listing = Listing::default();
        for shard in self.shards.iter().skip(first) {
            for (key, session) in read(shard).range((from, Bound::Unbounded)) {
                let wanted = page
                    .user
                    .as_deref()
                    .is_none_or(|user| user == session.user());
                if !wanted || !session.lives(now) {
                    continue;
                }
                if listing.sessions.len() == page.size() {
                    listing.next = listing.sessions.last().map(|(key, _)| mark_of(*key));
                    return listing;
                }
                listing.sessions.push((*key, session.clone()));
            }
        }
        listing
    }

    /// Takes all sessions that are so out, a shard at a time: none moves to another meanwhile.
    fn take_all(&self, mut so: impl FnMut(&Session) -> bool) -> Vec<SessionKey> {
        let mut keys = Vec::new();
        for shard in &self.shards {
            let mut shard = write(shard);
            for (key, went) in shard.extract_if(.., |_, session| so(session)) {
                self.count(0, Some(&went));
                keys.push(key);
            }
        }
        keys
    }
}

impl Ledger for Memory {
    fn create(&self, key: SessionKey, session: Session) -> Told<()> {
        ready(self.put(key, session))
    }

    fn load(&self, key: SessionKey, now: Timestamp) -> Told<Option<Session>> {
        let stored = self
            .shard(key)
            .and_then(|shard| read(shard).get(&key).cloned());
        ready(Ok(stored.filter(|session| session.lives(now))))
    }

    fn touch(&self, key: SessionKey, now: Timestamp) -> Told<bool> {
        let Some(shard) = self.shard(key) else {
            return ready(Ok(false));
        };
        let mut shard = write(shard);
        let Some(stored) = shard.get_mut(&key).filter(|session| session.lives(now)) else {
            return ready(Ok(false));
        };
        if stored.wants_touch(now) {
            *stored = stored.clone().seen_at(now);
        }
        ready(Ok(true))
    }

    fn replace(&self, key: SessionKey, session: Session) -> Told<Change> {
        ready(Ok(self.step(key, key, session)))
    }

    fn rotate(&self, keys: Succession, session: Session) -> Told<Change> {
        let change = self.step(keys.old(), keys.next(), session);
        if change == Change::Done {
            self.ended(keys.old(), clock::now());
        }
        ready(Ok(change))
    }

    fn end(&self, key: SessionKey, now: Timestamp) -> Told<()> {
        self.take(key);
        self.ended(key, now);
        ready(Ok(()))
    }

    fn end_all_of_user(&self, user: &str, now: Timestamp) -> Told<u64> {
        let keys = self.take_all(|session| session.user() == user);
        for key in &keys {
            self.ended(*key, now);
        }
        ready(Ok(keys.len() as u64))
    }

    fn list(&self, page: Page, now: Timestamp) -> Told<Listing> {
        ready(Ok(self.page(&page, now)))
    }

    fn lease(&self, key: SessionKey, holder: Holder, time: Duration) -> Told<Lease> {
        self.leases.lease(&self.clerk, key, holder, time)
    }

    fn release(&self, key: SessionKey, holder: Holder) -> Told<()> {
        self.leases.release(key, holder)
    }

    fn revoke(&self, revocation: Revocation, now: Timestamp) -> Told<Cursor> {
        ready(self.log(revocation, now))
    }

    fn revocations_since(&self, cursor: Cursor, now: Timestamp) -> Told<Catch> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        ready(Ok(log.since(cursor, now)))
    }

    fn subscribe(&self) -> Events {
        self.clerk.subscribe()
    }

    fn sweep(&self, now: Timestamp) -> Told<u64> {
        let swept = self.take_all(|session| !session.lives(now)).len() as u64;
        self.leases.sweep();
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        ready(Ok(swept + log.sweep(now)))
    }

    fn status(&self) -> StoreStatus {
        self.clerk.status()
    }
}

fn weight(session: &Session) -> usize {
    let texts = session.user().len() + session.handler().len() + session.client().len();
    OVERHEAD + texts + session.sealed().as_bytes().len()
}

/// The bookmark behind a key, for homes that list by key.
pub(super) fn mark_of(key: SessionKey) -> Bookmark {
    Bookmark::from_bytes(key.as_bytes())
}

/// The key that a bookmark stands behind; one that is of another home begins anew.
pub(super) fn key_of(mark: &Bookmark) -> Option<SessionKey> {
    let bytes = mark.as_bytes().try_into().ok()?;
    Some(SessionKey::from_bytes(bytes))
}

fn read(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(shard: &RwLock<Shard>) -> RwLockWriteGuard<'_, Shard> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::ledger::{Generation, SessionId, Start, seal};
    use crate::store::engine::Engine;

    fn session() -> (SessionKey, Session) {
        let id = SessionId::draw().unwrap();
        let session = Session::begin(Start {
            user: "7",
            handler: "edms",
            client: "192.0.2.7",
            now: clock::now(),
            lifetime: Duration::from_hours(2),
            idle: Duration::from_hours(1),
            sealed: seal(&id, Generation::FIRST, b"x").unwrap(),
        });
        (id.key(), session.unwrap())
    }

    #[tokio::test]
    async fn a_full_memory_refuses_new_sessions_and_keeps_those_that_live() {
        let clerk = Clerk::new("memory", "memory".into(), Engine::start().unwrap());
        let memory = Memory::new(clerk, 3);
        let mut kept = Vec::new();
        for _ in 0..3 {
            let (key, session) = session();
            memory.create(key, session).await.unwrap();
            kept.push(key);
        }
        let (key, more) = session();
        let told = memory.create(key, more.clone()).await.unwrap_err();
        assert!(
            told.to_string().contains("no more than 3 sessions"),
            "{told}"
        );
        for key in &kept {
            assert!(memory.load(*key, clock::now()).await.unwrap().is_some());
        }
        // One that ends, or is over and swept, makes room.
        memory.end(kept[0], clock::now()).await.unwrap();
        memory.create(key, more.clone()).await.unwrap();
        let later = clock::now().saturating_add(Duration::from_hours(3));
        assert!(memory.sweep(later).await.unwrap() >= 3);
        for _ in 0..3 {
            let (key, session) = session();
            memory.create(key, session).await.unwrap();
        }
        assert!(memory.create(key, more).await.is_err());
    }
}
