//! What does not hold any more, as this gateway knows it: asked on the way of a request, so in
//! memory, and never a question to a store.
//!
//! It is filled from the ledger: by what this gateway revokes itself, before that is answered for,
//! and by what others tell. Until the ledger was read for the first time nobody can say that a
//! token was not revoked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;

use crate::auth::ledger::{Revocation, Revoked as What, SessionKey, TokenMark};
use crate::auth::verdicts::next_number;
use crate::auth::watch::{Watch, Watchers};
use crate::clock::Timestamp;
use crate::policy::identity::{Bond, Caller};

/// Most revocations that are remembered. Over it no revocable token passes.
const MOST: usize = 1_000_000;
/// Most sessions whose end is remembered. Over it every session is asked for anew.
const MOST_ENDED: usize = 65_536;
/// How long a session's end is remembered: longer than any verdict about it may be reused.
const ENDED: Duration = Duration::from_mins(15);

type Map<K, V> = DashMap<K, V, ahash::RandomState>;

/// Everything that was revoked and could still be sent.
#[derive(Debug)]
pub struct Revoked {
    sessions: Map<SessionKey, Timestamp>,
    tokens: Map<TokenMark, Timestamp>,
    users: Map<Box<str>, Before>,
    /// Revocations of tokens and users: with none, nothing has to be looked for.
    count: AtomicUsize,
    is_known: AtomicBool,
    /// Verdicts about sessions stand under it.
    turn: AtomicU64,
    watchers: Arc<Watchers>,
}

/// Tokens issued before a point in time do not hold.
#[derive(Clone, Copy, Debug)]
struct Before {
    issued: Timestamp,
    until: Timestamp,
}

/// What is known of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was not revoked.
    Holds,
    /// It was, or its user's tokens were.
    Revoked,
    /// What was revoked is not known.
    Unknown,
}

impl Default for Revoked {
    fn default() -> Self {
        Self {
            sessions: Map::default(),
            tokens: Map::default(),
            users: Map::default(),
            count: AtomicUsize::new(0),
            is_known: AtomicBool::new(false),
            turn: AtomicU64::new(next_number()),
            watchers: Arc::default(),
        }
    }
}

impl Revoked {
    /// Takes a revocation in. It holds from now on.
    pub fn take(&self, revocation: &Revocation, now: Timestamp) {
        let until = revocation.until();
        match revocation.what() {
            What::Session(key) => {
                if self.sessions.len() >= MOST_ENDED {
                    self.sessions.clear();
                    self.ask_anew();
                }
                self.sessions.insert(*key, now.saturating_add(ENDED));
            }
            What::Token(mark) => {
                self.tokens.insert(*mark, until);
            }
            What::User { user, before } => {
                let new = Before {
                    issued: *before,
                    until,
                };
                let joined = |old: &mut Before| {
                    old.issued = old.issued.max(new.issued);
                    old.until = old.until.max(new.until);
                };
                self.users
                    .entry(user.clone())
                    .and_modify(joined)
                    .or_insert(new);
            }
        }
        self.recount();
        self.watchers.tell(revocation.what());
    }

    /// Whether what was revoked is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Acquire)
    }

    /// From now on what was revoked is known.
    pub fn caught_up(&self) {
        self.is_known.store(true, Ordering::Release);
    }

    /// How many tokens and users are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Something may have been missed: every session is asked for anew.
    pub fn ask_anew(&self) {
        self.turn.store(next_number(), Ordering::Release);
    }

    /// Forgets what is over.
    pub fn sweep(&self, now: Timestamp) {
        self.sessions.retain(|_, until| *until > now);
        self.tokens.retain(|_, until| *until > now);
        self.users.retain(|_, before| before.until > now);
        self.recount();
    }

    /// Whether a session has ended.
    pub fn has_ended(&self, key: SessionKey) -> bool {
        !self.sessions.is_empty() && self.sessions.contains_key(&key)
    }

    /// How the token of a caller stands, also where the gateway's own session holds it.
    pub fn standing(&self, caller: &Caller) -> Standing {
        let Some(token) = caller.bond().and_then(Bond::token) else {
            return Standing::Holds;
        };
        let count = self.count.load(Ordering::Acquire);
        if !self.is_known.load(Ordering::Acquire) || count > MOST {
            return Standing::Unknown;
        }
        if count == 0 {
            return Standing::Holds;
        }
        let before = self.users.get(caller.identity().user.as_str());
        let too_old = before.is_some_and(|before| token.issued < before.issued);
        if too_old || self.tokens.contains_key(&TokenMark::from_bytes(token.mark)) {
            return Standing::Revoked;
        }
        Standing::Holds
    }

    /// Watches over what let a caller in; `None` where that cannot be revoked.
    pub fn watch(&self, caller: &Caller) -> Option<Watch> {
        let watch = self.watchers.watch(caller)?;
        // Listed before it is looked up, so that nothing falls between.
        let has_ended = match caller.bond()? {
            Bond::Session { key, .. } => self.has_ended(SessionKey::from_bytes(key)),
            Bond::Token(_) => false,
        };
        if has_ended || self.standing(caller) == Standing::Revoked {
            watch.tell();
        }
        Some(watch)
    }

    /// What verdicts about sessions stand under now.
    pub(crate) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Acquire)
    }

    fn recount(&self) {
        let count = self.tokens.len() + self.users.len();
        self.count.store(count, Ordering::Release);
    }
}

#[cfg(test)]
#[path = "revoked_tests.rs"]
mod tests;
