//! Sessions in Redis, shared by any number of gateways: one server, with sentinels, a cluster.
//!
//! Steps that must be one are scripts ([`scripts`]); what is over goes by its time to live. In a
//! cluster a user's list, the session and the log are on different servers: the list is written
//! before the session, and the log after it, so that what is left by a gateway that dies between
//! is a place in a list without a session, or an end that others hear of by loading.

mod counts;
mod link;
mod lists;
mod scripts;
mod shelf;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use redis::{Cmd, FromRedisValue, RedisError, ScriptInvocation};
use tokio::sync::Notify;

pub(super) use self::counts::InRedis as CountsInRedis;
pub(super) use self::link::{Link, Question};
pub(super) use self::shelf::InRedis as ShelfInRedis;
use super::Clerk;
use super::follow::{Shared, follow};
use super::log::AT_ONCE;
use crate::auth::ledger::{
    Catch, Change, Cursor, Events, Holder, Lease, Ledger, Listing, Page, Revocation, Session,
    SessionKey, Succession, Told,
};
use crate::auth::ports::{StoreError, StoreStatus};
use crate::clock::{self, Timestamp};
use crate::config::settings::RedisHome;

use crate::store::fault::unreadable;

/// How often a change is begun anew because the session was touched in between.
const MOST_TRIES: usize = 8;
/// Before a lost connection for messages is opened anew.
const PAUSE: Duration = Duration::from_millis(500);
/// For opening one.
const OPENING: Duration = Duration::from_secs(2);

/// Sessions in Redis.
#[derive(Debug)]
pub(super) struct InRedis {
    redis: Redis,
    clerk: Clerk,
}

/// A Redis and its words.
#[derive(Clone, Debug)]
struct Redis {
    link: Arc<Link>,
    shown: Arc<str>,
}

impl InRedis {
    /// Opens nothing yet; follows from now on.
    pub(super) fn new(home: &RedisHome, clerk: Clerk) -> Self {
        let shown = Arc::clone(clerk.shown());
        let redis = Redis {
            link: Arc::new(Link::new(home, Arc::clone(&shown))),
            shown,
        };
        let wake = Arc::new(Notify::new());
        clerk.runs(listen(Arc::clone(&redis.link), Arc::clone(&wake)));
        let log = Log {
            redis: redis.clone(),
            desk: clerk.desk(),
        };
        clerk.runs(follow(log, wake, clerk.events.clone()));
        Self { redis, clerk }
    }

    /// Where its work is counted.
    pub(super) const fn clerk(&self) -> &Clerk {
        &self.clerk
    }

    fn ask<T, F>(&self, work: impl FnOnce(Redis) -> F) -> Told<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.clerk.ask(work(self.redis.clone()))
    }
}

impl Redis {
    async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        self.link.ask(Question::Command(command)).await
    }

    async fn script<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        self.link.ask(Question::Script(script)).await
    }

    async fn stored(&self, key: SessionKey) -> Result<Option<Session>, StoreError> {
        let at = scripts::session(key);
        let get = redis::cmd("GET").arg(at).to_owned();
        let found: Option<Vec<u8>> = self.command(&get).await?;
        found.map(|bytes| self.read(&bytes)).transpose()
    }

    fn read(&self, bytes: &[u8]) -> Result<Session, StoreError> {
        Session::from_bytes(bytes).map_err(|damaged| unreadable(&self.shown, &damaged.to_string()))
    }

    async fn create(&self, key: SessionKey, session: &Session) -> Result<(), StoreError> {
        self.note(key, session).await?;
        let mut create = scripts::CREATE.key(scripts::session(key));
        create
            .key(scripts::all(key.shard()))
            .arg(session.to_bytes())
            .arg(scripts::drops_at(session))
            .arg(scripts::member(key, session));
        self.script::<()>(&create).await
    }

    /// Puts `session` in the place of `stored`, if that is still there.
    async fn swap(
        &self,
        (old, new): (SessionKey, SessionKey),
        stored: &Session,
        session: &Session,
    ) -> Result<bool, StoreError> {
        let before = stored.to_bytes();
        let head = before.get(..Session::SEEN_AT.end).unwrap_or_default();
        let mut swap = scripts::SWAP.key(scripts::session(old));
        swap.key(scripts::session(new))
            .key(scripts::all(old.shard()))
            .arg(head)
            .arg(session.to_bytes())
            .arg(scripts::drops_at(session))
            .arg(scripts::member(old, stored))
            .arg(scripts::member(new, session));
        self.script::<bool>(&swap).await
    }

    async fn touch(&self, key: SessionKey, now: Timestamp) -> Result<bool, StoreError> {
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

    async fn step(
        &self,
        (old, new): (SessionKey, SessionKey),
        session: Session,
    ) -> Result<Change, StoreError> {
        for _ in 0..MOST_TRIES {
            let Some(stored) = self.stored(old).await? else {
                return Ok(Change::Gone);
            };
            if session.generation().previous() != Some(stored.generation()) {
                return Ok(Change::Stale);
            }
            let session = session.clone().seen_at(stored.seen());
            if old != new {
                self.note(new, &session).await?;
            }
            if self.swap((old, new), &stored, &session).await? {
                if old != new {
                    self.unnote(old, &stored).await?;
                    self.log(&Revocation::of_session(old, clock::now())).await?;
                }
                return Ok(Change::Done);
            }
            if old != new {
                self.unnote(new, &session).await?;
            }
        }
        Err(self.restless())
    }

    async fn end(&self, key: SessionKey, now: Timestamp) -> Result<bool, StoreError> {
        let stored = self.stored(key).await?;
        if let Some(stored) = &stored {
            let mut end = scripts::END.key(scripts::session(key));
            end.key(scripts::all(key.shard()))
                .arg(scripts::member(key, stored));
            self.script::<()>(&end).await?;
            self.unnote(key, stored).await?;
        }
        self.log(&Revocation::of_session(key, now)).await?;
        Ok(stored.is_some())
    }

    async fn lease(
        &self,
        key: SessionKey,
        holder: Holder,
        time: Duration,
    ) -> Result<Lease, StoreError> {
        let millis = u64::try_from(time.as_millis())
            .unwrap_or(u64::MAX / 4)
            .max(1);
        let mut lease = scripts::LEASE.key(scripts::lease(key));
        lease.arg(&holder).arg(millis);
        let yours = self.script::<bool>(&lease);
        Ok(if yours.await? {
            Lease::Yours
        } else {
            Lease::Held
        })
    }

    async fn log(&self, revocation: &Revocation) -> Result<Cursor, StoreError> {
        let mut revoke = scripts::REVOKE.key(scripts::NUMBER);
        revoke
            .key(scripts::ENTRIES)
            .key(scripts::ENDS)
            .arg(revocation.to_bytes())
            .arg(scripts::millis(revocation.until()))
            .arg(scripts::CHANNEL)
            .arg(scripts::MOST_REVOKED);
        match self.script::<u64>(&revoke).await? {
            0 => Err(StoreError::Refused {
                store: Arc::clone(&self.shown),
                what: "no more than 4,000,000 revocations are kept".into(),
            }),
            number => Ok(Cursor::from_number(number)),
        }
    }

    async fn last(&self) -> Result<Cursor, StoreError> {
        let get = redis::cmd("GET").arg(scripts::NUMBER).to_owned();
        let last: Option<u64> = self.command(&get).await?;
        Ok(Cursor::from_number(last.unwrap_or(0)))
    }

    async fn since(&self, cursor: Cursor, now: Timestamp) -> Result<Catch, StoreError> {
        let last = self.last().await?;
        let from = cursor.within(last);
        let mut get = redis::cmd("ZRANGEBYSCORE");
        get.arg(scripts::ENTRIES)
            .arg(format!("({}", from.number()))
            .arg("+inf")
            .arg("WITHSCORES")
            .arg(&["LIMIT", "0"])
            .arg(AT_ONCE + 1);
        let found: Vec<(Vec<u8>, u64)> = self.command(&get).await?;
        let mut catch = Catch {
            more: found.len() > AT_ONCE,
            cursor: from,
            ..Catch::default()
        };
        for (bytes, number) in found.into_iter().take(AT_ONCE) {
            let read = Revocation::from_bytes(&bytes);
            let read = read.map_err(|damaged| unreadable(&self.shown, &damaged.to_string()))?;
            if read.until() > now {
                catch.revocations.push(read);
            }
            catch.cursor = Cursor::from_number(number);
        }
        if !catch.more {
            catch.cursor = catch.cursor.max(last);
        }
        Ok(catch)
    }

    fn restless(&self) -> StoreError {
        StoreError::Busy {
            store: Arc::clone(&self.shown),
        }
    }
}

/// Wakes who follows at each message, and opens the connection anew when it breaks. One that hangs
/// costs half a second at each message, by which time who follows looks without.
async fn listen(link: Arc<Link>, wake: Arc<Notify>) {
    loop {
        let opening = tokio::time::timeout(OPENING, async {
            let mut messages = link.client().await?.get_async_pubsub().await?;
            messages.subscribe(scripts::CHANNEL).await?;
            Ok::<_, RedisError>(messages)
        });
        if let Ok(Ok(mut messages)) = opening.await {
            wake.notify_one();
            let mut messages = messages.on_message();
            while messages.next().await.is_some() {
                wake.notify_one();
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The log, as it is followed.
struct Log {
    redis: Redis,
    desk: super::Desk,
}

impl Shared for Log {
    fn last(&self) -> Told<Cursor> {
        let redis = self.redis.clone();
        self.desk.ask(async move { redis.last().await })
    }

    fn since(&self, cursor: Cursor) -> Told<Catch> {
        let redis = self.redis.clone();
        self.desk
            .ask(async move { redis.since(cursor, clock::now()).await })
    }
}

impl Ledger for InRedis {
    fn create(&self, key: SessionKey, session: Session) -> Told<()> {
        self.ask(async move |redis| redis.create(key, &session).await)
    }

    fn load(&self, key: SessionKey, now: Timestamp) -> Told<Option<Session>> {
        self.ask(async move |redis| {
            let stored = redis.stored(key).await?;
            Ok(stored.filter(|session| session.lives(now)))
        })
    }

    fn touch(&self, key: SessionKey, now: Timestamp) -> Told<bool> {
        self.ask(async move |redis| redis.touch(key, now).await)
    }

    fn replace(&self, key: SessionKey, session: Session) -> Told<Change> {
        self.ask(async move |redis| redis.step((key, key), session).await)
    }

    fn rotate(&self, keys: Succession, session: Session) -> Told<Change> {
        self.ask(async move |redis| redis.step((keys.old(), keys.next()), session).await)
    }

    fn end(&self, key: SessionKey, now: Timestamp) -> Told<()> {
        self.ask(async move |redis| redis.end(key, now).await.map(|_| ()))
    }

    fn end_all_of_user(&self, user: &str, now: Timestamp) -> Told<u64> {
        let user = user.to_owned();
        self.ask(async move |redis| redis.end_all_of(&user, now).await)
    }

    fn list(&self, page: Page, now: Timestamp) -> Told<Listing> {
        self.ask(async move |redis| redis.list(&page, now).await)
    }

    fn lease(&self, key: SessionKey, holder: Holder, time: Duration) -> Told<Lease> {
        self.ask(async move |redis| redis.lease(key, holder, time).await)
    }

    fn release(&self, key: SessionKey, holder: Holder) -> Told<()> {
        self.ask(async move |redis| {
            let mut release = scripts::RELEASE.key(scripts::lease(key));
            release.arg(&holder);
            redis.script::<()>(&release).await
        })
    }

    fn revoke(&self, revocation: Revocation, _now: Timestamp) -> Told<Cursor> {
        self.ask(async move |redis| redis.log(&revocation).await)
    }

    fn revocations_since(&self, cursor: Cursor, now: Timestamp) -> Told<Catch> {
        self.ask(async move |redis| redis.since(cursor, now).await)
    }

    fn subscribe(&self) -> Events {
        self.clerk.subscribe()
    }

    /// Sessions go by themselves; this forgets places in lists, and revocations.
    fn sweep(&self, now: Timestamp) -> Told<u64> {
        self.ask(async move |redis| redis.sweep(now).await)
    }

    fn status(&self) -> StoreStatus {
        self.clerk.status()
    }
}
