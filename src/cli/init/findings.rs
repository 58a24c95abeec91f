//! What the look at an app found: the JSON document that the scripts of this folder print.
//!
//! Nothing in it is trusted to fit a gateway.toml: names and addresses are the app's. No secret is in
//! it, only the names of the variables that hold them.
#![expect(
    clippy::struct_excessive_bools,
    reason = "they mirror settings that are on or off"
)]

use serde::Deserialize;

/// What was found of an app, by framework.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "framework", rename_all = "lowercase")]
pub(super) enum Findings {
    Django(Box<Django>),
    Flask(Box<Flask>),
}

/// A Django app.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Django {
    pub(super) version: String,
    pub(super) python: String,
    /// The module of the settings.
    pub(super) settings: String,
    pub(super) secret: Option<SecretFound>,
    pub(super) fallbacks: Vec<SecretFound>,
    pub(super) sessions: Option<DjangoSessions>,
    pub(super) users: Option<Users>,
    pub(super) tokens: Option<SimpleJwt>,
    /// `TIME_ZONE` where `USE_TZ` is off.
    pub(super) time_zone: Option<String>,
    pub(super) cors: Option<Cors>,
    /// Cross-origin rules are there that could not be read.
    pub(super) cors_elsewhere: bool,
    /// The paths of Channels, where it is installed.
    pub(super) websockets: Option<Vec<String>>,
    pub(super) allowed_hosts: Vec<String>,
    pub(super) trusted_origins: Vec<String>,
    /// The name in `SECURE_PROXY_SSL_HEADER`.
    pub(super) proxy_header: Option<String>,
    pub(super) forwarded_host: bool,
    pub(super) ssl_redirect: bool,
    pub(super) csrf_secure: bool,
    pub(super) static_url: Option<String>,
    pub(super) static_root: Option<String>,
    pub(super) media_url: Option<String>,
    pub(super) login_url: Option<String>,
    pub(super) endpoints: Vec<Endpoint>,
    /// There are more addresses than were walked.
    pub(super) truncated: bool,
}

/// A Flask app.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Flask {
    pub(super) version: String,
    pub(super) python: String,
    pub(super) secret: Option<SecretFound>,
    pub(super) fallbacks: Vec<SecretFound>,
    pub(super) sessions: Option<FlaskSessions>,
    /// Flask-Login is there.
    pub(super) login: bool,
    pub(super) login_view: Option<String>,
    /// Flask-Login's `SESSION_PROTECTION`.
    pub(super) protection: Option<String>,
    /// `REMEMBER_COOKIE_NAME`.
    pub(super) remember_cookie: Option<String>,
    pub(super) tokens: Option<FlaskJwt>,
    pub(super) cors: Option<Cors>,
    /// How many rules Flask-CORS has; only the first is told.
    pub(super) cors_rules: usize,
    pub(super) cors_elsewhere: bool,
    pub(super) proxy_fix: bool,
    pub(super) secure_cookie: bool,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) truncated: bool,
}

/// What may be told of a secret.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SecretFound {
    /// The variable that holds it.
    pub(super) env: Option<String>,
    /// Under 32 bytes: `check` takes no such key for tokens.
    pub(super) short: bool,
    /// `startproject` made it.
    pub(super) insecure: bool,
}

/// An address of a store, without its password.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Location {
    /// The variable that holds it, password and all.
    pub(super) env: Option<String>,
    /// With `PASSWORD` in the place of a password.
    pub(super) shown: String,
    /// It has a password.
    pub(super) hidden: bool,
}

/// One of `DATABASES`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Database {
    pub(super) engine: String,
    /// `postgres`, `mysql` or `sqlite`; `None` where the gateway cannot ask it.
    pub(super) kind: Option<String>,
    pub(super) env: Option<String>,
    pub(super) shown: String,
    pub(super) time_zone: Option<String>,
}

/// `SESSION_*`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DjangoSessions {
    /// `db`, `cached_db`, `cache`, `file`, `signed_cookies`.
    pub(super) kind: Option<String>,
    /// Why the gateway cannot read them.
    pub(super) why_not: Option<String>,
    pub(super) cookie: String,
    /// In seconds.
    pub(super) age: Option<u64>,
    pub(super) secure: bool,
    pub(super) table: Option<String>,
    pub(super) cache: Option<Cache>,
    pub(super) database: Option<Database>,
    /// The folder of `file`.
    pub(super) path: Option<String>,
    pub(super) authentication_backends: Vec<String>,
    /// Django before 4.0.
    pub(super) legacy_sha1: bool,
}

/// One of `CACHES`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cache {
    pub(super) location: Option<Location>,
    pub(super) key_prefix: String,
    pub(super) version: i64,
}

/// `AUTH_USER_MODEL`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Users {
    pub(super) model: String,
    pub(super) table: String,
    pub(super) columns: Vec<RoleColumn>,
    pub(super) groups: bool,
    pub(super) flags: bool,
    pub(super) database: Option<Database>,
    /// It makes session hashes in a way of its own.
    pub(super) own_hash: bool,
    /// A backend lets users in who are not active.
    pub(super) inactive_may_pass: bool,
}

/// A column that looks like a role.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RoleColumn {
    pub(super) column: String,
    pub(super) values: Vec<String>,
}

/// `SIMPLE_JWT`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SimpleJwt {
    pub(super) algorithm: String,
    pub(super) same_key: bool,
    pub(super) secret: Option<SecretFound>,
    pub(super) jwk_url: Option<Location>,
    pub(super) header_types: Vec<String>,
    pub(super) header_name: String,
    pub(super) user_claim: String,
    pub(super) user_field: String,
    /// The claim holds the user table's primary key.
    pub(super) by_primary_key: bool,
    pub(super) type_claim: Option<String>,
    pub(super) types: Vec<String>,
    pub(super) jti_claim: Option<String>,
    pub(super) audience: Vec<String>,
    pub(super) issuer: Vec<String>,
    /// In seconds.
    pub(super) leeway: u64,
    pub(super) revoke_claim: Option<String>,
    pub(super) checks_active: bool,
    /// A view takes tokens without looking at the user.
    pub(super) stateless: bool,
    /// The cookie of dj-rest-auth.
    pub(super) cookie: Option<String>,
}

/// The configuration of Flask-JWT-Extended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FlaskJwt {
    pub(super) algorithms: Vec<String>,
    pub(super) same_key: bool,
    pub(super) secret: Option<SecretFound>,
    pub(super) locations: Vec<String>,
    pub(super) header_name: String,
    pub(super) header_type: String,
    pub(super) cookie: String,
    pub(super) query: String,
    pub(super) query_prefix: String,
    pub(super) csrf: bool,
    /// The double submit is the library's usual one.
    pub(super) csrf_usual: bool,
    pub(super) user_claim: String,
    pub(super) audience: Vec<String>,
    pub(super) issuer: Vec<String>,
    /// In seconds.
    pub(super) leeway: u64,
    pub(super) why_not: Option<String>,
}

/// The app's `session_interface`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FlaskSessions {
    /// `cookie`, `redis`, `table` or `files`.
    pub(super) kind: Option<String>,
    pub(super) why_not: Option<String>,
    pub(super) cookie: String,
    /// In seconds.
    pub(super) lifetime: Option<u64>,
    pub(super) store: Option<Location>,
    pub(super) table: Option<String>,
    pub(super) key_prefix: String,
    pub(super) signer: bool,
    /// `sha256` or `md5`, for files.
    pub(super) file_names: Option<String>,
}

/// What django-cors-headers or Flask-CORS allows.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cors {
    pub(super) any: bool,
    pub(super) origins: Vec<String>,
    /// The variable that holds the origins, split on commas.
    pub(super) origins_env: Option<String>,
    pub(super) regexes: Vec<String>,
    pub(super) credentials: bool,
    pub(super) headers: Vec<String>,
    pub(super) any_header: bool,
    pub(super) expose: Vec<String>,
    /// Where they are not the library's own.
    pub(super) methods: Option<Vec<String>>,
    /// In seconds.
    pub(super) max_age: Option<u64>,
    pub(super) private_network: bool,
}

/// One address of the app.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Endpoint {
    /// As a route's path is written.
    pub(super) path: String,
    pub(super) level: Level,
    /// The credentials that its view takes, in order.
    pub(super) accepts: Vec<String>,
    pub(super) kind: Kind,
    /// The view's name.
    pub(super) view: String,
    /// Why it is no more than this.
    pub(super) why: String,
    /// The app's cross-origin rule is for it.
    pub(super) cors: bool,
}

/// What a view asks of who comes. In doubt it is public: the app checks it itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Anyone may come, or it is not known.
    #[default]
    Public,
    /// Anyone may come, but not with a bad token.
    Optional,
    /// Nobody anonymous.
    Required,
}

/// What an address is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// Not known.
    #[default]
    View,
    /// Of Django REST framework, or with a decorator for tokens.
    Api,
    /// A page that sends the browser to the login.
    Page,
    /// Signs in, out or refreshes.
    Login,
    /// Django's admin site.
    Admin,
    /// Files.
    Static,
}
