//! PURE: what is decided about a request, as values and functions over values.
//!
//! No async, no clock, no I/O. Time comes as an argument. Live traffic, `explain` and the tests
//! ask the same value.

pub mod cookie;
pub mod cors;
pub mod csrf;
pub mod denial;
pub mod expect;
pub mod field_name;
pub mod forwarded;
mod framing;
pub mod headers;
pub mod host;
pub mod identity;
pub mod limit;
mod matcher;
mod names;
pub mod origin;
pub mod path;
pub mod pattern;
pub mod requirement;
mod reserved;
pub mod return_path;
pub mod route;
pub mod routes;
pub mod security_headers;
pub mod set_cookie;
pub mod sign_in;
pub mod websocket;
pub mod written;

use std::sync::Arc;

use http::HeaderName;

/// The whole policy, compiled. Everything a request is judged by.
#[derive(Debug)]
pub struct Policy {
    /// Every route, and how to find the one that fits.
    pub routes: routes::Routes,
    /// Whether `//` is merged before matching and forwarding; otherwise it is refused.
    pub merge_slashes: bool,
    /// Header names that tell the app who is calling.
    pub identity: identity::IdentityNames,
    /// What is removed from requests before forwarding.
    pub hygiene: Arc<headers::Hygiene>,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: forwarded::TrustedProxies,
    /// Headers added to answers where the app did not set them.
    pub security_headers: security_headers::SecurityHeaders,
    /// The header that carries the request id.
    pub request_id: HeaderName,
    /// The cookie of the gateway's own sessions, which no app gets and none may set.
    pub session_cookie: Option<Box<str>>,
    /// `[rate_limit.*]`, in the order of [`limit::LimitId`].
    pub limits: Vec<Arc<limit::RateLimit>>,
    /// Header lines that a request may have.
    pub header_count: usize,
    /// The rules as tests.
    pub expectations: Vec<expect::Expectation>,
}
