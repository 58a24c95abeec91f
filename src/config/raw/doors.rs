//! The tables of what is in front and behind: `[server]`, `[tls]`, `[upstream.NAME]`.

use std::time::Duration;

use super::decode::{At, Decode, Size, Table, elements, table};
use super::shapes::{OneOrMany, OrFalse, RawSecret, Secrets, Strings, split};
use crate::config::node::{Data, Node};
use crate::config::problem::Problems;

table! {
    /// `[server]`.
    Server {
        https: OrFalse<OneOrMany<String>>,
        http: OrFalse<OneOrMany<String>>,
        plain: OrFalse<OneOrMany<String>>,
        admin: String,
        workers: u64,
        trusted_proxies: Strings,
        proxy_protocol: bool,
        merge_slashes: bool,
        underscore_headers: String,
        request_id: String,
        timeouts: ServerTimeouts,
        limits: Limits,
    }
}

table! {
    /// `[server.timeouts]`.
    ServerTimeouts {
        tls_handshake: Duration,
        request_headers: Duration,
        request_body: Duration,
        response_body: Duration,
        keep_alive: Duration,
        drain: Duration,
    }
}

table! {
    /// `[server.limits]`.
    Limits {
        connections: u64,
        connections_per_ip: u64,
        request_line: Size,
        headers: Size,
        header_count: u64,
        body: Size,
        http2_streams: u64,
    }
}

table! {
    /// `[tls]`.
    Tls {
        certificate: Vec<At<Certificate>>,
        min_version: String,
        development: bool,
        client_ca: String,
        client_auth: String,
        acme: Acme,
    }
}

table! {
    /// `[tls.acme]`.
    Acme {
        domains: Strings,
        contact: Strings,
        directory: String,
        ca: String,
        cache: String,
        challenge: String,
        eab_key_id: String,
        eab_key: RawSecret,
        shared: bool,
        secret: Secrets,
    }
}

table! {
    /// `[[tls.certificate]]`.
    Certificate {
        cert: String,
        key: String,
    }
}

table! {
    /// `[upstream.NAME]`.
    Upstream {
        servers: Servers,
        balance: String,
        host: String,
        timeouts: UpstreamTimeouts,
        connections: u64,
        queue: Duration,
        retries: u64,
        health: Health,
        eject: OrFalse<Eject>,
        tls: UpstreamTls,
        cookies: CookieRepairs,
    }
}

table! {
    /// `health` of an upstream.
    Health {
        path: String,
        every: Duration,
        timeout: Duration,
        healthy: u64,
        unhealthy: u64,
        host: String,
    }
}

table! {
    /// `eject` of an upstream.
    Eject {
        failures: u64,
        time: Duration,
    }
}

table! {
    /// `timeouts` of an upstream.
    UpstreamTimeouts {
        connect: Duration,
        response: Duration,
    }
}

table! {
    /// `tls` of an upstream.
    UpstreamTls {
        ca: String,
        server_name: String,
        cert: String,
        key: String,
    }
}

table! {
    /// `cookies` of an upstream: one repair.
    CookieRepair {
        name: String,
        secure: bool,
        http_only: bool,
        same_site: String,
        max_age: Duration,
        domain: String,
    }
}

/// One repair of cookies, or a list of them.
#[derive(Debug)]
pub(in crate::config) struct CookieRepairs(pub(in crate::config) Vec<At<CookieRepair>>);

impl Decode for CookieRepairs {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        // Not `OneOrMany`: a table in a variable holds commas too, and is not split on them.
        if let Data::List(list) = &node.data {
            return Some(Self(elements(list, key, problems)));
        }
        At::read(node, key.to_owned(), problems).map(|one| Self(vec![one]))
    }
}

/// The servers of an upstream.
#[derive(Debug)]
pub(in crate::config) enum Servers {
    Given(Vec<At<OneServer>>),
    Variable(At<String>),
}

/// One server: its URL and its share.
#[derive(Debug)]
pub(in crate::config) struct OneServer {
    pub(in crate::config) url: At<String>,
    pub(in crate::config) weight: Option<At<u64>>,
}

impl Decode for Servers {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        match &node.data {
            Data::Table(table) if table.contains_key("env") => {
                let table = Table::open(node, key, &["env"], problems)?;
                table.take("env", problems).map(Self::Variable)
            }
            Data::List(_)
            | Data::Table(_)
            | Data::Text(_)
            | Data::Whole(_)
            | Data::Float(_)
            | Data::Bool(_) => {
                OneOrMany::decode(node, key, problems).map(|many| Self::Given(many.0))
            }
        }
    }
}

impl Decode for OneServer {
    fn decode(node: &Node, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        if !matches!(node.data, Data::Table(_)) {
            let url = String::decode(node, key, problems)?;
            return Some(Self::plain(key, &url));
        }
        let table = Table::open(node, key, &["url", "weight"], problems)?;
        let weight = table.take("weight", problems);
        let url = table.required("url", problems)?;
        Some(Self { url, weight })
    }
}

impl OneServer {
    fn plain(key: &str, url: &str) -> Self {
        Self {
            url: At {
                key: key.to_owned(),
                value: url.to_owned(),
            },
            weight: None,
        }
    }

    /// The servers of a list kept in one variable.
    pub(in crate::config) fn listed(key: &str, list: &str) -> Vec<At<Self>> {
        let one = |url| At {
            key: key.to_owned(),
            value: Self::plain(key, url),
        };
        split(list).map(one).collect()
    }
}
