//! Reading one session: fetched where it is kept, and tied to its user.
//!
//! The order is that of the framework: signature, the stored session, its end, who is signed in
//! (for Flask-Login also: whose session it is, and whom a cookie remembers where it names nobody),
//! the user, and for Django the session's hash against the user's password. Nothing is written: no
//! session is refreshed, moved or deleted.

use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::auth::ask::Carried;
use crate::auth::people::{self, Directory, Look};
use crate::auth::ports::{SessionSource, StoredSession, User};
use crate::auth::session::django::{DjangoCodec, Hashed};
use crate::auth::session::django_file;
use crate::auth::session::flask_login;
use crate::auth::session::flask_session::read_payload;
use crate::auth::session::{self, Data};
use crate::auth::session_reader::{Format, SessionReader};
use crate::auth::shown::Shown;
use crate::auth::words::{quoted, unavailable};
use crate::clock::Timestamp;
use crate::config::settings::SessionIdentity;
use crate::policy::denial::{Challenge, Code, Denial};
use crate::policy::identity::Identity;

/// A session that was read, whose user has not been looked up yet.
struct Opened {
    data: Data,
    end: Option<Timestamp>,
}

/// Whom a session names, until when that may be reused, and what Django's session holds.
struct Named {
    identity: Identity,
    until: Timestamp,
    data: Data,
}

/// Why a session names nobody, and whether a cookie may still remember somebody.
struct Nobody {
    denial: Denial,
    remembered: bool,
}

impl From<Denial> for Nobody {
    /// By what Flask takes as an empty session; where Flask fails there is nobody at all.
    fn from(denial: Denial) -> Self {
        let remembered = matches!(
            denial.code(),
            Code::SessionAnonymous
                | Code::SessionExpired
                | Code::SessionUnknown
                | Code::SessionSignature
        );
        Self { denial, remembered }
    }
}

impl SessionReader {
    /// Whom the session names, and until when that may be reused.
    ///
    /// # Errors
    ///
    /// The `session_…` codes, those of the directory, and `auth_unavailable`.
    pub(crate) async fn read(
        &self,
        shown: &Shown<'_>,
        directory: Option<&Directory>,
        carried: &Carried,
        now: Timestamp,
    ) -> Result<(Identity, Timestamp), Denial> {
        let opened = match &shown.cookie {
            Some(cookie) => self.open(cookie, now).await,
            None => Err(no_cookie()),
        };
        let named = self.decide(opened, shown, now)?;
        let Some(directory) = directory else {
            return Ok((named.identity, named.until));
        };
        let (id, asked) = (&named.identity.user, (directory, carried));
        let user = self.user(id, &named.data, shown.hashed, asked).await?;
        let until = named.until.min(directory.reusable_until(&user));
        Ok((people::joined(&named.identity, &user), until))
    }

    /// The same for cookies that tell by themselves.
    ///
    /// # Errors
    ///
    /// The `session_…` codes.
    pub(crate) fn read_at_once(
        &self,
        shown: &Shown<'_>,
        now: Timestamp,
    ) -> Result<(Identity, Timestamp), Denial> {
        let opened = match &shown.cookie {
            Some(cookie) => self.open_cookie(cookie, now),
            None => Err(no_cookie()),
        };
        let named = self.decide(opened, shown, now)?;
        Ok((named.identity, named.until))
    }

    fn open_cookie(&self, cookie: &str, now: Timestamp) -> Result<Opened, Denial> {
        let (data, end) = match &self.format {
            Format::DjangoCookie { codec, lifetime } => {
                codec.read_cookie(cookie, *lifetime, now)?
            }
            Format::FlaskCookie {
                codec, lifetime, ..
            } => codec.open(cookie, *lifetime, now)?,
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
            Format::DjangoStored {
                codec,
                kept,
                zone,
                in_files,
            } => {
                DjangoCodec::check_key(cookie)?;
                let stored = fetch(&**kept, cookie).await?;
                let (data, expiry) = if *in_files {
                    let data = codec.read_row(&stored.data)?;
                    let expiry = django_file::expiry(&data, stored.expiry)?;
                    (data, expiry)
                } else if stored.cached {
                    (codec.read_cached(&stored.data)?, stored.expiry)
                } else {
                    // Nothing is worked out of a row whose time is over.
                    session::unexpired(stored.expiry, zone, now)?;
                    (codec.read_row(&stored.data)?, stored.expiry)
                };
                let end = session::unexpired(expiry, zone, now)?;
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

    /// Who is signed in by what was opened, or by a cookie that remembers somebody.
    fn decide(
        &self,
        opened: Result<Opened, Denial>,
        shown: &Shown<'_>,
        now: Timestamp,
    ) -> Result<Named, Denial> {
        let opened = opened.map_err(Nobody::from);
        let named = opened.and_then(|opened| match &self.format {
            Format::DjangoStored { codec, .. } | Format::DjangoCookie { codec, .. } => {
                let user = codec.signed_in(&opened.data)?;
                let mut named = self.bare(user, opened.end, now);
                named.data = opened.data;
                Ok(named)
            }
            Format::FlaskStored { identity, .. } | Format::FlaskCookie { identity, .. } => {
                self.named_by_flask(opened, identity, shown, now)
            }
        });
        named.or_else(|nobody| self.remembered(nobody, shown, now))
    }

    /// Who is signed in to a session of Flask: the client first, then the user.
    fn named_by_flask(
        &self,
        opened: Opened,
        map: &SessionIdentity,
        shown: &Shown<'_>,
        now: Timestamp,
    ) -> Result<Named, Nobody> {
        if let Some(client) = &shown.client {
            let protected = flask_login::check_client(&opened.data, client);
            protected.map_err(|denial| Nobody {
                denial,
                remembered: false,
            })?;
        }
        let forgets = flask_login::forgets(&opened.data);
        let data = session::filled(opened.data)?;
        let (user, roles, email, name) = session::identity(&data, map).map_err(|denial| {
            let nobody = Nobody::from(denial);
            Nobody {
                remembered: nobody.remembered && !forgets,
                ..nobody
            }
        })?;
        let mut named = self.bare(user, opened.end, now);
        named.identity = named.identity.with_roles(roles);
        (named.identity.email, named.identity.name) = (email, name);
        named.identity.claims = data;
        Ok(named)
    }

    /// Whom the other cookie remembers, where the session leaves that open.
    fn remembered(
        &self,
        nobody: Nobody,
        shown: &Shown<'_>,
        now: Timestamp,
    ) -> Result<Named, Denial> {
        let codec = self.login.remember.as_ref().filter(|_| nobody.remembered);
        let (Some(codec), Some(cookie)) = (codec, &shown.remember) else {
            return Err(nobody.denial);
        };
        match codec.read(cookie) {
            Ok(user) => Ok(self.bare(user, None, now)),
            // A visitor's session is no reason to refuse; a cookie that does not hold is.
            Err(bad) if nobody.denial.code() == Code::SessionAnonymous => Err(bad),
            Err(_) => Err(nobody.denial),
        }
    }

    /// A user with nothing but the end of the session.
    fn bare(&self, user: String, end: Option<Timestamp>, now: Timestamp) -> Named {
        let until = end.unwrap_or(Timestamp::MAX);
        Named {
            identity: Identity {
                user,
                roles: Vec::new(),
                email: None,
                name: None,
                claims: serde_json::Map::new(),
                expires_at: end,
                authenticator: Arc::clone(&self.authenticator),
            },
            until: until.min(now.saturating_add(self.cache)),
            data: Data::new(),
        }
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
        hashed: Hashed,
        (directory, carried): (&Directory, &Carried),
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
        check_password(codec, data, (&user, hashed), directory)?;
        Ok(user)
    }
}

fn check_password(
    codec: &DjangoCodec,
    data: &Data,
    (user, hashed): (&User, Hashed),
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
    codec.check_user(data, password.expose(), hashed)
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

fn no_cookie() -> Denial {
    refuse(Code::SessionAnonymous, "there is no session cookie")
}
