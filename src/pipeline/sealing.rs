//! Makes what goes to the app from what was judged: one way for live traffic, `explain` and tests.

use http::{HeaderMap, HeaderValue, Method};
use smallvec::SmallVec;

use super::judge::Judged;
use crate::clock::Timestamp;
use crate::config::settings::{Authenticator, Source};
use crate::gateway::Snapshot;
use crate::policy::denial::{Code, Denial};
use crate::policy::requirement::Permit;
use crate::policy::route::{Forward, Route};
use crate::upstream::body::RequestBody;
use crate::upstream::outbound::{Facts, Outbound, Refused};

/// A judgement that permits a request, and what the gateway adds to it.
#[derive(Clone, Copy, Debug)]
pub struct Sealing<'a, 'u> {
    /// The snapshot that judged.
    pub gate: &'a Snapshot,
    /// The route that was chosen.
    pub route: &'a Route,
    /// Where it leads.
    pub forward: &'a Forward,
    /// What was found out.
    pub judged: &'a Judged<'u>,
    /// The request id.
    pub request_id: &'a HeaderValue,
    /// The trace context to send on.
    pub traceparent: &'a HeaderValue,
    /// The time of the judgement.
    pub now: Timestamp,
}

impl<'a> Sealing<'a, '_> {
    /// The signed assertion about the caller, where one goes with the request.
    ///
    /// # Errors
    ///
    /// `auth_unavailable` where the caller cannot be introduced.
    pub fn assertion(&self, permit: &Permit) -> Result<Option<HeaderValue>, Denial> {
        match (&self.gate.assertions, permit.caller()) {
            (Some(assertions), Some(caller)) => assertions.header_for(caller, self.now).map(Some),
            (Some(_) | None, _) => Ok(None),
        }
    }

    /// Makes the request that the app gets. `assertion` is what [`Self::assertion`] gave for the
    /// same permit.
    ///
    /// # Errors
    ///
    /// `bad_request` where the judgement did not come as far as the path.
    pub fn seal(
        &self,
        (method, uri, headers): (Method, &'a http::Uri, HeaderMap),
        body: RequestBody,
        permit: &'a Permit,
        assertion: Option<&'a HeaderValue>,
    ) -> Result<Outbound<'a>, Denial> {
        let (Some(client), Some(path)) = (&self.judged.client, &self.judged.path) else {
            return Err(Denial::new(Code::BadRequest, "the request has no host"));
        };
        let passing = Passing::of(self.gate, self.judged, self.route);
        let facts = Facts {
            policy: &self.gate.policy,
            route: self.route,
            forward: self.forward,
            client,
            forwarded: &client.forwarded,
            path,
            request_id: self.request_id,
            traceparent: self.traceparent,
            hidden_query: &passing.hidden_query,
            hides_bearer: passing.hides_bearer,
            websocket: self.judged.handshake.is_some(),
            assertion,
            refused: &passing.refused,
        };
        Ok(Outbound::seal((method, uri, headers), body, &facts, permit))
    }
}

/// Which of the client's credentials do not go on to the app.
struct Passing<'a> {
    hidden_query: SmallVec<[&'a str; 1]>,
    /// Whether the token among the subprotocols stays here.
    hides_bearer: bool,
    refused: SmallVec<[Refused<'a>; 1]>,
}

impl<'a> Passing<'a> {
    /// A credential that was looked at and refused does not go on beside one that held: the app
    /// might act on it. A handshake's token goes on unless the route says otherwise; then none goes
    /// on that one of the route's authenticators would read, whether it held or not.
    fn of<'u: 'a>(gate: &'a Snapshot, judged: &'a Judged<'u>, route: &Route) -> Self {
        let mut passing = Self {
            hidden_query: SmallVec::new(),
            hides_bearer: false,
            refused: SmallVec::new(),
        };
        let Some(attempt) = &judged.attempt else {
            return passing;
        };
        if judged.caller.is_some() {
            for source in &attempt.refused_credentials {
                match source {
                    Source::Header(name) => passing.refused.push(Refused::Header(name)),
                    Source::Cookie(name) => passing.refused.push(Refused::Cookie(name)),
                    Source::Query(name) | Source::WebSocketQuery(name) => {
                        passing.hidden_query.push(name);
                    }
                    Source::WebSocketProtocol => passing.hides_bearer = true,
                }
            }
        }
        if judged.handshake.is_some() && !route.websocket.forward_token {
            passing.hide_tokens(gate, route);
        }
        passing
    }

    /// Hides every place of a handshake where an authenticator of the route reads a token.
    fn hide_tokens(&mut self, gate: &'a Snapshot, route: &Route) {
        let known = &gate.settings.authenticators;
        let ours = route.authenticators.iter().filter_map(|id| known.get(id.0));
        for source in ours.flat_map(Authenticator::sources) {
            match source {
                Source::WebSocketQuery(name) | Source::Query(name) => self.hidden_query.push(name),
                Source::WebSocketProtocol => self.hides_bearer = true,
                Source::Header(_) | Source::Cookie(_) => {}
            }
        }
    }
}
