//! `[auth.session]`: Flask's signed cookie, or what Flask-Session keeps. Pure.

use crate::cli::init::blocks::{address, secret, secrets};
use crate::cli::init::findings::{Flask, FlaskSessions, SecretFound};
use crate::cli::init::names::{is_address, is_plain_path, is_redis, is_table, is_token};
use crate::cli::init::sheet::{Block, Refused, Variables, one_line, quote, seconds};

pub(super) fn session(
    found: &Flask,
    refused: &Refused,
    variables: &mut Variables,
) -> Option<Block> {
    let sessions = found.sessions.as_ref()?;
    found
        .secret
        .as_ref()
        .or(sessions.store.as_ref().map(|_| &NO_SECRET))?;
    let mut block = Block::new("[auth.session]");
    let on_server = matches!(sessions.kind.as_deref(), Some("redis" | "table" | "files"));
    block.says.push(if on_server {
        "The sessions that Flask-Session keeps for the app, under the id in its cookie.".to_owned()
    } else {
        "The app's signed session cookie.".to_owned()
    });
    let why = sessions.why_not.clone().or_else(|| unreadable(sessions));
    if let Some(why) = why.or_else(|| refused.why("auth.session")) {
        block.is_comment = true;
        block.says.push(format!(
            "The gateway cannot read it as the app is set: {}.",
            one_line(&why)
        ));
    } else {
        block.says.push(
            "Who is signed in stands under `_user_id` (Flask-Login) or `user_id`; name another key with \
             `identity = { user = \"...\", roles = \"...\" }`."
                .to_owned(),
        );
    }
    if on_server {
        stored(found, sessions, &mut block, variables);
    } else {
        block.key("type", quote("flask-cookie"));
        let key = secrets(
            found.secret.as_ref(),
            &found.fallbacks,
            "FLASK_SECRET_KEY",
            variables,
        );
        block.key("secret", key);
        let lifetime = sessions.lifetime.unwrap_or(2_678_400);
        if lifetime != 2_678_400 {
            block.key("lifetime", seconds(lifetime.clamp(1, 31_536_000)));
        }
    }
    if sessions.cookie != "session" {
        block.key("cookie", quote(&sessions.cookie));
    }
    if found.login {
        login(found, &mut block);
    }
    Some(block)
}

/// What Flask-Login adds.
fn login(found: &Flask, block: &mut Block) {
    if found.protection.as_deref() == Some("strong") {
        block.key("session_protection", quote("strong"));
    }
    let remember = found.remember_cookie.as_ref();
    if let Some(name) = remember.filter(|name| is_token(name)) {
        block.says.push(format!(
            "Whom Flask-Login remembers beyond the session (`login_user(..., remember=True)`) is known with \
             `remember_cookie = {}` and the app's SECRET_KEY in `secret`; that cookie never ends.",
            quote(name)
        ));
    }
}

const NO_SECRET: SecretFound = SecretFound {
    env: None,
    short: false,
    insecure: false,
};

fn stored(found: &Flask, sessions: &FlaskSessions, block: &mut Block, variables: &mut Variables) {
    let (name, what) = match sessions.kind.as_deref() {
        Some("redis") => ("REDIS_URL", "the Redis of the app's sessions"),
        _ => ("DATABASE_URL", "the database of the app's sessions"),
    };
    block.key("type", quote("flask-session"));
    if let Some(store) = &sessions.store {
        block.key("store", address(store, name, what, variables));
    }
    if let Some(table) = sessions.table.as_ref().filter(|table| *table != "sessions")
        && sessions.kind.as_deref() == Some("table")
    {
        block.key("table", quote(table));
    }
    if sessions.kind.as_deref() == Some("files")
        && let Some(names) = sessions.file_names.as_ref().filter(|one| *one == "md5")
    {
        block.key("file_names", quote(names));
    }
    if sessions.key_prefix != "session:" {
        block.key("key_prefix", quote(&sessions.key_prefix));
    }
    if sessions.signer {
        // Flask-Session signs ids with the SECRET_KEY alone.
        block.key("signer", "true".to_owned());
        let value = secret(
            found.secret.as_ref(),
            "FLASK_SECRET_KEY",
            "the app's SECRET_KEY",
            variables,
        );
        block.key("secret", value);
    }
}

fn unreadable(sessions: &FlaskSessions) -> Option<String> {
    let shown = sessions
        .store
        .as_ref()
        .map_or("", |store| store.shown.as_str());
    let good = match sessions.kind.as_deref() {
        Some("cookie") => true,
        Some("redis") => is_redis(shown),
        Some("files") => is_plain_path(shown.strip_prefix("file://")),
        Some("table") => is_address(shown) && sessions.table.as_deref().is_some_and(is_table),
        _ => false,
    };
    let prefix =
        sessions.key_prefix.len() <= 200 && !sessions.key_prefix.contains(char::is_control);
    if !is_token(&sessions.cookie) {
        return Some("SESSION_COOKIE_NAME is no name of a cookie".to_owned());
    }
    (!good || !prefix).then(|| "where sessions are kept is not known".to_owned())
}
