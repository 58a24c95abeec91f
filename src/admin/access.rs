//! Who may ask the admin address. PURE.
//!
//! - Only `GET` and `HEAD`; what changes something is a `POST`, and never a link from elsewhere.
//! - On a loopback address the request must be for a loopback name, or the address itself: a page
//!   of `evil.example` whose name was made to point here (DNS rebinding) sends its own name.
//! - A page of any other origin is refused, and what another site embeds.
//! - Where a token is set, all but the probes and the public keys want it; an address that others
//!   can reach shows nothing else without one, configured or not.

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderName, Method, StatusCode, Version};

use crate::policy::host::parse_authority;
use crate::secret::Secret;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Where a request came in, and what is asked of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule<'a> {
    /// The address that is bound.
    pub(super) bound: SocketAddr,
    /// The address that the client reached.
    pub(super) local: IpAddr,
    /// The token in force.
    pub(super) token: Option<&'a Secret<String>>,
    /// Whether the page is a probe or the public keys.
    pub(super) open: bool,
    /// Whether the page changes something, by `POST` alone.
    pub(super) changes: bool,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Objection {
    /// A method that the page does not take.
    Method,
    /// No host, two, or one that cannot be read.
    NoHost,
    /// The host is not ours.
    ForeignHost,
    /// The page that asks is not ours.
    ForeignOrigin,
    /// The token is missing or wrong.
    Token,
}

impl Objection {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::ForeignHost => StatusCode::MISDIRECTED_REQUEST,
            Self::ForeignOrigin => StatusCode::FORBIDDEN,
            Self::Token => StatusCode::UNAUTHORIZED,
        }
    }

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Method => "this page of the admin address does not take the method",
            Self::NoHost => "the request needs one Host header with a host name or address in it",
            Self::ForeignHost => {
                "the Host is not this address: ask for it as 127.0.0.1 or localhost"
            }
            Self::ForeignOrigin => "pages of other origins may not ask the admin address",
            Self::Token => {
                "the [admin] token is wanted as `Authorization: Bearer TOKEN`, or as the password \
                 that a browser asks for; an address that is not loopback needs one"
            }
        }
    }
}

/// Whether a request may be answered.
///
/// # Errors
///
/// The first [`Objection`], in the order in which they stand there.
pub(super) fn admit(rule: Rule<'_>, head: &Parts) -> Result<(), Objection> {
    let fits = if rule.changes {
        head.method == Method::POST
    } else {
        matches!(head.method, Method::GET | Method::HEAD)
    };
    if !fits {
        return Err(Objection::Method);
    }
    check_host(rule, head)?;
    check_origin(head)?;
    let reachable = !rule.bound.ip().to_canonical().is_loopback();
    match rule.token {
        _ if rule.open => Ok(()),
        None if reachable => Err(Objection::Token),
        None => Ok(()),
        Some(token) if bears(head, token) => Ok(()),
        Some(_) => Err(Objection::Token),
    }
}

fn check_host(rule: Rule<'_>, head: &Parts) -> Result<(), Objection> {
    let hosts = head
        .headers
        .get_all(HOST)
        .iter()
        .map(|value| value.to_str().ok());
    let target = head.uri.authority().map(|target| Some(target.as_str()));
    let mut count = 0;
    for host in hosts {
        count += 1;
        judge_host(rule, host)?;
    }
    target.map_or(Ok(()), |target| judge_host(rule, target))?;
    match count {
        1 => Ok(()),
        // RFC 9112 §3.2 asks for it from HTTP/1.1 on; health checks in HTTP/1.0 send none.
        0 if head.version == Version::HTTP_10 => Ok(()),
        _ => Err(Objection::NoHost),
    }
}

/// The port does not matter: a forwarded port is still ours, and rebinding is a matter of names.
fn judge_host(rule: Rule<'_>, host: Option<&str>) -> Result<(), Objection> {
    let authority = host.and_then(|host| parse_authority(host).ok());
    let authority = authority.ok_or(Objection::NoHost)?;
    let host = authority.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let bound = rule.bound.ip().to_canonical();
    let own = match bare.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) => {
            address.is_loopback() || address == bound || address == rule.local.to_canonical()
        }
        Err(_) => host == "localhost",
    };
    // An address that others can reach has names that nobody told us; the token keeps it.
    if own || !bound.is_loopback() {
        Ok(())
    } else {
        Err(Objection::ForeignHost)
    }
}

fn check_origin(head: &Parts) -> Result<(), Objection> {
    let value = |name: &HeaderName| head.headers.get(name).map(http::HeaderValue::as_bytes);
    if let Some(origin) = value(&ORIGIN) {
        let host = value(&HOST).unwrap_or_default();
        let own = origin
            .strip_prefix(b"http://")
            .is_some_and(|named| named == host);
        if !own || head.headers.get_all(ORIGIN).iter().count() > 1 {
            return Err(Objection::ForeignOrigin);
        }
    }
    // Fetch Metadata: a link from elsewhere may be followed, nothing may be embedded.
    let follows_link = head.method != Method::POST && value(&SEC_FETCH_MODE) == Some(b"navigate");
    match value(&SEC_FETCH_SITE) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) if follows_link => Ok(()),
        Some(_) => Err(Objection::ForeignOrigin),
    }
}

/// Whether the request bears the token: as a bearer token, or as the password of Basic, which is
/// what a browser can send.
fn bears(head: &Parts, token: &Secret<String>) -> bool {
    let mut values = head.headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Some((scheme, credential)) = value.to_str().ok().and_then(|text| text.split_once(' '))
    else {
        return false;
    };
    let credential = credential.trim();
    let given = if scheme.eq_ignore_ascii_case("bearer") {
        credential.to_owned()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let decoded = STANDARD.decode(credential).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((_, password)) = decoded.as_deref().and_then(|pair| pair.split_once(':')) else {
            return false;
        };
        password.to_owned()
    } else {
        return false;
    };
    // Compared in constant time.
    !token.expose().is_empty() && Secret::new(given) == *token
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const LOOPBACK: &str = "127.0.0.1:9090";
    const EVERYWHERE: &str = "0.0.0.0:9090";

    fn ask(bound: &str, token: Option<&str>, headers: &[(&str, &str)]) -> Result<(), Objection> {
        ask_page(bound, token, headers, false)
    }

    fn ask_page(
        bound: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        open: bool,
    ) -> Result<(), Objection> {
        let mut request = Request::get("/metrics");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let token = token.map(|token| Secret::new(token.to_owned()));
        let rule = Rule {
            bound: bound.parse().unwrap(),
            local: "10.0.0.5".parse().unwrap(),
            token: token.as_ref(),
            open,
            changes: false,
        };
        admit(rule, &request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_name_made_to_point_here_is_refused() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "10.1.2.3",
            "[2001:db8::1]:9090",
        ] {
            for open in [true, false] {
                let result = ask_page(LOOPBACK, None, &[("host", host)], open);
                assert_eq!(result, Err(Objection::ForeignHost), "{host}");
            }
        }
        for host in [
            "127.0.0.1:9090",
            "localhost",
            "LOCALHOST:1",
            "[::1]:9090",
            "127.9.9.9",
            "10.0.0.5",
        ] {
            assert_eq!(ask(LOOPBACK, None, &[("host", host)]), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_request_for_two_hosts_or_none_is_refused() {
        assert_eq!(ask(LOOPBACK, None, &[]), Err(Objection::NoHost));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(ask(LOOPBACK, None, &twice), Err(Objection::NoHost));
        assert_eq!(
            ask(LOOPBACK, None, &[("host", "a@localhost")]),
            Err(Objection::NoHost)
        );
    }

    #[test]
    fn an_absolute_target_with_a_foreign_host_is_refused() {
        let request = Request::get("http://evil.example/metrics").header("host", "localhost");
        let rule = Rule {
            bound: LOOPBACK.parse().unwrap(),
            local: "127.0.0.1".parse().unwrap(),
            token: None,
            open: false,
            changes: false,
        };
        let head = request.body(()).unwrap().into_parts().0;
        assert_eq!(admit(rule, &head), Err(Objection::ForeignHost));
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let ask = |name, value| ask(LOOPBACK, None, &[("host", "localhost:9090"), (name, value)]);
        for origin in [
            "https://evil.example",
            "null",
            "http://localhost:3000",
            "https://localhost:9090",
            "",
        ] {
            assert_eq!(
                ask("origin", origin),
                Err(Objection::ForeignOrigin),
                "{origin}"
            );
        }
        assert_eq!(ask("origin", "http://localhost:9090"), Ok(()));
        assert_eq!(
            ask("sec-fetch-site", "cross-site"),
            Err(Objection::ForeignOrigin)
        );
        assert_eq!(ask("sec-fetch-site", "same-origin"), Ok(()));
    }

    #[test]
    fn a_link_from_elsewhere_may_be_followed() {
        let headers = [
            ("host", "localhost"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
        ];
        assert_eq!(ask(LOOPBACK, None, &headers), Ok(()));
    }

    #[test]
    fn what_changes_something_is_a_post_and_no_link_from_elsewhere() {
        let ask = |method: Method, headers: &[(&str, &str)]| {
            let mut request = Request::builder().method(method).uri("/api/revocations");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let rule = Rule {
                bound: LOOPBACK.parse().unwrap(),
                local: "127.0.0.1".parse().unwrap(),
                token: None,
                open: false,
                changes: true,
            };
            admit(rule, &request.body(()).unwrap().into_parts().0)
        };
        let host = ("host", "localhost:9090");
        assert_eq!(ask(Method::POST, &[host]), Ok(()));
        assert_eq!(ask(Method::GET, &[host]), Err(Objection::Method));
        let foreign = [
            host,
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
        ];
        assert_eq!(ask(Method::POST, &foreign), Err(Objection::ForeignOrigin));
        let foreign = [host, ("origin", "https://evil.example")];
        assert_eq!(ask(Method::POST, &foreign), Err(Objection::ForeignOrigin));
    }

    #[test]
    fn only_get_and_head_are_taken() {
        let rule = Rule {
            bound: LOOPBACK.parse().unwrap(),
            local: "127.0.0.1".parse().unwrap(),
            token: None,
            open: true,
            changes: false,
        };
        for (method, expected) in [
            (Method::HEAD, Ok(())),
            (Method::POST, Err(Objection::Method)),
            (Method::OPTIONS, Err(Objection::Method)),
        ] {
            let request = Request::builder()
                .method(method)
                .header("host", "localhost");
            assert_eq!(
                admit(rule, &request.body(()).unwrap().into_parts().0),
                expected
            );
        }
    }

    #[test]
    fn the_token_is_wanted_where_one_is_set_but_not_of_probes() {
        let with = |value: &str| {
            ask(
                LOOPBACK,
                Some("secret"),
                &[("host", "localhost"), ("authorization", value)],
            )
        };
        assert_eq!(with("Bearer secret"), Ok(()));
        assert_eq!(with("bearer secret"), Ok(()));
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        assert_eq!(with(&basic("anyone:secret")), Ok(()));
        for wrong in [
            "Bearer",
            "Bearer ",
            "Bearer secre",
            "Bearer secret2",
            "secret",
            "Digest secret",
            &basic("secret:"),
            &basic("secret"),
        ] {
            assert_eq!(with(wrong), Err(Objection::Token), "{wrong}");
        }
        let host = [("host", "localhost")];
        assert_eq!(ask(LOOPBACK, Some("secret"), &host), Err(Objection::Token));
        assert_eq!(ask_page(LOOPBACK, Some("secret"), &host, true), Ok(()));
        let twice = [
            ("host", "localhost"),
            ("authorization", "Bearer secret"),
            ("authorization", "Bearer secret"),
        ];
        assert_eq!(ask(LOOPBACK, Some("secret"), &twice), Err(Objection::Token));
    }

    #[test]
    fn an_address_that_others_reach_shows_nothing_without_a_token() {
        let host = ("host", "gateway.internal:9090");
        assert_eq!(ask(EVERYWHERE, None, &[host]), Err(Objection::Token));
        assert_eq!(
            ask(EVERYWHERE, Some(""), &[host, ("authorization", "Bearer ")]),
            Err(Objection::Token)
        );
        assert_eq!(
            ask(
                EVERYWHERE,
                Some("t"),
                &[host, ("authorization", "Bearer t")]
            ),
            Ok(())
        );
        assert_eq!(ask_page(EVERYWHERE, Some("t"), &[host], true), Ok(()));
    }
}
