//! What the guard and the service of one connection say to each other.
//!
//! hyper stands between the two and cannot carry it. Requests are numbered from 1 on both sides;
//! hyper's server hands on one at a time and in order, so the numbers agree. The mutex is taken
//! only for refusals, upgrades and interim answers; an ordinary request costs a few uncontended
//! atomic operations.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use http::{HeaderMap, StatusCode};

use crate::policy::denial::Denial;

/// Bytes of interim answers that may wait to be written.
pub const MAX_INTERIM: usize = 16 * 1024;

/// The number of no request.
const NONE: u64 = 0;

/// Where a request stands with its interim answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// None may be queued: the final head is, or may be, on its way.
    Closed,
    /// One may be queued.
    Open,
    /// At least one is queued.
    Queued,
    /// At least one is queued, and the final head comes next.
    Last,
}

/// A gate and the number of its request in one word, so that the two are never told apart.
const fn gate(number: u64, gate: Gate) -> u64 {
    (number << 2) | gate as u64
}

/// The service's end. Clones stand for the same connection.
#[derive(Clone, Debug)]
pub struct GuardHandle(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    /// Requests that the service has begun.
    begun: AtomicU64,
    /// Requests whose answer is over.
    finished: AtomicU64,
    /// The request that stands for a refusal.
    refused: AtomicU64,
    /// The request that asks for a WebSocket and has no answer yet.
    held: AtomicU64,
    /// Whether an interim answer may be queued, or is, and to which request.
    interim: AtomicU64,
    rare: Mutex<Rare>,
}

#[derive(Debug, Default)]
struct Rare {
    denial: Option<Denial>,
    release: Option<Release>,
    interim: Vec<u8>,
    task: Option<Waker>,
}

/// What becomes of bytes that were held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// They are the next request.
    Resume,
    /// They belong to the WebSocket.
    Tunnel,
}

impl GuardHandle {
    pub(super) fn new() -> (Self, Arc<Shared>) {
        let shared = Arc::new(Shared {
            begun: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            refused: AtomicU64::new(NONE),
            held: AtomicU64::new(NONE),
            interim: AtomicU64::new(gate(NONE, Gate::Closed)),
            rare: Mutex::default(),
        });
        (Self(Arc::clone(&shared)), shared)
    }

    /// Begins the next request. The service calls this once for each request it is given, in
    /// order, before anything else.
    ///
    /// # Errors
    ///
    /// The refusal that this request stands for: what hyper shows of it was made up by the guard,
    /// and the connection closes with the answer.
    pub fn next_request(&self) -> Result<Exchange, Denial> {
        let number = self.0.begun.fetch_add(1, Ordering::AcqRel) + 1;
        if self.0.refused.load(Ordering::Acquire) == number {
            let denial = self.0.rare().denial.take();
            return Err(denial.unwrap_or_else(|| super::Violation::RequestLine.denial()));
        }
        let open = gate(number, Gate::Open);
        self.0.interim.store(open, Ordering::Release);
        Ok(Exchange {
            shared: Arc::clone(&self.0),
            number,
        })
    }
}

/// One request and its answer, as the guard needs to know of it.
///
/// Keep it with the answer's body and drop it with that: the idle time begins then.
#[derive(Debug)]
#[must_use = "dropping it tells the guard that the answer is over"]
pub struct Exchange {
    shared: Arc<Shared>,
    number: u64,
}

impl Exchange {
    /// The final answer is about to be given to hyper. Call it once, right before.
    ///
    /// After a request for a WebSocket, 101 makes the connection a tunnel; any other status lets
    /// the next request be read. Interim answers end here.
    pub fn answering(&self, status: StatusCode) {
        self.shared.close_interim(self.number);
        let ours = self.shared.held.load(Ordering::Acquire) == self.number;
        if ours {
            let release = if status == StatusCode::SWITCHING_PROTOCOLS {
                Release::Tunnel
            } else {
                Release::Resume
            };
            let mut rare = self.shared.rare();
            rare.release.get_or_insert(release);
            let task = rare.task.clone();
            drop(rare);
            wake(task);
        }
    }

    /// Queues interim answers (1xx) to this request; may be kept and used from another task.
    #[must_use]
    pub fn interim(&self) -> Interim {
        Interim {
            shared: Arc::clone(&self.shared),
            number: self.number,
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.answering(StatusCode::INTERNAL_SERVER_ERROR);
        self.shared.finished.fetch_add(1, Ordering::AcqRel);
    }
}

/// The way for interim answers, such as 103 (RFC 8297), around hyper, whose server cannot send
/// them: `role.rs` of hyper 1.12 makes a 500 of any 1xx but 101. (100 it sends by itself, when the
/// request's body is first asked for.)
#[derive(Clone, Debug)]
pub struct Interim {
    shared: Arc<Shared>,
    number: u64,
}

impl Interim {
    /// Queues one interim answer and has it written at once, before the final head.
    ///
    /// `false`: it was dropped, because it is not 1xx or is 101, because the final head is on its
    /// way, or because [`MAX_INTERIM`] bytes wait already. A client of HTTP/1.0 must not be sent
    /// any (RFC 9110 §15.2); the caller knows the version.
    #[must_use = "an interim answer may come too late to be sent"]
    pub fn send(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return false;
        }
        self.queue(&written(status, headers))
    }

    fn queue(&self, head: &[u8]) -> bool {
        let shared = &self.shared;
        let open = gate(self.number, Gate::Open);
        let queued = gate(self.number, Gate::Queued);
        let mut rare = shared.rare();
        match shared.interim.load(Ordering::Acquire) {
            now if now == open => rare.interim.clear(),
            now if now == queued => {}
            _ => return false,
        }
        if rare.interim.len().saturating_add(head.len()) > MAX_INTERIM {
            return false;
        }
        rare.interim.extend_from_slice(head);
        // The final answer may begin at this moment. If it found the gate open, this is too late;
        // if it found it queued, this goes out with the rest.
        if shared
            .swap_gate(open, queued)
            .is_err_and(|now| now != queued && now != gate(self.number, Gate::Last))
        {
            return false;
        }
        let task = rare.task.clone();
        drop(rare);
        wake(task);
        true
    }
}

fn written(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut line = String::with_capacity(64);
    let reason = status.canonical_reason().unwrap_or("Interim");
    // Writing to a String does not fail.
    let _ = write!(line, "HTTP/1.1 {} {reason}\r\n", status.as_str());
    let mut head = line.into_bytes();
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn wake(task: Option<Waker>) {
    if let Some(task) = task {
        task.wake();
    }
}

/// The guard's end.
impl Shared {
    fn rare(&self) -> MutexGuard<'_, Rare> {
        self.rare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the task that drives the connection.
    pub(super) fn note_task(&self, task: &Waker) {
        self.rare().task = Some(task.clone());
    }

    /// Request `number` stands for `denial`.
    pub(super) fn refuse(&self, number: u64, denial: Denial) {
        self.rare().denial = Some(denial);
        self.refused.store(number, Ordering::Release);
    }

    /// Request `number` asks for a WebSocket; what is behind it waits for [`Self::release`].
    pub(super) fn hold(&self, number: u64) {
        self.rare().release = None;
        self.held.store(number, Ordering::Release);
    }

    /// What becomes of the bytes held, once it is known.
    pub(super) fn release(&self) -> Option<Release> {
        let release = self.rare().release.take();
        if release.is_some() {
            self.held.store(NONE, Ordering::Release);
        }
        release
    }

    /// Whether the answers to the first `heads` requests are over.
    pub(super) fn is_idle(&self, heads: u64) -> bool {
        self.finished.load(Ordering::Acquire) >= heads
    }

    fn swap_gate(&self, from: u64, to: u64) -> Result<u64, u64> {
        self.interim
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
    }

    fn close_interim(&self, number: u64) {
        let closed = self.swap_gate(gate(number, Gate::Open), gate(number, Gate::Closed));
        if closed == Err(gate(number, Gate::Queued)) {
            // The guard may just have taken what was queued and opened the gate again.
            let last = self.swap_gate(gate(number, Gate::Queued), gate(number, Gate::Last));
            if last == Err(gate(number, Gate::Open)) {
                self.close_interim(number);
            }
        }
    }

    /// The interim answers to write now. `between`: nothing of another answer is half written.
    ///
    /// What comes too late, behind other bytes in hyper's buffer with the final head after them,
    /// is dropped: a client need not be told, but must not be told in the middle of an answer.
    pub(super) fn take_interim(&self, between: bool) -> Option<Vec<u8>> {
        let now = self.interim.load(Ordering::Acquire);
        let number = now >> 2;
        let (queued, last) = (gate(number, Gate::Queued), gate(number, Gate::Last));
        if now != last && (now != queued || !between) {
            return None;
        }
        // `queue` is kept out by the mutex; the gate may only go from queued to last meanwhile.
        let mut rare = self.rare();
        let interim = std::mem::take(&mut rare.interim);
        if self.swap_gate(queued, gate(number, Gate::Open)) == Err(last) {
            let _ = self.swap_gate(last, gate(number, Gate::Closed));
        }
        between.then_some(interim)
    }
}
