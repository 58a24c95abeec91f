//! A session ends: by a sign-out, by another sign-in, or because the app renews it no more.

use super::tokens::Tokens;
use super::{Inner, SignIn, renew};
use crate::auth::ledger::{Revocation, SessionId, SessionKey, TokenMark};
use crate::auth::ports::StoreError;
use crate::auth::words::unavailable;
use crate::clock::Timestamp;
use crate::config::settings::RefreshBy;
use crate::policy::denial::{Code, Denial};
use crate::policy::sign_in::HandlerId;
use crate::secret::Secret;

/// What a session held that has ended.
#[derive(Clone, Debug)]
pub struct Departed {
    /// Its tokens.
    pub tokens: Tokens,
    /// The body that the app's sign-out wants, where it takes the refresh token in one.
    pub body: Option<Secret<Vec<u8>>>,
}

impl SignIn {
    /// The session that a cookie names, if it lives and this handler made it.
    ///
    /// # Errors
    ///
    /// `auth_unavailable` where the store cannot say.
    pub async fn find(
        &self,
        handler: HandlerId,
        id: &SessionId,
        now: Timestamp,
    ) -> Result<Option<Departed>, Denial> {
        let tokens = match self.0.load(handler, id, now).await {
            Ok((_, tokens)) => tokens,
            Err(denial) if denial.code() == Code::AuthUnavailable => return Err(denial),
            Err(_gone) => return Ok(None),
        };
        let settings = self.handler(handler);
        let by_body = settings.filter(|one| one.refresh_by == RefreshBy::Body);
        let body = by_body
            .zip(tokens.refresh.as_ref())
            .map(|(settings, refresh)| renew::body(settings, refresh));
        Ok(Some(Departed { tokens, body }))
    }

    /// Ends a session that was found, and revokes what names its access token. Holds here at once.
    ///
    /// # Errors
    ///
    /// `auth_unavailable` where the store does not take it: then the session lives on.
    pub async fn end(
        &self,
        id: &SessionId,
        departed: &Departed,
        marks: Vec<TokenMark>,
        now: Timestamp,
    ) -> Result<(), Denial> {
        let until = departed
            .tokens
            .expires()
            .saturating_add(super::revoke::LEEWAY);
        for mark in marks {
            let revocation = Revocation::of_token(mark, until);
            let revoked = self.0.revoke(revocation, now).await;
            revoked.map_err(|error| unavailable(&error))?;
        }
        let ended = self.0.end(id.key(), now).await;
        ended.map_err(|error| unavailable(&error))
    }
}

impl Inner {
    /// Ends a session, if there is one; whether there was.
    pub(super) async fn end_known(
        &self,
        key: SessionKey,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if self.ledger.load(key, now).await?.is_none() {
            return Ok(false);
        }
        self.end(key, now).await.map(|()| true)
    }

    /// Ends a session, for all gateways, and here at once.
    async fn end(&self, key: SessionKey, now: Timestamp) -> Result<(), StoreError> {
        self.ledger.end(key, now).await?;
        self.kept
            .revoked
            .take(&Revocation::of_session(key, now), now);
        self.kept.counts.ended(1);
        Ok(())
    }

    /// Revokes, for all gateways, and here at once.
    pub(super) async fn revoke(
        &self,
        revocation: Revocation,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.ledger.revoke(revocation.clone(), now).await?;
        self.kept.revoked.take(&revocation, now);
        Ok(())
    }
}
