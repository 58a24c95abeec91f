//! `[server]` and `[admin]`: addresses, limits, timeouts, who is trusted.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::HeaderName;
use ipnet::IpNet;

use super::context::Context;
use crate::config::problem::Problem;
use crate::config::raw::decode::{At, Size};
use crate::config::raw::shapes::{OneOrMany, OrFalse};
use crate::config::raw::{self, doors};
use crate::config::settings::{Admin, Limits, Server, ServerTimeouts};

/// What `[server]` becomes.
pub(super) struct Compiled {
    pub(super) server: Server,
    pub(super) trusted: Vec<IpNet>,
    pub(super) merge_slashes: bool,
    pub(super) keeps_underscores: bool,
    pub(super) request_id: HeaderName,
    pub(super) header_count: usize,
    pub(super) body_limit: u64,
}

/// `None` when the table itself is not one, which is noted already.
pub(super) fn compile(
    raw: Option<At<doors::Server>>,
    has_token: bool,
    cx: &mut Context<'_>,
) -> Option<Compiled> {
    let raw = raw?.value;
    let https = addresses(raw.https, cx);
    let http = addresses(raw.http, cx);
    let plain = addresses(raw.plain, cx);
    let admin = admin_address(raw.admin, has_token, cx);
    if https.is_empty() && plain.is_empty() && cx.problems.is_clean() {
        let message =
            "nothing would serve the routes: `https` may be false only where `plain` is set";
        cx.error(Problem::new("server.https", message));
    }
    let mut doors: Vec<_> = https.iter().chain(&http).chain(&plain).collect();
    doors.extend(&admin);
    check_distinct(&doors, cx);
    let trusted = trusted(raw.trusted_proxies, cx);
    let proxy_protocol = raw.proxy_protocol.is_some_and(|on| {
        if on.value && trusted.is_empty() {
            let message = "needs `trusted_proxies`: from whom the PROXY protocol is believed";
            cx.error(on.problem(message));
        }
        on.value
    });
    let keeps = cx.word(
        raw.underscore_headers.as_ref(),
        &[("drop", false), ("keep", true)],
    );
    let workers = cx.number(raw.workers, 0..=1024);
    let (limits, body_limit) = limits(raw.limits, cx);
    let request_id = raw
        .request_id
        .as_ref()
        .and_then(|name| request_id(name, cx));
    Some(Compiled {
        trusted,
        merge_slashes: raw.merge_slashes.is_some_and(|on| on.value),
        keeps_underscores: keeps.unwrap_or(false),
        request_id: request_id.unwrap_or(HeaderName::from_static("x-request-id")),
        header_count: limits.header_count,
        body_limit,
        server: Server {
            https: values(https),
            http: values(http),
            plain: values(plain),
            admin: admin.map_or((Ipv4Addr::LOCALHOST, 0).into(), |at| at.value),
            workers: if workers == 0 { cores() } else { workers },
            proxy_protocol,
            timeouts: timeouts(raw.timeouts, cx),
            limits,
        },
    })
}

/// `[admin]`.
pub(super) fn admin(raw: Option<At<raw::Admin>>, cx: &mut Context<'_>) -> Admin {
    let token = raw.and_then(|raw| raw.value.token);
    Admin {
        token: token.and_then(|token| cx.secret(token)),
    }
}

fn values(list: Vec<At<SocketAddr>>) -> Vec<SocketAddr> {
    list.into_iter().map(|at| at.value).collect()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn addresses(
    raw: Option<At<OrFalse<OneOrMany<String>>>>,
    cx: &mut Context<'_>,
) -> Vec<At<SocketAddr>> {
    match raw.map(|raw| raw.value) {
        None | Some(OrFalse::Off) => Vec::new(),
        Some(OrFalse::On(list)) => {
            if list.value.0.is_empty() {
                let message = "must name an address, or be false";
                cx.error(Problem::new(list.key, message));
            }
            let list = list.value.0.into_iter();
            list.filter_map(|text| address(text, cx)).collect()
        }
    }
}

fn address(text: At<String>, cx: &mut Context<'_>) -> Option<At<SocketAddr>> {
    if let Ok(value) = text.value.parse() {
        return Some(At {
            key: text.key,
            value,
        });
    }
    let problem = text.wrong("is not an address to listen on");
    cx.error(problem.allowed("IP:PORT, such as \"0.0.0.0:8443\" or \"[::]:8443\""));
    None
}

fn admin_address(
    raw: Option<At<String>>,
    has_token: bool,
    cx: &mut Context<'_>,
) -> Option<At<SocketAddr>> {
    let admin = address(raw?, cx)?;
    if !admin.value.ip().is_loopback() && !has_token {
        let message = "an admin address that is not loopback needs `token` in [admin]";
        let problem = admin.problem(message).found(admin.value.to_string());
        cx.error(problem.allowed("a loopback address such as \"127.0.0.1:9090\", or a token"));
    }
    Some(admin)
}

/// Two doors at one address: the second could not be opened.
fn check_distinct(doors: &[&At<SocketAddr>], cx: &mut Context<'_>) {
    for (index, door) in doors.iter().enumerate() {
        let earlier = doors.get(..index).unwrap_or_default();
        if let Some(other) = earlier
            .iter()
            .find(|other| overlap(&other.value, &door.value))
        {
            let problem = door.problem(format!("is the same address as {}", other.key));
            cx.error(problem.found(door.value.to_string()));
        }
    }
}

fn overlap(one: &SocketAddr, other: &SocketAddr) -> bool {
    let (a, b) = (one.ip(), other.ip());
    let covers = a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified());
    // Port 0 is any free port.
    one.port() != 0 && one.port() == other.port() && (a == b || covers)
}

fn trusted(raw: Option<At<raw::shapes::Strings>>, cx: &mut Context<'_>) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for text in cx.strings(raw).map(|list| list.value).unwrap_or_default() {
        let single = text.value.parse::<IpAddr>().map(IpNet::from);
        let Ok(network) = text.value.parse::<IpNet>().or(single) else {
            let problem = text.wrong("is not a network");
            cx.error(problem.allowed("addresses and networks such as \"10.0.0.0/8\", \"::1\""));
            continue;
        };
        if network.prefix_len() == 0 {
            let message = "trusts everybody: any client can then claim any address and scheme";
            cx.warn(text.problem(message));
        }
        networks.push(network.trunc());
    }
    networks
}

fn request_id(name: &At<String>, cx: &mut Context<'_>) -> Option<HeaderName> {
    let header = cx.header_name(name)?;
    if super::headers::is_reserved(&header) {
        let problem = name.wrong("is a header with a meaning of its own");
        cx.error(problem.allowed("a name such as X-Request-Id"));
    }
    Some(header)
}

fn timeouts(raw: Option<At<doors::ServerTimeouts>>, cx: &mut Context<'_>) -> ServerTimeouts {
    let raw = raw.map(|raw| raw.value);
    let mut each = |pick: fn(&doors::ServerTimeouts) -> &Option<At<std::time::Duration>>| {
        cx.positive(raw.as_ref().and_then(|raw| pick(raw).clone()))
    };
    ServerTimeouts {
        tls_handshake: each(|raw| &raw.tls_handshake),
        request_headers: each(|raw| &raw.request_headers),
        request_body: each(|raw| &raw.request_body),
        response_body: each(|raw| &raw.response_body),
        keep_alive: each(|raw| &raw.keep_alive),
        drain: each(|raw| &raw.drain),
    }
}

fn limits(raw: Option<At<doors::Limits>>, cx: &mut Context<'_>) -> (Limits, u64) {
    let Some(At { value: raw, .. }) = raw else {
        return (NO_LIMITS, 0);
    };
    let limits = Limits {
        connections: cx.number(raw.connections, 1..=10_000_000),
        connections_per_ip: cx.number(raw.connections_per_ip, 0..=10_000_000),
        request_line: size(raw.request_line, cx),
        headers: size(raw.headers, cx),
        header_count: cx.number(raw.header_count, 1..=10_000),
        http2_streams: cx.number(raw.http2_streams, 1..=100_000),
    };
    (limits, raw.body.map_or(0, |body| body.value.0))
}

/// Stands where the table could not be read, which is noted: it is never used.
const NO_LIMITS: Limits = Limits {
    connections: 1,
    connections_per_ip: 0,
    request_line: 0,
    headers: 0,
    header_count: 1,
    http2_streams: 1,
};

/// The size of a part of a request's head.
fn size(raw: Option<At<Size>>, cx: &mut Context<'_>) -> usize {
    let as_number = raw.map(|size| At {
        key: size.key,
        value: size.value.0,
    });
    cx.number(as_number, 256..=16 << 20)
}
