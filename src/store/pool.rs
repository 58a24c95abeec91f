//! A database that can be asked: a few connections, opened when needed and used again.
//!
//! The library's own pool asks the server once more before and after each question, without a
//! bound in time, and waits where a connection is refused. Here a connection that broke while it
//! was kept costs one more attempt at once, and one that hangs is dropped with its question.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::connection::{Connection, Options};
use super::desk::Counter;
use super::engine::Engine;
use super::fault::Fault;
use super::question::{Found, Question};
use crate::clock;
use crate::config::settings::{Database, DatabaseKind};

/// Connections to one database.
pub(super) const CONNECTIONS: usize = 8;
/// How long a connection is kept without a question: a firewall may forget it meanwhile.
const IDLE: Duration = Duration::from_mins(1);
/// How long a connection is kept at all: names may lead elsewhere by then.
const LIFE: Duration = Duration::from_mins(10);
/// The same for a file of SQLite, which may have been replaced by another.
const FILE_LIFE: Duration = Duration::from_secs(10);
/// Pause before a server that is just starting is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// For saying good-bye to a server.
const FAREWELL: Duration = Duration::from_millis(500);

/// One database.
#[derive(Debug)]
pub(super) struct Pool {
    database: Database,
    options: Options,
    life: Duration,
    kept: Mutex<Vec<Kept>>,
    slots: Semaphore,
    pub(super) counter: Arc<Counter>,
}

/// A connection between two questions.
struct Kept {
    connection: Connection,
    opened: Instant,
    used: Instant,
}

impl Pool {
    /// Opens nothing yet.
    pub(super) fn new(database: &Database, options: Options, engine: &Arc<Engine>) -> Self {
        let counter = Counter::new(options.shown(), Arc::clone(engine));
        Self {
            database: database.clone(),
            life: match database.kind {
                DatabaseKind::Postgres | DatabaseKind::MySql => LIFE,
                DatabaseKind::Sqlite => FILE_LIFE,
            },
            options,
            kept: Mutex::default(),
            slots: Semaphore::new(CONNECTIONS),
            counter: Arc::new(counter),
        }
    }

    /// Whether it is this database.
    pub(super) fn is_of(&self, database: &Database) -> bool {
        self.database == *database
    }

    /// Which of the three it is.
    pub(super) fn kind(&self) -> DatabaseKind {
        self.database.kind
    }

    /// Who asks, in the database's terms.
    pub(super) fn user(&self) -> Option<Arc<str>> {
        self.options.user()
    }

    /// Asks one question, on the stores' thread. Whoever calls it bounds it in time; given up
    /// while it hangs, its connection is closed.
    pub(super) async fn ask(&self, question: &Question) -> Result<Found, Fault> {
        let _slot = self.slots.acquire().await;
        // Every kept connection may have broken; after them comes a new one.
        loop {
            let (mut held, was_kept) = match self.take() {
                Some(held) => (held, true),
                None => (self.open().await?, false),
            };
            match held.connection.ask(question).await {
                Ok(found) => {
                    self.keep(held);
                    return Ok(found);
                }
                Err(fault) if was_kept && fault.broke() => {}
                Err(fault) => {
                    if fault.leaves_connection() {
                        self.keep(held);
                    }
                    return Err(fault);
                }
            }
        }
    }

    async fn open(&self) -> Result<Kept, Fault> {
        loop {
            match self.options.open().await {
                Ok(connection) => {
                    let now = clock::monotonic();
                    return Ok(Kept {
                        connection,
                        opened: now,
                        used: now,
                    });
                }
                Err(fault) if fault.passes() => tokio::time::sleep(PAUSE).await,
                Err(fault) => return Err(fault),
            }
        }
    }

    /// The connection that was used last, if one is fresh enough; closes those that are not.
    fn take(&self) -> Option<Kept> {
        let now = clock::monotonic();
        let fresh = |one: &Kept| {
            now.saturating_duration_since(one.used) < IDLE
                && now.saturating_duration_since(one.opened) < self.life
        };
        let mut kept = self.lock();
        let stale: Vec<_> = kept.extract_if(.., |one| !fresh(one)).collect();
        let taken = kept.pop();
        drop(kept);
        part(self.counter.engine(), stale);
        taken
    }

    fn keep(&self, mut held: Kept) {
        held.used = clock::monotonic();
        self.lock().push(held);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let kept = std::mem::take(&mut *self.lock());
        part(self.counter.engine(), kept);
    }
}

/// Closes connections politely, in the background and bounded in time.
fn part(engine: &Engine, connections: Vec<Kept>) {
    for one in connections {
        engine.spawn(async move {
            // One that does not take the good-bye is closed without.
            let _ = tokio::time::timeout(FAREWELL, one.connection.close()).await;
        });
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept")
            .field("opened", &self.opened)
            .finish_non_exhaustive()
    }
}
