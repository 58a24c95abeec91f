//! Takes one request through the gate, in the order written.

use std::pin::pin;
use std::sync::{Arc, Mutex};

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, request};

use super::arrival::Arrival;
use super::body::Body;
use super::ids::{Place, request_id};
use super::judge::{Judged, Peer, Subject, Verdict, Who, judge};
use super::look::Look;
use super::report::{Report, Seen, Settled, Times, UnderWay};
use super::respond;
use super::socket::{self, Becomes};
use super::stay::Stay;
use crate::clock::{self, Timestamp};
use crate::gateway::{Gateway, Snapshot};
use crate::policy::cors;
use crate::policy::denial::Denial;
use crate::policy::websocket::Opening;
use crate::telemetry::spans::{Recording, under};
use crate::upstream::body::Progress;
use crate::upstream::incoming::ClientBody;
use crate::upstream::outbound::TRACESTATE;
use crate::upstream::pool::Pool;

/// One client connection, as the pipeline sees it.
#[derive(Debug)]
pub struct Visitor {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// The worker's connections to the apps.
    pub pool: Arc<Pool>,
    /// The other end.
    pub peer: Peer,
    /// Where the last request was for.
    known: Mutex<Option<Arc<Arrival>>>,
}

impl Visitor {
    /// A connection that has just been accepted.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, pool: Arc<Pool>, peer: Peer) -> Self {
        Self {
            gateway,
            pool,
            peer,
            known: Mutex::new(None),
        }
    }

    fn known(&self) -> Option<Arc<Arrival>> {
        self.known.lock().ok().and_then(|known| known.clone())
    }

    /// Keeps what a request told, where that is news.
    fn remember(&self, judged: &Judged<'_>) {
        if judged.arrived_anew
            && judged.client.is_some()
            && let Ok(mut known) = self.known.lock()
        {
            known.clone_from(&judged.client);
        }
    }
}

/// Passes an interim answer (1xx) of the app on to the client.
pub type PassInterim<'a> = &'a (dyn Fn(StatusCode, &HeaderMap) + Sync);

/// A request as its connection brings it.
#[derive(Debug)]
pub struct Brought {
    /// Its head.
    pub head: Box<request::Parts>,
    /// Its body.
    pub body: ClientBody,
    /// How it asks for a WebSocket, if it does.
    pub opening: Opening,
}

/// What one visit has found out, for the answer and the report.
pub(super) struct Visit<'a> {
    pub(super) gate: &'a Arc<Snapshot>,
    pub(super) visitor: &'a Visitor,
    pub(super) now: Timestamp,
    pub(super) request_id: HeaderValue,
    pub(super) traceparent: HeaderValue,
    /// What is recorded of a sampled request.
    pub(super) recording: Option<Box<Recording>>,
    pub(super) times: Times,
    pub(super) server: Option<Arc<str>>,
    pub(super) retries: u32,
    pub(super) progress: Option<Arc<Progress>>,
    /// What the connection becomes with the answer.
    pub(super) becomes: Option<Box<Becomes>>,
    /// What sends a browser to sign in, in the place of a refusal.
    invited: Option<Box<Response<Body>>>,
    /// Lines that set and take away the gateway's own cookies.
    pub(super) cookies: Vec<HeaderValue>,
    /// Whether the answer is a preflight's, whose cross-origin headers the rule made whole.
    preflighted: bool,
    pub(super) interim: Option<PassInterim<'a>>,
}

/// Answers one request, and tells what its connection becomes with that where it asked for a
/// WebSocket. `violation` is what the connection's reader found wrong with its bytes: then the
/// request itself is a stand-in.
pub async fn serve(
    visitor: &Visitor,
    Brought {
        head,
        body: incoming,
        opening,
    }: Brought,
    violation: Option<Denial>,
    interim: Option<PassInterim<'_>>,
) -> (Response<Body>, Option<Box<Becomes>>) {
    let under_way = UnderWay::begin(visitor.gateway.snapshot());
    let gate = under_way.gate();
    let request::Parts {
        method,
        uri,
        version,
        mut headers,
        ..
    } = *head;
    let look = Look::at(&headers);
    let mut visit = Visit::begin(visitor, gate, (&mut headers, &look), interim);
    let now = visit.now;
    let head_bytes = head_size(&method, &uri, look.bytes);
    let preflight = cors::is_preflight(&method, &headers);
    let mut judged = Judged::default();
    let kept_method = method.clone();
    let stay = Stay {
        visit: &mut visit,
        judged: &mut judged,
        method: &kept_method,
        uri: &uri,
        version,
        head_bytes,
        preflight,
        is_over: false,
    };
    let outcome = if let Some(denial) = violation {
        Err(denial)
    } else {
        let subject = Subject {
            method: &method,
            uri: &uri,
            version,
            headers: &headers,
            peer: &visitor.peer,
            target_limit: gate.settings.server.limits.request_line,
            opening,
            came: Some(stay.visit.times.started()),
            recording: stay.visit.recording.as_deref(),
        };
        let verdict = {
            let place = subject.recording.map(Recording::here);
            let known = visitor.known();
            let judging = judge(gate, &subject, Who::Bearer, now, known, stay.judged);
            under(place, pin!(judging)).await
        };
        match verdict {
            Err(denial) => {
                let request = (&method, &uri, &headers);
                let judged = &*stay.judged;
                Err(stay.visit.or_sign_in(denial, judged, request, &look).await)
            }
            Ok(Verdict::Preflight(answer)) => {
                stay.visit.preflighted = true;
                Ok(allowed(answer))
            }
            Ok(Verdict::Permitted(permit)) => {
                let request = (method, &uri, headers);
                let (visit, judged) = (&mut *stay.visit, &*stay.judged);
                visit.act(judged, permit, request, incoming).await
            }
        }
    };
    stay.end();
    visitor.remember(&judged);
    let (mut answer, denial) = match outcome {
        Ok(answer) => (answer, None),
        Err(denial) => {
            let request = (&kept_method, &uri);
            let answer = visit.refusal(&denial, &judged, request, &look);
            (answer, Some(denial))
        }
    };
    let close = visit.becomes.as_deref().and_then(Becomes::close);
    // Told by a close frame, a refusal is what it is nevertheless.
    let told = denial.as_ref().filter(|_| close.is_some());
    let status = told.map_or(answer.status(), Denial::status);
    visit.finish(&mut answer, &judged, look.origin.as_ref());
    let settled = Settled::of(gate, &visitor.peer, &mut judged, denial.as_ref());
    drop(judged);
    let seen = Seen {
        request_id: visit.request_id,
        traceparent: visit.traceparent,
        recording: visit.recording,
        method: kept_method,
        version,
        denial,
        status,
        close,
        server: visit.server,
        retries: visit.retries,
        request_bytes: head_bytes,
        progress: visit.progress,
        preflight,
    };
    let (times, becomes) = (visit.times, visit.becomes);
    let report = Report::begin((times, now), under_way, uri, settled, seen);
    (answer.map(|body| body.reported(report)), becomes)
}

impl<'a> Visit<'a> {
    fn begin(
        visitor: &'a Visitor,
        gate: &'a Arc<Snapshot>,
        (headers, look): (&mut HeaderMap, &Look),
        interim: Option<PassInterim<'a>>,
    ) -> Self {
        let place = Place::of(look, gate.traces.as_deref());
        if place.has_stray_state {
            headers.remove(TRACESTATE);
        }
        let (started, now) = (clock::monotonic(), clock::now());
        let trusted_proxies = &gate.policy.trusted_proxies;
        let trusted = trusted_proxies.trusts(visitor.peer.address.ip());
        Self {
            gate,
            visitor,
            now,
            request_id: request_id(gate, trusted, headers, now),
            traceparent: place.traceparent,
            recording: place.recording,
            times: Times::new(started),
            server: None,
            retries: 0,
            progress: None,
            becomes: None,
            invited: None,
            cookies: Vec::new(),
            preflighted: false,
            interim,
        }
    }

    /// Where a browser loads a page that needs a sign-in at a provider, makes the answer ready that
    /// sends it there. The refusal stays what it is, but where there is no such answer now.
    async fn or_sign_in(
        &mut self,
        denial: Denial,
        judged: &Judged<'_>,
        request: (&Method, &http::Uri, &HeaderMap),
        look: &Look,
    ) -> Denial {
        if denial.status() != StatusCode::UNAUTHORIZED || !look.is_page_load() {
            return denial;
        }
        // Kept apart: what it waits for would make every request's future larger.
        match Box::pin(self.invite(&denial, judged, request)).await {
            Some(Ok(answer)) => {
                self.invited = Some(Box::new(answer));
                denial
            }
            Some(Err(unavailable)) => unavailable,
            None => denial,
        }
    }

    /// The answer to a refused request.
    fn refusal(
        &mut self,
        denial: &Denial,
        judged: &Judged<'_>,
        request: (&Method, &http::Uri),
        look: &Look,
    ) -> Response<Body> {
        if let Some((answer, closed)) = socket::refuse(denial, judged, look.origin.is_some()) {
            self.becomes = Some(Box::new(closed));
            return answer;
        }
        if let Some(answer) = self.invited.take() {
            return *answer;
        }
        let id = self.request_id.to_str().unwrap_or_default();
        let (page, route) = (look.is_page_load(), judged.route.as_deref());
        respond::refuse(denial, id, request, page, route)
    }

    /// What every answer gets, whoever made it.
    fn finish(
        &mut self,
        answer: &mut Response<Body>,
        judged: &Judged<'_>,
        origin: Option<&HeaderValue>,
    ) {
        let headers = answer.headers_mut();
        for line in self.cookies.drain(..) {
            headers.append(SET_COOKIE, line);
        }
        if let Some(standing) = &judged.standing {
            standing.tell(headers);
        }
        if let Some(route) = &judged.route {
            respond::edit(headers, route);
        }
        let tls = self.visitor.peer.tls.is_some();
        match self.becomes.as_deref() {
            Some(Becomes::Tunnel(_)) => {}
            None if self.preflighted => {}
            // What a page may read of a socket does not hang on cross-origin headers.
            Some(Becomes::Closed(_)) => self.gate.policy.security_headers.apply(tls, headers),
            None => respond::protect(headers, self.gate, judged.route_of_cors(), origin, tls),
        }
        let name = self.gate.policy.request_id.clone();
        headers.insert(name, self.request_id.clone());
    }
}

/// The answer to a preflight: 204 with what the rule allows.
fn allowed(headers: HeaderMap) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    *answer.headers_mut() = headers;
    answer
}

/// About how large the head was on the wire, in bytes.
fn head_size(method: &Method, uri: &http::Uri, fields: usize) -> u64 {
    (method.as_str().len() + uri.path().len() + uri.query().map_or(0, str::len) + fields + 14)
        as u64
}
