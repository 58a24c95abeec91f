//! Asking an app over HTTP: one GET with every bound set, on the stores' runtime.
//!
//! Connections are kept and used again. At most 64 KiB of an answer are read, redirects are not
//! followed, and no more than 256 questions are under way at one endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, COOKIE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use url::Url;

use crate::auth::attempt;
use crate::auth::ports::{Asked, StoreError, StoreStatus};
use crate::auth::words::chain;
use crate::clock;
use crate::policy::cookie::take_cookie;
use crate::policy::forwarded::Scheme;
use crate::telemetry::spans;

/// Largest answer in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// Questions under way at most.
const AT_A_TIME: usize = 256;
/// How long a connection is kept without a question.
const IDLE: Duration = Duration::from_secs(30);

/// An endpoint that can be asked.
#[derive(Debug)]
pub(crate) struct Endpoint {
    name: Arc<str>,
    shown: Arc<str>,
    uri: http::Uri,
    /// Whether the endpoint is one of the configured apps, which want the client's own `Host`.
    of_app: bool,
    timeout: Duration,
    runtime: Handle,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    turns: Arc<Semaphore>,
    tally: Arc<Tally>,
}

/// What became of the questions.
#[derive(Debug, Default)]
struct Tally {
    answered: AtomicU64,
    failed: AtomicU64,
    micros: AtomicU64,
    problem: Mutex<Option<String>>,
}

/// What a question takes along of the request that gave rise to it.
#[derive(Clone)]
pub(crate) struct Carried {
    headers: Vec<(HeaderName, HeaderValue)>,
    host: Option<HeaderValue>,
    https: bool,
}

impl std::fmt::Debug for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The values are the caller's credentials.
        let names = self.headers.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

/// An endpoint's answer.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why an endpoint cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadEndpoint {
    #[error("is no address that can be asked: {0}")]
    Uri(#[from] http::uri::InvalidUri),
    #[error("no root certificates on this machine to check https with")]
    Roots(#[from] std::io::Error),
    #[error("the TLS library takes none of its own versions")]
    Tls(#[from] rustls::Error),
}

impl Carried {
    /// The credential headers of a request.
    pub(crate) fn of(request: &attempt::Request<'_>, send: &[HeaderName]) -> Self {
        let headers = send.iter().flat_map(|name| {
            let values = request.headers.get_all(name).iter();
            values.map(move |value| (name.clone(), value.clone()))
        });
        let mut headers = joined_cookies(headers);
        if let Some(name) = request.own_cookie {
            hide(&mut headers, name);
        }
        Self {
            headers,
            host: request.client.map(|client| client.authority.clone()),
            https: request
                .client
                .is_some_and(|client| client.scheme == Scheme::Https),
        }
    }

    /// Nothing at all.
    pub(crate) const fn nothing() -> Self {
        Self {
            headers: Vec::new(),
            host: None,
            https: false,
        }
    }

    /// `Authorization` and the cookies.
    pub(crate) fn credentials(request: &attempt::Request<'_>) -> Self {
        Self::of(request, &[AUTHORIZATION, COOKIE])
    }

    /// The same with a bearer token in the place of every credential.
    pub(crate) fn bearing(mut self, token: &str) -> Self {
        // The cookies go too: the gateway's own is among them.
        self.headers.clear();
        if let Ok(mut value) = HeaderValue::try_from(format!("Bearer {token}")) {
            value.set_sensitive(true);
            self.headers.push((AUTHORIZATION, value));
        }
        self
    }

    /// What an app is told of the request.
    pub(crate) fn asked(&self) -> Asked {
        Asked {
            host: self.host.clone(),
            https: self.https,
        }
    }

    /// Whether there is nothing that could be a credential.
    pub(crate) fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    /// All of it as bytes that no other request has, for the key of its verdict.
    pub(crate) fn print(&self) -> Vec<u8> {
        let host = self.host.as_ref().map_or(&b""[..], |host| host.as_bytes());
        let fields = (self.headers.iter())
            .flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
        let mut print = Vec::with_capacity(256);
        for part in fields.chain([host]) {
            print.extend_from_slice(&part.len().to_le_bytes());
            print.extend_from_slice(part);
        }
        print
    }
}

/// One `Cookie` line, as servers under WSGI want it (RFC 9113 §8.2.3).
fn joined_cookies(
    fields: impl Iterator<Item = (HeaderName, HeaderValue)>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut list: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (name, value) in fields {
        let before = (name == COOKIE)
            .then(|| list.iter_mut().find(|(known, _)| *known == COOKIE))
            .flatten();
        let Some((_, line)) = before else {
            list.push((name, value));
            continue;
        };
        let whole = [line.as_bytes(), b"; ", value.as_bytes()].concat();
        if let Ok(whole) = HeaderValue::from_bytes(&whole) {
            *line = whole;
        }
    }
    list
}

/// Leaves the gateway's own cookie out: it is good for more than the app that is asked.
fn hide(fields: &mut Vec<(HeaderName, HeaderValue)>, cookie: &str) {
    let Some(at) = fields.iter().position(|(name, _)| *name == COOKIE) else {
        return;
    };
    let mut one = HeaderMap::from_iter([fields.remove(at)]);
    take_cookie(&mut one, cookie);
    fields.extend(one.remove(COOKIE).map(|line| (COOKIE, line)));
}

impl Endpoint {
    /// Makes an endpoint ready. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`BadEndpoint`].
    pub(crate) fn new(
        name: Arc<str>,
        url: &Url,
        of_app: bool,
        timeout: Duration,
        runtime: Handle,
    ) -> Result<Self, BadEndpoint> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(timeout));
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let builder = hyper_rustls::HttpsConnectorBuilder::new();
        let connector = if url.scheme() == "https" {
            builder.with_provider_and_native_roots(provider)?
        } else {
            // Plain http asks no root certificate, and a machine without any can serve it.
            builder.with_tls_config(
                rustls::ClientConfig::builder_with_provider(Arc::new(provider))
                    .with_safe_default_protocol_versions()?
                    .with_root_certificates(rustls::RootCertStore::empty())
                    .with_no_client_auth(),
            )
        };
        let connector = connector
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(8)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let shown = format!("{}{}", url.origin().ascii_serialization(), url.path());
        Ok(Self {
            name,
            shown: shown.into(),
            uri: url.as_str().parse()?,
            of_app,
            timeout,
            runtime,
            client,
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
            tally: Arc::default(),
        })
    }

    /// Asks. May be awaited on any runtime.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when there is no whole answer in time.
    pub(crate) async fn ask(&self, carried: &Carried) -> Result<Reply, StoreError> {
        let busy = || StoreError::Busy {
            store: Arc::clone(&self.shown),
        };
        let turn = Arc::clone(&self.turns).try_acquire_owned();
        let turn = turn.map_err(|_none_left| busy())?;
        let place = spans::current().map(|place| (place, clock::monotonic()));
        let request = self.question(carried);
        let (client, tally) = (self.client.clone(), Arc::clone(&self.tally));
        let (shown, limit) = (Arc::clone(&self.shown), self.timeout);
        // On the stores' runtime, where the connections live; it ends by its own limit.
        let asked = self.runtime.spawn(async move {
            let _turn = turn;
            let began = clock::monotonic();
            let asked = tokio::time::timeout(limit, exchange(&client, request)).await;
            let asked = match asked {
                Ok(Ok(reply)) => Ok(reply),
                Ok(Err(cause)) => Err(StoreError::Unreachable {
                    store: shown,
                    cause,
                }),
                Err(_elapsed) => Err(StoreError::TimedOut {
                    store: shown,
                    limit,
                }),
            };
            tally.note(began, asked.as_ref().err());
            asked
        });
        let asked = asked.await.unwrap_or_else(|_stopping| Err(busy()));
        if let Some((place, began)) = place {
            place.asked(&self.shown, began, asked.is_err());
        }
        asked
    }

    fn question(&self, carried: &Carried) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        for (name, value) in &carried.headers {
            headers.append(name.clone(), value.clone());
        }
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("portcullis"));
        if let Some(host) = carried.host.as_ref().filter(|_| self.of_app) {
            let scheme = if carried.https { "https" } else { "http" };
            headers.insert(HOST, host.clone());
            headers.insert("x-forwarded-host", host.clone());
            headers.insert("x-forwarded-proto", HeaderValue::from_static(scheme));
        }
        request
    }

    /// The refusal while it cannot say.
    pub(crate) fn unreadable(&self, what: impl Into<Arc<str>>) -> StoreError {
        StoreError::Unreadable {
            store: Arc::clone(&self.shown),
            what: what.into(),
        }
    }

    /// How it stands.
    pub(crate) fn status(&self) -> StoreStatus {
        StoreStatus {
            name: Arc::clone(&self.name),
            kind: "http",
            answered: self.tally.answered.load(Ordering::Relaxed),
            failed: self.tally.failed.load(Ordering::Relaxed),
            spent: Duration::from_micros(self.tally.micros.load(Ordering::Relaxed)),
            problem: (self.tally.problem.lock())
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}

impl Tally {
    fn note(&self, began: std::time::Instant, error: Option<&StoreError>) {
        let spent = clock::monotonic().saturating_duration_since(began);
        let micros = u64::try_from(spent.as_micros()).unwrap_or(u64::MAX);
        let counter = match error {
            None => &self.answered,
            Some(_) => &self.failed,
        };
        self.micros.fetch_add(micros, Ordering::Relaxed);
        counter.fetch_add(1, Ordering::Relaxed);
        let problem = error.map(|error| chain(error));
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

type Cause = Arc<dyn std::error::Error + Send + Sync>;

async fn exchange(
    client: &Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
) -> Result<Reply, Cause> {
    let answer = client
        .request(request)
        .await
        .map_err(|error| Arc::new(error) as Cause)?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    Ok(Reply {
        status: head.status,
        headers: head.headers,
        body: body.map_err(Cause::from)?.to_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_names_what_is_carried_and_shows_no_credential() {
        let carried = Carried {
            headers: vec![(COOKIE, HeaderValue::from_static("sessionid=hunter2"))],
            ..Carried::nothing()
        };
        assert_eq!(format!("{carried:?}"), "[\"cookie\"]");
    }

    #[test]
    fn the_gateways_own_cookie_is_not_told_to_an_endpoint() {
        let line = |text| (COOKIE, HeaderValue::from_static(text));
        let cookies = |lines: Vec<(HeaderName, HeaderValue)>| {
            let mut fields = joined_cookies(lines.into_iter());
            hide(&mut fields, "__Host-portcullis");
            let line = fields.iter().find(|(name, _)| *name == COOKIE);
            line.map(|(_, line)| line.to_str().unwrap().to_owned())
        };
        let two = vec![line("a=1"), line("__Host-portcullis=x; sessionid=s")];
        assert_eq!(cookies(two).as_deref(), Some("a=1; sessionid=s"));
        assert_eq!(cookies(vec![line("__Host-portcullis=x")]), None);
        assert_eq!(cookies(vec![line("a=1")]).as_deref(), Some("a=1"));
        assert_eq!(cookies(vec![]), None);
    }
}
