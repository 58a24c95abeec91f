//! Opens a session: loaded, judged by its times, its tokens unsealed and renewed where it is time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::tokens::Tokens;
use super::{Handler, Inner, oidc, refusal};
use crate::auth::ledger::{Session, SessionId, open};
use crate::auth::ports::{Asked, Opened, Provided};
use crate::auth::words::unavailable;
use crate::clock::Timestamp;
use crate::policy::denial::Denial;
use crate::policy::identity::Endings;
use crate::policy::sign_in::HandlerId;

/// How long an access token is used on while its renewal is under way or has failed, before the
/// session is looked at again.
const MEANWHILE: Duration = Duration::from_secs(1);

impl Inner {
    /// The access token of a session that a handler made.
    pub(super) async fn open(
        self: &Arc<Self>,
        handler: HandlerId,
        id: &SessionId,
        asked: Asked,
        now: Timestamp,
    ) -> Result<Opened, Denial> {
        let (session, tokens) = self.load(handler, id, now).await?;
        let ours = self.handlers.get(handler.0);
        let opened = |session, tokens, until| opened(ours, session, tokens, until);
        self.check_endings(ours, &session, &tokens, id, now).await?;
        let only_looks = self.only_looks.load(Ordering::Acquire);
        if only_looks {
            if tokens.are_good(now) {
                return Ok(opened(&session, tokens, now));
            }
            return Err(refusal::expired(
                "its access token is over; a request would have it renewed first, which is not done here",
            ));
        }
        self.touch(&session, id, now).await?;
        let before = self.refresh_before(handler);
        let due = tokens.due(before);
        if now < due {
            return Ok(opened(&session, tokens, due));
        }
        if tokens.are_good(now) {
            // Whoever comes meanwhile goes on with it. Without a way to renew it, it just ends.
            if self.can_renew(handler, &tokens) {
                self.renew_meanwhile(handler, id, session.generation(), asked);
            }
            let until = now.saturating_add(MEANWHILE).min(tokens.expires());
            return Ok(opened(&session, tokens, until));
        }
        self.renew_first(handler, id, session.generation(), asked)
            .await?;
        let now = now.max(crate::clock::now());
        let (session, tokens) = self.load(handler, id, now).await?;
        if !tokens.are_good(now) {
            return Err(refusal::unavailable(
                "the app's new access token is over already: compare the clocks",
            ));
        }
        let due = tokens.due(before);
        Ok(opened(&session, tokens, due))
    }

    /// A living session of a handler, with its tokens.
    pub(super) async fn load(
        &self,
        handler: HandlerId,
        id: &SessionId,
        now: Timestamp,
    ) -> Result<(Session, Tokens), Denial> {
        // Judged here, so that one whose time is over can be told from one that never was.
        let loaded = self.ledger.load(id.key(), Timestamp::from_unix_seconds(0));
        let loaded = loaded.await.map_err(|error| unavailable(&error))?;
        let Some(session) = loaded else {
            return Err(refusal::unknown(
                "the session ended (signed out, revoked, signed in anew, its time was over), or it is kept in another store than the one of [session]",
            ));
        };
        if !session.lives(now) {
            return Err(refusal::expired(
                "its `lifetime` is over, or it was not used for longer than `idle`",
            ));
        }
        let ours = self.handlers.get(handler.0);
        if ours.is_none_or(|ours| *ours.name() != *session.handler()) {
            let made_by = self
                .handlers
                .iter()
                .find(|one| *one.name() == *session.handler());
            let made_by = made_by.map_or_else(|| session.handler().to_owned(), Handler::table);
            return Err(refusal::unknown(format!(
                "a session that [{made_by}] made; this authenticator reads those of another"
            )));
        }
        let opened = open(id, session.generation(), session.sealed());
        let tokens = opened
            .ok()
            .and_then(|bytes| Tokens::from_bytes(bytes.expose()));
        let tokens = tokens.ok_or_else(|| {
            refusal::unknown("what the session holds does not open: it was changed in the store")
        })?;
        Ok((session, tokens))
    }

    /// Notes that a session is in use, once a minute.
    async fn touch(&self, session: &Session, id: &SessionId, now: Timestamp) -> Result<(), Denial> {
        if !session.wants_touch(now) {
            return Ok(());
        }
        let touched = self.ledger.touch(id.key(), now).await;
        if touched.map_err(|error| unavailable(&error))? {
            return Ok(());
        }
        Err(refusal::unknown("the session ended just now"))
    }

    fn refresh_before(&self, handler: HandlerId) -> Duration {
        let handler = self.handlers.get(handler.0);
        handler.map_or(Duration::ZERO, Handler::refresh_before)
    }

    fn can_renew(&self, handler: HandlerId, tokens: &Tokens) -> bool {
        let handler = self.handlers.get(handler.0);
        handler.is_some_and(Handler::renews) && tokens.refresh.is_some()
    }

    /// Refuses a session whose provider has said that it is over, and ends it here.
    async fn check_endings(
        &self,
        handler: Option<&Handler>,
        session: &Session,
        tokens: &Tokens,
        id: &SessionId,
        now: Timestamp,
    ) -> Result<(), Denial> {
        let Some(endings) = endings(handler, session, tokens) else {
            return Ok(());
        };
        let revoked = &self.kept.revoked;
        if !revoked.is_known() {
            return Err(refusal::unavailable(
                "what providers have ended was not read yet from the store of [session]",
            ));
        }
        if !revoked.ends(&endings) {
            return Ok(());
        }
        if !self.only_looks.load(Ordering::Acquire) {
            let ended = self.end_known(id.key(), now).await;
            ended.map_err(|error| unavailable(&error))?;
        }
        Err(refusal::unknown(
            "the provider has said that the user signed out there",
        ))
    }
}

/// Under which names an OpenID provider may end a session.
fn endings(handler: Option<&Handler>, session: &Session, tokens: &Tokens) -> Option<Endings> {
    let provider = handler?.provider()?;
    let claims = tokens.claims();
    Some(oidc::endings(
        &provider.settings,
        &claims,
        session.created(),
    ))
}

fn opened(
    handler: Option<&Handler>,
    session: &Session,
    tokens: Tokens,
    until: Timestamp,
) -> Opened {
    let endings = endings(handler, session, &tokens);
    let maker = handler.and_then(Handler::provider);
    let provided = maker.zip(endings).map(|(maker, endings)| {
        Box::new(Provided {
            claims: tokens.claims(),
            bearer: tokens.forwarded(maker.settings.forward_token),
            endings,
        })
    });
    Opened {
        access: tokens.access,
        ends: session.expires(),
        reusable_until: until.min(session.ends()),
        provided,
    }
}
