//! `health` and `eject` of `[upstream.NAME]`: when a server is left out.

use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;

use super::context::Context;
use super::upstream::authority;
use crate::config::raw::decode::At;
use crate::config::raw::doors;
use crate::config::raw::shapes::OrFalse;
use crate::config::settings::{Eject, HealthCheck};

/// Checks come no closer together than this, and time limits are no shorter.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest time of a key here.
const LONGEST: Duration = Duration::from_hours(1);
/// Between two checks, where the file does not say.
const EVERY: Duration = Duration::from_secs(5);
/// For one check, where the file does not say.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Checks passed in a row, where the file does not say.
const HEALTHY: u32 = 2;
/// Checks failed in a row, where the file does not say.
const UNHEALTHY: u32 = 3;
/// The most that a count of checks or failures may be.
const MOST: u32 = 1000;

/// `None` where it has no path that can be asked for, which was noted.
pub(super) fn check(raw: At<doors::Health>, cx: &mut Context<'_>) -> Option<HealthCheck> {
    let At { key, value: raw } = raw;
    if raw.path.is_none() {
        cx.lacks(
            &key,
            "path",
            Some("the path to ask for, such as \"/health/\""),
        );
    }
    let target = raw.path.as_ref().and_then(|path| target(path, cx));
    let host = raw.host.as_ref().and_then(|host| {
        let value = authority(&host.value);
        if value.is_none() {
            let problem = host.wrong("is not a host");
            cx.error(problem.allowed("the name to send, such as \"app.example.com\""));
        }
        value
    });
    let every = cx.bounded(raw.every, EVERY, SHORTEST..=LONGEST);
    let timeout = cx.bounded(raw.timeout, TIMEOUT, SHORTEST..=LONGEST);
    let mut count = |given: Option<At<u64>>, default| {
        given.map_or(default, |given| cx.number(Some(given), 1..=MOST))
    };
    let (healthy, unhealthy) = (count(raw.healthy, HEALTHY), count(raw.unhealthy, UNHEALTHY));
    Some(HealthCheck {
        target: target?,
        host,
        every,
        timeout,
        healthy,
        unhealthy,
    })
}

fn target(path: &At<String>, cx: &mut Context<'_>) -> Option<Uri> {
    let parsed = PathAndQuery::try_from(path.value.as_str()).ok();
    let fits = path.value.starts_with('/') && !path.value.contains('#');
    let target = parsed.filter(|_| fits).map(Uri::from);
    if target.is_none() {
        let problem = path.wrong("is not a path to ask for");
        cx.error(problem.allowed("one that begins with /, such as \"/health/\""));
    }
    target
}

/// `None` where servers are not left out for failing requests.
pub(super) fn eject(raw: OrFalse<doors::Eject>, cx: &mut Context<'_>) -> Option<Eject> {
    let OrFalse::On(At { value: raw, .. }) = raw else {
        return None;
    };
    Some(Eject {
        failures: cx.number(raw.failures, 1..=MOST),
        // A default stands where none is given.
        time: cx.bounded(raw.time, SHORTEST, SHORTEST..=LONGEST),
    })
}
