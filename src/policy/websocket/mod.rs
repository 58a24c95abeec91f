//! Is a request a WebSocket handshake, whose origin, which subprotocol (RFC 6455 §4, RFC 8441).
//!
//! What is said in frames stands beside it: [`close`] has the close frames that the gateway makes
//! itself, [`edge`] tells where one may stand in a stream.

pub mod close;
pub mod edge;

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

/// How a request asks for a WebSocket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opening {
    /// By the headers of HTTP/1.1 (RFC 6455 §4.1), if at all.
    #[default]
    Upgrade,
    /// By an extended `CONNECT` of HTTP/2 (RFC 8441 §5), which is judged as the `GET` that the app
    /// will get of it.
    ExtendedConnect,
}

/// A client's opening handshake, well formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// `Sec-WebSocket-Key`, as the app gets it.
    pub key: Box<str>,
    protocols: SmallVec<[HeaderValue; 1]>,
}

impl Handshake {
    /// The subprotocols that the client offered, in its order, without the token that stands
    /// behind `bearer` in the place of one.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        offered(&self.protocols)
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
    opening: Opening,
    version: Version,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<Handshake>, Denial> {
    if opening == Opening::Upgrade {
        if single(headers, &UPGRADE).is_none()
            || !lists(headers, &UPGRADE, b"websocket")
            || !lists(headers, &CONNECTION, b"upgrade")
        {
            return Ok(None);
        }
        if version != Version::HTTP_11 || *method != Method::GET {
            return Err(refuse("a WebSocket handshake is a GET of HTTP/1.1"));
        }
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
    // One may be a token: no Debug shows them.
    let hidden = |mut line: HeaderValue| {
        line.set_sensitive(true);
        line
    };
    let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().cloned();
    Ok(Some(Handshake {
        key: key.into(),
        protocols: protocols.map(hidden).collect(),
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

/// The one line of a header; `None` where there is none, or more than one.
#[must_use]
pub fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
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

/// The text of 16 bytes, drawn at random, as `Sec-WebSocket-Key` has them.
#[must_use]
pub fn key_of(drawn: [u8; 16]) -> String {
    STANDARD.encode(drawn)
}

/// Takes the token out that stands behind `bearer` in `Sec-WebSocket-Protocol`; `bearer` and what
/// else the client offers stay, on one line.
pub fn strip_bearer(headers: &mut HeaderMap) {
    let lines: SmallVec<[HeaderValue; 1]> = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .cloned()
        .collect();
    if lines.is_empty() {
        return;
    }
    let kept: Vec<_> = offered(&lines).collect();
    match HeaderValue::try_from(kept.join(", ")) {
        Ok(kept) if !kept.is_empty() => drop(headers.insert(SEC_WEBSOCKET_PROTOCOL, kept)),
        Ok(_) | Err(_) => drop(headers.remove(SEC_WEBSOCKET_PROTOCOL)),
    }
}

/// What these lines offer, without a token behind `bearer`.
fn offered(lines: &[HeaderValue]) -> impl Iterator<Item = &str> {
    let mut before = "";
    lines
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
mod tests;
