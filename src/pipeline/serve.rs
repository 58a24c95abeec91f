//! Takes one request through the gate, in the order written.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, request};
use http_body::Body as _;

use super::arrival::Arrival;
use super::body::Body;
use super::files;
use super::ids::{request_id, trace_context};
use super::inbound;
use super::judge::{Judged, Peer, Subject, Verdict, Who, judge};
use super::look::Look;
use super::report::{Report, Times};
use super::respond;
use super::sealing::Sealing;
use super::sign_in::{Door, Leaving};
use super::socket::{self, Becomes, Tunnel};
use crate::clock::{self, Timestamp};
use crate::gateway::{Gateway, Snapshot};
use crate::policy::cors;
use crate::policy::denial::{Code, Denial};
use crate::policy::headers::{Hygiene, cleanse_answer};
use crate::policy::requirement::Permit;
use crate::policy::route::{Action, Forward, Route};
use crate::policy::sign_in::SignInStep;
use crate::policy::websocket::Opening;
use crate::upstream::body::{Gate, Inbound, Progress, RequestBody};
use crate::upstream::client::Terms;
use crate::upstream::incoming::ClientBody;
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

    /// Keeps what the last request told, where that is news.
    fn remember(&self, before: Option<&Arc<Arrival>>, now: Option<&Arc<Arrival>>) {
        let Some(now) = now else {
            return;
        };
        if before.is_none_or(|before| !Arc::ptr_eq(before, now))
            && let Ok(mut known) = self.known.lock()
        {
            *known = Some(Arc::clone(now));
        }
    }
}

/// Passes an interim answer (1xx) of the app on to the client.
pub type PassInterim<'a> = &'a (dyn Fn(StatusCode, &HeaderMap) + Sync);

/// A request as its connection brings it.
#[derive(Debug)]
pub struct Brought {
    /// Its head.
    pub head: request::Parts,
    /// Its body.
    pub body: ClientBody,
    /// How it asks for a WebSocket, if it does.
    pub opening: Opening,
}

/// What one visit has found out, for the answer and the report.
struct Visit<'a> {
    gate: &'a Arc<Snapshot>,
    visitor: &'a Visitor,
    now: Timestamp,
    request_id: HeaderValue,
    traceparent: HeaderValue,
    times: Times,
    server: Option<Arc<str>>,
    retries: u32,
    progress: Option<Arc<Progress>>,
    /// What the connection becomes with the answer.
    becomes: Option<Box<Becomes>>,
    /// Whether the answer is a preflight's, whose cross-origin headers the rule made whole.
    preflighted: bool,
    interim: Option<PassInterim<'a>>,
}

/// Where a permitted request goes.
#[derive(Clone, Copy)]
struct Way<'a, 'u> {
    route: &'a Route,
    forward: &'a Forward,
    judged: &'a Judged<'u>,
    permit: &'a Permit,
    /// Holds the client's body back.
    gate: Option<&'a Gate>,
}

/// Answers one request, and tells what its connection becomes with that where it asked for a
/// WebSocket. `violation` is what the connection's guard found wrong with its bytes: then the
/// request itself is a stand-in.
pub async fn serve(
    visitor: &Visitor,
    brought: Brought,
    violation: Option<Denial>,
    interim: Option<PassInterim<'_>>,
) -> (Response<Body>, Option<Box<Becomes>>) {
    let Brought {
        head,
        body: incoming,
        opening,
    } = brought;
    let gate = visitor.gateway.snapshot();
    let request::Parts {
        method,
        uri,
        version,
        headers,
        ..
    } = head;
    let look = Look::at(&headers);
    let mut visit = Visit::begin(visitor, &gate, &headers, &look, interim);
    let now = visit.now;
    let head_bytes = head_size(&method, &uri, look.bytes);
    let preflight = cors::is_preflight(&method, &headers);
    let known = visitor.known();
    let mut judged = Judged::default();
    let kept_method = method.clone();
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
            known: known.as_ref(),
            came: Some(visit.times.started()),
        };
        match judge(&gate, &subject, Who::Bearer, now, &mut judged).await {
            Err(denial) => Err(denial),
            Ok(Verdict::Preflight(answer)) => {
                visit.preflighted = true;
                Ok(allowed(answer))
            }
            Ok(Verdict::Permitted(permit)) => {
                visit
                    .act(&judged, permit, (method, &uri, headers), incoming)
                    .await
            }
        }
    };
    visitor.remember(known.as_ref(), judged.client.as_ref());
    let route = judged.route.as_deref();
    let (mut answer, denial) = match outcome {
        Ok(answer) => (answer, None),
        Err(denial) => {
            let answer = if let Some((answer, closed)) =
                socket::refuse(&denial, &judged, look.origin.is_some())
            {
                visit.becomes = Some(Box::new(closed));
                answer
            } else {
                let id = visit.request_id.to_str().unwrap_or_default();
                let page = look.is_page_load();
                respond::refuse(&denial, id, (&kept_method, &uri), page, route)
            };
            (answer, Some(denial))
        }
    };
    let close = visit.becomes.as_deref().and_then(Becomes::close);
    // Told by a close frame, a refusal is what it is nevertheless.
    let told = denial.as_ref().filter(|_| close.is_some());
    let status = told.map_or(answer.status(), Denial::status);
    visit.finish(&mut answer, &judged, look.origin.as_ref());
    let report = Report::begin(
        visit.times,
        now,
        Arc::clone(&gate),
        super::report::Seen {
            request_id: visit.request_id,
            traceparent: visit.traceparent,
            method: kept_method,
            uri: uri.clone(),
            version,
            peer: &visitor.peer,
            judged: &judged,
            denial,
            status,
            close,
            server: visit.server,
            retries: visit.retries,
            request_bytes: head_bytes,
            progress: visit.progress,
            preflight,
            held: visitor.gateway.metrics.in_flight(),
        },
    );
    (answer.map(|body| body.reported(report)), visit.becomes)
}

impl<'a> Visit<'a> {
    fn begin(
        visitor: &'a Visitor,
        gate: &'a Arc<Snapshot>,
        headers: &HeaderMap,
        look: &Look,
        interim: Option<PassInterim<'a>>,
    ) -> Self {
        let (started, now) = (clock::monotonic(), clock::now());
        let trusted_proxies = &gate.policy.trusted_proxies;
        let trusted = trusted_proxies.trusts(visitor.peer.address.ip());
        Self {
            gate,
            visitor,
            now,
            request_id: request_id(gate, trusted, headers, now),
            traceparent: trace_context(look.traceparent.as_ref()),
            times: Times::new(started),
            server: None,
            retries: 0,
            progress: None,
            becomes: None,
            preflighted: false,
            interim,
        }
    }

    /// Does what the route says with a request that was permitted.
    async fn act(
        &mut self,
        judged: &Judged<'_>,
        permit: Permit,
        (method, uri, headers): (Method, &http::Uri, HeaderMap),
        incoming: ClientBody,
    ) -> Result<Response<Body>, Denial> {
        let (Some(route), Some(path)) = (judged.route.as_deref(), judged.path.as_ref()) else {
            return Err(Denial::new(
                Code::NoRoute,
                "no route matches this host and path",
            ));
        };
        check_length(&headers, route.body_limit)?;
        match &route.action {
            Action::Respond {
                status,
                headers,
                body,
            } => {
                let mut answer = Response::new(Body::full(body.clone()));
                *answer.status_mut() = *status;
                answer.headers_mut().extend(headers.iter().cloned());
                Ok(answer)
            }
            Action::Redirect { to, status } => {
                let mut answer = Response::new(Body::empty());
                let to = HeaderValue::try_from(respond::fill(to, uri)).map_err(|bad| {
                    let detail = "the address cannot stand in a redirect";
                    Denial::new(Code::BadRequest, detail).note(bad.to_string())
                })?;
                *answer.status_mut() = *status;
                answer.headers_mut().insert(http::header::LOCATION, to);
                Ok(answer)
            }
            Action::Files(files) => files::serve(files, path, &method, &headers).await,
            Action::Forward(forward) => {
                self.forward(
                    route,
                    forward,
                    judged,
                    &permit,
                    (method, uri, headers),
                    incoming,
                )
                .await
            }
        }
    }

    async fn forward(
        &mut self,
        route: &Route,
        forward: &Forward,
        judged: &Judged<'_>,
        permit: &Permit,
        (method, uri, mut headers): (Method, &http::Uri, HeaderMap),
        incoming: ClientBody,
    ) -> Result<Response<Body>, Denial> {
        let (body, gate) = self.body(route, &headers, incoming);
        let way = Way {
            route,
            forward,
            judged,
            permit,
            gate: gate.as_deref(),
        };
        let door = forward.sign_in.as_deref().and_then(|paths| {
            let path = judged.path.as_ref()?;
            let (strip, add) = (&forward.strip_prefix, &forward.add_prefix);
            let seen = path.rewritten(strip.as_deref(), add.as_deref());
            let step = paths.step(&method, &seen)?;
            Some((step, Door::of(self.gate, paths.handler, route, judged)?))
        });
        let Some((step, door)) = door else {
            return self.send(&way, (method, uri, headers), body).await;
        };
        match step {
            SignInStep::Login => {
                let before = door.admit(&method, &mut headers)?;
                let limit = self.response_limit(forward);
                let answer = self.send(&way, (method, uri, headers), body).await?;
                door.welcome(answer, before, limit).await
            }
            SignInStep::Refresh => match door.renew(&method, &headers).await? {
                Some(answer) => Ok(answer),
                None => self.send(&way, (method, uri, headers), body).await,
            },
            SignInStep::Logout => match door.leave(&method, &mut headers, body).await? {
                Leaving::Ended(body) => {
                    let answer = self.send(&way, (method, uri, headers), body).await;
                    Ok(door.farewell(answer))
                }
                Leaving::None(body) => {
                    let has_cookie = door.has_cookie(&headers);
                    let mut answer = self.send(&way, (method, uri, headers), body).await?;
                    if has_cookie {
                        door.take_cookie(answer.headers_mut());
                    }
                    Ok(answer)
                }
            },
        }
    }

    /// The client's body on its way to an app, and what holds it back until the app asks for it.
    fn body(
        &mut self,
        route: &Route,
        headers: &HeaderMap,
        incoming: ClientBody,
    ) -> (RequestBody, Option<Arc<Gate>>) {
        if incoming.is_end_stream() {
            return (RequestBody::Empty, None);
        }
        let hygiene = Arc::clone(&self.gate.policy.hygiene);
        let idle = self.gate.settings.server.timeouts.request_body;
        let mut inbound = Inbound::new(incoming, route.body_limit, idle, hygiene);
        let gate = headers
            .contains_key(EXPECT)
            .then(|| inbound.expect_continue());
        self.progress = Some(inbound.progress());
        (RequestBody::Stream(Box::new(inbound)), gate)
    }

    /// Time to the app's answer.
    fn response_limit(&self, forward: &Forward) -> Duration {
        let upstream = self.gate.upstreams.get(forward.upstream);
        let own = upstream.map_or(Duration::ZERO, |upstream| upstream.response_timeout());
        forward.timeout.unwrap_or(own)
    }

    /// Sends a request to the app, and gives its answer.
    async fn send(
        &mut self,
        way: &Way<'_, '_>,
        request: (Method, &http::Uri, HeaderMap),
        body: RequestBody,
    ) -> Result<Response<Body>, Denial> {
        let Way {
            route,
            forward,
            judged,
            permit,
            gate,
        } = *way;
        let Some(client) = &judged.client else {
            return Err(Denial::new(Code::BadRequest, "the request has no host"));
        };
        let Some(upstream) = self.gate.upstreams.get(forward.upstream) else {
            return Err(Denial::new(Code::UpstreamDown, "the app is not configured"));
        };
        let hygiene = &self.gate.policy.hygiene;
        let carrying = self.gate.authenticators.carrying(&request.2);
        let sealing = Sealing {
            gate: self.gate,
            route,
            forward,
            judged,
            request_id: &self.request_id,
            traceparent: &self.traceparent,
            now: self.now,
        };
        let assertion = sealing.assertion(permit)?;
        let outbound = sealing.seal(request, body, permit, assertion.as_ref())?;
        let write = self.interim;
        let heard = move |status, headers: &HeaderMap| {
            pass_interim((gate, write), hygiene, status, headers);
        };
        let terms = Terms {
            heard: &heard,
            begun: self.times.sent(),
            pool: &self.visitor.pool,
            client: client.ip,
            timeout: forward.timeout,
            progress: self.progress.as_deref(),
            hygiene,
        };
        let sent = upstream.send(outbound, &terms).await;
        self.times.answered();
        self.server = Some(Arc::clone(&upstream.name));
        let answer = sent.map_err(|error| error.denial())?;
        self.server = Some(Arc::clone(&answer.server.settings.label));
        self.retries = answer.retries;
        let (mut answer, tunnel) = inbound::accept(
            answer,
            judged.handshake.as_ref(),
            client.scheme,
            (&upstream.cookies, self.now),
        )?;
        self.gate.policy.hygiene.hide_identity(answer.headers_mut());
        if let Some(name) = &self.gate.policy.session_cookie {
            inbound::drop_cookie(answer.headers_mut(), name);
        }
        self.gate
            .authenticators
            .forget(&carrying, Some(client), answer.headers());
        if let Some(handover) = tunnel {
            let held = self.visitor.gateway.metrics.websocket();
            let tunnel = Tunnel::new(handover, (self.gate, route, permit), held);
            self.becomes = Some(Box::new(Becomes::Tunnel(tunnel)));
        }
        Ok(answer)
    }

    /// What every answer gets, whoever made it.
    fn finish(
        &self,
        answer: &mut Response<Body>,
        judged: &Judged<'_>,
        origin: Option<&HeaderValue>,
    ) {
        let headers = answer.headers_mut();
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

/// Passes an interim answer on, and lets a held body go when the app says `100 Continue`.
fn pass_interim(
    (gate, write): (Option<&Gate>, Option<PassInterim<'_>>),
    hygiene: &Hygiene,
    status: StatusCode,
    headers: &HeaderMap,
) {
    match (status, gate, write) {
        (StatusCode::CONTINUE, Some(gate), _) => gate.open(),
        (StatusCode::CONTINUE, None, _) | (_, _, None) => {}
        (status, _, Some(write)) => {
            let mut clean = headers.clone();
            cleanse_answer(&mut clean);
            hygiene.hide_identity(&mut clean);
            // RFC 9110 §8.6: it would speak of the final answer's body, and an HTTP/2 client may
            // take it for this one's.
            clean.remove(CONTENT_LENGTH);
            write(status, &clean);
        }
    }
}

/// The answer to a preflight: 204 with what the rule allows.
fn allowed(headers: HeaderMap) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    *answer.headers_mut() = headers;
    answer
}

/// A body that says beforehand that it is too large is not read at all.
pub(crate) fn check_length(headers: &HeaderMap, limit: u64) -> Result<(), Denial> {
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit) {
        let detail = format!("the body is larger than the {limit} bytes that this route takes");
        return Err(Denial::new(Code::BodyTooLarge, detail).closing());
    }
    Ok(())
}

/// About how large the head was on the wire, in bytes.
fn head_size(method: &Method, uri: &http::Uri, fields: usize) -> u64 {
    (method.as_str().len() + uri.path().len() + uri.query().map_or(0, str::len) + fields + 14)
        as u64
}
