//! One route, compiled: everything the configuration can decide about a request beforehand.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::policy::cors::CorsRule;
use crate::policy::host::HostPattern;
use crate::policy::limit::LimitId;
use crate::policy::path::PathPattern;
use crate::policy::requirement::Requirement;
use crate::policy::sign_in::{HandlerId, ProviderDoor, SignInPaths};
use crate::policy::websocket::close::Refuse;

/// The place of a route in the configuration, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub usize);

/// The place of an upstream in the settings, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamId(pub usize);

/// The place of an authenticator in the settings, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AuthenticatorId(pub usize);

/// A route as the request path sees it.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its place in the file.
    pub id: RouteId,
    /// Its name in logs and metrics: methods, hosts and path as configured.
    pub label: Arc<str>,
    /// The paths it takes.
    pub pattern: PathPattern,
    /// The hosts it takes; empty takes all.
    pub hosts: Vec<HostPattern>,
    /// The methods it takes; `None` takes all. `GET` includes `HEAD`.
    pub methods: Option<Vec<Method>>,
    /// What happens to a request that is let through.
    pub action: Action,
    /// The authenticators to try, in order; empty when the route is public.
    pub authenticators: Vec<AuthenticatorId>,
    /// What the caller must be.
    pub requirement: Requirement,
    /// Cross-origin rule.
    pub cors: Option<Arc<CorsRule>>,
    /// Whether unsafe requests with a cookie credential must come from the same site.
    pub csrf: bool,
    /// What its requests count against, in the order of asking; empty when nothing.
    pub limits: Vec<LimitId>,
    /// What a page load without a credential gets.
    pub unauthenticated: Unauthenticated,
    /// Largest request body in bytes.
    pub body_limit: u64,
    /// Edits of the request's headers, after everything else.
    pub request_headers: HeaderEdits,
    /// Edits of the answer's headers.
    pub response_headers: HeaderEdits,
    /// WebSocket handshakes.
    pub websocket: WebSocketRule,
}

/// What happens to a request that is let through.
#[derive(Clone, Debug)]
pub enum Action {
    /// It goes to an app.
    Forward(Forward),
    /// It is answered with a fixed answer.
    Respond {
        /// Status of the answer.
        status: StatusCode,
        /// Its headers.
        headers: Vec<(HeaderName, HeaderValue)>,
        /// Its body.
        body: Bytes,
    },
    /// It is sent elsewhere.
    Redirect {
        /// Where to; `{uri}` stands for the percent-encoded path and query, `{path}` for the path as it came.
        to: Template,
        /// 301, 302, 303, 307 or 308.
        status: StatusCode,
    },
    /// It is answered from a folder.
    Files(Files),
    /// It is a step of signing in at an OpenID provider, or out.
    Provider(ProviderDoor),
}

impl Action {
    /// The step of a sign-in at a provider, where it is one.
    #[must_use]
    pub const fn provider(&self) -> Option<&ProviderDoor> {
        if let Self::Provider(door) = self {
            Some(door)
        } else {
            None
        }
    }
}

/// Where a request is forwarded and how its path is changed.
#[derive(Clone, Debug)]
pub struct Forward {
    /// The app.
    pub upstream: UpstreamId,
    /// Cut off the front of the path; whole segments, without a trailing slash.
    pub strip_prefix: Option<Box<str>>,
    /// Put before the path; without a trailing slash.
    pub add_prefix: Option<Box<str>>,
    /// Time to the answer's head; the upstream's own where `None`.
    pub timeout: Option<Duration>,
    /// The app's paths that have to do with tokens that the gateway keeps.
    pub sign_in: Option<Arc<SignInPaths>>,
}

/// A folder that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The folder.
    pub dir: PathBuf,
    /// The file for a folder, such as `index.html`.
    pub index: String,
    /// The file for a path that is not there, relative to `dir`.
    pub fallback: Option<PathBuf>,
    /// The literal front of the route's path, cut off before the file is looked up.
    pub prefix: Box<str>,
}

/// What a page load without a valid credential gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unauthenticated {
    /// The status, as everyone gets it.
    Status,
    /// 303 to a page of the same site, for page loads only.
    Redirect(Template),
    /// To the sign-in at an OpenID provider, for page loads only.
    SignIn(HandlerId),
}

/// Text with `{uri}` and `{path}` in it, cut up beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Vec<TemplatePart>);

/// One part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// Text as it stands.
    Text(Box<str>),
    /// The path and query, percent-encoded as one query value.
    Uri,
    /// The path as it came.
    Path,
    /// `?` and the query as it came, or nothing.
    Query,
}

/// Headers set and removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Set, replacing what is there.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Removed.
    pub remove: Vec<HeaderName>,
}

/// What a route does with WebSocket handshakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketRule {
    /// Whether handshakes pass at all.
    pub allowed: bool,
    /// How a refused handshake is told.
    pub refuse: Refuse,
    /// A tunnel without a byte for this long is closed.
    pub idle: Duration,
    /// Whether the tunnel ends with the identity.
    pub close_on_expiry: bool,
    /// Whether a token in the query or among the subprotocols goes on to the app.
    pub forward_token: bool,
}
