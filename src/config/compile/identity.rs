//! `[identity]`: the headers that tell the app who is calling.

use std::time::Duration;

use http::HeaderName;

use super::context::Context;
use super::headers;
use crate::config::raw::decode::At;
use crate::config::raw::shapes::OrFalse;
use crate::config::raw::{self};
use crate::config::settings::Assertion;
use crate::policy::identity::IdentityNames;

/// The names of `preset = "remote-user"`: user, roles, email, name.
const REMOTE_USER: [&str; 4] = [
    "remote-user",
    "remote-groups",
    "remote-email",
    "remote-name",
];

/// The names of `preset = "forwarded"`, those of oauth2-proxy.
const FORWARDED: [&str; 4] = [
    "x-forwarded-user",
    "x-forwarded-groups",
    "x-forwarded-email",
    "x-forwarded-preferred-username",
];

pub(super) fn compile(
    raw: Option<At<raw::Identity>>,
    cx: &mut Context<'_>,
) -> (IdentityNames, Option<Assertion>) {
    let mut names = IdentityNames::default();
    let Some(At { value: raw, .. }) = raw else {
        return (names, None);
    };
    let presets = &[("remote-user", REMOTE_USER), ("forwarded", FORWARDED)];
    if let Some([user, roles, email, name]) = cx.word(raw.preset.as_ref(), presets) {
        names.user = Some(HeaderName::from_static(user));
        names.roles = Some(HeaderName::from_static(roles));
        names.email = Some(HeaderName::from_static(email));
        names.name = Some(HeaderName::from_static(name));
    }
    let mut taken = Vec::new();
    rename(&mut names.user, raw.user, &mut taken, cx);
    rename(&mut names.roles, raw.roles, &mut taken, cx);
    rename(&mut names.email, raw.email, &mut taken, cx);
    rename(&mut names.name, raw.name, &mut taken, cx);
    rename(&mut names.authenticator, raw.authenticator, &mut taken, cx);
    names.claims = claims(raw.claims.map(|claims| claims.value), &mut taken, cx);
    if raw.strip.is_some() {
        names.strip = strip(raw.strip, cx);
    }
    let assertion = raw.assertion.and_then(|raw| assertion(raw, &mut taken, cx));
    names.assertion = assertion.as_ref().map(|assertion| assertion.header.clone());
    check_distinct(&names, &taken, cx);
    (names, assertion)
}

/// A name that the file gave, for the check that no two are read as one.
type Taken = Vec<At<HeaderName>>;

fn rename(
    slot: &mut Option<HeaderName>,
    raw: Option<At<OrFalse<String>>>,
    taken: &mut Taken,
    cx: &mut Context<'_>,
) {
    match raw.map(|raw| raw.value) {
        None => {}
        Some(OrFalse::Off) => *slot = None,
        Some(OrFalse::On(text)) => {
            if let Some(name) = identity_name(&text, taken, cx) {
                *slot = Some(name);
            }
        }
    }
}

fn identity_name(text: &At<String>, taken: &mut Taken, cx: &mut Context<'_>) -> Option<HeaderName> {
    let name = cx.header_name(text)?;
    check_usable(&name, text, cx);
    taken.push(At {
        key: text.key.clone(),
        value: name.clone(),
    });
    Some(name)
}

fn check_usable<T>(name: &HeaderName, text: &At<T>, cx: &mut Context<'_>) {
    if !headers::may_tell_identity(name) {
        let problem = text.problem("is a header with a meaning of its own");
        cx.error(
            problem
                .found(format!("\"{name}\""))
                .allowed("a name such as X-Auth-User"),
        );
    }
    if name.as_str().contains(['_', '.']) {
        let problem = text.problem("must be written with `-`: many servers drop other names");
        cx.error(problem.found(format!("\"{name}\"")));
    }
}

fn claims(
    raw: Option<raw::shapes::Named<String>>,
    taken: &mut Taken,
    cx: &mut Context<'_>,
) -> Vec<(HeaderName, String)> {
    let mut claims = Vec::new();
    for (name, path) in raw.unwrap_or_default().0 {
        if path.value.is_empty() {
            cx.error(path.wrong("must name a claim"));
        }
        let Some(name) = headers::named(&name, &path.key, cx) else {
            continue;
        };
        check_usable(&name, &path, cx);
        taken.push(At {
            key: path.key,
            value: name.clone(),
        });
        claims.push((name, path.value));
    }
    claims
}

fn strip(raw: Option<At<raw::shapes::Strings>>, cx: &mut Context<'_>) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for text in cx.strings(raw).map(|list| list.value).unwrap_or_default() {
        let Some(name) = cx.header_name(&text) else {
            continue;
        };
        if headers::is_reserved(&name) {
            cx.error(text.wrong("is handled by the gateway already"));
        }
        names.push(name);
    }
    names
}

fn assertion(
    raw: At<raw::Assertion>,
    taken: &mut Taken,
    cx: &mut Context<'_>,
) -> Option<Assertion> {
    let At {
        key: at,
        value: raw,
    } = raw;
    let header = match &raw.header {
        None => Some(HeaderName::from_static("x-auth-assertion")),
        Some(text) => identity_name(text, taken, cx),
    };
    if raw.key.is_none() {
        cx.lacks(&at, "key", None);
    }
    let ttl = match raw.ttl {
        None => Duration::from_mins(1),
        given => cx.positive(given),
    };
    // Made on first start, so it need not be there.
    let key = raw.key.map(|path| cx.path(&path));
    Some(Assertion {
        header: header?,
        key: key?,
        ttl,
        audience: raw.audience.map(|audience| audience.value),
    })
}

/// Two names that WSGI reads as one would let one value pass for the other.
fn check_distinct(names: &IdentityNames, taken: &Taken, cx: &mut Context<'_>) {
    let told = IdentityNames {
        strip: Vec::new(),
        ..names.clone()
    };
    for one in taken {
        let same = |name: &&HeaderName| headers::fold(name) == headers::fold(&one.value);
        if told.owned().filter(same).count() > 1 {
            let problem = one.problem("another identity header has this name");
            cx.error(problem.found(format!("\"{}\"", one.value)));
        }
    }
}
