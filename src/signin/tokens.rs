//! The tokens that a session holds, and when they are due for renewal.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::auth::expiry_of;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// A token this close to its end may be over when the app looks at it.
const ON_THE_WAY: Duration = Duration::from_secs(2);

/// An access token, the refresh token that renews it, and their times.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// What the app takes.
    pub access: Secret<String>,
    /// What renews it, where the app gave one.
    pub refresh: Option<Secret<String>>,
    /// When the access token ends.
    expires: Timestamp,
    /// When the app gave it.
    got: Timestamp,
}

/// The same as it is sealed.
#[derive(Serialize, Deserialize, Zeroize)]
#[zeroize(drop)]
struct Written {
    access: String,
    refresh: Option<String>,
    expires: i64,
    got: i64,
}

impl Tokens {
    /// Tokens that an app has just given; `None` where the access token tells no end.
    #[must_use]
    pub fn new(
        access: Secret<String>,
        refresh: Option<Secret<String>>,
        now: Timestamp,
    ) -> Option<Self> {
        let expires = expiry_of(access.expose())?;
        Some(Self {
            access,
            refresh,
            expires,
            got: now,
        })
    }

    /// When the access token ends.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// When to renew: so long before the end, but never in the first half of the token's life.
    #[must_use]
    pub fn due(&self, before: Duration) -> Timestamp {
        let life = self.expires.saturating_since(self.got);
        self.expires.saturating_sub(before.min(life / 2))
    }

    /// Whether the app would still take the access token.
    #[must_use]
    pub fn are_good(&self, now: Timestamp) -> bool {
        let life = self.expires.saturating_since(self.got);
        now < self.expires.saturating_sub(ON_THE_WAY.min(life / 4))
    }

    /// The tokens after a renewal. An app that does not rotate gives no new refresh token.
    #[must_use]
    pub fn renewed(
        &self,
        access: Secret<String>,
        refresh: Option<Secret<String>>,
        now: Timestamp,
    ) -> Option<Self> {
        Self::new(access, refresh.or_else(|| self.refresh.clone()), now)
    }

    /// As bytes to seal.
    #[must_use]
    pub fn to_bytes(&self) -> Secret<Vec<u8>> {
        let written = Written {
            access: self.access.expose().clone(),
            refresh: self.refresh.as_ref().map(|token| token.expose().clone()),
            expires: self.expires.unix_micros(),
            got: self.got.unix_micros(),
        };
        // Strings and numbers always can be written.
        Secret::new(serde_json::to_vec(&written).unwrap_or_default())
    }

    /// From bytes that were sealed.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut written: Written = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            access: Secret::new(std::mem::take(&mut written.access)),
            refresh: written.refresh.take().map(Secret::new),
            expires: Timestamp::from_unix_micros(written.expires),
            got: Timestamp::from_unix_micros(written.got),
        })
    }
}

#[cfg(test)]
mod unit {
    use super::*;
    use crate::signin::tests::jwt;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

    fn after(seconds: u64) -> Timestamp {
        NOW.saturating_add(Duration::from_secs(seconds))
    }

    fn tokens(life: i64) -> Tokens {
        let access = jwt(NOW.unix_seconds() + life, "7");
        Tokens::new(Secret::new(access), None, NOW).unwrap()
    }

    #[test]
    fn a_token_is_renewed_before_its_end_and_not_in_its_first_half() {
        let minute = Duration::from_mins(1);
        assert_eq!(tokens(300).due(minute), after(240));
        assert_eq!(tokens(60).due(minute), after(30));
        assert!(tokens(300).are_good(after(297)));
        assert!(!tokens(300).are_good(after(298)));
        assert!(tokens(4).are_good(after(2)));
    }

    #[test]
    fn what_is_sealed_reads_back_whole() {
        let tokens = tokens(300).renewed(
            Secret::new(jwt(NOW.unix_seconds() + 600, "7")),
            Some(Secret::new("refresh".to_owned())),
            after(60),
        );
        let tokens = tokens.unwrap();
        let read = Tokens::from_bytes(tokens.to_bytes().expose()).unwrap();
        assert_eq!(read.access, tokens.access);
        assert_eq!(read.refresh, tokens.refresh);
        assert_eq!(read.expires(), after(600));
        assert!(Tokens::from_bytes(b"{}").is_none());
    }

    #[test]
    fn an_app_that_does_not_rotate_leaves_the_refresh_token_as_it_is() {
        let first = Tokens {
            refresh: Some(Secret::new("kept".to_owned())),
            ..tokens(300)
        };
        let access = Secret::new(jwt(NOW.unix_seconds() + 600, "7"));
        let next = first.renewed(access, None, after(60)).unwrap();
        assert_eq!(next.refresh, first.refresh);
    }

    #[test]
    fn a_token_without_an_end_is_not_kept() {
        assert!(Tokens::new(Secret::new("no.jwt".to_owned()), None, NOW).is_none());
    }
}
