//! Lists of sessions, a bounded page at a time.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;

use super::id::SessionKey;
use super::record::Session;

/// Most sessions on a page.
pub const MOST_LISTED: usize = 500;
/// Longest bookmark in bytes.
const MOST_MARK: usize = 64;

/// Which page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Of this user alone.
    pub user: Option<Box<str>>,
    /// Where the page before ended.
    pub after: Option<Bookmark>,
    /// So many at most; never more than [`MOST_LISTED`], never none.
    pub most: usize,
}

impl Page {
    /// How many at most.
    #[must_use]
    pub fn size(&self) -> usize {
        self.most.clamp(1, MOST_LISTED)
    }
}

/// A page. It may be short, or empty, and there may be another all the same.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Sessions in an order of the store's own.
    pub sessions: Vec<(SessionKey, Session)>,
    /// Where the next page begins; `None` where this is the last.
    pub next: Option<Bookmark>,
}

/// A place in a list, which only the store that gave it out understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bookmark(Box<[u8]>);

impl Bookmark {
    /// From the store's bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The store's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// base64url.
impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

/// What was given is no place in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no place in a list: give what the page before told as the next one, or nothing")]
pub struct BadBookmark;

impl FromStr for Bookmark {
    type Err = BadBookmark;

    fn from_str(text: &str) -> Result<Self, BadBookmark> {
        if text.len() > MOST_MARK * 2 {
            return Err(BadBookmark);
        }
        match BASE64.decode(text) {
            Ok(bytes) if bytes.len() <= MOST_MARK => Ok(Self(bytes.into())),
            Ok(_) | Err(_) => Err(BadBookmark),
        }
    }
}
