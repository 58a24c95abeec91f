//! What would come of a request: judged, sealed and refused by the functions that live traffic
//! passes through, without a network.

use std::sync::Arc;

use http::header::{HOST, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode, Version};

use super::ask::{Ask, Door};
use crate::clock::Timestamp;
use crate::gateway::Snapshot;
use crate::pipeline::judge::{Judged, Subject, Verdict, Who, judge};
use crate::pipeline::sealing::Sealing;
use crate::pipeline::{act, ids, respond, trace};
use crate::policy::cors::sole_origin;
use crate::policy::denial::{Code, Denial};
use crate::policy::host::parse_authority;
use crate::policy::requirement::Permit;
use crate::policy::route::{Action, Forward, Route};
use crate::policy::websocket::Opening;
use crate::telemetry::Trace;
use crate::upstream::body::RequestBody;

/// What would come of a request.
#[derive(Debug)]
pub(super) struct Foreseen {
    /// What it comes to.
    pub(super) outcome: Outcome,
    /// The route that was chosen.
    pub(super) route: Option<Arc<Route>>,
    /// Whether it is a WebSocket handshake that came as far as its route.
    pub(super) websocket: bool,
    /// Whether anyone looked for credentials.
    pub(super) asked: bool,
    /// Whether the credential came in a cookie.
    pub(super) by_cookie: bool,
    /// How it came to that.
    pub(super) trace: Trace,
    /// The refusal that the route passes over, because it only observes.
    pub(super) overlooked: Option<Denial>,
}

/// What a request comes to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It goes to an app.
    Forward {
        /// The app.
        upstream: Arc<str>,
        /// Path and query that it gets.
        target: String,
        /// Headers that it gets.
        headers: HeaderMap,
    },
    /// The gateway answers it.
    Answer {
        /// Status; `None` where files decide.
        status: Option<StatusCode>,
        /// Headers of the answer, without those of a body.
        headers: HeaderMap,
        /// What is answered.
        words: String,
    },
    /// The gateway refuses it.
    Refused {
        /// Status of the answer: the code's, or that of a redirect to the login page.
        status: StatusCode,
        /// Headers of the answer.
        headers: HeaderMap,
        /// The refusal.
        denial: Denial,
    },
}

/// Judges a request as if it came now.
pub(super) async fn foresee(gate: &Snapshot, ask: &Ask, who: Who, now: Timestamp) -> Foreseen {
    let mut judged = Judged::default();
    let outcome = match (&ask.violation, ask.door) {
        (Some(denial), _) => Err(denial.clone()),
        (None, Door::Redirect) => Ok(redirect(gate, ask)),
        (None, Door::Https | Door::Plain) => {
            let subject = Subject {
                method: &ask.method,
                uri: &ask.uri,
                version: Version::HTTP_11,
                headers: &ask.headers,
                peer: &ask.peer,
                target_limit: gate.settings.server.limits.request_line,
                opening: Opening::Upgrade,
                came: None,
                recording: None,
            };
            let verdict = judge(gate, &subject, who, now, None, &mut judged).await;
            verdict.and_then(|verdict| act(gate, ask, &judged, verdict, now))
        }
    };
    let denial = outcome.as_ref().err().or(judged.overlooked.as_ref());
    let trace = trace::of(gate, &judged, &ask.peer, denial);
    let outcome = outcome.unwrap_or_else(|denial| refuse(gate, ask, &judged, denial));
    Foreseen {
        outcome,
        route: judged.route,
        websocket: judged.handshake.is_some(),
        asked: judged.attempt.is_some(),
        by_cookie: judged.attempt.is_some_and(|attempt| attempt.by_cookie),
        trace,
        overlooked: judged.overlooked,
    }
}

/// Does what the route says with a request that was let through, up to the app's door.
fn act(
    gate: &Snapshot,
    ask: &Ask,
    judged: &Judged<'_>,
    verdict: Verdict,
    now: Timestamp,
) -> Result<Outcome, Denial> {
    let route = judged
        .route
        .as_deref()
        .ok_or_else(|| Denial::new(Code::NoRoute, "no route matches this host and path"))?;
    let permit = match verdict {
        Verdict::Preflight(headers) => {
            return Ok(preflight(route, headers));
        }
        Verdict::Permitted(permit) => permit,
    };
    act::check_length(&ask.headers, route.body_limit)?;
    match &route.action {
        Action::Forward(forward) => forwarded(gate, ask, (judged, route, forward), &permit, now),
        Action::Respond {
            status, headers, ..
        } => {
            let headers = headers.iter().cloned().collect();
            let words = "the route's own answer".to_owned();
            Ok(answer(gate, ask, route, Some(*status), headers, words))
        }
        Action::Redirect { to, status } => {
            let to = respond::fill(to, &ask.uri);
            let words = format!("a redirect to {to}");
            let mut headers = HeaderMap::new();
            if let Ok(to) = HeaderValue::try_from(to) {
                headers.insert(LOCATION, to);
            }
            Ok(answer(gate, ask, route, Some(*status), headers, words))
        }
        Action::Files(files) => {
            let words = format!("a file below {}", files.dir.display());
            Ok(answer(gate, ask, route, None, HeaderMap::new(), words))
        }
        Action::Provider(door) => {
            let step = door.step.segment();
            let words = format!("the step {step} of the sign-in of {}", door.name);
            Ok(answer(gate, ask, route, None, HeaderMap::new(), words))
        }
    }
}

fn forwarded(
    gate: &Snapshot,
    ask: &Ask,
    (judged, route, forward): (&Judged<'_>, &Route, &Forward),
    permit: &Permit,
    now: Timestamp,
) -> Result<Outcome, Denial> {
    let trusted = gate.policy.trusted_proxies.trusts(ask.peer.address.ip());
    let request_id = ids::request_id(gate, trusted, &ask.headers, now);
    let traceparent = ids::traceparent(&ask.headers);
    let sealing = Sealing {
        gate,
        route,
        forward,
        judged,
        request_id: &request_id,
        traceparent: &traceparent,
        now,
    };
    let request = (ask.method.clone(), &ask.uri, ask.headers.clone());
    let assertion = sealing.assertion(permit)?;
    let outbound = sealing.seal(request, RequestBody::Empty, permit, assertion.as_ref())?;
    let upstream = gate.settings.upstreams.get(forward.upstream.0);
    let target = outbound.target().path_and_query();
    Ok(Outcome::Forward {
        upstream: upstream.map_or_else(|| Arc::from("?"), |upstream| Arc::clone(&upstream.name)),
        target: target.map_or("/", |target| target.as_str()).to_owned(),
        headers: outbound.headers(),
    })
}

/// The answer to a preflight, as the rule made it.
fn preflight(route: &Route, mut headers: HeaderMap) -> Outcome {
    respond::edit(&mut headers, route);
    Outcome::Answer {
        status: Some(StatusCode::NO_CONTENT),
        headers,
        words: "a preflight that says yes".to_owned(),
    }
}

fn answer(
    gate: &Snapshot,
    ask: &Ask,
    route: &Route,
    status: Option<StatusCode>,
    mut headers: HeaderMap,
    words: String,
) -> Outcome {
    finish(gate, ask, (Some(route), Some(route)), &mut headers);
    Outcome::Answer {
        status,
        headers,
        words,
    }
}

fn refuse(gate: &Snapshot, ask: &Ask, judged: &Judged<'_>, denial: Denial) -> Outcome {
    let route = judged.route.as_deref();
    let page = respond::is_page_load(&ask.headers);
    let target = (&ask.method, &ask.uri);
    let (head, _) = respond::refuse(&denial, "", target, page, route).into_parts();
    let mut headers = head.headers;
    finish(gate, ask, (route, judged.route_of_cors()), &mut headers);
    Outcome::Refused {
        status: head.status,
        headers,
        denial,
    }
}

/// What every answer gets, by the route that answers and the one whose cross-origin rule holds.
fn finish(
    gate: &Snapshot,
    ask: &Ask,
    (route, of_cors): (Option<&Route>, Option<&Route>),
    headers: &mut HeaderMap,
) {
    if let Some(route) = route {
        respond::edit(headers, route);
    }
    let origin = sole_origin(&ask.headers);
    respond::protect(headers, gate, of_cors, origin, ask.peer.tls.is_some());
}

/// What the plain door that only redirects answers.
fn redirect(gate: &Snapshot, ask: &Ask) -> Outcome {
    let host = ask.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| parse_authority(host).ok());
    if !host.is_some_and(|host| gate.redirects_to(host.host())) {
        return Outcome::Answer {
            status: Some(StatusCode::MISDIRECTED_REQUEST),
            headers: HeaderMap::new(),
            words: "no redirect, as no certificate here covers the host".to_owned(),
        };
    }
    let port = gate
        .settings
        .server
        .https
        .first()
        .map(std::net::SocketAddr::port);
    let words = match port {
        Some(443) | None => "a redirect to the same address with https".to_owned(),
        Some(port) => format!("a redirect to the same address with https on port {port}"),
    };
    Outcome::Answer {
        status: Some(StatusCode::PERMANENT_REDIRECT),
        headers: HeaderMap::new(),
        words,
    }
}
