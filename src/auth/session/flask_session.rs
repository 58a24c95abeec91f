//! Flask-Session: the id in the cookie, and the payload in the store.

use crate::auth::session::django::pickle_refused;
use crate::auth::session::signing::{Flaw, Signer};
use crate::auth::session::{
    Data, MAX_BYTES, anonymous, filled, malformed, msgpack, other_key, pickle,
};
use crate::policy::denial::Denial;
use crate::secret::Secret;

use serde_json::Value;

/// Longest id; with the prefix it has to fit into 255 characters.
const MAX_ID: usize = 200;

/// Finds the session id in a cookie.
#[derive(Debug)]
pub(crate) struct IdCodec {
    signer: Option<Signer>,
}

impl IdCodec {
    /// `signer`: the app's secrets where `SESSION_USE_SIGNER` is on. Only the first is used:
    /// Flask-Session signs ids with `SECRET_KEY` and takes no `SECRET_KEY_FALLBACKS`.
    pub(crate) fn new(signer: Option<&[Secret<Vec<u8>>]>) -> Self {
        let first = |secrets: &[Secret<Vec<u8>>]| {
            Signer::itsdangerous("flask-session", secrets.get(..1).unwrap_or_default())
        };
        Self {
            signer: signer.map(first),
        }
    }

    /// The session id of a cookie: what `uuid4` and `token_urlsafe` make, and nothing else.
    ///
    /// # Errors
    ///
    /// `session_malformed`, `session_signature`.
    pub(crate) fn id<'a>(&self, cookie: &'a str) -> Result<&'a str, Denial> {
        let id = match &self.signer {
            None => cookie,
            Some(signer) => signer.unsign(cookie).map_err(|flaw| match flaw {
                Flaw::Unsigned => malformed("the session cookie is not signed").note(
                    "`signer` is on here, and the cookie is a bare id: SESSION_USE_SIGNER is off in the app",
                ),
                Flaw::Key(_) => other_key("cookie"),
            })?,
        };
        let ordinary = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if (8..=MAX_ID).contains(&id.len()) && id.bytes().all(ordinary) {
            return Ok(id);
        }
        let denial = malformed("the session cookie is not one of this app's");
        Err(match id.matches('.').count() {
            0 => denial.note("an id of Flask-Session is letters, digits, `-` and `_`"),
            1 => denial.note("the cookie is a signed id: SESSION_USE_SIGNER is on in the app, and `signer` is off here"),
            _ => denial.note("the cookie looks like Flask's own signed session: `type = \"flask-cookie\"` reads those"),
        })
    }
}

/// Reads a stored session: `MessagePack`, JSON, then plain-data pickle, in the order of
/// Flask-Session 0.7 and later, which so read what 0.5 and 0.6 wrote.
///
/// # Errors
///
/// `session_malformed` for anything else; `session_anonymous` for an empty session.
pub(crate) fn read_payload(data: &[u8]) -> Result<Data, Denial> {
    if data.is_empty() {
        return Err(anonymous().note("the store holds an empty value"));
    }
    if data.len() > MAX_BYTES {
        return Err(malformed("the session is too large to be read")
            .note("the stored session is larger than 1 MiB"));
    }
    // As strict as msgspec: no NaN, no half characters; the last of a name that stands twice counts.
    let read = msgpack::read(data).or_else(|| serde_json::from_slice(data).ok());
    let data = match read {
        Some(Value::Object(data)) => data,
        Some(_) => {
            return Err(malformed("the session cannot be read")
                .note("the stored session is no map of keys to values"));
        }
        None => pickle::read(data).map_err(|flaw| {
            pickle_refused(
                flaw,
                "the stored session is neither MessagePack nor JSON nor a pickle that can be read",
            )
        })?,
    };
    filled(data)
}
