//! A session begins: the tokens of an app's answer are kept, and the browser gets a cookie.

use http::HeaderValue;

use super::cut::{self, Cut, NoTokens};
use super::tokens::Tokens;
use super::{SignIn, cookie, refusal};
use crate::auth::ledger::{Generation, Session, SessionId, Start, seal};
use crate::auth::words::unavailable;
use crate::clock::Timestamp;
use crate::policy::denial::Denial;
use crate::policy::identity::Identity;
use crate::policy::sign_in::HandlerId;

impl SignIn {
    /// Takes the tokens out of an app's answer.
    ///
    /// # Errors
    ///
    /// [`NoTokens`].
    pub fn cut(&self, handler: HandlerId, json: &[u8]) -> Result<Cut, NoTokens> {
        let handler = self.handler(handler).ok_or(NoTokens::NoAccess)?;
        cut::cut(json, handler)
    }

    /// Begins a session with tokens that were checked; gives the line that sets its cookie. A
    /// session that the browser had before ends: whoever knew its cookie knows nothing any more.
    ///
    /// # Errors
    ///
    /// `auth_unavailable` where the store does not keep it, `upstream_invalid` where the tokens
    /// do not fit.
    pub async fn begin(
        &self,
        handler: HandlerId,
        tokens: Tokens,
        (identity, client): (&Identity, &str),
        before: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<HeaderValue, Denial> {
        let inner = &self.0;
        let Some(made_by) = inner.handlers.get(handler.0) else {
            return Err(refusal::unavailable("the token handler is not there"));
        };
        let id = SessionId::draw().map_err(|bad| refusal::unavailable(bad.to_string()))?;
        let sealed = seal(&id, Generation::FIRST, tokens.to_bytes().expose());
        let session = Session::begin(Start {
            user: &identity.user,
            handler: made_by.name(),
            client,
            now,
            lifetime: inner.sessions.lifetime,
            idle: inner.sessions.idle,
            sealed: sealed.map_err(|bad| refusal::useless(bad.to_string()))?,
        });
        let session = session.map_err(|bad| refusal::useless(bad.to_string()))?;
        if let Some(before) = before {
            let ended = inner.end_known(before.key(), now).await;
            ended.map_err(|error| unavailable(&error))?;
        }
        let kept = inner.ledger.create(id.key(), session);
        kept.await.map_err(|error| unavailable(&error))?;
        inner.kept.counts.begun();
        cookie::give(&inner.sessions, &id)
            .ok_or_else(|| refusal::unavailable("the cookie cannot be written"))
    }

    /// The line that takes the cookie away.
    #[must_use]
    pub fn farewell(&self) -> Option<HeaderValue> {
        cookie::take(&self.0.sessions)
    }
}
