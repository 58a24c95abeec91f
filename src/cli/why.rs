//! `portcullis why REQUEST_ID`: asks the running gateway why it refused a request.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::net::TcpStream;

use super::{complain, load, print};
use crate::secret::Secret;
use crate::telemetry::Refusal;

/// How long the admin address may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest answer in bytes.
const LARGEST: usize = 1 << 20;

/// Exit 0 when the refusal is known, 1 otherwise.
pub(super) fn run(
    file: &Path,
    request_id: &str,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    let settings = match load::configuration(file, err) {
        Ok(loaded) => loaded.settings,
        Err(code) => return code,
    };
    let address = reachable(settings.server.admin);
    match ask(address, settings.admin.token.as_ref(), request_id) {
        Ok(refusal) => {
            print(out, &refusal);
            ExitCode::SUCCESS
        }
        Err(words) => {
            complain(err, &words);
            ExitCode::FAILURE
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

fn ask(
    address: SocketAddr,
    token: Option<&Secret<String>>,
    request_id: &str,
) -> Result<Refusal, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let answer = runtime.block_on(async {
        tokio::time::timeout(PATIENCE, fetch(address, token, request_id)).await
    });
    let unreachable = |why: &dyn std::fmt::Display| {
        format!("the gateway's admin address {address} cannot be asked: {why}; is it running?")
    };
    let (status, body) = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(unreachable(&error)),
        Err(_) => return Err(unreachable(&"no answer in time")),
    };
    match status {
        StatusCode::OK => serde_json::from_slice(&body)
            .map_err(|error| format!("the answer of {address} cannot be read: {error}")),
        StatusCode::NOT_FOUND => Err(format!(
            "no recent refusal has the id {}: it was not refused by the gateway, or is too long ago",
            request_id.escape_debug()
        )),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(format!(
            "the admin address {address} does not take the token of [admin]: was it changed without a restart?"
        )),
        other => Err(format!("the admin address {address} answers {other}")),
    }
}

async fn fetch(
    address: SocketAddr,
    token: Option<&Secret<String>>,
    request_id: &str,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let id = utf8_percent_encode(request_id, NON_ALPHANUMERIC);
    // Dashes are part of every id, and plain to read in a log.
    let path = format!("/api/why/{id}").replace("%2D", "-");
    let mut request = Request::get(path).header(HOST, address.to_string());
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    let exchange = async {
        let answer = sender
            .send_request(request.body(Empty::<Bytes>::new())?)
            .await?;
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
        let words = ask(address, None, "x").unwrap_err();
        assert!(words.contains(&address.to_string()) && words.contains("running"));
    }
}
