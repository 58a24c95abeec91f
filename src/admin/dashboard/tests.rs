//! The page as a whole.

use super::*;
use crate::admin::causes;
use crate::admin::inspect::RouteRow;
use crate::admin::sessions::{SessionPage, SessionRow};
use crate::clock::Timestamp;
use crate::telemetry::{Log, Metrics};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_323_045);

/// What a stranger may send or an app may say.
const HOSTILE: &str = "<script>alert(1)</script>\"'&\u{202e}gpj.exe";

fn session(user: &str) -> SessionRow {
    SessionRow {
        session: "ab".repeat(32),
        user: user.to_owned(),
        handler: "edms".to_owned(),
        client: "192.0.2.7".to_owned(),
        created: NOW.to_string(),
        seen: NOW.to_string(),
        expires: NOW.to_string(),
    }
}

/// The page with this text wherever a text of others stands.
fn rendered(text: &str) -> String {
    let metrics = Metrics::new(Log::none(), NOW);
    let mut status = Status::of(&metrics, false, NOW);
    status.warnings.push(text.to_owned());
    let latest = [causes::tests::refusal(text, "role_missing", 1, text)];
    let history = History::default();
    let row = RouteRow {
        route: text.to_owned(),
        to: text.to_owned(),
        access: text.to_owned(),
        cors: Some(text.to_owned()),
        rules: vec![text.to_owned()],
        observes: true,
    };
    let routes = [RouteAnswer {
        row,
        requests: 1,
        refused: 2,
        observed: 3,
    }];
    let sections = sections(&Facts {
        status: &status,
        open: OpenNow::default(),
        history: &history,
        routes: &routes,
        more_routes: 0,
        causes: &causes::find(&history, &latest, NOW),
        latest: &latest,
        configuration: text,
    });
    let found = Found::Some {
        user: Some(text.to_owned()),
        page: SessionPage {
            sessions: vec![session(text)],
            next: Some(text.to_owned()),
        },
    };
    page(&sections, &found)
}

#[test]
fn nothing_that_others_write_becomes_markup() {
    let (hostile, plain) = (rendered(HOSTILE), rendered("x"));
    for mark in ["<", ">", "\"", "<script", " src=", "\u{202e}"] {
        let count = |page: &str| page.matches(mark).count();
        assert_eq!(count(&hostile), count(&plain), "{mark}");
    }
    assert!(hostile.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
}

#[test]
fn what_is_very_long_is_shown_and_hurts_nobody() {
    let page = rendered(&"<".repeat(10_000));
    assert!(page.len() < 2_000_000 && page.ends_with("</html>\n"));
}

#[test]
fn nothing_is_inline_that_the_policy_of_the_page_would_not_run() {
    let page = rendered("x");
    for inline in [
        " style=",
        " onclick=",
        "<style",
        "javascript:",
        "http://",
        "https://",
    ] {
        assert!(!page.contains(inline), "{inline}");
    }
    assert_eq!(page.matches("<script").count(), 1);
}

#[test]
fn every_part_stands_on_the_page_once() {
    let page = rendered("x");
    for (name, _) in PARTS {
        let place = format!("data-part=\"{name}\"");
        assert_eq!(page.matches(&place).count(), 1, "{name}");
    }
}
