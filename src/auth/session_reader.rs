//! A session cookie of an app, ready to ask: read, fetched where it is kept, and tied to its user.
//!
//! The order is that of the framework: signature, the stored session, its end, who is signed in,
//! the user, and for Django the session's hash against the user's password. Nothing is written:
//! no session is refreshed, moved or deleted.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::auth::ask::Carried;
use crate::auth::people::{self, Directory, Look};
use crate::auth::ports::{SessionSource, StoredSession, User};
use crate::auth::session::django::DjangoCodec;
use crate::auth::session::flask::FlaskCodec;
use crate::auth::session::flask_session::{IdCodec, read_payload};
use crate::auth::session::{self, Data};
use crate::auth::words::{quoted, unavailable};
use crate::clock::Timestamp;
use crate::config::settings::{AuthenticatorKind, DjangoBackend, SessionIdentity, Source};
use crate::policy::denial::{Challenge, Code, Denial};
use crate::policy::identity::Identity;

/// One authenticator that reads a session cookie.
#[derive(Debug)]
pub(crate) struct SessionReader {
    pub(crate) format: Format,
    /// The one cookie.
    pub(crate) sources: [Source; 1],
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

/// A session that was read, whose user has not been looked up yet.
struct Opened {
    data: Data,
    end: Option<Timestamp>,
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
        let (format, cookie, cache) = match settings {
            AuthenticatorKind::DjangoSession(django) => {
                let codec = DjangoCodec::new(&django.secrets);
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
                    },
                    DjangoBackend::Cache { .. } => Format::DjangoStored {
                        codec,
                        kept: kept?,
                        zone: TimeZone::UTC,
                    },
                };
                (format, &django.cookie, django.cache)
            }
            AuthenticatorKind::FlaskSession(flask) => {
                let format = Format::FlaskStored {
                    ids: IdCodec::new(flask.signer.as_deref()),
                    kept: kept?,
                    identity: flask.identity.clone(),
                };
                (format, &flask.cookie, flask.cache)
            }
            AuthenticatorKind::FlaskCookie(flask) => {
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
            | AuthenticatorKind::Forward(_) => return Err("is no session cookie"),
        };
        Ok(Self {
            format,
            sources: [Source::Cookie(cookie.clone())],
            cache,
            authenticator: Arc::clone(name),
            epoch,
        })
    }

    /// The name of the cookie.
    pub(crate) fn cookie(&self) -> &str {
        match &self.sources {
            [Source::Cookie(name)] => name,
            _ => "",
        }
    }

    /// Whether the cookie alone tells, so that nothing has to be asked.
    pub(crate) fn answers_at_once(&self) -> bool {
        matches!(self.format, Format::FlaskCookie { .. })
    }

    /// Whom the session names, and until when that may be reused.
    ///
    /// # Errors
    ///
    /// The `session_…` codes, those of the directory, and `auth_unavailable`.
    pub(crate) async fn read(
        &self,
        cookie: &str,
        directory: Option<&Directory>,
        carried: &Carried,
        now: Timestamp,
    ) -> Result<(Identity, Timestamp), Denial> {
        let opened = self.open(cookie, now).await?;
        let (identity, mut until) = self.named(&opened, now)?;
        let Some(directory) = directory else {
            return Ok((identity, until));
        };
        let user = self.user(&identity.user, &opened.data, directory, carried);
        let user = user.await?;
        until = until.min(directory.reusable_until(&user));
        Ok((people::joined(&identity, &user), until))
    }

    /// The same for a cookie that tells by itself.
    ///
    /// # Errors
    ///
    /// The `session_…` codes.
    pub(crate) fn read_at_once(
        &self,
        cookie: &str,
        now: Timestamp,
    ) -> Result<(Identity, Timestamp), Denial> {
        let opened = self.open_cookie(cookie, now)?;
        self.named(&opened, now)
    }

    fn open_cookie(&self, cookie: &str, now: Timestamp) -> Result<Opened, Denial> {
        let (data, end) = match &self.format {
            Format::DjangoCookie { codec, lifetime } => {
                codec.read_cookie(cookie, *lifetime, now)?
            }
            Format::FlaskCookie {
                codec, lifetime, ..
            } => codec.read(cookie, *lifetime, now)?,
            Format::DjangoStored { .. } | Format::FlaskStored { .. } => {
                return Err(refuse(
                    Code::SessionUnknown,
                    "the session is kept elsewhere",
                ));
            }
        };
        Ok(Opened {
            data,
            end: Some(end),
        })
    }

    async fn open(&self, cookie: &str, now: Timestamp) -> Result<Opened, Denial> {
        match &self.format {
            Format::DjangoStored { codec, kept, zone } => {
                DjangoCodec::check_key(cookie)?;
                let stored = fetch(&**kept, cookie).await?;
                let end = session::unexpired(stored.expiry, zone, now)?;
                let data = if stored.cached {
                    codec.read_cached(&stored.data)?
                } else {
                    codec.read_row(&stored.data)?
                };
                Ok(Opened { data, end })
            }
            Format::FlaskStored { ids, kept, .. } => {
                let stored = fetch(&**kept, ids.id(cookie)?).await?;
                let end = session::unexpired(stored.expiry, &TimeZone::UTC, now)?;
                let data = read_payload(&stored.data)?;
                Ok(Opened { data, end })
            }
            Format::DjangoCookie { .. } | Format::FlaskCookie { .. } => {
                self.open_cookie(cookie, now)
            }
        }
    }

    /// Who is signed in to a session, and until when that may be reused at most.
    fn named(&self, opened: &Opened, now: Timestamp) -> Result<(Identity, Timestamp), Denial> {
        let end = opened.end.unwrap_or(Timestamp::MAX);
        let identity = |user: String| Identity {
            user,
            roles: Vec::new(),
            email: None,
            name: None,
            claims: serde_json::Map::new(),
            expires_at: opened.end,
            authenticator: Arc::clone(&self.authenticator),
        };
        let map = match &self.format {
            Format::DjangoStored { .. } | Format::DjangoCookie { .. } => {
                let user = DjangoCodec::signed_in(&opened.data)?;
                return Ok((identity(user), end.min(now.saturating_add(self.cache))));
            }
            Format::FlaskStored { identity, .. } | Format::FlaskCookie { identity, .. } => identity,
        };
        let (user, roles, email, name) = session::identity(&opened.data, map)?;
        let mut whole = identity(user).with_roles(roles);
        (whole.email, whole.name) = (email, name);
        whole.claims.clone_from(&opened.data);
        Ok((whole, end.min(now.saturating_add(self.cache))))
    }

    /// The session's user, whose password the session was made under.
    ///
    /// Looked up afresh where the session is: its verdict is reused for the session's `cache` and
    /// that is how long a changed password or a closed account may go unnoticed, not that and the
    /// directory's own `cache` on top.
    async fn user(
        &self,
        id: &str,
        data: &Data,
        directory: &Directory,
        carried: &Carried,
    ) -> Result<User, Denial> {
        let codec = match &self.format {
            Format::DjangoStored { codec, .. } | Format::DjangoCookie { codec, .. } => codec,
            Format::FlaskStored { .. } => {
                return directory.user(id, carried, Look::default().afresh()).await;
            }
            // Its verdict rests on the directory alone.
            Format::FlaskCookie { .. } => {
                return directory.user(id, carried, Look::default()).await;
            }
        };
        let look = Look {
            inactive_too: DjangoCodec::takes_inactive(data),
            ..Look::default()
        };
        let user = directory.user(id, carried, look.afresh()).await?;
        check_password(codec, data, &user, directory)?;
        Ok(user)
    }
}

fn check_password(
    codec: &DjangoCodec,
    data: &Data,
    user: &User,
    directory: &Directory,
) -> Result<(), Denial> {
    let Some(password) = &user.password else {
        let note = format!(
            "[directory.{}] gives no stored password for {}: Django compares the session with it",
            directory.name,
            quoted(&user.id)
        );
        let detail = "the session cannot be compared with its user";
        return Err(Denial::new(Code::AuthUnavailable, detail).note(note));
    };
    codec.check_user(data, password.expose())
}

async fn fetch(kept: &dyn SessionSource, key: &str) -> Result<StoredSession, Denial> {
    let stored = kept.load(key).await.map_err(|error| unavailable(&error))?;
    stored.ok_or_else(|| {
        refuse(Code::SessionUnknown, "no such session is kept").note(
            "the session ended (signed out, cleared, or dropped by the store when its time was over), or it is kept in another store than the one configured here",
        )
    })
}

fn refuse(code: Code, detail: &'static str) -> Denial {
    Denial::new(code, detail).challenge(Challenge::Bearer)
}
