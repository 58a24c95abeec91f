//! `type = "jwt"`: presets, keys, algorithms, and that they fit each other.

use std::time::Duration;

use http::header::AUTHORIZATION;
use serde_json::Value;

use super::auth::sources;
use super::context::Context;
use super::jwt_keys::{self, Given};
use crate::config::problem::{Problem, nearest};
use crate::config::raw::auth::{self, IdentityMap as RawMap};
use crate::config::raw::decode::At;
use crate::config::raw::shapes::StringOrStrings;
use crate::config::settings::{Algorithm, IdentityMap, Jwt, Source};

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

/// A token is never good for longer than this after its end.
const LONGEST_LEEWAY: Duration = Duration::from_mins(10);

/// What a preset stands for. Any key of the file goes before it.
struct Preset {
    name: Option<&'static str>,
    algorithms: &'static [Algorithm],
    require: &'static [(&'static str, &'static str)],
    /// Claims that must be there, whatever they say.
    present: &'static [&'static str],
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
            present: &[],
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
            present: &["jti"],
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
        discovery: preset.discovery,
    };
    let is_default = raw.algorithms.is_none();
    let algorithms = algorithms(key, raw.algorithms, &preset, is_broken, cx);
    let kind = given.kind();
    if let Some(kind) = kind {
        let by_preset = preset.name.filter(|_| is_default);
        jwt_keys::check_fit(&algorithms, by_preset, kind, cx);
    }
    let keys = jwt_keys::compile(key, given, &issuer, is_broken, cx);
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
        revoke_claim: super::session::path(raw.revoke_claim, cx),
        revocable: raw.revocable.is_some_and(|revocable| revocable.value),
    };
    Some(jwt)
}

fn values<T>(list: Vec<At<T>>) -> Vec<T> {
    list.into_iter().map(|at| at.value).collect()
}

/// A string or a list of them, which must not be empty where it is there.
pub(super) fn texts(
    raw: Option<At<StringOrStrings>>,
    why: &str,
    cx: &mut Context<'_>,
) -> Vec<At<String>> {
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
    let absent = |claim: &&&str| !given.iter().any(|(name, _)| name == **claim);
    let wanted = preset.present.iter().filter(absent);
    require.extend(wanted.map(|claim| ((*claim).to_owned(), Value::Null)));
    for (claim, at) in given {
        if matches!(claim.as_str(), "exp" | "nbf") {
            let near = nearest(&claim, ["leeway"]);
            cx.error(at.problem("is checked always, with `leeway`").nearest(near));
        }
        require.push((claim, at.value));
    }
    require
}

pub(super) fn identity(raw: Option<RawMap>, user: &str, cx: &mut Context<'_>) -> IdentityMap {
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
        // An empty list is no mistake: tokens may carry a claim that is not to be believed.
        Some(At { key, value }) => {
            let list = cx.strings(Some(At {
                key,
                value: value.0,
            }));
            values(list.map(|list| list.value).unwrap_or_default())
        }
    };
    IdentityMap {
        user,
        roles,
        email: Some(email),
        name: Some(name),
    }
}
