//! An OpenID provider's word: its ID tokens and logout tokens, verified with the keys that it publishes.
//!
//! The keys and what the provider tells of itself are fetched together and kept fresh like any JWKS.
//! What a token must say beyond any JWT's rules is decided here, in pure functions.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

use crate::auth::JwksStatus;
use crate::auth::claims::{self, Rules, refuse, seconds};
use crate::auth::json;
use crate::auth::jwks::{Document, Jwks};
use crate::auth::jwt::{self, Unverified};
use crate::auth::token::Lack;
use crate::auth::words::quoted;
use crate::clock::Timestamp;
use crate::config::settings::{IdentityMap, Jwt, KeySource, Oidc};
use crate::policy::denial::{Code, Denial};
use crate::policy::identity::Identity;

/// The event that a logout token tells (OpenID Connect Back-Channel Logout 1.0 §2.4).
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How long after it was made a logout token is taken.
pub const LOGOUT_LIFE: Duration = Duration::from_mins(5);
/// Longest `jti`, `sid` and `sub` that are looked at, in bytes.
const MOST_NAME: usize = 512;

/// One provider.
#[derive(Debug)]
pub struct Issuer {
    name: Arc<str>,
    /// As it names itself.
    iss: Box<str>,
    client_id: Box<str>,
    settings: Jwt,
    rules: Rules,
    jwks: Arc<Jwks>,
}

/// What an ID token is compared with.
#[derive(Clone, Copy, Debug)]
pub enum Expected<'a> {
    /// The value that went with the browser to the provider.
    Nonce(&'a str),
    /// The user of the session that is renewed (OpenID Connect Core 1.0 §12.2).
    Subject(&'a str),
}

/// Whom a logout token is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Names the token itself.
    pub jti: Box<str>,
    /// The session at the provider.
    pub sid: Option<Box<str>>,
    /// The user at the provider.
    pub sub: Option<Box<str>>,
}

impl Issuer {
    /// A provider; `previous` gives its keys where it is the same. `None` where the settings name no
    /// address to fetch them from, which no settings do.
    #[must_use]
    pub fn new(settings: &Oidc, previous: Option<&Self>) -> Option<Self> {
        let KeySource::JwksUrl(url) = &settings.id_token.keys else {
            return None;
        };
        let known = previous.filter(|before| before.settings.keys == settings.id_token.keys);
        let jwks = known.map_or_else(
            || Arc::new(Jwks::new(url.clone(), &settings.id_token.algorithms)),
            |before| Arc::clone(&before.jwks),
        );
        Some(Self {
            name: Arc::clone(&settings.name),
            iss: settings.issuer.clone(),
            client_id: settings.client_id.clone(),
            rules: Rules::new(&settings.id_token, Arc::clone(&settings.name)),
            settings: settings.id_token.clone(),
            jwks,
        })
    }

    /// Keeps keys and configuration fresh until cancelled.
    pub async fn keep_fresh(self: Arc<Self>, cancel: CancellationToken) {
        self.jwks.keep_fresh(cancel).await;
    }

    /// How its keys stand.
    #[must_use]
    pub fn status(&self) -> JwksStatus {
        let name = self.name.strip_prefix("auth.").unwrap_or(&self.name);
        self.jwks.status(&Arc::from(name))
    }

    /// What the provider tells of itself, waited for shortly where it was not asked yet.
    ///
    /// # Errors
    ///
    /// `auth_unavailable`.
    pub async fn document(&self) -> Result<Arc<Document>, Denial> {
        if let Some(document) = self.jwks.document() {
            return Ok(document);
        }
        self.jwks.await_change(Lack::Set).await;
        self.jwks.document().ok_or_else(|| self.jwks.unavailable())
    }

    /// Verifies an ID token (OpenID Connect Core 1.0 §3.1.3.7); gives its claims.
    ///
    /// # Errors
    ///
    /// The `token_…` codes, and `auth_unavailable`.
    pub async fn verify(
        &self,
        token: &str,
        expected: Expected<'_>,
        now: Timestamp,
    ) -> Result<Map<String, Value>, Denial> {
        let payload = self.payload(token).await?;
        let verified = jwt::judge(&payload, &self.rules, now)?;
        let claims = verified.identity.claims;
        check_id_token(&claims, &self.client_id, expected)?;
        Ok(claims)
    }

    /// Verifies a logout token (OpenID Connect Back-Channel Logout 1.0 §2.6); says who is gone.
    /// Whether it was seen before is the caller's to know.
    ///
    /// # Errors
    ///
    /// The `token_…` codes, and `auth_unavailable`.
    pub async fn verify_logout(&self, token: &str, now: Timestamp) -> Result<Gone, Denial> {
        let payload = self.payload(token).await?;
        let object = json::object(&payload)
            .map_err(|_why| jwt::malformed("the token's payload is not one plain JSON object"))?;
        if !object.repeated.is_empty() {
            return Err(jwt::malformed("a claim stands twice in the token"));
        }
        let ours = (&*self.iss, &*self.client_id);
        check_logout_token(&object.members, ours, self.settings.leeway, now)
    }

    async fn payload(&self, token: &str) -> Result<Vec<u8>, Denial> {
        let unverified = Unverified::read(token, &self.settings.algorithms)?;
        let mut waited = false;
        loop {
            let lack = match self.jwks.current() {
                None => Lack::Set,
                Some(set) if unverified.has_key_in(&set) => return unverified.verified_by(&set),
                Some(_) => Lack::Key,
            };
            match lack {
                Lack::Set if waited => return Err(self.jwks.unavailable()),
                Lack::Key if waited => return Err(self.jwks.explain_unknown(&unverified)),
                Lack::Set | Lack::Key => self.jwks.await_change(lack).await,
            }
            waited = true;
        }
    }
}

/// Whom claims name, by the paths of the configuration. It ends with the session, not with a token.
///
/// # Errors
///
/// `token_claim` where they name nobody.
pub fn identity_of(
    claims: Map<String, Value>,
    map: &IdentityMap,
    authenticator: &Arc<str>,
) -> Result<Identity, Denial> {
    let identity = Identity {
        user: claims::user(&claims, &map.user)?,
        roles: Vec::new(),
        email: claims::text(&claims, map.email.as_deref()),
        name: claims::text(&claims, map.name.as_deref()),
        expires_at: None,
        authenticator: Arc::clone(authenticator),
        claims: Map::new(),
    };
    let mut identity = identity.with_roles(claims::roles(&claims, &map.roles));
    identity.claims = claims;
    Ok(identity)
}

/// What only an ID token must say: for whom it was made, when, and in answer to what.
fn check_id_token(
    claims: &Map<String, Value>,
    client_id: &str,
    expected: Expected<'_>,
) -> Result<(), Denial> {
    if !claims.contains_key("iat") {
        return Err(refuse(Code::TokenClaim, "the ID token has no `iat`"));
    }
    let several = matches!(claims.get("aud"), Some(Value::Array(list)) if list.len() > 1);
    match claims.get("azp").map(Value::as_str) {
        None if !several => {}
        Some(Some(azp)) if azp == client_id => {}
        None | Some(_) => {
            let detail = "the ID token was made for another client (`azp`)";
            return Err(refuse(Code::TokenAudience, detail));
        }
    }
    let held = |name| claims.get(name).and_then(Value::as_str);
    let same = |name, wanted: &str| {
        held(name).is_some_and(|held| bool::from(held.as_bytes().ct_eq(wanted.as_bytes())))
    };
    let (holds, detail) = match expected {
        Expected::Nonce(nonce) => (
            same("nonce", nonce),
            "the ID token was not made for this sign-in (`nonce`)",
        ),
        Expected::Subject(sub) => (
            same("sub", sub),
            "the new ID token is another user's (`sub`)",
        ),
    };
    if holds {
        Ok(())
    } else {
        Err(refuse(Code::TokenClaim, detail))
    }
}

fn check_logout_token(
    claims: &Map<String, Value>,
    (issuer, client_id): (&str, &str),
    leeway: Duration,
    now: Timestamp,
) -> Result<Gone, Denial> {
    let wrong = |detail: &'static str| refuse(Code::TokenClaim, detail);
    let text = |name: &str| {
        let text = claims.get(name).and_then(Value::as_str);
        text.filter(|text| (1..=MOST_NAME).contains(&text.len()))
    };
    if claims.get("iss").and_then(Value::as_str) != Some(issuer) {
        let found = claims
            .get("iss")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let detail = "the logout token is another issuer's";
        return Err(
            refuse(Code::TokenIssuer, detail).note(format!("its `iss` is {}", quoted(found)))
        );
    }
    let is_ours = match claims.get("aud") {
        Some(Value::String(aud)) => aud == client_id,
        Some(Value::Array(list)) => list.iter().any(|aud| aud.as_str() == Some(client_id)),
        _ => false,
    };
    if !is_ours {
        return Err(refuse(
            Code::TokenAudience,
            "the logout token is for another client",
        ));
    }
    let made = claims.get("iat").and_then(seconds);
    let made = made.ok_or_else(|| wrong("the logout token has no `iat`"))?;
    if made > now.saturating_add(leeway) {
        return Err(refuse(
            Code::TokenNotYetValid,
            "the logout token is from the future",
        )
        .note("compare the clocks of the provider and of this machine"));
    }
    let ends = made.saturating_add(LOGOUT_LIFE).saturating_add(leeway);
    let says = match claims.get("exp") {
        None => Some(ends),
        Some(value) => seconds(value).map(|at| at.saturating_add(leeway).min(ends)),
    };
    if says.is_none_or(|ends| ends <= now) {
        return Err(refuse(Code::TokenExpired, "the logout token is over"));
    }
    let tells = claims
        .get("events")
        .and_then(|events| events.get(LOGOUT_EVENT))
        .is_some_and(Value::is_object);
    if !tells {
        return Err(wrong("the token tells no sign-out (`events`)"));
    }
    // §2.4: so that no ID token passes for one.
    if claims.contains_key("nonce") {
        return Err(wrong(
            "a logout token has no `nonce`: this is another kind of token",
        ));
    }
    let jti = text("jti").ok_or_else(|| wrong("the logout token has no `jti`"))?;
    let (sid, sub) = (text("sid"), text("sub"));
    if sid.is_none() && sub.is_none() {
        return Err(wrong("the logout token says of nobody that they are gone"));
    }
    Ok(Gone {
        jti: jti.into(),
        sid: sid.map(Box::from),
        sub: sub.map(Box::from),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
    const LEEWAY: Duration = Duration::from_secs(30);

    fn members(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn with(mut value: Value, name: &str, to: Value) -> Value {
        if to.is_null() {
            value.as_object_mut().unwrap().remove(name);
        } else {
            value[name] = to;
        }
        value
    }

    fn id_token(claims: &Value, expected: Expected<'_>) -> Result<(), Code> {
        check_id_token(&members(claims), "gate", expected).map_err(|denial| denial.code())
    }

    #[test]
    fn an_id_token_is_for_this_client_and_this_sign_in() {
        let good = json!({ "sub": "7", "aud": "gate", "iat": 1, "nonce": "n" });
        let nonce = Expected::Nonce("n");
        assert_eq!(id_token(&good, nonce), Ok(()));
        assert_eq!(id_token(&good, Expected::Subject("7")), Ok(()));
        let several = with(good.clone(), "aud", json!(["gate", "other"]));
        assert_eq!(
            id_token(&with(several.clone(), "azp", json!("gate")), nonce),
            Ok(())
        );
        for (bad, code) in [
            (with(good.clone(), "iat", Value::Null), Code::TokenClaim),
            (with(good.clone(), "nonce", Value::Null), Code::TokenClaim),
            (with(good.clone(), "nonce", json!("m")), Code::TokenClaim),
            (with(good.clone(), "nonce", json!(["n"])), Code::TokenClaim),
            (
                with(good.clone(), "azp", json!("other")),
                Code::TokenAudience,
            ),
            (with(good.clone(), "azp", json!(7)), Code::TokenAudience),
            (several, Code::TokenAudience),
        ] {
            assert_eq!(id_token(&bad, nonce), Err(code), "{bad}");
        }
        assert_eq!(
            id_token(&good, Expected::Subject("8")),
            Err(Code::TokenClaim)
        );
    }

    fn logout(claims: &Value) -> Result<Gone, Code> {
        let ours = ("https://id.example", "gate");
        check_logout_token(&members(claims), ours, LEEWAY, NOW).map_err(|denial| denial.code())
    }

    fn good() -> Value {
        json!({
            "iss": "https://id.example", "aud": "gate", "iat": NOW.unix_seconds(),
            "jti": "j", "sid": "s", "events": { LOGOUT_EVENT: {} },
        })
    }

    #[test]
    fn a_logout_token_says_who_is_gone() {
        let gone = logout(&good()).unwrap();
        assert_eq!(
            (&*gone.jti, gone.sid.as_deref(), gone.sub),
            ("j", Some("s"), None)
        );
        let by_user = with(with(good(), "sid", Value::Null), "sub", json!("7"));
        assert_eq!(logout(&by_user).unwrap().sub.as_deref(), Some("7"));
        let several = with(good(), "aud", json!(["x", "gate"]));
        assert!(logout(&several).is_ok());
    }

    #[test]
    fn what_is_no_logout_token_of_now_for_us_ends_nothing() {
        let at = |seconds: i64| json!(NOW.unix_seconds() + seconds);
        for (name, value, code) in [
            ("iss", json!("https://id.example/"), Code::TokenIssuer),
            ("iss", Value::Null, Code::TokenIssuer),
            ("aud", json!("other"), Code::TokenAudience),
            ("aud", json!(["other"]), Code::TokenAudience),
            ("aud", Value::Null, Code::TokenAudience),
            ("iat", Value::Null, Code::TokenClaim),
            ("iat", json!("1800000000"), Code::TokenClaim),
            ("iat", at(31), Code::TokenNotYetValid),
            ("iat", at(-331), Code::TokenExpired),
            ("exp", at(-30), Code::TokenExpired),
            ("exp", json!("x"), Code::TokenExpired),
            ("events", Value::Null, Code::TokenClaim),
            ("events", json!({}), Code::TokenClaim),
            ("events", json!({ LOGOUT_EVENT: true }), Code::TokenClaim),
            ("events", json!([LOGOUT_EVENT]), Code::TokenClaim),
            ("nonce", json!("n"), Code::TokenClaim),
            ("jti", Value::Null, Code::TokenClaim),
            ("jti", json!(""), Code::TokenClaim),
            ("sid", Value::Null, Code::TokenClaim),
            ("sid", json!(7), Code::TokenClaim),
        ] {
            let bad = with(good(), name, value.clone());
            assert_eq!(logout(&bad), Err(code), "{name} {value}");
        }
    }

    #[test]
    fn claims_name_whom_the_configuration_says() {
        let map = IdentityMap {
            user: "email".to_owned(),
            roles: vec!["groups".to_owned()],
            email: Some("email".to_owned()),
            name: None,
        };
        let claims = members(&json!({ "sub": "7", "email": "a@b", "groups": ["x"] }));
        let who = identity_of(claims, &map, &Arc::from("company")).unwrap();
        assert_eq!((who.user.as_str(), who.has_role("x")), ("a@b", true));
        let nobody = identity_of(members(&json!({ "sub": "7" })), &map, &Arc::from("company"));
        assert_eq!(nobody.unwrap_err().code(), Code::TokenClaim);
    }
}
