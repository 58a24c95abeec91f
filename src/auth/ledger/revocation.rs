//! What was revoked, until when it has to be remembered, and where in the log one stands.

use std::fmt;

use aws_lc_rs::digest;

use super::id::SessionKey;
use super::record::{BadSession, fits_user};
use crate::clock::Timestamp;

/// SHA-256 of a token, or of issuer and `jti`: a store never sees either.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenMark([u8; 32]);

/// What does not hold any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// A session that ended.
    Session(SessionKey),
    /// One token.
    Token(TokenMark),
    /// All tokens of a user that were issued before a point in time.
    User {
        /// The user's id.
        user: Box<str>,
        /// Tokens issued at this time or later hold.
        before: Timestamp,
    },
}

/// Something revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub(super) what: Revoked,
    pub(super) until: Timestamp,
}

/// A place in the log of revocations. What is behind a later cursor happened later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(u64);

/// What was revoked since a cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catch {
    /// Oldest first.
    pub revocations: Vec<Revocation>,
    /// Where to go on.
    pub cursor: Cursor,
    /// Whether there is more: ask again from `cursor`.
    pub more: bool,
}

impl TokenMark {
    /// Of a token as the client sends it.
    #[must_use]
    pub fn of_token(token: &[u8]) -> Self {
        Self::of(&[b"token", token])
    }

    /// Of a `jti` (RFC 7519 §4.1.7), which is unique for its issuer alone; without an issuer, for
    /// the authenticator that is named in its place.
    #[must_use]
    pub fn of_jti(issuer: &str, jti: &str) -> Self {
        Self::of(&[b"jti", issuer.as_bytes(), jti.as_bytes()])
    }

    fn of(parts: &[&[u8]]) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in parts {
            // The length before each part: "a" and "bc" are not "ab" and "c".
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut mark = [0; 32];
        for (to, from) in mark.iter_mut().zip(hash.finish().as_ref()) {
            *to = *from;
        }
        Self(mark)
    }

    /// From the bytes that a store kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, _) = self.0.split_at(4);
        write!(f, "TokenMark({start:02x?}…)")
    }
}

impl Revocation {
    /// A token, remembered until it expires.
    #[must_use]
    pub const fn of_token(mark: TokenMark, expires: Timestamp) -> Self {
        Self {
            what: Revoked::Token(mark),
            until: expires,
        }
    }

    /// All tokens of a user issued before `before`, remembered until the last of them expires.
    ///
    /// # Errors
    ///
    /// [`BadSession::User`] where the user's id is empty or too long.
    pub fn of_user(user: &str, before: Timestamp, until: Timestamp) -> Result<Self, BadSession> {
        if !fits_user(user) {
            return Err(BadSession::User);
        }
        Ok(Self {
            what: Revoked::User {
                user: user.into(),
                before,
            },
            until,
        })
    }

    /// A session that ended at `now`. For stores.
    #[must_use]
    pub fn of_session(key: SessionKey, now: Timestamp) -> Self {
        Self {
            what: Revoked::Session(key),
            until: now.saturating_add(super::ENDED_KEPT),
        }
    }

    /// What does not hold any more.
    #[must_use]
    pub const fn what(&self) -> &Revoked {
        &self.what
    }

    /// Until when it has to be remembered.
    #[must_use]
    pub const fn until(&self) -> Timestamp {
        self.until
    }
}

impl Cursor {
    /// Before everything.
    pub const START: Self = Self(0);

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

    /// Where to read on in a log that ends at `last`: one that ends before this cursor lost its
    /// last entries, or began anew, and is read from the start. For stores.
    #[must_use]
    pub fn within(self, last: Self) -> Self {
        if last < self { Self::START } else { self }
    }
}
