//! The dashboard: one page of plain HTML that renews itself, without a script.

use crate::admin::html::Html;
use crate::admin::pages::RouteAnswer;
use crate::admin::status::Status;
use crate::telemetry::{Refusal, ServerReading};

/// What is on the page.
#[derive(Debug)]
pub(super) struct Dashboard<'a> {
    pub(super) status: &'a Status,
    pub(super) routes: &'a [RouteAnswer],
    pub(super) refusals: &'a [std::sync::Arc<Refusal>],
}

impl Dashboard<'_> {
    /// The page.
    pub(super) fn render(&self) -> String {
        let mut page = Html::default();
        page.markup(concat!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
            "<meta http-equiv=\"refresh\" content=\"10\">",
            "<meta name=\"viewport\" content=\"width=device-width\">",
            "<title>Portcullis</title><link rel=\"stylesheet\" href=\"/style.css\"></head>\n<body>",
        ));
        self.head(&mut page);
        self.routes(&mut page);
        self.servers(&mut page);
        self.certificates(&mut page);
        self.stores(&mut page);
        self.refusals(&mut page);
        page.markup("</body></html>\n");
        page.into_string()
    }

    fn head(&self, page: &mut Html) {
        let status = self.status;
        page.markup("<h1>Portcullis ")
            .text(status.version)
            .markup("</h1>\n<p>");
        page.text(format_args!(
            "Now {}. Started {}. Configuration in force since {}; the last reload {}.",
            status.now,
            status.started,
            status.configuration.loaded,
            if status.configuration.last_reload_worked {
                "worked"
            } else {
                "was REFUSED"
            },
        ));
        page.markup("</p>\n");
        for known in &status.secret_changes {
            page.markup("<p class=\"alarm\" role=\"alert\">")
                .text(&known.question)
                .markup("</p>\n");
        }
        for warning in &status.warnings {
            page.markup("<p class=\"warning\">")
                .text(warning)
                .markup("</p>\n");
        }
        if status.warnings.is_empty() && status.secret_changes.is_empty() {
            page.markup("<p class=\"fine\">Nothing needs attention.</p>\n");
        }
    }

    fn routes(&self, page: &mut Html) {
        let columns = [
            "Route", "To", "Who may", "CORS", "Requests", "Refused", "Observed",
        ];
        let rows = self.routes.iter().map(|known| {
            [
                known.row.route.clone(),
                known.row.to.clone(),
                known.row.access.clone(),
                known.row.cors.clone().unwrap_or_default(),
                known.requests.to_string(),
                known.refused.to_string(),
                if known.row.observes {
                    format!("{} (refuses nobody)", known.observed)
                } else {
                    String::new()
                },
            ]
        });
        page.table("Routes, in the order in which they win", columns, rows);
    }

    fn servers(&self, page: &mut Html) {
        let columns = [
            "App",
            "Server",
            "State",
            "In flight",
            "Connections",
            "Requests",
            "Failures",
            "Retries",
            "Ejections",
            "Queue timeouts",
        ];
        let rows = self.status.servers.iter().map(|known| {
            let counts = known.counts;
            [
                known.upstream.to_string(),
                known.server.to_string(),
                standing(known),
                known.in_flight.to_string(),
                known.connections.to_string(),
                counts.requests.to_string(),
                counts.failures.to_string(),
                counts.retries.to_string(),
                counts.ejections.to_string(),
                counts.queue_timeouts.to_string(),
            ]
        });
        page.table("Servers of the apps", columns, rows);
    }

    fn certificates(&self, page: &mut Html) {
        let rows = self.status.certificates.iter().map(|known| {
            let names = known.names.join(", ");
            [
                known.file.clone(),
                names,
                known.days_left.to_string(),
                known.not_after.clone(),
            ]
        });
        page.table(
            "Certificates",
            ["File", "Names", "Days left", "Valid until"],
            rows,
        );
        self.acme(page);
        if self.status.jwks.is_empty() {
            return;
        }
        let rows = self.status.jwks.iter().map(|known| {
            let age = known
                .age_s
                .map_or_else(|| "never loaded".to_owned(), |age| format!("{age} s ago"));
            let problem = known.problem.clone().unwrap_or_default();
            [
                known.authenticator.clone(),
                known.keys.to_string(),
                age,
                known.failures.to_string(),
                problem,
            ]
        });
        page.table(
            "Keys by URL",
            ["Authenticator", "Keys", "Fetched", "Failures", "Problem"],
            rows,
        );
    }

    fn acme(&self, page: &mut Html) {
        let Some(known) = &self.status.acme else {
            return;
        };
        let row = [
            known.domains.join(", "),
            known.issued.to_string(),
            known.failed.to_string(),
            known.next.clone().unwrap_or_default(),
            known.problem.clone().unwrap_or_default(),
        ];
        let columns = ["Names", "Issued", "Failed", "Next order", "Problem"];
        page.table("Ordered by ACME", columns, [row].into_iter());
    }

    fn stores(&self, page: &mut Html) {
        if self.status.stores.is_empty() {
            return;
        }
        let columns = [
            "Store",
            "Kind",
            "State",
            "Answered",
            "Failed",
            "Milliseconds an answer",
            "Problem",
        ];
        let rows = self.status.stores.iter().map(|known| {
            let mean = known.mean_ms.map(|mean| format!("{mean:.1}"));
            [
                known.store.clone(),
                known.kind.to_owned(),
                if known.is_up() { "answers" } else { "OUT" }.to_owned(),
                known.answered.to_string(),
                known.failed.to_string(),
                mean.unwrap_or_default(),
                known.problem.clone().unwrap_or_default(),
            ]
        });
        page.table("Stores of sessions and users", columns, rows);
    }

    fn refusals(&self, page: &mut Html) {
        let columns = [
            "Time",
            "Code",
            "Request",
            "Route",
            "User",
            "Why",
            "Request id",
        ];
        let rows = self.refusals.iter().map(|known| {
            let observed = if known.observed { " (observed)" } else { "" };
            let note = known
                .note
                .as_deref()
                .map_or_else(String::new, |note| format!("; {note}"));
            [
                known.at.to_string(),
                format!("{}{observed}", known.code),
                format!("{} {}{}", known.method, known.host, known.path),
                known.route.as_deref().unwrap_or_default().to_owned(),
                known.user.as_deref().unwrap_or_default().to_owned(),
                format!("{}{note}", known.detail),
                known.request_id.to_string(),
            ]
        });
        page.table("Recent refusals", columns, rows);
    }
}

/// How a server stands, in words.
fn standing(server: &ServerReading) -> String {
    let state = if server.up {
        server.state.to_owned()
    } else {
        format!("OUT: {}", server.state)
    };
    match &server.check_problem {
        Some(problem) => format!("{state} ({problem})"),
        None => state,
    }
}
