//! The blocks that every app's file has: doors, certificate, upstream; secrets and addresses. Pure.

use super::findings::{Location, SecretFound};
use super::sheet::{self, Block, Variables, list, one_line, quote};

/// The name of the upstream, and of the directory.
pub(super) const APP: &str = "app";

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
        || format!("{holds}; in the app it is not from the environment: set it for the gateway"),
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
    sheet::array(&values)
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
