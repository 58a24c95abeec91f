//! Django's sessions: the signed text of a row or a cookie, the pickle of a cache, and the tie
//! between a session and its user's password.
//!
//! As `django.contrib.sessions` and `django.contrib.auth` of Django 4.1 to 6.1.

use std::time::Duration;

use aws_lc_rs::hmac;
use serde_json::Value;

use crate::auth::session::signing::{Flaw, Signer, any_equal, base62, django_keys};
use crate::auth::session::{
    Data, MAX_BYTES, anonymous, expired, json, malformed, other_key, pickle, refuse, segment,
    user_of,
};
use crate::auth::words::span;
use crate::clock::Timestamp;
use crate::policy::denial::{Code, Denial};
use crate::secret::Secret;

/// Salt of the text in a row (`SessionBase.key_salt`).
const ROW: &str = "django.contrib.sessions.SessionStore";
/// Salt of the session that is the cookie (`backends.signed_cookies`).
const COOKIE: &str = "django.contrib.sessions.backends.signed_cookies";
/// Key salt of the session's hash (`AbstractBaseUser.get_session_auth_hash`).
const AUTH_HASH: &str = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash";
/// Longest session key; Django's own have 32 characters, its column 40.
const MAX_KEY: usize = 128;
/// Characters of an HMAC-SHA1 in base64: what Django 3.1 and 3.2 could still write.
const SHA1_LENGTH: usize = 27;

/// Reads the sessions of one app, with its keys.
#[derive(Debug)]
pub(crate) struct DjangoCodec {
    rows: Signer,
    cookies: Signer,
    hashes: Hashes,
}

/// The keys of the session's hash.
struct Hashes(Box<[hmac::Key]>);

impl std::fmt::Debug for Hashes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hashes({} keys)", self.0.len())
    }
}

impl DjangoCodec {
    /// Derives the keys of `SECRET_KEY` and `SECRET_KEY_FALLBACKS`: for rows, signed cookies and
    /// the session's hash.
    pub(crate) fn new(secrets: &[Secret<Vec<u8>>]) -> Self {
        Self {
            rows: Signer::django(ROW, secrets),
            cookies: Signer::django(COOKIE, secrets),
            hashes: Hashes(django_keys(AUTH_HASH, secrets)),
        }
    }

    /// Whether this may be a session key at all, before any store is asked for it.
    ///
    /// Django takes any eight characters; what is no printable ASCII, has blanks or quotes, or is
    /// very long was never made by it.
    ///
    /// # Errors
    ///
    /// `session_malformed`.
    pub(crate) fn check_key(key: &str) -> Result<(), Denial> {
        let ordinary = |byte: u8| byte.is_ascii_graphic() && !b"\"',;\\".contains(&byte);
        if (8..=MAX_KEY).contains(&key.len()) && key.bytes().all(ordinary) {
            return Ok(());
        }
        let denial = malformed("the session cookie is not one of this app's");
        Err(if key.matches(':').count() >= 2 || key.len() > MAX_KEY {
            denial.note("the cookie looks like a session of its own: does the app use `backends.signed_cookies`, or Flask?")
        } else {
            denial.note("a session key of Django is 32 characters of a-z and 0-9")
        })
    }

    /// Reads a row of `django_session`: the signed text in bytes. The signature has no age here,
    /// the row's `expire_date` has.
    ///
    /// # Errors
    ///
    /// `session_malformed`, `session_signature`.
    pub(crate) fn read_row(&self, data: &[u8]) -> Result<Data, Denial> {
        let text = std::str::from_utf8(data)
            .map_err(|_why| malformed(UNREADABLE).note("the row's session_data is not text"))?;
        let (data, _signed_at) = signed(&self.rows, text, "row")?;
        Ok(data)
    }

    /// Reads a value of the cache backends: a pickled dict, signed by nobody, so trusted as far
    /// as the right to write to the cache goes, and read as plain data only.
    ///
    /// # Errors
    ///
    /// `session_malformed`.
    #[expect(
        clippy::unused_self,
        reason = "a cache's value is one of the app's sessions, though no key is needed for it"
    )]
    pub(crate) fn read_cached(&self, value: &[u8]) -> Result<Data, Denial> {
        pickle::read(value).map_err(|flaw| {
            pickle_refused(
                flaw,
                "the cache's value is no pickle that can be read (other serializers and compressors of django-redis are not)",
            )
        })
    }

    /// Reads a session of `backends.signed_cookies`: its data, and the first moment at which it
    /// is over.
    ///
    /// As in Django a cookie exactly `lifetime` old holds, and so does one of the future.
    ///
    /// # Errors
    ///
    /// `session_malformed`, `session_signature`, `session_expired`.
    pub(crate) fn read_cookie(
        &self,
        cookie: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<(Data, Timestamp), Denial> {
        let (data, signed_at) = signed(&self.cookies, cookie, "cookie")?;
        let last = Timestamp::from_unix_seconds(signed_at).saturating_add(lifetime);
        if now > last {
            let ago = span(now.saturating_since(last));
            return Err(expired(format!("the session expired {ago} ago at {last}")));
        }
        Ok((data, last.saturating_add(Duration::from_micros(1))))
    }

    /// The id of the user who is signed in.
    ///
    /// # Errors
    ///
    /// `session_anonymous` where nobody is: no id, no backend or no hash. `session_malformed`
    /// where the id is neither text nor a whole number.
    pub(crate) fn signed_in(data: &Data) -> Result<String, Denial> {
        let text = |key: &str| data.get(key).and_then(Value::as_str).unwrap_or_default();
        let id = data.get("_auth_user_id").filter(|id| !id.is_null());
        let (Some(id), false) = (id, text("_auth_user_backend").is_empty()) else {
            return Err(anonymous());
        };
        if text("_auth_user_hash").is_empty() {
            return Err(anonymous().note(
                "the session has no _auth_user_hash: Django empties such a session and takes nobody as signed in",
            ));
        }
        user_of(id, "_auth_user_id")
    }

    /// Whether the backend that signed the user in lets in those who are not active:
    /// `AllowAllUsersModelBackend` and `AllowAllUsersRemoteUserBackend` of Django.
    pub(crate) fn takes_inactive(data: &Data) -> bool {
        let backend = data.get("_auth_user_backend").and_then(Value::as_str);
        matches!(
            backend,
            Some(
                "django.contrib.auth.backends.AllowAllUsersModelBackend"
                    | "django.contrib.auth.backends.AllowAllUsersRemoteUserBackend"
            )
        )
    }

    /// Whether the session was made under the password that the user has now: its hash against
    /// the stored password, in constant time, with every key.
    ///
    /// # Errors
    ///
    /// `session_user_changed`.
    pub(crate) fn check_user(&self, data: &Data, password: &str) -> Result<(), Denial> {
        let presented = data.get("_auth_user_hash").and_then(Value::as_str);
        let made = self.hashes.0.iter().map(|key| auth_hash(key, password));
        if any_equal(made, presented.unwrap_or_default()) {
            return Ok(());
        }
        let detail = "the session does not belong to the account as it is now; sign in again";
        Err(refuse(Code::SessionUserChanged, detail).note(
            "the session's hash does not fit the user: the password was changed since the session began, or the session was made under another SECRET_KEY (keep the old one in SECRET_KEY_FALLBACKS in the app, and in `secret` here)",
        ))
    }
}

const UNREADABLE: &str = "the session cannot be read";

/// The session's hash for a stored password, in lower-case hex.
pub(crate) fn auth_hash(key: &hmac::Key, password: &str) -> String {
    let tag = hmac::sign(key, password.as_bytes());
    let hex = |byte: &u8| [byte >> 4, byte & 15].map(|half| char::from_digit(half.into(), 16));
    tag.as_ref().iter().flat_map(hex).flatten().collect()
}

/// `TimestampSigner` and `signing.loads`: the data, and the second in which it was signed.
fn signed(signer: &Signer, text: &str, what: &str) -> Result<(Data, i64), Denial> {
    let unreadable = |why: &str| malformed(UNREADABLE).note(format!("this {what}: {why}"));
    if text.len() > 2 * MAX_BYTES {
        return Err(unreadable("it is larger than 2 MiB"));
    }
    let value = signer.unsign(text).map_err(|flaw| match flaw {
        Flaw::Unsigned => unreadable(
            "it has no signature (rows of Django before 3.1, and of 3.2 with DEFAULT_HASHING_ALGORITHM = \"sha1\", are not read)",
        ),
        Flaw::Key(SHA1_LENGTH) => other_key(what).note(format!(
            "this {what} is signed with SHA-1, as only Django before 4.0 does (or it is one of Flask): let the app write it anew under a newer Django"
        )),
        Flaw::Key(_) => other_key(what),
    })?;
    let (payload, at) = value
        .rsplit_once(':')
        .ok_or_else(|| unreadable("it has no time"))?;
    let at = base62(at).ok_or_else(|| unreadable("its time is no base62 number"))?;
    let bytes = segment::open(payload).map_err(unreadable)?;
    if bytes.first() == Some(&0x80) {
        return Err(unreadable(
            "it holds a pickle (PickleSerializer): use Django's JSONSerializer, the default since 1.6",
        ));
    }
    // Django decodes as Latin-1 (`JSONSerializer.loads`): each byte is one character.
    let json: String = bytes.into_iter().map(char::from).collect();
    match json::read(&json).map_err(unreadable)? {
        Value::Object(data) => Ok((data, at)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(unreadable("its JSON is no object"))
        }
    }
}

/// The refusal of a pickle.
pub(crate) fn pickle_refused(flaw: pickle::Flaw, unreadable: &str) -> Denial {
    match flaw {
        pickle::Flaw::Broken(why) => malformed(UNREADABLE).note(format!("{unreadable}: {why}")),
        pickle::Flaw::TooLarge(why) => {
            malformed("the session is too large to be read").note(format!("its pickle {why}"))
        }
        pickle::Flaw::Object(what) => malformed("the session holds more than plain data").note(
            format!("its pickle asks for {what}: no object is ever made of a session; keep only plain data in it"),
        ),
    }
}
