//! What does not hold any more, as this gateway knows it: asked on the way of a request, so in
//! memory, and never a question to a store.
//!
//! It is filled from the ledger: by what this gateway revokes itself, before that is answered for,
//! and by what others tell. Until the ledger was read for the first time nobody can say that a
//! token was not revoked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::auth::ledger::{Revocation, Revoked as What, SessionKey, TokenMark};
use crate::auth::verdicts::next_number;
use crate::auth::watch::{Watch, Watchers};
use crate::clock::Timestamp;
use crate::policy::identity::{Bond, Caller, Endings, Issue};

/// Most revocations that are remembered: about 100 MB. While more are due no revocable token passes.
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
    /// How many of them there may be.
    most: usize,
    is_known: AtomicBool,
    /// Whether one found no room: then nobody can say that a token was not revoked.
    is_full: AtomicBool,
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
        Self::of_at_most(MOST)
    }
}

impl Revoked {
    /// That remembers so many revocations of tokens and users.
    pub(crate) fn of_at_most(most: usize) -> Self {
        Self {
            sessions: Map::default(),
            tokens: Map::default(),
            users: Map::default(),
            count: AtomicUsize::new(0),
            most,
            is_known: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            turn: AtomicU64::new(next_number()),
            watchers: Arc::default(),
        }
    }

    /// Takes a revocation in. It holds from now on.
    pub fn take(&self, revocation: &Revocation, now: Timestamp) {
        let until = revocation.until();
        let is_news = match revocation.what() {
            What::Session(key) => self.take_session(*key, now),
            What::Token(mark) => self.take_token(*mark, until),
            What::User { user, before } => {
                let issued = *before;
                let is_news = self.take_user(user, Before { issued, until });
                // Which sessions that is nobody knows before they are asked for.
                if is_news && is_ending(user) {
                    self.ask_anew();
                }
                is_news
            }
        };
        if is_news {
            self.watchers.tell(revocation.what());
        }
    }

    fn take_session(&self, key: SessionKey, now: Timestamp) -> bool {
        if self.sessions.len() >= MOST_ENDED {
            self.sessions.clear();
            self.ask_anew();
        }
        let until = now.saturating_add(ENDED);
        self.sessions.insert(key, until).is_none()
    }

    fn take_token(&self, mark: TokenMark, until: Timestamp) -> bool {
        match self.tokens.entry(mark) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                *known = until.max(*known);
                false
            }
            Entry::Vacant(place) => {
                if self.takes_room() {
                    place.insert(until);
                }
                true
            }
        }
    }

    fn take_user(&self, user: &str, new: Before) -> bool {
        match self.users.entry(user.into()) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                let is_news = known.issued < new.issued;
                known.issued = known.issued.max(new.issued);
                known.until = known.until.max(new.until);
                is_news
            }
            Entry::Vacant(place) => {
                if self.takes_room() {
                    place.insert(new);
                }
                true
            }
        }
    }

    /// Takes the room of one more revocation, where there is some: before it is put there, so that
    /// none is there that does not count.
    fn takes_room(&self) -> bool {
        let has = self.count.fetch_add(1, Ordering::AcqRel) < self.most;
        if !has {
            self.count.fetch_sub(1, Ordering::AcqRel);
            self.is_full.store(true, Ordering::Release);
        }
        has
    }

    /// Whether what was revoked is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        // In this order: a sweep unsays the one before the other.
        !self.is_full.load(Ordering::Acquire) && self.is_known.load(Ordering::Acquire)
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

    /// Forgets what is over. Says whether there is room again where something had found none: then
    /// nothing is known until the ledger was read from its start.
    pub fn sweep(&self, now: Timestamp) -> bool {
        self.sessions.retain(|_, until| *until > now);
        let mut gone = 0;
        let mut holds = |until: Timestamp| {
            let holds = until > now;
            gone += usize::from(!holds);
            holds
        };
        self.tokens.retain(|_, until| holds(*until));
        self.users.retain(|_, before| holds(before.until));
        // Taken off, so that one which comes meanwhile counts too.
        let count = self.count.fetch_sub(gone, Ordering::AcqRel);
        let is_full = self.is_full.load(Ordering::Acquire);
        let is_read_anew = is_full && count.saturating_sub(gone) < self.most;
        if is_read_anew {
            self.is_known.store(false, Ordering::Release);
            self.is_full.store(false, Ordering::Release);
        }
        is_read_anew
    }

    /// Whether a session has ended.
    pub fn has_ended(&self, key: SessionKey) -> bool {
        !self.sessions.is_empty() && self.sessions.contains_key(&key)
    }

    /// Whether others have said that a sign-in is over, under any of its names.
    pub fn ends(&self, endings: &Endings) -> bool {
        let is_over = |name: &str| {
            let before = self.users.get(name);
            before.is_some_and(|before| endings.began < before.issued)
        };
        endings.names.iter().any(|name| is_over(name))
    }

    /// How the token of a caller stands, also where the gateway's own session holds it.
    pub fn standing(&self, caller: &Caller) -> Standing {
        let Some(token) = caller.bond().and_then(Bond::token) else {
            return Standing::Holds;
        };
        if !self.is_known() {
            return Standing::Unknown;
        }
        if self.is_revoked(caller, token) {
            return Standing::Revoked;
        }
        Standing::Holds
    }

    /// Whether what is known already names a caller's token.
    fn is_revoked(&self, caller: &Caller, token: Issue) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let before = self.users.get(caller.identity().user.as_str());
        let too_old = before.is_some_and(|before| token.issued < before.issued);
        too_old || self.tokens.contains_key(&TokenMark::from_bytes(token.mark))
    }

    /// Watches over what let a caller in; `None` where that cannot be revoked.
    pub fn watch(&self, caller: &Caller) -> Option<Watch> {
        let watch = self.watchers.watch(caller)?;
        // Listed before it is looked up, so that nothing falls between.
        let bond = caller.bond()?;
        let has_ended = match bond {
            Bond::Session { key, .. } => self.has_ended(SessionKey::from_bytes(key)),
            Bond::Token(_) => false,
        };
        // Also while not all is known: what is known by now is told to nobody again.
        let is_revoked = |token| self.is_revoked(caller, token);
        let has_ended = has_ended || caller.endings().is_some_and(|one| self.ends(one));
        if has_ended || bond.token().is_some_and(is_revoked) {
            watch.tell();
        }
        Some(watch)
    }

    /// What verdicts about sessions stand under now.
    pub(crate) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Acquire)
    }
}

/// What the names begin with under which a provider ends sign-ins. They stand among those of users:
/// an end of all that began before is what both are.
const ENDING: &str = "oidc:";

/// The name of a provider's session or user, of which nothing can be read.
#[must_use]
pub fn ending(parts: &[&str]) -> Box<str> {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in parts {
        // The length before each part: "a" and "bc" are not "ab" and "c".
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    format!("{ENDING}{}", BASE64.encode(hash.finish())).into()
}

fn is_ending(name: &str) -> bool {
    name.len() == ENDING.len() + 43 && name.starts_with(ENDING)
}

#[cfg(test)]
#[path = "revoked_tests.rs"]
mod tests;
