//! `[security_headers]`: off until the table is there, then each on unless it says `false`.

use std::time::Duration;

use http::header::{
    CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderName, HeaderValue};

use super::context::Context;
use crate::config::raw::decode::At;
use crate::config::raw::shapes::OrFalse;
use crate::config::raw::{self};
use crate::policy::security_headers::SecurityHeaders;

/// How long browsers keep to https unless the file says otherwise.
const HSTS: Duration = Duration::from_hours(365 * 24);

/// The policies of the Referrer Policy recommendation §3.
const REFERRER: &[&str] = &[
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
];

pub(super) fn compile(
    raw: Option<At<raw::SecurityHeaders>>,
    cx: &mut Context<'_>,
) -> SecurityHeaders {
    let Some(At { value: raw, .. }) = raw else {
        return SecurityHeaders::default();
    };
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    let preload = raw.hsts_preload;
    let subdomains = raw.hsts_subdomains.is_some_and(|on| on.value);
    if let Some(value) = hsts(raw.hsts, subdomains, preload, cx) {
        headers.push((STRICT_TRANSPORT_SECURITY, value));
    }
    if raw.nosniff.is_none_or(|on| on.value) {
        headers.push((X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
    }
    let frames = &[("DENY", "DENY"), ("SAMEORIGIN", "SAMEORIGIN")];
    if let Some(value) = choice(raw.frame, "DENY", frames, cx) {
        headers.push((X_FRAME_OPTIONS, HeaderValue::from_static(value)));
    }
    let policies: Vec<_> = REFERRER.iter().map(|word| (*word, *word)).collect();
    if let Some(value) = choice(
        raw.referrer,
        "strict-origin-when-cross-origin",
        &policies,
        cx,
    ) {
        headers.push((REFERRER_POLICY, HeaderValue::from_static(value)));
    }
    if let Some(OrFalse::On(text)) = raw.content_security_policy.map(|at| at.value) {
        headers.extend(
            cx.header_value(&text)
                .map(|value| (CONTENT_SECURITY_POLICY, value)),
        );
    }
    SecurityHeaders { headers }
}

/// One of a few words, `default` where none is given.
fn choice(
    raw: Option<At<OrFalse<String>>>,
    default: &'static str,
    words: &[(&str, &'static str)],
    cx: &mut Context<'_>,
) -> Option<&'static str> {
    match raw.map(|raw| raw.value) {
        None => Some(default),
        Some(OrFalse::Off) => None,
        Some(OrFalse::On(word)) => cx.word(Some(&word), words),
    }
}

/// RFC 6797 §6.1, and what hstspreload.org asks of those that are built into browsers.
fn hsts(
    raw: Option<At<OrFalse<Duration>>>,
    subdomains: bool,
    preload: Option<At<bool>>,
    cx: &mut Context<'_>,
) -> Option<HeaderValue> {
    let preload = preload.filter(|on| on.value);
    let age = match raw.map(|raw| raw.value) {
        None => HSTS,
        Some(OrFalse::On(age)) => age.value,
        Some(OrFalse::Off) => {
            if let Some(preload) = preload {
                cx.error(preload.problem("does nothing while `hsts` is false"));
            }
            return None;
        }
    };
    if let Some(preload) = &preload
        && (!subdomains || age < HSTS)
    {
        let message = "needs `hsts_subdomains = true` and `hsts` of at least \"365d\"";
        cx.error(preload.problem(message));
    }
    let mut value = format!("max-age={}", age.as_secs());
    if subdomains {
        value.push_str("; includeSubDomains");
    }
    if preload.is_some() {
        value.push_str("; preload");
    }
    HeaderValue::from_str(&value).ok()
}
