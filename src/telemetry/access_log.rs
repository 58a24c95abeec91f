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
    if let Some(number) = completed.close {
        line.number("close", number.into());
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
    line.plain("client", completed.client);
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

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::settings::{self, LogLevel};
    use crate::policy::denial::{Code, Denial};
    use crate::telemetry::testing::{Kept, completed};

    const SETTINGS: settings::Log = settings::Log {
        json: true,
        level: LogLevel::Info,
        access: true,
    };

    fn written(settings: &settings::Log, requests: &[Completed<'_>]) -> String {
        let kept = Kept::default();
        let (log, closer) = Log::start(settings, kept.clone()).unwrap();
        for request in requests {
            write(&log, request, Some("/api/{*rest}"));
        }
        drop(closer);
        kept.text()
    }

    fn refused(denial: &Denial) -> Completed<'_> {
        Completed {
            status: denial.status(),
            denial: Some(denial),
            ..completed()
        }
    }

    #[test]
    fn a_request_has_one_json_line_with_everything_in_it() {
        let text = written(&SETTINGS, &[completed()]);
        let line: Value = serde_json::from_str(&text).unwrap();
        let expected = json!({
            "time": "2026-01-02T03:04:05.072Z", "level": "info", "event": "request",
            "method": "GET", "path": "/api/things", "status": 200,
            "request_id": "0192-id", "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "client": "192.0.2.7", "host": "app.example.com", "route": "/api/{*rest}",
            "user": "42", "authenticator": "token", "upstream": "http://127.0.0.1:8000",
            "gateway_ms": 0.123, "app_ms": 4.5, "total_ms": 4.7,
            "request_bytes": 300, "response_bytes": 1024, "protocol": "HTTP/2", "tls": "TLSv1.3",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn a_refusal_tells_its_code_its_detail_and_the_note_for_the_operator() {
        let denial = Denial::new(Code::RoleMissing, "no role").note("wanted one of: staff");
        let line: Value = serde_json::from_str(&written(&SETTINGS, &[refused(&denial)])).unwrap();
        assert_eq!(line["level"], "warn");
        assert_eq!(line["code"], "role_missing");
        assert_eq!(line["detail"], "no role");
        assert_eq!(line["note"], "wanted one of: staff");
        assert!(line.get("observed").is_none());
    }

    #[test]
    fn what_an_observing_route_passes_over_is_told_as_such() {
        let denial = Denial::new(Code::RoleMissing, "no role");
        let request = Completed {
            overlooked: Some(&denial),
            ..completed()
        };
        let line: Value = serde_json::from_str(&written(&SETTINGS, &[request])).unwrap();
        assert_eq!(
            (&line["code"], &line["observed"]),
            (&json!("role_missing"), &json!(true))
        );
        assert_eq!(line["status"], 200);
    }

    #[test]
    fn nothing_that_a_client_sends_begins_a_line_of_its_own() {
        let request = Completed {
            path: "/x\n{\"event\":\"request\",\"status\":200}\u{1b}[2J",
            user: Some("eve\r\nroot"),
            host: "\u{202e}moc.live",
            ..completed()
        };
        for json in [true, false] {
            let settings = settings::Log { json, ..SETTINGS };
            let text = written(
                &settings,
                &[Completed {
                    trace: None,
                    ..request_of(&request)
                }],
            );
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            assert!(
                !text
                    .trim_end()
                    .contains(|char: char| char.is_control() || char == '\u{202e}')
            );
        }
    }

    /// The same request again.
    fn request_of<'a>(request: &Completed<'a>) -> Completed<'a> {
        Completed {
            path: request.path,
            user: request.user,
            host: request.host,
            ..completed()
        }
    }

    #[test]
    fn level_warn_leaves_the_refusals_and_access_false_leaves_nothing() {
        let missing = Denial::new(Code::CredentialsMissing, "none");
        let down = Denial::new(Code::UpstreamDown, "down");
        let all = || [completed(), refused(&missing), refused(&down)];
        let count = |settings: &settings::Log| written(settings, &all()).lines().count();
        assert_eq!(count(&SETTINGS), 3);
        let level = |level| settings::Log { level, ..SETTINGS };
        assert_eq!(count(&level(LogLevel::Warn)), 2);
        assert_eq!(count(&level(LogLevel::Error)), 1);
        let off = settings::Log {
            access: false,
            ..SETTINGS
        };
        assert_eq!(count(&off), 0);
    }

    #[test]
    fn text_for_people_begins_with_what_matters() {
        let settings = settings::Log {
            json: false,
            ..SETTINGS
        };
        let text = written(
            &settings,
            &[Completed {
                status: StatusCode::NOT_FOUND,
                ..completed()
            }],
        );
        let start = "2026-01-02T03:04:05.072Z info  GET /api/things 404 request_id=0192-id ";
        assert!(text.starts_with(start), "{text}");
    }
}
