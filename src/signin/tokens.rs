//! The tokens that a session holds, and when they are due for renewal.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroize;

use crate::auth::expiry_of;
use crate::clock::Timestamp;
use crate::config::settings::ForwardedToken;
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
    /// What an OpenID provider told with them.
    provided: Option<Provided>,
}

/// What an OpenID provider told of the user whom it signed in.
#[derive(Clone, Debug)]
pub(super) struct Provided {
    /// The ID token itself, to name the sign-in by when it ends.
    pub(super) id_token: Secret<String>,
    /// Its claims, verified.
    pub(super) id: Map<String, Value>,
    /// The claims of the `UserInfo` endpoint.
    pub(super) info: Map<String, Value>,
}

/// The same as it is sealed.
#[derive(Serialize, Deserialize, Zeroize)]
#[zeroize(drop)]
struct Written {
    access: String,
    refresh: Option<String>,
    expires: i64,
    got: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provided: Option<WrittenProvided>,
}

#[derive(Serialize, Deserialize, Zeroize)]
struct WrittenProvided {
    id_token: String,
    /// JSON.
    id: String,
    info: String,
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
            provided: None,
        })
    }

    /// Tokens that an OpenID provider has just given, and what it told with them; an access token's
    /// end is told beside it, because nobody else reads one.
    #[must_use]
    pub(super) fn provided(
        (access, refresh): (Secret<String>, Option<Secret<String>>),
        provided: Provided,
        expires: Timestamp,
        now: Timestamp,
    ) -> Self {
        Self {
            access,
            refresh,
            expires,
            got: now,
            provided: Some(provided),
        }
    }

    /// What an OpenID provider told.
    pub(super) fn told(&self) -> Option<Provided> {
        self.provided.clone()
    }

    /// All claims that an OpenID provider told. What the ID token says is what was verified, so it
    /// goes before the rest.
    pub(super) fn claims(&self) -> Map<String, Value> {
        let Some(provided) = &self.provided else {
            return Map::new();
        };
        let mut claims = provided.info.clone();
        claims.extend(provided.id.clone());
        claims
    }

    /// The token that the app gets of an OpenID provider's.
    pub(super) fn forwarded(&self, which: ForwardedToken) -> Option<Secret<String>> {
        match which {
            ForwardedToken::None => None,
            ForwardedToken::Access => Some(self.access.clone()),
            ForwardedToken::Id => self.provided.as_ref().map(|told| told.id_token.clone()),
        }
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
            provided: self.provided.as_ref().map(|told| WrittenProvided {
                id_token: told.id_token.expose().clone(),
                id: json(&told.id),
                info: json(&told.info),
            }),
        };
        // Strings and numbers always can be written.
        Secret::new(serde_json::to_vec(&written).unwrap_or_default())
    }

    /// From bytes that were sealed.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut written: Written = serde_json::from_slice(bytes).ok()?;
        let provided = match written.provided.take() {
            None => None,
            Some(told) => Some(Provided {
                id: serde_json::from_str(&told.id).ok()?,
                info: serde_json::from_str(&told.info).ok()?,
                id_token: Secret::new(told.id_token),
            }),
        };
        Some(Self {
            access: Secret::new(std::mem::take(&mut written.access)),
            refresh: written.refresh.take().map(Secret::new),
            expires: Timestamp::from_unix_micros(written.expires),
            got: Timestamp::from_unix_micros(written.got),
            provided,
        })
    }
}

/// Strings and numbers always can be written.
fn json(members: &Map<String, Value>) -> String {
    serde_json::to_string(members).unwrap_or_default()
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
