//! A request that is never sent, made from a method, a URL and headers as a client would make it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::auth::PeerCertificate;
use crate::gateway::Snapshot;
use crate::pipeline::judge::{Peer, PeerTls};
use crate::policy::denial::Denial;
use crate::policy::host::parse_authority;
use crate::server::framing::{Head, Limits, Violation};

/// A request, and the connection that it would come on.
#[derive(Debug)]
pub(super) struct Ask {
    /// Method.
    pub(super) method: Method,
    /// Target, in origin form.
    pub(super) uri: Uri,
    /// Headers, `Host` included.
    pub(super) headers: HeaderMap,
    /// The connection.
    pub(super) peer: Peer,
    /// Which door it would come to.
    pub(super) door: Door,
    /// What is wrong with its bytes; then `uri` may be a stand-in.
    pub(super) violation: Option<Denial>,
}

/// The doors of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// `server.https`.
    Https,
    /// `server.plain`.
    Plain,
    /// `server.http`, which only redirects.
    Redirect,
}

/// What a request is made from.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    /// Method, as typed.
    pub(super) method: &'a str,
    /// `https://host/path`, as typed.
    pub(super) url: &'a str,
    /// Headers, in order.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether to add what makes it a WebSocket handshake.
    pub(super) websocket: bool,
    /// Where it comes from.
    pub(super) from: IpAddr,
    /// The client certificate that it shows, taken as verified.
    pub(super) certificate: Option<Arc<PeerCertificate>>,
    /// Whether to come to the door that is open on the URL's port; else to one that serves.
    pub(super) by_port: bool,
}

impl Wish<'_> {
    /// Makes the request that would come to this gateway.
    ///
    /// # Errors
    ///
    /// What is wrong with the command line: a URL without a host, a method with a blank in it.
    pub(super) fn ask(self, gate: &Snapshot) -> Result<Ask, String> {
        let method = Method::from_bytes(self.method.as_bytes());
        let method = method.map_err(|_bad| format!("`{}` is not a method", self.method))?;
        let (scheme, authority, target) = split(self.url)?;
        let secure = matches!(scheme, Scheme::Https | Scheme::Wss);
        let known = parse_authority(authority).map_err(|bad| format!("{authority}: {bad}"))?;
        let port = known.port().unwrap_or(if secure { 443 } else { 80 });
        let door = match (self.by_port, secure) {
            (true, _) => door(gate, secure, port),
            (false, true) => Door::Https,
            (false, false) => Door::Plain,
        };
        let tls = (door == Door::Https).then(|| {
            // An address is never sent as SNI (RFC 6066 §3).
            let name = known.ip().is_none().then(|| known.host());
            PeerTls {
                served: gate.tls.served(name),
                server_name: name.map(Box::from),
                version: "TLSv1.3",
                certificate: self.certificate,
            }
        });
        let peer = Peer {
            address: SocketAddr::new(self.from, 0),
            tls,
        };
        let websocket = self.websocket || matches!(scheme, Scheme::Ws | Scheme::Wss);
        let headers = headers(authority, self.headers, websocket)?;
        let limits = Limits::from(&gate.settings.server.limits);
        let violation = violation(&method, target, &headers, limits);
        let uri = Uri::try_from(target).ok();
        if uri.is_none() && violation.is_none() {
            return Err(format!("`{target}` is not a path"));
        }
        Ok(Ask {
            method,
            uri: uri.unwrap_or_default(),
            headers,
            peer,
            door,
            violation,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
    Ws,
    Wss,
}

/// Scheme, host and port, and target. The path stays byte for byte as it was typed: a URL library
/// would resolve the dot segments that are to be judged.
fn split(url: &str) -> Result<(Scheme, &str, &str), String> {
    let wanted = || format!("`{url}` is not an address such as https://localhost:8443/api/");
    let (scheme, rest) = url.split_once("://").ok_or_else(wanted)?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        "ws" => Scheme::Ws,
        "wss" => Scheme::Wss,
        _ => return Err(wanted()),
    };
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end).ok_or_else(wanted)?;
    if authority.is_empty() {
        return Err(wanted());
    }
    // A fragment is never sent (RFC 9110 §7.1).
    let target = target.split('#').next().unwrap_or_default();
    match target {
        "" => Ok((scheme, authority, "/")),
        rooted if rooted.starts_with(['/', '\\']) => Ok((scheme, authority, rooted)),
        _ => Err(format!("`{url}` has no path before its `?`")),
    }
}

/// The door that a request comes to: the one on its port, else the first that fits.
fn door(gate: &Snapshot, secure: bool, port: u16) -> Door {
    let server = &gate.settings.server;
    let on_port = |addresses: &[SocketAddr]| addresses.iter().any(|at| at.port() == port);
    if secure {
        // A load balancer in front may have ended TLS.
        return if server.https.is_empty() {
            Door::Plain
        } else {
            Door::Https
        };
    }
    if on_port(&server.plain) {
        Door::Plain
    } else if on_port(&server.http) || (server.plain.is_empty() && !server.http.is_empty()) {
        Door::Redirect
    } else {
        Door::Plain
    }
}

fn headers(
    authority: &str,
    given: Vec<(HeaderName, HeaderValue)>,
    websocket: bool,
) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        headers
            .try_append(name, value)
            .map_err(|_full| "there are too many headers".to_owned())?;
    }
    if !headers.contains_key(HOST) {
        let host =
            HeaderValue::try_from(authority).map_err(|_bad| format!("{authority}: no host"))?;
        headers.insert(HOST, host);
    }
    if websocket {
        let handshake = [
            (CONNECTION, "Upgrade"),
            (UPGRADE, "websocket"),
            (
                HeaderName::from_static("sec-websocket-key"),
                "dGhlIHNhbXBsZSBub25jZQ==",
            ),
            (HeaderName::from_static("sec-websocket-version"), "13"),
        ];
        for (name, value) in handshake {
            headers
                .entry(name)
                .or_insert(HeaderValue::from_static(value));
        }
    }
    Ok(headers)
}

/// What the reader of a connection says to the bytes of this head.
fn violation(method: &Method, target: &str, headers: &HeaderMap, limits: Limits) -> Option<Denial> {
    let mut head = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let judged = Head::default().advance(&head, &limits);
    judged.err().map(Violation::denial)
}

/// Reads `Name: value`.
///
/// # Errors
///
/// Why it is no header.
pub(super) fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let shown = text.split(':').next().unwrap_or_default();
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| format!("`{shown}` is not a header: write it as 'Name: value'"))?;
    let name = HeaderName::try_from(name.trim())
        .map_err(|_bad| format!("`{shown}` cannot be the name of a header"))?;
    let value = HeaderValue::try_from(value.trim_matches([' ', '\t']))
        .map_err(|_bad| format!("the value of `{shown}` holds bytes that no header can hold"))?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_judged_as_it_was_typed() {
        let (_, host, target) = split("https://a:8443/api/../x?y=/../#z").unwrap();
        assert_eq!((host, target), ("a:8443", "/api/../x?y=/../"));
        assert_eq!(split("http://a").unwrap(), (Scheme::Http, "a", "/"));
        assert_eq!(split("WSS://a/").unwrap(), (Scheme::Wss, "a", "/"));
        assert_eq!(split("https://a\\b").unwrap().2, "\\b");
    }

    #[test]
    fn what_is_no_address_is_told() {
        for bad in ["/path", "localhost", "https://", "ftp://a/", "https:///x"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_header_is_a_name_a_colon_and_a_value() {
        let (name, value) = header("X-Auth-User:  a: b ").unwrap();
        assert_eq!(
            (name.as_str(), value.as_bytes()),
            ("x-auth-user", &b"a: b"[..])
        );
        for bad in ["none", ": x", "a b: c", "a: b\r\nc: d"] {
            assert!(header(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mistake_in_a_header_does_not_repeat_its_value() {
        assert!(
            !header("Authorization: s3cret\n")
                .unwrap_err()
                .contains("s3cret")
        );
    }

    #[test]
    fn a_handshake_keeps_what_was_given() {
        let key = HeaderName::from_static("sec-websocket-key");
        let given = vec![(key.clone(), HeaderValue::from_static("mine"))];
        let headers = headers("a", given, true).unwrap();
        assert_eq!(headers.get(key).unwrap(), "mine");
        assert_eq!(headers.get("sec-websocket-version").unwrap(), "13");
        assert_eq!(headers.get(HOST).unwrap(), "a");
    }
}
