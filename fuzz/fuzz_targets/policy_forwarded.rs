//! Any `Host`, `X-Forwarded-*` and `Forwarded`: one host, and a client that nobody but a trusted
//! proxy can choose. Lines: host, the four headers, `Forwarded`.
#![no_main]

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use portcullis::policy::forwarded::{TrustedProxies, fields, resolve};
use portcullis::policy::host::parse_authority;

const NAMES: [&str; 5] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "forwarded",
];

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let host = lines.next().unwrap_or_default();
    let authority = match parse_authority(host) {
        Ok(authority) => authority,
        Err(_) => parse_authority("app.example.com").expect("a host"),
    };
    let written = authority.to_string();
    assert_eq!(parse_authority(&written).as_ref(), Ok(&authority));
    assert!(authority.is_written(&written));
    let mut headers = HeaderMap::new();
    for (name, line) in NAMES.iter().zip(lines) {
        if let Ok(value) = HeaderValue::from_str(line) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")]);
    let stranger: IpAddr = [192, 0, 2, 7].into();
    let client = resolve(&trusted, stranger, true, &authority, &headers);
    assert_eq!(client.ip, stranger);
    assert_eq!(client.chain, "192.0.2.7");
    assert_eq!(client.host.to_str().ok(), Some(&*written));
    let client = resolve(&trusted, [10, 0, 0, 1].into(), true, &authority, &headers);
    let chain = client.chain.to_str().expect("text");
    assert!(chain.ends_with("10.0.0.1"));
    assert!(chain.starts_with(&client.ip.to_string()));
    assert!(chain.split(", ").all(|ip| ip.parse::<IpAddr>().is_ok()));
    assert_eq!(client.authority.to_str().ok(), Some(&*written));
    let told = fields(&client);
    for name in &NAMES[..4] {
        let named = told.iter().filter(|(have, _)| have.as_str() == *name);
        assert_eq!(named.count(), 1);
    }
});
