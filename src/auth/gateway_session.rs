//! `type = "gateway-session"` and `type = "oidc"`: the gateway's own cookie, and what is behind it.
//!
//! The cookie names a session; what is kept in it is opened by the room that signs people in. The
//! access token of an app is checked as by its jwt authenticator, user and all, and the app gets it as
//! a bearer token; what a provider told was verified when it told it. No app gets the cookie.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use crate::auth::ask::Carried;
use crate::auth::authenticators::{Kind, Reader};
use crate::auth::issuer::identity_of;
use crate::auth::ledger::{SessionId, SessionKey};
use crate::auth::ports::{Opened, OwnSessions, Provided};
use crate::auth::question::{Known, Question};
use crate::auth::verdicts::{Epoch, VerdictKey};
use crate::auth::{credential, people};
use crate::clock::{self, Timestamp};
use crate::config::settings::{IdentityMap, Source};
use crate::policy::denial::{Challenge, Code, Denial};
use crate::policy::identity::{Bond, Caller, Identity, Issue};
use crate::policy::route::AuthenticatorId;
use crate::policy::sign_in::HandlerId;

/// One reader of the gateway's own sessions.
#[derive(Debug)]
pub(crate) struct GatewayReader {
    /// Whose sessions it reads.
    pub(crate) handler: HandlerId,
    /// What of a session tells who it is.
    pub(crate) reads: Reads,
    /// The one cookie.
    pub(crate) cookie: Box<str>,
    pub(crate) sources: [Source; 1],
    /// How long a verdict may be reused.
    pub(crate) cache: Duration,
    pub(crate) own: Arc<dyn OwnSessions>,
    pub(crate) authenticator: Arc<str>,
    /// Given anew whenever the authenticators are assembled.
    pub(crate) epoch: u64,
}

/// What of a session tells who it is.
#[derive(Clone, Debug)]
pub(crate) enum Reads {
    /// The access token of an app, checked by this jwt authenticator.
    Token(AuthenticatorId),
    /// What an OpenID provider told, verified when it told it.
    Claims(Box<IdentityMap>),
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
    /// Whose session of the gateway's own it is. `jwt` checks the access token of an app's.
    pub(crate) async fn of_own_session(
        self,
        id: SessionId,
        jwt: Option<Arc<Reader>>,
        carried: Carried,
    ) -> Result<Arc<Caller>, Denial> {
        let Kind::Gateway(gateway) = &self.reader.kind else {
            return Err(unreadable());
        };
        let asked = carried.asked();
        let opened = gateway
            .own
            .open(gateway.handler, id.clone(), asked, self.now);
        let opened = opened.await?;
        let until = self.now.saturating_add(gateway.cache);
        let mut until = opened.reusable_until.min(until);
        let (mut identity, token, bearer, endings) = match &gateway.reads {
            Reads::Token(_) => {
                let of_access = self.of_access(&opened, jwt, &carried, &mut until);
                let (identity, token) = of_access.await?;
                (identity, token, Some(&opened.access), None)
            }
            Reads::Claims(map) => {
                let provided = opened.provided.as_deref().ok_or_else(unreadable)?;
                let identity = self.of_claims(provided, map, &carried, &mut until).await?;
                let endings = Some(provided.endings.clone());
                (identity, None, provided.bearer.as_ref(), endings)
            }
        };
        // The session goes on when its access token is renewed.
        identity.expires_at = Some(opened.ends);
        identity.authenticator = Arc::clone(&gateway.authenticator);
        let revoked = gateway.own.revoked();
        if revoked.has_ended(id.key()) || endings.as_ref().is_some_and(|one| revoked.ends(one)) {
            return Err(ended());
        }
        let known = Known {
            bond: Some(Bond::Session {
                key: *id.key().as_bytes(),
                token,
            }),
            bearer: bearer.map(|token| token.expose().as_str()),
            endings,
        };
        let learned = self.learned(until);
        Ok(learned.keep_bound(identity, known, &self.names, &self.verdicts))
    }

    /// Whom the access token of an app's session names, and what a revocation of it names.
    async fn of_access(
        &self,
        opened: &Opened,
        jwt: Option<Arc<Reader>>,
        carried: &Carried,
        until: &mut Timestamp,
    ) -> Result<(Identity, Option<Issue>), Denial> {
        let jwt = jwt.ok_or_else(unreadable)?;
        let Kind::Token(token) = &jwt.kind else {
            return Err(unreadable());
        };
        let access = &opened.access;
        // A token that was renewed meanwhile is younger than the request.
        let now = self.now.max(clock::now());
        let checked = token.verify(access.expose(), &self.verdicts, &self.names, now);
        let caller = checked.await.map_err(|denial| named(&denial))?;
        let identity = caller.identity().clone();
        let token = caller.bond().and_then(Bond::token);
        *until = identity.expires_at.map_or(*until, |end| end.min(*until));
        let Some(directory) = &jwt.directory else {
            return Ok((identity, token));
        };
        let carried = carried.clone().bearing(access.expose());
        let user = self.user(&jwt, &identity, directory, &carried).await?;
        *until = directory.reusable_until(&user).min(*until);
        Ok((people::joined(&identity, &user), token))
    }

    /// Whom the claims of an OpenID provider name.
    async fn of_claims(
        &self,
        provided: &Provided,
        map: &IdentityMap,
        carried: &Carried,
        until: &mut Timestamp,
    ) -> Result<Identity, Denial> {
        let identity = identity_of(provided.claims.clone(), map, &self.reader.name)?;
        let Some(directory) = &self.reader.directory else {
            return Ok(identity);
        };
        let carried = match &provided.bearer {
            Some(token) => carried.clone().bearing(token.expose()),
            None => carried.clone(),
        };
        let user = self.user(&self.reader, &identity, directory, &carried);
        let user = user.await?;
        *until = directory.reusable_until(&user).min(*until);
        Ok(people::joined(&identity, &user))
    }
}

/// Cannot happen: each reader is asked what it reads.
fn unreadable() -> Denial {
    Denial::new(Code::AuthUnavailable, "the session cannot be looked up")
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
