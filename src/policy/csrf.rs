//! Same-site rule for unsafe requests that carry a cookie credential.
//!
//! A browser sends cookies with what other sites make it send. Three headers, which pages cannot
//! set, tell who made it: `Sec-Fetch-Site` (Fetch Metadata §2.3), `Origin` (RFC 6454 §7) and
//! `Referer`. What is there must fit; where none is there, nothing shows that the request comes
//! from the own site, and it is refused, as Django does over TLS (`CsrfViewMiddleware`). Clients
//! that are no browsers send `Origin` themselves or a bearer token, to which no rule of this file
//! applies.

use http::header::{ORIGIN, REFERER};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::policy::cors::{CorsRule, shown};
use crate::policy::denial::{Code, Denial};
use crate::policy::forwarded::Client;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Checks a request whose credential is a cookie.
///
/// # Errors
///
/// `csrf_failed` for an unsafe method (RFC 9110 §9.2.1) that does not come from the address that
/// the client asked for, or from an origin that `cors` names.
pub fn check(
    method: &Method,
    headers: &HeaderMap,
    client: &Client,
    cors: Option<&CorsRule>,
) -> Result<(), Denial> {
    if is_safe(method) {
        return Ok(());
    }
    let judge = Judge { client, cors };
    let origin = single(headers, &ORIGIN)?;
    let made_here = match single(headers, &FETCH_SITE)?.map(HeaderValue::as_bytes) {
        // `none` is the user's own doing: a bookmark, a typed address.
        Some(b"same-origin" | b"none") => true,
        Some(_) if origin.is_some_and(|origin| judge.is_named(origin)) => return Ok(()),
        Some(_) => return Err(judge.refusal(origin)),
        None => false,
    };
    match origin {
        // A page with `Referrer-Policy: no-referrer` sends `null` to its own site, too.
        Some(origin) if made_here && origin == "null" => Ok(()),
        Some(origin) if judge.is_own(origin.as_bytes()) || judge.is_named(origin) => Ok(()),
        Some(_) => Err(judge.refusal(origin)),
        None if made_here => Ok(()),
        None => judge.by_referer(single(headers, &REFERER)?),
    }
}

/// Checks a request that signs someone in. It needs no cookie to do harm: a page of another site
/// could sign its visitor in as somebody else, and read later what they did. What shows nothing of
/// where it comes from passes, because no browser is so silent about an unsafe request.
///
/// # Errors
///
/// `csrf_failed`, where [`check`] says so of a request that shows where it comes from.
pub fn check_sign_in(
    method: &Method,
    headers: &HeaderMap,
    client: &Client,
    cors: Option<&CorsRule>,
) -> Result<(), Denial> {
    if [&ORIGIN, &FETCH_SITE]
        .iter()
        .any(|name| headers.contains_key(*name))
    {
        return check(method, headers, client, cors);
    }
    Ok(())
}

/// RFC 9110 §9.2.1. `TRACE` is not served.
fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

fn single<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h HeaderValue>, Denial> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next();
    if lines.next().is_some() {
        let detail = "a header that tells where the request comes from is there twice";
        return Err(Denial::new(Code::CsrfFailed, detail));
    }
    Ok(first)
}

struct Judge<'a> {
    client: &'a Client,
    cors: Option<&'a CorsRule>,
}

impl Judge<'_> {
    fn is_own(&self, origin: &[u8]) -> bool {
        self.client.is_at_origin(origin)
    }

    fn is_named(&self, origin: &HeaderValue) -> bool {
        self.cors.is_some_and(|rule| rule.names(origin))
    }

    fn by_referer(&self, referer: Option<&HeaderValue>) -> Result<(), Denial> {
        let Some(referer) = referer else {
            let detail = "nothing shows where the request comes from: it has no Origin, Referer or \
                          Sec-Fetch-Site";
            return Err(Denial::new(Code::CsrfFailed, detail).note(
                "a client that is no browser must send Origin, or a token in place of a cookie",
            ));
        };
        let origin = referer_origin(referer.as_bytes())
            .and_then(|origin| HeaderValue::from_bytes(origin).ok())
            .filter(|origin| self.is_own(origin.as_bytes()) || self.is_named(origin));
        origin.map(drop).ok_or_else(|| self.refusal(Some(referer)))
    }

    fn refusal(&self, from: Option<&HeaderValue>) -> Denial {
        let from = from.map_or_else(|| "another site".to_owned(), shown);
        let own = self.client.host.to_str().unwrap_or_default();
        let scheme = self.client.scheme;
        let rule = match self.cors {
            Some(rule) => format!("[cors.{}] origins", rule.name),
            None => "the origins of a `cors` rule for this route".to_owned(),
        };
        let note = format!(
            "made by {from}, asked for {scheme}://{own}: if that site may act for the user, add it \
             to {rule}; if scheme or host are not the browser's own, name the proxy in front in \
             [server] trusted_proxies"
        );
        Denial::new(
            Code::CsrfFailed,
            "the request was made by another site than the one it is for",
        )
        .note(note)
    }
}

/// Scheme, host and port of a `Referer`, as an origin is written: its start up to the path.
fn referer_origin(referer: &[u8]) -> Option<&[u8]> {
    let scheme = referer.windows(3).position(|three| three == b"://")? + 3;
    let host = referer.get(scheme..)?;
    let end = host.iter().position(|byte| b"/?#".contains(byte));
    referer.get(..scheme + end.unwrap_or(host.len()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::cors::{AllowedHeaders, CorsTerms, OriginPattern};
    use crate::policy::forwarded::{TrustedProxies, resolve};
    use crate::policy::host::parse_authority;

    fn rule(origins: &[&str]) -> CorsRule {
        CorsRule::new(CorsTerms {
            name: "web".into(),
            origins: origins
                .iter()
                .map(|text| OriginPattern::parse(text).unwrap())
                .collect(),
            credentials: false,
            methods: None,
            headers: AllowedHeaders::default(),
            expose: Vec::new(),
            max_age: Duration::ZERO,
            private_network: false,
        })
        .unwrap()
    }

    fn judged(method: &Method, lines: &[(&str, &str)], cors: &[&str]) -> Result<(), Denial> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let authority = parse_authority("app.example.com").unwrap();
        let peer = "192.0.2.1".parse().unwrap();
        let client = resolve(&TrustedProxies::default(), peer, true, &authority, &headers);
        let rule = (!cors.is_empty()).then(|| rule(cors));
        check(method, &headers, &client, rule.as_ref())
    }

    fn passes(lines: &[(&str, &str)]) -> bool {
        judged(&Method::POST, lines, &["https://front.example"]).is_ok()
    }

    #[test]
    fn safe_methods_pass_from_anywhere() {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert!(judged(&method, &[("origin", "https://evil.example")], &[]).is_ok());
        }
    }

    #[test]
    fn every_other_method_is_unsafe() {
        for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "X"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let denial = judged(&method, &[("origin", "https://evil.example")], &[]).unwrap_err();
            assert_eq!(denial.code(), Code::CsrfFailed);
        }
    }

    #[test]
    fn the_own_origin_and_a_named_one_pass() {
        assert!(passes(&[("origin", "https://app.example.com")]));
        assert!(passes(&[("origin", "https://front.example")]));
        assert!(passes(&[
            ("origin", "https://front.example"),
            ("sec-fetch-site", "cross-site")
        ]));
        assert!(passes(&[("sec-fetch-site", "same-origin")]));
        assert!(passes(&[("sec-fetch-site", "none")]));
        assert!(passes(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "null")
        ]));
        assert!(passes(&[("referer", "https://app.example.com/page?x")]));
        assert!(passes(&[("referer", "https://front.example")]));
    }

    #[test]
    fn a_foreign_origin_is_refused_in_every_spelling() {
        for origin in [
            "https://evil.example",
            "null",
            "http://app.example.com",
            "https://app.example.com.evil.example",
            "https://evil-app.example.com",
            "https://app.example.com:8443",
            "https://x.app.example.com",
            "",
            "https://app.example.com, https://evil.example",
            "app.example.com",
            "https://front.example.evil",
        ] {
            assert!(!passes(&[("origin", origin)]), "{origin}");
        }
    }

    #[test]
    fn another_site_is_refused_by_fetch_metadata_alone() {
        for site in ["cross-site", "same-site", "", "Same-Origin", "x"] {
            assert!(!passes(&[("sec-fetch-site", site)]), "{site}");
            let lines = [
                ("sec-fetch-site", site),
                ("referer", "https://app.example.com/"),
            ];
            assert!(!passes(&lines), "{site}");
        }
        assert!(!passes(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "https://evil.example")
        ]));
        assert!(!passes(&[
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://app.example.com")
        ]));
    }

    #[test]
    fn a_foreign_referer_is_refused() {
        for referer in [
            "https://evil.example/",
            "https://app.example.com.evil/",
            "http://app.example.com/",
            "https://app.example.com@evil.example/",
            "/relative",
            "",
            "about:blank",
            "https://evil.example/https://app.example.com/",
            "https://app.example.com\\.evil/",
        ] {
            assert!(!passes(&[("referer", referer)]), "{referer}");
        }
    }

    #[test]
    fn a_request_that_shows_nothing_is_refused() {
        assert!(!passes(&[]));
    }

    #[test]
    fn two_lines_of_one_header_are_refused() {
        let own = "https://app.example.com";
        assert!(!passes(&[("origin", own), ("origin", own)]));
        assert!(!passes(&[
            ("sec-fetch-site", "none"),
            ("sec-fetch-site", "cross-site")
        ]));
    }

    #[test]
    fn a_star_lets_no_one_act_with_cookies() {
        let lines = [("origin", "https://evil.example")];
        assert!(judged(&Method::POST, &lines, &["*"]).is_err());
    }

    #[test]
    fn the_note_names_both_sides_and_the_rule() {
        let lines = [("origin", "https://evil.example")];
        let denial = judged(&Method::POST, &lines, &["https://front.example"]).unwrap_err();
        let note = denial.operator_note().unwrap();
        assert!(note.contains("https://evil.example") && note.contains("https://app.example.com"));
        assert!(note.contains("[cors.web]"));
    }
}
