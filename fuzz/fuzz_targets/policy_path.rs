//! Any text as a path: what is judged is what is sent on, and no decoding behind the gateway finds
//! another path in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;
use portcullis::policy::path::{CanonicalPath, PathPattern};

fn judge(raw: &str, merge: bool) {
    let Ok(path) = CanonicalPath::parse(raw, merge) else {
        return;
    };
    let again = CanonicalPath::parse(path.raw(), merge).expect("a canonical path is canonical");
    assert_eq!((again.raw(), again.decoded()), (path.raw(), path.decoded()));
    if !merge {
        assert_eq!(path.raw(), raw);
    }
    let mut text = path.raw().to_owned();
    for _ in 0..3 {
        assert!(!text.contains("//") && !text.contains('\\') && !text.contains('\0'));
        for segment in text.split('/') {
            let name = segment.split(';').next().unwrap_or_default().trim();
            assert!(name != "." && name != "..", "{text}");
        }
        text = percent_decode_str(&text)
            .decode_utf8()
            .expect("UTF-8")
            .into_owned();
    }
    for (strip, add) in [
        (Some("/a"), None),
        (None, Some("/b")),
        (Some("/a/b"), Some("/c/d")),
    ] {
        let sent = path.rewritten(strip, add);
        assert_eq!(
            CanonicalPath::parse(&sent, false)
                .expect("still canonical")
                .raw(),
            sent
        );
    }
    let rest = PathPattern::parse("/{*rest}").expect("a pattern");
    assert!(rest.matches(&path));
}

fuzz_target!(|text: &str| {
    judge(text, false);
    judge(text, true);
    if let Ok(pattern) = PathPattern::parse(text) {
        assert_eq!(pattern.as_str(), text);
    }
});
