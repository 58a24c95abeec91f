//! PURE: a token's bytes, keys, rules and the time make an identity or a refusal.
//!
//! The order is RFC 7515 §5.2 read strictly: shape, header, algorithm, key, signature, and only
//! then the payload. The algorithm comes from the configuration and from the key; the header may
//! only name one of them. `jku`, `x5u`, `x5c` and `jwk` are never looked at.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use serde_json::{Map, Value};

use crate::auth::claims::{Rules, Verified, refuse, seconds};
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

/// When a token says that it ends. Nothing of it is verified: good to plan by, never to let in by.
#[must_use]
pub fn expiry_of(token: &str) -> Option<Timestamp> {
    seconds(payload_of(token)?.get("exp")?)
}

/// The `jti` that a token says it has. Nothing of it is verified.
#[must_use]
pub fn jti_of(token: &str) -> Option<String> {
    payload_of(token)?.get("jti")?.as_str().map(str::to_owned)
}

/// What of a token its signature covers, by which it is known where it has no `jti`. The signature
/// is left out: whoever holds an ECDSA token can write another one that holds as well (`n - s` in
/// the place of `s`), and it is the same token still.
pub(crate) fn signed_part(token: &str) -> &[u8] {
    split(token).map_or(token, |(signed, ..)| signed).as_bytes()
}

fn payload_of(token: &str) -> Option<Map<String, Value>> {
    let (_, payload, _, _) = split(token).ok()?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    json::object(&payload).ok().map(|object| object.members)
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

    /// Whether the set has the key that this token names, or one to try. Where it has not, a later
    /// set may.
    pub(crate) fn has_key_in(&self, keys: &KeySet) -> bool {
        keys.names(self.kid()) || keys.fitting(self.algorithm, self.kid()).next().is_some()
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
        } else if keys.names(self.kid()) {
            self.other_algorithm()
        } else {
            self.key_unknown()
        })
    }

    fn other_algorithm(&self) -> Denial {
        let note = format!(
            "the key {} is published for another algorithm than {}",
            quoted(self.kid().unwrap_or_default()),
            algorithm_name(self.algorithm)
        );
        let detail = "the token's `alg` is not the one that its key is for";
        refuse(Code::TokenAlgorithm, detail).note(note)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::auth::testing::{
        NOW, SECRET, Signer, claims, hs256, raw_token, set, token, token_by,
    };
    use crate::config::settings::Jwt;

    fn keys() -> KeySet {
        KeySet::fixed(vec![Key::secret(SECRET)])
    }

    fn verify(token: &str, settings: &Jwt, keys: &KeySet) -> Result<Verified, Denial> {
        let payload = Unverified::read(token, &settings.algorithms)?.verified_by(keys)?;
        judge(
            &payload,
            &Rules::new(settings, std::sync::Arc::from("app")),
            NOW,
        )
    }

    fn code(token: &str) -> Code {
        verify(token, &hs256(), &keys()).unwrap_err().code()
    }

    fn with_header(header: &str) -> String {
        raw_token(header, &claims().to_string())
    }

    #[test]
    fn a_good_token_names_its_user() {
        let verified = verify(&token(&claims()), &hs256(), &keys()).unwrap();
        assert_eq!(verified.identity.user, "7");
    }

    #[test]
    fn an_algorithm_that_is_not_configured_is_refused_in_every_spelling() {
        for alg in [
            r#""none""#,
            r#""None""#,
            r#""nOnE""#,
            r#""""#,
            r#""hs256""#,
            r#""HS256 ""#,
            r#""HS384""#,
            r#""RS256""#,
            r#""PBES2-HS256+A128KW""#,
            "null",
            "1",
            "true",
            r#"["HS256"]"#,
            "{}",
        ] {
            let header = format!(r#"{{"alg":{alg}}}"#);
            assert_eq!(code(&with_header(&header)), Code::TokenAlgorithm, "{alg}");
        }
        assert_eq!(code(&with_header("{}")), Code::TokenAlgorithm);
    }

    #[test]
    fn a_header_that_asks_for_more_than_a_signature_is_refused() {
        for member in [
            r#""crit":["exp"]"#,
            r#""crit":[]"#,
            r#""crit":"x""#,
            r#""crit":["b64"],"b64":false"#,
            r#""b64":false"#,
            r#""b64":"false""#,
            r#""zip":"DEF""#,
            r#""enc":"A128GCM""#,
            r#""kid":7"#,
            r#""kid":null"#,
            r#""kid":["k"]"#,
            r#""alg":"HS256""#,
        ] {
            let header = format!(r#"{{"alg":"HS256",{member}}}"#);
            assert_eq!(
                code(&with_header(&header)),
                Code::TokenMalformed,
                "{member}"
            );
        }
    }

    #[test]
    fn a_header_that_names_keys_of_its_own_is_not_listened_to() {
        let secret = URL_SAFE_NO_PAD.encode("another secret, which the token brings along itself");
        let header = format!(
            r#"{{"alg":"HS256","jku":"http://127.0.0.1:1/","x5u":"file:///etc/passwd","x5c":["x"],"kid":"/dev/null","jwk":{{"kty":"oct","k":"{secret}"}}}}"#
        );
        assert!(verify(&with_header(&header), &hs256(), &keys()).is_ok());
        let brought = b"another secret, which the token brings along itself";
        let forged = token_by(brought, &header, &claims().to_string());
        assert_eq!(code(&forged), Code::TokenSignature);
    }

    #[test]
    fn a_public_key_is_never_taken_for_a_secret() {
        let signer = Signer::p256("k1");
        let settings = Jwt {
            algorithms: vec![Algorithm::ES256],
            ..hs256()
        };
        let parsed = crate::auth::jwks::parse(set(&[&signer]).as_bytes(), &settings.algorithms);
        let keys = KeySet::published(parsed.unwrap().keys);
        assert!(verify(&signer.token(&claims()), &settings, &keys).is_ok());
        // Even with HS256 configured beside it, no public key is tried for it.
        let both = Jwt {
            algorithms: vec![Algorithm::ES256, Algorithm::HS256],
            ..hs256()
        };
        let header = r#"{"alg":"HS256","kid":"k1"}"#;
        let refusal = verify(&with_header(header), &both, &keys).unwrap_err();
        assert_eq!(refusal.code(), Code::TokenAlgorithm);
    }

    #[test]
    fn base64_has_one_spelling_for_each_token() {
        let good = token(&claims());
        let (rest, signature) = good.rsplit_once('.').unwrap();
        let last = signature.chars().last().unwrap();
        let next = char::from(u8::try_from(last).unwrap() + 1);
        for bad in [
            format!("{good}="),
            format!(" {good}"),
            format!("{good} "),
            format!("{good}\n"),
            format!("{good}."),
            format!(".{good}"),
            format!("{rest}..{signature}"),
            format!("{rest}.{}", signature.replace(last, "+")),
            format!("{rest}.{}{next}", signature.strip_suffix(last).unwrap()),
            rest.to_owned(),
            format!("{rest}."),
            "..".to_owned(),
            String::new(),
        ] {
            let refusal = code(&bad);
            assert!(
                matches!(refusal, Code::TokenMalformed | Code::TokenSignature),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        let good = token(&claims());
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let bad = String::from_utf8(bytes).unwrap();
            assert!(verify(&bad, &hs256(), &keys()).is_err(), "{at}");
        }
    }

    #[test]
    fn what_is_not_one_plain_object_is_no_payload() {
        for payload in [
            r#"["sub"]"#,
            "null",
            "",
            "{",
            "{}{}",
            "{} ;",
            "\u{feff}{}",
            r#"{"a":{"x":1,"x":2}}"#,
            r#"{"protected":"x","payload":"y","signature":"z"}"#,
        ] {
            let refusal = code(&raw_token(r#"{"alg":"HS256"}"#, payload));
            assert!(
                matches!(refusal, Code::TokenMalformed | Code::TokenClaim),
                "{payload}"
            );
        }
    }

    #[test]
    fn four_thousand_levels_of_json_overflow_no_stack() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(4000), "]".repeat(4000));
        assert_eq!(
            code(&raw_token(r#"{"alg":"HS256"}"#, &deep)),
            Code::TokenMalformed
        );
        let header = format!(
            r#"{{"alg":"HS256","a":{}{}}}"#,
            "[".repeat(4000),
            "]".repeat(4000)
        );
        assert_eq!(code(&with_header(&header)), Code::TokenMalformed);
    }

    #[test]
    fn a_token_of_another_secret_asks_whether_the_secrets_are_the_same() {
        let other = KeySet::fixed(vec![Key::secret(b"some other secret that is long enough")]);
        let refusal = verify(&token(&claims()), &hs256(), &other).unwrap_err();
        assert_eq!(refusal.code(), Code::TokenSignature);
        assert!(
            refusal
                .operator_note()
                .unwrap()
                .contains("is the secret the same")
        );
    }

    #[test]
    fn an_encrypted_token_is_named() {
        let refusal = verify("a.b.c.d.e", &hs256(), &keys()).unwrap_err();
        assert_eq!(refusal.code(), Code::TokenMalformed);
        assert!(refusal.operator_note().unwrap().contains("JWE"));
    }

    #[test]
    fn no_refusal_repeats_the_token_or_its_claims_to_the_client() {
        let mut claims = claims();
        claims["exp"] = json!("s3cret-in-exp");
        let refusal = verify(&token(&claims), &hs256(), &keys()).unwrap_err();
        assert!(!refusal.detail().contains("s3cret"));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_and_nothing_panics(text in "[A-Za-z0-9_.=-]{0,80}|.{0,40}") {
            prop_assert!(verify(&text, &hs256(), &keys()).is_err());
        }
    }
}
