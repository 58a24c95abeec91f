//! What Flask-Login adds to Flask's sessions: `session_protection = "strong"`, which ties a session
//! to an address and a browser, and the cookie that remembers a user beyond the session.
//!
//! As Flask-Login 0.6: `login_manager.py: _session_protection_failed, _load_user` and `utils.py`.

use std::borrow::Cow;

use aws_lc_rs::digest::{self, SHA512};
use aws_lc_rs::hmac::{self, HMAC_SHA512};

use crate::auth::session::signing::{any_equal, hex, hex_hmac};
use crate::auth::session::{Data, anonymous, malformed, other_key, user_of};
use crate::policy::denial::Denial;
use crate::secret::Secret;

use serde_json::Value;

/// Longest remember cookie: a user's id and 128 digits.
const MAX_REMEMBER: usize = 2_048;

/// The client as the app's `request.headers` show it to Flask-Login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client<'r> {
    /// The first of `X-Forwarded-For`, as this gateway sends it.
    pub(crate) address: Option<Cow<'r, [u8]>>,
    /// `User-Agent`.
    pub(crate) user_agent: Option<Cow<'r, [u8]>>,
}

impl Client<'_> {
    /// `_create_identifier`: what stands in a session's `_id`.
    pub(crate) fn identifier(&self) -> String {
        let (address, agent) = (&self.address, &self.user_agent);
        let base = format!(
            "{}|{}",
            python(address.as_deref()),
            python(agent.as_deref())
        );
        hex(digest::digest(&SHA512, base.as_bytes()).as_ref())
    }
}

/// A header's bytes as Python prints what it makes of them: read as Latin-1, encoded as UTF-8, and
/// then the `repr` of those bytes, or `None`.
fn python(header: Option<&[u8]>) -> String {
    let Some(header) = header else {
        return "None".to_owned();
    };
    let text: String = header.iter().copied().map(char::from).collect();
    let quote = match (text.contains('\''), text.contains('"')) {
        (true, false) => b'"',
        (true, true) | (false, _) => b'\'',
    };
    let mut shown = format!("b{}", char::from(quote));
    for byte in text.bytes() {
        match byte {
            b'\t' => shown.push_str("\\t"),
            b'\n' => shown.push_str("\\n"),
            b'\r' => shown.push_str("\\r"),
            byte if byte == b'\\' || byte == quote => shown.extend(['\\', char::from(byte)]),
            b' '..=b'~' => shown.push(char::from(byte)),
            byte => {
                shown.push_str("\\x");
                shown.push_str(&hex(&[byte]));
            }
        }
    }
    shown.push(char::from(quote));
    shown
}

/// Whether strong protection lets a session be used by a client. A permanent session is never
/// protected, nor is an empty one.
///
/// # Errors
///
/// `session_anonymous`: Flask-Login takes the user out of such a session.
pub(crate) fn check_client(data: &Data, client: &Client<'_>) -> Result<(), Denial> {
    let permanent = data.get("_permanent") == Some(&Value::Bool(true));
    let bound = data.get("_id").and_then(Value::as_str).unwrap_or_default();
    let same = any_equal(std::iter::once(client.identifier()), bound);
    if data.is_empty() || permanent || same {
        return Ok(());
    }
    Err(anonymous().note(
        "`session_protection` is \"strong\", and the session was begun from another address or with another User-Agent (or its `_id` is missing): Flask-Login takes nobody as signed in. Does everything that the app was reached through send the same first address in X-Forwarded-For?",
    ))
}

/// Whether the session itself says that nobody is to be remembered (a sign-out under way).
pub(crate) fn forgets(data: &Data) -> bool {
    data.get("_remember").and_then(Value::as_str) == Some("clear")
}

/// Reads `remember_token`.
pub(crate) struct RememberCodec(hmac::Key);

impl std::fmt::Debug for RememberCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RememberCodec(1 key)")
    }
}

impl RememberCodec {
    /// `secret` is `SECRET_KEY` in Latin-1; `SECRET_KEY_FALLBACKS` do not count here.
    pub(crate) fn new(secret: &Secret<Vec<u8>>) -> Self {
        Self(hmac::Key::new(HMAC_SHA512, secret.expose()))
    }

    /// The user whom a cookie remembers (`utils.py: decode_cookie`). It holds no time: what was
    /// signed once is valid for as long as the key is.
    ///
    /// # Errors
    ///
    /// `session_malformed`, `session_signature`, `session_anonymous`.
    pub(crate) fn read(&self, cookie: &str) -> Result<String, Denial> {
        let unread = |why| malformed("the remember cookie cannot be read").note(why);
        let (user, digest) = (cookie.rsplit_once('|'))
            .filter(|_| cookie.len() <= MAX_REMEMBER)
            .ok_or_else(|| unread("Flask-Login writes a user's id, `|` and 128 hex digits"))?;
        let made = hex_hmac(&self.0, user.as_bytes());
        if !any_equal(std::iter::once(made), digest) {
            return Err(other_key("remember cookie"));
        }
        user_of(&Value::String(user.to_owned()), "remember cookie")
    }
}
