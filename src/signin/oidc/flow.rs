//! What a sign-in has to remember while the browser is at the provider, and the cookie it goes in.
//!
//! One cookie a sign-in, so that several tabs do not write over each other; ten minutes, and no more
//! than a few at a time. AES-256-GCM under a key of its own, which HKDF-SHA256 derives from the client
//! secret, that all gateways have, and random bytes: however many are made, no key seals twice. The
//! name of the cookie, the issuer and the client are authenticated with it.

use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use http::HeaderMap;
use http::HeaderValue;
use http::header::COOKIE;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::clock::Timestamp;
use crate::config::settings::Oidc;
use crate::policy::return_path::ReturnPath;
use crate::secret::Secret;

/// What the names of these cookies begin with. No app gets them.
pub const FLOW_COOKIE: &str = "__Host-portcullis-oidc-";
/// How long a browser may be at the provider.
pub(super) const LIFE: Duration = Duration::from_mins(10);
/// Sign-ins that a browser may have under way; over it the oldest is given up.
pub(super) const MOST: usize = 8;
/// Longest value that is opened, in bytes.
const LONGEST: usize = 4 * 1024;
const SALT: usize = 32;
/// Names the use of the derived key, and how it is derived.
const USE: &[u8] = b"portcullis sign-in under way, 1: aes-256-gcm";

/// A sign-in under way.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Comes back with the browser (RFC 6749 §10.12).
    pub state: Secret<String>,
    /// Comes back in the ID token.
    pub nonce: Secret<String>,
    /// Goes to the provider with the code (RFC 7636).
    pub verifier: Secret<String>,
    /// The page that was asked for.
    pub back: Box<str>,
    /// The origin that it was asked at.
    pub origin: Box<str>,
    /// When it began.
    pub began: Timestamp,
}

/// The same as it is sealed.
#[derive(Serialize, Deserialize, Zeroize)]
#[zeroize(drop)]
struct Written {
    s: String,
    n: String,
    v: String,
    b: String,
    o: String,
    t: i64,
}

impl Flow {
    /// A new one; `None` where the system has no random bytes.
    pub(super) fn draw(back: ReturnPath<'_>, origin: &str, now: Timestamp) -> Option<Self> {
        Some(Self {
            state: drawn()?,
            nonce: drawn()?,
            verifier: drawn()?,
            back: back.as_str().into(),
            origin: origin.into(),
            began: now,
        })
    }

    /// The line that gives its cookie.
    pub(super) fn give(&self, provider: &Oidc) -> Option<HeaderValue> {
        let name = name_of(self.state.expose());
        let value = self.seal(provider, &name)?;
        line(&name, &value, LIFE.as_secs())
    }

    fn seal(&self, provider: &Oidc, name: &str) -> Option<String> {
        let written = Written {
            s: self.state.expose().clone(),
            n: self.nonce.expose().clone(),
            v: self.verifier.expose().clone(),
            b: self.back.to_string(),
            o: self.origin.to_string(),
            t: self.began.unix_micros(),
        };
        let plain = Zeroizing::new(serde_json::to_vec(&written).ok()?);
        let mut salt = [0; SALT];
        rand::fill(&mut salt).ok()?;
        let key = derived(provider, &salt).ok()?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(plain.len() + 16));
        bytes.extend_from_slice(&plain);
        let about = Aad::from(about(provider, name));
        // The key seals once, so any nonce is unique for it.
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        key.seal_in_place_append_tag(nonce, about, &mut *bytes)
            .ok()?;
        Some(BASE64.encode([&salt[..], &bytes].concat()))
    }

    /// Opens a cookie; `None` where it is of another provider, was changed, or is none.
    #[must_use]
    pub fn open(provider: &Oidc, name: &str, value: &str) -> Option<Self> {
        if value.len() > LONGEST {
            return None;
        }
        let bytes = BASE64.decode(value).ok()?;
        let (salt, sealed) = bytes.split_first_chunk::<SALT>()?;
        let key = derived(provider, salt).ok()?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let about = Aad::from(about(provider, name));
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let plain = key.open_in_place(nonce, about, &mut sealed).ok()?;
        let mut written: Written = serde_json::from_slice(plain).ok()?;
        Some(Self {
            state: Secret::new(std::mem::take(&mut written.s)),
            nonce: Secret::new(std::mem::take(&mut written.n)),
            verifier: Secret::new(std::mem::take(&mut written.v)),
            back: ReturnPath::parse(&written.b)?.as_str().into(),
            origin: written.o.as_str().into(),
            began: Timestamp::from_unix_micros(written.t),
        })
    }

    /// The sign-in that a `state` belongs to, out of a request's cookies.
    pub(super) fn of_state(provider: &Oidc, headers: &HeaderMap, state: &str) -> Option<Self> {
        let wanted = name_of(state);
        let value = cookies(headers).find_map(|(name, value)| (*name == *wanted).then_some(value));
        let flow = Self::open(provider, &wanted, value?)?;
        let same = flow.state.expose().as_bytes().ct_eq(state.as_bytes());
        bool::from(same).then_some(flow)
    }

    /// Whether the browser was away for too long, or the clock was set back.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        let ahead = self.began.saturating_since(now) > Duration::from_mins(1);
        ahead || now.saturating_since(self.began) >= LIFE
    }
}

/// The line that takes the cookie of a state away.
pub(super) fn take(state: &str) -> Option<HeaderValue> {
    line(&name_of(state), "", 0)
}

/// The lines that take away what is too much before one more is given: what does not open here, and
/// the oldest.
pub(super) fn make_room(provider: &Oidc, headers: &HeaderMap) -> Vec<HeaderValue> {
    let mut all: Vec<_> = cookies(headers)
        .map(|(name, value)| {
            let began = Flow::open(provider, name, value).map(|flow| flow.began);
            (began, name)
        })
        .collect();
    all.sort_unstable();
    let surplus = (all.len() + 1).saturating_sub(MOST);
    let gone = all.into_iter().take(surplus);
    gone.filter_map(|(_, name)| line(name, "", 0)).collect()
}

/// The cookies of sign-ins under way that a request has; no more than could be given.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| name.starts_with(FLOW_COOKIE) && is_name(name))
        .take(4 * MOST)
}

/// A name that this file gives.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    name.len() == FLOW_COOKIE.len() + 16 && name.bytes().all(plain)
}

fn name_of(state: &str) -> String {
    let hash = digest::digest(&digest::SHA256, state.as_bytes());
    let start = hash.as_ref().split_at(12).0;
    format!("{FLOW_COOKIE}{}", BASE64.encode(start))
}

fn line(name: &str, value: &str, age: u64) -> Option<HeaderValue> {
    // The provider's page sends the browser back, so `Strict` would keep it away.
    let line = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={age}");
    let mut line = HeaderValue::try_from(line).ok()?;
    line.set_sensitive(true);
    Some(line)
}

/// 256 random bits, as 43 characters that stand in addresses as they are.
fn drawn() -> Option<Secret<String>> {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::fill(&mut *bytes).ok()?;
    Some(Secret::new(BASE64.encode(*bytes)))
}

fn derived(provider: &Oidc, salt: &[u8; SALT]) -> Result<LessSafeKey, Unspecified> {
    let secret = provider.client_secret.expose().as_bytes();
    let pseudorandom = Salt::new(HKDF_SHA256, salt).extract(secret);
    let info: [&[u8]; 1] = [USE];
    let expanded = pseudorandom.expand(&info, &AES_256_GCM)?;
    Ok(LessSafeKey::new(UnboundKey::from(expanded)))
}

/// What is authenticated beside the sealed bytes. None of the parts has a line break.
fn about(provider: &Oidc, name: &str) -> Vec<u8> {
    let parts = [&*provider.name, &provider.issuer, &provider.client_id, name];
    parts.join("\n").into_bytes()
}

#[cfg(test)]
mod unit {
    use proptest::prelude::*;

    use super::*;
    use crate::signin::oidc::tests::settings;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

    fn flow() -> Flow {
        let back = ReturnPath::parse("/a?b=c").unwrap();
        Flow::draw(back, "https://app.example", NOW).unwrap()
    }

    fn after(seconds: u64) -> Timestamp {
        NOW.saturating_add(Duration::from_secs(seconds))
    }

    /// What a browser sends that got these lines.
    fn sent(lines: &[HeaderValue]) -> HeaderMap {
        let pairs = lines.iter().map(|line| {
            let line = line.to_str().unwrap();
            line.split(';').next().unwrap().to_owned()
        });
        let mut headers = HeaderMap::new();
        let line = pairs.collect::<Vec<_>>().join("; ");
        headers.insert(COOKIE, HeaderValue::try_from(line).unwrap());
        headers
    }

    #[test]
    fn a_sign_in_is_found_by_its_state_and_by_no_other() {
        let (one, other) = (flow(), flow());
        let provider = settings();
        let headers = sent(&[one.give(&provider).unwrap(), other.give(&provider).unwrap()]);
        let found = Flow::of_state(&provider, &headers, one.state.expose()).unwrap();
        assert_eq!(found.nonce, one.nonce);
        assert_eq!(found.verifier, one.verifier);
        assert_eq!(
            (&*found.back, &*found.origin),
            ("/a?b=c", "https://app.example")
        );
        assert_eq!(found.began, NOW);
        assert!(Flow::of_state(&provider, &headers, flow().state.expose()).is_none());
        assert!(Flow::of_state(&provider, &HeaderMap::new(), one.state.expose()).is_none());
    }

    #[test]
    fn the_cookie_is_out_of_reach_of_scripts_and_of_other_hosts_for_ten_minutes() {
        let line = flow().give(&settings()).unwrap();
        let line = line.to_str().unwrap();
        assert!(line.starts_with(FLOW_COOKIE));
        assert!(line.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600"));
    }

    #[test]
    fn nothing_of_it_is_read_without_the_client_secret_or_for_another_client() {
        let flow = flow();
        let provider = settings();
        let line = flow.give(&provider).unwrap();
        let line = line.to_str().unwrap().to_owned();
        for hidden in [&flow.state, &flow.nonce, &flow.verifier] {
            assert!(!line.contains(hidden.expose().as_str()));
        }
        let (name, rest) = line.split_once('=').unwrap();
        let value = rest.split(';').next().unwrap();
        assert!(Flow::open(&provider, name, value).is_some());
        let mut others = [settings(), settings(), settings(), settings()];
        others[0].client_secret = Secret::new("another secret of the client".to_owned());
        others[1].client_id = "other".into();
        others[2].issuer = "https://other.example".into();
        others[3].name = "auth.other".into();
        for other in others {
            assert!(Flow::open(&other, name, value).is_none());
        }
        let moved = format!("{FLOW_COOKIE}AAAAAAAAAAAAAAAA");
        assert!(Flow::open(&provider, &moved, value).is_none());
        for at in 0..value.len() {
            let mut bytes = value.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(Flow::open(&provider, name, &changed).is_none(), "{at}");
        }
    }

    #[test]
    fn it_is_over_after_ten_minutes() {
        let flow = flow();
        assert!(!flow.is_over(NOW) && !flow.is_over(after(599)));
        assert!(flow.is_over(after(600)));
        assert!(flow.is_over(NOW.saturating_sub(Duration::from_secs(61))));
    }

    #[test]
    fn a_browser_has_no_more_than_a_few_and_the_oldest_go_first() {
        let provider = settings();
        let mut lines = Vec::new();
        for number in 0..MOST as u64 {
            let began = after(number);
            let flow = Flow { began, ..flow() };
            let given = flow.give(&provider).unwrap();
            assert!(make_room(&provider, &sent(&lines)).is_empty());
            lines.push(given);
        }
        let gone = make_room(&provider, &sent(&lines));
        let oldest = lines[0].to_str().unwrap().split('=').next().unwrap();
        assert_eq!(gone.len(), 1);
        assert!(
            gone[0]
                .to_str()
                .unwrap()
                .starts_with(&format!("{oldest}=;"))
        );
        let foreign = format!("{FLOW_COOKIE}AAAAAAAAAAAAAAAA=x");
        lines.push(HeaderValue::try_from(foreign).unwrap());
        let gone = make_room(&provider, &sent(&lines));
        assert_eq!(gone.len(), 2);
        assert!(gone[0].to_str().unwrap().contains("AAAAAAAAAAAAAAAA"));
    }

    proptest! {
        #[test]
        fn no_cookie_makes_it_panic(value in "[A-Za-z0-9_-]{0,200}|.{0,60}", state in ".{0,60}") {
            let provider = settings();
            prop_assert!(Flow::open(&provider, FLOW_COOKIE, &value).is_none());
            let mut headers = HeaderMap::new();
            if let Ok(line) = HeaderValue::from_str(&format!("{}={value}", name_of(&state))) {
                headers.insert(COOKIE, line);
            }
            prop_assert!(Flow::of_state(&provider, &headers, &state).is_none());
        }
    }
}
