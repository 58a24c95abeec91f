//! Fetching a JWKS: one GET with every bound set.
//!
//! At most 1 MiB, 10 s for everything, three redirects and those to the same origin alone. With
//! `discovery` the issuer's configuration is asked first (OpenID Connect Discovery 1.0 §4).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::{ACCEPT, HOST, LOCATION, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use url::{Origin, Url};

use crate::auth::json;
use crate::auth::jwks::parse::{BadSet, MAX_BYTES, Parsed, parse};
use crate::config::settings::{Algorithm, JwksUrl};

/// For everything: names, connection, handshake, redirects, body.
const PATIENCE: Duration = Duration::from_secs(10);
const REDIRECTS: usize = 3;

/// Why there is no set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("no whole answer in 10 s")]
    TimedOut,
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
    #[error("the answer has status {0}")]
    Status(StatusCode),
    #[error("redirected to another origin, or too often")]
    Redirect,
    #[error("the issuer's configuration has no usable `jwks_uri`, or is another issuer's")]
    Discovery,
    #[error("the answer {0}")]
    Set(#[from] BadSet),
}

/// Fetches and parses a set.
///
/// # Errors
///
/// [`FetchError`]: the first thing that went wrong.
pub(crate) async fn fetch(
    settings: &JwksUrl,
    algorithms: &[Algorithm],
) -> Result<Parsed, FetchError> {
    let work = async {
        let url = if settings.discovery {
            discover(&settings.url).await?
        } else {
            settings.url.clone()
        };
        let text = get(url).await?;
        Ok(parse(&text, algorithms)?)
    };
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or(Err(FetchError::TimedOut))
}

async fn discover(issuer: &Url) -> Result<Url, FetchError> {
    let base = issuer.as_str().trim_end_matches('/');
    let address = format!("{base}/.well-known/openid-configuration");
    let text = get(Url::parse(&address).map_err(|_why| FetchError::Discovery)?).await?;
    let document = json::object(&text).map_err(|_why| FetchError::Discovery)?;
    let member = |name: &str| {
        document
            .members
            .get(name)
            .and_then(serde_json::Value::as_str)
    };
    // Discovery 1.0 §4.3: the issuer must name itself, but for the slash that URLs gain.
    let same = member("issuer").is_some_and(|named| named.trim_end_matches('/') == base);
    let keys = member("jwks_uri").and_then(|uri| Url::parse(uri).ok());
    match keys {
        Some(keys) if same && (keys.scheme() == "https" || keys.scheme() == issuer.scheme()) => {
            Ok(keys)
        }
        Some(_) | None => Err(FetchError::Discovery),
    }
}

async fn get(url: Url) -> Result<Bytes, FetchError> {
    let origin = url.origin();
    let mut url = url;
    for _ in 0..=REDIRECTS {
        match get_once(&url).await? {
            Answer::Body(body) => return Ok(body),
            Answer::Elsewhere(place) => url = followed(&url, &origin, &place)?,
        }
    }
    Err(FetchError::Redirect)
}

fn followed(from: &Url, origin: &Origin, place: &str) -> Result<Url, FetchError> {
    let next = from.join(place).map_err(|_why| FetchError::Redirect)?;
    if next.origin() == *origin {
        Ok(next)
    } else {
        Err(FetchError::Redirect)
    }
}

enum Answer {
    Body(Bytes),
    Elsewhere(String),
}

async fn get_once(url: &Url) -> Result<Answer, FetchError> {
    let host = url.host_str().ok_or(FetchError::NoHost)?;
    let port = url.port_or_known_default().ok_or(FetchError::NoHost)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port))
        .await
        .map_err(FetchError::Connect)?;
    if url.scheme() == "https" {
        let name = ServerName::try_from(bare.to_owned()).map_err(|_why| FetchError::NoHost)?;
        let stream = tokio_rustls::TlsConnector::from(client_config()?)
            .connect(name, stream)
            .await
            .map_err(FetchError::Tls)?;
        ask(stream, url, host, port).await
    } else {
        ask(stream, url, host, port).await
    }
}

async fn ask<IO>(stream: IO, url: &Url, host: &str, port: u16) -> Result<Answer, FetchError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_headers(64)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(FetchError::Http)?;
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let authority = match url.port() {
        Some(_) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let request = Request::get(target)
        .header(HOST, authority)
        .header(ACCEPT, "application/json, application/jwk-set+json")
        .header(
            USER_AGENT,
            concat!("portcullis/", env!("CARGO_PKG_VERSION")),
        )
        .body(Empty::<Bytes>::new())
        .map_err(|_why| FetchError::NoHost)?;
    let exchange = async {
        let answer = sender
            .send_request(request)
            .await
            .map_err(FetchError::Http)?;
        let (head, body) = answer.into_parts();
        if head.status.is_redirection() {
            let place = head
                .headers
                .get(LOCATION)
                .and_then(|place| place.to_str().ok());
            return place
                .map(|place| Answer::Elsewhere(place.to_owned()))
                .ok_or(FetchError::Status(head.status));
        }
        if head.status != StatusCode::OK {
            return Err(FetchError::Status(head.status));
        }
        let body = Limited::new(body, MAX_BYTES).collect().await;
        body.map(|body| Answer::Body(body.to_bytes()))
            .map_err(|_why| FetchError::Body)
    };
    // The connection is driven here and dropped with the answer: no task is left behind.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(FetchError::Http(error)),
        },
    }
}

/// The machine's roots, read once.
fn client_config() -> Result<Arc<rustls::ClientConfig>, FetchError> {
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
    config.clone().ok_or(FetchError::NoRoots)
}
