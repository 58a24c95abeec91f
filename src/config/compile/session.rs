//! What the tables of the apps' sessions share: secrets, cookies, how long a verdict may be reused,
//! and paths to what makes an identity.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::auth::is_token;
use super::context::Context;
use super::jwt_keys::warn_of_insecure;
use crate::config::raw::decode::At;
use crate::config::raw::shapes::{Secrets, StringOrStrings};
use crate::secret::Secret;

/// A verdict may be reused for this long at most: until then a logout does not hold here.
pub(super) const LONGEST_CACHE: Duration = Duration::from_mins(10);

/// How long a verdict may be reused where the file does not say.
const CACHE: Duration = Duration::from_secs(2);

/// Sessions end after a second at the least and within a hundred years.
pub(super) const LIFETIMES: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(36_500 * 24);

/// Which secrets an app signs with.
pub(super) const SECRETS: &str = "the app's SECRET_KEY, or a list of it and SECRET_KEY_FALLBACKS";

/// The app's secrets. How long they are is the app's affair: no rule of JWTs holds here.
pub(super) fn secrets(
    key: &str,
    raw: Option<At<Secrets>>,
    allowed: &str,
    cx: &mut Context<'_>,
) -> Vec<Secret<Vec<u8>>> {
    let Some(raw) = raw else {
        cx.lacks(key, "secret", Some(allowed));
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
pub(super) fn cookie(given: Option<At<String>>, default: &str, cx: &mut Context<'_>) -> Box<str> {
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

/// What stands before the keys of a store.
pub(super) fn key_prefix(given: Option<At<String>>, default: &str, cx: &mut Context<'_>) -> String {
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
