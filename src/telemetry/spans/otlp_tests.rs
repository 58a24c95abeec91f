//! What spans are called and say.

use std::path::PathBuf;

use super::super::testing::finished;
use super::*;
use crate::clock;
use crate::config::settings::UpstreamServer;
use crate::policy::denial::Code;

fn told(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|pair| pair.key == key)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        Value::DoubleValue(number) => Some(number.to_string()),
        Value::BoolValue(truth) => Some(truth.to_string()),
        Value::ArrayValue(_)
        | Value::KvlistValue(_)
        | Value::BytesValue(_)
        | Value::StringValueStrindex(_) => None,
    }
}

fn one(label: &str, address: ServerAddress, outcome: Result<u16, Code>) -> Try {
    Try {
        upstream: "app".into(),
        server: UpstreamServer {
            label: label.into(),
            address,
            tls: false,
            weight: 1,
        },
        path: "/things".into(),
        before: 0,
        outcome,
    }
}

fn tcp() -> ServerAddress {
    ServerAddress::Tcp {
        host: "127.0.0.1".into(),
        port: 8000,
    }
}

fn status(span: &Span) -> i32 {
    span.status.as_ref().map_or(0, |status| status.code)
}

#[test]
fn the_request_is_told_by_the_conventions() {
    let finished = finished();
    let [span] = &spans(&finished)[..] else {
        panic!("one span is expected")
    };
    assert_eq!(span.name, "GET /api/{*rest}");
    assert_eq!(span.kind, SpanKind::Server as i32);
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/api/things"),
        ("url.scheme", "https"),
        ("http.route", "/api/{*rest}"),
        ("http.response.status_code", "200"),
        ("server.address", "app.example.com"),
        ("network.protocol.version", "2"),
        ("portcullis.request_id", "0192-id"),
        ("portcullis.gateway_ms", "0.123"),
    ] {
        assert_eq!(told(span, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!((told(span, "error.type"), status(span)), (None, 0));
    assert_eq!(span.trace_id.len(), 16);
    assert_eq!((span.span_id.len(), span.parent_span_id.len()), (8, 0));
    assert_eq!(
        span.end_time_unix_nano - span.start_time_unix_nano,
        4_000_000
    );
    assert_eq!(span.start_time_unix_nano, 1_767_323_045_067_890_000);
}

#[test]
fn steps_are_children_and_lie_within() {
    let finished = finished();
    let recording = &finished.recording;
    let (id, _) = recording.next();
    let server = one("http://127.0.0.1:8000", tcp(), Ok(200));
    recording.authenticated(finished.started, Some("token".into()), (None, true));
    recording
        .authenticating()
        .asked(&"Redis at c:6379/0".into(), finished.started, false);
    recording.tried(id, finished.started, server);
    let [whole, auth, store, upstream] = &spans(&finished)[..] else {
        panic!("four spans are expected")
    };
    assert_eq!(auth.parent_span_id, whole.span_id);
    assert_eq!(store.parent_span_id, auth.span_id);
    assert_eq!(upstream.parent_span_id, whole.span_id);
    assert_eq!(upstream.span_id, id.to_be_bytes());
    assert!(
        [auth, store, upstream]
            .iter()
            .all(|span| span.trace_id == whole.trace_id)
    );
    assert_eq!(
        told(auth, "portcullis.authenticator").as_deref(),
        Some("token")
    );
    assert_eq!(told(auth, "portcullis.verdict").as_deref(), Some("ok"));
    assert_eq!(
        told(auth, "portcullis.verdict_reused").as_deref(),
        Some("true")
    );
    assert_eq!(told(store, "db.system.name").as_deref(), Some("redis"));
    assert_eq!(
        told(upstream, "url.full").as_deref(),
        Some("http://127.0.0.1:8000/things")
    );
    assert_eq!(told(upstream, "server.port").as_deref(), Some("8000"));
    assert_eq!(upstream.kind, SpanKind::Client as i32);
}

#[test]
fn a_refusal_has_its_code_and_is_an_error_where_the_fault_is_ours() {
    let mut finished = finished();
    (finished.status, finished.refused) = (403, Some(Code::RoleMissing));
    let span = whole(&finished);
    assert_eq!(
        told(&span, "portcullis.code").as_deref(),
        Some("role_missing")
    );
    assert_eq!((told(&span, "error.type"), status(&span)), (None, 0));
    (finished.status, finished.refused) = (503, Some(Code::AuthUnavailable));
    let span = whole(&finished);
    assert_eq!(
        told(&span, "error.type").as_deref(),
        Some("auth_unavailable")
    );
    assert_eq!(status(&span), StatusCode::Error as i32);
}

#[test]
fn an_app_that_fails_is_told_by_status_or_by_what_went_wrong() {
    let finished = finished();
    let taken = |outcome, before| {
        let began = clock::monotonic();
        let mut one = one("x", tcp(), outcome);
        one.before = before;
        step(
            &finished,
            Step {
                id: 1,
                parent: 2,
                began,
                ended: began + Duration::from_millis(1),
                what: What::Upstream(Box::new(one)),
            },
        )
    };
    let span = taken(Ok(500), 0);
    assert_eq!(told(&span, "error.type").as_deref(), Some("500"));
    assert_eq!(told(&span, "http.request.resend_count"), None);
    let span = taken(Err(Code::UpstreamTimeout), 1);
    assert_eq!(
        told(&span, "error.type").as_deref(),
        Some("upstream_timeout")
    );
    assert_eq!(
        told(&span, "http.request.resend_count").as_deref(),
        Some("1")
    );
    assert_eq!(told(&span, "http.response.status_code"), None);
}

#[test]
fn a_socket_has_a_path_and_no_port() {
    let path = PathBuf::from("/run/app.sock");
    let (attributes, _) = tried(&Method::GET, &one("x", ServerAddress::Unix(path), Ok(200)));
    let span = Span {
        attributes,
        ..Span::default()
    };
    assert_eq!(
        told(&span, "server.address").as_deref(),
        Some("/run/app.sock")
    );
    assert_eq!(told(&span, "network.transport").as_deref(), Some("unix"));
    assert_eq!(told(&span, "server.port"), None);
}

#[test]
fn a_method_of_a_clients_own_is_not_repeated() {
    let mut finished = finished();
    finished.method = Method::from_bytes(b"FROBNICATE").unwrap();
    let span = whole(&finished);
    assert_eq!(span.name, "HTTP /api/{*rest}");
    assert_eq!(
        told(&span, "http.request.method").as_deref(),
        Some("_OTHER")
    );
}

#[test]
fn a_host_is_told_apart_from_its_port() {
    for (host, name, port) in [
        ("app.example.com", "app.example.com", None),
        ("app.example.com:8443", "app.example.com", Some("8443")),
        ("[::1]:8443", "::1", Some("8443")),
        ("[::1]", "::1", None),
        ("127.0.0.1:80", "127.0.0.1", Some("80")),
    ] {
        let span = Span {
            attributes: authority(host).collect(),
            ..Span::default()
        };
        assert_eq!(
            told(&span, "server.address").as_deref(),
            Some(name),
            "{host}"
        );
        assert_eq!(told(&span, "server.port").as_deref(), port, "{host}");
    }
}

#[test]
fn the_senders_span_is_the_parent_and_remote() {
    let sent = crate::telemetry::spans::TraceContext::begin().sampled();
    let mut finished = finished();
    let state = http::HeaderValue::from_static("vendor=1");
    *finished.recording = Recording::child(sent, Some(&state));
    let span = whole(&finished);
    assert_eq!(span.parent_span_id, sent.span.to_be_bytes());
    assert_eq!(span.trace_id, sent.trace.to_be_bytes());
    assert_eq!((span.flags, span.trace_state.as_str()), (0x301, "vendor=1"));
}

#[test]
fn databases_are_told_by_the_names_of_the_conventions() {
    let told: Vec<_> = [
        "PostgreSQL at db:5432/shop",
        "SQLite /x.db",
        "the folder /x",
        "",
    ]
    .map(database)
    .into();
    assert_eq!(told, [Some("postgresql"), Some("sqlite"), None, None]);
}
