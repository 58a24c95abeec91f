//! The blocks that every app's file has: doors, certificate, upstream, cross-origin rule, routes and
//! the rules as tests. Pure.

use super::findings::{Cors, Level, Location, SecretFound};
use super::sheet::{Block, Refused, Variables, list, one_line, quote, seconds};
use super::tree::{Gate, Planned};
use crate::policy::cors::OriginPattern;
use crate::policy::path::PathPattern;

/// The name of the upstream, and of the directory.
pub(super) const APP: &str = "app";
/// The longest time that a key of the file takes, in seconds: a year.
const YEAR: u64 = 31_536_000;

/// What stands on the command line.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// Where the app listens.
    pub(super) upstream: String,
    /// The names that clients use; any where empty.
    pub(super) hosts: Vec<String>,
}

/// `[server]`, `[tls]` and `[upstream.app]`.
pub(super) fn doors(asked: &Asked, cookies: Option<&str>) -> Vec<Block> {
    let mut server = Block::new("[server]");
    server.key("https", quote("0.0.0.0:8443"));
    server.key("http", quote("0.0.0.0:8080"));
    server.key("admin", quote("127.0.0.1:9090"));
    let mut tls = Block::new("[tls]").saying(
        "A certificate for localhost, made on the first start; trust certs/portcullis-ca.pem in your \
         browser. In production put your own in its place: [[tls.certificate]] with `cert` and `key`.",
    );
    tls.key("development", "true".to_owned());
    let mut upstream = Block::new(format!("[upstream.{APP}]"))
        .saying("The app, exactly as it runs today. Nobody may reach it past the gateway.");
    upstream.key("servers", list(&[&asked.upstream]));
    if let Some(words) = cookies {
        upstream.says.push(words.to_owned());
    }
    vec![server, tls, upstream]
}

/// `{ env = … }` for a secret: the variable that holds it today, or `name`.
pub(super) fn secret(
    found: Option<&SecretFound>,
    name: &str,
    holds: &str,
    variables: &mut Variables,
) -> String {
    let held = found.and_then(|secret| secret.env.as_deref());
    let known = held.map_or_else(
        || format!("{holds}; the app does not read it from the environment: set it there as well"),
        |_| holds.to_owned(),
    );
    let example = "an-example-secret-of-more-than-32-bytes";
    variables.ask(held.unwrap_or(name), &known, example)
}

/// A secret and those before it.
pub(super) fn secrets(
    found: Option<&SecretFound>,
    fallbacks: &[SecretFound],
    name: &str,
    variables: &mut Variables,
) -> String {
    let first = secret(found, name, "the app's SECRET_KEY", variables);
    if fallbacks.is_empty() {
        return first;
    }
    let mut values = vec![first];
    for (place, fallback) in fallbacks.iter().enumerate() {
        let name = format!("{name}_FALLBACK_{}", place + 1);
        let holds = format!("SECRET_KEY_FALLBACKS[{place}] of the app");
        let value = secret(Some(fallback), &name, &holds, variables);
        if !values.contains(&value) {
            values.push(value);
        }
    }
    super::sheet::array(&values)
}

/// The address of a store: as it is where it holds no password, else the variable that holds it.
pub(super) fn address(
    found: &Location,
    name: &str,
    what: &str,
    variables: &mut Variables,
) -> String {
    let shape = one_line(&found.shown);
    match &found.env {
        Some(held) => variables.ask(held, &format!("{what}: {shape}"), &found.shown),
        None if found.hidden => variables.ask(name, &format!("{what}: {shape}"), &found.shown),
        None => quote(&found.shown),
    }
}

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

/// The routes, and one for everything else.
pub(super) fn routes(
    planned: &[Planned],
    fixed: &[(String, String)],
    around: &Around<'_>,
) -> Vec<Block> {
    let mut blocks = vec![Block::words(vec![
        "Routes: the most specific wins, whatever the order. Every route says who may use it. What the \
         app checks it goes on checking."
            .to_owned(),
    ])];
    let segments = |path: &str| {
        PathPattern::parse(path)
            .map(|path| path.segments().to_vec())
            .ok()
    };
    let taken = |path: &str| {
        let wanted = segments(path);
        planned.iter().any(|route| segments(&route.path) == wanted)
    };
    for route in planned {
        blocks.push(route_block(route, around));
        if route.gate.level == Level::Required && around.preflights_pass {
            let mut block = Block::new("[[route]]")
                .saying("Preflights carry no credential; the app answers them.");
            block.key("path", quote(&route.path));
            block.key("methods", list(&["OPTIONS"]));
            around.finish(&mut block, &Gate::OPEN, false);
            blocks.push(block);
        }
    }
    for (path, words) in fixed {
        if !taken(path) && path != REST {
            let mut block = Block::new("[[route]]").saying(words.as_str());
            block.key("path", quote(path));
            around.finish(&mut block, &Gate::OPEN, around.rest_cors);
            blocks.push(block);
        }
    }
    let mut rest = Block::new("[[route]]");
    rest.says.extend(around.rest_words.iter().cloned());
    rest.key("path", quote(REST));
    around.finish(&mut rest, &around.rest_gate, around.rest_cors);
    if around.rest_observes {
        rest.key("observe", "true".to_owned());
    }
    blocks.push(rest);
    blocks
}

/// The path of everything.
const REST: &str = "/{*rest}";

/// What goes for every route.
#[derive(Debug)]
pub(super) struct Around<'a> {
    pub(super) hosts: &'a [String],
    /// There is a `[cors.web]`.
    pub(super) has_cors: bool,
    /// Preflights go to the app.
    pub(super) preflights_pass: bool,
    /// What is said of the last route.
    pub(super) rest_words: Vec<String>,
    pub(super) rest_cors: bool,
    pub(super) rest_gate: Gate,
    pub(super) rest_observes: bool,
    /// Why the gateway's same-site rule is off where it is.
    pub(super) csrf_words: &'a str,
}

impl Around<'_> {
    fn finish(&self, block: &mut Block, gate: &Gate, cors: bool) {
        if !self.hosts.is_empty() {
            block.key("hosts", list(self.hosts));
        }
        block.key("upstream", quote(APP));
        block.key("auth", auth(gate));
        if !gate.csrf {
            block.key("csrf", "false".to_owned());
        }
        if cors && self.has_cors {
            block.key("cors", quote("web"));
        }
    }
}

fn route_block(route: &Planned, around: &Around<'_>) -> Block {
    let mut block = Block::new("[[route]]");
    let views = route.views.join(", ");
    let more = if route.count > route.views.len() {
        " and others"
    } else {
        ""
    };
    block.says.push(match route.gate.level {
        Level::Required => format!("Every view here wants to know who is calling: {views}{more}."),
        Level::Optional => format!("Anyone may come, but not with a bad token: {views}{more}."),
        Level::Public => format!("Open, or for the app alone to judge: {views}{more}."),
    });
    if !route.gate.csrf {
        block.says.push(around.csrf_words.to_owned());
    }
    block.key("path", quote(&route.path));
    around.finish(&mut block, &route.gate, route.cors);
    block
}

fn auth(gate: &Gate) -> String {
    let mut names = Vec::new();
    if gate.token {
        names.push("token");
    }
    if gate.session {
        names.push("session");
    }
    match gate.level {
        Level::Required => list(&names),
        Level::Optional => format!("{{ optional = {} }}", list(&names)),
        Level::Public => quote("public"),
    }
}

/// The rules as tests, of the first routes that want a caller.
pub(super) fn expectations(planned: &[Planned], hosts: &[String]) -> Vec<Block> {
    let host = match hosts.first().map(|host| host.replacen('*', "www", 1)) {
        Some(host) => host,
        None => "localhost:8443".to_owned(),
    };
    let wanted = planned
        .iter()
        .filter(|route| route.gate.level == Level::Required);
    let paths: Vec<_> = wanted
        .filter_map(|route| route.example.as_ref())
        .take(2)
        .collect();
    let mut blocks = Vec::new();
    for path in paths {
        let request = quote(&format!("GET https://{host}{path}"));
        let mut nobody = Block::new("[[expect]]");
        if blocks.is_empty() {
            let words = "The rules as tests: `portcullis test` runs them without a network, and `check` with them.";
            nobody.says.push(words.to_owned());
        }
        nobody.key("request", request.clone());
        nobody.key(
            "answer",
            "{ status = 401, code = \"credentials_missing\" }".to_owned(),
        );
        let mut someone = Block::new("[[expect]]");
        someone.key("request", request);
        someone.key("as", "{ user = \"7\" }".to_owned());
        someone.key("answer", format!("{{ forward = {} }}", quote(APP)));
        blocks.extend([nobody, someone]);
    }
    blocks
}
