//! What a parsed head tells about its framing: two readers must not see two requests.
//!
//! The bytes themselves are judged before they are parsed; this is the second line, for both
//! versions of HTTP and for `explain`. Every refusal ends the connection: what follows on it could
//! be read in two ways.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, ORIGIN, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Version};

use crate::policy::denial::{Code, Denial};

/// Checks a request's method and framing (RFC 9112 §6.1 to §6.3, RFC 9113 §8.2.2).
///
/// # Errors
///
/// `method_not_allowed` for `TRACE`, `TRACK` and `CONNECT`; `bad_request` for a head that is
/// framed in two ways, in none, or as another version of HTTP frames it.
pub fn check_framing(
    version: Version,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Present, Denial> {
    check_method(method)?;
    let present = Present::of(headers);
    if present.hosts > 1 {
        return Err(refuse("the Host header is there twice"));
    }
    if present.origins > 1 {
        return Err(refuse("the Origin header is there twice"));
    }
    let length = if present.length {
        content_length(headers)?
    } else {
        None
    };
    if version == Version::HTTP_2 {
        check_http2(headers)?;
    } else if present.coding
        && let Some(coding) = headers.get(TRANSFER_ENCODING)
    {
        check_coding(version, coding, headers, length)?;
    }
    if present.expect {
        check_expect(headers)?;
    }
    Ok(present)
}

/// Which of the fields that a request is judged by are there, by one look at each: most requests
/// have none but `Host`, and a look-up costs more than the look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Present {
    hosts: usize,
    origins: usize,
    upgrades: usize,
    length: bool,
    coding: bool,
    expect: bool,
}

impl Present {
    fn of(headers: &HeaderMap) -> Self {
        let mut present = Self::default();
        for (name, _) in headers {
            present.hosts += usize::from(*name == HOST);
            present.origins += usize::from(*name == ORIGIN);
            present.upgrades += usize::from(*name == UPGRADE);
            present.length |= *name == CONTENT_LENGTH;
            present.coding |= *name == TRANSFER_ENCODING;
            present.expect |= *name == EXPECT;
        }
        present
    }

    /// `Origin`, where it is there.
    #[must_use]
    pub fn origin<'h>(&self, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
        if self.origins == 0 {
            return None;
        }
        headers.get(ORIGIN)
    }

    /// Whether `Upgrade` is there.
    #[must_use]
    pub fn has_upgrade(&self) -> bool {
        self.upgrades > 0
    }
}

fn refuse(detail: &'static str) -> Denial {
    Denial::new(Code::BadRequest, detail).closing()
}

/// `TRACE` shows an app's headers to scripts, `TRACK` is its twin, `CONNECT` opens a tunnel.
fn check_method(method: &Method) -> Result<(), Denial> {
    let name = method.as_str();
    let refused = *method == Method::TRACE || *method == Method::CONNECT;
    if !refused && !name.eq_ignore_ascii_case("TRACK") && !name.eq_ignore_ascii_case("TRACE") {
        return Ok(());
    }
    let usual = HeaderValue::from_static("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");
    let detail = "TRACE, TRACK and CONNECT are not served here";
    Err(Denial::new(Code::MethodNotAllowed, detail)
        .allow(usual)
        .closing())
}

/// One line of digits (RFC 9110 §8.6). A list of equal numbers is legal, and refused all the same.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Denial> {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    let Some(value) = lines.next() else {
        return Ok(None);
    };
    if lines.next().is_some() {
        return Err(refuse("the Content-Length header is there twice"));
    }
    let digits = value.as_bytes();
    let number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let length = value.to_str().ok().filter(|_| number);
    match length.and_then(|text| text.parse().ok()) {
        Some(length) => Ok(Some(length)),
        None => Err(refuse("the Content-Length header is not a number of bytes")),
    }
}

fn check_coding(
    version: Version,
    coding: &HeaderValue,
    headers: &HeaderMap,
    length: Option<u64>,
) -> Result<(), Denial> {
    if version != Version::HTTP_11 {
        return Err(refuse("HTTP/1.0 has no Transfer-Encoding"));
    }
    if length.is_some() {
        return Err(refuse(
            "the request has both Content-Length and Transfer-Encoding",
        ));
    }
    let once = headers.get_all(TRANSFER_ENCODING).iter().nth(1).is_none();
    if !once || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(refuse("the only Transfer-Encoding taken is `chunked`"));
    }
    Ok(())
}

/// RFC 9113 §8.2.2: fields about a connection have no place in HTTP/2.
fn check_http2(headers: &HeaderMap) -> Result<(), Denial> {
    const KEEP_ALIVE: &str = "keep-alive";
    const PROXY_CONNECTION: &str = "proxy-connection";
    let about_connection = [CONNECTION, TRANSFER_ENCODING, UPGRADE]
        .iter()
        .any(|name| headers.contains_key(name))
        || headers.contains_key(KEEP_ALIVE)
        || headers.contains_key(PROXY_CONNECTION);
    if about_connection {
        return Err(refuse(
            "a header about the connection is not allowed in HTTP/2",
        ));
    }
    let other = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"trailers");
    if headers.get_all(TE).iter().any(other) {
        return Err(refuse("TE may only say `trailers` in HTTP/2"));
    }
    Ok(())
}

/// RFC 9110 §10.1.1 knows one expectation.
fn check_expect(headers: &HeaderMap) -> Result<(), Denial> {
    let mut lines = headers.get_all(EXPECT).iter();
    let Some(value) = lines.next() else {
        return Ok(());
    };
    if lines.next().is_some() || !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
        return Err(refuse("Expect may only say `100-continue`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn judged(version: Version, lines: &[(&str, &[u8])]) -> Result<(), Denial> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        check_framing(version, &Method::POST, &headers).map(drop)
    }

    fn refused(version: Version, lines: &[(&str, &[u8])]) -> bool {
        judged(version, lines)
            .is_err_and(|denial| denial.code() == Code::BadRequest && denial.closes_connection())
    }

    #[test]
    fn one_clean_framing_passes() {
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            assert!(judged(version, &[("content-length", b"0"), ("host", b"a")]).is_ok());
            assert!(judged(version, &[]).is_ok());
        }
        assert!(judged(Version::HTTP_11, &[("transfer-encoding", b"chunked")]).is_ok());
        assert!(judged(Version::HTTP_11, &[("transfer-encoding", b"Chunked")]).is_ok());
        assert!(judged(Version::HTTP_11, &[("expect", b"100-continue")]).is_ok());
        assert!(judged(Version::HTTP_2, &[("te", b"trailers")]).is_ok());
    }

    #[test]
    fn both_length_and_coding_are_refused() {
        assert!(refused(
            Version::HTTP_11,
            &[("content-length", b"5"), ("transfer-encoding", b"chunked")]
        ));
    }

    #[test]
    fn a_coding_other_than_exactly_chunked_is_refused() {
        for coding in [
            &b"identity"[..],
            b"gzip",
            b"gzip, chunked",
            b"chunked, identity",
            b"chunked, chunked",
            b"xchunked",
            b"chunked;a=b",
            b"\"chunked\"",
            b"chunke",
            b"",
            b",chunked",
            b"chunked,",
            b"cow\tchunked",
            b"\xffchunked",
            b"x chunked",
        ] {
            assert!(
                refused(Version::HTTP_11, &[("transfer-encoding", coding)]),
                "{coding:?}"
            );
        }
        let twice: &[(&str, &[u8])] = &[
            ("transfer-encoding", b"chunked"),
            ("transfer-encoding", b"chunked"),
        ];
        assert!(refused(Version::HTTP_11, twice));
        assert!(refused(
            Version::HTTP_10,
            &[("transfer-encoding", b"chunked")]
        ));
    }

    #[test]
    fn a_length_that_is_not_one_plain_number_is_refused() {
        for length in [
            &b"+5"[..],
            b"-5",
            b"0x5",
            b"5,5",
            b"5, 5",
            b"5 5",
            b"",
            b"5a",
            b"\xb2",
            b"1e3",
            b"5.0",
            b"18446744073709551616",
            b"99999999999999999999999",
        ] {
            assert!(
                refused(Version::HTTP_11, &[("content-length", length)]),
                "{length:?}"
            );
            assert!(
                refused(Version::HTTP_2, &[("content-length", length)]),
                "{length:?}"
            );
        }
        let twice: &[(&str, &[u8])] = &[("content-length", b"5"), ("content-length", b"5")];
        assert!(refused(Version::HTTP_11, twice));
    }

    #[test]
    fn two_hosts_or_origins_are_refused() {
        assert!(refused(
            Version::HTTP_2,
            &[("origin", b"a"), ("origin", b"b")]
        ));
        assert!(refused(Version::HTTP_11, &[("host", b"a"), ("host", b"a")]));
    }

    #[test]
    fn fields_about_a_connection_are_refused_in_http2() {
        for name in [
            "connection",
            "keep-alive",
            "proxy-connection",
            "transfer-encoding",
            "upgrade",
        ] {
            assert!(refused(Version::HTTP_2, &[(name, b"x")]), "{name}");
        }
        assert!(refused(Version::HTTP_2, &[("te", b"gzip")]));
    }

    #[test]
    fn an_expectation_that_nobody_knows_is_refused() {
        for value in [
            &b"200-ok"[..],
            b"100-continue, x",
            b"100-continued",
            b"",
            b"x 100-continue",
        ] {
            assert!(refused(Version::HTTP_11, &[("expect", value)]), "{value:?}");
        }
    }

    #[test]
    fn methods_that_show_or_tunnel_are_refused() {
        for name in ["TRACE", "TRACK", "CONNECT", "track", "trace"] {
            let method = Method::from_bytes(name.as_bytes()).unwrap();
            let denial = check_framing(Version::HTTP_11, &method, &HeaderMap::new()).unwrap_err();
            assert_eq!(denial.code(), Code::MethodNotAllowed);
            assert!(denial.allowed_methods().is_some());
        }
    }
}
