//! One session by itself, from bytes: what fuzzing and other checks from outside ask.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::auth::session::django::DjangoCodec;
use crate::auth::session::flask::FlaskCodec;
use crate::auth::session::flask_login::RememberCodec;
use crate::auth::session::flask_session::read_payload;
use crate::clock::Timestamp;
use crate::policy::denial::Denial;
use crate::secret::Secret;

/// How a sample is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleFormat {
    /// `session_data` of Django's table, of 3.1 and 3.2 too.
    DjangoRow,
    /// A value of Django's cache.
    DjangoCache,
    /// A cookie of Django's `backends.signed_cookies`.
    DjangoCookie,
    /// A cookie of Flask.
    FlaskCookie,
    /// A cookie in which Flask-Login remembers a user, who then stands under `_user_id`.
    FlaskRemember,
    /// A value that Flask-Session stores.
    FlaskStored,
}

/// Reads one session under one key, as it is at `now`; a cookie lives two weeks.
///
/// # Errors
///
/// The `session_…` code that stands against it.
pub fn read_sample(
    format: SampleFormat,
    secret: &[u8],
    sample: &[u8],
    now: Timestamp,
) -> Result<Map<String, Value>, Denial> {
    let secrets = [Secret::new(secret.to_vec())];
    let text = String::from_utf8_lossy(sample);
    let lifetime = Duration::from_hours(14 * 24);
    match format {
        SampleFormat::DjangoRow => DjangoCodec::new(&secrets)
            .with_sha1(&secrets)
            .read_row(sample),
        SampleFormat::DjangoCache => DjangoCodec::new(&secrets).read_cached(sample),
        SampleFormat::DjangoCookie => DjangoCodec::new(&secrets)
            .read_cookie(&text, lifetime, now)
            .map(|(data, _end)| data),
        SampleFormat::FlaskCookie => FlaskCodec::new(&secrets)
            .read(&text, lifetime, now)
            .map(|(data, _end)| data),
        SampleFormat::FlaskRemember => {
            let [secret] = &secrets;
            let user = RememberCodec::new(secret).read(&text)?;
            Ok(Map::from_iter([("_user_id".to_owned(), user.into())]))
        }
        SampleFormat::FlaskStored => read_payload(sample),
    }
}
