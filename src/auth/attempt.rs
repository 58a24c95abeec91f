//! What is asked of the authenticators, and what they found.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, Method};
use smallvec::SmallVec;

use crate::auth::certificate::PeerCertificate;
use crate::config::settings::Source;
use crate::policy::denial::{Code, Denial};
use crate::policy::forwarded::Client;
use crate::policy::identity::Caller;
use crate::policy::route::AuthenticatorId;

/// The parts of a request that may hold a credential, as the client sent them.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The query without its `?`.
    pub query: Option<&'a str>,
    /// Whether it is a WebSocket handshake.
    pub websocket: bool,
    /// The certificate that the client showed in the TLS handshake.
    pub peer_certificate: Option<&'a PeerCertificate>,
    /// Who the client is and which host it asked for, for those that ask the app.
    pub client: Option<&'a Client>,
    /// The name of the gateway's own session cookie, which nobody is told.
    pub own_cookie: Option<&'a str>,
}

/// What came of trying a route's authenticators.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// Who is calling, where a credential was valid.
    pub caller: Option<Arc<Caller>>,
    /// Why not, where the route cannot let the request pass.
    pub denial: Option<Denial>,
    /// Whether the credential that decided came in a cookie.
    pub by_cookie: bool,
    /// Each authenticator that was asked, in order.
    pub tries: SmallVec<[Try<'a>; 2]>,
    /// Places of this route's authenticators that hold a credential which did not make the caller,
    /// refused or not looked at. The app must not be given it unchecked.
    pub refused_credentials: SmallVec<[&'a Source; 2]>,
}

/// One authenticator's answer.
#[derive(Debug)]
pub struct Try<'a> {
    /// Who was asked.
    pub authenticator: AuthenticatorId,
    /// Where the credential was; `None` where there was none, or for a certificate.
    pub source: Option<&'a Source>,
    /// Whether it held, or the code of the refusal.
    pub outcome: Result<(), Code>,
    /// Whether the verdict was known from before.
    pub reused: bool,
    /// Where its signature failed, one bit chosen by the credential; else 0
    /// ([`mark`](crate::telemetry::secret_change::mark)).
    pub mark: u64,
    /// The same in words, for `explain` and `why`.
    pub words: Cow<'static, str>,
}
