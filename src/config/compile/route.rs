//! `[[route]]`: who may use it, and which requests it takes. What happens then is in `action`.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::action;
use super::context::Context;
use super::headers::{Owned, Side, edits};
use super::rate_limit;
use super::template::{self, Schemes};
use crate::config::problem::{Problem, nearest};
use crate::config::raw::decode::At;
use crate::config::raw::route::{self as raw, OneOrManyValues};
use crate::config::raw::shapes::Named;
use crate::policy::cors::CorsRule;
use crate::policy::host::HostPattern;
use crate::policy::limit::RateLimit;
use crate::policy::path::PathPattern;
use crate::policy::requirement::{Admission, Requirement, RoleRule};
use crate::policy::route::{AuthenticatorId, Route, RouteId, Unauthenticated, WebSocketRule};
use crate::policy::routes::Routes;
use crate::policy::websocket::close::Refuse;

/// What routes refer to.
pub(super) struct Surroundings<'a> {
    /// The names of `[upstream.*]`, of those too that are wrong themselves.
    pub(super) upstreams: &'a [String],
    /// The names of `[auth.*]`.
    pub(super) authenticators: &'a [String],
    /// The names of `[cors.*]`, and the rules where they are right.
    pub(super) cors: &'a [(String, Option<Arc<CorsRule>>)],
    /// The names of `[rate_limit.*]`, and the limits where they are right.
    pub(super) limits: &'a [(String, Option<Arc<RateLimit>>)],
    /// The headers that the gateway fills in.
    pub(super) owned: Owned,
    /// `[server.limits] body`.
    pub(super) body_limit: u64,
}

/// Every route that is right, and which names they used.
pub(super) fn compile(
    raw: Option<At<Vec<At<raw::Route>>>>,
    around: &Surroundings<'_>,
    cx: &mut Context<'_>,
) -> Vec<Route> {
    let list = raw.map(|raw| raw.value).unwrap_or_default();
    if list.is_empty() {
        let message = "at least one is required: without it every request gets 404";
        cx.error(
            Problem::new("route", message).allowed("[[route]] with `path`, `auth` and `upstream`"),
        );
    }
    let list = list.into_iter().enumerate();
    list.filter_map(|(index, raw)| route(RouteId(index), raw, around, cx))
        .collect()
}

/// Puts the routes together, noting those that match the same requests.
pub(super) fn assemble(routes: Vec<Route>, cx: &mut Context<'_>) -> Routes {
    let labels: Vec<_> = routes
        .iter()
        .map(|route| (route.id, route.pattern.clone()))
        .collect();
    let own: Vec<_> = routes
        .iter()
        .filter_map(|route| Some((route.id, Arc::clone(&route.action.provider()?.name))))
        .collect();
    let own = |id: RouteId| own.iter().find(|(other, _)| *other == id);
    let conflicts = match Routes::compile(routes) {
        Ok(routes) => return routes,
        Err(conflicts) => conflicts,
    };
    for conflict in conflicts {
        // What the compiler added stands behind the file's own.
        if let Some((_, name)) = own(conflict.second) {
            let found = labels.iter().find(|(id, _)| *id == conflict.second);
            let found = found.map(|(_, pattern)| format!("{:?}", pattern.as_str()));
            let message = format!("is a path of the sign-in of [{name}] already; see its `prefix`");
            let key = match own(conflict.first) {
                Some(_) => format!("{name}.prefix"),
                None => format!("route[{}].path", conflict.first.0),
            };
            cx.error(Problem::new(key, message).found(found.unwrap_or_default()));
            continue;
        }
        let first = format!("route[{}]", conflict.first.0);
        let key = format!("route[{}].path", conflict.second.0);
        let pattern = |id| labels.iter().find(|(other, _)| *other == id);
        let found = pattern(conflict.second).map(|(_, pattern)| format!("{:?}", pattern.as_str()));
        let place = cx.problems.place_of(&first);
        let message = format!(
            "matches the same requests as {first}{}; make one of them more specific, by host, \
             path or methods",
            place.map_or_else(String::new, |place| format!(" at {place}"))
        );
        cx.error(Problem::new(key, message).found(found.unwrap_or_default()));
    }
    Routes::default()
}

fn route(
    id: RouteId,
    raw: At<raw::Route>,
    around: &Surroundings<'_>,
    cx: &mut Context<'_>,
) -> Option<Route> {
    let At {
        key: at,
        value: raw,
    } = raw;
    let pattern = pattern(&at, raw.path.as_ref(), cx);
    let hosts = hosts(raw.hosts, cx);
    let methods = methods(raw.methods, cx);
    let (admission, authenticators) = auth(&at, raw.auth, around.authenticators, cx);
    let requirement = Requirement {
        admission,
        roles: roles(raw.roles.map(|roles| roles.value), admission, cx),
        users: texts(raw.users, "nobody could come in", admission, cx),
        claims: claims(raw.claims.map(|claims| claims.value), admission, cx),
        observe: raw.observe.is_some_and(|observe| observe.value),
    };
    let cors = raw.cors.as_ref().and_then(|name| cors(name, around, cx));
    let has_cors = raw.cors.is_some();
    let limits = rate_limit::named(raw.rate_limit, around.limits, cx);
    let owned = &around.owned;
    let request_headers = edits(raw.request_headers, Side::Request(owned), cx);
    let response_headers = edits(raw.response_headers, Side::Answer { has_cors, owned }, cx);
    let parts = action::Parts {
        upstream: raw.upstream,
        respond: raw.respond,
        redirect: raw.redirect,
        files: raw.files,
        strip_prefix: raw.strip_prefix,
        add_prefix: raw.add_prefix,
        timeout: raw.timeout,
    };
    let action = action::compile(&at, parts, pattern.as_ref(), around.upstreams, cx);
    let unauthenticated = unauthenticated(raw.unauthenticated, admission, cx);
    let websocket = websocket(raw.websocket.map(|websocket| websocket.value), cx);
    let pattern = pattern?;
    Some(Route {
        id,
        label: label(methods.as_deref(), &hosts, &pattern),
        hosts: hosts.into_iter().map(|(_, host)| host).collect(),
        methods,
        action: action?,
        authenticators,
        requirement,
        cors,
        csrf: raw.csrf.is_none_or(|csrf| csrf.value),
        limits,
        unauthenticated,
        body_limit: raw
            .body_limit
            .map_or(around.body_limit, |limit| limit.value.0),
        request_headers,
        response_headers,
        websocket,
        pattern,
    })
}

/// Methods, hosts and path as configured: the route's name in logs and metrics.
fn label(
    methods: Option<&[Method]>,
    hosts: &[(String, HostPattern)],
    pattern: &PathPattern,
) -> Arc<str> {
    let mut parts = Vec::with_capacity(3);
    if let Some(methods) = methods {
        let methods: Vec<_> = methods.iter().map(Method::as_str).collect();
        parts.push(methods.join(","));
    }
    if !hosts.is_empty() {
        let hosts: Vec<_> = hosts.iter().map(|(text, _)| text.as_str()).collect();
        parts.push(hosts.join(","));
    }
    parts.push(pattern.as_str().to_owned());
    parts.join(" ").into()
}

fn pattern(at: &str, path: Option<&At<String>>, cx: &mut Context<'_>) -> Option<PathPattern> {
    let Some(path) = path else {
        cx.lacks(at, "path", Some("such as \"/api/{*rest}\""));
        return None;
    };
    match PathPattern::parse(&path.value) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let allowed = "\"/exact/\", \"/users/{id}/\", \"/api/{*rest}\"";
            cx.error(path.wrong(error.to_string()).allowed(allowed));
            None
        }
    }
}

fn hosts(
    raw: Option<At<crate::config::raw::shapes::Strings>>,
    cx: &mut Context<'_>,
) -> Vec<(String, HostPattern)> {
    let list = cx.some_strings(raw, "no request could match; leave it out for any host");
    let mut hosts: Vec<(String, HostPattern)> = Vec::new();
    for text in list.unwrap_or_default() {
        match HostPattern::parse(&text.value) {
            Ok(host) if hosts.iter().any(|(_, other)| *other == host) => {
                cx.error(text.wrong("stands in this list twice"));
            }
            Ok(host) => hosts.push((text.value, host)),
            Err(error) => {
                let allowed = "a host such as \"app.example.com\" or \"*.example.com\"";
                cx.error(text.wrong(error.to_string()).allowed(allowed));
            }
        }
    }
    hosts
}

/// Methods that are known; any other in capital letters is taken as it stands.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A list of methods.
pub(super) fn methods(
    raw: Option<At<crate::config::raw::shapes::Strings>>,
    cx: &mut Context<'_>,
) -> Option<Vec<Method>> {
    raw.as_ref()?;
    let list = cx.some_strings(raw, "no request could match; leave it out for any method");
    let list = list.unwrap_or_default();
    Some(list.iter().filter_map(|text| method(text, cx)).collect())
}

/// One method (RFC 9110 §9). `CONNECT` and `TRACE` never reach a route.
pub(super) fn method(text: &At<String>, cx: &mut Context<'_>) -> Option<Method> {
    let capital = |letter: u8| letter.is_ascii_uppercase() || matches!(letter, b'-' | b'_');
    let is_capital = !text.value.is_empty() && text.value.bytes().all(capital);
    let is_refused = matches!(text.value.as_str(), "CONNECT" | "TRACE" | "TRACK");
    let near = nearest(&text.value, METHODS.iter().copied());
    // One letter from a method that is known is a typing mistake: it would match nothing.
    let is_known = METHODS.contains(&text.value.as_str());
    let method = Method::from_bytes(text.value.as_bytes()).ok();
    let method = method.filter(|_| is_capital && !is_refused && (is_known || near.is_none()));
    if method.is_none() {
        let problem = text.wrong("is not a method that a route can take");
        cx.error(problem.allowed(METHODS.join(", ")).nearest(near));
    }
    method
}

fn auth(
    at: &str,
    raw: Option<At<raw::Auth>>,
    names: &[String],
    cx: &mut Context<'_>,
) -> (Admission, Vec<AuthenticatorId>) {
    const ALLOWED: &str = "\"public\", a list of [auth.NAME], or { optional = [\"NAME\"] }";
    let Some(At { key, value }) = raw else {
        cx.lacks(at, "auth", Some(ALLOWED));
        return (Admission::Required, Vec::new());
    };
    let (admission, list) = match value {
        raw::Auth::Word(word) if word == "public" => return (Admission::Public, Vec::new()),
        raw::Auth::Word(value) => {
            let word = At { key, value };
            let problem = word
                .wrong("is not a way to say who may use a route")
                .allowed(ALLOWED);
            let cure = names
                .contains(&word.value)
                .then(|| format!("[{:?}]", word.value));
            let near = nearest(&word.value, ["public"]).map(str::to_owned).or(cure);
            cx.error(problem.nearest(near.as_deref()));
            return (Admission::Required, Vec::new());
        }
        raw::Auth::Required(list) => (Admission::Required, At { key, value: list }),
        raw::Auth::Optional(list) => (Admission::Optional, list),
    };
    if list.value.is_empty() {
        let message = "must not be empty; a route for everyone says \"public\"";
        cx.error(list.problem(message).allowed(ALLOWED));
    }
    let mut ids = Vec::new();
    for name in &list.value {
        let Some(id) = cx.named(name, "auth", names).map(AuthenticatorId) else {
            continue;
        };
        if ids.contains(&id) {
            cx.error(name.wrong("stands in this list twice"));
        }
        ids.push(id);
    }
    (admission, ids)
}

/// Conditions on a caller where none may come would be passed by anyone.
fn check_has_caller(what: &Problem, admission: Admission, cx: &mut Context<'_>) {
    let why = match admission {
        Admission::Required => return,
        Admission::Public => "cannot be asked for on a route that is public",
        Admission::Optional => {
            "cannot be asked for where `auth` is optional: who is anonymous passes"
        }
    };
    let allowed = "auth = [\"NAME\"], or leave it out";
    cx.error(what.clone().saying(why).allowed(allowed));
}

fn texts(
    raw: Option<At<crate::config::raw::shapes::Strings>>,
    why: &str,
    admission: Admission,
    cx: &mut Context<'_>,
) -> Vec<String> {
    if let Some(raw) = &raw {
        check_has_caller(&raw.problem(""), admission, cx);
    }
    let list = cx.some_strings(raw, why).unwrap_or_default();
    list.into_iter().map(|at| at.value).collect()
}

fn roles(raw: Option<raw::Roles>, admission: Admission, cx: &mut Context<'_>) -> RoleRule {
    let raw = raw.unwrap_or_default();
    let why = "it would ask for nothing; leave it out";
    RoleRule {
        any: texts(raw.any, why, admission, cx),
        all: texts(raw.all, why, admission, cx),
        none: texts(raw.none, why, admission, cx),
    }
}

fn claims(
    raw: Option<Named<OneOrManyValues>>,
    admission: Admission,
    cx: &mut Context<'_>,
) -> Vec<(String, Vec<Value>)> {
    let mut claims = Vec::new();
    for (path, at) in raw.unwrap_or_default().0 {
        check_has_caller(&at.problem(""), admission, cx);
        if at.value.0.is_empty() {
            cx.error(at.problem("must not be empty: nobody could come in"));
        }
        claims.push((path, at.value.0));
    }
    claims
}

fn cors(
    name: &At<String>,
    around: &Surroundings<'_>,
    cx: &mut Context<'_>,
) -> Option<Arc<CorsRule>> {
    let names: Vec<_> = around.cors.iter().map(|(name, _)| name).collect();
    let index = cx.named(name, "cors", &names)?;
    around.cors.get(index).and_then(|(_, rule)| rule.clone())
}

fn unauthenticated(
    raw: Option<At<raw::Unauthenticated>>,
    admission: Admission,
    cx: &mut Context<'_>,
) -> Unauthenticated {
    let Some(At { key, value }) = raw else {
        return Unauthenticated::Status;
    };
    match value {
        raw::Unauthenticated::Word(word) if word == "status" => Unauthenticated::Status,
        raw::Unauthenticated::Word(value) => {
            let problem = At { key, value }.wrong("is not known here");
            cx.error(problem.allowed("\"status\" or { redirect = \"/login/?next={uri}\" }"));
            Unauthenticated::Status
        }
        raw::Unauthenticated::Redirect(to) => {
            if admission == Admission::Public {
                cx.error(to.problem("does nothing on a route that is public"));
            }
            template::target(&to, Schemes::Https, cx)
                .map_or(Unauthenticated::Status, Unauthenticated::Redirect)
        }
    }
}

fn websocket(raw: Option<raw::WebSocket>, cx: &mut Context<'_>) -> WebSocketRule {
    let raw = raw.unwrap_or_default();
    let idle = match raw.idle {
        None => Duration::from_mins(10),
        given => cx.positive(given),
    };
    WebSocketRule {
        allowed: !raw.off,
        refuse: raw
            .refuse
            .map_or_else(Refuse::default, |word| refuse(&word, cx)),
        idle,
        close_on_expiry: raw.close_on_expiry.unwrap_or(true),
        forward_token: raw.forward_token.unwrap_or(true),
    }
}

fn refuse(word: &At<String>, cx: &mut Context<'_>) -> Refuse {
    match word.value.as_str() {
        "auto" => Refuse::Auto,
        "close" => Refuse::Close,
        "status" => Refuse::Status,
        _ => {
            let problem = word.wrong("is not a way to refuse a handshake");
            cx.error(problem.allowed(
                "\"auto\" (a close code to a browser, the status to others), \"close\" or \"status\"",
            ));
            Refuse::Auto
        }
    }
}
