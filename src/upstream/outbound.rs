//! The one door to an app.
//!
//! [`Outbound::seal`] takes the [`Permit`], so that a request that was not authorised does not
//! compile. It cleanses the client's headers first and adds the gateway's own after, so that
//! nothing a client sends can add to, replace or remove them.

use std::borrow::Cow;
use std::fmt;

use http::header::HOST;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use smallvec::SmallVec;

use super::body::RequestBody;
use crate::policy::cookie::{drop_cookies, take_cookie};
use crate::policy::forwarded::Client;
use crate::policy::path::CanonicalPath;
use crate::policy::requirement::Permit;
use crate::policy::route::{Forward, HeaderEdits, Route};
use crate::policy::written::Written;
use crate::policy::{Policy, websocket};
use crate::signin::oidc::FLOW_COOKIE;

/// The cookie that keeps a client with its server under `balance = "cookie"`.
pub const STICKY_COOKIE: &str = "portcullis-server";

/// What the gateway itself says about a request.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a, 'p> {
    /// The policy in force.
    pub policy: &'a Policy,
    /// The route that was chosen.
    pub route: &'a Route,
    /// Where it leads.
    pub forward: &'a Forward,
    /// Who the client is.
    pub client: &'a Client,
    /// The forwarding headers that tell of it, each once.
    pub forwarded: &'a Written,
    /// The path that was judged.
    pub path: &'p CanonicalPath<'p>,
    /// The request id.
    pub request_id: &'a HeaderValue,
    /// The trace context to send on.
    pub traceparent: &'a HeaderValue,
    /// Query parameters that carried a token which is not to go on.
    pub hidden_query: &'p [&'p str],
    /// Whether the token behind `bearer` in `Sec-WebSocket-Protocol` is not to go on.
    pub hides_bearer: bool,
    /// Whether this is a WebSocket handshake.
    pub websocket: bool,
    /// The signed assertion about the caller.
    pub assertion: Option<&'a HeaderValue>,
    /// Credentials that were looked at and refused while another one held.
    pub refused: &'p [Refused<'p>],
}

/// A credential that was refused and does not go on.
#[derive(Clone, Copy, Debug)]
pub enum Refused<'a> {
    /// In this header.
    Header(&'a HeaderName),
    /// In this cookie.
    Cookie(&'a str),
}

/// Headers that the gateway itself adds, where they are kept: nothing is copied before it is
/// written. Most requests get no more than there is room for.
type Own<'a> = SmallVec<[(&'a HeaderName, &'a HeaderValue); 16]>;

/// A request that may be sent to an app.
pub struct Outbound<'a> {
    method: Method,
    target: Cow<'a, Uri>,
    headers: HeaderMap,
    /// The gateway's own, each name once; they take the place of any in `headers`.
    own: Own<'a>,
    /// More of them, with their lines.
    written: SmallVec<[&'a Written; 2]>,
    /// The trace context of one try, in the place of the request's.
    traced: Option<HeaderValue>,
    pub(super) body: RequestBody,
    /// The server that the client's sticky cookie names.
    pub(super) sticky: Option<Box<str>>,
    /// Whether the client asked for a WebSocket.
    pub(super) websocket: bool,
}

impl<'a> Outbound<'a> {
    /// Makes the request that goes to the app. Whoever calls has shown a permit.
    #[must_use]
    pub fn seal(
        (method, uri, mut headers): (Method, &'a Uri, HeaderMap),
        body: RequestBody,
        facts: &Facts<'a, '_>,
        permit: &'a Permit,
    ) -> Self {
        let has_cookies = facts.policy.hygiene.cleanse(&mut headers, facts.websocket);
        if facts.hides_bearer {
            websocket::strip_bearer(&mut headers);
        }
        let sticky = if has_cookies {
            take_own_cookies(&mut headers, facts.policy)
        } else {
            None
        };
        for refused in facts.refused {
            match refused {
                Refused::Header(name) => drop(headers.remove(*name)),
                Refused::Cookie(name) => drop(take_cookie(&mut headers, name)),
            }
        }
        let mut own = Own::new();
        own.push((&HOST_NAME, &facts.client.authority));
        own.push((&facts.policy.request_id, facts.request_id));
        own.push((&TRACEPARENT_NAME, facts.traceparent));
        let mut written = SmallVec::<[&'a Written; 2]>::new();
        written.push(facts.forwarded);
        if let Some(caller) = permit.caller() {
            // The client's own headers of these names are gone already.
            written.push(caller.headers());
            if let (Some(name), Some(value)) = (&facts.policy.identity.assertion, facts.assertion) {
                own.push((name, value));
            }
        }
        let HeaderEdits { set, remove } = &facts.route.request_headers;
        if !set.is_empty() || !remove.is_empty() {
            // Any of them may be meant.
            for each in written.drain(..) {
                own.extend(each.fields().iter().map(|(name, value)| (name, value)));
            }
        }
        for name in remove {
            headers.remove(name);
            own.retain(|(have, _)| *have != name);
        }
        for (name, value) in set {
            own.retain(|(have, _)| *have != name);
            own.push((name, value));
        }
        Self {
            method,
            target: target(uri, facts),
            headers,
            own,
            written,
            traced: None,
            body,
            sticky,
            websocket: facts.websocket,
        }
    }

    /// The method of the request.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The headers that the app will get.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut all = self.headers.clone();
        let fields = self.written.iter().flat_map(|written| written.fields());
        let own = self.own.iter().copied();
        let own = own.chain(fields.map(|(name, value)| (name, value)));
        all.extend(own.map(|(name, value)| (name.clone(), value.clone())));
        all
    }

    /// The headers that the app will get beside those of [`Self::written`], in the order in which
    /// they are written.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let theirs = self.headers.iter().filter(|(name, _)| !self.is_own(name));
        self.own.iter().map(|own| self.of_try(*own)).chain(theirs)
    }

    /// The gateway's own headers whose lines are there already.
    pub(super) fn written(&self) -> &[&'a Written] {
        &self.written
    }

    /// Whether the gateway says itself what stands under this name.
    fn is_own(&self, name: &HeaderName) -> bool {
        let mut own = self.own.iter();
        own.any(|(own, _)| *own == name) || self.written.iter().any(|written| written.has(name))
    }

    /// What a try gets of the gateway's own: its trace context, unless the route sets one.
    fn of_try<'f>(
        &'f self,
        (name, value): (&'f HeaderName, &'f HeaderValue),
    ) -> (&'f HeaderName, &'f HeaderValue) {
        match &self.traced {
            Some(traced) if std::ptr::eq(name, &raw const TRACEPARENT_NAME) => (name, traced),
            Some(_) | None => (name, value),
        }
    }

    /// The next try gets this trace context.
    pub(super) fn trace(&mut self, traceparent: HeaderValue) {
        self.traced = Some(traceparent);
    }

    /// The target that the app will get.
    #[must_use]
    pub fn target(&self) -> &Uri {
        &self.target
    }
}

impl fmt::Debug for Outbound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.path();
        f.debug_struct("Outbound")
            .field("method", &self.method)
            .field("path", &path)
            .finish_non_exhaustive()
    }
}

/// The trace context (W3C Trace Context §3.2).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What vendors add to it (§3.3).
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

// Names to be borrowed for as long as a request takes.
static HOST_NAME: HeaderName = HOST;
static TRACEPARENT_NAME: HeaderName = TRACEPARENT;

/// Takes the gateway's own cookies out, and gives what the sticky one says.
fn take_own_cookies(headers: &mut HeaderMap, policy: &Policy) -> Option<Box<str>> {
    if let Some(name) = &policy.session_cookie {
        take_cookie(headers, name);
        drop_cookies(headers, FLOW_COOKIE);
    }
    take_cookie(headers, STICKY_COOKIE)
}

/// The origin-form target: the path that was judged, with the route's prefixes changed, and the
/// query without hidden parameters.
fn target<'u>(uri: &'u Uri, facts: &Facts<'_, '_>) -> Cow<'u, Uri> {
    let untouched = facts.forward.strip_prefix.is_none()
        && facts.forward.add_prefix.is_none()
        && facts.hidden_query.is_empty()
        && facts.path.raw() == uri.path();
    if untouched && uri.authority().is_none() {
        return Cow::Borrowed(uri);
    }
    let (strip, add) = (&facts.forward.strip_prefix, &facts.forward.add_prefix);
    let path = facts.path.rewritten(strip.as_deref(), add.as_deref());
    let query = facts
        .hidden_query
        .iter()
        .fold(uri.query().map(str::to_owned), |query, name| {
            query.and_then(|query| websocket::strip_token(&query, name))
        });
    let text = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    Cow::Owned(PathAndQuery::try_from(text).map_or_else(|_| Uri::from_static("/"), Uri::from))
}
