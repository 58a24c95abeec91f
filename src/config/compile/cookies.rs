//! `cookies` of an upstream: attributes that the app's cookies should have had.

use std::time::Duration;

use super::auth::is_token;
use super::context::Context;
use crate::config::raw::decode::At;
use crate::config::raw::doors;
use crate::config::settings::{CookieRepair, SameSite};

/// Browsers keep no cookie longer (RFC 6265bis §5.5).
const LONGEST: Duration = Duration::from_hours(400 * 24);

/// In the order written.
pub(super) fn compile(
    raw: Option<At<doors::CookieRepairs>>,
    cx: &mut Context<'_>,
) -> Vec<CookieRepair> {
    let Some(raw) = raw else {
        return Vec::new();
    };
    if raw.value.0.is_empty() {
        cx.error(raw.problem("must not be empty: leave it out where cookies are right"));
    }
    let mut repairs: Vec<CookieRepair> = Vec::with_capacity(raw.value.0.len());
    for At { key, value } in raw.value.0 {
        let at = At { key, value: () };
        let repair = repair(&at, value, cx);
        check_reached(&at, &repair, &repairs, cx);
        repairs.push(repair);
    }
    repairs
}

fn repair(at: &At<()>, raw: doors::CookieRepair, cx: &mut Context<'_>) -> CookieRepair {
    let words = &[
        ("strict", SameSite::Strict),
        ("lax", SameSite::Lax),
        ("none", SameSite::None),
    ];
    let max_age = raw.max_age.map(|given| {
        cx.bounded(
            Some(given),
            Duration::ZERO,
            Duration::from_secs(1)..=LONGEST,
        )
    });
    let repair = CookieRepair {
        secure: raw.secure.map(|at| at.value),
        http_only: raw.http_only.map(|at| at.value),
        same_site: cx.word(raw.same_site.as_ref(), words),
        max_age,
        domain: raw.domain.map(|text| domain(&text, cx)),
        name: raw.name.map(|text| name(text, cx)),
    };
    check_sense(at, &repair, raw.same_site.is_some(), cx);
    repair
}

fn name(text: At<String>, cx: &mut Context<'_>) -> Box<str> {
    if !is_token(&text.value) {
        cx.error(text.wrong("is not a name for a cookie"));
    }
    text.value.into()
}

/// A domain as `Domain` takes it (RFC 6265bis §4.1.2.3); the empty one takes the attribute off.
fn domain(text: &At<String>, cx: &mut Context<'_>) -> Box<str> {
    // A dot before it means nothing to browsers.
    let name = text.value.strip_prefix('.').unwrap_or(&text.value);
    let is_label = |label: &str| {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let edges = label.starts_with('-') || label.ends_with('-');
        !label.is_empty() && label.len() <= 63 && label.bytes().all(inside) && !edges
    };
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    let is_domain = name.len() <= 253 && name.split('.').all(is_label) && !is_address;
    if !text.value.is_empty() && !is_domain {
        let allowed = "\"\" for none, or a domain such as \"example.com\"";
        cx.error(text.wrong("is not a domain").allowed(allowed));
    }
    name.to_lowercase().into()
}

/// What no browser would take is a mistake.
fn check_sense(at: &At<()>, repair: &CookieRepair, has_same_site: bool, cx: &mut Context<'_>) {
    let unchanged = CookieRepair {
        name: repair.name.clone(),
        ..CookieRepair::default()
    };
    if *repair == unchanged && !has_same_site {
        let allowed = "secure, http_only, same_site, max_age, domain";
        cx.error(at.problem("changes nothing").allowed(allowed));
    }
    if repair.same_site == Some(SameSite::None) && repair.secure == Some(false) {
        cx.error(at.problem("browsers take same_site = \"none\" with secure = true alone"));
    }
    let name = repair.name.as_deref().unwrap_or_default();
    let is_host = name.starts_with("__Host-");
    if (is_host || name.starts_with("__Secure-")) && repair.secure == Some(false) {
        cx.error(at.problem(format!("browsers take {name} with secure = true alone")));
    }
    let has_domain = repair
        .domain
        .as_deref()
        .is_some_and(|domain| !domain.is_empty());
    if is_host && has_domain {
        cx.error(at.problem(format!("browsers take {name} without a domain alone")));
    }
}

/// The first that fits a cookie's name holds: one behind it would never do.
fn check_reached(
    at: &At<()>,
    repair: &CookieRepair,
    before: &[CookieRepair],
    cx: &mut Context<'_>,
) {
    let covers = |other: &&CookieRepair| other.name.is_none() || other.name == repair.name;
    if let Some(other) = before.iter().find(covers) {
        let message = match &other.name {
            None => "is never reached: one before it holds for every cookie; put that one last"
                .to_owned(),
            Some(name) => format!("is never reached: another one holds for {name}"),
        };
        cx.error(at.problem(message));
    }
}
