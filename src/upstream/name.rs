//! A name of servers and the addresses that it leads to, shared by all workers and kept over reloads.
//!
//! What was found stays in use until something else is: a resolver that fails or answers nothing
//! takes no server away. New connections read the addresses; a connection that is used again costs
//! one look at a number.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;

use super::addresses::{self, Mark, Order};
use crate::clock;
use crate::telemetry::Counter;

/// For so long an address that took no connection is tried after the others, in milliseconds.
const SHUNNED_MS: u64 = 10_000;

/// A name and a port.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    /// Times are counted from here.
    origin: Instant,
    known: ArcSwap<Known>,
    /// That of `known`, to be looked at without it.
    serial: AtomicU64,
    /// How often connections were made; says whose turn it is.
    turn: AtomicUsize,
    /// Whether the resolver has said something, or has failed to.
    asked: watch::Sender<bool>,
    /// Wakes who asks the resolver, where an address took no connection.
    doubt: Notify,
    /// One question at a time: a resolver that hangs costs one thread a name.
    line: Arc<Semaphore>,
    /// Questions that came to nothing.
    failures: Counter,
    /// What was wrong with the last one, where something was.
    problem: Mutex<Option<Box<str>>>,
}

/// The addresses at one time.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Grows with each change, and with each answer where there are several addresses.
    serial: u64,
    pub(super) addresses: Vec<SocketAddr>,
    /// Those that came with the last answer.
    fresh: Vec<SocketAddr>,
    /// When each took no connection, in milliseconds; 0: it took the last one.
    failed: Vec<AtomicU64>,
}

/// Where a connection leads, of those to a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// The answer of the resolver that it was last judged by.
    serial: u64,
}

/// What an answer of the resolver, or its failure, has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// There are other addresses.
    Moved(Vec<SocketAddr>),
    /// It fails, for this reason, and did not before; whether old addresses are there to be used.
    Failing(String, bool),
    /// It answers again.
    Answers,
}

/// A question that was put to the resolver.
#[derive(Debug, Default)]
pub(super) struct Question(Option<JoinHandle<io::Result<Vec<SocketAddr>>>>);

impl Name {
    pub(super) fn new(host: Arc<str>, port: u16) -> Self {
        Self {
            host,
            port,
            origin: clock::monotonic(),
            known: ArcSwap::default(),
            serial: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
            asked: watch::Sender::new(false),
            doubt: Notify::new(),
            line: Arc::new(Semaphore::new(1)),
            failures: Counter::default(),
            problem: Mutex::default(),
        }
    }

    /// The addresses for a new connection; waits for the resolver's first word.
    ///
    /// # Errors
    ///
    /// There are none: why not.
    pub(super) async fn known(&self) -> io::Result<Arc<Known>> {
        let known = self.known.load_full();
        if !known.addresses.is_empty() {
            return Ok(known);
        }
        let mut asked = self.asked.subscribe();
        // It ends well: the sender is here.
        let _ = asked.wait_for(|asked| *asked).await;
        let known = self.known.load_full();
        if known.addresses.is_empty() {
            self.doubt.notify_one();
            let problem = self.problem();
            return Err(io::Error::other(
                problem.unwrap_or_else(|| "the resolver has not answered yet".to_owned()),
            ));
        }
        Ok(known)
    }

    /// The order in which the next connection tries the addresses.
    pub(super) fn order(&self, known: &Known) -> Order {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let now = self.now_ms();
        let mut tries_one = false;
        addresses::order(&known.addresses, turn, |place| {
            let Some(mark) = known.failed.get(place) else {
                return Mark::Well;
            };
            let at = mark.load(Ordering::Relaxed);
            if at == 0 {
                return Mark::Well;
            }
            if tries_one || now.saturating_sub(at) < SHUNNED_MS {
                return Mark::Failed;
            }
            // Its time is over: one connection tries it, and the others wait for what comes of that.
            let claim = mark.compare_exchange(at, now, Ordering::Relaxed, Ordering::Relaxed);
            tries_one = claim.is_ok();
            if tries_one { Mark::Due } else { Mark::Failed }
        })
    }

    /// Notes whether an address took a connection. Where not, the resolver is asked again soon.
    pub(super) fn note(&self, known: &Known, place: usize, took: bool) {
        if !took {
            self.doubt.notify_one();
        }
        if let Some(mark) = known.failed.get(place) {
            let at = if took { 0 } else { self.now_ms() };
            if at != mark.load(Ordering::Relaxed) {
                mark.store(at, Ordering::Relaxed);
            }
        }
    }

    /// Where a connection to an address leads.
    pub(super) fn peer(known: &Known, address: SocketAddr) -> Peer {
        let serial = known.serial;
        Peer { address, serial }
    }

    /// Whether a connection may be used again, as far as the addresses go.
    pub(super) fn keeps(&self, peer: &mut Peer) -> bool {
        if peer.serial == self.serial.load(Ordering::Relaxed) {
            return true;
        }
        let known = self.known.load();
        peer.serial = known.serial;
        !addresses::is_retired(
            peer.address,
            &known.addresses,
            &known.fresh,
            fastrand::f64(),
        )
    }

    /// Puts the question, or waits on for the answer to the one that is still out, within `limit`.
    ///
    /// # Errors
    ///
    /// The name does not resolve, has no address, or nothing was heard in time.
    pub(super) async fn ask(
        &self,
        question: &mut Question,
        limit: Duration,
    ) -> io::Result<Vec<SocketAddr>> {
        let work = async {
            let asked = match &mut question.0 {
                Some(asked) => asked,
                slot @ None => slot.insert(self.put().await?),
            };
            asked.await.map_err(io::Error::other)?
        };
        let answer = tokio::time::timeout(limit, work).await;
        let Ok(answer) = answer else {
            let words = format!("the resolver did not answer within {limit:?}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, words));
        };
        question.0 = None;
        let addresses = answer?;
        if addresses.is_empty() {
            let words = "the resolver answered without an address";
            return Err(io::Error::new(io::ErrorKind::NotFound, words));
        }
        Ok(addresses)
    }

    async fn put(&self) -> io::Result<JoinHandle<io::Result<Vec<SocketAddr>>>> {
        let line = Arc::clone(&self.line).acquire_owned().await;
        let line = line.map_err(io::Error::other)?;
        let (host, port) = (Arc::clone(&self.host), self.port);
        let before = self.known.load_full();
        Ok(tokio::task::spawn_blocking(move || {
            let _line = line;
            let found = (&*host, port).to_socket_addrs()?;
            Ok(addresses::bounded(found, &before.addresses))
        }))
    }

    /// Takes up what the resolver said.
    pub(super) fn learn(&self, answer: io::Result<Vec<SocketAddr>>) -> Option<Change> {
        let (found, why) = match answer {
            Ok(found) => (Some(found), None),
            Err(error) => (None, Some(error.to_string())),
        };
        // Held to the end, so that two who ask over a reload do not deal at once.
        let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        let failed_before =
            std::mem::replace(&mut *problem, why.as_deref().map(Box::from)).is_some();
        let before = self.known.load();
        let change = match (found, why) {
            (Some(found), _) if !addresses::are_same(&found, &before.addresses) => {
                self.deal(&before, found.clone());
                Some(Change::Moved(found))
            }
            (_, Some(why)) => {
                self.failures.inc();
                let has_old = !before.addresses.is_empty();
                (!failed_before).then_some(Change::Failing(why, has_old))
            }
            (_, None) => {
                if before.addresses.len() > 1 {
                    self.deal(&before, before.addresses.clone());
                }
                failed_before.then_some(Change::Answers)
            }
        };
        drop(problem);
        self.asked.send_replace(true);
        change
    }

    /// Has connections made to these addresses, and judged by them once they rest.
    fn deal(&self, before: &Known, found: Vec<SocketAddr>) {
        let mark = |address: &SocketAddr| {
            let place = before.addresses.iter().position(|old| old == address);
            let mark = place.and_then(|place| before.failed.get(place));
            AtomicU64::new(mark.map_or(0, |mark| mark.load(Ordering::Relaxed)))
        };
        let is_fresh = |address: &&SocketAddr| !before.addresses.contains(address);
        let next = Known {
            serial: before.serial + 1,
            failed: found.iter().map(mark).collect(),
            fresh: found.iter().filter(is_fresh).copied().collect(),
            addresses: found,
        };
        let serial = next.serial;
        self.known.store(Arc::new(next));
        // Behind the addresses: who sees the number sees them.
        self.serial.store(serial, Ordering::Release);
    }

    /// The addresses in use.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.known.load().addresses.clone()
    }

    /// What was wrong with the last question, where something was.
    pub(super) fn problem(&self) -> Option<String> {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        problem.as_deref().map(str::to_owned)
    }

    /// Questions that came to nothing.
    pub(super) fn failures(&self) -> u64 {
        self.failures.get()
    }

    /// Ready when an address took no connection since it was last waited for.
    pub(super) async fn doubted(&self) {
        self.doubt.notified().await;
    }

    /// Since the origin; never 0.
    fn now_ms(&self) -> u64 {
        let past = clock::monotonic().saturating_duration_since(self.origin);
        u64::try_from(past.as_millis()).map_or(u64::MAX, |ms| ms.max(1))
    }
}

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;
