//! `[tracing]`: where traces go, and how many.

use url::Url;

use super::context::Context;
use super::jwt_keys::is_loopback;
use crate::config::raw::decode::At;
use crate::config::raw::{self};
use crate::config::settings::Tracing;

/// How many traces are recorded where the file does not say.
const SAMPLE: f64 = 0.1;
/// Where a collector takes traces (OTLP/HTTP).
const TRACES: &str = "v1/traces";

pub(super) fn compile(raw: Option<At<raw::Tracing>>, cx: &mut Context<'_>) -> Option<Tracing> {
    let At { key, value } = raw?;
    let sample = sample(value.sample, cx);
    let Some(otlp) = value.otlp else {
        cx.lacks(&key, "otlp", Some(ALLOWED));
        return None;
    };
    Some(Tracing {
        otlp: address(&otlp, cx)?,
        sample,
    })
}

const ALLOWED: &str =
    "a collector's address, such as \"http://127.0.0.1:4318\", without user, query or fragment";

fn address(text: &At<String>, cx: &mut Context<'_>) -> Option<Url> {
    let url = Url::parse(&text.value).ok().filter(|url| {
        let anonymous = url.username().is_empty() && url.password().is_none();
        let whole = url.has_host() && url.query().is_none() && url.fragment().is_none();
        matches!(url.scheme(), "http" | "https") && anonymous && whole
    });
    let Some(mut url) = url else {
        // Not repeated: it may hold a password.
        let problem = text.problem("is not an address that traces can be sent to");
        cx.error(problem.allowed(ALLOWED));
        return None;
    };
    if url.scheme() == "http" && !is_loopback(&url) {
        let message =
            "traces leave this machine without TLS: paths and hosts can be read on the way";
        cx.warn(text.wrong(message));
    }
    let base = url.path().trim_end_matches('/');
    if !base.ends_with(TRACES) {
        url.set_path(&format!("{base}/{TRACES}"));
    }
    Some(url)
}

fn sample(given: Option<At<f64>>, cx: &mut Context<'_>) -> f64 {
    let Some(given) = given else {
        return SAMPLE;
    };
    if !(0.0..=1.0).contains(&given.value) {
        let problem = given
            .problem("is out of range")
            .found(given.value.to_string());
        cx.error(problem.allowed("0 to 1: 0.1 records one trace in ten"));
    }
    given.value
}
