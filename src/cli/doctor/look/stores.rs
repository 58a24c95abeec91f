//! Looks at databases, caches, key sets and endpoints.

use std::time::Duration;

use super::super::clocks::{self, Reading, USUAL_LEEWAY};
use super::super::finding::Finding;
use super::super::round::Look;
use super::super::{keys, stores};
use super::{Scene, known};
use crate::auth::{RowCheck, published};
use crate::clock;
use crate::config::settings::{Authenticator, AuthenticatorKind, JwksUrl, Jwt, KeySource};
use crate::store::look::{Clock, Place, home};

/// For a JWKS, discovery included.
const JWKS: Duration = Duration::from_secs(5);

/// All that authenticators and directories ask.
pub(super) fn looks(scene: &Scene) -> Vec<Look<'_>> {
    let mut looks = Vec::new();
    for place in scene.stores.iter().flat_map(crate::store::Stores::places) {
        looks.push(at(scene, place));
    }
    let sessions = scene.settings.sessions.as_ref().map(|one| &one.home);
    let acme = scene.settings.tls.acme.as_ref();
    let acme = acme.and_then(|acme| acme.shared.as_ref());
    let shared = (scene.settings.counts.as_ref()).or(acme.map(|shared| &shared.home));
    if let Some(own) = sessions.or(shared) {
        match home(own) {
            Ok(place) => looks.extend(place.map(|place| at(scene, place))),
            Err(wrong) => {
                let found = Finding::problem(
                    "store.answers",
                    &wrong.key,
                    &wrong.message,
                    "correct the address",
                );
                looks.extend(known(vec![found]));
            }
        }
    }
    for authenticator in &scene.settings.authenticators {
        if let Some(jwt) = authenticator.kind.tokens()
            && let KeySource::JwksUrl(url) = &jwt.keys
        {
            looks.push(jwks(authenticator, jwt, url));
        }
    }
    if let Some(gate) = &scene.gate {
        looks.push(Look::new("endpoint.answers", "endpoints", async move {
            let answers = gate.authenticators.ask_endpoints().await;
            let found = answers
                .iter()
                .map(|(name, answer)| stores::endpoint(name, answer));
            found.collect()
        }));
    }
    looks
}

/// One store: whether it answers, its clock, and what its sessions say of the secret.
fn at(scene: &Scene, place: Place) -> Look<'_> {
    let about = format!("{}, {}", place.name, place.shown);
    Look::new("store.answers", about.clone(), async move {
        let outcome = place.look.take().await;
        let mut found = vec![stores::answers(&about, &outcome)];
        let Ok(sight) = outcome else {
            return found;
        };
        if let Some(clock) = sight.clock {
            let reading = reading(clock);
            found.push(clocks::verdict(
                "clock.store",
                &about,
                &reading,
                USUAL_LEEWAY,
            ));
        }
        let check = row_check(scene, &place.name);
        if let (Some(sessions), Some(check)) = (sight.sessions, check) {
            let outcomes = sessions.iter().map(|stored| check.holds(stored));
            let samples = stores::Samples::of(outcomes);
            found.push(stores::secret(&about, samples));
        }
        found
    })
}

fn reading(clock: Clock) -> Reading {
    Reading {
        theirs: clock.theirs,
        exact: Duration::ZERO,
        before: clock.before,
        after: clock.after,
    }
}

/// What can check the stored sessions of an authenticator, by the name that its store has.
fn row_check(scene: &Scene, name: &str) -> Option<RowCheck> {
    let name = name.strip_prefix("auth.")?;
    let mut all = scene.settings.authenticators.iter();
    let one = all.find(|one| *one.name == *name)?;
    match &one.kind {
        AuthenticatorKind::DjangoSession(django) => RowCheck::new(django),
        AuthenticatorKind::Jwt(_)
        | AuthenticatorKind::ApiKey(_)
        | AuthenticatorKind::Basic(_)
        | AuthenticatorKind::ClientCertificate(_)
        | AuthenticatorKind::FlaskSession(_)
        | AuthenticatorKind::FlaskCookie(_)
        | AuthenticatorKind::GatewaySession(_)
        | AuthenticatorKind::Oidc(_)
        | AuthenticatorKind::Forward(_) => None,
    }
}

fn jwks<'a>(authenticator: &Authenticator, jwt: &'a Jwt, url: &'a JwksUrl) -> Look<'a> {
    let about = format!("auth.{}, {}", authenticator.name, shown(url));
    Look::new("jwks.keys", about.clone(), async move {
        let before = clock::now();
        let fetched = tokio::time::timeout(JWKS, published(url, &jwt.algorithms)).await;
        let fetched =
            fetched.unwrap_or_else(|_elapsed| Err(format!("no whole answer in {JWKS:?}")));
        let mut found = vec![keys::jwks(&about, &fetched)];
        let date = fetched.ok().and_then(|published| published.date);
        let headers = date.into_iter().map(|date| (http::header::DATE, date));
        if let Some(reading) = Reading::of_answer(&headers.collect(), before, clock::now()) {
            found.push(clocks::verdict("clock.jwks", &about, &reading, jwt.leeway));
        }
        found
    })
}

/// A URL without what may be a password in it.
fn shown(url: &JwksUrl) -> String {
    let port = url.url.port().map(|port| format!(":{port}"));
    format!(
        "{}://{}{}{}",
        url.url.scheme(),
        url.url.host_str().unwrap_or_default(),
        port.unwrap_or_default(),
        url.url.path()
    )
}
