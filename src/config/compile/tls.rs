//! `[tls]`: which certificates, which versions, whose client certificates.

use std::path::PathBuf;

use super::acme;
use super::context::Context;
use crate::config::problem::Problem;
use crate::config::raw::decode::At;
use crate::config::raw::doors;
use crate::config::settings::{CertificateFiles, ClientAuth, Development, LedgerHome, Server, Tls};

/// `hosts` are those of the routes: the development certificate covers them.
pub(super) fn compile(
    raw: Option<At<doors::Tls>>,
    server: Option<&Server>,
    home: Option<&LedgerHome>,
    hosts: Vec<String>,
    cx: &mut Context<'_>,
) -> Tls {
    let Some(At { value: raw, .. }) = raw else {
        return Tls::default();
    };
    let named = raw.certificate.map(|list| list.value).unwrap_or_default();
    let has_certificates = !named.is_empty();
    let certificates = named
        .into_iter()
        .filter_map(|pair| certificate(pair, cx))
        .collect();
    let development = raw.development.filter(|on| on.value);
    let serves_tls = server.is_some_and(|server| !server.https.is_empty());
    let has_certificates = has_certificates || raw.acme.is_some();
    check_needed(development.as_ref(), has_certificates, serves_tls, cx);
    Tls {
        certificates,
        only_tls13: cx
            .word(raw.min_version.as_ref(), &[("1.2", false), ("1.3", true)])
            .unwrap_or(false),
        development: development
            .filter(|_| serves_tls && !has_certificates)
            .map(|_| Development {
                folder: cx.folder.join("certs"),
                names: hosts,
            }),
        client_auth: client_auth(raw.client_auth.as_ref(), raw.client_ca, serves_tls, cx),
        acme: raw
            .acme
            .and_then(|raw| acme::compile(raw, server, home, cx)),
    }
}

fn certificate(pair: At<doors::Certificate>, cx: &mut Context<'_>) -> Option<CertificateFiles> {
    let At { key: at, value } = pair;
    for (name, is_there) in [("cert", value.cert.is_some()), ("key", value.key.is_some())] {
        if !is_there {
            cx.lacks(&at, name, None);
        }
    }
    let cert = value.cert.map(|path| cx.file(&path));
    let key = value.key.map(|path| cx.file(&path));
    Some(CertificateFiles {
        cert: cert?,
        key: key?,
    })
}

fn check_needed(
    development: Option<&At<bool>>,
    has_certificates: bool,
    serves_tls: bool,
    cx: &mut Context<'_>,
) {
    match development {
        None if serves_tls && !has_certificates => {
            let message = "https is served, and no certificate is given";
            let cure = "[[tls.certificate]] with `cert` and `key`, [tls.acme] for one that a CA \
                        issues by itself, or `development = true` in [tls] for one made here";
            cx.error(Problem::new("tls.certificate", message).allowed(cure));
        }
        Some(on) if has_certificates => {
            cx.warn(on.problem("does nothing: certificates are given"));
        }
        None | Some(_) => {}
    }
}

fn client_auth(
    mode: Option<&At<String>>,
    ca: Option<At<String>>,
    serves_tls: bool,
    cx: &mut Context<'_>,
) -> ClientAuth {
    type Make = Option<fn(PathBuf) -> ClientAuth>;
    let words: &[(&str, Make)] = &[
        ("none", None),
        ("optional", Some(ClientAuth::Optional)),
        ("required", Some(ClientAuth::Required)),
    ];
    let make = cx.word(mode, words).flatten();
    match (make, mode, ca) {
        (Some(make), Some(mode), Some(ca)) => {
            if !serves_tls {
                cx.error(mode.wrong("needs https: client certificates come with TLS"));
            }
            make(cx.file(&ca))
        }
        (Some(_), Some(mode), None) => {
            cx.error(mode.wrong("needs `client_ca`: whose client certificates are taken"));
            ClientAuth::None
        }
        (None, _, Some(ca)) => {
            let message = "does nothing while `client_auth` is \"none\"";
            cx.error(
                ca.problem(message)
                    .allowed("client_auth = \"optional\" or \"required\""),
            );
            ClientAuth::None
        }
        (Some(_) | None, None, None) | (None, Some(_), None) | (Some(_), None, Some(_)) => {
            ClientAuth::None
        }
    }
}
