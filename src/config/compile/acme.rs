//! `[tls.acme]`: for which names, from which CA, kept where.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{alphabet, engine::DecodePaddingMode};
use url::Url;

use super::context::Context;
use super::rate_limit;
use crate::config::problem::Problem;
use crate::config::raw::decode::At;
use crate::config::raw::doors;
use crate::config::raw::shapes::{RawSecret, Secrets, Strings};
use crate::config::settings::{
    Acme, AcmeChallenge, ExternalAccount, LedgerHome, Server, SharedAcme,
};
use crate::policy::host::{HostPattern, HostPatternError};
use crate::secret::Secret;

/// Let's Encrypt, for certificates that browsers trust.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Beside the file.
const CACHE: &str = "acme";
/// Most names of one certificate: what Let's Encrypt takes.
const MOST_DOMAINS: usize = 100;
/// Most addresses to write to.
const MOST_CONTACTS: usize = 10;
/// Most bytes of the name of a CA's key.
const MOST_KEY_ID: usize = 512;
/// Fewest bytes of a CA's key: with fewer it could be guessed.
const LEAST_KEY: usize = 16;
/// Fewest bytes of what keys are sealed with.
const LEAST_SECRET: usize = 32;
/// How a secret is written.
const SECRET: &str = "{ file = \"path\" }, the same at every gateway: 32 bytes or more, such as \
                      `openssl rand -base64 32` gives; of a list the first seals, and all open";
/// What gateways need that order together.
const SHARED: &str = "`store` of [session] as \"redis://…\", \"rediss://…\" or \"postgres://…\"; or \
                      `shared = false`: each gateway orders for itself, or all on one `cache`";
/// How a CA's key is written (RFC 8555 §7.3.4): base64url, without padding or with it.
const KEY_TEXT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn compile(
    raw: At<doors::Acme>,
    server: Option<&Server>,
    home: Option<&LedgerHome>,
    cx: &mut Context<'_>,
) -> Option<Acme> {
    let At { key, value: raw } = raw;
    if raw.domains.is_none() {
        let allowed = "the names of the certificate, such as [\"app.example.com\"]";
        cx.lacks(&key, "domains", Some(allowed));
    }
    let challenge = challenge(raw.challenge.as_ref(), server, cx);
    let cache = raw.cache.unwrap_or_else(|| At {
        key: format!("{key}.cache"),
        value: CACHE.to_owned(),
    });
    let external_account = external_account(&key, raw.eab_key_id, raw.eab_key, cx);
    let shared = shared(&key, raw.shared, raw.secret, home, cx);
    let acme = Acme {
        domains: domains(raw.domains, cx),
        contact: contact(raw.contact, cx),
        directory: directory(raw.directory.as_ref(), cx),
        ca: raw.ca.map(|path| cx.file(&path)),
        cache: cx.path(&cache),
        challenge,
        external_account,
        shared,
    };
    if server.is_some_and(|server| server.https.is_empty()) {
        let message = "needs https: a certificate is for TLS, and `https` of [server] is false";
        cx.error(Problem::new(key, message));
    }
    (!acme.domains.is_empty()).then_some(acme)
}

fn challenge(
    given: Option<&At<String>>,
    server: Option<&Server>,
    cx: &mut Context<'_>,
) -> AcmeChallenge {
    let words = [AcmeChallenge::TlsAlpn01, AcmeChallenge::Http01].map(|one| (one.as_str(), one));
    let challenge = cx.word(given, &words).unwrap_or(AcmeChallenge::TlsAlpn01);
    let has_http = server.is_none_or(|server| !server.http.is_empty());
    if let Some(given) = given
        && challenge == AcmeChallenge::Http01
        && !has_http
    {
        let message = "needs `http` in [server]: the CA asks there, at port 80 of each name";
        cx.error(
            given
                .wrong(message)
                .allowed("http = \"0.0.0.0:80\" in [server]"),
        );
    }
    challenge
}

/// Whether gateways are to order together, by a table that is right or not.
pub(super) fn is_shared(tls: Option<&At<doors::Tls>>) -> bool {
    let acme = tls.and_then(|tls| tls.value.acme.as_ref());
    let shared = acme.and_then(|acme| acme.value.shared.as_ref());
    shared.is_some_and(|shared| shared.value)
}

/// Where gateways order together: in the store of `[session]`, which must be one that they share.
fn shared(
    at: &str,
    shared: Option<At<bool>>,
    secret: Option<At<Secrets>>,
    home: Option<&LedgerHome>,
    cx: &mut Context<'_>,
) -> Option<SharedAcme> {
    let Some(shared) = shared.filter(|shared| shared.value) else {
        if let Some(secret) = secret {
            let message = "is used by nothing without `shared = true`";
            cx.warn(Problem::new(secret.key, message).of_the_key());
        }
        return None;
    };
    let secrets = secrets(at, secret, cx);
    // One that is wrong is told where it stands.
    let home = home?;
    if let Some(alone) = rate_limit::alone(home) {
        let message = "is kept in the store of [session], which other gateways do not see";
        let problem = Problem::new(shared.key, message).found(format!("store = {alone}"));
        cx.error(problem.allowed(SHARED));
    }
    Some(SharedAcme {
        home: home.clone(),
        secrets,
    })
}

/// What account and certificates are sealed with.
fn secrets(at: &str, given: Option<At<Secrets>>, cx: &mut Context<'_>) -> Vec<Secret<Vec<u8>>> {
    let Some(given) = given else {
        cx.lacks(at, "secret", Some(SECRET));
        return Vec::new();
    };
    if given.value.0.is_empty() {
        cx.error(given.problem("must not be empty").allowed(SECRET));
    }
    let mut secrets = Vec::with_capacity(given.value.0.len());
    for one in given.value.0 {
        let key = one.key.clone();
        let Some(secret) = cx.secret(one) else {
            continue;
        };
        let bytes = secret.expose().as_bytes();
        if bytes.len() < LEAST_SECRET {
            let message = "is too short to seal private keys with";
            let problem = Problem::new(key, message).found(format!("{} bytes", bytes.len()));
            cx.error(problem.allowed(SECRET));
        }
        secrets.push(Secret::new(bytes.to_vec()));
    }
    secrets
}

/// The CA's own account: both of it, or neither.
fn external_account(
    at: &str,
    key_id: Option<At<String>>,
    key: Option<At<RawSecret>>,
    cx: &mut Context<'_>,
) -> Option<ExternalAccount> {
    let (key_id, key) = match (key_id, key) {
        (None, None) => return None,
        (Some(key_id), Some(key)) => (key_id, key),
        (Some(_), None) => {
            let allowed = "the key that the CA gave with `eab_key_id`: { file = \"path\" }";
            cx.lacks(at, "eab_key", Some(allowed));
            return None;
        }
        (None, Some(_)) => {
            cx.lacks(at, "eab_key_id", Some("what the CA calls its key"));
            return None;
        }
    };
    let is_id = (1..=MOST_KEY_ID).contains(&key_id.value.len())
        && key_id.value.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_id {
        let problem = key_id.wrong("is no name of a key at a CA");
        cx.error(problem.allowed("letters, digits and signs without blanks, as the CA shows it"));
    }
    let place = key.key.clone();
    let text = cx.secret(key)?;
    let Ok(bytes) = KEY_TEXT.decode(text.expose().trim()) else {
        let message = "is not base64url: take the key as the CA shows it";
        cx.error(Problem::new(place, message).allowed("letters, digits, - and _"));
        return None;
    };
    let bytes = Secret::new(bytes);
    let found = bytes.expose().len();
    if found < LEAST_KEY {
        let message = "is too short to be a CA's key";
        let problem = Problem::new(place, message).found(format!("{found} bytes"));
        cx.error(problem.allowed(format!("{LEAST_KEY} bytes or more, written in base64url")));
        return None;
    }
    Some(ExternalAccount {
        key_id: key_id.value,
        key: bytes,
    })
}

fn domains(given: Option<At<Strings>>, cx: &mut Context<'_>) -> Vec<String> {
    let key = given.as_ref().map(|given| given.key.clone());
    let list = cx.some_strings(given, "a certificate has at least one name");
    let list = list.unwrap_or_default();
    if let Some(key) = key
        && list.len() > MOST_DOMAINS
    {
        let message = "has more names than one certificate may have";
        let problem = Problem::new(key, message);
        let found = format!("{} names", list.len());
        cx.error(problem.found(found).allowed(format!("1 to {MOST_DOMAINS}")));
    }
    let mut domains: Vec<String> = Vec::with_capacity(list.len());
    for text in list {
        match domain(&text.value) {
            Ok(name) if domains.contains(&name) => {
                cx.error(text.wrong("stands in this list twice"));
            }
            Ok(name) => domains.push(name),
            Err(why) => {
                let allowed = "a DNS name such as \"app.example.com\"";
                cx.error(text.wrong(why).allowed(allowed));
            }
        }
    }
    domains
}

/// The name as certificates have it: lower case, and in IDNA where it is in other letters.
fn domain(text: &str) -> Result<String, String> {
    let wildcard = || {
        let why = "is a wildcard, which neither challenge can prove: list the names, or get the \
                   certificate by dns-01 elsewhere and name it in [[tls.certificate]]";
        Err(why.to_owned())
    };
    let name = match HostPattern::parse(text) {
        Ok(HostPattern::Exact(name)) => name,
        Ok(HostPattern::Wildcard(_))
        | Err(HostPatternError::Star(_) | HostPatternError::Everything) => return wildcard(),
        Err(error) => return Err(error.to_string()),
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if name.starts_with('[') || name.parse::<IpAddr>().is_ok() {
        return Err("is an address, and certificates are ordered for names alone".to_owned());
    }
    if !name.bytes().all(fits) {
        return Err("has a character that no DNS name of a host has".to_owned());
    }
    Ok(name.into())
}

fn contact(given: Option<At<Strings>>, cx: &mut Context<'_>) -> Vec<String> {
    let key = given.as_ref().map(|given| given.key.clone());
    let list = cx.some_strings(given, "leave it out where the CA needs nobody to write to");
    let list = list.unwrap_or_default();
    if let Some(key) = key
        && list.len() > MOST_CONTACTS
    {
        let message = format!("has more than {MOST_CONTACTS} addresses");
        cx.error(Problem::new(key, message));
    }
    let mut contact = Vec::with_capacity(list.len());
    for text in list {
        let address = text.value.strip_prefix("mailto:").unwrap_or(&text.value);
        if is_mail_address(address) {
            contact.push(format!("mailto:{address}"));
        } else {
            let allowed = "an address such as \"ops@example.com\"";
            cx.error(text.wrong("is not a mail address").allowed(allowed));
        }
    }
    contact
}

/// One address without a display name or header fields, which RFC 8555 §7.3 forbids.
fn is_mail_address(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"\"(),:;<>?[\\]&%".contains(&byte);
    text.len() <= 254
        && text.bytes().all(fits)
        && text.split_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && domain(host).is_ok() && !host.contains('@')
        })
}

fn directory(given: Option<&At<String>>, cx: &mut Context<'_>) -> String {
    let Some(given) = given else {
        return DIRECTORY.to_owned();
    };
    let url = Url::parse(&given.value).ok();
    let url = url.filter(|url| {
        url.scheme() == "https"
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    });
    let Some(url) = url else {
        let problem = given.wrong("is not the https address of an ACME directory");
        cx.error(problem.allowed("such as \"https://ca.example.com/acme/directory\""));
        return String::new();
    };
    url.into()
}
