//! What is decided about one request, step by step, without touching a socket.
//!
//! Live traffic, `explain` and `[[expect]]` all come through [`judge`]. The steps stand in the
//! order of the documentation; the first that objects ends the visit.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, Method, Uri, Version};

use super::arrival::Arrival;
use super::limits::{Counting, Stage};
use super::recorded;
use crate::auth::{self, Attempt, PeerCertificate};
use crate::clock::{self, Timestamp};
use crate::gateway::Snapshot;
use crate::policy::denial::{Code, Denial};
use crate::policy::forwarded::Client;
use crate::policy::headers::check_framing;
use crate::policy::identity::Caller;
use crate::policy::limit::Standing;
use crate::policy::path::CanonicalPath;
use crate::policy::requirement::Permit;
use crate::policy::route::Route;
use crate::policy::routes::Miss;
use crate::policy::websocket::{self, Handshake, Opening};
use crate::policy::{cors, csrf};
use crate::telemetry::spans::{Recording, under};
use crate::tls::Served;

/// What is known of the connection that a request came on.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The other end, or what the PROXY protocol says it is.
    pub address: SocketAddr,
    /// TLS, where the gateway ended it.
    pub tls: Option<PeerTls>,
}

/// What the TLS handshake told.
#[derive(Clone, Debug)]
pub struct PeerTls {
    /// What the connection was served with.
    pub served: Served,
    /// The name that the client asked for.
    pub server_name: Option<Box<str>>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The client's certificate, verified.
    pub certificate: Option<Arc<PeerCertificate>>,
}

/// A request's head and where it came from.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'u, 'h> {
    /// Method.
    pub method: &'h Method,
    /// Target, as it came.
    pub uri: &'u Uri,
    /// Version.
    pub version: Version,
    /// Headers.
    pub headers: &'h HeaderMap,
    /// The connection.
    pub peer: &'h Peer,
    /// Largest request target in bytes.
    pub target_limit: usize,
    /// How it asks for a WebSocket, if it does.
    pub opening: Opening,
    /// When it came, by the monotonic clock, where it counts against the route's limits.
    pub came: Option<Instant>,
    /// Where the steps of a sampled request are recorded.
    pub recording: Option<&'h Recording>,
}

/// Who a request is judged for.
#[derive(Clone, Debug)]
pub enum Who {
    /// Whoever its credentials say.
    Bearer,
    /// This caller, or nobody: for `[[expect]]`.
    Given(Option<Arc<Caller>>),
}

/// What was found out about a request, as far as the visit came.
#[derive(Debug, Default)]
pub struct Judged<'u> {
    /// The path in its one reading.
    pub path: Option<CanonicalPath<'u>>,
    /// Who the client is.
    pub client: Option<Arc<Arrival>>,
    /// Whether that was worked out for this request, and not for one before it.
    pub arrived_anew: bool,
    /// The route that was chosen.
    pub route: Option<Arc<Route>>,
    /// Where the path has routes for other methods alone: one whose cross-origin rule allows the
    /// request's origin.
    pub beside: Option<Arc<Route>>,
    /// The WebSocket handshake, where it is one.
    pub handshake: Option<Handshake>,
    /// What the authenticators said, but for the caller.
    pub attempt: Option<Attempt<'u>>,
    /// Who is calling, where a credential held.
    pub caller: Option<Arc<Caller>>,
    /// How the client stands with the route's limits, where it has any.
    pub standing: Option<Standing>,
    /// What would have been refused on a route that only observes.
    pub overlooked: Option<Denial>,
}

impl Judged<'_> {
    /// The route whose cross-origin rule holds for the answer.
    #[must_use]
    pub fn route_of_cors(&self) -> Option<&Route> {
        self.route.as_deref().or(self.beside.as_deref())
    }
}

/// What is to happen with a request.
#[derive(Debug)]
pub enum Verdict {
    /// It is a preflight, answered with these headers.
    Preflight(HeaderMap),
    /// It goes on.
    Permitted(Permit),
}

/// Judges a request at a point in time. `known` is where the connection's last request was for;
/// `judged` keeps what was found out, whatever comes of it.
///
/// # Errors
///
/// The [`Denial`] of the first step that objects.
pub async fn judge<'u>(
    gate: &'u Snapshot,
    subject: &Subject<'u, '_>,
    who: Who,
    now: Timestamp,
    known: Option<Arc<Arrival>>,
    judged: &mut Judged<'u>,
) -> Result<Verdict, Denial> {
    let policy = &gate.policy;
    check_size(policy.header_count, subject)?;
    let present = check_framing(subject.version, subject.method, subject.headers)?;
    let known = known.filter(|known| known.fits(gate, subject));
    judged.arrived_anew = known.is_none();
    let arrival = match known {
        Some(known) => known,
        None => Arc::new(Arrival::of(gate, subject, &who)?),
    };
    let client = judged.client.insert(arrival);
    let host = client.host.as_ref();
    let path = judged.path.insert(CanonicalPath::parse(
        subject.uri.path(),
        policy.merge_slashes,
    )?);

    let origin = present.origin(subject.headers);
    if cors::is_preflight(subject.method, subject.headers)
        && let Some(answer) = preflight(gate, subject, host, path, &mut judged.route)
    {
        return answer.map(Verdict::Preflight);
    }
    let route = policy
        .routes
        .find(host, path, subject.method)
        .map_err(|miss| {
            let mut beside = policy.routes.beside(host, path);
            judged.beside = beside.find(|route| may_read(route, origin)).cloned();
            missed(&miss)
        })?;
    let route = judged.route.insert(Arc::clone(route));
    if present.has_upgrade() || subject.opening != Opening::Upgrade {
        let Subject { opening, .. } = *subject;
        let (version, method) = (subject.version, subject.method);
        judged.handshake = websocket::handshake(opening, version, method, subject.headers)?;
    }

    let counting = Counting::of(gate, route, subject, client.ip);
    let checked = async {
        if let Some(counting) = &counting {
            let (standing, overlooked) = (&mut judged.standing, &mut judged.overlooked);
            counting.count(Stage::Arrived, standing, overlooked).await?;
        }
        if judged.handshake.is_some() {
            check_websocket(route, client, origin)?;
        }
        let by_cookie;
        match who {
            Who::Given(caller) => {
                judged.caller = caller;
                by_cookie = false;
            }
            Who::Bearer => {
                let request = asked(gate, subject, client, judged.handshake.is_some());
                let admission = route.requirement.admission;
                let authenticators = &gate.authenticators;
                let began = subject.recording.map(|_| clock::monotonic());
                let mut attempt = {
                    let place = subject.recording.map(Recording::authenticating);
                    let asking =
                        authenticators.identify(&route.authenticators, admission, &request, now);
                    under(place, pin!(asking)).await
                };
                if let (Some(recording), Some(began)) = (subject.recording, began) {
                    recorded::authentication(gate, recording, began, &attempt);
                }
                by_cookie = attempt.by_cookie;
                judged.caller = attempt.caller.take();
                let denial = attempt.denial.take();
                judged.attempt = Some(attempt);
                if let Some(denial) = denial {
                    return Err(denial);
                }
            }
        }
        if route.csrf && by_cookie {
            csrf::check(
                subject.method,
                subject.headers,
                client,
                route.cors.as_deref(),
            )?;
        }
        let permit = route.requirement.check(judged.caller.clone(), now)?;
        if let Some(counting) = &counting {
            let stage = Stage::Permitted(judged.caller.as_deref());
            let (standing, overlooked) = (&mut judged.standing, &mut judged.overlooked);
            counting.count(stage, standing, overlooked).await?;
        }
        Ok(permit)
    }
    .await;
    match checked {
        Ok(permit) => Ok(Verdict::Permitted(permit)),
        Err(denial) => {
            let (permit, denial) = route.requirement.overlook(denial)?;
            // What was passed over first is what would have been told.
            judged.overlooked.get_or_insert(denial);
            Ok(Verdict::Permitted(permit))
        }
    }
}

/// A request as the authenticators see it.
fn asked<'r>(
    gate: &'r Snapshot,
    subject: &Subject<'r, 'r>,
    client: &'r Client,
    websocket: bool,
) -> auth::Request<'r> {
    auth::Request {
        method: subject.method,
        headers: subject.headers,
        query: subject.uri.query(),
        websocket,
        peer_certificate: (subject.peer.tls.as_ref()).and_then(|tls| tls.certificate.as_deref()),
        client: Some(client),
        own_cookie: gate.policy.session_cookie.as_deref(),
    }
}

/// Limits that HTTP/2 does not keep for us; on HTTP/1 they were kept before the head was parsed.
fn check_size(header_count: usize, subject: &Subject<'_, '_>) -> Result<(), Denial> {
    if subject.headers.len() > header_count {
        let detail = format!(
            "the request has {} header lines; at most {header_count} are taken",
            subject.headers.len()
        );
        return Err(Denial::new(Code::HeadersTooLarge, detail));
    }
    let length = subject.uri.path().len() + subject.uri.query().map_or(0, |query| query.len() + 1);
    if length > subject.target_limit {
        let detail = format!(
            "the address has {length} bytes; at most {} are taken",
            subject.target_limit
        );
        return Err(Denial::new(Code::TargetTooLong, detail));
    }
    if subject.uri.scheme_str() == Some("") {
        return Err(Denial::new(Code::BadRequest, "the scheme of the address is empty").closing());
    }
    if *subject.method == Method::CONNECT {
        return Err(Denial::new(Code::BadRequest, "CONNECT is not served here").closing());
    }
    Ok(())
}

/// Whether a page of this origin may read what a route answers.
fn may_read(route: &Route, origin: Option<&http::HeaderValue>) -> bool {
    let (Some(rule), Some(origin)) = (&route.cors, origin) else {
        return false;
    };
    rule.allows(origin)
}

fn missed(miss: &Miss) -> Denial {
    match miss {
        Miss::NoRoute => Denial::new(Code::NoRoute, "no route matches this host and path"),
        Miss::Method { allow } => Denial::new(
            Code::MethodNotAllowed,
            "the path is served, but not with this method",
        )
        .allow(allow.clone()),
    }
}

/// The answer to a preflight, or `None` where the path has no route with a cross-origin rule for
/// the method that is asked for: then it is an ordinary request.
fn preflight(
    gate: &Snapshot,
    subject: &Subject<'_, '_>,
    host: &str,
    path: &CanonicalPath<'_>,
    chosen: &mut Option<Arc<Route>>,
) -> Option<Result<HeaderMap, Denial>> {
    let wanted = subject
        .headers
        .get(http::header::ACCESS_CONTROL_REQUEST_METHOD)?;
    let method = Method::from_bytes(wanted.as_bytes()).ok()?;
    let route = gate.policy.routes.find(host, path, &method).ok()?;
    let rule = route.cors.as_ref()?;
    *chosen = Some(Arc::clone(route));
    Some(rule.preflight(route.methods.as_deref(), subject.headers))
}

fn check_websocket(
    route: &Route,
    client: &Client,
    origin: Option<&http::HeaderValue>,
) -> Result<(), Denial> {
    if !route.websocket.allowed {
        return Err(Denial::new(
            Code::BadRequest,
            "this route takes no WebSocket",
        ));
    }
    websocket::check_origin(origin, client, route.cors.as_deref())
}
