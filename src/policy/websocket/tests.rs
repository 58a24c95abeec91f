use std::time::Duration;

use super::*;
use crate::policy::cors::{AllowedHeaders, CorsTerms, OriginPattern};
use crate::policy::forwarded::{TrustedProxies, resolve};
use crate::policy::host::parse_authority;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn headers(changes: &[(&'static str, Option<&str>)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "app.example.com"),
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", KEY),
        ("sec-websocket-version", "13"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in changes {
        headers.remove(*name);
        if let Some(value) = value {
            headers.insert(*name, HeaderValue::from_str(value).unwrap());
        }
    }
    headers
}

fn read(changes: &[(&'static str, Option<&str>)]) -> Result<Option<Handshake>, Denial> {
    handshake(
        Opening::Upgrade,
        Version::HTTP_11,
        &Method::GET,
        &headers(changes),
    )
}

#[test]
fn a_good_handshake_is_read() {
    let handshake = read(&[("sec-websocket-protocol", Some("chat, superchat"))])
        .unwrap()
        .unwrap();
    assert_eq!(&*handshake.key, KEY);
    assert!(handshake.offers("chat") && handshake.offers("superchat"));
    assert!(
        !handshake.offers("Chat") && !handshake.offers("") && !handshake.offers("chat, superchat")
    );
    assert!(
        read(&[("upgrade", Some("h2c, WebSocket"))])
            .unwrap()
            .is_some()
    );
    assert!(read(&[("content-length", Some("0"))]).unwrap().is_some());
}

#[test]
fn a_token_in_the_place_of_a_subprotocol_is_never_offered() {
    let lines = [("sec-websocket-protocol", Some("bearer, eyJ.a.b, chat"))];
    let handshake = read(&lines).unwrap().unwrap();
    assert_eq!(
        handshake.protocols().collect::<Vec<_>>(),
        ["bearer", "chat"]
    );
    assert!(!handshake.offers("eyJ.a.b"));
    let shown = format!("{handshake:?}");
    assert!(!shown.contains("eyJ"), "{shown}");
}

#[test]
fn another_upgrade_is_an_ordinary_request() {
    for upgrade in ["h2c", "TLS/1.0", "foo", "websockets", ""] {
        assert_eq!(
            read(&[("upgrade", Some(upgrade))]).unwrap(),
            None,
            "{upgrade}"
        );
    }
    assert_eq!(read(&[("upgrade", None)]).unwrap(), None);
    assert_eq!(read(&[("connection", None)]).unwrap(), None);
    assert_eq!(read(&[("connection", Some("keep-alive"))]).unwrap(), None);
}

#[test]
fn a_bad_handshake_is_refused() {
    for (name, value) in [
        ("sec-websocket-key", None),
        ("sec-websocket-key", Some("short")),
        ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ=")),
        ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ==x")),
        ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZR==")),
        ("sec-websocket-version", None),
        ("sec-websocket-version", Some("12")),
        ("sec-websocket-version", Some("13, 12")),
        ("content-length", Some("5")),
        ("transfer-encoding", Some("chunked")),
    ] {
        let denial = read(&[(name, value)]).unwrap_err();
        assert_eq!(denial.code(), Code::BadRequest, "{name} {value:?}");
    }
    let mut twice = headers(&[]);
    twice.append("sec-websocket-key", HeaderValue::from_static(KEY));
    assert!(handshake(Opening::Upgrade, Version::HTTP_11, &Method::GET, &twice).is_err());
    assert!(
        handshake(
            Opening::Upgrade,
            Version::HTTP_10,
            &Method::GET,
            &headers(&[])
        )
        .is_err()
    );
    assert!(
        handshake(
            Opening::Upgrade,
            Version::HTTP_11,
            &Method::POST,
            &headers(&[])
        )
        .is_err()
    );
}

#[test]
fn the_answer_to_a_key_is_that_of_the_rfc() {
    assert_eq!(accept_for(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn a_page_of_another_site_opens_no_socket() {
    let authority = parse_authority("app.example.com").unwrap();
    let peer = "192.0.2.1".parse().unwrap();
    let client = resolve(
        &TrustedProxies::default(),
        peer,
        true,
        &authority,
        &HeaderMap::new(),
    );
    let rule = |origin| {
        CorsRule::new(CorsTerms {
            name: "web".into(),
            origins: vec![OriginPattern::parse(origin).unwrap()],
            credentials: false,
            methods: None,
            headers: AllowedHeaders::default(),
            expose: Vec::new(),
            max_age: Duration::ZERO,
            private_network: false,
        })
        .unwrap()
    };
    let front = rule("https://front.example");
    let judged = |origin: &'static str, rule: Option<&CorsRule>| {
        check_origin(Some(&HeaderValue::from_static(origin)), &client, rule)
    };
    assert!(check_origin(None, &client, None).is_ok());
    assert!(judged("https://app.example.com", None).is_ok());
    assert!(judged("https://front.example", Some(&front)).is_ok());
    for origin in ["https://evil.example", "null", "", "http://app.example.com"] {
        assert_eq!(
            judged(origin, None).unwrap_err().code(),
            Code::OriginNotAllowed
        );
        assert!(judged(origin, Some(&front)).is_err());
        assert!(judged(origin, Some(&rule("*"))).is_err());
    }
    assert!(judged("https://front.example", None).is_err());
}

#[test]
fn a_token_is_stripped_from_the_query_in_every_spelling() {
    assert_eq!(strip_token("token=x", "token"), None);
    assert_eq!(
        strip_token("a=1&token=x&b=2", "token").as_deref(),
        Some("a=1&b=2")
    );
    assert_eq!(
        strip_token("%74oken=x&token&token=y&a=1", "token").as_deref(),
        Some("a=1")
    );
    assert_eq!(strip_token("my+token=x&my%20token=x", "my token"), None);
    assert_eq!(
        strip_token("tokens=1&xtoken=2", "token").as_deref(),
        Some("tokens=1&xtoken=2")
    );
    assert_eq!(strip_token("", "token"), None);
}

#[test]
fn a_token_behind_bearer_is_taken_out_and_all_else_stays() {
    let stripped = |lines: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(line));
        }
        strip_bearer(&mut headers);
        let left = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        left.map(|line| line.to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(stripped(&["bearer, eyJ.a.b"]), ["bearer"]);
    assert_eq!(
        stripped(&["chat,Bearer ,eyJ.a.b, v2"]),
        ["chat, Bearer, v2"]
    );
    assert_eq!(
        stripped(&["chat, bearer", "eyJ.a.b, v2"]),
        ["chat, bearer, v2"]
    );
    assert_eq!(stripped(&["chat, v2"]), ["chat, v2"]);
    assert!(stripped(&[]).is_empty() && stripped(&[", ,"]).is_empty());
}
