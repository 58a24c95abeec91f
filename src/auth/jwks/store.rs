//! One JWKS by URL, kept fresh: fetched by one task, read by everyone without waiting.
//!
//! Workers never fetch. One that misses a key rings the bell and waits, shortly, for the task that
//! owns the fetching; at most one fetch in 10 s is rung for, however many miss. The last good set
//! serves while fetches fail, until it is too old. A set that was never loaded is tried again and
//! again, 1 s apart at first and 10 s at last.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::auth::jwks::fetch::{Document, fetch};
use crate::auth::jwt::Unverified;
use crate::auth::keys::KeySet;
use crate::auth::token::Lack;
use crate::auth::verdicts::next_number;
use crate::auth::words::chain;
use crate::clock;
use crate::config::settings::{Algorithm, JwksUrl};
use crate::policy::denial::{Code, Denial};

/// Shortest time between two fetches that unknown keys ring for (`jwks_refresh` of the contract).
const RING_FLOOR: Duration = Duration::from_secs(10);
/// Longest that a request waits for keys.
const PATIENCE: Duration = Duration::from_secs(2);
/// First and longest pause after a failed fetch.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// Keys that were rotated out and are remembered by name.
const RETIRED: usize = 16;

/// One JWKS by URL.
#[derive(Debug)]
pub(crate) struct Jwks {
    settings: JwksUrl,
    algorithms: Vec<Algorithm>,
    current: ArcSwapOption<KeySet>,
    /// What the issuer told of itself with the last good set.
    document: ArcSwapOption<Document>,
    epoch: AtomicU64,
    desk: Mutex<Desk>,
    bell: Notify,
    /// Counts fetches that ended, well or not.
    ended: watch::Sender<u64>,
    /// Held by the one task that fetches.
    owner: tokio::sync::Mutex<()>,
}

/// What the fetching task and the waiting workers agree on. Locked for moments only.
#[derive(Debug, Default)]
struct Desk {
    under_way: bool,
    started: bool,
    rung_at: Option<Instant>,
    loaded_at: Option<Instant>,
    failures: u64,
    fetches: u64,
    problem: Option<String>,
    retired: VecDeque<Box<str>>,
}

/// The state of a JWKS, for metrics and `ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksStatus {
    /// The authenticator's name.
    pub authenticator: Arc<str>,
    /// Keys in use.
    pub keys: usize,
    /// Time since the set in use was fetched; `None` when there is none.
    pub age: Option<Duration>,
    /// Fetches that failed since the start.
    pub failures: u64,
    /// Fetches since the start.
    pub fetches: u64,
    /// What was wrong with the last fetch, if something was.
    pub problem: Option<String>,
}

impl Jwks {
    /// A JWKS that is not loaded yet.
    pub(crate) fn new(settings: JwksUrl, algorithms: &[Algorithm]) -> Self {
        Self {
            settings,
            algorithms: algorithms.to_vec(),
            current: ArcSwapOption::empty(),
            document: ArcSwapOption::empty(),
            epoch: AtomicU64::new(next_number()),
            desk: Mutex::default(),
            bell: Notify::new(),
            ended: watch::Sender::new(0),
            owner: tokio::sync::Mutex::new(()),
        }
    }

    /// The keys to use now.
    pub(crate) fn current(&self) -> Option<Arc<KeySet>> {
        self.current.load_full()
    }

    /// What the issuer told of itself, where it was found by its configuration.
    pub(crate) fn document(&self) -> Option<Arc<Document>> {
        self.document.load_full()
    }

    /// The number that verdicts by these keys stand under. Read it before [`Jwks::current`].
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Waits until a fetch ends that may bring what is lacking, at most 2 s; not at all when none
    /// is under way or may be rung for.
    pub(crate) async fn await_change(&self, lack: Lack) {
        let mut ended = self.ended.subscribe();
        let seen = *ended.borrow_and_update();
        if self.ring(lack) {
            let next = ended.wait_for(|count| *count != seen);
            // Whether it came or not, the caller looks again.
            let _ = tokio::time::timeout(PATIENCE, next).await;
        }
    }

    /// Rings for a fetch where one is allowed; tells whether one is worth waiting for.
    fn ring(&self, lack: Lack) -> bool {
        let mut desk = self.desk();
        // After a failure nobody queues up behind an issuer that may hang.
        if lack == Lack::Set && desk.problem.is_some() {
            return false;
        }
        // Before the first fetch the task is about to begin.
        if desk.under_way || !desk.started {
            return true;
        }
        let now = clock::monotonic();
        let cold = |at: Instant| now.saturating_duration_since(at) >= RING_FLOOR;
        // Retries of a set that is not there have their own pace.
        let rings = lack == Lack::Key && desk.rung_at.is_none_or(cold);
        if rings {
            desk.rung_at = Some(now);
            desk.under_way = true;
            self.bell.notify_one();
        }
        rings
    }

    /// The refusal while there are no keys.
    pub(crate) fn unavailable(&self) -> Denial {
        let desk = self.desk();
        let why = desk.problem.as_deref().unwrap_or("it has not answered yet");
        Denial::new(
            Code::AuthUnavailable,
            "the issuer's keys could not be loaded",
        )
        .note(format!("{}: {why}", self.settings.url))
        .retry_after(PAUSES.1)
    }

    /// The refusal of a token whose key is not in the set.
    pub(crate) fn explain_unknown(&self, token: &Unverified<'_>) -> Denial {
        let retired = token
            .kid()
            .is_some_and(|kid| self.desk().retired.iter().any(|gone| **gone == *kid));
        if retired {
            token.key_unknown().note(
                "the token was signed with a key that the issuer has rotated out since; a new sign-in gets a new token",
            )
        } else {
            token.key_unknown()
        }
    }

    /// How it stands.
    pub(crate) fn status(&self, authenticator: &Arc<str>) -> JwksStatus {
        let keys = self.current().map_or(0, |set| set.keys().len());
        let desk = self.desk();
        let age = desk
            .loaded_at
            .filter(|_| keys > 0)
            .map(|at| clock::monotonic().saturating_duration_since(at));
        JwksStatus {
            authenticator: Arc::clone(authenticator),
            keys,
            age,
            failures: desk.failures,
            fetches: desk.fetches,
            problem: desk.problem.clone(),
        }
    }

    /// Keeps the set fresh until cancelled. Of several that run this, one works and the others
    /// wait for it to stop.
    pub(crate) async fn keep_fresh(&self, cancel: CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.work() => {}
        }
    }

    async fn work(&self) {
        let _owner = self.owner.lock().await;
        let mut pause = PAUSES.0;
        loop {
            let due = self.fetch_once().await;
            let wait = if due {
                pause = PAUSES.0;
                self.settings.refresh
            } else {
                let wait = pause;
                pause = (pause * 2).min(PAUSES.1);
                wait
            };
            // `jwks_stale` ends between two fetches too.
            let wait = self.left().map_or(wait, |left| wait.min(left));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.bell.notified() => {}
            }
            self.drop_stale();
        }
    }

    /// One fetch; tells whether it went well.
    async fn fetch_once(&self) -> bool {
        let _under_way = UnderWay::begin(self);
        let fetched = fetch(&self.settings, &self.algorithms).await;
        let mut desk = self.desk();
        desk.fetches += 1;
        match fetched {
            Ok(fetched) => {
                desk.problem = None;
                desk.loaded_at = Some(clock::monotonic());
                // Before the keys: who waits for them finds both.
                self.document.store(fetched.document);
                self.take(KeySet::published(fetched.set.keys), &mut desk);
                for ignored in fetched.set.ignored {
                    tracing::debug!(url = %self.settings.url, "JWKS: left out {ignored}");
                }
                true
            }
            Err(error) => {
                desk.failures += 1;
                let words = chain(&error);
                tracing::warn!(url = %self.settings.url, "JWKS could not be fetched: {words}");
                desk.problem = Some(words);
                false
            }
        }
    }

    fn take(&self, next: KeySet, desk: &mut Desk) {
        let before = self.current();
        let kept = before
            .as_ref()
            .is_none_or(|before| next.keeps_all_of(before));
        if let Some(before) = &before {
            for key in before.keys() {
                let Some(kid) = &key.kid else { continue };
                if !next.keys().iter().any(|key| key.kid.as_ref() == Some(kid)) {
                    desk.retired.push_back(kid.clone());
                }
            }
            while desk.retired.len() > RETIRED {
                desk.retired.pop_front();
            }
        }
        desk.retired
            .retain(|gone| !next.keys().iter().any(|key| key.kid.as_ref() == Some(gone)));
        self.current.store(Some(Arc::new(next)));
        if !kept {
            // A key was removed or replaced: what it verified is verified anew, or refused.
            self.epoch.store(next_number(), Ordering::Release);
        }
    }

    /// Time until the set is too old.
    fn left(&self) -> Option<Duration> {
        let loaded = self.desk().loaded_at?;
        let age = clock::monotonic().saturating_duration_since(loaded);
        self.current()?;
        Some(self.settings.stale.saturating_sub(age))
    }

    fn drop_stale(&self) {
        if self.left() == Some(Duration::ZERO) {
            tracing::error!(url = %self.settings.url, "JWKS is older than `jwks_stale`: its keys are not used any more");
            self.current.store(None);
            self.document.store(None);
            self.epoch.store(next_number(), Ordering::Release);
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks a fetch as under way, and wakes those who wait when it ends, cancelled or not.
struct UnderWay<'a>(&'a Jwks);

impl<'a> UnderWay<'a> {
    fn begin(jwks: &'a Jwks) -> Self {
        let mut desk = jwks.desk();
        desk.under_way = true;
        desk.started = true;
        drop(desk);
        Self(jwks)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.desk().under_way = false;
        self.0.ended.send_modify(|count| *count += 1);
    }
}
