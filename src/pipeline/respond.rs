//! Turns a refusal into an answer: problem+json to programs, a small page to people.

use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde_json::json;

use super::body::Body;
use crate::gateway::Snapshot;
use crate::policy::denial::{Challenge, Denial};
use crate::policy::route::{Route, Template, TemplatePart, Unauthenticated};

/// Whose answer with a status of 400 or above it is: `gateway` or `app`.
pub(crate) const REFUSED_BY: HeaderName = HeaderName::from_static("x-refused-by");
pub(super) const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// The answer to a refused request.
pub(crate) fn refuse(
    denial: &Denial,
    request_id: &str,
    (method, uri): (&Method, &http::Uri),
    page: bool,
    route: Option<&Route>,
) -> Response<Body> {
    if page
        && denial.status() == StatusCode::UNAUTHORIZED
        && (*method == Method::GET || *method == Method::HEAD)
        && let Some(Unauthenticated::Redirect(to)) = route.map(|route| &route.unauthenticated)
        && let Ok(to) = HeaderValue::try_from(fill(to, uri))
    {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::FOUND;
        answer.headers_mut().insert(LOCATION, to);
        answer
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return answer;
    }
    let (kind, text) = if page {
        ("text/html; charset=utf-8", html(denial, request_id))
    } else {
        ("application/problem+json", problem(denial, request_id))
    };
    let mut answer = Response::new(Body::full(text.into()));
    *answer.status_mut() = denial.status();
    dress(answer.headers_mut(), denial, kind);
    answer
}

/// The route's edits, which every answer gets, whoever made it.
pub(crate) fn edit(headers: &mut HeaderMap, route: &Route) {
    for name in &route.response_headers.remove {
        headers.remove(name);
    }
    for (name, value) in &route.response_headers.set {
        headers.insert(name.clone(), value.clone());
    }
}

/// Cross-origin and security headers, which every answer gets but one that begins a tunnel.
///
/// Where no route was found, a rule that names the origin lets its pages read so; `*` speaks for
/// its own routes alone.
pub(crate) fn protect(
    headers: &mut HeaderMap,
    gate: &Snapshot,
    route: Option<&Route>,
    origin: Option<&HeaderValue>,
    tls: bool,
) {
    let rule = match route {
        Some(route) => route.cors.as_ref(),
        None => origin.and_then(|origin| gate.cors_rules.iter().find(|rule| rule.names(origin))),
    };
    if let Some(rule) = rule {
        rule.decorate(origin, headers);
    }
    gate.policy.security_headers.apply(tls, headers);
}

fn dress(headers: &mut HeaderMap, denial: &Denial, kind: &'static str) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    headers.insert(REFUSED_BY, HeaderValue::from_static("gateway"));
    if let StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS =
        denial.status()
    {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if denial.status() == StatusCode::UNAUTHORIZED {
        let challenge = match denial.www_authenticate() {
            Some(Challenge::InvalidToken) => "Bearer error=\"invalid_token\"",
            Some(Challenge::Basic) => "Basic realm=\"portcullis\", charset=\"UTF-8\"",
            Some(Challenge::Bearer) | None => "Bearer",
        };
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if let Some(allow) = denial.allowed_methods() {
        headers.insert(ALLOW, allow.clone());
    }
    if let Some(wait) = denial.retry_wait() {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    if denial.closes_connection() {
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// RFC 9457. `about:blank` says that the problem is the status's own; `code` tells which.
fn problem(denial: &Denial, request_id: &str) -> String {
    json!({
        "type": "about:blank",
        "title": denial.code().title(),
        "status": denial.status().as_u16(),
        "detail": denial.detail(),
        "code": denial.code().as_str(),
        "request_id": request_id,
    })
    .to_string()
}

fn html(denial: &Denial, request_id: &str) -> String {
    let title = escape(denial.code().title());
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>body{{font:16px/1.5 system-ui,\
         sans-serif;max-width:36em;margin:15vh auto;padding:0 1em}}code{{color:#555}}</style>\
         <h1>{title}</h1><p>{detail}</p><p><code>{status} {code}</code><br><code>{id}</code></p></html>\n",
        detail = escape(denial.detail()),
        status = denial.status().as_u16(),
        code = denial.code(),
        id = escape(request_id),
    )
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Whether a person's browser loads a page: `Sec-Fetch-Mode: navigate`, or, from browsers without
/// it, an `Accept` that names `text/html` before anything that programs ask for.
pub(crate) fn is_page_load(headers: &HeaderMap) -> bool {
    prefers_page(headers.get(ACCEPT), headers.get(SEC_FETCH_MODE))
}

/// The same, by the first `Accept` and `Sec-Fetch-Mode`.
pub(super) fn prefers_page(accept: Option<&HeaderValue>, mode: Option<&HeaderValue>) -> bool {
    // Every browser says what it accepts.
    let Some(accept) = accept.and_then(|value| value.to_str().ok()) else {
        return false;
    };
    if let Some(mode) = mode {
        return mode == "navigate";
    }
    let best = |wanted: &str| {
        accept
            .split(',')
            .filter_map(|range| quality(range, wanted))
            .fold(0.0, f32::max)
    };
    let page = best("text/html");
    page > 0.0 && page > best("application/json") && page > best("application/problem+json")
}

/// The quality of one media range, where it names just this type (RFC 9110 §12.5.1).
fn quality(range: &str, wanted: &str) -> Option<f32> {
    let mut parts = range.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(wanted) {
        return None;
    }
    let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    weight.map_or(Some(1.0), |text| text.parse().ok())
}

/// Fills a template from the request's own target.
pub(crate) fn fill(template: &Template, uri: &http::Uri) -> String {
    let mut text = String::new();
    for part in &template.0 {
        match part {
            TemplatePart::Text(literal) => text.push_str(literal),
            TemplatePart::Path => text.push_str(uri.path()),
            TemplatePart::Query => {
                if let Some(query) = uri.query() {
                    text.push('?');
                    text.push_str(query);
                }
            }
            TemplatePart::Uri => {
                let whole = uri.path_and_query().map_or("/", |target| target.as_str());
                let encoded = percent_encoding::utf8_percent_encode(
                    whole,
                    percent_encoding::NON_ALPHANUMERIC,
                );
                text.extend(encoded);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::denial::Code;

    fn accept(text: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(text));
        headers
    }

    #[test]
    fn a_browser_gets_a_page_and_a_program_gets_json() {
        assert!(is_page_load(&accept(
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
        )));
        assert!(!is_page_load(&accept("*/*")));
        assert!(!is_page_load(&accept("application/json, text/html;q=0.5")));
        let mut fetch = accept("text/html");
        fetch.insert("sec-fetch-mode", HeaderValue::from_static("cors"));
        assert!(!is_page_load(&fetch));
    }

    #[test]
    fn a_page_shows_nothing_unescaped() {
        let page = html(&Denial::new(Code::BadRequest, "<script>\"'&"), "<id>");
        assert!(!page.contains("<script>") && !page.contains("<id>"));
    }

    #[test]
    fn a_redirect_to_the_login_page_carries_the_whole_address_as_one_value() {
        let template = Template(vec![
            TemplatePart::Text("/login/?next=".into()),
            TemplatePart::Uri,
        ]);
        let uri = http::Uri::from_static("/a/b?c=d&e=//evil");
        assert_eq!(
            fill(&template, &uri),
            "/login/?next=%2Fa%2Fb%3Fc%3Dd%26e%3D%2F%2Fevil"
        );
    }
}
