//! What does not hold any more, as this gateway knows it: asked on the way of a request, so in
//! memory, and never a question to a store.
//!
//! It is filled from the ledger: by what this gateway revokes itself, before that is answered for,
//! and by what others tell. Until the ledger was read for the first time nobody can say that a
//! token was not revoked.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;

use crate::auth::ledger::{Revocation, Revoked as What, SessionKey, TokenMark};
use crate::auth::verdicts::next_number;
use crate::clock::Timestamp;

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
    }

    /// From now on what was revoked is known.
    pub fn is_caught_up(&self) {
        self.is_known.store(true, Ordering::Release);
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

    /// How a token stands: by its mark, whose user it names, and when it was issued.
    pub fn standing(
        &self,
        mark: impl FnOnce() -> TokenMark,
        user: &str,
        issued: Timestamp,
    ) -> Standing {
        let count = self.count.load(Ordering::Acquire);
        if !self.is_known.load(Ordering::Acquire) || count > MOST {
            return Standing::Unknown;
        }
        if count == 0 {
            return Standing::Holds;
        }
        let too_old = (self.users.get(user)).is_some_and(|before| issued < before.issued);
        if too_old || self.tokens.contains_key(&mark()) {
            return Standing::Revoked;
        }
        Standing::Holds
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
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
    const HOUR: Duration = Duration::from_hours(1);

    fn mark() -> TokenMark {
        TokenMark::of_jti("app", "7f3")
    }

    fn known() -> Revoked {
        let revoked = Revoked::default();
        revoked.is_caught_up();
        revoked
    }

    fn later() -> Timestamp {
        NOW.saturating_add(HOUR)
    }

    #[test]
    fn before_the_ledger_was_read_nobody_can_say() {
        let revoked = Revoked::default();
        assert_eq!(revoked.standing(mark, "7", NOW), Standing::Unknown);
        revoked.is_caught_up();
        assert_eq!(revoked.standing(mark, "7", NOW), Standing::Holds);
    }

    #[test]
    fn a_revoked_token_is_refused_until_it_is_over() {
        let revoked = known();
        revoked.take(&Revocation::of_token(mark(), later()), NOW);
        assert_eq!(revoked.standing(mark, "7", NOW), Standing::Revoked);
        let other = || TokenMark::of_jti("app", "7f4");
        assert_eq!(revoked.standing(other, "7", NOW), Standing::Holds);
        revoked.sweep(later());
        assert_eq!(revoked.standing(mark, "7", NOW), Standing::Holds);
    }

    #[test]
    fn a_users_tokens_are_refused_if_they_are_older() {
        let revoked = known();
        revoked.take(&Revocation::of_user("7", NOW, later()).unwrap(), NOW);
        let before = NOW.saturating_sub(Duration::from_secs(1));
        assert_eq!(revoked.standing(mark, "7", before), Standing::Revoked);
        assert_eq!(revoked.standing(mark, "7", NOW), Standing::Holds);
        assert_eq!(revoked.standing(mark, "8", before), Standing::Holds);
        // An earlier one that is heard of later takes nothing back.
        let earlier = Revocation::of_user("7", before, NOW).unwrap();
        revoked.take(&earlier, NOW);
        assert_eq!(revoked.standing(mark, "7", before), Standing::Revoked);
    }

    #[test]
    fn ends_of_sessions_are_bounded_and_then_all_are_asked_anew() {
        let revoked = known();
        let turn = revoked.turn();
        for number in 0..=MOST_ENDED {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            let key = SessionKey::from_bytes(bytes);
            revoked.take(&Revocation::of_session(key, NOW), NOW);
            assert!(revoked.has_ended(key));
        }
        assert_ne!(revoked.turn(), turn);
        assert!(revoked.sessions.len() <= MOST_ENDED);
    }
}
