//! What a connection becomes when its handshake is answered: a tunnel to the app, or a socket that
//! is closed at once because a browser could not read the refusal otherwise.

use std::time::Duration;

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderValue, Response, StatusCode};

use super::body::Body;
use super::judge::Judged;
use crate::auth::Watch;
use crate::clock::Timestamp;
use crate::config::settings::Authenticator;
use crate::gateway::Snapshot;
use crate::policy::denial::{Code, Denial};
use crate::policy::identity::Bond;
use crate::policy::requirement::Permit;
use crate::policy::route::Route;
use crate::policy::websocket::close::Ending;
use crate::policy::websocket::{Handshake, accept_for};
use crate::telemetry::Held;
use crate::upstream::tunnel::Handover;

/// What a connection is after a 101. Over HTTP/2 a stream is that after a 200.
#[derive(Debug)]
pub enum Becomes {
    /// Bytes go both ways.
    Tunnel(Tunnel),
    /// The handshake was refused: nothing follows but this close frame.
    Closed(Ending),
}

impl Becomes {
    /// The number of the close frame that tells a refusal.
    pub(super) const fn close(&self) -> Option<u16> {
        match self {
            Self::Tunnel(_) => None,
            Self::Closed(ending) => Some(ending.number()),
        }
    }
}

/// A connection to an app that has switched protocols, and its terms.
#[derive(Debug)]
pub struct Tunnel {
    /// The app's side.
    pub handover: Box<Handover>,
    /// Closed without a byte for this long.
    pub idle: Duration,
    /// When the identity ends, and how the socket is closed then.
    pub until: Option<(Timestamp, Ending)>,
    /// Ready when what let the caller in is revoked, and how the socket is closed then.
    pub revoked: Option<(Watch, Ending)>,
    /// Counts it while it is open.
    pub held: Held,
}

impl Tunnel {
    /// The tunnel of a caller who was permitted, by the rules of the route.
    pub(super) fn new(
        handover: Box<Handover>,
        (gate, route, permit): (&Snapshot, &Route, &Permit),
        held: Held,
    ) -> Self {
        Self {
            handover,
            idle: route.websocket.idle,
            until: until(gate, route, permit),
            revoked: revoked(gate, route, permit),
            held,
        }
    }
}

/// The answer to a refused handshake and what follows it, where a close frame tells the refusal;
/// `None` where its status does.
pub(super) fn refuse(
    denial: &Denial,
    judged: &Judged<'_>,
    has_origin: bool,
) -> Option<(Response<Body>, Becomes)> {
    let (handshake, route) = (judged.handshake.as_ref()?, judged.route.as_ref()?);
    let ending = route.websocket.refuse.told(denial.code(), has_origin)?;
    Some((taken(handshake), Becomes::Closed(ending)))
}

/// The answer to a handshake that is taken to be closed at once. A browser takes only one that
/// chooses a subprotocol where it offered any; no extension is chosen.
fn taken(handshake: &Handshake) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::try_from(accept_for(&handshake.key)) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(chosen) = handshake.protocols().next()
        && let Ok(chosen) = HeaderValue::try_from(chosen)
    {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    answer
}

/// What closes a socket when its caller's session or token is revoked; `None` where neither can
/// be, or it goes on.
fn revoked(gate: &Snapshot, route: &Route, permit: &Permit) -> Option<(Watch, Ending)> {
    if !route.websocket.close_on_expiry {
        return None;
    }
    let caller = permit.caller()?;
    let code = match caller.bond()? {
        Bond::Session { .. } => Code::SessionUnknown,
        Bond::Token(_) => Code::TokenRevoked,
    };
    let watch = gate.sign_in.as_ref()?.watch(caller)?;
    Some((watch, Ending::identity(code)))
}

/// When a socket ends with its caller's identity, and how it is closed then; `None` where it goes
/// on.
fn until(gate: &Snapshot, route: &Route, permit: &Permit) -> Option<(Timestamp, Ending)> {
    if !route.websocket.close_on_expiry {
        return None;
    }
    let identity = permit.caller()?.identity();
    let known = &gate.settings.authenticators;
    let by = known
        .iter()
        .find(|known| known.name == identity.authenticator);
    let code = by.map_or(Code::TokenExpired, Authenticator::expired);
    Some((permit.expires_at()?, Ending::identity(code)))
}
