//! The gateway's own sessions and revocations: what is asked of whoever keeps them.
//!
//! [`Ledger`] is the one interface; memory, a file, Redis and PostgreSQL implement it (`store`),
//! and nothing here knows how. A store sees a [`SessionKey`], the hash of the cookie, and sealed
//! bytes that open with the cookie's value alone ([`seal`]): who reads the store can neither take
//! a session over nor read its tokens.
//!
//! What was answered for is kept, as durably as the home says. "Not there" is an answer; "could
//! not find out" is a [`StoreError`], which is neither a refusal nor a pass.

mod codec;
mod count;
mod event;
mod id;
mod page;
mod record;
mod revocation;
mod seal;
mod shelf;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use codec::Damaged;
pub use count::{AccountKey, Counts, Pace, SharedCounts};
pub use event::{Event, Events, MOST_BEHIND};
pub use id::{BadKey, NoRandomness, SessionId, SessionKey, Succession};
pub use page::{BadBookmark, Bookmark, Listing, MOST_LISTED, Page};
pub use record::{BadSession, Generation, LONGEST_LIFE, Session, Start};
pub use revocation::{Catch, Cursor, Revocation, Revoked, TokenMark};
pub use seal::{MOST_SEALED, SealError, Sealed, open, seal};
pub use shelf::{MOST_ON_SHELF, SharedShelf, Shelf, ShelfKey};

use super::ports::{StoreError, StoreStatus};
use crate::clock::Timestamp;

/// What a ledger answers, some time later. May be awaited on any runtime, and is bounded in time.
///
/// The work may go on when nobody waits for it any more.
pub type Told<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// How often a session's `seen` is written at most.
pub const TOUCH_EVERY: Duration = Duration::from_mins(1);
/// How long the end of a session stands in the log for those who catch up.
///
/// Who could not follow for longer loads what it still holds open: a session that ended is not there.
pub const ENDED_KEPT: Duration = Duration::from_hours(1);

/// Whether a change took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It did.
    Done,
    /// There is no such session any more.
    Gone,
    /// Somebody else was first: the stored generation is another. Load it and look.
    ///
    /// Where a connection broke in the middle, it may have been this caller itself.
    Stale,
}

/// Who may do what only one may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// The caller, until the time is over or [`Ledger::release`].
    Yours,
    /// Somebody else.
    Held,
}

/// A random token that names the holder of a lease.
pub type Holder = [u8; 16];

/// A holder that nobody else is.
///
/// # Errors
///
/// [`NoRandomness`] where the system has none.
pub fn holder() -> Result<Holder, NoRandomness> {
    id::random()
}

/// Where the gateway's own sessions and revocations are kept. Shared by all workers.
///
/// Each answer comes within the home's time limit. A write that was answered with an error may
/// have taken place all the same; each may be asked for again.
pub trait Ledger: Debug + Send + Sync {
    /// Keeps a new session.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] where no more fit; no live session makes room.
    fn create(&self, key: SessionKey, session: Session) -> Told<()>;

    /// The session of a key, where it lives at `now`: neither its end nor its idle time is over.
    fn load(&self, key: SessionKey, now: Timestamp) -> Told<Option<Session>>;

    /// Notes that a session is in use. Nothing is written where less than [`TOUCH_EVERY`] went by;
    /// `false` where there is no such session.
    fn touch(&self, key: SessionKey, now: Timestamp) -> Told<bool>;

    /// Puts `session` in the place of the stored one, if that is the generation before it. Of any
    /// number who try at once one is told [`Change::Done`].
    fn replace(&self, key: SessionKey, session: Session) -> Told<Change>;

    /// Like `replace`, and moves the session to another key in the same step: at no time is it
    /// under both or under none. The old key's end is told to those who follow.
    fn rotate(&self, keys: Succession, session: Session) -> Told<Change>;

    /// Ends a session and tells everyone who follows. Told even where the session is gone already,
    /// so that asking again after an error mends what the first attempt left; call it for a session
    /// that was loaded, not for whatever a client sends.
    fn end(&self, key: SessionKey, now: Timestamp) -> Told<()>;

    /// Ends all sessions of a user and tells it; how many there were. To keep tokens out too,
    /// revoke those issued before now.
    fn end_all_of_user(&self, user: &str, now: Timestamp) -> Told<u64>;

    /// A page of the sessions that live at `now`.
    fn list(&self, page: Page, now: Timestamp) -> Told<Listing>;

    /// Asks to be the one who does what only one may do for a session, such as its refresh. A
    /// holder who has it gets it again, from now on. The home's clock measures `time`.
    fn lease(&self, key: SessionKey, holder: Holder, time: Duration) -> Told<Lease>;

    /// Gives a lease back, if it is still this holder's.
    fn release(&self, key: SessionKey, holder: Holder) -> Told<()>;

    /// Notes a revocation and tells it; for a session's end use [`Ledger::end`]. The cursor
    /// stands behind it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] where no more fit.
    fn revoke(&self, revocation: Revocation, now: Timestamp) -> Told<Cursor>;

    /// What was revoked behind a cursor and still counts at `now`, oldest first, so many at most;
    /// [`Cursor::START`] for all. A cursor that the log has not come to is of one that was lost:
    /// then all comes, and the answer's cursor is the one to go on from.
    fn revocations_since(&self, cursor: Cursor, now: Timestamp) -> Told<Catch>;

    /// Follows what ends and what is revoked, from now on. The first event of a home that others
    /// share is [`Event::Missed`], sent when following began: catch up then.
    fn subscribe(&self) -> Events;

    /// Takes out what is over at `now`; how many entries went. Each home does so by itself too.
    fn sweep(&self, now: Timestamp) -> Told<u64>;

    /// How it stands.
    fn status(&self) -> StoreStatus;

    /// Where the process before still has the home: what waits until it is this one's. It waits as
    /// long as that takes. `None` where the home can be asked.
    fn opening(&self) -> Option<Told<()>> {
        None
    }

    /// Leaves the home to another process, where only one may have it: once no lease is held, or
    /// `patience` is over. Whatever is asked afterwards has no answer.
    fn give_up(&self, _patience: Duration) -> Told<()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A ledger as all share it.
pub type SharedLedger = Arc<dyn Ledger>;
