//! A browser signs out: here at once, and at the provider, where that can be told (OpenID Connect
//! RP-Initiated Logout 1.0).

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{Provider, location, origin};
use crate::auth::ledger::SessionId;
use crate::auth::own_session;
use crate::auth::words::unavailable;
use crate::clock::Timestamp;
use crate::policy::csrf;
use crate::policy::denial::{Code, Denial};
use crate::policy::forwarded::Client;
use crate::policy::sign_in::HandlerId;
use crate::secret::Secret;
use crate::signin::{SignIn, refusal};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// A longer ID token does not go into an address: servers take no such line.
const MOST_HINT: usize = 4 * 1024;

/// Where a browser goes that signed out.
#[derive(Debug)]
pub struct Departure {
    /// To the provider, or to the page that the configuration names.
    pub location: HeaderValue,
    /// The line that takes the session's cookie away.
    pub cookie: Option<HeaderValue>,
}

impl SignIn {
    /// Ends the session of a browser.
    ///
    /// # Errors
    ///
    /// `csrf_failed` where another site asked for it; `auth_unavailable` where the store does not take
    /// it: then the session lives on.
    pub async fn depart(
        &self,
        handler: HandlerId,
        (client, headers): (&Client, &HeaderMap),
        method: &Method,
        now: Timestamp,
    ) -> Result<Departure, Denial> {
        let provider = self.provider(handler)?;
        check_site(method, headers, client)?;
        let id = own_session(self.cookie(), headers).unwrap_or_default();
        let hint = match &id {
            Some(id) => self.end_provided(handler, id, now).await?,
            None => None,
        };
        let there = provider.end_session(client, hint.as_ref()).await;
        let address = there.unwrap_or_else(|| provider.settings.after_logout.to_string());
        Ok(Departure {
            location: location(&address)?,
            cookie: self.farewell(),
        })
    }

    /// Ends a session; gives its ID token where it was of this provider.
    async fn end_provided(
        &self,
        handler: HandlerId,
        id: &SessionId,
        now: Timestamp,
    ) -> Result<Option<Secret<String>>, Denial> {
        let tokens = match self.0.load(handler, id, now).await {
            Ok((_, tokens)) => tokens,
            Err(denial) if denial.code() == Code::AuthUnavailable => return Err(denial),
            Err(_gone) => return Ok(None),
        };
        let ended = self.0.end_known(id.key(), now).await;
        ended.map_err(|error| unavailable(&error))?;
        Ok(tokens.told().map(|told| told.id_token))
    }
}

impl Provider {
    /// The address where a browser signs out at the provider; `None` where it has none or cannot be
    /// asked: signed out here is signed out.
    async fn end_session(&self, client: &Client, hint: Option<&Secret<String>>) -> Option<String> {
        let hint = hint?;
        let mut address = match self.endpoints().await {
            Ok(endpoints) => endpoints.end_session?,
            Err(denial) => {
                let note = denial.operator_note().unwrap_or_default();
                tracing::warn!(note, "a browser signed out here, and not at the provider");
                return None;
            }
        };
        let back = format!("{}{}", origin(client).ok()?, self.settings.after_logout);
        let mut query = address.query_pairs_mut();
        if hint.expose().len() <= MOST_HINT {
            query.append_pair("id_token_hint", hint.expose());
        }
        query.append_pair("client_id", &self.settings.client_id);
        query.append_pair("post_logout_redirect_uri", &back);
        drop(query);
        Some(address.into())
    }
}

/// A page of another site signs nobody out, by a link neither.
fn check_site(method: &Method, headers: &HeaderMap, client: &Client) -> Result<(), Denial> {
    let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
    if matches!(site, Some(site) if !matches!(site, b"same-origin" | b"same-site" | b"none")) {
        let detail = "the sign-out was asked for by another site";
        return Err(Denial::new(Code::CsrfFailed, detail));
    }
    csrf::check_sign_in(method, headers, client, None)
}

impl SignIn {
    /// The provider of a handler's place.
    pub(super) fn provider(&self, handler: HandlerId) -> Result<&Provider, Denial> {
        let found = self.0.handlers.get(handler.0);
        let provider = found.and_then(crate::signin::Handler::provider);
        provider.ok_or_else(|| refusal::unavailable("the sign-in provider is not there"))
    }
}
