//! `[[expect]]`: the rules as tests.

use http::{HeaderName, StatusCode};
use serde_json::Map;
use url::Url;

use super::context::Context;
use super::headers;
use super::route::method;
use crate::config::problem::nearest;
use crate::config::raw::decode::At;
use crate::config::raw::shapes::Named;
use crate::config::raw::{self};
use crate::policy::denial::Code;
use crate::policy::expect::{Expectation, ExpectedAnswer, ExpectedCaller};

/// How a request is written.
const REQUEST: &str = "a method and a whole URL, such as \"GET https://app.example.com/api/\"";

pub(super) fn compile(
    raw: Option<At<Vec<At<raw::Expect>>>>,
    upstreams: &[String],
    authenticators: &[String],
    cx: &mut Context<'_>,
) -> Vec<Expectation> {
    let list = raw.map(|raw| raw.value).unwrap_or_default();
    list.into_iter()
        .enumerate()
        .filter_map(|(index, raw)| expectation(index, raw, upstreams, authenticators, cx))
        .collect()
}

fn expectation(
    index: usize,
    raw: At<raw::Expect>,
    upstreams: &[String],
    authenticators: &[String],
    cx: &mut Context<'_>,
) -> Option<Expectation> {
    let At {
        key: at,
        value: raw,
    } = raw;
    for (name, is_there) in [
        ("request", raw.request.is_some()),
        ("answer", raw.answer.is_some()),
    ] {
        if !is_there {
            cx.lacks(&at, name, None);
        }
    }
    let request = raw.request.and_then(|request| self::request(&request, cx));
    let caller = raw
        .r#as
        .and_then(|caller| self::caller(caller, authenticators, cx));
    let headers = texts(raw.headers.map(|headers| headers.value), cx);
    let answer = raw.answer.map(|answer| self::answer(answer, upstreams, cx));
    let (method, url) = request?;
    Some(Expectation {
        index,
        method,
        url,
        caller,
        headers,
        answer: answer?,
    })
}

fn request(text: &At<String>, cx: &mut Context<'_>) -> Option<(http::Method, Url)> {
    let (method_text, url) = text.value.split_once(' ').unwrap_or((&text.value, ""));
    let parsed = Url::parse(url.trim_start()).ok();
    let parsed = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = parsed else {
        cx.error(text.wrong("is not a request").allowed(REQUEST));
        return None;
    };
    let name = At {
        key: text.key.clone(),
        value: method_text.to_owned(),
    };
    method(&name, cx).map(|method| (method, url))
}

fn caller(
    raw: At<raw::ExpectAs>,
    authenticators: &[String],
    cx: &mut Context<'_>,
) -> Option<ExpectedCaller> {
    let At { key, value: raw } = raw;
    if raw.user.is_none() {
        cx.lacks(&key, "user", None);
    }
    if let Some(name) = &raw.authenticator {
        cx.named(name, "auth", authenticators);
    }
    let claims = raw.claims.map(|claims| claims.value).unwrap_or_default();
    let roles = raw.roles.map(|roles| roles.value).unwrap_or_default();
    Some(ExpectedCaller {
        user: raw.user?.value,
        roles: roles.into_iter().map(|role| role.value).collect(),
        email: raw.email.map(|email| email.value),
        name: raw.name.map(|name| name.value),
        claims: claims
            .0
            .into_iter()
            .map(|(name, at)| (name, at.value))
            .collect::<Map<_, _>>(),
        authenticator: raw.authenticator.map(|name| name.value),
    })
}

fn answer(
    raw: At<raw::ExpectAnswer>,
    upstreams: &[String],
    cx: &mut Context<'_>,
) -> ExpectedAnswer {
    let At { key, value: raw } = raw;
    let is_empty = raw.status.is_none() && raw.code.is_none() && raw.forward.is_none();
    if is_empty && raw.headers.is_none() {
        let problem = At { key, value: () };
        let problem = problem.problem("must say something: anything would do otherwise");
        cx.error(problem.allowed(raw::ExpectAnswer::KEYS.join(", ")));
    }
    if let Some(name) = &raw.forward {
        cx.named(name, "upstream", upstreams);
        if let Some(code) = &raw.code {
            cx.error(
                code.wrong("cannot stand beside `forward`: a refused request is not forwarded"),
            );
        }
    }
    if let Some(code) = &raw.code {
        check_code(code, cx);
    }
    let status = raw.status.and_then(|raw| {
        let status = u16::try_from(raw.value).ok().filter(|status| *status < 600);
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        if status.is_none() {
            let problem = raw.problem("is not a status").found(raw.value.to_string());
            cx.error(problem.allowed("100 to 599"));
        }
        status
    });
    ExpectedAnswer {
        status,
        code: raw.code.map(|code| code.value),
        forward: raw.forward.map(|name| name.value),
        headers: texts(raw.headers.map(|headers| headers.value), cx),
    }
}

fn check_code(code: &At<String>, cx: &mut Context<'_>) {
    let codes = || Code::ALL.iter().map(|code| code.as_str());
    if !codes().any(|known| known == code.value) {
        let problem = code.wrong("is not a code of a refusal");
        let allowed: Vec<_> = codes().collect();
        let near = nearest(&code.value, codes());
        cx.error(problem.allowed(allowed.join(", ")).nearest(near));
    }
}

fn texts(raw: Option<Named<String>>, cx: &mut Context<'_>) -> Vec<(HeaderName, String)> {
    let mut list = Vec::new();
    for (name, text) in raw.unwrap_or_default().0 {
        if let Some(name) = headers::named(&name, &text.key, cx) {
            list.push((name, text.value));
        }
    }
    list
}
