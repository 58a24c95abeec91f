//! PURE: a token's bytes, keys, rules and the time make an identity or a refusal.
//!
//! The order is RFC 7515 §5.2 read strictly: shape, header, algorithm, key, signature, and only
//! then the payload. The algorithm comes from the configuration and from the key; the header may
//! only name one of them. `jku`, `x5u`, `x5c` and `jwk` are never looked at.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use serde_json::{Map, Value};

use crate::auth::claims::{Rules, Verified, refuse};
use crate::auth::json;
use crate::auth::keys::{Family, Key, KeySet, algorithm_name, algorithm_named};
use crate::auth::words::quoted;
use crate::clock::Timestamp;
use crate::config::settings::Algorithm;
use crate::policy::denial::{Code, Denial};

/// Longest token in bytes that is looked at.
pub(crate) const MAX_TOKEN: usize = 16 * 1024;

/// A token whose shape and header are in order. Nothing it says is known to be true.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
    algorithm: Algorithm,
    kid: Option<String>,
}

/// Judges the payload of a token whose signature was verified.
pub(crate) fn judge(payload: &[u8], rules: &Rules, now: Timestamp) -> Result<Verified, Denial> {
    let object = json::object(payload).map_err(|error| {
        malformed("the token's payload is not one plain JSON object").note(place(&error))
    })?;
    rules.judge(object, now)
}

impl<'a> Unverified<'a> {
    /// Reads the shape and the header of a token.
    ///
    /// # Errors
    ///
    /// `token_malformed` or `token_algorithm`.
    pub(crate) fn read(token: &'a str, accepted: &[Algorithm]) -> Result<Self, Denial> {
        let (signed, payload, signature, header) = split(token)?;
        let header = read_header(header)?;
        let algorithm = accepted_algorithm(&header, accepted)?;
        check_header(&header)?;
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(malformed("the token's `kid` is not a string")),
        };
        Ok(Self {
            signed,
            payload,
            signature,
            algorithm,
            kid,
        })
    }

    /// The key id that the header names.
    pub(crate) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether the set has a key to try for this token.
    pub(crate) fn has_key_in(&self, keys: &KeySet) -> bool {
        keys.fitting(self.algorithm, self.kid()).next().is_some()
    }

    /// What the payload says before anything is verified. Good to refuse by, never to let in by.
    pub(crate) fn unverified_claim(&self, name: &str) -> Option<Value> {
        let payload = URL_SAFE_NO_PAD.decode(self.payload).ok()?;
        let mut object = json::object(&payload).ok()?;
        object.members.remove(name)
    }

    /// Gives the payload's bytes if a key of the set made the signature.
    ///
    /// # Errors
    ///
    /// `token_key_unknown`, `token_signature`, or `token_malformed` for a payload that is not
    /// base64url.
    pub(crate) fn verified_by(&self, keys: &KeySet) -> Result<Vec<u8>, Denial> {
        let signature = URL_SAFE_NO_PAD
            .decode(self.signature)
            .map_err(|_why| malformed("the token's signature is not base64url"))?;
        let mut tried = false;
        for key in keys.fitting(self.algorithm, self.kid()) {
            tried = true;
            if self.is_signed_by(key, &signature) {
                return URL_SAFE_NO_PAD
                    .decode(self.payload)
                    .map_err(|_why| malformed("the token's payload is not base64url"));
            }
        }
        Err(if tried {
            self.bad_signature()
        } else {
            self.key_unknown()
        })
    }

    fn is_signed_by(&self, key: &Key, signature: &Vec<u8>) -> bool {
        let algorithm = in_library(self.algorithm);
        (DEFAULT_PROVIDER.verifier_factory)(&algorithm, &key.decoding)
            .is_ok_and(|verifier| verifier.verify(self.signed.as_bytes(), signature).is_ok())
    }

    fn bad_signature(&self) -> Denial {
        let note = match Family::of(self.algorithm) {
            Family::Hmac => {
                "the token was changed, or signed with another secret: is the secret the same in the app and here?"
            }
            Family::Rsa | Family::P256 | Family::P384 | Family::Ed25519 => {
                "the token was changed, or signed with another key: is the public key here the issuer's of today?"
            }
        };
        refuse(
            Code::TokenSignature,
            "the token's signature does not verify",
        )
        .note(note)
    }

    /// The refusal of a token whose key is not in the set.
    pub(crate) fn key_unknown(&self) -> Denial {
        let note = match self.kid() {
            Some(kid) => format!(
                "no {} key is known as {}; it may have been rotated out, or come from another issuer",
                Family::of(self.algorithm).name(),
                quoted(kid)
            ),
            None => {
                "the token names no key (`kid`), and the JWKS has no key without one".to_owned()
            }
        };
        refuse(
            Code::TokenKeyUnknown,
            "the key that the token names is not one of the issuer's",
        )
        .note(note)
    }
}

/// Where reading stopped. The parser's own words may repeat the text, so they are not used.
fn place(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    format!("reading the JSON stopped at line {line}, column {column}")
}

/// A refusal of what cannot be read as a token.
pub(crate) fn malformed(detail: &'static str) -> Denial {
    refuse(Code::TokenMalformed, detail)
}

/// `header.payload`, payload, signature, header.
fn split(token: &str) -> Result<(&str, &str, &str, &str), Denial> {
    if token.len() > MAX_TOKEN {
        return Err(malformed("the token is longer than 16 KiB"));
    }
    let parts = || token.rsplit_once('.');
    let Some(((signed, signature), (header, payload))) =
        parts().and_then(|both| both.0.split_once('.').map(|head| (both, head)))
    else {
        return Err(malformed("a token has three parts with two dots between"));
    };
    if payload.contains('.') {
        let denial = malformed("a token has three parts with two dots between");
        return Err(if token.matches('.').count() == 4 {
            denial.note("five parts are an encrypted token (JWE), which is not taken")
        } else {
            denial
        });
    }
    Ok((signed, payload, signature, header))
}

fn read_header(header: &str) -> Result<Map<String, Value>, Denial> {
    let refusal = || malformed("the token's header is not one plain JSON object in base64url");
    let text = URL_SAFE_NO_PAD.decode(header).map_err(|_why| refusal())?;
    let object = json::object(&text).map_err(|error| refusal().note(place(&error)))?;
    if object.repeated.is_empty() {
        Ok(object.members)
    } else {
        Err(malformed("a member stands twice in the token's header"))
    }
}

fn accepted_algorithm(
    header: &Map<String, Value>,
    accepted: &[Algorithm],
) -> Result<Algorithm, Denial> {
    let named = header.get("alg").and_then(Value::as_str);
    if let Some(algorithm) = named
        .and_then(algorithm_named)
        .filter(|algorithm| accepted.contains(algorithm))
    {
        return Ok(algorithm);
    }
    let taken: Vec<_> = accepted.iter().map(|one| algorithm_name(*one)).collect();
    let note = format!(
        "the token says {}; this authenticator takes {}",
        named.map_or_else(|| "no algorithm".to_owned(), quoted),
        taken.join(", ")
    );
    let detail = "the token's `alg` is not an algorithm that is accepted here";
    Err(refuse(Code::TokenAlgorithm, detail).note(note))
}

/// What a header must not have: extensions that must be understood (RFC 7515 §4.1.11), a payload
/// that is not base64url (RFC 7797), compression, encryption.
fn check_header(header: &Map<String, Value>) -> Result<(), Denial> {
    if header.contains_key("crit") {
        return Err(malformed(
            "the token's header has `crit`, and no extension is known here",
        ));
    }
    if header
        .get("b64")
        .is_some_and(|b64| *b64 != Value::Bool(true))
    {
        return Err(malformed("the token's payload is not encoded (`b64`)"));
    }
    if header.contains_key("zip") || header.contains_key("enc") {
        return Err(malformed("encrypted and compressed tokens are not taken"));
    }
    Ok(())
}

const fn in_library(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    use jsonwebtoken::Algorithm as Library;
    match algorithm {
        Algorithm::HS256 => Library::HS256,
        Algorithm::HS384 => Library::HS384,
        Algorithm::HS512 => Library::HS512,
        Algorithm::RS256 => Library::RS256,
        Algorithm::RS384 => Library::RS384,
        Algorithm::RS512 => Library::RS512,
        Algorithm::PS256 => Library::PS256,
        Algorithm::PS384 => Library::PS384,
        Algorithm::PS512 => Library::PS512,
        Algorithm::ES256 => Library::ES256,
        Algorithm::ES384 => Library::ES384,
        Algorithm::EdDSA => Library::EdDSA,
    }
}
