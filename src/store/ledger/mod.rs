//! The homes of the gateway's own sessions: each implements `auth::ledger::Ledger`.

mod leases;
mod log;
mod memory;

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::memory::{MOST_SESSIONS, Memory};
use super::desk::{Counter, Tally};
use super::engine::Engine;
use crate::auth::ledger::{
    Cursor, Event, Events, Ledger, MOST_BEHIND, Revocation, SharedLedger, Told,
};
use crate::auth::ports::{StoreError, StoreStatus};
use crate::clock;
use crate::config::settings::SessionHome;

/// Between two sweeps of a home that does not drop by itself what is over.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// Opens the home that `[session]` names.
///
/// # Errors
///
/// What is wrong with it, and what to do.
pub fn open(home: &SessionHome) -> Result<SharedLedger, String> {
    match home {
        SessionHome::Memory => in_memory()
            .map_err(|error| format!("the thread of the stores cannot be started: {error}")),
        SessionHome::Embedded(_) | SessionHome::Redis(_) | SessionHome::Postgres(_) => {
            Err("is not in this version of Portcullis; write \"memory\"".to_owned())
        }
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
        let (stop, home) = (self.stop.clone(), Arc::downgrade(home));
        self.counter.engine().spawn(async move {
            stop.run_until_cancelled(sweeping(home)).await;
        });
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

/// An answer that is there at once.
fn ready<T: Send + 'static>(outcome: Result<T, StoreError>) -> Told<T> {
    Box::pin(std::future::ready(outcome))
}
