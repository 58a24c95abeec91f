//! The address of a Redis server, in the forms of redis-py, Django's caches and Flask-Session.

use url::Url;

use super::context::Context;
use super::database::{Address, ENCODE};
use crate::config::problem::{Problem, nearest};
use crate::secret::Secret;

/// How the address is written.
pub(super) const REDIS: &str = "\"redis://:password@host:6379/0\", \"rediss://…\" (with TLS) or \
                                \"redis+unix:///run/redis.sock?db=0\"";

/// The schemes, as an address begins with them.
pub(super) const SCHEMES: &[&str] = &["redis", "rediss", "redis+unix", "unix"];

/// Where Redis is, in the form that its crate reads.
pub(super) fn redis(address: &Address, cx: &mut Context<'_>) -> Option<Secret<String>> {
    let (url, has_password) = read(&address.key, address.text(), cx)?;
    if has_password {
        address.warn_of_password(cx);
    }
    Some(Secret::new(url))
}

fn read(key: &str, text: &str, cx: &mut Context<'_>) -> Option<(String, bool)> {
    let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
    let read = match scheme {
        "redis" | "rediss" => tcp(text),
        "redis+unix" | "unix" => unix(rest),
        _ => {
            // What stands there may be a password, so it is not repeated.
            let problem = Problem::new(key, "is not the address of a Redis server");
            let before = text.split(':').next().unwrap_or_default();
            let near = nearest(before, SCHEMES.iter().copied());
            cx.error(problem.allowed(REDIS).nearest(near));
            return None;
        }
    };
    match read {
        Ok(read) => Some(read),
        Err(message) => {
            cx.error(Problem::new(key, message).allowed(REDIS));
            None
        }
    }
}

fn tcp(text: &str) -> Result<(String, bool), String> {
    let mut url = Url::parse(text)
        .map_err(|error| format!("is not the address of a Redis server: {error}; {ENCODE}"))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err("names no host".into());
    }
    if url.fragment().is_some() {
        return Err(
            "must not hold a `#`: certificates are always verified, and in a password it is %23"
                .into(),
        );
    }
    // redis-py lets the query go before the path.
    let by_query = options(&url)?;
    let by_path = url.path().trim_matches('/').to_owned();
    let database = by_query.database.unwrap_or(by_path);
    check_number(&database)?;
    let password = by_query
        .password
        .or_else(|| url.password().map(str::to_owned));
    if let Some(password) = &password
        && url.password().is_none()
    {
        let _ = url.set_password(Some(password));
    }
    if let Some(user) = by_query.user.filter(|_| url.username().is_empty()) {
        let _ = url.set_username(&user);
    }
    url.set_query(None);
    url.set_path(&database);
    Ok((url.into(), password.is_some()))
}

fn unix(rest: &str) -> Result<(String, bool), String> {
    if !rest.starts_with('/') {
        return Err("must name a socket by its whole path; user and password stand behind it as `?user=…&pass=…`".into());
    }
    let mut url = Url::parse(&format!("redis+unix://{rest}"))
        .map_err(|error| format!("is not the path of a socket: {error}"))?;
    let options = options(&url)?;
    if let Some(database) = &options.database {
        check_number(database)?;
    }
    let has_password = options.password.is_some();
    url.set_fragment(None);
    url.set_query(None);
    let pairs = [
        ("db", options.database),
        ("user", options.user),
        ("pass", options.password),
    ];
    for (name, value) in pairs {
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(name, &value);
        }
    }
    Ok((url.into(), has_password))
}

/// What the query says; the rest is for the app's own client.
#[derive(Default)]
struct Options {
    database: Option<String>,
    user: Option<String>,
    password: Option<String>,
}

fn options(url: &Url) -> Result<Options, String> {
    let mut options = Options::default();
    for (name, value) in url.query_pairs() {
        match &*name {
            "db" => options.database = Some(value.into_owned()),
            "user" | "username" => options.user = Some(value.into_owned()),
            "pass" | "password" => options.password = Some(value.into_owned()),
            "ssl_cert_reqs" if matches!(&*value, "required" | "CERT_REQUIRED") => {}
            other if other.starts_with("ssl") => {
                let message = "holds an option that begins with `ssl`, which the gateway does not \
                               know: certificates are always verified";
                return Err(message.to_owned());
            }
            _ => {}
        }
    }
    Ok(options)
}

fn check_number(database: &str) -> Result<(), String> {
    if database.is_empty() || database.parse::<u32>().is_ok() {
        return Ok(());
    }
    Err(format!("names a database that is not a number; {ENCODE}"))
}
