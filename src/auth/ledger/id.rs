//! The name of a session: 256 random bits that only the cookie holds, and their hash, which is all
//! that a store ever sees.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;

use crate::secret::Secret;

/// Length of both in bytes.
const LENGTH: usize = 32;

/// The system gives no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

/// What the browser's cookie holds. Never stored, never logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionId(Secret<[u8; LENGTH]>);

/// SHA-256 of a [`SessionId`]: by this a store knows the session. No way leads back to the cookie.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey([u8; LENGTH]);

/// From which key a session moves to which. Both are of one shard, so that a store that spreads
/// sessions over servers can move it in one step; only [`SessionId::succeed`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Succession {
    old: SessionKey,
    new: SessionKey,
}

/// Random bytes.
pub(super) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    match rand::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(aws_lc_rs::error::Unspecified) => Err(NoRandomness),
    }
}

impl SessionId {
    /// A new one.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`] where the system has none.
    pub fn draw() -> Result<Self, NoRandomness> {
        random().map(|bytes| Self(Secret::new(bytes)))
    }

    /// A new one for the session that has the key `old`, with the step that moves it there.
    ///
    /// Draws until both keys are of one shard, 256 times on average: a twentieth of a millisecond.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`] where the system has none.
    pub fn succeed(old: SessionKey) -> Result<(Self, Succession), NoRandomness> {
        loop {
            let id = Self::draw()?;
            let new = id.key();
            if new.shard() == old.shard() {
                return Ok((id, Succession { old, new }));
            }
        }
    }

    /// Reads a cookie's value: 43 characters of base64url, written in the one way there is.
    #[must_use]
    pub fn parse(cookie: &str) -> Option<Self> {
        bytes(cookie).map(|bytes| Self(Secret::new(bytes)))
    }

    /// The cookie's value.
    #[must_use]
    pub fn cookie(&self) -> Secret<String> {
        Secret::new(BASE64.encode(self.0.expose()))
    }

    /// The key that a store knows it by.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        let hash = digest::digest(&digest::SHA256, self.0.expose());
        let mut key = [0; LENGTH];
        for (to, from) in key.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        SessionKey(key)
    }

    /// The bits themselves, to derive the sealing key from.
    pub(super) const fn bits(&self) -> &[u8; LENGTH] {
        self.0.expose()
    }
}

impl SessionKey {
    /// From the bytes that a store kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// One of 256 shards, over which stores may spread sessions.
    #[must_use]
    pub const fn shard(&self) -> u8 {
        self.0[0]
    }
}

impl Succession {
    /// The key that ends.
    #[must_use]
    pub const fn old(&self) -> SessionKey {
        self.old
    }

    /// The key that begins.
    #[must_use]
    pub const fn next(&self) -> SessionKey {
        self.new
    }
}

fn bytes(text: &str) -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH + 1];
    if text.len() != 43 {
        return None;
    }
    let length = BASE64.decode_slice(text, &mut bytes).ok()?;
    let (bytes, _) = bytes.split_first_chunk::<LENGTH>()?;
    (length == LENGTH).then_some(*bytes)
}

/// 43 characters of base64url, for lists and for naming a session to be ended.
impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0))
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKey({self})")
    }
}

/// What was given is no key of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no key of a session: expected 43 characters, as `sessions list` shows them")]
pub struct BadKey;

impl FromStr for SessionKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        bytes(text).map(Self).ok_or(BadKey)
    }
}
