//! The signed assertion: who is calling, as a short-lived JWT that the gateway signs, for apps
//! that want proof rather than a header. Signed once per caller and half its life.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
    RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderName, HeaderValue};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};
use x509_parser::pem::Pem;

use crate::auth::Problem;
use crate::auth::bounded::Bounded;
use crate::clock::Timestamp;
use crate::config::settings::Assertion;
use crate::policy::denial::{Code, Denial};
use crate::policy::identity::Caller;
use crate::secret::Secret;

/// The `iss` of every assertion.
const ISSUER: &str = "portcullis";
/// Assertions that are kept at most, and their bytes.
const KEPT: (usize, usize) = (8_192, 8 * 1024 * 1024);

/// Signs assertions about callers, and publishes the key that verifies them.
#[derive(Debug)]
pub struct Assertions {
    header: HeaderName,
    ttl: Duration,
    audience: Option<String>,
    signer: Signer,
    issued: Bounded<usize, Issued>,
}

#[derive(Debug)]
struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    kid: String,
    public: Map<String, Value>,
}

/// Holding the caller keeps its address from being given to another one.
#[derive(Clone, Debug)]
struct Issued {
    _caller: Arc<Caller>,
    value: HeaderValue,
    fresh_until: Timestamp,
}

impl Assertions {
    /// Reads the signing key; makes one (P-256, mode 0600) where there is no file yet.
    ///
    /// # Errors
    ///
    /// What is wrong with the key file.
    pub fn load(settings: &Assertion) -> Result<Self, Problem> {
        let path = settings.key.display();
        let problem =
            |what: String| Problem::new("identity.assertion.key", format!("{path} {what}"));
        let pem = match std::fs::read(&settings.key) {
            Ok(pem) => Secret::new(pem),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                make_key(&settings.key)
                    .map_err(|error| problem(format!("cannot be made: {error}")))?
            }
            Err(error) => return Err(problem(format!("cannot be read: {error}"))),
        };
        let signer = Signer::from_pem(pem.expose()).map_err(|what| problem(what.to_owned()))?;
        Ok(Self {
            header: settings.header.clone(),
            ttl: settings.ttl,
            audience: settings.audience.clone(),
            signer,
            issued: Bounded::new(KEPT.0, KEPT.1),
        })
    }

    /// The header that carries the assertion.
    #[must_use]
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The assertion about a caller: one made before, or a new one.
    ///
    /// # Errors
    ///
    /// `auth_unavailable` when it cannot be signed: the app must not go without what it relies on.
    pub fn header_for(&self, caller: &Arc<Caller>, now: Timestamp) -> Result<HeaderValue, Denial> {
        let address = Arc::as_ptr(caller).addr();
        if let Some(issued) = self.issued.get(&address)
            && issued.fresh_until > now
        {
            return Ok(issued.value);
        }
        let end = caller.identity().expires_at.unwrap_or(Timestamp::MAX);
        let expires = now.saturating_add(self.ttl).min(end);
        let value = self.sign(caller, now, expires).ok_or_else(|| {
            Denial::new(Code::AuthUnavailable, "the caller could not be vouched for")
                .note("the assertion could not be signed")
        })?;
        let issued = Issued {
            _caller: Arc::clone(caller),
            value: value.clone(),
            // Half of its life is left to the app at least.
            fresh_until: now.saturating_add(expires.saturating_since(now) / 2),
        };
        let bytes = value.len() + 2_000;
        self.issued.insert(address, issued, bytes);
        Ok(value)
    }

    /// The JWK Set with the public key, as JSON (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> String {
        json!({ "keys": [self.signer.public] }).to_string()
    }

    fn sign(&self, caller: &Caller, now: Timestamp, expires: Timestamp) -> Option<HeaderValue> {
        let who = caller.identity();
        let mut claims = Map::new();
        let mut say = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        say("iss", ISSUER.into());
        say("sub", who.user.as_str().into());
        say("roles", who.roles.clone().into());
        say("method", who.authenticator.as_ref().into());
        say("iat", now.unix_seconds().into());
        say("exp", expires.unix_seconds().into());
        if let Some(audience) = &self.audience {
            say("aud", audience.as_str().into());
        }
        if let Some(email) = &who.email {
            say("email", email.as_str().into());
        }
        if let Some(name) = &who.name {
            say("name", name.as_str().into());
        }
        let header = Header {
            kid: Some(self.signer.kid.clone()),
            ..Header::new(self.signer.algorithm)
        };
        let token = jsonwebtoken::encode(&header, &claims, &self.signer.key).ok()?;
        HeaderValue::try_from(token).ok()
    }
}

impl Signer {
    fn from_pem(text: &[u8]) -> Result<Self, &'static str> {
        const UNKNOWN: &str =
            "is no PKCS #8 private key (`BEGIN PRIVATE KEY`) of type Ed25519, P-256 or RSA";
        let block = Pem::iter_from_buffer(text).next().and_then(Result::ok);
        let Some(block) = block.filter(|block| block.label == "PRIVATE KEY") else {
            return Err(UNKNOWN);
        };
        let der = Secret::new(block.contents);
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der.expose()) {
            let x = encoded(pair.public_key().as_ref());
            let public = json!({ "crv": "Ed25519", "kty": "OKP", "x": x });
            let key = EncodingKey::from_ed_der(der.expose());
            return Ok(Self::new(key, Algorithm::EdDSA, &public));
        }
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.expose()) {
            let point = pair.public_key().as_ref();
            let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else {
                return Err(UNKNOWN);
            };
            let public = json!({ "crv": "P-256", "kty": "EC", "x": encoded(x), "y": encoded(y) });
            let key = EncodingKey::from_ec_der(der.expose());
            return Ok(Self::new(key, Algorithm::ES256, &public));
        }
        let pair = RsaKeyPair::from_pkcs8(der.expose()).map_err(|_why| UNKNOWN)?;
        if pair.public_modulus_len() < 256 {
            return Err("is an RSA key of fewer than 2048 bits");
        }
        let parts = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        let public = json!({ "e": encoded(&parts.e), "kty": "RSA", "n": encoded(&parts.n) });
        let key = EncodingKey::from_rsa_pem(text).map_err(|_why| UNKNOWN)?;
        Ok(Self::new(key, Algorithm::RS256, &public))
    }

    /// `public` holds exactly the members that RFC 7638 §3.2 hashes, and JSON maps are sorted, so
    /// its text is the thumbprint's input.
    fn new(key: EncodingKey, algorithm: Algorithm, public: &Value) -> Self {
        let print = digest::digest(&SHA256, public.to_string().as_bytes());
        let kid = URL_SAFE_NO_PAD.encode(print.as_ref());
        let mut public = public.as_object().cloned().unwrap_or_default();
        public.insert("kid".to_owned(), kid.as_str().into());
        public.insert("use".to_owned(), "sig".into());
        public.insert("alg".to_owned(), format!("{algorithm:?}").into());
        Self {
            key,
            algorithm,
            kid,
            public,
        }
    }
}

/// Makes a P-256 key and writes it so that only its owner can read it.
fn make_key(path: &Path) -> std::io::Result<Secret<Vec<u8>>> {
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_why| std::io::Error::other("no randomness"))?;
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    let body = Secret::new(STANDARD.encode(document.as_ref()));
    for line in body.expose().as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    let pem = Secret::new(pem.into_bytes());
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(pem.expose())?;
    file.sync_all()?;
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::auth::jwks;
    use crate::auth::jwt::Unverified;
    use crate::auth::keys::KeySet;
    use crate::auth::testing::NOW;
    use crate::config::settings;
    use crate::policy::identity::{Identity, IdentityNames};

    fn caller(expires_at: Option<Timestamp>) -> Arc<Caller> {
        let identity = Identity {
            user: "7".to_owned(),
            roles: vec!["staff".to_owned()],
            email: None,
            name: Some("Ada".to_owned()),
            claims: Map::new(),
            expires_at,
            authenticator: Arc::from("app"),
        };
        Arc::new(IdentityNames::default().introduce(identity))
    }

    fn settings(key: std::path::PathBuf) -> Assertion {
        Assertion {
            header: HeaderName::from_static("x-auth-assertion"),
            key,
            ttl: Duration::from_mins(1),
            audience: Some("apps".to_owned()),
        }
    }

    fn claims(assertions: &Assertions, value: &HeaderValue) -> Value {
        let algorithms = [
            settings::Algorithm::ES256,
            settings::Algorithm::EdDSA,
            settings::Algorithm::RS256,
        ];
        let keys = jwks::parse(assertions.jwks().as_bytes(), &algorithms)
            .unwrap()
            .keys;
        let token = Unverified::read(value.to_str().unwrap(), &algorithms).unwrap();
        let payload = token.verified_by(&KeySet::published(keys)).unwrap();
        serde_json::from_slice(&payload).unwrap()
    }

    #[test]
    fn a_key_is_made_for_its_owner_alone_and_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path().join("certs/assertion.key"));
        let first = Assertions::load(&settings).unwrap();
        let mode = std::fs::metadata(&settings.key)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Assertions::load(&settings).unwrap().jwks(), first.jwks());
    }

    #[test]
    fn an_assertion_verifies_with_the_published_key_and_says_who_is_calling() {
        let folder = tempfile::tempdir().unwrap();
        for kind in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P256_SHA256] {
            let key = folder.path().join("key.pem");
            std::fs::write(
                &key,
                rcgen::KeyPair::generate_for(kind).unwrap().serialize_pem(),
            )
            .unwrap();
            let assertions = Assertions::load(&settings(key)).unwrap();
            let value = assertions.header_for(&caller(None), NOW).unwrap();
            let claims = claims(&assertions, &value);
            assert_eq!(claims["sub"], "7");
            assert_eq!(claims["roles"], json!(["staff"]));
            assert_eq!(claims["aud"], "apps");
            assert_eq!(claims["exp"], NOW.unix_seconds() + 60);
        }
    }

    #[test]
    fn an_assertion_is_made_once_and_anew_before_it_is_too_old() {
        let folder = tempfile::tempdir().unwrap();
        let assertions = Assertions::load(&settings(folder.path().join("key"))).unwrap();
        let (one, other) = (caller(None), caller(None));
        let first = assertions.header_for(&one, NOW).unwrap();
        assert_eq!(assertions.header_for(&one, NOW).unwrap(), first);
        assert_ne!(assertions.header_for(&other, NOW).unwrap(), first);
        let later = NOW.saturating_add(Duration::from_secs(31));
        let second = assertions.header_for(&one, later).unwrap();
        assert_eq!(
            claims(&assertions, &second)["exp"],
            later.unix_seconds() + 60
        );
    }

    #[test]
    fn an_assertion_ends_with_the_caller() {
        let folder = tempfile::tempdir().unwrap();
        let assertions = Assertions::load(&settings(folder.path().join("key"))).unwrap();
        let end = NOW.saturating_add(Duration::from_secs(5));
        let value = assertions.header_for(&caller(Some(end)), NOW).unwrap();
        assert_eq!(claims(&assertions, &value)["exp"], end.unix_seconds());
    }

    #[test]
    fn a_file_that_holds_no_private_key_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let public = rcgen::KeyPair::generate().unwrap().public_key_pem();
        for text in ["", "hello", &public] {
            std::fs::write(&key, text).unwrap();
            let problem = Assertions::load(&settings(key.clone())).unwrap_err();
            assert_eq!(problem.key, "identity.assertion.key");
        }
    }
}
