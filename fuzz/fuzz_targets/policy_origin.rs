//! Any text as an origin, of a request or of a rule: a rule allows whole labels of its own names
//! and nothing that only looks like them.
#![no_main]

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use portcullis::policy::cors::{AllowedHeaders, CorsRule, CorsTerms, OriginPattern};
use portcullis::policy::websocket::strip_token;

fn rule(origins: Vec<OriginPattern>) -> Option<CorsRule> {
    CorsRule::new(CorsTerms {
        name: "fuzz".into(),
        origins,
        credentials: true,
        methods: None,
        headers: AllowedHeaders::Any,
        expose: Vec::new(),
        max_age: Duration::ZERO,
        private_network: false,
    })
    .ok()
}

fn is_label(label: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !label.is_empty() && label.bytes().all(letter)
}

fuzz_target!(|text: &str| {
    let names = [
        "https://example.com",
        "https://*.example.com",
        "http://localhost:3000",
    ];
    let patterns = names.map(|name| OriginPattern::parse(name).expect("an origin"));
    let fixed = rule(patterns.to_vec()).expect("a rule");
    for origin in [
        text.to_owned(),
        format!("https://{text}.example.com"),
        format!("{}{text}", names[0]),
    ] {
        let Ok(value) = HeaderValue::from_str(&origin) else {
            continue;
        };
        let labels = origin
            .strip_prefix("https://")
            .and_then(|rest| rest.strip_suffix(".example.com"));
        let wanted = origin == names[0]
            || origin == names[2]
            || labels.is_some_and(|labels| labels.len() <= 253 && labels.split('.').all(is_label));
        assert_eq!(fixed.allows(&value), wanted, "{origin}");
        let mut answer = HeaderMap::new();
        fixed.decorate(Some(&value), &mut answer);
        assert_eq!(answer.contains_key("access-control-allow-origin"), wanted);
        assert_eq!(
            answer.get("vary").map(HeaderValue::as_bytes),
            Some(&b"Origin"[..])
        );
    }
    if let Ok(pattern) = OriginPattern::parse(text) {
        assert_eq!(
            OriginPattern::parse(&pattern.to_string()).as_ref(),
            Ok(&pattern)
        );
        if let Some(rule) = rule(vec![pattern]) {
            assert!(!rule.allows(&HeaderValue::from_static("null")));
        }
    }
    if let Some(left) = strip_token(text, "token") {
        assert_eq!(strip_token(&left, "token").as_deref(), Some(&*left));
    }
});
