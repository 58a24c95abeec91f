//! Sends a sealed request to one server of an app, and tries another where that is safe.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, Response, StatusCode};
use smallvec::SmallVec;
use tokio::time::timeout;

use super::body::{AnswerBody, Progress, RequestBody};
use super::choose::Choice;
use super::error::{BodyFault, UpstreamError};
use super::exchange::Exchange;
use super::http1::{Failure, Link, Received};
use super::outbound::Outbound;
use super::pool::Pool;
use super::server::{Server, Upstream};
use super::stream::connect;
use super::tunnel::Handover;
use crate::clock;
use crate::config::settings::{Balance, UpstreamHost};
use crate::policy::headers::Hygiene;
use crate::telemetry::spans::{Finished, Recording, Try};

/// What came of a request.
#[derive(Debug)]
pub struct Answer {
    /// The app's answer; its head is as the app sent it.
    pub response: Response<AnswerOr>,
    /// The server that answered, as the log names it.
    pub server: Arc<str>,
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

/// Is told of the status and headers of each interim answer (1xx) of an app but 101.
pub type HearInterim<'a> = &'a (dyn Fn(StatusCode, &HeaderMap) + Sync);

/// How one request is sent.
pub struct Terms<'a> {
    /// Who hears of interim answers.
    pub heard: HearInterim<'a>,
    /// The worker's pool.
    pub pool: &'a Arc<Pool>,
    /// The client's address, for `balance = "client-ip"`.
    pub client: IpAddr,
    /// When the request was ready to be sent. Its time runs from here, whatever is tried.
    pub begun: Instant,
    /// Time to the answer's head; the upstream's where `None`.
    pub timeout: Option<Duration>,
    /// How the request's body goes.
    pub progress: Option<&'a Progress>,
    /// For the answer's trailers.
    pub hygiene: &'a Arc<Hygiene>,
}

impl std::fmt::Debug for Terms<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terms")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl Upstream {
    /// Sends a request and gives the answer's head with its body still on the way. Each try of a
    /// sampled request is recorded, and its server told which it is. The request's body is taken out.
    ///
    /// # Errors
    ///
    /// [`UpstreamError`], once no server may be tried any more.
    pub async fn send(
        &self,
        outbound: &mut Outbound<'_>,
        terms: &Terms<'_>,
        recording: Option<&Recording>,
    ) -> Result<Answer, UpstreamError> {
        let limit = terms.timeout.unwrap_or(self.response_timeout());
        let mut tried = SmallVec::<[usize; 4]>::new();
        let mut body = std::mem::replace(&mut outbound.body, RequestBody::Empty);
        let whole = matches!(body, RequestBody::Empty);
        let repeatable = whole && is_repeatable(outbound);
        let mut retries = 0;
        let mut before = None;
        loop {
            let chosen = self.choose(&Choice {
                tried: &tried,
                sticky: outbound.sticky.as_deref(),
                client: terms.client,
                now: terms.begun,
            });
            let Some((index, server)) = chosen else {
                return Err(before.unwrap_or_else(|| self.down()));
            };
            let recorded = recording.map(|recording| Recorded::begin(recording, outbound));
            let attempt = self.attempt(server, outbound, body, limit, terms).await;
            if let Some(recorded) = recorded {
                recorded.end((self, server, retries), outbound, &attempt);
            }
            let Attempt { error, unsent } = match attempt {
                Ok(received) => {
                    self.note_answer(server, terms.begun);
                    return self.accept(received, server, retries, outbound, terms);
                }
                Err(failed) => failed,
            };
            self.note_failure(server, &error, (terms.begun, whole));
            let again = unsent.or_else(|| repeatable.then_some(RequestBody::Empty));
            let may = retries < self.settings.retries && error.may_be_tried_elsewhere();
            body = match again.filter(|_| may && self.may_retry(server)) {
                Some(again) => again,
                None => return Err(error),
            };
            tracing::debug!(%error, server = &*server.settings.label, "trying another server");
            before = Some(error);
            tried.push(index);
            retries += 1;
        }
    }

    async fn attempt(
        &self,
        server: &Arc<Server>,
        outbound: &Outbound<'_>,
        body: RequestBody,
        limit: Duration,
        terms: &Terms<'_>,
    ) -> Result<(Received, Exchange), Attempt> {
        let host = match self.host() {
            UpstreamHost::Preserve => None,
            UpstreamHost::Upstream => Some(&server.authority),
            UpstreamHost::Fixed(host) => Some(host),
        };
        let in_flight = server.begin();
        server.counts.requests.inc();
        let mut link = match self.link(server, terms.pool).await {
            Ok(link) => link,
            Err(error) => {
                return Err(Attempt {
                    error,
                    unsent: Some(body),
                });
            }
        };
        let until = terms.begun.checked_add(limit);
        match link.send((outbound, host), body, until, terms.heard).await {
            Ok(received) => {
                let home = Arc::clone(terms.pool);
                Ok((
                    received,
                    Exchange {
                        link,
                        in_flight,
                        home,
                    },
                ))
            }
            Err(failure) => Err(explain(server, failure, terms.progress)),
        }
    }

    /// A connection: an idle one, or a new one where the server may have more, or the next free one.
    async fn link(
        &self,
        server: &Arc<Server>,
        pool: &Arc<Pool>,
    ) -> Result<Box<Link>, UpstreamError> {
        match pool.take(server) {
            Some(link) => Ok(link),
            // Kept apart: what it waits for would make every request's future larger.
            None => Box::pin(self.fresh_link(server, pool)).await,
        }
    }

    /// A new connection where the server may have more, or the next free one.
    async fn fresh_link(
        &self,
        server: &Arc<Server>,
        pool: &Arc<Pool>,
    ) -> Result<Box<Link>, UpstreamError> {
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
        let reached = connect(server, self.settings.connect_timeout).await?;
        Ok(Box::new(Link::new(reached, slot)))
    }

    /// Prepares the body of an answer.
    fn accept(
        &self,
        (received, exchange): (Received, Exchange),
        server: &Arc<Server>,
        retries: u32,
        outbound: &Outbound<'_>,
        terms: &Terms<'_>,
    ) -> Result<Answer, UpstreamError> {
        let body = if received.status == StatusCode::SWITCHING_PROTOCOLS {
            if !outbound.websocket {
                let server = Box::from(&*server.settings.label);
                let found = Box::from("101 to a request that did not ask for it");
                return Err(UpstreamError::Invalid { server, found });
            }
            AnswerOr::Tunnel(Box::new(Handover::new(exchange)))
        } else if received.is_whole {
            exchange.finish();
            AnswerOr::Empty
        } else {
            AnswerOr::Body(AnswerBody::new(exchange, terms.hygiene))
        };
        let mut response = Response::new(body);
        *response.status_mut() = received.status;
        *response.headers_mut() = received.headers;
        let sticky = (self.balance() == Balance::Cookie).then(|| server.sticky_id());
        let known = outbound
            .sticky
            .as_deref()
            .and_then(|text| u64::from_str_radix(text, 16).ok());
        Ok(Answer {
            response,
            server: Arc::clone(&server.settings.label),
            retries,
            sticky: sticky.filter(|id| known != Some(*id)),
        })
    }
}

/// Says what went wrong in terms of whose fault it was.
fn explain(server: &Server, failure: Failure, progress: Option<&Progress>) -> Attempt {
    let label = || Box::from(&*server.settings.label);
    if let Some(denial) = progress.and_then(Progress::denial) {
        return Attempt {
            error: UpstreamError::RequestBody(denial),
            unsent: None,
        };
    }
    match failure {
        Failure::Broken(source, unsent) => Attempt {
            error: UpstreamError::Reset {
                server: label(),
                source,
            },
            unsent,
        },
        Failure::Late => Attempt {
            error: UpstreamError::Timeout { server: label() },
            unsent: None,
        },
        Failure::Invalid(found) => Attempt {
            error: UpstreamError::Invalid {
                server: label(),
                found: found.into(),
            },
            unsent: None,
        },
        Failure::Body => Attempt {
            error: UpstreamError::RequestBody(BodyFault::Broken.denial()),
            unsent: None,
        },
    }
}

/// A try that is recorded.
struct Recorded<'a> {
    recording: &'a Recording,
    id: u64,
    began: Instant,
}

impl<'a> Recorded<'a> {
    fn begin(recording: &'a Recording, outbound: &mut Outbound<'_>) -> Self {
        let (id, traceparent) = recording.next();
        outbound.trace(traceparent);
        Self {
            recording,
            id,
            began: clock::monotonic(),
        }
    }

    fn end(
        self,
        (upstream, server, before): (&Upstream, &Server, u32),
        outbound: &Outbound<'_>,
        attempt: &Result<(Received, Exchange), Attempt>,
    ) {
        let outcome = match attempt {
            Ok((received, _)) => Ok(received.status.as_u16()),
            Err(failed) => Err(failed.error.denial().code()),
        };
        let one = Try {
            upstream: Arc::clone(&upstream.name),
            server: server.settings.clone(),
            path: Finished::text(outbound.target().path()),
            before,
            outcome,
        };
        self.recording.tried(self.id, self.began, one);
    }
}

struct Attempt {
    error: UpstreamError,
    /// The body, where not a byte of the request reached the server.
    unsent: Option<RequestBody>,
}

impl UpstreamError {
    /// Whether no server began to answer: only then may another be asked.
    fn may_be_tried_elsewhere(&self) -> bool {
        match self {
            Self::Unresolved { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Tls { .. }
            | Self::Reset { .. } => true,
            Self::Invalid { .. }
            | Self::Timeout { .. }
            | Self::Busy { .. }
            | Self::Down { .. }
            | Self::RequestBody(_) => false,
        }
    }
}

/// Whether a request without a body may be sent again after bytes of it were written: idempotent
/// ones alone (RFC 9110 §9.2.2).
fn is_repeatable(outbound: &Outbound<'_>) -> bool {
    let idempotent = [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::PUT,
        Method::DELETE,
    ];
    !outbound.websocket && idempotent.contains(outbound.method())
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
