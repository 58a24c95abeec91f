//! The app's cross-origin rule, as far as the file can say it. Pure.

use super::findings::Cors;
use super::sheet::{Block, Refused, Variables, list, one_line, quote, seconds};
use crate::policy::cors::OriginPattern;

/// The longest time that a key of the file takes, in seconds: a year.
const YEAR: u64 = 31_536_000;

/// What becomes of the app's cross-origin rule.
#[derive(Debug, Default)]
pub(super) struct CrossOrigin {
    /// `[cors.web]`, where the file can say what the app says.
    pub(super) block: Option<Block>,
    /// The app goes on answering preflights: they must reach it without a credential.
    pub(super) is_the_apps: bool,
}

/// The cross-origin rule. `is_used` tells that an address of the app has it.
pub(super) fn cors(
    found: Option<&Cors>,
    is_elsewhere: bool,
    trusted: &[String],
    is_used: bool,
    refused: &Refused,
    variables: &mut Variables,
) -> CrossOrigin {
    let Some(found) = found else {
        return CrossOrigin {
            block: None,
            is_the_apps: is_elsewhere,
        };
    };
    let (origins, unclear) = origins(found);
    let everyone = found.any && !found.credentials;
    let can_say = everyone || (!found.any && unclear.is_empty() && !origins.is_empty());
    let why_not = refused.why("cors.web");
    let can_say = can_say && why_not.is_none();
    let mut block = Block::new("[cors.web]");
    if let Some(why) = why_not {
        block
            .says
            .push(format!("The app's rule cannot be written as it is: {why}."));
    } else if !can_say && !found.any && unclear.is_empty() {
        // No origin is allowed: there is no rule to take over.
        return CrossOrigin::default();
    }
    for regex in &unclear {
        let words = format!(
            "The app allows origins by a regular expression, which has no equal here: {regex}"
        );
        block.says.push(words);
    }
    if found.any && found.credentials {
        block.says.push(
            "The app lets pages of every site call with the user's cookies. That cannot be written \
             here: name the origins, take these lines up, and add `cors = \"web\"` to the routes. Until \
             then the app answers preflights itself, and a refusal by the gateway reaches scripts of \
             other origins as a CORS error."
                .to_owned(),
        );
    } else {
        block.says.push(
            "Which other origins' pages may call the app, as the app says today; on routes with this \
             rule the gateway answers preflights and the app's own headers are dropped."
                .to_owned(),
        );
    }
    let foreign: Vec<_> = trusted
        .iter()
        .filter(|one| !origins.contains(*one))
        .collect();
    if !foreign.is_empty() {
        let names: Vec<_> = foreign.iter().map(|one| one_line(one)).collect();
        block.says.push(format!(
            "CSRF_TRUSTED_ORIGINS also names {}: add those whose pages send forms with the session \
             cookie to routes that take it.",
            names.join(", ")
        ));
    }
    let origins = if everyone {
        vec!["*".to_owned()]
    } else if origins.is_empty() {
        vec![
            "http://localhost:3000".to_owned(),
            "http://127.0.0.1:3000".to_owned(),
        ]
    } else {
        origins
    };
    let held = found
        .origins_env
        .as_ref()
        .filter(|_| can_say && !everyone && found.regexes.is_empty());
    match held {
        Some(name) => {
            let example = "https://app.example.com";
            let value = variables.ask(name, "the app's allowed origins, split on commas", example);
            block.key("origins", value);
        }
        None => block.key("origins", list(&origins)),
    }
    terms(found, &mut block);
    block.is_comment = !(can_say && is_used);
    CrossOrigin {
        is_the_apps: !can_say,
        block: Some(block),
    }
}

fn terms(found: &Cors, block: &mut Block) {
    if found.credentials {
        block.key("credentials", "true".to_owned());
    }
    let names = |list: &[String]| -> Vec<String> {
        let mut kept: Vec<String> = Vec::new();
        for name in list {
            let good = http::HeaderName::from_bytes(name.as_bytes()).is_ok() && name != "*";
            if good && !kept.contains(name) {
                kept.push(name.clone());
            }
        }
        kept
    };
    if found.any_header || found.headers.iter().any(|name| name == "*") {
        block.key("headers", quote("any"));
    } else {
        let headers = names(&found.headers);
        if !headers.is_empty() {
            block.key("headers", list(&headers));
        }
    }
    let mut expose = names(&found.expose);
    if !expose
        .iter()
        .any(|name| name.eq_ignore_ascii_case("x-request-id"))
    {
        expose.push("x-request-id".to_owned());
    }
    block.key("expose", list(&expose));
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    if let Some(methods) = &found.methods {
        let listed = |name: &&str| methods.iter().any(|method| method == *name);
        let methods: Vec<_> = known.into_iter().filter(listed).collect();
        if !methods.is_empty() {
            block.key("methods", list(&methods));
        }
    }
    if let Some(age) = found.max_age {
        block.key("max_age", seconds(age.min(YEAR)));
    }
    if found.private_network {
        block.key("private_network", "true".to_owned());
    }
}

/// The origins as they can be written, and the expressions that cannot.
fn origins(found: &Cors) -> (Vec<String>, Vec<String>) {
    let mut origins: Vec<String> = Vec::new();
    let mut unclear = Vec::new();
    let mut add = |text: &str| match OriginPattern::parse(text) {
        Ok(OriginPattern::Any) | Err(_) => false,
        Ok(_) => {
            if !origins.iter().any(|known| known == text) {
                origins.push(text.to_owned());
            }
            true
        }
    };
    for origin in &found.origins {
        // `null` and the like: the app may allow it, the gateway does not.
        let _left_out = add(origin);
    }
    for regex in &found.regexes {
        let simple = wildcard(regex).is_some_and(|origin| add(&origin));
        if !simple {
            unclear.push(regex.clone());
        }
    }
    (origins, unclear)
}

/// `^https://\w+\.example\.com$` as `https://*.example.com`; `None` for anything else.
fn wildcard(regex: &str) -> Option<String> {
    let body = regex.strip_prefix('^').unwrap_or(regex);
    let body = body.strip_suffix('$').unwrap_or(body);
    let (front, back) = body.split_once("://")?;
    if !matches!(front, "https" | "http") {
        return None;
    }
    let labels = [
        r"\w+\.",
        r"[\w-]+\.",
        r"[a-z0-9-]+\.",
        r"[a-zA-Z0-9-]+\.",
        r".*\.",
        r".+\.",
    ];
    let rest = labels.iter().find_map(|label| back.strip_prefix(label));
    let plain = rest.unwrap_or(back).replace(r"\.", ".").replace(r"\-", "-");
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | ':');
    // A dot without its backslash means any letter; nobody wanted that.
    if !plain.chars().all(fits) {
        return None;
    }
    let star = if rest.is_some() { "*." } else { "" };
    Some(format!("{front}://{star}{plain}"))
}
