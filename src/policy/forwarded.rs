//! Who the client is: the peer, or what a trusted proxy says it is.
//!
//! `X-Forwarded-For` (or, where that is not there, RFC 7239 `Forwarded`) is read from the right:
//! each entry was written by the hop behind it, so it is believed only as long as that hop is
//! trusted. What cannot be read ends the search at the peer. From a peer that is not trusted
//! nothing is believed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::policy::host::{Authority, parse_authority, parse_port};
use crate::policy::written::Written;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// The networks whose forwarding headers are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
}

impl TrustedProxies {
    /// Trusts these networks, and nobody when there are none.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self { networks }
    }

    /// Whether an address is in one of the networks. An IPv4 address in IPv6 form (`::ffff:a.b.c.d`)
    /// is the IPv4 address.
    #[must_use]
    pub fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.networks.iter().any(|network| network.contains(&ip))
    }
}

/// How the client came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS, ended here or at a trusted proxy.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that an address of this scheme leaves out.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("https") || text.eq_ignore_ascii_case("wss") {
            Some(Self::Https)
        } else if text.eq_ignore_ascii_case("http") || text.eq_ignore_ascii_case("ws") {
            Some(Self::Http)
        } else {
            None
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who asks, and for what address: as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client's address.
    pub ip: IpAddr,
    /// How the client came.
    pub scheme: Scheme,
    /// The host that the client asked for, with its port where it told one: a trusted proxy's word
    /// or [`Client::authority`].
    pub host: HeaderValue,
    /// The port that the client came to.
    pub port: u16,
    /// What goes on in `X-Forwarded-For`: the client and the trusted proxies it came through.
    pub chain: HeaderValue,
    /// The request's own host, as it was judged: what goes on in `Host`.
    pub authority: HeaderValue,
}

impl Client {
    /// Whether an `Origin`, as browsers write it (RFC 6454 §6.2), is the address that the client
    /// asked for: the same scheme, host and port.
    #[must_use]
    pub fn is_at_origin(&self, origin: &[u8]) -> bool {
        let own_host = self.host.to_str().unwrap_or_default();
        let own_name = match own_host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => name,
            Some(_) | None => own_host,
        };
        let told = std::str::from_utf8(origin)
            .ok()
            .and_then(|text| text.strip_prefix(self.scheme.as_str()))
            .and_then(|text| text.strip_prefix("://"))
            .and_then(|text| text.strip_prefix(own_name))
            .filter(|_| !own_name.is_empty());
        match told {
            None => false,
            Some("") => self.port == self.scheme.default_port(),
            Some(port) => port
                .strip_prefix(':')
                .is_some_and(|port| parse_port(port) == Ok(self.port)),
        }
    }
}

/// What trusted proxies told.
#[derive(Default)]
struct Told<'h> {
    scheme: Option<Scheme>,
    host: Option<Authority<'h>>,
    port: Option<u16>,
}

/// Finds out who the client is.
///
/// `peer` is the connection's other end, `tls` whether the gateway ended TLS on it, `authority`
/// the request's host.
#[must_use]
pub fn resolve(
    trusted: &TrustedProxies,
    peer: IpAddr,
    tls: bool,
    authority: &Authority<'_>,
    headers: &HeaderMap,
) -> Client {
    let peer = peer.to_canonical();
    let mut hops = vec_of(peer);
    let mut told = Told::default();
    if trusted.trusts(peer) {
        if headers.contains_key(FORWARDED_FOR) || !headers.contains_key(FORWARDED) {
            walk_x_forwarded(trusted, headers, &mut hops);
            told = x_forwarded(headers);
        } else {
            told = walk_forwarded(trusted, headers, &mut hops);
        }
    }
    let own = if tls { Scheme::Https } else { Scheme::Http };
    let scheme = told.scheme.unwrap_or(own);
    let written = written(authority, headers);
    let host = told.host.as_ref().map(|host| value(host.to_string()));
    let asked_port = told.host.as_ref().unwrap_or(authority).port();
    Client {
        ip: hops.last().copied().unwrap_or(peer),
        scheme,
        host: host.unwrap_or_else(|| written.clone()),
        port: told
            .port
            .or(asked_port)
            .unwrap_or_else(|| scheme.default_port()),
        chain: chain(&hops),
        authority: written,
    }
}

/// `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`, each once. The client's own must be gone.
pub fn fields(client: &Client) -> Written {
    let port = match client.port {
        443 => HeaderValue::from_static("443"),
        80 => HeaderValue::from_static("80"),
        port => HeaderValue::from(port),
    };
    Written::new(vec![
        (FORWARDED_FOR, client.chain.clone()),
        (
            FORWARDED_PROTO,
            HeaderValue::from_static(client.scheme.as_str()),
        ),
        (FORWARDED_HOST, client.host.clone()),
        (FORWARDED_PORT, port),
    ])
}

/// From the peer to the client. Nearly always one or two addresses.
type Hops = smallvec::SmallVec<[IpAddr; 4]>;

fn vec_of(peer: IpAddr) -> Hops {
    let mut hops = Hops::new();
    hops.push(peer);
    hops
}

/// Adds a hop; says whether the one before it in the header is to be believed.
fn hop(trusted: &TrustedProxies, entry: Option<IpAddr>, hops: &mut Hops) -> bool {
    let Some(ip) = entry else {
        // What cannot be read may hide anything: only the peer is sure.
        hops.truncate(1);
        return false;
    };
    let ip = ip.to_canonical();
    hops.push(ip);
    trusted.trusts(ip)
}

fn walk_x_forwarded(trusted: &TrustedProxies, headers: &HeaderMap, hops: &mut Hops) {
    for line in headers.get_all(FORWARDED_FOR).iter().rev() {
        let line = line.to_str().unwrap_or("?");
        for entry in line.rsplit(',') {
            if !hop(trusted, parse_node(entry.trim()), hops) {
                return;
            }
        }
    }
}

/// An address, as some proxies write it also with a port or in brackets.
fn parse_node(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    text.parse().ok().or_else(bracketed).or_else(with_port)
}

/// Scheme, host and port from the `X-Forwarded-*` of a trusted peer. Each of them counts only where
/// it says one thing.
fn x_forwarded(headers: &HeaderMap) -> Told<'_> {
    let single = |name: HeaderName| {
        let mut lines = headers.get_all(name).iter();
        let text = lines.next()?.to_str().ok()?.trim();
        lines.next().is_none().then_some(text)
    };
    let agreed = |text: &str| {
        let mut schemes = text.split(',').map(|part| Scheme::parse(part.trim()));
        let first = schemes.next().flatten();
        first.filter(|first| schemes.all(|next| next == Some(*first)))
    };
    Told {
        scheme: single(FORWARDED_PROTO).and_then(agreed),
        host: single(FORWARDED_HOST).and_then(|text| parse_authority(text).ok()),
        port: single(FORWARDED_PORT).and_then(|text| parse_port(text).ok()),
    }
}

/// Walks RFC 7239 `Forwarded`; scheme and host are those of the hop that the client spoke to.
fn walk_forwarded<'h>(
    trusted: &TrustedProxies,
    headers: &'h HeaderMap,
    hops: &mut Hops,
) -> Told<'h> {
    let mut told = Told::default();
    for line in headers.get_all(FORWARDED).iter().rev() {
        let Some(elements) = line.to_str().ok().and_then(forwarded_elements) else {
            hops.truncate(1);
            return Told::default();
        };
        for element in elements.into_iter().rev() {
            let goes_on = hop(trusted, element.node.and_then(parse_node), hops);
            if hops.len() == 1 {
                return Told::default();
            }
            told = Told {
                scheme: element.proto.and_then(Scheme::parse),
                host: element.host.and_then(|text| parse_authority(text).ok()),
                port: None,
            };
            if !goes_on {
                return told;
            }
        }
    }
    told
}

/// One element of `Forwarded`: what one proxy told.
#[derive(Default)]
struct Element<'h> {
    node: Option<&'h str>,
    proto: Option<&'h str>,
    host: Option<&'h str>,
}

/// Cuts a `Forwarded` line into its elements (RFC 7239 §4); `None` when it is not well formed.
fn forwarded_elements(line: &str) -> Option<Vec<Element<'_>>> {
    let mut elements = vec![Element::default()];
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (name, behind) = rest.split_once('=')?;
        let (value, behind) = match behind.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => behind.split_at(behind.find([',', ';']).unwrap_or(behind.len())),
        };
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\,;".contains(&byte);
        if value.is_empty() || !value.bytes().all(plain) {
            return None;
        }
        let element = elements.last_mut()?;
        let place = match name.trim() {
            name if name.eq_ignore_ascii_case("for") => Some(&mut element.node),
            name if name.eq_ignore_ascii_case("proto") => Some(&mut element.proto),
            name if name.eq_ignore_ascii_case("host") => Some(&mut element.host),
            name if name.is_empty() || name.contains([',', ';', ' ']) => return None,
            _ => None,
        };
        if let Some(place) = place
            && place.replace(value).is_some()
        {
            return None;
        }
        let behind = behind.trim_start();
        rest = match behind.strip_prefix(',') {
            Some(next) => {
                elements.push(Element::default());
                next.trim_start()
            }
            None if behind.is_empty() => behind,
            None => behind.strip_prefix(';')?.trim_start(),
        };
    }
    Some(elements)
}

/// The authority as a header value: the request's own `Host` where it is written so.
fn written(authority: &Authority<'_>, headers: &HeaderMap) -> HeaderValue {
    let host = headers.get(HOST);
    let same = |host: &&HeaderValue| host.to_str().is_ok_and(|text| authority.is_written(text));
    host.filter(same)
        .cloned()
        .unwrap_or_else(|| value(authority.to_string()))
}

/// The client first, the peer last.
fn chain(hops: &Hops) -> HeaderValue {
    let mut text = String::with_capacity(hops.len() * 17);
    for ip in hops.iter().rev() {
        if !text.is_empty() {
            text.push_str(", ");
        }
        // Writing to a String does not fail.
        let _ = fmt::write(&mut text, format_args!("{ip}"));
    }
    value(text)
}

/// Hosts and addresses are made of characters that every header value may have.
fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(trusted: &[&str], peer: &str, lines: &[(&str, &str)]) -> Client {
        let trusted = TrustedProxies::new(trusted.iter().map(|n| n.parse().unwrap()).collect());
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("app.example.com"));
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let authority = parse_authority("app.example.com").unwrap();
        resolve(&trusted, peer.parse().unwrap(), false, &authority, &headers)
    }

    fn seen(client: &Client) -> (String, String) {
        (
            client.ip.to_string(),
            client.chain.to_str().unwrap().to_owned(),
        )
    }

    const INSIDE: &[&str] = &["10.0.0.0/8", "fd00::/8"];

    #[test]
    fn nobody_is_believed_unless_trusted() {
        let lines = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-port", "1"),
            ("forwarded", "for=2.2.2.2;proto=https;host=evil"),
            ("x-real-ip", "3.3.3.3"),
        ];
        for trusted in [&[][..], INSIDE] {
            let client = client(trusted, "192.0.2.7", &lines);
            assert_eq!(seen(&client), ("192.0.2.7".into(), "192.0.2.7".into()));
            assert_eq!(client.scheme, Scheme::Http);
            assert_eq!(client.host, "app.example.com");
            assert_eq!(client.port, 80);
        }
    }

    #[test]
    fn a_trusted_chain_is_read_from_the_right_up_to_the_first_stranger() {
        let read = |line: &str| seen(&client(INSIDE, "10.0.0.1", &[("x-forwarded-for", line)]));
        let pair = |ip: &str, chain: &str| (ip.to_owned(), chain.to_owned());
        assert_eq!(read("1.1.1.1"), pair("1.1.1.1", "1.1.1.1, 10.0.0.1"));
        assert_eq!(
            read("6.6.6.6, 1.1.1.1"),
            pair("1.1.1.1", "1.1.1.1, 10.0.0.1")
        );
        assert_eq!(
            read("6.6.6.6, 1.1.1.1 ,10.0.0.2"),
            pair("1.1.1.1", "1.1.1.1, 10.0.0.2, 10.0.0.1")
        );
        assert_eq!(
            read("10.0.0.3, 10.0.0.2"),
            pair("10.0.0.3", "10.0.0.3, 10.0.0.2, 10.0.0.1")
        );
        assert_eq!(
            read("[2001:db8::1]:443"),
            pair("2001:db8::1", "2001:db8::1, 10.0.0.1")
        );
        assert_eq!(read("1.1.1.1:99"), pair("1.1.1.1", "1.1.1.1, 10.0.0.1"));
        assert_eq!(read("::ffff:1.1.1.1"), pair("1.1.1.1", "1.1.1.1, 10.0.0.1"));
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "10.0.0.2"),
        ];
        assert_eq!(client(INSIDE, "10.0.0.1", &lines).ip.to_string(), "1.1.1.1");
    }

    #[test]
    fn what_cannot_be_read_leaves_the_peer() {
        for line in [
            "",
            "unknown",
            "1.1.1.1, junk",
            "1.1.1.1,",
            "300.1.1.1",
            "1.1.1.1 2.2.2.2",
        ] {
            let client = client(INSIDE, "10.0.0.1", &[("x-forwarded-for", line)]);
            assert_eq!(
                seen(&client),
                ("10.0.0.1".into(), "10.0.0.1".into()),
                "{line}"
            );
        }
        for line in [
            "for",
            "for=",
            "for=\"1.1.1.1",
            "for=1.1.1.1 proto=https",
            "for=unknown",
            "for=_secret",
            "for=1.1.1.1;for=2.2.2.2",
            "=1.1.1.1",
            "proto=https",
            "for=1.1.1.1, ;",
            "for=\"a\\\"b\"",
        ] {
            let client = client(INSIDE, "10.0.0.1", &[("forwarded", line)]);
            assert_eq!(
                seen(&client),
                ("10.0.0.1".into(), "10.0.0.1".into()),
                "{line}"
            );
            assert_eq!(client.scheme, Scheme::Http, "{line}");
        }
    }

    #[test]
    fn rfc_7239_is_read_where_there_is_no_x_forwarded_for() {
        let line = "for=6.6.6.6;proto=http, For=\"[2001:db8::9]:4711\";Proto=https;host=\"www.example.com:444\", for=10.0.0.2;proto=http";
        let client = client(INSIDE, "10.0.0.1", &[("forwarded", line)]);
        assert_eq!(
            seen(&client),
            (
                "2001:db8::9".into(),
                "2001:db8::9, 10.0.0.2, 10.0.0.1".into()
            )
        );
        assert_eq!(client.scheme, Scheme::Https);
        assert_eq!(client.host, "www.example.com:444");
        assert_eq!(client.port, 444);
    }

    #[test]
    fn a_clients_forwarded_beside_the_proxys_x_forwarded_for_is_not_read() {
        let lines = [
            ("forwarded", "for=6.6.6.6;proto=https"),
            ("x-forwarded-for", "1.1.1.1"),
        ];
        let client = client(INSIDE, "10.0.0.1", &lines);
        assert_eq!(client.ip.to_string(), "1.1.1.1");
        assert_eq!(client.scheme, Scheme::Http);
    }

    #[test]
    fn scheme_host_and_port_count_only_where_they_say_one_thing() {
        let with = |name, value| client(INSIDE, "10.0.0.1", &[(name, value)]);
        assert_eq!(with("x-forwarded-proto", "https").scheme, Scheme::Https);
        assert_eq!(
            with("x-forwarded-proto", "HTTPS, https").scheme,
            Scheme::Https
        );
        assert_eq!(
            with("x-forwarded-proto", "https, http").scheme,
            Scheme::Http
        );
        assert_eq!(with("x-forwarded-proto", "gopher").scheme, Scheme::Http);
        assert_eq!(with("x-forwarded-proto", "https").port, 443);
        assert_eq!(
            with("x-forwarded-host", "WWW.example.com:444").host,
            "www.example.com:444"
        );
        assert_eq!(with("x-forwarded-host", "a b").host, "app.example.com");
        assert_eq!(with("x-forwarded-host", "a, b").host, "app.example.com");
        assert_eq!(with("x-forwarded-port", "8443").port, 8443);
        assert_eq!(with("x-forwarded-port", "0").port, 80);
        let client = with("x-forwarded-host", "www.example.com");
        assert_eq!(client.authority, "app.example.com");
    }

    #[test]
    fn each_forwarding_header_is_sent_once() {
        let fields = fields(&client(&[], "192.0.2.7", &[]));
        let headers: HeaderMap = fields.fields().iter().cloned().collect();
        assert_eq!(headers.len(), 4);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "app.example.com");
        assert_eq!(headers["x-forwarded-port"], "80");
    }

    #[test]
    fn an_ipv4_peer_in_ipv6_form_is_the_ipv4_address() {
        let client = client(INSIDE, "::ffff:10.0.0.1", &[("x-forwarded-for", "1.1.1.1")]);
        assert_eq!(
            seen(&client),
            ("1.1.1.1".into(), "1.1.1.1, 10.0.0.1".into())
        );
    }

    #[test]
    fn the_own_origin_has_the_same_scheme_host_and_port() {
        let mut own = client(&[], "192.0.2.7", &[]);
        assert!(own.is_at_origin(b"http://app.example.com"));
        for origin in [
            "https://app.example.com",
            "http://app.example.com:81",
            "http://app.example.com.evil",
            "http://app.example.co",
            "http://xapp.example.com",
            "http://app.example.com@evil",
            "null",
            "",
            "http://",
            "http://app.example.com/",
            "http://app.example.com:",
            "app.example.com",
        ] {
            assert!(!own.is_at_origin(origin.as_bytes()), "{origin}");
        }
        own.host = HeaderValue::from_static("[::1]:8080");
        own.port = 8080;
        assert!(own.is_at_origin(b"http://[::1]:8080"));
        assert!(!own.is_at_origin(b"http://[::1]"));
        own.host = HeaderValue::from_static("");
        own.port = 80;
        assert!(!own.is_at_origin(b"http://"));
    }

    proptest! {
        #[test]
        fn a_stranger_never_speaks_for_another(text in "[ -~]{0,40}", line in "[ -~]{0,40}") {
            let client = client(INSIDE, "192.0.2.7", &[("x-forwarded-for", &text), ("forwarded", &line)]);
            prop_assert_eq!(client.ip.to_string(), "192.0.2.7");
        }

        #[test]
        fn what_a_client_adds_on_the_left_changes_nothing(text in "[ -~]{0,40}") {
            let line = format!("{text}, 1.1.1.1");
            let client = client(INSIDE, "10.0.0.1", &[("x-forwarded-for", &line)]);
            prop_assert_eq!(seen(&client).1, "1.1.1.1, 10.0.0.1");
        }
    }
}
