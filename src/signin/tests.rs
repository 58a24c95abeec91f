//! What the unit tests of this room share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{App, AppError, Errand, Handler, Inner, Kept, Post, Reply, Revoking, SignIn, Tokens};
use crate::auth::ledger::{Change, Revocation, SessionId, TokenMark, seal};
use crate::auth::ports::Asked;
use crate::auth::revoked::Revoked;
use crate::clock;
use crate::config::settings::{
    GatewaySessions, LedgerHome, Pointer, RefreshBy, SameSite, TokenHandler,
};
use crate::policy::denial::Code;
use crate::policy::identity::Identity;
use crate::policy::route::{AuthenticatorId, UpstreamId};
use crate::policy::sign_in::HandlerId;
use crate::secret::Secret;

/// A token whose payload says so; nobody here looks at its signature.
pub(super) fn jwt(expires: i64, user: &str) -> String {
    let payload = serde_json::json!({ "exp": expires, "sub": user, "jti": "7f3" });
    let header = BASE64.encode(r#"{"alg":"HS256"}"#);
    format!("{header}.{}.c2ln", BASE64.encode(payload.to_string()))
}

pub(super) fn sessions() -> GatewaySessions {
    GatewaySessions {
        home: LedgerHome::Memory,
        cookie: "__Host-portcullis".into(),
        same_site: SameSite::Lax,
        idle: Duration::from_hours(1),
        lifetime: Duration::from_hours(1),
    }
}

pub(super) fn handler() -> TokenHandler {
    TokenHandler {
        name: "app".into(),
        upstream: UpstreamId(0),
        login: "/login/".into(),
        refresh: Some("/refresh/".into()),
        logout: Some("/logout/".into()),
        access: Pointer(vec!["access".into()]),
        refresh_token: Pointer(vec!["refresh".into()]),
        auth: AuthenticatorId(0),
        refresh_by: RefreshBy::Body,
        refresh_before: Duration::from_mins(1),
        keep_body: false,
    }
}

/// What an app does with a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Renews,
    Refuses,
    Fails,
}

/// An app that counts, and takes its time.
#[derive(Debug)]
struct Counting {
    does: Mutex<Does>,
    calls: AtomicUsize,
    /// The refresh token that it takes next: each is good for one time.
    takes: Mutex<String>,
    slowness: Duration,
}

impl App for Arc<Counting> {
    fn post(&self, post: Post) -> Errand {
        let app = Self::clone(self);
        Box::pin(async move {
            tokio::time::sleep(app.slowness).await;
            let call = app.calls.fetch_add(1, Ordering::SeqCst) + 1;
            let does = *app.does.lock().unwrap();
            let sent = post.json.unwrap();
            let sent: serde_json::Value = serde_json::from_slice(sent.expose()).unwrap();
            let mut takes = app.takes.lock().unwrap();
            let (status, body) = match does {
                Does::Fails => return Err(AppError("connection refused".to_owned())),
                Does::Renews if sent["refresh"] == *takes => {
                    *takes = format!("refresh-{call}");
                    let access = jwt(clock::now().unix_seconds() + 300, "7");
                    let body = serde_json::json!({ "access": access, "refresh": *takes });
                    (200, body)
                }
                Does::Renews | Does::Refuses => {
                    (401, serde_json::json!({ "detail": "Token is blacklisted" }))
                }
            };
            Ok(Reply {
                status: http::StatusCode::from_u16(status).unwrap(),
                body: body.to_string().into(),
            })
        })
    }
}

/// Two gateways on one store, in front of one app, and one that remembers one revocation.
struct Pair {
    one: SignIn,
    other: SignIn,
    small: SignIn,
    app: Arc<Counting>,
}

const FIRST: HandlerId = HandlerId(0);

fn pair(slowness: Duration) -> Pair {
    let app = Arc::new(Counting {
        does: Mutex::new(Does::Renews),
        calls: AtomicUsize::new(0),
        takes: Mutex::new("refresh-0".to_owned()),
        slowness,
    });
    let ledger = crate::store::ledger::in_memory().unwrap();
    let start = |kept| {
        SignIn(Arc::new(Inner {
            ledger: Arc::clone(&ledger),
            sessions: sessions(),
            handlers: vec![Handler::App {
                settings: handler(),
                app: Arc::new(Arc::clone(&app)),
            }],
            runtime: Handle::current(),
            only_looks: AtomicBool::new(false),
            kept,
        }))
    };
    let small = Kept {
        revoked: Arc::new(Revoked::of_at_most(1)),
        ..Kept::new(Arc::default())
    };
    Pair {
        one: start(Kept::new(Arc::default())),
        other: start(Kept::new(Arc::default())),
        small: start(small),
        app,
    }
}

/// Signs in with an access token that lives for so many seconds more.
async fn signed_in(gateway: &SignIn, seconds: i64) -> SessionId {
    let now = clock::now();
    let access = Secret::new(jwt(now.unix_seconds() + seconds, "7"));
    let refresh = Some(Secret::new("refresh-0".to_owned()));
    let given = now.saturating_sub(Duration::from_secs(100));
    let tokens = Tokens::new(access, refresh, given).unwrap();
    let identity = Identity {
        user: "7".to_owned(),
        roles: Vec::new(),
        email: None,
        name: None,
        claims: serde_json::Map::new(),
        expires_at: None,
        authenticator: "app".into(),
    };
    let who = (&identity, "192.0.2.1");
    let cookie = gateway.begin(FIRST, tokens, who, None, now).await.unwrap();
    let line = cookie.to_str().unwrap();
    let value = line.split(['=', ';']).nth(1).unwrap();
    SessionId::parse(value).unwrap()
}

async fn opened(gateway: &SignIn, id: &SessionId) -> Result<String, Code> {
    let opened = gateway
        .0
        .open(FIRST, id, Asked::default(), clock::now())
        .await;
    let opened = opened.map_err(|denial| denial.code());
    opened.map(|opened| opened.access.expose().clone())
}

/// Waits until something has come about, on a machine however busy.
async fn comes(about: impl Fn() -> bool) {
    let soon = tokio::time::timeout(Duration::from_secs(20), async {
        while !about() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    soon.await.unwrap();
}

#[tokio::test]
async fn of_all_who_need_a_renewal_at_any_gateway_one_asks_the_app() {
    let pair = pair(Duration::from_millis(100));
    let id = signed_in(&pair.one, -1).await;
    let mut asking = Vec::new();
    for number in 0..100 {
        let gateway = if number % 2 == 0 {
            &pair.one
        } else {
            &pair.other
        };
        let (gateway, id) = (gateway.clone(), id.clone());
        asking.push(tokio::spawn(async move { opened(&gateway, &id).await }));
    }
    let mut tokens = std::collections::BTreeSet::new();
    for one in asking {
        tokens.insert(one.await.unwrap().unwrap());
    }
    assert_eq!(tokens.len(), 1);
    assert_eq!(pair.app.calls.load(Ordering::SeqCst), 1);
    let renewed = pair.one.counts().renewed + pair.other.counts().renewed;
    assert_eq!(renewed, 1);
}

#[tokio::test]
async fn a_refresh_token_that_rotates_is_never_used_twice() {
    let pair = pair(Duration::ZERO);
    let id = signed_in(&pair.one, -1).await;
    for _ in 0..5 {
        opened(&pair.one, &id).await.unwrap();
        let (session, _) = pair.one.0.load(FIRST, &id, clock::now()).await.unwrap();
        let from = session.generation();
        let renewal = pair.other.0.renew_first(FIRST, &id, from, Asked::default());
        renewal.await.unwrap();
    }
    assert_eq!(pair.app.calls.load(Ordering::SeqCst), 6);
}

#[tokio::test]
async fn a_renewal_under_way_does_not_bring_back_a_session_that_was_signed_out() {
    let pair = pair(Duration::from_secs(1));
    let id = signed_in(&pair.one, -1).await;
    let renewing = {
        let (gateway, id) = (pair.one.clone(), id.clone());
        tokio::spawn(async move { opened(&gateway, &id).await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    let now = clock::now();
    let departed = pair.other.find(FIRST, &id, now).await.unwrap().unwrap();
    pair.other
        .end(&id, &departed, Vec::new(), now)
        .await
        .unwrap();
    assert_eq!(renewing.await.unwrap(), Err(Code::SessionUnknown));
    assert_eq!(opened(&pair.one, &id).await, Err(Code::SessionUnknown));
    assert_eq!(opened(&pair.other, &id).await, Err(Code::SessionUnknown));
}

#[tokio::test]
async fn a_refusal_of_a_token_that_another_gateway_renewed_meanwhile_ends_nothing() {
    let pair = pair(Duration::from_secs(1));
    *pair.app.does.lock().unwrap() = Does::Refuses;
    let id = signed_in(&pair.one, -1).await;
    let renewing = {
        let (gateway, id) = (pair.one.clone(), id.clone());
        tokio::spawn(async move { opened(&gateway, &id).await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    let now = clock::now();
    let (session, tokens) = pair.other.0.load(FIRST, &id, now).await.unwrap();
    let access = jwt(now.unix_seconds() + 300, "7");
    let renewed = tokens.renewed(Secret::new(access.clone()), None, now);
    let sealed = seal(
        &id,
        session.generation().next(),
        renewed.unwrap().to_bytes().expose(),
    );
    let renewed = session.renewed(sealed.unwrap(), now);
    let stored = pair.other.0.ledger.replace(id.key(), renewed).await;
    assert_eq!(stored.unwrap(), Change::Done);
    assert_eq!(renewing.await.unwrap(), Ok(access));
}

#[tokio::test]
async fn a_renewal_that_gets_no_turn_is_given_up_before_its_lease_is_over() {
    let pair = pair(Duration::ZERO);
    let id = signed_in(&pair.one, -1).await;
    let calls = &pair.one.0.kept.calls;
    let all = u32::try_from(calls.available_permits()).unwrap();
    let busy = calls.acquire_many(all).await.unwrap();
    assert_eq!(opened(&pair.one, &id).await, Err(Code::AuthUnavailable));
    assert_eq!(pair.app.calls.load(Ordering::SeqCst), 0);
    drop(busy);
    opened(&pair.one, &id).await.unwrap();
}

#[tokio::test]
async fn a_renewal_goes_on_when_nobody_waits_for_it_any_more() {
    let pair = pair(Duration::from_millis(500));
    let id = signed_in(&pair.one, -1).await;
    let impatient = opened(&pair.one, &id);
    let waited = tokio::time::timeout(Duration::from_millis(30), impatient).await;
    assert!(waited.is_err());
    comes(|| pair.one.counts().renewed == 1).await;
    opened(&pair.one, &id).await.unwrap();
    assert_eq!(pair.app.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_good_token_is_used_while_the_app_cannot_be_asked_and_a_dead_one_is_not() {
    // Of apps of their own: what is renewed meanwhile for the one takes no token of the other's.
    let (with_good, with_dead) = (pair(Duration::ZERO), pair(Duration::ZERO));
    for pair in [&with_good, &with_dead] {
        *pair.app.does.lock().unwrap() = Does::Fails;
    }
    let good = signed_in(&with_good.one, 30).await;
    let before = opened(&with_good.one, &good).await.unwrap();
    comes(|| with_good.one.counts().failed == 1).await;
    for _ in 0..5 {
        assert_eq!(opened(&with_good.one, &good).await.unwrap(), before);
    }
    let dead = signed_in(&with_dead.one, -1).await;
    let refused = opened(&with_dead.one, &dead).await;
    assert_eq!(refused, Err(Code::AuthUnavailable));
    // It is renewed as soon as the app is back.
    *with_dead.app.does.lock().unwrap() = Does::Renews;
    opened(&with_dead.one, &dead).await.unwrap();
}

#[tokio::test]
async fn a_renewal_before_the_end_holds_up_nobody() {
    let pair = pair(Duration::from_secs(1));
    let id = signed_in(&pair.one, 30).await;
    let before = opened(&pair.one, &id).await.unwrap();
    assert_eq!(opened(&pair.one, &id).await.unwrap(), before);
    assert_eq!(pair.app.calls.load(Ordering::SeqCst), 0);
    comes(|| pair.one.counts().renewed == 1).await;
    assert_ne!(opened(&pair.one, &id).await.unwrap(), before);
    assert_eq!(pair.app.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refused_renewal_ends_the_session_and_tells_the_operator_why() {
    let pair = pair(Duration::ZERO);
    *pair.app.does.lock().unwrap() = Does::Refuses;
    let id = signed_in(&pair.one, -1).await;
    let now = clock::now();
    let denial = pair.one.0.open(FIRST, &id, Asked::default(), now).await;
    let denial = denial.unwrap_err();
    assert_eq!(denial.code(), Code::SessionExpired);
    assert!(
        denial
            .operator_note()
            .unwrap()
            .contains("Token is blacklisted")
    );
    assert!(!denial.detail().contains("blacklisted"));
    assert_eq!(opened(&pair.other, &id).await, Err(Code::SessionUnknown));
    assert_eq!(pair.one.counts().refused, 1);
}

#[tokio::test]
async fn a_log_that_begins_anew_is_caught_up_whatever_was_known_of_the_one_before() {
    let pair = pair(Duration::ZERO);
    let marks: Vec<_> = (0..1500)
        .map(|number| TokenMark::of_jti("app", &format!("{number}")))
        .collect();
    let token = Revoking::Token(marks);
    pair.one.revoke(token, clock::now()).await.unwrap();
    let kept = &pair.other.0.kept;
    kept.cursor.store(1 << 40, Ordering::SeqCst);
    let caught = tokio::time::timeout(Duration::from_secs(5), pair.other.catch_up());
    caught.await.unwrap().unwrap();
    assert!(kept.revoked.is_known());
    assert_eq!(kept.cursor.load(Ordering::SeqCst), 1500);
    assert_eq!(kept.revoked.len(), 1500);
}

#[tokio::test]
async fn what_one_gateway_revokes_is_heard_at_the_other() {
    let pair = pair(Duration::ZERO);
    let id = signed_in(&pair.one, 300).await;
    let cancel = CancellationToken::new();
    let following = tokio::spawn(pair.other.clone().follow(cancel.clone()));
    let user = Revoking::User("7".into());
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(pair.one.revoke(user, clock::now()).await.unwrap(), 1);
    tokio::time::timeout(Duration::from_secs(1), async {
        while !pair.other.0.kept.revoked.has_ended(id.key()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    cancel.cancel();
    following.await.unwrap();
}

#[tokio::test]
async fn what_found_no_room_is_read_again_when_there_is_some() {
    let gateway = pair(Duration::ZERO).small;
    let revoke = async |number, seconds| {
        let (mark, now) = (TokenMark::from_bytes([number; 32]), clock::now());
        let until = now.saturating_add(Duration::from_secs(seconds));
        let revoked = gateway.0.revoke(Revocation::of_token(mark, until), now);
        revoked.await.unwrap();
    };
    revoke(1, 1).await;
    gateway.catch_up().await.unwrap();
    assert!(gateway.is_caught_up());
    revoke(2, 300).await;
    assert!(!gateway.is_caught_up());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(gateway.sweep());
    assert!(!gateway.is_caught_up());
    gateway.catch_up().await.unwrap();
    assert!(gateway.is_caught_up());
    // The second has the place of the first: there is room for no other.
    revoke(3, 300).await;
    assert!(!gateway.is_caught_up());
}

#[tokio::test]
async fn what_was_used_is_used_at_all_gateways_until_it_came_to_nothing() {
    let pair = pair(Duration::ZERO);
    let note = |gateway: &SignIn| {
        let inner = Arc::clone(&gateway.0);
        async move { inner.once("logout", "https://id.example", "7f3").await }
    };
    let used = note(&pair.one).await.unwrap();
    let again = note(&pair.other).await.map(|_used| ());
    assert_eq!(again.unwrap_err().code(), Code::CsrfFailed);
    pair.one.0.unused(used).await;
    assert!(note(&pair.other).await.is_ok());
}
