//! From a path to an answer.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::json;

use crate::admin::AdminState;
use crate::admin::access::{self, Objection, Rule};
use crate::admin::dashboard::Dashboard;
use crate::admin::inspect::RouteRow;
use crate::admin::sessions;
use crate::admin::status::Status;
use crate::clock;
use crate::telemetry::{ELSEWHERE, Refusal};

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// Refusals shown in a list.
const LISTED: usize = 100;

/// Routes shown on the dashboard; all of them stand under `/api/routes`.
const ROUTES_ON_PAGE: usize = 500;

/// On every answer: nothing of it is kept, framed, embedded, or run.
const SAFE: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page<'a> {
    Health,
    Ready,
    Keys,
    Metrics,
    Dashboard,
    Style,
    Status,
    Routes,
    Refusals,
    Sessions,
    Revocations,
    Why(&'a str),
    Nothing,
}

impl<'a> Page<'a> {
    fn at(path: &'a str) -> Self {
        match path {
            "/health" => Self::Health,
            "/ready" => Self::Ready,
            "/.well-known/jwks.json" => Self::Keys,
            "/metrics" => Self::Metrics,
            "/" => Self::Dashboard,
            "/style.css" => Self::Style,
            "/api/status" => Self::Status,
            "/api/routes" => Self::Routes,
            "/api/refusals" => Self::Refusals,
            "/api/sessions" => Self::Sessions,
            "/api/revocations" => Self::Revocations,
            _ => path
                .strip_prefix("/api/why/")
                .map_or(Self::Nothing, Self::Why),
        }
    }

    /// Whether it is a probe or the public keys, for which no token is asked.
    const fn is_open(self) -> bool {
        matches!(self, Self::Health | Self::Ready | Self::Keys)
    }
}

/// A route with its counts.
#[derive(Debug, Serialize)]
pub(super) struct RouteAnswer {
    #[serde(flatten)]
    pub(super) row: RouteRow,
    pub(super) requests: u64,
    pub(super) refused: u64,
    pub(super) observed: u64,
}

/// `/api/routes`.
#[derive(Debug, Serialize)]
struct Listed {
    routes: Vec<RouteAnswer>,
}

/// `/api/refusals`, the newest first.
#[derive(Debug, Serialize)]
struct Remembered<'a> {
    refusals: Vec<&'a Refusal>,
}

/// Answers one request. It came to a listener that is `bound` there, and reached it at its `local`
/// address.
pub(super) async fn answer(
    state: &AdminState,
    (bound, local): (SocketAddr, IpAddr),
    head: &Parts,
    body: Incoming,
) -> Response<Full<Bytes>> {
    let page = Page::at(head.uri.path());
    let token = state.inspect.token();
    let rule = Rule {
        bound,
        local,
        token: token.as_ref(),
        open: page.is_open(),
        changes: page == Page::Revocations,
    };
    match access::admit(rule, head) {
        Ok(()) => match (page, state.inspect.snapshot()) {
            (Page::Sessions, Some(gate)) => sessions::list(&gate, head.uri.query()).await,
            (Page::Revocations, Some(gate)) => sessions::revoke(&gate, head, body).await,
            (page, _) => show(state, page),
        },
        Err(objection) => refuse(objection, rule.changes),
    }
}

fn show(state: &AdminState, page: Page<'_>) -> Response<Full<Bytes>> {
    match page {
        Page::Health => ok("text/plain; charset=utf-8", "alive\n"),
        Page::Ready => {
            let readiness = status(state).readiness();
            let code = if readiness.ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            as_json(code, &readiness)
        }
        Page::Keys => match state.inspect.assertion_keys() {
            Some(keys) => ok(JSON, keys),
            None => problem(
                StatusCode::NOT_FOUND,
                "no [identity] assertion is configured",
            ),
        },
        Page::Metrics => match state.metrics.render() {
            Ok(text) => ok("text/plain; version=0.0.4; charset=utf-8", text),
            Err(error) => {
                tracing::error!(%error, "the metrics cannot be rendered");
                problem(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the metrics cannot be rendered; the log says why",
                )
            }
        },
        Page::Dashboard => dashboard(state),
        Page::Style => ok("text/css; charset=utf-8", include_str!("style.css")),
        Page::Status => as_json(StatusCode::OK, &status(state)),
        Page::Routes => as_json(
            StatusCode::OK,
            &Listed {
                routes: routes(state),
            },
        ),
        Page::Refusals => {
            let refusals = state.metrics.refusals().latest(LISTED);
            let refusals = refusals.iter().map(|known| &**known).collect();
            as_json(StatusCode::OK, &Remembered { refusals })
        }
        Page::Why(request_id) => why(state, request_id),
        Page::Sessions | Page::Revocations | Page::Nothing => problem(
            StatusCode::NOT_FOUND,
            "here are /, /health, /ready, /metrics, /api/status, /api/routes, /api/refusals, /api/sessions and /api/why/REQUEST_ID; POST to /api/revocations",
        ),
    }
}

/// The refusal of a request id, which stands percent-encoded in the path.
fn why(state: &AdminState, request_id: &str) -> Response<Full<Bytes>> {
    let request_id = percent_decode_str(request_id).decode_utf8_lossy();
    match state.metrics.refusals().find(&request_id) {
        Some(refusal) => as_json(StatusCode::OK, &*refusal),
        None => problem(
            StatusCode::NOT_FOUND,
            "no refusal of this request id is remembered: it passed, was long ago, or went to another gateway",
        ),
    }
}

fn status(state: &AdminState) -> Status {
    Status::of(&state.metrics, state.inspect.is_draining(), clock::now())
}

/// Every route with its counts, and last what was counted of no route.
fn routes(state: &AdminState) -> Vec<RouteAnswer> {
    let counts = state.metrics.route_counts();
    let by_label: HashMap<&str, _> = counts.iter().map(|count| (&*count.route, count)).collect();
    let elsewhere = RouteRow {
        route: ELSEWHERE.to_owned(),
        to: "refused".to_owned(),
        access: String::new(),
        cors: None,
        observes: false,
    };
    let rows = state.inspect.routes().into_iter().chain([elsewhere]);
    rows.map(|row| {
        let count = by_label.get(row.route.as_str());
        RouteAnswer {
            requests: count.map_or(0, |count| count.requests),
            refused: count.map_or(0, |count| count.refused),
            observed: count.map_or(0, |count| count.observed),
            row,
        }
    })
    .collect()
}

fn dashboard(state: &AdminState) -> Response<Full<Bytes>> {
    let mut routes = routes(state);
    let elsewhere = routes.pop();
    routes.truncate(ROUTES_ON_PAGE);
    routes.extend(elsewhere);
    let page = Dashboard {
        status: &status(state),
        routes: &routes,
        refusals: &state.metrics.refusals().latest(LISTED),
    };
    ok(HTML, page.render())
}

fn refuse(objection: Objection, changes: bool) -> Response<Full<Bytes>> {
    let mut answer = problem(objection.status(), objection.words());
    let headers = answer.headers_mut();
    match objection {
        Objection::Method => {
            let allowed = if changes { "POST" } else { "GET, HEAD" };
            headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        Objection::Token => {
            for challenge in [
                "Bearer",
                "Basic realm=\"Portcullis admin: the token is the password\"",
            ] {
                headers.append(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static(challenge),
                );
            }
        }
        Objection::NoHost | Objection::ForeignHost | Objection::ForeignOrigin => {}
    }
    answer
}

/// RFC 9457.
pub(super) fn problem(status: StatusCode, detail: &str) -> Response<Full<Bytes>> {
    let body = json!({
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
    });
    respond(status, "application/problem+json", body.to_string())
}

/// A value as JSON.
pub(super) fn as_json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string_pretty(value) {
        Ok(text) => respond(status, JSON, text + "\n"),
        Err(error) => {
            tracing::error!(%error, "an answer of the admin address cannot be written as JSON");
            problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the answer cannot be written as JSON; the log says why",
            )
        }
    }
}

fn ok(kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond(StatusCode::OK, kind, body)
}

fn respond(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in SAFE {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}
