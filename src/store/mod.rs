//! The apps' own databases and caches, asked for sessions and users.
//!
//! Implements what `auth::ports` asks for, on PostgreSQL, MySQL, SQLite, Redis and folders of files.
//! All of it lives on one thread with a runtime of its own, so that a worker never runs a database's library:
//! [`Stores`] starts it when something has to be asked, and it ends with the last who holds it.
//!
//! Every question is bounded: two seconds in all, 1024 at a time at one store, eight connections
//! to one database, bytes and rows of an answer. None of it writes: databases are opened read
//! only, and a Redis gets `GETRANGE` and nothing else. What the gateway keeps itself is [`ledger`].

mod assemble;
mod cell;
mod columns;
mod connection;
mod desk;
mod directory;
mod django;
mod engine;
mod fault;
mod files;
pub mod ledger;
pub mod look;
mod mysql;
mod names;
mod pool;
mod postgres;
mod question;
mod redis;
mod sessions;
mod sql;
mod sqlite;

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

pub use assemble::{assemble, assemble_when};

use self::directory::Users;
use self::engine::Engine;
use self::pool::Pool;
use self::redis::Line;
use self::sessions::Sessions;
use crate::auth::ledger::{SessionKey, SharedCounts, SharedLedger, SharedShelf};
use crate::auth::ports::{self, DirectorySource, SessionSource, StoreStatus};
use crate::clock;
use crate::config::settings::{DirectoryId, LedgerHome};

/// A session key that no app ever gives out: it is too long for Django and no token of Flask-Session.
const NOBODY: &str = "portcullis.asks.whether.anyone.is.there";

/// A mistake in what the configuration says of a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct StoreProblem {
    /// The key's path in the file, such as `auth.app.database`.
    pub key: String,
    /// What is wrong and what to do; never the address itself, which may hold a password.
    pub message: String,
}

/// All stores of one configuration. Opens nothing before the first question.
#[derive(Debug, Default)]
pub struct Stores {
    engine: Option<Arc<Engine>>,
    /// By the authenticator's place.
    sessions: Vec<Option<Arc<Sessions>>>,
    /// By [`DirectoryId`].
    directories: Vec<Option<Arc<Users>>>,
    /// To carry over to the next configuration; they live as long as who asks them.
    pools: Vec<Weak<Pool>>,
    lines: Vec<Weak<Line>>,
    /// Where the gateway keeps its own sessions.
    ledger: Option<(LedgerHome, SharedLedger)>,
    /// Where gateways count together.
    counts: Option<(LedgerHome, SharedCounts)>,
    /// Where gateways keep things for each other.
    shelf: Option<(LedgerHome, SharedShelf)>,
}

impl Stores {
    /// Where the sessions of an authenticator are kept, by its place in the settings.
    #[must_use]
    pub fn sessions(&self, authenticator: usize) -> Option<Arc<dyn SessionSource>> {
        let found = self.sessions.get(authenticator)?.clone()?;
        Some(found)
    }

    /// The directory at a place in the settings, where it is asked by a store.
    #[must_use]
    pub fn directory(&self, id: DirectoryId) -> Option<Arc<dyn DirectorySource>> {
        let found = self.directories.get(id.0)?.clone()?;
        Some(found)
    }

    /// Where the gateway keeps its own sessions.
    #[must_use]
    pub fn ledger(&self) -> Option<&SharedLedger> {
        self.ledger.as_ref().map(|(_, ledger)| ledger)
    }

    /// Where gateways count together, where a limit asks for it.
    #[must_use]
    pub fn counts(&self) -> Option<&SharedCounts> {
        self.counts.as_ref().map(|(_, counts)| counts)
    }

    /// Where gateways keep things for each other, where `[tls.acme]` asks for it.
    #[must_use]
    pub fn shelf(&self) -> Option<&SharedShelf> {
        self.shelf.as_ref().map(|(_, shelf)| shelf)
    }

    /// How all stores stand: those of sessions, then directories, in the order of the settings.
    #[must_use]
    pub fn statuses(&self) -> Vec<StoreStatus> {
        let sessions = self.sessions.iter().flatten();
        let directories = self.directories.iter().flatten();
        let sessions = sessions.map(|one| one.tally().status());
        let ledger = self.ledger().map(|ledger| ledger.status());
        sessions
            .chain(directories.map(|one| one.tally().status()))
            .chain(ledger)
            .collect()
    }

    /// Asks those whose last question failed once more, a question that nobody's session or user
    /// answers, so that one who is back is known to be back though no request asks.
    pub async fn ask_again(&self) {
        for one in self.sessions.iter().flatten() {
            if one.status().problem.is_some() {
                // How it went stands in its status.
                let _ = one.load(NOBODY).await;
            }
        }
        for one in self.directories.iter().flatten() {
            if one.status().problem.is_some() {
                let _ = one.find("0", true).await;
            }
        }
        if let Some(ledger) = self.ledger()
            && ledger.status().problem.is_some()
        {
            let nobody = SessionKey::from_bytes([0; 32]);
            let _ = ledger.load(nobody, clock::now()).await;
        }
    }

    /// The stores' runtime, for others who ask over the network; `None` where nothing is asked.
    #[must_use]
    pub fn handle(&self) -> Option<Handle> {
        self.engine.as_ref().map(|engine| engine.handle().clone())
    }
}

impl ports::Stores for Stores {
    fn sessions(&self, authenticator: usize) -> Option<Arc<dyn SessionSource>> {
        self.sessions(authenticator)
    }

    fn directory(&self, id: DirectoryId) -> Option<Arc<dyn DirectorySource>> {
        self.directory(id)
    }

    fn runtime(&self) -> Option<Handle> {
        self.handle()
    }
}
