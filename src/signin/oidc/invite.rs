//! A browser is sent to a provider.

use http::{HeaderMap, HeaderValue};

use super::flow::{self, Flow};
use super::{Provider, location, origin};
use crate::clock::Timestamp;
use crate::policy::denial::Denial;
use crate::policy::forwarded::Client;
use crate::policy::return_path::ReturnPath;
use crate::policy::sign_in::{HandlerId, ProviderStep};
use crate::signin::{SignIn, refusal};

/// Where a browser is sent, and what it keeps meanwhile.
#[derive(Debug)]
pub struct Invitation {
    /// The provider's address.
    pub location: HeaderValue,
    /// Lines that set and take away cookies.
    pub cookies: Vec<HeaderValue>,
}

impl SignIn {
    /// Begins a sign-in for a browser that asked for a page; `back` is that page, where it is one of
    /// this host.
    ///
    /// # Errors
    ///
    /// `auth_unavailable` where the provider has not told where that is done.
    pub async fn invite(
        &self,
        handler: HandlerId,
        (client, headers): (&Client, &HeaderMap),
        back: Option<&str>,
        now: Timestamp,
    ) -> Result<Invitation, Denial> {
        let provider = self.provider(handler)?;
        let origin = origin(client)?;
        let endpoints = provider.endpoints().await?;
        let redirect = provider.callback(&origin);
        let back = back.and_then(ReturnPath::parse);
        let flow = Flow::draw(back.unwrap_or(ReturnPath::FIRST), &origin, now);
        let flow = flow.ok_or_else(|| refusal::unavailable("the system gives no random bytes"))?;
        let address = provider
            .client(&endpoints, Some(&redirect))?
            .authorization(&flow);
        let mut cookies = flow::make_room(&provider.settings, headers);
        let given = flow.give(&provider.settings);
        cookies.push(given.ok_or_else(|| refusal::unavailable("the cookie cannot be written"))?);
        Ok(Invitation {
            location: location(address.as_str())?,
            cookies,
        })
    }
}

impl Provider {
    /// Where a browser comes back to: what the provider has as `redirect_uri`.
    pub(super) fn callback(&self, origin: &str) -> String {
        let step = ProviderStep::Callback.segment();
        format!("{origin}{}/{step}", self.settings.prefix)
    }
}
