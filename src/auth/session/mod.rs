//! The apps' own sessions, read as Django, Flask and Flask-Session read them.
//!
//! Everything here is pure: bytes, keys and the time go in, plain data or a refusal comes out.
//! The order is always syntax and size, signature, inflating, parsing; nothing is inflated or
//! parsed before a signature held, where there is one. What the framework itself fails on
//! (an HTTP 500 of the app) is a refusal. Nothing is written, refreshed or deleted.

pub(crate) mod django;
pub(crate) mod django_file;
pub(crate) mod flask;
pub(crate) mod flask_login;
pub(crate) mod flask_session;
mod json;
mod msgpack;
mod pickle;
mod plain;
mod row_check;
mod sample;
mod segment;
mod signing;
mod tags;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::tz::TimeZone;
use md5::{Digest, Md5};
use serde_json::{Map, Value};

use crate::auth::claims;
use crate::auth::ports::Expiry;
use crate::clock::Timestamp;
use crate::config::settings::SessionIdentity;
use crate::policy::denial::{Challenge, Code, Denial};
use crate::policy::identity::claim_at;

pub use row_check::RowCheck;
pub use sample::{SampleFormat, read_sample};

/// A session's content, as plain data.
pub(crate) type Data = Map<String, Value>;

/// Whom a session names: user, roles, e-mail address, name.
pub(crate) type Named = (String, Vec<String>, Option<String>, Option<String>);

/// Most bytes of one stored session, and of one that was inflated.
///
/// A cookie holds 4 KiB and a stored session some tens; a megabyte is far above both, and deflate
/// can make a thousand bytes of one.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting of a session's data, as for every other JSON that the gateway reads.
pub(crate) const MAX_DEPTH: usize = 128;
/// Longest user id in bytes.
const MAX_USER: usize = 1024;

/// A session cookie's value without the quotes around it, which Django and Werkzeug both take off.
///
/// # Errors
///
/// `session_malformed` for quotes that stand otherwise and for escapes between them: not all
/// versions of the two read those alike.
pub(crate) fn unquoted(cookie: &str) -> Result<&str, Denial> {
    let between = cookie
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match between {
        Some(inner) if !inner.contains(['"', '\\']) => Ok(inner),
        None if !cookie.contains('"') => Ok(cookie),
        Some(_) | None => Err(malformed(
            "there are quotes or escapes in the session cookie",
        )),
    }
}

/// Whom a session names: user, roles, e-mail address and name.
///
/// The first user key that is there counts; a key that holds `None` is as good as none.
///
/// # Errors
///
/// `session_anonymous` where no key holds a user, `session_malformed` where one holds something
/// that is neither text nor a whole number.
pub(crate) fn identity(data: &Data, map: &SessionIdentity) -> Result<Named, Denial> {
    let named = map.user.iter().find_map(|path| {
        let value = claim_at(data, path).filter(|value| !value.is_null())?;
        Some((path, value))
    });
    let Some((path, value)) = named else {
        let keys = map.user.join(", ");
        return Err(anonymous().note(format!("the session has no {keys}")));
    };
    let user = user_of(value, path)?;
    let roles = claims::roles(data, &map.others.roles);
    let email = claims::text(data, map.others.email.as_deref());
    let name = claims::text(data, map.others.name.as_deref());
    Ok((user, roles, email, name))
}

/// A user's id as text: text is taken as it is, a whole number in decimals.
fn user_of(value: &Value, key: &str) -> Result<String, Denial> {
    let fault = |what: &str| {
        Err(
            malformed("the session does not name its user in a way that can be read")
                .note(format!("`{key}`, which names the user, {what}")),
        )
    };
    match value {
        Value::String(user) if user.trim().is_empty() => Err(anonymous()),
        Value::String(user) if user.len() > MAX_USER => fault("is too long"),
        // Python would cut blanks off (`int(" 2 ")`), the directory would not; U+FFFD stands
        // for what is no character, so that two different ids would look the same.
        Value::String(user)
            if user.trim() != user || user.contains(char::REPLACEMENT_CHARACTER) =>
        {
            fault("has blanks around it or characters that are none")
        }
        Value::String(user) => Ok(user.clone()),
        Value::Number(id) if id.is_i64() || id.is_u64() => Ok(id.to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            fault("is neither text nor a whole number of 64 bits")
        }
    }
}

/// The stored password as SimpleJWT's `get_md5_hash_password` digests it: MD5 in upper-case hex.
pub(crate) fn password_digest(password: &str) -> String {
    let digest = Md5::digest(password.as_bytes());
    digest
        .iter()
        .fold(String::with_capacity(32), |mut hex, byte| {
            // Writing into a string cannot fail.
            let _ = write!(hex, "{byte:02X}");
            hex
        })
}

/// When a stored session ends: the first moment at which it no longer holds, `None` where the
/// store ends it by itself.
///
/// Django (`expire_date > now`) and Flask-Session (`expiry <= now` is over) both call a session
/// over that ends right now. A time without a zone is compared as a time of day in `zone`, the
/// way Django does under `USE_TZ = False`.
///
/// # Errors
///
/// `session_expired`.
pub(crate) fn unexpired(
    expiry: Expiry,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<Option<Timestamp>, Denial> {
    let end = match expiry {
        Expiry::ByStore => return Ok(None),
        Expiry::Missing => {
            return Err(expired("the session has no end, which counts as over").note(
                "the store holds NULL where the session's end belongs: SESSION_PERMANENT = False makes Flask-Session write that, and 0.6 and later take it as expired",
            ));
        }
        Expiry::At(end) => end,
        Expiry::Local(end) => local_end(end, zone, now),
    };
    if end > now {
        Ok(Some(end))
    } else {
        Err(expired(format!("the session expired at {end}")))
    }
}

/// A time of day as a point in time; not after `now` exactly when the app says that it is over.
fn local_end(end: jiff::civil::DateTime, zone: &TimeZone, now: Timestamp) -> Timestamp {
    let instant = |at: Result<jiff::Timestamp, jiff::Error>| {
        at.map_or(Timestamp::MAX, |at| {
            Timestamp::from_unix_micros(at.as_microsecond())
        })
    };
    let there = zone.to_ambiguous_timestamp(end);
    let (first, last) = (instant(there.earlier()), instant(there.later()));
    let over = jiff::Timestamp::from_microsecond(now.unix_micros())
        .map_or(true, |now| end <= zone.to_datetime(now));
    match (over, first > now) {
        (true, _) => first.min(now),
        (false, true) => first,
        // An hour that the clocks go through twice: the app takes the second pass.
        (false, false) => last.max(now.saturating_add(Duration::from_micros(1))),
    }
}

fn refuse(code: Code, detail: impl Into<Cow<'static, str>>) -> Denial {
    Denial::new(code, detail).challenge(Challenge::Bearer)
}

fn malformed(detail: &'static str) -> Denial {
    refuse(Code::SessionMalformed, detail)
}

fn expired(detail: impl Into<Cow<'static, str>>) -> Denial {
    refuse(Code::SessionExpired, detail)
}

fn anonymous() -> Denial {
    refuse(
        Code::SessionAnonymous,
        "nobody is signed in to this session",
    )
}

/// The refusal of a signature that no key made.
fn other_key(what: &str) -> Denial {
    let detail = "the session's signature does not verify";
    refuse(Code::SessionSignature, detail).note(format!(
        "this {what} was signed with another key: is SECRET_KEY the same in the app and here? Otherwise it was tampered with or cut off"
    ))
}

/// A Flask session that holds anything but the flag that Flask itself sets.
///
/// # Errors
///
/// `session_anonymous`: Flask and Flask-Session take such a session as none.
pub(crate) fn filled(data: Data) -> Result<Data, Denial> {
    if data.keys().all(|key| key == "_permanent") {
        Err(anonymous().note("the session is empty"))
    } else {
        Ok(data)
    }
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod login_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors_tests;
