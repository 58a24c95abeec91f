//! PURE: a JWK Set's bytes to keys (RFC 7517), each key judged alone.
//!
//! A key that is broken, weak or meant for something else is left out with a reason; the others
//! serve. A shared secret or a private key that is published is no secret, so it is left out too.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::auth::json;
use crate::auth::keys::{BadKey, Family, Key, algorithm_named};
use crate::auth::words::quoted;
use crate::config::settings::Algorithm;

/// Largest set in bytes.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;
/// Most keys of a set that are looked at.
const MAX_KEYS: usize = 256;

/// What a set holds that is of use, and why the rest is not.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// At least one key.
    pub(crate) keys: Vec<Key>,
    /// One phrase for each key that was left out.
    pub(crate) ignored: Vec<String>,
}

/// Why a document is no usable JWK Set; a phrase that follows its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadSet {
    /// Over [`MAX_BYTES`].
    #[error("is larger than 1 MiB")]
    TooLarge,
    /// Not JSON, or not an object with `keys`.
    #[error("is not a JWK Set: a JSON object with a list `keys`")]
    NotASet,
    /// None of its keys is of use.
    #[error("has no key that can be used here{0}")]
    NoKeys(String),
}

/// Reads a JWK Set, keeping the keys that fit one of the algorithms.
///
/// # Errors
///
/// [`BadSet`] when nothing in it is of use.
pub(crate) fn parse(text: &[u8], algorithms: &[Algorithm]) -> Result<Parsed, BadSet> {
    if text.len() > MAX_BYTES {
        return Err(BadSet::TooLarge);
    }
    let set = json::object(text).map_err(|_why| BadSet::NotASet)?;
    let keys = match set.members.get("keys") {
        Some(Value::Array(keys)) if set.repeated.is_empty() => keys,
        _ => return Err(BadSet::NotASet),
    };
    let mut parsed = Parsed {
        keys: Vec::new(),
        ignored: Vec::new(),
    };
    for (index, value) in keys.iter().take(MAX_KEYS).enumerate() {
        match key(value, algorithms) {
            Ok(key) if parsed.keys.contains(&key) => {}
            Ok(key) => parsed.keys.push(key),
            Err(what) => {
                let kid = value.get("kid").and_then(Value::as_str).unwrap_or_default();
                parsed
                    .ignored
                    .push(format!("key {index} ({}) {what}", quoted(kid)));
            }
        }
    }
    if keys.len() > MAX_KEYS {
        parsed
            .ignored
            .push(format!("keys after the first {MAX_KEYS}"));
    }
    if parsed.keys.is_empty() {
        let why = parsed.ignored.first();
        return Err(BadSet::NoKeys(
            why.map_or_else(String::new, |why| format!(": {why}")),
        ));
    }
    Ok(parsed)
}

fn key(value: &Value, algorithms: &[Algorithm]) -> Result<Key, BadKey> {
    let Value::Object(jwk) = value else {
        return Err("is not an object".into());
    };
    check_purpose(jwk)?;
    let mut key = match text(jwk, "kty")? {
        "RSA" => Key::rsa(&bytes(jwk, "n")?, &bytes(jwk, "e")?)?,
        "EC" => point(jwk)?,
        "OKP" if text(jwk, "crv")? == "Ed25519" => Key::ed25519(&bytes(jwk, "x")?)?,
        "oct" => return Err("is a shared secret, which must not be published".into()),
        _ => return Err("is of a type that no algorithm here takes".into()),
    };
    key.kid = match jwk.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.as_str().into()),
        Some(_) => return Err("has a `kid` that is not a string".into()),
    };
    key.only = match jwk.get("alg") {
        None => None,
        Some(Value::String(name)) => match algorithm_named(name) {
            Some(algorithm) => Some(algorithm),
            None => return Err("is for an algorithm that is not known here".into()),
        },
        Some(_) => return Err("has an `alg` that is not a string".into()),
    };
    if algorithms.iter().any(|algorithm| key.serves(*algorithm)) {
        Ok(key)
    } else {
        Err("fits none of the authenticator's algorithms".into())
    }
}

/// `use` and `key_ops` (RFC 7517 §4.2, §4.3).
fn check_purpose(jwk: &Map<String, Value>) -> Result<(), BadKey> {
    match jwk.get("use").map(Value::as_str) {
        None | Some(Some("sig")) => {}
        Some(_) => return Err("is not for signatures (`use`)".into()),
    }
    match jwk.get("key_ops") {
        None => {}
        Some(Value::Array(ops)) if ops.iter().any(|op| op == "verify") => {}
        Some(_) => return Err("is not for verifying (`key_ops`)".into()),
    }
    if jwk.contains_key("d") || jwk.contains_key("p") {
        return Err("has its private half in it, so anyone may sign with it".into());
    }
    Ok(())
}

fn point(jwk: &Map<String, Value>) -> Result<Key, BadKey> {
    let (family, size) = match text(jwk, "crv")? {
        "P-256" => (Family::P256, 32),
        "P-384" => (Family::P384, 48),
        _ => return Err("is on a curve that no algorithm here takes".into()),
    };
    let mut point = vec![4];
    for name in ["x", "y"] {
        let coordinate = bytes(jwk, name)?;
        // RFC 7518 §6.2.1.2: the full size, leading zeros included.
        if coordinate.len() != size {
            return Err("has a coordinate of the wrong length".into());
        }
        point.extend_from_slice(&coordinate);
    }
    Key::point(family, &point)
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<&'a str, BadKey> {
    jwk.get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("has no `{name}`").into())
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, BadKey> {
    URL_SAFE_NO_PAD
        .decode(text(jwk, name)?)
        .map_err(|_why| format!("has a `{name}` that is not base64url").into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::auth::testing::Signer;

    const ANY: &[Algorithm] = &[Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256];

    fn parsed(keys: &[Value]) -> Result<Parsed, BadSet> {
        parse(json!({ "keys": keys }).to_string().as_bytes(), ANY)
    }

    fn with(mut jwk: Value, name: &str, value: Value) -> Value {
        jwk[name] = value;
        jwk
    }

    #[test]
    fn bad_keys_are_left_out_one_by_one_and_the_good_one_serves() {
        let good = Signer::p256("good").jwk();
        let other = || Signer::p256("other").jwk();
        let bad = [
            json!(null),
            json!("key"),
            json!({}),
            json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "s" }),
            json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xff; 128]), "e": "AQAB" }),
            with(other(), "use", json!("enc")),
            with(other(), "key_ops", json!(["encrypt"])),
            with(other(), "key_ops", json!("verify")),
            with(other(), "alg", json!("ES384")),
            with(other(), "alg", json!("none")),
            with(other(), "crv", json!("P-521")),
            with(other(), "x", json!(URL_SAFE_NO_PAD.encode([1; 32]))),
            with(other(), "x", json!("AQ")),
            with(other(), "x", json!("!!")),
            with(other(), "y", json!(7)),
            with(other(), "kid", json!(7)),
            with(other(), "d", json!("AQ")),
            json!({ "kty": "OKP", "crv": "X25519", "x": URL_SAFE_NO_PAD.encode([9; 32]) }),
        ];
        let mut all = bad.to_vec();
        all.push(good);
        let parsed = parsed(&all).unwrap();
        assert_eq!(parsed.keys.len(), 1);
        assert_eq!(parsed.keys[0].kid.as_deref(), Some("good"));
        assert_eq!(parsed.ignored.len(), bad.len());
    }

    #[test]
    fn of_two_keys_with_one_name_both_are_tried_and_a_repeated_key_is_one() {
        let (one, two) = (Signer::p256("same").jwk(), Signer::p256("same").jwk());
        assert_eq!(parsed(&[one.clone(), two, one]).unwrap().keys.len(), 2);
    }

    #[test]
    fn what_is_no_set_is_refused_whole() {
        for text in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"keys":{}}"#,
            r#"{"keys":[],"keys":[]}"#,
        ] {
            assert_eq!(
                parse(text.as_bytes(), ANY).unwrap_err(),
                BadSet::NotASet,
                "{text}"
            );
        }
        assert!(matches!(parsed(&[]), Err(BadSet::NoKeys(_))));
        let huge = vec![b' '; MAX_BYTES + 1];
        assert_eq!(parse(&huge, ANY).unwrap_err(), BadSet::TooLarge);
    }

    #[test]
    fn no_more_than_256_keys_are_looked_at() {
        let one = Signer::p256("last").jwk();
        let mut keys = vec![json!({}); 256];
        keys.push(one);
        assert!(matches!(parsed(&keys), Err(BadSet::NoKeys(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, ANY);
        }
    }
}
