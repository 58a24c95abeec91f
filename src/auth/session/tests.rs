//! What sessions promise beyond the vectors: words for the operator, ends, identities.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::json;

use super::django::{DjangoCodec, Hashed};
use super::flask::FlaskCodec;
use super::flask_session::{IdCodec, read_payload};
use super::signing::Signer;
use super::*;
use crate::auth::testing::NOW;
use crate::config::settings::IdentityMap;
use crate::secret::Secret;

const HOUR: Duration = Duration::from_hours(1);

fn keys(texts: &[&str]) -> Vec<Secret<Vec<u8>>> {
    let secret = |text: &&str| Secret::new(text.as_bytes().to_vec());
    texts.iter().map(secret).collect()
}

fn data(value: Value) -> Data {
    serde_json::from_value(value).unwrap()
}

fn map(user: &[&str]) -> SessionIdentity {
    SessionIdentity {
        user: user.iter().map(|key| (*key).to_owned()).collect(),
        others: IdentityMap {
            user: String::new(),
            roles: vec!["roles".to_owned(), "profile.role".to_owned()],
            email: Some("profile.email".to_owned()),
            name: Some("name".to_owned()),
        },
    }
}

fn b64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

/// Flask's cookie, signed at a second.
fn flask_cookie(secret: &str, json: &str, at: i64) -> String {
    use base64::Engine as _;
    let bytes = at.to_be_bytes();
    let at = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&bytes[4..]);
    Signer::itsdangerous("cookie-session", &keys(&[secret])).sign(&format!("{}.{at}", b64(json)))
}

#[test]
fn the_first_user_key_that_is_there_names_the_user() {
    let session = data(
        json!({ "_user_id": null, "user_id": 7, "roles": ["a"], "profile": { "role": "b", "email": "x@y" } }),
    );
    let (user, roles, email, name) = identity(&session, &map(&["_user_id", "user_id"])).unwrap();
    assert_eq!(
        (user.as_str(), email.as_deref(), name),
        ("7", Some("x@y"), None)
    );
    assert_eq!(roles, ["a", "b"]);
}

#[test]
fn a_session_without_a_user_is_anonymous_and_one_with_an_odd_user_malformed() {
    let code = |value| identity(&data(value), &map(&["u"])).unwrap_err().code();
    assert_eq!(code(json!({})), Code::SessionAnonymous);
    assert_eq!(code(json!({ "u": null })), Code::SessionAnonymous);
    assert_eq!(code(json!({ "u": " " })), Code::SessionAnonymous);
    for odd in [
        json!(true),
        json!(2.5),
        json!([1]),
        json!({}),
        json!(" 2"),
        json!("a\u{fffd}"),
        json!(1e30),
    ] {
        assert_eq!(code(json!({ "u": odd })), Code::SessionMalformed);
    }
}

#[test]
fn a_password_is_digested_as_simplejwt_does() {
    assert_eq!(
        password_digest("password"),
        "5F4DCC3B5AA765D61D8327DEB882CF99"
    );
}

#[test]
fn a_session_that_ends_right_now_is_over() {
    let micro = Duration::from_micros(1);
    let at = |end| unexpired(Expiry::At(end), &TimeZone::UTC, NOW);
    assert_eq!(at(NOW).unwrap_err().code(), Code::SessionExpired);
    assert_eq!(
        at(NOW.saturating_add(micro)).unwrap(),
        Some(NOW.saturating_add(micro))
    );
    assert_eq!(
        unexpired(Expiry::ByStore, &TimeZone::UTC, NOW).unwrap(),
        None
    );
    let missing = unexpired(Expiry::Missing, &TimeZone::UTC, NOW).unwrap_err();
    assert_eq!(missing.code(), Code::SessionExpired);
}

#[test]
fn a_time_without_a_zone_is_a_time_of_day_where_the_app_is() {
    let zone = TimeZone::get("America/New_York").unwrap();
    let at = |text: &str| {
        let at: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_unix_micros(at.as_microsecond())
    };
    let ends =
        |end: &str, now: &str| unexpired(Expiry::Local(end.parse().unwrap()), &zone, at(now)).ok();
    assert_eq!(
        ends("2025-12-31T20:00:00", "2026-01-01T00:59:59Z"),
        Some(Some(at("2026-01-01T01:00:00Z")))
    );
    assert_eq!(ends("2025-12-31T20:00:00", "2026-01-01T01:00:00Z"), None);
    // 01:30 stands twice on this night. Django looks at the clock on the wall.
    assert_eq!(
        ends("2026-11-01T01:30:00", "2026-11-01T05:15:00Z"),
        Some(Some(at("2026-11-01T05:30:00Z")))
    );
    assert_eq!(ends("2026-11-01T01:30:00", "2026-11-01T05:45:00Z"), None);
    assert_eq!(
        ends("2026-11-01T01:30:00", "2026-11-01T06:15:00Z"),
        Some(Some(at("2026-11-01T06:30:00Z")))
    );
    // 02:30 is left out on this one.
    assert!(ends("2026-03-08T02:30:00", "2026-03-08T06:59:00Z").is_some());
    assert_eq!(ends("2026-03-08T02:30:00", "2026-03-08T07:00:00Z"), None);
}

#[test]
fn another_secret_key_is_named_as_the_likely_cause() {
    let cookie = flask_cookie("theirs", r#"{"user_id":7}"#, NOW.unix_seconds());
    let denial = FlaskCodec::new(&keys(&["ours"]))
        .read(&cookie, HOUR, NOW)
        .unwrap_err();
    assert_eq!(denial.code(), Code::SessionSignature);
    assert_eq!(denial.www_authenticate(), Some(Challenge::Bearer));
    assert!(
        denial
            .operator_note()
            .unwrap()
            .contains("is SECRET_KEY the same")
    );
    assert!(
        FlaskCodec::new(&keys(&["ours", "theirs"]))
            .read(&cookie, HOUR, NOW)
            .is_ok()
    );
}

#[test]
fn flask_counts_a_cookies_age_in_whole_seconds() {
    let codec = FlaskCodec::new(&keys(&["k"]));
    let cookie = flask_cookie("k", r#"{"user_id":7}"#, NOW.unix_seconds());
    let (_data, end) = codec.read(&cookie, HOUR, NOW).unwrap();
    let last = Timestamp::from_unix_micros(end.unix_micros() - 1);
    assert!(codec.read(&cookie, HOUR, last).is_ok());
    assert_eq!(
        codec.read(&cookie, HOUR, end).unwrap_err().code(),
        Code::SessionExpired
    );
    let before = NOW.saturating_sub(Duration::from_secs(2));
    let future = codec.read(&cookie, HOUR, before).unwrap_err();
    assert_eq!(future.code(), Code::SessionExpired);
    assert!(future.operator_note().unwrap().contains("NTP"));
}

#[test]
fn a_django_cookie_holds_to_the_microsecond_of_its_age() {
    let codec = DjangoCodec::new(&keys(&["k"]));
    let signer = Signer::django(
        "django.contrib.sessions.backends.signed_cookies",
        &keys(&["k"]),
    );
    let cookie = signer.sign(&format!("{}:1vb66i", b64(r#"{"a":1}"#)));
    let begun = Timestamp::from_unix_seconds(1_767_225_600);
    let (_data, end) = codec.read_cookie(&cookie, HOUR, begun).unwrap();
    assert_eq!(end, begun.saturating_add(HOUR + Duration::from_micros(1)));
    assert!(
        codec
            .read_cookie(&cookie, HOUR, begun.saturating_add(HOUR))
            .is_ok()
    );
    let over = codec.read_cookie(&cookie, HOUR, end).unwrap_err();
    assert_eq!(over.code(), Code::SessionExpired);
    assert!(
        codec.read_row(cookie.as_bytes()).is_err(),
        "a cookie is no row"
    );
}

#[test]
fn a_changed_password_and_another_key_are_both_named() {
    let codec = DjangoCodec::new(&keys(&["k"]));
    let denial = codec
        .check_user(
            &data(json!({ "_auth_user_hash": "0" })),
            "x",
            Hashed::ByDjango,
        )
        .unwrap_err();
    assert_eq!(denial.code(), Code::SessionUserChanged);
    let note = denial.operator_note().unwrap();
    assert!(note.contains("password") && note.contains("SECRET_KEY"));
    for hashed in [Hashed::ByDjango, Hashed::ByChannels] {
        assert!(codec.check_user(&Data::new(), "", hashed).is_err());
        let keyless = DjangoCodec::new(&[]);
        assert!(keyless.check_user(&Data::new(), "", hashed).is_err());
    }
}

#[test]
fn a_session_of_nobody_says_to_the_operator_why() {
    let codec = DjangoCodec::new(&keys(&["k"]));
    let listed = DjangoCodec::new(&keys(&["k"])).with_backends(Some(&["a.Backend".into()]));
    let signed_in =
        json!({ "_auth_user_id": "7", "_auth_user_backend": "b.Backend", "_auth_user_hash": "0" });
    for (codec, session, word) in [
        (&codec, json!({ "basket": 1 }), "_auth_user_id"),
        (
            &codec,
            json!({ "_auth_user_id": "7", "_auth_user_backend": "a" }),
            "_auth_user_hash",
        ),
        (&listed, signed_in.clone(), "b.Backend"),
    ] {
        let denial = codec.signed_in(&data(session)).unwrap_err();
        assert_eq!(denial.code(), Code::SessionAnonymous);
        let note = denial.operator_note().unwrap();
        assert!(note.contains(word), "{note}");
        assert!(!denial.detail().contains(word), "that is the operator's");
    }
    assert_eq!(codec.signed_in(&data(signed_in)).unwrap(), "7");
}

#[test]
fn on_a_websocket_an_older_key_does_not_do_because_channels_would_end_the_session() {
    let (new, old) = (keys(&["new", "old"]), keys(&["old"]));
    let salt = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash";
    let key = &signing::django_keys(salt, &old)[0];
    let hash = django::auth_hash(key, "stored");
    let session = data(json!({ "_auth_user_hash": hash }));
    let codec = DjangoCodec::new(&new);
    assert!(codec.differs_on_channels());
    assert!(!DjangoCodec::new(&old).differs_on_channels());
    assert!(
        codec
            .check_user(&session, "stored", Hashed::ByDjango)
            .is_ok()
    );
    let denial = codec.check_user(&session, "stored", Hashed::ByChannels);
    let note = denial.unwrap_err().operator_note().unwrap().to_owned();
    assert!(note.contains("Channels"), "{note}");
}

#[test]
fn what_could_not_be_a_session_key_is_not_asked_for() {
    assert!(DjangoCodec::check_key("v9kg9ladqdla4rsjdncdw47zp8juu04o").is_ok());
    for key in [
        "",
        "short",
        "with blank in it",
        "quote\"quote",
        "it's quoted",
        "new\nlines",
        "ééééééééé",
        "a\0bcdefgh",
        &"a".repeat(129),
    ] {
        assert_eq!(
            DjangoCodec::check_key(key).unwrap_err().code(),
            Code::SessionMalformed
        );
    }
}

#[test]
fn mixed_up_cookies_are_told_apart() {
    let note = |denial: Denial| denial.operator_note().unwrap().to_owned();
    let off = IdCodec::new(None);
    assert!(note(off.id("abcdefghij.signature").unwrap_err()).contains("`signer` is off"));
    assert!(note(off.id("eyJhIjoxfQ.aVW5AA.sig").unwrap_err()).contains("flask-cookie"));
    let on = IdCodec::new(Some(&keys(&["k"])));
    assert!(note(on.id("abcdefghij").unwrap_err()).contains("SESSION_USE_SIGNER is off"));
    let signed = Signer::itsdangerous("flask-session", &keys(&["k"])).sign("abcdefghij");
    assert_eq!(on.id(&signed).unwrap(), "abcdefghij");
    let fallback = IdCodec::new(Some(&keys(&["new", "k"])));
    assert_eq!(
        fallback.id(&signed).unwrap_err().code(),
        Code::SessionSignature
    );
}

#[test]
fn an_empty_session_is_nobodys() {
    let code = |bytes: &[u8]| read_payload(bytes).unwrap_err().code();
    assert_eq!(code(b"\x81\xaa_permanent\xc3"), Code::SessionAnonymous);
    assert_eq!(code(b"{}"), Code::SessionAnonymous);
    assert_eq!(code(b""), Code::SessionAnonymous);
    assert_eq!(code(b"[1]"), Code::SessionMalformed);
}

#[test]
fn nothing_secret_is_in_debug() {
    let secrets = keys(&["hunter2-hunter2"]);
    let text = format!(
        "{:?} {:?} {:?}",
        DjangoCodec::new(&secrets),
        FlaskCodec::new(&secrets),
        IdCodec::new(Some(&secrets))
    );
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("hashes: 1 keys"), "{text}");
}
