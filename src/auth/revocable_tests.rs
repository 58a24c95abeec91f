//! Tokens and sessions that were let in once, and are revoked then.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use serde_json::json;

use super::{Authenticators, Surroundings};
use crate::auth::ledger::{Revocation, SessionId, TokenMark};
use crate::auth::ports::{Asked, NoStores, Opened, Opening, OwnSessions};
use crate::auth::revoked::Revoked;
use crate::auth::testing::{
    NOW, Signer, bearer, claims, claims_with, get, headers, hs256, jwt, named, run, set, token,
};
use crate::clock::Timestamp;
use crate::config::settings::{
    Algorithm, Authenticator, AuthenticatorKind, GatewaySession, Jwt, KeySource,
};
use crate::policy::denial::Code;
use crate::policy::identity::IdentityNames;
use crate::policy::requirement::Admission;
use crate::policy::route::AuthenticatorId;
use crate::policy::sign_in::HandlerId;
use crate::secret::Secret;

/// Sessions that all hold one token, for the port that the room beside implements.
#[derive(Debug)]
struct Holding {
    token: String,
    revoked: Arc<Revoked>,
}

impl OwnSessions for Holding {
    fn open(&self, _: HandlerId, _: SessionId, _: Asked, now: Timestamp) -> Opening {
        let ends = now.saturating_add(Duration::from_hours(1));
        let opened = Opened {
            access: Secret::new(self.token.clone()),
            ends,
            reusable_until: ends,
            provided: None,
        };
        Box::pin(std::future::ready(Ok(opened)))
    }

    fn revoked(&self) -> &Arc<Revoked> {
        &self.revoked
    }
}

/// Authenticators whose tokens may be revoked, and what was revoked.
fn assemble(all: &[Authenticator], token: &str) -> (Authenticators, Arc<Revoked>) {
    let revoked = Arc::<Revoked>::default();
    revoked.caught_up();
    let own: Arc<dyn OwnSessions> = Arc::new(Holding {
        token: token.to_owned(),
        revoked: Arc::clone(&revoked),
    });
    let around = Surroundings {
        directories: &[],
        upstreams: &[],
        stores: &NoStores,
        own: Some(&own),
    };
    let made = Authenticators::put_together(all, &around, &IdentityNames::default(), None);
    (made.unwrap(), revoked)
}

async fn asked(all: &Authenticators, last: usize, headers: &HeaderMap) -> Result<bool, Code> {
    let ids = [AuthenticatorId(last)];
    let request = get(headers);
    let attempt = all.identify(&ids, Admission::Required, &request, NOW);
    let attempt = attempt.await;
    attempt
        .denial
        .map_or(Ok(attempt.tries[0].reused), |denial| Err(denial.code()))
}

fn until() -> Timestamp {
    NOW.saturating_add(Duration::from_hours(1))
}

/// The order of P-256 less the second half of a signature: what signs the same, in other bytes.
fn with_other_signature(token: &str) -> String {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0;
    for at in (0..32).rev() {
        let left = i16::from(ORDER[at]) - i16::from(bytes[32 + at]) - borrow;
        borrow = i16::from(left < 0);
        bytes[32 + at] = u8::try_from(left + 256 * borrow).unwrap();
    }
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[test]
fn a_token_without_a_jti_stays_revoked_under_another_signature() {
    run(async {
        let signer = Signer::p256("one");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(set(&[&signer]).as_bytes()).unwrap();
        let app = Jwt {
            algorithms: vec![Algorithm::ES256],
            keys: KeySource::JwksFile(file.path().to_owned()),
            revocable: true,
            ..hs256()
        };
        let token = signer.token(&claims());
        let twin = with_other_signature(&token);
        assert_ne!(token, twin);
        let (all, revoked) = assemble(&[named("app", jwt(app))], &token);
        assert_eq!(asked(&all, 0, &bearer(&token)).await, Ok(false));
        assert_eq!(asked(&all, 0, &bearer(&twin)).await, Ok(false));
        for mark in all.marks_of_token(&token) {
            revoked.take(&Revocation::of_token(mark, until()), NOW);
        }
        for revoked in [&token, &twin] {
            let answer = asked(&all, 0, &bearer(revoked)).await;
            assert_eq!(answer, Err(Code::TokenRevoked));
        }
    });
}

/// A jwt authenticator, and one of the gateway's own sessions over it.
fn session_over_token(token: &str) -> (Authenticators, Arc<Revoked>, HeaderMap) {
    let app = Jwt {
        revocable: true,
        ..hs256()
    };
    let session = AuthenticatorKind::GatewaySession(GatewaySession {
        handler: HandlerId(0),
        auth: AuthenticatorId(0),
        cookie: "__Host-portcullis".into(),
        cache: Duration::from_mins(1),
    });
    let (all, revoked) = assemble(&[named("app", jwt(app)), named("own", session)], token);
    let id = SessionId::draw().unwrap();
    let cookie = format!("__Host-portcullis={}", id.cookie().expose());
    (all, revoked, headers(&[("cookie", &cookie)]))
}

#[test]
fn a_sessions_verdict_ends_at_once_when_its_token_is_revoked() {
    run(async {
        let exp = NOW.unix_seconds() + 3_153_600_000;
        let token = token(&claims_with(&json!({ "jti": "7f3", "exp": exp })));
        let revocations = [
            Revocation::of_token(TokenMark::of_jti("app", "7f3"), until()),
            Revocation::of_user("7", NOW, until()).unwrap(),
        ];
        for revocation in revocations {
            let (all, revoked, cookie) = session_over_token(&token);
            assert_eq!(asked(&all, 1, &cookie).await, Ok(false));
            assert_eq!(asked(&all, 1, &cookie).await, Ok(true));
            revoked.take(&revocation, NOW);
            assert_eq!(asked(&all, 1, &cookie).await, Err(Code::TokenRevoked));
        }
    });
}
