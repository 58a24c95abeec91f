//! From a path to an answer.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::json;

use crate::admin::AdminState;
use crate::admin::access::{self, Objection, Rule};
use crate::admin::board::{Board, RouteAnswer, routes, status};
use crate::admin::traffic::Traffic;
use crate::admin::{causes, dashboard, live, sessions};
use crate::clock;
use crate::secret::Secret;
use crate::telemetry::Refusal;

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// Refusals shown in a list.
const LISTED: usize = 100;

/// What the dashboard may load and do: what stands here, and nothing of anyone else.
const PAGE_RULES: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                          connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What an answer's body is.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// On every answer: nothing of it is kept, framed, embedded, or run. The dashboard has rules of its own.
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
    Script,
    Icon,
    Status,
    Traffic,
    Routes,
    Refusals,
    Causes,
    Configuration,
    Events,
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
            "/dashboard.js" => Self::Script,
            "/icon.svg" => Self::Icon,
            "/api/status" => Self::Status,
            "/api/traffic" => Self::Traffic,
            "/api/routes" => Self::Routes,
            "/api/refusals" => Self::Refusals,
            "/api/refusals/codes" => Self::Causes,
            "/api/configuration" => Self::Configuration,
            "/api/events" => Self::Events,
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
/// address. `lasts` is told where the answer goes on.
pub(super) async fn answer(
    state: &Arc<AdminState>,
    (bound, local): (SocketAddr, IpAddr),
    (head, body): (&Parts, Incoming),
    lasts: &AtomicBool,
) -> Response<Body> {
    let page = Page::at(head.uri.path());
    let token = state.inspect.token();
    let rule = Rule {
        bound,
        local,
        token: token.as_ref(),
        open: page.is_open(),
        changes: page == Page::Revocations,
    };
    if let Err(objection) = access::admit(rule, head) {
        return refuse(objection, rule.changes).map(BodyExt::boxed_unsync);
    }
    let query = head.uri.query();
    let answer = match (page, state.inspect.snapshot()) {
        (Page::Events, _) => {
            lasts.store(true, Ordering::Relaxed);
            return events(state, token);
        }
        (Page::Dashboard, _) => dashboard(state, query).await,
        (Page::Sessions, Some(gate)) => sessions::list(&gate, query).await,
        (Page::Revocations, Some(gate)) => sessions::revoke(&gate, head, body).await,
        (page, _) => show(state, page),
    };
    answer.map(BodyExt::boxed_unsync)
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
        Page::Style => ok("text/css; charset=utf-8", dashboard::STYLE),
        Page::Script => ok("text/javascript; charset=utf-8", dashboard::SCRIPT),
        Page::Icon => ok("image/svg+xml", dashboard::ICON),
        Page::Status => as_json(StatusCode::OK, &status(state)),
        Page::Traffic => {
            let traffic = Traffic::of(&state.live.history(), state.metrics.open_now());
            as_json(StatusCode::OK, &traffic)
        }
        Page::Causes => {
            let latest = state.metrics.refusals().latest(usize::MAX);
            let codes = causes::find(&state.live.history(), &latest, clock::now());
            let minutes = causes::MINUTES;
            as_json(
                StatusCode::OK,
                &json!({ "minutes": minutes, "codes": codes }),
            )
        }
        Page::Configuration => configuration(state),
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
        Page::Dashboard | Page::Events | Page::Sessions | Page::Revocations | Page::Nothing => {
            problem(
                StatusCode::NOT_FOUND,
                "here are /, /health, /ready, /metrics, /api/status, /api/traffic, /api/routes, /api/refusals, /api/refusals/codes, /api/configuration, /api/sessions, /api/events and /api/why/REQUEST_ID; POST to /api/revocations",
            )
        }
    }
}

/// The configuration in force, without its secrets.
fn configuration(state: &AdminState) -> Response<Full<Bytes>> {
    let Some(gate) = state.inspect.snapshot() else {
        return problem(StatusCode::NOT_FOUND, "no configuration is in force");
    };
    let told = json!({
        "file": gate.shown.file,
        "loaded": state.metrics.loaded_at().to_string(),
        "last_reload": state.metrics.last_reload(),
        "values": gate.shown.values,
    });
    as_json(StatusCode::OK, &told)
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

/// The dashboard, with the sessions that its query asks for.
async fn dashboard(state: &AdminState, query: Option<&str>) -> Response<Full<Bytes>> {
    let gate = state.inspect.snapshot();
    let found = sessions::find(gate.as_deref(), query).await;
    let sections = Board::default().sections(state);
    let mut answer = ok(HTML, dashboard::page(&sections, &found));
    let rules = HeaderValue::from_static(PAGE_RULES);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, rules);
    answer
}

/// What goes on, as it goes on.
fn events(state: &Arc<AdminState>, token: Option<Secret<String>>) -> Response<Body> {
    let Some(told) = live::listen(state, token) else {
        let words = "too many listen already: close a dashboard";
        return problem(StatusCode::SERVICE_UNAVAILABLE, words).map(BodyExt::boxed_unsync);
    };
    let head = respond(StatusCode::OK, "text/event-stream", "");
    head.map(|_| StreamBody::new(told).boxed_unsync())
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
