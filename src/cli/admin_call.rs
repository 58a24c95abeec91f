//! One request to the running gateway's admin address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::config::settings::Settings;
use crate::secret::Secret;

/// How long the admin address may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest answer in bytes.
const LARGEST: usize = 1 << 20;

/// Where the admin address is, and what opens it.
#[derive(Debug)]
pub(super) struct Admin {
    pub(super) address: SocketAddr,
    token: Option<Secret<String>>,
}

impl Admin {
    /// That of a configuration.
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            address: reachable(settings.server.admin),
            token: settings.admin.token.clone(),
        }
    }
}

/// An address that listens everywhere is asked on loopback.
fn reachable(admin: SocketAddr) -> SocketAddr {
    let ip = match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, admin.port())
}

/// Asks. The status and body of the answer, or why there is none, in words.
pub(super) fn call(
    admin: &Admin,
    method: &Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Bytes), String> {
    let address = admin.address;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let answer = runtime
        .block_on(async { tokio::time::timeout(PATIENCE, fetch(admin, method, path, body)).await });
    let unreachable = |why: &dyn std::fmt::Display| {
        format!("the gateway's admin address {address} cannot be asked: {why}; is it running?")
    };
    match answer {
        Ok(Ok((StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _))) => Err(format!(
            "the admin address {address} does not take the token of [admin]: was it changed without a restart?"
        )),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(unreachable(&error)),
        Err(_) => Err(unreachable(&"no answer in time")),
    }
}

async fn fetch(
    admin: &Admin,
    method: &Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(admin.address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, admin.address.to_string());
    if let Some(token) = &admin.token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let body = body.map(|body| Bytes::from(body.to_string()));
    let exchange = async {
        let request = request.body(Full::new(body.unwrap_or_default()))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await?;
        Ok((status, body.to_bytes()))
    };
    let mut exchange = pin!(exchange);
    tokio::select! {
        done = &mut exchange => done,
        // A server may close right behind its answer, which is then still to be read.
        ended = connection => {
            ended?;
            exchange.await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_listens_everywhere_is_asked_on_loopback() {
        let asked = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:9090"), "127.0.0.1:9090");
        assert_eq!(asked("[::]:9090"), "[::1]:9090");
        assert_eq!(asked("10.0.0.7:9090"), "10.0.0.7:9090");
    }

    #[test]
    fn a_gateway_that_is_not_running_is_named() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let admin = Admin {
            address,
            token: None,
        };
        let words = call(&admin, &Method::GET, "/api/why/x", None).unwrap_err();
        assert!(words.contains(&address.to_string()) && words.contains("running"));
    }
}
