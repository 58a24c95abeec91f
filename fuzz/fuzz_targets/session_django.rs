//! Any bytes as a Django session, and any payload under a good signature: an answer, no panic.
#![no_main]

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use portcullis::auth::{SampleFormat, read_sample};
use portcullis::clock::Timestamp;

const SECRET: &[u8] = b"a secret that is long enough for the fuzzing of sessions";
const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);

fn sign(salt: &str, value: &str) -> String {
    let mut key = Context::new(&SHA256);
    key.update(salt.as_bytes());
    key.update(b"signer");
    key.update(SECRET);
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.finish().as_ref());
    let tag = hmac::sign(&key, value.as_bytes());
    format!("{value}:{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

fuzz_target!(|data: &[u8]| {
    // Nobody guesses a signature.
    assert!(read_sample(SampleFormat::DjangoRow, SECRET, data, NOW).is_err());
    assert!(read_sample(SampleFormat::DjangoCookie, SECRET, data, NOW).is_err());
    let salt = "django.contrib.sessions.SessionStore";
    let text = String::from_utf8_lossy(data);
    let payload = URL_SAFE_NO_PAD.encode(data);
    for value in [
        text.into_owned(),
        format!("{payload}:1vb66i"),
        format!(".{payload}:1vb66i"),
    ] {
        let _ = read_sample(SampleFormat::DjangoRow, SECRET, sign(salt, &value).as_bytes(), NOW);
    }
});
