//! `[security_headers]`: headers added to answers where the app did not set them.

use http::header::STRICT_TRANSPORT_SECURITY;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The headers to add, compiled. Empty when the table is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityHeaders {
    /// Each name once. `strict-transport-security` is sent over TLS alone (RFC 6797 §7.2).
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl SecurityHeaders {
    /// Adds each header that the answer has not. `tls` is whether the client came with TLS.
    pub fn apply(&self, tls: bool, answer: &mut HeaderMap) {
        for (name, value) in &self.headers {
            if (tls || *name != STRICT_TRANSPORT_SECURITY) && !answer.contains_key(name) {
                answer.insert(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::X_FRAME_OPTIONS;

    use super::*;

    fn compiled() -> SecurityHeaders {
        let value = HeaderValue::from_static;
        SecurityHeaders {
            headers: vec![
                (STRICT_TRANSPORT_SECURITY, value("max-age=1")),
                (X_FRAME_OPTIONS, value("DENY")),
            ],
        }
    }

    #[test]
    fn what_the_app_set_stays() {
        let mut answer = HeaderMap::new();
        answer.insert(X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
        compiled().apply(true, &mut answer);
        assert_eq!(answer[X_FRAME_OPTIONS], "SAMEORIGIN");
        assert_eq!(answer[STRICT_TRANSPORT_SECURITY], "max-age=1");
    }

    #[test]
    fn strict_transport_security_is_sent_over_tls_alone() {
        let mut answer = HeaderMap::new();
        compiled().apply(false, &mut answer);
        assert!(!answer.contains_key(STRICT_TRANSPORT_SECURITY));
        assert_eq!(answer[X_FRAME_OPTIONS], "DENY");
    }
}
