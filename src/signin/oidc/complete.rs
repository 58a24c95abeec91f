//! A browser comes back from a provider: what it brings is checked, and a session begins.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use super::answer::Returned;
use super::client::{Granted, NoTokens};
use super::endpoints::Endpoints;
use super::flow::{self, Flow};
use super::{CALL, Provider, location, origin};
use crate::auth::ledger::{Holder, Lease, SessionKey, TokenMark, holder};
use crate::auth::words::{chain, unavailable};
use crate::auth::{Expected, identity_of, json, own_session, web};
use crate::clock::{self, Timestamp};
use crate::policy::denial::{Challenge, Code, Denial};
use crate::policy::forwarded::Client;
use crate::policy::sign_in::HandlerId;
use crate::secret::Secret;
use crate::signin::tokens::{Provided, Tokens};
use crate::signin::{Inner, SignIn, refusal};

/// How long one waits for its turn where many sign in at a time.
const TURN: Duration = Duration::from_secs(4);
/// How long it is remembered that something was used: longer than it is good.
pub(super) const REMEMBERED: Duration = Duration::from_mins(15);

/// What became of a browser that came back.
#[derive(Debug)]
pub struct Completed {
    /// Where it goes now, and the line that gives it the session's cookie; or why it may not.
    pub outcome: Result<(HeaderValue, HeaderValue), Denial>,
    /// The line that takes the sign-in's own cookie away: it is good for one time.
    pub forget: Option<HeaderValue>,
}

impl SignIn {
    /// Ends a sign-in with what the browser brought back in the address's query.
    pub async fn complete(
        &self,
        handler: HandlerId,
        (client, headers): (&Client, &HeaderMap),
        query: &str,
        now: Timestamp,
    ) -> Completed {
        let returned = match Returned::parse(query) {
            Ok(returned) => returned,
            Err(bad) => {
                return Completed {
                    outcome: Err(bad.into()),
                    forget: None,
                };
            }
        };
        let forget = flow::take(returned.state.expose());
        let outcome = self.completed(handler, (client, headers), returned, now);
        Completed {
            outcome: outcome.await,
            forget,
        }
    }

    async fn completed(
        &self,
        handler: HandlerId,
        (client, headers): (&Client, &HeaderMap),
        returned: Returned,
        now: Timestamp,
    ) -> Result<(HeaderValue, HeaderValue), Denial> {
        let provider = self.provider(handler)?;
        let state = returned.state.expose();
        let flow = Flow::of_state(&provider.settings, headers, state).ok_or_else(not_begun)?;
        if flow.is_over(now) {
            let detail =
                "the sign-in took longer than ten minutes: begin again at the page you want";
            return Err(Denial::new(Code::SessionExpired, detail).challenge(Challenge::Bearer));
        }
        let origin = origin(client)?;
        if *flow.origin != *origin {
            return Err(not_begun().note("it was begun at another host, port or scheme"));
        }
        let endpoints = provider.endpoints().await?;
        provider.check_issuer(&endpoints, returned.issuer.as_deref())?;
        let code = returned.code.map_err(|refused| refused.denial())?;
        let turn = tokio::time::timeout(TURN, self.0.kept.sign_ins.acquire()).await;
        let _turn = turn.map_err(|_elapsed| {
            refusal::unavailable("too many sign in at a time: no turn came in time")
        })?;
        let redirect = provider.callback(&origin);
        let oauth = provider.client(&endpoints, Some(&redirect))?;
        let granted = oauth.exchange(&code, &flow).await;
        let granted = granted.map_err(|why| provider.no_tokens(why))?;
        // The provider has taken its time: its tokens are newer than the request.
        let now = now.max(clock::now());
        let nonce = Expected::Nonce(flow.nonce.expose());
        let claims = provider.claims(&endpoints, &granted, nonce, now).await?;
        self.0
            .once("state", &provider.settings.issuer, state)
            .await?;
        let tokens = provider.tokens(granted, claims, now)?;
        let settings = &provider.settings;
        let identity = identity_of(tokens.claims(), &settings.identity, &settings.name)?;
        let who = client.ip.to_string();
        let before = own_session(self.cookie(), headers).unwrap_or_default();
        let begun = self.begin(handler, tokens, (&identity, &who), before.as_ref(), now);
        Ok((location(&flow.back)?, begun.await?))
    }
}

/// What was noted as used.
#[derive(Debug)]
pub(in crate::signin) struct Used {
    key: SessionKey,
    holder: Holder,
}

impl Inner {
    /// Notes that something was used, for all gateways.
    ///
    /// # Errors
    ///
    /// `csrf_failed` where it was used before, `auth_unavailable` where nobody can say.
    pub(in crate::signin) async fn once(
        &self,
        what: &str,
        issuer: &str,
        name: &str,
    ) -> Result<Used, Denial> {
        let mark = TokenMark::of_jti(&format!("{what} {issuer}"), name);
        let key = SessionKey::from_bytes(*mark.as_bytes());
        let holder = holder().map_err(|bad| refusal::unavailable(bad.to_string()))?;
        let lease = self.ledger.lease(key, holder, REMEMBERED).await;
        match lease.map_err(|error| unavailable(&error))? {
            Lease::Yours => Ok(Used { key, holder }),
            Lease::Held => Err(Denial::new(Code::CsrfFailed, "this was used before")),
        }
    }

    /// Takes the note back, where what it was used for came to nothing.
    pub(in crate::signin) async fn unused(&self, used: Used) {
        if let Err(error) = self.ledger.release(used.key, used.holder).await {
            tracing::debug!(%error, "a note that something was used stays until it is over");
        }
    }
}

impl Provider {
    /// RFC 9207 §2.4: an answer of another issuer is not taken to this one.
    fn check_issuer(&self, endpoints: &Endpoints, said: Option<&str>) -> Result<(), Denial> {
        let detail = match said {
            Some(said) if *said == *self.settings.issuer => return Ok(()),
            None if !endpoints.tells_issuer => return Ok(()),
            Some(_) => "the answer is another provider's than the one that was asked",
            None => {
                "the answer does not say which provider it is from, though this one says so always"
            }
        };
        Err(Denial::new(Code::TokenIssuer, detail).challenge(Challenge::Bearer))
    }

    fn no_tokens(&self, why: NoTokens) -> Denial {
        match why {
            NoTokens::Refused(words) => {
                let detail = "the provider does not take the sign-in's code: it was used before, or is too old";
                Denial::new(Code::TokenRevoked, detail)
                    .challenge(Challenge::Bearer)
                    .note(words)
            }
            NoTokens::Failed(words) => self.unusable(words),
        }
    }

    /// What the ID token says, and the `UserInfo` endpoint beside it.
    async fn claims(
        &self,
        endpoints: &Endpoints,
        granted: &Granted,
        expected: Expected<'_>,
        now: Timestamp,
    ) -> Result<(Map<String, Value>, Map<String, Value>), Denial> {
        let token = granted.id_token.as_ref();
        let token = token.ok_or_else(|| self.unusable("its token endpoint gave no ID token"))?;
        let id = self.issuer.verify(token.expose(), expected, now).await?;
        let sub = id.get("sub").and_then(Value::as_str).unwrap_or_default();
        let info = self.userinfo(endpoints, &granted.access, sub).await?;
        Ok((id, info))
    }

    /// What the `UserInfo` endpoint tells (Core 1.0 §5.3), where the provider has one and it is asked.
    pub(super) async fn userinfo(
        &self,
        endpoints: &Endpoints,
        access: &Secret<String>,
        sub: &str,
    ) -> Result<Map<String, Value>, Denial> {
        let Some(url) = endpoints
            .userinfo
            .as_ref()
            .filter(|_| self.settings.userinfo)
        else {
            return Ok(Map::new());
        };
        let wrong = |why: &str| self.unusable(format!("its UserInfo endpoint {why}"));
        let bearer = HeaderValue::try_from(format!("Bearer {}", access.expose()));
        let mut bearer = bearer.map_err(|_why| wrong("cannot be asked with its access token"))?;
        bearer.set_sensitive(true);
        let request = Request::get("/")
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, bearer)
            .body(Bytes::new())
            .map_err(|_why| wrong("cannot be asked"))?;
        let answer = tokio::time::timeout(CALL, web::send(url, request)).await;
        let answer = answer.map_err(|_elapsed| wrong("gave no whole answer in time"))?;
        let answer =
            answer.map_err(|error| wrong(&format!("cannot be asked: {}", chain(&error))))?;
        if !web::is_ok(&answer) {
            return Err(wrong(&format!("answered {}", answer.status().as_u16())));
        }
        let kind = answer.headers().get(CONTENT_TYPE);
        let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        if !is_json {
            return Err(wrong(
                "did not answer with JSON: set `userinfo = false` if it signs its answers",
            ));
        }
        let object = json::object(answer.body());
        let told = object.map_err(|_why| wrong("did not answer with one JSON object"))?;
        let same = told.members.get("sub").and_then(Value::as_str);
        let same = same.is_some_and(|told| bool::from(told.as_bytes().ct_eq(sub.as_bytes())));
        if !same {
            // §5.3.2: another user's claims are not to be used.
            let detail = "the provider told the claims of another user (`sub`)";
            return Err(Denial::new(Code::TokenClaim, detail).challenge(Challenge::InvalidToken));
        }
        Ok(told.members)
    }

    fn tokens(
        &self,
        granted: Granted,
        (id, info): (Map<String, Value>, Map<String, Value>),
        now: Timestamp,
    ) -> Result<Tokens, Denial> {
        let ends = self.ends(&granted, &id, now);
        let Granted {
            access,
            refresh,
            id_token,
            ..
        } = granted;
        let id_token =
            id_token.ok_or_else(|| self.unusable("its token endpoint gave no ID token"))?;
        let provided = Provided { id_token, id, info };
        Ok(Tokens::provided((access, refresh), provided, ends, now))
    }
}

/// The refusal of what this browser did not ask for.
fn not_begun() -> Denial {
    let detail = "this browser did not begin this sign-in, or has ended it before: begin at the page you want";
    Denial::new(Code::CsrfFailed, detail)
        .note("no cookie of this browser belongs to the answer's `state`")
}
