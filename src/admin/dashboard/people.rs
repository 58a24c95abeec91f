//! The gateway's own sessions: found by user, and revoked.
//!
//! Looking for them is a form that works without a script. A revocation is a `POST` of JSON, which
//! only the script sends; without it there is the command.

use super::html::{Cell, Html};
use crate::admin::sessions::{Found, SessionRow};

/// The form, and what was found.
pub(super) fn all(found: &Found, page: &mut Html) {
    page.markup("<div id=\"found\">");
    match found {
        Found::NoneKept(words) => {
            page.markup("<p class=\"none\">").text(words).markup("</p>");
        }
        Found::Unknown { user, problem } => {
            form(user.as_deref(), page);
            page.markup("<p class=\"attention\">The sessions cannot be told: ")
                .text(problem)
                .markup("</p>");
        }
        Found::Some { user, page: some } => {
            form(user.as_deref(), page);
            listed(user.as_deref(), &some.sessions, page);
            if let Some(next) = &some.next {
                page.markup("<p><a class=\"more\" href=\"/?user=")
                    .text(encoded(user.as_deref().unwrap_or_default()))
                    .markup("&amp;after=")
                    .text(encoded(next))
                    .markup("#sessions\">Further ones</a></p>");
            }
        }
    }
    page.markup(concat!(
        "</div><p id=\"said\" role=\"status\" tabindex=\"-1\"></p>",
        "<noscript><p class=\"note\">Revoking wants a script here, or ",
        "<code>portcullis sessions revoke</code>.</p></noscript>",
        "<dialog id=\"sure\" aria-labelledby=\"sure-words\"><form method=\"dialog\"><p id=\"sure-words\"></p>",
        "<p class=\"buttons\"><button value=\"no\">Leave it</button>",
        "<button value=\"yes\" class=\"danger\">Revoke</button></p></form></dialog>",
    ));
}

fn encoded(text: &str) -> percent_encoding::PercentEncode<'_> {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}

fn form(user: Option<&str>, page: &mut Html) {
    page.markup(concat!(
        "<form class=\"search\" role=\"search\" action=\"/#sessions\" method=\"get\">",
        "<label for=\"user\">User, as the app names them</label>",
        "<input id=\"user\" name=\"user\" autocomplete=\"off\" spellcheck=\"false\" value=\"",
    ))
    .text(user.unwrap_or_default())
    .markup("\"><button>Look</button>");
    if let Some(user) = user.filter(|user| !user.is_empty()) {
        page.markup(
            "<button type=\"button\" class=\"danger\" hidden data-revoke=\"user\" data-name=\"",
        )
        .text(user)
        .markup("\">Revoke all of this user</button>");
    }
    page.markup("</form>");
}

fn listed(user: Option<&str>, sessions: &[SessionRow], page: &mut Html) {
    if sessions.is_empty() {
        page.markup("<p class=\"none\">No session");
        if let Some(user) = user.filter(|user| !user.is_empty()) {
            page.markup(" of ").text(user);
        }
        page.markup(".</p>");
        return;
    }
    page.markup("<div class=\"scroll\"><table role=\"table\"><caption>Sessions that live</caption><thead role=\"rowgroup\"><tr role=\"row\">");
    for column in [
        "User", "Began", "Seen", "Ends", "From", "Made by", "Session", "Revoke",
    ] {
        page.markup("<th role=\"columnheader\" scope=\"col\">")
            .text(column)
            .markup("</th>");
    }
    page.markup("</tr></thead><tbody role=\"rowgroup\">");
    for session in sessions {
        page.markup("<tr role=\"row\">");
        for (label, cell) in [
            ("User", Cell::Words(session.user.clone())),
            ("Began", Cell::Time(session.created.clone())),
            ("Seen", Cell::Time(session.seen.clone())),
            ("Ends", Cell::Time(session.expires.clone())),
            ("From", Cell::Code(session.client.clone())),
            ("Made by", Cell::Lines(vec![session.handler.clone()])),
        ] {
            page.cell(label, cell);
        }
        page.markup("<td role=\"cell\" data-label=\"Session\" class=\"code short\"><span>")
            .text(session.session.get(..12).unwrap_or(&session.session))
            .markup("…</span></td><td role=\"cell\" data-label=\"Revoke\"><button type=\"button\" class=\"danger\" hidden data-revoke=\"session\" data-name=\"")
            .text(&session.session)
            .markup("\" data-user=\"")
            .text(&session.user)
            .markup("\" aria-label=\"Revoke the session of ")
            .text(&session.user)
            .markup(" that began at ")
            .text(&session.created)
            .markup("\">Revoke</button></td></tr>");
    }
    page.markup("</tbody></table></div>");
}
