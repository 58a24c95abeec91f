//! `type = "flask-session"` and `"flask-cookie"`: how Flask apps keep their sessions.

use std::time::Duration;

use super::context::{Context, idle};
use super::database::{self, Address, DATABASE};
use super::redis::{self, REDIS};
use super::session::{LIFETIMES, SECRETS, cache, cookie, key_prefix, path, paths, secrets};
use crate::config::raw::decode::At;
use crate::config::raw::session as raw;
use crate::config::settings::{
    FlaskCookie, FlaskSession, IdentityMap, SessionIdentity, SessionStore,
};

pub(super) fn session(
    key: &str,
    raw: raw::FlaskSession,
    cx: &mut Context<'_>,
) -> Option<FlaskSession> {
    if raw.store.is_none() {
        cx.lacks(key, "store", Some(&stores()));
    }
    let store = raw.store.and_then(|given| Address::fetch(given, cx));
    let store = store.and_then(|address| store_of(&address, raw.table, cx));
    let is_signed = raw.signer.as_ref().is_some_and(|signer| signer.value);
    let signer = if is_signed {
        Some(secrets(key, raw.secret, "the app's SECRET_KEY", cx))
    } else {
        idle(raw.secret.as_ref(), "without signer = true", cx);
        None
    };
    let session = FlaskSession {
        key_prefix: key_prefix(raw.key_prefix, "session:", cx).into(),
        signer,
        cookie: cookie(raw.cookie, "session", cx),
        cache: cache(raw.cache, cx),
        identity: identity(raw.identity, cx),
        store: store?,
    };
    Some(session)
}

/// How a store is written.
fn stores() -> String {
    format!("{REDIS}, {DATABASE}")
}

fn store_of(
    address: &Address,
    table: Option<At<String>>,
    cx: &mut Context<'_>,
) -> Option<SessionStore> {
    if redis::SCHEMES.contains(&address.scheme()) {
        idle(table.as_ref(), "with a Redis store", cx);
        return redis::redis(address, cx).map(SessionStore::Redis);
    }
    let table = database::table(table, "sessions", cx);
    let database = database::of_address(address, &stores(), cx)?;
    Some(SessionStore::Table { database, table })
}

pub(super) fn cookie_session(
    key: &str,
    raw: raw::FlaskCookie,
    cx: &mut Context<'_>,
) -> FlaskCookie {
    let default = Duration::from_hours(31 * 24);
    FlaskCookie {
        secrets: secrets(key, raw.secret, SECRETS, cx),
        cookie: cookie(raw.cookie, "session", cx),
        lifetime: cx.bounded(raw.lifetime, default, LIFETIMES),
        identity: identity(raw.identity, cx),
    }
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
