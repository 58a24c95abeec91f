//! `[auth.session]` and `[directory.app]`: where Django keeps sessions and users. Pure.

use crate::cli::init::blocks::{APP, address, secrets};
use crate::cli::init::findings::{Database, Django, DjangoSessions, Location, Users};
use crate::cli::init::names::{
    is_address, is_column, is_dotted_path, is_plain_path, is_redis, is_table, is_token,
};
use crate::cli::init::sheet::{Block, Refused, Variables, list, one_line, quote, seconds};

fn database_of(found: &Database, variables: &mut Variables) -> String {
    let location = Location {
        env: found.env.clone(),
        shown: found.shown.clone(),
        // An address with a host stays out of the file, password or not.
        hidden: found.kind.as_deref() != Some("sqlite"),
    };
    address(&location, "DATABASE_URL", "the app's database", variables)
}

fn users_of(found: &Django) -> Option<(&Users, &Database)> {
    let users = found.users.as_ref()?;
    let database = users.database.as_ref()?;
    let readable = database.kind.is_some() && is_address(&database.shown) && is_table(&users.table);
    readable.then_some((users, database))
}

pub(super) fn directory(
    found: &Django,
    refused: &Refused,
    variables: &mut Variables,
) -> Option<Block> {
    let (users, database) = users_of(found)?;
    let mut block = Block::new(format!("[directory.{APP}]")).saying(format!(
        "Roles and state of a user, from the table of {}. SELECT is all that the gateway needs.",
        users.model
    ));
    if let Some(why) = refused.why("directory.app") {
        block.says.push(format!(
            "The gateway cannot ask it as it is: {}.",
            one_line(&why)
        ));
        block.is_comment = true;
    }
    block.key("type", quote("django"));
    block.key("database", database_of(database, variables));
    if users.table != "auth_user" {
        block.key("user_table", quote(&users.table));
    }
    let mut roles = Vec::new();
    if users.groups {
        roles.push("groups".to_owned());
    }
    if users.flags {
        roles.push("flags".to_owned());
    }
    for column in users
        .columns
        .iter()
        .filter(|column| is_column(&column.column))
    {
        let role = format!("column:{}", column.column);
        if roles.contains(&role) {
            continue;
        }
        roles.push(role);
        if !column.values.is_empty() {
            let values: Vec<_> = column.values.iter().map(|value| one_line(value)).collect();
            let words = format!("`{}` is one of: {}.", column.column, values.join(", "));
            block.says.push(words);
        }
    }
    block.key("roles", list(&roles));
    Some(block)
}

pub(super) fn session(
    found: &Django,
    has_directory: bool,
    refused: &Refused,
    variables: &mut Variables,
) -> Option<Block> {
    let sessions = found.sessions.as_ref()?;
    let mut block = Block::new("[auth.session]")
        .saying("The session cookie that the app's login sets, checked as Django checks it.");
    let users = found.users.as_ref();
    let own = users.filter(|users| users.own_hash || users.inactive_may_pass);
    let why = sessions.why_not.clone().or_else(|| {
        if !has_directory {
            Some("the gateway cannot ask the table of users".to_owned())
        } else if own.is_some() {
            Some("the app judges a session's user in a way of its own".to_owned())
        } else {
            unreadable(sessions)
        }
    });
    let why = why.or_else(|| refused.why("auth.session"));
    if let Some(why) = why {
        block.says.push(format!(
            "The gateway cannot read it as the app is set: {}.",
            one_line(&why)
        ));
        block.is_comment = true;
    }
    block.key("type", quote("django-session"));
    let key = secrets(
        found.secret.as_ref(),
        &found.fallbacks,
        "DJANGO_SECRET_KEY",
        variables,
    );
    block.key("secret", key);
    place(found, sessions, &mut block, variables);
    if sessions.cookie != "sessionid" {
        block.key("cookie", quote(&sessions.cookie));
    }
    let backends = &sessions.authentication_backends;
    if !backends.is_empty() && backends.iter().all(|one| is_dotted_path(one)) {
        block.key("authentication_backends", list(backends));
    }
    if sessions.legacy_sha1 {
        block.key("legacy_sha1", "true".to_owned());
    }
    block.key("directory", quote(APP));
    Some(block)
}

/// What of a session's place cannot be written.
fn unreadable(sessions: &DjangoSessions) -> Option<String> {
    let table = || sessions.table.as_deref().is_some_and(is_table);
    let database = || {
        let found = sessions.database.as_ref();
        found.is_some_and(|found| found.kind.is_some() && is_address(&found.shown))
    };
    let cache = || {
        let cache = sessions.cache.as_ref();
        cache.is_some_and(|cache| {
            let prefix =
                !cache.key_prefix.contains(char::is_control) && cache.key_prefix.len() <= 200;
            let version = u32::try_from(cache.version).is_ok();
            let location = cache.location.as_ref();
            prefix && version && location.is_some_and(|found| is_redis(&found.shown))
        })
    };
    let good = match sessions.kind.as_deref() {
        Some("db") => table() && database(),
        Some("cached_db") => table() && database() && cache(),
        Some("cache") => cache(),
        Some("file") => is_plain_path(sessions.path.as_deref()),
        Some("signed_cookies") => true,
        _ => false,
    };
    if !is_token(&sessions.cookie) {
        return Some("SESSION_COOKIE_NAME is no name of a cookie".to_owned());
    }
    (!good).then(|| "where sessions are kept is not known".to_owned())
}

fn place(found: &Django, sessions: &DjangoSessions, block: &mut Block, variables: &mut Variables) {
    let kind = sessions.kind.as_deref().unwrap_or("db");
    block.key("backend", quote(kind));
    if matches!(kind, "cache" | "cached_db") {
        let cache = sessions.cache.clone().unwrap_or_default();
        if let Some(location) = &cache.location {
            let value = address(
                location,
                "REDIS_URL",
                "the Redis of the app's sessions",
                variables,
            );
            block.key("redis", value);
        }
        if !cache.key_prefix.is_empty() {
            block.key("key_prefix", quote(&cache.key_prefix));
        }
        if cache.version != 1 {
            block.key("key_version", cache.version.to_string());
        }
    }
    if matches!(kind, "db" | "cached_db") {
        let database = sessions.database.clone().unwrap_or_default();
        block.key("database", database_of(&database, variables));
        if let Some(table) = sessions
            .table
            .as_ref()
            .filter(|table| *table != "django_session")
        {
            block.key("table", quote(table));
        }
        let zone = database
            .time_zone
            .as_ref()
            .filter(|_| found.time_zone.is_none());
        let zone = found
            .time_zone
            .as_ref()
            .or(zone)
            .filter(|zone| *zone != "UTC");
        let naive = database.kind.as_deref() != Some("postgres");
        if let Some(zone) = zone.filter(|zone| naive && jiff::tz::TimeZone::get(zone).is_ok()) {
            block.key("time_zone", quote(zone));
        }
    }
    if let Some(path) = sessions.path.as_ref().filter(|_| kind == "file") {
        block.key("path", quote(path));
        let zone = found.time_zone.as_ref();
        let zone = zone.filter(|zone| *zone != "UTC" && jiff::tz::TimeZone::get(zone).is_ok());
        if let Some(zone) = zone {
            block.key("time_zone", quote(zone));
        }
    }
    if matches!(kind, "file" | "signed_cookies") {
        let age = sessions.age.unwrap_or(1_209_600);
        block.key("lifetime", seconds(age.clamp(1, 31_536_000)));
    }
}
