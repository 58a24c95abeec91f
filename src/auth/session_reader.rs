//! A session cookie of an app, ready to ask: which format, which cookies, which keys.
//!
//! How one is read stands in `session_reading`.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use smallvec::SmallVec;

use crate::auth::ports::SessionSource;
use crate::auth::session::django::DjangoCodec;
use crate::auth::session::flask::FlaskCodec;
use crate::auth::session::flask_login::RememberCodec;
use crate::auth::session::flask_session::IdCodec;
use crate::auth::shown::Shown;
use crate::config::settings::{
    AuthenticatorKind, DjangoBackend, FlaskLogin, SessionIdentity, Source,
};

/// One authenticator that reads a session cookie.
#[derive(Debug)]
pub(crate) struct SessionReader {
    pub(crate) format: Format,
    pub(crate) login: Login,
    /// The session's cookie, then the one that remembers a user.
    pub(crate) sources: SmallVec<[Source; 2]>,
    /// How long a verdict may be reused.
    pub(crate) cache: Duration,
    pub(crate) authenticator: Arc<str>,
    pub(crate) epoch: u64,
}

/// How the app keeps sessions.
#[derive(Debug)]
pub(crate) enum Format {
    /// Django, in a table or a cache.
    DjangoStored {
        codec: DjangoCodec,
        kept: Arc<dyn SessionSource>,
        zone: TimeZone,
        /// Whether they are in files, where the session itself may say when it ends.
        in_files: bool,
    },
    /// Django, in the cookie.
    DjangoCookie {
        codec: DjangoCodec,
        lifetime: Duration,
    },
    /// Flask-Session.
    FlaskStored {
        ids: IdCodec,
        kept: Arc<dyn SessionSource>,
        identity: SessionIdentity,
    },
    /// Flask, in the cookie.
    FlaskCookie {
        codec: FlaskCodec,
        lifetime: Duration,
        identity: SessionIdentity,
    },
}

/// What Flask-Login adds.
#[derive(Debug, Default)]
pub(crate) struct Login {
    pub(crate) strong: bool,
    pub(crate) remember: Option<RememberCodec>,
}

impl SessionReader {
    /// A reader by the settings of one of the session types; `kept` is where sessions are stored.
    ///
    /// # Errors
    ///
    /// Why none can be made, in words.
    pub(crate) fn new(
        settings: &AuthenticatorKind,
        kept: Option<Arc<dyn SessionSource>>,
        name: &Arc<str>,
        epoch: u64,
    ) -> Result<Self, &'static str> {
        let kept = kept.ok_or("its sessions are kept in a store that is not open");
        let mut login = &FlaskLogin::default();
        let (format, cookie, cache) = match settings {
            AuthenticatorKind::DjangoSession(django) => {
                let mut codec = DjangoCodec::new(&django.secrets)
                    .with_backends(django.authentication_backends.as_deref());
                if django.legacy_sha1 {
                    codec = codec.with_sha1(&django.secrets);
                }
                let format = match &django.backend {
                    DjangoBackend::SignedCookies { lifetime } => Format::DjangoCookie {
                        codec,
                        lifetime: *lifetime,
                    },
                    DjangoBackend::Db { time_zone, .. }
                    | DjangoBackend::CachedDb { time_zone, .. } => Format::DjangoStored {
                        codec,
                        kept: kept?,
                        zone: time_zone.clone(),
                        in_files: false,
                    },
                    DjangoBackend::File { time_zone, .. } => Format::DjangoStored {
                        codec,
                        kept: kept?,
                        zone: time_zone.clone(),
                        in_files: true,
                    },
                    DjangoBackend::Cache { .. } => Format::DjangoStored {
                        codec,
                        kept: kept?,
                        zone: TimeZone::UTC,
                        in_files: false,
                    },
                };
                (format, &django.cookie, django.cache)
            }
            AuthenticatorKind::FlaskSession(flask) => {
                login = &flask.login;
                let format = Format::FlaskStored {
                    ids: IdCodec::new(flask.signer.as_deref()),
                    kept: kept?,
                    identity: flask.identity.clone(),
                };
                (format, &flask.cookie, flask.cache)
            }
            AuthenticatorKind::FlaskCookie(flask) => {
                login = &flask.login;
                let format = Format::FlaskCookie {
                    codec: FlaskCodec::new(&flask.secrets),
                    lifetime: flask.lifetime,
                    identity: flask.identity.clone(),
                };
                // Nothing that a store could take back: it holds as long as the cookie does.
                (format, &flask.cookie, flask.lifetime)
            }
            AuthenticatorKind::Jwt(_)
            | AuthenticatorKind::ApiKey(_)
            | AuthenticatorKind::Basic(_)
            | AuthenticatorKind::ClientCertificate(_)
            | AuthenticatorKind::GatewaySession(_)
            | AuthenticatorKind::Oidc(_)
            | AuthenticatorKind::Forward(_) => return Err("is no session cookie"),
        };
        let remember = login.remember.as_ref();
        let names = std::iter::once(cookie).chain(remember.map(|remember| &remember.cookie));
        Ok(Self {
            format,
            login: Login {
                strong: login.strong,
                remember: remember.map(|remember| RememberCodec::new(&remember.secret)),
            },
            sources: names.map(|name| Source::Cookie(name.clone())).collect(),
            cache,
            authenticator: Arc::clone(name),
            epoch,
        })
    }

    /// The name of the session's cookie.
    pub(crate) fn cookie(&self) -> &str {
        self.sources.first().map_or("", cookie_name)
    }

    /// The name of the cookie that remembers a user, where there is one.
    pub(crate) fn remember(&self) -> Option<&str> {
        self.sources.get(1).map(cookie_name)
    }

    /// Whether a session is tied to the client that began it.
    pub(crate) fn is_strong(&self) -> bool {
        self.login.strong
    }

    /// Whether Channels may take a session otherwise than Django does.
    pub(crate) fn differs_on_channels(&self) -> bool {
        match &self.format {
            Format::DjangoStored { codec, .. } | Format::DjangoCookie { codec, .. } => {
                codec.differs_on_channels()
            }
            Format::FlaskStored { .. } | Format::FlaskCookie { .. } => false,
        }
    }

    /// The cookie that is told to have decided.
    pub(crate) fn source(&self, shown: &Shown<'_>) -> Option<&Source> {
        let place = usize::from(shown.cookie.is_none());
        self.sources.get(place)
    }

    /// Whether the cookie alone tells, so that nothing has to be asked.
    pub(crate) fn answers_at_once(&self) -> bool {
        matches!(self.format, Format::FlaskCookie { .. })
    }
}

fn cookie_name(source: &Source) -> &str {
    match source {
        Source::Cookie(name) => name,
        Source::Header(_)
        | Source::Query(_)
        | Source::WebSocketQuery(_)
        | Source::WebSocketProtocol => "",
    }
}
