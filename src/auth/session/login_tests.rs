//! What Flask-Login adds, through the authenticator that a request meets: whose session it is, and
//! whom a cookie remembers.

use std::time::Duration;

use aws_lc_rs::hmac::{HMAC_SHA512, Key};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use serde_json::json;

use super::flask_login::{Client, RememberCodec};
use super::signing::{Signer, hex_hmac};
use crate::auth::testing::{NOW, ask_at, assemble, get, headers, named, run};
use crate::auth::{Attempt, Authenticators, Request};
use crate::clock::Timestamp;
use crate::config::settings::{
    AuthenticatorKind, FlaskCookie, FlaskLogin, IdentityMap, RememberCookie, SessionIdentity,
};
use crate::policy::denial::Code;
use crate::policy::forwarded;
use crate::secret::Secret;

const KEY: &[u8] = b"k";
const AGENT: &str = "a browser";

fn app(strong: bool) -> Authenticators {
    let remember = RememberCookie {
        cookie: "remember_token".into(),
        secret: Secret::new(KEY.to_vec()),
    };
    let kind = AuthenticatorKind::FlaskCookie(Box::new(FlaskCookie {
        secrets: vec![Secret::new(KEY.to_vec())],
        cookie: "session".into(),
        lifetime: Duration::from_hours(1),
        identity: SessionIdentity {
            user: vec!["_user_id".to_owned()],
            others: IdentityMap {
                user: String::new(),
                roles: Vec::new(),
                email: None,
                name: None,
            },
        },
        login: FlaskLogin {
            strong,
            remember: Some(remember),
        },
    }));
    assemble(&[named("app", kind)])
}

/// Flask's cookie, signed now.
fn session(data: &serde_json::Value) -> String {
    let at = NOW.unix_seconds().to_be_bytes();
    let value = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(data.to_string()),
        URL_SAFE_NO_PAD.encode(&at[4..])
    );
    let signer = Signer::itsdangerous("cookie-session", &[Secret::new(KEY.to_vec())]);
    signer.sign(&value)
}

fn remember(user: &str) -> String {
    let made = hex_hmac(&Key::new(HMAC_SHA512, KEY), user.as_bytes());
    format!("{user}|{made}")
}

fn cookies(session: Option<&str>, remember: Option<&str>) -> HeaderMap {
    let session = session.map(|value| format!("session={value}"));
    let remember = remember.map(|value| format!("remember_token={value}"));
    let all: Vec<_> = session.into_iter().chain(remember).collect();
    headers(&[("cookie", &all.join("; ")), ("user-agent", AGENT)])
}

fn client(chain: &str) -> forwarded::Client {
    let value = |text: &str| HeaderValue::from_str(text).unwrap();
    forwarded::Client {
        ip: "192.0.2.1".parse().unwrap(),
        scheme: forwarded::Scheme::Https,
        host: value("app.example"),
        port: 443,
        chain: value(chain),
        authority: value("app.example"),
    }
}

/// `_id` for a client.
fn bound(address: &str, agent: &str) -> String {
    let client = Client {
        address: Some(address.as_bytes().into()),
        user_agent: Some(agent.as_bytes().into()),
    };
    client.identifier()
}

async fn ask<'a>(all: &'a Authenticators, headers: &HeaderMap, chain: &str) -> Attempt<'a> {
    let client = client(chain);
    let request = Request {
        client: Some(&client),
        ..get(headers)
    };
    ask_at(all, &request, NOW).await
}

fn user(attempt: &Attempt<'_>) -> Result<String, Code> {
    match &attempt.caller {
        Some(caller) => Ok(caller.identity().user.clone()),
        None => Err(attempt.denial.as_ref().unwrap().code()),
    }
}

#[test]
fn a_verdict_under_strong_protection_is_not_reused_for_another_browser_or_address() {
    run(async {
        let all = app(true);
        let own = session(&json!({ "_user_id": "7", "_id": bound("192.0.2.1", AGENT) }));
        let own = cookies(Some(&own), None);
        let mut other = own.clone();
        other.insert("user-agent", HeaderValue::from_static("another"));
        for _time in 0..2 {
            let attempt = ask(&all, &own, "192.0.2.1, 10.0.0.1").await;
            assert_eq!(user(&attempt), Ok("7".to_owned()));
            for (headers, chain) in [(&other, "192.0.2.1"), (&own, "192.0.2.2, 192.0.2.1")] {
                let attempt = ask(&all, headers, chain).await;
                assert_eq!(user(&attempt), Err(Code::SessionAnonymous));
                let note = attempt.denial.as_ref().unwrap().operator_note().unwrap();
                assert!(note.contains("session_protection"), "{note}");
            }
        }
    });
}

#[test]
fn two_user_agents_are_one_with_a_comma_as_gunicorn_joins_them() {
    run(async {
        let all = app(true);
        let own = session(&json!({ "_user_id": "7", "_id": bound("192.0.2.1", "a,b") }));
        let mut headers = cookies(Some(&own), None);
        headers.insert("user-agent", HeaderValue::from_static("a"));
        headers.append("user-agent", HeaderValue::from_static("b"));
        assert!(ask(&all, &headers, "192.0.2.1").await.caller.is_some());
    });
}

#[test]
fn a_cookie_remembers_only_where_flask_sees_no_user_in_the_session() {
    run(async {
        let token = remember("8");
        let own = bound("192.0.2.1", AGENT);
        let seven = session(&json!({ "_user_id": "7", "_id": own }));
        let stolen = session(&json!({ "_user_id": "7", "_id": "0" }));
        let visitor = session(&json!({ "language": "fa", "_id": own }));
        let unbound = session(&json!({ "language": "fa" }));
        let leaving = session(&json!({ "language": "fa", "_remember": "clear", "_id": own }));
        let broken = session(&json!({ "_user_id": ["7"], "_id": own }));
        let foreign = format!("{}.AAAA", seven.rsplit_once('.').unwrap().0);
        let remembered = Ok("8".to_owned());
        for (session, strong, wanted) in [
            (None, true, remembered.clone()),
            (Some(&seven), true, Ok("7".to_owned())),
            (Some(&stolen), false, Ok("7".to_owned())),
            (Some(&stolen), true, Err(Code::SessionAnonymous)),
            (Some(&visitor), true, remembered.clone()),
            (Some(&unbound), false, remembered.clone()),
            (Some(&unbound), true, Err(Code::SessionAnonymous)),
            (Some(&leaving), true, Err(Code::SessionAnonymous)),
            (Some(&foreign), true, remembered),
            // Flask answers 500 to what it cannot read under a good signature.
            (Some(&broken), true, Err(Code::SessionMalformed)),
        ] {
            let all = app(strong);
            let headers = cookies(session.map(String::as_str), Some(&token));
            let attempt = ask(&all, &headers, "192.0.2.1").await;
            assert_eq!(user(&attempt), wanted, "{session:?} strong: {strong}");
            if attempt.caller.is_some() {
                assert!(attempt.by_cookie, "a browser sends it by itself");
                assert!(
                    attempt.refused_credentials.is_empty(),
                    "the app is given both, and decides the same"
                );
            }
        }
    });
}

#[test]
fn a_remember_cookie_that_does_not_hold_is_refused_and_never_a_visitor() {
    run(async {
        let all = app(false);
        let visitor = session(&json!({ "language": "fa" }));
        let good = remember("8");
        let bad = good.replace("8|", "9|");
        for session in [None, Some(visitor.as_str())] {
            let headers = cookies(session, Some(&bad));
            let attempt = ask(&all, &headers, "192.0.2.1").await;
            assert_eq!(user(&attempt), Err(Code::SessionSignature));
        }
        let twice = format!("remember_token={good}; remember_token={bad}");
        let attempt = ask(&all, &headers(&[("cookie", &twice)]), "192.0.2.1").await;
        assert_eq!(user(&attempt), Err(Code::SessionMalformed));
    });
}

#[test]
fn an_answer_that_sets_either_cookie_forgets_what_was_known() {
    run(async {
        let all = app(true);
        let own = session(&json!({ "_user_id": "7", "_id": bound("192.0.2.1", AGENT) }));
        let sent = cookies(Some(&own), Some(&remember("8")));
        for (line, left) in [
            ("session=; Path=/", 0),
            ("remember_token=; Path=/", 0),
            ("other=1", 1),
            ("sessions=1", 1),
        ] {
            assert!(ask(&all, &sent, "192.0.2.1").await.caller.is_some());
            assert_eq!(all.remembered(), 1);
            let carrying = all.carrying(&sent);
            assert!(!format!("{carrying:?}").contains(&own), "a credential");
            let answer = headers(&[("set-cookie", line)]);
            all.forget(&carrying, Some(&client("192.0.2.1")), &answer);
            assert_eq!(all.remembered(), left, "{line}");
        }
        let none = all.carrying(&headers(&[("user-agent", AGENT)]));
        all.forget(&none, None, &headers(&[("set-cookie", "session=")]));
        assert_eq!(all.remembered(), 1);
    });
}

proptest! {
    #[test]
    fn a_remember_cookie_with_one_changed_byte_is_refused(
        user in "[a-z0-9|]{1,20}",
        at in any::<prop::sample::Index>(),
        put in "[ -~]",
    ) {
        let codec = RememberCodec::new(&Secret::new(KEY.to_vec()));
        let good = remember(&user);
        prop_assert_eq!(codec.read(&good).unwrap(), user);
        let at = at.index(good.len());
        let mut changed = good.clone();
        changed.replace_range(at..=at, &put);
        prop_assert!(changed == good || codec.read(&changed).is_err());
    }

    #[test]
    fn any_client_has_an_identifier_of_its_own(
        one in prop::collection::vec(any::<u8>(), 0..20),
        other in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let of = |agent: &[u8]| Client {
            address: None,
            user_agent: Some(agent.to_vec().into()),
        };
        let same = of(&one).identifier() == of(&other).identifier();
        prop_assert_eq!(same, one == other);
        prop_assert_eq!(of(&one).identifier().len(), 128);
    }
}

#[test]
fn a_remembered_login_ends_with_no_session() {
    run(async {
        let all = app(false);
        let headers = cookies(None, Some(&remember("8")));
        let later = Timestamp::from_unix_seconds(NOW.unix_seconds() + 10 * 365 * 86_400);
        for now in [NOW, later] {
            let attempt = ask_at(&all, &get(&headers), now).await;
            let caller = attempt.caller.unwrap();
            assert_eq!(caller.identity().expires_at, None);
            assert!(caller.identity().claims.is_empty());
        }
    });
}
