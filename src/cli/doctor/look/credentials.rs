//! Shows the credentials that were given to those who read them, as a request would.

use std::net::{IpAddr, Ipv4Addr};

use http::HeaderValue;
use http::header::COOKIE;

use super::super::finding::Finding;
use super::super::round::Look;
use super::super::{keys, probes};
use super::{Scene, known};
use crate::cli::ask::Wish;
use crate::cli::foresee::{Outcome, foresee};
use crate::cli::load;
use crate::clock;
use crate::config::settings::{Authenticator, AuthenticatorKind, DjangoBackend, KeySource};
use crate::gateway::Snapshot;
use crate::pipeline::judge::Who;
use crate::policy::denial::{Code, Denial};
use crate::policy::route::Route;
use crate::secret::Secret;

/// One look for each credential.
pub(super) fn looks(scene: &Scene) -> Vec<Look<'_>> {
    let mut looks: Vec<_> = known(untried(scene)).into_iter().collect();
    if scene.credentials.is_empty() {
        return looks;
    }
    let Some(gate) = &scene.gate else {
        let why = "the configuration has mistakes: mend them first";
        let found = Finding::skipped("secret.cookie", "what was given", why);
        looks.extend(known(vec![found]));
        return looks;
    };
    if let Some(token) = &scene.credentials.token {
        looks.push(Look::new("secret.token", "the token", async move {
            vec![try_token(gate, token).await]
        }));
    }
    for (name, value) in &scene.credentials.cookies {
        let about = format!("cookie {name}");
        looks.push(Look::new("secret.cookie", about, async move {
            try_cookie(gate, name, value).await
        }));
    }
    looks
}

/// Secrets that nothing which is stored tells of, and for which no credential was given.
fn untried(scene: &Scene) -> Vec<Finding> {
    let given = |cookie: &str| {
        let mut cookies = scene.credentials.cookies.iter();
        cookies.any(|(name, _)| name == cookie)
    };
    let settings = scene.settings.authenticators.iter();
    let untried = settings.filter_map(|one| {
        let about = format!("auth.{}", one.name);
        let by_cookie = |cookie: &str| {
            let why =
                format!("nothing that is stored tells: give a good one by --cookie {cookie}=…");
            (!given(cookie)).then(|| Finding::skipped("secret.cookie", &about, &why))
        };
        match &one.kind {
            AuthenticatorKind::Jwt(jwt) => {
                let is_secret = matches!(jwt.keys, KeySource::Secrets(_));
                let why = "its secret can be tried with a token that should be good, by --token";
                (is_secret && scene.credentials.token.is_none())
                    .then(|| Finding::skipped("secret.token", &about, why))
            }
            AuthenticatorKind::DjangoSession(django) => match django.backend {
                DjangoBackend::Cache { .. } | DjangoBackend::SignedCookies { .. } => {
                    by_cookie(&django.cookie)
                }
                DjangoBackend::Db { .. }
                | DjangoBackend::CachedDb { .. }
                | DjangoBackend::File { .. } => None,
            },
            AuthenticatorKind::FlaskCookie(flask) => by_cookie(&flask.cookie),
            AuthenticatorKind::FlaskSession(flask) => {
                flask.signer.as_ref().and_then(|_| by_cookie(&flask.cookie))
            }
            AuthenticatorKind::ApiKey(_)
            | AuthenticatorKind::Basic(_)
            | AuthenticatorKind::ClientCertificate(_)
            | AuthenticatorKind::GatewaySession(_)
            | AuthenticatorKind::Oidc(_)
            | AuthenticatorKind::Forward(_) => None,
        }
    });
    untried.collect()
}

async fn try_token(gate: &Snapshot, token: &Secret<String>) -> Finding {
    load::keys_are_there(gate).await;
    let said = gate
        .authenticators
        .inspect_token(token.expose(), clock::now());
    let said: Vec<_> = said
        .into_iter()
        .map(|one| (one.authenticator, one.accepted, one.words))
        .collect();
    keys::token(&said)
}

/// A cookie at every authenticator that reads it, on the first route that takes that one.
async fn try_cookie(gate: &Snapshot, name: &str, value: &Secret<String>) -> Vec<Finding> {
    let all = gate.settings.authenticators.iter().enumerate();
    let readers = all.filter(|(_, one)| cookie_of(one) == Some(name));
    let mut found = Vec::new();
    for (place, reader) in readers {
        let routes = gate.policy.routes.all().iter();
        let mut routes = routes.filter(|route| route.authenticators.iter().any(|id| id.0 == place));
        let Some(route) = routes.next() else { continue };
        found.push(match refusal(gate, route, name, value).await {
            Ok(refused) => keys::cookie(&reader.name, name, refused.as_ref()),
            Err(why) => {
                let about = format!("auth.{}, cookie {name}", reader.name);
                Finding::skipped("secret.cookie", &about, &why)
            }
        });
    }
    if found.is_empty() {
        let about = format!("cookie {name}");
        let why = "no authenticator of a route reads a session cookie of this name";
        found.push(Finding::skipped("secret.cookie", &about, why));
    }
    found
}

/// The cookie that an authenticator reads sessions from.
fn cookie_of(authenticator: &Authenticator) -> Option<&str> {
    match &authenticator.kind {
        AuthenticatorKind::DjangoSession(django) => Some(&django.cookie),
        AuthenticatorKind::FlaskSession(flask) => Some(&flask.cookie),
        AuthenticatorKind::FlaskCookie(flask) => Some(&flask.cookie),
        AuthenticatorKind::Jwt(_)
        | AuthenticatorKind::ApiKey(_)
        | AuthenticatorKind::Basic(_)
        | AuthenticatorKind::ClientCertificate(_)
        | AuthenticatorKind::GatewaySession(_)
        | AuthenticatorKind::Oidc(_)
        | AuthenticatorKind::Forward(_) => None,
    }
}

/// Why a request with the cookie would be refused for it. What is refused for another reason holds.
async fn refusal(
    gate: &Snapshot,
    route: &Route,
    name: &str,
    value: &Secret<String>,
) -> Result<Option<Denial>, String> {
    let host = route.hosts.first().map(probes::example);
    let host = host.unwrap_or_else(|| "localhost".to_owned());
    let path = probes::path(route);
    let method = route.methods.as_ref().and_then(|methods| methods.first());
    let text = Secret::new(format!("{name}={}", value.expose()));
    let header = HeaderValue::try_from(text.expose().as_str());
    let mut header = header.map_err(|_bad| "it has characters that no cookie has".to_owned())?;
    header.set_sensitive(true);
    let wish = Wish {
        method: method.map_or("GET", http::Method::as_str),
        // Without TLS: which certificate would be served does not matter here.
        url: &format!("http://{host}{path}"),
        headers: vec![(COOKIE, header)],
        websocket: false,
        from: IpAddr::V4(Ipv4Addr::LOCALHOST),
        certificate: None,
        by_port: false,
    };
    let ask = wish.ask(gate)?;
    let foreseen = foresee(gate, &ask, Who::Bearer, clock::now()).await;
    Ok(match foreseen.outcome {
        Outcome::Refused { denial, .. } => {
            Some(denial).filter(|denial| of_credential(denial.code()))
        }
        Outcome::Forward { .. } | Outcome::Answer { .. } => foreseen
            .overlooked
            .filter(|denial| of_credential(denial.code())),
    })
}

/// Whether a code speaks of the credential, and not of what its bearer may do.
fn of_credential(code: Code) -> bool {
    code == Code::AuthUnavailable || code.status() == http::StatusCode::UNAUTHORIZED
}
