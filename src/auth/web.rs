//! One exchange with a web server that the configuration names: an issuer's keys, a provider's tokens.
//!
//! A connection of its own for each, one answer of bounded size, no redirect followed. The time is
//! the caller's to bound.

use std::sync::{Arc, OnceLock};

use http::header::{HOST, USER_AGENT};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use url::Url;

/// Largest answer in bytes.
pub(crate) const MOST_ANSWER: usize = 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebError {
    #[error("the address has no host")]
    NoHost,
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    #[error("the TLS handshake failed")]
    Tls(#[source] std::io::Error),
    #[error("no root certificates on this machine")]
    NoRoots,
    #[error("the answer is not HTTP")]
    Http(#[source] hyper::Error),
    #[error("the answer is larger than 1 MiB or was cut off")]
    Body,
}

/// Sends a request to an address and reads the answer whole. `Host` and `User-Agent` are put in.
///
/// # Errors
///
/// [`WebError`]: the first thing that went wrong.
pub(crate) async fn send(url: &Url, request: Request<Bytes>) -> Result<Response<Bytes>, WebError> {
    let host = url.host_str().ok_or(WebError::NoHost)?;
    let port = url.port_or_known_default().ok_or(WebError::NoHost)?;
    let request = addressed(url, host, request)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port))
        .await
        .map_err(WebError::Connect)?;
    if url.scheme() == "https" {
        let name = ServerName::try_from(bare.to_owned()).map_err(|_why| WebError::NoHost)?;
        let stream = tokio_rustls::TlsConnector::from(client_config()?)
            .connect(name, stream)
            .await
            .map_err(WebError::Tls)?;
        ask(stream, request).await
    } else {
        ask(stream, request).await
    }
}

/// The request as it goes over the connection: the target without the server, which `Host` names.
fn addressed(
    url: &Url,
    host: &str,
    request: Request<Bytes>,
) -> Result<Request<Full<Bytes>>, WebError> {
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let (mut head, body) = request.into_parts();
    head.uri = Uri::try_from(target).map_err(|_why| WebError::NoHost)?;
    let authority = authority.try_into().map_err(|_why| WebError::NoHost)?;
    head.headers.insert(HOST, authority);
    let agent = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
    head.headers
        .insert(USER_AGENT, http::HeaderValue::from_static(agent));
    Ok(Request::from_parts(head, Full::new(body)))
}

async fn ask<IO>(stream: IO, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, WebError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_headers(64)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(WebError::Http)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(WebError::Http)?;
        let (head, body) = answer.into_parts();
        // What an answer without success says at length is of no use, a redirect's body least of all.
        let most = if head.status.is_redirection() {
            0
        } else {
            MOST_ANSWER
        };
        let body = match Limited::new(body, most).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) if head.status.is_redirection() => Bytes::new(),
            Err(_cut_off) => return Err(WebError::Body),
        };
        Ok(Response::from_parts(head, body))
    };
    // The connection is driven here and dropped with the answer: no task is left behind.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(WebError::Http(error)),
        },
    }
}

/// The machine's roots, read once.
fn client_config() -> Result<Arc<rustls::ClientConfig>, WebError> {
    static CONFIG: OnceLock<Option<Arc<rustls::ClientConfig>>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in rustls_native_certs::load_native_certs().certs {
            // One that cannot be read is one that cannot be trusted.
            let _ = roots.add(certificate);
        }
        if roots.is_empty() {
            return None;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .ok()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Some(Arc::new(config))
    });
    config.clone().ok_or(WebError::NoRoots)
}

/// Whether an answer is what was asked for.
pub(crate) fn is_ok(answer: &Response<Bytes>) -> bool {
    answer.status() == StatusCode::OK
}
