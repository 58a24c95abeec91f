//! What happens to requests that are steps of signing in at an OpenID provider, and to page loads
//! that need one.
//!
//! A browser that loads a page is sent to the provider and comes back to the page. Whatever else asks
//! (a script, a WebSocket) is told by its status: it could not follow.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, REFERRER_POLICY};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use url::form_urlencoded;

use super::body::Body;
use super::judge::Judged;
use super::serve::Visit;
use crate::gateway::Snapshot;
use crate::policy::denial::{Code, Denial};
use crate::policy::forwarded::Client;
use crate::policy::route::{Route, Unauthenticated};
use crate::policy::sign_in::{ProviderDoor, ProviderStep};
use crate::signin::SignIn;
use crate::signin::oidc::{Departure, Invitation};
use crate::upstream::incoming::ClientBody;

/// Most bytes of a provider's word that are read, and how long that may take.
const MOST_WORD: usize = 64 * 1024;
const WORD: Duration = Duration::from_secs(10);
/// The parameter of the page to come back to.
const NEXT: &str = "next";

impl Visit<'_> {
    /// Takes a step of a sign-in.
    pub(super) async fn provider(
        &mut self,
        (route, door): (&Route, &ProviderDoor),
        judged: &Judged<'_>,
        (method, uri, headers): (Method, &Uri, HeaderMap),
        incoming: ClientBody,
    ) -> Result<Response<Body>, Denial> {
        let gate = self.gate;
        let (sign_in, client) = parts(gate, judged)?;
        let handler = door.handler;
        // One that only asks what would be answered changes nothing.
        if method == Method::HEAD {
            return Ok(Response::new(Body::empty()));
        }
        let from = (client, &headers);
        match door.step {
            ProviderStep::Login => {
                let next = next(uri);
                let invited = sign_in.invite(handler, from, next.as_deref(), self.now);
                let Invitation { location, cookies } = invited.await?;
                self.cookies.extend(cookies);
                Ok(elsewhere(StatusCode::FOUND, location))
            }
            ProviderStep::Callback => {
                let query = uri.query().unwrap_or_default();
                let completed = sign_in.complete(handler, from, query, self.now).await;
                self.cookies.extend(completed.forget);
                let (location, cookie) = completed.outcome?;
                self.cookies.push(cookie);
                Ok(elsewhere(StatusCode::SEE_OTHER, location))
            }
            ProviderStep::Logout => {
                let departed = sign_in.depart(handler, from, &method, self.now);
                let Departure { location, cookie } = departed.await?;
                self.cookies.extend(cookie);
                Ok(elsewhere(StatusCode::SEE_OTHER, location))
            }
            ProviderStep::BackChannelLogout => {
                let word = self.word(route, &headers, incoming).await?;
                sign_in.hear_logout(handler, &word, self.now).await?;
                let mut answer = Response::new(Body::empty());
                let no_store = HeaderValue::from_static("no-store");
                answer.headers_mut().insert(CACHE_CONTROL, no_store);
                Ok(answer)
            }
        }
    }

    /// Sends a browser to the provider, where it loads a page that needs a sign-in; `None` where the
    /// refusal itself is what it gets.
    pub(super) async fn invite(
        &mut self,
        denial: &Denial,
        judged: &Judged<'_>,
        (method, uri, headers): (&Method, &Uri, &HeaderMap),
    ) -> Option<Result<Response<Body>, Denial>> {
        let route = judged.route.as_deref()?;
        let Unauthenticated::SignIn(handler) = route.unauthenticated else {
            return None;
        };
        if *method != Method::GET || judged.handshake.is_some() || !is_cured(denial.code()) {
            return None;
        }
        let gate = self.gate;
        let (sign_in, client) = match parts(gate, judged) {
            Ok(parts) => parts,
            Err(denial) => return Some(Err(denial)),
        };
        let page = uri.path_and_query().map(http::uri::PathAndQuery::as_str);
        let invited = sign_in.invite(handler, (client, headers), page, self.now);
        match invited.await {
            Ok(Invitation { location, cookies }) => {
                self.cookies.extend(cookies);
                Some(Ok(elsewhere(StatusCode::FOUND, location)))
            }
            Err(denial) => Some(Err(denial)),
        }
    }

    /// The body of a provider's word.
    async fn word(
        &mut self,
        route: &Route,
        headers: &HeaderMap,
        incoming: ClientBody,
    ) -> Result<Bytes, Denial> {
        let is_form = headers.get(CONTENT_TYPE).is_some_and(|kind| {
            kind.as_bytes()
                .starts_with(b"application/x-www-form-urlencoded")
        });
        if !is_form {
            let detail = "a form is wanted here (application/x-www-form-urlencoded)";
            return Err(Denial::new(Code::BadRequest, detail));
        }
        let (body, gate) = self.body(route, headers, incoming);
        if let Some(gate) = gate {
            gate.open();
        }
        let gathered = Limited::new(body, MOST_WORD).collect();
        let gathered = tokio::time::timeout(WORD, gathered).await;
        let gathered = gathered.map_err(|_elapsed| {
            Denial::new(Code::RequestTimeout, "the body did not come in time").closing()
        })?;
        let whole = gathered.map_err(|_cut_off| {
            Denial::new(Code::BadRequest, "the body is too large or was cut off").closing()
        })?;
        Ok(whole.to_bytes())
    }
}

/// What a step needs.
fn parts<'a>(
    gate: &'a Snapshot,
    judged: &'a Judged<'_>,
) -> Result<(&'a SignIn, &'a Client), Denial> {
    let there = gate.sign_in.as_ref().zip(judged.client.as_deref());
    let (sign_in, arrival) = there.ok_or_else(|| {
        let detail = "the gateway's sessions are not there right now";
        Denial::new(Code::AuthUnavailable, detail)
    })?;
    Ok((sign_in, arrival))
}

/// Whether a sign-in at the provider may mend a refusal. An account that cannot be used is one that
/// would come back from there again and again.
fn is_cured(code: Code) -> bool {
    code.status() == StatusCode::UNAUTHORIZED
        && !matches!(code, Code::UserInactive | Code::UserUnknown)
}

/// The page to come back to that an address names.
fn next(uri: &Uri) -> Option<String> {
    let query = uri.query().unwrap_or_default().as_bytes();
    let mut named = form_urlencoded::parse(query).filter(|(name, _)| name == NEXT);
    let (_, next) = named.next()?;
    named.next().is_none().then(|| next.into_owned())
}

/// An answer that sends a browser on, and is kept nowhere.
fn elsewhere(status: StatusCode, location: HeaderValue) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(LOCATION, location);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // The address that is left may hold a code.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_to_come_back_to_is_named_once() {
        let next = |uri: &'static str| next(&Uri::from_static(uri));
        assert_eq!(next("/login?next=%2Fa%3Fb%3Dc").as_deref(), Some("/a?b=c"));
        for uri in ["/login", "/login?x=1", "/login?next=/a&next=/b"] {
            assert_eq!(next(uri), None, "{uri}");
        }
    }

    #[test]
    fn an_account_that_cannot_be_used_is_not_sent_round_in_a_circle() {
        assert!(is_cured(Code::CredentialsMissing) && is_cured(Code::SessionExpired));
        for code in [
            Code::UserInactive,
            Code::UserUnknown,
            Code::RoleMissing,
            Code::AuthUnavailable,
        ] {
            assert!(!is_cured(code));
        }
    }
}
