//! A session as it is kept: bounded in every field, and judged by the caller's time.

use std::time::Duration;

use super::seal::Sealed;
use crate::clock::Timestamp;

/// Longest id of a user in bytes.
const MOST_USER: usize = 512;
/// Longest name of what made a session, in bytes: a table's name in the configuration.
const MOST_HANDLER: usize = 128;
/// Longest words about the client in bytes; more is cut off.
const MOST_CLIENT: usize = 128;
/// Longest life of a session.
pub const LONGEST_LIFE: Duration = Duration::from_hours(24 * 3660);

/// How often a session was replaced since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(u64);

impl Generation {
    /// The first one.
    pub const FIRST: Self = Self(0);

    /// From the number that a store kept.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number to store.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The one before it; the first has none.
    #[must_use]
    pub const fn previous(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

/// What a session begins with.
#[derive(Clone, Debug)]
pub struct Start<'s> {
    /// The user's id.
    pub user: &'s str,
    /// Which `token_handler` or sign-in made it: the table's name.
    pub handler: &'s str,
    /// Who asked, for lists: an address. Cut off where it is long.
    pub client: &'s str,
    /// When it begins.
    pub now: Timestamp,
    /// How long it lives at most.
    pub lifetime: Duration,
    /// How long it lives without being seen.
    pub idle: Duration,
    /// What no store understands, sealed for [`Generation::FIRST`].
    pub sealed: Sealed,
}

/// A session that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSession {
    /// The user's id.
    #[error("the user's id is empty, has a NUL or is longer than {MOST_USER} bytes")]
    User,
    /// The handler's name.
    #[error("the handler's name is empty, has a NUL or is longer than {MOST_HANDLER} bytes")]
    Handler,
}

/// A session as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub(super) user: Box<str>,
    pub(super) handler: Box<str>,
    pub(super) client: Box<str>,
    pub(super) created: Timestamp,
    pub(super) seen: Timestamp,
    pub(super) expires: Timestamp,
    pub(super) idle: Duration,
    pub(super) generation: Generation,
    pub(super) sealed: Sealed,
}

impl Session {
    /// A session of the first generation.
    ///
    /// # Errors
    ///
    /// [`BadSession`] where a name is empty or too long.
    pub fn begin(start: Start<'_>) -> Result<Self, BadSession> {
        if !fits(start.user, MOST_USER) {
            return Err(BadSession::User);
        }
        if !fits(start.handler, MOST_HANDLER) {
            return Err(BadSession::Handler);
        }
        let lifetime = start.lifetime.min(LONGEST_LIFE);
        let micros = u64::try_from(start.idle.min(lifetime).as_micros());
        Ok(Self {
            user: start.user.into(),
            handler: start.handler.into(),
            client: cut(start.client),
            created: start.now,
            seen: start.now,
            expires: start.now.saturating_add(lifetime),
            idle: Duration::from_micros(micros.unwrap_or(u64::MAX)),
            generation: Generation::FIRST,
            sealed: start.sealed,
        })
    }

    /// The same session with other sealed bytes, of the next generation, for which they were sealed.
    #[must_use]
    pub fn renewed(&self, sealed: Sealed, now: Timestamp) -> Self {
        Self {
            sealed,
            seen: self.seen.max(now),
            generation: self.generation.next(),
            ..self.clone()
        }
    }

    /// The same session, last seen at `now` where that is later. For stores.
    #[must_use]
    pub fn seen_at(mut self, now: Timestamp) -> Self {
        self.seen = self.seen.max(now);
        self
    }

    /// Whether neither its end nor its idle time is over.
    #[must_use]
    pub fn lives(&self, now: Timestamp) -> bool {
        now < self.ends()
    }

    /// When it ends if it is not seen any more.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        self.expires.min(self.seen.saturating_add(self.idle))
    }

    /// Whether it is time to note that it was seen: [`super::TOUCH_EVERY`] went by.
    #[must_use]
    pub fn wants_touch(&self, now: Timestamp) -> bool {
        now.saturating_since(self.seen) >= super::TOUCH_EVERY.min(self.idle / 2)
    }

    /// The user's id.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Which `token_handler` or sign-in made it.
    #[must_use]
    pub fn handler(&self) -> &str {
        &self.handler
    }

    /// Who asked, for lists.
    #[must_use]
    pub fn client(&self) -> &str {
        &self.client
    }

    /// When it began.
    #[must_use]
    pub const fn created(&self) -> Timestamp {
        self.created
    }

    /// When it was last seen, some minutes at most before it was.
    #[must_use]
    pub const fn seen(&self) -> Timestamp {
        self.seen
    }

    /// When it ends, seen or not.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// How long it lives without being seen.
    #[must_use]
    pub const fn idle(&self) -> Duration {
        self.idle
    }

    /// How often it was replaced.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// What no store understands.
    #[must_use]
    pub const fn sealed(&self) -> &Sealed {
        &self.sealed
    }
}

pub(super) fn fits(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && !text.contains('\0')
}

pub(super) fn fits_user(user: &str) -> bool {
    fits(user, MOST_USER)
}

pub(super) fn fits_handler(handler: &str) -> bool {
    fits(handler, MOST_HANDLER)
}

/// At most [`MOST_CLIENT`] bytes, whole characters, none of which steers a terminal.
pub(super) fn cut(client: &str) -> Box<str> {
    let mut kept = String::new();
    for one in client.chars().filter(|one| !one.is_control()) {
        if kept.len() + one.len_utf8() > MOST_CLIENT {
            break;
        }
        kept.push(one);
    }
    kept.into()
}
