//! `type = "forward"`: the app says who it is.
//!
//! The endpoint gets the request's own credential. Any 2xx with a user in it is an identity, 401 and 403
//! are a refusal of the caller, and everything else means that it could not be asked.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::{Map, Value};

use crate::auth::ask::{Carried, Endpoint, Reply};
use crate::auth::claims;
use crate::auth::ports::StoreError;
use crate::auth::words::unavailable;
use crate::clock::Timestamp;
use crate::config::settings::{Forward, ForwardIdentity, IdentityHeaders, IdentityMap};
use crate::policy::denial::{Challenge, Code, Denial};
use crate::policy::identity::Identity;

/// One endpoint that knows who is calling.
#[derive(Debug)]
pub(crate) struct ForwardReader {
    pub(crate) settings: Forward,
    pub(crate) endpoint: Endpoint,
    pub(crate) authenticator: Arc<str>,
    pub(crate) epoch: u64,
}

impl ForwardReader {
    /// Asks who bears the credential.
    ///
    /// # Errors
    ///
    /// `session_unknown` where the app refuses it, `session_anonymous` where it knows nobody,
    /// `auth_unavailable` where it could not say.
    pub(crate) async fn read(&self, carried: &Carried) -> Result<(Identity, Timestamp), Denial> {
        let now = crate::clock::now();
        let reply = self.endpoint.ask(carried).await;
        let reply = reply.map_err(|error| unavailable(&error))?;
        let identity = self.judge(&reply)?;
        Ok((identity, now.saturating_add(self.settings.cache)))
    }

    fn judge(&self, reply: &Reply) -> Result<Identity, Denial> {
        match reply.status {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let note = format!("{} answered {}", self.settings.url.path(), reply.status);
                let detail = "the app does not know the credential that was sent";
                let denial = Denial::new(Code::SessionUnknown, detail).challenge(Challenge::Bearer);
                return Err(denial.note(note));
            }
            other => {
                let what = format!("it answered {other}, where 2xx, 401 or 403 belongs");
                return Err(unavailable(&self.endpoint.unreadable(what)));
            }
        }
        match &self.settings.identity {
            ForwardIdentity::Headers(names) => self.of_headers(names, &reply.headers),
            ForwardIdentity::Body(map) => {
                let body = object(&reply.body).ok_or_else(|| self.no_object())?;
                self.of_body(map, body)
            }
        }
    }

    fn no_object(&self) -> Denial {
        let error: StoreError = self.endpoint.unreadable("its body is not a JSON object");
        unavailable(&error)
    }

    fn of_headers(&self, names: &IdentityHeaders, headers: &HeaderMap) -> Result<Identity, Denial> {
        let text = |name: &HeaderName| {
            let value = headers.get(name)?.to_str().ok()?.trim();
            (!value.is_empty()).then(|| value.to_owned())
        };
        let roles = names.roles.as_ref().and_then(text).unwrap_or_default();
        let roles = roles.split(',').map(|role| role.trim().to_owned());
        let identity = Identity {
            user: text(&names.user).ok_or_else(|| nobody(names.user.as_str()))?,
            roles: Vec::new(),
            email: names.email.as_ref().and_then(text),
            name: names.name.as_ref().and_then(text),
            claims: Map::new(),
            expires_at: None,
            authenticator: Arc::clone(&self.authenticator),
        };
        Ok(identity.with_roles(roles))
    }

    fn of_body(&self, map: &IdentityMap, body: Map<String, Value>) -> Result<Identity, Denial> {
        let identity = Identity {
            user: claims::user(&body, &map.user).map_err(|_none| nobody(&map.user))?,
            roles: Vec::new(),
            email: claims::text(&body, map.email.as_deref()),
            name: claims::text(&body, map.name.as_deref()),
            claims: Map::new(),
            expires_at: None,
            authenticator: Arc::clone(&self.authenticator),
        };
        let mut identity = identity.with_roles(claims::roles(&body, &map.roles));
        identity.claims = body;
        Ok(identity)
    }
}

fn nobody(place: &str) -> Denial {
    Denial::new(Code::SessionAnonymous, "nobody is signed in")
        .challenge(Challenge::Bearer)
        .note(format!(
            "the app's answer names no user at `{place}` of `identity`"
        ))
}

/// A JSON object out of an app's answer.
pub(crate) fn object(body: &[u8]) -> Option<Map<String, Value>> {
    crate::auth::json::object(body)
        .ok()
        .map(|object| object.members)
}
