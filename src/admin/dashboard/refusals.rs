//! Refusals: by code with an explanation, and the last ones one by one.

use super::Facts;
use super::html::{Cell, Html, Tone, grouped};
use crate::admin::causes::{Cause, MINUTES};
use crate::telemetry::Refusal;

/// Refusals of the last minutes by code, and the last ones.
pub(super) fn all(facts: &Facts<'_>, page: &mut Html) {
    page.markup("<h3>By code, in the last ")
        .text(MINUTES)
        .markup(" minutes</h3>");
    if facts.causes.is_empty() {
        page.markup("<p class=\"none\">Nothing was refused.</p>");
    } else {
        page.markup("<ul class=\"causes\">");
        for known in facts.causes {
            cause(known, page);
        }
        page.markup("</ul>");
    }
    if facts.latest.is_empty() {
        return;
    }
    page.markup("<details id=\"last-refusals\"><summary>The last ones, one by one</summary>");
    let rows = facts.latest.iter().map(|known| row(known));
    let columns = [
        "Time",
        "Code",
        "Request",
        "Route",
        "User",
        "Why",
        "Request id",
    ];
    page.table("The last refusals", columns, rows);
    page.markup("<p class=\"note\"><a href=\"/api/refusals\">More as JSON</a>; <code>portcullis why REQUEST_ID</code> explains any of them.</p></details>");
}

fn cause(known: &Cause, page: &mut Html) {
    // The id lets the script know it again, wherever it moves; codes are letters and `_`.
    page.markup("<li id=\"cause-")
        .text(known.code)
        .markup("\"><details><summary><span class=\"count\">")
        .text(grouped(known.refused + known.observed))
        .markup("</span> <code>")
        .text(known.code)
        .markup("</code> <span>")
        .text(format_args!("{} ({}).", known.title, known.status))
        .markup("</span>");
    if known.observed > 0 {
        page.markup(" ").mark(
            Tone::Warning,
            format_args!("{} let pass by observe", grouped(known.observed)),
        );
    }
    if let Some(last) = &known.last_seen {
        page.markup(" <span class=\"last\">last ");
        page.time(last);
        page.markup("</span>");
    }
    page.markup("</summary>");
    match (&known.example, &known.explanation) {
        (Some(example), Some(explanation)) => {
            page.markup("<p>The last one, request <code>")
                .text(&example.request_id)
                .markup("</code>, as <code>portcullis why</code> tells it:</p><pre tabindex=\"0\">")
                .text(explanation)
                .markup("</pre>");
        }
        _ => {
            page.markup("<p>None of them is remembered any more; the log has them.</p>");
        }
    }
    page.markup("</details></li>");
}

fn row(known: &Refusal) -> [Cell; 7] {
    let note = known.note.as_deref();
    let why = [Some(&*known.detail), note].into_iter().flatten();
    [
        Cell::Time(known.at.to_string()),
        if known.observed {
            Cell::Mark(Tone::Warning, format!("{} (let pass)", known.code))
        } else {
            Cell::Code(known.code.to_string())
        },
        Cell::Code(format!("{} {}{}", known.method, known.host, known.path)),
        Cell::Code(known.route.as_deref().unwrap_or_default().to_owned()),
        Cell::Words(known.user.as_deref().unwrap_or_default().to_owned()),
        Cell::Lines(why.map(str::to_owned).collect()),
        Cell::Code(known.request_id.to_string()),
    ]
}
