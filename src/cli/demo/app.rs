//! The demo's app: a login, a role-protected report, an echo, a WebSocket. It checks no token
//! itself, as an app behind the gateway need not: it reads who is calling from the headers.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};

use super::echo::echo;
use super::people::{Signer, sign_in};
use crate::clock;
use crate::policy::websocket;

/// Largest body of a login in bytes.
const LARGEST_LOGIN: usize = 4096;
/// A login must have come within this time.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) type Answer = Response<Full<Bytes>>;

/// The app.
#[derive(Debug)]
pub(super) struct App {
    signer: Signer,
}

impl App {
    /// An app that signs its tokens so.
    pub(super) fn new(signer: Signer) -> Self {
        Self { signer }
    }

    /// Answers one request.
    pub(super) async fn answer(&self, mut request: Request<Incoming>) -> Answer {
        match request.uri().path() {
            "/" => page(HOME),
            "/health/" => json_answer(StatusCode::OK, &json!({"status": "ok"})),
            "/api/login/" if request.method() == Method::POST => self.login(request).await,
            "/api/me/" => json_answer(StatusCode::OK, &caller(request.headers())),
            "/api/reports/" => json_answer(StatusCode::OK, &reports(request.headers())),
            "/api/echo/" => json_answer(StatusCode::OK, &seen(&request)),
            "/ws/" => open_socket(&mut request),
            _ => {
                let words = json!({"error": "the app has nothing here"});
                json_answer(StatusCode::NOT_FOUND, &words)
            }
        }
    }

    async fn login(&self, request: Request<Incoming>) -> Answer {
        let wrong = |words| json_answer(StatusCode::UNAUTHORIZED, &json!({"error": words}));
        let body = Limited::new(request.into_body(), LARGEST_LOGIN).collect();
        let Ok(Ok(body)) = tokio::time::timeout(PATIENCE, body).await else {
            return wrong("the login cannot be read");
        };
        let Some((name, password)) = read_login(&body.to_bytes()) else {
            return wrong("a login has a username and a password, as a form or as JSON");
        };
        let Some(person) = sign_in(&name, &password) else {
            return wrong("the name or the password is wrong");
        };
        let now = clock::now();
        match (
            self.signer.access(person, now),
            self.signer.refresh(person, now),
        ) {
            (Ok(access), Ok(refresh)) => {
                let tokens = json!({"access": access, "refresh": refresh, "user": person.name, "roles": [person.role]});
                json_answer(StatusCode::OK, &tokens)
            }
            (Err(error), _) | (_, Err(error)) => {
                let words = json!({"error": error.to_string()});
                json_answer(StatusCode::INTERNAL_SERVER_ERROR, &words)
            }
        }
    }
}

/// The name and the password of a login: a form, or JSON.
fn read_login(body: &[u8]) -> Option<(String, String)> {
    if let Ok(json) = serde_json::from_slice::<Value>(body) {
        let text = |key| json.get(key)?.as_str().map(str::to_owned);
        return Some((text("username")?, text("password")?));
    }
    let field = |key| {
        let mut fields = url::form_urlencoded::parse(body);
        fields.find_map(|(name, value)| (name == key).then(|| value.into_owned()))
    };
    Some((field("username")?, field("password")?))
}

/// Who the gateway says is calling.
fn caller(headers: &HeaderMap) -> Value {
    let told = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    json!({
        "user": told("x-auth-user"),
        "roles": told("x-auth-roles").map(|roles| roles.split(',').collect::<Vec<_>>()),
        "signed in by": told("x-auth-method"),
    })
}

fn reports(headers: &HeaderMap) -> Value {
    let user = headers
        .get("x-auth-user")
        .and_then(|value| value.to_str().ok());
    json!({"for": user, "reports": ["ATM 17: cash low", "ATM 23: printer jammed"]})
}

/// What reached the app. Tokens are cut short.
fn seen(request: &Request<Incoming>) -> Value {
    let mut headers = Map::new();
    for (name, value) in request.headers() {
        let text = String::from_utf8_lossy(value.as_bytes());
        let text = if *name == AUTHORIZATION {
            format!("{}…", text.chars().take(20).collect::<String>())
        } else {
            text.into_owned()
        };
        headers.insert(name.as_str().to_owned(), Value::String(text));
    }
    json!({
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "headers": headers,
    })
}

/// Answers a WebSocket handshake and echoes from then on (RFC 6455 §4.2.2).
fn open_socket(request: &mut Request<Incoming>) -> Answer {
    const ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
    let key = request.headers().get("sec-websocket-key");
    let accept = key
        .and_then(|key| key.to_str().ok())
        .and_then(|key| HeaderValue::try_from(websocket::accept_for(key)).ok());
    let Some(accept) = accept else {
        let words = json!({"error": "this is a WebSocket: wss://"});
        return json_answer(StatusCode::UPGRADE_REQUIRED, &words);
    };
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(stream) = upgrade.await {
            // Whoever has gone needs no answer.
            let _ended = echo(TokioIo::new(stream)).await;
        }
    });
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(ACCEPT, accept);
    answer
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    let mut answer = Response::new(Full::from(format!("{value:#}\n")));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// A page of HTML.
pub(super) fn page(html: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(html.into()));
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

const HOME: &str = include_str!("home.html");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_a_form_or_json() {
        let wanted = Some(("tara".to_owned(), "a b".to_owned()));
        assert_eq!(read_login(b"username=tara&password=a+b"), wanted);
        assert_eq!(
            read_login(br#"{"username": "tara", "password": "a b"}"#),
            wanted
        );
        assert_eq!(read_login(b"username=tara"), None);
        assert_eq!(read_login(br#"{"username": 7}"#), None);
        assert_eq!(read_login(b""), None);
    }

    #[test]
    fn the_caller_is_whom_the_headers_name() {
        let mut headers = HeaderMap::new();
        assert_eq!(caller(&headers)["user"], Value::Null);
        headers.insert("x-auth-user", HeaderValue::from_static("sina"));
        headers.insert("x-auth-roles", HeaderValue::from_static("a,b"));
        assert_eq!(caller(&headers)["user"], "sina");
        assert_eq!(caller(&headers)["roles"], json!(["a", "b"]));
    }
}
