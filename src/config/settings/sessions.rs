//! The apps' own sessions and users: where they are kept, and what is read of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use url::Url;

use super::IdentityMap;
use crate::secret::Secret;

/// The place of a directory in the settings, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DirectoryId(pub usize);

/// A database's address, with the user and password in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Which it is.
    pub kind: DatabaseKind,
    /// `postgres://`, `mysql://` or `sqlite:`, in the form that the database crate reads.
    pub url: Secret<String>,
}

/// The databases that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DatabaseKind {
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    MySql,
    /// SQLite.
    Sqlite,
}

/// `type = "django-session"`.
#[derive(Clone, Debug, PartialEq)]
pub struct DjangoSession {
    /// `SECRET_KEY`, then `SECRET_KEY_FALLBACKS`; at least one.
    pub secrets: Vec<Secret<Vec<u8>>>,
    /// `SESSION_ENGINE`, with where it keeps sessions.
    pub backend: DjangoBackend,
    /// `SESSION_COOKIE_NAME`.
    pub cookie: Box<str>,
    /// How long a verdict may be reused.
    pub cache: Duration,
    /// `AUTHENTICATION_BACKENDS`; `None` where any backend will do.
    pub authentication_backends: Option<Vec<Box<str>>>,
    /// Whether SHA-1 is taken where Django 3.1 and 3.2 take it.
    pub legacy_sha1: bool,
}

/// `SESSION_ENGINE` of a Django app.
#[derive(Clone, Debug, PartialEq)]
pub enum DjangoBackend {
    /// `backends.db`.
    Db {
        /// Where the table is.
        database: Database,
        /// The table, a checked identifier.
        table: Box<str>,
        /// The zone of times without one (SQLite and MySQL under `USE_TZ = False`).
        time_zone: jiff::tz::TimeZone,
    },
    /// `backends.cached_db`: the cache first, then the table.
    CachedDb {
        /// `redis://`, `rediss://` or `redis+unix://`.
        redis: Secret<String>,
        /// `KEY_PREFIX:VERSION:` of the cache, such as `:1:`.
        key_prefix: Box<str>,
        /// Where the table is.
        database: Database,
        /// The table, a checked identifier.
        table: Box<str>,
        /// The zone of times without one.
        time_zone: jiff::tz::TimeZone,
    },
    /// `backends.cache`.
    Cache {
        /// `redis://`, `rediss://` or `redis+unix://`.
        redis: Secret<String>,
        /// `KEY_PREFIX:VERSION:` of the cache, such as `:1:`.
        key_prefix: Box<str>,
    },
    /// `backends.file`.
    File {
        /// `SESSION_FILE_PATH`.
        folder: PathBuf,
        /// `SESSION_COOKIE_AGE`.
        lifetime: Duration,
        /// The zone of ends without one (under `USE_TZ = False`).
        time_zone: jiff::tz::TimeZone,
    },
    /// `backends.signed_cookies`.
    SignedCookies {
        /// `SESSION_COOKIE_AGE`.
        lifetime: Duration,
    },
}

/// `type = "flask-session"`.
#[derive(Clone, Debug, PartialEq)]
pub struct FlaskSession {
    /// Where sessions are kept.
    pub store: SessionStore,
    /// `SESSION_KEY_PREFIX`.
    pub key_prefix: Box<str>,
    /// The app's secrets where `SESSION_USE_SIGNER` is on; `None` where ids are bare.
    pub signer: Option<Vec<Secret<Vec<u8>>>>,
    /// `SESSION_COOKIE_NAME`.
    pub cookie: Box<str>,
    /// How long a verdict may be reused.
    pub cache: Duration,
    /// Which keys inside the session make the identity; the first user key that is there counts.
    pub identity: SessionIdentity,
    /// What Flask-Login adds.
    pub login: FlaskLogin,
}

/// What Flask-Login adds to a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlaskLogin {
    /// `SESSION_PROTECTION = "strong"`.
    pub strong: bool,
    /// The cookie that remembers a user, where it is read.
    pub remember: Option<RememberCookie>,
}

/// Flask-Login's remember cookie.
#[derive(Clone, Debug, PartialEq)]
pub struct RememberCookie {
    /// `REMEMBER_COOKIE_NAME`.
    pub cookie: Box<str>,
    /// `SECRET_KEY` in Latin-1.
    pub secret: Secret<Vec<u8>>,
}

/// Where Flask-Session keeps sessions.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionStore {
    /// `redis://`, `rediss://` or `redis+unix://`.
    Redis(Secret<String>),
    /// A table of a database.
    Table {
        /// Where the table is.
        database: Database,
        /// The table, a checked identifier.
        table: Box<str>,
    },
    /// A folder of files (cachelib's `FileSystemCache`).
    Files {
        /// `SESSION_FILE_DIR`.
        folder: PathBuf,
        /// What names its files.
        names: FileNames,
    },
}

/// The hash that names cachelib's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileNames {
    /// Since cachelib 0.16.
    #[default]
    Sha256,
    /// Up to cachelib 0.15.
    Md5,
}

/// Which keys (dotted paths) of a session make the identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionIdentity {
    /// Keys that may hold the user, in order; the first that is there counts.
    pub user: Vec<String>,
    /// Roles, e-mail address and name; its `user` is not read.
    pub others: IdentityMap,
}

/// `type = "flask-cookie"`.
#[derive(Clone, Debug, PartialEq)]
pub struct FlaskCookie {
    /// `SECRET_KEY`, then `SECRET_KEY_FALLBACKS`; at least one.
    pub secrets: Vec<Secret<Vec<u8>>>,
    /// `SESSION_COOKIE_NAME`.
    pub cookie: Box<str>,
    /// `PERMANENT_SESSION_LIFETIME`.
    pub lifetime: Duration,
    /// Which keys inside the session make the identity.
    pub identity: SessionIdentity,
    /// What Flask-Login adds.
    pub login: FlaskLogin,
}

/// `type = "forward"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The endpoint, `http:` or `https:`.
    pub url: Url,
    /// Request headers that go along: they are the credential.
    pub send: Vec<HeaderName>,
    /// How long a verdict may be reused.
    pub cache: Duration,
    /// For the whole question.
    pub timeout: Duration,
    /// Where the answer says who it is.
    pub identity: ForwardIdentity,
}

/// Where an endpoint's answer says who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardIdentity {
    /// In its JSON body.
    Body(IdentityMap),
    /// In its headers.
    Headers(IdentityHeaders),
}

/// Headers of an endpoint's answer that make the identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// The user.
    pub user: HeaderName,
    /// Roles, comma-separated.
    pub roles: Option<HeaderName>,
    /// E-mail address.
    pub email: Option<HeaderName>,
    /// Name to show.
    pub name: Option<HeaderName>,
}

/// `[directory.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Directory {
    /// NAME.
    pub name: Arc<str>,
    /// Who is asked.
    pub kind: DirectoryKind,
    /// How long an answer may be reused.
    pub cache: Duration,
}

/// The types of directories.
#[derive(Clone, Debug, PartialEq)]
pub enum DirectoryKind {
    /// `type = "django"`.
    Django(DjangoDirectory),
    /// `type = "sql"`.
    Sql(SqlDirectory),
    /// `type = "endpoint"`.
    Endpoint(EndpointDirectory),
}

/// `type = "django"`.
#[derive(Clone, Debug, PartialEq)]
pub struct DjangoDirectory {
    /// The app's database.
    pub database: Database,
    /// The table of `AUTH_USER_MODEL`, a checked identifier.
    pub user_table: Box<str>,
    /// What makes roles.
    pub roles: DirectoryRoles,
}

/// `roles` of a Django directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryRoles {
    /// The names of the user's groups.
    pub groups: bool,
    /// `staff`, `superuser` and `active`, where they are set.
    pub flags: bool,
    /// Columns of the user table, checked identifiers.
    pub columns: Vec<Box<str>>,
}

/// `type = "sql"`.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlDirectory {
    /// The app's database.
    pub database: Database,
    /// One `select` with the user's id as `$1` (PostgreSQL, SQLite) or `?` (MySQL, SQLite). Columns by name: `username`, `email`,
    /// `name`, `roles`, `active`; what is left out is not known, any other is a claim.
    pub query: Box<str>,
}

/// `type = "endpoint"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointDirectory {
    /// The endpoint, `http:` or `https:`, asked with the caller's own `Authorization` and cookies.
    pub url: Url,
    /// For the whole question.
    pub timeout: Duration,
    /// JSON pointers (RFC 6901) to what makes roles; at least one.
    pub roles: Vec<Box<str>>,
    /// JSON pointer to the user's id, which must be the credential's.
    pub user: Option<Box<str>>,
    /// JSON pointer to the e-mail address.
    pub email: Option<Box<str>>,
    /// JSON pointer to the name to show.
    pub name: Option<Box<str>>,
    /// JSON pointer to whether the user may sign in.
    pub active: Option<Box<str>>,
}
