//! Several authenticators on one route, and what is remembered between requests.

use std::time::Duration;

use aws_lc_rs::digest;
use http::Method;
use serde_json::json;

use crate::auth::testing::{
    NOW, SECRET, ask, ask_at, assemble, bearer, claims, claims_with, get, headers, hs256, jwt,
    named, run, token,
};
use crate::auth::{Authenticators, Request};
use crate::config::settings::{
    Algorithm, ApiKey, ApiKeyEntry, Authenticator, AuthenticatorKind, CertificateUser,
    ClientCertificate, Jwt, KeySource, Source,
};
use crate::policy::denial::{Challenge, Code};
use crate::policy::identity::IdentityNames;
use crate::policy::requirement::Admission;
use crate::policy::route::AuthenticatorId;
use crate::secret::Secret;

fn app() -> Authenticator {
    named("app", jwt(hs256()))
}

fn by_cookie() -> Jwt {
    Jwt {
        sources: vec![
            Source::Header(http::header::AUTHORIZATION),
            Source::Cookie("access_token_cookie".into()),
        ],
        csrf_double_submit: true,
        ..hs256()
    }
}

fn machines() -> Authenticator {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest::digest(&digest::SHA256, b"s3cret").as_ref());
    let kind = AuthenticatorKind::ApiKey(ApiKey {
        sources: vec![Source::Header(http::HeaderName::from_static("x-api-key"))],
        keys: vec![ApiKeyEntry {
            sha256,
            user: "ci".to_owned(),
            roles: Vec::new(),
        }],
    });
    named("machines", kind)
}

#[test]
fn a_verified_token_is_known_until_it_expires_and_not_a_moment_longer() {
    run(async {
        let all = assemble(&[app()]);
        let headers = bearer(&token(&claims()));
        let reused = async |now| {
            let attempt = ask_at(&all, &get(&headers), now).await;
            attempt.tries[0].reused
        };
        assert!(!reused(NOW).await);
        assert!(reused(NOW).await);
        let end = NOW.saturating_add(Duration::from_mins(10));
        let attempt = ask_at(&all, &get(&headers), end).await;
        assert_eq!(attempt.denial.unwrap().code(), Code::TokenExpired);
        // A clock that is set back is followed at once, too.
        let before = NOW.saturating_sub(Duration::from_hours(1));
        assert!(ask(&all, &get(&headers)).await.caller.is_some());
        let attempt = ask_at(&all, &get(&headers), before).await;
        assert_eq!(attempt.denial.unwrap().code(), Code::TokenNotYetValid);
    });
}

#[test]
fn a_flood_of_tokens_good_and_bad_leaves_memory_bounded() {
    run(async {
        let all = assemble(&[app()]);
        for number in 0..2_000 {
            let text = token(&claims_with(&json!({ "jti": number.to_string() })));
            ask(&all, &get(&bearer(&format!("{text}x")))).await;
        }
        assert_eq!(all.remembered(), 0);
        for number in 0..20_000 {
            let text = token(&claims_with(&json!({ "jti": number.to_string() })));
            ask(&all, &get(&bearer(&text))).await;
        }
        assert!(all.remembered() <= 16_384, "{}", all.remembered());
    });
}

#[test]
fn a_token_that_one_authenticator_verified_is_a_stranger_to_another() {
    run(async {
        let shop = Jwt {
            audience: vec!["shop".to_owned()],
            ..hs256()
        };
        let all = assemble(&[app(), named("shop", jwt(shop))]);
        let headers = bearer(&token(&claims()));
        let request = get(&headers);
        let required = Admission::Required;
        let first = all
            .identify(&[AuthenticatorId(0)], required, &request, NOW)
            .await;
        assert!(first.caller.is_some());
        let second = all
            .identify(&[AuthenticatorId(1)], required, &request, NOW)
            .await;
        assert_eq!(second.denial.unwrap().code(), Code::TokenAudience);
    });
}

#[test]
fn a_changed_secret_ends_every_verdict_and_an_equal_configuration_keeps_them() {
    run(async {
        let names = IdentityNames::default();
        let first = assemble(&[app()]);
        let headers = bearer(&token(&claims()));
        ask(&first, &get(&headers)).await;
        let same = Authenticators::assemble_all(&[app()], &names, Some(&first)).unwrap();
        assert!(ask(&same, &get(&headers)).await.tries[0].reused);
        let rotated = Jwt {
            keys: KeySource::Secrets(vec![Secret::new(vec![b'x'; 64])]),
            ..hs256()
        };
        let rotated = [named("app", jwt(rotated))];
        let changed = Authenticators::assemble_all(&rotated, &names, Some(&same)).unwrap();
        let attempt = ask(&changed, &get(&headers)).await;
        assert_eq!(attempt.denial.unwrap().code(), Code::TokenSignature);
    });
}

#[test]
fn other_identity_names_do_not_get_callers_made_for_the_old_ones() {
    run(async {
        let first = assemble(&[app()]);
        let headers = bearer(&token(&claims()));
        ask(&first, &get(&headers)).await;
        let renamed = IdentityNames {
            user: Some(http::HeaderName::from_static("remote-user")),
            ..IdentityNames::default()
        };
        let second = Authenticators::assemble_all(&[app()], &renamed, Some(&first)).unwrap();
        let attempt = ask(&second, &get(&headers)).await;
        let caller = attempt.caller.unwrap();
        assert_eq!(caller.headers().fields()[0].0, "remote-user");
    });
}

#[test]
fn the_first_valid_credential_gives_the_identity_and_the_others_are_told() {
    run(async {
        let all = assemble(&[app(), machines()]);
        let expired = token(&claims_with(&json!({ "exp": 5 })));
        let headers = headers(&[
            ("authorization", &format!("Bearer {expired}")),
            ("x-api-key", "s3cret"),
        ]);
        let attempt = ask(&all, &get(&headers)).await;
        assert_eq!(attempt.caller.unwrap().identity().user, "ci");
        assert!(attempt.denial.is_none());
        let outcomes: Vec<_> = attempt.tries.iter().map(|one| one.outcome).collect();
        assert_eq!(outcomes, [Err(Code::TokenExpired), Ok(())]);
        let places: Vec<_> = attempt.refused_credentials.into_iter().cloned().collect();
        assert_eq!(places, [Source::Header(http::header::AUTHORIZATION)]);
    });
}

#[test]
fn a_credential_that_nobody_looked_at_is_told_so_that_it_is_not_passed_on() {
    run(async {
        let all = assemble(&[machines(), app()]);
        let headers = headers(&[("authorization", "Bearer forged"), ("x-api-key", "s3cret")]);
        let attempt = ask(&all, &get(&headers)).await;
        assert!(attempt.caller.is_some());
        assert_eq!(attempt.refused_credentials.len(), 1);
    });
}

#[test]
fn where_none_is_valid_the_first_credential_present_is_named() {
    run(async {
        let all = assemble(&[app(), machines()]);
        let headers = headers(&[("authorization", "Bearer a.b.c"), ("x-api-key", "wrong")]);
        let attempt = ask(&all, &get(&headers)).await;
        assert_eq!(attempt.denial.unwrap().code(), Code::TokenMalformed);
        let key_alone = self::headers(&[("x-api-key", "wrong")]);
        let attempt = ask(&all, &get(&key_alone)).await;
        assert_eq!(attempt.denial.unwrap().code(), Code::KeyUnknown);
    });
}

#[test]
fn nobody_passes_where_anonymous_may_but_a_bad_credential_does_not() {
    run(async {
        let all = assemble(&[app()]);
        let ids = [AuthenticatorId(0)];
        let none = headers(&[]);
        let optional = Admission::Optional;
        let attempt = all.identify(&ids, optional, &get(&none), NOW).await;
        assert!(attempt.caller.is_none() && attempt.denial.is_none());
        let bad = bearer("a.b.c");
        let attempt = all.identify(&ids, optional, &get(&bad), NOW).await;
        assert_eq!(attempt.denial.unwrap().code(), Code::TokenMalformed);
    });
}

#[test]
fn without_a_credential_the_challenge_says_what_is_wanted() {
    run(async {
        let none = headers(&[]);
        let attempt_denial =
            async |all: &Authenticators| ask(all, &get(&none)).await.denial.unwrap();
        let denial = attempt_denial(&assemble(&[app()])).await;
        assert_eq!(denial.code(), Code::CredentialsMissing);
        assert_eq!(denial.www_authenticate(), Some(Challenge::Bearer));
        let certificates = AuthenticatorKind::ClientCertificate(ClientCertificate {
            user: CertificateUser::CommonName,
            roles: Vec::new(),
        });
        let denial = attempt_denial(&assemble(&[named("mtls", certificates)])).await;
        assert_eq!(denial.code(), Code::CertificateMissing);
    });
}

#[test]
fn an_unsafe_request_with_the_token_in_a_cookie_repeats_the_csrf_claim() {
    run(async {
        let all = assemble(&[named("flask", jwt(by_cookie()))]);
        let text = token(&claims_with(&json!({ "csrf": "abc-123" })));
        let cookie = format!("access_token_cookie={text}");
        let post = async |pairs: &[(&str, &str)], method: &Method| {
            let headers = headers(pairs);
            let request = Request {
                method,
                ..get(&headers)
            };
            let attempt = ask(&all, &request).await;
            (
                attempt.denial.map(|denial| denial.code()),
                attempt.by_cookie,
            )
        };
        let with = [("cookie", cookie.as_str()), ("x-csrf-token", "abc-123")];
        assert_eq!(post(&with, &Method::POST).await, (None, true));
        assert_eq!(post(&with[..1], &Method::GET).await, (None, true));
        let refused = (Some(Code::CsrfFailed), false);
        assert_eq!(post(&with[..1], &Method::POST).await, refused);
        for wrong in ["", "abc", "ABC-123"] {
            let pairs = [with[0], ("x-csrf-token", wrong)];
            assert_eq!(post(&pairs, &Method::DELETE).await, refused);
        }
        let bearer = format!("Bearer {text}");
        let in_header = [("authorization", bearer.as_str())];
        assert_eq!(post(&in_header, &Method::POST).await, (None, false));
    });
}

#[test]
fn every_problem_of_the_configuration_is_told_at_once() {
    let short = Jwt {
        keys: KeySource::Secrets(vec![Secret::new(b"short".to_vec())]),
        ..hs256()
    };
    let missing = Jwt {
        algorithms: vec![Algorithm::RS256],
        keys: KeySource::PublicKeys(vec!["/nowhere/key.pem".into()]),
        ..hs256()
    };
    let unfit = Jwt {
        algorithms: vec![Algorithm::RS256],
        ..hs256()
    };
    let all = [
        named("a", jwt(short)),
        named("b", jwt(missing)),
        named("c", jwt(unfit)),
    ];
    let names = IdentityNames::default();
    let problems = Authenticators::assemble_all(&all, &names, None).unwrap_err();
    let keys: Vec<_> = problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "auth.a.secret",
            "auth.b.public_key",
            "auth.c.secret",
            "auth.c.secret"
        ]
    );
    assert!(
        problems
            .iter()
            .all(|problem| !problem.message.contains("short\""))
    );
}

#[test]
fn token_inspect_says_in_words_what_is_wrong() {
    let all = assemble(&[app(), machines()]);
    let findings = all.inspect_token(&token(&claims()), NOW);
    assert_eq!(findings.len(), 1);
    assert!(findings[0].accepted && findings[0].words.contains("user 7"));
    let findings = all.inspect_token(&token(&claims_with(&json!({ "exp": 5 }))), NOW);
    assert!(!findings[0].accepted && findings[0].words.contains("expired"));
    assert!(!format!("{all:?}").contains(String::from_utf8_lossy(SECRET).as_ref()));
}
