//! The homes of the gateway's own sessions: each implements `auth::ledger::Ledger`.

mod embedded;
mod follow;
mod leases;
mod log;
pub(super) mod look;
mod memory;
mod postgres;
mod redis;

use std::future::Future;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::embedded::Embedded;
use self::memory::{MOST_SESSIONS, Memory};
use self::postgres::{CountsInPostgres, InPostgres, ShelfInPostgres};
use self::redis::{CountsInRedis, InRedis, ShelfInRedis};
use super::StoreProblem;
use super::connection::{BadAddress, Options};
use super::desk::{Counter, Tally};
use super::engine::Engine;
use super::pool::Pool;
use crate::auth::ledger::{
    Counts, Cursor, Event, Events, Ledger, MOST_BEHIND, Revocation, SharedCounts, SharedLedger,
    SharedShelf, Told,
};
use crate::auth::ports::{StoreError, StoreStatus};
use crate::clock;
use crate::config::settings::{
    Database, DatabaseKind, LedgerHome, RedisHome, RedisNode, RedisPlace,
};

/// Between two sweeps of a home that does not drop by itself what is over.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// When a home that only one process may have is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opening {
    /// At once, or not at all.
    #[default]
    AtOnce,
    /// When this process, which hands over, has given it up.
    After(u32),
}

impl Opening {
    const fn predecessor(self) -> Option<u32> {
        match self {
            Self::AtOnce => None,
            Self::After(process) => Some(process),
        }
    }
}

/// Opens the home that `[session]` names.
///
/// # Errors
///
/// What is wrong with it, and what to do.
pub fn open(home: &LedgerHome, opening: Opening) -> Result<SharedLedger, StoreProblem> {
    let started = |error: std::io::Error| problem("session.store", &error);
    match home {
        LedgerHome::Memory => in_memory().map_err(started),
        LedgerHome::File(path) => in_file_when(path, opening),
        LedgerHome::Redis(redis) => in_redis(redis).map_err(started),
        LedgerHome::Postgres(database) => in_postgres(database),
    }
}

/// Sessions in memory: for tests, and where a restart may sign everyone out.
///
/// # Errors
///
/// Where the thread of the stores cannot be started.
pub fn in_memory() -> std::io::Result<SharedLedger> {
    let engine = Engine::start()?;
    let clerk = Clerk::new("memory", "memory".into(), engine);
    let memory = Arc::new(Memory::new(clerk, MOST_SESSIONS));
    memory.clerk().sweeps(&memory);
    Ok(memory)
}

/// Sessions in a file, which is made where it is not there. Takes as long as reading it does.
///
/// # Errors
///
/// Where another process has the file, it is damaged, or cannot be made; in words.
pub fn in_file(path: &Path) -> Result<SharedLedger, StoreProblem> {
    in_file_when(path, Opening::AtOnce)
}

fn in_file_when(path: &Path, opening: Opening) -> Result<SharedLedger, StoreProblem> {
    let engine = Engine::start().map_err(|error| problem("session.store", &error))?;
    let shown = format!("the file {}", path.display());
    let clerk = Clerk::new("embedded", shown.into(), engine);
    let opened = Embedded::open(path, clerk, opening);
    let embedded = Arc::new(opened.map_err(|error| problem("session.path", &error))?);
    embedded.clerk().sweeps(&embedded);
    Ok(embedded)
}

/// Sessions in Redis. Opens no connection before it is asked; follows from now on.
///
/// # Errors
///
/// Where the thread of the stores cannot be started.
pub fn in_redis(home: &RedisHome) -> std::io::Result<SharedLedger> {
    let engine = Engine::start()?;
    let clerk = Clerk::new("redis", shown(home).into(), engine);
    let redis = Arc::new(InRedis::new(home, clerk));
    redis.clerk().sweeps(&redis);
    Ok(redis)
}

/// Sessions in PostgreSQL. Opens no connection before it is asked; follows from now on.
///
/// # Errors
///
/// Where the address is none of a PostgreSQL, or the thread of the stores cannot be started.
pub fn in_postgres(database: &Database) -> Result<SharedLedger, StoreProblem> {
    let (pool, options, engine) = postgres(database)?;
    let clerk = Clerk::new("postgres", Arc::clone(&pool.counter.shown), engine);
    let postgres = Arc::new(InPostgres::new(pool, options, clerk));
    postgres.clerk().sweeps(&postgres);
    Ok(postgres)
}

/// Connections to a database that the gateway writes in, none of them open, and their thread.
fn postgres(database: &Database) -> Result<(Pool, PgConnectOptions, Arc<Engine>), StoreProblem> {
    let wrong = || problem("session.store", &BadAddress("PostgreSQL"));
    if database.kind != DatabaseKind::Postgres {
        return Err(wrong());
    }
    // What the library says of an address is dropped: it may quote it.
    let Ok(options) = PgConnectOptions::from_str(database.url.expose()) else {
        return Err(wrong());
    };
    let options = super::postgres::writing(options);
    let engine = Engine::start().map_err(|error| problem("session.store", &error))?;
    let asked = Options::Postgres(Box::new(options.clone()));
    Ok((Pool::new(database, asked, &engine), options, engine))
}

/// Opens where gateways count together, which is the home of `[session]`; `None` for one that a
/// gateway has to itself. Opens no connection before it is asked.
///
/// # Errors
///
/// What is wrong with it, and what to do.
pub fn open_counts(home: &LedgerHome) -> Result<Option<SharedCounts>, StoreProblem> {
    match home {
        LedgerHome::Memory | LedgerHome::File(_) => Ok(None),
        LedgerHome::Redis(redis) => {
            let engine = Engine::start().map_err(|error| problem("session.store", &error))?;
            let counter = Counter::new(shown(redis).into(), engine);
            Ok(Some(Arc::new(CountsInRedis::new(redis, counter))))
        }
        LedgerHome::Postgres(database) => {
            let (pool, _, engine) = postgres(database)?;
            let counter = Counter::new(Arc::clone(&pool.counter.shown), Arc::clone(&engine));
            let counts = Arc::new(CountsInPostgres::new(pool, counter));
            engine.spawn(sweeping_counts(Arc::downgrade(&counts)));
            Ok(Some(counts))
        }
    }
}

/// Opens where gateways keep things for each other, which is the home of `[session]`; `None` for one
/// that a gateway has to itself. Opens no connection before it is asked.
///
/// # Errors
///
/// What is wrong with it, and what to do.
pub fn open_shelf(home: &LedgerHome) -> Result<Option<SharedShelf>, StoreProblem> {
    match home {
        LedgerHome::Memory | LedgerHome::File(_) => Ok(None),
        LedgerHome::Redis(redis) => {
            let engine = Engine::start().map_err(|error| problem("session.store", &error))?;
            let counter = Counter::new(shown(redis).into(), engine);
            Ok(Some(Arc::new(ShelfInRedis::new(redis, counter))))
        }
        LedgerHome::Postgres(database) => {
            let (pool, _, engine) = postgres(database)?;
            let counter = Counter::new(Arc::clone(&pool.counter.shown), engine);
            Ok(Some(Arc::new(ShelfInPostgres::new(pool, counter))))
        }
    }
}

/// A Redis without credentials.
fn shown(home: &RedisHome) -> String {
    let list = |nodes: &[RedisNode]| {
        let nodes = nodes
            .iter()
            .map(|node| format!("{}:{}", node.host, node.port));
        nodes.collect::<Vec<_>>().join(",")
    };
    match &home.at {
        RedisPlace::Server(node) => {
            format!("Redis at {}:{}/{}", node.host, node.port, home.database)
        }
        RedisPlace::Socket(path) => format!("Redis at {}/{}", path.display(), home.database),
        RedisPlace::Sentinel {
            sentinels, master, ..
        } => format!("Redis {master:?} of the sentinels {}", list(sentinels)),
        RedisPlace::Cluster(nodes) => format!("the Redis cluster at {}", list(nodes)),
    }
}

fn problem(key: &str, error: &dyn std::error::Error) -> StoreProblem {
    StoreProblem {
        key: key.to_owned(),
        message: error.to_string(),
    }
}

/// What every home has: where its work is done and counted, and those who follow it.
#[derive(Debug)]
struct Clerk {
    counter: Arc<Counter>,
    tally: Arc<Tally>,
    events: broadcast::Sender<Event>,
    stop: CancellationToken,
    /// Ends the home's own tasks with it.
    _ends: DropGuard,
}

impl Clerk {
    fn new(kind: &'static str, shown: Arc<str>, engine: Arc<Engine>) -> Self {
        let stop = CancellationToken::new();
        Self {
            counter: Arc::new(Counter::new(shown, engine)),
            tally: Arc::new(Tally::new("session".into(), kind)),
            events: broadcast::Sender::new(MOST_BEHIND),
            _ends: stop.clone().drop_guard(),
            stop,
        }
    }

    /// Does work on the stores' thread, within its time.
    fn ask<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Told<T> {
        self.counter.ask(&self.tally, work)
    }

    /// The same desk, for the home's own tasks.
    fn desk(&self) -> Desk {
        Desk {
            counter: Arc::clone(&self.counter),
            tally: Arc::clone(&self.tally),
        }
    }

    /// Runs a task of the home's until the home is gone.
    fn runs(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.counter.engine().spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    fn shown(&self) -> &Arc<str> {
        &self.counter.shown
    }

    fn refused(&self, what: &str) -> StoreError {
        StoreError::Refused {
            store: Arc::clone(self.shown()),
            what: what.into(),
        }
    }

    fn tell(&self, revocation: Revocation, cursor: Cursor) {
        // Nobody may follow.
        let _ = self.events.send(Event::Revoked { revocation, cursor });
    }

    fn missed(&self) {
        let _ = self.events.send(Event::Missed);
    }

    fn subscribe(&self) -> Events {
        Events::new(self.events.subscribe())
    }

    fn status(&self) -> StoreStatus {
        self.tally.status()
    }

    /// Has a home swept as long as it is there.
    fn sweeps<H: Ledger + 'static>(&self, home: &Arc<H>) {
        self.runs(sweeping(Arc::downgrade(home)));
    }
}

/// Where a home's own tasks ask, counted like others.
struct Desk {
    counter: Arc<Counter>,
    tally: Arc<Tally>,
}

impl Desk {
    fn ask<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Told<T> {
        self.counter.ask(&self.tally, work)
    }
}

async fn sweeping(home: Weak<impl Ledger>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(home) = home.upgrade() else {
            return;
        };
        // How it went stands in the status.
        let _ = home.sweep(clock::now()).await;
    }
}

async fn sweeping_counts(counts: Weak<impl Counts>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(counts) = counts.upgrade() else {
            return;
        };
        // Who counts is told what is wrong.
        let _ = counts.sweep().await;
    }
}

/// An answer that is there at once.
fn ready<T: Send + 'static>(outcome: Result<T, StoreError>) -> Told<T> {
    Box::pin(std::future::ready(outcome))
}
