//! Finished requests as OTLP tells them. Pure; the names are those of OpenTelemetry's semantic
//! conventions for HTTP and databases, and `portcullis.` before the gateway's own.

use std::time::{Duration, Instant};

use http::{Method, Version};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use opentelemetry_proto::tonic::trace::v1::{span::SpanKind, status::StatusCode};

use super::finished::Finished;
use super::recording::{Recording, Step, Try, What};
use crate::config::settings::ServerAddress;

/// Who tells.
const SERVICE: &str = "portcullis";
/// That the next bit tells anything (`opentelemetry/proto/trace/v1`, `SpanFlags`).
const KNOWN_REMOTE: u32 = 0x100;
/// That the parent is of another process.
const REMOTE: u32 = 0x200;

/// The spans of a batch.
pub(super) fn request(batch: &[Finished]) -> ExportTraceServiceRequest {
    let version = env!("CARGO_PKG_VERSION");
    let resource = Resource {
        attributes: vec![
            text("service.name", SERVICE),
            text("service.version", version),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: SERVICE.to_owned(),
        version: version.to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = ScopeSpans {
        scope: Some(scope),
        spans: batch.iter().flat_map(spans).collect(),
        ..ScopeSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![spans],
            ..ResourceSpans::default()
        }],
    }
}

/// The request's own span and those of its steps.
fn spans(finished: &Finished) -> Vec<Span> {
    let steps = finished.recording.steps.take();
    let mut spans = Vec::with_capacity(steps.len() + 1);
    spans.push(whole(finished));
    spans.extend(steps.into_iter().map(|taken| step(finished, taken)));
    spans
}

/// The request as the client sees it.
fn whole(finished: &Finished) -> Span {
    let recording = &finished.recording;
    let mut attributes = method(&finished.method);
    attributes.extend([
        text("url.path", &finished.path),
        text(
            "url.scheme",
            if finished.is_https { "https" } else { "http" },
        ),
        number("http.response.status_code", finished.status.into()),
        text("network.protocol.version", version(finished.version)),
        text("portcullis.request_id", &finished.request_id),
        float("portcullis.gateway_ms", millis(finished.gateway_time)),
    ]);
    if let Some(route) = &finished.route {
        attributes.push(text("http.route", route));
    }
    if let Some(host) = &finished.host {
        attributes.extend(authority(host));
    }
    if let Some(code) = finished.refused {
        attributes.push(text("portcullis.code", code.as_str()));
    }
    if let Some(code) = finished.overlooked {
        attributes.push(text("portcullis.observed_code", code.as_str()));
    }
    let fault = if finished.status >= 500 {
        let status = || finished.status.to_string();
        Some(
            finished
                .refused
                .map_or_else(status, |code| code.as_str().to_owned()),
        )
    } else {
        finished.cut_off.then(|| "cut_off".to_owned())
    };
    let remote = if recording.parent.is_some() {
        REMOTE
    } else {
        0
    };
    let name = known(&finished.method).unwrap_or("HTTP");
    let name = finished
        .route
        .as_deref()
        .map_or_else(|| name.to_owned(), |route| format!("{name} {route}"));
    let span = Span {
        parent_span_id: recording.parent.map_or_else(Vec::new, id),
        flags: u32::from(recording.flags) | KNOWN_REMOTE | remote,
        ..begun(recording, recording.span, SpanKind::Server, name)
    };
    ended(
        span,
        finished,
        (finished.started, finished.ended),
        attributes,
        fault,
    )
}

fn step(finished: &Finished, step: Step) -> Span {
    let (kind, name, attributes, fault) = match step.what {
        What::Authentication {
            authenticator,
            code,
            reused,
        } => {
            let verdict = code.map_or("ok", crate::policy::denial::Code::as_str);
            let mut attributes = vec![
                text("portcullis.verdict", verdict),
                truth("portcullis.verdict_reused", reused),
            ];
            attributes.extend(authenticator.map(|name| text("portcullis.authenticator", &name)));
            // What is not known is a fault; a credential that does not hold is none.
            let fault = code.filter(|code| code.status().is_server_error());
            let fault = fault.map(|code| code.as_str().to_owned());
            (
                SpanKind::Internal,
                "authentication".to_owned(),
                attributes,
                fault,
            )
        }
        What::Store { shown, failed } => {
            let mut attributes = vec![text("portcullis.store", &shown)];
            attributes.extend(database(&shown).map(|name| text("db.system.name", name)));
            let fault = failed.then(|| "no_answer".to_owned());
            (SpanKind::Client, "store".to_owned(), attributes, fault)
        }
        What::Upstream(one) => {
            let name = known(&finished.method).unwrap_or("HTTP").to_owned();
            let (attributes, fault) = tried(&finished.method, &one);
            (SpanKind::Client, name, attributes, fault)
        }
    };
    let span = Span {
        parent_span_id: id(step.parent),
        flags: u32::from(finished.recording.flags) | KNOWN_REMOTE,
        ..begun(&finished.recording, step.id, kind, name)
    };
    ended(span, finished, (step.began, step.ended), attributes, fault)
}

/// What is told of one server that was tried, and what went wrong.
fn tried(asked: &Method, one: &Try) -> (Vec<KeyValue>, Option<String>) {
    let mut attributes = method(asked);
    attributes.push(text("portcullis.upstream", &one.upstream));
    attributes.push(text("network.protocol.version", "1.1"));
    match &one.server.address {
        ServerAddress::Tcp { host, port } => {
            // The label is the server's address as it was written: scheme, host and port.
            let url = format!("{}{}", one.server.label, one.path);
            attributes.extend([
                text("server.address", host),
                number("server.port", (*port).into()),
                text("url.full", &url),
            ]);
        }
        ServerAddress::Unix(path) => {
            attributes.extend([
                text("server.address", &path.display().to_string()),
                text("network.transport", "unix"),
                text("url.path", &one.path),
            ]);
        }
    }
    if one.before > 0 {
        attributes.push(number("http.request.resend_count", one.before.into()));
    }
    let fault = match one.outcome {
        Ok(status) => {
            attributes.push(number("http.response.status_code", status.into()));
            (status >= 400).then(|| status.to_string())
        }
        Err(code) => Some(code.as_str().to_owned()),
    };
    (attributes, fault)
}

/// A span without time and attributes.
fn begun(recording: &Recording, span: u64, kind: SpanKind, name: String) -> Span {
    Span {
        trace_id: recording.trace.to_be_bytes().to_vec(),
        span_id: id(span),
        trace_state: recording.state.as_deref().unwrap_or_default().to_owned(),
        kind: kind.into(),
        name,
        ..Span::default()
    }
}

fn ended(
    mut span: Span,
    finished: &Finished,
    (began, ended): (Instant, Instant),
    mut attributes: Vec<KeyValue>,
    fault: Option<String>,
) -> Span {
    if let Some(fault) = fault {
        attributes.push(text("error.type", &fault));
        span.status = Some(Status {
            code: StatusCode::Error.into(),
            ..Status::default()
        });
    }
    span.start_time_unix_nano = nanos(finished, began);
    span.end_time_unix_nano = nanos(finished, ended);
    span.attributes = attributes;
    span
}

/// A moment of the request by the wall clock that its head was there at.
fn nanos(finished: &Finished, moment: Instant) -> u64 {
    let at = u64::try_from(finished.at.unix_micros()).unwrap_or_default();
    let after = moment
        .saturating_duration_since(finished.started)
        .as_nanos();
    (at.saturating_mul(1_000)).saturating_add(u64::try_from(after).unwrap_or_default())
}

/// Milliseconds, to the microsecond.
fn millis(time: Duration) -> f64 {
    f64::from(u32::try_from(time.as_micros()).unwrap_or(u32::MAX)) / 1e3
}

/// Methods that are told by their name; others could be anything a client thinks of.
fn known(method: &Method) -> Option<&str> {
    let name = method.as_str();
    let known = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT",
    ];
    known.contains(&name).then_some(name)
}

fn method(method: &Method) -> Vec<KeyValue> {
    vec![text(
        "http.request.method",
        known(method).unwrap_or("_OTHER"),
    )]
}

/// The host that was asked for, and its port where one was named.
fn authority(host: &str) -> impl Iterator<Item = KeyValue> {
    let named = host.rsplit_once(':');
    let named = named.and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
    let (name, port) = match named {
        // `::1` without brackets is no name with a port.
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        Some(_) | None => (host, None),
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let port = port.map(|port| number("server.port", port.into()));
    [text("server.address", name)].into_iter().chain(port)
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// The conventions' name of the database that a store is (`PostgreSQL at db:5432/shop`).
fn database(shown: &str) -> Option<&'static str> {
    let first = shown.split_ascii_whitespace().next()?;
    let known = [
        ("PostgreSQL", "postgresql"),
        ("MySQL", "mysql"),
        ("MariaDB", "mariadb"),
        ("SQLite", "sqlite"),
        ("Redis", "redis"),
    ];
    let mut known = known.into_iter();
    known.find(|(name, _)| *name == first).map(|(_, told)| told)
}

fn id(span: u64) -> Vec<u8> {
    span.to_be_bytes().to_vec()
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    pair(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    pair(key, Value::IntValue(value))
}

fn float(key: &str, value: f64) -> KeyValue {
    pair(key, Value::DoubleValue(value))
}

fn truth(key: &str, value: bool) -> KeyValue {
    pair(key, Value::BoolValue(value))
}

#[cfg(test)]
#[path = "otlp_tests.rs"]
mod otlp_tests;
