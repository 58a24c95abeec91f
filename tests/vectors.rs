//! The project's test vectors that concern JWTs: what SimpleJWT and Flask-JWT-Extended themselves
//! decided (`tests/vectors.json`, told in the documentation of session and token formats).
//!
//! The gateway refuses whatever is not valid, may refuse what is tagged `may_reject`, and accepts
//! every other valid one. What is left out stands by name in `LEFT_OUT` with its reason.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of a test may stop the test"
)]

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis::auth::{Attempt, Authenticators, Request};
use portcullis::clock::Timestamp;
use portcullis::config::settings::{
    Algorithm, Authenticator, AuthenticatorKind, IdentityMap, Jwt, KeySource, Source,
};
use portcullis::policy::identity::IdentityNames;
use portcullis::policy::requirement::Admission;
use portcullis::policy::route::AuthenticatorId;
use portcullis::secret::Secret;
use serde_json::Value;
use tempfile::NamedTempFile;

const DIRECTORY: &str = "what the user table says comes with directories";
const REVOCATION: &str = "revocation of tokens comes with the session store";
const CASE: &str = "the scheme is taken in any case (RFC 9110 §11.1); the app refuses it by itself";
const FRESHNESS: &str = "`fresh` until a time is the app's own rule; a `require` can ask for true";

/// Vectors whose outcome the gateway does not share, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("simplejwt.access/user_id_text", DIRECTORY),
    ("simplejwt.access/user_not_found", DIRECTORY),
    ("simplejwt.access/user_inactive", DIRECTORY),
    ("simplejwt.access/revoke_hash_lowercase", DIRECTORY),
    ("simplejwt.refresh/refresh_inactive_user#1", DIRECTORY),
    ("simplejwt.refresh/refresh_deleted_user#1", DIRECTORY),
    ("simplejwt.refresh/refresh_blacklisted", REVOCATION),
    ("flask_jwt_extended/revoked_jti", REVOCATION),
    (
        "simplejwt.refresh/obtain_bad_password",
        "a login request, without a token",
    ),
    ("simplejwt.authorization_header/scheme_lowercase", CASE),
    ("flask_jwt_extended/header_scheme_lowercase", CASE),
    (
        "flask_jwt_extended/exp_missing_never_expires",
        "`exp` is always required by the gateway.toml contract",
    ),
    (
        "flask_jwt_extended/sub_integer#1",
        "the same token is valid under the versions of sub_integer#2; whole numbers name a user",
    ),
    ("flask_jwt_extended/fresh_until_timestamp#1", FRESHNESS),
    ("flask_jwt_extended/fresh_until_timestamp#2", FRESHNESS),
    (
        "flask_jwt_extended/options_method_exempt",
        "an OPTIONS that is no preflight needs a credential (behaviour.md, 3)",
    ),
];

struct Case {
    settings: Jwt,
    method: Method,
    headers: HeaderMap,
    admission: Admission,
    now: Timestamp,
    /// Key files, removed when the case is over.
    _files: Vec<NamedTempFile>,
}

#[test]
fn every_vector_about_tokens_is_decided_as_the_library_decides() {
    let text = include_str!("vectors.json");
    let all: Value = serde_json::from_str(text).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let (mut run, mut wrong, mut left) = (0, Vec::new(), Vec::new());
    for vector in all["vectors"].as_array().unwrap() {
        let name = vector["name"].as_str().unwrap();
        let category = vector["category"].as_str().unwrap();
        if !category.starts_with("simplejwt") && category != "flask_jwt_extended" {
            continue;
        }
        if LEFT_OUT.iter().any(|(left_out, _)| *left_out == name) {
            left.push(name);
            continue;
        }
        run += 1;
        let case = if category == "flask_jwt_extended" {
            flask(vector)
        } else {
            simple(vector)
        };
        if let Err(what) = runtime.block_on(decide(&case, &vector["expected"])) {
            wrong.push(format!("{name}: {what}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(
        left.len(),
        LEFT_OUT.len(),
        "a name in LEFT_OUT is in no vector"
    );
    assert_eq!(run + left.len(), 180);
}

async fn decide(case: &Case, expected: &Value) -> Result<(), String> {
    let one = Authenticator {
        name: Arc::from("token"),
        kind: AuthenticatorKind::Jwt(Box::new(case.settings.clone())),
        directory: None,
    };
    let names = IdentityNames::default();
    let authenticators = Authenticators::assemble_all(&[one], &names, None)
        .map_err(|problems| format!("not assembled: {problems:?}"))?;
    let request = Request {
        method: &case.method,
        headers: &case.headers,
        query: None,
        websocket: false,
        peer_certificate: None,
        client: None,
        own_cookie: None,
    };
    let attempt = authenticators
        .identify(&[AuthenticatorId(0)], case.admission, &request, case.now)
        .await;
    compare(case, &attempt, expected)
}

fn compare(case: &Case, attempt: &Attempt<'_>, expected: &Value) -> Result<(), String> {
    let passes = attempt.denial.is_none();
    match (expected["valid"].as_bool(), passes) {
        (Some(true), false) if !expected["may_reject"].is_null() => Ok(()),
        (Some(true), false) => Err(format!("refused: {}", attempt.tries[0].words)),
        (Some(false), true) => Err(format!("let in, which is {}", expected["reason"])),
        (Some(true), true) => named(case, attempt, expected),
        (Some(false), false) => Ok(()),
        (None, _) => Err("has no verdict".to_owned()),
    }
}

fn named(case: &Case, attempt: &Attempt<'_>, expected: &Value) -> Result<(), String> {
    let claim = &expected["payload"][&case.settings.identity.user];
    let wanted = match (claim, &expected["user_id"]) {
        (Value::String(user), _) | (Value::Null, Value::String(user)) => user.clone(),
        (Value::Number(user), _) => user.to_string(),
        _ => return Ok(()),
    };
    let user = attempt
        .caller
        .as_ref()
        .map(|caller| caller.identity().user.as_str());
    // SimpleJWT's USER_ID_FIELD = username: the claim is the name, the vector tells the row.
    if user == Some(&wanted) || expected["user"]["username"].as_str() == user {
        Ok(())
    } else {
        Err(format!("names {user:?}, wanted {wanted}"))
    }
}

fn simple(vector: &Value) -> Case {
    let config = &vector["config"]["simple_jwt"];
    let mut files = Vec::new();
    let keys = if vector["jwks"].is_object() {
        files.push(file(&vector["jwks"].to_string()));
        KeySource::JwksFile(files[0].path().to_owned())
    } else {
        keys(
            vector,
            config["VERIFYING_KEY"].as_str(),
            config["SIGNING_KEY"].as_str(),
            &mut files,
        )
    };
    let path = vector["request"]["path"].as_str().unwrap_or_default();
    let kind = if path.contains("/refresh/") {
        "refresh"
    } else {
        "access"
    };
    let mut require = Vec::new();
    if let Some(claim) = name_or(
        &config["TOKEN_TYPE_CLAIM"],
        config.get("TOKEN_TYPE_CLAIM"),
        "token_type",
    ) && !path.contains("/verify/")
    {
        require.push((claim, Value::from(kind)));
    }
    if let Some(claim) = name_or(&config["JTI_CLAIM"], config.get("JTI_CLAIM"), "jti") {
        require.push((claim, Value::Null));
    }
    let bearer = || {
        vector["token"]
            .as_str()
            .map(|token| format!("Bearer {token}"))
    };
    let authorization = vector["authorization_header"]
        .as_str()
        .map(str::to_owned)
        .or_else(bearer);
    let mut headers = HeaderMap::new();
    if let Some(value) = authorization {
        headers.insert("authorization", HeaderValue::from_str(&value).unwrap());
    }
    Case {
        settings: Jwt {
            algorithms: vec![algorithm(config["ALGORITHM"].as_str())],
            keys,
            issuer: list(&config["ISSUER"]),
            audience: list(&config["AUDIENCE"]),
            leeway: Duration::from_secs(config["LEEWAY"].as_u64().unwrap_or(0)),
            require,
            sources: vec![Source::Header(HeaderName::from_static("authorization"))],
            identity: identity(config["USER_ID_CLAIM"].as_str().unwrap_or("user_id")),
            csrf_double_submit: false,
            revoke_claim: None,
            revocable: false,
        },
        method: Method::GET,
        headers,
        admission: Admission::Required,
        now: now(vector),
        _files: files,
    }
}

fn flask(vector: &Value) -> Case {
    let config = &vector["config"]["jwt"];
    let mut files = Vec::new();
    let path = vector["request"]["path"].as_str().unwrap_or_default();
    let kind = if path == "/refresh" {
        "refresh"
    } else {
        "access"
    };
    let mut require = vec![("type".to_owned(), Value::from(kind))];
    if path == "/fresh" {
        require.push(("fresh".to_owned(), Value::Bool(true)));
    }
    let by_cookie = config["JWT_TOKEN_LOCATION"] == serde_json::json!(["cookies"]);
    let source = if by_cookie {
        Source::Cookie("access_token_cookie".into())
    } else {
        Source::Header(HeaderName::from_static("authorization"))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in vector["headers"].as_object().into_iter().flatten() {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(
            name,
            HeaderValue::from_str(value.as_str().unwrap()).unwrap(),
        );
    }
    if let Some(cookies) = vector["cookie_header"].as_str() {
        headers.insert("cookie", HeaderValue::from_str(cookies).unwrap());
    }
    let keys = keys(
        vector,
        config["JWT_PUBLIC_KEY"].as_str(),
        config["JWT_SECRET_KEY"].as_str(),
        &mut files,
    );
    Case {
        settings: Jwt {
            algorithms: vec![algorithm(config["JWT_ALGORITHM"].as_str())],
            keys,
            issuer: Vec::new(),
            audience: Vec::new(),
            leeway: Duration::from_secs(config["JWT_DECODE_LEEWAY"].as_u64().unwrap_or(0)),
            require,
            sources: vec![source],
            identity: identity(config["JWT_IDENTITY_CLAIM"].as_str().unwrap_or("sub")),
            csrf_double_submit: true,
            revoke_claim: None,
            revocable: false,
        },
        method: vector["request"]["method"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap(),
        headers,
        admission: if path == "/optional" {
            Admission::Optional
        } else {
            Admission::Required
        },
        now: now(vector),
        _files: files,
    }
}

/// A setting's name, its default where it is not set, nothing where it is set to None.
fn name_or(value: &Value, set: Option<&Value>, default: &str) -> Option<String> {
    match (value.as_str(), set) {
        (Some(name), _) => Some(name.to_owned()),
        (None, None) => Some(default.to_owned()),
        (None, Some(_)) => None,
    }
}

fn keys(
    vector: &Value,
    public: Option<&str>,
    secret: Option<&str>,
    files: &mut Vec<NamedTempFile>,
) -> KeySource {
    if let Some(pem) = public.filter(|pem| !pem.is_empty()) {
        files.push(file(pem));
        return KeySource::PublicKeys(vec![files[0].path().to_owned()]);
    }
    let secret = secret.or(vector["secret"].as_str()).unwrap();
    KeySource::Secrets(vec![Secret::new(secret.as_bytes().to_vec())])
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn algorithm(name: Option<&str>) -> Algorithm {
    match name.unwrap_or("HS256") {
        "HS256" => Algorithm::HS256,
        "HS384" => Algorithm::HS384,
        "HS512" => Algorithm::HS512,
        "RS256" => Algorithm::RS256,
        "ES256" => Algorithm::ES256,
        other => panic!("no vector used {other} so far"),
    }
}

fn identity(user: &str) -> IdentityMap {
    IdentityMap {
        user: user.to_owned(),
        roles: vec!["roles".to_owned()],
        email: Some("email".to_owned()),
        name: Some("name".to_owned()),
    }
}

fn list(value: &Value) -> Vec<String> {
    value.as_str().map(str::to_owned).into_iter().collect()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the vectors' times are of our age"
)]
fn now(vector: &Value) -> Timestamp {
    Timestamp::from_unix_micros((vector["now"].as_f64().unwrap() * 1e6) as i64)
}
