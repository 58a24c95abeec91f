//! Sessions in PostgreSQL, shared by any number of gateways, in a schema that the gateway makes.
//!
//! Every step is one prepared statement on the stores' pool. Who follows is woken by `NOTIFY`, and
//! reads the log behind its cursor.

mod base;
mod counts;
pub(super) mod schema;
mod shelf;
mod sql;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::Notify;

use self::base::Base;
pub(super) use self::counts::InPostgres as CountsInPostgres;
pub(super) use self::shelf::InPostgres as ShelfInPostgres;
use super::follow::{Shared, follow};
use super::{Clerk, Desk};
use crate::auth::ledger::{
    Catch, Change, Cursor, Events, Holder, Lease, Ledger, Listing, Page, Revocation, Session,
    SessionKey, Succession, Told,
};
use crate::auth::ports::{StoreError, StoreStatus};
use crate::clock::{self, Timestamp};
use crate::store::pool::Pool;

/// Before a lost connection for messages is opened anew.
const PAUSE: Duration = Duration::from_millis(500);
/// For opening one.
const OPENING: Duration = Duration::from_secs(2);

/// Sessions in PostgreSQL.
#[derive(Debug)]
pub(super) struct InPostgres {
    base: Base,
    clerk: Clerk,
}

impl InPostgres {
    /// Opens nothing yet; follows from now on.
    pub(super) fn new(pool: Pool, options: PgConnectOptions, clerk: Clerk) -> Self {
        let base = Base::new(pool, Arc::clone(clerk.shown()));
        let wake = Arc::new(Notify::new());
        clerk.runs(listen(options, Arc::clone(&wake)));
        let log = Log {
            base: base.clone(),
            desk: clerk.desk(),
        };
        clerk.runs(follow(log, wake, clerk.events.clone()));
        Self { base, clerk }
    }

    /// Where its work is counted.
    pub(super) const fn clerk(&self) -> &Clerk {
        &self.clerk
    }

    fn ask<T, F>(&self, work: impl FnOnce(Base) -> F) -> Told<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.clerk.ask(work(self.base.clone()))
    }
}

/// Wakes who follows at each notification, and opens the connection anew when it breaks.
async fn listen(options: PgConnectOptions, wake: Arc<Notify>) {
    loop {
        // One connection, which is this task's alone; it is closed with the pool.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(OPENING)
            .connect_lazy_with(options.clone());
        let opening = tokio::time::timeout(OPENING, async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen("portcullis").await?;
            Ok::<_, sqlx::Error>(listener)
        });
        if let Ok(Ok(mut listener)) = opening.await {
            wake.notify_one();
            while let Ok(Some(_)) = listener.try_recv().await {
                wake.notify_one();
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The log, as it is followed.
struct Log {
    base: Base,
    desk: Desk,
}

impl Shared for Log {
    fn last(&self) -> Told<Cursor> {
        let base = self.base.clone();
        self.desk.ask(async move { base.last().await })
    }

    fn since(&self, cursor: Cursor) -> Told<Catch> {
        let base = self.base.clone();
        self.desk
            .ask(async move { base.since(cursor, clock::now()).await })
    }
}

impl Ledger for InPostgres {
    fn create(&self, key: SessionKey, session: Session) -> Told<()> {
        self.ask(async move |base| base.create(key, &session).await)
    }

    fn load(&self, key: SessionKey, now: Timestamp) -> Told<Option<Session>> {
        self.ask(async move |base| {
            let stored = base.stored(key).await?;
            Ok(stored.filter(|session| session.lives(now)))
        })
    }

    fn touch(&self, key: SessionKey, now: Timestamp) -> Told<bool> {
        self.ask(async move |base| base.touch(key, now).await)
    }

    fn replace(&self, key: SessionKey, session: Session) -> Told<Change> {
        self.ask(async move |base| base.step((key, key), session).await)
    }

    fn rotate(&self, keys: Succession, session: Session) -> Told<Change> {
        self.ask(async move |base| base.step((keys.old(), keys.next()), session).await)
    }

    fn end(&self, key: SessionKey, now: Timestamp) -> Told<()> {
        self.ask(async move |base| base.end(key, now).await)
    }

    fn end_all_of_user(&self, user: &str, now: Timestamp) -> Told<u64> {
        let user = user.to_owned();
        self.ask(async move |base| base.end_all_of(&user, now).await)
    }

    fn list(&self, page: Page, now: Timestamp) -> Told<Listing> {
        self.ask(async move |base| base.list(&page, now).await)
    }

    fn lease(&self, key: SessionKey, holder: Holder, time: Duration) -> Told<Lease> {
        self.ask(async move |base| base.lease(key, holder, time).await)
    }

    fn release(&self, key: SessionKey, holder: Holder) -> Told<()> {
        self.ask(async move |base| base.release(key, holder).await)
    }

    fn revoke(&self, revocation: Revocation, _now: Timestamp) -> Told<Cursor> {
        self.ask(async move |base| base.revoke(&revocation).await)
    }

    fn revocations_since(&self, cursor: Cursor, now: Timestamp) -> Told<Catch> {
        self.ask(async move |base| base.since(cursor, now).await)
    }

    fn subscribe(&self) -> Events {
        self.clerk.subscribe()
    }

    fn sweep(&self, now: Timestamp) -> Told<u64> {
        self.ask(async move |base| base.sweep(now).await)
    }

    fn status(&self) -> StoreStatus {
        self.clerk.status()
    }
}
