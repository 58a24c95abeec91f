//! Fetching a JWKS: one GET with every bound set.
//!
//! At most 1 MiB, 10 s for everything, three redirects and those to the same origin alone. With
//! `discovery` the issuer's configuration is asked first (OpenID Connect Discovery 1.0 §4).

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, DATE, LOCATION};
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Bytes;
use serde_json::{Map, Value};
use url::{Origin, Url};

use crate::auth::json;
use crate::auth::jwks::parse::{BadSet, Parsed, parse};
use crate::auth::web::{self, WebError};
use crate::config::settings::{Algorithm, JwksUrl};

/// For everything: names, connection, handshake, redirects, body.
const PATIENCE: Duration = Duration::from_secs(10);
const REDIRECTS: usize = 3;

/// Why there is no set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("no whole answer in 10 s")]
    TimedOut,
    #[error(transparent)]
    Web(#[from] WebError),
    #[error("the address cannot be asked")]
    Address,
    #[error("the answer has status {0}")]
    Status(StatusCode),
    #[error("redirected to another origin, or too often")]
    Redirect,
    #[error("the issuer's configuration has no usable `jwks_uri`, or is another issuer's")]
    Discovery,
    #[error("the answer {0}")]
    Set(#[from] BadSet),
}

/// What an issuer tells of itself (OpenID Connect Discovery 1.0 §3).
pub type Document = Map<String, Value>;

/// What was fetched.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The keys.
    pub(crate) set: Parsed,
    /// The issuer's configuration, where that was asked.
    pub(crate) document: Option<Arc<Document>>,
    /// The `Date` of the answer that held the set.
    pub(crate) date: Option<HeaderValue>,
}

/// Fetches and parses a set.
///
/// # Errors
///
/// [`FetchError`]: the first thing that went wrong.
pub(crate) async fn fetch(
    settings: &JwksUrl,
    algorithms: &[Algorithm],
) -> Result<Fetched, FetchError> {
    let work = async {
        let (url, document) = if settings.discovery {
            let (url, document) = discover(&settings.url).await?;
            (url, Some(Arc::new(document)))
        } else {
            (settings.url.clone(), None)
        };
        let (text, date) = get(url).await?;
        let set = parse(&text, algorithms)?;
        Ok(Fetched {
            set,
            document,
            date,
        })
    };
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or(Err(FetchError::TimedOut))
}

async fn discover(issuer: &Url) -> Result<(Url, Document), FetchError> {
    let base = issuer.as_str().trim_end_matches('/');
    let address = format!("{base}/.well-known/openid-configuration");
    let (text, _date) = get(Url::parse(&address).map_err(|_why| FetchError::Discovery)?).await?;
    let document = json::object(&text).map_err(|_why| FetchError::Discovery)?;
    let document = document.members;
    let member = |name: &str| document.get(name).and_then(Value::as_str);
    // Discovery 1.0 §4.3: the issuer must name itself, but for the slash that URLs gain.
    let same = member("issuer").is_some_and(|named| named.trim_end_matches('/') == base);
    let keys = member("jwks_uri").and_then(|uri| Url::parse(uri).ok());
    match keys {
        Some(keys) if same && (keys.scheme() == "https" || keys.scheme() == issuer.scheme()) => {
            Ok((keys, document))
        }
        Some(_) | None => Err(FetchError::Discovery),
    }
}

async fn get(url: Url) -> Result<(Bytes, Option<HeaderValue>), FetchError> {
    let origin = url.origin();
    let mut url = url;
    for _ in 0..=REDIRECTS {
        match get_once(&url).await? {
            Answer::Body(body, date) => return Ok((body, date)),
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
    /// With the answer's `Date`.
    Body(Bytes, Option<HeaderValue>),
    Elsewhere(String),
}

async fn get_once(url: &Url) -> Result<Answer, FetchError> {
    let request = Request::get("/")
        .header(ACCEPT, "application/json, application/jwk-set+json")
        .body(Bytes::new())
        .map_err(|_why| FetchError::Address)?;
    let answer = web::send(url, request).await?;
    let status = answer.status();
    if status.is_redirection() {
        let place = answer.headers().get(LOCATION);
        let place = place.and_then(|place| place.to_str().ok());
        return place
            .map(|place| Answer::Elsewhere(place.to_owned()))
            .ok_or(FetchError::Status(status));
    }
    if !web::is_ok(&answer) {
        return Err(FetchError::Status(status));
    }
    let date = answer.headers().get(DATE).cloned();
    Ok(Answer::Body(answer.into_body(), date))
}
