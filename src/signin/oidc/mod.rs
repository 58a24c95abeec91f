//! Sign-in at an OpenID provider: the code flow with PKCE, into a session of the gateway's own.
//!
//! Nothing is kept here between a browser's going and its coming back: what has to be remembered goes
//! with it, sealed ([`Flow`]). What a provider says is verified once, when it says it, and stands in
//! the session from then on.

mod answer;
mod back_channel;
mod client;
mod complete;
mod endpoints;
mod flow;
mod invite;
mod leave;
mod renew;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

pub use answer::{BadAnswer, Returned};
pub(super) use back_channel::endings;
pub use complete::Completed;
pub use flow::{FLOW_COOKIE, Flow};
pub use invite::Invitation;
pub use leave::Departure;
pub(super) use renew::NotRenewed;

use self::client::Client;
use self::endpoints::Endpoints;
use super::refusal;
use crate::auth::Issuer;
use crate::config::settings::Oidc;
use crate::policy::denial::{Code, Denial};
use crate::policy::forwarded;

/// For all that is asked of a provider at one step, connecting included.
const CALL: Duration = Duration::from_secs(10);
/// How soon it is worth to try again where a provider does not answer.
const RETRY: Duration = Duration::from_secs(5);

/// A provider, and what is needed to ask it.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) settings: Oidc,
    pub(super) issuer: Arc<Issuer>,
}

impl Provider {
    /// From its settings; `previous` gives its keys where it is the same.
    pub(super) fn new(settings: &Oidc, previous: Option<&Self>) -> Option<Self> {
        let issuer = Issuer::new(settings, previous.map(|before| &*before.issuer))?;
        Some(Self {
            settings: settings.clone(),
            issuer: Arc::new(issuer),
        })
    }

    /// Where the provider is asked what.
    async fn endpoints(&self) -> Result<Endpoints, Denial> {
        let document = self.issuer.document().await?;
        Endpoints::read(&document, &self.settings).map_err(|why| self.unusable(why))
    }

    /// The provider's token endpoint, as the client of these settings asks it.
    fn client(&self, endpoints: &Endpoints, redirect: Option<&str>) -> Result<Client, Denial> {
        Client::new(&self.settings, endpoints, redirect)
            .ok_or_else(|| self.unusable("an address of the sign-in cannot be written"))
    }

    /// The refusal where the provider cannot be asked or tells what cannot be used.
    fn unusable(&self, why: impl std::fmt::Display) -> Denial {
        let note = format!("{} ({}): {why}", self.settings.issuer, self.settings.name);
        Denial::new(
            Code::AuthUnavailable,
            "the sign-in provider cannot be used right now",
        )
        .note(note)
        .retry_after(RETRY)
    }
}

/// Scheme, host and port that a browser came to.
fn origin(client: &forwarded::Client) -> Result<String, Denial> {
    let host = client.host.to_str().ok().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| Denial::new(Code::BadRequest, "the request has no host"))?;
    Ok(format!("{}://{host}", client.scheme.as_str()))
}

/// An address for `Location`.
fn location(address: &str) -> Result<HeaderValue, Denial> {
    let written = HeaderValue::try_from(address);
    let mut value = written.map_err(|_why| refusal::unavailable("an address cannot be written"))?;
    // It may name a token.
    value.set_sensitive(true);
    Ok(value)
}
