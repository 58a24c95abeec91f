//! Every vector of `tests/vectors.json` that concerns sessions: what Django, Flask, Flask-Session
//! and Flask-Login themselves decided. `tests/vectors.rs` runs those about JWTs.
//!
//! What is not valid must be refused, what is tagged `may_reject` may be, every other valid one
//! must be accepted and name the same user and the same data. None is left out; the two that are
//! refused on purpose stand by name with the reason, and everything is counted.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::auth::cookie;
use crate::auth::ports::Expiry;
use crate::auth::session::django::{DjangoCodec, Hashed, auth_hash};
use crate::auth::session::flask::FlaskCodec;
use crate::auth::session::flask_login::Client;
use crate::auth::session::flask_session::{IdCodec, read_payload};
use crate::auth::session::signing::{Signer, base62, django_keys};
use crate::auth::session::{Data, json, segment, unexpired, unquoted};
use crate::auth::session_reader::SessionReader;
use crate::auth::shown::Shown;
use crate::clock::Timestamp;
use crate::config::settings::{
    AuthenticatorKind, FlaskCookie, FlaskLogin, IdentityMap, RememberCookie, SessionIdentity,
};
use crate::policy::forwarded;
use crate::secret::Secret;

/// Vectors that the framework takes and the gateway refuses on purpose, and why.
const REFUSED_ON_PURPOSE: &[(&str, &str)] = &[
    ("django.session.db/duplicate_cookie_last_wins", TWICE),
    ("flask.session_cookie/duplicate_cookie_first_wins", TWICE),
];

const TWICE: &str = "a cookie that stands twice with different values is refused (behaviour.md, 4)";

/// Vectors that are about no session, with how many they are: `tests/vectors.rs` runs them.
const ABOUT_TOKENS: &[(&str, usize)] = &[("flask_jwt_extended", 38), ("simplejwt", 142)];

/// Vectors whose session is in a file: `tests/stores/files.rs` runs them, with the files.
const IN_FILES: usize = 11;

/// Whom and what an accepted vector holds.
type Decided = Result<(Option<String>, Option<Data>), String>;

#[test]
fn every_vector_about_sessions_is_decided_as_the_framework_decides() {
    let text = include_str!("../../../tests/vectors.json");
    let all: Value = serde_json::from_str(text).unwrap();
    let vectors = all["vectors"].as_array().unwrap();
    let mut tokens = vec![0; ABOUT_TOKENS.len()];
    let (mut in_files, mut on_purpose) = (0, 0);
    let (mut run, mut accepted, mut wrong) = (0, 0, Vec::new());
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        let category = vector["category"].as_str().unwrap();
        let library = category.split('.').next().unwrap();
        if let Some(place) = ABOUT_TOKENS.iter().position(|(one, _)| *one == library) {
            tokens[place] += 1;
            continue;
        }
        if vector["files"].is_array() {
            in_files += 1;
            continue;
        }
        run += 1;
        let judged = match category {
            "cookie_header.parse" => same_cookies(vector),
            "primitive" => same_value(vector),
            _ if REFUSED_ON_PURPOSE.iter().any(|(one, _)| *one == name) => {
                on_purpose += 1;
                refused_as_malformed(vector, &all, category)
            }
            _ => compare(vector, &decide(vector, &all, category), &mut accepted),
        };
        if let Err(what) = judged {
            wrong.push(format!("{name}: {what}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {run}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(
        on_purpose,
        REFUSED_ON_PURPOSE.len(),
        "a name is in no vector"
    );
    let counted: Vec<_> = ABOUT_TOKENS.iter().map(|(_, count)| *count).collect();
    assert_eq!(tokens, counted);
    assert_eq!(in_files, IN_FILES);
    assert_eq!(run + in_files + tokens.iter().sum::<usize>(), vectors.len());
    assert_eq!((run, accepted), (305, 92), "run and accepted");
}

/// What the framework takes and the gateway does not: it says why.
fn refused_as_malformed(vector: &Value, all: &Value, category: &str) -> Result<(), String> {
    assert_eq!(vector["expected"]["valid"], true);
    match decide(vector, all, category) {
        Err(why) if why.contains("stands twice with different values") => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn compare(vector: &Value, decided: &Decided, accepted: &mut usize) -> Result<(), String> {
    let expected = &vector["expected"];
    match (expected["valid"].as_bool().unwrap(), decided) {
        (false, Ok(_)) => Err(format!("let in, which is {}", expected["reason"])),
        (true, Err(why)) if expected["may_reject"].is_null() => Err(format!("refused: {why}")),
        (true | false, Err(_)) => Ok(()),
        (true, Ok((user, data))) => {
            *accepted += 1;
            if let (Some(user), Some(wanted)) = (user, expected["user_id"].as_str())
                && user != wanted
            {
                return Err(format!("names {user}, wanted {wanted}"));
            }
            let wanted = plain(&expected["payload"]);
            match data {
                Some(data) if !wanted.is_null() && Value::Object(data.clone()) != wanted => {
                    Err(format!("holds {data:?}, wanted {wanted}"))
                }
                _ => Ok(()),
            }
        }
    }
}

fn decide(vector: &Value, all: &Value, category: &str) -> Decided {
    match category {
        "flask.session_cookie" => {
            let (data, _end) = flask_cookie(vector)?;
            Ok((None, Some(data)))
        }
        "flask_login" => flask_login(vector),
        "flask_session.redis" | "flask_session.sqlalchemy" => flask_session(vector),
        _ => django(vector, all),
    }
}

fn django(vector: &Value, all: &Value) -> Decided {
    let config = &vector["config"];
    let cookie = cookie_of(
        vector,
        config["cookie_name"].as_str().unwrap_or("sessionid"),
    )?;
    let secrets = secrets(vector, "Django 3.");
    let mut codec = DjangoCodec::new(&secrets).with_backends(backends(config).as_deref());
    if is_only(vector, "Django 3.") {
        codec = codec.with_sha1(&secrets);
    }
    let data = django_data(vector, &codec, &cookie)?;
    let id = codec
        .signed_in(&data)
        .map_err(|denial| denial.to_string())?;
    let users = match vector["fixture"].as_str() {
        Some("django_custom") => &all["custom_users"],
        _ => &all["users"],
    };
    let same = |user: &&Value| match user["id"].as_str() {
        Some(one) => one == id,
        None => user["id"].as_u64() == id.parse().ok(),
    };
    let user = users.as_array().unwrap().iter().find(same);
    let user = user.ok_or("no such user")?;
    if user["is_active"] == false && !DjangoCodec::takes_inactive(&data) {
        return Err("not active".to_owned());
    }
    let password = user["password"].as_str().unwrap();
    let hashed = if is_only(vector, "channels ") {
        Hashed::ByChannels
    } else {
        Hashed::ByDjango
    };
    codec
        .check_user(&data, password, hashed)
        .map_err(|denial| denial.to_string())?;
    Ok((Some(id), Some(data)))
}

fn django_data(vector: &Value, codec: &DjangoCodec, cookie: &str) -> Result<Data, String> {
    let config = &vector["config"];
    let told = |denial: crate::policy::denial::Denial| denial.to_string();
    if config["engine"] == "signed_cookies" {
        let lifetime = Duration::from_secs(config["cookie_age"].as_u64().unwrap_or(1_209_600));
        let read = codec.read_cookie(cookie, lifetime, now(vector));
        return read.map(|(data, _end)| data).map_err(told);
    }
    DjangoCodec::check_key(cookie).map_err(told)?;
    let engine = config["engine"].as_str().unwrap_or("db");
    if engine != "db" {
        let cache = &config["cache"];
        let prefix = cache["key_prefix"].as_str().unwrap_or_default();
        let version = cache["version"].as_u64().unwrap_or(1);
        let key = format!("{prefix}:{version}:django.contrib.sessions.{engine}{cookie}");
        if let Some(value) = kept(vector, &key) {
            return codec.read_cached(&value).map_err(told);
        }
    }
    let row = &vector["row"];
    if row["session_key"].as_str() != Some(cookie) {
        return Err("no such session".to_owned());
    }
    let (expiry, zone) = match (&row["expire_date"], &row["expire_date_raw"]) {
        (Value::String(at), _) => (Expiry::At(instant(at)), TimeZone::UTC),
        (_, at) => {
            let zone = config["time_zone"].as_str().unwrap();
            let at = at.as_str().unwrap().replace(' ', "T");
            (
                Expiry::Local(at.parse().unwrap()),
                TimeZone::get(zone).unwrap(),
            )
        }
    };
    unexpired(expiry, &zone, now(vector)).map_err(told)?;
    let text = row["session_data"].as_str().unwrap();
    codec.read_row(text.as_bytes()).map_err(told)
}

fn flask_cookie(vector: &Value) -> Result<(Data, Timestamp), String> {
    let cookie = cookie_of(vector, "session")?;
    let lifetime = vector["config"]["lifetime"].as_u64().unwrap_or(31 * 86_400);
    let codec = FlaskCodec::new(&secrets(vector, "Flask 2."));
    codec
        .read(&cookie, Duration::from_secs(lifetime), now(vector))
        .map_err(|denial| denial.to_string())
}

/// Through the reader that a request meets, with the client as the app would see it.
fn flask_login(vector: &Value) -> Decided {
    let told = |denial: crate::policy::denial::Denial| denial.to_string();
    let config = &vector["config"];
    let secrets = secrets(vector, "Flask 2.");
    // Where the secret has no place in Latin-1 the file is refused, and no cookie remembers.
    let remember = vector["secret"].as_str().unwrap().chars();
    let remember: Result<Vec<u8>, _> = remember.map(u8::try_from).collect();
    let settings = AuthenticatorKind::FlaskCookie(Box::new(FlaskCookie {
        secrets,
        cookie: "session".into(),
        lifetime: Duration::from_hours(31 * 24),
        identity: flask_login_identity(),
        login: FlaskLogin {
            strong: config["flask_login"]["protection"] == "strong",
            remember: remember.ok().map(|secret| RememberCookie {
                cookie: "remember_token".into(),
                secret: Secret::new(secret),
            }),
        },
    }));
    let reader = SessionReader::new(&settings, None, &"vectors".into(), 1).unwrap();
    let mut headers = cookies(vector["cookie_header"].as_str().unwrap()).unwrap();
    let sent = &vector["headers"];
    if let Some(agent) = sent["User-Agent"].as_str() {
        let agent = HeaderValue::from_bytes(&latin1(agent)).unwrap();
        headers.insert(USER_AGENT, agent);
    }
    let client = seen_client(vector);
    let shown = Shown::of(&reader, &headers, Some(&client), false).map_err(told)?;
    let shown = shown.ok_or("no cookie")?;
    let (identity, _until) = reader.read_at_once(&shown, now(vector)).map_err(told)?;
    match config["users"].get(&identity.user) {
        None => Err("no such user".to_owned()),
        Some(known) if known["active"] == false => Err("not active".to_owned()),
        Some(_) if identity.claims.is_empty() => Ok((Some(identity.user), None)),
        Some(_) => Ok((Some(identity.user), Some(identity.claims))),
    }
}

fn flask_login_identity() -> SessionIdentity {
    SessionIdentity {
        user: vec!["_user_id".to_owned()],
        others: IdentityMap {
            user: String::new(),
            roles: Vec::new(),
            email: None,
            name: None,
        },
    }
}

/// The client whose address the app is told, as `X-Forwarded-For` or as the peer.
fn seen_client(vector: &Value) -> forwarded::Client {
    let peer = vector["remote_addr"].as_str().unwrap();
    let chain = vector["headers"]["X-Forwarded-For"].as_str();
    let value = |text: &str| HeaderValue::from_str(text).unwrap();
    forwarded::Client {
        ip: peer.parse().unwrap(),
        scheme: forwarded::Scheme::Https,
        host: value("app.example"),
        port: 443,
        chain: value(chain.unwrap_or(peer)),
        authority: value("app.example"),
    }
}

fn flask_session(vector: &Value) -> Decided {
    let told = |denial: crate::policy::denial::Denial| denial.to_string();
    let config = &vector["config"]["flask_session"]["config"];
    let secrets = secrets(vector, "none");
    let signed = config["SESSION_USE_SIGNER"] == true;
    let codec = IdCodec::new(signed.then_some(&secrets[..]));
    let cookie = cookie_of(vector, "session")?;
    let id = codec.id(&cookie).map_err(told)?;
    let prefix = config["SESSION_KEY_PREFIX"].as_str().unwrap_or("session:");
    let key = format!("{prefix}{id}");
    let row = &vector["row"];
    let stored = if row["session_id"] == key {
        let expiry = row["expiry"].as_str().map_or(Expiry::Missing, |at| {
            Expiry::Local(at.replace(' ', "T").parse().unwrap())
        });
        unexpired(expiry, &TimeZone::UTC, now(vector)).map_err(told)?;
        STANDARD.decode(row["data_b64"].as_str().unwrap()).unwrap()
    } else {
        kept(vector, &key).ok_or("no such session")?
    };
    let data = read_payload(&stored).map_err(told)?;
    Ok((None, Some(data)))
}

/// The gateway reads a cookie as the framework does, or refuses.
fn same_cookies(vector: &Value) -> Result<(), String> {
    let header = vector["cookie_header"].as_str().unwrap();
    let wanted = vector["expected"]["payload"].as_object().unwrap();
    let Some(headers) = cookies(header) else {
        return Ok(());
    };
    let parts = header
        .split([';', ','])
        .filter_map(|part| part.split('=').next());
    let mut names: Vec<&str> = wanted.keys().map(String::as_str).collect();
    names.extend(parts.map(str::trim));
    names.push("sid");
    // RFC 6265 §4.1.1: a name is a token; no other can be configured.
    let token = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'"')
    };
    for name in names.into_iter().filter(|name| token(name)) {
        let found = found(&headers, name);
        let theirs = wanted.get(name).and_then(Value::as_str);
        match found {
            Ok(ours) if ours.as_deref() != theirs => {
                return Err(format!("{name}: {ours:?}, wanted {theirs:?}"));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

fn same_value(vector: &Value) -> Result<(), String> {
    let secrets = secrets(vector, "none");
    let input = &vector["input"];
    let wanted = vector["expected"]["payload"].as_str().unwrap();
    if let Some(agent) = input["user_agent_latin1"].as_str() {
        let address = input["remote_addr"].as_str().unwrap();
        let client = Client {
            address: Some(address.as_bytes().into()),
            user_agent: Some(latin1(agent).into()),
        };
        let made = client.identifier();
        return if made == wanted { Ok(()) } else { Err(made) };
    }
    if let Some(password) = input["password_field"].as_str() {
        const SALT: &str = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash";
        let made = auth_hash(&django_keys(SALT, &secrets)[0], password);
        return if made == wanted { Ok(()) } else { Err(made) };
    }
    let signer = Signer::django(input["salt"].as_str().unwrap(), &secrets);
    let value = signer.unsign(wanted).map_err(|flaw| format!("{flaw:?}"))?;
    let (payload, at) = value.rsplit_once(':').unwrap();
    let text = String::from_utf8(segment::open(payload)?).unwrap();
    let same = json::read(&text)? == input["object"] && base62(at) == input["timestamp"].as_i64();
    if same { Ok(()) } else { Err(text) }
}

/// Whether a vector speaks of nothing but one library, or of old versions of it.
fn is_only(vector: &Value, library: &str) -> bool {
    let versions = vector["versions"].as_array().unwrap();
    let names = |one: &Value| one.as_str().unwrap().starts_with(library);
    versions.iter().all(names)
}

/// `AUTHENTICATION_BACKENDS` of a vector's app: Django's default where it has none of its own.
fn backends(config: &Value) -> Option<Vec<Box<str>>> {
    let own = config["backends"].as_array();
    let own = own.map(|list| {
        list.iter()
            .map(|one| one.as_str().unwrap().into())
            .collect()
    });
    own.or_else(|| Some(vec!["django.contrib.auth.backends.ModelBackend".into()]))
}

/// `SECRET_KEY` and `SECRET_KEY_FALLBACKS`; the latter only where one of the versions reads them.
fn secrets(vector: &Value, ignoring: &str) -> Vec<Secret<Vec<u8>>> {
    let bytes = |text: &Value| match vector["secret_encoding"].as_str() {
        Some("base64") => STANDARD.decode(text.as_str().unwrap()).unwrap(),
        _ => text.as_str().unwrap().as_bytes().to_vec(),
    };
    let ignored = is_only(vector, ignoring);
    let fallbacks = vector["fallbacks"].as_array().unwrap().iter();
    let fallbacks = fallbacks.filter(|_| !ignored);
    let all = std::iter::once(&vector["secret"]).chain(fallbacks);
    all.map(|one| Secret::new(bytes(one))).collect()
}

fn cookie_of(vector: &Value, name: &str) -> Result<String, String> {
    if let Some(cookie) = vector["cookie"].as_str() {
        return Ok(cookie.to_owned());
    }
    let header = vector["cookie_header"].as_str().ok_or("no cookie")?;
    let headers = cookies(header).ok_or("no header")?;
    found(&headers, name)?.ok_or_else(|| "no cookie".to_owned())
}

/// The cookie as the gateway reads a session's.
fn found(headers: &HeaderMap, name: &str) -> Result<Option<String>, String> {
    let value = cookie::find(headers, name).map_err(|denial| denial.to_string())?;
    let Some(value) = value else {
        return Ok(None);
    };
    let value = unquoted(value).map_err(|denial| denial.to_string())?;
    Ok(Some(value.to_owned()))
}

/// The header as bytes, each character one byte.
fn cookies(header: &str) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(&latin1(header)).ok()?;
    Some(HeaderMap::from_iter([(COOKIE, value)]))
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|one| u8::try_from(one).unwrap()).collect()
}

fn kept(vector: &Value, key: &str) -> Option<Vec<u8>> {
    let mut entries = vector["redis"].as_array()?.iter();
    let entry = entries.find(|entry| entry["key"] == key)?;
    Some(
        STANDARD
            .decode(entry["value_b64"].as_str().unwrap())
            .unwrap(),
    )
}

fn instant(text: &str) -> Timestamp {
    let at: jiff::Timestamp = text.parse().unwrap();
    Timestamp::from_unix_micros(at.as_microsecond())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the vectors' times are of our age"
)]
fn now(vector: &Value) -> Timestamp {
    Timestamp::from_unix_micros((vector["now"].as_f64().unwrap() * 1e6) as i64)
}

/// A payload of the vectors as plain data: what stands for Python's own types is unwrapped.
fn plain(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(members) => {
            let one = members.iter().next().filter(|_| members.len() == 1);
            match one.map(|(name, held)| (name.as_str(), held)) {
                Some(("__tuple__" | "__set__", held)) => plain(held),
                Some(("__bytes_b64__" | "__datetime__" | "__uuid__" | "__markup__", held)) => {
                    held.clone()
                }
                Some(("__int__", held)) => json::read(held.as_str().unwrap()).unwrap(),
                Some(("__float__", _)) => Value::Null,
                _ => Value::Object(
                    members
                        .iter()
                        .map(|(name, held)| (name.clone(), plain(held)))
                        .collect::<Map<_, _>>(),
                ),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
