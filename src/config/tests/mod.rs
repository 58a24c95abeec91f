//! Whole files, good and bad: what `load` makes of them and what it says.

mod acme;
mod addresses;
mod auth;
mod cookies;
mod cors;
mod directories;
mod doors;
mod forward;
mod layers;
mod oidc;
mod rate_limits;
mod routes;
mod sessions;
mod signin;
mod tracing;

use std::collections::BTreeMap;

use super::settings::*;
use super::*;

/// A file without a mistake.
const GOOD: &str = r#"
[tls]
development = true

[upstream.app]
servers = ["http://127.0.0.1:8000"]

[auth.token]
type = "jwt"
preset = "simplejwt"
secret = { env = "KEY" }

[cors.web]
origins = ["https://page.example.com"]
credentials = true

[[route]]
path = "/api/{*rest}"
upstream = "app"
auth = ["token"]
roles = ["staff"]
cors = "web"
"#;

fn environment(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let key = ("KEY", "0123456789abcdefghijklmnopqrstuvwxyz");
    [key]
        .iter()
        .chain(more)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn load_with(text: &str, more: &[(&str, &str)]) -> Result<Loaded, Report> {
    load_text(Path::new("gateway.toml"), text, &environment(more))
}

fn good(text: &str) -> Loaded {
    load_with(text, &[]).unwrap_or_else(|report| panic!("{report}"))
}

fn bad(text: &str) -> String {
    load_with(text, &[]).map_or_else(|report| report.to_string(), |_| panic!("was loaded"))
}

/// Loads `GOOD` with `more` behind it. `◆` in `more` marks where the mistake stands; the report
/// must name that line and column, and every one of `words`.
#[track_caller]
fn refused(more: &str, words: &[&str]) {
    let marked = format!("{GOOD}{more}");
    let before = marked.split('◆').next().unwrap();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
    let report = bad(&marked.replace('◆', ""));
    let place = format!("gateway.toml:{line}:{column}: ");
    assert!(report.contains(&place), "{place} is not in:\n{report}");
    for word in words {
        assert!(report.contains(word), "{word} is not in:\n{report}");
    }
}

/// A route that goes to the app, with more keys.
fn route(path: &str, more: &str) -> String {
    format!("[[route]]\npath = \"{path}\"\nupstream = \"app\"\nauth = [\"token\"]\n{more}\n")
}

/// An authenticator for tokens, with more keys.
fn jwt(more: &str) -> String {
    format!("[auth.more]\ntype = \"jwt\"\n{more}\n")
}

/// An upstream, with more keys.
fn upstream(more: &str) -> String {
    format!("[upstream.more]\nservers = [\"http://127.0.0.1:1\"]\n{more}\n")
}

/// Behind this an authenticator may name the directory `users`, which has passwords.
const USERS: &str =
    "[directory.users]\ntype = \"django\"\ndatabase = \"postgres://app@db.example/app\"\n";

/// An authenticator of a type, with more keys.
fn authenticator(kind: &str, more: &str) -> String {
    format!("[auth.more]\ntype = \"{kind}\"\n{more}\n")
}

/// What `[auth.more]` of a good file became.
fn kind_of(text: &str) -> AuthenticatorKind {
    let loaded = good(&format!("{GOOD}{text}"));
    let mut all = loaded.settings.authenticators.into_iter();
    all.find(|one| *one.name == *"more").unwrap().kind
}
