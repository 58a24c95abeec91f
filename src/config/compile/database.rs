//! Addresses of databases and of Redis, as apps keep them in `DATABASE_URL` and the like.
//!
//! What is read: the forms of dj-database-url, SQLAlchemy (`postgresql+psycopg://`) and redis-py.
//! What comes out is the one form that the database crate reads. Nothing of an address is ever
//! repeated in a mistake: a password may stand in it.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use url::Url;

use super::context::Context;
use super::database_options;
use crate::config::problem::{Problem, nearest};
use crate::config::raw::decode::At;
use crate::config::raw::shapes::RawSecret;
use crate::config::settings::{Database, DatabaseKind};
use crate::secret::Secret;

/// How the address of a database is written.
pub(super) const DATABASE: &str = "\"postgres://user:password@host:5432/name\", \
     \"mysql://user:password@host:3306/name\", \"sqlite:///relative.db\" or \"sqlite:////absolute.db\"";

/// How the address of a SQLite file is written.
const SQLITE: &str = "\"sqlite:///relative.db\" or \"sqlite:////absolute.db\"";

/// The schemes of dj-database-url and of the databases themselves.
const SCHEMES: &[(&str, DatabaseKind)] = &[
    ("postgres", DatabaseKind::Postgres),
    ("postgresql", DatabaseKind::Postgres),
    ("pgsql", DatabaseKind::Postgres),
    ("postgis", DatabaseKind::Postgres),
    ("mysql", DatabaseKind::MySql),
    ("mysql2", DatabaseKind::MySql),
    ("mysqlgis", DatabaseKind::MySql),
    ("mariadb", DatabaseKind::MySql),
    ("sqlite", DatabaseKind::Sqlite),
    ("spatialite", DatabaseKind::Sqlite),
];

/// What is encoded in the path of a SQLite file: the database crate cuts at `?` and decodes `%`.
const SQLITE_PATH: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#').add(b' ');

/// Why a part of an address cannot be read as one.
pub(super) const ENCODE: &str =
    "a special letter of a user or password is percent-encoded: `#` is %23, `/` is %2F, `@` is %40";

/// An address, fetched from where it is kept.
pub(super) struct Address {
    /// The key that names it.
    pub(super) key: String,
    text: Secret<String>,
    in_file: bool,
}

impl Address {
    pub(super) fn fetch(given: At<RawSecret>, cx: &mut Context<'_>) -> Option<Self> {
        let key = given.key.clone();
        let (text, in_file) = cx.hidden(given)?;
        Some(Self { key, text, in_file })
    }

    pub(super) fn text(&self) -> &str {
        self.text.expose().trim()
    }

    /// What stands before the first `:`.
    pub(super) fn scheme(&self) -> &str {
        self.text().split(':').next().unwrap_or_default()
    }

    /// A password is in it: nobody else should read it.
    pub(super) fn warn_of_password(&self, cx: &mut Context<'_>) {
        if self.in_file {
            let message = "a password stands in the file in plain text; keep the address in \
                           { env = \"NAME\" } or { file = \"path\" }";
            cx.warn(Problem::new(self.key.as_str(), message));
        }
    }
}

/// Where a database is.
pub(super) fn database(given: At<RawSecret>, cx: &mut Context<'_>) -> Option<Database> {
    let address = Address::fetch(given, cx)?;
    of_address(&address, DATABASE, cx)
}

/// The same of an address that is fetched; `allowed` says what else could stand there.
pub(super) fn of_address(
    address: &Address,
    allowed: &str,
    cx: &mut Context<'_>,
) -> Option<Database> {
    let key = address.key.as_str();
    // SQLAlchemy names the driver behind a `+`.
    let scheme = address.scheme().split('+').next().unwrap_or_default();
    let scheme = scheme.to_lowercase();
    let known = SCHEMES.iter().find(|(name, _)| *name == scheme);
    let rest = address.text().split_once(':').map(|(_, rest)| rest);
    let (Some((_, kind)), Some(rest)) = (known, rest) else {
        // What stands there may be a password, so it is not repeated.
        let problem = Problem::new(key, "is not the address of a database");
        let near = nearest(&scheme, SCHEMES.iter().map(|(name, _)| *name));
        cx.error(problem.allowed(allowed).nearest(near));
        return None;
    };
    let url = match kind {
        DatabaseKind::Sqlite => sqlite(key, rest, cx)?,
        DatabaseKind::Postgres | DatabaseKind::MySql => {
            let (url, has_password) = server(key, *kind, rest, cx)?;
            if has_password {
                address.warn_of_password(cx);
            }
            url
        }
    };
    Some(Database {
        kind: *kind,
        url: Secret::new(url),
    })
}

/// PostgreSQL or MySQL, and whether a password is in the address.
fn server(
    key: &str,
    kind: DatabaseKind,
    rest: &str,
    cx: &mut Context<'_>,
) -> Option<(String, bool)> {
    let scheme = match kind {
        DatabaseKind::Postgres => "postgres",
        DatabaseKind::MySql => "mysql",
        DatabaseKind::Sqlite => return None,
    };
    let wrong = |message: String| Problem::new(key, message).allowed(DATABASE);
    let mut url = match Url::parse(&format!("{scheme}:{rest}")) {
        Ok(url) if rest.starts_with("//") => url,
        Ok(_) => {
            cx.error(wrong("is not the address of a database".to_owned()));
            return None;
        }
        Err(error) => {
            cx.error(wrong(format!(
                "is not the address of a database: {error}; {ENCODE}"
            )));
            return None;
        }
    };
    if url.fragment().is_some() {
        cx.error(wrong(format!("must not hold a `#`; {ENCODE}")));
        return None;
    }
    let options = database_options::of(key, kind, &url, cx);
    let is_named = !url.path().trim_matches('/').is_empty()
        || options.iter().any(|(name, _)| name == "dbname");
    if !is_named {
        cx.error(wrong(
            "names no database: it stands behind the host".to_owned(),
        ));
        return None;
    }
    let has_password =
        url.password().is_some() || options.iter().any(|(name, _)| name == "password");
    url.set_query(None);
    if !options.is_empty() {
        url.query_pairs_mut().extend_pairs(options);
    }
    Some((url.into(), has_password))
}

/// A SQLite file, seen from the folder of the configuration. It is the app's: it is not watched,
/// and may come later.
fn sqlite(key: &str, rest: &str, cx: &mut Context<'_>) -> Option<String> {
    let file = match sqlite_path(rest) {
        Ok(path) => cx.folder.join(path),
        Err(message) => {
            cx.error(Problem::new(key, message).allowed(SQLITE));
            return None;
        }
    };
    let Some(text) = file.to_str() else {
        cx.error(Problem::new(key, "must be in a folder whose path is UTF-8"));
        return None;
    };
    if !file.is_file() {
        let message = format!(
            "there is no file {text} yet: until the app makes it, who needs it gets 503 \
             auth_unavailable"
        );
        cx.warn(Problem::new(key, message));
    }
    let path = utf8_percent_encode(text, SQLITE_PATH);
    Some(format!("sqlite://{path}"))
}

/// The path of what stands behind `sqlite:`.
fn sqlite_path(rest: &str) -> Result<String, &'static str> {
    let in_memory = "names no file: a database in memory is the app's alone";
    let path = rest.split('?').next().unwrap_or_default();
    if path.contains(":memory:") || matches!(path, "" | "//" | "///") {
        return Err(in_memory);
    }
    let path = match path.strip_prefix("//") {
        None => path,
        Some(host) => host
            .strip_prefix('/')
            .ok_or("must have three slashes before a relative path, four before an absolute one")?,
    };
    match percent_decode_str(path).decode_utf8() {
        Ok(path) if !path.contains('\0') => Ok(path.into_owned()),
        Ok(_) | Err(_) => Err("must be a path in UTF-8"),
    }
}

/// Checks the name of a table (which may have its schema before it) or of a column. It stands in
/// statements, so nothing but plain names is taken.
pub(super) fn is_identifier(text: &str, may_have_schema: bool) -> bool {
    /// MySQL's limit, the larger one, in bytes.
    const LONGEST: usize = 64;
    let is_name = |name: &str| {
        let mut letters = name.bytes();
        let first = letters.next();
        first.is_some_and(|letter| letter.is_ascii_alphabetic() || letter == b'_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, b'_' | b'$'))
            && name.len() <= LONGEST
    };
    match text.split_once('.') {
        Some((schema, name)) => may_have_schema && is_name(schema) && is_name(name),
        None => is_name(text),
    }
}

/// The name of a table.
pub(super) fn table(given: Option<At<String>>, default: &str, cx: &mut Context<'_>) -> Box<str> {
    let Some(given) = given else {
        return default.into();
    };
    if !is_identifier(&given.value, true) {
        let allowed = "letters, digits, _ and $, with the schema and a dot before it where need be";
        cx.error(given.wrong("is not the name of a table").allowed(allowed));
    }
    given.value.into()
}
