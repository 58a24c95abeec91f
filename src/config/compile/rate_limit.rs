//! `[rate_limit.NAME]`, and `rate_limit` of a route.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::context::{Context, check_table_name};
use super::headers::Owned;
use crate::config::places;
use crate::config::problem::{Problem, nearest};
use crate::config::raw;
use crate::config::raw::decode::{At, RawRate};
use crate::config::raw::shapes::{Named, OneOrMany};
use crate::config::settings::LedgerHome;
use crate::policy::limit::{LimitId, Per, Rate, RateLimit};

/// The largest number of a rate and of a burst. Beyond it nothing is limited, and times would not
/// fit.
const MOST: u32 = 1_000_000;

/// What a shared limit needs.
const SHARED: &str = "`store` of [session] as \"redis://…\", \"rediss://…\" or \"postgres://…\"; or \
                      `shared = false`: each gateway counts for itself";

/// What a limit may be counted by.
const PER: &str = "\"ip\", \"user\" or \"header:NAME\"";

/// In the order of the names, with `None` for a limit that is wrong, which is noted.
pub(super) fn compile(
    raw: Named<raw::RateLimit>,
    owned: &Owned,
    cx: &mut Context<'_>,
) -> Vec<(String, Option<Arc<RateLimit>>)> {
    let mut limits = Vec::with_capacity(raw.0.len());
    for (name, At { key, value }) in raw.0 {
        check_table_name(&name, &key, cx);
        let limit = limit(&name, &key, value, owned, cx);
        limits.push((name, limit.map(Arc::new)));
    }
    limits
}

/// Whether gateways are to count together, by a limit that is right or not.
pub(super) fn is_any_shared(raw: Option<&At<Named<raw::RateLimit>>>) -> bool {
    let limits = raw.into_iter().flat_map(|raw| &raw.value.0);
    let mut shared = limits.filter_map(|(_, limit)| limit.value.shared.as_ref());
    shared.any(|shared| shared.value)
}

/// Where gateways count together: in the store of `[session]`, which must be one that they share.
pub(super) fn home(
    limits: &[(String, Option<Arc<RateLimit>>)],
    store: Option<&LedgerHome>,
    cx: &mut Context<'_>,
) -> Option<LedgerHome> {
    let shared = limits.iter().filter_map(|(_, limit)| limit.as_deref());
    let shared: Vec<_> = shared.filter(|limit| limit.shared).collect();
    if shared.is_empty() {
        return None;
    }
    // One that is wrong is told where it stands.
    let home = store?;
    let Some(alone) = alone(home) else {
        return Some(home.clone());
    };
    for limit in shared {
        let key = places::child(&places::child("rate_limit", &limit.name), "shared");
        let message = "is counted in the store of [session], which other gateways do not see";
        let problem = Problem::new(key, message).found(format!("store = {alone}"));
        cx.error(problem.allowed(SHARED));
    }
    None
}

/// What a store is that other gateways do not see, in words; `None` for one that they share.
pub(super) const fn alone(home: &LedgerHome) -> Option<&'static str> {
    match home {
        LedgerHome::Redis(_) | LedgerHome::Postgres(_) => None,
        LedgerHome::Memory => Some("\"memory\", which this gateway has to itself"),
        LedgerHome::File(_) => Some("\"embedded\", a file of this gateway alone"),
    }
}

/// The limits of a route, by their names.
pub(super) fn named(
    raw: Option<At<OneOrMany<String>>>,
    limits: &[(String, Option<Arc<RateLimit>>)],
    cx: &mut Context<'_>,
) -> Vec<LimitId> {
    let Some(At { key, value: list }) = raw else {
        return Vec::new();
    };
    if list.0.is_empty() {
        let message = "must not be empty: it would limit nothing; leave it out";
        cx.error(Problem::new(key, message));
    }
    let names: Vec<_> = limits.iter().map(|(name, _)| name).collect();
    let mut ids = Vec::with_capacity(list.0.len());
    for name in &list.0 {
        let Some(id) = cx.named(name, "rate_limit", &names).map(LimitId) else {
            continue;
        };
        if ids.contains(&id) {
            cx.error(name.wrong("stands in this list twice"));
        }
        ids.push(id);
    }
    ids
}

fn limit(
    name: &str,
    key: &str,
    raw: raw::RateLimit,
    owned: &Owned,
    cx: &mut Context<'_>,
) -> Option<RateLimit> {
    if raw.limit.is_none() {
        cx.lacks(key, "limit", Some("such as \"10/m\""));
    }
    let per = raw.per.and_then(|per| self::per(&per, owned, cx));
    let rate = raw.limit.and_then(|limit| rate(&limit, cx));
    let burst = raw.burst.map(|burst| cx.number(Some(burst), 1..=MOST));
    let rate = rate?;
    // As many as the rate says may come at once, unless the file says otherwise.
    let burst = burst.and_then(NonZeroU32::new).unwrap_or(rate.count);
    Some(RateLimit {
        name: name.into(),
        rate,
        burst,
        per: per?,
        shared: raw.shared.is_some_and(|shared| shared.value),
    })
}

fn rate(limit: &At<RawRate>, cx: &mut Context<'_>) -> Option<Rate> {
    let RawRate(count, unit) = limit.value;
    let known = u32::try_from(count).ok().filter(|count| *count <= MOST);
    let count_of = known.and_then(NonZeroU32::new);
    if count_of.is_none() {
        let problem = limit.problem("the number of the rate is out of range");
        let problem = problem.found(count.to_string());
        cx.error(problem.allowed(format!("1 to {MOST}")));
    }
    Some(Rate {
        count: count_of?,
        unit,
    })
}

fn per(text: &At<String>, owned: &Owned, cx: &mut Context<'_>) -> Option<Per> {
    match text.value.as_str() {
        "ip" => return Some(Per::Ip),
        "user" => return Some(Per::User),
        _ => {}
    }
    let Some(name) = text.value.strip_prefix("header:") else {
        let near = nearest(&text.value, ["ip", "user"]);
        let problem = text.wrong("is not something to count by");
        cx.error(problem.allowed(PER).nearest(near));
        return None;
    };
    let name = At {
        key: text.key.clone(),
        value: name.to_owned(),
    };
    let header = cx.header_name(&name)?;
    if owned.tells_identity(&header) {
        let message = "is filled in by the gateway: what a client sends of it is not believed";
        cx.error(Problem::new(text.key.as_str(), message).allowed("\"user\""));
    }
    Some(Per::Header(header))
}
