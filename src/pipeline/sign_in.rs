//! What happens to requests that sign in and renew at an app whose tokens stay here.
//!
//! The answer to a sign-in is read whole, within bounds, and its tokens are taken out of it; where it
//! may hold some and cannot be read, the browser does not get it. A front end that renews its token
//! gets an empty answer: there is nothing to renew on its side.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG,
    LAST_MODIFIED, SET_COOKIE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, response};

use super::body::{Body, Gathered};
use super::judge::Judged;
use crate::auth::ledger::SessionId;
use crate::auth::ports::Asked;
use crate::auth::{self, Authenticators};
use crate::clock;
use crate::policy::csrf;
use crate::policy::denial::{Code, Denial};
use crate::policy::forwarded::{Client, Scheme};
use crate::policy::route::Route;
use crate::policy::sign_in::HandlerId;
use crate::signin::{Cut, MOST_ANSWER, NoTokens, SignIn, Tokens, look_like_jwts, useless};

/// Headers that speak of the body as the app sent it.
const ABOUT_BODY: [HeaderName; 2] = [ETAG, LAST_MODIFIED];
/// JWTs that are checked at most in an answer that has no token where one is looked for.
const MOST_JWTS: usize = 16;
const DIGESTS: [&str; 3] = ["content-digest", "repr-digest", "digest"];

/// A request that has to do with tokens that the gateway keeps.
pub(super) struct Door<'a> {
    pub(super) sign_in: &'a SignIn,
    pub(super) authenticators: &'a Authenticators,
    pub(super) handler: HandlerId,
    pub(super) route: &'a Route,
    pub(super) client: &'a Client,
}

impl<'a> Door<'a> {
    /// For a request that was judged; `None` where the gateway keeps no tokens.
    pub(super) fn of(
        gate: &'a crate::gateway::Snapshot,
        handler: HandlerId,
        route: &'a Route,
        judged: &'a Judged<'_>,
    ) -> Option<Self> {
        Some(Self {
            sign_in: gate.sign_in.as_ref()?,
            authenticators: &gate.authenticators,
            handler,
            route,
            client: judged.client.as_ref()?,
        })
    }

    pub(super) fn session(&self, headers: &HeaderMap) -> Result<Option<SessionId>, Denial> {
        auth::own_session(self.sign_in.cookie(), headers)
    }

    /// Whether a request has a session's cookie, good or bad.
    pub(super) fn has_cookie(&self, headers: &HeaderMap) -> bool {
        !matches!(self.session(headers), Ok(None))
    }

    /// Before a sign-in goes to the app. A page of another site must not sign its visitor in as
    /// somebody else. Gives the session that the browser has, which ends.
    pub(super) fn admit(
        &self,
        method: &Method,
        headers: &mut HeaderMap,
    ) -> Result<Option<SessionId>, Denial> {
        csrf::check_sign_in(method, headers, self.client, self.route.cors.as_deref())?;
        // A compressed answer cannot be looked into.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(self.session(headers).unwrap_or_default())
    }

    /// Takes the tokens out of the app's answer to a sign-in, and begins a session with them.
    pub(super) async fn welcome(
        &self,
        answer: Response<Body>,
        before: Option<SessionId>,
        limit: Duration,
    ) -> Result<Response<Body>, Denial> {
        if !answer.status().is_success() {
            return Ok(answer);
        }
        if is_compressed(answer.headers()) {
            return Err(useless("it is compressed, though the app was asked not to"));
        }
        let (head, body) = answer.into_parts();
        let gathered = tokio::time::timeout(limit, body.gather(MOST_ANSWER)).await;
        let bytes = match gathered {
            Ok(Gathered::Whole(bytes)) => bytes,
            Ok(Gathered::TooLarge) => return Err(useless("it is larger than 256 KiB")),
            Ok(Gathered::Broken) => {
                let detail = "the app's answer to the sign-in broke off";
                return Err(Denial::new(Code::UpstreamInvalid, detail));
            }
            Err(_elapsed) => {
                let detail = "the app's answer to the sign-in did not come to its end in time";
                return Err(Denial::new(Code::UpstreamTimeout, detail));
            }
        };
        match self.sign_in.cut(self.handler, &bytes) {
            Ok(cut) => self.begin(head, bytes, cut, before).await,
            Err(why) if !why.is_harmless() => Err(useless(why.to_string())),
            Err(why) => {
                self.check_no_token(&bytes).await?;
                self.pass_on(why);
                Ok(Response::from_parts(head, Body::full(bytes)))
            }
        }
    }

    /// An answer in which no token stands where one is looked for may have it elsewhere, and need not
    /// be JSON. What else has the form of a JWT is the app's affair, such as half a sign-in.
    async fn check_no_token(&self, answer: &[u8]) -> Result<(), Denial> {
        let Some(settings) = self.sign_in.handler(self.handler) else {
            return Ok(());
        };
        for (looked, token) in look_like_jwts(answer).enumerate() {
            if looked == MOST_JWTS {
                return Err(useless(
                    "it holds more JWTs than are looked into, and none at `access`",
                ));
            }
            let checked = self
                .authenticators
                .vouch(settings.auth, token, clock::now());
            match checked.await {
                Ok(_caller) => {
                    return Err(useless(format!(
                        "it holds an access token, but not at the `access` of [token_handler.{}]",
                        settings.name
                    )));
                }
                Err(denial) if denial.code() == Code::AuthUnavailable => return Err(denial),
                Err(_no_token_of_it) => {}
            }
        }
        Ok(())
    }

    /// Notes that an answer without tokens goes on as the app made it.
    fn pass_on(&self, why: NoTokens) {
        let handler = self.sign_in.handler(self.handler).map(|one| &*one.name);
        tracing::warn!(
            handler = handler.unwrap_or_default(),
            %why,
            "a sign-in's answer was passed on as it was, and no session began"
        );
    }

    async fn begin(
        &self,
        mut head: response::Parts,
        whole: Bytes,
        cut: Cut,
        before: Option<SessionId>,
    ) -> Result<Response<Body>, Denial> {
        let Some(settings) = self.sign_in.handler(self.handler) else {
            return Err(useless("its token handler is not there"));
        };
        // The app has taken its time: the token is newer than the request.
        let now = clock::now();
        let Cut {
            access,
            refresh,
            rest,
        } = cut;
        let checked = self
            .authenticators
            .vouch(settings.auth, access.expose(), now)
            .await;
        let caller = checked.map_err(|denial| {
            let code = denial.code();
            if code == Code::AuthUnavailable {
                return denial;
            }
            useless(format!(
                "the jwt authenticator of [token_handler.{}] refuses the access token: {code}: {}; {}",
                settings.name,
                denial.detail(),
                denial.operator_note().unwrap_or_default()
            ))
        })?;
        let tokens = Tokens::new(access, refresh, now)
            .ok_or_else(|| useless("the access token has no `exp`"))?;
        let client = self.client.ip.to_string();
        let who = (caller.identity(), client.as_str());
        let begun = self
            .sign_in
            .begin(self.handler, tokens, who, before.as_ref(), now);
        let cookie = begun.await?;
        let body = if settings.keep_body {
            whole
        } else {
            rest.into()
        };
        let headers = &mut head.headers;
        for name in &ABOUT_BODY {
            headers.remove(name);
        }
        for name in DIGESTS {
            headers.remove(name);
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.append(SET_COOKIE, cookie);
        Ok(Response::from_parts(head, Body::full(body)))
    }

    /// Answers a front end that renews its token by itself: its session is good, and renewed where
    /// it was time. `None` where the request has no session: then it is the app's affair.
    pub(super) async fn renew(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Option<Response<Body>>, Denial> {
        let Some(id) = self.session(headers)? else {
            return Ok(None);
        };
        self.check_site(method, headers)?;
        let asked = Asked {
            host: Some(self.client.authority.clone()),
            https: self.client.scheme == Scheme::Https,
        };
        self.sign_in
            .keep(self.handler, id, asked, clock::now())
            .await?;
        Ok(Some(nothing()))
    }

    /// The cookie is the credential, whatever the route asks for.
    pub(super) fn check_site(&self, method: &Method, headers: &HeaderMap) -> Result<(), Denial> {
        if !self.route.csrf {
            return Ok(());
        }
        csrf::check(method, headers, self.client, self.route.cors.as_deref())
    }
}

/// Whether an answer cannot be looked into.
fn is_compressed(headers: &HeaderMap) -> bool {
    let plain = |line: &HeaderValue| {
        let mut codings = line.as_bytes().split(|byte| *byte == b',');
        codings.all(|coding| {
            let coding = coding.trim_ascii();
            coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
        })
    };
    !headers.get_all(CONTENT_ENCODING).iter().all(plain)
}

/// An empty JSON answer: front ends read one, and find no token in it.
pub(super) fn nothing() -> Response<Body> {
    let mut answer = Response::new(Body::full(Bytes::from_static(b"{}")));
    *answer.status_mut() = StatusCode::OK;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_by_any_line_is_known() {
        let is = |lines: &[&'static str]| {
            let lines = lines
                .iter()
                .map(|line| (CONTENT_ENCODING, HeaderValue::from_static(line)));
            let mut headers = HeaderMap::new();
            for (name, line) in lines {
                headers.append(name, line);
            }
            is_compressed(&headers)
        };
        for plain in [&[][..], &["identity"], &["Identity, "], &["", "identity"]] {
            assert!(!is(plain), "{plain:?}");
        }
        for packed in [&["gzip"][..], &["identity", "br"], &["identity, zstd"]] {
            assert!(is(packed), "{packed:?}");
        }
    }
}
