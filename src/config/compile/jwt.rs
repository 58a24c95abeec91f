//! `type = "jwt"`: presets, keys, algorithms, and that they fit each other.

use std::time::Duration;

use http::header::AUTHORIZATION;
use serde_json::Value;
use url::Url;

use super::auth::sources;
use super::context::Context;
use crate::config::problem::{Problem, nearest};
use crate::config::raw::auth::{self, IdentityMap as RawMap};
use crate::config::raw::decode::At;
use crate::config::raw::shapes::{Secrets, StringOrStrings};
use crate::config::settings::{Algorithm, IdentityMap, JwksUrl, Jwt, KeySource, Source};
use crate::secret::Secret;

/// Every algorithm, by its name in RFC 7518 §3.1 and RFC 8037 §3.1.
const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("HS256", Algorithm::HS256),
    ("HS384", Algorithm::HS384),
    ("HS512", Algorithm::HS512),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// An HMAC secret shorter than this can be found by trying (RFC 7518 §3.2), in bytes.
const SHORTEST_SECRET: usize = 32;

/// A token is never good for longer than this after its end.
const LONGEST_LEEWAY: Duration = Duration::from_mins(10);

/// What a preset stands for. Any key of the file goes before it.
struct Preset {
    name: Option<&'static str>,
    algorithms: &'static [Algorithm],
    require: &'static [(&'static str, &'static str)],
    user: &'static str,
    leeway: Duration,
    sources: Vec<Source>,
    double_submit: bool,
    discovery: bool,
}

impl Preset {
    /// What holds without a preset.
    fn none() -> Self {
        Self {
            name: None,
            algorithms: &[],
            require: &[],
            user: "sub",
            leeway: Duration::from_secs(30),
            sources: vec![Source::Header(AUTHORIZATION)],
            double_submit: false,
            discovery: false,
        }
    }

    /// `rest_framework_simplejwt.settings.DEFAULTS`.
    fn simplejwt() -> Self {
        let parameter = |name: &str| Source::WebSocketQuery(name.into());
        Self {
            name: Some("simplejwt"),
            algorithms: &[Algorithm::HS256],
            require: &[("token_type", "access")],
            user: "user_id",
            leeway: Duration::ZERO,
            sources: vec![
                Source::Header(AUTHORIZATION),
                parameter("token"),
                parameter("access"),
            ],
            ..Self::none()
        }
    }

    /// `flask_jwt_extended.config`: headers and cookies, `JWT_COOKIE_CSRF_PROTECT` on.
    fn flask_jwt_extended() -> Self {
        Self {
            name: Some("flask-jwt-extended"),
            algorithms: &[Algorithm::HS256],
            require: &[("type", "access")],
            sources: vec![
                Source::Header(AUTHORIZATION),
                Source::Cookie("access_token_cookie".into()),
            ],
            double_submit: true,
            ..Self::none()
        }
    }

    /// An OpenID provider's tokens, its keys by discovery.
    fn oidc() -> Self {
        Self {
            name: Some("oidc"),
            algorithms: &[Algorithm::RS256, Algorithm::ES256],
            discovery: true,
            ..Self::none()
        }
    }
}

/// Makes a preset.
type Make = fn() -> Preset;

/// The presets by name.
const PRESETS: &[(&str, Make)] = &[
    ("simplejwt", Preset::simplejwt),
    ("flask-jwt-extended", Preset::flask_jwt_extended),
    ("oidc", Preset::oidc),
];

pub(super) fn compile(key: &str, raw: auth::Jwt, cx: &mut Context<'_>) -> Option<Jwt> {
    let chosen = cx.word(raw.preset.as_ref(), PRESETS);
    let is_broken = raw.preset.is_some() && chosen.is_none();
    let preset = chosen.map_or_else(Preset::none, |make| make());
    let issuer = texts(raw.issuer, "a token of any issuer would do", cx);
    let audience = texts(raw.audience, "a token for anyone would do", cx);
    let given = Given {
        secret: raw.secret,
        public_key: raw.public_key,
        jwks: raw.jwks,
        refresh: raw.jwks_refresh,
        stale: raw.jwks_stale,
    };
    let algorithms = algorithms(key, raw.algorithms, &preset, is_broken, cx);
    let kind = given.kind(&preset);
    if let Some(kind) = kind {
        check_fit(key, &algorithms, &preset, kind, cx);
    }
    let keys = keys(key, given, &preset, &issuer, is_broken, cx);
    let jwt = Jwt {
        algorithms: algorithms.into_iter().map(|at| at.value).collect(),
        keys: keys?,
        issuer: values(issuer),
        audience: values(audience),
        leeway: leeway(raw.leeway, &preset, cx),
        require: require(raw.require.map(|table| table.value.0), &preset, cx),
        sources: sources(raw.sources, preset.sources, cx),
        identity: identity(raw.identity.map(|map| map.value), preset.user, cx),
        csrf_double_submit: preset.double_submit,
    };
    Some(jwt)
}

fn values<T>(list: Vec<At<T>>) -> Vec<T> {
    list.into_iter().map(|at| at.value).collect()
}

/// A string or a list of them, which must not be empty where it is there.
fn texts(raw: Option<At<StringOrStrings>>, why: &str, cx: &mut Context<'_>) -> Vec<At<String>> {
    let raw = raw.map(|raw| At {
        key: raw.key,
        value: raw.value.0,
    });
    cx.some_strings(raw, why).unwrap_or_default()
}

fn algorithms(
    key: &str,
    raw: Option<At<StringOrStrings>>,
    preset: &Preset,
    is_broken: bool,
    cx: &mut Context<'_>,
) -> Vec<At<Algorithm>> {
    if raw.is_none() {
        if preset.algorithms.is_empty() && !is_broken {
            let names: Vec<_> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
            let problem = Problem::new(format!("{key}.algorithms"), "is required without a preset");
            cx.error(problem.allowed(names.join(", ")));
        }
        let of_preset = |algorithm: &Algorithm| At {
            key: format!("{key}.algorithms"),
            value: *algorithm,
        };
        return preset.algorithms.iter().map(of_preset).collect();
    }
    let list = texts(raw, "no token could be accepted", cx);
    list.into_iter()
        .filter_map(|name| algorithm(&name, cx))
        .collect()
}

fn algorithm(name: &At<String>, cx: &mut Context<'_>) -> Option<At<Algorithm>> {
    let value = cx.word(Some(name), ALGORITHMS)?;
    Some(At {
        key: name.key.clone(),
        value,
    })
}

/// The kinds of keys there are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Secret,
    PublicKey,
    Jwks,
}

/// The keys of the file that say where the token's keys are.
struct Given {
    secret: Option<At<Secrets>>,
    public_key: Option<At<StringOrStrings>>,
    jwks: Option<At<String>>,
    refresh: Option<At<Duration>>,
    stale: Option<At<Duration>>,
}

impl Given {
    fn kind(&self, preset: &Preset) -> Option<KeyKind> {
        match (&self.secret, &self.public_key, &self.jwks) {
            (Some(_), None, None) => Some(KeyKind::Secret),
            (None, Some(_), None) => Some(KeyKind::PublicKey),
            (None, None, Some(_)) => Some(KeyKind::Jwks),
            (None, None, None) if preset.discovery => Some(KeyKind::Jwks),
            _ => None,
        }
    }
}

/// A secret verifies HMACs alone, public keys everything else: a public key that was taken for a
/// secret would let anyone sign (CVE-2016-5431). Symmetric keys in a JWKS are ignored.
fn check_fit(
    key: &str,
    algorithms: &[At<Algorithm>],
    preset: &Preset,
    kind: KeyKind,
    cx: &mut Context<'_>,
) {
    let (name, cure) = match kind {
        KeyKind::Secret => ("secret", "`public_key` or `jwks`, or HS256, HS384, HS512"),
        KeyKind::PublicKey => ("public_key", "`secret`, or RS, PS, ES or EdDSA algorithms"),
        KeyKind::Jwks => ("jwks", "`secret`, or RS, PS, ES or EdDSA algorithms"),
    };
    for algorithm in algorithms {
        if is_hmac(algorithm.value) == (kind == KeyKind::Secret) {
            continue;
        }
        let from_preset = preset.algorithms.contains(&algorithm.value)
            && algorithm.key == format!("{key}.algorithms");
        let whose = match preset.name {
            Some(preset) if from_preset => format!("the preset {preset}'s "),
            Some(_) | None => String::new(),
        };
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

fn keys(
    key: &str,
    given: Given,
    preset: &Preset,
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
            if preset.discovery {
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

fn is_loopback(url: &Url) -> bool {
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
    } else if secret.starts_with(b"django-insecure-") {
        let message = "Django marked this secret as insecure: it came with `startproject`";
        cx.warn(Problem::new(key, message));
    }
}

fn leeway(raw: Option<At<Duration>>, preset: &Preset, cx: &mut Context<'_>) -> Duration {
    let Some(given) = raw else {
        return preset.leeway;
    };
    if given.value > LONGEST_LEEWAY {
        let problem = given.problem("would accept tokens long after their end");
        cx.error(problem.allowed("at most \"10m\""));
    }
    given.value
}

/// The preset's claims, and those of the file beside or instead of them: adding one must not let
/// a refresh token pass as access.
fn require(
    raw: Option<Vec<(String, At<Value>)>>,
    preset: &Preset,
    cx: &mut Context<'_>,
) -> Vec<(String, Value)> {
    let given = raw.unwrap_or_default();
    let kept = preset
        .require
        .iter()
        .filter(|(claim, _)| !given.iter().any(|(name, _)| name == claim));
    let mut require: Vec<_> = kept
        .map(|(claim, value)| ((*claim).to_owned(), Value::from(*value)))
        .collect();
    for (claim, at) in given {
        if matches!(claim.as_str(), "exp" | "nbf") {
            let near = nearest(&claim, ["leeway"]);
            cx.error(at.problem("is checked always, with `leeway`").nearest(near));
        }
        require.push((claim, at.value));
    }
    require
}

fn identity(raw: Option<RawMap>, user: &str, cx: &mut Context<'_>) -> IdentityMap {
    let raw = raw.unwrap_or(RawMap {
        user: None,
        roles: None,
        email: None,
        name: None,
    });
    let mut claim = |given: Option<At<String>>, default: &str| match given {
        None => default.to_owned(),
        Some(path) => {
            if path.value.is_empty() {
                cx.error(path.wrong("must name a claim"));
            }
            path.value
        }
    };
    let user = claim(raw.user, user);
    let email = claim(raw.email, "email");
    let name = claim(raw.name, "name");
    let roles = match raw.roles {
        None => vec!["roles".to_owned(), "realm_access.roles".to_owned()],
        given => values(texts(given, "leave it out for the default", cx)),
    };
    IdentityMap {
        user,
        roles,
        email: Some(email),
        name: Some(name),
    }
}
