//! What an operator asks for: which sessions there are, and that something holds no more.

use std::time::Duration;

use super::SignIn;
use crate::auth::ledger::{BadSession, Listing, Page, Revocation, SessionKey, TokenMark};
use crate::auth::ports::StoreError;
use crate::clock::Timestamp;

/// The longest leeway of a jwt authenticator: a revocation is remembered for so much longer than
/// the token says that it lives.
pub(super) const LEEWAY: Duration = Duration::from_mins(10);

/// How long a revocation by an operator is remembered: longer than a sensible access token lives.
const KEPT: Duration = Duration::from_hours(400 * 24);

/// What is to be revoked.
#[derive(Clone, Debug)]
pub enum Revoking {
    /// All sessions of a user, and all tokens issued to them before now.
    User(Box<str>),
    /// A token, by whatever names it, for so long as it could live.
    Token(Vec<TokenMark>),
    /// A session, by its key.
    Session(SessionKey),
}

/// Why nothing was revoked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotRevoked {
    /// The user's id is none.
    #[error(transparent)]
    User(#[from] BadSession),
    /// The store does not take it.
    #[error("the store of [session] does not take it")]
    Store(#[from] StoreError),
}

impl SignIn {
    /// A page of the sessions that live.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn list(&self, page: Page, now: Timestamp) -> Result<Listing, StoreError> {
        self.0.ledger.list(page, now).await
    }

    /// Revokes; how many sessions ended. Holds here at once, at other gateways within a second.
    ///
    /// # Errors
    ///
    /// [`NotRevoked`].
    pub async fn revoke(&self, what: Revoking, now: Timestamp) -> Result<u64, NotRevoked> {
        let inner = &self.0;
        let until = now.saturating_add(KEPT);
        match what {
            Revoking::User(user) => {
                let revocation = Revocation::of_user(&user, now, until)?;
                inner.revoke(revocation, now).await?;
                let ended = inner.ledger.end_all_of_user(&user, now).await?;
                // Which they were is told by the ledger; until then every session is asked for.
                inner.kept.revoked.ask_anew();
                inner.kept.counts.ended(ended);
                Ok(ended)
            }
            Revoking::Token(marks) => {
                for mark in marks {
                    let revocation = Revocation::of_token(mark, until);
                    inner.revoke(revocation, now).await?;
                }
                Ok(0)
            }
            Revoking::Session(key) => Ok(u64::from(inner.end_known(key, now).await?)),
        }
    }
}
