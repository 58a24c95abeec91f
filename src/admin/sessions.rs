//! `/api/sessions` and `/api/revocations`: which sessions of the gateway's own there are, and that
//! one of them, a token, or all of a user's hold no more.
//!
//! A revocation is the one request of the admin address that changes something. It is a `POST` of
//! JSON, which no page of another origin can send unasked; the rules of `access` hold for it too.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::pages::{as_json, problem};
use crate::auth::ledger::{MOST_LISTED, Page, Session, SessionKey};
use crate::clock;
use crate::gateway::Snapshot;
use crate::signin::{NotRevoked, Revoking, SignIn};

/// Most bytes of a revocation.
const MOST_BYTES: usize = 32 * 1024;
/// Fewest characters of a key that name a session.
const LEAST_KEY: usize = 8;
/// Pages that are looked through for the beginning of a key.
const MOST_PAGES: usize = 1_000;

/// A session as it is shown: nothing of it lets anyone in.
#[derive(Debug, Serialize, Deserialize)]
pub struct SessionRow {
    /// Its key, which is no cookie.
    pub session: String,
    /// Whose it is.
    pub user: String,
    /// The token handler that made it.
    pub handler: String,
    /// The address that it began at.
    pub client: String,
    /// When it began.
    pub created: String,
    /// When it was seen last.
    pub seen: String,
    /// When it ends.
    pub expires: String,
}

/// A page of sessions.
#[derive(Debug, Serialize, Deserialize)]
pub struct SessionPage {
    /// Those on it.
    pub sessions: Vec<SessionRow>,
    /// What `after` takes for the next page, where there is one.
    pub next: Option<String>,
}

impl SessionRow {
    fn of(key: SessionKey, session: &Session) -> Self {
        Self {
            session: key.to_string(),
            user: session.user().to_owned(),
            handler: session.handler().to_owned(),
            client: session.client().to_owned(),
            created: session.created().to_string(),
            seen: session.seen().to_string(),
            expires: session.expires().to_string(),
        }
    }
}

/// What is to be revoked: exactly one of these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    user: Option<String>,
    jti: Option<String>,
    session: Option<String>,
}

type Answer = Response<Full<Bytes>>;

/// Sessions on a page of the dashboard.
const ON_PAGE: usize = 50;

/// What was found for the dashboard.
#[derive(Debug)]
pub(super) enum Found {
    /// The gateway keeps none.
    NoneKept(&'static str),
    /// They cannot be told, for this reason.
    Unknown {
        user: Option<String>,
        problem: String,
    },
    /// Of a user, or of all.
    Some {
        user: Option<String>,
        page: SessionPage,
    },
}

/// What is asked for by `?user=`, `?after=` and `?most=`.
fn wanted(query: Option<&str>, most: usize) -> Result<Page, String> {
    let mut page = Page {
        most,
        ..Page::default()
    };
    let pairs = query.unwrap_or_default().split('&');
    for pair in pairs.filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8_lossy();
        match name {
            "user" => page.user = Some(value.as_ref().into()),
            "most" => page.most = value.parse().unwrap_or(most),
            "after" => {
                let mark = value.parse();
                page.after = Some(mark.map_err(|bad| format!("`after` {bad}"))?);
            }
            _ => return Err("takes `user`, `after` and `most`".to_owned()),
        }
    }
    Ok(page)
}

async fn ask(sign_in: &SignIn, page: Page) -> Result<SessionPage, String> {
    let listing = sign_in.list(page, clock::now()).await;
    let listing = listing.map_err(|error| error.to_string())?;
    let shown = listing.sessions.iter();
    Ok(SessionPage {
        sessions: shown
            .map(|(key, session)| SessionRow::of(*key, session))
            .collect(),
        next: listing.next.map(|mark| mark.to_string()),
    })
}

/// The sessions that the dashboard shows.
pub(super) async fn find(gate: Option<&Snapshot>, query: Option<&str>) -> Found {
    let Some(sign_in) = gate.and_then(|gate| gate.sign_in.as_ref()) else {
        return Found::NoneKept(NONE_KEPT);
    };
    // A form writes a space as `+`, and a `+` as `%2B`.
    let query = query.map(|query| query.replace('+', "%20"));
    let mut page = match wanted(query.as_deref(), ON_PAGE) {
        Ok(page) => page,
        Err(problem) => {
            return Found::Unknown {
                user: None,
                problem,
            };
        }
    };
    let user = page.user.as_deref().map(str::to_owned);
    // An empty field asks for all.
    page.user = page.user.filter(|user| !user.is_empty());
    page.most = page.most.min(ON_PAGE);
    match ask(sign_in, page).await {
        Ok(page) => Found::Some { user, page },
        Err(problem) => Found::Unknown { user, problem },
    }
}

/// The sessions that live, a page at a time: `?user=`, `?after=`, `?most=`.
pub(super) async fn list(gate: &Snapshot, query: Option<&str>) -> Answer {
    let Some(sign_in) = &gate.sign_in else {
        return none();
    };
    let page = match wanted(query, MOST_LISTED) {
        Ok(page) => page,
        Err(words) => return problem(StatusCode::BAD_REQUEST, &words),
    };
    match ask(sign_in, page).await {
        Ok(page) => as_json(StatusCode::OK, &page),
        Err(words) => problem(StatusCode::SERVICE_UNAVAILABLE, &words),
    }
}

/// Revokes what the body names.
pub(super) async fn revoke(gate: &Snapshot, head: &Parts, body: hyper::body::Incoming) -> Answer {
    let Some(sign_in) = &gate.sign_in else {
        return none();
    };
    let kind = head
        .headers
        .get(CONTENT_TYPE)
        .map(http::HeaderValue::as_bytes);
    if kind.is_none_or(|kind| !kind.starts_with(b"application/json")) {
        return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "takes application/json");
    }
    let body = Limited::new(body, MOST_BYTES).collect().await;
    let wanted = body
        .ok()
        .and_then(|body| serde_json::from_slice(&body.to_bytes()).ok());
    let what = match named(gate, sign_in, wanted).await {
        Ok(what) => what,
        Err((status, words)) => return problem(status, &words),
    };
    match sign_in.revoke(what, clock::now()).await {
        Ok(ended) => as_json(StatusCode::OK, &json!({ "ended": ended })),
        Err(bad @ NotRevoked::User(_)) => problem(StatusCode::BAD_REQUEST, &bad.to_string()),
        Err(bad @ NotRevoked::Store(_)) => {
            problem(StatusCode::SERVICE_UNAVAILABLE, &bad.to_string())
        }
    }
}

async fn named(
    gate: &Snapshot,
    sign_in: &SignIn,
    wanted: Option<Wanted>,
) -> Result<Revoking, (StatusCode, String)> {
    let wrong = |words: &str| (StatusCode::BAD_REQUEST, words.to_owned());
    match wanted {
        Some(Wanted {
            user: Some(user),
            jti: None,
            session: None,
        }) => Ok(Revoking::User(user.into())),
        Some(Wanted {
            user: None,
            jti: Some(jti),
            session: None,
        }) => {
            let marks = gate.authenticators.marks_of(&jti);
            if marks.is_empty() {
                return Err(wrong(
                    "no jwt authenticator has `revocable = true`: nobody would ask",
                ));
            }
            Ok(Revoking::Token(marks))
        }
        Some(Wanted {
            user: None,
            jti: None,
            session: Some(key),
        }) => begins(sign_in, &key).await.map(Revoking::Session),
        _ => Err(wrong(
            "wants one of {\"user\": …}, {\"jti\": …} and {\"session\": …}",
        )),
    }
}

/// The one session whose key begins so.
async fn begins(sign_in: &SignIn, text: &str) -> Result<SessionKey, (StatusCode, String)> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    if text.len() < LEAST_KEY {
        let words = format!("`session` wants at least {LEAST_KEY} characters of a key");
        return Err((StatusCode::BAD_REQUEST, words));
    }
    let (mut found, mut after) = (None, None);
    for _ in 0..MOST_PAGES {
        let page = Page {
            user: None,
            after,
            most: MOST_LISTED,
        };
        let listing = sign_in.list(page, clock::now()).await;
        let listing =
            listing.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
        for (key, _) in listing.sessions {
            if !key.to_string().starts_with(text) {
                continue;
            }
            if found.is_some() {
                let words = "more than one session begins so: give more of its key";
                return Err((StatusCode::CONFLICT, words.to_owned()));
            }
            found = Some(key);
        }
        after = listing.next;
        if after.is_none() {
            break;
        }
    }
    if after.is_some() {
        // Another one may begin so among those that were not looked at.
        let words = "too many sessions to look for the beginning of a key: give all of it";
        return Err((StatusCode::CONFLICT, words.to_owned()));
    }
    found.ok_or_else(|| {
        (
            StatusCode::NOT_FOUND,
            "no session's key begins so".to_owned(),
        )
    })
}

const NONE_KEPT: &str = "This gateway keeps no sessions: it has no [token_handler.NAME], no auth of \
                         type \"oidc\", and no jwt with `revocable`.";

fn none() -> Answer {
    problem(StatusCode::NOT_FOUND, NONE_KEPT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_looked_for_by_any_name() {
        for (query, user) in [
            ("user=a+b", "a+b"),
            ("user=a%20b", "a b"),
            ("most=5&user=a%2Bb", "a+b"),
            ("user=%3Cscript%3E", "<script>"),
        ] {
            let page = wanted(Some(query), ON_PAGE).unwrap();
            assert_eq!(page.user.as_deref(), Some(user));
        }
        assert_eq!(wanted(None, ON_PAGE).unwrap().most, ON_PAGE);
        assert!(wanted(Some("token=x"), ON_PAGE).is_err());
    }
}
