//! `type = "oidc"`: sign-in at an OpenID provider, and the routes that it takes.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use url::Url;

use super::context::Context;
use super::jwt::identity;
use super::jwt_keys::is_loopback;
use super::session::cache;
use crate::config::problem::Problem;
use crate::config::raw::decode::At;
use crate::config::raw::oidc as raw;
use crate::config::settings::{
    Algorithm, Authenticator, ForwardedToken, IdentityMap, JwksUrl, Jwt, KeySource, Oidc,
};
use crate::policy::path::{CanonicalPath, PathPattern};
use crate::policy::requirement::Requirement;
use crate::policy::return_path::{self, ReturnPath};
use crate::policy::route::{
    Action, AuthenticatorId, HeaderEdits, Route, RouteId, Unauthenticated, WebSocketRule,
};
use crate::policy::sign_in::{HandlerId, ProviderDoor, ProviderStep};
use crate::policy::websocket::close::Refuse;

/// What an ID token may be signed with. A shared secret is not among them.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// How far the clocks of provider and gateway may differ.
const LEEWAY: Duration = Duration::from_secs(30);
/// How often the issuer's configuration and keys are fetched, and how long the last ones serve.
const REFRESH: Duration = Duration::from_mins(10);
const STALE: Duration = Duration::from_hours(24);
/// A client secret shorter than this can be found by trying (OpenID Connect Core 1.0 §10.1), in
/// bytes: what waits for a sign-in's end in the browser is sealed under it.
const SHORTEST_SECRET: usize = 16;
/// Largest body that the paths of a sign-in take, in bytes.
const BODY: u64 = 64 * 1024;
/// How long before its end a token may be refreshed.
const BEFORE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);

/// Compiles one. `handler` is its place among what makes sessions, `cookie` the name of theirs.
pub(super) fn compile(
    (name, key): (&str, &str),
    raw: raw::Oidc,
    (handler, cookie): (HandlerId, &str),
    cx: &mut Context<'_>,
) -> Option<Oidc> {
    for (field, given) in [
        ("issuer", raw.issuer.is_some()),
        ("client_id", raw.client_id.is_some()),
        ("client_secret", raw.client_secret.is_some()),
    ] {
        if !given {
            cx.lacks(key, field, None);
        }
    }
    let issuer = raw.issuer.and_then(|text| issuer(text, cx));
    let client_id = raw.client_id.and_then(|id| client_id(id, cx));
    let client_secret = raw.client_secret.and_then(|given| {
        let key = given.key.clone();
        let secret = cx.secret(given)?;
        if secret.expose().len() < SHORTEST_SECRET {
            let message = format!(
                "the secret has {} bytes, and can be found by trying; {SHORTEST_SECRET} and more are wanted",
                secret.expose().len()
            );
            cx.warn(Problem::new(key, message));
        }
        Some(secret)
    });
    let scopes = scopes(raw.scopes, cx);
    let words = &[
        ("none", ForwardedToken::None),
        ("access", ForwardedToken::Access),
        ("id", ForwardedToken::Id),
    ];
    let forward_token = cx.word(raw.forward_token.as_ref(), words);
    let prefix = prefix(name, raw.prefix, cx);
    let after_logout = after_logout(raw.post_logout_redirect, cx);
    let refresh_before = cx.bounded(raw.refresh_before, Duration::from_mins(1), BEFORE);
    let cache = cache(raw.cache, cx);
    let identity = identity(raw.identity.map(|map| map.value), "sub", cx);
    let (url, issuer) = issuer?;
    let client_id = client_id?;
    Some(Oidc {
        name: format!("auth.{name}").into(),
        handler,
        id_token: Jwt {
            algorithms: ALGORITHMS.to_vec(),
            keys: KeySource::JwksUrl(JwksUrl {
                url,
                discovery: true,
                refresh: REFRESH,
                stale: STALE,
            }),
            issuer: vec![issuer.clone()],
            audience: vec![client_id.clone()],
            leeway: LEEWAY,
            require: Vec::new(),
            sources: Vec::new(),
            // Whom the claims name is told by all of them, the UserInfo endpoint's too.
            identity: IdentityMap {
                user: "sub".to_owned(),
                roles: Vec::new(),
                email: None,
                name: None,
            },
            csrf_double_submit: false,
            revoke_claim: None,
            revocable: false,
        },
        issuer: issuer.into(),
        client_id: client_id.into(),
        client_secret: client_secret?,
        scopes,
        identity,
        userinfo: raw.userinfo.is_none_or(|asked| asked.value),
        forward_token: forward_token.unwrap_or(ForwardedToken::None),
        prefix: prefix?,
        after_logout: after_logout?,
        refresh_before,
        cookie: cookie.into(),
        cache,
    })
}

/// An issuer is named by an https URL without query or fragment (OpenID Connect Discovery 1.0 §3);
/// without TLS only on this machine.
fn issuer(text: At<String>, cx: &mut Context<'_>) -> Option<(Url, String)> {
    let url = Url::parse(&text.value).ok().filter(|url| {
        let anonymous = url.username().is_empty() && url.password().is_none();
        let whole = url.has_host() && url.query().is_none() && url.fragment().is_none();
        let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url));
        anonymous && whole && is_safe
    });
    let Some(url) = url else {
        // Not repeated: it may hold a password.
        let problem = text.problem("is not the URL of an OpenID provider");
        cx.error(problem.allowed(
            "an https:// URL as the provider names itself, without user, query or fragment (http:// for 127.0.0.1, ::1 and localhost alone)",
        ));
        return None;
    };
    Some((url, text.value))
}

fn client_id(id: At<String>, cx: &mut Context<'_>) -> Option<String> {
    let fits = !id.value.is_empty() && id.value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !fits {
        cx.error(id.wrong("is not a client id: printable ASCII is wanted"));
        return None;
    }
    Some(id.value)
}

/// `openid` makes it OpenID Connect (Core 1.0 §3.1.2.1), so it is always asked for.
fn scopes(
    raw: Option<At<crate::config::raw::shapes::Strings>>,
    cx: &mut Context<'_>,
) -> Vec<Box<str>> {
    if raw.is_none() {
        return ["openid", "profile", "email"].map(Box::from).to_vec();
    }
    let given = cx.some_strings(raw, "leave it out for the usual ones");
    let mut scopes: Vec<Box<str>> = vec!["openid".into()];
    for scope in given.unwrap_or_default() {
        // RFC 6749 §3.3.
        let fits = |byte: u8| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~');
        if !scope.value.bytes().all(fits) {
            cx.error(scope.wrong("is not a scope"));
        } else if scope.value != "openid" {
            scopes.push(scope.value.into());
        }
    }
    scopes
}

fn prefix(name: &str, given: Option<At<String>>, cx: &mut Context<'_>) -> Option<Box<str>> {
    let Some(given) = given else {
        return Some(format!("{}{name}", return_path::OWN).into());
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let fits = given.value.len() > 1
        && given.value.len() <= 200
        && !given.value.ends_with('/')
        && given.value.bytes().all(plain)
        && CanonicalPath::parse(&given.value, false).is_ok();
    if !fits {
        let problem = given.wrong("is not a path that others can stand below");
        cx.error(problem.allowed("a plain path without a slash at its end, such as \"/oauth2\""));
        return None;
    }
    Some(given.value.into())
}

fn after_logout(given: Option<At<String>>, cx: &mut Context<'_>) -> Option<Box<str>> {
    let Some(given) = given else {
        return Some("/".into());
    };
    if ReturnPath::parse(&given.value).is_none() {
        let problem = given.wrong("is not a page of the host that the browser came to");
        cx.error(problem.allowed("a path such as \"/\" or \"/goodbye?from=app\""));
        return None;
    }
    Some(given.value.into())
}

/// The routes of each provider's sign-in, on the hosts of the routes that take it, so that a browser
/// finds them where it was sent away.
pub(super) fn doors(authenticators: &[Authenticator], routes: &[Route]) -> Vec<Route> {
    let mut doors = Vec::new();
    for (place, one) in authenticators.iter().enumerate() {
        let Some(provider) = one.provider() else {
            continue;
        };
        let takes = |route: &&Route| route.authenticators.contains(&AuthenticatorId(place));
        let mut any = false;
        let mut hosts = Vec::new();
        for route in routes.iter().filter(takes) {
            any |= route.hosts.is_empty();
            let new = |host: &&_| !hosts.contains(*host);
            let new: Vec<_> = route.hosts.iter().filter(new).cloned().collect();
            hosts.extend(new);
        }
        let mut lists = Vec::new();
        if any {
            lists.push(Vec::new());
        }
        if !hosts.is_empty() {
            lists.push(hosts);
        }
        for hosts in lists {
            for step in ProviderStep::ALL {
                let id = RouteId(routes.len() + doors.len());
                doors.extend(door(id, provider, step, &hosts));
            }
        }
    }
    doors
}

fn door(
    id: RouteId,
    provider: &Oidc,
    step: ProviderStep,
    hosts: &[crate::policy::host::HostPattern],
) -> Option<Route> {
    let pattern = PathPattern::parse(&format!("{}/{}", provider.prefix, step.segment())).ok()?;
    let methods = step.methods().to_vec();
    let names: Vec<_> = methods.iter().map(Method::as_str).collect();
    let mut label = vec![names.join(",")];
    if !hosts.is_empty() {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        label.push(hosts.join(","));
    }
    label.push(pattern.as_str().to_owned());
    Some(Route {
        id,
        label: label.join(" ").into(),
        pattern,
        hosts: hosts.to_vec(),
        methods: Some(methods),
        action: Action::Provider(ProviderDoor {
            handler: provider.handler,
            step,
            name: Arc::clone(&provider.name),
        }),
        authenticators: Vec::new(),
        requirement: Requirement::PUBLIC,
        cors: None,
        csrf: true,
        limits: Vec::new(),
        unauthenticated: Unauthenticated::Status,
        body_limit: BODY,
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        websocket: WebSocketRule {
            allowed: false,
            refuse: Refuse::Auto,
            idle: Duration::from_mins(10),
            close_on_expiry: true,
            forward_token: false,
        },
    })
}

/// Tells the routes that take a provider's sessions whose sign-in a browser without one is sent to:
/// the first that the route names.
pub(super) fn invite(authenticators: &[Authenticator], routes: &mut [Route]) {
    for route in routes {
        let mut providers =
            (route.authenticators.iter()).filter_map(|id| authenticators.get(id.0)?.provider());
        let first = providers.next().map(|provider| provider.handler);
        if let (Some(handler), Unauthenticated::Status) = (first, &route.unauthenticated) {
            route.unauthenticated = Unauthenticated::SignIn(handler);
        }
    }
}
