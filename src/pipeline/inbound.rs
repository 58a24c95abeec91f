//! An app's answer on its way to the client.

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, SET_COOKIE, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};

use super::body::Body;
use super::respond::REFUSED_BY;
use crate::clock::Timestamp;
use crate::policy::denial::{Code, Denial};
use crate::policy::forwarded::Scheme;
use crate::policy::headers::cleanse_answer;
use crate::policy::set_cookie::Repairs;
use crate::policy::websocket::{self, Handshake};
use crate::upstream::client::AnswerOr;
use crate::upstream::outbound::STICKY_COOKIE;
use crate::upstream::tunnel::Handover;

/// Makes the client's answer of the app's, and gives the connection back where it is a tunnel now.
/// The app's cookies are repaired; the gateway's own, which is added after, is whole.
///
/// # Errors
///
/// `upstream_invalid` for a 101 that does not answer the client's handshake (RFC 6455 §4.1).
pub(super) fn accept(
    (response, sticky): (Response<AnswerOr>, Option<u64>),
    handshake: Option<&Handshake>,
    scheme: Scheme,
    (repairs, now): (&Repairs, Timestamp),
) -> Result<(Response<Body>, Option<Box<Handover>>), Denial> {
    let (mut head, body) = response.into_parts();
    let switches =
        head.status == StatusCode::SWITCHING_PROTOCOLS && websocket::is_switch(&head.headers);
    cleanse_answer(&mut head.headers);
    repairs.apply(&mut head.headers, now);
    head.version = Version::HTTP_11;
    if let Some(id) = sticky {
        // Over plain http a browser would drop a cookie that says Secure.
        let secure = match scheme {
            Scheme::Https => "; Secure",
            Scheme::Http => "",
        };
        let cookie = format!("{STICKY_COOKIE}={id:016x}; Path=/; HttpOnly; SameSite=Lax{secure}");
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            head.headers.append(SET_COOKIE, cookie);
        }
    }
    if head.status.is_client_error() || head.status.is_server_error() {
        head.headers
            .insert(REFUSED_BY, HeaderValue::from_static("app"));
    }
    let (body, tunnel) = match body {
        AnswerOr::Empty => (Body::empty(), None),
        AnswerOr::Body(body) => (Body::app(body), None),
        AnswerOr::Tunnel(tunnel) => {
            check_switch(&head.headers, switches, handshake)?;
            head.headers
                .insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            head.headers
                .insert(UPGRADE, HeaderValue::from_static("websocket"));
            (Body::empty(), Some(tunnel))
        }
    };
    debug_assert!(tunnel.is_none() || head.status == StatusCode::SWITCHING_PROTOCOLS);
    Ok((Response::from_parts(head, body), tunnel))
}

/// Drops the lines that set a cookie of this name: the gateway's own, which no app may plant.
pub(super) fn drop_cookie(headers: &mut HeaderMap, name: &str) {
    let sets = |line: &HeaderValue| {
        let line = line.as_bytes().trim_ascii_start();
        let rest = line.strip_prefix(name.as_bytes());
        rest.is_some_and(|rest| rest.trim_ascii_start().first() == Some(&b'='))
    };
    if !headers.get_all(SET_COOKIE).iter().any(sets) {
        return;
    }
    let lines: Vec<_> = headers.get_all(SET_COOKIE).iter().cloned().collect();
    headers.remove(SET_COOKIE);
    for line in lines.into_iter().filter(|line| !sets(line)) {
        headers.append(SET_COOKIE, line);
    }
}

fn check_switch(
    headers: &HeaderMap,
    switches: bool,
    handshake: Option<&Handshake>,
) -> Result<(), Denial> {
    let refuse = |note: &'static str| {
        Err(Denial::new(
            Code::UpstreamInvalid,
            "the app's WebSocket answer does not fit the handshake",
        )
        .note(note))
    };
    let Some(handshake) = handshake else {
        return refuse("the app switched protocols without being asked to");
    };
    if !switches {
        return refuse("it does not say `Connection: Upgrade` and `Upgrade: websocket`");
    }
    let accept = websocket::accept_for(&handshake.key);
    if websocket::single(headers, &SEC_WEBSOCKET_ACCEPT)
        .is_none_or(|value| value.as_bytes() != accept.as_bytes())
    {
        return refuse("Sec-WebSocket-Accept does not answer Sec-WebSocket-Key");
    }
    if !headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return Ok(());
    }
    // RFC 6455 §11.3.4: on one line. What a second one names would reach the client unchecked.
    match websocket::single(headers, &SEC_WEBSOCKET_PROTOCOL).map(HeaderValue::to_str) {
        Some(Ok(chosen)) if handshake.offers(chosen) => Ok(()),
        Some(_) => refuse("the app chose a subprotocol that the client did not offer"),
        None => refuse("the app chose a subprotocol on two lines"),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::policy::websocket::{Opening, accept_for, handshake};

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    /// What comes of an app's answer with these subprotocols, each on its line.
    fn answered(chosen: &[&str]) -> Option<Code> {
        let mut asked = HeaderMap::new();
        for (name, value) in [
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
            ("sec-websocket-protocol", "chat, bearer, abc"),
        ] {
            asked.insert(name, HeaderValue::from_static(value));
        }
        let opening = Opening::ExtendedConnect;
        let handshake = handshake(opening, Version::HTTP_2, &Method::GET, &asked);
        let mut headers = HeaderMap::new();
        let accept = HeaderValue::try_from(accept_for(KEY)).unwrap();
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        for name in chosen {
            let name = HeaderValue::try_from(*name).unwrap();
            headers.append(SEC_WEBSOCKET_PROTOCOL, name);
        }
        let checked = check_switch(&headers, true, handshake.unwrap().as_ref());
        checked.err().map(|denial| denial.code())
    }

    #[test]
    fn an_app_chooses_one_subprotocol_of_those_offered_and_never_a_token() {
        assert_eq!(answered(&[]), None);
        assert_eq!(answered(&["chat"]), None);
        assert_eq!(answered(&["bearer"]), None);
        for wrong in [
            &["abc"][..],
            &["other"],
            &["chat, abc"],
            &["chat", "abc"],
            &["chat", "chat"],
        ] {
            assert_eq!(answered(wrong), Some(Code::UpstreamInvalid), "{wrong:?}");
        }
    }
}
