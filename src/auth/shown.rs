//! What a request shows of a session: its cookie, and whatever else its authenticator goes by.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::USER_AGENT;

use crate::auth::attempt::Request;
use crate::auth::credential;
use crate::auth::session::django::Hashed;
use crate::auth::session::flask_login::Client;
use crate::auth::session_reader::SessionReader;
use crate::auth::verdicts::{Epoch, VerdictKey};
use crate::policy::denial::Denial;
use crate::policy::forwarded;

/// What one session authenticator takes of a request; at least one of the cookies is there.
#[derive(Clone)]
pub(crate) struct Shown<'r> {
    /// The session's cookie.
    pub(crate) cookie: Option<Cow<'r, str>>,
    /// The cookie that remembers a user.
    pub(crate) remember: Option<Cow<'r, str>>,
    /// The client, where the session is tied to it.
    pub(crate) client: Option<Client<'r>>,
    /// Who compares the session's hash with the user.
    pub(crate) hashed: Hashed,
}

impl<'r> Shown<'r> {
    /// What a reader takes of a request; `None` where there is no cookie for it.
    ///
    /// # Errors
    ///
    /// `session_malformed` for a cookie that cannot be read in exactly one way.
    pub(crate) fn of(
        reader: &SessionReader,
        headers: &'r HeaderMap,
        client: Option<&'r forwarded::Client>,
        websocket: bool,
    ) -> Result<Option<Self>, Denial> {
        let cookie = credential::session_cookie(reader.cookie(), headers)?;
        let remember = match reader.remember() {
            Some(name) => credential::session_cookie(name, headers)?,
            None => None,
        };
        if cookie.is_none() && remember.is_none() {
            return Ok(None);
        }
        let by_channels = websocket && reader.differs_on_channels();
        Ok(Some(Self {
            cookie: cookie.map(Cow::Borrowed),
            remember: remember.map(Cow::Borrowed),
            client: reader.is_strong().then(|| seen_by_app(headers, client)),
            hashed: if by_channels {
                Hashed::ByChannels
            } else {
                Hashed::ByDjango
            },
        }))
    }

    /// The same of a request that is being asked about.
    ///
    /// # Errors
    ///
    /// Those of [`Shown::of`].
    pub(crate) fn in_request(
        reader: &SessionReader,
        request: &Request<'r>,
    ) -> Result<Option<Self>, Denial> {
        Self::of(reader, request.headers, request.client, request.websocket)
    }

    /// What its verdict stands under: whatever may change the verdict is in it.
    pub(crate) fn key(&self, epoch: Epoch) -> VerdictKey {
        let cookie = self.cookie.as_deref().unwrap_or_default();
        let plain = self.remember.is_none() && self.client.is_none();
        if plain && self.hashed == Hashed::ByDjango {
            return VerdictKey::of(epoch, cookie.as_bytes());
        }
        let remember = self.remember.as_deref().unwrap_or_default();
        let client = self.client.as_ref();
        let address = client.and_then(|client| client.address.as_deref());
        let agent = client.and_then(|client| client.user_agent.as_deref());
        let said = [address.is_some(), agent.is_some()].map(u8::from);
        let hashed = match self.hashed {
            Hashed::ByDjango => b"django".as_slice(),
            Hashed::ByChannels => b"channels",
        };
        let parts = [
            cookie.as_bytes(),
            remember.as_bytes(),
            &said,
            address.unwrap_or_default(),
            agent.unwrap_or_default(),
            hashed,
        ];
        VerdictKey::of_parts(epoch, &parts)
    }

    /// The same without a hold on the request.
    pub(crate) fn into_owned(self) -> Shown<'static> {
        let owned = |text: Cow<'r, str>| Cow::Owned(text.into_owned());
        let bytes = |bytes: Cow<'r, [u8]>| Cow::Owned(bytes.into_owned());
        Shown {
            cookie: self.cookie.map(owned),
            remember: self.remember.map(owned),
            client: self.client.map(|client| Client {
                address: client.address.map(bytes),
                user_agent: client.user_agent.map(bytes),
            }),
            hashed: self.hashed,
        }
    }
}

/// The client as the app behind this gateway sees it: the first address of the `X-Forwarded-For`
/// that it is sent, and its `User-Agent`, two of which a WSGI server joins with a comma.
fn seen_by_app<'r>(headers: &'r HeaderMap, client: Option<&'r forwarded::Client>) -> Client<'r> {
    let first = |chain: &'r [u8]| {
        let first = chain.split(|byte| *byte == b',').next();
        Cow::Borrowed(first.unwrap_or_default().trim_ascii())
    };
    let mut agents = headers.get_all(USER_AGENT).iter();
    let agent = agents.next().map(|agent| Cow::Borrowed(agent.as_bytes()));
    let joined = agents.fold(agent, |all: Option<Cow<'r, [u8]>>, more| {
        let mut all = all.unwrap_or_default().into_owned();
        all.push(b',');
        all.extend_from_slice(more.as_bytes());
        Some(Cow::Owned(all))
    });
    Client {
        address: client.map(|client| first(client.chain.as_bytes())),
        user_agent: joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(cookie: &'static str) -> Shown<'static> {
        Shown {
            cookie: Some(cookie.into()),
            remember: None,
            client: None,
            hashed: Hashed::ByDjango,
        }
    }

    fn by(address: &'static str, agent: Option<&'static str>) -> Shown<'static> {
        let client = Client {
            address: Some(Cow::Borrowed(address.as_bytes())),
            user_agent: agent.map(|agent| Cow::Borrowed(agent.as_bytes())),
        };
        Shown {
            client: Some(client),
            ..shown("a")
        }
    }

    #[test]
    fn whatever_may_change_the_verdict_is_in_its_key() {
        let epoch = Epoch {
            settings: 1,
            keys: 2,
        };
        let plain = shown("a");
        let all = [
            plain.clone(),
            Shown {
                cookie: None,
                remember: Some("a".into()),
                ..shown("")
            },
            Shown {
                remember: Some("b".into()),
                ..plain.clone()
            },
            Shown {
                hashed: Hashed::ByChannels,
                ..plain.clone()
            },
            by("1", None),
            by("1", Some("")),
            by("1", Some("2")),
            by("12", Some("")),
        ];
        let keys: std::collections::HashSet<_> = all.iter().map(|one| one.key(epoch)).collect();
        assert_eq!(keys.len(), all.len());
    }
}
