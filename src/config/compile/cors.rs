//! `[cors.NAME]`.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::context::{Context, check_table_name};
use super::route::methods;
use crate::config::places::child;
use crate::config::problem::Problem;
use crate::config::raw::decode::At;
use crate::config::raw::shapes::{Named, Strings};
use crate::config::raw::{self, CorsHeaders};
use crate::policy::cors::{AllowedHeaders, CorsRule, CorsTerms, OriginPattern};

/// In the order of the names, with `None` for a rule that is wrong, which is noted.
pub(super) fn compile(
    raw: Named<raw::Cors>,
    cx: &mut Context<'_>,
) -> Vec<(String, Option<Arc<CorsRule>>)> {
    let mut rules = Vec::with_capacity(raw.0.len());
    for (name, At { key, value }) in raw.0 {
        check_table_name(&name, &key, cx);
        let rule = rule(&name, &key, value, cx);
        rules.push((name, rule.map(Arc::new)));
    }
    rules
}

fn rule(name: &str, key: &str, raw: raw::Cors, cx: &mut Context<'_>) -> Option<CorsRule> {
    if raw.origins.is_none() {
        cx.lacks(
            key,
            "origins",
            Some("a list such as [\"https://app.example.com\"]"),
        );
    }
    let origins = origins(raw.origins, cx);
    let terms = CorsTerms {
        name: name.into(),
        credentials: raw.credentials.is_some_and(|on| on.value),
        methods: methods(raw.methods, cx),
        headers: headers(raw.headers, cx),
        expose: names(raw.expose, cx),
        max_age: raw.max_age.map_or(Duration::ZERO, |age| age.value),
        private_network: raw.private_network.is_some_and(|on| on.value),
        origins: origins?,
    };
    match CorsRule::new(terms) {
        Ok(rule) => Some(rule),
        Err(why) => {
            cx.error(Problem::new(child(key, "origins"), why.to_string()));
            None
        }
    }
}

/// `None` when one of them is wrong, which is noted.
fn origins(raw: Option<At<Strings>>, cx: &mut Context<'_>) -> Option<Vec<OriginPattern>> {
    let list = cx.some_strings(raw, "no origin could call")?;
    let mut origins = Vec::with_capacity(list.len());
    let mut good = true;
    for text in &list {
        match OriginPattern::parse(&text.value) {
            Ok(origin) => origins.push(origin),
            Err(why) => {
                let allowed = "an origin such as \"https://app.example.com\", \
                               \"https://*.example.com\", or \"*\"";
                cx.error(text.wrong(why.to_string()).allowed(allowed));
                good = false;
            }
        }
    }
    good.then_some(origins)
}

fn headers(raw: Option<At<CorsHeaders>>, cx: &mut Context<'_>) -> AllowedHeaders {
    match raw.map(|At { key, value }| (key, value)) {
        Some((_, CorsHeaders::Any)) => AllowedHeaders::Any,
        Some((key, CorsHeaders::Listed(value))) => {
            AllowedHeaders::Listed(names(Some(At { key, value }), cx))
        }
        None => AllowedHeaders::Listed(Vec::new()),
    }
}

/// Header names. An empty list is one.
fn names(raw: Option<At<Strings>>, cx: &mut Context<'_>) -> Vec<HeaderName> {
    let list = cx.strings(raw).map(|list| list.value).unwrap_or_default();
    list.iter()
        .filter_map(|text| cx.header_name(text))
        .collect()
}
