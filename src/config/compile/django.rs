//! `type = "django-session"`: how a Django app keeps its sessions.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::context::{Context, idle};
use super::database::{self, Address, DATABASE};
use super::redis::{self, REDIS};
use super::session::{LIFETIMES, SECRETS, cache, cookie, key_prefix, secrets};
use crate::config::problem::nearest;
use crate::config::raw::decode::At;
use crate::config::raw::session as raw;
use crate::config::raw::shapes::{RawSecret, Strings};
use crate::config::settings::{DjangoBackend, DjangoSession};

/// `SESSION_ENGINE`, by the last part of its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backend {
    Db,
    CachedDb,
    Cache,
    File,
    SignedCookies,
}

const BACKENDS: &[(&str, Backend)] = &[
    ("db", Backend::Db),
    ("cached_db", Backend::CachedDb),
    ("cache", Backend::Cache),
    ("file", Backend::File),
    ("signed_cookies", Backend::SignedCookies),
];

pub(super) fn compile(
    key: &str,
    raw: raw::DjangoSession,
    cx: &mut Context<'_>,
) -> Option<DjangoSession> {
    let secrets = secrets(key, raw.secret, SECRETS, cx);
    let backend = match &raw.backend {
        None => Some(Backend::Db),
        given => cx.word(given.as_ref(), BACKENDS),
    };
    let cookie = cookie(raw.cookie, "sessionid", cx);
    let cache = cache(raw.cache, cx);
    let authentication_backends = authentication_backends(raw.authentication_backends, cx);
    let legacy_sha1 = raw.legacy_sha1.is_some_and(|given| given.value);
    let place = Place {
        database: raw.database,
        redis: raw.redis,
        key_prefix: raw.key_prefix,
        key_version: raw.key_version,
        table: raw.table,
        path: raw.path,
        lifetime: raw.lifetime,
        time_zone: raw.time_zone,
    };
    let backend = place.compile(key, backend?, cx)?;
    Some(DjangoSession {
        secrets,
        backend,
        cookie,
        cache,
        authentication_backends,
        legacy_sha1,
    })
}

/// `AUTHENTICATION_BACKENDS`: dotted paths, as they stand in sessions.
fn authentication_backends(
    given: Option<At<Strings>>,
    cx: &mut Context<'_>,
) -> Option<Vec<Box<str>>> {
    let given = given?;
    let list = cx.some_strings(Some(given), "nobody could be signed in");
    let list = list.unwrap_or_default();
    for one in list.iter().filter(|one| !is_dotted_path(&one.value)) {
        let allowed = "the app's AUTHENTICATION_BACKENDS, such as \"django.contrib.auth.backends.ModelBackend\"";
        cx.error(one.wrong("is not the path of a backend").allowed(allowed));
    }
    Some(list.into_iter().map(|one| one.value.into()).collect())
}

fn is_dotted_path(text: &str) -> bool {
    let name = |part: &str| {
        let word = |one: char| one.is_alphanumeric() || one == '_';
        !part.is_empty() && part.chars().all(word)
    };
    text.contains('.') && text.split('.').all(name)
}

/// The keys that say where Django keeps sessions.
struct Place {
    database: Option<At<RawSecret>>,
    redis: Option<At<RawSecret>>,
    key_prefix: Option<At<String>>,
    key_version: Option<At<u64>>,
    table: Option<At<String>>,
    path: Option<At<String>>,
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
        if backend == Backend::File && self.path.is_none() {
            let allowed = "the app's SESSION_FILE_PATH, or what its tempfile.gettempdir() says";
            cx.lacks(key, "path", Some(allowed));
        }
        let folder = self.path.map(|path| cx.folder(&path));
        let database = self.database.filter(|_| has_table);
        let database = database.and_then(|given| database::database(given, cx));
        let redis = self.redis.filter(|_| has_cache);
        let redis = redis.and_then(|given| Address::fetch(given, cx));
        let redis = redis.and_then(|address| redis::redis(&address, cx));
        let key_prefix = cache_prefix(self.key_prefix, self.key_version, cx);
        let table = database::table(self.table, "django_session", cx);
        let time_zone = time_zone(self.time_zone.as_ref(), cx);
        let default = Duration::from_hours(14 * 24);
        let lifetime = cx.bounded(self.lifetime, default, LIFETIMES);
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
            Backend::File => DjangoBackend::File {
                folder: folder?,
                lifetime,
                time_zone,
            },
            Backend::SignedCookies => DjangoBackend::SignedCookies { lifetime },
        })
    }

    /// A key that this backend does not read was meant for another one.
    fn check_idle(&self, backend: Backend, cx: &mut Context<'_>) {
        let name = BACKENDS.iter().find(|(_, known)| *known == backend);
        let why = format!("with backend = \"{}\"", name.map_or("", |(name, _)| name));
        let has_table = matches!(backend, Backend::Db | Backend::CachedDb);
        let has_cache = matches!(backend, Backend::CachedDb | Backend::Cache);
        if !has_table {
            idle(self.database.as_ref(), &why, cx);
            idle(self.table.as_ref(), &why, cx);
        }
        if !has_table && backend != Backend::File {
            idle(self.time_zone.as_ref(), &why, cx);
        }
        if !has_cache {
            idle(self.redis.as_ref(), &why, cx);
            idle(self.key_prefix.as_ref(), &why, cx);
            idle(self.key_version.as_ref(), &why, cx);
        }
        if !matches!(backend, Backend::File | Backend::SignedCookies) {
            idle(self.lifetime.as_ref(), &why, cx);
        }
        if backend != Backend::File {
            idle(self.path.as_ref(), &why, cx);
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
