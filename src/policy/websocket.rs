//! Is a request a WebSocket handshake, whose origin, which subprotocol (RFC 6455 §4).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use percent_encoding::percent_decode;
use smallvec::SmallVec;

use crate::policy::cors::{CorsRule, shown};
use crate::policy::denial::{Code, Denial};
use crate::policy::forwarded::Client;

/// A client's opening handshake, well formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// `Sec-WebSocket-Key`, as it came.
    pub key: Box<str>,
    protocols: SmallVec<[HeaderValue; 1]>,
}

impl Handshake {
    /// The subprotocols that the client offered, in its order, without the token that stands
    /// behind `bearer` in the place of one.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        let mut before = "";
        self.protocols
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .filter(move |name| {
                let is_token = before.eq_ignore_ascii_case("bearer");
                before = if is_token { "" } else { name };
                !is_token && !name.is_empty()
            })
    }

    /// Whether the client offered a subprotocol. Names are compared as they are (RFC 6455 §4.1).
    #[must_use]
    pub fn offers(&self, protocol: &str) -> bool {
        self.protocols().any(|name| name == protocol)
    }
}

/// Reads a request's handshake. `None` for a request that is none, or that asks on two lines: what
/// it says in `Upgrade` then goes no further (RFC 9110 §7.8 leaves it to the server to ignore it).
///
/// # Errors
///
/// `bad_request` for one that asks for `websocket` and is not as RFC 6455 §4.1 wants it.
pub fn handshake(
    version: Version,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<Handshake>, Denial> {
    if single(headers, &UPGRADE).is_none()
        || !lists(headers, &UPGRADE, b"websocket")
        || !lists(headers, &CONNECTION, b"upgrade")
    {
        return Ok(None);
    }
    if version != Version::HTTP_11 || *method != Method::GET {
        return Err(refuse("a WebSocket handshake is a GET of HTTP/1.1"));
    }
    let empty = headers
        .get(CONTENT_LENGTH)
        .is_none_or(|length| length == "0");
    if !empty || headers.contains_key(TRANSFER_ENCODING) {
        return Err(refuse("a WebSocket handshake has no body").closing());
    }
    if single(headers, &SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(refuse(
            "Sec-WebSocket-Version must be there once and say `13`",
        ));
    }
    let key = single(headers, &SEC_WEBSOCKET_KEY)
        .and_then(|key| key.to_str().ok())
        .filter(|key| is_key(key))
        .ok_or_else(|| refuse("Sec-WebSocket-Key must be there once, 16 bytes in base64"))?;
    let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().cloned();
    Ok(Some(Handshake {
        key: key.into(),
        protocols: protocols.collect(),
    }))
}

fn refuse(detail: &'static str) -> Denial {
    Denial::new(Code::BadRequest, detail)
}

/// Whether a header lists a word, in any case.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &[u8]) -> bool {
    headers.get_all(name).iter().any(|line| {
        let mut words = line.as_bytes().split(|byte| *byte == b',');
        words.any(|have| have.trim_ascii().eq_ignore_ascii_case(word))
    })
}

fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

fn is_key(key: &str) -> bool {
    let mut bytes = [0; 18];
    key.len() == 24 && STANDARD.decode_slice(key, &mut bytes) == Ok(16)
}

/// Whether an answer with 101 says what it switches to (RFC 6455 §4.1, items 2 and 3 of what a
/// client checks).
#[must_use]
pub fn is_switch(headers: &HeaderMap) -> bool {
    let to = single(headers, &UPGRADE);
    to.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && lists(headers, &CONNECTION, b"upgrade")
}

/// What `Sec-WebSocket-Accept` must say to a key (RFC 6455 §4.2.2): its SHA-1 with a fixed text.
#[must_use]
pub fn accept_for(key: &str) -> String {
    const FIXED: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let mut text = Vec::with_capacity(key.len() + FIXED.len());
    text.extend_from_slice(key.as_bytes());
    text.extend_from_slice(FIXED.as_bytes());
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text))
}

/// Checks whose page opens a socket. A browser sends cookies with a handshake from any site and no
/// preflight before it, so the origin, where sent, is the own one or one that `cors` names; `*`
/// names none.
///
/// # Errors
///
/// `origin_not_allowed`, with a note that names what is missing in which rule.
pub fn check_origin(
    origin: Option<&HeaderValue>,
    client: &Client,
    cors: Option<&CorsRule>,
) -> Result<(), Denial> {
    let Some(origin) = origin else {
        return Ok(());
    };
    if client.is_at_origin(origin.as_bytes()) || cors.is_some_and(|rule| rule.names(origin)) {
        return Ok(());
    }
    if let Some(rule) = cors {
        return Err(rule.refusal(Some(origin)));
    }
    let note = format!(
        "{} is not {}://{}, and the route has no `cors`: give it a rule that names the origin",
        shown(origin),
        client.scheme,
        client.host.to_str().unwrap_or_default(),
    );
    let detail = "this origin is not allowed to open a WebSocket here";
    Err(Denial::new(Code::OriginNotAllowed, detail).note(note))
}

/// A query without the parameters of a name, in whatever encoding; `None` when nothing is left.
#[must_use]
pub fn strip_token(query: &str, name: &str) -> Option<String> {
    let is_it = |pair: &str| {
        let key = pair.split('=').next().unwrap_or_default();
        key == name || percent_decode(key.replace('+', " ").as_bytes()).eq(name.bytes())
    };
    let mut left = String::with_capacity(query.len());
    for pair in query.split('&').filter(|pair| !is_it(pair)) {
        if !left.is_empty() {
            left.push('&');
        }
        left.push_str(pair);
    }
    (!left.is_empty()).then_some(left)
}

#[cfg(test)]
mod tests {
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
        handshake(Version::HTTP_11, &Method::GET, &headers(changes))
    }

    #[test]
    fn a_good_handshake_is_read() {
        let handshake = read(&[("sec-websocket-protocol", Some("chat, superchat"))])
            .unwrap()
            .unwrap();
        assert_eq!(&*handshake.key, KEY);
        assert!(handshake.offers("chat") && handshake.offers("superchat"));
        assert!(
            !handshake.offers("Chat")
                && !handshake.offers("")
                && !handshake.offers("chat, superchat")
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
        assert!(handshake(Version::HTTP_11, &Method::GET, &twice).is_err());
        assert!(handshake(Version::HTTP_10, &Method::GET, &headers(&[])).is_err());
        assert!(handshake(Version::HTTP_11, &Method::POST, &headers(&[])).is_err());
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
}
