//! The plain http door: redirects to https, and answers a CA that looks whether a name leads here.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};

use crate::pipeline::body::Body;
use crate::policy::host::{Authority, parse_authority};

/// Where a CA asks (RFC 8555 §8.3).
const CHALLENGE: &str = "/.well-known/acme-challenge/";
/// Most bytes of a token; they have 43.
const MOST_TOKEN: usize = 256;

/// 308 to the same address over https; 400 where there is no host to send the client to, 421 where
/// the host is not one of the gateway's own, as `is_own` says: a redirect must not lead a client,
/// or a cache before it, to where someone else's `Host` says.
pub(super) fn answer<B>(
    request: &Request<B>,
    https_port: Option<u16>,
    is_own: impl FnOnce(&str) -> bool,
) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    match location(request, https_port, is_own) {
        Ok(location) => {
            *answer.status_mut() = StatusCode::PERMANENT_REDIRECT;
            answer.headers_mut().insert(LOCATION, location);
        }
        Err(status) => *answer.status_mut() = status,
    }
    answer
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    answer
}

/// The answer to a CA, where the request is its question and `proof` knows host and token.
pub(super) fn proof<B>(
    request: &Request<B>,
    proof: impl FnOnce(&str, &str) -> Option<std::sync::Arc<str>>,
) -> Option<Response<Body>> {
    let token = token(request)?;
    let proof = proof(sole_host(request)?.host(), token)?;
    let mut answer = Response::new(Body::full(Bytes::copy_from_slice(proof.as_bytes())));
    let kind = HeaderValue::from_static("application/octet-stream");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    Some(answer)
}

/// The token that is asked for: the whole of what follows the path of a CA's questions.
fn token<B>(request: &Request<B>) -> Option<&str> {
    let asks = matches!(*request.method(), Method::GET | Method::HEAD);
    let token = request.uri().path().strip_prefix(CHALLENGE)?;
    // RFC 8555 §8.3: base64url, without padding.
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_token = (1..=MOST_TOKEN).contains(&token.len()) && token.bytes().all(fits);
    (asks && is_token && request.uri().query().is_none()).then_some(token)
}

/// The host, where there is exactly one and it is sound.
fn sole_host<B>(request: &Request<B>) -> Option<Authority<'_>> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return None;
    };
    parse_authority(host.to_str().ok()?).ok()
}

/// The answer to bytes that are no clean request.
pub(super) fn refuse(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

/// The address to go to: the host that was asked for, never one from the path.
fn location<B>(
    request: &Request<B>,
    https_port: Option<u16>,
    is_own: impl FnOnce(&str) -> bool,
) -> Result<HeaderValue, StatusCode> {
    let authority = sole_host(request).ok_or(StatusCode::BAD_REQUEST)?;
    let host = authority.host();
    if !is_own(host) {
        return Err(StatusCode::MISDIRECTED_REQUEST);
    }
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |target| target.as_str());
    if !target.starts_with('/') {
        return Err(StatusCode::BAD_REQUEST);
    }
    let text = match https_port {
        None | Some(443) => format!("https://{host}{target}"),
        Some(port) => format!("https://{host}:{port}{target}"),
    };
    HeaderValue::try_from(text).or(Err(StatusCode::BAD_REQUEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(host: &str, target: &str, port: Option<u16>) -> Option<String> {
        let request = Request::builder()
            .uri(target)
            .header(HOST, host)
            .body(())
            .unwrap();
        let location = location(&request, port, |host| host != "elsewhere.example");
        Some(location.ok()?.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_redirect_keeps_host_path_and_query() {
        assert_eq!(
            redirect("app.example:8080", "/a?b=c", Some(443)).as_deref(),
            Some("https://app.example/a?b=c")
        );
        assert_eq!(
            redirect("app.example", "/", Some(8443)).as_deref(),
            Some("https://app.example:8443/")
        );
    }

    #[test]
    fn only_a_cas_own_question_is_answered() {
        let ask = |method: Method, target: &str, host: &str| {
            let request = Request::builder().method(method).uri(target);
            let request = request.header(HOST, host).body(()).unwrap();
            let known = |host: &str, token: &str| {
                ((host, token) == ("app.example", "a-Token_1")).then(|| "proof".into())
            };
            proof(&request, known).is_some()
        };
        let right = "/.well-known/acme-challenge/a-Token_1";
        assert!(ask(Method::GET, right, "app.example"));
        assert!(ask(Method::HEAD, right, "APP.example:80"));
        assert!(!ask(Method::POST, right, "app.example"));
        assert!(!ask(Method::GET, right, "other.example"));
        for other in [
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/a-Token_2",
            "/.well-known/acme-challenge/a-Token_1/",
            "/.well-known/acme-challenge/a-Token_1?x",
            "/.well-known/acme-challenge/../acme-challenge/a-Token_1",
            "/.well-known/acme-challenge/a%2DToken_1",
            "//.well-known/acme-challenge/a-Token_1",
            "/.Well-Known/acme-challenge/a-Token_1",
        ] {
            assert!(!ask(Method::GET, other, "app.example"), "{other}");
        }
    }

    #[test]
    fn a_redirect_never_leads_to_another_host() {
        assert_eq!(
            redirect("app.example", "//evil.example/", Some(443)).as_deref(),
            Some("https://app.example//evil.example/")
        );
        assert_eq!(redirect("elsewhere.example:80", "/", Some(443)), None);
        assert_eq!(redirect("user@evil.example", "/", None), None);
        assert_eq!(redirect("", "/", None), None);
    }
}
