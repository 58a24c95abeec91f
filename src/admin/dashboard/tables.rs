//! Routes, servers, certificates, keys, stores, and the configuration.

use super::Facts;
use super::html::{Cell, Html, Tone};
use crate::admin::status::CertificateRow;
use crate::telemetry::{LastReload, ServerReading};

/// The routes with their rules and counts.
pub(super) fn routes(facts: &Facts<'_>, page: &mut Html) {
    let columns = [
        "Route", "To", "Who may", "CORS", "Rules", "Requests", "Refused", "Observed",
    ];
    let rows = facts.routes.iter().map(|known| {
        let row = &known.row;
        [
            Cell::Code(row.route.clone()),
            Cell::Words(row.to.clone()),
            Cell::Words(row.access.clone()),
            Cell::Words(row.cors.clone().unwrap_or_default()),
            Cell::Lines(row.rules.clone()),
            Cell::Number(known.requests),
            Cell::Number(known.refused),
            if row.observes {
                Cell::Mark(
                    Tone::Warning,
                    format!("{} (refuses nobody)", known.observed),
                )
            } else {
                Cell::Words(String::new())
            },
        ]
    });
    page.table("Routes, in the order in which they win", columns, rows);
    if facts.more_routes > 0 {
        page.markup("<p class=\"note\">And ")
            .text(facts.more_routes)
            .markup(" more: <a href=\"/api/routes\">all as JSON</a>.</p>");
    }
}

/// The servers of the apps.
pub(super) fn servers(facts: &Facts<'_>, page: &mut Html) {
    let columns = [
        "App",
        "Server",
        "State",
        "Under way",
        "Connections",
        "Requests",
        "Failures",
        "Retries",
        "Ejections",
        "Checks failed",
        "Queue timeouts",
    ];
    let rows = facts.status.servers.iter().map(|known| {
        let counts = known.counts;
        [
            Cell::Words(known.upstream.to_string()),
            Cell::Code(known.server.to_string()),
            standing(known),
            Cell::Number(known.in_flight as u64),
            Cell::Number(known.connections as u64),
            Cell::Number(counts.requests),
            Cell::Number(counts.failures),
            Cell::Number(counts.retries),
            Cell::Number(counts.ejections),
            Cell::Number(counts.checks_failed),
            Cell::Number(counts.queue_timeouts),
        ]
    });
    page.table("Servers", columns, rows);
}

/// How a server stands, in words.
fn standing(server: &ServerReading) -> Cell {
    let of_name = server
        .name
        .as_ref()
        .and_then(|name| name.problem.as_deref());
    let problem = server.check_problem.as_deref().or(of_name);
    let (tone, state) = match (server.up, server.state) {
        (true, "returning") => (Tone::Warning, "returning, with a growing share".to_owned()),
        (true, state) if problem.is_none() => (Tone::Good, state.to_owned()),
        (true, state) => (Tone::Warning, state.to_owned()),
        (false, state) => (Tone::Bad, format!("OUT: {state}")),
    };
    let problem = problem.map_or_else(String::new, |problem| format!(" ({problem})"));
    Cell::Mark(tone, state + &problem)
}

/// What orders certificates, where something does.
fn orders(facts: &Facts<'_>, page: &mut Html) {
    let Some(known) = &facts.status.acme else {
        return;
    };
    let next = known.next.clone();
    let row = [
        Cell::Lines(known.domains.clone()),
        Cell::Number(known.issued),
        Cell::Number(known.failed),
        next.map_or_else(|| Cell::Words(String::new()), Cell::Time),
        problem(known.problem.as_deref()),
    ];
    let columns = ["Names", "Issued", "Failed", "Next order", "Problem"];
    page.table("Ordered by ACME", columns, [row].into_iter());
}

/// Certificates, keys that come by URL, stores.
pub(super) fn keys(facts: &Facts<'_>, page: &mut Html) {
    let rows = facts.status.certificates.iter().map(|known| {
        [
            Cell::Code(known.file.clone()),
            Cell::Lines(known.names.clone()),
            Cell::Mark(age(known), known.days_left.to_string()),
            Cell::Time(known.not_after.clone()),
        ]
    });
    page.table(
        "Certificates",
        ["File", "Names", "Days left", "Valid until"],
        rows,
    );
    orders(facts, page);
    let rows = facts.status.jwks.iter().map(|known| {
        let fetched = match known.age_s {
            Some(age) => Cell::Words(format!("{} ago", span(age))),
            None => Cell::Mark(Tone::Bad, "never".to_owned()),
        };
        [
            Cell::Words(known.authenticator.clone()),
            Cell::Number(known.keys as u64),
            fetched,
            Cell::Number(known.failures),
            problem(known.problem.as_deref()),
        ]
    });
    let columns = ["Authenticator", "Keys", "Fetched", "Failures", "Problem"];
    page.table("Keys by URL (JWKS)", columns, rows);
    let rows = facts.status.stores.iter().map(|known| {
        let state = match known.is_up() {
            true if known.answered == 0 => Cell::Words("not asked yet".to_owned()),
            true => Cell::Mark(Tone::Good, "answers".to_owned()),
            false => Cell::Mark(Tone::Bad, "out".to_owned()),
        };
        let mean = known.mean_ms.map(|mean| format!("{mean:.1} ms"));
        [
            Cell::Words(known.store.clone()),
            Cell::Words(known.kind.to_owned()),
            state,
            Cell::Number(known.answered),
            Cell::Number(known.failed),
            Cell::Words(mean.unwrap_or_default()),
            problem(known.problem.as_deref()),
        ]
    });
    let columns = [
        "Store",
        "Kind",
        "State",
        "Answered",
        "Failed",
        "An answer takes",
        "Problem",
    ];
    page.table("Stores of sessions and users", columns, rows);
}

fn age(certificate: &CertificateRow) -> Tone {
    match certificate.days_left {
        ..0 => Tone::Bad,
        _ if certificate.is_worth_a_warning() => Tone::Warning,
        _ => Tone::Good,
    }
}

fn problem(problem: Option<&str>) -> Cell {
    match problem {
        Some(problem) => Cell::Mark(Tone::Bad, problem.to_owned()),
        None => Cell::Words("none".to_owned()),
    }
}

/// Seconds in words; whole minutes from two on, so that a page does not change each second for it.
fn span(seconds: u64) -> String {
    match seconds {
        ..120 => "less than 2 min".to_owned(),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

/// The last reload, and what is in force.
pub(super) fn configuration(facts: &Facts<'_>, page: &mut Html) {
    let configuration = &facts.status.configuration;
    page.markup("<p>In force since ");
    page.time(&configuration.loaded);
    page.markup(". ");
    match &configuration.last_reload {
        Some(last) => reload(last, page),
        None => {
            page.markup("There was no reload.</p>");
        }
    }
    if !facts.configuration.is_empty() {
        page.markup("<details><summary>The configuration in force, without its secrets</summary><pre tabindex=\"0\">")
            .text(facts.configuration)
            .markup("</pre></details>");
    }
}

fn reload(last: &LastReload, page: &mut Html) {
    page.markup("Last reload: ");
    if last.worked {
        page.mark(Tone::Good, "taken up");
    } else {
        page.mark(Tone::Bad, "refused");
    }
    page.text(format_args!(" ({}), ", last.why));
    page.time(&last.time);
    if last.worked {
        page.markup(".</p>");
        return;
    }
    page.markup(". What was in force before it stays.</p><ul class=\"problems\">");
    for problem in &last.problems {
        page.markup("<li><pre>").text(problem).markup("</pre></li>");
    }
    page.markup("</ul>");
    if last.unlisted > 0 {
        page.markup("<p>And ")
            .text(last.unlisted)
            .markup(" more; the log has all.</p>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_changes_by_the_minute() {
        assert_eq!(span(119), "less than 2 min");
        assert_eq!(span(3_599), "59 min");
        assert_eq!(span(90_000), "25 h");
    }
}
