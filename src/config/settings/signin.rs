//! The gateway's own sessions: where they are kept, what makes them, what reads them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Database, RedisHome, SameSite};
use crate::policy::route::{AuthenticatorId, UpstreamId};
use crate::policy::sign_in::HandlerId;

/// `[session]`.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewaySessions {
    /// Where they are kept.
    pub home: LedgerHome,
    /// The cookie that names one.
    pub cookie: Box<str>,
    /// The cookie's `SameSite`.
    pub same_site: SameSite,
    /// How long a session lives without being seen.
    pub idle: Duration,
    /// How long it lives at most.
    pub lifetime: Duration,
}

/// `store` of `[session]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerHome {
    /// In the gateway's memory, gone with the process.
    Memory,
    /// In a file of this gateway alone.
    File(PathBuf),
    /// In Redis, shared by any number of gateways.
    Redis(Box<RedisHome>),
    /// In PostgreSQL, shared by any number of gateways.
    Postgres(Database),
}

/// `[token_handler.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenHandler {
    /// NAME: stands in every session that it makes.
    pub name: Arc<str>,
    /// The app that issues the tokens.
    pub upstream: UpstreamId,
    /// Where the app signs people in.
    pub login: Box<str>,
    /// Where it takes a refresh token for a new access token.
    pub refresh: Option<Box<str>>,
    /// Where it signs people out.
    pub logout: Option<Box<str>>,
    /// Where the access token stands in the app's answer.
    pub access: Pointer,
    /// Where the refresh token stands.
    pub refresh_token: Pointer,
    /// Checks the access token.
    pub auth: AuthenticatorId,
    /// How the app wants the refresh token.
    pub refresh_by: RefreshBy,
    /// How long before its end an access token is refreshed.
    pub refresh_before: Duration,
    /// Whether the browser sees the tokens all the same.
    pub keep_body: bool,
}

/// A JSON pointer (RFC 6901), unescaped: the names of members, or places in lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(pub Vec<Box<str>>);

impl Pointer {
    /// The name of the member itself.
    #[must_use]
    pub fn member(&self) -> &str {
        self.0.last().map_or("", |name| name)
    }
}

/// How an app wants a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshBy {
    /// As a member of a JSON body, as SimpleJWT does.
    Body,
    /// As `Authorization: Bearer`, as Flask-JWT-Extended does.
    Bearer,
}

/// `type = "gateway-session"`.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewaySession {
    /// Whose sessions it reads: those of one handler, so that no app's user passes at another's.
    pub handler: HandlerId,
    /// Its jwt authenticator.
    pub auth: AuthenticatorId,
    /// The cookie.
    pub cookie: Box<str>,
    /// How long a verdict may be reused. What ends a session here, or is told by its store, ends
    /// the verdict at once.
    pub cache: Duration,
}
