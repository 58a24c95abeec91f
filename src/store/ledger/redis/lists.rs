//! Lists of sessions in Redis: of a user, and of each shard. A place in a list may be left without
//! its session, which ended by its idle time; it is passed over, and swept when its last end comes.

use super::{Redis, scripts};
use crate::auth::ledger::{Bookmark, Listing, Page, Session, SessionKey};
use crate::auth::ports::StoreError;
use crate::clock::{self, Timestamp};

/// Places looked at for one page, over all shards, and sessions that end in one go.
const MOST_LOOKED: usize = 500;
/// Shards looked at for one page.
const MOST_SHARDS: usize = 64;
/// Revocations forgotten in one step, so that others get their turn.
const FORGOTTEN: usize = 500;

/// Where a page of all sessions goes on: the shard, then the place behind which.
struct Mark {
    shard: u8,
    after: Vec<u8>,
}

/// Which of a list's places end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Those without a session too: their end may not have been told.
    All,
    /// Those that have one.
    Living,
}

/// A page as far as it goes.
struct Filling {
    listing: Listing,
    looked: usize,
}

impl Mark {
    fn read(bookmark: Option<&Bookmark>) -> Self {
        match bookmark.and_then(|mark| mark.as_bytes().split_first()) {
            Some((shard, after)) => Self {
                shard: *shard,
                after: after.to_vec(),
            },
            None => Self {
                shard: 0,
                after: Vec::new(),
            },
        }
    }

    fn write(shard: u8, after: &[u8]) -> Bookmark {
        Bookmark::from_bytes(&[&[shard], after].concat())
    }
}

impl Redis {
    /// Notes a session among those of its user.
    pub(super) async fn note(&self, key: SessionKey, session: &Session) -> Result<(), StoreError> {
        let now = clock::now();
        let mut note = scripts::NOTE.key(scripts::user(session.user()));
        note.arg(scripts::member(key, session))
            .arg(&scripts::end(now))
            .arg(scripts::kept_for(session, now));
        self.script(&note).await
    }

    /// Takes a session from those of its user.
    pub(super) async fn unnote(
        &self,
        key: SessionKey,
        session: &Session,
    ) -> Result<(), StoreError> {
        let mut remove = redis::cmd("ZREM");
        remove
            .arg(scripts::user(session.user()))
            .arg(scripts::member(key, session));
        self.command::<()>(&remove).await
    }

    /// A session that moves to another key meanwhile may be passed by under both: the list is
    /// gone through again until it has none that lives, and twice at least.
    pub(super) async fn end_all_of(&self, user: &str, now: Timestamp) -> Result<u64, StoreError> {
        let list = scripts::user(user);
        let mut ended = self.end_listed(&list, Which::All, now).await?;
        loop {
            let more = self.end_listed(&list, Which::Living, now).await?;
            ended += more;
            if more == 0 {
                return Ok(ended);
            }
        }
    }

    async fn end_listed(
        &self,
        list: &str,
        which: Which,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let (mut ended, mut behind) = (0, Vec::new());
        loop {
            let members = self.members(list, &behind, MOST_LOOKED).await?;
            for member in &members {
                let Some(key) = scripts::key_of(member) else {
                    continue;
                };
                if which == Which::Living && self.stored(key).await?.is_none() {
                    continue;
                }
                ended += u64::from(self.end(key, now).await?);
            }
            match members.into_iter().nth(MOST_LOOKED - 1) {
                Some(end) => behind = end,
                None => return Ok(ended),
            }
        }
    }

    pub(super) async fn list(&self, page: &Page, now: Timestamp) -> Result<Listing, StoreError> {
        let mark = Mark::read(page.after.as_ref());
        let mut filling = Filling {
            listing: Listing::default(),
            looked: 0,
        };
        if let Some(user) = &page.user {
            let of_user = scripts::user(user);
            let filled = self.fill(&mut filling, &of_user, mark.after, page, now);
            let last = filled.await?;
            filling.listing.next = last.map(|last| Mark::write(0, &last));
            return Ok(filling.listing);
        }
        let mut after = mark.after;
        for (shards, shard) in (mark.shard..=u8::MAX).enumerate() {
            if shards == MOST_SHARDS || filling.looked == MOST_LOOKED {
                filling.listing.next = Some(Mark::write(shard, &[]));
                break;
            }
            let (list, after) = (scripts::all(shard), std::mem::take(&mut after));
            if let Some(last) = self.fill(&mut filling, &list, after, page, now).await? {
                filling.listing.next = Some(Mark::write(shard, &last));
                break;
            }
        }
        Ok(filling.listing)
    }

    /// Adds the sessions of a list behind a place; the last place that was looked at, where there
    /// may be more.
    async fn fill(
        &self,
        filling: &mut Filling,
        list: &str,
        after: Vec<u8>,
        page: &Page,
        now: Timestamp,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let most = MOST_LOOKED.saturating_sub(filling.looked);
        let places = self.members(list, &after, most).await?;
        let whole = places.len() < most;
        let mut looked_at = after;
        for member in places {
            if filling.listing.sessions.len() == page.size() {
                return Ok(Some(looked_at));
            }
            filling.looked += 1;
            if let Some(key) = scripts::key_of(&member)
                && let Some(session) = self.stored(key).await?
                && session.lives(now)
            {
                filling.listing.sessions.push((key, session));
            }
            looked_at = member;
        }
        Ok((!whole).then_some(looked_at))
    }

    async fn members(
        &self,
        list: &str,
        after: &[u8],
        most: usize,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let from = match after {
            [] => b"-".to_vec(),
            after => [b"(", after].concat(),
        };
        let mut get = redis::cmd("ZRANGEBYLEX");
        get.arg(list)
            .arg(from)
            .arg("+")
            .arg(&["LIMIT", "0"])
            .arg(most);
        self.command(&get).await
    }

    pub(super) async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut swept = 0;
        for shard in 0..=u8::MAX {
            let mut remove = redis::cmd("ZREMRANGEBYLEX");
            remove
                .arg(scripts::all(shard))
                .arg("-")
                .arg([&b"("[..], &scripts::end(now)].concat());
            swept += self.command::<u64>(&remove).await?;
        }
        loop {
            let mut forget = scripts::FORGET.key(scripts::ENTRIES);
            forget
                .key(scripts::ENDS)
                .arg(scripts::millis(now))
                .arg(FORGOTTEN);
            let forgotten = self.script::<u64>(&forget).await?;
            swept += forgotten;
            if forgotten < FORGOTTEN as u64 {
                return Ok(swept);
            }
        }
    }
}
