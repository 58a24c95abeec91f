//! Readers under attack: any bytes, changed bytes, bombs.

use std::time::Duration;

use proptest::prelude::*;

use super::django::DjangoCodec;
use super::flask::FlaskCodec;
use super::flask_login::RememberCodec;
use super::flask_session::{IdCodec, read_payload};
use super::signing::Signer;
use crate::auth::testing::NOW;
use crate::secret::Secret;

const LIFETIME: Duration = Duration::from_hours(24 * 365 * 10);

fn keys() -> Vec<Secret<Vec<u8>>> {
    vec![
        Secret::new(b"a key".to_vec()),
        Secret::new(b"an older one".to_vec()),
    ]
}

fn django(text: &str) -> String {
    Signer::django("django.contrib.sessions.SessionStore", &keys()).sign(text)
}

fn flask(text: &str) -> String {
    Signer::itsdangerous("cookie-session", &keys()).sign(text)
}

/// A payload that inflates to 100 MiB from less than a cookie's 4 KiB cannot be made by deflate
/// alone; this is what 100 MiB of one byte come to.
fn bomb() -> String {
    use base64::Engine as _;
    use std::io::Write as _;
    let level = flate2::Compression::best();
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
    let mebibyte = vec![b' '; 1 << 20];
    for _time in 0..100 {
        encoder.write_all(&mebibyte).unwrap();
    }
    let bytes = encoder.finish().unwrap();
    format!(
        ".{}",
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
    )
}

#[test]
fn a_signed_bomb_is_refused_at_the_cap() {
    let bomb = bomb();
    let row = DjangoCodec::new(&keys()).read_row(django(&format!("{bomb}:1vb66i")).as_bytes());
    assert!(row.unwrap_err().operator_note().unwrap().contains("1 MiB"));
    let cookie = FlaskCodec::new(&keys()).read(&flask(&format!("{bomb}.aVW5AA")), LIFETIME, NOW);
    assert!(
        cookie
            .unwrap_err()
            .operator_note()
            .unwrap()
            .contains("1 MiB")
    );
}

#[test]
fn an_unsigned_bomb_is_refused_by_its_signature() {
    let cookie = format!("{}.aVW5AA.AAAA", bomb());
    let denial = FlaskCodec::new(&keys())
        .read(&cookie, LIFETIME, NOW)
        .unwrap_err();
    assert_eq!(denial.code(), crate::policy::denial::Code::SessionSignature);
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer_and_none_of_them_passes_a_signature(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let django = DjangoCodec::new(&keys());
        prop_assert!(django.read_row(&bytes).is_err());
        let _ = django.read_cached(&bytes);
        let _ = read_payload(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(django.read_cookie(&text, LIFETIME, NOW).is_err());
        prop_assert!(FlaskCodec::new(&keys()).read(&text, LIFETIME, NOW).is_err());
        prop_assert!(IdCodec::new(Some(&keys())).id(&text).is_err());
        let _ = IdCodec::new(None).id(&text);
        let _ = DjangoCodec::check_key(&text);
        prop_assert!(django.with_sha1(&keys()).read_row(&bytes).is_err());
        let secret = Secret::new(b"a key".to_vec());
        prop_assert!(RememberCodec::new(&secret).read(&text).is_err());
    }

    #[test]
    fn whatever_was_signed_gets_an_answer(text in r"\.?[A-Za-z0-9_=-]{0,80}[:.][A-Za-z0-9_-]{0,12}") {
        let _ = DjangoCodec::new(&keys()).read_row(django(&text).as_bytes());
        let _ = FlaskCodec::new(&keys()).read(&flask(&text), LIFETIME, NOW);
    }

    #[test]
    fn a_session_with_one_changed_byte_is_refused(at in any::<prop::sample::Index>(), put in 33_u8..127) {
        let row = django("eyJhIjoxfQ:1vb66i");
        let cookie = flask("eyJhIjoxfQ.aVW5AA");
        prop_assert!(DjangoCodec::new(&keys()).read_row(row.as_bytes()).is_ok());
        prop_assert!(FlaskCodec::new(&keys()).read(&cookie, LIFETIME, NOW).is_ok());
        for text in [row, cookie] {
            let mut changed = text.clone().into_bytes();
            changed[at.index(text.len())] = put;
            if changed == text.as_bytes() {
                continue;
            }
            let changed = String::from_utf8(changed).unwrap();
            prop_assert!(DjangoCodec::new(&keys()).read_row(changed.as_bytes()).is_err());
            prop_assert!(FlaskCodec::new(&keys()).read(&changed, LIFETIME, NOW).is_err());
        }
    }
}
