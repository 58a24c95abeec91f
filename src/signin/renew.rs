//! Renews a session's access token: once, for any number of requests and of gateways.
//!
//! Here one renewal is waited for by all who need it; among gateways the holder of the ledger's
//! lease does it, and the others wait for the next generation to be stored. The call to the app is
//! never made twice for one refresh token, and what comes back is stored at once: a rotating
//! refresh token that is lost is a session that is lost. The work goes on when nobody waits.

use std::sync::Arc;
use std::time::Duration;

use super::oidc::NotRenewed;
use super::tokens::Tokens;
use super::{App, Handler, Inner, Post, Reply, cut, refusal};
use crate::auth::ledger::{Change, Generation, Lease, Session, SessionId, holder, seal};
use crate::auth::ports::Asked;
use crate::auth::words::{quoted, unavailable};
use crate::clock;
use crate::config::settings::{RefreshBy, TokenHandler};
use crate::policy::denial::Denial;
use crate::policy::sign_in::HandlerId;
use crate::secret::Secret;

/// For the call to the app, connecting included.
const CALL: Duration = Duration::from_secs(10);
/// Until a call to an app may begin, where many are under way.
const TURN: Duration = Duration::from_secs(4);
/// The holder's time: its turn, the call, and storing what came of it.
const LEASE: Duration = Duration::from_secs(20);
/// How long one waits for another gateway's renewal.
const PATIENCE: Duration = Duration::from_secs(12);
/// Between two looks at what another gateway stores.
const LOOK: Duration = Duration::from_millis(50);
/// How long a renewal that failed is not tried again, while the old token is good.
const PAUSE: Duration = Duration::from_secs(5);
/// How often storing new tokens is tried, and how long apart.
const TRIES: u32 = 8;
const BETWEEN: Duration = Duration::from_millis(250);
/// So many characters of a token, and more, are a piece of it.
const PIECE: usize = 16;

/// One renewal.
struct Renewal {
    inner: Arc<Inner>,
    handler: HandlerId,
    id: SessionId,
    /// The generation that is to be replaced.
    from: Generation,
    asked: Asked,
    /// Whether somebody waits for it.
    is_waited_for: bool,
}

impl Inner {
    /// Renews a session and waits for it.
    pub(super) async fn renew_first(
        self: &Arc<Self>,
        handler: HandlerId,
        id: &SessionId,
        from: Generation,
        asked: Asked,
    ) -> Result<(), Denial> {
        self.renewal(handler, id, from, asked, true).await
    }

    /// Renews a session while its old token goes on being used.
    pub(super) fn renew_meanwhile(
        self: &Arc<Self>,
        handler: HandlerId,
        id: &SessionId,
        from: Generation,
        asked: Asked,
    ) {
        let renewal = self.renewal(handler, id, from, asked, false);
        let noted = async move {
            if let Err(denial) = renewal.await {
                let note = denial.operator_note().unwrap_or_default().to_owned();
                tracing::debug!(code = %denial.code(), note, "a session was not renewed yet");
            }
        };
        self.kept.tasks.spawn_on(noted, &self.runtime);
    }

    fn renewal(
        self: &Arc<Self>,
        handler: HandlerId,
        id: &SessionId,
        from: Generation,
        asked: Asked,
        is_waited_for: bool,
    ) -> impl Future<Output = Result<(), Denial>> + Send + 'static {
        let renewal = Renewal {
            inner: Arc::clone(self),
            handler,
            id: id.clone(),
            from,
            asked,
            is_waited_for,
        };
        let (tasks, runtime) = (self.kept.tasks.clone(), self.runtime.clone());
        let key = (id.key(), is_waited_for);
        self.kept.renewals.join(key, move || async move {
            // A task of its own: it goes on when everyone who waits has gone.
            let work = tasks.spawn_on(renewal.run(), &runtime);
            work.await
                .unwrap_or_else(|_stopping| Err(refusal::unavailable("the gateway is stopping")))
        })
    }
}

impl Renewal {
    async fn run(self) -> Result<(), Denial> {
        let holder = holder().map_err(|bad| refusal::unavailable(bad.to_string()))?;
        let key = self.id.key();
        let began = clock::monotonic();
        loop {
            let lease = self.inner.ledger.lease(key, holder, LEASE).await;
            match lease.map_err(|error| unavailable(&error))? {
                Lease::Yours => break,
                Lease::Held if !self.is_waited_for => return Ok(()),
                Lease::Held => {}
            }
            if clock::monotonic().saturating_duration_since(began) > PATIENCE {
                return Err(refusal::unavailable(
                    "another gateway renews the session, and takes too long",
                ));
            }
            tokio::time::sleep(LOOK).await;
            let (session, _) = self.load().await?;
            if session.generation() != self.from {
                return Ok(());
            }
        }
        let outcome = self.with_lease().await;
        let counts = &self.inner.kept.counts;
        let pauses = match &outcome {
            Ok(()) => false,
            Err(denial) if denial.status().is_client_error() => false,
            Err(_) => {
                counts.failed();
                !self.is_waited_for
            }
        };
        // A lease that could not be given back ends by itself.
        let _ = if pauses {
            self.inner.ledger.lease(key, holder, PAUSE).await.map(drop)
        } else {
            self.inner.ledger.release(key, holder).await
        };
        outcome
    }

    async fn load(&self) -> Result<(Session, Tokens), Denial> {
        self.inner.load(self.handler, &self.id, clock::now()).await
    }

    async fn with_lease(&self) -> Result<(), Denial> {
        let (session, tokens) = self.load().await?;
        if session.generation() != self.from {
            // Another gateway's renewal ended just before the lease was given.
            return Ok(());
        }
        let handler = self.inner.handlers.get(self.handler.0);
        let handler =
            handler.ok_or_else(|| refusal::unavailable("the token handler is not there"))?;
        let refresh = tokens.refresh.as_ref().filter(|_| handler.renews());
        let Some(refresh) = refresh else {
            return Err(self.over("its access token is over and nothing renews it: no refresh token, or no `refresh` in the token handler").await);
        };
        // The lease goes on meanwhile: nobody may call without it.
        let turn = tokio::time::timeout(TURN, self.inner.kept.calls.acquire()).await;
        let turn = turn.map_err(|_elapsed| {
            refusal::unavailable("too many sessions are being renewed: no turn came in time")
        })?;
        let renewed = match handler {
            Handler::App { settings, app } => self.by_app((settings, app), &tokens, refresh).await,
            Handler::Provider(provider) => provider.renew(&tokens, refresh).await,
        };
        drop(turn);
        let words = match renewed {
            Ok(renewed) => return self.store(&session, &renewed).await,
            Err(NotRenewed::Failed(denial)) => return Err(denial),
            Err(NotRenewed::Over(words)) => words,
        };
        let (session, _) = self.load().await?;
        if session.generation() != self.from {
            // The lease was lost, and another gateway used the refresh token before.
            return Ok(());
        }
        self.inner.kept.counts.refused();
        let words = format!("the token was not renewed: {words}");
        Err(self.over(words).await)
    }

    /// Has an app renew its token.
    async fn by_app(
        &self,
        (settings, app): (&TokenHandler, &Arc<dyn App>),
        tokens: &Tokens,
        refresh: &Secret<String>,
    ) -> Result<Tokens, NotRenewed> {
        let failed = |note: String| NotRenewed::Failed(refusal::unavailable(note));
        let path = settings.refresh.as_deref().unwrap_or_default();
        let reply = app.post(post(settings, path, refresh, &self.asked)).await;
        let reply = reply.map_err(|error| {
            failed(format!(
                "the app did not renew the session's token: {error}"
            ))
        })?;
        if refuses(&reply) {
            return Err(NotRenewed::Over(format!(
                "the app answered {} {}",
                reply.status.as_u16(),
                words_of(&reply, [&tokens.access, refresh])
            )));
        }
        if !reply.status.is_success() {
            return Err(failed(format!(
                "the app answered the renewal at {path} with {}",
                reply.status.as_u16()
            )));
        }
        let found = cut::find(&reply.body, settings);
        let (access, refresh) = found.map_err(|why| failed(format!("the app's renewal: {why}")))?;
        let renewed = tokens.renewed(access, refresh, clock::now());
        renewed.ok_or_else(|| {
            failed("the app's renewal: the access token is no JWT with an `exp`".to_owned())
        })
    }

    /// Stores the new tokens, trying for a while: without them the session is lost.
    async fn store(&self, session: &Session, tokens: &Tokens) -> Result<(), Denial> {
        let next = session.generation().next();
        let sealed = seal(&self.id, next, tokens.to_bytes().expose());
        let sealed = sealed.map_err(|bad| refusal::unavailable(bad.to_string()))?;
        let renewed = session.renewed(sealed, clock::now());
        let key = self.id.key();
        let mut tries = 0;
        loop {
            match self.inner.ledger.replace(key, renewed.clone()).await {
                Ok(Change::Done) => {
                    self.inner.kept.counts.renewed();
                    return Ok(());
                }
                // After an error it may be our own that is stored; the session is looked at again.
                Ok(Change::Stale) => return Ok(()),
                Ok(Change::Gone) => return Err(refusal::unknown("the session ended meanwhile")),
                Err(error) => {
                    tries += 1;
                    if tries == TRIES {
                        return Err(unavailable(&error));
                    }
                }
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }

    /// Ends the session, because nothing can renew it any more.
    async fn over(&self, note: impl Into<String>) -> Denial {
        let note = note.into();
        let key = self.id.key();
        tracing::info!(handler = self.handler.0, note, "a session ended");
        match self.inner.end_known(key, clock::now()).await {
            Ok(_) => refusal::expired(note),
            Err(error) => unavailable(&error),
        }
    }
}

/// The call that renews a token: as a member of the body, or as a bearer token.
fn post(settings: &TokenHandler, path: &str, refresh: &Secret<String>, asked: &Asked) -> Post {
    let (bearer, json) = match settings.refresh_by {
        RefreshBy::Bearer => (Some(refresh.clone()), None),
        RefreshBy::Body => (None, Some(body(settings, refresh))),
    };
    Post {
        path: path.into(),
        asked: asked.clone(),
        bearer,
        json,
        limit: CALL,
    }
}

/// `{"refresh": "…"}`, by the name that the app gave it.
pub(super) fn body(settings: &TokenHandler, refresh: &Secret<String>) -> Secret<Vec<u8>> {
    let member = settings.refresh_token.member();
    let json = serde_json::json!({ member: refresh.expose() });
    Secret::new(json.to_string().into_bytes())
}

/// Whether the app says that the refresh token does not hold (SimpleJWT 401, Flask-JWT-Extended
/// 401 and 422), and not that something else is wrong.
fn refuses(reply: &Reply) -> bool {
    matches!(reply.status.as_u16(), 400 | 401 | 403 | 422)
}

/// What the app said, for the operator. Some apps repeat a token there, or a part of it.
fn words_of(reply: &Reply, tokens: [&Secret<String>; 2]) -> String {
    let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = |name| json.get(name).and_then(serde_json::Value::as_str);
    let said = ["detail", "msg", "message", "error", "code"]
        .into_iter()
        .find_map(text);
    match said {
        None => "without words".to_owned(),
        Some(said) if tokens.iter().any(|token| repeats(said, token.expose())) => {
            "in words that repeat the token".to_owned()
        }
        Some(said) => quoted(said),
    }
}

/// Whether a text has a token in it, or a piece that is long enough to be told from a word.
fn repeats(text: &str, token: &str) -> bool {
    let is_of_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    text.contains(token)
        || text
            .split(|c| !is_of_token(c))
            .any(|piece| piece.len() >= PIECE && token.contains(piece))
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn words_of_an_app_are_told_without_the_tokens_in_them() {
        let token = |text: &str| Secret::new(text.to_owned());
        let (access, refresh) = (token("head.access-0123456789abcdef.sign"), token("opaque"));
        let words = |detail: &str| {
            let reply = Reply {
                status: http::StatusCode::UNAUTHORIZED,
                body: serde_json::json!({ "detail": detail }).to_string().into(),
            };
            words_of(&reply, [&access, &refresh])
        };
        assert_eq!(words("Token is blacklisted"), r#""Token is blacklisted""#);
        for repeated in ["no opaque here", "bad: 'head.access-0123456789abcdef...'"] {
            assert_eq!(words(repeated), "in words that repeat the token");
        }
    }
}
