//! `type = "oidc"`: sign-in at an OpenID provider.

use std::sync::Arc;
use std::time::Duration;

use super::{IdentityMap, Jwt};
use crate::policy::sign_in::HandlerId;
use crate::secret::Secret;

/// `[auth.NAME]` of `type = "oidc"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Oidc {
    /// Stands in every session that it makes: `auth.NAME`, which no token handler is called.
    pub name: Arc<str>,
    /// Its place among what makes sessions: behind the token handlers.
    pub handler: HandlerId,
    /// The issuer, exactly as it names itself.
    pub issuer: Box<str>,
    /// Who the gateway is to the provider.
    pub client_id: Box<str>,
    /// How it proves that.
    pub client_secret: Secret<String>,
    /// What is asked for; `openid` is among them.
    pub scopes: Vec<Box<str>>,
    /// Which claims make the identity.
    pub identity: IdentityMap,
    /// Whether the provider's `UserInfo` endpoint is asked for claims too, where it has one.
    pub userinfo: bool,
    /// Which of the provider's tokens the app gets as a bearer token.
    pub forward_token: ForwardedToken,
    /// The path before those of the sign-in; without a slash at its end.
    pub prefix: Box<str>,
    /// Where a browser is sent after it signed out: a path of the host it came to.
    pub after_logout: Box<str>,
    /// How long before its end an access token is refreshed.
    pub refresh_before: Duration,
    /// The cookie of the gateway's own sessions.
    pub cookie: Box<str>,
    /// How long a verdict may be reused.
    pub cache: Duration,
    /// How an ID token is verified: the issuer's keys by discovery, `iss`, `aud`, times.
    pub id_token: Jwt,
}

/// Which of the provider's tokens the app gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedToken {
    /// None: identity headers tell it who is calling.
    None,
    /// The access token.
    Access,
    /// The ID token.
    Id,
}
