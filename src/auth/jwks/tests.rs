//! A JWKS that is slow, down, huge, garbage, rotated: what the gateway makes of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::auth::testing::{
    Signer, ask, bearer, claims, claims_with, get, hs256, jwt, named, run, set, token,
};
use crate::auth::{Attempt, Authenticators};
use crate::clock;
use crate::config::settings::{Algorithm, Authenticator, JwksUrl, Jwt, KeySource};
use crate::policy::denial::Code;
use crate::policy::identity::IdentityNames;

#[derive(Clone)]
enum Says {
    Body(String),
    Raw(String),
    Nothing,
}

/// An issuer's server on loopback, which says what the test wants and counts who asks.
struct Issuer {
    url: url::Url,
    says: Arc<Mutex<Says>>,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Issuer {
    async fn start(says: Says) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), says)
    }

    fn on(listener: TcpListener, says: Says) -> Self {
        let port = listener.local_addr().unwrap().port();
        let says = Arc::new(Mutex::new(says));
        let asked = Arc::new(AtomicUsize::new(0));
        let (told, counted) = (Arc::clone(&says), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let says = told.lock().unwrap().clone();
                match says {
                    Says::Nothing => open.push(stream),
                    Says::Body(body) => {
                        let length = body.len();
                        answer(&mut stream, &format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")).await;
                    }
                    Says::Raw(text) => answer(&mut stream, &text).await,
                }
            }
        });
        Self {
            url: format!("http://127.0.0.1:{port}/keys").parse().unwrap(),
            says,
            asked,
            task,
        }
    }

    fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn answer(stream: &mut TcpStream, text: &str) {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await;
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn by_url(url: &url::Url) -> Jwt {
    Jwt {
        algorithms: vec![Algorithm::ES256, Algorithm::EdDSA],
        keys: KeySource::JwksUrl(JwksUrl {
            url: url.clone(),
            discovery: false,
            refresh: Duration::from_mins(10),
            stale: Duration::from_hours(24),
        }),
        ..hs256()
    }
}

/// Authenticators whose JWKS are kept fresh as long as this lives.
struct Running {
    all: Arc<Authenticators>,
    cancel: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn start(settings: &[Authenticator], previous: Option<&Authenticators>) -> Running {
    let names = IdentityNames::default();
    let all = Arc::new(Authenticators::assemble_all(settings, &names, previous).unwrap());
    let cancel = CancellationToken::new();
    tokio::spawn(Arc::clone(&all).keep_fresh(cancel.clone()));
    Running { all, cancel }
}

fn oidc(url: &url::Url) -> Vec<Authenticator> {
    vec![named("oidc", jwt(by_url(url)))]
}

fn code(attempt: &Attempt<'_>) -> Option<Code> {
    attempt
        .denial
        .as_ref()
        .map(crate::policy::denial::Denial::code)
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

#[test]
fn forty_at_once_at_the_start_cost_one_fetch() {
    run(async {
        let signer = Signer::p256("k1");
        let issuer = Issuer::start(Says::Body(set(&[&signer]))).await;
        let gateway = start(&oidc(&issuer.url), None);
        let headers = bearer(&signer.token(&claims()));
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let (all, headers) = (Arc::clone(&gateway.all), headers.clone());
            asking.spawn(async move { ask(&all, &get(&headers)).await.caller.is_some() });
        }
        while let Some(passed) = asking.join_next().await {
            assert!(passed.unwrap());
        }
        assert_eq!(issuer.asked(), 1);
    });
}

#[test]
fn a_storm_of_unknown_kids_costs_one_fetch_more() {
    run(async {
        let (known, unknown) = (Signer::p256("k1"), Signer::p256("k2"));
        let issuer = Issuer::start(Says::Body(set(&[&known]))).await;
        let gateway = start(&oidc(&issuer.url), None);
        for number in 0..150 {
            let headers =
                bearer(&unknown.token(&claims_with(&json!({ "jti": number.to_string() }))));
            let attempt = ask(&gateway.all, &get(&headers)).await;
            assert_eq!(code(&attempt), Some(Code::TokenKeyUnknown));
        }
        assert!(issuer.asked() <= 2, "{}", issuer.asked());
    });
}

#[test]
fn a_rotated_key_is_taken_at_once_and_the_old_one_refused_with_its_verdicts() {
    run(async {
        let (old, new) = (Signer::p256("old"), Signer::ed25519("new"));
        let issuer = Issuer::start(Says::Body(set(&[&old]))).await;
        let gateway = start(&oidc(&issuer.url), None);
        let before = bearer(&old.token(&claims()));
        assert!(ask(&gateway.all, &get(&before)).await.caller.is_some());
        assert!(ask(&gateway.all, &get(&before)).await.tries[0].reused);

        issuer.say(Says::Body(set(&[&new])));
        let after = bearer(&new.token(&claims()));
        assert!(ask(&gateway.all, &get(&after)).await.caller.is_some());

        let attempt = ask(&gateway.all, &get(&before)).await;
        assert_eq!(code(&attempt), Some(Code::TokenKeyUnknown));
        let note = attempt.denial.as_ref().unwrap().operator_note().unwrap();
        assert!(note.contains("rotated out"), "{note}");
    });
}

#[test]
fn a_key_replaced_under_its_old_name_ends_the_verdicts_of_the_old_one() {
    run(async {
        let (old, new) = (Signer::p256("same"), Signer::p256("same"));
        let issuer = Issuer::start(Says::Body(set(&[&old]))).await;
        let mut settings = by_url(&issuer.url);
        if let KeySource::JwksUrl(url) = &mut settings.keys {
            url.refresh = Duration::from_millis(50);
        }
        let gateway = start(&[named("oidc", jwt(settings))], None);
        let before = bearer(&old.token(&claims()));
        assert!(ask(&gateway.all, &get(&before)).await.caller.is_some());
        issuer.say(Says::Body(set(&[&new])));
        let after = bearer(&new.token(&claims()));
        eventually("the new key serves", async || {
            ask(&gateway.all, &get(&after)).await.caller.is_some()
        })
        .await;
        let attempt = ask(&gateway.all, &get(&before)).await;
        assert_eq!(code(&attempt), Some(Code::TokenSignature));
    });
}

#[test]
fn an_issuer_that_is_down_lets_nobody_in_and_heals_by_itself() {
    run(async {
        let signer = Signer::p256("k1");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let url = format!("http://{address}/keys").parse().unwrap();
        let gateway = start(&oidc(&url), None);
        let headers = bearer(&signer.token(&claims()));
        let attempt = ask(&gateway.all, &get(&headers)).await;
        assert_eq!(code(&attempt), Some(Code::AuthUnavailable));
        assert!(attempt.denial.as_ref().unwrap().retry_wait().is_some());

        let listener = TcpListener::bind(address).await.unwrap();
        let _issuer = Issuer::on(listener, Says::Body(set(&[&signer])));
        eventually("it heals", async || {
            ask(&gateway.all, &get(&headers)).await.caller.is_some()
        })
        .await;
    });
}

#[test]
fn an_issuer_that_hangs_blocks_neither_other_authenticators_nor_others_tokens() {
    run(async {
        let signer = Signer::p256("k1");
        let issuer = Issuer::start(Says::Nothing).await;
        let mut with_issuer = by_url(&issuer.url);
        with_issuer.issuer = vec!["https://id.example/".to_owned()];
        let all = [named("oidc", jwt(with_issuer)), named("app", jwt(hs256()))];
        let gateway = start(&all, None);
        let begun = clock::monotonic();
        // The app's token, and one that claims another issuer, wait for nothing.
        let attempt = ask(&gateway.all, &get(&bearer(&token(&claims())))).await;
        assert_eq!(
            attempt.caller.unwrap().identity().authenticator.as_ref(),
            "app"
        );
        let other = signer.token(&claims_with(&json!({ "iss": "https://other.example/" })));
        let attempt = ask(&gateway.all, &get(&bearer(&other))).await;
        assert_eq!(code(&attempt), Some(Code::TokenIssuer));
        assert!(begun.elapsed() < Duration::from_millis(500));
        // Its own token is told in bounded time that nobody knows.
        let own = signer.token(&claims_with(&json!({ "iss": "https://id.example/" })));
        let attempt = ask(&gateway.all, &get(&bearer(&own))).await;
        assert_eq!(code(&attempt), Some(Code::AuthUnavailable));
        assert!(begun.elapsed() < Duration::from_secs(4));
    });
}

#[test]
fn garbage_html_huge_empty_and_foreign_redirects_give_no_keys() {
    run(async {
        let signer = Signer::p256("k1");
        let good = Issuer::start(Says::Body(set(&[&signer]))).await;
        let elsewhere = format!(
            "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
            good.url
        );
        let cases = [
            Says::Body("<html>not here</html>".to_owned()),
            Says::Body(String::new()),
            Says::Body("{\"keys\":[]}".to_owned()),
            Says::Body("x".repeat(2 * 1024 * 1024)),
            Says::Raw("garbage".to_owned()),
            Says::Raw("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_owned()),
            Says::Raw("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{\"keys\":[".to_owned()),
            Says::Raw(elsewhere),
        ];
        for case in cases {
            let issuer = Issuer::start(case).await;
            let gateway = start(&oidc(&issuer.url), None);
            let headers = bearer(&signer.token(&claims()));
            let attempt = ask(&gateway.all, &get(&headers)).await;
            assert_eq!(code(&attempt), Some(Code::AuthUnavailable));
        }
        assert_eq!(good.asked(), 0, "a redirect to another origin was followed");
    });
}

#[test]
fn the_last_good_set_serves_while_fetches_fail_until_it_is_too_old() {
    run(async {
        let signer = Signer::p256("k1");
        let issuer = Issuer::start(Says::Body(set(&[&signer]))).await;
        let mut settings = by_url(&issuer.url);
        if let KeySource::JwksUrl(url) = &mut settings.keys {
            url.refresh = Duration::from_millis(50);
            url.stale = Duration::from_millis(900);
        }
        let gateway = start(&[named("oidc", jwt(settings))], None);
        let headers = bearer(&signer.token(&claims()));
        assert!(ask(&gateway.all, &get(&headers)).await.caller.is_some());
        issuer.say(Says::Raw(
            "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ));
        eventually("a fetch fails", async || gateway.all.jwks()[0].failures > 0).await;
        assert!(ask(&gateway.all, &get(&headers)).await.caller.is_some());
        eventually("the set is dropped", async || {
            code(&ask(&gateway.all, &get(&headers)).await) == Some(Code::AuthUnavailable)
        })
        .await;
        issuer.say(Says::Body(set(&[&signer])));
        eventually("it heals", async || {
            ask(&gateway.all, &get(&headers)).await.caller.is_some()
        })
        .await;
    });
}

#[test]
fn a_reload_that_changes_nothing_keeps_keys_and_verdicts() {
    run(async {
        let signer = Signer::p256("k1");
        let issuer = Issuer::start(Says::Body(set(&[&signer]))).await;
        let settings = oidc(&issuer.url);
        let first = start(&settings, None);
        let headers = bearer(&signer.token(&claims()));
        assert!(ask(&first.all, &get(&headers)).await.caller.is_some());
        let second = start(&settings, Some(&first.all));
        drop(first);
        assert!(ask(&second.all, &get(&headers)).await.tries[0].reused);
        assert_eq!(issuer.asked(), 1);
    });
}

#[test]
fn discovery_finds_the_keys_of_an_issuer_that_names_itself_and_of_no_other() {
    run(async {
        let signer = Signer::p256("k1");
        let keys = Issuer::start(Says::Body(set(&[&signer]))).await;
        for (issuer_says, passes) in [(None, true), (Some("https://other.example"), false)] {
            let issuer = Issuer::start(Says::Nothing).await;
            let named_url = issuer.url.as_str();
            let document = json!({
                "issuer": issuer_says.unwrap_or(named_url),
                "jwks_uri": keys.url.as_str(),
            });
            issuer.say(Says::Body(document.to_string()));
            let mut settings = by_url(&issuer.url);
            if let KeySource::JwksUrl(url) = &mut settings.keys {
                url.discovery = true;
            }
            let gateway = start(&[named("oidc", jwt(settings))], None);
            let headers = bearer(&signer.token(&claims()));
            let attempt = ask(&gateway.all, &get(&headers)).await;
            assert_eq!(attempt.caller.is_some(), passes);
        }
    });
}
