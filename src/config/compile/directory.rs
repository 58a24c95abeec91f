//! `[directory.NAME]`: where a user's roles and state are looked up.

use std::time::Duration;

use super::context::{Context, check_table_name};
use super::database::{self, DATABASE, is_identifier};
use super::forward::{endpoint, timeout};
use super::jwt::texts;
use super::query;
use super::session::LONGEST_CACHE;
use crate::config::node::quote;
use crate::config::problem::nearest;
use crate::config::raw::decode::At;
use crate::config::raw::directory::{self as raw, Directory as Raw};
use crate::config::raw::shapes::{Named, RawSecret, StringOrStrings};
use crate::config::settings::{
    Database, Directory, DirectoryId, DirectoryKind, DirectoryRoles, DjangoDirectory,
    EndpointDirectory, SqlDirectory,
};

/// The directories of the file, and what authenticators must know of them.
pub(super) struct Directories {
    /// In the order of the names; one that is wrong is left out, and noted.
    pub(super) list: Vec<Directory>,
    /// Every name, the wrong ones too.
    pub(super) names: Vec<String>,
    /// The type of each name; `None` where it is wrong.
    types: Vec<Option<&'static str>>,
}

impl Directories {
    /// The type of a directory, as the file writes it.
    pub(super) fn type_of(&self, id: DirectoryId) -> Option<&'static str> {
        self.types.get(id.0).copied().flatten()
    }

    /// The directory that an authenticator names.
    pub(super) fn named(&self, name: &At<String>, cx: &mut Context<'_>) -> Option<DirectoryId> {
        cx.named(name, "directory", &self.names).map(DirectoryId)
    }
}

pub(super) fn compile(raw: Named<Raw>, cx: &mut Context<'_>) -> Directories {
    let mut directories = Directories {
        list: Vec::with_capacity(raw.0.len()),
        names: Vec::with_capacity(raw.0.len()),
        types: Vec::with_capacity(raw.0.len()),
    };
    for (name, At { key, value }) in raw.0 {
        check_table_name(&name, &key, cx);
        let (kind, of_type, cache) = match value {
            Raw::Django(raw) => (
                django(&key, raw.database, raw.user_table, raw.roles, cx)
                    .map(DirectoryKind::Django),
                Some("django"),
                raw.cache,
            ),
            Raw::Sql(raw) => (
                sql(&key, raw.database, raw.query, cx).map(DirectoryKind::Sql),
                Some("sql"),
                raw.cache,
            ),
            Raw::Endpoint(mut raw) => {
                let cache = raw.cache.take();
                let kind = of_endpoint(&key, raw, cx).map(DirectoryKind::Endpoint);
                (kind, Some("endpoint"), cache)
            }
            Raw::Unknown => (None, None, None),
        };
        let cache = cx.bounded(cache, Duration::ZERO, Duration::ZERO..=LONGEST_CACHE);
        directories.list.extend(kind.map(|kind| Directory {
            name: name.as_str().into(),
            kind,
            cache,
        }));
        directories.names.push(name);
        directories.types.push(of_type);
    }
    directories
}

fn address(key: &str, given: Option<At<RawSecret>>, cx: &mut Context<'_>) -> Option<Database> {
    let Some(given) = given else {
        cx.lacks(key, "database", Some(DATABASE));
        return None;
    };
    database::database(given, cx)
}

fn django(
    key: &str,
    database: Option<At<RawSecret>>,
    user_table: Option<At<String>>,
    roles: Option<At<StringOrStrings>>,
    cx: &mut Context<'_>,
) -> Option<DjangoDirectory> {
    let database = address(key, database, cx);
    let user_table = database::table(user_table, "auth_user", cx);
    let roles = self::roles(roles, cx);
    Some(DjangoDirectory {
        database: database?,
        user_table,
        roles,
    })
}

/// An empty list is no mistake: a directory may be there for the user's state alone.
fn roles(raw: Option<At<StringOrStrings>>, cx: &mut Context<'_>) -> DirectoryRoles {
    let Some(At { key, value }) = raw else {
        return DirectoryRoles {
            groups: true,
            flags: true,
            columns: Vec::new(),
        };
    };
    let list = cx.strings(Some(At {
        key,
        value: value.0,
    }));
    let mut roles = DirectoryRoles::default();
    for entry in list.map(|list| list.value).unwrap_or_default() {
        match entry.value.split_once(':') {
            None if entry.value == "groups" => roles.groups = true,
            None if entry.value == "flags" => roles.flags = true,
            Some(("column", name)) => {
                if is_identifier(name, false) {
                    roles.columns.push(name.into());
                } else {
                    let problem =
                        entry.problem(format!("{} is not the name of a column", quote(name)));
                    cx.error(problem.found(quote(&entry.value)));
                }
            }
            None | Some(_) => {
                let kind = entry.value.split(':').next().unwrap_or_default();
                let near = nearest(kind, ["groups", "flags", "column"]);
                let problem = entry.wrong("is nothing that makes roles");
                let allowed = "\"groups\", \"flags\", \"column:NAME\"";
                cx.error(problem.allowed(allowed).nearest(near));
            }
        }
    }
    roles
}

fn sql(
    key: &str,
    database: Option<At<RawSecret>>,
    query: Option<At<String>>,
    cx: &mut Context<'_>,
) -> Option<SqlDirectory> {
    let database = address(key, database, cx);
    let Some(query) = query else {
        let allowed = "such as \"select username, role as roles from users where id = $1\"";
        cx.lacks(key, "query", Some(allowed));
        return None;
    };
    let kind = database.as_ref().map(|database| database.kind);
    match query::check(&query.value, kind) {
        Ok(query) => Some(SqlDirectory {
            database: database?,
            query: query.into(),
        }),
        Err(wrong) => {
            cx.error(
                query
                    .problem(wrong.message)
                    .found(quote(&query.value))
                    .allowed(wrong.allowed),
            );
            None
        }
    }
}

fn of_endpoint(
    key: &str,
    raw: raw::EndpointDirectory,
    cx: &mut Context<'_>,
) -> Option<EndpointDirectory> {
    let url = endpoint(key, raw.url, cx);
    let timeout = timeout(raw.timeout, cx);
    if raw.roles.is_none() {
        cx.lacks(key, "roles", Some(POINTER));
    }
    let roles = texts(raw.roles, "no role could be found", cx);
    let roles = roles.iter().filter_map(|text| pointer(text, cx)).collect();
    let mut one = |given: Option<At<String>>| given.and_then(|text| pointer(&text, cx));
    let (user, email) = (one(raw.user), one(raw.email));
    let (name, active) = (one(raw.name), one(raw.active));
    Some(EndpointDirectory {
        url: url?,
        timeout,
        roles,
        user,
        email,
        name,
        active,
    })
}

/// How a JSON pointer is written.
const POINTER: &str = "a JSON pointer, such as \"/role\" or \"/user/roles\"";

/// A JSON pointer (RFC 6901 §3) to a part of the answer; not the whole of it.
fn pointer(text: &At<String>, cx: &mut Context<'_>) -> Option<Box<str>> {
    let mut escapes = text.value.split('~').skip(1);
    let is_pointer =
        text.value.starts_with('/') && escapes.all(|rest| rest.starts_with(['0', '1']));
    if !is_pointer {
        cx.error(text.wrong("is not a place in the answer").allowed(POINTER));
        return None;
    }
    Some(text.value.as_str().into())
}
