//! `[auth.NAME]`: the types, each with its directory. The larger ones have files of their own.

use super::context::{Context, check_table_name};
use super::directory::Directories;
use super::signin::Handlers;
use super::{api_key, django, flask, forward, jwt, oidc};
use crate::config::node::quote;
use crate::config::problem::{Problem, nearest};
use crate::config::raw::auth::{self, Auth};
use crate::config::raw::decode::At;
use crate::config::raw::shapes::{Named, Strings};
use crate::config::settings::{
    Authenticator, AuthenticatorKind, Basic, CertificateUser, ClientAuth, ClientCertificate,
    DirectoryId, Source, Tls,
};
use crate::policy::sign_in::HandlerId;

/// In the order of the names; one that is wrong is left out, and noted.
pub(super) fn compile(
    raw: Named<Auth>,
    tls: &Tls,
    directories: &Directories,
    (handlers, cookie): (&Handlers, &str),
    cx: &mut Context<'_>,
) -> Vec<Authenticator> {
    let mut list = Vec::with_capacity(raw.0.len());
    let mut providers = handlers.behind();
    for (name, At { key, value }) in raw.0 {
        check_table_name(&name, &key, cx);
        let directory = directory(&key, &value, directories, cx);
        let kind = if let Auth::GatewaySession(raw) = value {
            let reader = handlers.reader(&key, raw, cookie, cx);
            reader.map(AuthenticatorKind::GatewaySession)
        } else if let Auth::Oidc(raw) = value {
            let handler = providers;
            providers = HandlerId(providers.0 + 1);
            let provider = oidc::compile((&name, &key), *raw, (handler, cookie), cx);
            provider.map(|provider| AuthenticatorKind::Oidc(Box::new(provider)))
        } else {
            kind(&key, value, tls, cx)
        };
        list.extend(kind.map(|kind| Authenticator {
            name: name.into(),
            kind,
            directory,
        }));
    }
    list
}

fn kind(key: &str, raw: Auth, tls: &Tls, cx: &mut Context<'_>) -> Option<AuthenticatorKind> {
    Some(match raw {
        Auth::Jwt(raw) => AuthenticatorKind::Jwt(Box::new(jwt::compile(key, *raw, cx)?)),
        Auth::ApiKey(raw) => AuthenticatorKind::ApiKey(api_key::compile(key, raw, cx)),
        Auth::Basic(raw) => AuthenticatorKind::Basic(basic(key, raw, cx)?),
        Auth::ClientCertificate(raw) => {
            AuthenticatorKind::ClientCertificate(client_certificate(key, raw, tls, cx))
        }
        Auth::DjangoSession(raw) => {
            AuthenticatorKind::DjangoSession(Box::new(django::compile(key, *raw, cx)?))
        }
        Auth::FlaskSession(raw) => {
            AuthenticatorKind::FlaskSession(Box::new(flask::session(key, *raw, cx)?))
        }
        Auth::FlaskCookie(raw) => {
            AuthenticatorKind::FlaskCookie(Box::new(flask::cookie_session(key, *raw, cx)))
        }
        Auth::Forward(raw) => {
            AuthenticatorKind::Forward(Box::new(forward::compile(key, *raw, cx)?))
        }
        Auth::GatewaySession(_) | Auth::Oidc(_) | Auth::Unknown => return None,
    })
}

/// The directory of an authenticator, of the type that it needs.
fn directory(
    key: &str,
    raw: &Auth,
    directories: &Directories,
    cx: &mut Context<'_>,
) -> Option<DirectoryId> {
    let need = password_need(raw);
    let Some(named) = raw.directory() else {
        if let Some(why) = need {
            let allowed = format!("the NAME of a [directory.NAME] of type django: {why}");
            cx.lacks(key, "directory", Some(&allowed));
        }
        return None;
    };
    let id = directories.named(named, cx)?;
    let kind = directories.type_of(id);
    if let (Some(why), Some(kind)) = (need, kind.filter(|kind| *kind != "django")) {
        let message = format!("must be a directory of type django, not {kind}: {why}");
        cx.error(named.wrong(message));
    }
    Some(id)
}

/// Why the user's stored password is needed, which a directory of type django alone has.
fn password_need(raw: &Auth) -> Option<&'static str> {
    match raw {
        Auth::DjangoSession(_) => {
            Some("Django compares the session's hash with the user's password")
        }
        Auth::Jwt(jwt) if jwt.revoke_claim.is_some() => {
            Some("`revoke_claim` is compared with the user's password")
        }
        Auth::Jwt(_)
        | Auth::ApiKey(_)
        | Auth::Basic(_)
        | Auth::ClientCertificate(_)
        | Auth::FlaskSession(_)
        | Auth::FlaskCookie(_)
        | Auth::Forward(_)
        | Auth::GatewaySession(_)
        | Auth::Oidc(_)
        | Auth::Unknown => None,
    }
}

fn basic(key: &str, raw: auth::Basic, cx: &mut Context<'_>) -> Option<Basic> {
    let Some(path) = raw.htpasswd else {
        cx.lacks(key, "htpasswd", None);
        return None;
    };
    Some(Basic {
        htpasswd: cx.file(&path),
    })
}

fn client_certificate(
    key: &str,
    raw: auth::ClientCertificate,
    tls: &Tls,
    cx: &mut Context<'_>,
) -> ClientCertificate {
    if tls.client_auth == ClientAuth::None {
        let message = "no client ever shows a certificate: `client_auth` in [tls] is \"none\"";
        cx.error(Problem::new(key, message).allowed("client_auth = \"optional\" or \"required\""));
    }
    let users = &[
        ("san-email", CertificateUser::SanEmail),
        ("san-dns", CertificateUser::SanDns),
        ("san-uri", CertificateUser::SanUri),
        ("cn", CertificateUser::CommonName),
    ];
    let user = cx.word(raw.user.as_ref(), users);
    let roles = raw.roles.map(|roles| roles.value).unwrap_or_default();
    ClientCertificate {
        user: user.unwrap_or(CertificateUser::SanEmail),
        roles: roles
            .0
            .into_iter()
            .map(|(subject, list)| (subject, roles_of(list.value, cx)))
            .collect(),
    }
}

/// Roles that a key or a certificate carries.
pub(super) fn roles_of(list: Vec<At<String>>, cx: &mut Context<'_>) -> Vec<String> {
    for role in &list {
        if role.value.trim().is_empty() {
            cx.error(role.wrong("is not a role"));
        }
    }
    list.into_iter().map(|role| role.value).collect()
}

/// `sources`: where a credential is looked for, in order.
pub(super) fn sources(
    raw: Option<At<Strings>>,
    default: Vec<Source>,
    cx: &mut Context<'_>,
) -> Vec<Source> {
    if raw.is_none() {
        return default;
    }
    let why = "a credential must be looked for somewhere";
    let list = cx.some_strings(raw, why).unwrap_or_default();
    list.iter().filter_map(|text| source(text, cx)).collect()
}

/// How a source is written.
const SOURCE: &str = "\"header:NAME\", \"cookie:NAME\", \"query:NAME\", \"websocket:NAME\" or \
                      \"websocket-protocol\"";

fn source(text: &At<String>, cx: &mut Context<'_>) -> Option<Source> {
    if text.value == "websocket-protocol" {
        return Some(Source::WebSocketProtocol);
    }
    let (kind, name) = text.value.split_once(':').unwrap_or((&text.value, ""));
    let source = match kind {
        "header" => super::context::header_name(name).map(Source::Header),
        "cookie" => is_token(name).then(|| Source::Cookie(name.into())),
        "query" => is_parameter(name).then(|| Source::Query(name.into())),
        "websocket" => is_parameter(name).then(|| Source::WebSocketQuery(name.into())),
        _ => {
            let kinds = [
                "header",
                "cookie",
                "query",
                "websocket",
                "websocket-protocol",
            ];
            let problem = text
                .wrong("is not a place for a credential")
                .allowed(SOURCE);
            cx.error(problem.nearest(nearest(kind, kinds)));
            return None;
        }
    };
    if source.is_none() {
        let problem = text.problem(format!("{} is not a name for a {kind}", quote(name)));
        cx.error(problem.found(quote(&text.value)).allowed(SOURCE));
    }
    source
}

/// A cookie's name is a token (RFC 6265 §4.1.1).
pub(super) fn is_token(name: &str) -> bool {
    super::context::header_name(name).is_some()
}

/// The name of a query parameter, as it stands in an address without encoding.
fn is_parameter(name: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    !name.is_empty() && name.bytes().all(plain)
}
