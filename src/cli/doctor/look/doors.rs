//! Looks at the gateway's own doors and at the gateway that may be running.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Uri};
use socket2::{Domain, Socket, Type};

use super::super::certificates;
use super::super::doors::{self, Door};
use super::super::finding::Finding;
use super::super::round::Look;
use super::{QUESTION, Scene, known};
use crate::config::settings::{Server, Settings};
use crate::upstream::look::{Question, Seen, ask_at};

/// Whether a gateway runs, and whether it is ready. The admin token is not sent: whoever listens
/// there may not be a gateway.
pub(super) async fn gateway(settings: &Settings) -> (bool, Vec<Finding>) {
    let admin = reachable(settings.server.admin);
    let runs = match ask(admin, "/health", &admin.to_string()).await {
        Ok(health) => doors::is_gateway(&health),
        Err(_) => false,
    };
    let ready = if runs {
        ask(admin, "/ready", &admin.to_string()).await.ok()
    } else {
        None
    };
    (runs, vec![doors::ready(admin, ready.as_ref())])
}

/// Every door, and the certificates behind those with TLS.
pub(super) fn looks(scene: &Scene, runs: bool) -> Vec<Look<'_>> {
    let server = &scene.settings.server;
    let mut looks: Vec<_> = doors(server)
        .into_iter()
        .map(|door| {
            let about = door.about();
            Look::new("door.port", about, async move {
                let bound = tokio::task::spawn_blocking(move || try_bind(door.address)).await;
                let bound = bound.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
                vec![doors::port(&door, &bound, runs)]
            })
        })
        .collect();
    if !server.https.is_empty() {
        let hosts = scene.route_hosts();
        looks.extend(known(certificates::verdicts(
            &scene.pairs,
            &hosts,
            scene.now,
        )));
    }
    if runs {
        let hosts = scene.known_hosts();
        let host = scene.route_hosts().into_iter().chain(hosts);
        let host = host.into_iter().find(|host| !host.starts_with('*'));
        let host = host.unwrap_or_else(|| "localhost".to_owned());
        for address in &server.http {
            let door = Door {
                kind: "http",
                address: *address,
            };
            let host = host.clone();
            looks.push(Look::new("door.redirect", door.about(), async move {
                let answer = ask(reachable(door.address), "/", &host).await;
                vec![doors::redirect(&door, &host, &answer)]
            }));
        }
    }
    looks
}

fn doors(server: &Server) -> Vec<Door> {
    let of = |kind, addresses: &[SocketAddr]| {
        let addresses = addresses.iter();
        let doors = addresses.map(move |address| Door {
            kind,
            address: *address,
        });
        doors.collect::<Vec<_>>()
    };
    let mut all = of("https", &server.https);
    all.extend(of("http", &server.http));
    all.extend(of("plain", &server.plain));
    all.extend(of("admin", &[server.admin]));
    all
}

/// Binds an address and lets go of it. Nobody can connect meanwhile: it does not listen.
fn try_bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // What the last gateway left in TIME_WAIT does not count, as it does not for the next.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())
}

/// An address that listens everywhere is asked on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn ask(address: SocketAddr, path: &'static str, host: &str) -> io::Result<Seen> {
    let host = HeaderValue::try_from(host).map_err(io::Error::other)?;
    let question = Question {
        method: Method::GET,
        target: Uri::from_static(path),
        headers: HeaderMap::from_iter([(HOST, host)]),
    };
    ask_at(address, &question, QUESTION).await
}
