//! `[security_headers]`: headers added to answers where the app did not set them.

use http::{HeaderName, HeaderValue};

/// The headers to add, compiled. Empty when the table is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityHeaders {
    /// Each name once. `strict-transport-security` is sent over TLS alone (RFC 6797 §7.2).
    pub headers: Vec<(HeaderName, HeaderValue)>,
}
impl SecurityHeaders {
    /// s
    pub fn apply(&self, _t: bool, _h: &mut http::HeaderMap) {}
}
