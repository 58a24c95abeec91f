//! From a token's claims to an identity: whether they hold now, and whom they name.
//!
//! Runs after the signature was verified, never before. As strict as `PyJWT` 2.15 and SimpleJWT:
//! times are JSON numbers, cut to whole seconds (`int()`), `exp` is over at `now - leeway`, and
//! `nbf` and `iat` may lie at most `leeway` ahead.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::auth::json::Object;
use crate::auth::words::{quoted, span};
use crate::clock::Timestamp;
use crate::config::settings::{IdentityMap, Jwt};
use crate::policy::denial::{Challenge, Code, Denial};
use crate::policy::identity::{Identity, claim_at};

/// The last second that Python's `datetime` can hold: SimpleJWT fails on anything later.
const LAST_SECOND: i64 = 253_402_300_799;
/// Longest user id in bytes; more is no id and would not fit in a header.
const MAX_USER: usize = 1024;
/// How far ahead a token may be for the clocks to be the likely cause.
const SKEW: Duration = Duration::from_mins(10);

/// What the claims must say.
#[derive(Debug)]
pub(crate) struct Rules {
    issuer: Vec<String>,
    audience: Vec<String>,
    leeway: Duration,
    require: Vec<(String, Value)>,
    identity: IdentityMap,
    authenticator: Arc<str>,
}

/// Who a token names, and from when on it holds.
#[derive(Debug)]
pub(crate) struct Verified {
    /// Who it names; its `expires_at` is `exp` and the leeway.
    pub(crate) identity: Identity,
    /// The first moment at which it holds, the leeway taken off.
    pub(crate) valid_from: Timestamp,
}

/// A refusal of a token that was sent.
pub(crate) fn refuse(code: Code, detail: impl Into<Cow<'static, str>>) -> Denial {
    Denial::new(code, detail).challenge(Challenge::InvalidToken)
}

impl Rules {
    /// The rules of an authenticator.
    pub(crate) fn new(settings: &Jwt, authenticator: Arc<str>) -> Self {
        Self {
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            leeway: settings.leeway,
            require: settings.require.clone(),
            identity: settings.identity.clone(),
            authenticator,
        }
    }

    /// Judges verified claims at a point in time.
    ///
    /// # Errors
    ///
    /// `token_malformed`, `token_not_yet_valid`, `token_expired`, `token_audience`,
    /// `token_issuer` or `token_claim`: the first that does not hold.
    pub(crate) fn judge(&self, object: Object, now: Timestamp) -> Result<Verified, Denial> {
        self.refuse_repeated(&object)?;
        let claims = object.members;
        let valid_from = self.begun(&claims, now)?;
        let expires_at = self.unexpired(&claims, now)?;
        self.check_audience(&claims)?;
        self.check_issuer(&claims)?;
        self.check_required(&claims)?;
        self.check_registered_strings(&claims)?;
        let identity = Identity {
            user: user(&claims, &self.identity.user)?,
            roles: Vec::new(),
            email: text(&claims, self.identity.email.as_deref()),
            name: text(&claims, self.identity.name.as_deref()),
            expires_at: Some(expires_at),
            authenticator: Arc::clone(&self.authenticator),
            claims: Map::new(),
        };
        let mut identity = identity.with_roles(roles(&claims, &self.identity.roles));
        identity.claims = claims;
        Ok(Verified {
            identity,
            valid_from,
        })
    }

    /// Whether a token that says this issuer could ever be taken.
    pub(crate) fn may_come_from(&self, issuer: Option<&Value>) -> bool {
        self.issuer.is_empty()
            || issuer
                .and_then(Value::as_str)
                .is_some_and(|iss| self.issuer.iter().any(|wanted| wanted == iss))
    }

    /// RFC 7519 §4 leaves two ways with a claim that stands twice: refuse, or take the last as
    /// Python does. A claim that a rule reads is refused; of one that only names the user, or
    /// that no rule reads, the last counts, so that app and gateway take the same one.
    fn refuse_repeated(&self, object: &Object) -> Result<(), Denial> {
        const REGISTERED: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];
        let first = |path: &str| path.split('.').next().unwrap_or_default().to_owned();
        let judged = object.repeated.iter().find(|name| {
            REGISTERED.contains(&name.as_str())
                || (self.require.iter().map(|(path, _)| path))
                    .chain(&self.identity.roles)
                    .any(|path| path == *name || first(path) == **name)
        });
        match judged {
            None => Ok(()),
            Some(_) => Err(refuse(
                Code::TokenMalformed,
                "a claim stands twice in the token's payload",
            )),
        }
    }

    fn begun(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<Timestamp, Denial> {
        let mut valid_from = Timestamp::from_unix_seconds(0);
        for (name, what) in [("iat", "was issued"), ("nbf", "becomes valid")] {
            let Some(value) = claims.get(name) else {
                continue;
            };
            let at = seconds(value).ok_or_else(|| no_time(name))?;
            let from = at.saturating_sub(self.leeway);
            if from > now {
                return Err(not_yet(name, what, at, now));
            }
            valid_from = valid_from.max(from);
        }
        Ok(valid_from)
    }

    fn unexpired(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<Timestamp, Denial> {
        let Some(value) = claims.get("exp") else {
            return Err(refuse(
                Code::TokenClaim,
                "the token has no `exp` claim: one that never expires is not taken",
            )
            .note("the app issues tokens without an expiry; set its lifetime (ACCESS_TOKEN_LIFETIME, JWT_ACCESS_TOKEN_EXPIRES)"));
        };
        let at = seconds(value).ok_or_else(|| no_time("exp"))?;
        let end = at.saturating_add(self.leeway);
        if end > now {
            return Ok(end);
        }
        let ago = span(now.saturating_since(at));
        let denial = refuse(
            Code::TokenExpired,
            format!("the token expired {ago} ago at {at}"),
        );
        let issued = claims.get("iat").and_then(seconds);
        Err(match issued {
            Some(issued) if issued >= at => denial.note(
                "the token was issued already expired: look at the lifetime the app gives its tokens",
            ),
            Some(_) | None => denial,
        })
    }

    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), Denial> {
        if self.audience.is_empty() {
            return Ok(());
        }
        let ours = |value: &str| self.audience.iter().any(|wanted| wanted == value);
        let held = match claims.get("aud") {
            Some(Value::String(aud)) => ours(aud),
            Some(Value::Array(items)) => {
                items.iter().all(Value::is_string)
                    && items.iter().filter_map(Value::as_str).any(ours)
            }
            _ => false,
        };
        if held {
            return Ok(());
        }
        let note = format!(
            "the token's `aud` is {}; wanted: {}",
            shown(claims.get("aud")),
            self.audience.join(", ")
        );
        let detail = "the token's `aud` claim does not name this service";
        Err(refuse(Code::TokenAudience, detail).note(note))
    }

    fn check_issuer(&self, claims: &Map<String, Value>) -> Result<(), Denial> {
        let issuer = claims.get("iss");
        if self.may_come_from(issuer) {
            Ok(())
        } else {
            Err(self.other_issuer(issuer))
        }
    }

    /// The refusal of a token that says it is from another issuer.
    pub(crate) fn other_issuer(&self, issuer: Option<&Value>) -> Denial {
        let note = format!(
            "a token of another issuer: its `iss` is {}; this authenticator takes {}",
            shown(issuer),
            self.issuer.join(", ")
        );
        let detail = "the token's `iss` claim is not the issuer that is trusted here";
        refuse(Code::TokenIssuer, detail).note(note)
    }

    fn check_required(&self, claims: &Map<String, Value>) -> Result<(), Denial> {
        for (path, wanted) in &self.require {
            let found = claim_at(claims, path);
            let held = match (wanted, found) {
                (Value::Null, found) => found.is_some_and(|value| !value.is_null()),
                (wanted, Some(found)) => wanted == found,
                (_, None) => false,
            };
            if !held {
                return Err(unmet(path, wanted, found));
            }
        }
        Ok(())
    }

    /// `PyJWT` 2.10 and later refuses a `sub` or `jti` that is no string even where nobody reads it.
    /// A `sub` that names the user may be a whole number: older Flask-JWT-Extended issues those.
    fn check_registered_strings(&self, claims: &Map<String, Value>) -> Result<(), Denial> {
        for name in ["sub", "jti"] {
            let fits = claims
                .get(name)
                .is_none_or(|value| value.is_string() || self.identity.user == name);
            if !fits {
                let detail = format!("the token's `{name}` claim is not a string");
                return Err(refuse(Code::TokenClaim, detail));
            }
        }
        Ok(())
    }
}

/// A time claim: a JSON number, cut to whole seconds as `PyJWT`'s `int()`, from 1970 to the end of
/// year 9999.
pub(crate) fn seconds(value: &Value) -> Option<Timestamp> {
    let Value::Number(number) = value else {
        return None;
    };
    let whole = match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) => whole,
        #[expect(
            clippy::cast_possible_truncation,
            reason = "cutting the fraction is what is wanted, and the range is checked before"
        )]
        (None, Some(float)) if float.abs() < 1e15 => float.trunc() as i64,
        (None, _) => return None,
    };
    (0..=LAST_SECOND)
        .contains(&whole)
        .then(|| Timestamp::from_unix_seconds(whole))
}

fn no_time(name: &str) -> Denial {
    let detail = format!("the token's `{name}` claim is not a time (seconds since 1970, a number)");
    refuse(Code::TokenMalformed, detail)
}

fn not_yet(name: &str, what: &str, at: Timestamp, now: Timestamp) -> Denial {
    let ahead = at.saturating_since(now);
    let detail = format!("the token {what} {} from now, at {at}", span(ahead));
    let denial = refuse(Code::TokenNotYetValid, detail);
    if ahead <= SKEW {
        denial.note(format!(
            "`{name}` is {} ahead: the clock of the app's machine or of this one seems off; set both by NTP, or give `leeway`",
            span(ahead)
        ))
    } else {
        denial
    }
}

fn unmet(path: &str, wanted: &Value, found: Option<&Value>) -> Denial {
    let detail = match (wanted, found) {
        (_, None) => format!("the token has no `{path}` claim, which is wanted here"),
        _ => format!("the token's `{path}` claim has not the value wanted here"),
    };
    let refresh = found.and_then(Value::as_str).is_some_and(|kind| {
        kind.eq_ignore_ascii_case("refresh")
            && matches!(path, "token_type" | "type" | "typ" | "token_use")
    });
    let note = if refresh {
        "a refresh token was used where an access token belongs: the front end sends the wrong one of the two"
            .to_owned()
    } else {
        format!("`{path}` is {}; wanted: {wanted}", shown(found))
    };
    let detail = if refresh {
        "this is a refresh token; an access token is wanted here".to_owned()
    } else {
        detail
    };
    refuse(Code::TokenClaim, detail).note(note)
}

fn user(claims: &Map<String, Value>, path: &str) -> Result<String, Denial> {
    let refusal = |what: &str| {
        let detail = format!("the token's `{path}` claim, which names the user, {what}");
        Err(refuse(Code::TokenClaim, detail))
    };
    match claim_at(claims, path) {
        None => refusal("is missing"),
        Some(Value::String(name)) if name.trim().is_empty() => refusal("is blank"),
        Some(Value::String(name)) if name.len() > MAX_USER => refusal("is too long"),
        Some(Value::String(name)) => Ok(name.clone()),
        Some(Value::Number(id)) if id.is_i64() || id.is_u64() => Ok(id.to_string()),
        Some(
            Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_),
        ) => refusal("is neither a string nor a whole number"),
    }
}

/// A text at a path that is not blank.
pub(crate) fn text(claims: &Map<String, Value>, path: Option<&str>) -> Option<String> {
    let text = claim_at(claims, path?)?.as_str()?;
    (!text.trim().is_empty() && text.len() <= MAX_USER).then(|| text.to_owned())
}

/// The roles at each path. A string is one role, but for `scope` and `scp`, whose strings are
/// lists with blanks between (RFC 6749 §3.3). Nothing is trimmed, folded or split otherwise, and
/// what is no string is no role.
pub(crate) fn roles(claims: &Map<String, Value>, paths: &[String]) -> Vec<String> {
    let mut roles = Vec::new();
    for path in paths {
        let listed = matches!(path.rsplit('.').next(), Some("scope" | "scp"));
        match claim_at(claims, path) {
            Some(Value::String(one)) if listed => {
                roles.extend(one.split(' ').map(str::to_owned));
            }
            Some(Value::String(one)) => roles.push(one.clone()),
            Some(Value::Array(items)) => {
                roles.extend(items.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {}
        }
    }
    roles.retain(|role| !role.trim().is_empty());
    roles
}

/// A claim for the operator's eyes, cut short.
fn shown(value: Option<&Value>) -> String {
    match value {
        None => "missing".to_owned(),
        Some(Value::String(text)) => quoted(text),
        Some(other) => quoted(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::auth::json::object;
    use crate::auth::testing::{NOW, claims, claims_with, hs256};

    fn judged(settings: &Jwt, claims: &Value) -> Result<Verified, Denial> {
        judged_text(settings, &claims.to_string())
    }

    fn judged_text(settings: &Jwt, claims: &str) -> Result<Verified, Denial> {
        let rules = Rules::new(settings, Arc::from("app"));
        rules.judge(object(claims.as_bytes()).unwrap(), NOW)
    }

    fn code(settings: &Jwt, claims: &Value) -> Code {
        judged(settings, claims).unwrap_err().code()
    }

    fn at(seconds: i64) -> Value {
        (NOW.unix_seconds() + seconds).into()
    }

    #[test]
    fn an_expired_token_tells_an_honest_developer_when_it_expired() {
        let denial = judged(&hs256(), &claims_with(&json!({ "exp": at(-3 * 3600) }))).unwrap_err();
        assert_eq!(denial.code(), Code::TokenExpired);
        assert_eq!(
            denial.detail(),
            "the token expired 3 h ago at 2026-01-02T00:04:05Z"
        );
    }

    #[test]
    fn leeway_is_the_same_for_exp_and_nbf_and_ends_sharply() {
        let settings = Jwt {
            leeway: Duration::from_secs(30),
            ..hs256()
        };
        for (name, inside, outside, refusal) in [
            ("exp", -29, -30, Code::TokenExpired),
            ("nbf", 30, 31, Code::TokenNotYetValid),
            ("iat", 30, 31, Code::TokenNotYetValid),
        ] {
            assert!(judged(&settings, &claims_with(&json!({ name: at(inside) }))).is_ok());
            assert_eq!(
                code(&settings, &claims_with(&json!({ name: at(outside) }))),
                refusal
            );
        }
    }

    #[test]
    fn the_identity_ends_with_the_leeway_so_that_a_late_token_is_not_over_at_once() {
        let settings = Jwt {
            leeway: Duration::from_secs(30),
            ..hs256()
        };
        let verified = judged(&settings, &claims_with(&json!({ "exp": at(-10) }))).unwrap();
        assert!(!verified.identity.is_over(NOW));
    }

    #[test]
    fn a_time_that_is_no_sound_number_is_refused_and_never_absent() {
        for bad in [
            json!("1767329045"),
            json!(null),
            json!(true),
            json!([1_767_329_045]),
            json!({}),
            json!(-1),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(1e308),
            json!(253_402_300_800_i64),
        ] {
            for name in ["exp", "nbf", "iat"] {
                let mut claims = claims();
                claims[name] = bad.clone();
                assert_eq!(
                    code(&hs256(), &claims),
                    Code::TokenMalformed,
                    "{name} {bad}"
                );
            }
        }
        let missing = claims_with(&json!({ "exp": null }));
        assert_eq!(code(&hs256(), &missing), Code::TokenClaim);
    }

    #[test]
    fn a_fraction_of_a_second_is_cut_off_as_python_does() {
        assert_eq!(seconds(&json!(5.9)), Some(Timestamp::from_unix_seconds(5)));
        assert_eq!(
            seconds(&json!(5e3)),
            Some(Timestamp::from_unix_seconds(5000))
        );
    }

    #[test]
    fn a_user_is_a_string_that_is_not_blank_or_a_whole_number() {
        for bad in [
            json!(""),
            json!("  "),
            json!("\t\n"),
            json!(true),
            json!([]),
            json!(["7"]),
            json!({ "id": 7 }),
            json!(7.5),
            json!("x".repeat(5000)),
        ] {
            let mut claims = claims();
            claims["sub"] = bad.clone();
            assert_eq!(code(&hs256(), &claims), Code::TokenClaim, "{bad}");
        }
        for (good, user) in [(json!("7"), "7"), (json!(7), "7"), (json!(" a "), " a ")] {
            let verified = judged(&hs256(), &claims_with(&json!({ "sub": good }))).unwrap();
            assert_eq!(verified.identity.user, user);
        }
        let missing = claims_with(&json!({ "sub": null }));
        assert_eq!(code(&hs256(), &missing), Code::TokenClaim);
    }

    #[test]
    fn only_what_says_exactly_admin_where_roles_stand_makes_an_admin() {
        for not_admin in [
            json!({ "roles": "administrator" }),
            json!({ "roles": " admin" }),
            json!({ "roles": "Admin" }),
            json!({ "roles": "user admin" }),
            json!({ "roles": "user,admin" }),
            json!({ "roles": { "admin": true } }),
            json!({ "roles": [["admin"]] }),
            json!({ "roles": [{ "name": "admin" }] }),
            json!({ "roles": "*" }),
            json!({ "roles": "аdmin" }),
            json!({ "role": "admin", "groups": ["admin"] }),
        ] {
            let verified = judged(&hs256(), &claims_with(&not_admin)).unwrap();
            assert!(!verified.identity.has_role("admin"), "{not_admin}");
        }
        for admin in [
            json!({ "roles": "admin" }),
            json!({ "roles": ["user", "admin", 5] }),
            json!({ "scope": "user admin" }),
        ] {
            let verified = judged(&hs256(), &claims_with(&admin)).unwrap();
            assert!(verified.identity.has_role("admin"), "{admin}");
        }
    }

    #[test]
    fn issuer_and_audience_are_equal_or_refused() {
        let settings = Jwt {
            issuer: vec!["https://id.example/".to_owned()],
            audience: vec!["shop".to_owned()],
            ..hs256()
        };
        let with = |iss: Value, aud: Value| claims_with(&json!({ "iss": iss, "aud": aud }));
        for aud in [json!("shop"), json!(["other", "shop"])] {
            assert!(judged(&settings, &with(json!("https://id.example/"), aud)).is_ok());
        }
        for iss in [
            json!("https://id.example"),
            json!("https://id.example/x"),
            json!(["https://id.example/"]),
            json!(null),
        ] {
            assert_eq!(
                code(&settings, &with(iss, json!("shop"))),
                Code::TokenIssuer
            );
        }
        for aud in [
            json!("shopping"),
            json!(["other"]),
            json!([["shop"]]),
            json!(["shop", 5]),
            json!([]),
            json!(null),
        ] {
            let claims = with(json!("https://id.example/"), aud);
            assert_eq!(code(&settings, &claims), Code::TokenAudience);
        }
    }

    #[test]
    fn a_refresh_token_used_as_access_is_named() {
        let settings = Jwt {
            require: vec![("token_type".to_owned(), json!("access"))],
            ..hs256()
        };
        let denial =
            judged(&settings, &claims_with(&json!({ "token_type": "refresh" }))).unwrap_err();
        assert_eq!(denial.code(), Code::TokenClaim);
        assert!(denial.operator_note().unwrap().contains("refresh token"));
        assert_eq!(code(&settings, &claims()), Code::TokenClaim);
    }

    #[test]
    fn a_claim_that_must_be_there_may_say_anything_but_null() {
        let settings = Jwt {
            require: vec![("jti".to_owned(), Value::Null)],
            ..hs256()
        };
        assert!(judged(&settings, &claims_with(&json!({ "jti": "x" }))).is_ok());
        assert_eq!(code(&settings, &claims()), Code::TokenClaim);
        let mut null = claims();
        null["jti"] = Value::Null;
        assert_eq!(code(&settings, &null), Code::TokenClaim);
    }

    #[test]
    fn a_clock_that_seems_off_is_named() {
        let denial = judged(&hs256(), &claims_with(&json!({ "iat": at(20) }))).unwrap_err();
        assert_eq!(denial.code(), Code::TokenNotYetValid);
        assert!(denial.operator_note().unwrap().contains("clock"));
        let far = judged(&hs256(), &claims_with(&json!({ "nbf": at(86_400) }))).unwrap_err();
        assert_eq!(far.operator_note(), None);
    }

    #[test]
    fn a_claim_that_a_rule_reads_must_not_stand_twice() {
        let exp = NOW.unix_seconds() + 600;
        for text in [
            format!(r#"{{"sub":"7","exp":{exp},"exp":{exp}}}"#),
            format!(r#"{{"sub":"7","exp":{exp},"roles":["a"],"roles":["admin"]}}"#),
            format!(r#"{{"sub":"7","sub":"1","exp":{exp}}}"#),
        ] {
            let refusal = judged_text(&hs256(), &text).unwrap_err();
            assert_eq!(refusal.code(), Code::TokenMalformed, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_number_makes_a_time_overflow(number in any::<f64>(), leeway in any::<u32>()) {
            let settings = Jwt { leeway: Duration::from_secs(leeway.into()), ..hs256() };
            for name in ["exp", "nbf", "iat"] {
                let _ = judged(&settings, &claims_with(&json!({ name: number })));
            }
        }
    }
}
