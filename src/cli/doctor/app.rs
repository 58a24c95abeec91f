//! What an app makes of the host and the scheme that it is told. PURE: answers in, findings out.

use http::header::{LOCATION, REFERRER_POLICY, SERVER};
use http::{HeaderMap, HeaderName, StatusCode};
use url::Url;

use super::finding::Finding;
use crate::upstream::look::Seen;

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// A question as the gateway would put it.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// The host that the client asks for.
    pub(super) host: String,
    /// The `Host` that the app gets.
    pub(super) sent: String,
    /// Whether the client comes by https.
    pub(super) https: bool,
}

/// A path that was asked for and what came back.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    /// The path as the app got it.
    pub(super) target: String,
    /// The answer.
    pub(super) seen: Seen,
}

/// What the app is made with, as far as its answers show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framework {
    Django,
    Flask,
    Unknown,
}

impl Framework {
    /// What an answer shows.
    pub(super) fn of(seen: &Seen) -> Self {
        let says = |name: &HeaderName, value: &str| {
            seen.headers
                .get(name)
                .is_some_and(|found| found.as_bytes() == value.as_bytes())
        };
        let secured = says(&REFERRER_POLICY, "same-origin") && says(&OPENER_POLICY, "same-origin");
        if secured || holds(seen, "<h1>Bad Request (400)</h1>") || holds(seen, "DisallowedHost") {
            return Self::Django;
        }
        let server = seen
            .headers
            .get(SERVER)
            .and_then(|value| value.to_str().ok());
        let werkzeug = server.is_some_and(|server| server.starts_with("Werkzeug"));
        // Werkzeug's own pages (`exceptions.py: HTTPException.get_body`, `utils.py: redirect`).
        let own_page = holds(seen, "<!doctype html>\n<html lang=en>\n<title>");
        if werkzeug || own_page {
            Self::Flask
        } else {
            Self::Unknown
        }
    }
}

fn holds(seen: &Seen, text: &str) -> bool {
    memchr::memmem::find(&seen.body, text.as_bytes()).is_some()
}

/// Whether the app takes the host. `own` is its answer to the same question for the name of the
/// server itself, where it was asked.
pub(super) fn host(about: &str, told: &Told, answered: &Answered, own: Option<&Seen>) -> Finding {
    const CHECK: &str = "app.host";
    let Told { host, sent, .. } = told;
    let status = answered.seen.status;
    let evidence = format!(
        "{} for {} with Host {sent}",
        status.as_u16(),
        answered.target
    );
    let refuses = matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::MISDIRECTED_REQUEST | StatusCode::FORBIDDEN
    );
    let own_status = own.map(|own| own.status);
    let takes_own = own_status.is_some_and(|own| own != status && own.as_u16() < 500);
    if holds(&answered.seen, "DisallowedHost")
        || holds(&answered.seen, "<h1>Bad Request (400)</h1>")
    {
        let also = if host == sent {
            String::new()
        } else {
            format!("; with USE_X_FORWARDED_HOST = True, {host:?} too")
        };
        return Finding::problem(
            CHECK,
            about,
            &format!("{evidence}: Django refuses the host (DisallowedHost)"),
            &format!(
                "add {:?} to ALLOWED_HOSTS in the app's settings{also}",
                without_port(sent)
            ),
        );
    }
    if refuses && takes_own {
        return Finding::problem(
            CHECK,
            about,
            &format!(
                "{evidence}, but {} with the server's own name",
                own_status.map_or(0, |status| status.as_u16())
            ),
            &format!(
                "have the app take {:?}: ALLOWED_HOSTS of Django, TRUSTED_HOSTS of Flask, the server's \
                 own list of names",
                without_port(sent)
            ),
        );
    }
    if status == StatusCode::NOT_FOUND && takes_own {
        return Finding::warning(
            CHECK,
            about,
            &format!(
                "{evidence}, but {} with the server's own name",
                own_status.map_or(0, |status| status.as_u16())
            ),
            "a Flask app with SERVER_NAME answers for that name alone: set it to the public host, or \
             take it out",
        );
    }
    if refuses && status != StatusCode::FORBIDDEN {
        return Finding::warning(
            CHECK,
            about,
            &format!("{evidence}, and for the server's own name too"),
            "ask for this path with curl at the app itself and read what it says",
        );
    }
    Finding::ok(CHECK, about, &evidence)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

/// How the app is told that the client came by https.
fn proxy_words(framework: Framework) -> &'static str {
    match framework {
        Framework::Django => {
            "set SECURE_PROXY_SSL_HEADER = (\"HTTP_X_FORWARDED_PROTO\", \"https\") in the app's settings; \
             without it forms are refused too (CSRF, as the Origin is https and the app believes http)"
        }
        Framework::Flask => {
            "app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1) of \
             werkzeug.middleware.proxy_fix"
        }
        Framework::Unknown => {
            "have the app believe X-Forwarded-Proto: Django's SECURE_PROXY_SSL_HEADER = \
             (\"HTTP_X_FORWARDED_PROTO\", \"https\"); Flask's ProxyFix(app.wsgi_app, x_for=1, x_proto=1, \
             x_host=1)"
        }
    }
}

/// Whether the app believes that the client came by https: it sends nobody in a circle, and makes
/// no address with http.
pub(super) fn scheme(about: &str, told: &Told, answers: &[Answered]) -> Finding {
    const CHECK: &str = "app.scheme";
    if !told.https {
        let why =
            "the gateway has no https door: what the app is told comes from the proxy before it";
        return Finding::skipped(CHECK, about, why);
    }
    let framework = answers
        .iter()
        .map(|answered| Framework::of(&answered.seen))
        .find(|framework| *framework != Framework::Unknown)
        .unwrap_or(Framework::Unknown);
    for Answered { target, seen } in answers {
        let Some(location) = location(&seen.headers, seen.status) else {
            continue;
        };
        let status = seen.status.as_u16();
        if location.scheme() == "https" && is_at(&location, told) && is_path(&location, target) {
            return Finding::problem(
                CHECK,
                about,
                &format!(
                    "{status} from {target} to {location}, which is what was asked for: a circle"
                ),
                &format!(
                    "the app redirects to https and does not see that it is (SECURE_SSL_REDIRECT of \
                     Django does): {}",
                    proxy_words(framework)
                ),
            );
        }
    }
    for Answered { target, seen } in answers {
        let status = seen.status.as_u16();
        let to = location(&seen.headers, seen.status)
            .filter(|to| to.scheme() == "http" && is_at(to, told));
        let words = match to {
            Some(to) => format!("{status} from {target} to {to}"),
            None if writes_http(seen, &told.host) => {
                format!(
                    "the page at {target} has addresses that begin with http://{}",
                    told.host
                )
            }
            None => continue,
        };
        return Finding::problem(
            CHECK,
            about,
            &format!("{words}: the app takes the client for one that came by http"),
            proxy_words(framework),
        );
    }
    Finding::ok(
        CHECK,
        about,
        &format!("no answer of {} leads away from https", answers.len()),
    )
}

/// Whether the app's redirects name the host that clients know.
pub(super) fn links(about: &str, told: &Told, answers: &[Answered]) -> Finding {
    const CHECK: &str = "app.links";
    for Answered { target, seen } in answers {
        let Some(to) = location(&seen.headers, seen.status) else {
            continue;
        };
        let inner = told.host != told.sent && host_of(&to) == without_port(&told.sent);
        if inner {
            return Finding::warning(
                CHECK,
                about,
                &format!(
                    "{} from {target} to {to}: a name that clients do not know",
                    seen.status.as_u16()
                ),
                "leave `host` of the upstream at \"preserve\", or have the app read X-Forwarded-Host: \
                 USE_X_FORWARDED_HOST = True of Django, x_host=1 of ProxyFix",
            );
        }
    }
    Finding::ok(CHECK, about, "redirects name no host of the inside")
}

/// Where a redirect leads, where it names a host.
fn location(headers: &HeaderMap, status: StatusCode) -> Option<Url> {
    if !status.is_redirection() {
        return None;
    }
    let to = headers.get(LOCATION)?.to_str().ok()?;
    let to = Url::parse(to).ok()?;
    matches!(to.scheme(), "http" | "https").then_some(to)
}

fn host_of(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

/// Whether an address is on a host that this question was about.
fn is_at(url: &Url, told: &Told) -> bool {
    let host = host_of(url);
    host == without_port(&told.host) || host == without_port(&told.sent)
}

fn is_path(url: &Url, target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    url.path() == path
}

/// Whether a page has addresses of its own site with http.
fn writes_http(seen: &Seen, host: &str) -> bool {
    ["/", ":", "\"", "'"]
        .iter()
        .any(|end| holds(seen, &format!("http://{host}{end}")))
}

/// Paths with a slash at their end that a page leads to, without it: Flask and Django redirect
/// from there, and so show which scheme they believe in. At most so many.
pub(super) fn unslashed_links(seen: &Seen, most: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(&seen.body);
    let mut found: Vec<String> = Vec::new();
    for rest in text.split("href=").skip(1) {
        let quoted = rest
            .strip_prefix('"')
            .and_then(|rest| rest.split_once('"'))
            .or_else(|| {
                rest.strip_prefix('\'')
                    .and_then(|rest| rest.split_once('\''))
            });
        let Some((link, _)) = quoted else { continue };
        let Some(path) = link.strip_suffix('/') else {
            continue;
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
        let is_path = path.starts_with('/') && !path.starts_with("//") && path.bytes().all(plain);
        if is_path && path.len() < 200 && found.len() < most && !found.iter().any(|one| one == path)
        {
            found.push(path.to_owned());
        }
    }
    found
}
