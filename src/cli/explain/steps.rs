//! What `explain` says beyond the trace of a live request: why this route, which host, and what a
//! page of another origin may read.

use std::borrow::Cow;

use http::HeaderValue;
use http::header::{HOST, ORIGIN};

use crate::cli::ask::Ask;
use crate::cli::foresee::{Foreseen, Outcome};
use crate::gateway::Snapshot;
use crate::policy::cors;
use crate::policy::denial::Code;
use crate::policy::host::{HostPattern, parse_authority};
use crate::policy::path::CanonicalPath;
use crate::policy::pattern::Segment;
use crate::policy::route::Route;
use crate::telemetry::{Step, StepVerdict, Trace};

/// Other routes that are named at most.
const RIVALS: usize = 5;

/// Adds the steps, each at its place.
pub(super) fn add(foreseen: &mut Foreseen, gate: &Snapshot, ask: &Ask) {
    let host = ask.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default();
    let steps = &mut foreseen.trace.steps;
    let door = if ask.peer.tls.is_some() {
        "with TLS"
    } else {
        "without TLS"
    };
    insert_after(steps, "client", passed("host", format!("{host}, {door}")));
    if let Some(shown) = ask
        .peer
        .tls
        .as_ref()
        .and_then(|tls| tls.certificate.as_ref())
    {
        let words = format!("{}, taken as verified by the handshake", shown.subject());
        insert_after(
            steps,
            "host",
            step(StepVerdict::Noted, "certificate", words),
        );
    }
    let host = parse_authority(host).map(|authority| authority.host().to_owned());
    let path = CanonicalPath::parse(ask.uri.path(), gate.policy.merge_slashes);
    if let (Ok(host), Ok(path)) = (host, path) {
        if let Some(route) = &foreseen.route {
            let rivals = rivals(gate, route, &host, &path);
            if let Some(step) = steps.iter_mut().find(|step| step.name == "route") {
                step.words = Cow::Owned([step.words.as_ref(), &rivals].join("\n"));
            }
        } else if is_lost(&foreseen.outcome) {
            let words = lost(gate, &host, &path);
            insert_after(steps, "path", step(StepVerdict::Noted, "route", words));
        }
    }
    if foreseen.websocket {
        let words = "a handshake, which is judged like any request".to_owned();
        insert_after(steps, "route", passed("websocket", words));
    }
    let rule = foreseen
        .route
        .as_ref()
        .and_then(|route| route.cors.as_ref());
    let preflight = cors::is_preflight(&ask.method, &ask.headers) && rule.is_some();
    if preflight && !foreseen.asked {
        // Whoever asks, and without credentials.
        foreseen.trace.steps.retain(|step| step.name != "authorise");
    }
    if let Some(origin) = ask.headers.get(ORIGIN) {
        add_origin(&mut foreseen.trace, foreseen.route.as_deref(), ask, origin);
    }
    add_csrf(foreseen, ask);
}

fn is_lost(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { denial, .. } if denial.code() == Code::NoRoute)
}

/// What a page of that origin may read of the answer.
fn add_origin(trace: &mut Trace, route: Option<&Route>, ask: &Ask, origin: &HeaderValue) {
    let shown = String::from_utf8_lossy(origin.as_bytes())
        .escape_debug()
        .to_string();
    let preflight = cors::is_preflight(&ask.method, &ask.headers);
    let kind = if preflight {
        "a preflight from"
    } else {
        "from"
    };
    let Some(rule) = route.and_then(|route| route.cors.as_ref()) else {
        let words = format!(
            "{kind} {shown}, and no [cors] rule applies: a page of another origin cannot read the answer"
        );
        return insert_before_end(trace, step(StepVerdict::Noted, "cors", words));
    };
    let step = if rule.allows(origin) {
        passed(
            "cors",
            format!("{kind} {shown}, which cors.{} allows", rule.name),
        )
    } else {
        let refusal = rule.refusal(Some(origin));
        let words = format!(
            "{kind} {shown}, which cors.{} does not allow: a page there cannot read the answer\n{}",
            rule.name,
            refusal.operator_note().unwrap_or_default()
        );
        step(StepVerdict::Noted, "cors", words)
    };
    insert_before_end(trace, step);
}

/// Whether the request had to come from the same site, and did.
fn add_csrf(foreseen: &mut Foreseen, ask: &Ask) {
    let Some(route) = foreseen.route.as_deref() else {
        return;
    };
    if !foreseen.by_cookie || ask.method.is_safe() {
        return;
    }
    let refused = matches!(
        &foreseen.outcome,
        Outcome::Refused { denial, .. } if denial.code() == Code::CsrfFailed
    );
    let (verdict, words) = match (route.csrf, refused) {
        (false, _) => (StepVerdict::Noted, "the route has csrf = false"),
        (true, true) => (
            StepVerdict::Refused,
            "a cookie and an unsafe method: it must come from the same site, or from an allowed origin",
        ),
        (true, false) => (
            StepVerdict::Passed,
            "a cookie and an unsafe method, from the same site or an allowed origin",
        ),
    };
    insert_before_end(&mut foreseen.trace, step(verdict, "csrf", words.to_owned()));
}

/// Which other routes would have taken the path, and why this one wins.
fn rivals(gate: &Snapshot, winner: &Route, host: &str, path: &CanonicalPath<'_>) -> String {
    let mut others: Vec<_> = fitting(gate, host, path)
        .filter(|route| route.id != winner.id)
        .collect();
    let count = others.len();
    others.truncate(RIVALS);
    let mut lines: Vec<_> = others
        .iter()
        .map(|other| {
            format!(
                "wins over {}: {}",
                other.label,
                advantage(winner, other, host)
            )
        })
        .collect();
    if count == 0 {
        lines.push("the only route that fits".to_owned());
    } else if count > RIVALS {
        lines.push(format!("and over {} more", count - RIVALS));
    }
    lines.join("\n")
}

/// Why one route wins over another that fits too.
fn advantage(winner: &Route, other: &Route, host: &str) -> &'static str {
    match (host_rank(winner, host), host_rank(other, host)) {
        (one, two) if one > two && one == usize::MAX => return "it names the host",
        (one, two) if one > two && two == 0 => return "its hosts fit, the other takes any",
        (one, two) if one > two => return "its host is more specific",
        _ => {}
    }
    let segments = winner.pattern.segments().iter();
    for (one, two) in segments.zip(other.pattern.segments()) {
        match (one, two) {
            (Segment::Literal(_), Segment::Parameter(_) | Segment::Rest(_)) => {
                return "a literal segment wins over one in braces";
            }
            (Segment::Parameter(_), Segment::Rest(_)) => {
                return "{one segment} wins over {*rest}";
            }
            _ => {}
        }
    }
    let (one, two) = (winner.pattern.segments(), other.pattern.segments());
    if one != two && one.len() < two.len() {
        return "the path ends where its pattern ends";
    }
    if winner.methods.is_some() {
        "it names the method"
    } else {
        "the other does not take the method"
    }
}

/// How specific a route's host is, as far as it fits: any, a wildcard by length, or exact.
fn host_rank(route: &Route, host: &str) -> usize {
    let fitting = route.hosts.iter().filter(|pattern| pattern.matches(host));
    let ranks = fitting.map(|pattern| match pattern {
        HostPattern::Exact(_) => usize::MAX,
        HostPattern::Wildcard(suffix) => suffix.len(),
    });
    ranks.max().unwrap_or(0)
}

/// What is nearest to a request that no route takes.
fn lost(gate: &Snapshot, host: &str, path: &CanonicalPath<'_>) -> String {
    let elsewhere = gate.policy.routes.all().iter();
    let elsewhere = elsewhere.filter(|route| route.pattern.matches(path));
    let labels: Vec<_> = elsewhere
        .take(RIVALS)
        .map(|route| route.label.as_ref())
        .collect();
    if labels.is_empty() {
        let count = super::super::count(gate.policy.routes.all().len(), "route");
        format!("{count} configured, none takes this path")
    } else {
        format!(
            "the path is served, but not on {host}: {}",
            labels.join(", ")
        )
    }
}

/// The routes that take a host and a path, whatever the method.
fn fitting<'g>(
    gate: &'g Snapshot,
    host: &str,
    path: &CanonicalPath<'_>,
) -> impl Iterator<Item = &'g Route> {
    let routes = gate.policy.routes.all().iter().map(AsRef::as_ref);
    routes.filter(move |route: &&Route| {
        let hosts = &route.hosts;
        let on_host = hosts.is_empty() || hosts.iter().any(|pattern| pattern.matches(host));
        on_host && route.pattern.matches(path)
    })
}

fn step(verdict: StepVerdict, name: &'static str, words: String) -> Step {
    Step {
        name: Cow::Borrowed(name),
        verdict,
        words: Cow::Owned(words),
    }
}

fn passed(name: &'static str, words: String) -> Step {
    step(StepVerdict::Passed, name, words)
}

fn insert_after(steps: &mut Vec<Step>, name: &str, step: Step) {
    let at = steps.iter().position(|known| known.name == name);
    steps.insert(at.map_or(0, |at| at + 1), step);
}

/// The refusal stays last.
fn insert_before_end(trace: &mut Trace, step: Step) {
    let last = trace.steps.last();
    let refused = last.is_some_and(|last| last.name == "refused" || last.name == "observe");
    let at = trace.steps.len() - usize::from(refused);
    trace.steps.insert(at, step);
}
