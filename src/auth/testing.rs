//! What the tests of this room share: authenticators, signers, requests.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jsonwebtoken::crypto::sign;
use jsonwebtoken::{Algorithm as Library, EncodingKey};
use serde_json::{Value, json};

use crate::auth::{Attempt, Authenticators, Request};
use crate::clock::Timestamp;
use crate::config::settings::{
    Algorithm, Authenticator, AuthenticatorKind, IdentityMap, Jwt, KeySource, Source,
};
use crate::policy::identity::IdentityNames;
use crate::policy::requirement::Admission;
use crate::policy::route::AuthenticatorId;
use crate::secret::Secret;

/// 2026-01-02T03:04:05Z, when most tests happen.
pub(crate) const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);
pub(crate) const SECRET: &[u8] =
    b"a secret of the app that is long enough for HS512 too, with slack";

/// HS256 by [`SECRET`], user `sub`, roles `roles` and `scope`.
pub(crate) fn hs256() -> Jwt {
    Jwt {
        algorithms: vec![Algorithm::HS256],
        keys: KeySource::Secrets(vec![Secret::new(SECRET.to_vec())]),
        issuer: Vec::new(),
        audience: Vec::new(),
        leeway: Duration::ZERO,
        require: Vec::new(),
        sources: vec![Source::Header(AUTHORIZATION)],
        identity: IdentityMap {
            user: "sub".to_owned(),
            roles: vec!["roles".to_owned(), "scope".to_owned()],
            email: Some("email".to_owned()),
            name: Some("name".to_owned()),
        },
        csrf_double_submit: false,
        revoke_claim: None,
        revocable: false,
    }
}

pub(crate) fn named(name: &str, kind: AuthenticatorKind) -> Authenticator {
    Authenticator {
        name: Arc::from(name),
        kind,
        directory: None,
    }
}

pub(crate) fn jwt(settings: Jwt) -> AuthenticatorKind {
    AuthenticatorKind::Jwt(Box::new(settings))
}

pub(crate) fn assemble(all: &[Authenticator]) -> Authenticators {
    Authenticators::assemble_all(all, &IdentityNames::default(), None).unwrap()
}

/// Claims that hold at [`NOW`].
pub(crate) fn claims() -> Value {
    json!({ "sub": "7", "exp": NOW.unix_seconds() + 600, "iat": NOW.unix_seconds() - 60 })
}

/// [`claims`] with some set anew; null takes one away.
pub(crate) fn claims_with(other: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in other.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    claims
}

/// An HS256 token by [`SECRET`].
pub(crate) fn token(claims: &Value) -> String {
    raw_token(r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string())
}

/// A token of any header and payload text, signed with HS256 by [`SECRET`].
pub(crate) fn raw_token(header: &str, payload: &str) -> String {
    signed(
        header,
        payload,
        &EncodingKey::from_secret(SECRET),
        Library::HS256,
    )
}

/// A token of any header and payload text, signed with HS256 by any secret.
pub(crate) fn token_by(secret: &[u8], header: &str, payload: &str) -> String {
    signed(
        header,
        payload,
        &EncodingKey::from_secret(secret),
        Library::HS256,
    )
}

fn signed(header: &str, payload: &str, key: &EncodingKey, algorithm: Library) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let signature = sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

/// An issuer's key pair, P-256 or Ed25519.
pub(crate) struct Signer {
    pub(crate) kid: &'static str,
    key: EncodingKey,
    algorithm: Library,
    public: Value,
}

impl Signer {
    pub(crate) fn p256(kid: &'static str) -> Self {
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref()).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = (&point[1..33], &point[33..]);
        Self {
            kid,
            key: EncodingKey::from_ec_der(der.as_ref()),
            algorithm: Library::ES256,
            public: json!({
                "kty": "EC", "crv": "P-256", "kid": kid,
                "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
            }),
        }
    }

    pub(crate) fn ed25519(kid: &'static str) -> Self {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        Self {
            kid,
            key: EncodingKey::from_ed_der(der.as_ref()),
            algorithm: Library::EdDSA,
            public: json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x }),
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        self.public.clone()
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": format!("{:?}", self.algorithm), "kid": self.kid });
        signed(
            &header.to_string(),
            &claims.to_string(),
            &self.key,
            self.algorithm,
        )
    }
}

/// The JWK Set of some signers.
pub(crate) fn set(signers: &[&Signer]) -> String {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// Headers from names and values; a name may come twice.
pub(crate) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

pub(crate) fn bearer(token: &str) -> HeaderMap {
    headers(&[("authorization", &format!("Bearer {token}"))])
}

/// A GET with these headers.
pub(crate) fn get(headers: &HeaderMap) -> Request<'_> {
    Request {
        method: &Method::GET,
        headers,
        query: None,
        websocket: false,
        peer_certificate: None,
        client: None,
        own_cookie: None,
    }
}

/// Asks all authenticators in order.
pub(crate) async fn ask<'a>(all: &'a Authenticators, request: &Request<'_>) -> Attempt<'a> {
    ask_at(all, request, NOW).await
}

pub(crate) async fn ask_at<'a>(
    all: &'a Authenticators,
    request: &Request<'_>,
    now: Timestamp,
) -> Attempt<'a> {
    let ids: Vec<_> = (0..all.readers().len()).map(AuthenticatorId).collect();
    all.identify(&ids, Admission::Required, request, now).await
}

/// Runs a test on one thread with time and network.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}
