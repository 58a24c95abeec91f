//! Django's sessions: the signed text of a row or a cookie, the pickle of a cache, and the tie
//! between a session and its user's password.
//!
//! As `django.contrib.sessions` and `django.contrib.auth` of Django 4.1 to 6.1, and of 3.1 and 3.2
//! where SHA-1 is asked for.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::auth::session::signing::{
    Flaw, Signer, any_equal, base62, django_keys, django_sha1_key, hex_hmac,
};
use crate::auth::session::{
    Data, MAX_BYTES, anonymous, expired, json, malformed, other_key, pickle, refuse, segment,
    user_of,
};
use crate::auth::words::{quoted, span};
use crate::clock::Timestamp;
use crate::policy::denial::{Code, Denial};
use crate::secret::Secret;

/// Salt of the text in a row (`SessionBase.key_salt`).
const ROW: &str = "django.contrib.sessions.SessionStore";
/// Salt of the session that is the cookie (`backends.signed_cookies`).
const COOKIE: &str = "django.contrib.sessions.backends.signed_cookies";
/// Key salt of the session's hash (`AbstractBaseUser.get_session_auth_hash`).
const AUTH_HASH: &str = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash";
/// Key salt of a row before Django 3.1 (`SessionBase._hash`).
const OLD_ROW: &str = "django.contrib.sessionsSessionStore";
/// Longest session key; Django's own have 32 characters, its column 40.
const MAX_KEY: usize = 128;
/// Characters of an HMAC-SHA1 in base64: what Django 3.1 and 3.2 could still write.
const SHA1_LENGTH: usize = 27;

/// Reads the sessions of one app, with its keys.
#[derive(Debug)]
pub(crate) struct DjangoCodec {
    rows: Signer,
    cookies: Signer,
    /// Of the session's hash, by `SECRET_KEY`.
    hashes: Keys,
    /// The same by each of `SECRET_KEY_FALLBACKS`.
    older_hashes: Keys,
    /// Of rows before Django 3.1, where those are read.
    old_rows: Keys,
    /// `AUTHENTICATION_BACKENDS`; any where there is no list.
    backends: Option<Box<[Box<str>]>>,
}

/// Who compares a session's hash with the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hashed {
    /// Django: with `SECRET_KEY` and each of `SECRET_KEY_FALLBACKS`.
    ByDjango,
    /// Channels, on a WebSocket: with `SECRET_KEY` alone (`channels.auth.get_user`).
    ByChannels,
}

/// Keys of an HMAC.
struct Keys(Vec<hmac::Key>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

impl DjangoCodec {
    /// Derives the keys of `SECRET_KEY` and `SECRET_KEY_FALLBACKS`: for rows, signed cookies and
    /// the session's hash.
    pub(crate) fn new(secrets: &[Secret<Vec<u8>>]) -> Self {
        let (first, older) = secrets.split_at_checked(1).unwrap_or_default();
        Self {
            rows: Signer::django(ROW, secrets),
            cookies: Signer::django(COOKIE, secrets),
            hashes: Keys(django_keys(AUTH_HASH, first).into_vec()),
            older_hashes: Keys(django_keys(AUTH_HASH, older).into_vec()),
            old_rows: Keys(Vec::new()),
            backends: None,
        }
    }

    /// Takes what Django 3.1 and 3.2 take beside: SHA-1 signatures, SHA-1 hashes of the user, and
    /// rows as they were before 3.1. Only by the first secret: `SECRET_KEY_FALLBACKS` came later.
    pub(crate) fn with_sha1(mut self, secrets: &[Secret<Vec<u8>>]) -> Self {
        if let Some(secret) = secrets.first() {
            self.rows = self.rows.and_sha1(ROW, secret);
            self.cookies = self.cookies.and_sha1(COOKIE, secret);
            self.hashes.0.push(django_sha1_key(AUTH_HASH, secret));
            self.old_rows.0.push(django_sha1_key(OLD_ROW, secret));
        }
        self
    }

    /// Takes a user as signed in only by one of these backends (`AUTHENTICATION_BACKENDS`).
    pub(crate) fn with_backends(mut self, backends: Option<&[Box<str>]>) -> Self {
        self.backends = backends.map(Into::into);
        self
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
        if !self.old_rows.0.is_empty() && !text.contains(':') {
            return self.read_old_row(text);
        }
        let (data, _signed_at) = signed(&self.rows, text, "row")?;
        Ok(data)
    }

    /// A row before Django 3.1, which 3.1 and 3.2 still read (`SessionBase._legacy_decode`): the
    /// base64 of an HMAC-SHA1 in hex, `:` and JSON.
    fn read_old_row(&self, text: &str) -> Result<Data, Denial> {
        if text.len() > 2 * MAX_BYTES {
            return Err(unreadable("row", "it is larger than 2 MiB"));
        }
        let bytes = STANDARD.decode(text);
        let bytes = bytes.map_err(|_why| unreadable("row", "it has no signature"))?;
        let mut parts = bytes.splitn(2, |byte| *byte == b':');
        let (Some(presented), Some(json)) = (parts.next(), parts.next()) else {
            return Err(unreadable("row", "it has no signature"));
        };
        let made = self.old_rows.0.iter().map(|key| hex_hmac(key, json));
        if !any_equal(made, &String::from_utf8_lossy(presented)) {
            return Err(other_key("row"));
        }
        object("row", json.to_vec())
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
    /// `session_anonymous` where nobody is: no id, no backend or one that is not listed, no hash.
    /// `session_malformed` where the id is neither text nor a whole number.
    pub(crate) fn signed_in(&self, data: &Data) -> Result<String, Denial> {
        let text = |key: &str| data.get(key).and_then(Value::as_str).unwrap_or_default();
        let id = data.get("_auth_user_id").filter(|id| !id.is_null());
        let backend = text("_auth_user_backend");
        let (Some(id), false) = (id, backend.is_empty()) else {
            return Err(anonymous().note(
                "the session has no _auth_user_id or no _auth_user_backend: a visitor's, who did not sign in or signed out",
            ));
        };
        let listed = self.backends.as_ref();
        if listed.is_some_and(|listed| !listed.iter().any(|one| **one == *backend)) {
            return Err(anonymous().note(format!(
                "the user was signed in by {}, which `authentication_backends` does not list: Django takes nobody as signed in",
                quoted(backend)
            )));
        }
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

    /// Whether Channels may take a session otherwise than Django does: there is more than one key.
    pub(crate) fn differs_on_channels(&self) -> bool {
        !self.older_hashes.0.is_empty()
    }

    /// Whether the session was made under the password that the user has now: its hash against
    /// the stored password, in constant time, with every key that is looked at.
    ///
    /// # Errors
    ///
    /// `session_user_changed`.
    pub(crate) fn check_user(
        &self,
        data: &Data,
        password: &str,
        hashed: Hashed,
    ) -> Result<(), Denial> {
        let presented = data.get("_auth_user_hash").and_then(Value::as_str);
        let presented = presented.unwrap_or_default();
        let made = |keys: &Keys| {
            let made = keys.0.iter().map(|key| auth_hash(key, password));
            any_equal(made, presented)
        };
        let (current, older) = (made(&self.hashes), made(&self.older_hashes));
        let detail = "the session does not belong to the account as it is now; sign in again";
        match (current, older, hashed) {
            (true, ..) | (false, true, Hashed::ByDjango) => return Ok(()),
            (false, true, Hashed::ByChannels) => {
                return Err(refuse(Code::SessionUserChanged, detail).note(
                    "the session's hash was made with an older SECRET_KEY: Django would take it and write it anew, Channels would delete the session; a page of the app, opened first, mends it",
                ));
            }
            (false, false, Hashed::ByDjango | Hashed::ByChannels) => {}
        }
        Err(refuse(Code::SessionUserChanged, detail).note(
            "the session's hash does not fit the user: the password was changed since the session began, or the session was made under another SECRET_KEY (keep the old one in SECRET_KEY_FALLBACKS in the app, and in `secret` here)",
        ))
    }
}

const UNREADABLE: &str = "the session cannot be read";

/// The session's hash for a stored password, in lower-case hex.
pub(crate) fn auth_hash(key: &hmac::Key, password: &str) -> String {
    hex_hmac(key, password.as_bytes())
}

fn unreadable(what: &str, why: &str) -> Denial {
    malformed(UNREADABLE).note(format!("this {what}: {why}"))
}

/// `TimestampSigner` and `signing.loads`: the data, and the second in which it was signed.
fn signed(signer: &Signer, text: &str, what: &str) -> Result<(Data, i64), Denial> {
    let unreadable = |why: &str| unreadable(what, why);
    if text.len() > 2 * MAX_BYTES {
        return Err(unreadable("it is larger than 2 MiB"));
    }
    let value = signer.unsign(text).map_err(|flaw| match flaw {
        Flaw::Unsigned => unreadable(
            "it has no signature (rows of Django before 3.1, and of 3.2 with DEFAULT_HASHING_ALGORITHM = \"sha1\", are read with `legacy_sha1` alone)",
        ),
        Flaw::Key(SHA1_LENGTH) => other_key(what).note(format!(
            "this {what} is signed with SHA-1, as only Django before 4.0 does (or it is one of Flask): `legacy_sha1` takes it where the app is Django 3.1 or 3.2"
        )),
        Flaw::Key(_) => other_key(what),
    })?;
    let (payload, at) = value
        .rsplit_once(':')
        .ok_or_else(|| unreadable("it has no time"))?;
    let at = base62(at).ok_or_else(|| unreadable("its time is no base62 number"))?;
    let bytes = segment::open(payload).map_err(unreadable)?;
    Ok((object(what, bytes)?, at))
}

/// The data of a payload whose signature held.
fn object(what: &str, bytes: Vec<u8>) -> Result<Data, Denial> {
    let unreadable = |why: &str| unreadable(what, why);
    if bytes.first() == Some(&0x80) {
        return Err(unreadable(
            "it holds a pickle (PickleSerializer): use Django's JSONSerializer, the default since 1.6",
        ));
    }
    // Django decodes as Latin-1 (`JSONSerializer.loads`): each byte is one character.
    let json: String = bytes.into_iter().map(char::from).collect();
    match json::read(&json).map_err(unreadable)? {
        Value::Object(data) => Ok(data),
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
