//! What those who follow a ledger are told, from a bounded queue.

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::revocation::{Cursor, Revocation};

/// Events that one who follows may be behind; more become [`Event::Missed`].
pub const MOST_BEHIND: usize = 1024;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something was revoked, or a session ended.
    Revoked {
        /// What.
        revocation: Revocation,
        /// From where to catch up when later ones were missed; some may come again then.
        cursor: Cursor,
    },
    /// Events may have been missed: the connection was lost, or events came faster than they were
    /// taken. Ask [`super::Ledger::revocations_since`], and load what is held open.
    Missed,
}

/// A bounded stream of events.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    /// From the store's end. For stores.
    #[must_use]
    pub const fn new(receiver: broadcast::Receiver<Event>) -> Self {
        Self(receiver)
    }

    /// The next event, whenever it comes; `None` when the ledger is gone.
    ///
    /// Dropped before it answers, it loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(_)) => Some(Event::Missed),
            Err(RecvError::Closed) => None,
        }
    }
}
