//! Sessions and revocations as bytes, for homes that keep bytes.
//!
//! A session begins with its version, then generation and time of last use at fixed places, so
//! that a store can compare the one and write the other without understanding the rest. Numbers
//! are big-endian. Each text has its length before it. What does not read whole is [`Damaged`].

use std::time::Duration;

use super::id::SessionKey;
use super::record::{Generation, LONGEST_LIFE, Session, cut, fits_handler, fits_user};
use super::revocation::{Revocation, Revoked, TokenMark};
use super::seal::Sealed;
use crate::clock::Timestamp;

const VERSION: u8 = 1;
const SESSION: u8 = 1;
const TOKEN: u8 = 2;
const USER: u8 = 3;

/// Stored bytes that do not read as what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is stored does not read as a session or revocation of this version")]
pub struct Damaged;

impl Session {
    /// Where the generation stands in the bytes.
    pub const GENERATION_AT: std::ops::Range<usize> = 1..9;
    /// Where the time of last use stands, in microseconds since 1970.
    pub const SEEN_AT: std::ops::Range<usize> = 9..17;

    /// As bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let texts = [&self.user, &self.handler, &self.client];
        let idle = u64::try_from(self.idle.as_micros()).unwrap_or(u64::MAX);
        let mut bytes = vec![VERSION];
        bytes.extend(self.generation.number().to_be_bytes());
        bytes.extend(self.seen.unix_micros().to_be_bytes());
        bytes.extend(self.created.unix_micros().to_be_bytes());
        bytes.extend(self.expires.unix_micros().to_be_bytes());
        bytes.extend(idle.to_be_bytes());
        for text in texts {
            // Bounded far below.
            bytes.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes.extend(self.sealed.as_bytes());
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    ///
    /// [`Damaged`] where they are not what [`Session::to_bytes`] writes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader(bytes);
        if reader.array::<1>()? != [VERSION] {
            return Err(Damaged);
        }
        let generation = Generation::from_number(reader.number()?);
        let seen = reader.time()?;
        let created = reader.time()?;
        let expires = reader.time()?;
        let idle = Duration::from_micros(reader.number()?);
        let (user, handler) = (reader.text()?, reader.text()?);
        let client = reader.text()?;
        let whole = fits_user(user)
            && fits_handler(handler)
            && *cut(client) == *client
            && idle <= LONGEST_LIFE
            && expires <= created.saturating_add(LONGEST_LIFE);
        if !whole {
            return Err(Damaged);
        }
        Ok(Self {
            user: user.into(),
            handler: handler.into(),
            client: client.into(),
            created,
            seen,
            expires,
            idle,
            generation,
            sealed: Sealed::from_bytes(reader.0).ok_or(Damaged)?,
        })
    }
}

impl Revocation {
    /// As bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.until.unix_micros().to_be_bytes());
        match &self.what {
            Revoked::Session(key) => {
                bytes.push(SESSION);
                bytes.extend(key.as_bytes());
            }
            Revoked::Token(mark) => {
                bytes.push(TOKEN);
                bytes.extend(mark.as_bytes());
            }
            Revoked::User { user, before } => {
                bytes.push(USER);
                bytes.extend(before.unix_micros().to_be_bytes());
                bytes.extend(user.as_bytes());
            }
        }
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    ///
    /// [`Damaged`] where they are not what [`Revocation::to_bytes`] writes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader(bytes);
        if reader.array::<1>()? != [VERSION] {
            return Err(Damaged);
        }
        let until = reader.time()?;
        let [kind] = reader.array()?;
        let what = match kind {
            SESSION => Revoked::Session(SessionKey::from_bytes(reader.rest()?)),
            TOKEN => Revoked::Token(TokenMark::from_bytes(reader.rest()?)),
            USER => {
                let before = reader.time()?;
                let user = text(reader.0)?;
                if !fits_user(user) {
                    return Err(Damaged);
                }
                Revoked::User {
                    user: user.into(),
                    before,
                }
            }
            _ => return Err(Damaged),
        };
        Ok(Self { what, until })
    }
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// All that is left, of exactly this length.
    fn rest<const N: usize>(&self) -> Result<[u8; N], Damaged> {
        // The cause tells no more than that the length is another.
        self.0.try_into().or(Err(Damaged))
    }

    fn number(&mut self) -> Result<u64, Damaged> {
        self.array().map(u64::from_be_bytes)
    }

    fn time(&mut self) -> Result<Timestamp, Damaged> {
        let micros = i64::from_be_bytes(self.array()?);
        Ok(Timestamp::from_unix_micros(micros))
    }

    fn text(&mut self) -> Result<&'b str, Damaged> {
        let length = u16::from_be_bytes(self.array()?);
        let (taken, rest) = (self.0)
            .split_at_checked(usize::from(length))
            .ok_or(Damaged)?;
        self.0 = rest;
        text(taken)
    }
}

fn text(bytes: &[u8]) -> Result<&str, Damaged> {
    std::str::from_utf8(bytes).or(Err(Damaged))
}
