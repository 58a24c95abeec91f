//! `type = "django-session"`, `"flask-session"` and `"flask-cookie"`: the sessions that apps keep.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::auth::is_token;
use super::context::{Context, idle};
use super::database::{self, Address, DATABASE};
use super::jwt_keys::warn_of_insecure;
use super::redis::{self, REDIS};
use crate::config::problem::nearest;
use crate::config::raw::decode::At;
use crate::config::raw::session as raw;
use crate::config::raw::shapes::{Secrets, StringOrStrings};
use crate::config::settings::{
    DjangoBackend, DjangoSession, FlaskCookie, FlaskSession, IdentityMap, SessionIdentity,
    SessionStore,
};
use crate::secret::Secret;

/// A verdict may be reused for this long at most: until then a logout does not hold here.
pub(super) const LONGEST_CACHE: Duration = Duration::from_mins(10);

/// How long a verdict may be reused where the file does not say.
pub(super) const CACHE: Duration = Duration::from_secs(2);

/// Sessions end after a second at the least and within a hundred years.
const LIFETIMES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(36_500 * 24));

/// `SESSION_ENGINE`, by the last part of its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backend {
    Db,
    CachedDb,
    Cache,
    SignedCookies,
}

const BACKENDS: &[(&str, Backend)] = &[
    ("db", Backend::Db),
    ("cached_db", Backend::CachedDb),
    ("cache", Backend::Cache),
    ("signed_cookies", Backend::SignedCookies),
];

pub(super) fn django(
    key: &str,
    raw: raw::DjangoSession,
    cx: &mut Context<'_>,
) -> Option<DjangoSession> {
    let secrets = secrets(key, raw.secret, "SECRET_KEY_FALLBACKS", cx);
    let backend = match &raw.backend {
        None => Some(Backend::Db),
        given => cx.word(given.as_ref(), BACKENDS),
    };
    let cookie = cookie(raw.cookie, "sessionid", cx);
    let cache = cache(raw.cache, cx);
    let place = Place {
        database: raw.database,
        redis: raw.redis,
        key_prefix: raw.key_prefix,
        key_version: raw.key_version,
        table: raw.table,
        lifetime: raw.lifetime,
        time_zone: raw.time_zone,
    };
    let backend = place.compile(key, backend?, cx)?;
    Some(DjangoSession {
        secrets,
        backend,
        cookie,
        cache,
    })
}

/// The keys that say where Django keeps sessions.
struct Place {
    database: Option<At<crate::config::raw::shapes::RawSecret>>,
    redis: Option<At<crate::config::raw::shapes::RawSecret>>,
    key_prefix: Option<At<String>>,
    key_version: Option<At<u64>>,
    table: Option<At<String>>,
    lifetime: Option<At<Duration>>,
    time_zone: Option<At<String>>,
}

impl Place {
    fn compile(self, key: &str, backend: Backend, cx: &mut Context<'_>) -> Option<DjangoBackend> {
        self.check_idle(backend, cx);
        let has_table = matches!(backend, Backend::Db | Backend::CachedDb);
        let has_cache = matches!(backend, Backend::CachedDb | Backend::Cache);
        if has_table && self.database.is_none() {
            cx.lacks(key, "database", Some(DATABASE));
        }
        if has_cache && self.redis.is_none() {
            cx.lacks(key, "redis", Some(REDIS));
        }
        let database = self.database.filter(|_| has_table);
        let database = database.and_then(|given| database::database(given, cx));
        let redis = self.redis.filter(|_| has_cache);
        let redis = redis.and_then(|given| Address::fetch(given, cx));
        let redis = redis.and_then(|address| redis::redis(&address, cx));
        let key_prefix = cache_prefix(self.key_prefix, self.key_version, cx);
        let table = database::table(self.table, "django_session", cx);
        let time_zone = time_zone(self.time_zone.as_ref(), cx);
        let default = Duration::from_hours(14 * 24);
        let lifetime = cx.bounded(self.lifetime, default, LIFETIMES.0..=LIFETIMES.1);
        Some(match backend {
            Backend::Db => DjangoBackend::Db {
                database: database?,
                table,
                time_zone,
            },
            Backend::CachedDb => DjangoBackend::CachedDb {
                redis: redis?,
                key_prefix,
                database: database?,
                table,
                time_zone,
            },
            Backend::Cache => DjangoBackend::Cache {
                redis: redis?,
                key_prefix,
            },
            Backend::SignedCookies => DjangoBackend::SignedCookies { lifetime },
        })
    }

    /// A key that this backend does not read was meant for another one.
    fn check_idle(&self, backend: Backend, cx: &mut Context<'_>) {
        let name = BACKENDS.iter().find(|(_, known)| *known == backend);
        let why = format!("with backend = \"{}\"", name.map_or("", |(name, _)| name));
        if matches!(backend, Backend::Cache | Backend::SignedCookies) {
            idle(self.database.as_ref(), &why, cx);
            idle(self.table.as_ref(), &why, cx);
            idle(self.time_zone.as_ref(), &why, cx);
        }
        if matches!(backend, Backend::Db | Backend::SignedCookies) {
            idle(self.redis.as_ref(), &why, cx);
            idle(self.key_prefix.as_ref(), &why, cx);
            idle(self.key_version.as_ref(), &why, cx);
        }
        if backend != Backend::SignedCookies {
            idle(self.lifetime.as_ref(), &why, cx);
        }
    }
}

/// What Django writes before a key of its cache (`django.core.cache.backends.base:
/// default_key_func`): `KEY_PREFIX:VERSION:`.
fn cache_prefix(
    prefix: Option<At<String>>,
    version: Option<At<u64>>,
    cx: &mut Context<'_>,
) -> Box<str> {
    let prefix = key_prefix(prefix, "", cx);
    let version = match version {
        None => 1,
        given => cx.number(given, 0..=u64::from(u32::MAX)),
    };
    format!("{prefix}:{version}:").into()
}

/// What stands before the keys of a store.
fn key_prefix(given: Option<At<String>>, default: &str, cx: &mut Context<'_>) -> String {
    /// Far longer than any app's, in bytes.
    const LONGEST: usize = 200;
    let Some(given) = given else {
        return default.to_owned();
    };
    if given.value.len() > LONGEST || given.value.chars().any(char::is_control) {
        let allowed = format!("up to {LONGEST} bytes without control characters");
        cx.error(given.wrong("is not a prefix of keys").allowed(allowed));
    }
    given.value
}

/// The zone of times that have none.
fn time_zone(given: Option<&At<String>>, cx: &mut Context<'_>) -> TimeZone {
    let Some(given) = given else {
        return TimeZone::UTC;
    };
    if let Ok(zone) = TimeZone::get(&given.value) {
        return zone;
    }
    let names: Vec<_> = jiff::tz::db()
        .available()
        .map(|name| name.as_str().to_owned())
        .collect();
    let near = nearest(&given.value, names.iter().map(String::as_str));
    let allowed = "the app's TIME_ZONE, such as \"Europe/Paris\"";
    let problem = given.wrong("is not a time zone").allowed(allowed);
    cx.error(problem.nearest(near));
    TimeZone::UTC
}

pub(super) fn flask(
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
        Some(secrets(
            key,
            raw.secret,
            "no fallbacks: Flask-Session has none",
            cx,
        ))
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

pub(super) fn flask_cookie(key: &str, raw: raw::FlaskCookie, cx: &mut Context<'_>) -> FlaskCookie {
    let default = Duration::from_hours(31 * 24);
    FlaskCookie {
        secrets: secrets(key, raw.secret, "SECRET_KEY_FALLBACKS", cx),
        cookie: cookie(raw.cookie, "session", cx),
        lifetime: cx.bounded(raw.lifetime, default, LIFETIMES.0..=LIFETIMES.1),
        identity: identity(raw.identity, cx),
    }
}

/// The app's secrets. How long they are is the app's affair: no rule of JWTs holds here.
fn secrets(
    key: &str,
    raw: Option<At<Secrets>>,
    fallbacks: &str,
    cx: &mut Context<'_>,
) -> Vec<Secret<Vec<u8>>> {
    let Some(raw) = raw else {
        let allowed = format!("the app's SECRET_KEY, or a list of it and {fallbacks}");
        cx.lacks(key, "secret", Some(&allowed));
        return Vec::new();
    };
    if raw.value.0.is_empty() {
        cx.error(raw.problem("must not be empty: no session could be accepted"));
    }
    let mut secrets = Vec::with_capacity(raw.value.0.len());
    for given in raw.value.0 {
        let key = given.key.clone();
        if let Some(secret) = cx.secret(given) {
            let bytes = secret.expose().as_bytes();
            warn_of_insecure(&key, bytes, cx);
            secrets.push(Secret::new(bytes.to_vec()));
        }
    }
    secrets
}

/// The name of the session's cookie.
fn cookie(given: Option<At<String>>, default: &str, cx: &mut Context<'_>) -> Box<str> {
    let Some(given) = given else {
        return default.into();
    };
    if !is_token(&given.value) {
        cx.error(given.wrong("is not a name for a cookie"));
    }
    given.value.into()
}

/// How long a verdict may be reused.
pub(super) fn cache(given: Option<At<Duration>>, cx: &mut Context<'_>) -> Duration {
    cx.bounded(given, CACHE, Duration::ZERO..=LONGEST_CACHE)
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

/// Dotted paths.
pub(super) fn paths(
    raw: Option<At<StringOrStrings>>,
    why: &str,
    cx: &mut Context<'_>,
) -> Vec<String> {
    let list = super::jwt::texts(raw, why, cx);
    list.into_iter().map(|path| path.value).collect()
}

/// One dotted path.
pub(super) fn path(given: Option<At<String>>, cx: &mut Context<'_>) -> Option<String> {
    let given = given?;
    if given.value.is_empty() {
        cx.error(given.wrong("must name a key"));
    }
    Some(given.value)
}
