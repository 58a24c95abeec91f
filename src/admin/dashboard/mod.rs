//! The dashboard: one page of HTML made here, whole without scripts, and kept fresh by one.
//!
//! What changes is made of [`Section`]s: the page holds them as they were when it was asked for, and the
//! script puts those of each event in their place. So there is one maker of markup, and all text gets
//! through its escaping.

mod chart;
mod html;
mod people;
mod refusals;
mod tables;
mod traffic;

use std::sync::Arc;

use html::{Html, Tone};

use super::board::RouteAnswer;
use super::causes::Cause;
use super::sessions::Found;
use super::status::Status;
use crate::telemetry::{History, OpenNow, Refusal};

/// What the page looks like.
pub(super) const STYLE: &str = include_str!("style.css");
/// What keeps it fresh.
pub(super) const SCRIPT: &str = include_str!("dashboard.js");
/// Its icon.
pub(super) const ICON: &str = include_str!("icon.svg");

/// What the sections are made of.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) status: &'a Status,
    pub(super) open: OpenNow,
    pub(super) history: &'a History,
    pub(super) routes: &'a [RouteAnswer],
    /// Routes that are not among them.
    pub(super) more_routes: usize,
    pub(super) causes: &'a [Cause],
    /// The newest first.
    pub(super) latest: &'a [Arc<Refusal>],
    /// As TOML.
    pub(super) configuration: &'a str,
}

/// A part of the page that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// Its place on the page.
    pub(super) name: &'static str,
    /// Its markup.
    pub(super) html: String,
}

/// Makes a part of the page.
type Maker = fn(&Facts<'_>, &mut Html);

/// The parts that change, in the order of the page.
const PARTS: [(&str, Maker); 9] = [
    ("state", state),
    ("attention", attention),
    ("now", traffic::now),
    ("charts", traffic::charts),
    ("refusals", refusals::all),
    ("routes", tables::routes),
    ("servers", tables::servers),
    ("keys", tables::keys),
    ("configuration", tables::configuration),
];

/// The page's chapters: anchor, title, and the parts in it.
const CHAPTERS: [(&str, &str, &[&str]); 6] = [
    ("traffic", "Traffic", &["now", "charts"]),
    ("refusals", "Refusals", &["refusals"]),
    ("routes", "Routes", &["routes"]),
    ("servers", "Servers of the apps", &["servers"]),
    ("keys", "Certificates, keys and stores", &["keys"]),
    ("configuration", "Configuration", &["configuration"]),
];

/// The parts that change, as they are now.
pub(super) fn sections(facts: &Facts<'_>) -> Vec<Section> {
    let made = PARTS.iter().map(|(name, make)| {
        let mut part = Html::default();
        make(facts, &mut part);
        Section {
            name,
            html: part.into_string(),
        }
    });
    made.collect()
}

/// The whole page: the parts that change, and the sessions that were asked for.
pub(super) fn page(sections: &[Section], found: &Found) -> String {
    let mut page = Html::default();
    page.markup(concat!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
        "<meta name=\"color-scheme\" content=\"light dark\">",
        "<title>Portcullis</title><link rel=\"icon\" href=\"/icon.svg\" type=\"image/svg+xml\">",
        "<link rel=\"stylesheet\" href=\"/style.css\"><script src=\"/dashboard.js\" defer></script></head>\n",
        "<body><a class=\"skip\" href=\"#main\">To the content</a>\n<header><div class=\"bar\">",
        "<h1>Portcullis</h1><p id=\"line\" role=\"status\">As it was when the page was loaded.</p></div>",
        "<nav aria-label=\"On this page\"><ul>",
    ));
    for (anchor, title, _) in CHAPTERS {
        link(&mut page, anchor, title);
    }
    link(&mut page, "sessions", "Sessions");
    page.markup("</ul></nav></header>\n<main id=\"main\" tabindex=\"-1\">");
    part(&mut page, sections, "state");
    page.markup("<div aria-live=\"polite\">");
    part(&mut page, sections, "attention");
    page.markup("</div>\n");
    for (anchor, title, parts) in CHAPTERS {
        open(&mut page, anchor, title);
        for name in parts {
            part(&mut page, sections, name);
        }
        page.markup("</section>\n");
    }
    open(&mut page, "sessions", "Sessions");
    people::all(found, &mut page);
    page.markup("</section></main></body></html>\n");
    page.into_string()
}

fn link(page: &mut Html, anchor: &'static str, title: &'static str) {
    page.markup("<li><a href=\"#")
        .markup(anchor)
        .markup("\">")
        .markup(title)
        .markup("</a></li>");
}

fn open(page: &mut Html, anchor: &'static str, title: &'static str) {
    page.markup("<section id=\"")
        .markup(anchor)
        .markup("\" aria-labelledby=\"title-")
        .markup(anchor)
        .markup("\"><h2 id=\"title-")
        .markup(anchor)
        .markup("\">")
        .markup(title)
        .markup("</h2>");
}

fn part(page: &mut Html, sections: &[Section], name: &str) {
    let Some(section) = sections.iter().find(|section| section.name == name) else {
        return;
    };
    page.markup("<div data-part=\"")
        .markup(section.name)
        .markup("\">")
        .section(section)
        .markup("</div>");
}

/// What runs, and since when.
fn state(facts: &Facts<'_>, page: &mut Html) {
    let status = facts.status;
    page.markup("<p class=\"state\">");
    match (status.ready, status.draining) {
        (_, true) => page.mark(Tone::Warning, "stopping"),
        (true, false) => page.mark(Tone::Good, "ready"),
        (false, false) => page.mark(Tone::Bad, "not ready"),
    };
    page.text(format_args!(" Version {}. Now ", status.version));
    page.time(&status.now);
    page.markup(", started ");
    page.time(&status.started);
    page.markup(".</p>");
}

/// What someone should look at.
fn attention(facts: &Facts<'_>, page: &mut Html) {
    let status = facts.status;
    for known in &status.secret_changes {
        page.markup("<p class=\"alarm\" role=\"alert\">")
            .text(&known.question)
            .markup("</p>");
    }
    for warning in &status.warnings {
        page.markup("<p class=\"attention\">")
            .text(warning)
            .markup("</p>");
    }
    if status.warnings.is_empty() && status.secret_changes.is_empty() {
        page.markup("<p class=\"fine\">Nothing needs attention.</p>");
    }
}

#[cfg(test)]
mod tests;
