//! Where a redirect leads: text with `{uri}`, `{path}` and `{query}` in it.
//!
//! The host is always the operator's: a request can never choose where its sender is sent
//! (CVE-2021-29652 and its like).

use url::Url;

use super::context::Context;
use crate::config::problem::nearest;
use crate::config::raw::decode::At;
use crate::policy::route::{Template, TemplatePart};

/// What may stand in braces.
const PARTS: &[(&str, TemplatePart)] = &[
    ("uri", TemplatePart::Uri),
    ("path", TemplatePart::Path),
    ("query", TemplatePart::Query),
];

/// The part in words.
const ALLOWED: &str = "{uri} (path and query as one query value), {path}, {query} (with its ?)";

/// Which schemes a whole URL may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Schemes {
    /// `https` alone: a login page.
    Https,
    /// Any redirect.
    HttpOrHttps,
}

/// Parses a target and checks that its host is fixed.
pub(super) fn target(
    text: &At<String>,
    schemes: Schemes,
    cx: &mut Context<'_>,
) -> Option<Template> {
    let outside =
        |letter: char| !letter.is_ascii_graphic() || matches!(letter, '\\' | '"' | '<' | '>');
    if text.value.is_empty() || text.value.contains(outside) {
        let problem = text.wrong("is not an address");
        cx.error(problem.allowed("a path such as \"/login/\", or a whole URL, percent-encoded"));
        return None;
    }
    let template = cut_up(text, cx)?;
    if let Err(why) = check_host(&template, schemes) {
        let allowed = match schemes {
            Schemes::Https => {
                "a path on the same host, or an https:// URL with its host written out"
            }
            Schemes::HttpOrHttps => "a path on the same host, or a URL with its host written out",
        };
        cx.error(text.wrong(why).allowed(allowed));
        return None;
    }
    Some(template)
}

fn cut_up(text: &At<String>, cx: &mut Context<'_>) -> Option<Template> {
    let mut parts = Vec::new();
    let mut rest = text.value.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        if !before.is_empty() {
            parts.push(TemplatePart::Text(before.into()));
        }
        let Some((name, after)) = after.split_once('}') else {
            cx.error(text.wrong("has a { without its }").allowed(ALLOWED));
            return None;
        };
        let Some((_, part)) = PARTS.iter().find(|(known, _)| *known == name) else {
            let near = nearest(name, PARTS.iter().map(|(known, _)| *known));
            let problem = text.wrong(format!("{{{name}}} is not known here"));
            cx.error(problem.allowed(ALLOWED).nearest(near));
            return None;
        };
        parts.push(part.clone());
        rest = after;
    }
    if rest.contains('}')
        || parts
            .iter()
            .any(|part| matches!(part, TemplatePart::Text(text) if text.contains('}')))
    {
        cx.error(text.wrong("has a } without its {").allowed(ALLOWED));
        return None;
    }
    if !rest.is_empty() {
        parts.push(TemplatePart::Text(rest.into()));
    }
    Some(Template(parts))
}

fn check_host(template: &Template, schemes: Schemes) -> Result<(), &'static str> {
    let mut parts = template.0.iter();
    let first = parts.next();
    let next = parts.next();
    match first {
        Some(TemplatePart::Text(text)) if text.starts_with('/') => check_path(text, next),
        Some(TemplatePart::Text(text)) => check_url(text, next, schemes),
        // A path always begins with one `/`: two are refused or merged before.
        Some(TemplatePart::Path) if schemes == Schemes::HttpOrHttps => Ok(()),
        Some(TemplatePart::Path | TemplatePart::Uri | TemplatePart::Query) | None => {
            Err("must begin with a path or a URL")
        }
    }
}

/// `//host` is another host to a browser.
fn check_path(text: &str, next: Option<&TemplatePart>) -> Result<(), &'static str> {
    let joins = text == "/" && matches!(next, Some(TemplatePart::Path));
    if text.starts_with("//") || joins {
        return Err("must not begin with //: a browser reads a host there");
    }
    Ok(())
}

fn check_url(
    text: &str,
    next: Option<&TemplatePart>,
    schemes: Schemes,
) -> Result<(), &'static str> {
    let after = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(after), _) => after,
        (None, Some(after)) if schemes == Schemes::HttpOrHttps => after,
        (None, _) => return Err("is neither a path nor a URL that may stand here"),
    };
    let end = after.find(['/', '?', '#']);
    let is_fixed =
        end.is_some() || matches!(next, None | Some(TemplatePart::Path | TemplatePart::Query));
    let authority = after.get(..end.unwrap_or(after.len())).unwrap_or_default();
    let url = Url::parse(&format!("https://{authority}/"));
    let names_host = url.is_ok_and(|url| url.has_host()) && !authority.contains('@');
    if !is_fixed || !names_host {
        return Err("must have its host written out");
    }
    Ok(())
}
