//! Any header lines: after cleansing, no name can be read as one that the gateway owns, by any
//! server that folds names as CGI does. Lines are cut at `\n`, names at the first `:`.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use libfuzzer_sys::fuzz_target;
use portcullis::policy::headers::{Hygiene, check_framing, cleanse_answer, cleanse_trailers};
use portcullis::policy::identity::IdentityNames;

/// How a CGI server names the variable of a header (RFC 3875 §4.1.18).
fn variable(name: &str) -> String {
    let letter = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    name.chars().map(letter).collect()
}

fn read(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(64) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(parts.next().unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

fuzz_target!(|data: &[u8]| {
    let identity = IdentityNames::default();
    let request_id = HeaderName::from_static("x-request-id");
    let sent = read(data);
    for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
        let _ = check_framing(version, &Method::POST, &sent);
    }
    for keep in [false, true] {
        let hygiene = Hygiene::compile(&identity, keep, &request_id);
        let mut headers = sent.clone();
        hygiene.cleanse(&mut headers, false);
        let mut trailers = sent.clone();
        cleanse_trailers(&hygiene, &mut trailers);
        for name in headers.keys().chain(trailers.keys()) {
            let read = variable(name.as_str());
            assert!(
                identity
                    .owned()
                    .all(|owned| read != variable(owned.as_str())),
                "{name}"
            );
            assert!(
                !read.starts_with("X_FORWARDED_") && read != "FORWARDED",
                "{name}"
            );
            assert!(
                read != "CONNECTION" && read != "TRANSFER_ENCODING",
                "{name}"
            );
            for plain in [
                "host",
                "content-length",
                "cookie",
                "authorization",
                "x-request-id",
            ] {
                assert!(name == plain || read != variable(plain), "{name}");
            }
        }
        assert_eq!(sent.get("host"), headers.get("host"));
        assert!(headers.get_all("cookie").iter().count() <= 1);
        let once = headers.clone();
        hygiene.cleanse(&mut headers, false);
        assert_eq!(once, headers);
    }
    let mut answer = sent;
    cleanse_answer(&mut answer);
    assert!(!answer.contains_key("connection") && !answer.contains_key("transfer-encoding"));
});
