//! The gateway's own sessions: begun when an app signs someone in, renewed while they last, ended.
//!
//! The tokens that the app issues are kept in the session, sealed under the cookie's value, and
//! never reach a page's JavaScript; so are those of an OpenID provider. This room knows when a session begins, what renews it and what
//! ends it; where it is kept is the ledger's affair, how an app is called is the [`App`]'s.
//!
//! Nothing here brings back a session that ended: a renewal replaces what is stored only where it
//! is the generation that was read.

mod app;
mod begin;
mod cookie;
mod counts;
mod cut;
mod end;
mod follow;
pub mod oidc;
mod open;
mod refusal;
mod renew;
mod revoke;
#[cfg(test)]
mod tests;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use app::{App, AppError, Errand, MOST_ANSWER, Post, Reply};
pub use counts::{Counts, Tallied};
pub(crate) use cut::look_like_jwts;
pub use cut::{Cut, NoTokens};
pub use end::Departed;
use oidc::Provider;
pub(crate) use refusal::useless;
pub use revoke::{NotRevoked, Revoking};
pub use tokens::Tokens;

use crate::auth::flights::Flights;
use crate::auth::ledger::{SessionId, SessionKey, SharedLedger};
use crate::auth::ports::{Asked, Opening, OwnSessions};
use crate::auth::revoked::Revoked;
use crate::auth::{JwksStatus, Watch};
use crate::clock::Timestamp;
use crate::config::settings::{Authenticator, GatewaySessions, Settings, TokenHandler};
use crate::policy::denial::Denial;
use crate::policy::identity::Caller;
use crate::policy::sign_in::HandlerId;

/// Renewals that others may wait for; over it each asks for itself.
const RENEWALS: usize = 4_096;
/// Calls to apps under way at a time.
const CALLS: usize = 256;
/// Sign-ins at providers that are being ended at a time.
const SIGN_INS: usize = 256;

/// Whether a renewal is waited for, and of which session it is.
type RenewalKey = (SessionKey, bool);

/// Everything about the gateway's own sessions, shared by all workers.
#[derive(Clone, Debug)]
pub struct SignIn(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ledger: SharedLedger,
    sessions: GatewaySessions,
    handlers: Vec<Handler>,
    runtime: Handle,
    /// Whether nothing is to be changed: for commands that say what would come of a request.
    only_looks: AtomicBool,
    kept: Kept,
}

/// What a reload carries over as long as the ledger is the same.
#[derive(Clone, Debug)]
struct Kept {
    revoked: Arc<Revoked>,
    /// Up to where the ledger's log was read.
    cursor: Arc<AtomicU64>,
    renewals: Arc<Flights<RenewalKey, Result<(), Denial>>>,
    calls: Arc<Semaphore>,
    sign_ins: Arc<Semaphore>,
    tasks: TaskTracker,
    counts: Arc<Counts>,
}

/// What makes sessions.
#[derive(Debug)]
enum Handler {
    /// A token handler and the app that it is for.
    App {
        settings: TokenHandler,
        app: Arc<dyn App>,
    },
    /// An OpenID provider.
    Provider(Arc<Provider>),
}

impl Handler {
    /// What stands in the sessions that it makes.
    fn name(&self) -> &str {
        match self {
            Self::App { settings, .. } => &settings.name,
            Self::Provider(provider) => &provider.settings.name,
        }
    }

    /// The table of the configuration.
    fn table(&self) -> String {
        match self {
            Self::App { settings, .. } => format!("token_handler.{}", settings.name),
            Self::Provider(provider) => provider.settings.name.to_string(),
        }
    }

    fn app(&self) -> Option<(&TokenHandler, &Arc<dyn App>)> {
        match self {
            Self::App { settings, app } => Some((settings, app)),
            Self::Provider(_) => None,
        }
    }

    fn provider(&self) -> Option<&Provider> {
        match self {
            Self::App { .. } => None,
            Self::Provider(provider) => Some(provider),
        }
    }

    /// How long before its end an access token is renewed.
    fn refresh_before(&self) -> Duration {
        match self {
            Self::App { settings, .. } => settings.refresh_before,
            Self::Provider(provider) => provider.settings.refresh_before,
        }
    }

    /// Whether there is a way to renew an access token, given a refresh token.
    fn renews(&self) -> bool {
        match self {
            Self::App { settings, .. } => settings.refresh.is_some(),
            Self::Provider(_) => true,
        }
    }
}

impl SignIn {
    /// Puts it together. `app` gives the app of each handler; `previous` is carried over where the
    /// ledger is the same.
    pub fn assemble(
        settings: &Settings,
        ledger: &SharedLedger,
        runtime: Handle,
        app: impl Fn(&TokenHandler) -> Option<Arc<dyn App>>,
        previous: Option<&Self>,
    ) -> Option<Self> {
        let sessions = settings.sessions.clone()?;
        let handlers = settings.token_handlers.iter().map(|handler| {
            let app = app(handler)?;
            Some(Handler::App {
                settings: handler.clone(),
                app,
            })
        });
        let before = previous.map(|before| &before.0);
        let same = before.filter(|before| Arc::ptr_eq(&before.ledger, ledger));
        let counts = before.map(|before| Arc::clone(&before.kept.counts));
        let kept = same.map_or_else(
            || Kept::new(counts.unwrap_or_default()),
            |same| same.kept.clone(),
        );
        Some(Self(Arc::new(Inner {
            ledger: Arc::clone(ledger),
            sessions,
            handlers: handlers
                .chain(providers(settings, before.map(|before| &**before)))
                .collect::<Option<_>>()?,
            runtime,
            only_looks: AtomicBool::new(false),
            kept,
        })))
    }

    /// From now on changes nothing, for a command that says what would come of a request: no
    /// session is renewed or noted as seen. Reads what was revoked, as far as it can.
    pub async fn only_look(&self) {
        self.0.only_looks.store(true, Ordering::Release);
        if let Err(error) = self.catch_up().await {
            tracing::debug!(%error, "what was revoked cannot be read");
        }
    }

    /// A token handler's settings.
    #[must_use]
    pub fn handler(&self, id: HandlerId) -> Option<&TokenHandler> {
        let handler = self.0.handlers.get(id.0)?;
        handler.app().map(|(settings, _)| settings)
    }

    /// Keeps the providers' keys and addresses fresh until cancelled. Without it nobody signs in at
    /// one.
    pub async fn keep_fresh(self, cancel: CancellationToken) {
        let mut tasks = JoinSet::new();
        for provider in self.0.providers() {
            let issuer = Arc::clone(&provider.issuer);
            tasks.spawn(issuer.keep_fresh(cancel.clone()));
        }
        drop(self);
        while tasks.join_next().await.is_some() {}
    }

    /// How the providers' keys stand.
    #[must_use]
    pub fn jwks(&self) -> Vec<JwksStatus> {
        let providers = self.0.providers();
        providers.map(|provider| provider.issuer.status()).collect()
    }

    /// The name of the cookie.
    #[must_use]
    pub fn cookie(&self) -> &str {
        &self.0.sessions.cookie
    }

    /// Looks that a session lives, and renews it where it is time.
    ///
    /// # Errors
    ///
    /// `session_unknown`, `session_expired`, and `auth_unavailable` where nobody can say.
    pub async fn keep(
        &self,
        handler: HandlerId,
        id: SessionId,
        asked: Asked,
        now: Timestamp,
    ) -> Result<(), Denial> {
        self.0.open(handler, &id, asked, now).await.map(drop)
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> Tallied {
        self.0.kept.counts.read()
    }

    /// Whether what was revoked is known: the ledger was read once.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.0.kept.revoked.is_known()
    }

    /// Watches over what let a caller in; `None` where that cannot be revoked.
    #[must_use]
    pub fn watch(&self, caller: &Caller) -> Option<Watch> {
        self.0.kept.revoked.watch(caller)
    }

    /// The same as authentication asks for it.
    #[must_use]
    pub fn own(&self) -> Arc<dyn OwnSessions> {
        Arc::new(self.clone())
    }
}

impl Inner {
    fn providers(&self) -> impl Iterator<Item = &Provider> {
        self.handlers.iter().filter_map(Handler::provider)
    }
}

/// The providers of a configuration, in the order of their places; what was known of one goes on.
fn providers<'a>(
    settings: &'a Settings,
    before: Option<&'a Inner>,
) -> impl Iterator<Item = Option<Handler>> + 'a {
    let all = settings.authenticators.iter();
    let providers = all.filter_map(Authenticator::provider);
    providers.map(move |settings| {
        let mut known = before.into_iter().flat_map(Inner::providers);
        let known = known.find(|known| known.settings.name == settings.name);
        let provider = Provider::new(settings, known)?;
        Some(Handler::Provider(Arc::new(provider)))
    })
}

impl OwnSessions for SignIn {
    fn open(&self, handler: HandlerId, id: SessionId, asked: Asked, now: Timestamp) -> Opening {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.open(handler, &id, asked, now).await })
    }

    fn revoked(&self) -> &Arc<Revoked> {
        &self.0.kept.revoked
    }
}

impl Kept {
    fn new(counts: Arc<Counts>) -> Self {
        Self {
            revoked: Arc::default(),
            cursor: Arc::default(),
            renewals: Arc::new(Flights::new(RENEWALS)),
            calls: Arc::new(Semaphore::new(CALLS)),
            sign_ins: Arc::new(Semaphore::new(SIGN_INS)),
            tasks: TaskTracker::new(),
            counts,
        }
    }
}
