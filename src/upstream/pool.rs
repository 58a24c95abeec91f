//! One worker's idle connections, by server.
//!
//! Each worker has its own pool, so its lock is never contended. What is shared between workers is
//! the number of connections that a server may have: each open one holds a permit. A worker that
//! wants a permit while others sit on idle connections says so, and they close one.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::http1::Link;
use super::server::Server;

/// Between two looks at idle connections.
pub const SWEEP: Duration = Duration::from_millis(250);

/// An idle connection is closed after this many sweeps, a minute. Servers that close earlier
/// (gunicorn: 2 s) are noticed by looking.
const IDLE_SWEEPS: u64 = 240;

/// Idle connections of one worker.
#[derive(Debug, Default)]
pub struct Pool {
    /// How often it was swept: a clock that costs nothing to read.
    sweeps: AtomicU64,
    shelves: Mutex<HashMap<u64, Shelf, ahash::RandomState>>,
}

#[derive(Debug, Default)]
struct Shelf {
    server: Option<Arc<Server>>,
    /// With the sweep that each was put here before.
    idle: Vec<(u64, Box<Link>)>,
    waiting: VecDeque<oneshot::Sender<Box<Link>>>,
}

impl Pool {
    fn with<T>(&self, key: u64, act: impl FnOnce(&mut Shelf) -> T) -> T {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        act(shelves.entry(key).or_default())
    }

    /// An idle connection that is still good, the last used first.
    pub(super) fn take(&self, server: &Server) -> Option<Box<Link>> {
        loop {
            let (_, mut link) = self.with(server.key, |shelf| shelf.idle.pop())?;
            if server.keeps(&mut link) && link.is_idle() {
                return Some(link);
            }
        }
    }

    /// Puts a connection back, or hands it to who waits for one; closes it where its address is no
    /// longer the server's.
    pub(super) fn put(&self, server: &Arc<Server>, mut link: Box<Link>) {
        if !server.keeps(&mut link) {
            return;
        }
        self.with(server.key, |shelf| {
            while let Some(next) = shelf.waiting.pop_front() {
                match next.send(link) {
                    Ok(()) => return,
                    Err(back) => link = back,
                }
            }
            // Another worker waits for a permit: closing this one gives it.
            if server.waiting.load(Ordering::Relaxed) > 0 {
                return;
            }
            shelf.server.get_or_insert_with(|| Arc::clone(server));
            shelf.idle.push((self.sweeps.load(Ordering::Relaxed), link));
        });
    }

    /// Waits in line for a connection of this worker.
    pub(super) fn line_up(&self, server: &Server) -> oneshot::Receiver<Box<Link>> {
        let (sender, receiver) = oneshot::channel();
        self.with(server.key, |shelf| {
            shelf.waiting.retain(|waiting| !waiting.is_closed());
            shelf.waiting.push_back(sender);
        });
        receiver
    }

    /// Closes what servers hung up on, what was idle for too long, what leads to an address that a
    /// name no longer has, and what others wait for.
    /// Called by the worker every [`SWEEP`].
    pub fn sweep(&self) {
        let now = self.sweeps.fetch_add(1, Ordering::Relaxed);
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        for shelf in shelves.values_mut() {
            let wanted = shelf
                .server
                .as_ref()
                .map_or(0, |server| server.waiting.load(Ordering::Relaxed));
            shelf.idle.drain(..wanted.min(shelf.idle.len()));
            let server = shelf.server.as_deref();
            shelf.idle.retain_mut(|(since, link)| {
                now.saturating_sub(*since) < IDLE_SWEEPS
                    && server.is_none_or(|server| server.keeps(link))
                    && link.is_idle()
            });
            if shelf.idle.is_empty() {
                shelf.server = None;
            }
        }
        shelves.retain(|_, shelf| !shelf.idle.is_empty() || !shelf.waiting.is_empty());
    }

    /// Idle connections held.
    pub fn idle(&self) -> usize {
        let shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        shelves.values().map(|shelf| shelf.idle.len()).sum()
    }
}
