//! What is said of a Django app beside its keys, and routes that are there to be seen. Pure.

use crate::cli::init::blocks::Asked;
use crate::cli::init::findings::{Django, Endpoint, Kind, Level};
use crate::cli::init::plan::Planned;
use crate::cli::init::routes::unknown;
use crate::cli::init::sheet::{one_line, quote};
use crate::policy::path::PathPattern;

pub(super) fn title(found: &Django) -> Vec<String> {
    let mut title = vec![format!(
        "Written by `portcullis init --django` from {} (Django {}, Python {}). The app changes nothing; \
         read the routes before you trust them.",
        found.settings, found.version, found.python
    )];
    if found.truncated {
        let words =
            "The app has more addresses than were walked: those left out are under the last route.";
        title.push(words.to_owned());
    }
    title
}

/// Routes that are public whatever is around them, for the reader to see.
pub(super) fn fixed(found: &Django) -> Vec<(String, String)> {
    let mut routes = Vec::new();
    if let Some(path) = common(
        found
            .endpoints
            .iter()
            .filter(|one| one.kind == Kind::Admin)
            .map(|one| one.path.as_str()),
    ) {
        routes.push((
            path,
            "Django's admin site: its own login guards it. To let nobody near it but staff, put \
             `auth = [\"session\"]` and `roles = [\"staff\"]` here and a public route for its login page."
                .to_owned(),
        ));
    }
    let root = found.static_root.as_deref().map_or_else(String::new, |root| {
        format!(
            " With `files = {{ dir = {} }}` in the place of `upstream` the gateway serves them itself.",
            quote(&one_line(root))
        )
    });
    for (url, words) in [
        (&found.static_url, format!("Static files.{root}")),
        (&found.media_url, "Uploaded files.".to_owned()),
    ] {
        let path = url
            .as_deref()
            .filter(|url| url.starts_with('/'))
            .and_then(|url| common([url]));
        routes.extend(path.map(|path| (path, words)));
    }
    let sockets = found.websockets.iter().flatten().map(String::as_str);
    if let Some(path) = common(sockets) {
        routes.push((
            path,
            "WebSockets: the app's consumers judge who may connect. With `auth = [\"token\"]` the gateway \
             takes `?token=` or `?access=` and closes with 4401 or 4403. A page of another origin must \
             stand in a `cors` rule of this route."
                .to_owned(),
        ));
    }
    let mut seen = Vec::new();
    routes.retain(|(path, _)| {
        let fresh = !seen.contains(path);
        seen.push(path.clone());
        fresh
    });
    routes
}

/// `/prefix/{*rest}` of some paths: the literal segments that all of them begin with.
fn common<'a>(paths: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut prefix: Option<Vec<&str>> = None;
    for path in paths {
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        let literal: Vec<_> = parts
            .into_iter()
            .take_while(|part| !part.contains('{'))
            .collect();
        prefix = Some(match prefix {
            None => literal,
            Some(before) => {
                let pairs = before.into_iter().zip(literal);
                pairs.take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
            }
        });
    }
    let prefix = prefix.filter(|parts| parts.iter().any(|part| !part.is_empty()))?;
    let path = format!("/{}/{{*rest}}", prefix.join("/"));
    PathPattern::parse(&path).ok()?;
    Some(path)
}

pub(super) fn rest_words(found: &Django, planned: &[Planned]) -> Vec<String> {
    let mut words =
        vec!["Everything else: pages and files. The app's own login guards them.".to_owned()];
    let closed = |one: &&Endpoint| one.kind == Kind::Page;
    let pages: Vec<_> = found
        .endpoints
        .iter()
        .filter(closed)
        .map(|one| one_line(&one.path))
        .take(8)
        .collect();
    if !pages.is_empty() {
        let login = found
            .login_url
            .as_deref()
            .filter(|url| url.starts_with('/'))
            .unwrap_or("/login/");
        words.push(format!(
            "Among them pages behind that login: {}. Once routes of their own have `auth = [\"session\"]` and \
             `unauthenticated = {{ redirect = {} }}`, strangers do not reach the app there.",
            pages.join(", "),
            quote(&format!("{}?next={{uri}}", one_line(login)))
        ));
    }
    words.extend(unknown(&found.endpoints));
    if planned
        .iter()
        .all(|route| route.gate.level == Level::Public)
    {
        words.push("No view was found that is known to refuse strangers.".to_owned());
    }
    words
}

pub(super) fn cookie_words(found: &Django) -> Option<String> {
    let insecure = found
        .sessions
        .as_ref()
        .is_some_and(|sessions| !sessions.secure)
        || !found.csrf_secure;
    insecure.then(|| {
        "SESSION_COOKIE_SECURE or CSRF_COOKIE_SECURE is off in the app: set both once it is reached by \
         https alone."
            .to_owned()
    })
}

/// What the app's settings need behind a gateway.
pub(super) fn settings(found: &Django, asked: &Asked) -> Vec<String> {
    let mut words = Vec::new();
    match found.proxy_header.as_deref() {
        Some("HTTP_X_FORWARDED_PROTO") => {}
        Some(other) => words.push(format!(
            "SECURE_PROXY_SSL_HEADER names {}: the gateway sends X-Forwarded-Proto, so it must be \
             (\"HTTP_X_FORWARDED_PROTO\", \"https\").",
            one_line(other)
        )),
        None => words.push(
            "Add to the app's settings: SECURE_PROXY_SSL_HEADER = (\"HTTP_X_FORWARDED_PROTO\", \"https\"). \
             Without it Django believes that every request came by http, and refuses forms sent by https."
                .to_owned(),
        ),
    }
    if found.ssl_redirect && found.proxy_header.is_none() {
        words.push("Without it SECURE_SSL_REDIRECT sends browsers in a circle.".to_owned());
    }
    if found.forwarded_host {
        words.push("USE_X_FORWARDED_HOST is not needed: the gateway keeps Host.".to_owned());
    }
    let hosts: Vec<_> = found
        .allowed_hosts
        .iter()
        .map(|host| one_line(host))
        .collect();
    if !hosts.is_empty() {
        words.push(format!("ALLOWED_HOSTS takes: {}.", hosts.join(", ")));
    }
    if asked.hosts.is_empty() {
        let hint = "The routes take any host; `portcullis init --host NAME` names yours.";
        words.push(hint.to_owned());
    }
    words
}
