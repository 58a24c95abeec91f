//! A provider says that someone signed out there (OpenID Connect Back-Channel Logout 1.0).
//!
//! Which of the sessions that is stands in their sealed parts, which nobody reads without the cookie.
//! So what is kept is a name, a hash of the provider's session or user: whoever opens a session of that
//! name that began before is refused, at every gateway, and sockets that it holds open are closed.

use std::time::Duration;

use serde_json::{Map, Value};
use url::form_urlencoded;

use super::Provider;
use crate::auth::Gone;
use crate::auth::ledger::Revocation;
use crate::auth::revoked::ending;
use crate::auth::words::unavailable;
use crate::clock::Timestamp;
use crate::config::settings::Oidc;
use crate::policy::denial::{Code, Denial};
use crate::policy::identity::Endings;
use crate::policy::sign_in::HandlerId;
use crate::signin::SignIn;

/// How long an end is remembered beyond the longest life of a session.
const MARGIN: Duration = Duration::from_hours(24);

/// Under which names a provider may end a sign-in.
pub(in crate::signin) fn endings(
    provider: &Oidc,
    claims: &Map<String, Value>,
    began: Timestamp,
) -> Endings {
    let text = |name| claims.get(name).and_then(Value::as_str);
    let mut names = Vec::with_capacity(2);
    let sub = text("sub").unwrap_or_default();
    names.push(name(provider, "sub", sub));
    names.push(match text("sid") {
        Some(sid) => name(provider, "sid", sid),
        // One that names no session ends with any session of its user.
        None => name(provider, "sub without sid", sub),
    });
    Endings { names, began }
}

fn name(provider: &Oidc, kind: &str, value: &str) -> Box<str> {
    ending(&[kind, &provider.issuer, &provider.client_id, value])
}

/// What ends, and of when: all that began before.
fn ends(
    provider: &Oidc,
    gone: &Gone,
    now: Timestamp,
    until: Timestamp,
) -> Vec<(Box<str>, Timestamp)> {
    let (sid, sub) = (gone.sid.as_deref(), gone.sub.as_deref());
    let mut ends = Vec::new();
    match (sid, sub) {
        (Some(sid), sub) => {
            // A session that ended there never comes back, whatever the clocks say.
            ends.push((name(provider, "sid", sid), until));
            ends.extend(sub.map(|sub| (name(provider, "sub without sid", sub), now)));
        }
        (None, Some(sub)) => ends.push((name(provider, "sub", sub), now)),
        (None, None) => {}
    }
    ends
}

impl SignIn {
    /// Takes a provider's word in the body of a request that someone is gone.
    ///
    /// # Errors
    ///
    /// `bad_request` where it is none, for whatever reason (§2.8); `auth_unavailable` where it cannot
    /// be checked or kept now.
    pub async fn hear_logout(
        &self,
        handler: HandlerId,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), Denial> {
        let provider = self.provider(handler)?;
        let token = logout_token(body).ok_or_else(|| {
            Denial::new(Code::BadRequest, "the body has no `logout_token`, or two")
        })?;
        let gone = provider.issuer.verify_logout(&token, now).await;
        let gone = gone.map_err(|denial| bad(&denial))?;
        let issuer = &provider.settings.issuer;
        let once = self.0.once("logout", issuer, &gone.jti).await;
        let used = once.map_err(|denial| bad(&denial))?;
        if let Err(denial) = self.end_all(provider, &gone, now).await {
            // The provider says it again: then it has to be heard.
            self.0.unused(used).await;
            return Err(denial);
        }
        tracing::info!(
            provider = &*provider.settings.name,
            "the provider ended sign-ins"
        );
        Ok(())
    }

    /// Keeps what has ended, for all gateways.
    async fn end_all(
        &self,
        provider: &Provider,
        gone: &Gone,
        now: Timestamp,
    ) -> Result<(), Denial> {
        let until = now
            .saturating_add(self.0.sessions.lifetime)
            .saturating_add(MARGIN);
        for (name, before) in ends(&provider.settings, gone, now, until) {
            let revocation = Revocation::of_user(&name, before, until);
            let revocation = revocation.map_err(|why| {
                Denial::new(Code::BadRequest, "the logout token cannot be used")
                    .note(why.to_string())
            })?;
            let kept = self.0.revoke(revocation, now).await;
            kept.map_err(|error| unavailable(&error))?;
        }
        Ok(())
    }
}

/// The one parameter of the form.
fn logout_token(body: &[u8]) -> Option<String> {
    let mut found = form_urlencoded::parse(body).filter(|(name, _)| name == "logout_token");
    let token = found.next()?.1.into_owned();
    found.next().is_none().then_some(token)
}

/// The provider is told that its request is bad, and the operator why.
fn bad(denial: &Denial) -> Denial {
    if denial.code() == Code::AuthUnavailable {
        return denial.clone();
    }
    let note = denial.operator_note().unwrap_or_default();
    Denial::new(
        Code::BadRequest,
        format!("the logout token is not taken: {}", denial.detail()),
    )
    .note(format!("{}; {note}", denial.code()))
}

#[cfg(test)]
mod unit {
    use serde_json::json;

    use super::*;
    use crate::signin::oidc::tests::settings;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
    const UNTIL: Timestamp = Timestamp::from_unix_seconds(1_900_000_000);

    fn is_ended(claims: &Value, sid: Option<&str>, sub: Option<&str>, began: Timestamp) -> bool {
        let provider = settings();
        let endings = endings(&provider, claims.as_object().unwrap(), began);
        let gone = Gone {
            jti: "j".into(),
            sid: sid.map(Box::from),
            sub: sub.map(Box::from),
        };
        let ends = ends(&provider, &gone, NOW, UNTIL);
        ends.iter()
            .any(|(name, before)| endings.names.contains(name) && endings.began < *before)
    }

    #[test]
    fn a_session_ends_with_the_providers_session_and_no_other() {
        let mine = json!({ "sub": "7", "sid": "a" });
        let before = Timestamp::from_unix_seconds(1_799_999_999);
        assert!(is_ended(&mine, Some("a"), None, before));
        assert!(is_ended(&mine, Some("a"), Some("7"), before));
        assert!(!is_ended(&mine, Some("b"), Some("7"), before));
        assert!(is_ended(&mine, None, Some("7"), before));
        assert!(!is_ended(&mine, None, Some("8"), before));
        // A clock that is ahead keeps nobody signed in.
        assert!(is_ended(
            &mine,
            Some("a"),
            None,
            UNTIL.saturating_sub(MARGIN)
        ));
        // Who signs in anew is not ended by what was said before.
        assert!(!is_ended(&mine, None, Some("7"), NOW));
    }

    #[test]
    fn a_session_that_names_none_ends_with_any_of_its_user() {
        let mine = json!({ "sub": "7" });
        let before = Timestamp::from_unix_seconds(1_799_999_999);
        assert!(is_ended(&mine, Some("a"), Some("7"), before));
        assert!(!is_ended(&mine, Some("a"), Some("8"), before));
        assert!(!is_ended(&mine, Some("a"), None, before));
    }

    #[test]
    fn a_form_has_one_logout_token() {
        assert_eq!(
            logout_token(b"a=b&logout_token=x.y%2Ez").as_deref(),
            Some("x.y.z")
        );
        for body in [
            &b""[..],
            b"token=x",
            b"logout_token=x&logout_token=y",
            b"\xff\xff",
        ] {
            assert_eq!(logout_token(body), None);
        }
    }
}
