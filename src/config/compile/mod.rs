//! Raw to compiled: policy and settings that cannot be wrong, or every mistake at once.

mod acme;
mod action;
mod api_key;
mod auth;
mod context;
mod cookies;
mod cors;
mod database;
mod database_options;
mod directory;
mod django;
mod expect;
mod flask;
mod forward;
mod headers;
mod health;
mod identity;
mod jwt;
mod jwt_keys;
mod oidc;
mod query;
mod rate_limit;
mod redis;
mod route;
mod security_headers;
mod server;
mod session;
mod signin;
mod template;
mod tls;
mod tracing;
mod upstream;

use std::path::Path;
use std::sync::Arc;

use http::HeaderName;

use super::problem::{Problem, Problems};
use super::raw::decode::At;
use super::raw::shapes::Named;
use super::raw::{self};
use super::settings::{Authenticator, AuthenticatorKind, Log, LogLevel, Settings, Source};
use super::source::Environment;
use crate::policy::Policy;
use crate::policy::forwarded::TrustedProxies;
use crate::policy::headers::Hygiene;
use crate::policy::identity::IdentityNames;
use crate::policy::limit::{LimitId, RateLimit};
use crate::policy::route::{Action, Route};
use context::Context;

/// Compiles a file. `None` when something is wrong, and then it stands in the problems.
pub(super) fn compile<'a>(
    file: &'a Path,
    raw: raw::File,
    environment: &'a dyn Environment,
    problems: Problems<'a>,
) -> (Option<(Policy, Settings)>, Problems<'a>) {
    let mut cx = Context {
        folder: folder(file),
        environment,
        problems,
        watched: vec![file.to_path_buf()],
    };
    let compiled = whole(raw, &mut cx);
    let compiled = compiled.filter(|_| cx.problems.is_clean());
    (compiled, cx.problems)
}

fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

fn whole(raw: raw::File, cx: &mut Context<'_>) -> Option<(Policy, Settings)> {
    let has_token = raw
        .admin
        .as_ref()
        .is_some_and(|admin| admin.value.token.is_some());
    let admin = server::admin(raw.admin, cx);
    let server = server::compile(raw.server, has_token, cx);
    let (identity, assertion) = identity::compile(raw.identity, cx);
    let upstream = table(raw.upstream);
    let auth = table(raw.auth);
    let upstream_names = names(&upstream);
    let auth_names = names(&auth);
    let cors = cors::compile(table(raw.cors), cx);
    let upstreams = upstream::compile(upstream, cx);
    let unnamed = HeaderName::from_static("x-request-id");
    let request_id = server.as_ref().map_or(&unnamed, |s| &s.request_id);
    let owned = headers::Owned::new(&identity, request_id);
    let shares_counts = rate_limit::is_any_shared(raw.rate_limit.as_ref());
    let limits = rate_limit::compile(table(raw.rate_limit), &owned, cx);
    let around = route::Surroundings {
        upstreams: &upstream_names,
        authenticators: &auth_names,
        cors: &cors,
        limits: &limits,
        owned,
        body_limit: server.as_ref().map_or(0, |server| server.body_limit),
    };
    let readers = signin::Readers::of(&auth);
    let token_handlers = table(raw.token_handler);
    let needs_sessions = signin::needs_sessions(&auth) || !token_handlers.0.is_empty();
    let shares = shares_counts || acme::is_shared(raw.tls.as_ref());
    let sessions = signin::sessions(raw.session, needs_sessions || shares, cx);
    let home = sessions.as_ref().map(|sessions| sessions.home.clone());
    let counts = rate_limit::home(&limits, home.as_ref(), cx);
    let sessions = sessions.filter(|_| needs_sessions);
    let handlers = signin::Handlers::compile(token_handlers, &upstream_names, &readers, cx);
    let mut routes = route::compile(raw.route, &around, cx);
    handlers.mark(&mut routes);
    let hosts = hosts(&routes);
    let tls = tls::compile(
        raw.tls,
        server.as_ref().map(|server| &server.server),
        home.as_ref(),
        hosts,
        cx,
    );
    let directories = directory::compile(table(raw.directory), cx);
    let cookie = sessions.as_ref().map_or("", |sessions| &sessions.cookie);
    let authenticators = auth::compile(auth, &tls, &directories, (&handlers, cookie), cx);
    oidc::invite(&authenticators, &mut routes);
    check_sources(&authenticators, &identity, cx);
    let expectations = expect::compile(raw.expect, &upstream_names, &auth_names, cx);
    let security_headers = security_headers::compile(raw.security_headers, cx);
    let log = log(raw.log, cx);
    let tracing = tracing::compile(raw.tracing, cx);
    warn_of_unused(&routes, &upstream_names, &auth_names, &cors, cx);
    warn_of_unasked_limits(&routes, &limits, cx);
    warn_of_unasked(&authenticators, &directories.names, cx);
    routes.extend(oidc::doors(&authenticators, &routes));
    let routes = route::assemble(routes, cx);
    let server = server?;
    let policy = Policy {
        routes,
        merge_slashes: server.merge_slashes,
        hygiene: hygiene(&identity, &server, &authenticators).into(),
        identity,
        trusted_proxies: TrustedProxies::new(server.trusted),
        security_headers,
        request_id: server.request_id,
        session_cookie: sessions.as_ref().map(|sessions| sessions.cookie.clone()),
        // One that is wrong is noted, and then nothing of all this is used.
        limits: limits.into_iter().filter_map(|(_, limit)| limit).collect(),
        header_count: server.header_count,
        expectations,
    };
    let settings = Settings {
        server: server.server,
        tls,
        upstreams,
        authenticators,
        directories: directories.list,
        sessions,
        counts,
        token_handlers: handlers.into_list(),
        assertion,
        log,
        tracing,
        admin,
        watched: std::mem::take(&mut cx.watched),
    };
    Some((policy, settings))
}

/// A header that tells the app who is calling is the gateway's: no client may be asked to send it.
/// One that is only stripped may hold a credential, which the app then does not see.
fn check_sources(authenticators: &[Authenticator], identity: &IdentityNames, cx: &mut Context<'_>) {
    let told = IdentityNames {
        strip: Vec::new(),
        ..identity.clone()
    };
    let owned: Vec<_> = told.owned().map(headers::fold).collect();
    for auth in authenticators {
        for name in header_sources(auth) {
            if owned.contains(&headers::fold(name)) {
                let is_forward = matches!(auth.kind, AuthenticatorKind::Forward(_));
                let sources = if is_forward { "send" } else { "sources" };
                let key = format!("auth.{}.{sources}", auth.name);
                let message = "a credential cannot sit in an identity header of [identity]";
                cx.error(Problem::new(key, message).found(format!("\"header:{name}\"")));
            }
        }
    }
}

/// The headers in which an authenticator looks for its credential.
fn header_sources(auth: &Authenticator) -> Vec<&HeaderName> {
    let sources = match &auth.kind {
        AuthenticatorKind::Jwt(jwt) => jwt.sources.as_slice(),
        AuthenticatorKind::ApiKey(keys) => keys.sources.as_slice(),
        AuthenticatorKind::Forward(forward) => return forward.send.iter().collect(),
        AuthenticatorKind::Basic(_)
        | AuthenticatorKind::ClientCertificate(_)
        | AuthenticatorKind::DjangoSession(_)
        | AuthenticatorKind::FlaskSession(_)
        | AuthenticatorKind::FlaskCookie(_)
        | AuthenticatorKind::GatewaySession(_)
        | AuthenticatorKind::Oidc(_) => &[],
    };
    let headers = sources.iter().filter_map(|source| match source {
        Source::Header(name) => Some(name),
        Source::Cookie(_)
        | Source::Query(_)
        | Source::WebSocketQuery(_)
        | Source::WebSocketProtocol => None,
    });
    headers.collect()
}

/// What is removed from requests. Headers that hold a credential of some authenticator pass.
fn hygiene(
    identity: &IdentityNames,
    server: &server::Compiled,
    authenticators: &[Authenticator],
) -> Hygiene {
    let credentials = authenticators.iter().flat_map(header_sources);
    Hygiene::compile(identity, server.keeps_underscores, &server.request_id).admitting(credentials)
}

fn table<T>(raw: Option<At<Named<T>>>) -> Named<T> {
    raw.map(|raw| raw.value).unwrap_or_default()
}

fn names<T>(table: &Named<T>) -> Vec<String> {
    table.0.iter().map(|(name, _)| name.clone()).collect()
}

/// Every host that a route takes, once.
fn hosts(routes: &[Route]) -> Vec<String> {
    let mut hosts: Vec<_> = routes
        .iter()
        .flat_map(|route| &route.hosts)
        .map(ToString::to_string)
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

fn log(raw: Option<At<raw::Log>>, cx: &mut Context<'_>) -> Log {
    let (format, level, access) = match raw {
        Some(At { value, .. }) => (value.format, value.level, value.access),
        None => (None, None, None),
    };
    let levels = &[
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    Log {
        json: cx
            .word(format.as_ref(), &[("json", true), ("text", false)])
            .unwrap_or(true),
        level: cx.word(level.as_ref(), levels).unwrap_or(LogLevel::Info),
        access: access.is_none_or(|access| access.value),
    }
}

/// What is defined and never used is often a name that was meant elsewhere.
fn warn_of_unused(
    routes: &[Route],
    upstreams: &[String],
    authenticators: &[String],
    cors: &[(String, Option<Arc<crate::policy::cors::CorsRule>>)],
    cx: &mut Context<'_>,
) {
    if !cx.problems.is_clean() {
        return;
    }
    let mut warn = |table: &str, name: &str| {
        let key = super::places::child(table, name);
        cx.warn(Problem::new(key, "is not used by any route").of_the_key());
    };
    for (index, name) in upstreams.iter().enumerate() {
        let uses =
            |route: &Route| matches!(&route.action, Action::Forward(to) if to.upstream.0 == index);
        if !routes.iter().any(uses) {
            warn("upstream", name);
        }
    }
    for (index, name) in authenticators.iter().enumerate() {
        let uses = |route: &Route| route.authenticators.iter().any(|id| id.0 == index);
        if !routes.iter().any(uses) {
            warn("auth", name);
        }
    }
    for (name, _) in cors {
        let uses = |route: &Route| route.cors.as_ref().is_some_and(|rule| *rule.name == **name);
        if !routes.iter().any(uses) {
            warn("cors", name);
        }
    }
}

/// The same of rate limits.
fn warn_of_unasked_limits(
    routes: &[Route],
    limits: &[(String, Option<Arc<RateLimit>>)],
    cx: &mut Context<'_>,
) {
    if !cx.problems.is_clean() {
        return;
    }
    for (index, (name, _)) in limits.iter().enumerate() {
        let asks = |route: &Route| route.limits.contains(&LimitId(index));
        if !routes.iter().any(asks) {
            let key = super::places::child("rate_limit", name);
            cx.warn(Problem::new(key, "is not used by any route").of_the_key());
        }
    }
}

/// The same of directories: nobody asks them.
fn warn_of_unasked(authenticators: &[Authenticator], directories: &[String], cx: &mut Context<'_>) {
    if !cx.problems.is_clean() {
        return;
    }
    for (index, name) in directories.iter().enumerate() {
        let asks = |auth: &Authenticator| auth.directory.is_some_and(|id| id.0 == index);
        if !authenticators.iter().any(asks) {
            let key = super::places::child("directory", name);
            cx.warn(Problem::new(key, "is not used by any [auth.NAME]").of_the_key());
        }
    }
}
