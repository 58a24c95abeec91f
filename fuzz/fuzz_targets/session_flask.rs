//! Any bytes as a Flask session, and any payload under a good signature: an answer, no panic.
#![no_main]

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use portcullis::auth::{SampleFormat, read_sample};
use portcullis::clock::Timestamp;

const SECRET: &[u8] = b"a secret that is long enough for the fuzzing of sessions";
const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);

fn sign(value: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET);
    let derived = hmac::sign(&key, b"cookie-session");
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, derived.as_ref());
    let tag = hmac::sign(&key, value.as_bytes());
    format!("{value}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

fuzz_target!(|data: &[u8]| {
    // Nobody guesses a signature.
    assert!(read_sample(SampleFormat::FlaskCookie, SECRET, data, NOW).is_err());
    assert!(read_sample(SampleFormat::FlaskRemember, SECRET, data, NOW).is_err());
    let text = String::from_utf8_lossy(data);
    let payload = URL_SAFE_NO_PAD.encode(data);
    for value in [
        text.into_owned(),
        format!("{payload}.aVW5AA"),
        format!(".{payload}.aVW5AA"),
    ] {
        let _ = read_sample(SampleFormat::FlaskCookie, SECRET, sign(&value).as_bytes(), NOW);
    }
});
