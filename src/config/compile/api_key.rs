//! `type = "api-key"`: keys known by their SHA-256, in the file or in one of their own.
//!
//! The file of keys has one key a line, `SHA256 USER [ROLE,ROLE…]`, with blanks between the parts.
//! Empty lines and lines that begin with `#` are skipped:
//!
//! ```text
//! # printf %s "$KEY" | sha256sum
//! 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 ci deploy,read
//! ```

use std::path::Path;

use http::HeaderName;

use super::auth::{roles_of, sources};
use super::context::Context;
use crate::config::node::quote;
use crate::config::problem::{Place, Problem};
use crate::config::raw::auth;
use crate::config::raw::decode::At;
use crate::config::raw::shapes::split;
use crate::config::settings::{ApiKey, ApiKeyEntry, Source};
use crate::config::source::{MAX_BYTES, read_text};

/// How a key's hash is written.
const SHA256: &str = "the key's SHA-256 as 64 hexadecimal digits: printf %s \"$KEY\" | sha256sum";

pub(super) fn compile(key: &str, raw: auth::ApiKey, cx: &mut Context<'_>) -> ApiKey {
    let by_header = Source::Header(HeaderName::from_static("x-api-key"));
    let mut keys = Vec::new();
    if raw.keys.is_none() && raw.file.is_none() {
        cx.error(Problem::new(key, "one of `keys` and `file` is required"));
    }
    let has_file = raw.file.is_some();
    if let Some(list) = raw.keys {
        if list.value.is_empty() && !has_file {
            cx.error(list.problem("must not be empty: nobody could come in"));
        }
        for raw in list.value {
            let key = raw.key.clone();
            if let Some(entry) = entry(raw, cx) {
                add(entry, Problem::new(key, ""), &mut keys, cx);
            }
        }
    }
    if let Some(path) = raw.file {
        from_file(&path, &mut keys, cx);
    }
    ApiKey {
        sources: sources(raw.sources, vec![by_header], cx),
        keys,
    }
}

fn entry(raw: At<auth::Key>, cx: &mut Context<'_>) -> Option<ApiKeyEntry> {
    let At { key, value: raw } = raw;
    for (name, is_there) in [
        ("sha256", raw.sha256.is_some()),
        ("user", raw.user.is_some()),
    ] {
        if !is_there {
            cx.lacks(&key, name, None);
        }
    }
    let sha256 = raw.sha256.and_then(|text| {
        let digest = digest(&text.value);
        if digest.is_none() {
            // Not repeated: it may be the key itself, by mistake.
            cx.error(text.problem("is not a SHA-256").allowed(SHA256));
        }
        digest
    });
    let user = raw.user.filter(|user| {
        let fits = is_user(&user.value);
        if !fits {
            cx.error(user.wrong("is not a user"));
        }
        fits
    });
    let roles = raw.roles.map(|roles| roles_of(roles.value, cx));
    Some(ApiKeyEntry {
        sha256: sha256?,
        user: user?.value,
        roles: roles.unwrap_or_default(),
    })
}

/// Adds a key, unless it is known already: two users with one key could not be told apart.
fn add(entry: ApiKeyEntry, at: Problem, keys: &mut Vec<ApiKeyEntry>, cx: &mut Context<'_>) {
    if let Some(other) = keys.iter().find(|other| other.sha256 == entry.sha256) {
        let message = format!(
            "the key of {} is that of {} too",
            quote(&entry.user),
            quote(&other.user)
        );
        cx.error(at.saying(message));
    }
    keys.push(entry);
}

fn from_file(path: &At<String>, keys: &mut Vec<ApiKeyEntry>, cx: &mut Context<'_>) {
    let file = cx.file(path);
    let text = match read_text(&file, MAX_BYTES) {
        Ok(text) => text,
        // One that is not there was noted with its path.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => {
            cx.error(path.wrong(format!("the file cannot be read: {error}")));
            return;
        }
    };
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = in_file(path, &file, index);
        match parse_line(line) {
            Ok(entry) => add(entry, at, keys, cx),
            Err(message) => {
                cx.error(at.saying(message).allowed("SHA256 USER [ROLE,ROLE]"));
            }
        }
    }
}

fn in_file(path: &At<String>, file: &Path, index: usize) -> Problem {
    let mut problem = path.problem("");
    problem.place = Some(Place::File {
        file: file.to_path_buf(),
        line: index.saturating_add(1),
        column: 1,
    });
    problem
}

fn parse_line(line: &str) -> Result<ApiKeyEntry, &'static str> {
    let mut parts = line.split_ascii_whitespace();
    let sha256 = parts
        .next()
        .and_then(digest)
        .ok_or("the line does not begin with a SHA-256")?;
    let user = parts
        .next()
        .filter(|user| is_user(user))
        .ok_or("the line names no user")?;
    let roles = parts
        .next()
        .map(|roles| split(roles).map(str::to_owned).collect());
    if parts.next().is_some() {
        return Err("the line has more than three parts");
    }
    Ok(ApiKeyEntry {
        sha256,
        user: user.to_owned(),
        roles: roles.unwrap_or_default(),
    })
}

fn is_user(user: &str) -> bool {
    !user.trim().is_empty() && !user.chars().any(char::is_control)
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|value| u8::try_from(value).ok())
        })
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    <[u8; 32]>::try_from(bytes).ok().filter(|_| rest.is_empty())
}
