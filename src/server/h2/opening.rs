//! An extended `CONNECT` (RFC 8441 §4), made the `GET` that the app gets of it.

use h2::ext::Protocol;
use http::header::SEC_WEBSOCKET_KEY;
use http::request::Parts;
use http::{HeaderValue, Method};

use crate::policy::websocket::{Opening, key_of};

/// Says how a request asks for a WebSocket. One by an extended `CONNECT` becomes a `GET` with a key
/// of the gateway's own, as HTTP/1.1 has it; the client's, which means nothing (RFC 8441 §5), goes.
///
/// h2 has seen to it that scheme, path and authority are there. `CONNECT` for anything else stays
/// what it is, and is refused as that.
pub(super) fn read(head: &mut Parts) -> Opening {
    if head.method != Method::CONNECT {
        return Opening::Upgrade;
    }
    let protocol = head.extensions.remove::<Protocol>();
    if protocol.is_none_or(|protocol| protocol.as_str() != "websocket") {
        return Opening::Upgrade;
    }
    let Some(key) = key() else {
        return Opening::Upgrade;
    };
    head.method = Method::GET;
    head.headers.insert(SEC_WEBSOCKET_KEY, key);
    Opening::ExtendedConnect
}

/// A new `Sec-WebSocket-Key` (RFC 6455 §4.1, item 7 of the request).
fn key() -> Option<HeaderValue> {
    let mut drawn = [0; 16];
    aws_lc_rs::rand::fill(&mut drawn).ok()?;
    HeaderValue::try_from(key_of(drawn)).ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Request, Version};

    use super::*;
    use crate::policy::websocket::handshake;

    fn connect(protocol: Option<&'static str>) -> Parts {
        let mut request = Request::connect("https://app.example.com/ws?token=x")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "theirs");
        if let Some(protocol) = protocol {
            request = request.extension(Protocol::from_static(protocol));
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_handshake_is_read_as_the_get_that_the_app_gets() {
        let mut head = connect(Some("websocket"));
        assert_eq!(read(&mut head), Opening::ExtendedConnect);
        assert_eq!((&head.method, head.uri.path()), (&Method::GET, "/ws"));
        let (version, method) = (Version::HTTP_2, &head.method);
        let read_as = |headers: &HeaderMap| {
            handshake(Opening::ExtendedConnect, version, method, headers)
                .unwrap()
                .unwrap()
        };
        let first = read_as(&head.headers).key;
        assert!(&*first != "theirs" && first.len() == 24);
        let mut again = connect(Some("websocket"));
        read(&mut again);
        assert_ne!(read_as(&again.headers).key, first);
    }

    #[test]
    fn connect_for_anything_else_stays_connect() {
        for protocol in [None, Some("connect-udp"), Some("WebSocket"), Some("")] {
            let mut head = connect(protocol);
            assert_eq!(read(&mut head), Opening::Upgrade, "{protocol:?}");
            assert_eq!(head.method, Method::CONNECT);
        }
    }
}
