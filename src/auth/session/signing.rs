//! The signers of Django (`django.core.signing`) and Flask (`itsdangerous`).
//!
//! Keys are derived once, when a codec is made. The text of a signature is compared with the
//! text that each key makes, in constant time and with every key. Django does the same;
//! itsdangerous decodes first, and so takes other spellings of the same bytes too, which is
//! refused here: then no byte of a signed value can change unnoticed.

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use aws_lc_rs::hmac::{self, HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::{Choice, ConstantTimeEq as _};

use crate::secret::Secret;

/// What base62 counts with, as Django has it.
const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Why a signed value is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It has no signature.
    Unsigned,
    /// No key made the signature; how many characters it has.
    Key(usize),
}

/// Checks `value SEPARATOR signature` with one salt and any of several keys.
pub(crate) struct Signer {
    separator: char,
    keys: Box<[hmac::Key]>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// Django's `Signer(salt=…)`, HMAC-SHA256 as since 3.1.
    pub(crate) fn django(salt: &str, secrets: &[Secret<Vec<u8>>]) -> Self {
        let salt = format!("{salt}signer");
        Self {
            separator: ':',
            keys: django_keys(&salt, secrets),
        }
    }

    /// Takes the SHA-1 signatures of one secret too, as Django 3.1 and 3.2 do
    /// (`Signer._legacy_signature`).
    pub(crate) fn and_sha1(mut self, salt: &str, secret: &Secret<Vec<u8>>) -> Self {
        let mut keys = std::mem::take(&mut self.keys).into_vec();
        keys.push(django_sha1_key(&format!("{salt}signer"), secret));
        self.keys = keys.into();
        self
    }

    /// itsdangerous' `Signer(salt=…, key_derivation="hmac")`, HMAC-SHA1 as Flask uses it.
    pub(crate) fn itsdangerous(salt: &str, secrets: &[Secret<Vec<u8>>]) -> Self {
        let derived = |secret: &Secret<Vec<u8>>| {
            let key = hmac::Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose());
            let derived = hmac::sign(&key, salt.as_bytes());
            hmac::Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, derived.as_ref())
        };
        Self {
            separator: '.',
            keys: secrets.iter().map(derived).collect(),
        }
    }

    /// The value of a signed text, split at the last separator.
    ///
    /// # Errors
    ///
    /// That there is no signature, or one of another key.
    pub(crate) fn unsign<'a>(&self, signed: &'a str) -> Result<&'a str, Flaw> {
        let (value, signature) = signed.rsplit_once(self.separator).ok_or(Flaw::Unsigned)?;
        let made =
            |key: &hmac::Key| URL_SAFE_NO_PAD.encode(hmac::sign(key, value.as_bytes()).as_ref());
        if any_equal(self.keys.iter().map(made), signature) {
            Ok(value)
        } else {
            Err(Flaw::Key(signature.len()))
        }
    }

    /// Signs a value with the first key.
    #[cfg(test)]
    pub(crate) fn sign(&self, value: &str) -> String {
        let tag = hmac::sign(self.keys.first().unwrap(), value.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(tag.as_ref());
        format!("{value}{}{signature}", self.separator)
    }
}

/// Django's `salted_hmac(key_salt, …, algorithm="sha256")`: its key, for each secret.
pub(crate) fn django_keys(key_salt: &str, secrets: &[Secret<Vec<u8>>]) -> Box<[hmac::Key]> {
    let derived = |secret: &Secret<Vec<u8>>| {
        let mut key = digest::Context::new(&SHA256);
        key.update(key_salt.as_bytes());
        key.update(secret.expose());
        hmac::Key::new(HMAC_SHA256, key.finish().as_ref())
    };
    secrets.iter().map(derived).collect()
}

/// Django's `salted_hmac(key_salt, …, algorithm="sha1")`: its key.
pub(crate) fn django_sha1_key(key_salt: &str, secret: &Secret<Vec<u8>>) -> hmac::Key {
    let mut key = digest::Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    key.update(key_salt.as_bytes());
    key.update(secret.expose());
    hmac::Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.finish().as_ref())
}

/// An HMAC in lower-case hex.
pub(crate) fn hex_hmac(key: &hmac::Key, message: &[u8]) -> String {
    hex(hmac::sign(key, message).as_ref())
}

/// Bytes in lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|half| char::from_digit(half.into(), 16));
    bytes.iter().flat_map(digits).flatten().collect()
}

/// Whether one of some texts is the one presented: in constant time, looking at all of them.
pub(crate) fn any_equal(made: impl Iterator<Item = String>, presented: &str) -> bool {
    made.fold(Choice::from(0), |held, one| {
        held | one.as_bytes().ct_eq(presented.as_bytes())
    })
    .into()
}

/// A number as Django's `b62_decode` reads it, where 64 bits hold it.
pub(crate) fn base62(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    let number = digits.bytes().try_fold(0_i64, |number, byte| {
        let digit = BASE62.iter().position(|one| *one == byte)?;
        number
            .checked_mul(62)?
            .checked_add(i64::try_from(digit).ok()?)
    })?;
    Some(if digits.len() < text.len() {
        -number
    } else {
        number
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets(texts: &[&str]) -> Vec<Secret<Vec<u8>>> {
        texts
            .iter()
            .map(|text| Secret::new(text.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn a_value_that_a_fallback_key_signed_holds() {
        let old = Signer::django("s", &secrets(&["old"])).sign("value");
        assert_eq!(
            Signer::django("s", &secrets(&["new", "old"])).unsign(&old),
            Ok("value")
        );
        assert_eq!(
            Signer::django("s", &secrets(&["new"])).unsign(&old),
            Err(Flaw::Key(43))
        );
    }

    #[test]
    fn no_key_accepts_nothing() {
        let signed = Signer::django("s", &secrets(&["a"])).sign("value");
        assert_eq!(Signer::django("s", &[]).unsign(&signed), Err(Flaw::Key(43)));
    }

    #[test]
    fn what_has_no_separator_has_no_signature() {
        let signer = Signer::itsdangerous("s", &secrets(&["a"]));
        assert_eq!(signer.unsign("garbage"), Err(Flaw::Unsigned));
    }

    #[test]
    fn base62_is_djangos() {
        assert_eq!(base62("1vb66i"), Some(1_767_225_600));
        assert_eq!(base62("-1"), Some(-1));
        assert_eq!(base62("0"), Some(0));
        for text in ["", "-", "_", "1_", "é", "zzzzzzzzzzzzzzzzzzzz"] {
            assert_eq!(base62(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_signed_value_with_one_changed_byte_is_refused(
            value in "[a-zA-Z0-9_.:-]{0,40}",
            at in any::<prop::sample::Index>(),
            put in "[a-zA-Z0-9_.:=-]",
            django in any::<bool>(),
        ) {
            let keys = secrets(&["a key", "another"]);
            let signer = if django {
                Signer::django("salt", &keys)
            } else {
                Signer::itsdangerous("salt", &keys)
            };
            let signed = signer.sign(&value);
            prop_assert_eq!(signer.unsign(&signed), Ok(value.as_str()));
            let at = at.index(signed.len());
            let mut changed = signed.clone();
            changed.replace_range(at..=at, &put);
            if changed != signed {
                prop_assert!(signer.unsign(&changed).is_err());
            }
        }

        #[test]
        fn any_text_gets_an_answer(text in ".*") {
            let signer = Signer::django("salt", &secrets(&["a key"]));
            prop_assert!(signer.unsign(&text).is_err());
            let _ = base62(&text);
        }
    }
}
