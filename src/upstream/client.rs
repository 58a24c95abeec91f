//! Sends a sealed request to one server of an app, and tries another where that is safe.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use smallvec::SmallVec;
use tokio::time::timeout;

use super::balance::{self, Candidate};
use super::body::{AnswerBody, Progress, RequestBody};
use super::error::UpstreamError;
use super::exchange::{Exchange, Failure, Link};
use super::outbound::Outbound;
use super::pool::Pool;
use super::server::{Server, Upstream};
use super::stream::connect;
use super::tunnel::Handover;
use crate::config::settings::{Balance, UpstreamHost};
use crate::policy::headers::Hygiene;

/// What came of a request.
#[derive(Debug)]
pub struct Answer {
    /// The app's answer; its head is as the app sent it.
    pub response: Response<AnswerOr>,
    /// The server that answered.
    pub server: Arc<Server>,
    /// Servers tried before it.
    pub retries: u32,
    /// A new value for the sticky cookie.
    pub sticky: Option<u64>,
}

/// The body of an answer, or the connection itself after a 101.
#[derive(Debug)]
pub enum AnswerOr {
    /// No body.
    Empty,
    /// A body.
    Body(AnswerBody),
    /// The app has switched protocols.
    Tunnel(Box<Handover>),
}

/// How one request is sent.
#[derive(Debug)]
pub struct Terms<'a> {
    /// The worker's pool.
    pub pool: &'a Arc<Pool>,
    /// The client's address, for `balance = "client-ip"`.
    pub client: IpAddr,
    /// Time to the answer's head; the upstream's where `None`.
    pub timeout: Option<Duration>,
    /// How the request's body goes.
    pub progress: Option<&'a Progress>,
    /// For the answer's trailers.
    pub hygiene: &'a Arc<Hygiene>,
}

impl Upstream {
    /// Sends a request and gives the answer's head with its body still on the way.
    ///
    /// # Errors
    ///
    /// [`UpstreamError`], once no server may be tried any more.
    pub async fn send(
        &self,
        outbound: Outbound,
        terms: &Terms<'_>,
    ) -> Result<Answer, UpstreamError> {
        let limit = terms.timeout.unwrap_or(self.response_timeout());
        let mut tried = SmallVec::<[usize; 4]>::new();
        let Outbound {
            mut request,
            sticky,
            websocket,
        } = outbound;
        let mut retries = 0;
        loop {
            let Some((index, server)) = self.pick(&tried, sticky.as_deref(), terms.client) else {
                return Err(UpstreamError::Busy {
                    upstream: Box::from(&*self.name),
                });
            };
            let spare = spare(&request, websocket);
            let error = match self.attempt(server, request, limit, terms).await {
                Ok(response) => {
                    return self
                        .accept(
                            response,
                            server,
                            retries,
                            sticky.as_deref(),
                            websocket,
                            terms,
                        )
                        .await;
                }
                Err(Attempt { error, unsent }) => {
                    match note_failure(server, &error, unsent.or(spare)) {
                        Some(again)
                            if retries < self.settings.retries
                                && error.may_be_tried_elsewhere() =>
                        {
                            request = again;
                            error
                        }
                        _ => return Err(error),
                    }
                }
            };
            tracing::debug!(%error, server = &*server.settings.label, "trying another server");
            server.counts.retries.inc();
            tried.push(index);
            retries += 1;
        }
    }

    /// The server for the next try. With all tried, the first again: with one server alone, that is
    /// the one whose kept connection was stale.
    fn pick(
        &self,
        tried: &[usize],
        sticky: Option<&str>,
        client: IpAddr,
    ) -> Option<(usize, &Arc<Server>)> {
        if let [only] = self.servers.as_slice() {
            return Some((0, only));
        }
        let candidates: SmallVec<[Candidate; 8]> = (self.servers.iter().enumerate())
            .map(|(index, server)| Candidate {
                in_flight: server.in_flight(),
                weight: server.settings.weight,
                tried: tried.contains(&index),
            })
            .collect();
        let turn = || self.turn.fetch_add(1, Ordering::Relaxed);
        let stuck = || {
            let named = sticky.and_then(|text| u64::from_str_radix(text, 16).ok())?;
            let found = self
                .servers
                .iter()
                .position(|server| server.sticky_id() == named)?;
            (!tried.contains(&found)).then_some(found)
        };
        let chosen = match self.balance() {
            Balance::LeastRequests => balance::least_requests(&candidates, turn()),
            Balance::RoundRobin => balance::round_robin(&candidates, turn()),
            Balance::ClientIp => balance::client_ip(&candidates, client),
            Balance::Cookie => stuck().or_else(|| balance::least_requests(&candidates, turn())),
        };
        let index = chosen.unwrap_or_else(|| turn() % self.servers.len().max(1));
        self.servers.get(index).map(|server| (index, server))
    }

    async fn attempt(
        &self,
        server: &Arc<Server>,
        mut request: Request<RequestBody>,
        limit: Duration,
        terms: &Terms<'_>,
    ) -> Result<(Response<Incoming>, Exchange), Attempt> {
        match self.host() {
            UpstreamHost::Preserve => {}
            UpstreamHost::Upstream => {
                request
                    .headers_mut()
                    .insert(http::header::HOST, server.authority.clone());
            }
            UpstreamHost::Fixed(host) => {
                request
                    .headers_mut()
                    .insert(http::header::HOST, host.clone());
            }
        }
        let in_flight = server.begin();
        server.counts.requests.inc();
        let mut link = match self.link(server, terms.pool).await {
            Ok(link) => link,
            Err(error) => {
                return Err(Attempt {
                    error,
                    unsent: Some(request),
                });
            }
        };
        let sent = match timeout(limit, link.send(request)).await {
            Ok(sent) => sent,
            Err(_elapsed) => {
                let error = UpstreamError::Timeout {
                    server: Box::from(&*server.settings.label),
                };
                return Err(Attempt {
                    error,
                    unsent: None,
                });
            }
        };
        let exchange = Exchange {
            link,
            in_flight,
            home: Arc::clone(terms.pool),
        };
        match sent {
            Ok(response) => Ok((response, exchange)),
            Err(failure) => Err(explain(server, failure, terms.progress)),
        }
    }

    /// A connection: an idle one, or a new one where the server may have more, or the next free one.
    async fn link(
        &self,
        server: &Arc<Server>,
        pool: &Arc<Pool>,
    ) -> Result<Box<Link>, UpstreamError> {
        if let Some(link) = pool.take(server) {
            return Ok(link);
        }
        let slot = match Arc::clone(&server.slots).try_acquire_owned() {
            Ok(slot) => slot,
            Err(_none) => {
                let _waiting = Waiting::begin(server);
                let mut handed = pool.line_up(server);
                let wait = async {
                    tokio::select! {
                        biased;
                        Ok(link) = &mut handed => Ok(link),
                        slot = Arc::clone(&server.slots).acquire_owned() => Err(slot),
                    }
                };
                match timeout(self.settings.queue, wait).await {
                    Ok(Ok(link)) => return Ok(link),
                    Ok(Err(Ok(slot))) => slot,
                    Ok(Err(Err(_))) | Err(_) => {
                        return Err(UpstreamError::Busy {
                            upstream: Box::from(&*self.name),
                        });
                    }
                }
            }
        };
        let stream = connect(server, self.settings.connect_timeout).await?;
        let opened = Link::open(stream, slot).await;
        opened.map(Box::new).map_err(|source| UpstreamError::Reset {
            server: Box::from(&*server.settings.label),
            source,
        })
    }

    /// Judges the answer's head and prepares its body.
    async fn accept(
        &self,
        (response, mut exchange): (Response<Incoming>, Exchange),
        server: &Arc<Server>,
        retries: u32,
        sticky: Option<&str>,
        websocket: bool,
        terms: &Terms<'_>,
    ) -> Result<Answer, UpstreamError> {
        let (head, incoming) = response.into_parts();
        if let Err(found) = check_answer(head.status, head.version, &head.headers, websocket) {
            let server = Box::from(&*server.settings.label);
            return Err(UpstreamError::Invalid {
                server,
                found: found.into(),
            });
        }
        let body = if head.status == StatusCode::SWITCHING_PROTOCOLS {
            exchange.link.handed_over().await;
            AnswerOr::Tunnel(Box::new(Handover::new(exchange)))
        } else if incoming.is_end_stream() {
            let mut exchange = Some(exchange);
            poll_fn(|cx| {
                if let Some(exchange) = exchange.take() {
                    exchange.finish(cx);
                }
                std::task::Poll::Ready(())
            })
            .await;
            AnswerOr::Empty
        } else {
            AnswerOr::Body(AnswerBody::new(
                incoming,
                exchange,
                Arc::clone(terms.hygiene),
            ))
        };
        let id = server.sticky_id();
        let is_new = self.balance() == Balance::Cookie
            && sticky.and_then(|text| u64::from_str_radix(text, 16).ok()) != Some(id);
        Ok(Answer {
            response: Response::from_parts(head, body),
            server: Arc::clone(server),
            retries,
            sticky: is_new.then_some(id),
        })
    }
}

/// Says what went wrong in terms of whose fault it was.
fn explain(server: &Server, failure: Failure, progress: Option<&Progress>) -> Attempt {
    let label = || Box::from(&*server.settings.label);
    let Failure { error, unsent } = failure;
    if let Some(denial) = progress.and_then(Progress::denial) {
        return Attempt {
            error: UpstreamError::RequestBody(denial),
            unsent: None,
        };
    }
    let error = if error.is_parse() || error.is_parse_too_large() || error.is_parse_status() {
        UpstreamError::Invalid {
            server: label(),
            found: error.to_string().into(),
        }
    } else {
        UpstreamError::Reset {
            server: label(),
            source: error,
        }
    };
    Attempt { error, unsent }
}

struct Attempt {
    error: UpstreamError,
    /// The request, where not a byte of it reached the server.
    unsent: Option<Request<RequestBody>>,
}

impl UpstreamError {
    /// Whether no server began to answer: only then may another be asked.
    fn may_be_tried_elsewhere(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Tls { .. }
            | Self::Reset { .. } => true,
            Self::Invalid { .. }
            | Self::Timeout { .. }
            | Self::Busy { .. }
            | Self::RequestBody(_) => false,
        }
    }
}

/// A copy to send again after bytes were written: of idempotent requests without a body alone
/// (RFC 9110 §9.2.2).
fn spare(request: &Request<RequestBody>, websocket: bool) -> Option<Request<RequestBody>> {
    let idempotent = match *request.method() {
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE => !websocket,
        _ => false,
    };
    if !idempotent || !matches!(request.body(), RequestBody::Empty) {
        return None;
    }
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

/// Whether an answer's head can be read in one way only.
fn check_answer(
    status: StatusCode,
    version: Version,
    headers: &HeaderMap,
    websocket: bool,
) -> Result<(), &'static str> {
    if version != Version::HTTP_11 && version != Version::HTTP_10 {
        return Err("a version that is not HTTP/1");
    }
    if status == StatusCode::SWITCHING_PROTOCOLS && !websocket {
        return Err("101 to a request that did not ask for it");
    }
    let coded = headers.contains_key(http::header::TRANSFER_ENCODING);
    if coded {
        if headers.contains_key(http::header::CONTENT_LENGTH) {
            return Err("both Transfer-Encoding and Content-Length");
        }
        let mut codings = headers.get_all(http::header::TRANSFER_ENCODING).iter();
        let chunked = codings
            .next()
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
        if !chunked || codings.next().is_some() {
            return Err("a Transfer-Encoding other than chunked");
        }
    }
    Ok(())
}

/// Counts what came to nothing, and gives what may be tried again back.
fn note_failure<T>(server: &Server, error: &UpstreamError, again: T) -> T {
    match error {
        UpstreamError::Busy { .. } => server.counts.queue_timeouts.inc(),
        UpstreamError::RequestBody(_) => {}
        UpstreamError::Connect { .. }
        | UpstreamError::ConnectTimeout { .. }
        | UpstreamError::Tls { .. }
        | UpstreamError::Reset { .. }
        | UpstreamError::Invalid { .. }
        | UpstreamError::Timeout { .. } => server.counts.failures.inc(),
    }
    again
}

/// Tells the other workers that a request waits for a connection.
struct Waiting<'a>(&'a Server);

impl<'a> Waiting<'a> {
    fn begin(server: &'a Server) -> Self {
        server.waiting.fetch_add(1, Ordering::Relaxed);
        Self(server)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
