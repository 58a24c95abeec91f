//! The plain http door: redirects to https, and nothing else.

use std::convert::Infallible;

use http::header::{CONTENT_LENGTH, HOST, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode};

use crate::policy::host::parse_authority;

/// 308 to the same address over https; 400 where there is no host to send the client to, 421 where
/// the host is not one of the gateway's own, as `is_own` says: a redirect must not lead a client,
/// or a cache before it, to where someone else's `Host` says.
#[expect(clippy::unnecessary_wraps, reason = "the shape of a service")]
pub(super) fn answer<B>(
    request: &Request<B>,
    https_port: Option<u16>,
    is_own: impl FnOnce(&str) -> bool,
) -> Result<Response<http_body_util::Empty<bytes::Bytes>>, Infallible> {
    let mut answer = Response::new(http_body_util::Empty::new());
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
    Ok(answer)
}

/// The answer to bytes that are no clean request.
#[expect(clippy::unnecessary_wraps, reason = "the shape of a service")]
pub(super) fn refuse(
    status: StatusCode,
) -> Result<Response<http_body_util::Empty<bytes::Bytes>>, Infallible> {
    let mut answer = Response::new(http_body_util::Empty::new());
    *answer.status_mut() = status;
    Ok(answer)
}

/// The address to go to: the host that was asked for, never one from the path.
fn location<B>(
    request: &Request<B>,
    https_port: Option<u16>,
    is_own: impl FnOnce(&str) -> bool,
) -> Result<HeaderValue, StatusCode> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(StatusCode::BAD_REQUEST);
    };
    let authority = host
        .to_str()
        .ok()
        .and_then(|host| parse_authority(host).ok());
    let authority = authority.ok_or(StatusCode::BAD_REQUEST)?;
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
