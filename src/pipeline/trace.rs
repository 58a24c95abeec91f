//! A judgement told step by step: the same words for `explain`, `why` and the admin address.

use super::judge::{Judged, Peer};
use crate::config::settings::Source;
use crate::gateway::Snapshot;
use crate::policy::denial::{Code, Denial};
use crate::policy::requirement::{Admission, RoleRule};
use crate::policy::route::{Action, Route};
use crate::policy::websocket::close::Ending;
use crate::telemetry::Trace;

/// The steps that were taken, in order; the one that objected carries the refusal's words.
#[must_use]
pub fn of(gate: &Snapshot, judged: &Judged<'_>, peer: &Peer, denial: Option<&Denial>) -> Trace {
    let mut trace = Trace::default();
    match &judged.client {
        Some(client) if client.ip == peer.address.ip() => {
            trace.passed("client", client.ip.to_string());
        }
        Some(client) => trace.passed(
            "client",
            format!(
                "{}, as the trusted proxy {} says",
                client.ip,
                peer.address.ip()
            ),
        ),
        None => trace.noted("client", peer.address.ip().to_string()),
    }
    if let Some(path) = &judged.path {
        trace.passed("path", path.decoded().to_owned());
    }
    if let Some(route) = &judged.route {
        trace.passed("route", told_route(gate, route));
        for limit in route
            .limits
            .iter()
            .filter_map(|id| gate.policy.limits.get(id.0))
        {
            trace.noted(format!("limit {}", limit.name), limit.to_string());
        }
    }
    if let Some(attempt) = &judged.attempt {
        for one in &attempt.tries {
            let name = (gate.settings.authenticators.get(one.authenticator.0))
                .map_or("?", |known| &known.name);
            let place = one
                .source
                .map_or_else(String::new, |source| format!("{}: ", told_source(source)));
            let reused = if one.reused { " (verified before)" } else { "" };
            let words = format!("{place}{}{reused}", one.words);
            match one.outcome {
                Ok(()) => trace.passed(format!("auth {name}"), words),
                Err(Code::CredentialsMissing | Code::CertificateMissing) => {
                    trace.noted(format!("auth {name}"), words);
                }
                Err(code) => trace.refused(format!("auth {name}"), format!("{code}: {words}")),
            }
        }
    }
    if let Some(caller) = &judged.caller {
        let who = caller.identity();
        let roles = if who.roles.is_empty() {
            "no roles".to_owned()
        } else {
            format!("roles {}", who.roles.join(", "))
        };
        trace.passed(
            "identity",
            format!("user {}, {roles}, by {}", who.user, who.authenticator),
        );
    }
    if let Some(route) = &judged.route {
        let wanted = told_requirement(route);
        if denial.is_none() && !wanted.is_empty() {
            trace.passed("authorise", wanted);
        } else if !wanted.is_empty() {
            trace.noted("authorise", wanted);
        }
    }
    if let Some(denial) = denial {
        let note = denial
            .operator_note()
            .map_or_else(String::new, |note| format!("\n{note}"));
        let socket = told_socket(judged, denial);
        let words = format!(
            "{} {}: {}{note}{socket}",
            denial.status().as_u16(),
            denial.code(),
            denial.detail()
        );
        if judged.overlooked.is_some() {
            trace.noted("observe", format!("would be refused: {words}"));
        } else {
            trace.refused("refused", words);
        }
    }
    trace
}

/// How the refusal of a handshake is told, on a line of its own.
fn told_socket(judged: &Judged<'_>, denial: &Denial) -> String {
    let (Some(_), Some(route)) = (&judged.handshake, &judged.route) else {
        return String::new();
    };
    let told = |has_origin| route.websocket.refuse.told(denial.code(), has_origin);
    let close = |ending: Ending| format!("close code {} and `{}`", ending.number(), ending.text());
    match (told(true), told(false)) {
        (Some(ending), Some(_)) => format!("\ntold to everyone by {}", close(ending)),
        (Some(ending), None) => format!(
            "\ntold to a browser (with `Origin`) by {}, to others by the status",
            close(ending)
        ),
        (None, _) => "\ntold by the status, of which a browser tells its page nothing".to_owned(),
    }
}

fn told_route(gate: &Snapshot, route: &Route) -> String {
    let target = match &route.action {
        Action::Forward(forward) => {
            let name = gate
                .settings
                .upstreams
                .get(forward.upstream.0)
                .map_or("?", |upstream| &upstream.name);
            format!("upstream {name}")
        }
        Action::Respond { status, .. } => format!("respond {}", status.as_u16()),
        Action::Redirect { status, .. } => format!("redirect {}", status.as_u16()),
        Action::Files(files) => format!("files {}", files.dir.display()),
        Action::Provider(door) => format!("sign-in of {}", door.name),
    };
    format!("{} → {target}", route.label)
}

/// Where a credential was, without the credential.
#[must_use]
pub fn told_source(source: &Source) -> String {
    match source {
        Source::Header(name) => format!("header {name}"),
        Source::Cookie(name) => format!("cookie {name}"),
        Source::Query(name) | Source::WebSocketQuery(name) => format!("query parameter {name}"),
        Source::WebSocketProtocol => "Sec-WebSocket-Protocol".to_owned(),
    }
}

fn told_requirement(route: &Route) -> String {
    let rule = &route.requirement;
    let mut parts = Vec::new();
    match rule.admission {
        Admission::Public => return "public: anyone may".to_owned(),
        Admission::Optional => parts.push("a caller may be known".to_owned()),
        Admission::Required => parts.push("a known caller".to_owned()),
    }
    let RoleRule { any, all, none } = &rule.roles;
    for (words, roles) in [
        ("one of the roles", any),
        ("all of the roles", all),
        ("none of the roles", none),
    ] {
        if !roles.is_empty() {
            parts.push(format!("{words} {}", roles.join(", ")));
        }
    }
    if !rule.users.is_empty() {
        parts.push(format!("one of {} users", rule.users.len()));
    }
    for (claim, _) in &rule.claims {
        parts.push(format!("a certain {claim}"));
    }
    format!("wants {}", parts.join(", "))
}
