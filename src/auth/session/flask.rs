//! Flask's own session: the signed cookie (`SecureCookieSessionInterface`).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::auth::session::signing::{Flaw, Signer};
use crate::auth::session::{
    Data, MAX_BYTES, expired, filled, json, malformed, other_key, segment, tags,
};
use crate::auth::words::span;
use crate::clock::Timestamp;
use crate::policy::denial::Denial;
use crate::secret::Secret;

/// Reads the sessions of one app, with its keys.
#[derive(Debug)]
pub(crate) struct FlaskCodec {
    signer: Signer,
}

impl FlaskCodec {
    /// Derives the keys of `SECRET_KEY` and `SECRET_KEY_FALLBACKS` (Flask 3.1).
    pub(crate) fn new(secrets: &[Secret<Vec<u8>>]) -> Self {
        Self {
            signer: Signer::itsdangerous("cookie-session", secrets),
        }
    }

    /// Reads a session that holds something: its data, and the first moment at which it is over.
    ///
    /// # Errors
    ///
    /// Those of [`FlaskCodec::open`], and `session_anonymous` for an empty session.
    pub(crate) fn read(
        &self,
        cookie: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<(Data, Timestamp), Denial> {
        let (data, end) = self.open(cookie, lifetime, now)?;
        Ok((filled(data)?, end))
    }

    /// Reads a session, which may be empty: its data, and the first moment at which it is over.
    ///
    /// Flask counts in whole seconds: a cookie exactly `lifetime` old holds, permanent or not,
    /// and one of the future does not.
    ///
    /// # Errors
    ///
    /// `session_malformed`, `session_signature`, `session_expired`.
    pub(crate) fn open(
        &self,
        cookie: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<(Data, Timestamp), Denial> {
        if cookie.len() > MAX_BYTES {
            return Err(unreadable("it is larger than 1 MiB"));
        }
        let value = self.signer.unsign(cookie).map_err(|flaw| match flaw {
            Flaw::Unsigned => unreadable("it has no signature: is it an id of Flask-Session?"),
            Flaw::Key(_) => other_key("cookie"),
        })?;
        let (payload, at) = value
            .rsplit_once('.')
            .ok_or_else(|| unreadable("it has no time"))?;
        let at = seconds(at).ok_or_else(|| unreadable("its time cannot be read"))?;
        let end = in_time(at, lifetime, now)?;
        let bytes = segment::open(payload).map_err(unreadable)?;
        let text = std::str::from_utf8(&bytes).map_err(|_why| unreadable("it is not UTF-8"))?;
        let tagged = json::read(text).map_err(unreadable)?;
        if !tagged.is_object() {
            return Err(unreadable("its JSON is no object"));
        }
        match tags::untag(tagged).map_err(unreadable)? {
            Value::Object(data) => Ok((data, end)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(unreadable("its JSON is no object")),
        }
    }
}

/// The seconds of `TimestampSigner`: big-endian bytes, in base64.
fn seconds(text: &str) -> Option<i64> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    if bytes.is_empty() || bytes.len() > 8 {
        return None;
    }
    let seconds = bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    i64::try_from(seconds).ok()
}

fn in_time(at: i64, lifetime: Duration, now: Timestamp) -> Result<Timestamp, Denial> {
    if at > now.unix_seconds() {
        let ahead = span(Timestamp::from_unix_seconds(at).saturating_since(now));
        return Err(expired("the session is from the future").note(format!(
            "the cookie was signed {ahead} ahead of now, which Flask refuses: set the clocks of the app's machine and of this one by NTP"
        )));
    }
    let whole = Duration::from_secs(lifetime.as_secs());
    let last = Timestamp::from_unix_seconds(at).saturating_add(whole);
    let end = last.saturating_add(Duration::from_secs(1));
    if now < end {
        return Ok(end);
    }
    let ago = span(now.saturating_since(last));
    Err(expired(format!("the session expired {ago} ago at {last}")))
}

fn unreadable(why: &str) -> Denial {
    malformed("the session cookie cannot be read").note(format!("this cookie: {why}"))
}
