//! `type = "flask-session"` and `"flask-cookie"`: how Flask apps keep their sessions.

use std::path::PathBuf;
use std::time::Duration;

use super::context::{Context, idle};
use super::database::{self, Address, DATABASE};
use super::redis::{self, REDIS};
use super::session::{LIFETIMES, SECRETS, cache, cookie, key_prefix, path, paths, secrets};
use crate::config::problem::Problem;
use crate::config::raw::decode::At;
use crate::config::raw::session as raw;
use crate::config::settings::{
    FileNames, FlaskCookie, FlaskLogin, FlaskSession, IdentityMap, RememberCookie, SessionIdentity,
    SessionStore,
};
use crate::secret::Secret;

pub(super) fn session(
    key: &str,
    raw: raw::FlaskSession,
    cx: &mut Context<'_>,
) -> Option<FlaskSession> {
    if raw.store.is_none() {
        cx.lacks(key, "store", Some(&stores()));
    }
    let store = raw.store.and_then(|given| Address::fetch(given, cx));
    let store =
        store.and_then(|address| store_of(&address, raw.table, raw.file_names.as_ref(), cx));
    let is_signed = raw.signer.as_ref().is_some_and(|signer| signer.value);
    let secrets = if is_signed || raw.remember_cookie.is_some() {
        secrets(key, raw.secret, "the app's SECRET_KEY", cx)
    } else {
        let why = "without signer = true or a remember_cookie";
        idle(raw.secret.as_ref(), why, cx);
        Vec::new()
    };
    let cookie = cookie(raw.cookie, "session", cx);
    let login = Login {
        session_protection: raw.session_protection,
        remember_cookie: raw.remember_cookie,
    };
    let login = login.compile(&cookie, secrets.first(), cx);
    let session = FlaskSession {
        key_prefix: key_prefix(raw.key_prefix, "session:", cx).into(),
        signer: is_signed.then_some(secrets),
        cookie,
        cache: cache(raw.cache, cx),
        identity: identity(raw.identity, cx),
        login,
        store: store?,
    };
    Some(session)
}

/// How a store is written.
fn stores() -> String {
    format!("{REDIS}, {DATABASE}, {FOLDER}")
}

fn store_of(
    address: &Address,
    table: Option<At<String>>,
    file_names: Option<&At<String>>,
    cx: &mut Context<'_>,
) -> Option<SessionStore> {
    if address.scheme() == "file" {
        idle(table.as_ref(), "with a folder of files", cx);
        let words = &[("sha256", FileNames::Sha256), ("md5", FileNames::Md5)];
        let names = cx.word(file_names, words).unwrap_or_default();
        let folder = folder(address, cx)?;
        return Some(SessionStore::Files { folder, names });
    }
    idle(file_names, "with this store", cx);
    if redis::SCHEMES.contains(&address.scheme()) {
        idle(table.as_ref(), "with a Redis store", cx);
        return redis::redis(address, cx).map(SessionStore::Redis);
    }
    let table = database::table(table, "sessions", cx);
    let database = database::of_address(address, &stores(), cx)?;
    Some(SessionStore::Table { database, table })
}

/// How a folder of files is written.
const FOLDER: &str = "\"file:relative\" or \"file:///absolute\" for a folder of files";

/// The folder of `file:PATH`.
fn folder(address: &Address, cx: &mut Context<'_>) -> Option<PathBuf> {
    let path = address.text().strip_prefix("file:").unwrap_or_default();
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() {
        let problem = Problem::new(address.key.as_str(), "names no folder");
        cx.error(problem.allowed(FOLDER));
        return None;
    }
    let key = address.key.clone();
    let value = path.to_owned();
    Some(cx.folder(&At { key, value }))
}

pub(super) fn cookie_session(
    key: &str,
    raw: raw::FlaskCookie,
    cx: &mut Context<'_>,
) -> FlaskCookie {
    let default = Duration::from_hours(31 * 24);
    let secrets = secrets(key, raw.secret, SECRETS, cx);
    let cookie = cookie(raw.cookie, "session", cx);
    let login = Login {
        session_protection: raw.session_protection,
        remember_cookie: raw.remember_cookie,
    };
    FlaskCookie {
        login: login.compile(&cookie, secrets.first(), cx),
        secrets,
        cookie,
        lifetime: cx.bounded(raw.lifetime, default, LIFETIMES),
        identity: identity(raw.identity, cx),
    }
}

/// The keys that say what Flask-Login adds.
struct Login {
    session_protection: Option<At<String>>,
    remember_cookie: Option<At<String>>,
}

impl Login {
    /// `session` is the session's own cookie; `secret` the app's `SECRET_KEY`, which is missing only
    /// where that was noted.
    fn compile(
        self,
        session: &str,
        secret: Option<&Secret<Vec<u8>>>,
        cx: &mut Context<'_>,
    ) -> FlaskLogin {
        let words = &[("basic", false), ("strong", true)];
        let strong = cx.word(self.session_protection.as_ref(), words);
        FlaskLogin {
            strong: strong.unwrap_or_default(),
            remember: self.remember_cookie.and_then(|name| {
                if name.value == session {
                    let allowed = "REMEMBER_COOKIE_NAME of the app, by default \"remember_token\"";
                    cx.error(name.wrong("is the session's own cookie").allowed(allowed));
                }
                let key = name.key.clone();
                let cookie = cookie(Some(name), "", cx);
                let secret = latin1(secret?);
                if secret.is_none() {
                    let message = "does nothing with this `secret`: Flask-Login writes it in Latin-1 to sign with it, and fails where a character has no place there";
                    cx.error(Problem::new(key, message));
                }
                secret.map(|secret| RememberCookie { cookie, secret })
            }),
        }
    }
}

/// A secret that is text, in Latin-1 (`flask_login/utils.py: _secret_key`).
fn latin1(secret: &Secret<Vec<u8>>) -> Option<Secret<Vec<u8>>> {
    let text = std::str::from_utf8(secret.expose()).ok()?;
    let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
    bytes.ok().map(Secret::new)
}

/// Which keys of a session make the identity. Beside the user nothing is taken that the file does
/// not name: a session is the app's notebook, and `roles` in it may mean anything.
fn identity(raw: Option<At<raw::SessionIdentity>>, cx: &mut Context<'_>) -> SessionIdentity {
    let (user, roles, email, name) = match raw {
        None => (None, None, None, None),
        Some(At { value: raw, .. }) => (raw.user, raw.roles, raw.email, raw.name),
    };
    let user = match user {
        // Flask-Login's key, then the one that tutorials use.
        None => vec!["_user_id".to_owned(), "user_id".to_owned()],
        Some(user) => paths(Some(user), "nobody could be known", cx),
    };
    SessionIdentity {
        others: IdentityMap {
            user: user.first().cloned().unwrap_or_default(),
            roles: paths(roles, "leave it out where sessions hold no roles", cx),
            email: path(email, cx),
            name: path(name, cx),
        },
        user,
    }
}
