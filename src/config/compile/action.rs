//! What a route does with a request that is let through: `upstream`, `respond`, `redirect`, `files`.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use http::StatusCode;

use super::context::Context;
use super::headers;
use super::template::{self, Schemes};
use crate::config::problem::Problem;
use crate::config::raw::decode::At;
use crate::config::raw::route as raw;
use crate::config::raw::shapes::OrFalse;
use crate::policy::path::{CanonicalPath, PathPattern};
use crate::policy::route::{Action, Files, Forward, UpstreamId};

/// The keys of a route that say what it does.
pub(super) struct Parts {
    pub(super) upstream: Option<At<String>>,
    pub(super) respond: Option<At<raw::Respond>>,
    pub(super) redirect: Option<At<raw::Redirect>>,
    pub(super) files: Option<At<raw::Files>>,
    pub(super) strip_prefix: Option<At<String>>,
    pub(super) add_prefix: Option<At<String>>,
    pub(super) timeout: Option<At<Duration>>,
}

pub(super) fn compile(
    at: &str,
    parts: Parts,
    pattern: Option<&PathPattern>,
    upstreams: &[String],
    cx: &mut Context<'_>,
) -> Option<Action> {
    check_one(at, &parts, cx);
    let prefix = pattern.map(PathPattern::literal_prefix).unwrap_or_default();
    let strip_prefix = parts.strip_prefix.and_then(|text| {
        let strip = self::prefix(&text, cx)?;
        if pattern.is_some() && !covers(prefix, &strip) {
            let problem = text.wrong("is not the front of the route's path");
            cx.error(problem.allowed(format!("the front of {prefix:?}, in whole segments")));
        }
        Some(strip)
    });
    let add_prefix = parts.add_prefix.and_then(|text| self::prefix(&text, cx));
    let timeout = parts.timeout.map(|timeout| cx.positive(Some(timeout)));
    if let Some(name) = parts.upstream {
        let upstream = cx.named(&name, "upstream", upstreams).map(UpstreamId)?;
        return Some(Action::Forward(Forward {
            upstream,
            strip_prefix,
            add_prefix,
            timeout,
            sign_in: None,
        }));
    }
    if let Some(raw) = parts.respond {
        return Some(respond(raw, cx));
    }
    if let Some(raw) = parts.redirect {
        return redirect(raw, cx);
    }
    parts.files.and_then(|raw| files(raw, prefix, cx))
}

/// Exactly one action, and keys that only forwarding uses beside it alone.
fn check_one(at: &str, parts: &Parts, cx: &mut Context<'_>) {
    let actions = [
        ("upstream", parts.upstream.is_some()),
        ("respond", parts.respond.is_some()),
        ("redirect", parts.redirect.is_some()),
        ("files", parts.files.is_some()),
    ];
    let there: Vec<_> = actions.iter().filter(|(_, there)| *there).collect();
    match there.as_slice() {
        [] => {
            let noted =
                |(name, _): &(&str, bool)| !cx.problems.is_silent_about(&format!("{at}.{name}"));
            if !actions.iter().any(noted) {
                let message = "says nothing about what to do with a request";
                let allowed = "one of `upstream`, `respond`, `redirect` and `files`";
                cx.error(Problem::new(at, message).allowed(allowed));
            }
        }
        [_] => {}
        [first, second, ..] => {
            let message = format!("cannot stand beside `{}`: a route does one thing", first.0);
            let problem = Problem::new(format!("{at}.{}", second.0), message);
            cx.error(problem.allowed("one of `upstream`, `respond`, `redirect` and `files`"));
        }
    }
    if parts.upstream.is_some() || there.is_empty() {
        return;
    }
    let forwarding = [
        parts.strip_prefix.as_ref().map(|at| &at.key),
        parts.add_prefix.as_ref().map(|at| &at.key),
        parts.timeout.as_ref().map(|at| &at.key),
    ];
    for key in forwarding.into_iter().flatten() {
        cx.error(Problem::new(
            key.as_str(),
            "does something only beside `upstream`",
        ));
    }
}

/// A prefix without its trailing slash.
fn prefix(text: &At<String>, cx: &mut Context<'_>) -> Option<Box<str>> {
    let path = text.value.strip_suffix('/').unwrap_or(&text.value);
    let judged = CanonicalPath::parse(path, false);
    let plain = !path.contains(['?', '#', '{', '}', '%', ' ']) && path.is_ascii();
    match judged {
        Ok(_) if plain => Some(path.into()),
        Ok(_) => {
            cx.error(
                text.wrong("is not a prefix")
                    .allowed("a plain path such as \"/api\""),
            );
            None
        }
        Err(error) => {
            let problem = text.wrong(format!("is not a prefix: {error}"));
            cx.error(problem.allowed("a plain path such as \"/api\""));
            None
        }
    }
}

/// Whether `strip` is the front of `literal`, ending at a segment.
fn covers(literal: &str, strip: &str) -> bool {
    literal
        .strip_prefix(strip)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn status(
    raw: Option<At<u64>>,
    default: StatusCode,
    fits: fn(StatusCode) -> bool,
    allowed: &str,
    cx: &mut Context<'_>,
) -> StatusCode {
    let Some(raw) = raw else { return default };
    let status = u16::try_from(raw.value).ok();
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    status.filter(|status| fits(*status)).unwrap_or_else(|| {
        let problem = raw.problem("is not a status that can stand here");
        cx.error(problem.found(raw.value.to_string()).allowed(allowed));
        default
    })
}

fn respond(raw: At<raw::Respond>, cx: &mut Context<'_>) -> Action {
    let raw = raw.value;
    let final_ = |status: StatusCode| (200..600).contains(&status.as_u16());
    let status = status(raw.status, StatusCode::OK, final_, "200 to 599", cx);
    let bare = matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    );
    if let Some(body) = &raw.body
        && bare
        && !body.value.is_empty()
    {
        cx.error(body.problem(format!(
            "must be empty: an answer with {status} has no body"
        )));
    }
    let refuses = |name: &http::HeaderName| {
        headers::is_reserved(name).then_some("is set by the gateway alone")
    };
    let set = raw.headers.map(|headers| headers.value).unwrap_or_default();
    Action::Respond {
        status,
        headers: headers::values(set, refuses, cx),
        body: raw.body.map(|body| body.value).unwrap_or_default().into(),
    }
}

fn redirect(raw: At<raw::Redirect>, cx: &mut Context<'_>) -> Option<Action> {
    let At { key, value: raw } = raw;
    let redirects = |status: StatusCode| matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let allowed = "301, 302, 303, 307, 308";
    let status = status(raw.status, StatusCode::FOUND, redirects, allowed, cx);
    let Some(to) = raw.to else {
        cx.lacks(&key, "to", None);
        return None;
    };
    let to = template::target(&to, Schemes::HttpOrHttps, cx)?;
    Some(Action::Redirect { to, status })
}

fn files(raw: At<raw::Files>, prefix: &str, cx: &mut Context<'_>) -> Option<Action> {
    let At { key, value: raw } = raw;
    let Some(dir) = raw.dir else {
        cx.lacks(&key, "dir", None);
        return None;
    };
    let folder = cx.path(&dir);
    if !folder.is_dir() {
        cx.error(dir.wrong(format!("there is no folder {}", folder.display())));
    }
    let index = raw.index.map_or_else(
        || "index.html".to_owned(),
        |index| {
            if !is_inside(Path::new(&index.value)) || index.value.contains('/') {
                cx.error(index.wrong("is not the name of a file"));
            }
            index.value
        },
    );
    let fallback = match raw.fallback.map(|fallback| fallback.value) {
        None => Some(PathBuf::from("index.html")),
        Some(OrFalse::Off) => None,
        Some(OrFalse::On(path)) => {
            if !is_inside(Path::new(&path.value)) {
                cx.error(
                    path.wrong("is not a file inside `dir`")
                        .allowed("a relative path without .."),
                );
            }
            Some(PathBuf::from(path.value))
        }
    };
    Some(Action::Files(Files {
        dir: folder,
        index,
        fallback,
        prefix: prefix.into(),
    }))
}

fn is_inside(path: &Path) -> bool {
    let mut parts = path.components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}
