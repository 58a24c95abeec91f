//! Does with a request what its route says, once it was permitted: answers it, or sends it to the app.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::Body as _;

use super::body::Body;
use super::files;
use super::inbound;
use super::judge::Judged;
use super::respond;
use super::sealing::Sealing;
use super::serve::{PassInterim, Visit};
use super::sign_in::Door;
use super::sign_out::Leaving;
use super::socket::{Becomes, Tunnel};
use crate::policy::denial::{Code, Denial};
use crate::policy::headers::{Hygiene, cleanse_answer};
use crate::policy::requirement::Permit;
use crate::policy::route::{Action, Forward, Route};
use crate::policy::sign_in::{HandlerId, SignInStep};
use crate::upstream::body::{Gate, Inbound, RequestBody};
use crate::upstream::client::Terms;
use crate::upstream::incoming::ClientBody;

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

impl Visit<'_> {
    /// Does what the route says with a request that was permitted.
    pub(super) async fn act(
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
        if !incoming.is_end_stream() {
            check_length(&headers, route.body_limit)?;
        }
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
            Action::Provider(door) => {
                let request = (method, uri, headers);
                // Kept apart: what it waits for would make every request's future larger.
                Box::pin(self.provider((route, door), judged, request, incoming)).await
            }
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
        (method, uri, headers): (Method, &http::Uri, HeaderMap),
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
        let step = forward.sign_in.as_deref().and_then(|paths| {
            let path = judged.path.as_ref()?;
            let (strip, add) = (&forward.strip_prefix, &forward.add_prefix);
            let seen = path.rewritten(strip.as_deref(), add.as_deref());
            Some((paths.step(&method, &seen)?, paths.handler))
        });
        let Some((step, handler)) = step else {
            return self.send(&way, (method, uri, headers), body).await;
        };
        // Kept apart: what it waits for would make every request's future larger.
        Box::pin(self.signing(&way, (step, handler), (method, uri, headers), body)).await
    }

    /// Sends a request that signs somebody in or out, or renews a session.
    async fn signing(
        &mut self,
        way: &Way<'_, '_>,
        (step, handler): (SignInStep, HandlerId),
        (method, uri, mut headers): (Method, &http::Uri, HeaderMap),
        body: RequestBody,
    ) -> Result<Response<Body>, Denial> {
        let Way {
            route,
            forward,
            judged,
            ..
        } = *way;
        // Without it tokens would pass.
        let door = Door::of(self.gate, handler, route, judged).ok_or_else(|| {
            let detail = "the gateway's sessions are not there right now";
            Denial::new(Code::AuthUnavailable, detail)
        })?;
        match step {
            SignInStep::Login => {
                let before = door.admit(&method, &mut headers)?;
                let limit = self.response_limit(forward);
                let answer = self.send(way, (method, uri, headers), body).await?;
                door.welcome(answer, before, limit).await
            }
            SignInStep::Refresh => match door.renew(&method, &headers).await? {
                Some(answer) => Ok(answer),
                None => self.send(way, (method, uri, headers), body).await,
            },
            SignInStep::Logout => match door.leave(&method, &mut headers, body).await? {
                Leaving::Ended(body) => {
                    let answer = self.send(way, (method, uri, headers), body).await;
                    Ok(door.farewell(answer))
                }
                Leaving::None(body) => {
                    let has_cookie = door.has_cookie(&headers);
                    let mut answer = self.send(way, (method, uri, headers), body).await?;
                    if has_cookie {
                        door.take_cookie(answer.headers_mut());
                    }
                    Ok(answer)
                }
            },
        }
    }

    /// The client's body on its way to an app, and what holds it back until the app asks for it.
    pub(super) fn body(
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
        let mut outbound = sealing.seal(request, body, permit, assertion.as_ref())?;
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
        let recording = self.recording.as_deref();
        let sent = upstream.send(&mut outbound, &terms, recording).await;
        self.times.answered();
        let answer = sent.map_err(|error| {
            self.server = Some(Arc::clone(&upstream.name));
            error.denial()
        })?;
        self.retries = answer.retries;
        self.server = Some(answer.server);
        let (mut answer, tunnel) = inbound::accept(
            (answer.response, answer.sticky),
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
