//! How the CA is asked: one connection for each question, everything about it bounded.
//!
//! https alone, whatever address the CA names; 30 seconds and 1 MiB an answer. A `Retry-After` is
//! held to what can be waited for before the protocol's library sees it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls::ClientConfig;
use tokio::net::TcpStream;

use super::schedule::LONGEST_ASKED;
use crate::clock::{self, Timestamp};
use crate::tls::client::server_name;

/// For everything about one question: names, connection, handshake, answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes of an answer; a chain of certificates has about 10 KiB.
const MOST: usize = 1024 * 1024;
/// Most header lines of an answer.
const HEADERS: usize = 64;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("no whole answer in {PATIENCE:?}")]
    TimedOut,
    #[error("{0} is no https address; a CA is asked over https alone")]
    NotHttps(String),
    #[error("cannot connect to {host}:{port}")]
    Connect {
        host: String,
        port: u16,
        source: std::io::Error,
    },
    #[error("the TLS handshake with {host} failed")]
    Tls {
        host: String,
        source: std::io::Error,
    },
    #[error("the answer is not HTTP")]
    Http(#[source] hyper::Error),
    #[error("the request cannot be written")]
    Request(#[source] http::Error),
    #[error("the answer is larger than 1 MiB or was cut off")]
    Body,
}

/// The way to a CA.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    tls: Arc<ClientConfig>,
    asked: Arc<Mutex<Option<Duration>>>,
}

impl Wire {
    pub(super) fn new(tls: Arc<ClientConfig>) -> Self {
        Self {
            tls,
            asked: Arc::default(),
        }
    }

    /// How long the CA asked to be left alone in its last refusal.
    pub(super) fn asked_to_wait(&self) -> Option<Duration> {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(
        self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Result<BytesResponse, instant_acme::Error> {
        let asked = tokio::time::timeout(PATIENCE, exchange(self.tls, request)).await;
        let (mut head, body) = match asked {
            Ok(Ok(answer)) => answer.into_parts(),
            Ok(Err(error)) => return Err(instant_acme::Error::Other(Box::new(error))),
            Err(_elapsed) => {
                return Err(instant_acme::Error::Other(Box::new(WireError::TimedOut)));
            }
        };
        let wait = settle_wait(&mut head.headers, clock::now());
        if head.status.is_client_error() || head.status.is_server_error() {
            *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = wait;
        }
        Ok(BytesResponse::from(Response::from_parts(head, body)))
    }
}

impl HttpClient for Wire {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        Box::pin(self.clone().ask(request))
    }
}

/// Takes `Retry-After` out, or puts seconds in its place that can be waited for.
fn settle_wait(headers: &mut HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.remove(RETRY_AFTER)?;
    let text = text.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let at = httpdate::parse_http_date(text).ok()?;
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
        Timestamp::from_unix_seconds(at).saturating_since(now)
    };
    let wait = wait.min(LONGEST_ASKED);
    headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    Some(wait)
}

async fn exchange(
    tls: Arc<ClientConfig>,
    request: Request<BodyWrapper<Bytes>>,
) -> Result<Response<Full<Bytes>>, WireError> {
    let (host, port) = place(request.uri())?;
    let request = as_sent(request)?;
    let connect = TcpStream::connect((host.as_str(), port)).await;
    let stream = connect.map_err(|source| WireError::Connect {
        host: host.clone(),
        port,
        source,
    })?;
    let name = server_name(&host).map_err(|_why| WireError::NotHttps(host.clone()))?;
    let connector = tokio_rustls::TlsConnector::from(tls);
    let shaken = connector.connect(name, stream).await;
    let stream = shaken.map_err(|source| WireError::Tls { host, source })?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_headers(HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(WireError::Http)?;
    let exchange = async {
        let answer = sender
            .send_request(request)
            .await
            .map_err(WireError::Http)?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MOST).collect().await;
        let body = body.map_err(|_why| WireError::Body)?.to_bytes();
        Ok(Response::from_parts(head, Full::new(body)))
    };
    // The connection is driven here and dropped with the answer: no task is left behind.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(WireError::Http(error)),
        },
    }
}

/// Host, without brackets, and port of an address that may be asked.
fn place(uri: &Uri) -> Result<(String, u16), WireError> {
    let refused = || WireError::NotHttps(super::error::told(&uri.to_string()));
    if uri.scheme_str() != Some("https") {
        return Err(refused());
    }
    let host = uri.host().ok_or_else(refused)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), uri.port_u16().unwrap_or(443)))
}

/// The request in the form that a server gets it in.
fn as_sent(request: Request<BodyWrapper<Bytes>>) -> Result<Request<BodyWrapper<Bytes>>, WireError> {
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().map(|authority| {
        let text = authority.as_str();
        text.rsplit_once('@')
            .map_or(text, |(_, host)| host)
            .to_owned()
    });
    let host = HeaderValue::try_from(authority.unwrap_or_default());
    let host = host.map_err(|error| WireError::Request(error.into()))?;
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let target = Uri::try_from(target);
    head.uri = target.map_err(|error| WireError::Request(error.into()))?;
    head.headers.insert(HOST, host);
    let name = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
    head.headers
        .insert(USER_AGENT, HeaderValue::from_static(name));
    Ok(Request::from_parts(head, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_addresses_are_asked_whatever_the_ca_names() {
        let place = |text: &str| place(&text.parse().unwrap());
        assert_eq!(
            place("https://ca.example/x").unwrap(),
            ("ca.example".into(), 443)
        );
        assert_eq!(
            place("https://[::1]:14000/x").unwrap(),
            ("::1".into(), 14000)
        );
        for other in ["http://ca.example/x", "/x", "ftp://ca.example/"] {
            assert!(place(other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_wait_that_nobody_can_wait_for_is_held_to_a_day() {
        let now = Timestamp::from_unix_seconds(1_767_323_045);
        let settled = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            let wait = settle_wait(&mut headers, now);
            let told = headers
                .get(RETRY_AFTER)
                .map(|told| told.to_str().unwrap().to_owned());
            (wait.map(|wait| wait.as_secs()), told)
        };
        let day = || (Some(86_400), Some("86400".to_owned()));
        assert_eq!(settled("120"), (Some(120), Some("120".to_owned())));
        assert_eq!(settled("18446744073709551615"), day());
        assert_eq!(settled("Fri, 31 Dec 9999 23:59:59 GMT"), day());
        assert_eq!(settled("Thu, 01 Jan 1970 00:00:00 GMT").0, Some(0));
        assert_eq!(settled("99999999999999999999999"), (None, None));
        assert_eq!(settled("soon"), (None, None));
    }
}
