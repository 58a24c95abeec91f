//! `type = "forward"`, and the URLs at which apps are asked who somebody is.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE};
use url::Url;

use super::context::Context;
use super::headers::is_reserved;
use super::session::{cache, path, paths};
use crate::config::problem::Problem;
use crate::config::raw::auth::IdentityMap as RawMap;
use crate::config::raw::decode::At;
use crate::config::raw::session as raw;
use crate::config::raw::shapes::Strings;
use crate::config::settings::{Forward, ForwardIdentity, IdentityHeaders, IdentityMap};

/// How an endpoint is written.
pub(super) const ENDPOINT: &str = "\"http://host:port/path\" or \"https://host:port/path\", \
                                   without a user or password";

/// A whole question, answered or not, takes this long at the most.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(30);

pub(super) fn compile(key: &str, raw: raw::Forward, cx: &mut Context<'_>) -> Option<Forward> {
    let url = endpoint(key, raw.url, cx);
    let send = send(raw.send, cx);
    let cache = cache(raw.cache, cx);
    let timeout = timeout(raw.timeout, cx);
    let identity = identity(key, raw.identity, raw.identity_headers, cx);
    Some(Forward {
        url: url?,
        send,
        cache,
        timeout,
        identity: identity?,
    })
}

/// `url`, which must be there.
pub(super) fn endpoint(key: &str, given: Option<At<String>>, cx: &mut Context<'_>) -> Option<Url> {
    let Some(given) = given else {
        cx.lacks(key, "url", Some(ENDPOINT));
        return None;
    };
    let url = Url::parse(&given.value).ok().filter(|url| {
        let anonymous = url.username().is_empty() && url.password().is_none();
        let whole = url.has_host() && url.port() != Some(0) && url.fragment().is_none();
        matches!(url.scheme(), "http" | "https") && whole && anonymous
    });
    if url.is_none() {
        // Not repeated: it may hold a password.
        cx.error(
            given
                .problem("is not the URL of an endpoint")
                .allowed(ENDPOINT),
        );
    }
    url
}

/// How long a whole question may take.
pub(super) fn timeout(given: Option<At<Duration>>, cx: &mut Context<'_>) -> Duration {
    cx.bounded(given, Duration::from_secs(2), TIMEOUTS)
}

/// The headers that are the credential.
fn send(raw: Option<At<Strings>>, cx: &mut Context<'_>) -> Vec<HeaderName> {
    if raw.is_none() {
        return vec![COOKIE, AUTHORIZATION];
    }
    let list = cx.some_strings(raw, "the endpoint would be asked about nobody");
    let mut names = Vec::new();
    for text in list.unwrap_or_default() {
        let Some(name) = cx.header_name(&text) else {
            continue;
        };
        if is_reserved(&name) {
            let problem = text.wrong("is handled by the gateway and is no credential");
            cx.error(problem.allowed("headers that hold a credential, such as cookie"));
        } else if names.contains(&name) {
            cx.error(text.wrong("stands in this list twice"));
        }
        names.push(name);
    }
    names
}

fn identity(
    key: &str,
    body: Option<At<RawMap>>,
    headers: Option<At<raw::IdentityHeaders>>,
    cx: &mut Context<'_>,
) -> Option<ForwardIdentity> {
    match (body, headers) {
        (Some(body), None) => self::body(body, cx).map(ForwardIdentity::Body),
        (None, Some(headers)) => self::headers(headers, cx).map(ForwardIdentity::Headers),
        (Some(_), Some(headers)) => {
            let message = "only one of `identity` and `identity_headers` may be there";
            cx.error(headers.problem(message).of_the_key());
            None
        }
        (None, None) => {
            let unread = ["identity", "identity_headers"]
                .iter()
                .any(|name| !cx.problems.is_silent_about(&format!("{key}.{name}")));
            if !unread {
                let message = "one of `identity` and `identity_headers` is required: it says where \
                               the endpoint's answer tells who it is";
                let allowed = "identity = { user = \"id\" } for a JSON answer, or \
                               identity_headers = { user = \"X-User\" }";
                cx.error(Problem::new(key, message).allowed(allowed));
            }
            None
        }
    }
}

/// Beside the user nothing is taken that the file does not name.
fn body(raw: At<RawMap>, cx: &mut Context<'_>) -> Option<IdentityMap> {
    let At { key, value: raw } = raw;
    if raw.user.is_none() {
        cx.lacks(
            &key,
            "user",
            Some("a dotted path of the answer, such as \"id\" or \"user.id\""),
        );
    }
    let user = path(raw.user, cx);
    let roles = paths(
        raw.roles,
        "leave it out where the answer tells no roles",
        cx,
    );
    let email = path(raw.email, cx);
    let name = path(raw.name, cx);
    Some(IdentityMap {
        user: user?,
        roles,
        email,
        name,
    })
}

fn headers(raw: At<raw::IdentityHeaders>, cx: &mut Context<'_>) -> Option<IdentityHeaders> {
    let At { key, value: raw } = raw;
    if raw.user.is_none() {
        cx.lacks(
            &key,
            "user",
            Some("a header of the answer, such as \"X-User\""),
        );
    }
    let mut header = |given: Option<At<String>>| given.and_then(|text| cx.header_name(&text));
    let user = header(raw.user);
    let roles = header(raw.roles);
    let email = header(raw.email);
    let name = header(raw.name);
    Some(IdentityHeaders {
        user: user?,
        roles,
        email,
        name,
    })
}
