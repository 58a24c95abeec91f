//! Sessions in a file of the gateway's own: they survive restarts and kill -9.
//!
//! redb keeps it: crash-safe by copy-on-write, every page under a checksum, so that damage is told
//! and never read; readers wait for no writer. SQLite, which is here for the apps' databases, has
//! no checksums of its pages. Leases live in memory: one process at a time has the file. Where a
//! process takes over from another, the old one gives the file up, when no renewal is under way, and
//! the new one waits for it.

mod file;
mod tables;
mod threads;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

pub(in crate::store) use self::file::Unusable;
use self::threads::Threads;
use super::Clerk;
use super::Opening;
use super::leases::Leased;
use crate::auth::ledger::{
    Catch, Change, Cursor, Event, Events, Holder, Lease, Ledger, Listing, Page, Revocation,
    Session, SessionKey, Succession, Told,
};
use crate::auth::ports::StoreStatus;
use crate::clock::{self, Timestamp};

/// Between two looks whether leases were given back.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Sessions in a file.
#[derive(Debug)]
pub(super) struct Embedded {
    threads: Arc<Threads>,
    leases: Arc<Leased>,
    clerk: Clerk,
}

impl Embedded {
    /// Opens the file, or makes it; takes as long as reading all of it does.
    pub(super) fn open(path: &Path, clerk: Clerk, opening: Opening) -> Result<Self, Unusable> {
        Ok(Self {
            threads: Arc::new(Threads::start(path, clerk.shown(), opening)?),
            leases: Arc::default(),
            clerk,
        })
    }

    /// Where its work is counted.
    pub(super) const fn clerk(&self) -> &Clerk {
        &self.clerk
    }

    fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut tables::Tables<'_>) -> Result<T, tables::Fault> + Send + 'static,
        then: impl FnOnce(&broadcast::Sender<Event>, &T) + Send + 'static,
    ) -> Told<T> {
        let (threads, events) = (Arc::clone(&self.threads), self.clerk.events.clone());
        self.clerk
            .ask(async move { threads.write(change, move |done| then(&events, done)).await })
    }

    fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&redb::ReadTransaction) -> Result<T, tables::Fault> + Send + 'static,
    ) -> Told<T> {
        let threads = Arc::clone(&self.threads);
        self.clerk.ask(async move { threads.read(look).await })
    }

    /// The answer of a change that may find no room.
    fn fits<T: Send + 'static>(&self, done: Told<Result<T, tables::Full>>) -> Told<T> {
        let full = self.clerk.refused(
            "no more than 4,000,000 sessions and as many revocations are kept in a file; share a \
             Redis or PostgreSQL in `[session]`",
        );
        Box::pin(async move { done.await?.or(Err(full)) })
    }
}

fn tell(events: &broadcast::Sender<Event>, told: &(Revocation, Cursor)) {
    let (revocation, cursor) = told.clone();
    // Nobody may follow.
    let _ = events.send(Event::Revoked { revocation, cursor });
}

impl Ledger for Embedded {
    fn create(&self, key: SessionKey, session: Session) -> Told<()> {
        self.fits(self.write(move |tables| tables.create(key, &session), |_, _| {}))
    }

    fn load(&self, key: SessionKey, now: Timestamp) -> Told<Option<Session>> {
        self.read(move |read| {
            let stored = tables::load(read, key)?;
            Ok(stored.filter(|session| session.lives(now)))
        })
    }

    fn touch(&self, key: SessionKey, now: Timestamp) -> Told<bool> {
        let threads = Arc::clone(&self.threads);
        self.clerk.ask(async move {
            let stored = threads.read(move |read| tables::load(read, key)).await?;
            match stored.filter(|session| session.lives(now)) {
                None => Ok(false),
                Some(stored) if !stored.wants_touch(now) => Ok(true),
                Some(_) => {
                    threads
                        .write(move |tables| tables.touch(key, now), |_| {})
                        .await
                }
            }
        })
    }

    fn replace(&self, key: SessionKey, session: Session) -> Told<Change> {
        self.write(move |tables| tables.step(key, key, session), |_, _| {})
    }

    fn rotate(&self, keys: Succession, session: Session) -> Told<Change> {
        let (old, new, now) = (keys.old(), keys.next(), clock::now());
        let done = self.write(
            move |tables| {
                let change = tables.step(old, new, session)?;
                let moved = change == Change::Done;
                let ended = if moved {
                    Some(tables.end(old, now)?)
                } else {
                    None
                };
                Ok((change, ended))
            },
            |events, (_, ended)| ended.iter().for_each(|ended| tell(events, ended)),
        );
        Box::pin(async move { Ok(done.await?.0) })
    }

    fn end(&self, key: SessionKey, now: Timestamp) -> Told<()> {
        let done = self.write(move |tables| tables.end(key, now), tell);
        Box::pin(async move { done.await.map(|_| ()) })
    }

    fn end_all_of_user(&self, user: &str, now: Timestamp) -> Told<u64> {
        let user = user.to_owned();
        let done = self.write(
            move |tables| tables.end_all_of_user(&user, now),
            |events, all| all.iter().for_each(|ended| tell(events, ended)),
        );
        Box::pin(async move { Ok(done.await?.len() as u64) })
    }

    fn list(&self, page: Page, now: Timestamp) -> Told<Listing> {
        self.read(move |read| tables::list(read, &page, now))
    }

    fn lease(&self, key: SessionKey, holder: Holder, time: Duration) -> Told<Lease> {
        self.leases.lease(&self.clerk, key, holder, time)
    }

    fn release(&self, key: SessionKey, holder: Holder) -> Told<()> {
        self.leases.release(key, holder)
    }

    fn revoke(&self, revocation: Revocation, _now: Timestamp) -> Told<Cursor> {
        let told = revocation.clone();
        self.fits(self.write(
            move |tables| tables.revoke(&revocation),
            move |events, done| {
                if let Ok(cursor) = done {
                    tell(events, &(told, *cursor));
                }
            },
        ))
    }

    fn revocations_since(&self, cursor: Cursor, now: Timestamp) -> Told<Catch> {
        self.read(move |read| tables::since(read, cursor, now))
    }

    fn subscribe(&self) -> Events {
        self.clerk.subscribe()
    }

    /// In many small steps, between which others get their turn.
    fn sweep(&self, now: Timestamp) -> Told<u64> {
        self.leases.sweep();
        let (threads, desk) = (Arc::clone(&self.threads), self.clerk.desk());
        Box::pin(async move {
            let (mut swept, mut place) = (0, Some(tables::Place::FIRST));
            while let Some(at) = place {
                let reader = Arc::clone(&threads);
                let look = move |read: &redb::ReadTransaction| tables::over(read, at, now);
                let over = desk.ask(async move { reader.read(look).await }).await?;
                place = over.next;
                if !over.is_empty() {
                    let writer = Arc::clone(&threads);
                    let step = move |tables: &mut tables::Tables<'_>| tables.sweep(&over, now);
                    let gone = desk.ask(async move { writer.write(step, |_| {}).await });
                    swept += gone.await?;
                }
            }
            Ok(swept)
        })
    }

    fn status(&self) -> StoreStatus {
        self.clerk.status()
    }

    fn opening(&self) -> Option<Told<()>> {
        let opened = self.threads.opening()?;
        Some(Box::pin(async move {
            opened.await;
            Ok(())
        }))
    }

    /// A renewal that is under way ends first: its new tokens would be lost otherwise.
    fn give_up(&self, patience: Duration) -> Told<()> {
        let (threads, leases) = (Arc::clone(&self.threads), Arc::clone(&self.leases));
        let stopped = self.clerk.refused("the file cannot be given up");
        Box::pin(async move {
            let begun = clock::monotonic();
            while !leases.are_free()
                && clock::monotonic().saturating_duration_since(begun) < patience
            {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            let done = tokio::task::spawn_blocking(move || threads.give_up()).await;
            done.map_err(|_panic| stopped)
        })
    }
}
