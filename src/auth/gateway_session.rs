//! `type = "gateway-session"`: the gateway's own cookie, and the access token behind it.
//!
//! The cookie names a session; what is kept in it is opened by the room that signs people in, and
//! the access token is checked as by its jwt authenticator, user and all. The app gets the token as
//! a bearer token, and never the cookie.

use std::sync::Arc;

use http::HeaderMap;

use crate::auth::ask::Carried;
use crate::auth::authenticators::{Kind, Reader};
use crate::auth::ledger::{SessionId, SessionKey};
use crate::auth::ports::{Opened, OwnSessions};
use crate::auth::question::Question;
use crate::auth::verdicts::{Epoch, VerdictKey};
use crate::auth::{credential, people};
use crate::clock;
use crate::config::settings::{GatewaySession, Source};
use crate::policy::denial::{Challenge, Code, Denial};
use crate::policy::identity::{Bond, Caller};

/// One reader of the gateway's own sessions.
#[derive(Debug)]
pub(crate) struct GatewayReader {
    pub(crate) settings: GatewaySession,
    /// The one cookie.
    pub(crate) sources: [Source; 1],
    pub(crate) own: Arc<dyn OwnSessions>,
    pub(crate) authenticator: Arc<str>,
    /// Given anew whenever the authenticators are assembled.
    pub(crate) epoch: u64,
}

impl GatewayReader {
    /// The session that a cookie names.
    ///
    /// # Errors
    ///
    /// `session_malformed`.
    pub(crate) fn id(cookie: &str) -> Result<SessionId, Denial> {
        SessionId::parse(cookie).ok_or_else(|| {
            let detail = "the session cookie is not one that this gateway gives out";
            Denial::new(Code::SessionMalformed, detail).challenge(Challenge::Bearer)
        })
    }

    /// What a session's verdict stands under now.
    pub(crate) fn verdict_key(&self, key: SessionKey) -> VerdictKey {
        let epoch = Epoch {
            settings: self.epoch,
            keys: self.own.revoked().turn(),
        };
        VerdictKey::of_digest(epoch, *key.as_bytes())
    }
}

impl Question {
    /// Whose session of the gateway's own it is. `jwt` checks its access token.
    pub(crate) async fn of_own_session(
        self,
        id: SessionId,
        jwt: Arc<Reader>,
        carried: Carried,
    ) -> Result<Arc<Caller>, Denial> {
        let (Kind::Gateway(gateway), Kind::Token(token)) = (&self.reader.kind, &jwt.kind) else {
            return Err(Denial::new(
                Code::AuthUnavailable,
                "the session cannot be looked up",
            ));
        };
        let handler = gateway.settings.handler;
        let asked = carried.asked();
        let opened = gateway.own.open(handler, id.clone(), asked, self.now);
        let Opened {
            access,
            ends,
            reusable_until,
        } = opened.await?;
        // A token that was renewed meanwhile is younger than the request.
        let now = self.now.max(clock::now());
        let checked = token.verify(access.expose(), &self.verdicts, &self.names, now);
        let caller = checked.await.map_err(|denial| named(&denial))?;
        let mut until = reusable_until.min(self.now.saturating_add(gateway.settings.cache));
        let mut identity = caller.identity().clone();
        until = identity.expires_at.map_or(until, |end| end.min(until));
        if let Some(directory) = &jwt.directory {
            let carried = carried.bearing(access.expose());
            let user = self.user(&jwt, &identity, directory, &carried).await?;
            until = until.min(directory.reusable_until(&user));
            identity = people::joined(&identity, &user);
        }
        // The session goes on when its access token is renewed.
        identity.expires_at = Some(ends);
        identity.authenticator = Arc::clone(&gateway.authenticator);
        if gateway.own.revoked().has_ended(id.key()) {
            return Err(ended());
        }
        let bond = Bond::Session {
            key: *id.key().as_bytes(),
            token: caller.bond().and_then(Bond::token),
        };
        let known = (Some(bond), Some(access.expose().as_str()));
        let learned = self.learned(until);
        Ok(learned.keep_bound(identity, known, &self.names, &self.verdicts))
    }
}

/// The session that a request's cookie names.
///
/// # Errors
///
/// `session_malformed`.
pub fn own_session(cookie: &str, headers: &HeaderMap) -> Result<Option<SessionId>, Denial> {
    let found = credential::session_cookie(cookie, headers)?;
    found.map(GatewayReader::id).transpose()
}

/// The refusal of a session that ended while it was asked for.
pub(crate) fn ended() -> Denial {
    Denial::new(Code::SessionUnknown, "the session has ended").challenge(Challenge::Bearer)
}

/// A refusal of the token that the client never saw.
fn named(denial: &Denial) -> Denial {
    let before = denial.operator_note().unwrap_or_default();
    let note = format!("it is the access token kept in the session; {before}");
    denial.clone().note(note.trim_end_matches("; ").to_owned())
}
