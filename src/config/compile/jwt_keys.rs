//! The keys of a JWT authenticator: secrets, public keys, a JWKS, and what they may verify.

use std::time::Duration;

use url::Url;

use super::context::Context;
use super::jwt::texts;
use crate::config::problem::Problem;
use crate::config::raw::decode::At;
use crate::config::raw::shapes::{Secrets, StringOrStrings};
use crate::config::settings::{Algorithm, JwksUrl, KeySource};
use crate::secret::Secret;

/// An HMAC secret shorter than this can be found by trying (RFC 7518 §3.2), in bytes.
const SHORTEST_SECRET: usize = 32;

/// The kinds of keys there are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    Secret,
    PublicKey,
    Jwks,
}

/// The keys of the file that say where the token's keys are.
pub(super) struct Given {
    pub(super) secret: Option<At<Secrets>>,
    pub(super) public_key: Option<At<StringOrStrings>>,
    pub(super) jwks: Option<At<String>>,
    pub(super) refresh: Option<At<Duration>>,
    pub(super) stale: Option<At<Duration>>,
    /// Whether the keys are found through the issuer where none are named.
    pub(super) discovery: bool,
}

impl Given {
    pub(super) fn kind(&self) -> Option<KeyKind> {
        match (&self.secret, &self.public_key, &self.jwks) {
            (Some(_), None, None) => Some(KeyKind::Secret),
            (None, Some(_), None) => Some(KeyKind::PublicKey),
            (None, None, Some(_)) => Some(KeyKind::Jwks),
            (None, None, None) if self.discovery => Some(KeyKind::Jwks),
            _ => None,
        }
    }
}

/// A secret verifies HMACs alone, public keys everything else: a public key that was taken for a
/// secret would let anyone sign (CVE-2016-5431). Symmetric keys in a JWKS are ignored.
pub(super) fn check_fit(
    algorithms: &[At<Algorithm>],
    preset: Option<&str>,
    kind: KeyKind,
    cx: &mut Context<'_>,
) {
    let (name, cure) = match kind {
        KeyKind::Secret => ("secret", "`public_key` or `jwks`, or HS256, HS384, HS512"),
        KeyKind::PublicKey => ("public_key", "`secret`, or RS, PS, ES or EdDSA algorithms"),
        KeyKind::Jwks => ("jwks", "`secret`, or RS, PS, ES or EdDSA algorithms"),
    };
    let whose = preset.map_or_else(String::new, |preset| format!("the preset {preset}'s "));
    for algorithm in algorithms {
        if is_hmac(algorithm.value) == (kind == KeyKind::Secret) {
            continue;
        }
        let message = format!("{whose}{:?} does not fit `{name}`", algorithm.value);
        let problem = algorithm.problem(message);
        cx.error(
            problem
                .found(format!("\"{:?}\"", algorithm.value))
                .allowed(cure),
        );
    }
}

fn is_hmac(algorithm: Algorithm) -> bool {
    matches!(
        algorithm,
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512
    )
}

/// Where the keys come from. `is_broken` tells that the preset is wrong, which is noted.
pub(super) fn compile(
    key: &str,
    given: Given,
    issuer: &[At<String>],
    is_broken: bool,
    cx: &mut Context<'_>,
) -> Option<KeySource> {
    let (refresh, stale) = (given.refresh, given.stale);
    match (given.secret, given.public_key, given.jwks) {
        (Some(secret), None, None) => Some(KeySource::Secrets(secrets(secret, cx))),
        (None, Some(paths), None) => {
            let paths = texts(Some(paths), "no token could be accepted", cx);
            let files = paths.iter().map(|path| cx.file(path)).collect();
            Some(KeySource::PublicKeys(files))
        }
        (None, None, Some(jwks)) => {
            if jwks.value.starts_with("https://") || jwks.value.starts_with("http://") {
                return jwks_url(&jwks, false, refresh, stale, cx).map(KeySource::JwksUrl);
            }
            Some(KeySource::JwksFile(cx.file(&jwks)))
        }
        (None, None, None) => {
            if given.discovery {
                return discovery(key, issuer, refresh, stale, cx);
            }
            if !is_broken {
                let message = "one of `secret`, `public_key` and `jwks` is required";
                cx.error(Problem::new(key, message));
            }
            None
        }
        (secret, public_key, jwks) => {
            let second = match (&secret, public_key, jwks) {
                (_, _, Some(jwks)) => jwks.key,
                (_, Some(public_key), None) => public_key.key,
                (_, None, None) => key.to_owned(),
            };
            let message = "only one of `secret`, `public_key` and `jwks` may be there";
            cx.error(Problem::new(second, message));
            None
        }
    }
}

fn discovery(
    key: &str,
    issuer: &[At<String>],
    refresh: Option<At<Duration>>,
    stale: Option<At<Duration>>,
    cx: &mut Context<'_>,
) -> Option<KeySource> {
    match issuer {
        [issuer] => jwks_url(issuer, true, refresh, stale, cx).map(KeySource::JwksUrl),
        [] => {
            let message = "is required with the preset oidc: its keys are found through it";
            cx.error(Problem::new(format!("{key}.issuer"), message));
            None
        }
        [..] => {
            let message = "must be one issuer with the preset oidc, or `jwks` must be given";
            cx.error(Problem::new(format!("{key}.issuer"), message));
            None
        }
    }
}

fn jwks_url(
    text: &At<String>,
    discovery: bool,
    refresh: Option<At<Duration>>,
    stale: Option<At<Duration>>,
    cx: &mut Context<'_>,
) -> Option<JwksUrl> {
    let allowed = "an https:// URL without user or password";
    let url = Url::parse(&text.value).ok().filter(|url| {
        let anonymous = url.username().is_empty() && url.password().is_none();
        matches!(url.scheme(), "http" | "https") && url.has_host() && anonymous
    });
    let Some(url) = url else {
        // Not repeated: it may hold a password.
        cx.error(
            text.problem("is not a URL to fetch keys from")
                .allowed(allowed),
        );
        return None;
    };
    if url.scheme() == "http" && !is_loopback(&url) {
        let message = "keys are fetched without TLS: whoever is on the way can put in their own";
        cx.warn(text.wrong(message));
    }
    let refresh = match refresh {
        None => Duration::from_mins(10),
        given => cx.positive(given),
    };
    let stale = match stale {
        None => Duration::from_hours(24),
        given => cx.positive(given),
    };
    Some(JwksUrl {
        url,
        discovery,
        refresh,
        stale,
    })
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn secrets(raw: At<Secrets>, cx: &mut Context<'_>) -> Vec<Secret<Vec<u8>>> {
    if raw.value.0.is_empty() {
        cx.error(raw.problem("must not be empty: no token could be accepted"));
    }
    let mut secrets = Vec::with_capacity(raw.value.0.len());
    for given in raw.value.0 {
        let key = given.key.clone();
        let Some(secret) = cx.secret(given) else {
            continue;
        };
        check_strength(&key, secret.expose().as_bytes(), cx);
        secrets.push(Secret::new(secret.expose().as_bytes().to_vec()));
    }
    secrets
}

/// What is said of a secret tells its length and nothing else.
fn check_strength(key: &str, secret: &[u8], cx: &mut Context<'_>) {
    let different: std::collections::HashSet<_> = secret.iter().collect();
    if secret.len() < SHORTEST_SECRET {
        let message = format!(
            "the secret is too weak: it has {} bytes, and at least {SHORTEST_SECRET} are wanted",
            secret.len()
        );
        cx.error(Problem::new(key, message));
    } else if different.len() < 4 {
        let message = "the secret is too weak: it has fewer than 4 different letters";
        cx.error(Problem::new(key, message));
    } else {
        warn_of_insecure(key, secret, cx);
    }
}

/// Everyone who knows that a project began with `startproject` knows how weak such a secret is.
pub(super) fn warn_of_insecure(key: &str, secret: &[u8], cx: &mut Context<'_>) {
    if secret.starts_with(b"django-insecure-") {
        let message = "Django marked this secret as insecure: it came with `startproject`";
        cx.warn(Problem::new(key, message));
    }
}
