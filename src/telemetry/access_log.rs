//! The line of each request, written when it has ended.
//!
//! It holds no query, no header and no credential. Refusals have level `warn`, the gateway's own
//! failures `error`, everything else `info`: `level = "warn"` leaves the refusals.

use crate::telemetry::completed::Completed;
use crate::telemetry::line::{Format, Line};
use crate::telemetry::log::{Level, Log};

/// Bytes of a path, user or note that are written.
const MAX_TEXT: usize = 2048;

/// Writes the line of a request, where lines are wanted.
pub(super) fn write(log: &Log, completed: &Completed<'_>, route: Option<&str>) {
    let level = level(completed);
    if log.writes_access(level) {
        log.line(level, completed.ended(), |line| {
            fill(line, completed, route);
        });
    }
}

fn level(completed: &Completed<'_>) -> Level {
    match completed.denial {
        Some(denial) if denial.status().is_server_error() => Level::Error,
        Some(_) => Level::Warn,
        None if completed.overlooked.is_some() => Level::Warn,
        None => Level::Info,
    }
}

fn fill(line: &mut Line<'_>, completed: &Completed<'_>, route: Option<&str>) {
    let status = u64::from(completed.status.as_u16());
    match line.format() {
        Format::Json => {
            line.text("event", "request");
            line.text("method", cut(completed.method.as_str()));
            line.text("path", cut(completed.path));
            line.number("status", status);
        }
        Format::Text => {
            line.headline("method", cut(completed.method.as_str()));
            line.headline("path", cut(completed.path));
            line.headline("status", completed.status.as_str());
        }
    }
    if let Some(denial) = completed.objection() {
        line.text("code", denial.code().as_str());
        if completed.denial.is_none() {
            line.bare("observed", true);
        }
        line.text("detail", cut(denial.detail()));
        if let Some(note) = denial.operator_note() {
            line.text("note", cut(note));
        }
    }
    who(line, completed, route);
    how_much(line, completed);
}

fn who(line: &mut Line<'_>, completed: &Completed<'_>, route: Option<&str>) {
    line.text("request_id", cut(completed.request_id));
    if !completed.trace_id.is_empty() {
        line.text("trace_id", completed.trace_id);
    }
    line.display("client", completed.client);
    if !completed.host.is_empty() {
        line.text("host", cut(completed.host));
    }
    if let Some(route) = route {
        line.text("route", route);
    }
    if let Some(user) = completed.user {
        line.text("user", cut(user));
    }
    if let Some(authenticator) = completed.authenticator {
        line.text("authenticator", authenticator);
    }
    if let Some(server) = completed.server {
        line.text("upstream", server);
    }
}

fn how_much(line: &mut Line<'_>, completed: &Completed<'_>) {
    if completed.retries > 0 {
        line.number("retries", completed.retries.into());
    }
    line.millis("gateway_ms", completed.gateway_time);
    if let Some(time) = completed.app_time {
        line.millis("app_ms", time);
    }
    line.millis("total_ms", completed.total_time);
    line.number("request_bytes", completed.request_bytes);
    line.number("response_bytes", completed.response_bytes);
    if completed.cut_off {
        line.bare("cut_off", true);
    }
    line.text("protocol", completed.protocol());
    if let Some(tls) = completed.tls {
        line.text("tls", tls);
    }
}

/// The front of a long text. The request line's limit bounds most of them already.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT))
        .unwrap_or_default()
}
