//! Any bytes as a token, and any header and payload under a good signature: an answer, no panic.
#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use jsonwebtoken::crypto::sign;
use jsonwebtoken::{Algorithm as Library, EncodingKey};
use libfuzzer_sys::fuzz_target;
use portcullis::auth::{Authenticators, Request};
use portcullis::clock::Timestamp;
use portcullis::config::settings::{
    Algorithm, Authenticator, AuthenticatorKind, IdentityMap, Jwt, KeySource, Source,
};
use portcullis::policy::identity::IdentityNames;
use portcullis::policy::requirement::Admission;
use portcullis::policy::route::AuthenticatorId;
use portcullis::secret::Secret;

const SECRET: &[u8] = b"a secret that is long enough for the fuzzing of tokens";
const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);

fn authenticators() -> &'static Authenticators {
    static ALL: OnceLock<Authenticators> = OnceLock::new();
    ALL.get_or_init(|| {
        let jwt = Jwt {
            algorithms: vec![Algorithm::HS256],
            keys: KeySource::Secrets(vec![Secret::new(SECRET.to_vec())]),
            issuer: Vec::new(),
            audience: Vec::new(),
            leeway: Duration::from_secs(30),
            require: Vec::new(),
            sources: vec![
                Source::Header(http::header::AUTHORIZATION),
                Source::Cookie("sid".into()),
            ],
            identity: IdentityMap {
                user: "sub".to_owned(),
                roles: vec!["roles".to_owned(), "realm_access.roles".to_owned()],
                email: Some("email".to_owned()),
                name: Some("name".to_owned()),
            },
            csrf_double_submit: true,
            revoke_claim: None,
            revocable: false,
        };
        let one = Authenticator {
            name: "app".into(),
            kind: AuthenticatorKind::Jwt(Box::new(jwt)),
            directory: None,
        };
        Authenticators::assemble_all(&[one], &IdentityNames::default(), None).expect("assembles")
    })
}

fn ask(name: &'static str, value: &[u8]) -> bool {
    let Ok(value) = HeaderValue::from_bytes(value) else {
        return false;
    };
    let mut headers = HeaderMap::new();
    headers.insert(name, value);
    let request = Request {
        method: &Method::POST,
        headers: &headers,
        query: None,
        websocket: false,
        peer_certificate: None,
        client: None,
        own_cookie: None,
    };
    let work = authenticators().identify(&[AuthenticatorId(0)], Admission::Required, &request, NOW);
    let attempt = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("runtime")
        .block_on(work);
    assert_ne!(attempt.caller.is_some(), attempt.denial.is_some());
    attempt.caller.is_some()
}

fuzz_target!(|data: &[u8]| {
    ask("cookie", data);
    // Nobody guesses a signature.
    assert!(!ask("authorization", data));
    assert!(!ask("authorization", &[b"Bearer ", data].concat()));
    let cut = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (header, payload) = data.split_at(cut);
    let url = |part: &[u8]| {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(part)
    };
    let message = format!("{}.{}", url(header), url(payload.get(1..).unwrap_or_default()));
    let key = EncodingKey::from_secret(SECRET);
    let signature = sign(message.as_bytes(), &key, Library::HS256).expect("signs");
    ask("authorization", format!("Bearer {message}.{signature}").as_bytes());
});
