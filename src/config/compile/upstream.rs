//! `[upstream.NAME]`: the apps, and how they are spoken to.

use std::sync::Arc;

use http::HeaderValue;
use url::Url;

use super::context::{Context, check_table_name};
use super::cookies;
use super::health;
use crate::config::node::quote;
use crate::config::problem::nearest;
use crate::config::raw::decode::At;
use crate::config::raw::doors::{self, OneServer, Servers};
use crate::config::raw::shapes::Named;
use crate::config::settings::{
    Balance, CertificateFiles, ServerAddress, Upstream, UpstreamHost, UpstreamServer, UpstreamTls,
};

/// How a server is written.
const SERVER: &str = "\"http://host:port\", \"https://host:port\" or \"unix:/path/to.sock\"";

/// In the order of the names; one that is wrong is left out, and noted.
pub(super) fn compile(raw: Named<doors::Upstream>, cx: &mut Context<'_>) -> Vec<Upstream> {
    raw.0
        .into_iter()
        .filter_map(|(name, raw)| upstream(&name, raw, cx))
        .collect()
}

fn upstream(name: &str, raw: At<doors::Upstream>, cx: &mut Context<'_>) -> Option<Upstream> {
    let At { key, value: raw } = raw;
    check_table_name(name, &key, cx);
    if raw.servers.is_none() {
        cx.lacks(&key, "servers", Some(SERVER));
    }
    let servers = servers(raw.servers, cx);
    let timeouts = raw.timeouts.map(|timeouts| timeouts.value);
    let (connect, response) = timeouts.map_or((None, None), |timeouts| {
        (timeouts.connect, timeouts.response)
    });
    let balances = &[
        ("least-requests", Balance::LeastRequests),
        ("round-robin", Balance::RoundRobin),
        ("client-ip", Balance::ClientIp),
        ("cookie", Balance::Cookie),
    ];
    let balance = cx.word(raw.balance.as_ref(), balances);
    let host = raw.host.as_ref().and_then(|host| fixed_host(host, cx));
    let has_tls = servers
        .as_ref()
        .is_none_or(|servers| servers.iter().any(|one| one.tls));
    let upstream = Upstream {
        name: name.into(),
        servers: servers.unwrap_or_default(),
        balance: balance.unwrap_or(Balance::LeastRequests),
        host: host.unwrap_or(UpstreamHost::Preserve),
        connect_timeout: cx.positive(connect),
        response_timeout: cx.positive(response),
        connections: cx.number(raw.connections, 1..=1_000_000),
        queue: raw.queue.map_or_else(Default::default, |queue| queue.value),
        retries: cx.number(raw.retries, 0..=10),
        health: raw.health.and_then(|raw| health::check(raw, cx)),
        eject: raw.eject.and_then(|raw| health::eject(raw.value, cx)),
        tls: tls(raw.tls, has_tls, cx),
        cookies: cookies::compile(raw.cookies, cx),
    };
    (!upstream.servers.is_empty()).then_some(upstream)
}

/// `None` where the list itself is wrong or is not there.
fn servers(raw: Option<At<Servers>>, cx: &mut Context<'_>) -> Option<Vec<UpstreamServer>> {
    let At { key, value } = raw?;
    let given = match value {
        Servers::Given(list) => list,
        Servers::Variable(name) => OneServer::listed(&key, &cx.variable(&name)?),
    };
    if given.is_empty() {
        cx.error(
            At { key, value: () }
                .problem("must name a server")
                .allowed(SERVER),
        );
        return None;
    }
    let mut servers: Vec<UpstreamServer> = Vec::new();
    for raw in given {
        let url = raw.value.url;
        let weight = raw
            .value
            .weight
            .map_or(1, |at| cx.number(Some(at), 1..=1000));
        let Some(server) = server(&url, weight, cx) else {
            continue;
        };
        if servers.iter().any(|other| other.address == server.address) {
            cx.warn(url.wrong("is listed twice; use { url, weight } for a larger share"));
        }
        servers.push(server);
    }
    Some(servers)
}

fn server(url: &At<String>, weight: u32, cx: &mut Context<'_>) -> Option<UpstreamServer> {
    let text = url.value.as_str();
    if let Some(path) = text.strip_prefix("unix:") {
        let path = At {
            key: url.key.clone(),
            value: path.strip_prefix("//").unwrap_or(path).to_owned(),
        };
        return Some(UpstreamServer {
            label: text.into(),
            address: ServerAddress::Unix(cx.path(&path)),
            tls: false,
            weight,
        });
    }
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    let tls = match scheme {
        Some("http") => false,
        Some("https") => true,
        _ => {
            let before = text.split(':').next().unwrap_or_default();
            let near = nearest(before, ["http", "https", "unix"]);
            let problem = url.problem("is not a server's address: the scheme is not known");
            // What stands before an `@` may be a password.
            let shown = text.rsplit('@').next().unwrap_or_default();
            cx.error(problem.found(quote(shown)).allowed(SERVER).nearest(near));
            return None;
        }
    };
    let (host, port) = match tcp(text) {
        Ok(address) => address,
        Err(why) => {
            cx.error(url.problem(why).allowed(SERVER));
            return None;
        }
    };
    Some(UpstreamServer {
        label: text.trim_end_matches('/').into(),
        address: ServerAddress::Tcp { host, port },
        tls,
        weight,
    })
}

fn tcp(text: &str) -> Result<(Arc<str>, u16), String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or password".to_owned());
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        let cure = "must end after the port; to put a path before the request's use the route's \
                    `add_prefix`";
        return Err(cure.to_owned());
    }
    let host = url.host_str().ok_or("names no host")?;
    let port = url.port_or_known_default().filter(|port| *port != 0);
    let port = port.ok_or("the port must be 1 to 65535")?;
    Ok((host.trim_matches(['[', ']']).into(), port))
}

fn fixed_host(host: &At<String>, cx: &mut Context<'_>) -> Option<UpstreamHost> {
    match host.value.as_str() {
        "preserve" => return Some(UpstreamHost::Preserve),
        "upstream" => return Some(UpstreamHost::Upstream),
        _ => {}
    }
    let allowed = "\"preserve\", \"upstream\", or the name to send, such as \"app.example.com\"";
    let near = nearest(&host.value, ["preserve", "upstream"]).filter(|_| !host.value.contains('.'));
    let value = authority(&host.value).filter(|_| near.is_none());
    if value.is_none() {
        cx.error(host.wrong("is not a host").allowed(allowed).nearest(near));
    }
    value.map(UpstreamHost::Fixed)
}

/// A value that `Host` may have: a name or an address, and a port where it is not the usual one.
pub(super) fn authority(text: &str) -> Option<HeaderValue> {
    let parsed = Url::parse(&format!("http://{text}/")).ok();
    let is_one = parsed.is_some_and(|url| {
        url.path() == "/" && url.username().is_empty() && url.password().is_none()
    }) && !text.contains(['/', '?', '#', '@', '\\', ' ', '\t', '\n', '\r']);
    HeaderValue::from_str(text).ok().filter(|_| is_one)
}

fn tls(raw: Option<At<doors::UpstreamTls>>, has_tls: bool, cx: &mut Context<'_>) -> UpstreamTls {
    let Some(At { key, value: raw }) = raw else {
        return UpstreamTls::default();
    };
    if !has_tls {
        let problem = At {
            key: key.clone(),
            value: (),
        };
        cx.error(problem.problem("does nothing: none of the servers is https"));
    }
    let ca = raw.ca.map(|path| cx.file(&path));
    let cert = raw.cert.map(|path| cx.file(&path));
    let client_key = raw.key.map(|path| cx.file(&path));
    let client = match (cert, client_key) {
        (Some(cert), Some(key)) => Some(CertificateFiles { cert, key }),
        (Some(_), None) => {
            cx.lacks(&key, "key", None);
            None
        }
        (None, Some(_)) => {
            cx.lacks(&key, "cert", None);
            None
        }
        (None, None) => None,
    };
    if let Some(name) = &raw.server_name
        && rustls_pki_types::ServerName::try_from(name.value.as_str()).is_err()
    {
        cx.error(name.wrong("is not a server name"));
    }
    UpstreamTls {
        ca,
        server_name: raw.server_name.map(|name| name.value),
        client,
    }
}
